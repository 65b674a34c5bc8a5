"""Owners of sockets that were open at the start.

Without BTF, open files cannot be iterated.  A read of /proc/<pid>/fdinfo/<fd> of a socket calls
sock_show_fdinfo() in the kernel (5.6, commit b4653342b151), with the file.  A probe there sets the
owner of the socket from a map that user space has filled.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from xctl_probe.bcc.maps import BccMap
from xctl_probe.events import Process
from xctl_probe.linux import procfs

SEEDING = struct.Struct("=QII16s")  # struct seeding in bpf/bcc.c
FUNCTION = "sock_show_fdinfo"
_FIRST = struct.pack("=I", 0)


def seed(table: BccMap, proc: Path = Path("/proc")) -> None:
    """Read all descriptors twice: listeners have to be known before accepted sockets."""
    holders = list(_holders(proc))
    for listeners in (True, False):
        for process, fds in holders:
            comm = process.comm.encode()
            table.update(
                _FIRST, SEEDING.pack(process.start_ticks, process.pid, listeners, comm[:15])
            )
            for fd in fds:
                procfs.read(proc / f"{process.pid}/fdinfo/{fd}")


def _holders(proc: Path) -> Iterator[tuple[Process, list[str]]]:
    """Yield processes with their socket descriptors, without the probe itself."""
    for entry in os.listdir(proc):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        fds = list(_sockets(proc / entry / "fd"))
        process = procfs.read_process(int(entry), proc) if fds else None
        if process is not None:
            yield process, fds


def _sockets(folder: Path) -> Iterator[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if procfs.socket_inode(procfs.link(folder / name)) is not None:
            yield name
