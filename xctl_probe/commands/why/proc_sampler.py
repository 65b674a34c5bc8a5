"""One process's sockets as /proc shows them.

That is queues and timers only, but also of UDP, and in any network namespace.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from xctl_probe.commands.why.sockets import STATES, Tcp, Udp
from xctl_probe.events import Cause
from xctl_probe.fallback.proc_net import Row, parse
from xctl_probe.fallback.sock_diag import SYN_SENT, TIMER_PROBE, TIMER_RETRANSMIT
from xctl_probe.linux.addresses import endpoint_text

_SOCKET = "socket:["
_FIRST_CHOSEN_PORT = 32_768  # as Linux has it at first: ip(7), ip_local_port_range


def socket_fds(pid: int, proc: Path = Path("/proc")) -> dict[int, int]:
    """Descriptors by inode: the sockets that the process holds; the lowest of several.

    Raises PermissionError where one may not look, FileNotFoundError when it is gone.
    """
    folder = proc / str(pid) / "fd"
    found: dict[int, int] = {}
    for fd in sorted(map(int, os.listdir(folder))):
        try:
            target = os.readlink(folder / str(fd))
        except PermissionError:
            raise
        except OSError:
            continue  # closed meanwhile
        if target.startswith(_SOCKET):
            found.setdefault(int(target[len(_SOCKET) : -1]), fd)
    return found


class ProcSampler:
    """Two looks at /proc/<pid>/net: what is left where sock_diag is refused."""

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        self._net = proc / str(pid) / "net"
        self._first: dict[int, Row] = {}
        self._last: dict[int, Row] = {}

    def sample(self, inodes: Iterable[int]) -> None:
        """Read both tables.  Raises OSError where there is none."""
        wanted = {inode for inode in inodes if inode}
        rows = {row.inode: row for row in self._rows() if row.inode in wanted}
        self._first = {inode: self._first.get(inode, row) for inode, row in rows.items()}
        self._last = rows

    def _rows(self) -> Iterator[Row]:
        yield from parse((self._net / "tcp").read_bytes())
        yield from parse(_or_empty(self._net / "tcp6"))

    def tcp(self, fds: dict[int, int]) -> list[Tcp]:
        """What the looks have shown."""
        return [_of_row(fds[inode], row, self._first[inode]) for inode, row in self._last.items()]


def _of_row(fd: int, row: Row, first: Row) -> Tcp:
    return Tcp(
        fd=fd,
        inode=row.inode,
        state=STATES.get(row.state, str(row.state)),
        local=endpoint_text(row.local_address, row.local_port),
        remote=endpoint_text(row.remote_address, row.remote_port),
        receive_queue=row.rx_queue,
        send_queue=row.tx_queue,
        opened=True if row.state == SYN_SENT else None,
        moved=(first.tx_queue, first.rx_queue) != (row.tx_queue, row.rx_queue),
        probing=row.timer == TIMER_PROBE,
        send_cause=Cause.PEER_WINDOW if row.timer == TIMER_PROBE else None,
        retransmits=row.retries if row.timer == TIMER_RETRANSMIT else 0,
        next_try_ms=None,
    )


def udp_sockets(pid: int | str, fds: dict[int, int], proc: Path = Path("/proc")) -> list[Udp]:
    """The process's UDP sockets; the last column of /proc/net/udp counts the drops.

    Of the namespace of `pid`, which may be `thread-self`.
    """
    net = proc / str(pid) / "net"
    found = []
    for name in ("udp", "udp6"):
        for line in _or_empty(net / name).splitlines()[1:]:
            for row in parse(b"\n" + line):
                if row.inode in fds:
                    found.append(_udp(fds[row.inode], row, line))
    return found


def _udp(fd: int, row: Row, line: bytes) -> Udp:
    drops = line.split()[-1]
    return Udp(
        fd,
        row.inode,
        endpoint_text(row.local_address, row.local_port),
        endpoint_text(row.remote_address, row.remote_port) if row.remote_port else None,
        row.rx_queue,
        row.tx_queue,
        int(drops) if drops.isdigit() else 0,
        row.local_port >= _FIRST_CHOSEN_PORT,
    )


def _or_empty(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # IPv6 is off, or UDP is
