"""The answer about a process, for sockets and threads in every state that matters."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from xctl_probe.commands.why.sockets import Peer, Tcp, Udp
from xctl_probe.commands.why.verdict import findings
from xctl_probe.commands.why.waiters import Waiter
from xctl_probe.events import Cause, Direction
from xctl_probe.stalls.causes import Evidence, cause

FD, INODE = 7, 4_241
OPENED = Tcp(
    FD, INODE, "ESTABLISHED", "10.0.0.11:40009", "10.0.0.7:5432", 0, 0, opened=True, moved=False,
    probing=False, retransmits=0, next_try_ms=None, not_sent_bytes=0, unacked_segments=0,
    last_send_ms=12_400, last_receive_ms=13_000, peer_window_bytes=65_536,
)  # fmt: skip
ASKED = replace(OPENED, reply_ms=12_400.0)
ACCEPTED = replace(OPENED, opened=False)
UNKNOWN = replace(
    OPENED, opened=None, not_sent_bytes=None, unacked_segments=None, last_send_ms=None,
    last_receive_ms=None, peer_window_bytes=None,
)  # fmt: skip
CLOSED = replace(
    OPENED, send_queue=131_072, not_sent_bytes=131_072, full_ms=3_000.0, peer_window_bytes=0,
    send_cause=Cause.PEER_WINDOW,
)  # fmt: skip
IN_RECV = Waiter(reads=True, exclusive=True, ms=12_500.0)
IN_SEND = Waiter(writes=True, exclusive=True, ms=3_000.0)
IN_EPOLL = Waiter(reads=True)


def finding_of(tcp, waiter=None):
    """The one finding about a socket; None if there is none."""
    found = findings([tcp], [], {INODE: waiter} if waiter else {})
    assert len(found) <= 1
    return found[0] if found else None


def test_a_reply_is_awaited_in_recv():
    """The request was acknowledged: the network did its part, the peer has it."""
    finding = finding_of(ASKED, IN_RECV)
    assert finding.text == (
        "waits for a reply from 10.0.0.7:5432 for 12.4 s; "
        "its request was acknowledged, so the peer has it"
    )
    assert (finding.waits, finding.certain, finding.cause) == (True, True, Cause.NO_REPLY)


def test_an_equal_that_does_not_read_is_probably_waited_for():
    """A rank that accepted the connection waits as well; a server that has replied does not."""
    stopped = Peer(31, 239, "rank", stopped=True, listens=False)
    unread = replace(ACCEPTED, peer=stopped)
    finding = finding_of(unread, IN_EPOLL)
    assert finding.text == (
        "probably waits for rank (pid 239) at 10.0.0.7:5432 for 12.4 s, which has not read what "
        "was sent to it: 31 bytes lie in the queue there, and it is stopped; "
        "no wait if this was the reply of a server"
    )
    assert (finding.waits, finding.certain, finding.cause) == (True, False, Cause.NO_REPLY)


@pytest.mark.parametrize(
    "differs",
    [{"last_send_ms": 900}, {"last_receive_ms": 400}, {"last_send_ms": None}, {"peer": None}],
)
def test_whom_an_accepted_connection_does_not_wait_for(differs):
    """It was sent a moment ago; the peer sent last; nothing was sent; the peer is elsewhere."""
    peer = Peer(31, 239, "rank", stopped=True, listens=False)
    finding = finding_of(replace(ACCEPTED, **({"peer": peer} | differs)), IN_EPOLL)
    assert not finding.waits
    read = Peer(0, 239, "rank", stopped=True, listens=False)
    assert not finding_of(replace(ACCEPTED, peer=read), IN_EPOLL).waits


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        (Peer(0, 239, "server", stopped=True), "server (pid 239) is stopped"),
        (Peer(0, 239, "server", stopped=True, frozen=True), "server (pid 239) is frozen"),
        (Peer(0, None, None, stopped=True), "the peer is stopped"),
    ],
)
def test_more_is_probably_due_from_a_peer_that_is_stopped(peer, text):
    """It sent last, maybe a part of a reply; an idle connection appears the same."""
    finding = finding_of(replace(OPENED, peer=peer), IN_EPOLL)
    assert finding.text == (
        f"probably waits for data from 10.0.0.7:5432: the last came 13.0 s ago, and {text}"
    )
    assert (finding.waits, finding.certain, finding.ms) == (True, False, 13_000.0)


@pytest.mark.parametrize(("quiet_ms", "waits"), [(999, False), (1_000, True)])
def test_who_does_not_wait_for_a_request_has_not_finished_its_reply(quiet_ms, waits):
    peer = Peer(0, 239, "server", stopped=False, is_elsewhere=True)
    part = replace(OPENED, last_receive_ms=quiet_ms, last_send_ms=quiet_ms + 7, peer=peer)
    finding = finding_of(part, IN_EPOLL)
    assert finding.waits is waits
    if waits:
        assert finding.text == (
            "probably waits for more data from 10.0.0.7:5432: the last came 1.0 s ago, and no "
            "thread of server (pid 239) waits for a request there"
        )
        assert (finding.certain, finding.ms) == (False, 1_000.0)


def test_a_stopped_peer_without_which_it_went_on_may_be_that_of_an_idle_connection():
    stopped = replace(OPENED, peer=Peer(0, 239, "server", stopped=True))
    used = replace(OPENED, inode=INODE + 2, last_receive_ms=2_000, last_send_ms=2_000)
    found = findings([stopped, used], [], {INODE: IN_EPOLL, INODE + 2: IN_EPOLL})
    assert not any(finding.waits for finding in found)
    (finding,) = [one for one in found if one.inode == INODE]
    assert finding.text.startswith("may wait for data from 10.0.0.7:5432: the last came 13.0 s ago")
    assert finding.text.endswith("; it went on without that until 2.0 s ago")
    assert not finding.seen


def test_a_client_that_is_stopped_may_be_in_the_middle_of_a_message():
    """A rank that reads a chunk from a connection that it accepted; a server of one client."""
    finding = finding_of(
        replace(ACCEPTED, peer=Peer(0, 239, "rank", stopped=True, listens=False)), IN_RECV
    )
    assert (finding.waits, finding.seen) == (False, False)
    assert "rank (pid 239)" in finding.text
    assert "which is stopped, maybe in the middle of a message" in finding.text


def test_a_peer_that_waits_for_more_makes_the_wait_expected():
    """A blocking read of a queue, where nothing is late; or the peer has lost the request."""
    peer = Peer(0, 239, "redis-server", stopped=False, listens=True)
    for waiter, waits in ((IN_RECV, True), (IN_EPOLL, False)):
        finding = finding_of(replace(ASKED, peer=peer), waiter)
        assert finding.text == (
            "waits for the answer of redis-server (pid 239) at 10.0.0.7:5432 for 12.4 s, "
            "which has read the request and waits for other events, probably because it has no "
            "answer yet"
        )
        # A thread is in a receive; of an event loop, the reply may be nothing that it needs.
        assert (finding.waits, finding.seen) == (waits, waits)
        assert (finding.certain, finding.cause) == (False, None)
    on_its_way = finding_of(replace(ASKED, peer=peer, send_queue=23), IN_RECV)
    assert (on_its_way.waits, on_its_way.cause) == (True, None)


@pytest.mark.parametrize(
    ("peer", "expected_text"),
    [
        (Peer(23, 239, "server", False), "server (pid 239) has not read its request"),
        (Peer(23, 239, "server", True), "lie in the queue there, and it is stopped"),
        (Peer(23, None, None, False), "the peer has not read its request"),
        (Peer(0, 239, "server", False), "was acknowledged, so the peer has it"),
    ],
)
def test_a_request_that_no_process_has_read_is_shown_to_lie_there(peer, expected_text):
    finding = finding_of(replace(ASKED, peer=peer), IN_RECV)
    assert expected_text in finding.text
    assert (finding.waits, finding.cause) == (True, Cause.NO_REPLY)


def test_in_an_event_loop_a_reply_is_only_likely():
    """Unless sends on this connection were answered before."""
    assert finding_of(ASKED, IN_EPOLL).text.startswith("probably waits for a reply")
    assert not finding_of(ASKED, IN_EPOLL).certain
    assert finding_of(replace(ASKED, answered_before=True), IN_EPOLL).certain


def test_who_was_never_answered_may_expect_nothing():
    """A log sender's connection in an event loop."""
    text = finding_of(replace(ASKED, last_receive_ms=None), IN_EPOLL).text
    assert text.startswith("probably")
    assert "it may expect none" in text


