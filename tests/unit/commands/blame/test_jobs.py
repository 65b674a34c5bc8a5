"""The job and the rank of a process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from xctl_probe.commands.blame import jobs as module
from xctl_probe.commands.blame.jobs import Job, check_job, jobs_of
from xctl_probe.errors import UsageError


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


@pytest.mark.parametrize(
    ("count", "user", "remedy"),
    [
        (0, 0, "nor is any other job"),
        (2, 0, "visible jobs: 4710, 4711"),
        (
            10,
            1_000,
            "visible jobs: 4710, 4711, 4712, 4713, 4714, 4715, 4716, 4717 and 2 more; run as root "
            "to see those of other users",
        ),
    ],
)
def test_a_job_without_a_process_is_bad_input(monkeypatch, count, user, remedy):
    """The jobs that are there are named, however many."""
    found = {pid: Job(str(4_710 + pid), None) for pid in range(count)}
    monkeypatch.setattr(module, "jobs_of", lambda _pids: found)
    monkeypatch.setattr(module.os, "geteuid", lambda: user)
    with pytest.raises(UsageError) as refused:
        check_job("nosuch")
    message = "blame --job nosuch: no process of job nosuch is visible here; "
    assert str(refused.value) == message + remedy
    if found:
        check_job("4710")
