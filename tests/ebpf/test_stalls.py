"""Who waits for the network, for how long and why; and who only seems to."""

from __future__ import annotations

from contextlib import suppress

import pytest
from support.kernel_watch import STALL_NS, answered_once_seen
from support.peer import in_namespace, is_within

from xctl_probe.events import Cause, Direction

MS = 1_000_000
TRIES = 5


def test_a_client_that_waits_for_an_answer(watch, peer):
    seen = watch()
    one = peer("stalls.answered_late")
    ended = answered_once_seen(seen, one)
    assert ended.cause is Cause.NO_REPLY


def test_a_client_that_waits_for_more_than_has_come(watch, peer):
    """What lies unread is too little to wake it: SO_RCVLOWAT."""
    answered_once_seen(watch(), peer("stalls.answered_in_pieces"))


def test_a_client_that_has_not_read_what_would_wake_no_reader(watch, peer):
    seen = watch()
    one = peer("stalls.reads_late_what_wakes_no_reader")
    one.start()
    assert seen.waits_for_nothing(one.pid, peer("stalls.hangs_for_ever").pid)


def test_a_client_in_epoll_that_was_answered_before(watch, peer):
    """The first exchange is quick and teaches; so the second one shows while it lasts."""
    seen = watch()
    answered_once_seen(seen, peer("stalls.answered_late_in_epoll"))


def test_a_client_that_sends_on_before_it_reads_the_answer(watch, peer):
    """The wait that was reported is over when the answer came; the next one is another."""
    seen = watch()
    one = peer("stalls.sends_on_before_it_reads")
    both = []
    for _ in range(2):
        before = len(seen.stalls(one.pid, ongoing=True))
        one.start()
        seen.until(lambda before=before: len(seen.stalls(one.pid, ongoing=True)) > before)
        both.append(one.go())
    seen.until(lambda: len(seen.stalls(one.pid, ongoing=False)) == 2)
    seen.drain()
    found = [stall.duration_ns for stall in seen.stalls(one.pid, ongoing=False)]
    assert list(map(is_within, found, both)) == [True, True], (found, both)


def test_a_new_connection_to_who_answered_before(watch, peer):
    """Nothing was ever received on this connection, but on others to the same endpoint."""
    seen = watch()
    one = peer("stalls.second_connection")
    one.start()
    seen.until(lambda: seen.stalls(one.pid, ongoing=True))


def test_an_answer_is_one_though_the_peer_hangs_up_as_it_is_read(watch, peer):
    """The FIN arrives while the reader still holds the socket: one in sixty of such exchanges.

    Each round has a source of its own: of 240 peers at once, one finds all its places in
    the kernel's table of histories taken in one run of eight, and replaces another's entry.
    Others on this host have peers as well: one round may lack one for that.
    """
    rounds, peers = 6, 61
    lacking = []
    for _ in range(rounds):
        seen = watch()
        one = peer("stalls.hangs_up_after_the_answer", peers)
        one.start()

        def waiting(seen=seen, one=one):
            return len({stall.socket.inode for stall in seen.stalls(one.pid, ongoing=True)})

        # Where one is missing, 20 s are enough to see that.
        with suppress(AssertionError):
            seen.until(lambda waiting=waiting: waiting() == peers, limit_s=20)
        seen.until(lambda waiting=waiting: waiting() >= peers - 1)
        lacking.append(peers - waiting())
        seen.source.close()
    assert sum(lacking) <= 1


def test_a_receive_that_hangs_for_ever_names_its_thread_each_time(watch, peer):
    seen = watch()
    one = peer("stalls.hangs_for_ever")
    seen.until(lambda: len(seen.stalls(one.pid, ongoing=True)) >= 5)
    stalls = seen.stalls(one.pid, ongoing=True)
    assert {stall.tid for stall in stalls} == {one.first}
    lengths = [stall.duration_ns for stall in stalls]
    assert lengths == sorted(lengths)
    assert lengths[0] >= 100 * MS


