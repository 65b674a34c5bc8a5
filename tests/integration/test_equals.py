"""Peers that are equals, as the ranks of a job are: the side that accepted waits as well."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.consumer_model import peers_of
from support.conversation import connected
from support.truth import bounds_ms
from support.waiting import wait_until_known

PIECE = 31  # bytes
ANNOUNCED, DATA = 48, 60_013
SILENCE_MS = 40
# Longer than a stall, so that what was sent before it got no reply; on a busy host still twice as
# long as a peer takes that answers at once.
LONG_SILENCE_S = 0.25
# Of a step: less than a stall, and of one side in sum a good part of a second, so that two delays
# of a busy host (which count as one second each) do not make the other side a server.
STEP_MS = 80
ROUNDS = 6
SLOW_MS = 100  # of an answer: half of the long silence, and a bit less
TRIES = 5


@pytest.fixture
def backend(every_backend):
    return every_backend


@pytest.fixture
def probe(every_probe):
    return every_probe


def sends(sender, receiver, times=1, silence_ms=SILENCE_MS):
    """So many sends after a silence each, which the other side has read."""
    for _ in range(times):
        time.sleep(silence_ms / 1e3)
        receiver.begin("recv", PIECE)
        sender.ask("send", PIECE)
        receiver.expect("recv")


def steps(one, other, rounds=ROUNDS):
    """Both sides end silences, also those after their own sends."""
    for _ in range(rounds):
        sends(one, other, 2, STEP_MS)
        sends(other, one, 2, STEP_MS)


def waits_on(server):
    """What the process of the accepting side is reported of: its waits to receive."""
    return lambda consumer: [
        r for r in consumer.stalls(pid=server.pid) if r.net["direction"] == "receive"
    ]


def waits_until_now(running, server):
    """How many were reported: on a busy host a step may be longer than a stall."""
    running.wait_for_intervals(2)
    return len(waits_on(server)(running.consumer))


def waits_while_stopped(running, server, client):
    """What is reported of the server after a message that its stopped client does not read."""
    before = waits_until_now(running, server)
    os.kill(client.pid, signal.SIGSTOP)
    server.ask("send", PIECE)
    server.begin("recv", PIECE)
    running.wait_for_intervals(8)
    os.kill(client.pid, signal.SIGCONT)
    return waits_on(server)(running.stop())[before:]


@pytest.mark.parametrize("role", ["blocking", "evented"])
def test_who_accepted_waits_for_an_equal_that_is_stopped(probe, worker, backend, role):
    running = probe()
    server, client, _ = connected(worker, server_role=role)
    steps(server, client)
    os.kill(client.pid, signal.SIGSTOP)
    server.begin("ask", PIECE, PIECE)
    if not backend.sees("accepted_waits"):
        running.wait_for_intervals(8)
        assert not waits_on(server)(running.consumer)
        os.kill(client.pid, signal.SIGCONT)
        return
    wait_until_known(running, server)
    released_ns = time.monotonic_ns()
    os.kill(client.pid, signal.SIGCONT)
    client.begin("send", PIECE)
    client.expect("send")
    truth = server.expect("ask") | {"released_ns": released_ns}
    running.wait_for(lambda consumer: consumer.stalls(pid=server.pid, ongoing=False))
    running.wait_for_intervals(2)

    *ongoing, last = waits_on(server)(running.stop())
    assert [r.ongoing for r in ongoing] == [True] * len(ongoing)
    assert not last.ongoing
    assert {r.net["cause"] for r in (*ongoing, last)} == {"no_reply"}
    assert peers_of((*ongoing, last)) == {client.pid}
    least_ms, most_ms = bounds_ms(truth)
    tolerance_ms = backend.tolerance_ms(0.2)
    assert least_ms - tolerance_ms <= last.stall_ms <= most_ms + tolerance_ms


def test_a_few_silences_in_a_row_make_no_equals(probe, worker):
    """By chance, a server and its client have them in their first calls."""
    running = probe()
    server, client, _ = connected(worker)
    steps(server, client, rounds=2)
    assert not waits_while_stopped(running, server, client)


def test_an_equal_that_has_read_all_and_is_silent_is_no_stall(probe, worker):
    """Between two steps of a job either side may have sent last."""
    running = probe()
    server, client, _ = connected(worker)
    steps(server, client)
    sends(server, client)
    before = waits_until_now(running, server)
    server.begin("recv", PIECE)
    running.wait_for_intervals(8)
    client.ask("send", PIECE)
    server.expect("recv")
    running.wait_for_intervals(2)
    assert not waits_on(server)(running.stop())[before:]


def test_a_server_does_not_wait_for_a_client_that_is_stopped(probe, worker):
    """It has replied, and each request came after a silence: its reply is no question."""
    running = probe()
    server, client, _ = connected(worker)
    for _ in range(ROUNDS):
        sends(client, server)
        sends(server, client)
    sends(client, server)
    assert not waits_while_stopped(running, server, client)


def test_a_server_does_not_wait_for_a_client_that_now_and_then_sends_twice(probe, worker):
    """As a client of gRPC, which updates its window; regular slow replies balance the silences."""
    running = probe()
    server, client, _ = connected(worker)
    for _ in range(4):
        sends(client, server)
        for _ in range(20):
            sends(client, server)
            sends(server, client)
    assert not waits_while_stopped(running, server, client)


def test_a_publisher_does_not_wait_for_a_subscriber_that_is_stopped(probe, worker):
    running = probe()
    server, client, _ = connected(worker, server_role="evented")
    sends(client, server)
    sends(server, client, 2 * ROUNDS)
    assert not waits_while_stopped(running, server, client)


def test_who_accepted_waits_for_an_equal_that_has_read_all(probe, worker, backend):
    """Whether an answer is due only the two programs know."""
    running = probe()
    server, client, _ = connected(worker)
    steps(server, client)
    before = waits_until_now(running, server)
    client.begin("recv", PIECE)
    server.begin("ask", PIECE, PIECE)
    client.expect("recv")
    running.wait_for_intervals(8)
    client.ask("send", PIECE)
    server.expect("ask")
    running.wait_for_intervals(2)
    shown = waits_on(server)(running.stop())[before:]
    assert bool(shown) == (backend.sees("accepted_waits") and backend.sees("accepted_reply"))


def confirmed(server, client, size, confirms=True):
    """A request and its reply, which the client confirms at once; then it thinks."""
    time.sleep(STEP_MS / 1e3)
    for command in (("recv", PIECE), ("nap", SILENCE_MS), ("send", size), ("recv", PIECE)):
        server.begin(*command)
    client.begin("ask", PIECE, size)
    if confirms:
        client.begin("send", PIECE)
        client.expect("ask")
        client.expect("send")
        for event in ("recv", "nap", "send", "recv"):
            server.expect(event)


def test_a_server_does_not_wait_for_the_confirmation_of_a_small_reply(probe, worker):
    """As the scheduler of Dask: small replies are announcements only where data follow them."""
    running = probe()
    server, client, _ = connected(worker)
    for number in range(54):
        confirmed(server, client, DATA if number % 6 == 5 else ANNOUNCED)
    before = waits_until_now(running, server)
    confirmed(server, client, ANNOUNCED, confirms=False)
    client.expect("ask")
    running.wait_for_intervals(8)
    assert not waits_on(server)(running.stop())[before:]


def exchanges(one, other, times):
    """So many announcements after a silence each, answered at once, and then data.

    How long the slowest answer took.
    """
    slowest_ms = 0
    for _ in range(times):
        time.sleep(LONG_SILENCE_S)
        other.begin("recv", ANNOUNCED)
        other.begin("send", ANNOUNCED)
        other.begin("recv", DATA)
        slowest_ms = max(slowest_ms, one.ask("ask", ANNOUNCED, ANNOUNCED)["stall_ms"])
        one.ask("send", DATA)
        for event in ("recv", "send", "recv"):
            other.expect(event)
    return slowest_ms


def data_from_both(server, client):
    return max(exchanges(server, client, 2), exchanges(client, server, 2))


def data_from_one(server, client):
    """The server asks for data, before or after the client has announced them."""
    took_ms = []
    for _ in range(2):
        time.sleep(LONG_SILENCE_S)
        client.begin("recv", ANNOUNCED)
        client.begin("send", DATA)
        took_ms.append(server.ask("ask", ANNOUNCED, DATA)["stall_ms"])
        for event in ("recv", "send"):
            client.expect(event)
    for _ in range(2):
        time.sleep(LONG_SILENCE_S)
        server.begin("recv", ANNOUNCED)
        server.begin("ask", ANNOUNCED, DATA)
        client.begin("ask", ANNOUNCED, ANNOUNCED)
        client.begin("send", DATA)
        took_ms.append(client.expect("ask")["stall_ms"])
        client.expect("send")
        server.expect("recv")
        took_ms.append(server.expect("ask")["stall_ms"])
    return max(took_ms)


@pytest.mark.parametrize("role", ["blocking", "evented"])
@pytest.mark.parametrize("exchange", [data_from_both, data_from_one])
def test_who_has_announced_itself_waits_for_an_equal_that_does_not_answer(
    probe, worker, backend, role, exchange
):
    """As a rank of gloo does.  The peer has read the announcement; its silence after data is none.

    Either side begins an exchange, and the one that has accepted the connection waits.
    """
    running = probe()
    for _ in range(TRIES):
        server, client, _ = connected(worker, server_role=role)
        # Who has answered an announcement late may do so again.
        if max(exchange(server, client) for _ in range(ROUNDS)) < SLOW_MS:
            break
    running.wait_for_intervals(2)
    # On a busy host it may have waited during the exchanges.
    before = len(waits_on(server)(running.consumer))
    running.wait_for_intervals(8)
    assert len(waits_on(server)(running.consumer)) == before
    client.begin("recv", ANNOUNCED)
    server.begin("ask", ANNOUNCED, ANNOUNCED)
    client.expect("recv")
    if not backend.sees("accepted_waits"):
        running.wait_for_intervals(8)
        assert len(waits_on(server)(running.consumer)) == before
        return
    wait_until_known(running, server)
    released_ns = time.monotonic_ns()
    client.ask("send", ANNOUNCED)
    truth = server.expect("ask") | {"released_ns": released_ns}
    running.wait_for(
        lambda consumer: [r for r in waits_on(server)(consumer)[before:] if not r.ongoing]
    )
    *ongoing, last = waits_on(server)(running.stop())[before:]
    assert [r.ongoing for r in (*ongoing, last)] == [True] * len(ongoing) + [False]
    assert peers_of((*ongoing, last)) == {client.pid}
    least_ms, most_ms = bounds_ms(truth)
    tolerance_ms = backend.tolerance_ms(0.2)
    assert least_ms - tolerance_ms <= last.stall_ms <= most_ms + tolerance_ms


def test_who_accepted_and_asks_for_work_is_idle_while_there_is_none(probe, worker):
    """A worker that asks after each job, and always got the next one at once: it is no equal."""
    running = probe()
    server, client, _ = connected(worker)
    for _ in range(2 * ROUNDS):
        time.sleep(LONG_SILENCE_S)
        client.begin("recv", ANNOUNCED)
        client.begin("send", DATA)
        server.ask("ask", ANNOUNCED, DATA)
        for event in ("recv", "send"):
            client.expect(event)
    before = waits_until_now(running, server)
    client.begin("recv", ANNOUNCED)
    server.begin("ask", ANNOUNCED, DATA)
    client.expect("recv")
    running.wait_for_intervals(8)
    client.ask("send", DATA)
    server.expect("ask")
    assert not waits_on(server)(running.stop())[before:]


def passes(sender, to, receiver, of, count):
    """So many bytes that the receiver has; `to` and `of` are the names that each has for it."""
    receiver.begin("take", of, count)
    sender.ask("send", to, count)
    receiver.expect("take")


def test_who_sent_data_to_an_equal_that_keeps_another_waiting_waits_as_well(probe, worker, backend):
    """The last of a ring of ranks: it has sent its data, and announces itself to none.

    Its equal has read all, and does not answer the announcement of the third one.
    """
    running = probe()
    last, late, other = (worker("links", comm=name) for name in (b"last", b"late", b"other"))
    for one, name in ((last, "last"), (other, "other")):
        port = one.ask("listen", "late")["port"]
        late.ask("connect", name, port)
        one.ask("accept", "late")
    ways = (last, "late", late, "last"), (late, "last", last, "late")
    turns = 2 * [(other, "late", late, "other")] + 2 * [(late, "other", other, "late")]
    for _ in range(5):
        for one, to, peer, of in turns:
            time.sleep(LONG_SILENCE_S)
            peer.begin("answer", of, ANNOUNCED)
            one.ask("ask", to, ANNOUNCED)
            peer.expect("answer")
            passes(one, to, peer, of, DATA)
        for way in ways:
            time.sleep(LONG_SILENCE_S)
            passes(*way, DATA)
            time.sleep(LONG_SILENCE_S)
            passes(*way, DATA)
    before = waits_until_now(running, last)
    began_ms = time.time_ns() // 1_000_000
    passes(last, "late", late, "last", DATA)
    last.begin("take", "late", PIECE)
    late.begin("take", "other", ANNOUNCED)
    other.begin("ask", "late", ANNOUNCED)
    late.expect("take")
    if not backend.sees("accepted_waits"):
        running.wait_for_intervals(8)
        assert not waits_on(last)(running.consumer)[before:]
        return
    for one in (other, last):
        wait_until_known(running, one)
    late.ask("send", "last", PIECE)
    last.expect("take")
    running.wait_for(lambda c: [r for r in waits_on(last)(c)[before:] if not r.ongoing])
    assert peers_of(waits_on(last)(running.consumer)[before:]) == {late.pid}
    late.ask("send", "other", ANNOUNCED)
    other.expect("ask")
    # Before, its own wait may have been longer than a stall, and over before its process was read.
    assert not [r for r in waits_on(late)(running.stop()) if r.ts > began_ms]
