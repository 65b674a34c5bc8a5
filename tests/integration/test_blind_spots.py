"""Each declared blind spot is one, and nothing else is: traffic that shows it, on every source.

Whatever a source sees here it must not declare, and the reverse; the blind spots of bytes
of one connection are in test_paths.py.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from support.conversation import ANSWER, QUESTION, connect, transfer, unanswered
from support.require import require_tools
from support.truth import bounds_ms

BYTES = 1_000_003
MORE_THAN_BUFFERS = 20_000_003
SERVICE, OWN = "10.23.41.2", "10.23.43.2"
MOST_TRIES = 16  # of two paths, all choose the same one once in 65,536 times
LATE_MS = 100  # what the machine's other work may add
LATE_TICKETS_MS = 80  # after the request, also where the client is slow to send it; and no stall


@pytest.fixture
def backend(every_backend):
    return every_backend


@pytest.fixture
def probe(every_probe):
    return every_probe


@pytest.fixture
def agrees(backend):
    """Whether something showed is what the table declares of this source."""

    def check(key, shown):
        assert bool(shown) == backend.sees(key), f"{key}: declared is the opposite of what is"

    return check


def stalls_once_shown(running, pid, shown, intervals=5):
    """Stalls of a process: where one has to show, however late, and else after a while."""
    if shown:
        running.wait_for(lambda c: c.stalls(pid=pid))
    else:
        running.wait_for_intervals(intervals)
    return running.consumer.stalls(pid=pid)


def answer_late(server, client, late_ms):
    """A request that is read at once and answered after a while."""
    unanswered(server, client)
    server.ask("nap", late_ms)
    server.ask("send", ANSWER)
    client.expect("ask")


def test_a_short_job(probe, worker, agrees):
    """It moves its bytes and exits between two outputs; on a slow host it is tried again."""
    running = probe("--min-bw", 0, interval=5)
    for _ in range(20):
        server = worker()
        client = worker(env={"SLURM_JOB_ID": "4711"})
        running.wait_for_intervals(1)
        before = len(running.consumer.interface_bandwidth("lo"))
        connect(server, client)
        transfer(client, server, BYTES)
        client.close()
        if len(running.consumer.interface_bandwidth("lo")) == before:
            break
    running.wait_for_intervals(2)
    pid = client.pid
    agrees("brief_job", [r for r in running.stop().records if r.pid == pid and r.job_id])


def test_other_protocols(probe, worker, agrees):
    """Pings are no process's bytes; their interface carried them."""
    running = probe("--min-bw", 0)
    pinging = worker(user="root")
    size, times = 1_009, 23
    sent = pinging.ask("ping", size, times)["bytes"]
    running.wait_for_intervals(3)
    consumer = running.stop()
    agrees("other_protocols", consumer.process_bandwidth(pinging.pid))
    assert sum(r.net["tx_bytes"] for r in consumer.interface_bandwidth("lo")) > sent


def test_which_udp_socket(probe, worker, agrees, backend):
    """Two sockets of one process are one sum."""
    running = probe("--min-bw", 0)
    receiver, sender = worker(), worker()
    port = receiver.ask("bind")["port"]
    for _ in range(2):
        receiver.begin("recv_from", 7)
        sender.ask("send_to", "127.0.0.1", port, 101, 7)
        receiver.expect("recv_from")
        sender.ask("close")
    running.wait_for_intervals(3)
    reported = running.stop().process_bandwidth(sender.pid)
    assert sum(r.net["tx_bytes"] for r in reported) == (1_414 if backend.sees("udp_bytes") else 0)
    agrees("udp_socket", [r for r in reported if {"local", "inode"} & r.net.keys()])


def test_the_interface_of_unconnected_udp(probe, worker, agrees, backend):
    """Its route is looked up for each datagram and kept nowhere."""
    if not backend.sees("udp_bytes"):
        pytest.skip("no UDP bytes at all, which is declared and tested")
    running = probe("--min-bw", 0)
    receiver, sender = worker(), worker()
    port = receiver.ask("bind")["port"]
    sender.ask("send_to", "127.0.0.1", port, 1_009, 23)
    running.wait_for_intervals(3)
    (reported,) = {r.entity_id for r in running.stop().process_bandwidth(sender.pid)}
    assert reported in {"lo", "unknown"}
    agrees("udp_interface", reported == "lo")


