"""Processes of jobs: the placement of each, and when it began to use the network and exited."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xctl_probe.aggregate import Filter
from xctl_probe.events import (
    DroppedEvents,
    Event,
    Placement,
    PortErrors,
    Process,
    ProcessState,
    QueuePairErrors,
    SocketError,
    Stall,
    State,
    TrafficDelta,
)
from xctl_probe.linux.budget import SHARE
from xctl_probe.linux.jobs import Jobs
from xctl_probe.linux.process_exits import ProcessExits
from xctl_probe.sources.job_connections import JobConnections

_MOST_STARTED = 4_096


@dataclass(slots=True)
class _Started:
    """A process that was reported."""

    owner: Process
    placement: Placement


class JobProcesses:
    """Finds the placement of each process in the events of an interval.

    With `states`, each process of a job gives a `ProcessState` when it begins to use the network,
    and one after it has exited.  With `connections`, also those of what it holds.
    """

    def __init__(
        self,
        wanted: Filter,
        *,
        states: bool = True,
        share: float = SHARE,
        jobs: Jobs | None = None,
        exits: ProcessExits | None = None,
        connections: JobConnections | None = None,
    ) -> None:
        self._wanted = wanted
        self._states = states
        self._jobs = jobs or Jobs(share)
        self._exits = exits or ProcessExits()
        self._connections = connections
        self._started: dict[int, _Started] = {}  # by pid
        self._exited: list[_Started] = []  # since the last call

    def placement(self, process: Process | None) -> Placement | None:
        """Return the placement of a process, None where it has none or is not known yet."""
        return self._jobs.placement(process)

    def collect(self, events: Iterable[Event], now_ns: int) -> list[Event]:
        """Return what began and ended in the interval of these events (monotonic time)."""
        users: set[Process] = set()
        stalled: set[tuple[int, int]] = set()
        for event in events:
            user = user_of(event, self._wanted)
            if user is not None:
                users.add(user)
            if isinstance(event, Stall) and event.owner is not None:
                stalled.add((event.owner.pid, event.owner.start_ticks))
        changed = self._jobs.find(users, now_ns)
        if not self._states:
            return []
        found = [*self._starts(changed), *self._exits_of(stalled)]
        if self._connections is not None:
            alive = {one.owner: one.placement for one in self._started.values()}
            for exited in self._exited:
                alive.pop(exited.owner, None)
            found += self._connections.collect(alive, now_ns)
        return found

    def close(self) -> None:
        """Close descriptors and stop the helper.  Safe to call twice."""
        self._jobs.close()
        self._exits.close()
        if self._connections is not None:
            self._connections.close()

    def _starts(self, changed: list[Process]) -> Iterable[Event]:
        left_out = 0
        for process in changed:
            placement = self._jobs.placement(process)
            if placement is None or placement.job_id is None:
                continue
            known = self._started.get(process.pid)
            if known is not None and _is_same(known.owner, process):
                if known.placement.job_id == placement.job_id:
                    continue
                known.placement = placement
            elif known is None and len(self._started) >= _MOST_STARTED:
                left_out += 1
                continue
            else:  # where the pid is used again, the start replaces the former process
                self._exits.watch(process)
                self._started[process.pid] = _Started(process, placement)
            yield ProcessState(process, placement, State.START)
        if left_out:
            yield DroppedEvents("processes", left_out)

    def _exits_of(self, stalled: set[tuple[int, int]]) -> Iterable[Event]:
        # The consumer takes a stall after the exit for another process.  The last stalls of a
        # process may come one interval after it has exited.
        exited, self._exited = self._exited, []
        for one in exited:
            if (one.owner.pid, one.owner.start_ticks) in stalled:
                self._exited.append(one)
            elif self._started.get(one.owner.pid) is one:
                del self._started[one.owner.pid]
                yield ProcessState(one.owner, one.placement, State.EXIT)
        for process in self._exits.ended():
            known = self._started.get(process.pid)
            if known is not None and _is_same(known.owner, process):
                self._exited.append(known)


def _is_same(one: Process, other: Process) -> bool:
    return (one.pid, one.start_ticks) == (other.pid, other.start_ticks)


def user_of(event: Event, wanted: Filter) -> Process | None:
    """Return the wanted process of an event that shows its use of a wanted interface.

    A port is wanted by its name or by that of its interface: RDMA events are of wanted ports only.
    """
    match event:
        case TrafficDelta():
            is_wanted = event.of_port or wanted.wants_event(event.interface)
        case Stall() | SocketError():
            is_wanted = wanted.wants_event(event.socket.interface)
        case QueuePairErrors() | PortErrors():
            is_wanted = True
        case _:
            return None
    return event.owner if is_wanted and wanted.wants_owner(event.owner) else None
