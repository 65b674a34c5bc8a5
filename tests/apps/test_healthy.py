"""Healthy programs never stall, whatever expected waits they have."""

from __future__ import annotations

import pytest
from support.backends import SELECTED

from xctl_probe.stalls.policy import REPLY_MS

INTERVAL_S = 0.05
INTERVALS, HOUR = 300, 3_600


@pytest.mark.timeout(420)
def test_no_process_who_is_healthy_is_ever_shown_to_wait(request, everything, watched):
    """All programs and both sources at once, with the thresholds that users have.

    The interval is compressed; nothing else is.  `--hour`: as many as an hour has.
    """
    place = everything.place
    options = ("--interval", INTERVAL_S, "--reply-ms", REPLY_MS)
    probes = [watched(backend, *options) for backend in SELECTED]
    count = HOUR if request.config.getoption("--hour") else INTERVALS
    for probe in probes:
        probe.wait_for_intervals(count, timeout=400)
    reported = {
        probe.story("a stall of somebody healthy"): [
            f"{place.name(record.pid)}: {record}" for record in _stalls_here(probe, place)
        ]
        for probe in probes
    }
    assert not any(reported.values()), reported

    # The proof that these probes would have seen one.
    redis = everything.redis
    place.stop(redis.server.pid)
    redis.asks.send("PING")
    for probe in probes:
        probe.wait_for(lambda consumer: consumer.stalls(pid=redis.asks.pid))
    place.let_go(redis.server.pid)
    redis.asks.expect("PONG")


def _stalls_here(probe, place):
    """Of the programs, that is: a probe may see the whole host."""
    pids = place.pids()
    return [r for r in probe.consumer.stalls() if r.pid is None or r.pid in pids]
