"""Job and rank of processes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from xctl_probe.errors import UsageError
from xctl_probe.linux import procfs
from xctl_probe.linux.cgroup_paths import placement
from xctl_probe.linux.helper import Helper
from xctl_probe.linux.jobs import claim

_MOST_NAMED = 8


class Job(NamedTuple):
    """The job of a process, and the number of the process in it, where known."""

    job_id: str
    rank: int | None


def jobs_of(pids: Iterable[int]) -> dict[int, Job]:
    """Return the job by pid, for processes of jobs.

    A child reads: memory of a process may lie on a file system that does not answer.
    """
    helper = Helper(_read, lambda _: None)
    try:
        found: dict[int, Job] | None = helper.read(list(pids))
    finally:
        helper.close()
    return found or {}


def _read(pids: list[int]) -> dict[int, Job]:
    found: dict[int, Job] = {}
    for pid in pids:
        folder = Path(f"/proc/{pid}")
        named = claim(procfs.read(folder / "environ"))
        if job_id := placement(procfs.text(folder / "cgroup")).job_id or named.job_id:
            found[pid] = Job(job_id, named.rank)
    return found


def check_job(job_id: str) -> None:
    """Raise UsageError, with the jobs that are visible, where no process is of this one."""
    found = jobs_of(int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    known = {job.job_id for job in found.values()}
    if job_id not in known:
        whose = "; run as root to see those of other users" if os.geteuid() else ""
        text = f"no process of job {job_id} is visible here; {_named(known)}{whose}"
        raise UsageError(f"blame --job {job_id}: {text}")


def _named(known: set[str]) -> str:
    if not known:
        return "nor is any other job"
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return f"visible jobs: {', '.join(sorted(known)[:_MOST_NAMED])}{more}"
