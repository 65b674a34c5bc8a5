"""The protocols of real programs, by the first bytes of their sockets."""

from __future__ import annotations

import time

import pytest
from support.require import require

from xctl_probe.ebpf.payload import Payloads
from xctl_probe.errors import SourceUnavailable
from xctl_probe.protocols.names import Names, Sample

LIMIT_S = 30.0


class Named:
    """Sockets that were named since it was opened."""

    def __init__(self):
        self.payloads = Payloads()
        self.names = Names()

    def until(self, ask, wanted):
        """Ask again and again until so many sockets of each protocol have their name."""
        end = time.monotonic() + LIMIT_S
        while True:
            ask()
            for one in self.payloads.read():
                if isinstance(one, Sample):
                    self.names.note(one)
            if all(self.names.counts[app] >= count for app, count in wanted.items()):
                return
            assert time.monotonic() < end, self.names.counts
            time.sleep(0.1)


@pytest.fixture
def named():
    try:
        found = Named()
    except SourceUnavailable as reason:
        require(False, str(reason))
    yield found
    found.payloads.close()


def test_connections_from_before_the_probe(everything, named):
    """Both directions of a connection show what it is; that of ssh is encrypted by then."""

    def ask():
        everything.redis.asks.ask("PING", "PONG")
        everything.postgres.asks.ask("select 'seven';", "seven")
        everything.nginx.asks.ask("7", "answered 200")
        everything.dns.asks.ask("ask", "127.0.0.7")

    named.until(ask, {"redis": 2, "postgresql": 2, "http1": 2, "dns": 2})
    assert named.names.counts["ssh"] == 0


def test_connections_from_their_first_bytes(everything, named):
    place = everything.place

    def connect():
        for words in (
            ("redis-cli", "-p", everything.redis.port, "PING"),
            ("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
             "-o", "UserKnownHostsFile=/dev/null", "-p", everything.openssh.port, "127.0.0.1"),
        ):  # fmt: skip
            place.start("a client", *words).process.wait(LIMIT_S)

    named.until(connect, {"redis": 2, "ssh": 2})
