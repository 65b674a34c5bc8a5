"""What all workers share: the protocol with the test, and what they report about a socket.

A worker is driven by lines on stdin (`send 23`) and answers each with one JSON object on
stdout (`{"event": "send", "bytes": 23, ...}`), so that a test waits for what happened and
never for time to pass.  Standard library only: a worker runs under any python3, as any user.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

# struct tcp_info, linux/tcp.h: the fields that tests compare with, by offset.
TCP_INFO_BYTES = 220
TCPI_UNACKED = 24
TCPI_TOTAL_RETRANS = 100
TCPI_BYTES_ACKED = 120
TCPI_BYTES_RECEIVED = 128
TCPI_DSACK_DUPS = 216

PR_SET_PDEATHSIG = 1


def report(event: str, **fields: Any) -> None:
    os.write(1, json.dumps({"event": event, **fields}).encode() + b"\n")  # whole, from any thread


def hello(role: str) -> None:
    report("hello", role=role, pid=os.getpid(), uid=os.getuid())


def failed(event: str, error: OSError) -> None:
    report(event, error=errno.errorcode.get(error.errno or 0, repr(error)))


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def addresses_of(sock: socket.socket) -> dict[str, Any]:
    """The identity of a connected socket: its inode and both its addresses."""
    local, remote = sock.getsockname(), sock.getpeername()
    return {
        "inode": inode(sock),
        "local": f"{local[0]}:{local[1]}",
        "remote": f"{remote[0]}:{remote[1]}",
    }


def tcp_info(sock: socket.socket) -> dict[str, int]:
    raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    (unacked,) = struct.unpack_from("=I", raw, TCPI_UNACKED)
    (retransmits,) = struct.unpack_from("=I", raw, TCPI_TOTAL_RETRANS)
    acked, received = struct.unpack_from("=QQ", raw, TCPI_BYTES_ACKED)
    (duplicates,) = struct.unpack_from("=I", raw, TCPI_DSACK_DUPS)
    return {
        "unacked": unacked,
        "total_retrans": retransmits,
        "dsack_dups": duplicates,
        "bytes_acked": acked,
        "bytes_received": received,
    }


class Longest:
    """The longest of several spans, on the monotonic clock: where a worker stalled."""

    def __init__(self) -> None:
        self._begin_ns = self._end_ns = 0

    def measure(self, call: Callable[[], Any]) -> Any:
        begin_ns = time.monotonic_ns()
        result = call()
        self.note(begin_ns, time.monotonic_ns())
        return result

    def note(self, begin_ns: int, end_ns: int) -> None:
        if end_ns - begin_ns > self._end_ns - self._begin_ns:
            self._begin_ns, self._end_ns = begin_ns, end_ns

    def fields(self) -> dict[str, int]:
        return {
            "stall_begin_ns": self._begin_ns,
            "stall_end_ns": self._end_ns,
            "stall_ms": (self._end_ns - self._begin_ns) // 1_000_000,
        }
