"""bcc and the compiled object, on the same traffic at the same time: the same events."""

from __future__ import annotations

import pytest

LIMIT_S = 180
BULK_BYTES = 1_000_003
MORE_THAN_BUFFERS = 20_000_003
# Each notes the begin and end of a stall by itself, to a tick of at most 10 ms.
APART_MS = 20


@pytest.fixture
def both(start_probe, backend):
    """The two engines, started one after the other; only where bcc is the variant under test."""
    if backend.name != "bcc":
        pytest.skip("compared once, where bcc runs")
    always = ("--interval", 0.5, "--loopback", "--min-bw", 0, "--format", "ndjson")
    engines = [start_probe("--backend", name, *always, user="root") for name in ("bcc", "ebpf")]
    for engine in engines:
        engine.wait_for_stderr("source", backend.start_s)
        engine.wait_ready()
    return engines


def ended_stalls(consumer, sender):
    """The two that are made; in the pause after the last bytes each engine decides by itself."""
    return consumer.stalls(pid=sender.pid, ongoing=False)[:2]


def reported(consumer, sender, receiver, inode):
    ended = ended_stalls(consumer, sender)
    return {
        "sent": consumer.sent_bytes(sender.pid),
        "received": consumer.received_bytes(receiver.pid),
        "retransmits": consumer.count("RETRANSMIT", inode=inode),
        "stalls": [(s.entity_id, s.net["direction"], s.net["cause"]) for s in ended],
        "lost": consumer.lost(),
    }


def wait_while_it_hangs(engines, sender, direction):
    for engine in engines:
        engine.wait_for(
            lambda c: [s for s in c.stalls(pid=sender.pid) if s.net["direction"] == direction],
            LIMIT_S,
        )


def test_they_report_the_same_bytes_stalls_and_retransmits(both, worker, lose):
    receiver, sender = worker(), worker()
    port = receiver.ask("listen")["port"]
    inode = sender.connect("127.0.0.1", port)["inode"]
    receiver.ask("accept")
    sender.begin("ask", 23, 29)
    wait_while_it_hangs(both, sender, "receive")
    receiver.ask("recv", 23)
    receiver.ask("send", 29)
    sender.expect("ask")
    sender.begin("send", MORE_THAN_BUFFERS)
    wait_while_it_hangs(both, sender, "send")
    receiver.ask("recv", MORE_THAN_BUFFERS, timeout=LIMIT_S)
    sender.expect("send")
    lose(5)
    receiver.begin("recv", BULK_BYTES)
    sender.ask("send", BULK_BYTES, timeout=LIMIT_S)
    receiver.expect("recv", LIMIT_S)
    lose(0)
    total = sender.ask("settle", timeout=LIMIT_S)["total_retrans"]
    for engine in both:
        engine.wait_for(lambda c: c.count("RETRANSMIT", inode=inode) >= total, LIMIT_S)
        engine.wait_for_intervals(2)
    bcc, compiled = (engine.stop() for engine in both)
    found = reported(bcc, sender, receiver, inode)
    assert found == reported(compiled, sender, receiver, inode)
    moved = MORE_THAN_BUFFERS + 23 + BULK_BYTES
    assert (found["sent"], found["received"], found["lost"]) == (moved, moved, 0)
    assert found["retransmits"] == total > 0
    directions = [direction for _, direction, _ in found["stalls"]]
    assert directions == ["receive", "send"]
    for one, other in zip(
        ended_stalls(bcc, sender),
        ended_stalls(compiled, sender),
        strict=True,
    ):
        assert abs(one.stall_ms - other.stall_ms) <= APART_MS
