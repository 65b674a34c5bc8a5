"""Calls that stay while data move: their bytes count as they move, once, and are no wait."""

from __future__ import annotations

import pytest

from xctl_probe.events import Cause, Direction, ErrorKind

PIECE = 100_003


def test_a_block_that_is_received_whole_counts_as_it_comes(watch, peer):
    seen = watch()
    one = peer("in_call.block_in_pieces")
    one.go()
    seen.until(lambda: seen.received(one.pid) == 7)  # the question, of the server
    for pieces in range(1, 8):
        one.go()
        wanted = 7 + pieces * PIECE
        seen.until(lambda wanted=wanted: seen.received(one.pid) == wanted)
    seen.drain()
    assert seen.received(one.pid) == 7 + 7 * PIECE
    assert seen.sent(one.pid) == 7 + 7 * PIECE


def test_a_block_that_keeps_coming_is_no_wait(watch, peer):
    """It lasts for several times the least stall, and no piece is as late."""
    seen = watch(stall_ns=200_000_000)
    one = peer("in_call.block_that_keeps_coming", 49, 20)
    one.start()
    seen.until(lambda: seen.received(one.pid) == 7 + 7 * PIECE)
    longest_pause_ns = one.finish()
    seen.drain()
    assert all(stall.duration_ns <= longest_pause_ns for stall in seen.stalls(one.pid))


def test_a_block_whose_first_piece_is_late_was_waited_for_until_it_came(watch, peer):
    seen = watch()
    one = peer("in_call.block_with_late_first_piece")
    one.go()
    seen.until(lambda: seen.stalls(one.pid, ongoing=True))
    one.go()
    seen.until(lambda: seen.stalls(one.pid, ongoing=False))
    (ended,) = seen.stalls(one.pid, ongoing=False)
    assert (ended.direction, ended.cause) == (Direction.RECEIVE, Cause.NO_REPLY)
    reported = len(seen.stalls(one.pid))
    seen.until(lambda: seen.received(one.pid) == 7 + PIECE)
    one.go()
    seen.until(lambda: seen.received(one.pid) == 7 + 7 * PIECE)
    assert len(seen.stalls(one.pid)) == reported


def test_what_a_call_moves_is_the_process_that_is_in_it(watch, peer):
    """It inherited the connection, and has done nothing on it before."""
    seen = watch()
    one = peer("in_call.inherited_connection")
    child = one.first
    seen.drain()
    one.go()
    seen.until(lambda: seen.received(child) == PIECE)
    assert one.go() == 0
    seen.until(lambda: seen.received(child) == 2 * PIECE)
    seen.drain()
    assert (seen.received(child), seen.received(one.pid)) == (2 * PIECE, 7)


@pytest.mark.parametrize("how", ["close", "reset", "shutdown"])
@pytest.mark.parametrize("reported", [True, False])
def test_a_child_that_waits_for_its_parents_reply_has_waited_when_it_is_over(
    watch, peer, how, reported
):
    """No call of its own has ended: the last process that did I/O is its parent."""
    seen = watch()
    one = peer("in_call.inherited_wait", how, 0 if reported else 300)
    child = one.first
    if reported:
        seen.until(lambda: seen.stalls(child, ongoing=True))
    assert one.go() == 0
    seen.until(lambda: seen.stalls(child, ongoing=False))
    seen.drain()
    (ended,) = seen.stalls(child, ongoing=False)
    assert (ended.direction, ended.cause) == (Direction.RECEIVE, Cause.NO_REPLY)
    assert not seen.stalls(one.pid)
    errors = [seen.errors(pid, ErrorKind.RESET) for pid in (child, one.pid)]
    assert errors == [int(how == "reset"), 0]


def test_a_large_send_counts_as_it_goes(watch, peer):
    """The receiver takes a part at each step; what was sent is never far ahead of it."""
    seen = watch()
    count, buffers = 23 * PIECE, 5 * PIECE
    one = peer("in_call.large_send", 23)
    seen.drain()  # notes where the socket is before the call
    for parts in range(1, 23):
        one.go()
        got = parts * PIECE
        seen.until(lambda got=got: seen.received(one.pid) == got)
        seen.until(lambda got=got: seen.sent(one.pid) >= got)
        assert seen.sent(one.pid) <= got + buffers
    one.go()
    seen.until(lambda: seen.sent(one.pid) == count)
    seen.drain()
    assert (seen.sent(one.pid), seen.received(one.pid)) == (count, count)


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_in_calls_on_one_socket_count_once(watch, peer, threads):
    """Some ask for much, some for little; together it is what was sent."""
    seen = watch()
    count = 29 * PIECE
    one = peer("in_call.threads_on_one_socket", threads, 29)
    for _ in range(29):
        one.go()
        seen.source.poll(0)
        seen.drain()
    assert one.go() == count
    seen.until(lambda: seen.received(one.pid) == count)
    seen.drain()
    assert (seen.sent(one.pid), seen.received(one.pid)) == (count, count)
