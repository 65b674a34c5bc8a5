"""Known traffic in, exactly those bytes out, at both sockets: on this kernel, in each variant.

A probe's start takes half a minute under emulation, so one probe serves all tests that only read
records.  The counts are odd, so that a wrong sum shows which of them is missing.
"""

from __future__ import annotations

from support.consumer_model import MISSED_RUNS

LIMIT_S = 180
BULK_BYTES = {"127.0.0.1": 1_000_003, "::1": 700_027, "::ffff:127.0.0.1": 400_009}
SHORT_BYTES = 300_007
MESSAGE_BYTES, MESSAGES = 7, 23
DATAGRAM_BYTES, DATAGRAMS = 1_009, 97
HELLO_BYTES = 4_001


def assert_bytes(found, sent, backend):
    assert abs(found - sent) <= sent * backend.bytes_tolerance, f"{found} of {sent}"


def wait_for_bytes(running, receiver, sender, count):
    running.wait_for(
        lambda c: min(c.sent_bytes(sender.pid), c.received_bytes(receiver.pid)) >= count * 0.99,
        LIMIT_S,
    )


def assert_both(running, sender, receiver, count, backend):
    """The sender sent and the receiver received `count`, and nothing went the other way."""
    wait_for_bytes(running, receiver, sender, count)
    consumer = running.consumer
    assert_bytes(consumer.sent_bytes(sender.pid), count, backend)
    assert_bytes(consumer.received_bytes(receiver.pid), count, backend)
    assert consumer.received_bytes(sender.pid) == 0
    assert consumer.sent_bytes(receiver.pid) == 0


def connect(receiver, sender, host):
    port = receiver.ask("listen", host)["port"]
    sender.connect(host, port)
    receiver.ask("accept")


def transfer(receiver, sender, count):
    receiver.begin("recv", count)
    assert sender.ask("send", count)["bytes"] == count
    assert receiver.expect("recv")["bytes"] == count


def test_tcp_bytes_are_exact_at_both_sockets(running, worker, backend):
    """IPv4, IPv6 and the one in the other; sockets that stay open and sockets closed at once."""
    open_pair, closed_pair, small_pair = [(worker(), worker()) for _ in range(3)]
    closed_count = 0
    for host, count in BULK_BYTES.items():
        connect(*open_pair, host)
        transfer(*open_pair, count)
        connect(*closed_pair, host)
        if not backend.sees("brief_owner"):
            # the sampler must have found their owners while the sockets were open
            transfer(*closed_pair, HELLO_BYTES)
            closed_count += HELLO_BYTES
            wait_for_bytes(running, *closed_pair, closed_count)
        transfer(*closed_pair, count)
        closed_count += count
        closed_pair[1].ask("close")
        closed_pair[0].ask("close")
    connect(*small_pair, "127.0.0.1")
    small_pair[0].begin("recv", MESSAGE_BYTES * MESSAGES)
    small_pair[1].ask("drip", MESSAGE_BYTES, 1, MESSAGES)
    small_pair[0].expect("recv")
    running.wait_for_intervals(3)  # also so that what is counted twice has time to show
    total = sum(BULK_BYTES.values())
    for (receiver, sender), count in (
        (open_pair, total),
        (closed_pair, closed_count),
        (small_pair, MESSAGE_BYTES * MESSAGES),
    ):
        assert_both(running, sender, receiver, count, backend)
        # TCP only: a datagram socket that is not connected has no route of its own
        assert {r.entity_id for r in running.consumer.process_bandwidth(sender.pid)} == {"lo"}
    assert running.consumer.events_lost() == {}


def test_udp_bytes_are_exact_at_both_sockets(running, worker, backend, only_rare):
    receiver, sender = worker(), worker()
    for host in ("127.0.0.1", "::1"):
        port = receiver.ask("bind", host)["port"]
        receiver.begin("recv_from", DATAGRAMS)
        sender.ask("send_to", host, port, DATAGRAM_BYTES, DATAGRAMS)
        receiver.expect("recv_from")
        sender.ask("close")
    running.wait_for_intervals(2)
    consumer = running.consumer
    sent = 2 * DATAGRAM_BYTES * DATAGRAMS
    # A program that is preempted by its own run for another thread is skipped: of a stream nothing
    # is missing then, of datagrams at most these.
    least = sent - consumer.losses().get(MISSED_RUNS, 0) * DATAGRAM_BYTES
    assert least <= consumer.sent_bytes(sender.pid) <= sent
    assert least <= consumer.received_bytes(receiver.pid) <= sent
    assert consumer.received_bytes(sender.pid) == consumer.sent_bytes(receiver.pid) == 0
    assert consumer.events_lost() == {}


def test_a_short_lived_connection_is_counted_and_owned(running, worker, backend):
    """Come and gone between two samples; the sampler may not know whose it was."""
    unattributed = running.consumer.unattributed_bytes()
    receiver, sender = worker(), worker()
    port = receiver.ask("listen")["port"]
    receiver.begin("accept")
    receiver.begin("drain")
    sender.begin("short", "127.0.0.1", port, SHORT_BYTES, 1)
    assert sender.expect("short")["bytes"] == SHORT_BYTES
    receiver.expect("accept")
    receiver.expect("drain")
    receiver.ask("close")
    running.wait_for_intervals(3)
    if backend.sees("brief_owner"):
        assert_both(running, sender, receiver, SHORT_BYTES, backend)
    consumer = running.consumer
    seen = consumer.sent_bytes(sender.pid) + consumer.received_bytes(receiver.pid)
    unattributed = consumer.unattributed_bytes() - unattributed
    assert_bytes(seen + unattributed, 2 * SHORT_BYTES, backend)
