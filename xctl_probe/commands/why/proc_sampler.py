"""Sockets of one process from /proc.

It has queues and timers only, but UDP too, and any network namespace.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from xctl_probe.commands.why.sockets import STATES, Tcp, Udp
from xctl_probe.events import Cause
from xctl_probe.fallback.proc_net import Row, parse
from xctl_probe.fallback.sock_diag import SYN_SENT, TIMER_PROBE, TIMER_RETRANSMIT
from xctl_probe.linux.addresses import endpoint_text
from xctl_probe.linux.procfs import read, socket_inode

_FIRST_CHOSEN_PORT = 32_768  # as Linux has it at first: ip(7), ip_local_port_range


def socket_fds(pid: int, proc: Path = Path("/proc")) -> dict[int, int]:
    """Return the sockets of the process: the lowest descriptor by inode.

    Raises PermissionError where it is unreadable, FileNotFoundError when it is gone.
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
        inode = socket_inode(target)
        if inode is not None:
            found.setdefault(inode, fd)
    return found


class ProcSampler:
    """Samples of /proc/<pid>/net, where sock_diag is refused."""

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        self._net = proc / str(pid) / "net"
        self._first: dict[int, Row] = {}
        self._last: dict[int, Row] = {}

    def sample(self, inodes: Iterable[int]) -> None:
        """Read both tables.  Raises OSError where they do not exist."""
        wanted = {inode for inode in inodes if inode}
        rows = {row.inode: row for row in self._rows() if row.inode in wanted}
        self._first = {inode: self._first.get(inode, row) for inode, row in rows.items()}
        self._last = rows

    def _rows(self) -> Iterator[Row]:
        yield from parse((self._net / "tcp").read_bytes())
        yield from parse(read(self._net / "tcp6", sys.maxsize))

    def tcp(self, fds: dict[int, int]) -> list[Tcp]:
        """Return the sockets as sampled."""
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
    """Return the UDP sockets of the process; the last column of /proc/net/udp has the drops.

    The namespace is that of `pid`, which may be `thread-self`.
    """
    net = proc / str(pid) / "net"
    found = []
    for name in ("udp", "udp6"):  # where IPv6 is off, or UDP is, there is no such file
        for line in read(net / name, sys.maxsize).splitlines()[1:]:
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
