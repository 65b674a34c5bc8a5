"""What the live screen remembers of the records of each interval."""

from __future__ import annotations

from dataclasses import replace

from xctl_probe.aggregate import Filter, aggregate
from xctl_probe.commands.top.model import KEEP_NS, Model, WaitedFor
from xctl_probe.commands.top.ui import Ui, shown
from xctl_probe.events import (
    App,
    Cause,
    Counted,
    Direction,
    DroppedEvents,
    ErrorKind,
    InterfaceDelta,
    PacketCounts,
    PacketDelta,
    PeerActivity,
    PortErrorKind,
    PortErrors,
    Process,
    QueuePairErrors,
    Socket,
    SocketError,
    Stall,
    TrafficDelta,
)

S = 1_000_000_000
CLIENT, OTHER = Process(233, 7, "client"), Process(239, 11, "other")
SOCKET = Socket(4_241, 1, "tcp", "10.0.0.11", 40_009, "10.0.0.7", 5_432, "eth0")
EVERYTHING = Filter(0.0, loopback=True)


def add(model, now_ns, *events):
    """One interval of a second up to `now_ns`, by the stream's own window."""
    model.add(aggregate(events, EVERYTHING, S, 0), now_ns)
    return model.view(now_ns)


def stall(ms, *, ongoing, cause=Cause.NO_REPLY):
    return Stall(CLIENT, SOCKET, Direction.RECEIVE, ms * 1_000_000, ongoing, cause)


def test_bytes_become_rates_of_processes_and_interfaces():
    """In Mbps, each by itself."""
    view = add(
        Model(),
        S,
        TrafficDelta(CLIENT, "eth0", 1_000_000, 250_000),
        TrafficDelta(CLIENT, "lo", 125_000, 0),
        InterfaceDelta("eth0", 500_000, 1_250_000, 0, 0, 0, 0),
    )
    rates = {(p.pid, p.interface): (p.rx_mbps, p.tx_mbps) for p in view.processes}
    assert rates == {(233, "eth0"): (2.0, 8.0), (233, "lo"): (0.0, 1.0)}
    (interface,) = view.interfaces
    assert (interface.interface, interface.rx_mbps, interface.mbps) == ("eth0", 4.0, 14.0)


def test_packets_of_an_interface_a_second():
    """Of both directions together."""
    counts = PacketCounts(rx={"tcp": Counted(3, 198)}, tx={"tcp": Counted(4, 264)})
    view = add(
        Model(), S, InterfaceDelta("eth0", 1, 1, 0, 0, 0, 0), PacketDelta("eth0", counts)
    )  # fmt: skip
    assert [interface.packets for interface in view.interfaces] == ["tcp 7 packets/s"]


def test_what_is_waited_for_has_its_protocol():
    tls = replace(SOCKET, app=App("tls", "lab.example"))
    waits = replace(stall(101, ongoing=True), socket=tls)
    reset = SocketError(CLIENT, tls, ErrorKind.RESET, 1)
    view = add(Model(), S, waits, reset)
    assert [row.app for row in (*view.stalls, *view.errors)] == ["tls lab.example"] * 2


def test_whom_others_wait_for_with_the_time_that_they_waited():
    """First who holds up the most processes now; the peer's newest activity counts."""
    computes, reads, busy = Process(3, 1, "rank2"), Process(5, 1, "db"), PeerActivity.RUNNING
    lab = replace(SOCKET, inode=7)
    view = add(
        Model(),
        S,
        replace(stall(1_009, ongoing=False), peer=reads, peer_activity=PeerActivity.STOPPED),
        replace(stall(4_001, ongoing=True), peer=computes, peer_activity=busy),
        replace(stall(2_003, ongoing=True), peer=computes, socket=lab),
        replace(stall(101, ongoing=True), peer=computes, owner=OTHER),
        replace(stall(30_011, ongoing=False), socket=replace(SOCKET, inode=11)),  # not known
    )
    assert view.waited_for == (
        WaitedFor(3, "rank2", busy, 2, 2, 6_105),
        WaitedFor(5, "db", PeerActivity.STOPPED, 0, 1, 1_009),
    )


def test_what_a_peer_was_last_seen_to_do_stays_when_the_wait_is_over():
    """The last record of a wait has no peer: there is nothing more to be seen of it."""
    model, computes = Model(), Process(3, 1, "rank2")
    waits = replace(stall(1_009, ongoing=True), peer=computes, peer_activity=PeerActivity.RUNNING)
    add(model, S, waits)
    add(model, 2 * S, stall(2_009, ongoing=True))
    view = add(model, 3 * S, stall(2_503, ongoing=False))
    assert view.waited_for == (WaitedFor(3, "rank2", PeerActivity.RUNNING, 0, 1, 2_503),)


