"""Pauses and discards of the interfaces of RoCE ports, from the statistics of their drivers.

Priority flow control (IEEE 802.1Qbb) stops one priority of a link; a storm of pauses stops a
whole fabric.  The names are those of mlx5 (Documentation/networking/device_drivers/ethernet/
mellanox/mlx5/counters.rst), bnxt_en, ice and i40e.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import NamedTuple

from xctl_probe.events import PortErrorKind as Kind
from xctl_probe.events import PortErrors
from xctl_probe.linux.ethtool import EthtoolSocket, Statistics, physical

# A driver asks its firmware: reads take 1 % of the time at most.
_LEAST_RATIO = 100
# Of another network namespace, or without statistics.
_NEVER_AGAIN = frozenset((errno.ENODEV, errno.EOPNOTSUPP, errno.EPERM))

_PAUSES = {"rx": Kind.PFC_PAUSE, "tx": Kind.PFC_PAUSE_SENT}
_GLOBAL = {"rx": Kind.PAUSE, "tx": Kind.PAUSE_SENT}
_FORMS = tuple(
    re.compile(form)
    for form in (
        r"(?P<way>[rt]x)_prio(?P<priority>[0-7])_pause(?P<duration>_duration)?",  # mlx5
        r"(?P<way>[rt]x)_pfc_ena_frames_pri(?P<priority>[0-7])",  # bnxt_en
        r"pfc_pri(?P<priority>[0-7])_(?P<way>[rt]x)(?P<duration>_duration_us)",
        r"(?P<way>[rt]x)_priority_(?P<priority>[0-7])_xoff\.nic",  # ice
        r"port\.(?P<way>[rt]x)_priority_(?P<priority>[0-7])_xoff(?:_[rt]x)?",  # i40e
        r"(?P<way>[rt]x)_global_pause(?P<duration>_duration)?",  # mlx5
        r"(?P<way>[rt]x)_pause_frames",  # bnxt_en
        r"link_xoff_(?P<way>[rt]x)\.nic",  # ice
        r"port\.link_xoff_(?P<way>[rt]x)",  # i40e
    )
)
_OTHERS = {
    "tx_pause_storm_warning_events": Kind.PAUSE_STORM,
    "tx_pause_storm_error_events": Kind.PAUSE_STORM,
    "rx_discards_phy": Kind.DISCARD,
    "tx_discards_phy": Kind.DISCARD,
}


class Meaning(NamedTuple):
    """What a statistic counts.  `duration`: microseconds, beside the count of the same kind."""

    kind: Kind
    priority: int | None = None
    duration: bool = False


@cache
def meaning(name: str) -> Meaning | None:
    """The meaning of a statistic by its name; None for all others."""
    if kind := _OTHERS.get(name):
        return Meaning(kind)
    for form in _FORMS:
        if found := form.fullmatch(name):
            parts = found.groupdict()
            priority = parts.get("priority")
            kinds = _GLOBAL if priority is None else _PAUSES
            return Meaning(
                kinds[parts["way"]],
                None if priority is None else int(priority),
                bool(parts.get("duration")),
            )
    return None


class Pauses:
    """Differences of the pauses of interfaces between two calls.

    Per-priority statistics exist only while priority flow control is on: a name that appears
    counts from then on.
    """

    def __init__(
        self,
        open_socket: Callable[[], EthtoolSocket] = EthtoolSocket,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._open_socket = open_socket
        self._socket: EthtoolSocket | None = None
        self._clock = clock
        self._next_ns = 0
        self._readers: dict[str, Statistics] = {}
        self._before: dict[str, dict[str, int]] = {}
        self._without: set[str] = set()  # interfaces without statistics

    def collect(self, netdevs: Iterable[str]) -> Iterator[PortErrors]:
        """One event for each interface, kind and priority that counted something."""
        began_ns = self._clock()
        if began_ns < self._next_ns:
            return
        interfaces = {name for netdev in netdevs for name in physical(netdev)}
        for gone in self._readers.keys() - interfaces:
            del self._readers[gone]
            self._before.pop(gone, None)
        self._without &= interfaces
        for interface in sorted(interfaces - self._without):
            yield from self._grown(interface)
        now_ns = self._clock()
        self._next_ns = now_ns + (now_ns - began_ns) * _LEAST_RATIO

    def _grown(self, interface: str) -> Iterator[PortErrors]:
        if self._socket is None:
            self._socket = self._open_socket()
        reader = self._readers.get(interface)
        if reader is None:
            reader = self._readers[interface] = Statistics(
                interface, lambda name: meaning(name) is not None, self._socket
            )
        try:
            now = reader.read()
        except OSError as error:
            if error.errno in _NEVER_AGAIN:
                self._without.add(interface)
            return
        before = self._before.setdefault(interface, {})
        yield from _errors(interface, before, now)
        before |= now


def _errors(interface: str, before: dict[str, int], now: dict[str, int]) -> Iterator[PortErrors]:
    sums: dict[tuple[Kind, int | None], list[tuple[str, int]]] = {}
    events: dict[tuple[Kind, int | None], int] = {}
    for name, value in now.items():
        count = value - before.get(name, value)
        if count <= 0 or (what := meaning(name)) is None:
            continue
        key = what.kind, what.priority
        sums.setdefault(key, []).append((name, count))
        events[key] = events.get(key, 0) + (0 if what.duration else count)
    for (kind, priority), counters in sums.items():
        if count := events[kind, priority]:
            yield PortErrors(interface, kind, count, tuple(counters), priority)
