"""Why a real program hangs, as an unprivileged user learns it."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from support.install import NO_PROBES

MUCH = 30_000_001  # bytes: more than all buffers on the way


@pytest.fixture
def why(installed, everything):
    """Ask until the verdict has these words in it; the last answers where it never has."""

    def ask(program, *words):
        place = everything.place
        user = [*place.namespace.command(), str(installed.command)]
        deadline = time.monotonic() + 60
        while True:
            done = subprocess.run(
                [*user, *NO_PROBES, "why", "--json", str(program.pid)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            reported = json.loads(done.stdout)
            if all(word in reported["verdict"] for word in words):
                return reported
            assert time.monotonic() < deadline, reported["verdict"]

    return ask


def test_an_expected_wait_is_shown_to_be_one(everything, why):
    """Nothing is late: the server has the request, and waits itself."""
    redis = everything.redis
    server = f"redis-server (pid {redis.server.pid}) at 127.0.0.1:{redis.port}"
    words = f"waits for the answer of {server}", "has read the request and waits for other events"
    reported = why(redis.blocked, *words)
    finding = reported["findings"][0]
    assert (reported["waits"], finding["certain"], finding["cause"]) == (True, False, None)


def test_a_server_that_is_stopped_has_not_read_the_request(everything, why):
    redis = everything.redis
    everything.place.stop(redis.server.pid)
    try:
        redis.asks.send("PING")
        reported = why(
            redis.asks,
            "for a reply from",
            f"redis-server (pid {redis.server.pid}) has not read its request",
            "and it is stopped",
        )
        assert (reported["waits"], reported["findings"][0]["cause"]) == (True, "no_reply")
    finally:
        everything.place.let_go(redis.server.pid)
    redis.asks.expect("PONG")


def test_packets_that_are_dropped_are_shown_to_be_lost(everything, why):
    postgres, namespace = everything.postgres, everything.place.namespace
    namespace.drop_incoming(f"tcp dport {postgres.port}")
    try:
        postgres.asks.send("select 'seven';")
        reported = why(postgres.asks, f"no packet gets through to 127.0.0.1:{postgres.port}")
        assert (reported["waits"], reported["findings"][0]["cause"]) == (True, "loss")
    finally:
        namespace.lose_nothing()
    postgres.asks.expect("seven")


def test_a_server_that_does_not_read_has_a_closed_window(everything, why):
    websocket = everything.websocket
    everything.place.stop(websocket.server.pid)
    try:
        websocket.asks.send(str(MUCH))
        reported = why(websocket.asks, f"the peer 127.0.0.1:{websocket.port} does not read")
        assert (reported["waits"], reported["findings"][0]["cause"]) == (True, "peer_window")
    finally:
        everything.place.let_go(websocket.server.pid)
    websocket.asks.expect(f"echoed {MUCH}")
