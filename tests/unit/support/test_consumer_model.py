"""The model of the consumer is itself tested: a lax model would prove nothing."""

from __future__ import annotations

import json

import pytest
from support.consumer_model import Consumer, ContractError
from support.namespace import FLOODER

NOW_MS = 1_700_000_000_123
BANDWIDTH = {
    "ts": NOW_MS,
    "event_type": "transport.bw",
    "entity_id": "eth0",
    "job_id": None,
    "pid": None,
    "value": "125.50",
}
STALL = BANDWIDTH | {
    "event_type": "transport.drop",
    "entity_id": "socket-4242",
    "pid": 23,
    "value": "STALL_1301ms",
    "net": {"ongoing": False},
}
CPU = BANDWIDTH | {
    "event_type": "compute.util",
    "entity_id": "cpu",
    "pid": 23,
    "value": "7.00",
    "net": {"comm": "python3", "cpu_ms": 70, "interval_ms": 1000},
}
START = BANDWIDTH | {
    "event_type": "process.state",
    "entity_id": "pid-23",
    "job_id": "4711",
    "pid": 23,
    "value": "start",
}
EXIT = START | {"value": "exit"}
ERROR = BANDWIDTH | {
    "event_type": "error.net",
    "entity_id": "socket-4242",
    "value": "RETRANSMIT:7",
}


@pytest.fixture
def consumer():
    """Without the schema: the consumer accepts more than the probe writes."""
    return Consumer(now_ms=lambda: NOW_MS, promised=lambda _: None)


def line(fields):
    return json.dumps(fields).encode() + b"\n"


@pytest.mark.parametrize(
    "fields",
    [
        BANDWIDTH,
        BANDWIDTH | {"value": "0.00"},
        BANDWIDTH | {"pid": 2**32 - 1},
        BANDWIDTH | {"later": {"anything": [1.5, None]}},
        {k: v for k, v in BANDWIDTH.items() if k not in ("pid", "job_id")},
        STALL,
        STALL | {"pid": None},
        ERROR,
        ERROR | {"entity_id": "eth0", "value": "RX_ERR:0,TX_ERR:3"},
        ERROR | {"entity_id": "eth0", "value": "RX_DROP:5,TX_DROP:0"},
        ERROR | {"entity_id": "xctl-probe", "value": "PROBE_LOST:11"},
        ERROR | {"value": "CONNECT_REFUSED:1"},
        START,
        EXIT,  # of a process that it does not know: nothing changes
        ERROR | {"entity_id": "eth0"},  # of a connection that was never accepted
    ],
)
def test_what_the_contract_allows_is_accepted(consumer, fields):
    """Each form of record that the contract names goes in."""
    assert consumer.feed(line(fields)) in consumer.records


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (BANDWIDTH | {"ts": 1.5e12}, "natural number"),
        (BANDWIDTH | {"ts": str(NOW_MS)}, "natural number"),
        (BANDWIDTH | {"ts": -1}, "natural number"),
        (BANDWIDTH | {"ts": True}, "natural number"),
        (BANDWIDTH | {"ts": 93_000}, "from now"),
        (BANDWIDTH | {"ts": NOW_MS + 5_000}, "from now"),
        (BANDWIDTH | {"ts": NOW_MS // 1000}, "from now"),
        (BANDWIDTH | {"event_type": "transport.up"}, "event_type"),
        (BANDWIDTH | {"entity_id": ""}, "empty"),
        (BANDWIDTH | {"entity_id": None}, "entity_id"),
        (BANDWIDTH | {"entity_id": "socket-7"}, "interface"),
        (BANDWIDTH | {"job_id": 7}, "job_id"),
        (BANDWIDTH | {"pid": "23"}, "pid"),
        (BANDWIDTH | {"pid": 0}, "pid"),
        (BANDWIDTH | {"pid": -1}, "pid"),
        (BANDWIDTH | {"pid": 2**32}, "pid"),
        (BANDWIDTH | {"pid": 23.0}, "pid"),
        (BANDWIDTH | {"pid": True}, "pid"),
        (BANDWIDTH | {"value": 125.5}, "value"),
        (BANDWIDTH | {"value": None}, "value"),
        (BANDWIDTH | {"value": "125.5"}, "two decimals"),
        (BANDWIDTH | {"value": "nan"}, "two decimals"),
        (BANDWIDTH | {"value": "1e3"}, "two decimals"),
        (BANDWIDTH | {"value": "-0.01"}, "two decimals"),
        (BANDWIDTH | {"value": "link_down"}, "link_down"),
        (BANDWIDTH | {"node_id": None}, "node_id"),
        (CPU | {"pid": None}, "a process and cpu"),
        (CPU | {"entity_id": "memory"}, "a process and cpu"),
        (CPU | {"event_type": "compute.mem"}, "a process and memory"),
        (CPU | {"value": "7"}, "two decimals"),
        (START | {"value": "zombie"}, "start, connected or exit"),
        (START | {"job_id": None}, "process of a job"),
        (START | {"pid": None}, "process of a job"),
        (START | {"entity_id": "pid-29"}, "cannot be"),
        (START | {"entity_id": "lo"}, "cannot be"),
        (STALL | {"value": "STALL_1.5ms"}, "STALL"),
        (STALL | {"value": "STALL_ms"}, "STALL"),
        (STALL | {"value": "STALL_007ms"}, "STALL"),
        (STALL | {"entity_id": "eth0"}, "socket"),
        (STALL | {"entity_id": "socket-0"}, "socket"),
        (ERROR | {"value": "RETRANSMIT:0"}, "cannot be"),
        (ERROR | {"value": "RETRANSMIT:"}, "cannot be"),
        (ERROR | {"value": "RX_ERR:1,TX_ERR:1"}, "cannot be"),
        (ERROR | {"entity_id": "eth0", "pid": 23}, "cannot be"),
        (ERROR | {"entity_id": "eth0", "value": "RX_ERR:0,TX_ERR:0"}, "zero"),
        (ERROR | {"entity_id": "eth0", "value": "RX_ERR:1"}, "cannot be"),
    ],
)
def test_what_the_consumer_refuses_is_a_violation(consumer, fields, reason):
    """Each rule of the contract is enforced, and its message names it."""
    with pytest.raises(ContractError, match=reason):
        consumer.feed(line(fields))
    assert consumer.records == []


