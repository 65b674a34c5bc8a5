"""Queue pairs that fail are reported once, with their process; torn-down ones are not."""

from __future__ import annotations

import errno

import pytest
from support.fake_rdma import Counter, FakeDevice, FakeRdma, Qp, netlink

from xctl_probe.events import Process, QueuePairErrors, TrafficDelta
from xctl_probe.linux.rdma_uapi import RES_GET, RES_QP_GET, STAT_GET
from xctl_probe.linux.rdma_users import Users
from xctl_probe.sources.queue_pairs import DeviceInfo, QueuePairs

KNOWN = {"mlx5_0": DeviceInfo("mlx5_core", {1: "mlx5_0"})}
BYTES = {"rdma_rx_bytes": 1_009, "rdma_tx_bytes": 2_003}


def process(pid):
    return Process(pid, 7, "nccl")


@pytest.fixture
def device():
    return FakeDevice()


@pytest.fixture
def kernel(device):
    return FakeRdma(device)


@pytest.fixture
def pairs(kernel):
    return QueuePairs(lambda: netlink(kernel), process, clock=lambda: 0, all_shown=lambda: True)


def collected(pairs, known=KNOWN):
    return list(pairs.collect(known))


def test_failed_queue_pair_is_reported_once(device, pairs):
    device.qps = [Qp(7, 233), Qp(23, 239, 1_009, state="ERR")]
    assert collected(pairs) == []
    assert collected(pairs) == [QueuePairErrors(process(239), "mlx5_0", 1, 23, 1_009, "RC", "ERR")]
    assert collected(pairs) == []


def test_queue_pair_that_is_torn_down_is_no_failure(device, pairs):
    """It is in the error state for a moment; another one may take its number."""
    device.qps = [Qp(23, 239, state="ERR")]
    assert collected(pairs) == []
    device.qps = []
    assert collected(pairs) == []
    device.qps = [Qp(23, 239, state="ERR")]
    assert collected(pairs) == []


def test_queue_pair_that_fails_again_is_reported_again(device, pairs):
    device.qps = [Qp(23, 239, state="ERR")]
    collected(pairs)
    assert len(collected(pairs)) == 1
    device.qps[0].state = "RTS"
    assert collected(pairs) == []
    device.qps[0].state = "SQE"
    assert collected(pairs) == []
    assert [e.state for e in collected(pairs)] == ["SQE"]


def test_queue_pairs_of_one_process_are_one_event(device, pairs):
    device.qps = [Qp(n, 239 if n % 2 else 233, state="ERR") for n in range(11, 16)]
    collected(pairs)
    found = {(e.owner.pid, e.count, e.number) for e in collected(pairs)}
    assert found == {(233, 2, 12), (239, 3, 11)}


def test_failed_queue_pair_of_the_kernel_has_no_process(device, pairs):
    device.qps = [Qp(23, None, state="ERR", kernel_name="[nvme_rdma]")]
    collected(pairs)
    (one,) = collected(pairs)
    assert (one.owner, one.kernel_name) == (None, "[nvme_rdma]")


def test_ports_have_the_names_of_their_counters(device, pairs):
    """A port that is not wanted is left out; before a port is chosen, the device has it."""
    known = {"mlx5_0": DeviceInfo("mlx5_core", {2: "mlx5_0/2"})}
    device.qps = [Qp(n, 239, state="ERR", port=port) for n, port in enumerate([1, 2, 0])]
    collected(pairs, known)
    assert {e.port for e in collected(pairs, known)} == {"mlx5_0/2", "mlx5_0"}


@pytest.mark.parametrize(("driver", "iwarp"), [("siw", True), ("qedr", False)])
def test_queue_pairs_that_may_not_be_dumped(kernel, device, pairs, driver, iwarp):
    """iWARP leaves their state unset; qedr stops the kernel."""
    device.qps = [Qp(23, 239, state="ERR")]
    known = {"mlx5_0": DeviceInfo(driver, {1: "mlx5_0"}, iwarp)}
    assert collected(pairs, known) == []
    assert collected(pairs, known) == []
    assert RES_QP_GET not in kernel.dumps


