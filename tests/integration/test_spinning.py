"""Receives that do not block and are made again and again, as NCCL does while one is posted."""

from __future__ import annotations

import time

import pytest
from support.consumer_model import peers_of
from support.conversation import ANSWER, QUESTION, answered, connected, transfer
from support.truth import bounds_ms
from support.waiting import wait_until_known

PIECE = 1_009  # bytes
GIVES_UP_MS = 2_500


@pytest.fixture
def backend(every_backend):
    return every_backend


@pytest.fixture
def probe(every_probe):
    return every_probe


@pytest.fixture
def one_way(worker):
    """A sender that has connected, and a receiver that has got something from it."""
    receiver, sender, _ = connected(worker)
    transfer(sender, receiver, PIECE)
    return receiver, sender


def reported(running, receiver):
    return running.consumer.stalls(pid=receiver.pid)


def test_who_spins_waits_from_the_first_receive_until_data_comes(probe, backend, one_way):
    receiver, sender = one_way
    running = probe()
    running.wait_for_intervals(8)
    assert not reported(running, receiver)  # no receive is posted
    receiver.begin("spin", PIECE)
    if not backend.sees("spinning_receives"):
        running.wait_for_intervals(8)
        assert not reported(running, receiver)
        return
    wait_until_known(running, receiver)
    released_ns = time.monotonic_ns()
    sender.ask("send", PIECE)
    truth = receiver.expect("spin") | {"released_ns": released_ns}
    assert truth["bytes"] == PIECE
    running.wait_for(lambda c: c.stalls(pid=receiver.pid, ongoing=False))
    running.wait_for_intervals(8)

    *ongoing, last = reported(running, receiver)
    assert [r.ongoing for r in ongoing] == [True] * len(ongoing)
    assert not last.ongoing
    assert {r.net["direction"] for r in (*ongoing, last)} == {"receive"}
    assert {r.net["cause"] for r in (*ongoing, last)} == {None}
    assert peers_of((*ongoing, last)) == {sender.pid}
    least_ms, most_ms = bounds_ms(truth)
    tolerance_ms = backend.tolerance_ms(0.2)
    assert least_ms - tolerance_ms <= last.stall_ms <= most_ms + tolerance_ms


def test_a_client_that_spins_waits_for_its_reply(probe, worker, backend):
    """Its CPU is busy, but with nothing else; on a first request, which no history explains."""
    running = probe()
    server, client, _ = connected(worker)
    server.begin("recv", PIECE)
    client.ask("send", PIECE)
    server.expect("recv")
    client.begin("spin", PIECE)
    if not backend.sees("spinning_receives"):
        running.wait_for_intervals(8)
        assert not reported(running, client)
        return
    wait_until_known(running, client)
    server.ask("send", PIECE)
    client.expect("spin")
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=False))
    shown = reported(running, client)
    assert {r.net["cause"] for r in shown} == {"no_reply"}
    assert peers_of(shown) == {server.pid}


def test_a_client_that_polls_without_sleeping_waits_for_a_peer_that_reads_nothing(
    probe, worker, backend
):
    """As a rank of MPI, at full CPU: what the peer shows, and its time in system calls."""
    running = probe()
    server, client, _ = connected(worker)
    answered(server, client)
    if not backend.sees("replies"):
        return
    running.wait_for_intervals(2)
    client.begin("ask_busily", QUESTION, ANSWER)
    wait_until_known(running, client)
    released_ns = time.monotonic_ns()
    server.ask("recv", QUESTION)
    server.ask("send", ANSWER)
    truth = client.expect("ask_busily") | {"released_ns": released_ns}
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=False))
    *ongoing, last = reported(running, client)
    assert all(r.ongoing for r in ongoing)
    assert peers_of((*ongoing, last)) == {server.pid}
    least_ms, most_ms = bounds_ms(truth)
    tolerance_ms = backend.tolerance_ms(0.2)
    assert least_ms - tolerance_ms <= last.stall_ms <= most_ms + tolerance_ms


def test_a_receive_that_is_given_up_is_over(probe, backend, one_way):
    receiver, _ = one_way
    running = probe()
    truth = receiver.ask("spin", PIECE, 0, GIVES_UP_MS)
    over_ms = (truth["stall_end_ns"] + time.time_ns() - time.monotonic_ns()) / 1e6
    running.wait_for_intervals(8)
    shown = reported(running, receiver)
    if not backend.sees("spinning_receives"):
        assert not shown
        return
    *ongoing, last = shown
    assert ongoing
    assert [r.ongoing for r in shown] == [True] * len(ongoing) + [False]
    # Its end makes no event, so it lasted until the last sample of it: the one of the last output
    # but one before the end was taken before the next, however late they are.
    beats = sorted({r.ts for r in running.consumer.interface_bandwidth() if r.ts <= over_ms})
    least_ms = beats[-2] - over_ms + truth["stall_ms"]
    assert least_ms - backend.stall_tolerance_ms <= last.stall_ms
    assert last.stall_ms <= truth["stall_ms"] + 200 + backend.stall_tolerance_ms


def test_who_spins_on_a_connection_waited_until_its_close(probe, backend, one_way):
    receiver, sender = one_way
    running = probe()
    receiver.begin("spin", PIECE, 0, GIVES_UP_MS)
    if backend.sees("spinning_receives"):
        running.wait_for(lambda c: len(c.stalls(pid=receiver.pid, ongoing=True)) >= 2)
    sender.ask("close")
    running.wait_for_intervals(8)
    shown = reported(running, receiver)
    assert [r.ongoing for r in shown if not r.ongoing] == [False] * bool(shown)


def test_a_timer_that_polls_a_socket_does_not_wait(probe, one_way):
    receiver, _ = one_way
    running = probe()
    receiver.begin("spin", PIECE, 10)
    running.wait_for_intervals(10)
    assert not reported(running, receiver)


def test_a_server_that_polls_its_connections_waits_for_work(probe, worker):
    """It has replied on this one."""
    server, client, _ = connected(worker)
    answered(server, client)
    running = probe()
    server.begin("spin", PIECE)
    running.wait_for_intervals(10)
    assert not reported(running, server)


def test_a_server_open_before_the_probe_that_has_not_sent_yet_may_spin(probe, worker):
    """Without a byte from the client nothing shows that a receive is posted."""
    server, _, _ = connected(worker)
    running = probe()
    server.begin("spin", PIECE)
    running.wait_for_intervals(10)
    assert not reported(running, server)
