"""Queue pairs of a process: which of them move packets between two samples."""

from __future__ import annotations

import errno

import pytest
from support.fake_rdma import FakeDevice, FakeRdma, Qp, netlink

from xctl_probe.commands.why.queue_pairs import (
    ProcessQueuePair,
    QueuePairSampler,
    queue_pair_lines,
)
from xctl_probe.linux.rdma_uapi import RES_QP_GET

PID = 233


@pytest.fixture
def device():
    return FakeDevice(qps=[Qp(7, PID, 11), Qp(13, PID, 17), Qp(19, 239, 23)])


@pytest.fixture
def root(tmp_path):
    (tmp_path / "mlx5_0").mkdir()
    return tmp_path


@pytest.fixture
def sampler(device, root):
    return QueuePairSampler(PID, lambda: netlink(FakeRdma(device)), root)


def moved(sampler):
    return {one.number: one.moved for one in sampler.result()}


def pair(number, state="RTS", *, moved=False, peer=None, port=None):
    return ProcessQueuePair("mlx5_0", port, number, peer, "RC", state, moved)


@pytest.mark.parametrize("psn", ["sq_psn", "rq_psn"])
def test_packet_sequence_number_that_changes_is_progress(device, sampler, psn):
    """Of what is sent or received; queue pairs of others are not among them."""
    sampler.sample()
    setattr(device.qps[0], psn, 1)
    device.qps[2].sq_psn = 1
    sampler.sample()
    assert moved(sampler) == {7: True, 13: False}


def test_new_queue_pair_has_not_been_compared(device, sampler):
    sampler.sample()
    device.qps = [Qp(29, PID)]
    sampler.sample()
    assert moved(sampler) == {29: None}


def test_iwarp_has_no_sequence_numbers(device, sampler):
    """What its driver leaves in their place may change."""
    device.node_type = 4
    sampler.sample()
    device.qps[0].sq_psn = 4_241
    sampler.sample()
    assert moved(sampler) == {7: None, 13: None}


def test_host_without_rdma_opens_no_socket(tmp_path):
    for root in (tmp_path, tmp_path / "nowhere"):
        sampler = QueuePairSampler(PID, lambda: pytest.fail("opened"), root)
        sampler.sample()
        assert sampler.result() == ()
        sampler.close()


def test_kernel_that_refuses_the_dump_shows_none(device, sampler):
    device.errors[RES_QP_GET] = errno.EPERM
    sampler.sample()
    assert sampler.result() == ()


def test_socket_that_cannot_be_opened_shows_none(root):
    def refuse():
        raise OSError(errno.EPROTONOSUPPORT, "no netlink")

    sampler = QueuePairSampler(PID, refuse, root)
    sampler.sample()
    assert sampler.result() == ()


def test_queue_pairs_that_are_alike_share_a_line():
    lines = list(queue_pair_lines(tuple(pair(n, peer=n + 1, port=2) for n in (7, 5, 11, 3, 13))))
    assert lines == [
        "  5 RDMA queue pairs on mlx5_0 port 2, RC, state RTS (qp 3 -> 4, qp 5 -> 6, qp 7 -> 8"
        " and 2 more): no packet between two samples: idle or stalled, which the kernel does not"
        " distinguish"
    ]


def test_failed_queue_pairs_come_first():
    pairs = (pair(3, moved=True), pair(5, "INIT"), pair(7, moved=None))
    pairs += (pair(9, "RTR", moved=True), pair(11, "ERR"))
    assert [line.partition("state ")[2] for line in queue_pair_lines(pairs)] == [
        "ERR (qp 11): failed",
        "RTS (qp 3): moves packets",
        "INIT (qp 5): neither sends nor receives yet",
        "RTS (qp 7): whether it moves is not known",
        "RTR (qp 9): moves packets",
    ]
