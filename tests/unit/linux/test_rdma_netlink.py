"""Queue pairs and bound counters, from messages as the kernel writes them."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_rdma import Counter, FakeDevice, FakeRdma, Qp, netlink

from xctl_probe.linux import rdma_netlink
from xctl_probe.linux.rdma_netlink import BoundCounter, Device, QueuePair
from xctl_probe.linux.rdma_uapi import STAT_GET

MLX = Device(0, "mlx5_0", False)


def asked(*qps, **device):
    return netlink(FakeRdma(FakeDevice(qps=list(qps), **device)))


def failed(*qps):
    return asked(*qps).failed(MLX, lambda _: None)


def test_devices_have_index_and_name():
    kernel = FakeRdma(FakeDevice(), FakeDevice("siw0", 7, node_type=4))
    assert netlink(kernel).devices() == [MLX, Device(7, "siw0", True)]
    assert netlink(FakeRdma()).devices() == []


def test_queue_pair_of_a_process():
    """With all that the kernel has of it; those of others are left out."""
    one = Qp(4_241, 233, 1_009, "RC", "RTS", 2, 0xFFFFFE, 0x31)
    found = asked(Qp(7, 239), one, Qp(11, 2330)).queue_pairs(MLX, 233)
    assert found == [
        QueuePair("mlx5_0", 2, 4_241, 1_009, "RC", "RTS", 0xFFFFFE, 0x31, 233, None),
    ]


def test_datagram_queue_pair_has_neither_peer_nor_receive_number():
    (one,) = asked(Qp(7, 233, type="UD", port=0)).queue_pairs(MLX, 233)
    assert one == QueuePair("mlx5_0", None, 7, None, "UD", "RTS", 0, None, 233)


def test_number_that_equals_the_pid_is_no_pid():
    """A message is searched for bytes first; what is found is decoded."""
    assert asked(Qp(233, 239, sq_psn=233), Qp(7, 1)).queue_pairs(MLX, 233) == []


@pytest.mark.parametrize("state", ["ERR", "SQE"])
def test_failed_queue_pairs_of_processes_and_of_the_kernel(state):
    good = [Qp(n, 233, state=s) for n, s in enumerate(["RESET", "INIT", "RTR", "RTS", "SQD"])]
    bad = [
        Qp(23, 239, 5, state=state),
        Qp(29, None, state=state, kernel_name="[nvme_rdma]"),
        Qp(31, None, state=state),
    ]
    found = failed(*good, *bad)
    assert [(one.number, one.pid, one.kernel_name, one.state) for one in found] == [
        (23, 239, None, state),
        (29, None, "[nvme_rdma]", state),
        (31, None, None, state),  # its process has ended
    ]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**24 - 1),
            st.sampled_from(["RTS", "ERR", "INIT", "SQE"]),
            st.integers(0, 2**32 - 1),
            st.sampled_from(["RC", "UD", "GSI"]),
            st.one_of(st.none(), st.sampled_from(["", "a", "\x05\x00\x1b\x00\x06", "[ib_ipoib]"])),
        ),
        max_size=19,
    )
)
def test_every_failed_queue_pair_is_found(rows):
    """Whatever stands before it in its entry, and in whichever entry it is."""
    qps = [
        Qp(number, 7, psn, kind, state, 1, psn, psn, name)
        for number, state, psn, kind, name in rows
    ]
    expected = [qp.number for qp in qps if qp.state in ("ERR", "SQE")]
    assert [one.number for one in failed(*qps)] == expected


GSI = Qp(1, type="GSI", kernel_name="ib_core")


@given(
    st.lists(st.sampled_from([GSI, Qp(5, 239, type="UD"), Qp(6, 239, state="ERR")]), max_size=3),
    st.lists(st.sampled_from(["RC", "UD", "RAW_PACKET"]), min_size=1, max_size=3),
    st.integers(1, 47),
    st.sets(st.integers(0, 46)),
)
def test_a_failed_queue_pair_is_found_among_many_that_are_alike(before, types, count, failing):
    alike = [
        Qp(100 + n, 233, type=types[n % len(types)], state="ERR" if n in failing else "RTS")
        for n in range(count)
    ]
    expected = [qp.number for qp in [*before, *alike] if qp.state == "ERR"]
    assert [one.number for one in failed(*before, *alike)] == expected


def test_queue_pairs_are_counted_without_a_dump_of_them():
    assert asked(Qp(7, 233), GSI, index=0).queue_pair_counts() == {(0, "mlx5_0"): 2}


def test_thousands_of_queue_pairs_come_in_many_messages():
    qps = [Qp(n, 233 if n % 7 else 239, n + 1) for n in range(4_001)]
    assert len(asked(*qps).queue_pairs(MLX, 239)) == 572
    assert failed(*qps) == []


def test_device_that_is_gone_is_an_error():
    with pytest.raises(OSError, match="Invalid argument"):
        asked(index=3).failed(MLX, print)


def test_bound_counters_are_by_process():
    counter = Counter(5, 233, {"rdma_rx_bytes": 2**40, "out_of_buffer": 7}, port=2)
    found = list(asked(counters=[counter, Counter(6, None, {})]).bound_counters(MLX))
    assert found == [BoundCounter(5, 2, 233, {"rdma_rx_bytes": 2**40, "out_of_buffer": 7})]


def test_kernel_without_bound_counters_is_an_error():
    netlink = asked(errors={STAT_GET: errno.EINVAL})
    with pytest.raises(OSError, match="Invalid argument"):
        list(netlink.bound_counters(MLX))


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_without_an_error(entry):
    rdma_netlink._queue_pair("mlx5_0", entry)
    rdma_netlink._bound_counter(entry)
