"""Ten million records of a job on hundreds of hosts, and what `blame FILE...` takes for them.

    .venv/bin/python -m bench.fleet --hosts 256 --seconds 3600 --keep build/fleet

Each host has eight ranks.  The ranks form one ring, and each waits for data of the rank before it
from the moment on at which one is stopped.  The streams are as `--record` writes them: a member of
gzip for each interval, in a directory for each host.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from xctl_probe.recordings.members import pack

RANKS = 8  # of a host
STOPPED_RANK = 1_009
JOB = "4711"
BEGUN_MS = 1_795_700_000_000
_HUNG_S = 600  # the last ones, in which the job hangs
_PORT = 29_500
_AGAIN_S = 10  # between two records of the connections of a process
_SHORT_WAIT = 0.02  # part of the intervals in which a rank waits shortly while all is well
_ROTATED = 600  # intervals of one file


@dataclass(frozen=True)
class Fleet:
    """Size of the job; each host is as many seconds of records."""

    hosts: int
    seconds: int

    @property
    def stopped(self) -> int:
        """The rank that is stopped."""
        return STOPPED_RANK % (self.hosts * RANKS)

    def address(self, rank: int) -> str:
        """Return the address of the host of a rank."""
        host = rank // RANKS
        return f"10.{host >> 8}.{host & 255}.1"

    def pair(self, rank: int) -> tuple[str, str]:
        """Return both endpoints of the connection on which a rank reads, its own first."""
        before = (rank - 1) % (self.hosts * RANKS)
        return (
            f"{self.address(rank)}:{_PORT + rank % RANKS}",
            f"{self.address(before)}:{40_000 + before % RANKS}",
        )


def _line(
    ts_ms: int, kind: str, entity: str, rank: int | None, value: str, net: dict[str, object]
) -> bytes:
    record = {
        "ts": ts_ms,
        "event_type": kind,
        "entity_id": entity,
        "job_id": None if rank is None else JOB,
        "pid": None if rank is None else _pid(rank),
        "value": value,
        "net": net,
    }
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def _pid(rank: int) -> int:
    return 30_000 + rank % RANKS


class Host:
    """The records of one host, interval by interval; its clock differs by up to 200 ms."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self._fleet = fleet
        self._random = random.Random(number)  # the same records each time
        self._ranks = range(number * RANKS, (number + 1) * RANKS)
        boot = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        self._origin = {"host": f"node{number:04}", "boot_id": boot}
        self._ahead_ms = self._random.randrange(-200, 200)

    def interval(self, second: int) -> list[bytes]:
        """Return the lines of one second."""
        ts_ms = BEGUN_MS + second * 1_000 + self._ahead_ms
        hung_ms = (second - (self._fleet.seconds - _HUNG_S)) * 1_000 + 300
        lines = [self._start(ts_ms, rank) for rank in self._ranks if second == 0]
        if second % _AGAIN_S == 0 or 0 < hung_ms < 1_000:
            lines += [self._connected(ts_ms, rank, hung_ms > 0) for rank in self._ranks]
        for name in ("eth0", "mlx5_0"):
            lines.append(self._bandwidth(ts_ms, name, None, 12_500_000 if hung_ms < 0 else 7_919))
        for rank in self._ranks:
            if hung_ms < 0:
                lines.append(self._bandwidth(ts_ms, "eth0", rank, 1_562_500))
                if self._random.random() < _SHORT_WAIT:
                    lines.append(self._stall(ts_ms, rank, 100 + rank % 7, ongoing=False))
            elif hung_ms >= 1_000 and rank != self._fleet.stopped:
                lines.append(self._stall(ts_ms, rank, hung_ms, ongoing=True))
        return lines

    def _net(self, rank: int, **more: object) -> dict[str, object]:
        return {"comm": "python3", **more, "rank": rank, "local_rank": rank % RANKS, **self._origin}

    def _start(self, ts_ms: int, rank: int) -> bytes:
        return _line(ts_ms, "process.state", f"pid-{_pid(rank)}", rank, "start", self._net(rank))

    def _connected(self, ts_ms: int, rank: int, hung: bool) -> bytes:
        here, there = self._fleet.pair(rank)
        after = (rank + 1) % (self._fleet.hosts * RANKS)
        its, ours = self._fleet.pair(after)
        state = "stopped" if hung and rank == self._fleet.stopped else None if hung else "running"
        net = self._net(rank, state=state, connections=[[here, there], [ours, its]])
        return _line(ts_ms, "process.state", f"pid-{_pid(rank)}", rank, "connected", net)

    def _bandwidth(self, ts_ms: int, name: str, rank: int | None, count: int) -> bytes:
        moved = count + self._random.randrange(1_000)
        mbps = round(moved * 8 / 1e6, 3)
        net: dict[str, object] = {
            "rx_mbps": mbps,
            "tx_mbps": mbps,
            "rx_bytes": moved,
            "tx_bytes": moved,
            "interval_ms": 1_000,
        }
        net |= {"unattributed_bytes": 0, **self._origin} if rank is None else self._net(rank)
        return _line(ts_ms, "transport.bw", name, rank, f"{2 * mbps:.2f}", net)

    def _stall(self, ts_ms: int, rank: int, ms: int, *, ongoing: bool) -> bytes:
        here, there = self._fleet.pair(rank)
        net = self._net(
            rank, ongoing=ongoing, direction="receive", cause="no_reply", duration_ms=ms,
            tid=_pid(rank), protocol="tcp", local=here, remote=there, interface="eth0",
            uid=1_009, cgroup=4_241,
        )  # fmt: skip
        return _line(ts_ms, "transport.drop", f"socket-{70_000 + rank}", rank, f"STALL_{ms}ms", net)


