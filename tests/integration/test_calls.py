"""One wait is one stall, however often the call that waits comes back empty-handed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from support.conversation import ANSWER, QUESTION, answered, connected
from support.truth import bounds_ms

INTERVAL_S = 0.2
BETWEEN_SIGNALS_S = 0.03  # less than a stall


def assert_one_wait(consumer, client, identity, truth, backend, causes=frozenset({"no_reply"})):
    """One stall from first to last, as long as it really was."""
    # On a busy machine the exchange before may have been one, too.
    asked_ms = (truth["stall_begin_ns"] + time.time_ns() - time.monotonic_ns()) / 1e6
    reported = (r for r in consumer.stalls(pid=client.pid) if r.ts - r.stall_ms > asked_ms - 50)
    *ongoing, ended = reported
    assert {r.entity_id for r in (*ongoing, ended)} == {f"socket-{identity['inode']}"}
    assert {r.net["direction"] for r in (*ongoing, ended)} == {"receive"}
    assert {r.net["cause"] for r in (*ongoing, ended)} <= causes
    early = [str(r) for r in ongoing if not r.ongoing]
    assert early == [], "it ended before its end"
    assert not ended.ongoing
    lengths = [r.stall_ms for r in (*ongoing, ended)]
    assert lengths == sorted(lengths)
    least_ms, most_ms = bounds_ms(truth)
    tolerance_ms = backend.tolerance_ms(INTERVAL_S)
    assert least_ms - tolerance_ms <= ended.stall_ms <= most_ms + tolerance_ms


def interrupt(pid):
    """A signal that finds the process in its call, and the time between two of them."""
    os.kill(pid, signal.SIGUSR1)
    time.sleep(BETWEEN_SIGNALS_S)
    while (status := process_status(pid))["State"][0] != "S" or int(status["ShdPnd"], 16):
        time.sleep(0.001)


def process_status(pid):
    """proc(5): the fields of status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def wait_until_reported(running, client, times=4):
    running.wait_for(lambda c: len(c.stalls(pid=client.pid, ongoing=True)) >= times)


def wait_until_over(running, client):
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=False))
    running.wait_for_intervals(2)
    return running.stop()


def test_a_receive_with_a_timeout_that_is_made_again(probe, worker, backend):
    """SO_RCVTIMEO: each call gives up before it is a stall, and all of them together are one."""
    running = probe()
    server, client, identity = connected(worker)
    answered(server, client)
    running.wait_for_intervals(2)
    client.begin("ask_in_turns", QUESTION, ANSWER, 30)
    server.ask("recv", QUESTION)
    wait_until_reported(running, client)
    released_ns = time.monotonic_ns()
    server.ask("send", ANSWER)
    truth = client.expect("ask_in_turns") | {"released_ns": released_ns}
    assert truth["turns"] >= 3  # on a busy host each of them may take long
    assert_one_wait(wait_until_over(running, client), client, identity, truth, backend)


def test_a_receive_that_signals_interrupt(probe, worker, backend):
    """EINTR again and again, shorter apart than a stall: the wait goes on."""
    running = probe()
    server, client, identity = connected(worker)
    answered(server, client)
    running.wait_for_intervals(2)
    client.ask("heed_signals")
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    for _ in range(30):
        interrupt(client.pid)
    wait_until_reported(running, client)
    released_ns = time.monotonic_ns()
    server.ask("send", ANSWER)
    truth = client.expect("ask") | {"released_ns": released_ns}
    assert client.ask("interruptions")["times"] == 30
    assert_one_wait(wait_until_over(running, client), client, identity, truth, backend)


def test_a_send_that_signals_interrupt(probe, worker, backend):
    """The first signals may end calls that have sent a part; those after it got nothing through.

    So there are a few short waits at most, then a long one, and every byte is counted once.
    """
    size = 20_000_003
    running = probe("--min-bw", 0)
    server, client, identity = connected(worker)
    client.ask("heed_signals")
    begin_ns = time.monotonic_ns()
    client.begin("send", size)
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=True))
    for _ in range(30):
        interrupt(client.pid)
    wait_until_reported(running, client, len(running.consumer.stalls(pid=client.pid)) + 2)
    released_ms = time.time_ns() / 1e6
    server.begin("recv", size)
    assert client.expect("send")["bytes"] == size
    assert client.ask("interruptions")["times"] == 30
    server.expect("recv")
    running.wait_for(lambda c: not c.stalls(pid=client.pid)[-1].ongoing)
    running.wait_for_intervals(2)
    consumer = running.stop()
    stalls = consumer.stalls(pid=client.pid)
    assert {r.entity_id for r in stalls} == {f"socket-{identity['inode']}"}
    assert {r.net["direction"] for r in stalls} == {"send"}
    assert {r.net["cause"] for r in stalls if r.ts < released_ms} == {"peer_window"}
    # Who then falls behind may have segments sent again.
    assert {r.net["cause"] for r in stalls} <= {"peer_window", "loss"}
    # On a busy host the receiver may fall behind as well.
    ended = [r.stall_ms for r in stalls if not r.ongoing and r.ts - r.stall_ms < released_ms]
    assert len(ended) <= 4, ended
    assert ended[-1] >= 25 * 30  # of 30 signals, hardly one broke it
    over_ms = (time.monotonic_ns() - begin_ns) / 1e6
    # A sampler finds the end of one up to an interval late, and the begin of the next exactly.
    overlap_ms = (len(ended) - 1) * backend.tolerance_ms(INTERVAL_S)
    assert sum(ended) <= over_ms + overlap_ms, "two at the same time"
    assert consumer.sent_bytes(client.pid) == consumer.received_bytes(server.pid) == size


def test_each_thread_waits_on_a_socket_of_its_own(probe, worker):
    """Three threads of one process: three stalls, each with its thread, ended one by one."""
    running = probe()
    client = worker()
    servers, threads = [], {}
    for _ in range(3):
        server = worker()
        client.connect("127.0.0.1", server.ask("listen")["port"])
        server.ask("accept")
        asked = client.ask("ask_aside", QUESTION, ANSWER)
        server.ask("recv", QUESTION)
        servers.append((server, asked["inode"]))
        threads[asked["inode"]] = asked["tid"]
    for inode in threads:
        running.wait_for(lambda c, inode=inode: len(c.stalls(inode=inode, ongoing=True)) >= 2)
    for server, inode in servers:
        assert not running.consumer.stalls(inode=inode, ongoing=False)
        server.ask("send", ANSWER)
        assert client.expect("answered")["tid"] == threads[inode]
        running.wait_for(lambda c, inode=inode: c.stalls(inode=inode, ongoing=False))
    consumer = running.stop()
    for inode, tid in threads.items():
        ongoing = consumer.stalls(inode=inode, ongoing=True)
        assert {(r.pid, r.net["tid"]) for r in ongoing} == {(client.pid, tid)}
        assert len(consumer.stalls(inode=inode, ongoing=False)) == 1