@pytest.mark.parametrize("way", ["alone", "epoll", "others"])
def test_waits_for_a_datagram(probe, worker, agrees, backend, way):
    """A query of an unconnected UDP socket that was never answered before."""
    running = probe()
    server, client = worker(), worker()
    port = server.ask("bind")["port"]
    client.begin("query", "127.0.0.1", port, QUESTION, way)
    inode = client.expect("asked")["inode"]
    running.wait_for_intervals(9)  # 1.8 s: such a wait is reported after one
    reported = running.stop().stalls(pid=client.pid)
    if way == "alone" or not backend.sees("datagram_waits"):
        agrees("datagram_waits", reported)
    elif way == "epoll":
        agrees("datagram_epoll", reported)
    else:
        agrees("shared_query", reported)
    assert {(r.entity_id, r.net["direction"]) for r in reported} <= {(f"socket-{inode}", "receive")}
    if reported:
        agrees("unconnected_query", {r.net["remote"] for r in reported} == {f"127.0.0.1:{port}"})


def test_datagrams_that_are_held_up(probe, worker, agrees, backend, make_netns, netns):
    """Behind a line of 16 kbit/s each send takes half a second, once the buffer is full."""
    distant = make_netns(beside=netns)
    here, _ = netns.join(distant)
    shaped = "rate 16kbit burst 1600 limit 1mb"
    netns.run("tc", "qdisc", "add", "dev", here, "root", "tbf", *shaped.split())
    running = probe()
    sender = worker()
    sender.begin("send_to", "10.23.29.2", 9, 1_009, 4_001)
    if backend.sees("datagram_sends"):
        running.wait_for(lambda c: c.stalls(pid=sender.pid))
    running.wait_for_intervals(9)
    reported = running.stop().stalls(pid=sender.pid)
    agrees("datagram_sends", reported)
    assert {(r.net["direction"], r.net["cause"]) for r in reported} <= {("send", "send_buffer")}


@pytest.fixture
def multipath(worker):
    """A server and a client of Multipath TCP."""
    pair = worker(), worker()
    for one in pair:
        if error := one.ask("use_multipath").get("error"):
            pytest.skip(f"this kernel has no Multipath TCP: {error}")
    return pair


def test_waits_for_a_reply_by_multipath_tcp(probe, multipath, agrees, backend):
    if not backend.sees("replies"):
        pytest.skip("no waits for a reply at all, which is declared and tested")
    running = probe()
    server, client = multipath
    connect(server, client)
    unanswered(server, client)
    if backend.sees("mptcp_receive_stalls"):
        running.wait_for(lambda c: c.stalls(pid=client.pid))
    running.wait_for_intervals(5)
    released_ns = time.monotonic_ns()
    server.ask("send", ANSWER)
    least_ms, most_ms = bounds_ms(client.expect("ask") | {"released_ns": released_ns})
    running.wait_for_intervals(3)
    reported = running.stop().stalls(pid=client.pid)
    agrees("mptcp_receive_stalls", reported)
    if reported and not backend.per_interval:
        assert not reported[-1].ongoing
        slack_ms = backend.tolerance_ms(0.2)
        assert least_ms - slack_ms <= reported[-1].stall_ms <= most_ms + slack_ms


def test_stalled_sends_by_multipath_tcp(probe, multipath, agrees, backend):
    """Each source reports that one stalls; why, and for how long exactly, none."""
    running = probe()
    server, client = multipath
    connect(server, client)
    running.wait_for_intervals(2)
    client.begin("send", MORE_THAN_BUFFERS)
    running.wait_for(lambda c: len(c.stalls(pid=client.pid, ongoing=True)) >= 3)
    released_ns = time.monotonic_ns()
    server.begin("recv", MORE_THAN_BUFFERS)
    least_ms, most_ms = bounds_ms(client.expect("send") | {"released_ns": released_ns})
    running.wait_for_intervals(3)
    reported = running.stop().stalls(pid=client.pid)
    assert {r.net["direction"] for r in reported} == {"send"}
    slack_ms = backend.tolerance_ms(0.2)
    is_right = least_ms - slack_ms <= reported[-1].stall_ms <= most_ms + slack_ms
    in_time = not reported[-1].ongoing and is_right
    if not backend.per_interval:  # between two samples, a length may be right by chance
        agrees("mptcp_detail", in_time and {r.net["cause"] for r in reported} == {"peer_window"})


