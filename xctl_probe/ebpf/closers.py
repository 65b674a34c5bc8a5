"""Threads that wait in close() until the peer has all data: SO_LINGER, socket(7).

The descriptor is gone then, and no iterator over files finds the socket.  The kernel programs emit
the begin and the end of the wait.  A signal or the linger time may end the thread's wait earlier;
/proc shows whether the thread is still there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xctl_probe.ebpf.abi import Evidence, Kind, RawEvent
from xctl_probe.events import Cause
from xctl_probe.linux import procfs, wchan

_MOST = 1024  # closes that are tracked at a time
_AT_ONCE = 64  # threads that one drain reads


@dataclass(slots=True)
class _Closing:
    record: RawEvent
    reported: bool = False


class Closers:
    """Closes that wait; `waits(pid, tid)` is True while the thread sleeps in close()."""

    def __init__(self, stall_ns: int, waits: Callable[[int, int], bool] | None = None) -> None:
        self._stall_ns = stall_ns
        self._waits = waits or sleeps_on_a_socket
        self._open: dict[int, _Closing] = {}
        self.unkept = 0  # dropped for lack of space; the reader resets it

    def begin(self, record: RawEvent) -> None:
        """Track a thread that is about to wait in close()."""
        if len(self._open) >= _MOST:
            self.unkept += 1
        elif record.pid and record.tid:
            self._open[record.cookie or record.inode] = _Closing(record)

    def end(self, record: RawEvent) -> RawEvent | None:
        """Stop tracking; return the stall that it was, where a sample has shown one."""
        closing = self._open.pop(record.cookie or record.inode, None)
        if closing is None or not closing.reported:
            return None  # no sample has shown a waiting thread
        return _stall(closing.record, Kind.STALL, record.time_ns)

    def drain(self, now_ns: int) -> list[RawEvent]:
        """Return the closes that have waited for a stall length, and those that gave up."""
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
    """Return the cause, from the evidence at the begin of the close.

    A retransmit is no evidence: a peer that does not read drops data beyond its buffer.
    """
    return Cause.PEER_WINDOW if record.evidence & Evidence.PEER_WINDOW else None


def sleeps_on_a_socket(pid: int, tid: int) -> bool:
    """True where the thread sleeps in the function of close().  proc(5): task/<tid>/wchan."""
    return procfs.word(f"/proc/{pid}/task/{tid}/wchan").startswith(wchan.CLOSE)


def _stall(record: RawEvent, kind: Kind, now_ns: int) -> RawEvent:
    return record._replace(kind=kind, time_ns=now_ns, span_ns=now_ns - record.time_ns)
