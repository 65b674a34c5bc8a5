"""Threads that wait in close(), SO_LINGER (socket(7)), until the peer has everything.

The descriptor is gone by then, and no walk over files finds the socket.  The kernel programs
report the begin, and the end of what is waited for; that the thread is still there, which a signal
or the end of its patience may change, /proc shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xctl_probe.ebpf.abi import Evidence, Kind, RawEvent
from xctl_probe.events import Cause
from xctl_probe.linux import wchan

_MOST = 1024  # closes that are followed at a time
_AT_ONCE = 64  # threads that one drain looks at


@dataclass(slots=True)
class _Closing:
    record: RawEvent
    reported: bool = False


class Closers:
    """Every close that waits; `waits` is asked whether a thread (pid, tid) sleeps in one."""

    def __init__(self, stall_ns: int, waits: Callable[[int, int], bool] | None = None) -> None:
        self._stall_ns = stall_ns
        self._waits = waits or sleeps_on_a_socket
        self._open: dict[int, _Closing] = {}
        self.unkept = 0  # without room; the reader sets it back

    def begin(self, record: RawEvent) -> None:
        """A thread is about to wait in close()."""
        if len(self._open) >= _MOST:
            self.unkept += 1
        elif record.pid and record.tid:
            self._open[record.cookie or record.inode] = _Closing(record)

    def end(self, record: RawEvent) -> RawEvent | None:
        """What it waited for is over; the stall that it was, where that was seen."""
        closing = self._open.pop(record.cookie or record.inode, None)
        if closing is None or not closing.reported:
            return None  # nothing has shown that a thread did wait
        return _stall(closing.record, Kind.STALL, record.time_ns)

    def drain(self, now_ns: int) -> list[RawEvent]:
        """Every close that waits for a stall's length by now, and those that gave up."""
        found = []
        late = [
            (key, closing)
            for key, closing in self._open.items()
            if now_ns - closing.record.time_ns >= self._stall_ns
        ]
        for key, closing in late[:_AT_ONCE]:
            record = closing.record
            linger_end_ns = record.time_ns + record.span_ns
            if now_ns < linger_end_ns and self._waits(record.pid, record.tid):
                closing.reported = True
                found.append(_stall(record, Kind.ONGOING, now_ns))
                # The next drain begins with those that this one leaves out.
                self._open[key] = self._open.pop(key)
                continue
            del self._open[key]
            if closing.reported:
                found.append(_stall(record, Kind.STALL, min(now_ns, linger_end_ns)))
        return found


def cause(record: RawEvent) -> Cause | None:
    """Why the peer has not acknowledged everything, by what was seen as the close began.

    Not by what was sent again: a peer that does not read throws away what overran its buffer.
    """
    return Cause.PEER_WINDOW if record.evidence & Evidence.PEER_WINDOW else None


def sleeps_on_a_socket(pid: int, tid: int) -> bool:
    """True where the thread sleeps as close() does.  /proc/<pid>/task/<tid>/wchan, proc(5)."""
    try:
        with open(f"/proc/{pid}/task/{tid}/wchan", encoding="ascii") as file:
            return file.read().startswith(wchan.CLOSE)
    except (OSError, UnicodeError):
        return False


def _stall(record: RawEvent, kind: Kind, now_ns: int) -> RawEvent:
    return record._replace(kind=kind, time_ns=now_ns, span_ns=now_ns - record.time_ns)