def test_a_request_on_its_way_is_not_shown_to_be_delivered():
    """Sent, and not acknowledged yet."""
    finding = finding_of(replace(ASKED, send_queue=23, unacked_segments=1), IN_RECV)
    assert "on its way" in finding.text
    assert finding.cause is None


def test_no_process_who_reads_is_no_process_who_waits():
    """An idle connection in the pool of a process that computes."""
    assert finding_of(ASKED) is None
    assert finding_of(OPENED) is None


def test_who_sent_last_may_owe_the_rest():
    """An idle connection in an event loop, or one in mid-answer: both appear like this."""
    finding = finding_of(OPENED, IN_EPOLL)
    assert finding.text == (
        "waits for events, also from 10.0.0.7:5432: the last came 13.0 s ago, "
        "and whether more is due only the two programs know"
    )
    assert (finding.waits, finding.seen) == (False, False)
    listens = Peer(0, 239, "server", stopped=False, listens=True)
    finding = finding_of(replace(OPENED, peer=listens), IN_EPOLL)
    assert finding.text == "waits for events; at 10.0.0.7:5432 server (pid 239) awaits a request"
    assert (finding.waits, finding.seen) == (False, True)
    computes = replace(listens, computes=True)
    finding = finding_of(replace(OPENED, peer=computes), IN_EPOLL)
    assert finding.text.endswith(
        "and other threads of it compute, for whom only the two programs know"
    )
    assert (finding.waits, finding.seen) == (False, False)


