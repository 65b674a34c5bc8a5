"""Who waits, on which socket, for how long and why: against the workers' own clocks."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from itertools import pairwise

import pytest
from support.consumer_model import peers_of
from support.conversation import ANSWER, QUESTION, answered, connected
from support.truth import bounds_ms
from support.waiting import wait_until_in_call
from support.worker import PYTHON

from xctl_probe.linux.syscalls import Role

INTERVAL_MS = 200  # conftest's
STALL_MS = 100  # the default threshold
INSPECTED_WITHIN = 15  # intervals: a busy host may keep the helper waiting that reads the peer
MORE_THAN_BUFFERS = 20_000_003
FLOW = (100_003, 14_900_447, 25_000_750)  # bytes: at once, at least, and at most
TRIES = 3
FLOWS = 4  # on a busy host none of them may be steady
DOWNLOAD = FLOWS * FLOW[2] + 1
SHOWN_WITHIN = 9  # intervals


def epoch_ms(monotonic_ns):
    """A worker's moment on the clock of the records."""
    return (monotonic_ns + time.time_ns() - time.monotonic_ns()) / 1e6


def broken_off(running, server, client):
    """Send a part of DOWNLOAD until its break shows; its bytes, and when the last were sent."""
    sent = 0
    for _ in range(FLOWS):
        flowed = server.ask("flow", *FLOW)  # five intervals, at least
        sent += flowed["bytes"]
        last_ms = epoch_ms(flowed["last_ns"])
        running.wait_for_intervals(SHOWN_WITHIN)
        if ongoing_times(1, client.pid, last_ms)(running.consumer):
            break
    running.wait_for(ongoing_times(3, client.pid, last_ms))
    return sent, flowed["last_ns"]


def ongoing_times(count, pid, after_ms=0):
    return lambda consumer: (
        sum(r.ts > after_ms for r in consumer.stalls(pid=pid, ongoing=True)) >= count
    )


def ended(pid, after_ms=0):
    return lambda consumer: [r for r in consumer.stalls(pid=pid, ongoing=False) if r.ts > after_ms]


def of_wait(records, truth):
    """Those of the wait that the test let go on: the last is the first that is over after that."""
    begin_ms, released_ms = epoch_ms(truth["stall_begin_ns"]), epoch_ms(truth["released_ns"])
    last = next(r for r in records if not r.ongoing and r.ts > released_ms)
    before = records[: records.index(last)]
    return [r for r in before if r.ongoing and r.ts > begin_ms] + [last]


def assert_stall(consumer, client, identity, truth, backend, *, others=False, **net):
    """The records of one stall show whose, which, why and how long, from first to last.

    `others`: on a busy host the client may also wait before and after it.

    `truth` has the begin and the end on the client's own clock, and when the test let it go
    on: between that and its end a machine with other work may take its time.
    """
    records = consumer.stalls(pid=client.pid)
    if others:
        records = of_wait(records, truth)
    assert {r.entity_id for r in records} == {f"socket-{identity['inode']}"}
    for record in records:
        assert record.net["duration_ms"] == record.stall_ms >= STALL_MS
        expected = {"protocol": "tcp", "comm": "python3", "interface": "lo"} | net
        expected |= {end: identity[end] for end in ("local", "remote") if end in identity}
        assert {key: record.net[key] for key in expected} == expected

    *ongoing, last = records
    assert [r.ongoing for r in records] == [True] * len(ongoing) + [False]
    # Seen at the threshold, then once an interval for as long as it lasts.  Intervals are counted,
    # not timed: beside other work they are late.
    begin_ms = epoch_ms(truth["stall_begin_ns"])
    beats = sorted({r.ts for r in consumer.interface_bandwidth()})
    seen_ms = [begin_ms + STALL_MS, *(r.ts for r in ongoing)]
    between = [sum(before < beat < after for beat in beats) for before, after in pairwise(seen_ms)]
    assert between[0] <= (INSPECTED_WITHIN if net["direction"] == "receive" else 2), seen_ms
    assert max(between[1:]) <= 2, seen_ms
    assert all(a.ts < b.ts and a.stall_ms < b.stall_ms for a, b in pairwise(ongoing))
    tolerance_ms = backend.late_ms(consumer)
    for record in ongoing:  # as long as it was in the interval that the record is of
        interval_ms = max((beat for beat in beats if beat < record.ts), default=begin_ms)
        assert interval_ms - begin_ms - tolerance_ms <= record.stall_ms
        assert record.stall_ms <= record.ts - begin_ms + tolerance_ms
    least_ms, most_ms = bounds_ms(truth)
    assert least_ms - tolerance_ms <= last.stall_ms <= most_ms + tolerance_ms
    assert consumer.waits_on(client.pid) == {f"socket-{identity['inode']}"}


