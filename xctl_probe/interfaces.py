"""What each network interface moved and lost, from the kernel's own counters (psutil)."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from xctl_probe.facts import InterfaceCounts

_FIELDS = ("bytes_recv", "bytes_sent", "errin", "errout", "dropin", "dropout")
_LOOPBACK = "lo"


class Interfaces:
    """Differences of the interface counters between two calls.

    `only` names the interfaces to watch, all when empty; loopback is left out unless it is
    named or `loopback` is true.
    """

    def __init__(self, only: frozenset[str] = frozenset(), *, loopback: bool = False) -> None:
        self._only = only
        self._loopback = loopback
        self._before = _counters()

    def shows(self, name: str) -> bool:
        """True for an interface that is watched."""
        if self._only:
            return name in self._only
        return self._loopback or name != _LOOPBACK

    def collect(self) -> Iterator[InterfaceCounts]:
        """One fact for each watched interface, idle ones too."""
        counters = _counters()
        for name, now in counters.items():
            if not self.shows(name):
                continue
            before = self._before.get(name, now)
            # A counter that went back belongs to an interface made anew: start afresh.
            delta = (
                [0] * len(now)
                if any(n < b for n, b in zip(now, before, strict=True))
                else [n - b for n, b in zip(now, before, strict=True)]
            )
            yield InterfaceCounts(name, *delta)
        self._before = counters


def _counters() -> dict[str, tuple[int, ...]]:
    # nowrap=False: psutil's own correction would add a re-created interface's past to it.
    counters = psutil.net_io_counters(pernic=True, nowrap=False)
    return {name: tuple(getattr(c, field) for field in _FIELDS) for name, c in counters.items()}
