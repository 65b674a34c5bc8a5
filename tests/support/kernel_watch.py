"""A kernel source that is asked again and again until it has emitted what a test waits for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Self

from support.peer import Peer, is_within
from xctl_probe.bcc.source import BccSource
from xctl_probe.ebpf.loader import MapSizes
from xctl_probe.ebpf.source import KernelSource, RunningSource
from xctl_probe.events import (
    Direction,
    DroppedEvents,
    ErrorKind,
    Event,
    SocketError,
    Stall,
    TrafficDelta,
)

LIMIT_S = 60.0  # only where a test fails
RING_BYTES = 1 << 23  # what others on the host do meanwhile comes through it as well
PAUSE_S = 0.02
STALL_NS = 100_000_000  # the default stall length


class Watch:
    """Collects all events of one source."""

    def __init__(self, attach: str = "auto", **options: object) -> None:
        self.source: RunningSource = (
            BccSource(**options)
            if attach == "bcc"
            else KernelSource(
                attach=attach, **{"sizes": MapSizes(ring_bytes=RING_BYTES), **options}
            )
        )
        self.events: list[Event] = []

    def drain(self) -> None:
        self.events += self.source.drain(time.monotonic_ns()).events

    def until(self, condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
        """Drain until the condition holds; where it never does, what was dropped and seen last."""
        end = time.monotonic() + limit_s
        while True:
            self.source.poll(time.monotonic_ns())
            self.drain()
            if condition():
                return
            if time.monotonic() > end:
                dropped = [e for e in self.events if isinstance(e, DroppedEvents)]
                raise AssertionError("\n".join(map(repr, [*dropped[-20:], *self.events[-20:]])))
            time.sleep(PAUSE_S)

    def for_stall_lengths(self, times: int, pid: int) -> None:
        """Drain until a stall of this process is as long: for what must not be reported."""
        wanted_ns = times * STALL_NS
        self.until(lambda: any(stall.duration_ns >= wanted_ns for stall in self.stalls(pid)))

    def waits_for_nothing(self, pid: int, hanging: int) -> bool:
        """Whether it has no stall, by the time that another process hangs for 15 stall lengths."""
        self.for_stall_lengths(15, hanging)
        return self.stalls(pid) == []

    def of(self, pid: int) -> Iterator[Event]:
        for event in self.events:
            owner = getattr(event, "owner", None)
            if owner and owner.pid == pid:
                yield event

    def sent(self, pid: int) -> int:
        return sum(f.sent_bytes for f in self.of(pid) if isinstance(f, TrafficDelta))

    def received(self, pid: int) -> int:
        return sum(f.received_bytes for f in self.of(pid) if isinstance(f, TrafficDelta))

    def errors(self, pid: int, kind: ErrorKind) -> int:
        found = (f for f in self.of(pid) if isinstance(f, SocketError))
        return sum(f.count for f in found if f.kind is kind)

    def stalls(
        self, pid: int, *, ongoing: bool | None = None, direction: Direction | None = None
    ) -> list[Stall]:
        return [
            f
            for f in self.of(pid)
            if isinstance(f, Stall)
            and ongoing in (None, f.ongoing)
            and direction in (None, f.direction)
        ]

    def lost(self, where: str) -> int:
        return sum(
            f.count for f in self.events if isinstance(f, DroppedEvents) and f.where == where
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()


def answered_once_seen(seen: Watch, one: Peer, *, earlier: int = 0) -> Stall:
    """Its wait shows, and is answered then: exactly one ended stall, as long as it found.

    `earlier`: as many had ended before.
    """
    one.start()
    seen.until(lambda: seen.stalls(one.pid, ongoing=True))
    bounds = one.go()
    seen.until(lambda: len(seen.stalls(one.pid, ongoing=False)) > earlier)
    seen.drain()
    (ended,) = seen.stalls(one.pid, ongoing=False)[earlier:]
    assert ended.direction is Direction.RECEIVE
    assert is_within(ended.duration_ns, bounds), (ended.duration_ns, bounds)
    return ended
