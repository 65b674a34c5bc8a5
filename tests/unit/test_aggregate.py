"""An interval's events, added up: nothing gained, nothing lost, what matters first."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import CLIENT, NOW_MS, OTHER, SOCKET

from xctl_probe.aggregate import Filter, aggregate
from xctl_probe.events import (
    Cause,
    Direction,
    DroppedEvents,
    ErrorKind,
    InterfaceDelta,
    Placement,
    PortErrorKind,
    PortErrors,
    Process,
    ProcessLoad,
    ProcessState,
    RdmaLink,
    RdmaPortDelta,
    Socket,
    SocketError,
    Stall,
    State,
    TrafficDelta,
)
from xctl_probe.exporters.records import (
    BandwidthRecord,
    CpuRecord,
    ErrorRecord,
    InterfaceErrors,
    InterfaceFailure,
    MemoryRecord,
    ProcessRecord,
    StallRecord,
)
from xctl_probe.metrics import DEFAULT, Metric

SECOND_NS = 1_000_000_000
REUSED = Process(233, 9_001, "client")  # the same pid, another process
LOCAL = Socket(4_243, 13, "tcp", "127.0.0.1", 40_011, "127.0.0.1", 5_441, "lo")
ALL = Filter(min_mbps=0.0, loopback=True)


def records(events, wanted=ALL, elapsed_ns=SECOND_NS):
    return list(aggregate(events, wanted, elapsed_ns, NOW_MS))


def stall(owner=CLIENT, socket=SOCKET):
    return Stall(owner, socket, Direction.RECEIVE, 1_301_000_000, False, Cause.NO_REPLY)


def counts(name="eth0", rx=0, tx=0, **more):
    zero = dict.fromkeys(("rx_errors", "tx_errors", "rx_dropped", "tx_dropped"), 0)
    return InterfaceDelta(name, rx, tx, **(zero | more))


def test_a_process_is_one_record_for_each_interface():
    """Three sockets, two interfaces: 23 messages of 7 bytes and 29 of 11, added up."""
    found = records(
        [
            TrafficDelta(CLIENT, "eth0", 161, 0),
            TrafficDelta(CLIENT, "eth0", 0, 319),
            TrafficDelta(CLIENT, "lo", 13, 17),
            TrafficDelta(OTHER, "eth0", 2, 3),
        ]
    )
    assert found == [
        BandwidthRecord(NOW_MS, "eth0", CLIENT, 319, 161, SECOND_NS),
        BandwidthRecord(NOW_MS, "lo", CLIENT, 17, 13, SECOND_NS),
        BandwidthRecord(NOW_MS, "eth0", OTHER, 3, 2, SECOND_NS),
    ]


def test_a_reused_pid_is_not_added_to_the_one_before():
    """Identity is pid and start."""
    found = records([TrafficDelta(CLIENT, "eth0", 7, 0), TrafficDelta(REUSED, "eth0", 11, 0)])
    assert [(r.owner, r.tx_bytes) for r in found] == [(CLIENT, 7), (REUSED, 11)]


def test_a_process_that_renames_itself_is_one_record():
    """As trainers do: what it did before has the old name."""
    now = Process(CLIENT.pid, CLIENT.start_ticks, "rank3")
    events = [TrafficDelta(CLIENT, "eth0", 1_000, 0), TrafficDelta(now, "eth0", 0, 24)]
    (record,) = records(events)
    assert (record.owner, record.tx_bytes, record.rx_bytes) == (now, 1_000, 24)


def test_bytes_of_a_longer_time_are_a_rate_over_that():
    """Of a source that is not read in each interval."""
    several = [TrafficDelta(CLIENT, "mlx5_0", 125, 0, 10**12), TrafficDelta(CLIENT, "mlx5_0", 0, 1)]
    (found,) = records(several)
    assert (found.tx_bytes, found.elapsed_ns) == (125, 10**12)


def test_an_interface_has_its_record_when_idle():
    """The heartbeat: zero bytes over the measured time, nothing unattributed."""
    assert records([counts("eth0")], elapsed_ns=1_009) == [
        BandwidthRecord(NOW_MS, "eth0", None, 0, 0, 1_009, 0)
    ]


def test_what_no_process_accounts_for_is_reported_with_the_interface():
    """Its own counters, and beside them the bytes of unknown owners, both ways."""
    found = records(
        [TrafficDelta(None, "eth0", 7, 11), TrafficDelta(None, "eth0", 13, 0), TrafficDelta(None,
        "lo", 17, 0),
         counts("eth0", 1_009, 2_003)],
    )  # fmt: skip
    assert found == [BandwidthRecord(NOW_MS, "eth0", None, 1_009, 2_003, SECOND_NS, 31)]


@pytest.mark.parametrize(
    ("metrics", "has_bytes"), [({Metric.PACKETS}, True), ({Metric.BANDWIDTH}, False)]
)
def test_what_no_process_accounts_for_is_not_0_where_nothing_is_counted(metrics, has_bytes):
    wanted = Filter(min_mbps=0.0, metrics=frozenset(metrics))
    events = [TrafficDelta(None, "eth0", 7, 11), counts("eth0", 1_009, 2_003)]
    (found,) = aggregate(events, wanted, SECOND_NS, NOW_MS, has_bytes=has_bytes)
    assert (found.rx_bytes, found.unattributed_bytes) == (1_009, None)


def test_what_matters_most_is_written_first():
    """Stalls, errors, losses, then bandwidth, whatever the order of the events."""
    found = records(
        [
            counts("eth0", rx_errors=3),
            TrafficDelta(CLIENT, "eth0", 7, 11),
            DroppedEvents("ring", 5),
            SocketError(CLIENT, SOCKET, ErrorKind.RESET, 1),
            stall(),
        ]
    )
    assert found[:4] == [
        StallRecord(NOW_MS, stall()),
        ErrorRecord(NOW_MS, SocketError(CLIENT, SOCKET, ErrorKind.RESET, 1)),
        ErrorRecord(NOW_MS, DroppedEvents("ring", 5)),
        ErrorRecord(NOW_MS, InterfaceErrors("eth0", InterfaceFailure.ERRORS, 3, 0)),
    ]
    assert [type(r) for r in found[4:]] == [BandwidthRecord, BandwidthRecord]
    assert {r.ts_ms for r in found} == {NOW_MS}


def test_errors_of_one_kind_on_one_socket_add_up():
    """Kinds, sockets and owners stay apart."""
    found = records(
        [
            SocketError(CLIENT, SOCKET, ErrorKind.RETRANSMIT, 3),
            SocketError(CLIENT, SOCKET, ErrorKind.RESET, 1),
            SocketError(CLIENT, SOCKET, ErrorKind.RETRANSMIT, 4, duplicates=2),
            SocketError(None, SOCKET, ErrorKind.RETRANSMIT, 5),
            SocketError(CLIENT, LOCAL, ErrorKind.RETRANSMIT, 11),
        ]
    )
    assert [r.error for r in found] == [
        SocketError(CLIENT, SOCKET, ErrorKind.RETRANSMIT, 7, duplicates=2),
        SocketError(CLIENT, SOCKET, ErrorKind.RESET, 1),
        SocketError(None, SOCKET, ErrorKind.RETRANSMIT, 5),
        SocketError(CLIENT, LOCAL, ErrorKind.RETRANSMIT, 11),
    ]


@pytest.mark.parametrize(
    ("errors", "found"),
    [
        ((0, 0, 0, 0), []),
        ((2, 0, 0, 0), [("ERR", 2, 0)]),
        ((0, 3, 0, 0), [("ERR", 0, 3)]),
        ((0, 0, 5, 7), [("DROP", 5, 7)]),
        ((2, 3, 5, 7), [("ERR", 2, 3), ("DROP", 5, 7)]),
    ],
)
def test_an_interface_has_a_record_of_its_errors_and_of_its_drops(errors, found):
    """Where there were any, and only then."""
    records_ = records([InterfaceDelta("eth0", 0, 0, *errors)])
    failures = [r.error for r in records_ if isinstance(r, ErrorRecord)]
    assert [(e.kind.value, e.rx, e.tx) for e in failures] == found


@pytest.mark.parametrize(
    ("wanted", "pids", "stalled"),
    [
        (Filter(0.0), {233, 239}, 3),
        (Filter(0.0, pids=frozenset({239})), {239}, 1),
        (Filter(0.0, pids=frozenset({241})), set(), 0),
        (Filter(0.0, interfaces=frozenset({"lo"})), {233}, 1),
        (Filter(0.0, interfaces=frozenset({"wg0"})), set(), 0),
    ],
)
def test_only_what_is_wanted_is_reported(wanted, pids, stalled):
    """By process and by interface; an unknown owner has no pid."""
    events = [
        TrafficDelta(CLIENT, "lo", 7, 0),
        TrafficDelta(CLIENT, "eth0", 7, 0),
        TrafficDelta(OTHER, "eth0", 7, 0),
        stall(CLIENT, LOCAL),
        stall(OTHER, SOCKET),
        stall(None, SOCKET),
        counts("eth0"),
        DroppedEvents("ring", 1),
    ]
    found = records(events, wanted)
    assert {r.owner.pid for r in found if isinstance(r, BandwidthRecord) and r.owner} == pids
    assert sum(isinstance(r, StallRecord) for r in found) == stalled
    assert sum(isinstance(r, ErrorRecord) for r in found) == 1
    assert sum(isinstance(r, BandwidthRecord) and r.owner is None for r in found) == 1


def test_a_port_may_be_wanted_by_the_name_of_its_interface():
    """Its traffic is there because it is wanted, that of other interfaces in any case."""
    events = [
        TrafficDelta(CLIENT, "mlx5_0", 7, 0, of_port=True),
        TrafficDelta(CLIENT, "eth0", 11, 0),
        TrafficDelta(CLIENT, "eth1", 13, 0),
    ]
    for wanted in (Filter(0.0, interfaces=frozenset({"eth0"})), Filter(0.0, loopback=True)):
        found = {record.interface for record in records(events, wanted)}
        assert found == {"mlx5_0", "eth0"} | (set() if wanted.interfaces else {"eth1"})


def test_stalls_on_loopback_are_reported_though_its_bandwidth_is_not():
    """A database on this host hangs like any other."""
    found = records([stall(CLIENT, LOCAL), TrafficDelta(CLIENT, "lo", 10**9, 0)], Filter())
    assert found == [StallRecord(NOW_MS, stall(CLIENT, LOCAL))]


@pytest.mark.parametrize(("sent", "reported"), [(124_999, False), (125_000, True)])
def test_a_process_below_the_least_bandwidth_gets_no_record(sent, reported):
    """1 Mbps is 125,000 bytes a second; below it a consumer would read a wait."""
    assert bool(records([TrafficDelta(CLIENT, "eth0", sent, 0)], Filter())) is reported


def test_no_time_is_no_bandwidth():
    """Two drains in the same nanosecond: zero Mbps, not a division by zero."""
    (found,) = records([TrafficDelta(CLIENT, "eth0", 7, 0)], elapsed_ns=0)
    assert found.mbps == 0.0


PROCESSES = st.sampled_from([CLIENT, OTHER, REUSED, None])
NAMES = st.sampled_from(["eth0", "lo", "wg0", None])
BYTES = st.integers(0, 2**48)
TRAFFIC = st.builds(TrafficDelta, PROCESSES, NAMES, BYTES, BYTES)
ERRORS = st.builds(
    SocketError,
    PROCESSES,
    st.sampled_from([SOCKET, LOCAL]),
    st.sampled_from(list(ErrorKind)),
    st.integers(1, 2**31),
)
COUNTS = st.builds(InterfaceDelta, st.just("eth0"), *[BYTES] * 6)
EVENTS = st.lists(
    st.one_of(TRAFFIC, ERRORS, COUNTS, st.builds(DroppedEvents, st.just("ring"), st.just(3)))
)


@given(EVENTS, st.randoms(use_true_random=False))
def test_sums_are_conserved_whatever_the_events(events, random):
    """Bytes by process and direction, and errors by kind, come out as they went in."""
    went_in, came_out = Counter(), Counter()
    for event in events:
        if isinstance(event, TrafficDelta) and event.owner:
            went_in[event.owner, event.interface or "unknown", "sent"] += event.sent_bytes
            went_in[event.owner, event.interface or "unknown", "received"] += event.received_bytes
        elif isinstance(event, SocketError):
            went_in[event.owner, event.socket, event.kind] += event.count
        elif isinstance(event, DroppedEvents):
            went_in["lost"] += event.count
    random.shuffle(events)
    found = records(events)
    for record in found:
        if isinstance(record, BandwidthRecord) and record.owner:
            came_out[record.owner, record.interface, "sent"] += record.tx_bytes
            came_out[record.owner, record.interface, "received"] += record.rx_bytes
        elif isinstance(record, ErrorRecord) and isinstance(record.error, SocketError):
            error = record.error
            came_out[error.owner, error.socket, error.kind] += error.count
        elif isinstance(record, ErrorRecord) and isinstance(record.error, DroppedEvents):
            came_out["lost"] += record.error.count
    assert +came_out == +went_in


@given(EVENTS, st.floats(0, 1e6))
def test_no_process_below_the_threshold_is_ever_reported(events, min_mbps):
    """And each one at or above it is, once for each interface."""
    wanted = Filter(min_mbps, loopback=True)
    reported = [r for r in records(events, wanted) if isinstance(r, BandwidthRecord) and r.owner]
    all_of_them = [r for r in records(events) if isinstance(r, BandwidthRecord) and r.owner]
    assert reported == [r for r in all_of_them if r.mbps >= min_mbps]
    assert len({(r.owner, r.interface) for r in reported}) == len(reported)


@pytest.mark.parametrize(
    ("metric", "kinds"),
    [
        (Metric.BANDWIDTH, [BandwidthRecord, BandwidthRecord]),
        (Metric.STALLS, [StallRecord]),
        (Metric.ERRORS, [ErrorRecord, ErrorRecord]),
        (Metric.RDMA, [ErrorRecord, BandwidthRecord]),
    ],
)
def test_a_metric_that_is_off_has_no_record(metric, kinds):
    """What counts for others, too, is seen all the same: the bytes of a socket, or a failure."""
    link = RdmaLink("InfiniBand", "", "ACTIVE", None)
    events = [
        TrafficDelta(CLIENT, "eth0", 1_000_003, 0),
        stall(),
        SocketError(CLIENT, SOCKET, ErrorKind.RESET, 1),
        counts(rx=7, rx_errors=3),
        RdmaPortDelta("mlx5_0", link, 1, 2, SECOND_NS),
        PortErrors("mlx5_0", PortErrorKind.CNP, 3, (("rp_cnp_handled", 3),)),
    ]
    found = records(events, Filter(0.0, loopback=True, metrics=frozenset((metric,))))
    assert [type(record) for record in found] == kinds
    every = records(events, Filter(0.0, loopback=True, metrics=DEFAULT))
    assert [record for record in every if record in found] == found


@pytest.mark.parametrize(
    ("cpu_ms", "pages", "kinds"),
    [
        (10, 100, [CpuRecord, MemoryRecord]),
        (2_510, 99, [CpuRecord]),
        (9, 100, [MemoryRecord]),
        (9, 99, []),
    ],
)
def test_a_load_below_one_percent_has_no_record(cpu_ms, pages, kinds):
    """The consumer would take the process, and others, for stalled ones."""
    load = ProcessLoad(CLIENT, cpu_ms * 1_000_000, SECOND_NS, pages, 10_000)
    assert [type(record) for record in records([load])] == kinds


def test_a_load_comes_before_the_exit_of_its_process():
    """After it, the consumer would make the process again, without its job."""
    load = ProcessLoad(CLIENT, SECOND_NS, SECOND_NS, 0, 1)
    exited = ProcessState(CLIENT, Placement("4711"), State.EXIT)
    assert [type(record) for record in records([exited, load])] == [CpuRecord, ProcessRecord]


def test_the_load_of_another_process_is_not_wanted():
    load = ProcessLoad(OTHER, SECOND_NS, SECOND_NS, 0, 1)
    assert records([load], Filter(pids=frozenset({CLIENT.pid}))) == []
