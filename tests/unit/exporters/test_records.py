"""Records keep bytes and time apart, so that those that wait can be merged."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from support.records import BANDWIDTHS, CLIENT

from xctl_probe.exporters.ndjson import to_line


@given(st.lists(BANDWIDTHS, min_size=1, max_size=7))
def test_windows_add_up(windows):
    """As one, they have all bytes and all the time, and the newest stamp."""
    total = windows[0]
    for window in windows[1:]:
        total = total.merge(window)
    assert total.rx_bytes == sum(w.rx_bytes for w in windows)
    assert total.tx_bytes == sum(w.tx_bytes for w in windows)
    assert total.elapsed_ns == sum(w.elapsed_ns for w in windows)
    assert total.ts_ms == windows[-1].ts_ms
    if all(w.unattributed_bytes is not None for w in windows):
        assert total.unattributed_bytes == sum(w.unattributed_bytes or 0 for w in windows)


@given(
    st.lists(BANDWIDTHS.filter(lambda w: w.elapsed_ns and w.mbps >= 1.0), min_size=1, max_size=7)
)
def test_windows_that_were_no_wait_add_up_to_none(windows):
    """Each at 1 Mbps or more: so is their sum, and a consumer reads no wait from it."""
    windows = [replace(window, owner=CLIENT, unattributed_bytes=None) for window in windows]
    total = windows[0]
    for window in windows[1:]:
        total = total.merge(window)
    assert math.floor(total.mbps * 100 + 0.5) >= 100
    assert float(json.loads(to_line(total))["value"]) >= 1.0