@pytest.mark.parametrize("name", ["ts", "event_type", "entity_id", "value"])
def test_a_required_field_is_required(consumer, name):
    """A record without one of the four is refused."""
    with pytest.raises(ContractError, match=f"{name} is missing"):
        consumer.feed(line({k: v for k, v in BANDWIDTH.items() if k != name}))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"ts":1', "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{} {}", "not JSON"),
        (line(BANDWIDTH).replace(b"eth0", b"\xc3\xa9"), "not ASCII"),
        (line(BANDWIDTH).replace(b"eth0", b"\xff"), "not ASCII"),
        (line(BANDWIDTH).replace(b'"pid"', b'"ts": 1, "pid"'), "duplicate key 'ts'"),
        (line(STALL).replace(b'"ongoing"', b'"ongoing": 1, "ongoing"'), "duplicate key"),
        (line(BANDWIDTH).replace(b"null", b"NaN", 1), "NaN is not JSON"),
    ],
)
def test_a_malformed_line_is_a_violation(consumer, raw, reason):
    """What wedges the reader, or does not parse, does not pass either."""
    with pytest.raises(ContractError, match=reason):
        consumer.feed(raw)


def test_blank_lines_are_skipped(consumer):
    """The contract has blank lines skipped, not refused."""
    assert consumer.feed(b"\n") is None
    assert consumer.feed(b"") is None


def test_a_process_waits_by_its_stalls_and_by_little_bandwidth(consumer):
    """The graph's two rules for *waits on*, and what makes no edge."""
    consumer.feed(line(STALL))
    consumer.feed(line(STALL | {"pid": None, "entity_id": "socket-5"}))
    consumer.feed(line(BANDWIDTH | {"pid": 29, "value": "0.99"}))
    consumer.feed(line(BANDWIDTH | {"pid": 31, "value": "1.00"}))
    consumer.feed(line(BANDWIDTH | {"value": "0.00"}))
    assert consumer.graph.waits == {(23, "socket-4242"), (29, "eth0")}
    assert consumer.waits_on(23) == {"socket-4242"}
    assert consumer.graph.bandwidth_mbps == {"eth0": 0.0}


def test_a_job_has_the_processes_that_have_started_and_not_exited(consumer):
    """A start keeps the waits so far; an exit takes them along."""
    for fields in (STALL, START, START | {"pid": 29, "entity_id": "pid-29"}):
        consumer.feed(line(fields))
    assert consumer.processes_of("4711") == {23, 29}
    assert consumer.waits_on(23) == {"socket-4242"}
    consumer.feed(line(EXIT))
    assert consumer.processes_of("4711") == {29}
    assert consumer.waits_on(23) == set()
    assert [r.value for r in consumer.states(23)] == ["start", "exit"]


