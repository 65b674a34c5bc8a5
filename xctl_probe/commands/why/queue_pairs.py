"""The RDMA queue pairs of processes, from two samples: which of them move packets."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from xctl_probe.commands.why.humanize import pluralize
from xctl_probe.linux.rdma_netlink import (
    FAILED_STATES,
    NEVER_DUMPED,
    Device,
    QueuePair,
    RdmaNetlink,
)
from xctl_probe.linux.rdma_ports import INFINIBAND, driver

IDLE_OR_STALLED = "idle or stalled, which the kernel does not distinguish"
_FEW = 3
_READY = ("RTR", "RTS", "SQD")  # states in which it may receive


class Activity(StrEnum):
    """What two samples show of a queue pair."""

    FAILED = "failed"
    MOVES = "moves packets"
    STILL = f"no packet between two samples: {IDLE_OR_STALLED}"
    UNKNOWN = "whether it moves is not known"
    NOT_READY = "neither sends nor receives yet"


@dataclass(frozen=True, slots=True)
class ProcessQueuePair:
    """A queue pair at the second sample.

    `moved`: a packet sequence number changed between the samples; None where that is not known
    (iWARP, or a queue pair that is new).
    """

    device: str
    port: int | None
    number: int
    peer: int | None
    type: str
    state: str
    moved: bool | None

    @property
    def activity(self) -> Activity:
        """What the two samples show."""
        if self.state in FAILED_STATES:
            return Activity.FAILED
        if self.state not in _READY:
            return Activity.NOT_READY
        if self.moved is None:
            return Activity.UNKNOWN
        return Activity.MOVES if self.moved else Activity.STILL


@dataclass(frozen=True, slots=True)
class DeviceQueuePairs:
    """The queue pairs of a process on one device, counted by what two samples show.

    `moving` sent or received packets, `still` did not; `failed` are in an error state; `others`
    are not connected yet, or not known to move.
    """

    device: str
    moving: int = 0
    still: int = 0
    failed: int = 0
    others: int = 0

    @property
    def count(self) -> int:
        """All of them."""
        return self.moving + self.still + self.failed + self.others

    @property
    def text(self) -> str:
        """The counts in words; failed ones first."""
        counts = (
            (self.failed, "failed"),
            (self.moving, "moving packets"),
            (self.still, "idle or stalled"),
            (self.others, "not known to move"),
        )
        return ", ".join(f"{count} {what}" for count, what in counts if count)


class QueuePairSampler:
    """Samples the queue pairs of one process, or of all where `pid` is None.

    Without an RDMA device it opens nothing.
    """

    def __init__(
        self,
        pid: int | None,
        open_netlink: Callable[[], RdmaNetlink] = RdmaNetlink,
        root: Path = INFINIBAND,
    ) -> None:
        self._pid = pid
        self._root = root
        self._netlink: RdmaNetlink | None = None
        self._before: dict[tuple[str, int], QueuePair] = {}
        self._now: dict[tuple[str, int], QueuePair] = {}
        self._iwarp: set[str] = set()
        with suppress(OSError):
            # Opening the socket would load a kernel module.
            if os.listdir(root):
                self._netlink = open_netlink()

    def close(self) -> None:
        """Give the descriptor back."""
        if self._netlink is not None:
            self._netlink.close()

    def sample(self) -> None:
        """Take a sample; what the kernel refuses is missing."""
        self._before, self._now = self._now, {}
        if self._netlink is None:
            return
        with suppress(OSError):
            for device in self._netlink.devices():
                self._sample_device(self._netlink, device)

    def _sample_device(self, netlink: RdmaNetlink, device: Device) -> None:
        if device.iwarp:
            self._iwarp.add(device.name)
        if driver(device.name, self._root) in NEVER_DUMPED:
            return
        with suppress(OSError):
            found = (
                netlink.all_queue_pairs(device)
                if self._pid is None
                else netlink.queue_pairs(device, self._pid)
            )
            for one in found:
                self._now[one.device, one.number] = one

    def result(self) -> tuple[ProcessQueuePair, ...]:
        """The queue pairs of the last sample, compared with the one before."""
        return tuple(one for _, one in self.by_pid())

    def by_pid(self) -> Iterator[tuple[int | None, ProcessQueuePair]]:
        """The same with the process of each; None: the kernel's own."""
        for one in self._now.values():
            yield (
                one.pid,
                ProcessQueuePair(
                    one.device,
                    one.port,
                    one.number,
                    one.peer,
                    one.type,
                    one.state,
                    self._moved(one),
                ),
            )

    def counts(self) -> dict[int, list[DeviceQueuePairs]]:
        """How many each process has on each device, by pid; without the kernel's own."""
        kinds: dict[tuple[int, str], Counter[Activity]] = {}
        for pid, one in self.by_pid():
            if pid is not None:
                kinds.setdefault((pid, one.device), Counter())[one.activity] += 1
        found: dict[int, list[DeviceQueuePairs]] = {}
        for (pid, device), counted in sorted(kinds.items()):
            found.setdefault(pid, []).append(
                DeviceQueuePairs(
                    device,
                    moving=counted[Activity.MOVES],
                    still=counted[Activity.STILL],
                    failed=counted[Activity.FAILED],
                    others=counted[Activity.UNKNOWN] + counted[Activity.NOT_READY],
                )
            )
        return found

    def _moved(self, now: QueuePair) -> bool | None:
        before = self._before.get((now.device, now.number))
        if before is None or now.device in self._iwarp or now.sq_psn is None:
            return None
        return (before.sq_psn, before.rq_psn) != (now.sq_psn, now.rq_psn)


def is_still(pairs: Iterable[ProcessQueuePair]) -> bool:
    """True where queue pairs are ready, and none of all is seen to move."""
    activities = {one.activity for one in pairs}
    return Activity.STILL in activities and Activity.MOVES not in activities


def queue_pair_lines(pairs: tuple[ProcessQueuePair, ...]) -> Iterator[str]:
    """One line for all queue pairs of a port that are alike; failed ones first."""
    groups: dict[tuple[str, str], list[ProcessQueuePair]] = {}
    for one in sorted(pairs, key=lambda one: (one.state not in FAILED_STATES, one.number)):
        port = f" port {one.port}" if one.port else ""
        where = f"on {one.device}{port}, {one.type}, state {one.state}"
        groups.setdefault((where, one.activity), []).append(one)
    for (where, activity), ones in groups.items():
        numbers = ", ".join(_name(one) for one in ones[:_FEW])
        more = f" and {len(ones) - _FEW} more" if len(ones) > _FEW else ""
        yield f"  {pluralize(len(ones), 'RDMA queue pair')} {where} ({numbers}{more}): {activity}"


def _name(one: ProcessQueuePair) -> str:
    return f"qp {one.number}" + (f" -> {one.peer}" if one.peer else "")