@pytest.mark.parametrize("role", ["blocking", "evented"])
def test_a_sender_waits_for_a_peer_that_does_not_read(probe, worker, backend, role):
    """Whether it blocks in send or got EAGAIN: ongoing while it lasts, then its total."""
    running = probe()
    for _ in range(TRIES):
        server, client, identity = connected(worker, client_role=role)
        truth = hold_up(running, server, client, "send")
        if truth["stall_begin_ns"] < truth["released_ns"]:
            break  # else its longest wait came later: the peer paused while it read
    consumer = running.stop()
    net = {"direction": "send", "cause": "peer_window"}
    assert_stall(consumer, client, identity, truth, backend, others=True, **net)
    assert consumer.waits_on(server.pid) == set()


def test_a_sender_that_asks_whether_it_may_send_waits(probe, worker, backend):
    """No send of it finds the buffer full: it is writable only when a third of it is free.

    The window opens once or twice for a moment before it stays closed.  On a busy host that comes
    late: one poll of the client is two waits then, and another one has to show it.
    """
    running = probe()
    for _ in range(TRIES):
        server, client, identity = connected(worker, client_role="evented")
        truth = hold_up(running, server, client, "send_polled")
        begin_ms, released_ms = epoch_ms(truth["stall_begin_ns"]), epoch_ms(truth["released_ns"])
        over = running.consumer.stalls(pid=client.pid, ongoing=False)
        if begin_ms < released_ms and not any(begin_ms < r.ts < released_ms for r in over):
            break
    consumer = running.stop()
    net = {"direction": "send", "cause": "peer_window"}
    assert_stall(consumer, client, identity, truth, backend, others=True, **net)
    assert consumer.waits_on(server.pid) == set()


def hold_up(running, server, client, send):
    """Let the client send more than fits, and its peer read it late; returns the truth."""
    client.begin(send, MORE_THAN_BUFFERS)
    running.wait_for(ongoing_times(4, client.pid))
    released_ns = time.monotonic_ns()
    server.begin("recv", MORE_THAN_BUFFERS)
    truth = client.expect(send) | {"released_ns": released_ns}
    server.expect("recv")
    running.wait_for(ended(client.pid, epoch_ms(released_ns)))
    running.wait_for_intervals(2)
    return truth


def test_a_blocked_client_waits_for_its_first_reply(probe, worker, backend):
    """A thread in recv after a request is evidence enough, without any exchange before."""
    running = probe()
    server, client, identity = connected(worker)
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    running.wait_for(ongoing_times(4, client.pid))
    released_ns = time.monotonic_ns()
    server.ask("send", ANSWER)
    truth = client.expect("ask") | {"released_ns": released_ns}
    running.wait_for(ended(client.pid))
    running.wait_for_intervals(2)
    consumer = running.stop()
    net = {"direction": "receive", "cause": "no_reply"}
    assert_stall(consumer, client, identity, truth, backend, **net)
    assert consumer.waits_on(server.pid) == set()


def test_an_asyncio_client_waits_on_a_connection_that_answered_before(probe, worker, backend):
    """Its thread sits in epoll: that an answer came before is the evidence."""
    running = probe()
    server, client, identity = connected(worker, client_role="evented")
    answered(server, client)
    running.wait_for_intervals(2)
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    running.wait_for(ongoing_times(4, client.pid))
    released_ns = time.monotonic_ns()
    server.ask("send", ANSWER)
    truth = client.expect("ask") | {"released_ns": released_ns}
    running.wait_for(ended(client.pid))
    running.wait_for_intervals(2)
    consumer = running.stop()
    net = {"direction": "receive", "cause": "no_reply"}
    assert_stall(consumer, client, identity, truth, backend, **net)


