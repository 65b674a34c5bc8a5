"""Traffic, errors and drops of the network interfaces, from the kernel's counters."""

from __future__ import annotations

from collections.abc import Iterator

from xctl_probe.events import InterfaceDelta
from xctl_probe.linux.links import Birth, Counts, Link, Links

_LOOPBACK = "lo"
_NOTHING = Counts(0, 0, 0, 0, 0, 0)


class Interfaces:
    """Deltas of the interface counters between two calls.

    `only` names the interfaces, all when empty; loopback is left out unless it is named or
    `loopback` is true.
    """

    name = "interfaces"

    def __init__(
        self,
        only: frozenset[str] = frozenset(),
        *,
        loopback: bool = False,
        links: Links | None = None,
    ) -> None:
        self._only = only
        self._loopback = loopback
        self._links = links or Links()
        self._before = {link.key: link for link in self._links.read()}

    def shows(self, name: str) -> bool:
        """True for an interface that is reported."""
        if self._only:
            return name in self._only
        return self._loopback or name != _LOOPBACK

    def collect(self) -> Iterator[InterfaceDelta]:
        """Yield one event for each reported interface, idle and removed ones included."""
        links = self._links.read()
        sums: dict[str, Counts] = {}
        born = self._take_messages(sums)
        for link in links:
            _add(sums, link, self._before.get(link.key))
        # An interface that came after the counters were read is not among them yet.
        self._before = born | {link.key: link for link in links}
        for name, counts in sums.items():
            if self.shows(name):
                yield InterfaceDelta(name, *counts)

    def _take_messages(self, sums: dict[str, Counts]) -> dict[int | str, Link]:
        """Add up the removed interfaces; return the new ones with their first counters."""
        born: dict[int | str, Link] = {}
        for event in self._links.queue():
            link = event.link
            if isinstance(event, Birth):
                if link.key not in self._before:
                    self._before[link.key] = born[link.key] = link
                continue
            before = self._before.pop(link.key, None)
            born.pop(link.key, None)
            if before is not None:
                _add(sums, link, before)
        return born


def _add(sums: dict[str, Counts], link: Link, before: Link | None) -> None:
    moved = _moved(before.counts, link.counts) if before else _NOTHING
    known = sums.get(link.name, _NOTHING)
    sums[link.name] = Counts._make(a + b for a, b in zip(known, moved, strict=True))


def _moved(before: Counts, now: Counts) -> Counts:
    # A counter that decreased was reset, has wrapped or is a new interface's: restart at 0.  The
    # others may go on, as with mlx5, which resets the drops alone when it rebuilds its queues.
    return Counts._make(max(n - b, 0) for n, b in zip(now, before, strict=True))