def test_errors_of_connects(probe, worker, agrees):
    running = probe()
    client = worker()
    client.begin("connect", "127.0.0.1", 1)
    inode = client.expect("connecting")["inode"]
    assert client.expect("connect")["error"] == "ECONNREFUSED"
    running.wait_for_intervals(3)
    agrees("connect_errors", running.stop().count("CONNECT_REFUSED", inode=inode))


def test_repeated_answers_to_a_handshake(probe, worker, netns, agrees):
    """A SYN-ACK that gets lost is sent again for a connection that is no socket yet."""
    running = probe()
    server, client = worker(), worker()
    port = server.ask("listen")["port"]
    netns.drop_incoming(f"tcp sport {port} tcp flags & syn == syn")
    client.begin("connect", "127.0.0.1", port)
    client.expect("connecting")
    running.wait_for_intervals(12)  # the first repeat comes after a second
    agrees("handshake_retransmits", running.stop().count("RETRANSMIT", pid=server.pid))


def test_processes_of_other_users(probe, worker, agrees):
    running = probe()
    server, client = worker(user="root"), worker(user="root")
    connect(server, client)
    client.begin("send", MORE_THAN_BUFFERS)
    running.wait_for_intervals(5)
    agrees("foreign_owner", running.stop().stalls(pid=client.pid))


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


def test_which_holder_of_a_socket_uses_it(probe, worker, agrees, backend):
    """Once the child sends, once the parent: one of the two is attributed wrongly."""
    if not backend.sees("tcp_bytes"):
        pytest.skip("no bytes at all, which is declared and tested")
    running = probe("--min-bw", 0)
    right = []
    for user in ("child", "parent"):
        server, client = worker(), worker()
        connect(server, client)
        running.wait_for_intervals(2)
        if user == "child":
            child = client.ask("fork")["pid"]
            transfer(client, server, BYTES)
            pids = (child, client.pid)
        else:
            child = client.ask("fork_idle")["pid"]
            transfer(client, server, BYTES)
            pids = (client.pid, child)
        running.wait_for_intervals(3)
        sent = [running.consumer.sent_bytes(pid) for pid in pids]
        assert sum(sent) == BYTES  # whoever it is, never twice
        right.append(sent == [BYTES, 0])
    running.stop()
    agrees("shared_user", all(right))


def test_the_process_of_a_short_lived_connection(probe, worker, agrees, backend):
    """Come and gone within a millisecond or two: all 97 have their process, or not all."""
    if not backend.sees("tcp_bytes"):
        pytest.skip("no bytes at all, which is declared and tested")
    running = probe("--min-bw", 0)
    server, client = worker(), worker()
    port = server.ask("listen")["port"]
    for _ in range(97):
        client.ask("short", "127.0.0.1", port, 1_009, 0)
    running.wait_for_intervals(3)
    sent = running.stop().sent_bytes(client.pid)
    agrees("brief_owner", sent == 97 * 1_009)


def test_bytes_of_a_process(probe, worker, agrees):
    running = probe("--min-bw", 0)
    server, client = worker(), worker()
    connect(server, client)
    running.wait_for_intervals(2)
    transfer(client, server, BYTES)
    running.wait_for_intervals(3)
    agrees("tcp_bytes", running.stop().sent_bytes(client.pid) == BYTES)


def test_retransmits_that_hold_no_process_up(probe, worker, netns, agrees):
    running = probe()
    server, client = worker(), worker()
    identity = connect(server, client)
    running.wait_for_intervals(2)
    netns.drop_incoming("meta l4proto tcp numgen random mod 100 < 5")
    transfer(client, server, 20 * BYTES)
    netns.lose_nothing()
    assert client.ask("settle")["total_retrans"]
    running.wait_for_intervals(3)
    agrees("retransmits", running.stop().count("RETRANSMIT", inode=identity["inode"]))


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


def carriers(consumer, pid):
    return {r.entity_id for r in consumer.process_bandwidth(pid)}


