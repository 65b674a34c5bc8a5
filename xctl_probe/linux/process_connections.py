"""The TCP connections of one process, and what its threads do.  proc(5): fd, net/tcp, stat.

Addresses come from the table of the network namespace of the process, so that a container needs no
entering.  Descriptors may block their reader during an execve; a helper reads (`helper`).
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from xctl_probe.events import Connection, PeerActivity
from xctl_probe.linux import procfs
from xctl_probe.linux.addresses import address_text, endpoint_text
from xctl_probe.linux.tasks import reader_of
from xctl_probe.linux.thread_states import ThreadStates

MOST_CONNECTIONS = 1_024  # of one process
_ESTABLISHED, _CLOSE_WAIT = b"01", b"08"
_LOCAL, _REMOTE, _STATE, _INODE = 1, 2, 3, 9  # columns of net/tcp
_WORD_DIGITS, _V4_DIGITS, _V6_DIGITS = 8, 8, 32
_TABLE_KEPT_NS = 500_000_000
_MOST_TABLE_BYTES = 64 << 20


class Asked(NamedTuple):
    """A process that is to be read; start in clock ticks, as in `events.Process`."""

    pid: int
    start_ticks: int
    uid: int


class Held(NamedTuple):
    """What was read: connections to other addresses, in the order of their text.

    `left_out` counts those beyond `MOST_CONNECTIONS`.  `spent_ns` is the CPU time of the read.
    """

    connections: tuple[Connection, ...]
    left_out: int
    activity: PeerActivity | None
    spent_ns: int


@dataclass(slots=True)
class _Table:
    read_ns: int
    by_inode: dict[int, Connection]


class ConnectionReader:
    """Reads processes; a table is read once for all processes of a namespace."""

    def __init__(self, proc: Path = procfs.PROC) -> None:
        self._proc = proc
        self._states = ThreadStates(proc)
        self._tables: dict[int, _Table] = {}

    def __call__(self, asked: Asked) -> Held | None:
        """Return what this process holds, None where it is gone or may not be read."""
        begun_ns = time.process_time_ns()
        try:
            inodes = self._inodes(asked.pid)
            table = self._table(asked.pid) if inodes else {}
        except OSError:
            return None
        self._states.begin()
        activity = self._states.of(asked.pid)
        now = procfs.read_process(asked.pid, self._proc)
        if now is None or now.start_ticks != asked.start_ticks:
            return None
        found = sorted({table[inode] for inode in inodes if inode in table})
        left_out = max(len(found) - MOST_CONNECTIONS, 0)
        spent_ns = time.process_time_ns() - begun_ns
        return Held(tuple(found[:MOST_CONNECTIONS]), left_out, activity, spent_ns)

    def _inodes(self, pid: int) -> set[int]:
        folder = self._proc / str(reader_of(pid, self._proc)) / "fd"
        links = (procfs.link(folder / name) for name in os.listdir(folder))
        return {inode for link in links if (inode := procfs.socket_inode(link)) is not None}

    def _table(self, pid: int) -> dict[int, Connection]:
        netns = procfs.namespace_inode("net", pid, self._proc)
        now_ns = time.monotonic_ns()
        known = self._tables.get(netns)
        if known is None or now_ns - known.read_ns > _TABLE_KEPT_NS:
            for old in [key for key, one in self._tables.items() if _is_old(one, now_ns)]:
                del self._tables[old]
            folder = self._proc / str(pid) / "net"
            rows = (
                row
                for name in ("tcp", "tcp6")
                for row in parse(procfs.read(folder / name, _MOST_TABLE_BYTES))
            )
            known = self._tables[netns] = _Table(now_ns, dict(rows))
        return known.by_inode


def _is_old(table: _Table, now_ns: int) -> bool:
    return now_ns - table.read_ns > _TABLE_KEPT_NS


def parse(table: bytes) -> Iterator[tuple[int, Connection]]:
    """Yield inode and addresses of the open connections of a table of /proc/net/tcp or tcp6.

    Those to a loopback address, or to the address that they come from, stay on this host and are
    left out, as are lines that do not parse.  proc_net_tcp in the kernel's documentation.
    """
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) <= _INODE or fields[_STATE] not in (_ESTABLISHED, _CLOSE_WAIT):
            continue
        try:
            local, local_port = _endpoint(fields[_LOCAL])
            remote, remote_port = _endpoint(fields[_REMOTE])
            inode = int(fields[_INODE])
            stays = local == remote or ip_address(remote).is_loopback
        except (ValueError, struct.error, OSError):
            continue
        if inode and not stays:
            yield (
                inode,
                Connection(endpoint_text(local, local_port), endpoint_text(remote, remote_port)),
            )


def _endpoint(field: bytes) -> tuple[str, int]:
    """Decode `0100007F:1F90`: the address as 32-bit words in host order, the port in hex."""
    address, _, port = field.partition(b":")
    if len(address) not in (_V4_DIGITS, _V6_DIGITS):
        raise ValueError(field)
    digits = range(0, len(address), _WORD_DIGITS)
    words = [int(address[i : i + _WORD_DIGITS], 16) for i in digits]
    raw = struct.pack(f"={len(words)}I", *words).ljust(16, b"\0")
    family = socket.AF_INET if len(address) == _V4_DIGITS else socket.AF_INET6
    return address_text(family, raw), int(port, 16)
