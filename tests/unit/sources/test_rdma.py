"""All of RDMA together: ports first, then the pauses of their interfaces, and queue pairs."""

from __future__ import annotations

from support.fake_driver import FakeDriver
from support.fake_rdma import FakeDevice, FakeRdma, Qp, netlink
from support.rdma_tree import Tree

from xctl_probe.events import PortErrorKind, PortErrors, Process, QueuePairErrors, RdmaPortDelta
from xctl_probe.linux.rdma_ports import Ports
from xctl_probe.linux.rdma_uapi import RES_QP_GET
from xctl_probe.sources.pauses import Pauses
from xctl_probe.sources.queue_pairs import QueuePairs
from xctl_probe.sources.rdma import Rdma
from xctl_probe.sources.rdma_counters import WANTED
from xctl_probe.sources.rdma_ports import RdmaPorts


def read(pid):
    return Process(pid, 7, "nccl")


def opened(tree, driver, only=frozenset(), kernel=None, process=read):
    ports = RdmaPorts(only, ports=Ports(WANTED, tree.root, tree.read), clock=lambda: 0)
    kernel = kernel or FakeRdma()
    return Rdma(
        only,
        ports=ports,
        pauses=Pauses(lambda: driver, clock=lambda: 0),
        queue_pairs=QueuePairs(
            lambda: netlink(kernel),
            process,
            clock=lambda: 0,
            all_shown=lambda: True,
        ),
    )


def test_interfaces_of_roce_ports_are_asked_for_pauses(tmp_path):
    """Those of InfiniBand ports have none, and other interfaces are not its business."""
    tree, driver = Tree(tmp_path / "infiniband"), FakeDriver()
    tree.add("mlx5_0", netdev="eth7")
    tree.add("mlx5_1", layer="InfiniBand", netdev="ib0")
    for interface in ("eth7", "ib0", "eth8"):
        driver.statistics[interface] = {"rx_prio3_pause": 0}
    rdma = opened(tree, driver)
    for interface in driver.statistics:
        driver.statistics[interface]["rx_prio3_pause"] = 23
    events = list(rdma.collect())
    assert [type(e) for e in events] == [RdmaPortDelta, RdmaPortDelta, PortErrors]
    assert (events[2].name, events[2].kind) == ("eth7", PortErrorKind.PFC_PAUSE)


def test_pauses_of_interfaces_that_are_not_wanted_are_not_read(tmp_path):
    tree, driver = Tree(tmp_path / "infiniband"), FakeDriver()
    tree.add("mlx5_0", netdev="eth7")
    rdma = opened(tree, driver, frozenset({"eth8"}))
    assert list(rdma.collect()) == []
    assert driver.calls == 0


def test_host_without_rdma_has_no_event_and_no_descriptor(tmp_path):
    tree, driver = Tree(tmp_path / "infiniband"), FakeDriver()
    kernel = FakeRdma()
    assert list(opened(tree, driver, kernel=kernel).collect()) == []
    assert driver.calls == 0
    assert kernel.dumps == []


def test_queue_pairs_that_failed_before_the_probe_came_are_reported(tmp_path):
    """In the first interval, of each port by its name."""
    tree = Tree(tmp_path / "infiniband")
    tree.add("mlx4_0", "mlx5_core", ports=2, layer="InfiniBand", netdev=None)
    qps = [Qp(7, 233, state="ERR", port=2), Qp(11, 233, port=1)]
    rdma = opened(tree, FakeDriver(), kernel=FakeRdma(FakeDevice("mlx4_0", qps=qps)))
    events = list(rdma.collect())
    assert [type(e) for e in events] == [RdmaPortDelta, RdmaPortDelta, QueuePairErrors]
    assert (events[2].port, events[2].count) == ("mlx4_0/2", 1)


def test_errors_of_packets_belong_to_the_process_that_alone_uses_the_port(tmp_path):
    """Errors of the link belong to no process; another device may have another user."""
    tree = Tree(tmp_path / "infiniband")
    devices = [
        FakeDevice(f"mlx5_{n}", n, qps=[Qp(7, pid) for pid in pids])
        for n, pids in enumerate([(233,), (233, 239), (239,)])
    ]
    for device in devices:
        tree.add(device.name)
    rdma = opened(tree, FakeDriver(), kernel=FakeRdma(*devices))
    for device in devices:
        tree.set(device.name, rnr_nak_retry_err=23, symbol_error=7)
    owners = {
        (event.name, event.kind.value): event.owner and event.owner.pid
        for event in rdma.collect()
        if isinstance(event, PortErrors)
    }
    assert owners == {
        ("mlx5_0", "RDMA_RNR"): 233,
        ("mlx5_1", "RDMA_RNR"): None,
        ("mlx5_2", "RDMA_RNR"): 239,
        ("mlx5_0", "SYMBOL_ERR"): None,
        ("mlx5_1", "SYMBOL_ERR"): None,
        ("mlx5_2", "SYMBOL_ERR"): None,
    }


def test_process_is_read_once_for_all_errors_of_a_device(tmp_path):
    """Only where there is an error that concerns a queue pair."""
    tree = Tree(tmp_path / "infiniband")
    tree.add("mlx5_0")
    pids = []

    def process(pid):
        pids.append(pid)
        return read(pid)

    kernel = FakeRdma(FakeDevice(qps=[Qp(7, 233)]))
    rdma = opened(tree, FakeDriver(), kernel=kernel, process=process)
    tree.set("mlx5_0", symbol_error=7)
    assert len(list(rdma.collect())) == 2
    assert pids == []
    tree.set("mlx5_0", rp_cnp_handled=23, np_cnp_sent=29, np_ecn_marked_roce_packets=31)
    owners = {e.kind.value: e.owner.pid for e in rdma.collect() if isinstance(e, PortErrors)}
    assert owners == {"CNP": 233, "CNP_SENT": 233, "ECN": 233}
    assert pids == [233]


def test_queue_pairs_of_iwarp_are_not_dumped(tmp_path):
    """sysfs has what a device is, also of one that is made again under its name."""
    tree = Tree(tmp_path / "infiniband")
    tree.add("soft0", "siw")
    kernel = FakeRdma(FakeDevice("soft0", qps=[Qp(7, 233)]))
    rdma = opened(tree, FakeDriver(), kernel=kernel)
    assert RES_QP_GET not in kernel.dumps
    tree.remove("soft0")
    tree.add("soft0", "rdma_rxe")
    list(rdma.collect())
    assert RES_QP_GET in kernel.dumps