def test_who_waits_for_its_event_loop_may_wait_for_a_worker_of_an_idle_peer():
    """As a client of Dask: the scheduler has answered, and given the task to somebody else."""
    idle = replace(OPENED, peer=Peer(0, 239, "scheduler", stopped=False, listens=True))
    (finding,) = findings([idle], [], {INODE: IN_EPOLL}, first_waits=True)
    assert finding.text == (
        "waits for another thread, and that for events; scheduler (pid 239) at 10.0.0.7:5432 does "
        "so as well, and whether it owes something only the two programs know"
    )
    assert (finding.waits, finding.seen) == (False, False)


def test_a_peer_that_is_frozen_is_shown_to_be():
    """It may have read the request before."""
    peer = Peer(23, 239, "server", stopped=True, frozen=True)
    assert finding_of(replace(ASKED, peer=peer), IN_RECV).text.endswith(
        "queue there, and it is frozen"
    )
    peer = replace(peer, unread_bytes=0)
    assert finding_of(replace(ASKED, peer=peer), IN_RECV).text.endswith(
        "server (pid 239) is frozen"
    )


def test_who_polls_busily_waits_for_a_peer_that_is_stuck():
    """Without such a peer it may as well compute."""
    spins = Waiter(spins=True)
    peer = Peer(23, 239, "server", stopped=True)
    finding = finding_of(replace(ASKED, peer=peer), spins)
    assert finding.text.startswith("probably waits for a reply from 10.0.0.7:5432 for 12.4 s")
    assert (finding.waits, finding.certain, finding.cause) == (True, False, Cause.NO_REPLY)
    for other in (None, Peer(0, 239, "server", stopped=False)):
        assert finding_of(replace(ASKED, peer=other), spins) is None
    assert finding_of(replace(ASKED, peer=peer, last_receive_ms=None), spins) is None
    assert finding_of(replace(ACCEPTED, peer=peer), spins) is None


def test_who_makes_calls_all_the_while_may_poll_for_its_reply():
    """What it polls is not visible; a peer that has not read is a reason, also of who accepted."""
    calls = Waiter(spins=True, calls=True)
    finding = finding_of(ASKED, calls)
    assert (finding.waits, finding.seen, finding.ms) == (False, False, 12_400.0)
    assert finding_of(replace(ASKED, reply_ms=900.0), calls) is None
    sent = replace(ACCEPTED, last_send_ms=7_000, last_receive_ms=9_000)
    finding = finding_of(replace(sent, peer=Peer(23, 239, "rank", stopped=False)), calls)
    assert (finding.waits, finding.certain) == (True, False)
    read = finding_of(replace(sent, peer=Peer(0, 239, "rank", stopped=False)), calls)
    assert (read.waits, read.seen) == (False, False)


def test_who_polls_for_its_first_reply_waits_for_a_peer_that_has_not_read_the_request():
    peer = Peer(23, 239, "server", stopped=False)
    first = replace(ASKED, last_receive_ms=None, peer=peer)
    finding = finding_of(first, Waiter(spins=True, calls=True))
    assert (finding.waits, finding.certain) == (True, False)
    assert "has not read its request: 23 bytes" in finding.text
    for other in (None, Peer(0, 239, "server", stopped=False)):
        finding = finding_of(replace(first, peer=other), Waiter(spins=True, calls=True))
        assert (finding.waits, finding.seen) == (False, False)
        assert finding_of(replace(first, peer=other), Waiter(spins=True)) is None


