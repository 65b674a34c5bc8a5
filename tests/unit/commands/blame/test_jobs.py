"""The job and the rank of a process."""

from __future__ import annotations

import subprocess
import sys

from xctl_probe.commands.blame.jobs import Job, jobs_of


def test_the_environment_names_job_and_rank():
    ask = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    started = [
        subprocess.Popen(ask, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for env in (
            {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "3"},
            {"SLURM_JOB_ID": "4711"},
            {"RANK": "3"},
        )
    ]
    for one in started:
        one.stdout.readline()  # it has its environment, not this process's
    first, second, third = (one.pid for one in started)
    found = jobs_of([first, second, third, 1 << 22])
    for one in started:
        one.communicate()
    assert found == {first: Job("4711", 3), second: Job("4711", None)}
