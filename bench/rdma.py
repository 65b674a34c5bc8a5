"""What an interval costs on a host with RDMA: `python -m bench.rdma [--ports 8] [--pairs 4000]`.

No RDMA hardware is needed, and none was there when this was written: the tree of sysfs is made up,
with the files of mlx5, and the peer of the netlink dump is a child that sends messages in the
kernel's own format.  What firmware takes to answer is therefore not in the figure.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import struct
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.fake_driver import GSTATS, FakeDriver
from support.fake_rdma import FakeDevice, FakeRdma, Qp
from support.rdma_tree import Tree

from xctl_probe.aggregate import Filter, aggregate
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.linux.netlink import NetlinkSocket
from xctl_probe.linux.rdma_netlink import RdmaNetlink
from xctl_probe.linux.rdma_ports import Ports
from xctl_probe.sources.pauses import Pauses
from xctl_probe.sources.queue_pairs import QueuePairs
from xctl_probe.sources.rdma import Rdma
from xctl_probe.sources.rdma_counters import WANTED
from xctl_probe.sources.rdma_ports import RdmaPorts

GOAL_MS = 5.0
_INTERVAL_NS = 1_000_000_000
_STATISTICS = 1_500  # of an interface of mlx5 with 20 queues


class _PeerSocket(NetlinkSocket):
    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sequence = 0


class _Driver(FakeDriver):
    """Answers as the kernel does, for any interface, and copies the values at once."""

    def __init__(self) -> None:
        super().__init__()
        names = {f"rx{n}_packets": n for n in range(_STATISTICS)}
        names |= {f"{way}_prio{p}_pause": 0 for way in ("rx", "tx") for p in range(8)}
        self._names = names
        self._values = struct.pack(f"={len(names)}Q", *names.values())

    def __call__(self, interface: str, request: array[int]) -> None:
        if struct.unpack_from("=I", request)[0] != GSTATS:
            self.statistics[interface] = self._names
            super().__call__(interface, request)
            return
        memoryview(request).cast("B")[8 : 8 + len(self._values)] = self._values


def main() -> int:
    """Print the figures as JSON; exit code 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ports", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=4_000)
    parser.add_argument("--intervals", type=int, default=101)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder) / "infiniband")
        for number in range(options.ports):
            tree.add(f"mlx5_{number}", netdev=f"eth{number}")
        with peer(options.ports, options.pairs) as end:
            took_ms = measure(tree, end, options.intervals)
    found = {
        "ports": options.ports,
        "queue_pairs": options.pairs,
        "median_ms": round(statistics.median(took_ms), 2),
        "worst_ms": round(max(took_ms), 2),
        "goal_ms": GOAL_MS,
    }
    print(json.dumps(found))
    return 0 if found["median_ms"] <= GOAL_MS else 1


def measure(tree: Tree, end: socket.socket, intervals: int) -> list[float]:
    """CPU time of each interval in ms: collect, aggregate, lines."""
    rdma = Rdma(
        ports=RdmaPorts(ports=Ports(WANTED, tree.root)),
        pauses=Pauses(_Driver, clock=lambda: 0),
        queue_pairs=QueuePairs(lambda: RdmaNetlink(_PeerSocket(end)), clock=lambda: 0),
    )
    took_ms = []
    for count in range(intervals):
        for number in range(len(os.listdir(tree.root))):
            tree.set(f"mlx5_{number}", rp_cnp_handled=count, port_rcv_data=count << 30)
        begun_ns = time.process_time_ns()
        for record in aggregate(rdma.collect(), Filter(), _INTERVAL_NS, 0):
            to_line(record)
        took_ms.append((time.process_time_ns() - begun_ns) / 1e6)
    return took_ms


@contextmanager
def peer(devices: int, pairs: int) -> Iterator[socket.socket]:
    """A connection to a child that answers as the kernel would."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        ours.close()
        serve(theirs, devices, pairs)
        os._exit(0)
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        os.waitpid(child, 0)


def serve(end: socket.socket, devices: int, pairs: int) -> None:
    """Answer until the connection is closed."""
    kernel = FakeRdma(
        *(
            FakeDevice(
                f"mlx5_{index}",
                index,
                qps=[
                    Qp(n, 1_000 + n % 16, n + 1, sq_psn=n, rq_psn=n)
                    for n in range(pairs * index // devices, pairs * (index + 1) // devices)
                ],
            )
            for index in range(devices)
        )
    )
    while request := end.recv(4096):
        kernel.send(request)
        while kernel.pending:
            end.send(kernel.recv(0))


if __name__ == "__main__":
    raise SystemExit(main())
