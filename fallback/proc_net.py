"""TCP sockets from /proc/net/tcp and tcp6, where sock_diag is refused (gVisor, containers).

These tables have no byte counts and no times, only states, queues and timers.  They show that a
thread is blocked on a socket without progress, but not which side sent last.
Format: net/ipv4/tcp_ipv4.c, get_tcp4_sock(); proc_net_tcp in the kernel's documentation.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from xctl_probe.events import Cause, Direction, Event, Process, Socket, Stall
from xctl_probe.fallback.owner_cache import Owners, is_due
from xctl_probe.fallback.sock_diag import (
    CLOSE_WAIT,
    ESTABLISHED,
    LISTEN,
    SYN_SENT,
    TIMER_PROBE,
    TIMER_RETRANSMIT,
)
from xctl_probe.fallback.thread_evidence import Processes, ProcessEvidence
from xctl_probe.linux.addresses import InterfaceByAddress, address_text
from xctl_probe.linux.socket_waits import NotRead
from xctl_probe.stalls.causes import Evidence, cause

_AF_INET, _AF_INET6 = 2, 10
_V4_DIGITS = 8
_FIELDS = 10
_SQUEEZE = 8  # a probe of a closed window takes less than this part of a full queue


class Row(NamedTuple):
    """One row of /proc/net/tcp.  Queues in bytes."""

    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    state: int
    tx_queue: int
    rx_queue: int
    timer: int
    retries: int
    uid: int
    inode: int


@dataclass(slots=True, eq=False)
class _Held:
    """A socket without progress: `begun` is its row at `since_ns`, `row` the latest one."""

    begun: Row
    row: Row
    socket: Socket
    since_ns: int
    stall: Stall | None = None
    failed_lookups: int = 0  # searches that did not find its owner


class ProcNet:
    """TCP connections of this network namespace, from /proc/net; without `stalls`, none is read."""

    def __init__(
        self,
        owners: Owners,
        interfaces: InterfaceByAddress,
        stall_ns: int,
        processes: Processes,
        proc: Path = Path("/proc"),
        *,
        stalls: bool = True,
    ) -> None:
        self._stalls = stalls
        self._owners = owners
        self._interfaces = interfaces
        self._stall_ns = stall_ns
        self._proc = proc
        self._held: dict[int, _Held] = {}
        self._ended: list[Stall] = []
        self._evidence = ProcessEvidence(owners, processes)
        self.rests = self.has_unaccepted = False  # the tables show too little to know

    def note_unchanged(self, now_ns: int) -> None:
        """Do nothing: it never rests."""

    def counts(self) -> dict[str, int]:
        """Return how many sockets make no progress."""
        return {"sockets_without_progress": len(self._held)}

    def sample(self, now_ns: int) -> None:
        """Read both tables once.  Raises OSError where they do not exist."""
        if not self._stalls:
            return
        self._evidence.begin()
        seen = {row.inode: row for row in self._rows() if row.inode and row.state != LISTEN}
        gone = self._held.keys() - seen.keys()
        for inode in gone:
            self._end(self._held.pop(inode), now_ns)
        self._owners.forget(gone)
        self._owners.search_for({})  # go on with what is not over
        self._owners.finished()  # asked for one by one
        for inode, row in seen.items():
            held = self._held.get(inode)
            if held is None or _moved(held.begun, row):
                if held is not None:
                    self._end(held, now_ns)
                held = self._held[inode] = _Held(row, row, self._socket(row), now_ns)
            held.row = row
            if now_ns - held.since_ns >= self._stall_ns:
                self._update(held, now_ns)

    def collect(self, now_ns: int, interval_ns: int) -> Iterator[Event]:  # noqa: ARG002
        """Yield the stalls that are over since the last call, then the ongoing ones."""
        self._owners.begin()
        self._interfaces.refresh()
        self.sample(now_ns)
        ended, self._ended = self._ended, []
        yield from ended
        for held in self._held.values():
            if held.stall is not None:
                yield held.stall

    def _rows(self) -> Iterator[Row]:
        table = self._proc / "net" / "tcp"
        yield from parse(table.read_bytes())
        try:
            yield from parse((self._proc / "net" / "tcp6").read_bytes())
        except FileNotFoundError:
            return  # IPv6 is off

    def _update(self, held: _Held, now_ns: int) -> None:
        why = _cause(held.row)
        if why is None:
            self._end(held, now_ns)
            return
        owner = self._owner(held)
        if owner is None and self._owners.is_pending(held.row.inode):
            return
        direction = Direction.CONNECT if held.row.state == SYN_SENT else None
        tid = None
        if direction is None:
            try:
                thread = self._evidence.thread_on(held.row.inode, Direction.SEND, Direction.RECEIVE)
            except NotRead:  # all stays as it was until the next sample
                self._go_on(held, now_ns)
                return
            tid, direction = thread or (None, None)
            if direction is None:
                self._end(held, now_ns)
                return
        held.stall = Stall(owner, held.socket, direction, now_ns - held.since_ns, True, why, tid)

    def _go_on(self, held: _Held, now_ns: int) -> None:
        if held.stall is not None:
            held.stall = replace(held.stall, duration_ns=now_ns - held.since_ns)

    def _end(self, held: _Held, now_ns: int) -> None:
        stall, held.stall = held.stall, None
        if stall is not None:
            lasted_ns = now_ns - held.since_ns
            self._ended.append(replace(stall, duration_ns=lasted_ns, ongoing=False))

    def _owner(self, held: _Held) -> Process | None:
        inode = held.row.inode
        if self._owners.is_current(inode):
            held.failed_lookups = 0
        elif not self._owners.is_pending(inode):
            held.failed_lookups += 1
            if is_due(held.failed_lookups):
                self._owners.search_for({inode: held.row.uid})
        return self._owners.get(inode)

    def _socket(self, row: Row) -> Socket:
        return Socket(
            row.inode, 0, "tcp",
            row.local_address, row.local_port, row.remote_address, row.remote_port,
            self._interfaces.of(row.local_address, row.remote_address), row.uid,
        )  # fmt: skip


def parse(table: bytes) -> Iterator[Row]:
    """Yield the rows of a table, without lines that do not parse."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < _FIELDS:
            continue
        try:
            yield _row(fields)
        except (ValueError, struct.error):
            continue