@pytest.mark.parametrize("role", ["blocking", "evented"])
def test_back_to_back_requests_are_stalls_of_their_own(probe, worker, backend, role):
    """A client that asks again as soon as it is answered waits each time, from its asking."""
    running = probe()
    server, client, _ = connected(worker, client_role=role)
    answered(server, client)
    running.wait_for_intervals(2)
    earlier = len(running.consumer.stalls(pid=client.pid, ongoing=False))  # if that was late
    requests = 7
    for _ in range(requests):
        client.begin("ask", QUESTION, ANSWER)
    truths = []
    for number in range(requests):
        # A wait needs a sample later than the threshold, and before the reply.  The request lies
        # unread: on a busy host, /proc may not be read in time.
        running.wait_for(waits_after(earlier + number, client.pid))
        server.begin("recv", QUESTION)
        server.begin("send", ANSWER)
        answer = [server.expect(event) for event in ("recv", "send")][-1]
        truths.append(client.expect("ask") | {"released_ns": answer["stall_begin_ns"]})
    running.wait_for_intervals(2)
    consumer = running.stop()
    reported = consumer.stalls(pid=client.pid, ongoing=False)[earlier:]
    assert len(reported) == requests
    tolerance_ms = backend.late_ms(consumer)
    for record, truth in zip(reported, truths, strict=True):
        least_ms, most_ms = bounds_ms(truth)
        assert least_ms - tolerance_ms <= record.stall_ms <= most_ms + tolerance_ms


def waits_after(count, pid):
    """So many of its waits are over, and the next one shows."""

    def shown(consumer):
        records = consumer.stalls(pid=pid)
        return records and records[-1].ongoing and sum(not r.ongoing for r in records) == count

    return shown


@pytest.mark.parametrize("before", ["open", "closed"])
def test_an_asyncio_client_waits_on_an_endpoint_that_answered_before(
    probe,
    worker,
    backend,
    before,
):
    """A new connection to an address and port that answered on another one."""
    running = probe()
    server, client, first = connected(worker, client_role="evented")
    answered(server, client)
    running.wait_for_intervals(2)
    if before == "closed":
        client.ask("close")
    identity = client.connect("127.0.0.1", first["port"])
    server.ask("accept")
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    running.wait_for(ongoing_times(4, client.pid))
    released_ns = time.monotonic_ns()
    server.ask("send", ANSWER)
    truth = client.expect("ask") | {"released_ns": released_ns}
    running.wait_for(ended(client.pid))
    running.wait_for_intervals(2)
    consumer = running.stop()
    net = {"direction": "receive", "cause": "no_reply"}
    assert_stall(consumer, client, identity, truth, backend, **net)


def test_a_download_that_breaks_off_is_a_stall(probe, worker, backend):
    """A steady flow that stops while a thread still wants more, until it goes on."""
    running = probe()
    server, client, identity = connected(worker)
    client.begin("recv", DOWNLOAD)
    sent, last_ns = broken_off(running, server, client)
    released_ns = time.monotonic_ns()
    server.ask("send", DOWNLOAD - sent)
    truth = client.expect("recv") | {"released_ns": released_ns}
    # It begins with the arrival of the last part, before the call that waits for another.
    truth["begun_ns"] = truth["stall_begin_ns"]
    truth["stall_begin_ns"] = last_ns
    running.wait_for(ended(client.pid, epoch_ms(released_ns)))
    running.wait_for_intervals(2)
    consumer = running.stop()
    assert_stall(consumer, client, identity, truth, backend, others=True, direction="receive")
    assert consumer.waits_on(server.pid) == set()


def test_a_download_is_steady_though_its_reader_is_late_each_time(probe, worker):
    """On a busy host, or between two batches: what the queue holds then has come meanwhile."""
    running = probe()
    server, client, identity = connected(worker)
    client.begin("recv_late", DOWNLOAD, 2 * STALL_MS)
    sent, _ = broken_off(running, server, client)
    server.ask("send", DOWNLOAD - sent)
    client.expect("recv_late")
    running.wait_for(ended(client.pid))
    shown = running.stop().stalls(pid=client.pid)
    assert {r.entity_id for r in shown} == {f"socket-{identity['inode']}"}
    assert {r.net["direction"] for r in shown} == {"receive"}


