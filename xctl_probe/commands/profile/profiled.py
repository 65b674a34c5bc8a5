"""What a profile found: values, which the report renders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from xctl_probe.commands.profile.bound import Bound
from xctl_probe.commands.profile.categories import (
    SHOWN,
    Category,
    receives,
    receives_uncounted,
    sends,
    sends_uncounted,
)
from xctl_probe.commands.profile.threads import ThreadSamples, label
from xctl_probe.commands.profile.usage import Usage
from xctl_probe.ebpf.profile import BUCKETS, Descriptor


@dataclass(frozen=True, slots=True)
class CallCounts:
    """The calls of one name on one kind of descriptor; as `ebpf.profile.Calls`."""

    name: str
    kind: Descriptor
    category: Category
    times: int
    failures: int
    total_ns: int
    sleep_ns: int
    bytes: int
    buckets: tuple[int, ...]

    @property
    def label(self) -> str:
        """Name, and what it was made on."""
        return label(self.name, self.kind)


@dataclass(frozen=True, slots=True)
class Latencies:
    """Latencies of one of the calls that are shown, with its variants."""

    name: str
    times: int
    total_ns: int
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """Bytes in one direction; `uncounted`: calls that moved others, whose number is not known."""

    counted: int
    uncounted: tuple[str, ...]

    @property
    def known(self) -> int | None:
        """None where nothing is known."""
        return None if self.uncounted and not self.counted else self.counted


@dataclass(frozen=True, slots=True)
class Profiled:
    """The result; without the kernel's counts, `calls` and `failures` are None.

    `failures`: by call and name of the errno.  `processes`: how many there were at the end.
    """

    pid: int
    comm: str
    elapsed_ns: int
    processes: int
    bound: Bound
    usage: Usage
    samples: ThreadSamples
    calls: tuple[CallCounts, ...] | None = None
    failures: dict[tuple[str, str], int] | None = None
    lost: int = 0
    notes: tuple[str, ...] = field(default=())

    def by_category(self) -> dict[Category, tuple[int, int]]:
        """Return the number of calls and their time in ns, for each category with any."""
        found: dict[Category, tuple[int, int]] = {}
        for one in self.calls or ():
            times, total_ns = found.get(one.category, (0, 0))
            found[one.category] = times + one.times, total_ns + one.total_ns
        return dict(sorted(found.items(), key=lambda item: -item[1][0]))

    def latencies(self) -> list[Latencies]:
        """Return those of the network calls; reads, writes and closes on sockets only."""
        found = []
        for shown, variants in SHOWN.items():
            chosen = [
                one
                for one in self.calls or ()
                if one.name in variants and one.category is Category.NETWORK
            ]
            if chosen:
                buckets = tuple(sum(one.buckets[n] for one in chosen) for n in range(BUCKETS))
                times = sum(buckets)
                found.append(Latencies(shown, times, sum(c.total_ns for c in chosen), buckets))
        return found

    def sent(self) -> Moved:
        """Return what was sent by calls on sockets of IPv4 and IPv6."""
        return self._moved(sends, sends_uncounted)

    def received(self) -> Moved:
        """Return what was received by them."""
        return self._moved(receives, receives_uncounted)

    def _moved(
        self, counted: Callable[[str], bool], uncounted: Callable[[str, Descriptor], bool]
    ) -> Moved:
        calls = self.calls or ()
        return Moved(
            sum(c.bytes for c in calls if c.kind is Descriptor.INTERNET and counted(c.name)),
            tuple(c.name for c in calls if uncounted(c.name, c.kind) and c.times > c.failures),
        )
