"""Connections of the processes of jobs, for whoever joins the streams of several hosts.

Who waits names the address of its peer; only the stream of the peer's host can name the process
there, which mostly waits for nothing itself.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from xctl_probe.events import (
    Connection,
    DroppedEvents,
    Event,
    PeerActivity,
    Placement,
    Process,
    ProcessState,
    State,
)
from xctl_probe.linux import procfs
from xctl_probe.linux.barred import Barred
from xctl_probe.linux.budget import SHARE, Budget
from xctl_probe.linux.helper import Asks, Helper
from xctl_probe.linux.process_connections import Asked, ConnectionReader, Held

AGAIN_NS = 10_000_000_000  # after which what has not changed is emitted again
# Of one event, so that its line fits into PIPE_BUF: two IPv6 addresses take up to 101 bytes.
PART = 24
_MOST_ALL = 8_192  # connections of all processes together
_WAIT_NS = 20_000_000  # for all answers of one interval

_Content = tuple[tuple[Connection, ...], PeerActivity | None]


@dataclass(slots=True)
class _Emitted:
    content: _Content
    left_out: int
    at_ns: int


class JobConnections:
    """Reads the connections of processes in turns, for `share` of a core.

    What has changed is emitted in the interval in which it was read, all else every `AGAIN_NS`, so
    that a reader may begin anywhere in the stream.
    """

    def __init__(self, share: float = SHARE, *, helper: Asks | None = None) -> None:
        self._budget = Budget(share)
        self._barred = Barred()
        self._helper = helper or Helper(ConnectionReader(), self._bar)
        self._turns: OrderedDict[Process, int] = OrderedDict()  # with the user
        self._emitted: dict[Process, _Emitted] = {}
        self._total = 0  # connections in these

    def collect(self, processes: Mapping[Process, Placement], now_ns: int) -> list[Event]:
        """Return the events of an interval about these processes (CLOCK_MONOTONIC)."""
        for gone in [one for one in self._turns if one not in processes]:
            del self._turns[gone]
            self._forget(gone)
        for process in processes:
            if process not in self._turns:
                self._turns[process] = procfs.real_user(process.pid)
                self._turns.move_to_end(process, last=False)  # new ones come first
        events: list[Event] = []
        for process, held in self._read(now_ns):
            if process in processes:
                events += self._events(process, processes[process], held, now_ns)
        return events

    def close(self) -> None:
        """Stop the helper.  Safe to call twice."""
        self._helper.close()

    def _read(self, now_ns: int) -> Iterator[tuple[Process, Held]]:
        """Read each process at most once, as far as time and budget go."""
        left_ns = _WAIT_NS
        for process, uid in list(self._turns.items()):
            yield from self._late()
            if self._helper.is_full:
                return
            if self._barred.covers(process.pid, uid) or not self._budget.allows(uid, now_ns):
                continue
            request = Asked(process.pid, process.start_ticks, uid)
            if self._helper.has(request):
                continue
            begun_ns = time.monotonic_ns()
            held = self._helper.ask(request, left_ns)
            left_ns = max(left_ns - (time.monotonic_ns() - begun_ns), 0)
            if held is not None or self._helper.has(request):
                self._turns.move_to_end(process)
            if held is not None:
                self._budget.charge(uid, held.spent_ns, now_ns)
                yield process, held
        yield from self._late()

    def _late(self) -> Iterator[tuple[Process, Held]]:
        """Take the answers that came after their interval."""
        self._helper.collect()
        late = list(self._helper.late)
        self._helper.late.clear()
        for (request, _), held, _ in late:
            if held is None:
                continue
            self._budget.charge(request.uid, held.spent_ns, time.monotonic_ns())
            for process in list(self._turns):
                if (process.pid, process.start_ticks) == (request.pid, request.start_ticks):
                    yield process, held

    def _events(
        self, process: Process, placement: Placement, held: Held, now_ns: int
    ) -> Iterable[Event]:
        before = self._emitted.get(process)
        others = self._total - (len(before.content[0]) if before else 0)
        connections = held.connections[: max(_MOST_ALL - others, 0)]
        left_out = held.left_out + len(held.connections) - len(connections)
        content = connections, held.activity
        if before is not None and before.content == content and now_ns - before.at_ns < AGAIN_NS:
            return
        self._forget(process)
        self._emitted[process] = _Emitted(content, left_out, now_ns)
        self._total += len(connections)
        # One without connections: what was emitted before is over.
        empty = before is not None and before.content[0] and not connections
        for at in range(0, 1 if empty else len(connections), PART):
            part = connections[at : at + PART]
            yield ProcessState(process, placement, State.CONNECTED, part, held.activity)
        if left_out and (before is None or left_out != before.left_out):
            yield DroppedEvents("connections", left_out, self._turns.get(process))

    def _forget(self, process: Process) -> None:
        emitted = self._emitted.pop(process, None)
        if emitted is not None:
            self._total -= len(emitted.content[0])

    def _bar(self, asked: Asked) -> None:
        """Ask no more about who has held the helper up."""
        self._barred.add(asked.pid, asked.uid)
