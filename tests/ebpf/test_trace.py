"""The stream of every call: complete, or exactly as incomplete as it reports."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from support.bpftool import names_of
from support.require import require

from xctl_probe.ebpf.call_trace import READ_AGAIN_S, Trace
from xctl_probe.errors import SourceUnavailable

TRIES = 5


@pytest.fixture
def trace():
    started = []

    def start(**options):
        try:
            started.append(Trace(**options))
        except SourceUnavailable as reason:
            require(False, str(reason))
        return started[-1]

    yield start
    for one in started:
        one.close()


def everything(trace, pid, until):
    """Calls of the process until `until` is true, and how many were dropped."""
    found = []
    while not until():
        found += [call for call in trace.calls() if call.pid == pid]
        time.sleep(READ_AGAIN_S)
    found += [call for call in trace.calls() if call.pid == pid]
    return found, trace.dropped()


def test_each_call_with_its_result(trace, peer):
    one = peer("call_trace.each_call")
    stream = trace()  # what others call while the peer starts takes no room
    client_port, server_port = one.go()
    calls, dropped = everything(stream, one.pid, lambda: True)
    assert dropped == 0
    eagain, peek = -11, 2
    assert [(call.is_receive, call.result, call.flags & peek) for call in calls] == [
        (1, eagain, 0),
        (0, 7, 0),
        (1, 7, peek),
        (1, 7, 0),
    ]
    assert calls[1].local_port == calls[2].remote_port == client_port
    assert calls[1].remote_port == calls[2].local_port == server_port
    assert calls[1].remote_address == "127.0.0.1"
    assert [call.time_ns for call in calls] == sorted(call.time_ns for call in calls)


def test_a_flood_is_complete_or_reports_what_is_missing(trace, peer):
    stream = trace()
    rounds = 200_003
    one = peer("call_trace.flood", rounds)
    begin = time.monotonic()
    one.start()
    seen = 0
    done = False
    while not done:
        done = one.has_sent()  # asked first: what came before it is read after
        time.sleep(READ_AGAIN_S)
        seen += sum(1 for call in stream.calls() if call.pid == one.pid)
    dropped = stream.dropped()
    rate = 2 * rounds / (time.monotonic() - begin)
    one.finish()
    print(f"{rate:.0f} calls a second, {dropped} dropped")
    # What others lost meanwhile is in `dropped`, too.
    assert 2 * rounds - dropped <= seen <= 2 * rounds


def test_a_small_ring_drops_and_reports_how_many(trace, peer):
    """At least its own: what other processes of the host call meanwhile is dropped, too."""
    rounds = 5_003
    for _ in range(TRIES):
        one = peer("call_trace.flood", rounds)
        stream = trace(ring_bytes=1 << 16)
        list(stream.calls())  # of others: there is room for some of its own
        one.go()  # no process reads meanwhile
        calls, dropped = everything(stream, one.pid, lambda: True)
        stream.close()
        assert len(calls) <= (1 << 16) // 104
        assert len(calls) + dropped >= 2 * rounds
        if calls:
            return
    pytest.fail("the calls of others fill the ring")


def test_off_it_costs_nothing(watch, trace):
    """Its programs are in an object of their own, loaded only for it."""
    watch()
    assert "trace_send" not in names_of(os.getpid())
    trace()
    assert names_of(os.getpid()).count("trace_send") == 1


def test_it_exits_with_its_reader_where_nothing_is_written(trace, netns, installed):
    trace()  # skips where it cannot be used
    command = [str(installed.command), "--trace", "--pid", str(os.getpid())]
    words = [*netns.command("root"), *command]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tracing:
        assert b"tracing every send and receive" in tracing.stderr.readline()
        tracing.stdout.close()
        assert tracing.wait(60) == 0
