"""Waits on this host: of other users, in other namespaces, between two samples, by TLS."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from support.conversation import ANSWER, QUESTION, connect, unanswered
from support.require import require_tools
from support.truth import bounds_ms
from support.waiting import stalls_once_shown

MORE_THAN_BUFFERS = 20_000_003
LATE_MS = 100  # what the machine's other work may add
LATE_TICKETS_MS = 80  # after the request, also where the client is slow to send it; and no stall


def answer_late(server, client, late_ms):
    """A request that is read at once and answered after a while."""
    unanswered(server, client)
    server.ask("nap", late_ms)
    server.ask("send", ANSWER)
    client.expect("ask")


def test_processes_of_other_users(probe, worker, agrees, backend):
    running = probe()
    server, client = worker(user="root"), worker(user="root")
    connect(server, client)
    client.begin("send", MORE_THAN_BUFFERS)
    shown = backend.sees("foreign_owner")
    agrees("foreign_owner", stalls_once_shown(running, client.pid, shown))


def test_waits_for_a_peer_of_another_user_that_has_read_the_request(probe, worker, agrees, backend):
    """It may be back in its event loop, for what one sees; unread, the request shows the wait."""
    running = probe()
    server, client = worker(user="root"), worker()
    connect(server, client)
    unanswered(server, client)
    shown = backend.sees("replies") and backend.sees("hidden_peer")
    reported = stalls_once_shown(running, client.pid, shown)
    if backend.sees("replies"):
        agrees("hidden_peer", reported)
        before = len(reported)
        server.ask("send", ANSWER)
        client.expect("ask")
        client.begin("ask", QUESTION, ANSWER)
        running.wait_for(lambda c: len(c.stalls(pid=client.pid, ongoing=True)) > before)


def test_other_network_namespaces(probe, worker, make_netns, agrees, backend):
    running = probe()
    elsewhere = make_netns()
    server, client = worker(namespace=elsewhere), worker(namespace=elsewhere)
    connect(server, client)
    client.begin("send", MORE_THAN_BUFFERS)
    shown = backend.sees("other_namespaces")
    agrees("other_namespaces", stalls_once_shown(running, client.pid, shown))


def test_waits_for_a_reply(probe, worker, agrees, backend):
    running = probe()
    server, client = worker(), worker()
    connect(server, client)
    unanswered(server, client)
    agrees("replies", stalls_once_shown(running, client.pid, backend.sees("replies")))


def test_waits_that_no_sample_has_seen(probe, worker, agrees, backend):
    """Hardly longer than the threshold, and the peer listens before any sample finds it."""
    if not backend.sees("replies"):
        pytest.skip("no waits for a reply at all, which is declared and tested")
    server, client = worker(), worker()
    connect(server, client)
    running = probe()
    waits = 11
    for _ in range(waits):
        unanswered(server, client)
        server.begin("answer_after", 105, ANSWER, QUESTION)
        client.expect("ask")
        client.ask("nap", 300)
        client.ask("send", QUESTION)
        server.expect("answer_after")
    running.wait_for_intervals(2)
    agrees("brief_wait", len(running.stop().stalls(pid=client.pid, ongoing=False)) == waits)


def test_what_falls_between_two_samples(probe, worker, agrees, backend):
    """Thousands of sockets make samples so dear that they are rare: short waits slip through, and
    where only a sample shows it, a wait begins with it.
    """
    holder, server, client = worker(), worker(), worker()
    holder.ask("hold", 2_000)
    connect(server, client)
    running = probe(interval=2.0)
    if backend.sees("replies"):
        # On a busy host some are over before their peer could be read: brief_wait.
        enough, most = 6, 47 if backend.sees("brief_stall") else 11
        reported = []
        for count in range(most):
            answer_late(server, client, 150)
            # Where it listened at once, it might have been an expected wait: see above.
            server.ask("nap", 300)
            if count % enough == enough - 1:
                running.wait_for_intervals(2)
                reported = running.consumer.stalls(pid=client.pid, ongoing=False)
                if len(reported) >= enough:
                    break
        agrees("brief_stall", len(reported) >= enough)
    pairs = [(worker(), worker()) for _ in range(6)]
    for receiver, sender in pairs:
        connect(receiver, sender)
    for _, sender in pairs:
        sender.begin("send", MORE_THAN_BUFFERS)
        time.sleep(0.17)  # each begins at another distance from a sample
    for _, sender in pairs:
        running.wait_for(lambda c, pid=sender.pid: c.stalls(pid=pid, ongoing=True))
    off_ms = []
    for receiver, sender in pairs:
        released_ns = time.monotonic_ns()
        receiver.begin("recv", MORE_THAN_BUFFERS)
        least_ms, most_ms = bounds_ms(sender.expect("send") | {"released_ns": released_ns})
        running.wait_for(lambda c, pid=sender.pid: c.stalls(pid=pid, ongoing=False))
        found_ms = running.consumer.stalls(pid=sender.pid, ongoing=False)[0].stall_ms
        off_ms.append(max(least_ms - found_ms, found_ms - most_ms))
    running.stop()
    agrees("exact_times", max(off_ms) < LATE_MS)


@pytest.fixture
def certificate():
    """One file that any user may read."""
    require_tools("openssl")
    words = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -days 2"
    with tempfile.TemporaryDirectory(prefix="xctl-tls-") as folder:
        path = Path(folder, "server.pem")
        command = ["openssl", "req", *words.split(), "-keyout", str(path), "-out", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        for one in (path, path.parent):
            one.chmod(0o755)
        yield path


@pytest.mark.parametrize(("tickets", "in_epoll"), [(2, True), (1, False), (1, True)])
def test_the_first_request_of_a_new_connection_of_tls(
    probe, worker, agrees, backend, certificate, tickets, in_epoll
):
    """The tickets come after it; the second request has a reply to wait for."""
    if not backend.sees("replies"):
        pytest.skip("no waits for a reply at all, which is declared and tested")
    knows_some = backend.sees("session_tickets")
    undecided = tickets == 1 and in_epoll
    running = probe()
    for _ in range(3):  # a busy client is so slow at times that the tickets come before its request
        server, client = worker(), worker()
        connect(server, client)
        client.begin("ask_by_tls", QUESTION, ANSWER, int(in_epoll))
        server.ask("recv_by_tls", certificate, QUESTION, LATE_TICKETS_MS, tickets)
        running.wait_for_intervals(2)
        during_handshake = len(running.consumer.stalls(pid=client.pid))
        if knows_some and not undecided:
            running.wait_for(
                lambda c, pid=client.pid, before=during_handshake: c.stalls(pid=pid)[before:]
            )
        else:
            running.wait_for_intervals(7)
        shown = running.consumer.stalls(pid=client.pid)[during_handshake:]
        if bool(shown) == (knows_some and not undecided):
            break
    if knows_some and undecided:
        agrees("other_tickets", shown)
    else:
        agrees("session_tickets", shown)
    server.ask("send", ANSWER)
    client.expect("ask_by_tls")
    running.wait_for_intervals(2)  # else a sample may take both requests for one
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    before = during_handshake + len(shown)
    running.wait_for(lambda c: [s for s in c.stalls(pid=client.pid)[before:] if s.ongoing])
