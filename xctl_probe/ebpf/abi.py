"""Decoding of kernel events.  bpf/include/abi.h owns the layouts; a test compares."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from functools import lru_cache
from typing import NamedTuple

from xctl_probe.events import Process, Socket
from xctl_probe.linux.addresses import address_text

_V4_MAPPED = bytes(10) + b"\xff\xff"
PROTOCOLS_UDP = (17, 136)  # IPPROTO_UDP, IPPROTO_UDPLITE


class Kind(IntEnum):
    """enum record_kind."""

    RECEIVED = 1
    RETRANSMIT = 2
    REFUSED = 3
    TIMEOUT = 4
    RESET = 5
    STALL = 6
    ONGOING = 7
    PROHIBITED = 8
    NO_PORT = 9
    ABORTED = 10
    CLOSING = 11
    CLOSED = 12


class StallDirection(IntEnum):
    """enum stall_direction."""

    SEND = 1
    RECEIVE = 2
    CONNECT = 3


class Evidence(IntFlag):
    """enum evidence."""

    BLOCKED = 1
    POLLING = 2
    OPENED = 4
    RETRANSMIT = 8
    PEER_WINDOW = 16
    HOLE = 32
    FLOW = 64
    DATA = 128
    SUPERSEDED = 256
    PACED = 512
    UNSENT = 1024
    UNSENDABLE = 2048
    ALONE = 4096
    KEEPALIVE = 8192
    SYMMETRIC = 16384
    SPINNING = 32768
    ANNOUNCED = 65536
    UPLOAD = 131072


class LostWhere(IntEnum):
    """enum lost_where; the name in lower case is shown to the user."""

    RING = 0
    SOCKET = 1
    PROCESS = 2
    ENDPOINT = 3
    CALL = 4
    RETURN = 5


class RawEvent(NamedTuple):
    """struct event: a raw event of one socket."""

    time_ns: int
    span_ns: int
    start_ticks: int
    cgroup: int
    inode: int
    cookie: int
    kind: int
    occurrences: int
    pid: int
    tid: int
    uid: int
    netns: int
    ifindex: int
    direction: int
    evidence: int
    answered: int
    unanswered: int
    family: int
    protocol: int
    local_port: int
    remote_port: int
    local_address: bytes
    remote_address: bytes
    comm: bytes
    duplicates: int

    @property
    def owner(self) -> Process | None:
        """Process of the I/O, None where it is not visible."""
        return process(self.pid, self.start_ticks, self.comm)


# No process transfers 9 PB between two drains: such a count is invalid.
MOST_BYTES = 1 << 53
_DIRECTIONS = frozenset(StallDirection)
_STALLS = frozenset((Kind.STALL, Kind.ONGOING, Kind.CLOSING, Kind.CLOSED))
_COUNTED = frozenset(Kind) - _STALLS - {Kind.RECEIVED}

RECORD = struct.Struct("=6Q11I4H16s16s16sI")
PROCESS_KEY = struct.Struct("=QIIII")
PROCESS_TRAFFIC = struct.Struct("=qqQII16s")
PEER = struct.Struct("=16s16sIHH")
ENDPOINT_KEY = struct.Struct("=II")
ENDPOINT = struct.Struct("=40sII")
SETTINGS = struct.Struct("=QQIIQ")


class ProcessTraffic(NamedTuple):
    """struct process_key and struct process_traffic: totals of one process."""

    tgid: int
    ifindex: int
    netns: int
    sent_bytes: int
    received_bytes: int
    owner: Process | None


def decode(chunk: bytes) -> Iterator[RawEvent]:
    """Yield the events of an iterator program; an incomplete one is left out."""
    return map(RawEvent._make, RECORD.iter_unpack(chunk[: len(chunk) // RECORD.size * RECORD.size]))


def is_sound(record: RawEvent) -> bool:
    """False for an event that no program of the probe writes.  RECEIVED is sorted out before."""
    if record.kind in _STALLS:
        return record.direction in _DIRECTIONS and record.inode > 0
    return record.kind in _COUNTED and record.occurrences > 0


def decode_process(key: bytes, value: bytes) -> ProcessTraffic:
    """Decode one entry of the map `processes`."""
    _, tgid, ifindex, netns, _ = PROCESS_KEY.unpack(key)
    sent, received, start_ticks, pid, _, comm = PROCESS_TRAFFIC.unpack(value)
    return ProcessTraffic(tgid, ifindex, netns, sent, received, process(pid, start_ticks, comm))


@lru_cache(maxsize=1024)  # many sockets have one owner
def process(pid: int, start_ticks: int, comm: bytes) -> Process | None:
    """Return the process; None for pid 0, a task that the probe's namespace does not contain."""
    if not pid:
        return None
    return Process(pid, start_ticks, command(comm))


def command(comm: bytes) -> str:
    """Return the name of a task: the bytes up to the first zero."""
    return comm.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def socket_of(record: RawEvent, interface: str | None) -> Socket:
    """Return the socket of a raw event as a value of `events`."""
    return Socket(
        inode=record.inode,
        cookie=record.cookie,
        protocol="udp" if record.protocol in PROTOCOLS_UDP else "tcp",
        local_address=address_text(record.family, record.local_address),
        local_port=record.local_port,
        remote_address=address_text(record.family, record.remote_address),
        remote_port=record.remote_port,
        interface=interface,
        uid=record.uid,
        cgroup=record.cgroup or None,
    )