def test_connections_that_the_hosts_own_nat_redirects(
    probe, worker, agrees, backend, netns, make_netns
):
    """A service behind REDIRECT, as a transparent proxy is: no packet leaves the host."""
    if not backend.sees("tcp_bytes"):
        pytest.skip("no bytes of processes at all, which is declared and tested")
    here, _ = netns.join(make_netns(beside=netns))
    running = probe("--min-bw", 0)
    receiver, sender = worker(), worker()
    port = receiver.ask("listen", "0.0.0.0")["port"]
    netns.run(
        "nft",
        "add table ip test; "
        "add chain ip test output { type nat hook output priority -100; }; "
        f"add rule ip test output ip daddr 10.23.29.2 tcp dport 4243 redirect to :{port}",
    )
    sender.connect("10.23.29.2", 4243)
    receiver.ask("accept")
    transfer(sender, receiver, BYTES)
    running.wait_for(lambda c: c.sent_bytes(sender.pid) == BYTES)
    (reported,) = carriers(running.stop(), sender.pid)
    assert reported in {here, "lo"}
    agrees("local_nat", reported == "lo")


def test_routes_that_a_rule_chooses_by_port(probe, worker, agrees, backend, netns, make_netns):
    """The routing tables are asked about two addresses: nothing else of a packet is known."""
    if not backend.sees("tcp_bytes"):
        pytest.skip("no bytes of processes at all, which is declared and tested")
    distant = make_netns(beside=netns)
    usual, _ = netns.join(distant)
    chosen, _ = netns.join(distant, subnet="10.23.37")
    distant.run(*f"ip address add {SERVICE}/32 dev lo".split())
    netns.run(*f"ip route add {SERVICE} via 10.23.29.2 dev {usual}".split())
    netns.run(*f"ip route add {SERVICE} via 10.23.37.2 dev {chosen} table 101".split())
    running = probe("--min-bw", 0)
    receiver, sender = worker(namespace=distant), worker()
    port = receiver.ask("listen", SERVICE)["port"]
    netns.run(*f"ip rule add ipproto tcp dport {port} lookup 101".split())
    sender.connect(SERVICE, port)
    receiver.ask("accept")
    transfer(sender, receiver, BYTES)
    running.wait_for(lambda c: c.sent_bytes(sender.pid) == BYTES)
    (reported,) = carriers(running.stop(), sender.pid)
    assert reported in {usual, chosen}
    agrees("policy_routes", reported == chosen)


def test_keepalives_without_an_answer(probe, worker, agrees, backend, netns):
    """A subscriber on a dead line: it has asked for nothing, and nothing can come any more."""
    running = probe()
    server, client = worker(), worker()
    identity = connect(server, client)
    client.ask("keep_alive", 1)
    client.begin("recv", ANSWER)
    running.wait_for_intervals(2)
    assert running.consumer.stalls(pid=client.pid) == []
    netns.drop_incoming(f"tcp sport {identity['remote'].rpartition(':')[2]}")
    while netns.counted_packets() < 3:
        running.wait_for_intervals(1)
    running.wait_for_intervals(2)
    reported = running.consumer.stalls(pid=client.pid)
    agrees("keepalives", reported)
    netns.lose_nothing()
    if reported:
        running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=False))
    running.wait_for_intervals(2)
    for record in running.stop().stalls(pid=client.pid):
        assert record.entity_id == f"socket-{identity['inode']}"
        assert (record.net["direction"], record.net["cause"]) == ("receive", "keepalive")


def test_a_transfer_to_an_event_loop_that_breaks_off_on_another_host(
    probe, worker, agrees, distant
):
    """Its last byte may have come."""
    running = probe()
    server, client = worker(namespace=distant), worker("evented")
    connect(server, client, "10.23.29.2")
    part, parts = 100_003, 149
    client.begin("recv", part * (parts + 1))
    server.ask("drip", part, 10, parts)
    running.wait_for_intervals(9)
    agrees("remote_transfer", running.stop().stalls(pid=client.pid))


