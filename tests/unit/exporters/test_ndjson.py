"""NDJSON: exact, ASCII, and acceptable to the consumer whatever is in a record."""

from __future__ import annotations

import ipaddress
import json
import select
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.consumer_model import Consumer
from support.records import CLIENT, NOW_MS, PROCESSES, RECORDS, SOCKET, SOCKETS, STALL

from xctl_probe.ebpf.abi import process as decoded
from xctl_probe.events import (
    Direction,
    DroppedEvents,
    ErrorKind,
    PeerActivity,
    Placement,
    Process,
    ProcessState,
    QueuePairErrors,
    Socket,
    SocketError,
    Stall,
    State,
)
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.records import (
    BandwidthRecord,
    ErrorRecord,
    InterfaceErrors,
    InterfaceFailure,
    ProcessRecord,
    StallRecord,
)

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
    assert json.loads(to_line(StallRecord(NOW_MS, STALL))) == {
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


def test_the_peer_of_a_stall_is_written_out_where_it_was_seen():
    """A consumer takes a key that is absent as not known."""
    peer = Process(241, 7_001, "server")
    seen = replace(STALL, peer=peer, peer_activity=PeerActivity.DISK_SLEEP)
    net = json.loads(to_line(StallRecord(NOW_MS, seen)))["net"]
    plain = json.loads(to_line(StallRecord(NOW_MS, STALL)))["net"]
    expected = {"peer_pid": 241, "peer_comm": "server", "peer_state": "disk_sleep"}
    assert net == plain | expected
    assert not plain.keys() & expected.keys()


def test_a_process_of_a_job_is_written_out():
    """The job is one of the six fields; what else is known of its place is detail."""
    place = Placement("4711", rank=3, local_rank=0, container="c0ffee00" * 8)
    assert json.loads(to_line(ProcessRecord(NOW_MS, ProcessState(CLIENT, place, State.START)))) == {
        "ts": NOW_MS,
        "event_type": "process.state",
        "entity_id": "pid-233",
        "job_id": "4711",
        "pid": 233,
        "value": "start",
        "net": {"comm": "client", "rank": 3, "local_rank": 0, "container": "c0ffee00" * 8},
    }


@pytest.mark.parametrize(
    "record",
    [
        StallRecord(NOW_MS, STALL),
        BandwidthRecord(NOW_MS, "eth0", CLIENT, 7, 11, 10**9),
        ErrorRecord(NOW_MS, SocketError(CLIENT, SOCKET, ErrorKind.RESET, 1)),
        ErrorRecord(NOW_MS, QueuePairErrors(CLIENT, "mlx5_0", 1, 7, None, "RC", "ERR")),
    ],
)
def test_a_job_adds_to_a_record_and_changes_nothing(record):
    uid = "1f0e6a2c-7c5b-4f0e-9d5a-2b6d1c3e4f50"
    place = Placement(uid, uid, "train-0", "default", rank=0)
    plain, placed = json.loads(to_line(record)), to_line(replace(record, placement=place))
    accepted(placed)
    detail = {"pod_uid": uid, "pod": "train-0", "pod_namespace": "default", "rank": 0}
    assert json.loads(placed) == plain | {"job_id": uid, "net": plain["net"] | detail}


def test_what_is_unknown_is_null():
    """Never 0, never a word that could be taken for an answer."""
    socket = Socket(4_241, 11, "tcp", "10.0.0.7", 40_009, "10.0.0.11", 5_437)
    line = to_line(StallRecord(NOW_MS, Stall(None, socket, Direction.SEND, 10**9, True)))
    record = accepted(line)
    assert record.pid is None
    assert {k for k, v in record.net.items() if v is None} == {
        "cause", "tid", "interface", "comm", "uid", "cgroup",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ErrorKind)
def test_an_error_is_its_word_and_count(kind):
    """On the socket, for its owner, with the detail of both."""
    record = accepted(to_line(ErrorRecord(NOW_MS, SocketError(CLIENT, SOCKET, kind, 17))))
    assert (record.entity_id, record.pid, record.value) == ("socket-4241", 233, f"{kind.value}:17")
    assert record.net == DETAIL


def test_retransmits_that_the_receiver_had_are_counted_apart():
    """Three of seventeen; without one, the key is absent, as above."""
    error = SocketError(CLIENT, SOCKET, ErrorKind.RETRANSMIT, 17, duplicates=3)
    record = accepted(to_line(ErrorRecord(NOW_MS, error)))
    assert (record.value, record.net) == ("RETRANSMIT:17", DETAIL | {"duplicates": 3})


def test_an_error_of_a_socket_without_inode_is_acceptable():
    """It ended before anybody could hold it; its line is taken all the same."""
    socket = Socket(0, 11, "tcp", "10.0.0.7", 40_009, "10.0.0.11", 5_437, "eth0")
    for owner in (None, CLIENT):  # of a subflow of Multipath TCP, the process is known
        error = SocketError(owner, socket, ErrorKind.RETRANSMIT, 3)
        assert accepted(to_line(ErrorRecord(NOW_MS, error))).pid is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (InterfaceFailure.ERRORS, "RX_ERR:2,TX_ERR:0"),
        (InterfaceFailure.DROPS, "RX_DROP:2,TX_DROP:0"),
    ],
)
def test_errors_of_an_interface_name_both_directions(kind, value):
    """On the interface, without a process."""
    record = accepted(to_line(ErrorRecord(NOW_MS, InterfaceErrors("eth0", kind, 2, 0))))
    assert (record.entity_id, record.pid, record.value) == ("eth0", None, value)
    assert record.net == {}