def test_a_download_of_an_event_loop_breaks_off_where_its_server_does_something_else(
    probe, worker, backend
):
    """One whose server waits for the next request is complete."""
    running = probe()
    server, client, identity = connected(worker, client_role="evented")
    other, complete, _ = connected(worker, client_role="evented")
    complete.begin("recv", DOWNLOAD)
    other.ask("flow", *FLOW)
    other.begin("recv", 1)
    before = records_before(running, other, complete)
    client.begin("recv", DOWNLOAD)
    sent, _ = broken_off(running, server, client)
    server.ask("send", DOWNLOAD - sent)
    client.expect("recv")
    running.wait_for(ended(client.pid))
    consumer = running.stop()
    shown = consumer.stalls(pid=client.pid)
    assert {r.entity_id for r in shown} == {f"socket-{identity['inode']}"}
    assert {(r.net["direction"], r.net["cause"]) for r in shown} == {("receive", None)}
    assert count_of(consumer, complete) == before


def records_before(running, server, *clients):
    """Wait until the server waits for a request; how many records of stalls the clients have then.

    On a busy host it may have paused before, or have come late to its receive.
    """
    wait_until_in_call(server.pid, Role.RECEIVE)
    running.wait_for_intervals(3)
    running.wait_for(
        lambda c: not any(r.ongoing for one in clients for r in c.stalls(pid=one.pid)[-1:])
    )
    return count_of(running.consumer, *clients)


def count_of(consumer, *clients):
    return sum(len(consumer.stalls(pid=one.pid)) for one in clients)


@pytest.mark.parametrize("role", ["blocking", "evented"])
@pytest.mark.parametrize("breaks_off", [True, False])
def test_a_download_through_a_proxy_breaks_off_where_the_proxy_waits_itself(
    probe, worker, role, breaks_off
):
    """The event loop of the proxy is as idle as after a complete one."""
    running = probe()
    server, proxy, client = worker(), worker("links"), worker(role)
    proxy.ask("connect", "up", server.ask("listen")["port"])
    server.ask("accept")
    client.connect("127.0.0.1", proxy.ask("listen", "down")["port"])
    proxy.ask("accept", "down")
    proxy.begin("relay", "up", "down")
    client.begin("recv", DOWNLOAD)
    if not breaks_off:
        server.ask("flow", *FLOW)
        server.begin("recv", 1)
        before = records_before(running, server, client, proxy)
        running.wait_for_intervals(9)
        assert count_of(running.stop(), client, proxy) == before
        return
    sent, _ = broken_off(running, server, client)
    # On a busy host it may take a while to find out who they are.
    for one in (client, proxy):
        running.wait_for(lambda c, pid=one.pid: peers_of(c.stalls(pid=pid)))
    server.ask("send", DOWNLOAD - sent)
    client.expect("recv")
    running.wait_for(ended(client.pid))
    consumer = running.stop()
    assert peers_of(consumer.stalls(pid=client.pid)) == {proxy.pid}
    assert peers_of(consumer.stalls(pid=proxy.pid)) == {server.pid}


def test_a_stall_is_over_when_the_peer_hangs_up(probe, worker, backend):
    """No reply but the end of the connection: the wait is over, and is reported so."""
    running = probe()
    server, client, identity = connected(worker)
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    running.wait_for(ongoing_times(2, client.pid))
    released_ns = time.monotonic_ns()
    server.ask("close")
    truth = client.expect("ask") | {"released_ns": released_ns}
    assert truth["bytes"] == 0
    running.wait_for(ended(client.pid))
    running.wait_for_intervals(2)
    net = {"direction": "receive", "cause": "no_reply"}
    assert_stall(running.stop(), client, identity, truth, backend, **net)


@pytest.mark.parametrize("waits_for", ["an answer", "more of a download"])
def test_a_stall_is_over_with_its_process(probe, worker, waits_for):
    """A process killed while it waits leaves one last record, and no endless ones."""
    running = probe()
    server, client, identity = connected(worker)
    if waits_for == "an answer":
        client.begin("ask", QUESTION, ANSWER)
        server.ask("recv", QUESTION)
    else:
        client.begin("recv", DOWNLOAD)
        broken_off(running, server, client)
    running.wait_for(ongoing_times(2, client.pid))
    client.close()
    running.wait_for(lambda c: c.stalls(inode=identity["inode"], ongoing=False))
    running.wait_for_intervals(3)
    last = running.stop().stalls(inode=identity["inode"])[-1]
    assert (last.pid, last.ongoing) == (client.pid, False)


