"""Job and rank of processes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from xctl_probe.linux import procfs
from xctl_probe.linux.helper import Helper

_JOB_KEY = b"SLURM_JOB_ID"
_RANK_KEYS = (b"RANK", b"SLURM_PROCID")


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
        pairs = procfs.read(Path(f"/proc/{pid}/environ")).split(b"\0")
        values = {key: value for key, _, value in (pair.partition(b"=") for pair in pairs)}
        if job_id := values.get(_JOB_KEY, b"").decode("ascii", "backslashreplace"):
            ranks = [values[key] for key in _RANK_KEYS if values.get(key, b"").isdigit()]
            found[pid] = Job(job_id, int(ranks[0]) if ranks else None)
    return found
