"""The queue pairs of every process that `top` shows, from dumps in the kernel's format."""

from __future__ import annotations

import threading

import pytest
from support.fake_rdma import FakeDevice, FakeRdma, Qp, netlink

from xctl_probe.commands.top.model import QueuePairs
from xctl_probe.commands.top.queue_pairs import QueuePairTable
from xctl_probe.commands.why.queue_pairs import DeviceQueuePairs, QueuePairSampler
from xctl_probe.events import Process

MS = 1_000_000


class Time:
    """A clock that stands, unless a reading of it takes time."""

    now_ns = 0
    reading_ns = 0

    def __call__(self) -> int:
        self.now_ns += self.reading_ns
        return self.now_ns


@pytest.fixture
def device():
    return FakeDevice(
        qps=[
            Qp(1, type="GSI", kernel_name="ib_core"),
            Qp(7, 233),
            Qp(11, 233),
            Qp(13, 233, state="ERR"),
            Qp(17, 233, state="INIT"),
            Qp(19, 239),
        ]
    )


@pytest.fixture
def clock():
    return Time()


@pytest.fixture
def table(device, clock, tmp_path):
    (tmp_path / "mlx5_0").mkdir()
    return QueuePairTable(
        lambda: QueuePairSampler(None, lambda: netlink(FakeRdma(device)), tmp_path),
        lambda pid: Process(pid, 7, "nccl"),
        lambda: any(tmp_path.iterdir()),
        clock,
    )


def sampled(table):
    thread = table.refresh()
    assert thread is not None
    thread.join()
    return table.rows


def row(pid, **counts):
    return QueuePairs(pid, "nccl", DeviceQueuePairs("mlx5_0", **counts))


def test_each_process_has_its_counts(device, table):
    """The first sample shows no movement; the kernel's own queue pairs have no process."""
    assert sampled(table) == (row(233, failed=1, others=3), row(239, others=1))
    device.qps[1].sq_psn = 1
    assert sampled(table) == (row(233, moving=1, still=1, failed=1, others=1), row(239, still=1))


def test_process_whose_queue_pairs_are_gone_has_no_row(device, table):
    sampled(table)
    del device.qps[5]
    assert [one.pid for one in sampled(table)] == [233]


def test_samples_take_a_hundredth_of_the_time(table, clock):
    clock.reading_ns = MS
    sampled(table)
    assert table.refresh() is None
    clock.now_ns += 100 * MS
    assert table.refresh() is not None


def test_host_without_rdma_has_no_thread(table, tmp_path):
    """Nor one whose last device has gone."""
    sampled(table)
    (tmp_path / "mlx5_0").rmdir()
    assert (table.refresh(), table.rows) == (None, ())


def test_device_that_blocks_its_reader_holds_nothing_up(table):
    """There is one thread, however often the screen asks."""
    answers = threading.Event()
    opened = table._open_sampler
    table._open_sampler = lambda: answers.wait() and opened()
    thread = table.refresh()
    assert table.refresh() is thread
    assert table.rows == ()
    answers.set()
    thread.join()
    assert [one.pid for one in table.rows] == [233, 239]
