"""What the probe can measure: the names that `--metrics` takes, and what each costs."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Metric(StrEnum):
    """A switch of `--metrics`.  What is off is neither loaded nor attached."""

    BANDWIDTH = "bandwidth"
    STALLS = "stalls"
    ERRORS = "errors"
    RDMA = "rdma"
    PROCESS = "process"
    PROTOCOLS = "protocols"
    PACKETS = "packets"


# What each costs, in words, for --help.
COSTS = {
    Metric.BANDWIDTH: "bytes by interface and process: a little of each call",
    Metric.STALLS: "a pass over the sockets every --stall-ms, and reads of /proc about who waits",
    Metric.ERRORS: "a little of each failure and retransmit",
    Metric.RDMA: "a few files for each RDMA port, nothing where there is none",
    Metric.PROCESS: "CPU and memory of the processes that use the network: one file for each, "
    "once a second at most, of 256 at most",
    Metric.PROTOCOLS: "the protocol of each socket: a little of each packet and connection",
    Metric.PACKETS: "packets of each interface by protocol: a little of each packet",
}
DEFAULT = frozenset((Metric.BANDWIDTH, Metric.STALLS, Metric.ERRORS, Metric.RDMA))
# Those for which a source of events runs: without any of them, none is opened.
OF_SOURCES = frozenset((Metric.BANDWIDTH, Metric.STALLS, Metric.ERRORS, Metric.PROCESS))


def text_of(metrics: Iterable[Metric]) -> str:
    """Return the value of `--metrics` for these."""
    chosen = frozenset(metrics)
    return ",".join(metric for metric in Metric if metric in chosen)


def parse(text: str) -> frozenset[Metric]:
    """Return the metrics of a list such as `bandwidth,stalls`.

    Raises ValueError with the name that is unknown, or empty.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in list(Metric):
            raise ValueError(name)
    return frozenset(map(Metric, names))