def test_who_wakes_up_often_may_poll_for_its_reply():
    """It receives without blocking, and sleeps in between; a peer that is stuck is a reason."""
    naps = Waiter(naps=True)
    finding = finding_of(ASKED, naps)
    assert finding.text == (
        "asked 10.0.0.7:5432 12.4 s ago and got no reply, and a thread wakes up often, as if it "
        "polled for it"
    )
    assert (finding.waits, finding.seen) == (False, False)
    for peer in (Peer(23, 239, "server", stopped=False), Peer(0, 239, "server", stopped=True)):
        finding = finding_of(replace(ASKED, peer=peer), naps)
        assert finding.text.startswith("probably waits for a reply from 10.0.0.7:5432 for 12.4 s")
        assert (finding.waits, finding.certain) == (True, False)
    for socket in (
        OPENED,  # answered
        ACCEPTED,
        replace(ASKED, reply_ms=900.0),
        replace(ASKED, receive_queue=23),
    ):
        assert finding_of(socket, naps) is None


@pytest.mark.parametrize(
    ("peer", "waits"),
    [(None, False), (Peer(0, 239, "server", False), False), (Peer(23, 239, "server", False), True)],
)
def test_also_the_first_request_may_be_polled_for_between_naps(peer, waits):
    first = replace(ASKED, last_receive_ms=None, peer=peer)
    finding = finding_of(first, Waiter(naps=True))
    assert (finding.waits, finding.seen, finding.certain) == (waits, waits, False)


def test_who_awaits_no_reply_and_makes_calls_may_poll():
    """As NCCL and MPI do: which socket is not visible, so only a stopped peer is a reason."""
    polls, runs = Waiter(spins=True, calls=True), Waiter(spins=True)
    fed = replace(ACCEPTED, last_send_ms=None, last_receive_ms=7_000)
    finding = finding_of(fed, polls)
    assert (finding.waits, finding.seen, finding.ms) == (False, False, 7_000.0)
    stopped = Peer(0, 239, "rank", stopped=True)
    finding = finding_of(replace(fed, peer=stopped), polls)
    assert finding.text.startswith("probably waits for data from 10.0.0.7:5432 for 7.0 s; rank")
    assert (finding.waits, finding.certain) == (True, False)
    assert finding_of(fed, runs) is None
    assert not finding_of(replace(fed, last_send_ms=9_000), polls).seen
    assert not finding_of(replace(OPENED, last_receive_ms=7_000), polls).seen
    idle = Peer(0, 239, "rank", stopped=False, listens=True)
    assert finding_of(replace(fed, peer=idle), polls) is None
    assert finding_of(replace(fed, last_receive_ms=900), polls) is None


def test_who_was_answered_before_waits_rather_than_who_never_was():
    """Two connections in one event loop; the older one only ever sent a greeting."""
    hello = replace(ASKED, inode=1, reply_ms=60_000.0, last_receive_ms=None)
    found = findings([hello, ASKED], [], {1: IN_EPOLL, INODE: IN_EPOLL})
    assert [finding.inode for finding in found] == [INODE, 1]


@pytest.mark.parametrize(
    ("sent_ms", "waits"),
    [(9_600, False), (12_000, True), (300, True)],
    ids=["went on for seconds", "silent since then", "heartbeats"],
)
def test_an_event_loop_that_went_on_without_a_reply_may_expect_none(sent_ms, waits):
    """As a pair of ranks that is used for the first broadcast only."""
    other = replace(ACCEPTED, inode=INODE + 1, last_send_ms=sent_ms, last_receive_ms=13_000)
    first = findings([ASKED, other], [], {INODE: IN_EPOLL})[0]
    assert first.inode == INODE
    assert (first.waits, first.seen) == (waits, waits)
    assert first.text.endswith("it went on without that until 9.6 s ago") != waits


@pytest.mark.parametrize(
    ("asked", "waiter"),
    [
        (ASKED, IN_RECV),
        (replace(ASKED, answered_before=True), IN_EPOLL),
        (replace(ASKED, peer=Peer(31, 239, "rank", stopped=False)), IN_EPOLL),
    ],
    ids=["in a receive", "replies came before", "the request was not read"],
)
def test_what_is_known_of_a_wait_counts_more_than_that_others_went_on(asked, waiter):
    other = replace(ACCEPTED, inode=INODE + 1, last_send_ms=9_600)
    assert findings([asked, other], [], {INODE: waiter})[0].waits