@pytest.mark.parametrize("role", ["blocking", "evented"])
def test_a_connect_waits_for_a_peer_that_does_not_answer(probe, worker, backend, netns, role):
    """SYNs into a black hole are a stall; it is over when one comes through."""
    running = probe()
    server, client = worker(), worker(role)
    port = server.ask("listen")["port"]
    netns.drop_incoming(f"tcp dport {port}")
    client.begin("connect", "127.0.0.1", port)
    identity = client.expect("connecting")
    running.wait_for(ongoing_times(3, client.pid))
    released_ns = time.monotonic_ns()
    netns.lose_nothing()
    truth = client.expect("connect") | {"released_ns": released_ns}
    running.wait_for(ended(client.pid))
    running.wait_for_intervals(2)
    net = {"direction": "connect", "cause": "connecting", "remote": f"127.0.0.1:{port}"}
    consumer = running.stop()
    assert_stall(consumer, client, {"inode": identity["inode"]}, truth, backend, **net)


def assert_seen_late(probe, server, client, identity, waiting, answer):
    """A probe that starts now reports the wait of the client, and its end once it is answered.

    Returns the lengths of the ongoing wait, in ms.
    """
    running = probe()
    running.wait_for(ongoing_times(2, client.pid))
    server.begin(*answer)
    client.expect(waiting)
    running.wait_for(ended(client.pid))
    consumer = running.stop()
    assert consumer.waits_on(client.pid) == {f"socket-{identity['inode']}"}
    return [record.stall_ms for record in consumer.stalls(pid=client.pid, ongoing=True)]


@pytest.mark.parametrize(("role", "send"), [("blocking", "send"), ("evented", "send_polled")])
def test_a_stall_that_began_before_the_probe_is_seen(probe, worker, backend, role, send):
    """Sockets that exist already have an owner, and show what they wait for now, and since when.

    To /proc/net, it begins with the probe.
    """
    server, client, identity = connected(worker, client_role=role)
    client.begin(send, MORE_THAN_BUFFERS)
    before = probe()
    before.wait_for(ongoing_times(5, client.pid))
    lasted_ms = before.stop().stalls(pid=client.pid, ongoing=True)[-1].stall_ms
    lengths = assert_seen_late(probe, server, client, identity, send, ("recv", MORE_THAN_BUFFERS))
    if backend.sees("tcp_bytes"):
        assert min(lengths) > lasted_ms


def test_a_request_from_before_the_probe_that_followed_an_answer_at_once_is_seen(probe, worker):
    """Where answer and next request fell into one tick, the later ACK shows who sent last."""
    server, client, identity = connected(worker)
    exchanges = 3
    for _ in range(exchanges):
        server.begin("recv", 7)
        server.begin("send", 11)
    server.begin("recv", 7)
    for _ in range(exchanges + 1):
        client.begin("ask", 7, 11)
    for _ in range(exchanges):
        client.expect("ask")
        server.expect("recv")
        server.expect("send")
    server.expect("recv")
    assert_seen_late(probe, server, client, identity, "ask", ("send", 11))


@pytest.mark.parametrize("how", ["timeout", "select"])
def test_a_request_from_before_the_probe_is_seen_where_its_socket_is_polled_alone(
    probe, worker, how
):
    """As in a receive: so wait a socket of Python with a timeout, and libpq."""
    server, client, identity = connected(worker)
    answered(server, client)
    client.begin("ask_polling", QUESTION, ANSWER, how)
    server.ask("recv", QUESTION)
    assert_seen_late(probe, server, client, identity, "ask_polling", ("send", ANSWER))