def test_device_that_is_unplugged_during_the_dump(device, pairs):
    device.errors[RES_QP_GET] = errno.ENODEV
    assert collected(pairs) == []


def test_failed_queue_pair_is_reported_once_where_a_dump_fails(device, pairs):
    """What was found before is neither forgotten nor found again."""
    device.qps = [Qp(23, 239, state="ERR")]
    collected(pairs)
    device.errors[RES_QP_GET] = errno.ENOBUFS
    assert collected(pairs) == []
    del device.errors[RES_QP_GET]
    assert [one.number for one in collected(pairs)] == [23]
    device.errors[RES_QP_GET] = errno.ENOBUFS
    assert collected(pairs) == []
    del device.errors[RES_QP_GET]
    assert collected(pairs) == collected(pairs) == []


def test_queue_pairs_of_a_device_that_is_gone_are_forgotten(kernel, device, pairs):
    device.qps = [Qp(23, 239, state="ERR")]
    collected(pairs)
    assert len(collected(pairs)) == 1
    kernel.devices.clear()
    assert collected(pairs) == []
    kernel.devices.append(device)
    assert collected(pairs) == []
    assert len(collected(pairs)) == 1


def test_host_without_rdma_opens_no_socket():
    """Opening one would load ib_core."""
    assert collected(QueuePairs(lambda: pytest.fail("opened")), {}) == []


def test_kernel_that_refuses_the_socket_is_asked_again_later():
    def refuse():
        opened.append(1)
        raise OSError(errno.EPROTONOSUPPORT, "no netlink")

    opened, now = [], [0]
    pairs = QueuePairs(refuse, process, clock=lambda: now[0])
    assert collected(pairs) == collected(pairs) == []
    assert len(opened) == 1
    now[0] = 1_000_000_000
    assert collected(pairs) == []
    assert len(opened) == 2


def test_slow_firmware_is_asked_one_hundredth_of_the_time(kernel):
    """A pass is three dumps of 1 ms here; queue pairs are counted in between, without firmware."""
    now = [0]
    pairs = QueuePairs(
        lambda: netlink(kernel), process, lambda: now[0] + len(kernel.dumps) * 1_000_000
    )
    collected(pairs)
    assert kernel.dumps == [RES_GET, RES_QP_GET, STAT_GET]
    now[0] = 299_000_000
    collected(pairs)
    assert kernel.dumps[3:] == [RES_GET]
    now[0] = 300_000_000
    collected(pairs)
    assert kernel.dumps[4:] == [RES_GET, RES_QP_GET, STAT_GET]


def test_bound_counters_become_bytes_of_their_process(device, pairs):
    """What they counted before the probe came is not known to be of any interval."""
    device.counters = [Counter(5, 239, dict(BYTES)), Counter(6, 233, {"out_of_buffer": 1})]
    assert collected(pairs) == []
    device.counters[0].values = {"rdma_rx_bytes": 1_009 + 23, "rdma_tx_bytes": 2_003 + 29}
    assert collected(pairs) == [TrafficDelta(process(239), "mlx5_0", 29, 23, of_port=True)]
    assert collected(pairs) == []


def test_bytes_of_several_intervals_have_their_time(kernel, device):
    """Slow firmware is not asked in each interval."""
    now = [0]
    pairs = QueuePairs(lambda: netlink(kernel), process, clock=lambda: now[0])
    device.counters = [Counter(5, 239, dict(BYTES))]
    collected(pairs)
    now[0] = 3_000_000_000
    device.counters[0].values = {"rdma_rx_bytes": 1_009 + 23, "rdma_tx_bytes": 2_003 + 29}
    moved = TrafficDelta(process(239), "mlx5_0", 29, 23, 3_000_000_000, of_port=True)
    assert collected(pairs) == [moved]