@pytest.mark.parametrize(("waiter", "waits"), [(IN_EPOLL, False), (IN_RECV, True)])
def test_an_event_loop_beside_a_thread_that_computes_may_expect_nothing(waiter, waits):
    """As that of a rank for which the others wait."""
    (finding,) = findings([ASKED], [], {INODE: waiter}, computes=True)
    assert (finding.waits, finding.seen) == (waits, waits)
    assert finding.text.endswith("a thread of it runs all the while") != waits


@pytest.mark.parametrize("computes", [True, False])
def test_what_is_not_sent_is_no_guess_about_a_reply(computes):
    """That of an event loop which goes on elsewhere has a text of its own."""
    stuck = replace(CLOSED, full_ms=None)
    other = replace(ACCEPTED, inode=INODE + 1, last_send_ms=1_100, last_receive_ms=1_100)
    alone = findings([stuck], [], {INODE: IN_EPOLL})[0]
    beside = findings([stuck, other], [], {INODE: IN_EPOLL}, computes=computes)[0]
    assert (beside.inode, beside.text, beside.waits) == (INODE, alone.text, alone.waits)
    assert alone.text.endswith("though this process may not be waiting for that")


def test_an_exchange_of_milliseconds_is_no_wait():
    """That is how networks work."""
    assert finding_of(replace(ASKED, reply_ms=99.0), IN_RECV) is None


def test_a_peer_that_does_not_read_is_named():
    """Its window is closed, and data waits to be sent."""
    unread = Peer(9_001, 239, "server", stopped=False)
    stopped = Peer(0, 239, "server", stopped=True)
    for peer in (None, unread, stopped):
        finding = finding_of(replace(CLOSED, peer=peer), IN_SEND)
        assert finding.text == (
            "the peer 10.0.0.7:5432 does not read: its window is closed for 3.0 s; "
            "128.0 KiB wait to be sent"
        )
        assert (finding.cause, finding.certain) == (Cause.PEER_WINDOW, True)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"peer": Peer(0, 239, "server", stopped=False)}, "has read all: its receive buffer is"),
        ({"peer_window_bytes": 576}, "10.0.0.7:5432, 576 bytes, is too small for more for 3.0 s"),
    ],
)
def test_a_peer_with_a_small_buffer_is_not_shown_to_leave_data_unread(change, text):
    finding = finding_of(replace(CLOSED, **change), IN_SEND)
    assert text in finding.text
    assert "does not read" not in finding.text
    assert finding.cause is Cause.PEER_WINDOW


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (Cause.PACING, "the sender itself limits its rate to 10.0.0.7:5432 (SO_MAX_PACING_RATE)"),
        (Cause.LOCAL_DROP, "this host drops what it sends to 10.0.0.7:5432"),
        (None, "what is to be sent to 10.0.0.7:5432 does not leave this host"),
    ],
)
def test_what_this_host_holds_back_is_not_due_to_the_peer(cause, text):
    """The kernel probes the peer's window then, too."""
    held = replace(CLOSED, probing=True, send_cause=cause, peer_window_bytes=65_536)
    finding = finding_of(held, IN_SEND)
    assert finding.text == f"{text}: the send buffer is full"
    assert (finding.waits, finding.cause, finding.ms) == (True, cause, 3_000.0)
    empties = finding_of(replace(held, full_ms=None), IN_SEND)
    if cause is None:
        assert empties is None
    else:  # below its limit the buffer still keeps the thread
        assert empties.text == f"{text}, and a thread waits to send"
        assert (empties.waits, empties.cause, empties.ms) == (True, cause, 3_000.0)
    assert finding_of(replace(held, full_ms=None)) is None


def test_every_cause_of_a_send_has_words():
    """Keepalives are sent only while no data waits."""
    others = [name for name in Evidence._fields if name not in ("direction", "host_silent")]
    for flags in itertools.product((False, True), repeat=len(others)):
        why = cause(Evidence(Direction.SEND, **dict(zip(others, flags, strict=True))))
        held = replace(CLOSED, send_cause=why, peer_window_bytes=65_536)
        assert finding_of(held, IN_SEND).cause is why


