"""Records to messages: what the official definitions decode is what the records have."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from support.otlp import attributes, log_records, metrics, points
from support.records import CLIENT, NOW_MS, OTHER, RECORDS, SOCKET, STALL

from xctl_probe.events import (
    DroppedEvents,
    ErrorKind,
    PeerActivity,
    Placement,
    PortErrorKind,
    PortErrors,
    Process,
    ProcessState,
    QueuePairErrors,
    SocketError,
    State,
)
from xctl_probe.exporters.origin import Origin
from xctl_probe.exporters.records import (
    BandwidthRecord,
    ErrorRecord,
    InterfaceErrors,
    InterfaceFailure,
    ProcessRecord,
    StallRecord,
)
from xctl_probe.otlp import events
from xctl_probe.otlp import metrics as module
from xctl_probe.otlp.messages import resource, scope
from xctl_probe.prometheus.collector import Collector

SECOND_NS = 1_000_000_000
RANK = Placement("4711", "uid-1", "train-0", "default", "ab" * 32, 3, 1)
RESOURCE, SCOPE = resource(Origin("node7", "boot"), "0.1.0", "ebpf"), scope("0.1.0")


class Metrics:
    """A collector, and the points after each interval of a second."""

    def __init__(self, **options):
        self.now_ms = NOW_MS
        self.collector = Collector(
            SECOND_NS, ("", ""), uid_of={}.get, render=module.render, began_ms=NOW_MS, **options
        )

    def add(self, *records):
        self.now_ms += 1_000
        self.collector.add(records, self.now_ms * 1_000_000, self.now_ms)
        return self.messages()

    def messages(self):
        made = list(module.requests(self.collector.registry, RESOURCE, SCOPE, self.now_ms))
        found = [
            (ExportMetricsServiceRequest.FromString(one.SerializeToString()), count)
            for one, count in made
        ]
        for message, count in found:
            assert count == sum(map(len, points(message).values()))
        return [message for message, _ in found]

    def points(self, *records):
        (message,) = self.add(*records)
        return points(message)


def moved(owner, rx, tx, interface="eth0", placement=None):
    return BandwidthRecord(NOW_MS, interface, owner, rx, tx, SECOND_NS, placement=placement)


def named(record):
    """The only log record of a record, and its attributes."""
    message = events.request([record], RESOURCE, SCOPE)
    (found,) = log_records(ExportLogsServiceRequest.FromString(message.SerializeToString()))
    return found, attributes(found.attributes)


def test_bytes_of_processes_and_interfaces_add_up():
    made = Metrics()
    made.add(moved(CLIENT, 1_009, 7, placement=RANK), moved(None, 23, 2_003, "lo"))
    found = made.points(moved(CLIENT, 1, 11, placement=RANK), moved(OTHER, 13, 17))
    place = {
        "xctl.job.id": "4711",
        "k8s.pod.name": "train-0",
        "k8s.namespace.name": "default",
        "container.id": "ab" * 32,
    }
    client = place | {"process.title": "client", "network.interface.name": "eth0"}
    other = {"process.title": "other", "network.interface.name": "eth0"}
    receive, transmit = ({"network.io.direction": d} for d in ("receive", "transmit"))
    assert found["process.network.io"] == [
        (client | receive, 1_010),
        (client | transmit, 18),
        (other | receive, 13),
        (other | transmit, 17),
    ]
    lo = {"network.interface.name": "lo"}
    assert found["system.network.io"] == [(lo | receive, 23), (lo | transmit, 2_003)]


def test_a_sum_is_cumulative_from_the_interval_before_its_series():
    made = Metrics()
    made.add(moved(CLIENT, 7, 0))
    (message,) = made.add(moved(CLIENT, 7, 0), moved(OTHER, 5, 0))
    (metric,) = (m for m in metrics(message) if m.name == "process.network.io")
    assert metric.sum.is_monotonic
    assert metric.sum.aggregation_temporality == 2  # CUMULATIVE, metrics.proto
    times = {
        (attributes(p.attributes)["process.title"], p.as_int): (
            p.start_time_unix_nano - NOW_MS * 1_000_000,
            p.time_unix_nano - NOW_MS * 1_000_000,
        )
        for p in metric.sum.data_points
        if p.as_int
    }
    assert times == {("client", 14): (0, 2 * SECOND_NS), ("other", 5): (SECOND_NS, 2 * SECOND_NS)}


def test_time_of_stalls_is_seconds_and_waiting_sockets_are_a_gauge():
    made = Metrics()
    stall = replace(STALL, ongoing=True, peer=OTHER, peer_activity=PeerActivity.RUNNING)
    (message,) = made.add(StallRecord(NOW_MS, replace(stall, probable=True)))
    found = points(message)
    ((has, seconds),) = found["xctl.stall.time"]
    assert has == {
        "process.title": "client",
        "network.interface.name": "eth0",
        "xctl.stall.direction": "receive",
        "xctl.stall.cause": "no_reply",
        "xctl.stall.probable": True,
        "xctl.peer.process.title": "other",
        "xctl.peer.process.state": "running",
    }
    assert seconds == 1.301999999
    assert found["xctl.stall.sockets"] == [(has, 1)]
    kinds = {metric.name: metric.WhichOneof("data") for metric in metrics(message)}
    assert (kinds["xctl.stall.sockets"], kinds["xctl.stall.time"]) == ("gauge", "sum")
    assert made.points()["xctl.stall.sockets"] == [(has, 0)]


def test_many_points_are_several_requests(monkeypatch):
    monkeypatch.setattr(module, "_MOST_POINTS", 97)
    made = Metrics()
    processes = [Process(number, 1, f"p{number}") for number in range(1, 102)]
    messages = made.add(*(moved(one, one.pid, 0) for one in processes))
    sizes = [sum(map(len, points(one).values())) for one in messages]
    assert len(sizes) > 2
    assert set(sizes[:-1]) == {97}
    received = sum(
        value for one in messages for _, value in points(one).get("process.network.io", ())
    )
    assert received == 101 * 102 // 2


def test_a_stall_is_an_event():
    stall = replace(STALL, ongoing=True, peer=OTHER, peer_activity=PeerActivity.STOPPED)
    record, has = named(StallRecord(NOW_MS, stall, RANK))
    assert (record.event_name, record.severity_number, record.severity_text) == (
        "xctl.stall", 13, "WARN",
    )  # fmt: skip
    assert record.time_unix_nano == NOW_MS * 1_000_000
    assert record.observed_time_unix_nano > record.time_unix_nano
    assert has == {
        "process.pid": 233,
        "process.title": "client",
        "xctl.job.id": "4711",
        "xctl.job.rank": 3,
        "xctl.job.local_rank": 1,
        "k8s.pod.uid": "uid-1",
        "k8s.pod.name": "train-0",
        "k8s.namespace.name": "default",
        "container.id": "ab" * 32,
        "xctl.entity": "socket-4241",
        "xctl.stall.ongoing": True,
        "xctl.stall.duration": 1.301999999,
        "xctl.stall.direction": "receive",
        "xctl.stall.cause": "no_reply",
        "thread.id": 239,
        "xctl.peer.process.pid": 239,
        "xctl.peer.process.title": "other",
        "xctl.peer.process.state": "stopped",
        "network.transport": "tcp",
        "network.type": "ipv6",
        "network.local.address": "10.0.0.7",
        "network.local.port": 40_009,
        "network.peer.address": "fe80::b",
        "network.peer.port": 5_437,
        "network.interface.name": "eth0",
        "xctl.socket.uid": 1_009,
        "xctl.socket.cgroup": 7_919,
    }
    assert record.body.string_value == (
        "stall 233 client waits 1.301 s for data from [fe80::b]:5437 (no_reply) socket-4241 "
        "job 4711 rank 3"
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            SocketError(CLIENT, SOCKET, ErrorKind.RETRANSMIT, 23, duplicates=7),
            {"error.type": "RETRANSMIT", "xctl.error.count": 23, "xctl.error.duplicates": 7,
             "process.pid": 233, "network.local.port": 40_009},
        ),
        (
            SocketError(CLIENT, SOCKET, ErrorKind.REFUSED, 23, sockets=11),
            {"error.type": "CONNECT_REFUSED", "xctl.error.sockets": 11, "network.peer.port": 5_437},
        ),
        (
            InterfaceErrors("eth0", InterfaceFailure.DROPS, 3, 5),
            {"error.type": "RX_DROP,TX_DROP", "xctl.error.count": 8, "xctl.error.rx_drop": 3,
             "xctl.error.tx_drop": 5, "network.interface.name": "eth0"},
        ),
        (
            InterfaceErrors("eth0", InterfaceFailure.ERRORS, 0, 5),
            {"error.type": "TX_ERR", "xctl.error.count": 5},
        ),
        (
            PortErrors("mlx5_0", PortErrorKind.PFC_PAUSE, 7, (("rx_prio3_pause", 7),), 3, CLIENT),
            {"error.type": "PFC_PAUSE", "xctl.error.priority": 3, "process.pid": 233,
             "xctl.error.counters": {"rx_prio3_pause": 7}, "network.interface.name": "mlx5_0"},
        ),
        (
            QueuePairErrors(None, "mlx5_0", 2, 7, 11, "RC", "ERR", "ib_ipoib"),
            {"error.type": "QP_ERR", "xctl.error.count": 2, "process.title": "ib_ipoib",
             "xctl.rdma.queue_pair.number": 7, "xctl.rdma.queue_pair.peer": 11,
             "xctl.rdma.queue_pair.type": "RC", "xctl.rdma.queue_pair.state": "ERR"},
        ),
        (
            DroppedEvents("ring", 43, 1_009),
            {"error.type": "PROBE_LOST", "xctl.error.count": 43, "xctl.probe.place": "ring",
             "xctl.socket.uid": 1_009, "xctl.entity": "xctl-probe"},
        ),
    ],
)  # fmt: skip
def test_an_error_is_an_event(error, expected):
    record, has = named(ErrorRecord(NOW_MS, error))
    assert record.event_name == "xctl.error"
    assert expected.items() <= has.items()


def test_what_a_receiver_refuses_makes_no_further_event():
    """It would be refused, too, for ever; the metrics have it."""
    found = [ErrorRecord(NOW_MS, DroppedEvents(where, 7)) for where in ("otlp", "ring")]
    assert list(filter(events.is_event, found)) == found[1:]
    points_of = Metrics().points(*found)["xctl.probe.lost_events"]
    lost = {has["xctl.probe.place"]: count for has, count in points_of}
    assert (lost["otlp"], lost["ring"], lost["waits"]) == (7, 7, 0)


def test_a_sum_over_sockets_has_no_local_address():
    _, has = named(
        ErrorRecord(NOW_MS, SocketError(CLIENT, SOCKET, ErrorKind.RESET, 23, sockets=11))
    )
    assert "network.local.address" not in has
    nobodys = replace(SOCKET, inode=0, local_address="", remote_address="", interface=None)
    _, has = named(ErrorRecord(NOW_MS, SocketError(None, nobodys, ErrorKind.RESET, 23, 11)))
    assert not {name for name in has if name.startswith(("network.local", "network.peer"))}
    assert has["xctl.socket.uid"] == 1_009


def test_processes_of_jobs_begin_and_exit_as_events():
    records = [ProcessRecord(NOW_MS, ProcessState(CLIENT, RANK, state)) for state in State]
    found = [named(one)[0] for one in records if events.is_event(one)]
    assert [(one.event_name, one.severity_text) for one in found] == [
        ("xctl.process.start", "INFO"),
        ("xctl.process.exit", "INFO"),
    ]
    assert not events.is_event(moved(CLIENT, 1, 1))


@given(st.lists(RECORDS, max_size=7))
def test_any_records_are_messages(records):
    """Names of any bytes, and numbers that OTLP has no room for."""
    Metrics().add(*records)
    for record in filter(events.is_event, records):
        found, _ = named(record)
        assert found.event_name.startswith("xctl.")
        assert found.body.string_value.isprintable()


def test_the_resource_is_this_host_and_this_run():
    has = attributes(RESOURCE.attributes)
    again = attributes(resource(Origin("node7", "boot"), "0.1.0", "ebpf").attributes)
    uuid.UUID(has["service.instance.id"])
    assert has.pop("service.instance.id") != again.pop("service.instance.id")
    assert has == again
    has.pop("host.id", None)  # of a host that has one
    assert has == {
        "service.name": "xctl-probe-network",
        "service.version": "0.1.0",
        "host.name": "node7",
        "xctl.host.boot_id": "boot",
        "os.type": "linux",
        "xctl.probe.source": "ebpf",
    }


def test_what_is_unknown_of_the_host_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr("xctl_probe.otlp.messages._MACHINE_ID", tmp_path / "none")
    has = attributes(resource(Origin("node7"), None, "sampler").attributes)
    assert not has.keys() & {"host.id", "xctl.host.boot_id", "service.version"}