@pytest.mark.parametrize(
    ("sockets", "peer", "local", "remote"),
    [(1, "fe80::b", "10.0.0.7:40009", "[fe80::b]:5437"), (3, "fe80::b", None, "[fe80::b]:5437"),
     (3, "", None, None)],
)  # fmt: skip
def test_a_sum_over_sockets_has_no_local_address(sockets, peer, local, remote):
    """And a sum over peers has no remote one either."""
    error = SocketError(CLIENT, replace(SOCKET, remote_address=peer), ErrorKind.REFUSED, 7, sockets)
    net = accepted(to_line(ErrorRecord(NOW_MS, error))).net
    assert (net["local"], net["remote"]) == (local, remote)
    assert net.get("sockets") == (sockets if sockets > 1 else None)


def test_the_probes_own_losses_are_its_errors():
    """On an entity of its own, with the place that lost them."""
    record = accepted(to_line(ErrorRecord(NOW_MS, DroppedEvents("ring", 13))))
    assert (record.entity_id, record.pid, record.value) == ("xctl-probe", None, "PROBE_LOST:13")
    assert record.net == {"where": "ring"}


def test_bandwidth_is_bytes_over_the_measured_time():
    """161,000 bytes in, 143,000 out, in 0.8 s: 1.61 and 1.43 Mbps, 3.04 together."""
    line = to_line(BandwidthRecord(NOW_MS, "eth0", CLIENT, 161_000, 143_000, 800_000_000))
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
    record = accepted(to_line(BandwidthRecord(NOW_MS, "eth0", None, 0, 0, 1_000_000_000, 0)))
    assert (record.pid, record.value, record.net["unattributed_bytes"]) == (None, "0.00", 0)
    assert "comm" not in record.net


HOSTILE = Process(233, 7_001, '"}\n{"ts":0,\\\x7f\x00\u2028\U0001f600')


@given(RECORDS)
@example(StallRecord(NOW_MS, Stall(HOSTILE, SOCKET, Direction.SEND, 1, True)))
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
    net = json.loads(to_line(StallRecord(NOW_MS, stall)))["net"]
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
    """However the kernel source decodes it, no name of a process stops the probe."""
    owner = decoded(233, 7_001, comm)
    assert owner is not None
    line = to_line(StallRecord(NOW_MS, Stall(owner, SOCKET, Direction.SEND, 10**9, False)))
    assert accepted(line).net["comm"] == owner.comm