def test_counter_that_another_process_has_now_starts_afresh(device, pairs):
    device.counters = [Counter(5, 239, dict(BYTES))]
    collected(pairs)
    device.counters = [Counter(5, 241, {"rdma_rx_bytes": 4_001, "rdma_tx_bytes": 4_003})]
    assert collected(pairs) == []
    device.counters = []
    assert collected(pairs) == []


def test_kernel_without_bound_counters_is_asked_once(kernel, device, pairs):
    device.errors[STAT_GET] = errno.EINVAL
    collected(pairs)
    collected(pairs)
    assert kernel.dumps.count(STAT_GET) == 1


GSI = Qp(1, type="GSI", kernel_name="ib_core")


@pytest.mark.parametrize(
    ("now", "sole"),
    [
        ([Qp(7, 233), Qp(11, 233)], True),
        ([Qp(7, 233, state="ERR")], True),
        ([], False),
        ([Qp(7, 233), Qp(11, 239)], False),
        ([Qp(7, 239)], False),  # another one than before
        ([Qp(7, 233), Qp(11, kernel_name="nvme_rdma")], False),
    ],
)
def test_process_that_alone_has_queue_pairs_is_the_user_of_a_device(device, pairs, now, sole):
    """In two dumps.  The kernel's queue pairs for management count for nothing."""
    device.qps = [GSI, Qp(7, 233)]
    collected(pairs)
    assert pairs.sole_user("mlx5_0") is None
    device.qps = [GSI, *now]
    collected(pairs)
    assert pairs.sole_user("mlx5_0") == (process(233) if sole else None)


def test_dumps_are_not_searched_for_users_before_one_is_asked_for(device, pairs, monkeypatch):
    """Only an error of a port asks; then the last two dumps are searched, each of them once."""
    searched = []
    are_all = Users._are_all
    monkeypatch.setattr(Users, "_are_all", lambda self: searched.append(self) or are_all(self))
    device.qps = [Qp(7, 233)]
    for _ in range(3):
        collected(pairs)
    assert searched == []
    assert [pairs.sole_user("mlx5_0") for _ in range(2)] == [process(233)] * 2
    assert len(set(searched)) == len(searched) == 2
    collected(pairs)
    assert pairs.sole_user("mlx5_0") == process(233)
    assert len(searched) == 3


def test_user_is_not_known_where_other_processes_may_be_hidden(device, kernel):
    """The kernel leaves out those of other pid namespaces."""
    device.qps = [Qp(7, 233)]
    hidden = QueuePairs(lambda: netlink(kernel), process, clock=lambda: 0, all_shown=lambda: False)
    for _ in range(2):
        collected(hidden)
    assert hidden.sole_user("mlx5_0") is None


def test_user_is_known_between_dumps_while_the_queue_pairs_are_as_many(device, kernel):
    """Dumps may take long; another process may have come meanwhile."""
    now_ns = [0]
    pairs = QueuePairs(
        lambda: netlink(kernel), process, clock=lambda: now_ns[0], all_shown=lambda: True
    )
    device.qps = [Qp(7, 233)]
    for _ in range(2):
        collected(pairs)
    pairs._next_ns = 1
    dumps = kernel.dumps.count(RES_QP_GET)
    collected(pairs)
    assert pairs.sole_user("mlx5_0") == process(233)
    device.qps.append(Qp(11, 239))
    collected(pairs)
    assert pairs.sole_user("mlx5_0") is None
    device.qps.pop()
    collected(pairs)
    assert pairs.sole_user("mlx5_0") is None  # the errors of this span may be those of 239
    collected(pairs)
    assert pairs.sole_user("mlx5_0") == process(233)
    assert kernel.dumps.count(RES_QP_GET) == dumps