def test_a_process_that_pauses_keeps_its_line_for_a_while():
    """At zero; then it goes, so that the screen does not fill up."""
    model = Model()
    add(model, S, TrafficDelta(CLIENT, "eth0", 1_000_000, 0))
    (process,) = add(model, 2 * S).processes
    assert process.mbps == 0
    assert add(model, 7 * S).processes == ()


def test_a_stall_runs_then_is_over_then_is_forgotten():
    """Each once, with its latest length."""
    model = Model()
    (running,) = add(model, S, stall(200, ongoing=True)).stalls
    assert (running.ongoing, running.duration_ms, running.cause) == (True, 200, "no_reply")
    (running,) = add(model, 2 * S, stall(1_200, ongoing=True)).stalls
    assert running.duration_ms == 1_200
    (ended,) = add(model, 3 * S, stall(1_500, ongoing=False)).stalls
    assert (ended.ongoing, ended.duration_ms) == (False, 1_500)
    assert len(add(model, 4 * S).stalls) == 1
    assert add(model, 3 * S + KEEP_NS).stalls == ()


def test_an_end_and_a_new_beginning_in_one_interval_are_two_stalls():
    """The one that runs comes first."""
    model = Model()
    add(model, S, stall(900, ongoing=True))
    view = add(model, 2 * S, stall(1_100, ongoing=False), stall(150, ongoing=True))
    assert [(s.ongoing, s.duration_ms) for s in view.stalls] == [(True, 150), (False, 1_100)]


def test_a_stall_whose_end_was_missed_does_not_run_for_ever():
    """Nothing more is heard of it."""
    model = Model()
    add(model, S, stall(900, ongoing=True))
    (ended,) = add(model, 2 * S).stalls
    assert (ended.ongoing, ended.duration_ms) == (False, 900)


def test_errors_are_counted_by_kind_and_socket():
    """And the latest come first."""
    model = Model()
    add(model, S, SocketError(CLIENT, SOCKET, ErrorKind.RETRANSMIT, 3))
    add(model, 2 * S, SocketError(OTHER, SOCKET, ErrorKind.RESET, 1))
    view = add(model, 3 * S, SocketError(CLIENT, SOCKET, ErrorKind.RETRANSMIT, 4))
    assert [(e.pid, e.what, e.count) for e in view.errors] == [
        (233, "RETRANSMIT", 7), (239, "RESET", 1),
    ]  # fmt: skip


def test_an_interfaces_errors_are_those_that_happened():
    """The record names both ways, the screen only the one that is not zero."""
    view = add(Model(), S, InterfaceDelta("eth0", 0, 0, 5, 0, 0, 0))
    assert [(e.entity, e.what, e.count) for e in view.errors] == [("eth0", "RX_ERR", 5)]


def test_the_filter_by_interface_keeps_its_own_errors():
    """An RDMA port is one; errors of the probe have none."""
    view = add(
        Model(),
        S,
        InterfaceDelta("eth0", 0, 0, 0, 0, 5, 0),
        PortErrors("mlx5_0", PortErrorKind.CNP, 3, (("np_cnp_sent", 3),)),
        QueuePairErrors(None, "mlx5_1", 2, 17, None, "RC", "ERR"),
        SocketError(CLIENT, SOCKET, ErrorKind.RESET, 1),
        DroppedEvents("ring", 1),
    )
    for typed, found in (
        ("eth0", {"RX_DROP", "RESET"}), ("mlx5_0", {"CNP"}), ("mlx5", {"CNP", "QP_ERR"}),
    ):  # fmt: skip
        assert {row.what for row in shown(view, Ui(filter=typed)).errors} == found
    assert len(view.errors) == 5


def test_a_storm_is_bounded():
    """Ten thousand failing sockets in one interval."""
    sockets = (Socket(n, n, "tcp", "::1", 1, "::1", 2, "lo") for n in range(1, 10_000))
    errors = [SocketError(CLIENT, socket, ErrorKind.REFUSED, 1) for socket in sockets]
    shown = add(Model(), S, *errors).errors
    assert len(shown) == 257  # one process's share, and what exceeds it as one sum
    assert sum(e.count for e in shown) == 9_999
    many = [replace(e, owner=Process(n, 7, "many")) for n, e in enumerate(errors, 1)]
    assert len(add(Model(), S, *many).errors) == 500
