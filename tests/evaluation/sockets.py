"""Which process of the job holds which TCP socket, by /proc alone (proc(5): net/tcp, fd)."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_SOCKET = re.compile(r"socket:\[(\d+)\]")
LISTENER = "*"
_NO_PORT = "0000"


def held(pids: Iterable[int], of_namespaces: Iterable[int]) -> dict[tuple[str, str], int]:
    """The pid that holds each TCP socket, by its local and remote address.

    `of_namespaces` has one pid in each network namespace.  A listener has the remote address `*`.
    Addresses are as in records: IPv4 ones also where the socket is one of IPv6.
    """
    owners = {inode: pid for pid in pids for inode in _inodes(pid)}
    found: dict[tuple[str, str], int] = {}
    for pid in of_namespaces:
        for table in ("tcp", "tcp6"):
            for local, remote, inode in _table(Path(f"/proc/{pid}/net/{table}")):
                if inode in owners:
                    found[local, remote] = owners[inode]
    return found


def _inodes(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                socket = _SOCKET.fullmatch(os.readlink(descriptor.path))
                if socket:
                    yield int(socket[1])


def _table(path: Path) -> Iterator[tuple[str, str, int]]:
    lines: list[str] = []
    with suppress(OSError):
        lines = path.read_text().splitlines()[1:]
    for line in lines:
        fields = line.split()
        listens = fields[2].endswith(_NO_PORT)
        yield _address(fields[1]), LISTENER if listens else _address(fields[2]), int(fields[9])


def _address(text: str) -> str:
    """`127.0.0.1:80` of `0100007F:0050`: words of four bytes in the host's order."""
    digits, _, port = text.partition(":")
    words = [digits[start : start + 8] for start in range(0, len(digits), 8)]
    packed = b"".join(bytes.fromhex(word)[::-1] for word in words)
    address = ipaddress.ip_address(packed)
    if address.version == 6:
        address = address.ipv4_mapped or address
    name = str(address) if address.version == 4 else f"[{address}]"
    return f"{name}:{int(port, 16)}"
