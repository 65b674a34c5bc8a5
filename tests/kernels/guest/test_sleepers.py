"""More threads asleep in a send than the kernel keeps returns for: each byte counts."""

from __future__ import annotations

import pytest

PATIENCE_S = 60
# kernel/kprobes.c: a return probe has 10 at least, and two for each CPU; the guests have two.
RETURNS_KEPT = 10
THREADS = RETURNS_KEPT + 7
MORE_THAN_BUFFERS, ONCE_MORE = 9_000_011, 7


def test_sends_that_sleep_are_all_counted(probe, worker, backend):
    """Where a return would be missed, nothing may depend on one."""
    if backend.name == "proc":
        pytest.skip("the sampler hooks nothing")
    running = probe()
    sleepers = worker("sleepers")
    sleepers.ask("block", THREADS, MORE_THAN_BUFFERS, timeout=PATIENCE_S)
    sleepers.ask("release", timeout=PATIENCE_S)
    sleepers.ask("again", ONCE_MORE, timeout=PATIENCE_S)
    running.wait_for_intervals(3)
    consumer = running.stop()
    moved = THREADS * (MORE_THAN_BUFFERS + ONCE_MORE)
    assert consumer.received_bytes(sleepers.pid) == moved
    assert consumer.sent_bytes(sleepers.pid) == moved
    assert consumer.lost() == 0
