"""Records of each interval to series: the one place that maps a record to metrics."""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Callable, Sequence

from xctl_probe.events import (
    DroppedEvents,
    ErrorKind,
    PacketCounts,
    Placement,
    PortErrors,
    Process,
    QueuePairErrors,
    SocketError,
)
from xctl_probe.exporters.labels import entity
from xctl_probe.exporters.records import (
    BandwidthRecord,
    CpuRecord,
    ErrorRecord,
    InterfaceErrors,
    InterfaceFailure,
    MemoryRecord,
    Record,
    StallRecord,
)
from xctl_probe.linux.procfs import read_once, real_user
from xctl_probe.prometheus import families as f
from xctl_probe.prometheus.presence import LastUsed, ProcessKey, is_alive, keep
from xctl_probe.prometheus.registry import MOST_SERIES, Group, Labels, Registry, Series
from xctl_probe.prometheus.top_processes import TopProcesses
from xctl_probe.prometheus.waits import Wait, Waits

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_RECEIVE, _SEND = "receive", "send"
_REASONS = {
    ErrorKind.REFUSED: "refused",
    ErrorKind.TIMEOUT: "timeout",
    ErrorKind.PROHIBITED: "prohibited",
    ErrorKind.NO_PORT: "no_port",
}
_BROKEN = {ErrorKind.RESET: f.RESETS, ErrorKind.ABORTED: f.ABORTS}
_OF_INTERFACE = {
    InterfaceFailure.ERRORS: f.INTERFACE_ERRORS,
    InterfaceFailure.DROPS: f.INTERFACE_DROPS,
}

# Loads are read once a second: without any for so long, no process has one.
_LOAD_NS = 3 * _NS_PER_S
_MOST_EXPIRED = 256  # of a kind, in one interval: of each, up to eight processes are read
_WaitKey = tuple[Group, f.Family, Wait]