def test_a_process_starts_once_in_a_job(consumer):
    """A start replaces the process; another job is a reason for one."""
    consumer.feed(line(START))
    consumer.feed(line(START | {"job_id": "4713"}))
    assert consumer.processes_of("4711") == set()
    with pytest.raises(ContractError, match="starts twice"):
        consumer.feed(line(START | {"job_id": "4713"}))


MEMORY = CPU | {
    "event_type": "compute.mem",
    "entity_id": "memory",
    "net": {"comm": "python3", "resident_bytes": 7, "memory_bytes": 100},
}


def test_an_idle_process_would_make_another_a_stalled_one(consumer):
    """A resource has one value: that of the last record, of whatever process."""
    consumer.feed(line(CPU))
    consumer.feed(line(CPU | {"pid": 29, "value": "1.00"}))
    assert consumer.graph.stalled() == set()
    with pytest.raises(ContractError, match="would be stalled"):
        consumer.feed(line(CPU | {"pid": 31, "value": "0.99"}))
    assert consumer.graph.stalled() == {23, 29, 31}


def test_memory_is_a_resource_of_its_own(consumer):
    consumer.feed(line(MEMORY))
    with pytest.raises(ContractError, match="29} would be stalled"):
        consumer.feed(line(CPU | {"pid": 29, "value": "0.99"}))


def test_a_load_after_the_exit_would_bring_the_process_back(consumer):
    for fields in (START, CPU, EXIT):
        consumer.feed(line(fields))
    with pytest.raises(ContractError, match="a load of 23 after its exit"):
        consumer.feed(line(CPU))


def test_a_stall_after_the_exit_would_bring_the_process_back(consumer):
    """Until the pid is used again."""
    for fields in (START, EXIT):
        consumer.feed(line(fields))
    with pytest.raises(ContractError, match="after its exit"):
        consumer.feed(line(STALL))
    consumer.feed(line(START))
    consumer.feed(line(STALL))


def test_errors_stay_with_their_entity(consumer):
    """Errors are kept per entity in their order, and add up by word."""
    consumer.feed(line(ERROR))
    consumer.feed(line(ERROR | {"value": "RETRANSMIT:5", "pid": 23}))
    consumer.feed(line(ERROR | {"value": "RESET:1"}))
    for where, count in (("ring", 11), ("socket", 2), ("ring", 7)):
        lost = {"entity_id": "xctl-probe", "value": f"PROBE_LOST:{count}", "net": {"where": where}}
        consumer.feed(line(ERROR | lost))
    of_another_test = {"where": "waits", "uid": FLOODER}
    consumer.feed(line(ERROR | lost | {"net": of_another_test}))
    assert consumer.graph.errors["socket-4242"] == ["RETRANSMIT:7", "RETRANSMIT:5", "RESET:1"]
    assert consumer.count("RETRANSMIT", inode=4242) == 12
    assert consumer.count("RETRANSMIT", pid=23) == 5
    assert consumer.losses() == {"ring": 18, "socket": 2}
    assert consumer.lost() == 20


def test_stalls_are_found_by_process_socket_and_state(consumer):
    """The helpers that other tests lean on select what their names promise."""
    ongoing = STALL | {"net": {"ongoing": True}, "value": "STALL_200ms"}
    consumer.feed(line(ongoing))
    consumer.feed(line(STALL))
    assert [r.stall_ms for r in consumer.stalls(pid=23, inode=4242)] == [200, 1301]
    assert [r.stall_ms for r in consumer.stalls(ongoing=True)] == [200]
    assert consumer.stalls(pid=24) == []


def test_bytes_add_up_by_process_and_direction(consumer):
    """Sums are taken from the records with a pid, apart by direction."""
    net = {"rx_bytes": 3, "tx_bytes": 7}
    consumer.feed(line(BANDWIDTH | {"pid": 23, "net": net}))
    consumer.feed(line(BANDWIDTH | {"pid": 23, "net": net}))
    consumer.feed(line(BANDWIDTH | {"net": {"rx_bytes": 99, "unattributed_bytes": 5}}))
    assert (consumer.sent_bytes(23), consumer.received_bytes(23)) == (14, 6)
    assert consumer.unattributed_bytes() == 5