def _row(fields: list[bytes]) -> Row:
    local, local_port = _address(fields[1])
    remote, remote_port = _address(fields[2])
    tx_queue, _, rx_queue = fields[4].partition(b":")
    return Row(
        local, local_port, remote, remote_port, int(fields[3], 16),
        int(tx_queue, 16), int(rx_queue, 16), int(fields[5].partition(b":")[0], 16),
        int(fields[6], 16), int(fields[7]), int(fields[9]),
    )  # fmt: skip


def _address(field: bytes) -> tuple[str, int]:
    """Decode `0100007F:1F90`: the address as 32-bit words in host order, the port in hex."""
    address, _, port = field.partition(b":")
    words = [int(address[i : i + _V4_DIGITS], 16) for i in range(0, len(address), _V4_DIGITS)]
    raw = struct.pack(f"={len(words)}I", *words).ljust(16, b"\0")
    family = _AF_INET if len(address) == _V4_DIGITS else _AF_INET6
    return address_text(family, raw), int(port, 16)


def _moved(begun: Row, row: Row) -> bool:
    if (*begun[:4], begun.state, begun.rx_queue) != (*row[:4], row.state, row.rx_queue):
        return True  # a socket may be connected once more, from or to another address
    moved = abs(begun.tx_queue - row.tx_queue)
    # A probe sends a few bytes into a window that is nearly closed.
    squeezed = row.timer == TIMER_PROBE and moved * _SQUEEZE <= begun.tx_queue
    return moved > 0 and not squeezed


def _cause(row: Row) -> Cause | None:
    """Cause of a socket without progress; None where its state indicates no stall."""
    if row.state == SYN_SENT:
        return cause(Evidence(Direction.CONNECT))
    if row.state not in (ESTABLISHED, CLOSE_WAIT) or not row.tx_queue:
        return None
    probing = row.timer == TIMER_PROBE
    retransmitted = row.timer == TIMER_RETRANSMIT and row.retries > 0
    if not probing and not retransmitted:
        return None
    seen = Evidence(Direction.SEND, retransmitted=retransmitted, window_closed=probing)
    return cause(seen)
