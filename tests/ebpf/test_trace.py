"""The stream of every call: complete, or exactly as incomplete as it says."""

from __future__ import annotations

import select
import subprocess
import time

import pytest
from support.require import require, require_tools

from xctl_probe.ebpf.call_trace import READ_AGAIN_S, Trace
from xctl_probe.errors import SourceUnavailable

# 64-byte datagrams to itself, as fast as a loop in the kernel's own calls goes from Python.
FLOOD = """
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); server.bind(("127.0.0.1", 0))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); client.connect(server.getsockname())
step()
for _ in range(int(sys.argv[1])): client.send(b"x" * 64); server.recv(64)
step()
"""


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
    """Calls of the process until `until` says that it is done, and how many were dropped."""
    found = []
    while not until():
        found += [call for call in trace.calls() if call.pid == pid]
        time.sleep(READ_AGAIN_S)
    found += [call for call in trace.calls() if call.pid == pid]
    return found, trace.dropped()


def has_said_something(one):
    return select.select([one.process.stdout], [], [], 0)[0]


def test_each_call_with_its_result(trace, actor):
    stream = trace()
    one = actor(
        """
listener = socket.create_server(("127.0.0.1", 0)); step()
client = socket.create_connection(listener.getsockname()); server, _ = listener.accept()
client.setblocking(False)
try: client.recv(100)
except BlockingIOError: pass
client.send(b"x" * 7)
server.recv(100, socket.MSG_PEEK); server.recv(100)
say((client.getsockname()[1], listener.getsockname()[1]))
"""
    )
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


def test_a_flood_is_complete_or_says_what_is_missing(trace, actor):
    stream = trace()
    rounds = 200_003
    one = actor(FLOOD, arguments=(rounds,))
    begin = time.monotonic()
    one.start()
    seen = 0
    done = False
    while not done:
        done = has_said_something(one)  # asked first: what came before it is read after
        time.sleep(READ_AGAIN_S)
        seen += sum(1 for call in stream.calls() if call.pid == one.pid)
    dropped = stream.dropped()
    rate = 2 * rounds / (time.monotonic() - begin)
    one.finish()
    print(f"{rate:.0f} calls a second, {dropped} dropped")
    # What others lost meanwhile is in `dropped`, too.
    assert 2 * rounds - dropped <= seen <= 2 * rounds


def test_a_small_ring_drops_and_says_how_many(trace, actor):
    stream = trace(ring_bytes=1 << 16)
    rounds = 5_003
    one = actor(FLOOD, arguments=(rounds,))
    one.go()  # nobody reads meanwhile
    calls, dropped = everything(stream, one.pid, lambda: True)
    assert 0 < len(calls) <= (1 << 16) // 104
    assert len(calls) + dropped >= 2 * rounds
    assert dropped <= 2 * rounds + 5_000


def test_off_it_costs_nothing(watch, trace):
    """Its programs are in an object of their own, loaded only for it."""
    require_tools("bpftool")
    watch()
    show = ["bpftool", "prog", "show", "name", "trace_send"]
    before = subprocess.run(show, capture_output=True, check=False).stdout.count(b"trace_send")
    trace()
    after = subprocess.run(show, capture_output=True, check=False).stdout.count(b"trace_send")
    assert after == before + 1