def test_a_server_that_polls_its_connection_alone_waits_for_work(probe, worker):
    """So does a client that has had its answer."""
    server, client, _ = connected(worker)
    client.begin("ask_polling", QUESTION, ANSWER, "timeout")
    server.ask("recv", QUESTION)
    server.ask("send", ANSWER)
    client.expect("ask_polling")
    server.begin("ask_polling", 0, QUESTION, "select")
    client.begin("ask_polling", 0, ANSWER, "timeout")
    running = probe()
    running.wait_for_intervals(15)
    consumer = running.stop()
    assert consumer.stalls(pid=server.pid) + consumer.stalls(pid=client.pid) == []


HOG = """
import os, time
os.nice(-20)
while time.monotonic() < {until}:
    pass
"""


@contextmanager
def starved(pid):
    """Meanwhile a process that becomes runnable does not run."""
    cpus = os.sched_getaffinity(pid)
    os.sched_setaffinity(pid, {max(cpus)})
    os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
    words = ["taskset", "-c", str(max(cpus)), PYTHON, "-c", HOG.format(until=time.monotonic() + 30)]
    with subprocess.Popen(words) as hog:
        try:
            yield
        finally:
            hog.kill()
            os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
            os.sched_setaffinity(pid, cpus)


def test_a_sender_that_had_room_for_a_moment_is_over_once(probe, worker):
    """It was woken, and sampled before it ran; then its buffer was full again, in the same call.

    Its end did not come: the wait counted as one of a moment.
    """
    stall_ms = 3_000
    running = probe("--stall-ms", stall_ms)
    server, client, identity = connected(worker)
    client.begin("send", MORE_THAN_BUFFERS, MORE_THAN_BUFFERS)
    wait_until_in_call(client.pid, Role.SEND)
    running.wait_for_intervals(1)
    with starved(client.pid):
        assert server.ask("recv", 4_000_037)["bytes"] == 4_000_037
        running.wait_for_intervals(2)
    running.wait_for(ongoing_times(2, client.pid))
    server.ask("recv", MORE_THAN_BUFFERS - 4_000_037)
    client.expect("send")
    running.wait_for(ended(client.pid))
    *ongoing, last = running.stop().stalls(inode=identity["inode"])
    assert ([r.ongoing for r in ongoing], last.ongoing) == ([True] * len(ongoing), False)
    assert {(r.pid, r.net["direction"]) for r in (*ongoing, last)} == {(client.pid, "send")}
    assert last.stall_ms >= ongoing[-1].stall_ms >= stall_ms


def test_a_stall_shorter_than_the_threshold_is_silent(probe, worker):
    """Only --stall-ms and more is a stall: with ten seconds, one of a second is none."""
    running = probe("--stall-ms", 10_000)
    server, client, _ = connected(worker)
    client.begin("send", MORE_THAN_BUFFERS)
    wait_until_in_call(client.pid, Role.SEND)
    running.wait_for_intervals(5)
    server.begin("recv", MORE_THAN_BUFFERS)
    assert client.expect("send")["stall_ms"] > STALL_MS
    running.wait_for_intervals(2)
    assert running.stop().stalls(pid=client.pid) == []


def test_a_stall_of_another_user_has_no_pid(probe, worker, backend):
    """Without privileges a foreign process is null, with its uid for a person to read."""
    if backend.user == "root":
        pytest.skip("root sees everybody's processes")
    running = probe()
    server, client = worker(user="root"), worker(user="root")
    port = server.ask("listen")["port"]
    identity = client.connect("127.0.0.1", port)
    server.ask("accept")
    client.begin("send", MORE_THAN_BUFFERS)
    running.wait_for(lambda c: len(c.stalls(inode=identity["inode"], ongoing=True)) >= 2)
    consumer = running.stop()
    stalls = consumer.stalls(inode=identity["inode"])
    assert {(r.pid, r.net["uid"]) for r in stalls} == {(None, 0)}
    assert consumer.graph.waits == set()


def test_only_the_chosen_process_is_reported_of(probe, worker):
    """--pid narrows the stalls to one process, though another waits as well."""
    server, client, _ = connected(worker)
    other_server, other, _ = connected(worker)
    running = probe("--pid", client.pid)
    for stalled in (other, client):
        stalled.begin("send", MORE_THAN_BUFFERS)
    running.wait_for(ongoing_times(3, client.pid))
    assert {r.pid for r in running.stop().stalls()} == {client.pid}
    del server, other_server