@pytest.mark.parametrize("blocking", [True, False])
def test_a_sender_whose_peer_does_not_read(watch, peer, blocking):
    seen = watch()
    one = peer("stalls.peer_does_not_read", int(blocking))
    one.start()
    thread = one.pid if blocking else None

    def ongoing():
        return seen.stalls(one.pid, ongoing=True, direction=Direction.SEND)

    seen.until(lambda: thread in {stall.tid for stall in ongoing()})
    assert {stall.cause for stall in ongoing()} == {Cause.PEER_WINDOW}
    one.start()  # the peer reads
    one.finish()
    seen.until(lambda: seen.stalls(one.pid, ongoing=False, direction=Direction.SEND))


def test_a_sender_that_may_queue_little(watch, peer):
    """Its buffer has room, but not for more data that is not sent."""
    seen = watch()
    one = peer("stalls.unsent_data_is_limited")
    one.start()
    seen.until(lambda: seen.stalls(one.pid, ongoing=True, direction=Direction.SEND))
    ongoing = seen.stalls(one.pid, ongoing=True, direction=Direction.SEND)
    assert {stall.cause for stall in ongoing} == {Cause.PEER_WINDOW}
    one.start()  # the peer reads
    one.finish()
    seen.until(lambda: seen.stalls(one.pid, ongoing=False, direction=Direction.SEND))


def test_a_blocking_send_is_as_long_as_it_stayed(watch, peer):
    """More than all buffers in one call, to a peer that begins to read late."""
    seen = watch()
    one = peer("stalls.large_send", 12_000_017)
    one.start()
    seen.until(lambda: len(seen.stalls(one.pid, ongoing=True)) >= 3)
    one.start()  # the peer reads
    bounds = one.finish()
    seen.until(lambda: seen.stalls(one.pid, ongoing=False))
    (ended,) = seen.stalls(one.pid, ongoing=False)
    assert ended.direction is Direction.SEND
    assert ended.cause is Cause.PEER_WINDOW
    assert is_within(ended.duration_ns, bounds), (ended.duration_ns, bounds)


def test_data_that_came_in_time_and_was_read_late_is_no_stall(watch, peer):
    """The process slept beside its answer."""
    seen = watch()
    one = peer("stalls.reads_its_answers_late", 3)
    one.start()
    seen.until(one.has_sent)
    seen.drain()
    assert seen.stalls(one.pid) == []


def test_idle_servers_idle_clients_and_log_senders_are_silent(watch, peer):
    seen = watch()
    one = peer("stalls.idle_and_one_way")
    assert seen.waits_for_nothing(one.pid, peer("stalls.hangs_for_ever").pid)


def test_a_resolver_that_waits_for_a_datagram(watch, peer):
    seen = watch()
    answered_once_seen(seen, peer("stalls.resolver"))


def test_a_download_that_stops_at_a_hole(watch, peer):
    """A segment is lost again and again, those after it are here: more was coming."""
    seen = watch()
    one = peer("stalls.hole_in_a_download", prefix=in_namespace())
    one.start()
    seen.until(lambda: seen.stalls(one.pid, ongoing=True, direction=Direction.RECEIVE))
    stall = seen.stalls(one.pid, ongoing=True, direction=Direction.RECEIVE)[0]
    assert stall.cause is Cause.LOSS


def test_who_accepted_before_the_start_waits_for_nothing(watch, peer):
    """Though no socket listens there any more: the SYN came from the other side."""
    one = peer("stalls.accepted_and_answered")
    seen = watch()
    assert seen.waits_for_nothing(one.pid, peer("stalls.hangs_for_ever").pid)


def test_a_process_that_reads_late_has_waited_until_the_reply_began(watch, peer):
    """An event loop that computes, while a reply comes in pieces."""
    seen = watch()
    for _ in range(TRIES):  # on a busy host the server may be late, or the first sample
        one = peer("stalls.busy_while_a_reply_comes")
        one.start()
        seen.for_stall_lengths(5, peer("stalls.hangs_for_ever").pid)
        began_ns = one.go()
        seen.drain()
        if began_ns < STALL_NS // 2 and not seen.stalls(one.pid):
            return
    raise AssertionError(began_ns, seen.stalls(one.pid))