def _write(job: tuple[Fleet, int, Path]) -> tuple[int, int]:
    """Write the recording of one host; return the number of records and bytes."""
    fleet, number, folder = job
    host, records, size = Host(fleet, number), 0, 0
    where = folder / f"node{number:04}"
    where.mkdir(mode=0o700)
    for begin in range(0, fleet.seconds, _ROTATED):
        name = f"records-{begin // _ROTATED:08}-20261127T000000Z.ndjson.gz"
        with (where / name).open("wb") as file:
            for second in range(begin, min(begin + _ROTATED, fleet.seconds)):
                lines = host.interval(second)
                file.write(pack(lines))
                records, size = records + len(lines), size + sum(map(len, lines))
    return records, size


def main() -> None:
    """Generate the records, run the command on them, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=256)
    parser.add_argument("--seconds", type=int, default=3_600)
    parser.add_argument("--keep", type=Path, help="make or reuse the records in this folder")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="xctl-fleet-"))
    fleet = Fleet(given.hosts, given.seconds)
    made = folder / "made.json"
    if not made.exists():
        folder.mkdir(exist_ok=True, parents=True)
        jobs = [(fleet, number, folder) for number in range(given.hosts)]
        with multiprocessing.Pool() as pool:
            counts = pool.map(_write, jobs, chunksize=1)
        made.write_text(json.dumps([sum(one) for one in zip(*counts, strict=True)]))
    records, size = json.loads(made.read_text())
    print(f"{records:,} records of {given.hosts} hosts, {size / 1e9:.2f} GB of NDJSON")
    measure(folder)
    if given.keep is None:
        shutil.rmtree(folder)


def measure(folder: Path) -> None:
    """Run `blame` on the recordings in a folder; print its sentence, time and memory."""
    command = [sys.executable, "-m", "xctl_probe", "blame"]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, *sorted(str(one) for one in folder.iterdir() if one.is_dir())],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    wall_s = time.monotonic() - begun
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = used.ru_utime + used.ru_stime
    print("\n".join(done.stdout.splitlines()[:2]), done.stderr, sep="\n")
    # The peak is of the largest process; the command adds up its children in the notes of --json.
    print(f"wall {wall_s:.1f} s, CPU {cpu_s:.1f} s, peak {used.ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
