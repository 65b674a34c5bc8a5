"""All workloads, by name."""

from __future__ import annotations

from functools import partial

from bench.traffic import Workload
from bench.traffic.bulk import bulk
from bench.traffic.programs import program
from bench.traffic.store import store
from bench.traffic.web import web

MANY_STREAMS = 16

WORKLOADS = (
    Workload("nginx", "nginx under wrk, 64 connections", "requests", web, ("nginx", "wrk")),
    Workload(
        "redis", "redis-benchmark SET, 50 clients", "requests", store,
        ("redis-server", "redis-benchmark"),
    ),
    Workload("iperf", "iperf3, one stream", "Gbit", partial(bulk, 1), ("iperf3",)),
    Workload(
        "iperf-many", f"iperf3, {MANY_STREAMS} streams", "Gbit", partial(bulk, MANY_STREAMS),
        ("iperf3",),
    ),
    Workload(
        "pingpong", "64-byte TCP request and reply, one core", "round trips",
        partial(program, "pingpong"), ("cc",), calls_ns=True,
    ),
    Workload(
        "datagrams", "64-byte UDP send and receive, one core", "datagrams",
        partial(program, "datagrams"), ("cc",), calls_ns=True,
    ),
    Workload(
        "connects", "TCP connects with one exchange, 20,000 at a time", "connections",
        partial(program, "connects"), ("cc",),
    ),
)  # fmt: skip