class Collector:
    """Adds the records of each interval to a registry.

    `pids`: so many processes, by bytes and by waits each, have series of their own.  `uid_of` gives
    the user of a pid, whose share of the room a new series takes.  `render` is as for `Registry`;
    `began_ms` is the time from which the first series count, and that of the last interval until
    there is one: a probe that hangs from its start is late, one with a long interval is not.
    """

    def __init__(
        self,
        interval_ns: int,
        info: tuple[str, str],
        pids: int = 0,
        *,
        most: int = MOST_SERIES,
        alive: Callable[[ProcessKey], bool] = is_alive,
        uid_of: Callable[[int], int] = real_user,
        render: Callable[[f.Family, Labels], bytes] | None = None,
        began_ms: int = 0,
    ) -> None:
        self.registry = Registry(most, render)
        self.registry.since_ms = began_ms
        self._uid_of = uid_of
        self._alive = alive
        self._waits = Waits()
        self._groups: dict[tuple[str, ...], Group] = {}
        self._interfaces: dict[str, Group] = {}
        self._groups_used: LastUsed[Group] = LastUsed()
        self._interfaces_used: LastUsed[str] = LastUsed()
        self._waits_used: LastUsed[_WaitKey] = LastUsed()
        self._new: list[Group] = []  # of this interval
        self._waiting: list[Series] = []  # gauges that are not 0
        self._resident: list[Series] = []  # likewise
        self._loads_ns = 0  # when there were some
        self._top = (TopProcesses(pids), TopProcesses(pids)) if pids else None
        self._probe = Group(reserved=True)
        self._set_probe(interval_ns, info, began_ms)

    def add(self, records: Sequence[Record], now_ns: int, now_ms: int) -> None:
        """Add the records of one interval; its time is monotonic, and since the Unix epoch."""
        waits = [
            (record, *self._waits.added(record, now_ns))
            for record in records
            if isinstance(record, StallRecord)
        ]
        self._rank(records, waits)
        for series in self._waiting:
            series.value = 0
        self._waiting.clear()
        self._begin_loads(records, now_ns)
        other = self._find(f.OTHER_RECORDS)
        for stall, wait, added_ns in waits:
            before = self.registry.overflowed
            self._wait(stall, wait, added_ns, now_ns)
            other.value += self.registry.overflowed > before
        for record in records:
            before = self.registry.overflowed
            if isinstance(record, BandwidthRecord):
                self._bandwidth(record, now_ns)
            elif isinstance(record, ErrorRecord):
                self._error(record, now_ns)
            elif isinstance(record, (CpuRecord, MemoryRecord)):
                self._load(record, now_ns)
            other.value += self.registry.overflowed > before
        self._expire(now_ns, now_ms)
        self._note_interval(now_ms)
        self.registry.since_ms = now_ms

    def _rank(self, records: Sequence[Record], waits: list[tuple[StallRecord, Wait, int]]) -> None:
        if self._top is None:
            return
        moved: Counter[tuple[int, int]] = Counter()
        waited: Counter[tuple[int, int]] = Counter()
        for record in records:
            if isinstance(record, BandwidthRecord) and (owner := record.owner) is not None:
                moved[owner.pid, owner.start_ticks] += record.rx_bytes + record.tx_bytes
        for stall, _, added_ns in waits:
            if (owner := stall.owner) is not None:
                waited[owner.pid, owner.start_ticks] += added_ns
        for top, amounts in zip(self._top, (moved, waited), strict=True):
            top.rank(amounts)

    def _bandwidth(self, record: BandwidthRecord, now_ns: int) -> None:
        name = record.interface
        if record.owner is not None:
            top = self._top[0] if self._top else None
            group = self._group(record.owner, record.placement, name, now_ns, top=top)
            family = f.PROCESS_BYTES
        else:
            group = self._interface(name, now_ns)
            family = f.INTERFACE_BYTES if record.link is None else f.RDMA_PORT_BYTES
        self.registry.find(group, family, (name, _RECEIVE)).value += record.rx_bytes
        self.registry.find(group, family, (name, _SEND)).value += record.tx_bytes
        if record.unattributed_bytes is not None:
            found = self.registry.find(group, f.UNATTRIBUTED_BYTES, (name,))
            found.value += record.unattributed_bytes
        if record.packets is not None:
            self._packets(group, name, record.packets)
        if record.xmit_wait is not None:
            self.registry.find(group, f.XMIT_WAIT, (name,)).value += record.xmit_wait

    def _packets(self, group: Group, name: str, packets: PacketCounts) -> None:
        for direction, counts in ((_RECEIVE, packets.rx), (_SEND, packets.tx)):
            for kind, (count, size) in counts.items():
                labels = name, direction, kind
                self.registry.find(group, f.INTERFACE_PACKETS, labels).value += count
                self.registry.find(group, f.INTERFACE_PACKET_BYTES, labels).value += size

    def _wait(self, record: StallRecord, wait: Wait, added_ns: int, now_ns: int) -> None:
        uid = record.stall.socket.uid
        top = self._top[1] if self._top else None
        group = self._group(record.owner, record.placement, wait.interface, now_ns, uid, top)
        self.registry.find(group, f.WAIT_SECONDS, wait).value += added_ns
        waiting = self.registry.find(group, f.WAITING_SOCKETS, wait)
        if record.stall.ongoing:
            waiting.value += 1
            self._waiting.append(waiting)
        for family in (f.WAIT_SECONDS, f.WAITING_SOCKETS):
            if (family, wait) in group.series:
                self._waits_used.note((group, family, wait), now_ns)

    def _begin_loads(self, records: Sequence[Record], now_ns: int) -> None:
        """Forget resident memory where it was read again, or no process is read any more."""
        if any(isinstance(record, MemoryRecord) for record in records):
            self._loads_ns = now_ns
        elif now_ns - self._loads_ns < _LOAD_NS:
            return
        for series in self._resident:
            series.value = 0
        self._resident.clear()

    def _load(self, record: CpuRecord | MemoryRecord, now_ns: int) -> None:
        group = self._group(record.owner, record.placement, "", now_ns)
        if isinstance(record, CpuRecord):
            found = self.registry.find(group, f.PROCESS_CPU_SECONDS)
            found.value += record.load.cpu_ns
        else:
            found = self.registry.find(group, f.PROCESS_MEMORY_BYTES)
            found.value += record.load.resident_bytes
            self._resident.append(found)

    def _error(self, record: ErrorRecord, now_ns: int) -> None:
        error = record.error
        if isinstance(error, DroppedEvents):
            self._find(f.LOST_EVENTS, (error.where,)).value += error.count
        elif isinstance(error, InterfaceErrors):
            group, family = self._interface(error.interface, now_ns), _OF_INTERFACE[error.kind]
            for direction, count in ((_RECEIVE, error.rx), (_SEND, error.tx)):
                self.registry.find(group, family, (error.interface, direction)).value += count
        elif isinstance(error, SocketError):
            interface, uid = error.socket.interface or "", error.socket.uid
            group = self._group(record.owner, record.placement, interface, now_ns, uid)
            self._failure(group, error, interface)
        else:
            self._port(record, error, now_ns)

    def _failure(self, group: Group, error: SocketError, interface: str) -> None:
        if error.kind is ErrorKind.RETRANSMIT:
            self.registry.find(group, f.RETRANSMITS, (interface,)).value += error.count
            duplicates = self.registry.find(group, f.DUPLICATES, (interface,))
            duplicates.value += error.duplicates
        elif (reason := _REASONS.get(error.kind)) is not None:
            found = self.registry.find(group, f.CONNECT_FAILURES, (interface, reason))
            found.value += error.count
        else:
            found = self.registry.find(group, _BROKEN[error.kind], (interface,))
            found.value += error.count

    def _port(self, record: ErrorRecord, error: PortErrors | QueuePairErrors, now_ns: int) -> None:
        port = entity(record)
        group = self._group(record.owner, record.placement, port, now_ns)
        if isinstance(error, QueuePairErrors):
            self.registry.find(group, f.QUEUE_PAIR_ERRORS, (port,)).value += error.count
            return
        priority = "" if error.priority is None else str(error.priority)
        found = self.registry.find(group, f.PORT_ERRORS, (port, error.kind.value, priority))
        found.value += error.count

    def _group(
        self,
        owner: Process | None,
        placement: Placement | None,
        interface: str,
        now_ns: int,
        uid: int | None = None,
        top: TopProcesses | None = None,
    ) -> Group:
        """Return the group of all processes with that name in that place.

        Without an owner, it is that of the interface.
        """
        if owner is None:
            return self._interface(interface, now_ns)
        pid = str(owner.pid) if top is not None and owner in top else ""
        if placement is None:
            values = ("", "", "", "", owner.comm, pid)
        else:
            values = (
                placement.job_id or "",
                placement.pod or "",
                placement.pod_namespace or "",
                placement.container or "",
                owner.comm,
                pid,
            )
        group = self._groups.get(values)
        if group is None:
            user = self._uid_of(owner.pid) if uid is None else uid
            group = self._groups[values] = Group(zip(f.OWNER, values, strict=True), user)
            self._new.append(group)
        self._groups_used.note(group, now_ns)
        keep(group.processes, (owner.pid, owner.start_ticks))
        return group

    def _interface(self, name: str, now_ns: int) -> Group:
        group = self._interfaces.get(name)
        if group is None:
            group = self._interfaces[name] = Group()
        self._interfaces_used.note(name, now_ns)
        return group

    def _expire(self, now_ns: int, now_ms: int) -> None:
        self._waits.expire(now_ms)
        for group, family, wait in self._waits_used.unused(now_ns, _MOST_EXPIRED):
            self.registry.drop_series(group, family, wait)
        for name in self._interfaces_used.unused(now_ns, _MOST_EXPIRED):
            self.registry.drop(self._interfaces.pop(name))
        for group in self._groups_used.unused(now_ns, _MOST_EXPIRED):
            # A counter of a process that lives and is silent stays: its next value would be
            # taken for a restart.
            group.processes = [key for key in group.processes if self._alive(key)]
            if group.processes:
                self._groups_used.note(group, now_ns)
            else:
                self._drop(group)
        for group in self._new:
            if not group.series:  # it found no room
                self._drop(group)
        self._new.clear()

    def _drop(self, group: Group) -> None:
        self.registry.drop(group)
        self._groups.pop(tuple(value for _, value in group.labels), None)
        self._groups_used.forget(group)

    def _find(self, family: f.Family, values: tuple[str, ...] = ()) -> Series:
        return self.registry.find(self._probe, family, values)

    def _set_probe(self, interval_ns: int, info: tuple[str, str], began_ms: int) -> None:
        for where in f.DROPPED_AT:
            self._find(f.LOST_EVENTS, (where,))
        for family in (f.INTERVALS, f.OTHER_RECORDS, f.SERIES, f.MEMORY_BYTES):
            self._find(family)
        self._find(f.LAST_INTERVAL).value = began_ms * _NS_PER_MS
        self._find(f.INTERVAL).value = interval_ns
        self._find(f.INFO, info).value = 1
        self._find(f.SERIES_LIMIT).value = self.registry.most

    def _note_interval(self, now_ms: int) -> None:
        self._find(f.INTERVALS).value += 1
        self._find(f.LAST_INTERVAL).value = now_ms * _NS_PER_MS
        used = resource.getrusage(resource.RUSAGE_SELF)
        self._find(f.CPU_SECONDS).value = round((used.ru_utime + used.ru_stime) * _NS_PER_S)
        if pages := read_once("/proc/self/statm").split():  # empty where descriptors ran out
            self._find(f.MEMORY_BYTES).value = int(pages[1]) * _PAGE_BYTES
        self._find(f.SERIES).value = len(self.registry)
