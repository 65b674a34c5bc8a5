"""Records as lines: exact, ASCII, and acceptable to the consumer whatever is in them."""

from __future__ import annotations

import ipaddress
import json
import math
import select
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.consumer_model import Consumer

from xctl_probe.ebpf.abi import process as decoded
from xctl_probe.events import (
    Cause,
    Direction,
    ErrorKind,
    InterfaceCounts,
    Lost,
    Process,
    Socket,
    SocketError,
    Stall,
)
from xctl_probe.exporters.records import (
    Bandwidth,
    error_event,
    interface_events,
    lost_event,
    stall_event,
    to_line,
)

NOW_MS = 1_700_000_000_123
CLIENT = Process(233, 7_001, "client")
SOCKET = Socket(4_241, 11, "tcp", "10.0.0.7", 40_009, "fe80::b", 5_437, "eth0", 1_009, 7_919)
STALL = Stall(CLIENT, SOCKET, Direction.RECEIVE, 1_301_999_999, False, Cause.NO_REPLY, 239)
DETAIL = {
    "protocol": "tcp",
    "local": "10.0.0.7:40009",
    "remote": "[fe80::b]:5437",
    "interface": "eth0",
    "comm": "client",
    "uid": 1_009,
    "cgroup": 7_919,
}


def accepted(line):
    """The record that the strict consumer takes from a line; it raises when it takes none."""
    record = Consumer(now_ms=lambda: NOW_MS).feed(line)
    assert record is not None
    return record


def test_a_stall_is_written_out():
    """Every field of the line, its detail, and whole milliseconds rounded down."""
    assert json.loads(to_line(stall_event(STALL, NOW_MS))) == {
        "ts": NOW_MS,
        "event_type": "transport.drop",
        "entity_id": "socket-4241",
        "job_id": None,
        "pid": 233,
        "value": "STALL_1301ms",
        "net": {
            "ongoing": False,
            "direction": "receive",
            "cause": "no_reply",
            "duration_ms": 1_301,
            "tid": 239,
            **DETAIL,
        },
    }


def test_what_is_unknown_is_null():
    """Never 0, never a word that could be taken for an answer."""
    socket = Socket(4_241, 11, "tcp", "10.0.0.7", 40_009, "10.0.0.11", 5_437)
    line = to_line(stall_event(Stall(None, socket, Direction.SEND, 10**9, True), NOW_MS))
    record = accepted(line)
    assert record.pid is None
    assert {k for k, v in record.net.items() if v is None} == {
        "cause", "tid", "interface", "comm", "uid", "cgroup",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ErrorKind)
def test_an_error_is_its_word_and_count(kind):
    """On the socket, for its owner, with the detail of both."""
    record = accepted(to_line(error_event(SocketError(CLIENT, SOCKET, kind, 17), NOW_MS)))
    assert (record.entity_id, record.pid, record.value) == ("socket-4241", 233, f"{kind.value}:17")
    assert record.net == DETAIL


def test_an_error_of_a_socket_without_inode_is_acceptable():
    """It ended before anybody could hold it; its line is taken all the same."""
    socket = Socket(0, 11, "tcp", "10.0.0.7", 40_009, "10.0.0.11", 5_437, "eth0")
    for owner in (None, CLIENT):  # of a subflow of Multipath TCP, the process is known
        error = SocketError(owner, socket, ErrorKind.RETRANSMIT, 3)
        assert accepted(to_line(error_event(error, NOW_MS))).pid is None


@pytest.mark.parametrize(
    ("counts", "values"),
    [
        ((0, 0, 0, 0), []),
        ((2, 0, 0, 0), ["RX_ERR:2,TX_ERR:0"]),
        ((0, 3, 0, 0), ["RX_ERR:0,TX_ERR:3"]),
        ((0, 0, 5, 7), ["RX_DROP:5,TX_DROP:7"]),
        ((2, 3, 5, 7), ["RX_ERR:2,TX_ERR:3", "RX_DROP:5,TX_DROP:7"]),
    ],
)
def test_an_interface_tells_its_errors_and_drops(counts, values):
    """Where there were any, and only then."""
    events = interface_events(InterfaceCounts("eth0", 0, 0, *counts), NOW_MS)
    found = [accepted(to_line(event)) for event in events]
    assert [record.value for record in found] == values
    assert {(r.entity_id, r.pid) for r in found} <= {("eth0", None)}


def test_the_probes_own_losses_are_its_errors():
    """On an entity of its own, with the place that lost them."""
    record = accepted(to_line(lost_event(Lost("ring", 13), NOW_MS)))
    assert (record.entity_id, record.pid, record.value) == ("xctl-probe", None, "PROBE_LOST:13")
    assert record.net == {"where": "ring"}


def test_bandwidth_is_bytes_over_the_measured_time():
    """161,000 bytes in, 143,000 out, in 0.8 s: 1.61 and 1.43 Mbps, 3.04 together."""
    line = to_line(Bandwidth(NOW_MS, "eth0", CLIENT, 161_000, 143_000, 800_000_000))
    record = accepted(line)
    assert (record.entity_id, record.pid, record.value) == ("eth0", 233, "3.04")
    assert record.net == {
        "rx_mbps": 1.61,
        "tx_mbps": 1.43,
        "rx_bytes": 161_000,
        "tx_bytes": 143_000,
        "interval_ms": 800,
        "comm": "client",
    }


def test_an_idle_interface_is_a_heartbeat():
    """Zero, with two decimals, and what no process accounts for."""
    record = accepted(to_line(Bandwidth(NOW_MS, "eth0", None, 0, 0, 1_000_000_000, 0)))
    assert (record.pid, record.value, record.net["unattributed_bytes"]) == (None, "0.00", 0)
    assert "comm" not in record.net


