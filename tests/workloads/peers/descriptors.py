"""Peers that hold descriptors of the kinds that they are given."""

from __future__ import annotations

import os
import pty
import socket
from collections.abc import Callable
from typing import Any

from peers.common import Steps


def _terminal() -> Any:
    return os.fdopen(os.dup(pty.openpty()[1]))


def _terminal_for_output() -> None:
    os.dup2(pty.openpty()[1], 2)
    os.closerange(4, 64)


_MAKERS: dict[str, Callable[[], Any]] = {
    "tcp": socket.socket,
    "tcp6": lambda: socket.socket(socket.AF_INET6),
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "unix": lambda: socket.socket(socket.AF_UNIX),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "tty": _terminal,
    "tty-out": _terminal_for_output,
}


def holds(*names: str) -> Steps:
    """Yields the inode of the last one."""
    held = [_MAKERS[name]() for name in names]
    yield os.fstat(held[-1].fileno()).st_ino