def test_a_window_that_pacing_leaves_open_is_not_blamed():
    """While the sender waits for its own rate, the window may count as the limit, too."""
    held = replace(CLOSED, send_cause=Cause.PACING, window_share=0.93)
    assert finding_of(held, IN_SEND).cause is Cause.PACING


def test_a_closed_window_that_no_process_waits_for_is_reported_apart():
    """The buffer has room, so the process may go on."""
    finding = finding_of(
        replace(OPENED, send_queue=23, not_sent_bytes=23, send_cause=Cause.PEER_WINDOW)
    )
    assert "may not be waiting for that" in finding.text
    assert not finding.certain


def test_a_peer_that_reads_slowly_is_reported():
    """Its window opens now and then."""
    slow = replace(OPENED, send_queue=4_096, not_sent_bytes=4_096, window_share=0.83)
    assert finding_of(slow, IN_SEND).text == (
        "the window of the peer 10.0.0.7:5432 held this side up 83% of the sampled time: "
        "the peer reads too slowly, or its receive buffer is small"
    )


def test_a_slow_path_is_reported_by_the_full_buffer():
    """The window is open, nothing is retransmitted."""
    full = replace(
        OPENED, send_queue=4_096, unacked_segments=3, full_ms=700.0, send_cause=Cause.SEND_BUFFER
    )
    assert finding_of(full, IN_SEND).cause is Cause.SEND_BUFFER


def test_losses_come_with_the_next_attempt():
    """How many so far, and when the kernel tries again."""
    lost = replace(
        ASKED, send_queue=23, unacked_segments=1, retransmits=4, next_try_ms=6_000,
        unanswered_ms=6_200.0,
    )  # fmt: skip
    finding = finding_of(lost, IN_RECV)
    assert finding.text == (
        "no packet gets through to 10.0.0.7:5432 for 6.2 s: 4 retransmits, next in 6.0 s"
    )
    assert finding.cause is Cause.LOSS


def test_a_connect_is_reported_with_or_without_retries():
    """At first it is just under way."""
    connecting = replace(OPENED, state="SYN_SENT", unacked_segments=1, unanswered_ms=300.0)
    assert finding_of(connecting).text == "still connecting to 10.0.0.7:5432 for 0.30 s"
    connecting = replace(connecting, retransmits=1, next_try_ms=1_900, unanswered_ms=2_100.0)
    assert finding_of(connecting).text == (
        "still connecting to 10.0.0.7:5432 for 2.1 s: 2 SYNs unanswered, next in 1.9 s"
    )


def test_a_connect_whose_syn_has_not_left_is_no_wait():
    """TCP_FASTOPEN_CONNECT: the SYN goes with the first send.  /proc/net does not show it."""
    deferred = replace(OPENED, state="SYN_SENT", unacked_segments=0, unanswered_ms=1_000.0)
    assert finding_of(deferred) is None
    assert finding_of(replace(deferred, unacked_segments=None)).waits


def test_a_hole_is_a_lost_packet():
    """Later data has arrived."""
    finding = finding_of(replace(OPENED, hole_ms=1_300.0))
    assert "was lost: what follows it arrived 1.3 s ago" in finding.text
    assert finding_of(replace(ACCEPTED, hole_ms=1_300.0), IN_RECV).text == finding.text
    assert finding_of(replace(ACCEPTED, hole_ms=1_300.0)) is None


def test_a_host_that_answers_no_keepalive_keeps_who_reads_waiting():
    """Also who has asked for nothing, or waits as expected."""
    for socket in (OPENED, ASKED):
        dead = replace(socket, unanswered_keepalives=5, heard_ms=10_400)
        finding = finding_of(dead, IN_RECV)
        assert finding.text == (
            "waits for data from 10.0.0.7:5432, whose host does not answer: "
            "5 keepalives unanswered, nothing came for 10.4 s"
        )
        assert (finding.waits, finding.certain) == (True, True)
        assert (finding.cause, finding.ms) == (Cause.KEEPALIVE, 10_400.0)
        likely = finding_of(dead, IN_EPOLL)
        assert likely.text.startswith("probably waits for data from 10.0.0.7:5432")
        assert (likely.waits, likely.certain) == (True, False)
        assert finding_of(dead) is None  # an idle connection in the pool of a process that computes
        assert (
            finding_of(replace(dead, unanswered_keepalives=1), IN_RECV).cause is not Cause.KEEPALIVE
        )