def test_a_peer_on_another_host_that_answers_other_connections(
    probe, worker, agrees, backend, distant
):
    """What one of them has sent last may ask for nothing."""
    if not backend.sees("replies"):
        pytest.skip("no waits for a reply at all, which is declared and tested")
    server, client = worker("links", namespace=distant), worker("links")
    port = server.ask("listen", "door", "10.23.29.2")["port"]
    inodes = {}
    for name in ("waiting", "asked"):
        inodes[name] = client.ask("connect", name, port, "10.23.29.2")["inode"]
        server.ask("accept", "door")
        server.ask("name", "door", name)
    running = probe("--reply-ms", 1_000)
    client.begin("ask", "waiting", QUESTION)
    server.ask("answer", "waiting", QUESTION)
    client.expect("ask")
    client.begin("loop", "waiting", "asked", QUESTION)
    server.ask("take", "waiting", QUESTION)
    begun = len(running.consumer.interface_bandwidth("lo"))
    while len(running.consumer.interface_bandwidth("lo")) < begun + 12:
        server.ask("answer", "asked", QUESTION)
    reported = {r.entity_id for r in running.consumer.stalls(pid=client.pid)}
    agrees("busy_peer", reported)
    assert reported <= {f"socket-{inodes['waiting']}"}
    # It answers no more: now its other connection waits.
    running.wait_for(lambda c: c.stalls(inode=inodes["asked"]))


def test_an_early_request_of_an_event_loop_to_another_host(probe, worker, agrees, backend, distant):
    """It may be a long poll.  A thread in a receive shows that a reply is due."""
    if not backend.sees("replies"):
        pytest.skip("no waits for a reply at all, which is declared and tested")
    running = probe()
    clients = {role: worker(role, comm=role.encode()) for role in ("evented", "blocking")}
    for client in clients.values():
        server = worker(namespace=distant)
        connect(server, client, "10.23.29.2")
        server.begin("recv", QUESTION)
        client.begin("ask", QUESTION, ANSWER)
        server.expect("recv")
        server.ask("send", ANSWER)
        client.expect("ask")
        client.begin("ask", QUESTION, ANSWER)
        server.ask("recv", QUESTION)
    running.wait_for(lambda c: len(c.stalls(pid=clients["blocking"].pid)) >= 3)
    running.wait_for_intervals(9)
    agrees("first_requests", running.stop().stalls(pid=clients["evented"].pid))


def test_who_sends_more_messages_than_come(probe, worker, agrees, backend, distant):
    """Two for each reply, soon after each other; the samples do not show which has a reply."""
    if not backend.sees("replies"):
        pytest.skip("no waits for a reply at all, which is declared and tested")
    server, client = worker(namespace=distant), worker("evented")
    running = probe()
    connect(server, client, "10.23.29.2")
    for _ in range(11):
        server.begin("recv", 2 * QUESTION)
        client.ask("send", QUESTION)
        client.begin("ask", QUESTION, ANSWER)
        server.expect("recv")
        server.ask("send", ANSWER)
        client.expect("ask")
    client.begin("ask", QUESTION, ANSWER)
    server.ask("recv", QUESTION)
    running.wait_for_intervals(12)
    agrees("one_sided", running.stop().stalls(pid=client.pid))


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


def test_connects_without_a_route(probe, worker, agrees):
    """They fail before the socket changes its state."""
    running, client = probe(), worker()
    client.begin("connect", "192.0.2.1", 80)
    inode = client.expect("connecting")["inode"]
    assert client.expect("connect")["error"] == "ENETUNREACH"
    running.wait_for_intervals(2)
    agrees("no_route", running.stop().errors(f"socket-{inode}"))


MEASURED = "bandwidth,stalls,errors,protocols"


def upload(worker):
    """A client whose server does not read what it sends."""
    server, client = worker("blocking"), worker("blocking")
    connect(server, client)
    client.begin("post", MORE_THAN_BUFFERS)
    return client


def wait_until_blocked(client):
    """In a send: sendto(2) has these numbers on x86-64 and arm64."""
    while Path(f"/proc/{client.pid}/syscall").read_text().split()[0] not in ("44", "206"):
        time.sleep(0.01)


def is_named(running, client, shown):
    """Whether a stall of the client has the protocol: where it has to, however late.

    The first bytes of a burst of connections, of other programs, are read before it for seconds.
    """
    lost = running.consumer.losses().get("protocols")

    def named(consumer):
        return any(r.net.get("app") == "http1" for r in consumer.stalls(pid=client.pid))

    def over(consumer):
        may_miss = not shown or consumer.losses().get("protocols") != lost
        return named(consumer) or (may_miss and len(consumer.stalls(pid=client.pid)) >= 11)

    running.wait_for(over)
    return named(running.consumer)


