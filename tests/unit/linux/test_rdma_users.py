"""Whose the queue pairs of a device are, from messages as the kernel writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_rdma import FakeDevice, FakeRdma, Qp, netlink

from xctl_probe.linux import rdma_users
from xctl_probe.linux.rdma_netlink import Device
from xctl_probe.linux.rdma_uapi import RES_QP_GET
from xctl_probe.linux.rdma_users import Users

MLX = Device(0, "mlx5_0", False)
GSI = Qp(1, type="GSI", kernel_name="ib_core")


def dumped(*qps, count=None):
    users = Users(count)
    for message in FakeDevice(qps=list(qps)).messages(RES_QP_GET):
        users.add(message)
    return users


@pytest.mark.parametrize(
    ("qps", "sole"),
    [
        ([], None),
        ([GSI, Qp(0, type="SMI", kernel_name="ib_core")], None),
        ([Qp(7, 233), GSI, Qp(11, 233, state="ERR")], 233),
        ([GSI, Qp(7, 233), Qp(11, 239, type="UD")], None),
        ([Qp(7, 233), Qp(11, 239), Qp(13, 233)], None),
        ([Qp(7, 233), Qp(11, kernel_name="nvme_rdma")], None),
        ([Qp(7, kernel_name="nvme_rdma"), Qp(11, 233)], None),
        ([Qp(7, 233), Qp(11, None)], None),  # whose process has ended
        ([GSI, *(Qp(n, 233, n) for n in range(4_001))], 233),
        ([*(Qp(n, 233) for n in range(4_001)), Qp(1, 239)], None),
        ([*(Qp(n, 233) for n in range(4_001)), Qp(1, kernel_name="rpcrdma")], None),
        ([*(Qp(n, kernel_name="rpcrdma") for n in range(4_001)), Qp(1, 233)], None),
        ([*(Qp(n, 233, type=("RC", "UD")[n % 2]) for n in range(4_001)), GSI], 233),
        # Two entries, one of them the kernel's, repeat at one distance.
        ([Qp(n, *((233,) if n % 2 else (None, 0, "UD"))) for n in range(47)], None),
    ],
)
def test_sole_user_has_all_queue_pairs_but_those_for_management(qps, sole):
    users = dumped(*qps)
    assert users.sole() == sole
    assert users.sole() == sole  # and is remembered


QPS = st.builds(
    Qp,
    st.integers(2, 2**24 - 1),
    st.sampled_from([233, 233, 239, None]),
    type=st.sampled_from(["RC", "UD"]),
    kernel_name=st.sampled_from([None, None, None, "ib", "nvme_rdma"]),
) | st.just(GSI)  # no process can make one of these


@given(
    st.lists(QPS, max_size=3),
    st.lists(QPS, min_size=1, max_size=3),
    st.integers(0, 23),
    st.lists(QPS, max_size=3),
)
def test_sole_user_is_that_of_the_entries(before, repeated, count, after):
    """However often some repeat, and whatever is around them."""
    qps = [*before, *repeated * count, *after]
    entries = netlink(FakeRdma(FakeDevice(qps=qps))).all_queue_pairs(MLX)
    users = {one.pid for one in entries if one.pid or one.type != "GSI"}
    sole = users.pop() if len(users) == 1 else None
    assert dumped(*qps).sole() == sole
    assert dumped(*qps, count=len(qps)).sole() == sole


@given(st.binary(max_size=60), st.integers(0, 900), st.integers(0, 60))
def test_no_bytes_are_an_error(garbage, at, left_out):
    (message,) = FakeDevice(qps=[GSI, *(Qp(n, 233) for n in range(7))]).messages(RES_QP_GET)
    users = Users()
    users.add(message[:at] + garbage + message[at + left_out :])
    users.sole()


@pytest.fixture
def searched(monkeypatch):
    """The lengths of what was searched."""
    lengths = []
    others = rdma_users._others

    def noted(message, pid):
        lengths.append(len(message))
        return others(message, pid)

    monkeypatch.setattr(rdma_users, "_others", noted)
    return lengths


def test_dump_is_searched_only_when_the_user_is_asked_for(searched):
    users = dumped(GSI, *(Qp(n, 233) for n in range(401)))
    assert searched == []
    assert users.sole() == 233
    assert searched != []


def test_entries_are_not_counted_where_the_kernel_has_done_so(searched):
    users = dumped(GSI, *(Qp(n, 233) for n in range(401)), count=402)
    assert users.sole() == 233
    assert users.sole() == 233
    assert searched == []


@pytest.mark.parametrize("count", [0, 399, 403, 4_001])
def test_count_of_another_moment_is_not_relied_on(searched, count):
    """Queue pairs may be made or removed between the count and the dump."""
    assert dumped(GSI, *(Qp(n, 233) for n in range(401)), count=count).sole() == 233
    assert searched != []
    nvme = Qp(7, kernel_name="nvme_rdma")
    assert dumped(GSI, nvme, *(Qp(n, 233) for n in range(401)), count=count).sole() is None


def test_dump_with_two_processes_is_never_searched(searched):
    users = dumped(*(Qp(n, 233 + n % 2) for n in range(401)))
    assert users.sole() is None
    assert searched == []


def test_what_is_kept_for_a_search_is_bounded():
    """A longer dump is searched at once."""
    users = Users()
    (message,) = FakeDevice(qps=[Qp(n, 233) for n in range(307)]).messages(RES_QP_GET)
    kept = []
    for _ in range(101):
        users.add(message)
        kept.append(sum(map(len, users._kept)))
    assert max(kept) == (1 << 17) // len(message) * len(message)
    assert users.sole() == 233