def test_a_server_whose_client_is_gone_waits_for_work():
    gone = replace(ACCEPTED, unanswered_keepalives=2, heard_ms=150_000)
    finding = finding_of(gone, IN_RECV)
    assert finding.text.startswith("waits for its client 10.0.0.7:5432, whose host does not answer")
    assert not finding.waits


def test_a_server_waits_for_work():
    """For a connection, or for the next request: neither is the network's fault."""
    listener = replace(OPENED, state="LISTEN", opened=None, local="0.0.0.0:80")
    accepting = Waiter(reads=True, accepts=True, exclusive=True)
    for finding in (
        finding_of(listener, accepting),
        finding_of(ACCEPTED, IN_RECV),
        finding_of(ACCEPTED, IN_EPOLL),
    ):
        assert not finding.waits
    assert finding_of(listener, accepting).text == "waits for connections on 0.0.0.0:80"
    assert finding_of(listener) is None


def test_more_data_is_only_probably_awaited():
    """It sits in recv and has asked for nothing: a download, or a subscription."""
    finding = finding_of(OPENED, IN_RECV)
    assert finding.text == (
        "probably waits for more data from 10.0.0.7:5432: the last came 13.0 s ago"
    )
    finding = finding_of(replace(OPENED, last_receive_ms=None), IN_RECV)
    assert "to send first" in finding.text
    assert not finding.certain


def test_a_connection_that_was_never_used_is_a_wait_of_the_first_thread_only():
    """For a greeting; another thread may keep it for later, as PyTorch's store does."""
    unused = replace(OPENED, last_send_ms=None, last_receive_ms=None)
    greeted = finding_of(unused, replace(IN_RECV, first=True))
    assert greeted.text == "probably waits for 10.0.0.7:5432 to send first"
    assert (greeted.waits, greeted.certain) == (True, False)
    finding = finding_of(unused, IN_RECV)
    assert finding.text == (
        "has a thread in a receive from 10.0.0.7:5432, a connection that was never used"
    )
    assert (finding.waits, finding.seen) == (False, False)


def test_data_that_was_not_read_is_nobodys_stall():
    """It is there: the process is what is slow."""
    assert finding_of(replace(ASKED, receive_queue=23), IN_RECV) is None


@pytest.mark.parametrize(
    ("waiter", "waits"),
    [(IN_RECV, True), (Waiter(reads=True, only=True), True), (IN_EPOLL, False)],
)
def test_data_that_do_not_wake_the_thread_up_are_too_few(waiter, waits):
    """SO_RCVLOWAT, MSG_PEEK with MSG_WAITALL; of several sockets another may be the one."""
    little, still = replace(OPENED, receive_queue=50), replace(waiter, still=True)
    finding = finding_of(little, still)
    how = "probably waits" if waits else "waits for events, also"
    assert finding.text == (
        f"{how} for more data from 10.0.0.7:5432: 50 bytes have come, which do not wake it up, "
        "as with SO_RCVLOWAT"
    )
    assert (finding.waits, finding.seen, finding.certain) == (waits, waits, False)
    for socket, how in (
        (little, waiter),  # it may have just begun to sleep
        (replace(little, moved=True), still),
        (replace(little, opened=False), still),  # a client has not asked all of it
    ):
        assert finding_of(socket, how) is None


def test_without_times_less_is_shown():
    """/proc/net has queues, timers and states."""
    assert finding_of(UNKNOWN, IN_RECV).text.startswith("probably waits for data")
    assert finding_of(UNKNOWN, IN_EPOLL) is None
    closed = replace(UNKNOWN, send_queue=99, probing=True, send_cause=Cause.PEER_WINDOW)
    assert finding_of(closed, IN_SEND).text == (
        "the peer 10.0.0.7:5432 does not read: its window is closed; 99 bytes wait to be sent"
    )


def test_a_datagram_may_be_a_dns_answer():
    """A connected UDP socket and a thread in recv on it, or in poll."""
    udp = Udp(FD, INODE, "10.0.0.11:40009", "10.0.0.2:53", 0, 0, 0)
    (finding,) = findings([], [udp], {INODE: IN_RECV})
    assert finding.text == "waits for a DNS answer from 10.0.0.2:53 for 12.5 s"
    (finding,) = findings([], [replace(udp, remote=None)], {INODE: IN_RECV})
    assert not finding.waits
    assert findings([], [udp], {}) == []
    (finding,) = findings([], [udp], {INODE: IN_EPOLL})
    assert finding.text == "probably waits for a DNS answer from 10.0.0.2:53"
    assert (finding.waits, finding.certain) == (True, False)