def any_is_named(running, worker, shown):
    """Whether that of an upload has it whose bytes found room beside those of other programs."""
    for _ in range(5):
        lost = running.consumer.losses().get("protocols")
        if is_named(running, upload(worker), shown):
            return True
        if running.consumer.losses().get("protocols") == lost:
            return False
    return False


def test_the_protocol_of_a_socket(backend, probe, worker, agrees):
    running = probe("--metrics", MEASURED)
    agrees("payload", any_is_named(running, worker, backend.sees("payload")))


def test_the_protocol_of_a_socket_as_root(backend, start_probe, worker, agrees):
    """Programs of the kernel name a socket by its cookie, which /proc/net does not have."""
    words = (*backend.options, "--loopback", "--interval", 0.2, "--metrics", MEASURED)
    running = start_probe(*words, user="root")
    running.wait_ready()
    agrees("no_cookie", any_is_named(running, worker, backend.sees("no_cookie")))


def test_the_protocol_of_a_connection_from_before(backend, probe, worker, agrees):
    """It sends no more."""
    client = upload(worker)
    wait_until_blocked(client)
    running = probe("--metrics", MEASURED)
    agrees("hidden_protocol", is_named(running, client, backend.sees("hidden_protocol")))


def test_packets_of_an_interface_of_another_network_namespace(probe, make_netns, agrees):
    running = probe("--metrics", f"{MEASURED},packets")
    other = make_netns()
    for words in ("link add elsewhere type veth peer name beyond", "link set elsewhere up"):
        other.run("ip", *words.split())
    running.wait_for_intervals(3)
    shown = {r.entity_id for r in running.stop().interface_bandwidth()}
    assert "lo" in shown
    agrees("foreign_packets", "elsewhere" in shown)


def test_routes_whose_next_hops_ports_choose(probe, worker, agrees, backend, netns, make_netns):
    """Several paths to one address, as in a fabric: a lookup without ports gives one of them.

    Newer kernels prefer the path whose interface has the source address; this one is of none.
    """
    if not backend.sees("tcp_bytes"):
        pytest.skip("no bytes of processes at all, which is declared and tested")
    distant = make_netns(beside=netns)
    netns.join(distant)
    netns.join(distant, subnet="10.23.37")
    distant.run(*f"ip address add {SERVICE}/32 dev lo".split())
    netns.run(*f"ip address add {OWN}/32 dev lo".split())
    hops = "nexthop via 10.23.29.2 nexthop via 10.23.37.2"
    netns.run(*f"ip route add {SERVICE} src {OWN} {hops}".split())
    netns.run("sysctl", "-q", "-w", "net.ipv4.fib_multipath_hash_policy=1")
    distant.run(*f"ip route add {OWN} via 10.23.29.1".split())
    words = netns.run(*f"ip route get {SERVICE} from {OWN}".split()).split()
    usual = words[words.index("dev") + 1]
    running = probe("--min-bw", 0)
    for _ in range(MOST_TRIES):
        receiver, sender = worker(namespace=distant), worker()
        sender.connect(SERVICE, receiver.ask("listen", SERVICE)["port"])
        receiver.ask("accept")
        before = transmitted(netns)
        transfer(sender, receiver, BYTES)
        after = transmitted(netns)
        # `ip route get` with the ports does not give what the kernel chose.
        (chosen,) = (name for name in after if after[name] - before[name] >= BYTES)
        if chosen != usual:
            break
    assert chosen != usual
    running.wait_for(lambda c: c.sent_bytes(sender.pid) == BYTES)
    (reported,) = carriers(running.stop(), sender.pid)
    assert reported in {usual, chosen}
    agrees("policy_routes", reported == chosen)


def transmitted(netns):
    """Bytes that each interface but lo has sent."""
    links = json.loads(netns.run("ip", "-s", "-j", "link", "show", "up"))
    return {one["ifname"]: one["stats64"]["tx"]["bytes"] for one in links if one["ifname"] != "lo"}
