"""close() with SO_LINGER, which waits until the peer has acknowledged everything."""

from __future__ import annotations

import pytest
from support.peer import is_within

from xctl_probe.events import Cause, Direction

LINGER_NS = 1_000_000_000
ONCE_MORE_MS = 60  # a drain and the pause before it
TRIES = 5


def closing(seen, pid):
    return seen.stalls(pid, direction=Direction.SEND, ongoing=True)


def ended(seen, pid):
    return seen.stalls(pid, direction=Direction.SEND, ongoing=False)


@pytest.mark.parametrize("shut_down", [False, True])
def test_a_close_waits_until_the_peer_has_read(watch, peer, shut_down):
    """Also where the sending side was shut down before."""
    seen = watch()
    one = peer("closing.until_read", int(shut_down))
    inode, tid = one.go()
    seen.until(lambda: len(closing(seen, one.pid)) >= 3)
    last = closing(seen, one.pid)[-1]
    assert (last.socket.inode, last.tid) == (inode, tid)
    assert last.cause in (Cause.PEER_WINDOW, None)  # the window may not be full yet at the close
    bounds_ns = one.go()
    seen.until(lambda: [s for s in ended(seen, one.pid) if s.tid == tid])
    seen.drain()
    (end,) = [s for s in ended(seen, one.pid) if s.tid == tid]
    assert is_within(end.duration_ns, bounds_ns, ONCE_MORE_MS)
    reported = len(closing(seen, one.pid))
    seen.drain()
    assert len(closing(seen, one.pid)) == reported


def test_a_close_whose_timeout_is_over_was_a_stall_until_then(watch, peer):
    """It has to be sampled in the second that it lasts: a busy host may need some attempts."""
    seen = watch()
    for _ in range(TRIES):
        one = peer("closing.given_up")
        one.start()
        seen.until(lambda one=one: closing(seen, one.pid) or one.has_sent())
        if closing(seen, one.pid):
            break
    seen.until(lambda: [s for s in ended(seen, one.pid) if s.tid == one.pid])
    took_ns = one.finish() * 1_000_000_000
    (end,) = [s for s in ended(seen, one.pid) if s.tid == one.pid]
    assert is_within(end.duration_ns, (LINGER_NS, took_ns), ONCE_MORE_MS)


def test_a_close_that_leaves_the_rest_to_the_kernel_waits_for_nothing(watch, peer):
    """Without SO_LINGER, by SHUT_RDWR, or with nothing left to acknowledge."""
    seen = watch()
    one = peer("closing.shut_down_both_ways")
    two = peer("closing.without_linger")
    for silent in (one, two):
        silent.go()
    seen.until(lambda: seen.sent(one.pid) and seen.sent(two.pid))
    seen.for_stall_lengths(5, peer("stalls.hangs_for_ever").pid)
    for silent in (one, two):
        assert [s for s in closing(seen, silent.pid) if s.tid] == []
