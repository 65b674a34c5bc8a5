"""A socket that closes just while it is read out: its bytes are reported once."""

from __future__ import annotations

from contextlib import ExitStack

from support.kernel_watch import Watch
from support.peer import Peer
from support.require import require

from xctl_probe.errors import SourceUnavailable

# More processes than processors: the reader is interrupted, now and then in the wrong moment.
PROCESSES, CONNECTIONS = 6, 12_000
QUESTION, ANSWER = 101, 1_009


def test_bytes_that_are_read_while_their_connection_closes_count_once():
    """The reader and the end both take them, on two processors; one of them gives them back."""
    try:
        seen = Watch()
    except SourceUnavailable as reason:
        require(False, str(reason))
    moved = CONNECTIONS * (QUESTION + ANSWER)
    with seen, ExitStack() as stack:
        words = ("losses.short_exchanges", CONNECTIONS, QUESTION, ANSWER)
        peers = [stack.enter_context(Peer(*words)) for _ in range(PROCESSES)]
        for one in peers:
            one.start()
        while not all(one.has_sent() for one in peers):
            seen.drain()
        seen.until(lambda: all(seen.received(one.pid) >= moved for one in peers))
        reported = [(seen.sent(one.pid), seen.received(one.pid)) for one in peers]
        assert reported == [(moved, moved)] * PROCESSES
