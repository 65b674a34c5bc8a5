"""Queue pairs that failed, with their process, and bytes by process where counters are bound."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from xctl_probe.events import Process, QueuePairErrors, TrafficDelta
from xctl_probe.linux.procfs import in_first_pid_namespace, read_process
from xctl_probe.linux.rdma_netlink import NEVER_DUMPED, Device, QueuePair, RdmaNetlink
from xctl_probe.linux.rdma_users import Users

# A dump asks the firmware about each queue pair: dumps take 1 % of the time at most.
_LEAST_RATIO = 100
_RECEIVED, _SENT = "rdma_rx_bytes", "rdma_tx_bytes"
_Key = tuple[str, int, int | None]  # device, number, pid


class DeviceInfo(NamedTuple):
    """What sysfs has of a device: its driver, and the names of its wanted ports by number."""

    driver: str
    ports: dict[int, str]
    iwarp: bool = False

    def port(self, device: str, number: int | None) -> str | None:
        """The name of a port, None where it is not wanted; before it is chosen, the device's."""
        return self.ports.get(number) if number else device


class QueuePairs:
    """Emits each queue pair that two dumps in a row find in an error state, once.

    One dump is not enough: a queue pair that is torn down is in the error state for a moment.
    """

    def __init__(
        self,
        open_netlink: Callable[[], RdmaNetlink] = RdmaNetlink,
        process: Callable[[int], Process | None] = read_process,
        clock: Callable[[], int] = time.monotonic_ns,
        all_shown: Callable[[], bool] = in_first_pid_namespace,
    ) -> None:
        self._open_netlink = open_netlink
        self._netlink: RdmaNetlink | None = None
        self._process = process
        self._clock = clock
        self._all_shown = all_shown()
        self._next_ns = 0
        self._failing: set[_Key] = set()
        self._reported: set[_Key] = set()
        self._totals: dict[tuple[str, int, int], tuple[int, int]] = {}
        self._counted_ns: dict[str, int] = {}  # by device, when these were read
        self._countless: set[str] = set()  # devices that know no bound counters
        # By device, of the last two calls.
        self._users_before: dict[str, Users] = {}
        self._users: dict[str, Users] = {}
        # By index and name, with their number: see _unchanged.
        self._dumped: dict[tuple[int, str], tuple[Users, int | None]] = {}

    def collect(self, known: Mapping[str, DeviceInfo]) -> Iterator[QueuePairErrors | TrafficDelta]:
        """What is new since the last call, on the devices that are known by these names."""
        self._users_before, self._users = self._users, {}
        began_ns = self._clock()
        if not known:
            return
        if began_ns < self._next_ns:
            self._users = self._unchanged()
            return
        try:
            if self._netlink is None:
                self._netlink = self._open_netlink()
            counts = self._netlink.queue_pair_counts()
        except OSError:
            self._next_ns = began_ns + _LEAST_RATIO * 10_000_000
            return
        self._countless &= known.keys()
        self._dumped = {}
        failed: list[QueuePair] = []
        unread: set[str] = set()
        for (index, name), count in counts.items():
            info = known.get(name)
            if info is None or info.driver in NEVER_DUMPED:
                continue
            device = Device(index, name, info.iwarp)
            # iWARP devices leave the state unset, or set it only in newer kernels (siw).
            found = [] if device.iwarp else self._failed(device, count)
            if found is None:
                unread.add(name)
            failed += found or []
            yield from self._moved(device, info)
        yield from self._new(failed, unread, known)
        now_ns = self._clock()
        self._next_ns = now_ns + (now_ns - began_ns) * _LEAST_RATIO

    def sole_user(self, device: str) -> Process | None:
        """The process that alone had queue pairs on a device in the last two calls.

        None where there was another, one of the kernel, or one that this pid namespace does not
        show, and where queue pairs were made or removed after the last dump.
        """
        now, before = self._users.get(device), self._users_before.get(device)
        if now is None or before is None or not self._all_shown:
            return None
        pid = now.sole()
        return None if pid is None or pid != before.sole() else self._process(pid)

    def _unchanged(self) -> dict[str, Users]:
        """The users by the last dump, of devices with as many queue pairs as then."""
        if self._netlink is None or not self._dumped:
            return {}
        try:
            counts = self._netlink.queue_pair_counts()
        except OSError:
            return {}
        return {
            name: users
            for (index, name), (users, count) in self._dumped.items()
            if count is not None and counts.get((index, name)) == count
        }

    def _failed(self, device: Device, count: int | None) -> list[QueuePair] | None:
        """The failed ones of a device, which had `count` before; notes its users.

        None where the dump failed.
        """
        assert self._netlink is not None
        users = Users(count)
        try:
            failed = self._netlink.failed(device, users.add)
        except OSError:  # unplugged just now, or memory ran out
            return None
        self._users[device.name] = users
        self._dumped[device.index, device.name] = users, count
        return failed

    def _new(
        self, failed: list[QueuePair], unread: set[str], known: Mapping[str, DeviceInfo]
    ) -> Iterator[QueuePairErrors]:
        """The failed ones that are new.  Of the `unread` devices, all is as it was before."""
        keys = {(one.device, one.number, one.pid): one for one in failed}
        sums: dict[tuple[str, int | None], list[QueuePair]] = {}
        for key in self._failing & keys.keys() - self._reported:
            one = keys[key]
            port = known[one.device].port(one.device, one.port)
            if port is None:
                continue
            sums.setdefault((port, one.pid), []).append(one)
        kept = {key for key in self._failing | self._reported if key[0] in unread}
        self._reported = (self._reported & (keys.keys() | kept)) | (self._failing & keys.keys())
        self._failing = set(keys) | (self._failing & kept)
        for (port, pid), ones in sums.items():
            first = min(ones, key=lambda one: one.number)
            yield QueuePairErrors(
                owner=None if pid is None else self._process(pid),
                port=port,
                count=len(ones),
                number=first.number,
                peer=first.peer,
                type=first.type,
                state=first.state,
                kernel_name=first.kernel_name,
            )

    def _moved(self, device: Device, info: DeviceInfo) -> Iterator[TrafficDelta]:
        """Bytes by process since the last dump, of which not each interval has one.

        A counter that is new has no past.
        """
        assert self._netlink is not None
        if device.name in self._countless:
            return
        try:
            counters = list(self._netlink.bound_counters(device))
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                self._countless.add(device.name)
            return
        now_ns = self._clock()
        elapsed_ns = now_ns - self._counted_ns.get(device.name, now_ns)
        self._counted_ns[device.name] = now_ns
        totals = {key: t for key, t in self._totals.items() if key[0] != device.name}
        for counter in counters:
            if _RECEIVED not in counter.values or _SENT not in counter.values:
                continue
            key = (device.name, counter.id, counter.pid)
            now = counter.values[_RECEIVED], counter.values[_SENT]
            totals[key] = now
            received, sent = (n - b for n, b in zip(now, self._totals.get(key, now), strict=True))
            if received >= 0 and sent >= 0 and received + sent:
                port = info.port(device.name, counter.port)
                if port is None:
                    continue
                owner = self._process(counter.pid)
                yield TrafficDelta(owner, port, sent, received, elapsed_ns, of_port=True)
        self._totals = totals
