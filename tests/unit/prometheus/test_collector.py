"""Records to series: exact sums, bounded labels, series that go."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.metrics import parsed, total, values
from support.records import CLIENT, NOW_MS, OTHER, RECORDS, SOCKET, STALL

from xctl_probe.events import (
    Counted,
    DroppedEvents,
    ErrorKind,
    PacketCounts,
    PeerActivity,
    Placement,
    PortErrorKind,
    PortErrors,
    Process,
    ProcessLoad,
    QueuePairErrors,
    RdmaLink,
    SocketError,
)
from xctl_probe.exporters.records import (
    BandwidthRecord,
    CpuRecord,
    ErrorRecord,
    InterfaceErrors,
    InterfaceFailure,
    MemoryRecord,
    StallRecord,
)
from xctl_probe.prometheus.collector import Collector
from xctl_probe.prometheus.families import FAMILIES
from xctl_probe.prometheus.presence import AFTER_NS
from xctl_probe.prometheus.registry import OPENMETRICS

SECOND_NS = 1_000_000_000
RANK = Placement("4711", None, "train-0", "default", "ab" * 32, 3, 1)
LINK = RdmaLink("Ethernet", "100 Gb/sec (4X EDR)", "ACTIVE", "eth0")
# The groups `probe` and `other` have at most so many: words of the probe only.
RESERVED = 300
ROOT = Path(__file__).parents[3]
RULE = """
          time() - xctl_net_probe_last_interval_timestamp_seconds
          > 60 + 3 * xctl_net_probe_interval_seconds
