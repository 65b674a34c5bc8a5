"""Whether a peer whose event loop is idle works on: a pool of threads may have the request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xctl_probe.linux.process_activity import Work, worked_ns

# Share of the time, of one CPU, from which threads beside an event loop compute.
COMPUTES = 0.5


@dataclass(slots=True)
class PeerWork:
    """Threads of the peer of one wait that are in no poll, since they were read first."""

    computes: bool = False
    _first: Work | None = None
    _first_ns: int = 0
    _read_ns: int = 0

    def note(self, read: Callable[[], Work | None], now_ns: int, every_ns: int) -> None:
        """Read again, `every_ns` after the last time.  What was not read changes nothing."""
        if self._read_ns and now_ns - self._read_ns < every_ns:
            return
        work = read()
        if work is None:
            return
        self._read_ns = now_ns
        of_ns = work.read_ns or now_ns  # it may have been late
        if self._first is None:
            self._first, self._first_ns = work, of_ns
        else:
            passed_ns = of_ns - self._first_ns
            self.computes = worked_ns(work, self._first) >= COMPUTES * passed_ns
