"""tracepoint_files, which these kernels never need: forced, it counts and reports as the others."""

from __future__ import annotations

import pytest

from vm.guest import variants
from vm.guest.features import YES, supports
from vm.guest.test_bytes import connect, transfer

NAME = "tracepoint_files"
LIMIT_S = 180
BYTES = 1_000_003
MORE_THAN_BUFFERS = 20_000_003


def test_sockets_are_found_by_the_files_that_hold_them(start_probe, worker, features):
    """Open before the probe and after; a process with two descriptors of one socket counts once."""
    if supports("tracepoint", features) != YES:
        pytest.skip("this kernel does not carry tracepoint")
    backend = variants.variant(NAME)
    before = worker(), worker()
    connect(*before, "127.0.0.1")
    options = ("--interval", 0.5, "--loopback", "--min-bw", 0, "--format", "ndjson")
    running = start_probe(*backend.options, *options, user=backend.user)
    running.wait_for_stderr(f"source ebpf ({NAME}:", backend.start_s)
    running.wait_ready()
    after = worker(), worker()
    connect(*after, "::1")
    after[1].ask("fork_idle")
    for receiver, sender in (before, after):
        transfer(receiver, sender, BYTES)
        running.wait_for(lambda c, pid=receiver.pid: c.received_bytes(pid) >= BYTES, LIMIT_S)
    before[1].begin("send", MORE_THAN_BUFFERS)
    running.wait_for(lambda c: len(c.stalls(pid=before[1].pid, ongoing=True)) >= 2, LIMIT_S)
    running.wait_for_intervals(2)
    assert [running.consumer.received_bytes(receiver.pid) for receiver, _ in (before, after)] == [
        BYTES,
        BYTES,
    ]
    assert running.consumer.sent_bytes(after[1].pid) == BYTES
    assert running.stop().events_lost() == {}
