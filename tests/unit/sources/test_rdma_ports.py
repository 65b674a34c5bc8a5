"""Counters of RDMA ports become bytes and errors, whatever the driver calls them."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rdma_tree import HW, Tree

from xctl_probe.events import PortErrorKind as Kind
from xctl_probe.events import PortErrors, RdmaLink, RdmaPortDelta
from xctl_probe.linux.rdma_ports import Ports, port_names
from xctl_probe.sources.rdma_counters import KINDS, WANTED
from xctl_probe.sources.rdma_ports import RdmaPorts, grown

ROCE = RdmaLink("Ethernet", "100 Gb/sec (4X EDR)", "ACTIVE", "eth0")
SECOND_NS = 1_000_000_000


class Clock:
    def __init__(self):
        self.now_ns = 0

    def __call__(self):
        return self.now_ns


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "infiniband"
    root.mkdir()
    return Tree(root)


@pytest.fixture
def clock():
    return Clock()


def opened(tree, clock=lambda: 0, only=frozenset()):
    return RdmaPorts(only, ports=Ports(WANTED, tree.root, tree.read), clock=clock)


def moved(ports):
    return {
        event.name: (event.rx_bytes, event.tx_bytes)
        for event in ports.collect()
        if isinstance(event, RdmaPortDelta)
    }


def errors(ports):
    return [event for event in ports.collect() if isinstance(event, PortErrors)]


def test_host_without_rdma_has_no_event_and_no_file_to_read(tmp_path):
    tree = Tree(tmp_path / "nowhere")
    ports = opened(tree)
    assert list(ports.collect()) == []
    assert tree.reads == []
    assert port_names(tree.root) == []


@pytest.mark.parametrize(
    ("driver", "received", "sent", "unit"),
    [
        ("mlx5_core", {"port_rcv_data": 1_009}, {"port_xmit_data": 2_003}, 4),
        ("rdma_rxe 7.2", {"port_rcv_data": 1_009}, {"port_xmit_data": 2_003}, 4),
        ("hfi1", {"port_rcv_data": 1_009}, {"port_xmit_data": 2_003}, 8),
        ("efa", {"rx_bytes": 1_009}, {"tx_bytes": 2_003}, 1),
        ("bnxt_re", {"rx_bytes": 1_009}, {"tx_bytes": 2_003}, 1),
        ("irdma", {"ip4InOctets": 9, "ip6InOctets": 1_000}, {"ip4OutOctets": 2_003}, 1),
    ],
)
def test_bytes_by_driver(tree, driver, received, sent, unit):
    """What was there before the probe is not counted; each direction has its own counters."""
    tree.add("rdma0", driver)
    tree.set("rdma0", **dict.fromkeys([*received, *sent], 70_001))
    ports = opened(tree)
    assert moved(ports) == {"rdma0": (0, 0)}
    tree.set("rdma0", **{name: 70_001 + n for name, n in (received | sent).items()})
    assert moved(ports) == {"rdma0": (1_009 * unit, 2_003 * unit)}
    assert moved(ports) == {"rdma0": (0, 0)}


@pytest.mark.parametrize("driver", ["rdma_rxe", "siw"])
def test_software_devices_count_no_bytes(tree, driver):
    """rxe before Linux 7.2.  Unknown is not zero: there is no event of bytes."""
    tree.add("soft0", driver)
    assert moved(opened(tree)) == {}


def test_rxe_from_7_2_on_counts_no_ticks_of_waiting(tree):
    """Its port has a file of them, which is always zero."""
    tree.add("rxe0", "rdma_rxe 7.2")
    (event,) = opened(tree).collect()
    assert event.xmit_wait is None


def test_link_failures_of_rxe_from_7_2_on_are_counted_once(tree):
    """They are in two files, the first of which is over at 255."""
    tree.add("rxe0", "rdma_rxe 7.2")
    ports = opened(tree)
    for group, count in (("counters", 255), ("hw_counters", 307)):
        (tree.port("rxe0") / group / "link_downed").write_text(f"{count}\n")
    assert [(e.kind, e.count) for e in errors(ports)] == [(Kind.LINK, 307)]


def test_kernels_before_4_5_have_wide_counters_elsewhere(tree):
    tree.add("mlx4_0", "hfi1")
    port = tree.port("mlx4_0")
    (port / "counters_ext").mkdir()
    for name in ("port_rcv_data_64", "port_xmit_data_64"):
        (port / "counters_ext" / name).write_text("0\n")
    (tree.root / "mlx4_0/device/driver").unlink()
    ports = opened(tree)
    tree.set("mlx4_0", port_rcv_data_64=23, port_xmit_data_64=29, port_rcv_data=7)
    assert moved(ports) == {"mlx4_0": (92, 116)}


@pytest.mark.parametrize(
    ("driver", "counter", "kind"),
    [
        ("mlx5_core", "local_ack_timeout_err", Kind.TIMEOUT),
        ("mlx5_core", "packet_seq_err", Kind.SEQUENCE),
        ("mlx5_core", "out_of_buffer", Kind.OUT_OF_BUFFER),
        ("mlx5_core", "rnr_nak_retry_err", Kind.RNR),
        ("mlx5_core", "rp_cnp_handled", Kind.CNP),
        ("mlx5_core", "np_cnp_sent", Kind.CNP_SENT),
        ("mlx5_core", "np_ecn_marked_roce_packets", Kind.ECN),
        ("mlx5_core", "port_xmit_discards", Kind.DISCARD),
        ("mlx5_core", "symbol_error", Kind.SYMBOL),
        ("mlx5_core", "link_downed", Kind.LINK),
        ("efa", "retrans_pkts", Kind.RETRY),
        ("efa", "rx_drops", Kind.DISCARD),
        ("efa", "unresponsive_remote_events", Kind.RETRY_EXCEEDED),
        ("efa", "impaired_remote_conn_events", Kind.IMPAIRED),
        ("irdma", "cnpHandled", Kind.CNP),
        ("irdma", "tcpRetransSegs", Kind.RETRY),
        ("irdma", "RxECNMrkd", Kind.ECN),
        ("bnxt_re", "to_retransmits", Kind.TIMEOUT),
        ("bnxt_re", "rnr_naks_rcvd", Kind.RNR),
        ("bnxt_re", "dup_req", Kind.DUPLICATE),
        ("hfi1", "port_rcv_errors", Kind.PORT),
        ("rdma_rxe", "completer_retry_err", Kind.RETRY),
        ("rdma_rxe", "send_rnr_err", Kind.OUT_OF_BUFFER),
        ("rdma_rxe", "rcvd_rnr_err", Kind.RNR),
        ("rdma_rxe", "link_downed", Kind.LINK),
    ],
)
def test_errors_by_driver(tree, driver, counter, kind):
    tree.add("rdma0", driver)
    tree.set("rdma0", **{counter: 1_000_003})
    ports = opened(tree)
    assert errors(ports) == []
    tree.set("rdma0", **{counter: 1_000_003 + 23})
    assert errors(ports) == [PortErrors("rdma0", kind, 23, ((counter, 23),))]
    assert errors(ports) == []


@pytest.mark.parametrize("driver", sorted(HW))
def test_other_counters_are_no_errors(tree, driver):
    """Packets, requests, completions in error at the end of a queue pair, and `lifespan`."""
    tree.add("rdma0", driver)
    ports = opened(tree)
    for path in tree.port("rdma0").glob("*counters/*"):
        if path.name not in WANTED:
            path.write_text("4241\n")
    tree.reads.clear()
    assert errors(ports) == []
    assert not [path for path in tree.reads if path.endswith(("lifespan", "cqe_error"))]


def test_counters_of_one_kind_are_added_up(tree):
    tree.add("mlx5_0")
    ports = opened(tree)
    tree.set("mlx5_0", packet_seq_err=7, out_of_sequence=11, rp_cnp_handled=13)
    assert {(e.kind, e.count, frozenset(e.counters)) for e in errors(ports)} == {
        (Kind.SEQUENCE, 18, frozenset({("packet_seq_err", 7), ("out_of_sequence", 11)})),
        (Kind.CNP, 13, frozenset({("rp_cnp_handled", 13)})),
    }


def test_no_kind_contains_what_consumers_evict_for():
    assert not [kind for kind in Kind if "link_down" in kind.lower()]
    assert set(KINDS.values()) <= set(Kind)


def test_port_has_link_rate_state_and_netdev(tree, clock):
    """The interface is that of the first GID that has one."""
    tree.add("mlx5_0")
    tree.add("mlx5_1", layer="InfiniBand", netdev=None)
    ports = opened(tree, clock)
    clock.now_ns = SECOND_NS
    tree.set("mlx5_1", port_xmit_wait=31)
    assert list(ports.collect()) == [
        RdmaPortDelta("mlx5_0", ROCE, 0, 0, SECOND_NS, 0),
        RdmaPortDelta(
            "mlx5_1",
            RdmaLink("InfiniBand", "100 Gb/sec (4X EDR)", "ACTIVE", None),
            0,
            0,
            SECOND_NS,
            31,
        ),
    ]


def test_link_is_read_again_after_ten_seconds(tree, clock):
    tree.add("mlx5_0")
    ports = opened(tree, clock)
    (tree.port("mlx5_0") / "state").write_text("1: DOWN\n")
    clock.now_ns = 9 * SECOND_NS
    list(ports.collect())
    assert ports.links["mlx5_0"].state == "ACTIVE"
    clock.now_ns = 10 * SECOND_NS
    list(ports.collect())
    assert ports.links["mlx5_0"].state == "DOWN"


def test_link_of_a_software_device_is_read_once(tree, clock):
    """The kernel logs a line where its interface has no speed."""
    tree.add("rxe0", "rdma_rxe")
    ports = opened(tree, clock)
    tree.reads.clear()
    clock.now_ns = 10 * SECOND_NS
    list(ports.collect())
    assert not [path for path in tree.reads if path.endswith(("state", "rate", "link_layer"))]


def test_ports_of_one_device_have_names_of_their_own(tree):
    tree.add("mlx4_0", "mlx5_core", ports=2)
    tree.add("mlx5_0")
    ports = opened(tree)
    tree.set("mlx4_0", 2, port_rcv_data=3)
    assert moved(ports) == {"mlx4_0/1": (0, 0), "mlx4_0/2": (12, 0), "mlx5_0": (0, 0)}
    assert port_names(tree.root) == ["mlx4_0/1", "mlx4_0/2", "mlx5_0"]


@pytest.mark.parametrize(
    ("only", "shown"),
    [
        ({"mlx5_0"}, {"mlx5_0"}),
        ({"eth1"}, {"mlx5_1"}),
        ({"eth0", "mlx5_1"}, {"mlx5_0", "mlx5_1"}),
        ({"lo"}, set()),
    ],
)
def test_ports_are_chosen_by_their_name_or_their_interface(tree, only, shown):
    tree.add("mlx5_0", netdev="eth0")
    tree.add("mlx5_1", netdev="eth1")
    assert set(moved(opened(tree, only=frozenset(only)))) == shown


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP, errno.EACCES])
def test_refused_file_is_read_once(tree, code):
    """The driver of a restricted function logs a line with each read."""
    tree.add("mlx5_0")
    path = tree.refuse("mlx5_0", "port_rcv_data", code)
    ports = opened(tree)
    tree.set("mlx5_0", rp_cnp_handled=7)
    assert [e.kind for e in errors(ports)] == [Kind.CNP]
    assert moved(ports) == {}
    assert tree.reads.count(path) == 1


def test_command_that_the_firmware_did_not_answer_once_is_tried_again(tree, clock):
    """The kernel gives the same error for it as for what a device never counts."""
    tree.add("mlx5_0")
    ports = opened(tree, clock)
    path = tree.refuse("mlx5_0", "port_rcv_data", errno.EINVAL)
    clock.now_ns = SECOND_NS
    assert moved(ports) == {}
    del tree.refused[path]
    clock.now_ns = 2 * SECOND_NS
    tree.set("mlx5_0", port_rcv_data=1_009)
    assert moved(ports)["mlx5_0"]


def test_a_first_read_without_an_answer_costs_one_interval(tree, clock):
    """The firmware was busy when the probe began."""
    tree.add("mlx5_0")
    path = tree.refuse("mlx5_0", "port_rcv_data", errno.ETIMEDOUT)
    ports = opened(tree, clock)
    del tree.refused[path]
    clock.now_ns = SECOND_NS
    tree.set("mlx5_0", port_rcv_data=7)
    assert moved(ports) == {}
    clock.now_ns = 2 * SECOND_NS
    tree.set("mlx5_0", port_rcv_data=18)
    assert list(ports.collect()) == [RdmaPortDelta("mlx5_0", ROCE, 44, 0, SECOND_NS, 0)]


def test_device_without_a_counting_agent_is_read_once(tree):
    tree.add("cxgb4_0", "hfi1")
    tree.set("cxgb4_0", port_rcv_data="N/A (no PMA)")
    ports = opened(tree)
    assert moved(ports) == {}
    assert len([path for path in tree.reads if path.endswith("port_rcv_data")]) == 1


def test_interval_without_an_answer_is_made_up_for(tree, clock):
    """The next difference covers both spans: its rate is right."""
    tree.add("mlx5_0")
    ports = opened(tree, clock)
    path = tree.refuse("mlx5_0", "port_rcv_data", errno.EIO)
    clock.now_ns = SECOND_NS
    tree.set("mlx5_0", port_rcv_data=7, packet_seq_err=5)
    assert [e.count for e in errors(ports)] == [5]
    del tree.refused[path]
    clock.now_ns = 2 * SECOND_NS
    tree.set("mlx5_0", port_rcv_data=18)
    assert list(ports.collect()) == [RdmaPortDelta("mlx5_0", ROCE, 72, 0, 2 * SECOND_NS, 0)]


def test_q_counter_of_32_bits_wraps(tree):
    tree.add("mlx5_0")
    tree.set("mlx5_0", out_of_sequence=2**32 - 5)
    ports = opened(tree)
    tree.set("mlx5_0", out_of_sequence=6)
    assert [e.count for e in errors(ports)] == [11]


@pytest.mark.parametrize("before", [1_009, 2**31 - 1, 2**40])
def test_counter_that_was_reset_starts_afresh(tree, before):
    tree.add("mlx5_0")
    tree.set("mlx5_0", out_of_sequence=before, port_rcv_data=before, port_xmit_data=before)
    ports = opened(tree)
    tree.set("mlx5_0", out_of_sequence=3, port_rcv_data=3, port_xmit_data=before + 5)
    events = list(ports.collect())
    assert [type(event) for event in events] == [RdmaPortDelta]
    assert (events[0].rx_bytes, events[0].tx_bytes) == (0, 20)
    tree.set("mlx5_0", out_of_sequence=10, port_rcv_data=10)
    events = list(ports.collect())
    assert [getattr(event, "count", None) for event in events] == [7, None]
    assert events[1].rx_bytes == 28


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_no_pair_of_values_gives_a_negative_count_or_an_absurd_one(before, now):
    count = grown(before, now)
    assert count == now - before if now >= before else 0 <= count < 2**31


def test_device_may_come_and_go(tree):
    """A device that is made again is another one, whatever its counters hold."""
    tree.add("rxe0", "mlx5_core")
    tree.set("rxe0", port_rcv_data=1_009)
    ports = opened(tree)
    tree.remove("rxe0")
    assert moved(ports) == {}
    tree.add("rxe0", "mlx5_core")
    tree.set("rxe0", port_rcv_data=4_001)
    assert moved(ports) == {}
    tree.set("rxe0", port_rcv_data=4_004)
    assert moved(ports) == {"rxe0": (12, 0)}


def test_device_that_is_made_again_within_an_interval(tree):
    tree.add("rxe0", "mlx5_core")
    ports = opened(tree)
    tree.remove("rxe0")
    tree.add("rxe0", "mlx5_core")
    tree.set("rxe0", port_rcv_data=4_001)
    assert moved(ports) == {}


def test_device_that_is_unplugged_while_it_is_read(tree):
    tree.add("mlx5_0")
    ports = opened(tree)
    for path in tree.port("mlx5_0").glob("*/*"):
        tree.refused[str(path)] = errno.ENODEV
    assert list(ports.collect()) == []


def test_name_that_is_not_utf8_is_escaped(tree):
    (tree.root / "mlx\udcff0" / "ports/1").mkdir(parents=True)
    assert port_names(tree.root) == ["mlx\\xff0"]
