"""What a long run adds up."""

from __future__ import annotations

import json
import time

from soak.tally import Tally

RECORD = {"job_id": None, "pid": None}


def fed(**fields):
    tally = Tally()
    record = RECORD | {"ts": time.time_ns() // 1_000_000} | fields
    tally.feed(json.dumps(record).encode() + b"\n")
    return tally


def test_a_job_that_another_test_starts_is_no_error():
    """A reader that fails there would make the probe seem silent."""
    tally = fed(
        event_type="process.state", entity_id="pid-23", pid=23, job_id="4711", value="start",
        net={"comm": "python3"},
    )  # fmt: skip
    assert not tally.errors


def test_what_the_probe_lost_counts_by_place():
    tally = fed(
        event_type="error.net", entity_id="xctl-probe", value="PROBE_LOST:7", net={"where": "ring"}
    )
    assert tally.lost == {"ring": 7}
