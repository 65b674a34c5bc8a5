"""The graph of waits of a process, of a job, or of the host, and what could not be observed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from xctl_probe.commands.blame.graph import Graph
from xctl_probe.commands.blame.host_trail import HostTrail
from xctl_probe.commands.blame.jobs import Job, jobs_of
from xctl_probe.commands.blame.rdma import RdmaSampled
from xctl_probe.commands.blame.samples import Sampled
from xctl_probe.commands.why.diagnose import diagnose
from xctl_probe.commands.why.equals.lockstep import Held
from xctl_probe.errors import UsageError
from xctl_probe.linux.procfs import read_process
from xctl_probe.linux.tasks import descendants_of
from xctl_probe.linux.thread_states import ThreadStates

_MOST_DESCENDANTS = 256  # of the process that was asked about


@dataclass(frozen=True, slots=True)
class Collected:
    """The graph, what it is from, and what could not be observed.

    `job_size` is the number of processes of a job that were found on this host.  `ports` has the
    errors of RDMA ports whose process is not known: count by word, by port.  `own_only`: other
    users' processes could not be observed.  `silent`: equal processes that fell silent together,
    of which none could be named.  `unseen`: why it could not be seen whether the process that was
    asked about waits.
    """

    graph: Graph
    source: str
    notes: tuple[str, ...]
    job_size: dict[str, int]
    ports: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    own_only: bool = False
    silent: Held | None = None
    unseen: str | None = None


def collect(
    sampled: Sampled,
    rdma: RdmaSampled | None = None,
    *,
    pid: int | None,
    job: str | None,
    stall_ms: int,
    equals: Callable[[], Iterable[Held]] = tuple,
) -> Collected:
    """Return the graph of these stalls: of one process, of one job, or of all.

    Of a process that does not wait itself it is that of its children, and of theirs: a launcher
    waits for its ranks.  It also has the processes with RDMA queue pairs, and those of the process
    or job that are stopped or frozen, without waits.  `equals` returns what holds up equal
    processes that fell silent together.

    Raises UsageError for a pid that is invalid, gone or unreadable.
    """
    trail = HostTrail(lambda one: diagnose(one, stall_ms=stall_ms), ThreadStates())
    trail.add_stalls(sampled.stalls)
    everyone = _jobs_here() if job is not None else {}
    about = {one for one, known in everyone.items() if known.job_id == job}
    asked = None if pid is None else {pid, *descendants_of(pid, _MOST_DESCENDANTS)}
    stopped = trail.add_stopped(about if asked is None else asked)
    # Before guesses: several processes show more than one does.
    trail.add_equals([held for held in equals() if _is_about(held, asked, job)])
    if pid is not None and asked is not None:
        asked = trail.waiting(pid, asked)
        if not asked:
            trail.explain_first(pid)
            asked = {pid}
    trail.follow(asked)
    rdma = rdma or RdmaSampled()
    trail.add_rdma(rdma.by_pid)
    members = trail.members
    jobs = jobs_of(members)
    sizes = _sizes(jobs, everyone or _jobs_here()) if jobs else {}
    graph = Graph(
        {one: replace(member, job=jobs.get(one)) for one, member in members.items()},
        tuple(trail.waits),
    )
    if asked is not None:
        graph = graph.part(asked | stopped)
    if job is not None:
        graph = graph.part(one for one, known in jobs.items() if known.job_id == job)
    graph = replace(graph, members=graph.members | trail.described(graph.members))
    notes = (*sampled.notes, *rdma.notes, *trail.notes)
    has_rdma = any(member.rdma is not None for member in graph.members.values())
    ports = rdma.ports if has_rdma else {}
    return Collected(
        graph, sampled.source, notes, sizes, ports, sampled.own_only, trail.silent, trail.unseen
    )


def _is_about(held: Held, pids: set[int] | None, job: str | None) -> bool:
    """Return whether a process, or the job, that was asked about is among these."""
    if pids is not None:
        return not pids.isdisjoint(held.pids)
    return job is None or any(known.job_id == job for known in jobs_of(held.pids).values())


def _jobs_here() -> dict[int, Job]:
    """Return the job by pid, for all processes of jobs on this host."""
    return jobs_of(int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def _sizes(jobs: dict[int, Job], everyone: dict[int, Job]) -> dict[str, int]:
    """Return the number of ranks that are here of each job in the graph."""
    wanted = {job.job_id for job in jobs.values()}
    ranks: dict[str, set[int]] = {job_id: set() for job_id in wanted}
    for job in everyone.values():
        if job.job_id in wanted and job.rank is not None:
            ranks[job.job_id].add(job.rank)
    return {job_id: len(found) for job_id, found in ranks.items() if found}


def check_pid(pid: int) -> None:
    """Raise UsageError where there is no such process."""
    if pid <= 0 or read_process(pid) is None:
        raise UsageError(f"blame --pid {pid}: no such process; `ps -e` lists all")
