"""What each process has of RDMA, from two samples of its queue pairs and of the ports.

No wait is visible in the kernel, so none is in the graph.  The peers of queue pairs are not
either: the kernel lists their numbers, which are those of another host and not unique.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum, auto

from xctl_probe.commands.why.queue_pairs import DeviceQueuePairs, QueuePairSampler
from xctl_probe.events import PortErrorKind as Kind
from xctl_probe.events import PortErrors
from xctl_probe.linux.rdma_ports import has_devices
from xctl_probe.sources.base import CounterSource
from xctl_probe.sources.rdma import Rdma

# Many times what a sample takes.  A device whose firmware does not answer blocks for a minute.
_WAIT_S = 3.0


class Sign(IntEnum):
    """A sign that a process holds others up, or is held up; the strongest one comes first."""

    FAILED = auto()  # a queue pair is in an error state
    HELD = auto()  # the process is stopped or frozen, and has queue pairs
    LATE = auto()  # it posts no receive in time
    LATE_PEER = auto()  # its peer posts no receive in time
    PATH = auto()  # packets or acknowledgements are missing
    STILL = auto()  # no queue pair moved a packet
    NONE = auto()


# The errors of a port that are signs.
SIGNS = {
    Sign.LATE: (Kind.OUT_OF_BUFFER,),
    Sign.LATE_PEER: (Kind.RNR,),
    Sign.PATH: (Kind.RETRY_EXCEEDED, Kind.TIMEOUT, Kind.RETRY, Kind.SEQUENCE),
}


@dataclass(frozen=True, slots=True)
class RdmaUse:
    """The queue pairs of a process by device, and the errors of ports that it alone uses."""

    queue_pairs: tuple[DeviceQueuePairs, ...] = ()
    errors: Mapping[str, int] = field(default_factory=dict)  # count by word, as in `error.net`

    def sign(self, *, held: bool) -> Sign:
        """The strongest sign; `held`: the process is stopped or frozen."""
        if any(on.failed for on in self.queue_pairs):
            return Sign.FAILED
        if held and self.queue_pairs:
            return Sign.HELD
        for sign, kinds in SIGNS.items():
            if any(kind.value in self.errors for kind in kinds):
                return sign
        moving = any(on.moving for on in self.queue_pairs)
        still = any(on.still for on in self.queue_pairs)
        return Sign.STILL if still and not moving else Sign.NONE


@dataclass(frozen=True, slots=True)
class RdmaSampled:
    """RDMA of this host between two samples.

    `ports` has the other errors, of which the process is not known: count by word, by port or
    interface.  `notes` name what could not be observed.
    """

    by_pid: Mapping[int, RdmaUse] = field(default_factory=dict)
    ports: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class RdmaSampler:
    """Takes the first sample on a thread of its own, and the second one when asked.

    Without an RDMA device there is no thread, and nothing is opened.
    """

    def __init__(
        self,
        open_pairs: Callable[[], QueuePairSampler] = lambda: QueuePairSampler(None),
        open_counters: Callable[[], CounterSource] = Rdma,
        present: Callable[[], bool] = has_devices,
        wait_s: float = _WAIT_S,
    ) -> None:
        self._open_pairs = open_pairs
        self._open_counters = open_counters
        self._wait_s = wait_s
        self._asked = threading.Event()
        self._found: RdmaSampled | None = None
        self._thread: threading.Thread | None = None
        if present():
            # A daemon: it does not keep the command from ending while a read blocks.
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()

    def result(self) -> RdmaSampled:
        """Take the second sample, and compare the two."""
        if self._thread is None:
            return RdmaSampled()
        self._asked.set()
        self._thread.join(self._wait_s)
        return self._found or RdmaSampled(notes=("RDMA is left out: its devices do not answer",))

    def _work(self) -> None:
        pairs = self._open_pairs()
        try:
            pairs.sample()
            # Devices that go meanwhile, and what the kernel refuses, are missing.
            counters: CounterSource | None = None
            with suppress(OSError):
                counters = self._open_counters()
            self._asked.wait()
            pairs.sample()
            events: list[object] = []
            if counters is not None:
                with suppress(OSError):
                    events = list(counters.collect())
            errors = [event for event in events if isinstance(event, PortErrors)]
            self._found = _sampled(pairs.counts(), errors)
        finally:
            pairs.close()


def _sampled(counts: dict[int, list[DeviceQueuePairs]], errors: list[PortErrors]) -> RdmaSampled:
    owned: dict[int, Counter[str]] = {}
    ports: dict[str, Counter[str]] = {}
    for one in errors:
        if one.owner is not None and one.owner.pid in counts:
            owned.setdefault(one.owner.pid, Counter())[one.kind.value] += one.count
        else:
            ports.setdefault(one.name, Counter())[one.kind.value] += one.count
    by_pid = {
        pid: RdmaUse(tuple(devices), dict(owned.get(pid, {}))) for pid, devices in counts.items()
    }
    return RdmaSampled(by_pid, {name: dict(words) for name, words in ports.items()})
