"""Trace of every send and receive call, for debugging."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from xctl_probe.ebpf.abi import LostWhere, command
from xctl_probe.ebpf.loader import load_trace
from xctl_probe.ebpf.ringbuf import Ring
from xctl_probe.linux.addresses import address_text

CALL = struct.Struct("=QQIIiIIBBHHHHH16s16s16s")
READ_AGAIN_S = 0.01  # interval of reads: the kernel does not wake the reader


class Call(NamedTuple):
    """struct call of bpf/include/abi.h: one send or receive that returned.

    `result` is bytes or -errno, `flags` those of a receive, `time_ns` CLOCK_MONOTONIC.
    """

    time_ns: int
    cookie: int
    pid: int
    tid: int
    result: int
    flags: int
    netns: int
    is_receive: int
    reserved: int
    family: int
    protocol: int
    local_port: int
    remote_port: int
    reserved2: int
    raw_local_address: bytes
    raw_remote_address: bytes
    raw_comm: bytes

    @property
    def local_address(self) -> str:
        """Address as text, as in `events.Socket`."""
        return address_text(self.family, self.raw_local_address)

    @property
    def remote_address(self) -> str:
        """Address as text, as in `events.Socket`."""
        return address_text(self.family, self.raw_remote_address)

    @property
    def comm(self) -> str:
        """Name of the thread."""
        return command(self.raw_comm)


class Trace:
    """Trace of the calls of all processes but the probe.  Needs Linux 6.3 (sock_send_length).

    `ring_bytes` is a power of two; half a million calls a second fill 16 MB in 0.3 s.
    Raises SourceUnavailable.
    """

    def __init__(
        self, *, ring_bytes: int = 1 << 24, log: Callable[[str], None] | None = None
    ) -> None:
        self._programs = load_trace(ring_bytes, log)
        self._ring = Ring(self._programs.map("calls", 0, 0).fd, ring_bytes)
        self._dropped = 0
        self._own_pid = os.getpid()

    def calls(self) -> Iterator[Call]:
        """Yield the calls that returned since the last time.  Never blocks."""
        while batch := self._ring.batch(CALL):
            yield from (call for call in map(Call._make, batch) if call.pid != self._own_pid)

    def dropped(self) -> int:
        """Return the exact number of calls dropped since the last time."""
        total = self._programs.per_cpu_sums("lost", len(LostWhere))[LostWhere.RING]
        since, self._dropped = total - self._dropped, total
        return since

    def close(self) -> None:
        """Detach.  Safe to call twice."""
        self._ring.close()
        self._programs.close()
