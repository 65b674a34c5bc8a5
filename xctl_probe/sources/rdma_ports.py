"""What each RDMA port moved and failed at, from the counters of its device.

RDMA does not pass the network stack: no socket shows it, and the counters of a RoCE interface
leave it out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from xctl_probe.events import PortErrorKind, PortErrors, RdmaLink, RdmaPortDelta
from xctl_probe.linux.rdma_ports import Port, Ports
from xctl_probe.sources.rdma_counters import KINDS, WANTED, XMIT_WAIT, ByteRule, byte_rule

_32_BITS = 1 << 32
_HALF = 1 << 31
# A link is asked for seldom: each answer is a command to the firmware.
_LINK_AGE_NS = 10_000_000_000


@dataclass(slots=True)
class _Seen:
    """A port as it was at the last call."""

    port: Port
    counters: dict[str, int]
    rule: ByteRule | None
    link: RdmaLink
    link_ns: int
    bytes_ns: int  # when its byte counters were read


class RdmaPorts:
    """Differences of the counters of RDMA ports between two calls.

    `only` names ports, or network interfaces of ports; all when empty.
    """

    def __init__(
        self,
        only: frozenset[str] = frozenset(),
        *,
        ports: Ports | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._only = only
        self._ports = ports or Ports(WANTED)
        self._clock = clock
        self._seen: dict[tuple[str, int], _Seen] = {}
        for _ in self.collect():
            pass

    @property
    def ports(self) -> list[Port]:
        """The ports that exist and are wanted."""
        return [seen.port for seen in self._seen.values() if self._wants(seen)]

    @property
    def links(self) -> dict[str, RdmaLink]:
        """The links of the ports that exist and are wanted."""
        return {seen.port.name: seen.link for seen in self._seen.values() if self._wants(seen)}

    def collect(self) -> Iterator[RdmaPortDelta | PortErrors]:
        """One event for each port that counts bytes, idle ones too; one for each kind of error.

        A port is counted from the moment at which it is first read: whether its counters began
        at zero is not known.
        """
        before, self._seen = self._seen, {}
        for key, port in self._ports.read().items():
            seen = before.get(key)
            if seen is None:
                self._seen[key] = self._first(port)
                continue
            self._seen[key] = seen
            events = list(self._grown(seen))
            if self._wants(seen):
                yield from events

    def _wants(self, seen: _Seen) -> bool:
        return not self._only or not self._only.isdisjoint((seen.port.name, seen.link.netdev))

    def _first(self, port: Port) -> _Seen:
        now_ns = self._clock()
        counters = port.counters()
        rule = byte_rule(counters, port.driver)
        return _Seen(port, counters, rule, port.link(), now_ns, now_ns)

    def _grown(self, seen: _Seen) -> Iterator[RdmaPortDelta | PortErrors]:
        now_ns = self._clock()
        # Of soft RoCE the kernel logs a line with each such read, where its interface has no speed.
        if now_ns - seen.link_ns >= _LINK_AGE_NS and not seen.port.software:
            seen.link, seen.link_ns = seen.port.link(), now_ns
        counters = seen.port.counters()
        yield from _errors(seen.port.name, seen.counters, counters)
        if seen.rule is not None and all(
            name in counters for name in (*seen.rule.received, *seen.rule.sent)
        ):
            yield RdmaPortDelta(
                name=seen.port.name,
                link=seen.link,
                rx_bytes=_bytes(seen.rule.received, seen, counters),
                tx_bytes=_bytes(seen.rule.sent, seen, counters),
                elapsed_ns=now_ns - seen.bytes_ns,
                # That of rxe is always 0 (rxe_get_pma_counters()): it does not count these.
                xmit_wait=None if seen.port.software else _wait(seen.counters, counters),
            )
            seen.bytes_ns = now_ns
        if seen.rule is None:  # the first read may have failed: the firmware was busy
            seen.rule, seen.bytes_ns = byte_rule(counters, seen.port.driver), now_ns
        # What could not be read this time keeps its value: the next difference covers both spans.
        seen.counters |= counters


def _bytes(names: tuple[str, ...], seen: _Seen, counters: dict[str, int]) -> int:
    assert seen.rule is not None
    moved = (counters[name] - seen.counters[name] for name in names)
    # A counter that went back was reset: start afresh.  At 64 bits none wraps.
    return sum(max(count, 0) for count in moved) * seen.rule.unit_bytes


def _wait(before: dict[str, int], now: dict[str, int]) -> int | None:
    if XMIT_WAIT not in now or XMIT_WAIT not in before:
        return None
    return max(now[XMIT_WAIT] - before[XMIT_WAIT], 0)


def _errors(name: str, before: dict[str, int], now: dict[str, int]) -> Iterator[PortErrors]:
    sums: dict[PortErrorKind, list[tuple[str, int]]] = {}
    # A file that can be read for the first time has a past of which nothing is known.
    moved = [name for name, value in now.items() if before.get(name, value) != value]
    for counter in moved:
        kind = KINDS.get(counter)
        if kind is not None and (count := grown(before[counter], now[counter])):
            sums.setdefault(kind, []).append((counter, count))
    for kind, counters in sums.items():
        yield PortErrors(name, kind, sum(count for _, count in counters), tuple(counters))


def grown(before: int, now: int) -> int:
    """What a counter of events has grown by; 0 after a reset.

    The Q counters of mlx5 have 32 bits and wrap.  A value that goes back from the upper half of
    these to the lower has wrapped; any other was reset.
    """
    if now >= before:
        return now - before
    wrapped = now - before + _32_BITS
    return wrapped if _HALF <= before < _32_BITS and wrapped < _HALF else 0