@pytest.mark.parametrize(("port", "seen"), [(40_009, False), (53, True)])
def test_on_a_port_of_a_client_s_a_datagram_may_be_an_answer(port, seen):
    """The kernel does not keep whether the socket sent anything."""
    udp = Udp(FD, INODE, f"10.0.0.11:{port}", None, 0, 0, 0)
    for waiter in (IN_RECV, IN_EPOLL):
        (finding,) = findings([], [udp], {INODE: waiter}, range(32_768, 61_000))
        assert finding.text == f"waits for datagrams on 10.0.0.11:{port}"
        assert (finding.waits, finding.seen) == (False, seen)


def test_who_polls_a_connected_datagram_socket_alone_probably_waits():
    """In epoll too, as Go does; with other sockets it is an idle event loop, but for DNS."""
    udp = Udp(FD, INODE, "10.0.0.11:40009", "10.0.0.2:3001", 0, 0, 0)
    (finding,) = findings([], [udp], {INODE: Waiter(reads=True, only=True)})
    assert finding.text == "probably waits for a datagram from 10.0.0.2:3001"
    assert (finding.waits, finding.certain, finding.cause) == (True, False, Cause.NO_REPLY)
    (finding,) = findings([], [udp], {INODE: IN_EPOLL})
    assert not finding.waits
    (finding,) = findings([], [replace(udp, remote="10.0.0.2:53")], {INODE: IN_EPOLL})
    assert finding.text == "probably waits for a DNS answer from 10.0.0.2:53"
    assert findings([], [replace(udp, receive_queue=23)], {INODE: Waiter(reads=True)}) == []


def test_who_polls_an_unconnected_one_with_a_timeout_may_be_a_resolver():
    """Nothing shows whether it has sent; services choose their port, or wait without a limit."""
    polls = Waiter(reads=True, exclusive=True, ms=2_500.0, only=True, gives_up=True)
    udp = Udp(FD, INODE, "0.0.0.0:40009", None, 0, 0, 0, chosen_port=True)
    (finding,) = findings([], [udp], {INODE: polls})
    assert finding.text == (
        "probably waits for an answer on 0.0.0.0:40009 for 2.5 s: it polls nothing else"
    )
    assert (finding.waits, finding.certain, finding.cause) == (True, False, None)
    for other, waiter in (
        (replace(udp, chosen_port=False), polls),
        (udp, replace(polls, gives_up=False)),
        (udp, replace(polls, only=False, exclusive=False)),
        (udp, IN_RECV),
    ):
        (finding,) = findings([], [other], {INODE: waiter})
        assert not finding.waits


def test_a_datagram_is_held_up_by_a_full_send_buffer():
    udp = Udp(FD, INODE, "10.0.0.11:40009", "10.0.0.2:9", 0, 20_480, 0)
    (finding,) = findings([], [udp], {INODE: IN_SEND})
    assert finding.text == (
        "waits to send a datagram to 10.0.0.2:9 for 3.0 s: the path is slower than the sender, "
        "its send buffer is full (20.0 KiB)"
    )
    assert (finding.waits, finding.certain, finding.cause) == (True, True, Cause.SEND_BUFFER)
    assert findings([], [replace(udp, send_queue=0)], {INODE: IN_SEND}) == []
    (finding,) = findings([], [replace(udp, remote=None)], {INODE: IN_SEND})
    assert finding.text.startswith("waits to send a datagram from 10.0.0.11:40009 for 3.0 s: ")


def test_what_is_certain_and_longest_comes_first():
    """The verdict is the first."""
    sockets = [
        replace(ACCEPTED, inode=1),
        replace(ASKED, inode=2, reply_ms=60_000.0),
        replace(ASKED, inode=3, reply_ms=200.0),
        replace(ASKED, inode=5, reply_ms=300.0),
    ]
    waiting = {1: IN_RECV, 2: IN_EPOLL, 3: IN_RECV, 5: IN_RECV}
    assert [f.inode for f in findings(sockets, [], waiting)] == [5, 3, 2, 1]


@pytest.mark.parametrize("stall_ms", [1, 100, 12_400, 12_401])
def test_a_wait_counts_from_stall_ms_on(stall_ms):
    """As in the stream; --stall-ms of the command line."""
    found = findings([ASKED], [], {INODE: IN_RECV}, stall_ms=stall_ms)
    assert len(found) == (stall_ms <= 12_400)
