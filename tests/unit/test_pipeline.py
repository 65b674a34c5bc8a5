"""The interval's arithmetic: rates by the monotonic clock, stamps by the other one."""

from __future__ import annotations

import itertools
import os
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe import pipeline
from xctl_probe.aggregate import Filter
from xctl_probe.events import Batch, InterfaceCounts, Process, Traffic
from xctl_probe.exporters.records import Bandwidth

CLIENT = Process(233, 7_001, "client")
SECOND_NS = 1_000_000_000


def intervals(monotonic, wall):
    """What is written when the clocks show these times: the start, then one for each drain."""
    clocks = SimpleNamespace(
        monotonic_ns=mock.Mock(side_effect=monotonic), time_ns=mock.Mock(side_effect=wall)
    )
    source = SimpleNamespace(
        drain=lambda now_ns: Batch(now_ns, [Traffic(CLIENT, "eth0", 1_009, 2_003)])
    )
    counts = SimpleNamespace(collect=lambda: [InterfaceCounts("eth0", 2_003, 1_009, 0, 0, 0, 0)])
    settings = SimpleNamespace(wanted=Filter(min_mbps=0.0))
    written = []
    with (
        mock.patch.object(pipeline, "time", clocks),
        mock.patch.object(pipeline, "Interfaces", return_value=counts),
    ):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            loop = pipeline._Loop(
                settings, source, SimpleNamespace(put=written.append), nowhere, None
            )
            for _ in wall:
                loop.drain()
        finally:
            os.close(nowhere)
    return written


@given(
    st.lists(
        st.tuples(st.integers(1, 3_600 * SECOND_NS), st.integers(0, 2**62)), min_size=1, max_size=9
    )
)
def test_a_clock_that_steps_moves_the_stamps_and_no_rate(steps):
    """Back by years or forth: bytes over the time that really passed, stamped as it is now."""
    elapsed, wall = zip(*steps, strict=True)
    monotonic = list(itertools.accumulate(elapsed, initial=7))
    found = intervals(monotonic, wall)
    assert all(isinstance(record, Bandwidth) for record in found)
    of_process = [record for record in found if record.owner]
    assert [r.elapsed_ns for r in of_process] == list(elapsed)
    assert [r.ts_ms for r in of_process] == [ns // 1_000_000 for ns in wall]
    for record in found:
        assert record.mbps == pytest.approx(3_012 * 8_000 / record.elapsed_ns)


def test_two_drains_at_the_same_moment_are_no_bandwidth():
    """No time, no rate: and the bytes are in the record."""
    found = intervals([7, 7], [SECOND_NS])
    assert {record.mbps for record in found} == {0.0}
    assert {record.rx_bytes for record in found} == {2_003}