# Whatever a process calls itself: sources decode with backslashreplace.
TEXT = st.one_of(
    st.binary(max_size=15).map(lambda raw: raw.decode("utf-8", "backslashreplace")),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=15),
)
PIDS = st.integers(1, 2**32 - 1)
PROCESSES = st.none() | st.builds(Process, PIDS, st.integers(0, 2**64 - 1), TEXT)
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
PORTS = st.integers(0, 0xFFFF)
SOCKETS = st.builds(
    Socket,
    inode=st.integers(1, 2**32 - 1),
    cookie=st.integers(0, 2**64 - 1),
    protocol=st.sampled_from(["tcp", "udp"]),
    local_address=ADDRESSES,
    local_port=PORTS,
    remote_address=ADDRESSES,
    remote_port=PORTS,
    interface=st.none() | st.sampled_from(["eth0", "lo"]),
    uid=st.none() | st.integers(0, 2**32 - 1),
    cgroup=st.none() | st.integers(0, 2**64 - 1),
)
STALLS = st.builds(
    Stall,
    PROCESSES,
    SOCKETS,
    st.sampled_from(list(Direction)),
    st.integers(0, 2**63 - 1),
    st.booleans(),
    st.none() | st.sampled_from(list(Cause)),
    st.none() | PIDS,
)
ERRORS = st.builds(
    SocketError, PROCESSES, SOCKETS, st.sampled_from(list(ErrorKind)), st.integers(1, 2**63)
)
BANDWIDTHS = st.builds(
    Bandwidth,
    st.just(NOW_MS),
    st.sampled_from(["eth0", "wlp3s0", "br-0a1b2c"]),
    PROCESSES,
    st.integers(0, 2**60),
    st.integers(0, 2**60),
    st.integers(0, 2**60),
    st.none() | st.integers(0, 2**60),
).map(
    # An interface's record has them, a process's has none: as the aggregate makes them.
    lambda b: replace(b, unattributed_bytes=None if b.owner else b.unattributed_bytes or 0)
)
RECORDS = st.one_of(
    STALLS.map(lambda stall: stall_event(stall, NOW_MS)),
    ERRORS.map(lambda error: error_event(error, NOW_MS)),
    BANDWIDTHS,
)
HOSTILE = Process(233, 7_001, '"}\n{"ts":0,\\\x7f\x00\u2028\U0001f600')


@given(RECORDS)
@example(stall_event(Stall(HOSTILE, SOCKET, Direction.SEND, 1, True), NOW_MS))
def test_any_record_is_one_line_that_the_consumer_takes(record):
    """ASCII without control characters, one newline at its end, and every rule of the contract."""
    line = to_line(record)
    assert line.endswith(b"\n")
    assert all(0x20 <= byte <= 0x7E for byte in line[:-1])
    assert len(line) <= select.PIPE_BUF  # a pipe takes it whole, or not at all
    assert accepted(line).ts == NOW_MS


@given(PROCESSES, SOCKETS)
@example(HOSTILE, SOCKET)
def test_names_and_addresses_come_out_as_they_went_in(owner, socket):
    """Escaping loses nothing: the reader has the very name, addresses and numbers."""
    stall = Stall(owner, socket, Direction.SEND, 10**9, False)
    net = json.loads(to_line(stall_event(stall, NOW_MS)))["net"]
    assert net["comm"] == (owner.comm if owner else None)
    assert (net["uid"], net["cgroup"]) == (socket.uid, socket.cgroup)
    for side, address, port in (
        ("local", socket.local_address, socket.local_port),
        ("remote", socket.remote_address, socket.remote_port),
    ):
        host, _, number = net[side].rpartition(":")
        assert ipaddress.ip_address(host.strip("[]")) == ipaddress.ip_address(address)
        assert int(number) == port


@given(st.binary(max_size=16))
def test_a_name_from_the_kernel_can_be_written(comm):
    """However the kernel source decodes it, no name of a process ends the probe."""
    owner = decoded(233, 7_001, comm)
    assert owner is not None
    line = to_line(stall_event(Stall(owner, SOCKET, Direction.SEND, 10**9, False), NOW_MS))
    assert accepted(line).net["comm"] == owner.comm


@given(st.lists(BANDWIDTHS, min_size=1, max_size=7))
def test_windows_add_up(windows):
    """As one, they have all bytes and all the time, and the newest stamp."""
    total = windows[0]
    for window in windows[1:]:
        total = total.plus(window)
    assert total.rx_bytes == sum(w.rx_bytes for w in windows)
    assert total.tx_bytes == sum(w.tx_bytes for w in windows)
    assert total.elapsed_ns == sum(w.elapsed_ns for w in windows)
    assert total.ts_ms == windows[-1].ts_ms
    if all(w.unattributed_bytes is not None for w in windows):
        assert total.unattributed_bytes == sum(w.unattributed_bytes or 0 for w in windows)


@given(
    st.lists(BANDWIDTHS.filter(lambda w: w.elapsed_ns and w.mbps >= 1.0), min_size=1, max_size=7)
)
def test_windows_that_were_no_wait_add_up_to_none(windows):
    """Each at 1 Mbps or more: so is their sum, and a consumer reads no wait from it."""
    windows = [replace(window, owner=CLIENT, unattributed_bytes=None) for window in windows]
    total = windows[0]
    for window in windows[1:]:
        total = total.plus(window)
    assert math.floor(total.mbps * 100 + 0.5) >= 100
    assert accepted(to_line(total)).mbps >= 1.0
