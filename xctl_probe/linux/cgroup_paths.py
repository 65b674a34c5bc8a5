"""Job, pod and container in the path of a cgroup.

The forms are those of Slurm (slurm.schedmd.com/cgroup_v2.html, and its version 1), PBS, Torque,
LSF, Kubernetes with both of its cgroup drivers, Docker, Podman, containerd and CRI-O.  Every cgroup
of /proc/<pid>/cgroup counts, whatever the hierarchy: cgroups(7).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from xctl_probe.events import Placement

_SLURM_JOB = re.compile(r"job_([0-9]{1,20})")
# Slurm 26.05 names the folder of a job by an id that `squeue` does not accept as a job id.
_SLURM_SLUID = re.compile(r"s[0-9A-Z]{13}")
_PBS_JOB = re.compile(r"[0-9]{1,20}(?:\[[0-9]{0,20}\])?\.[0-9A-Za-z._-]{1,100}")
_PBS_SLICE = re.compile(r"pbs-(.{1,200})\.slice")
_LSF_JOB = re.compile(r"job\.([0-9]{1,20}(?:\[[0-9]{1,20}\])?)(?:\..{0,200})?")
_PBS_ROOTS = frozenset({"pbs.service", "pbs_jobs.service"})
_PBS_FOLDERS = frozenset({"jobid", "jobs"})
# A static pod has a hash of its file: 32 digits without dashes.
_POD = re.compile(
    r"(?:.*-)?pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})"
    r"(?:\.slice)?(?::.*)?"
)
_CONTAINER = re.compile(r"(?:.*[-:])?([0-9a-f]{64})(?:\.scope)?")
_DELETED = " (deleted)"  # after the path of a cgroup that is gone
_MONITOR = "conmon-"  # the process beside a container of CRI-O or Podman, not the container
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")  # systemd.unit(5)


def placement(text: str) -> Placement:
    """Return what the lines of a /proc/<pid>/cgroup file name.

    The pod is the job where no batch system placed the process.
    """
    job_id = pod_uid = container = None
    has_sluid = False
    for path in _paths(text):
        parts = path.split("/")
        if job_id is None:
            job_id, sluid = _job(parts)
            has_sluid |= sluid
        pod_uid = pod_uid or _pod(parts)
        container = container or _container(parts)
    if not has_sluid:
        job_id = job_id or pod_uid
    return Placement(job_id, pod_uid=pod_uid, container=container)


def _paths(text: str) -> Iterator[str]:
    # Not splitlines: a name may have any of the other characters that end a line in Python.
    for line in text.split("\n"):
        _, _, rest = line.partition(":")
        _, colon, path = rest.partition(":")
        if colon and path != "/":
            yield path.removesuffix(_DELETED)


def _job(parts: list[str]) -> tuple[str | None, bool]:
    """Return the job of a batch system, and whether Slurm names it by a SLUID.

    The first match counts: what is below belongs to the job.
    """
    for at, part in enumerate(parts):
        after = [*parts[at + 1 : at + 4], "", "", ""]
        if part == "slurmstepd.scope" or part.endswith("_slurmstepd.scope"):
            found = _SLURM_JOB.fullmatch(after[0])
            return (found[1] if found else None), bool(_SLURM_SLUID.fullmatch(after[0]))
        if (part == "slurm" or part.startswith("slurm_")) and after[0].startswith("uid_"):
            found = _SLURM_JOB.fullmatch(after[1])
            return (found[1] if found else None), bool(_SLURM_SLUID.fullmatch(after[1]))
        job = _other_job(part, after)
        if job is not None:
            return job, False
    return None, False


def _other_job(part: str, after: list[str]) -> str | None:
    """Return the job of PBS, Torque or LSF below this part of a path."""
    if part in _PBS_ROOTS and after[0] in _PBS_FOLDERS:
        return _pbs_job(after[1])
    if part == "torque":
        return _pbs_job(after[0])
    if part == "pbs.slice" and (slice_ := _PBS_SLICE.fullmatch(after[0])):
        return _pbs_job(_ESCAPED.sub(lambda m: chr(int(m[1], 16)), slice_[1]))
    if part == "lsf":
        # Below the cluster, whose name may be empty.
        found = _LSF_JOB.fullmatch(after[1]) or _LSF_JOB.fullmatch(after[0])
        return found[1] if found else None
    return None


def _pbs_job(name: str) -> str | None:
    return name if _PBS_JOB.fullmatch(name) else None


def _pod(parts: list[str]) -> str | None:
    """Return the uid of the innermost pod, as Kubernetes writes it: with dashes."""
    below = False
    uid = None
    for part in parts:
        # With a private cgroup namespace, `..` hides where the path begins.
        below |= "kubepods" in part or part == ".."
        if below and (found := _POD.fullmatch(part)):
            uid = found[1].replace("_", "-")
    return uid


def _container(parts: list[str]) -> str | None:
    """Return the id of the innermost container."""
    for part in reversed(parts):
        if _MONITOR not in part and (found := _CONTAINER.fullmatch(part)):
            return found[1]
    return None
