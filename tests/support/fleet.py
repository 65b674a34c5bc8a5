"""Streams of several hosts, made up: a job whose ranks wait for each other in a ring."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

from support.records import STALL
from xctl_probe.events import (
    Connection,
    PeerActivity,
    Placement,
    Process,
    ProcessState,
    Socket,
    State,
)
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.origin import Origin, with_origin
from xctl_probe.exporters.records import BandwidthRecord, ProcessRecord, Record, StallRecord

BEGUN_MS = 1_795_700_000_000
JOB = "4711"
PID = 3_000  # of each rank: hosts number their processes alike
BOOT = "6f1c1f6e-8a55-4f0a-9d43-0c3b6d1a2f0{}"
SECOND_MS = 1_000
NS_PER_MS = 1_000_000


def origin(rank: int) -> Origin:
    return Origin(f"node{rank}", BOOT.format(rank % 10))


def address(rank: int) -> str:
    return f"10.0.0.{rank + 1}"


def process(rank: int) -> Process:
    return Process(PID + rank, 0, "train")


def place(rank: int) -> Placement:
    return Placement(job_id=JOB, rank=rank)


def link(rank: int, to: int) -> Socket:
    """The socket of a rank whose peer is another one; the ports are those of the pair."""
    here, there = (5_000 + rank * 100 + to, 5_000 + to * 100 + rank)
    return Socket(70_000 + to, 0, "tcp", address(rank), here, address(to), there, "eth0", 0, 1)


def waits(
    rank: int, to: int, second: float, *, ms: int = 2_000, ongoing: bool = True, **more: object
) -> StallRecord:
    """A rank waits for data of another one."""
    stall = replace(
        STALL, owner=process(rank), socket=link(rank, to), ongoing=ongoing,
        duration_ns=ms * NS_PER_MS, **more,
    )  # fmt: skip
    return StallRecord(at(second), stall, place(rank))


def starts(rank: int, second: float = 0, state: State = State.START) -> ProcessRecord:
    return ProcessRecord(at(second), ProcessState(process(rank), place(rank), state))


def holds(
    rank: int, peers: list[int], second: float, seen: PeerActivity | None = None
) -> ProcessRecord:
    """A rank has connections to these, and was seen to do this."""
    sockets = [link(rank, to) for to in peers]
    pairs = tuple(
        Connection(
            f"{one.local_address}:{one.local_port}", f"{one.remote_address}:{one.remote_port}"
        )
        for one in sockets
    )
    return ProcessRecord(
        at(second), ProcessState(process(rank), place(rank), State.CONNECTED, pairs, seen)
    )


def beat(second: float, interval_ms: int = 1_000) -> BandwidthRecord:
    return BandwidthRecord(at(second), "eth0", None, 0, 0, interval_ms * NS_PER_MS, 0)


def at(second: float) -> int:
    return BEGUN_MS + round(second * SECOND_MS)


def lines(host: Origin | None, *records: Record) -> bytes:
    render = to_line if host is None else with_origin(to_line, host)
    return b"".join(map(render, records))


def stream(path: Path, host: Origin | None, *records: Record) -> Path:
    """Write the stream of a host, with gzip where the name has it."""
    data = lines(host, *records)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def ring(folder: Path, size: int, stopped: int, second: int = 30) -> list[Path]:
    """Each rank of a ring waits for the one before it, except the one that is stopped."""
    found = []
    for rank in range(size):
        before, after = (rank - 1) % size, (rank + 1) % size
        seen = PeerActivity.STOPPED if rank == stopped else None
        records: list[Record] = [starts(rank), holds(rank, [before, after], second - 20), beat(1)]
        records += [holds(rank, [before, after], second - 1, seen)]
        if rank != stopped:
            records += [waits(rank, before, second - back) for back in (1, 0)]
        found.append(stream(folder / f"{rank}.ndjson", origin(rank), *records))
    return found