"""


class Metrics:
    """A collector, and the text after each interval of a second."""

    def __init__(self, *, alive=(), interval_ns=SECOND_NS, **options):
        self.collector = Collector(
            interval_ns,
            ("0.1.0", "ebpf"),
            alive=lambda key: key[0] in alive,
            **{"uid_of": {}.get} | options,  # of no user
        )
        self.now_ns = 0

    def add(self, *records, after_ns=SECOND_NS):
        self.now_ns += after_ns
        self.collector.add(records, self.now_ns, NOW_MS + self.now_ns // 1_000_000)
        return self.text()

    def text(self, *kind):
        return self.collector.registry.text(*kind)


@pytest.fixture
def metrics():
    return Metrics()


def moved(owner, rx=0, tx=0, interface="eth0", placement=None):
    return BandwidthRecord(NOW_MS, interface, owner, rx, tx, SECOND_NS, placement=placement)


def stalled(ms, *, ongoing=True, placement=None, **changes):
    stall = replace(STALL, duration_ns=ms * 1_000_000, ongoing=ongoing, **changes)
    return StallRecord(NOW_MS, stall, placement)


def failed(kind, count, owner=CLIENT, **changes):
    return ErrorRecord(NOW_MS, SocketError(owner, SOCKET, kind, count, **changes))


def test_bytes_add_up_by_name_and_place(metrics):
    """Processes with one name in one place are one series; ranks and pids are no labels."""
    twin = Process(241, 7_017, "client")
    metrics.add(moved(CLIENT, 1_009, 7), moved(twin, 2_003, 11), moved(OTHER, 23))
    text = metrics.add(moved(CLIENT, 1), moved(CLIENT, 13, 17, "eth1", RANK))
    found = values(text, "process_bytes_total", direction="receive")
    place = {"job_id": "4711", "pod": "train-0", "pod_namespace": "default"}
    assert found == [
        ({"comm": "client", "interface": "eth0", "direction": "receive"}, 3_013),
        ({"comm": "other", "interface": "eth0", "direction": "receive"}, 23),
        (
            {"comm": "client", "interface": "eth1", "direction": "receive"}
            | place
            | {"container": "ab" * 32},
            13,
        ),
    ]
    assert total(text, "process_bytes_total", direction="send") == 35


def test_an_interface_and_a_port_have_their_own_bytes(metrics):
    port = replace(moved(None, 1_009, 2_003, "mlx5_0/2"), link=LINK, xmit_wait=7)
    lo = replace(moved(None, 11, 13, "lo"), unattributed_bytes=5)
    metrics.add(port, lo)
    text = metrics.add(port, lo)
    assert values(text, "rdma_port_bytes_total") == [
        ({"interface": "mlx5_0/2", "direction": "receive"}, 2_018),
        ({"interface": "mlx5_0/2", "direction": "send"}, 4_006),
    ]
    assert values(text, "rdma_port_xmit_wait_ticks_total") == [({"interface": "mlx5_0/2"}, 14)]
    assert total(text, "interface_bytes_total", interface="lo") == 48
    assert total(text, "interface_unattributed_bytes_total", interface="lo") == 10


def test_waits_are_by_what_the_peer_was_seen_to_do(metrics):
    """A straggler is the name of the peer with `running`; a lossy path has a cause instead."""
    straggler = {"peer": OTHER, "peer_activity": PeerActivity.RUNNING, "placement": RANK}
    lossy = {"cause": "loss", "owner": OTHER, "socket": replace(SOCKET, inode=4_243)}
    lossy["cause"] = type(STALL.cause).LOSS
    text = metrics.add(stalled(1_009, **straggler), stalled(137, **lossy))
    for_other = {"peer_comm": "other", "peer_state": "running", "job_id": "4711"}
    assert total(text, "wait_seconds_total", **for_other) == Decimal("1.009")
    assert total(text, "wait_seconds_total", cause="loss") == Decimal("0.137")
    assert total(text, "waiting_sockets") == 2
    text = metrics.add(stalled(1_511, **straggler, ongoing=False))
    assert total(text, "wait_seconds_total", **for_other) == Decimal("1.511")
    assert total(text, "waiting_sockets") == 0


def test_failures_have_their_own_counters(metrics):
    text = metrics.add(
        failed(ErrorKind.RETRANSMIT, 23, duplicates=7),
        failed(ErrorKind.RETRANSMIT, 11, owner=None),
        failed(ErrorKind.REFUSED, 3),
        failed(ErrorKind.TIMEOUT, 5),
        failed(ErrorKind.PROHIBITED, 13),
        failed(ErrorKind.NO_PORT, 17),
        failed(ErrorKind.RESET, 19),
        failed(ErrorKind.ABORTED, 29),
        ErrorRecord(NOW_MS, InterfaceErrors("eth0", InterfaceFailure.ERRORS, 31, 0)),
        ErrorRecord(NOW_MS, InterfaceErrors("eth0", InterfaceFailure.DROPS, 37, 41)),
        ErrorRecord(NOW_MS, DroppedEvents("ring", 43)),
        ErrorRecord(NOW_MS, DroppedEvents("ring", 47, 1_009)),
        ErrorRecord(NOW_MS, PortErrors("eth0", PortErrorKind.PFC_PAUSE, 53, (), 3)),
        ErrorRecord(NOW_MS, PortErrors("mlx5_0", PortErrorKind.TIMEOUT, 59, (), owner=CLIENT)),
        ErrorRecord(NOW_MS, QueuePairErrors(CLIENT, "mlx5_0", 2, 7, None, "RC", "ERR")),
    )
    expected = {
        ("retransmits_total", "client"): 23,
        ("retransmits_total", None): 11,
        ("retransmit_duplicates_total", "client"): 7,
        ("connection_resets_total", "client"): 19,
        ("connection_aborts_total", "client"): 29,
        ("queue_pair_errors_total", "client"): 2,
    }
    for (name, comm), count in expected.items():
        assert sum(v for labels, v in values(text, name) if labels.get("comm") == comm) == count
    reasons = {"refused": 3, "timeout": 5, "prohibited": 13, "no_port": 17}
    for reason, count in reasons.items():
        assert total(text, "connect_failures_total", reason=reason) == count
    assert total(text, "interface_errors_total", direction="receive") == 31
    assert total(text, "interface_drops_total", direction="receive") == 37
    assert total(text, "interface_drops_total", direction="send") == 41
    assert total(text, "probe_lost_events_total", where="ring") == 90
    assert values(text, "port_errors_total") == [
        ({"interface": "eth0", "kind": "PFC_PAUSE", "priority": "3"}, 53),
        ({"comm": "client", "interface": "mlx5_0", "kind": "RDMA_TIMEOUT"}, 59),
    ]


def test_the_probe_counts_itself(metrics):
    metrics.add()
    text = metrics.add()
    assert values(text, "probe_info") == [({"version": "0.1.0", "source": "ebpf"}, 1)]
    assert total(text, "probe_intervals_total") == 2
    last = Decimal(NOW_MS + 2_000) / 1_000
    assert total(text, "probe_last_interval_timestamp_seconds") == last
    assert total(text, "probe_interval_seconds") == 1
    assert total(text, "probe_series") == len(parsed(text))
    assert total(text, "probe_cpu_seconds_total") > 0
    assert total(text, "probe_resident_memory_bytes") > 1 << 20


def test_a_probe_is_not_late_before_its_first_interval():
    """By the expression of the rule ProbeIsLate. One that hangs from its start is late, too."""
    assert (ROOT / "examples/prometheus/rules.yml").read_text().count(RULE) == 1
    text = Metrics(interval_ns=300 * SECOND_NS, began_ms=NOW_MS).text()
    last = total(text, "probe_last_interval_timestamp_seconds")
    most = 60 + 3 * total(text, "probe_interval_seconds")
    begun = Decimal(NOW_MS) / 1_000
    late = [begun + since - last > most for since in (0, 300, most, most + 1)]
    assert late == [False, False, False, True]


@given(st.lists(RECORDS, max_size=23), st.sampled_from([0, 2]), st.sampled_from([40, 20_000]))
def test_any_records_are_metrics_and_no_byte_is_missing(records, pids, most):
    """Also with places for pids, and where there is no room: the sums are those of the records."""
    metrics = Metrics(pids=pids, most=most)
    metrics.add(*records[::2])
    text = metrics.add(*records[1::2])
    parsed(metrics.text(OPENMETRICS), as_openmetrics=True)
    bandwidth = [one for one in records if isinstance(one, BandwidthRecord)]
    for name, wanted in (
        ("process_bytes_total", lambda one: one.owner is not None),
        ("interface_bytes_total", lambda one: one.owner is None and one.link is None),
        ("rdma_port_bytes_total", lambda one: one.owner is None and one.link is not None),
    ):
        of_kind = [one for one in bandwidth if wanted(one)]
        assert total(text, name, direction="receive") == sum(one.rx_bytes for one in of_kind)
        assert total(text, name, direction="send") == sum(one.tx_bytes for one in of_kind)
    lost = [one.error.count for one in records if isinstance(one, ErrorRecord)
            and isinstance(one.error, DroppedEvents)]  # fmt: skip
    assert total(text, "probe_lost_events_total") == sum(lost)


def test_20_000_processes_stay_below_the_limit():
    """All of one user: half of the room, the rest in one group, and its number is a counter."""
    metrics = Metrics(uid_of=lambda pid: 1_009 + 0 * pid)
    records = [moved(Process(number, 1, f"p{number}"), 1_009, 7) for number in range(1, 20_001)]
    text = metrics.add(*records)
    text = metrics.add(*records)
    assert total(text, "probe_series") == len(parsed(text)) <= 20_000 + RESERVED
    assert total(text, "process_bytes_total", direction="receive") == 20_000 * 2 * 1_009
    shown = len(values(text, "process_bytes_total")) - 2  # of the group other
    assert shown == 10_000
    assert total(text, "process_bytes_total", job_id="other", direction="receive") == (
        15_000 * 2 * 1_009
    )
    assert total(text, "probe_other_records_total") == 15_000 * 2


def test_series_of_ended_processes_go_and_those_of_others_stay():
    """After ten minutes; a group keeps the bytes of processes that have exited before."""
    metrics = Metrics(alive={OTHER.pid})
    twin = Process(241, 7_017, "client")
    metrics.add(moved(CLIENT, 1_009), moved(twin, 23), moved(OTHER, 7))
    text = metrics.add(moved(twin, 1), after_ns=AFTER_NS - 1)
    assert total(text, "process_bytes_total", comm="client") == 1_033
    text = metrics.add(after_ns=AFTER_NS)
    assert values(text, "process_bytes_total", comm="client") == []
    assert total(text, "process_bytes_total", comm="other") == 7
    text = metrics.add(moved(twin, 11))
    assert total(text, "process_bytes_total", comm="client") == 11


def test_a_counter_of_a_silent_process_stays_for_hours():
    """One that began again at 0 would be taken for a restart."""
    alive = {CLIENT.pid}
    metrics = Metrics(alive=alive)
    metrics.add(moved(CLIENT, 1_009))
    for _ in range(7):
        text = metrics.add(after_ns=AFTER_NS)
    assert total(text, "process_bytes_total") == 1_009
    alive.clear()
    assert total(metrics.add(after_ns=AFTER_NS), "process_bytes_total") == 0


def test_a_counter_with_a_pid_stays_while_its_process_lives():
    """Also after its place went to another one: it goes on there where it has one again."""
    alive = {CLIENT.pid, OTHER.pid}
    metrics = Metrics(alive=alive, pids=1)
    mine = {"pid": str(CLIENT.pid)}
    metrics.add(moved(CLIENT, 1_000_003))
    text = metrics.add(moved(OTHER, 10_000_019), after_ns=AFTER_NS)
    for _ in range(3):
        assert total(text, "process_bytes_total", **mine) == 1_000_003
        text = metrics.add(after_ns=AFTER_NS)
    text = metrics.add(moved(CLIENT, 10**9))
    assert total(text, "process_bytes_total", **mine) == 1_001_000_003
    alive.clear()
    assert values(metrics.add(after_ns=AFTER_NS), "process_bytes_total") == []


def test_memory_of_ended_processes_is_given_back():
    """And that of names that found no room at once."""
    metrics = Metrics(most=40, pids=3)
    for number in range(1, 1_000):
        one = Process(number, 1, f"p{number}")
        metrics.add(moved(one, 7), stalled(101, owner=one, ongoing=False))
    kept = metrics.collector
    assert len(kept._groups) <= 40
    metrics.add(after_ns=AFTER_NS)
    metrics.add()
    assert kept._groups == {}
    assert [len(kept._groups_used), len(kept._waits_used)] == [0, 0]
    assert len(kept.registry) <= RESERVED


def test_an_interface_that_is_gone_loses_its_series(metrics):
    metrics.add(moved(None, 7, 7, "veth9"), failed(ErrorKind.RETRANSMIT, 1, owner=None))
    text = metrics.add(after_ns=AFTER_NS)
    assert values(text, "interface_bytes_total") == values(text, "retransmits_total") == []


def test_waits_go_ten_minutes_after_the_last_one():
    """Their peers change, so that a process that lives for months would keep any number."""
    metrics = Metrics(alive={CLIENT.pid})
    metrics.add(stalled(1_009, ongoing=False), moved(CLIENT, 7))
    text = metrics.add(after_ns=AFTER_NS)
    assert values(text, "wait_seconds_total") == values(text, "waiting_sockets") == []
    assert total(text, "process_bytes_total") == 7


def test_few_processes_have_series_of_their_own():
    """One for bytes and one for waits; all others stay added up by name."""
    metrics = Metrics(pids=1)
    busy, idle = Process(233, 1, "w"), Process(239, 1, "w")
    text = metrics.add(moved(busy, 2_003), moved(idle, 7), stalled(1_009, owner=idle))
    assert values(text, "process_bytes_total", direction="receive") == [
        ({"comm": "w", "pid": "233", "interface": "eth0", "direction": "receive"}, 2_003),
        ({"comm": "w", "interface": "eth0", "direction": "receive"}, 7),
    ]
    assert total(text, "wait_seconds_total", pid="239") == Decimal("1.009")
    text = metrics.add(moved(idle, 1_000_003))
    assert total(text, "process_bytes_total", pid="239") == 1_000_003
    assert total(text, "process_bytes_total", comm="w") == 1_002_013
    text = metrics.add(after_ns=AFTER_NS)
    assert values(text, "process_bytes_total", pid="233") == []


def test_packets_are_added_up_by_protocol_and_direction(metrics):
    counts = PacketCounts(rx={"tcp": Counted(3, 198), "ipv4": Counted(3, 198)})
    for _ in range(2):
        metrics.add(replace(moved(None, 1, 1, "lo"), packets=counts))
    text = metrics.text()
    received = {"interface": "lo", "direction": "receive", "kind": "tcp"}
    assert total(text, "interface_packets_total", **received) == 6
    assert total(text, "interface_packet_bytes_total", **received) == 396
    assert values(text, "interface_packets_total", direction="send") == []


def loads(owner, cpu_ms, resident_bytes):
    load = ProcessLoad(owner, cpu_ms * 1_000_000, SECOND_NS, resident_bytes, 1 << 34)
    return CpuRecord(NOW_MS, load), MemoryRecord(NOW_MS, load)


def test_loads_of_one_name_are_added_up(metrics):
    """CPU goes on; memory is that of the last reading, and 0 once nothing is read any more."""
    twin = Process(241, 7_017, "client")
    metrics.add(*loads(CLIENT, 7, 1_009), *loads(twin, 13, 2_003))
    text = metrics.add(*loads(CLIENT, 3, 4_001))
    assert values(text, "process_cpu_seconds_total") == [({"comm": "client"}, Decimal("0.023"))]
    assert values(text, "process_resident_memory_bytes") == [({"comm": "client"}, 4_001)]
    text = metrics.add(after_ns=SECOND_NS)  # an interval without a reading
    assert total(text, "process_resident_memory_bytes") == 4_001
    text = metrics.add(after_ns=3 * SECOND_NS)
    assert total(text, "process_resident_memory_bytes") == 0
    assert total(text, "process_cpu_seconds_total") == Decimal("0.023")


def test_every_family_is_used(metrics):
    """A family that no record reaches would be an empty promise."""
    with_all = [one.name for one, table in metrics.collector.registry._tables.items() if table]
    port = replace(moved(None, 1, 1, "mlx5_0"), link=LINK, xmit_wait=1)
    packets = PacketCounts(rx={"tcp": Counted(3, 198)})
    metrics.add(
        moved(CLIENT, 1), replace(moved(None, 1), unattributed_bytes=0, packets=packets), port,
        stalled(101), *loads(CLIENT, 1, 1),
        *(failed(kind, 1) for kind in ErrorKind),
        *(ErrorRecord(NOW_MS, InterfaceErrors("lo", kind, 1, 1)) for kind in InterfaceFailure),
        ErrorRecord(NOW_MS, PortErrors("mlx5_0", PortErrorKind.TIMEOUT, 1, ())),
        ErrorRecord(NOW_MS, QueuePairErrors(CLIENT, "mlx5_0", 2, 7, None, "RC", "ERR")),
    )  # fmt: skip
    found = [one.name for one, table in metrics.collector.registry._tables.items() if table]
    assert found == [one.name for one in FAMILIES]
    assert set(with_all) < set(found)
