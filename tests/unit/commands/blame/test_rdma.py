"""Two samples of queue pairs and ports, and the sign that they are of a process."""

from __future__ import annotations

import threading

import pytest
from support.fake_rdma import FakeDevice, FakeRdma, Qp, netlink

from xctl_probe.commands.blame.rdma import RdmaSampled, RdmaSampler, RdmaUse, Sign
from xctl_probe.commands.why.queue_pairs import DeviceQueuePairs, QueuePairSampler
from xctl_probe.events import PortErrorKind as Kind
from xctl_probe.events import PortErrors, Process

PID, OTHER = 233, 239
OWNER = Process(PID, 7_001, "nccl")
MOVING, STILL = DeviceQueuePairs("mlx5_0", moving=1), DeviceQueuePairs("mlx5_1", still=3)


class Counters:
    """Ports that have counted these errors, once they are asked."""

    name = "rdma"

    def __init__(self, *errors):
        self.errors = errors

    def collect(self):
        if isinstance(self.errors[0], Exception):
            raise self.errors[0]
        yield from self.errors


@pytest.fixture
def device():
    return FakeDevice(qps=[Qp(7, PID), Qp(11, PID), Qp(13, OTHER)])


@pytest.fixture
def sampler(device, tmp_path):
    (tmp_path / "mlx5_0").mkdir()

    def opened(*errors, **options):
        return RdmaSampler(
            lambda: QueuePairSampler(None, lambda: netlink(FakeRdma(device)), tmp_path),
            lambda: Counters(*errors),
            lambda: True,
            **options,
        )

    return opened


def test_queue_pairs_have_the_process_and_errors_of_ports_where_it_is_known(sampler):
    """Errors of a process that has no queue pair any more are the port's."""
    gone = Process(251, 7_001, "gone")
    found = sampler(
        PortErrors("mlx5_0", Kind.RNR, 7, (), None, OWNER),
        PortErrors("mlx5_0", Kind.CNP, 11, ()),
        PortErrors("mlx5_0", Kind.RETRY, 13, (), None, gone),
        PortErrors("eth0", Kind.PFC_PAUSE, 17, (), 3),
        PortErrors("eth0", Kind.PFC_PAUSE, 19, (), 4),
    ).result()
    assert found == RdmaSampled(
        {
            PID: RdmaUse((DeviceQueuePairs("mlx5_0", still=2),), {"RDMA_RNR": 7}),
            OTHER: RdmaUse((DeviceQueuePairs("mlx5_0", still=1),)),
        },
        {"mlx5_0": {"CNP": 11, "RDMA_RETRY": 13}, "eth0": {"PFC_PAUSE": 36}},
    )


def test_ports_that_cannot_be_read_leave_the_queue_pairs(sampler):
    found = sampler(OSError("no descriptor is left")).result()
    assert found.by_pid.keys() == {PID, OTHER}
    assert (found.ports, found.notes) == ({}, ())


def test_host_without_rdma_opens_nothing():
    def fail():
        pytest.fail("opened")

    assert RdmaSampler(fail, fail, lambda: False).result() == RdmaSampled()


def test_device_that_blocks_its_reader_is_left_out(sampler, monkeypatch):
    """The command answers without it, and notes that."""
    answers = threading.Event()
    monkeypatch.setattr(QueuePairSampler, "sample", lambda _: answers.wait())
    found = sampler(OSError(), wait_s=0.0).result()
    answers.set()
    assert found == RdmaSampled(notes=("RDMA is left out: its devices do not answer",))


@pytest.mark.parametrize(
    ("use", "held", "sign"),
    [
        (RdmaUse((MOVING,)), False, Sign.NONE),
        (RdmaUse((STILL,)), False, Sign.STILL),
        (RdmaUse((STILL, MOVING)), False, Sign.NONE),
        (RdmaUse((DeviceQueuePairs("mlx5_0", others=3),)), False, Sign.NONE),
        (RdmaUse((MOVING,)), True, Sign.HELD),
        (RdmaUse((DeviceQueuePairs("mlx5_0", moving=3, failed=1),)), True, Sign.FAILED),
        (RdmaUse((MOVING,), {"RDMA_OUT_OF_BUFFER": 3, "RDMA_RNR": 5}), False, Sign.LATE),
        (RdmaUse((MOVING,), {"RDMA_RETRY": 3, "RDMA_RNR": 5}), False, Sign.LATE_PEER),
        (RdmaUse((STILL,), {"RDMA_TIMEOUT": 3}), False, Sign.PATH),
        (RdmaUse((MOVING,), {"CNP": 3}), False, Sign.NONE),  # congestion is no fault of its own
    ],
)
def test_the_strongest_sign_counts(use, held, sign):
    assert use.sign(held=held) is sign
