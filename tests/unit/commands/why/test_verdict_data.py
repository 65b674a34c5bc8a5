"""The answer about a process that may be sent data: the rest of a reply, a request, a greeting."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.why_sockets import (
    ACCEPTED,
    ASKED,
    IN_EPOLL,
    IN_RECV,
    IN_SEND,
    INODE,
    OPENED,
    finding_of,
)

from xctl_probe.commands.why.sockets import Peer
from xctl_probe.commands.why.verdict import findings
from xctl_probe.commands.why.waiters import Waiter
from xctl_probe.events import Cause

UNKNOWN = replace(
    OPENED, opened=None, not_sent_bytes=None, unacked_segments=None, last_send_ms=None,
    last_receive_ms=None, peer_window_bytes=None,
)  # fmt: skip


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
    else:
        assert finding.text.startswith("waits for events, also from 10.0.0.7:5432: the last came ")
        assert not finding.seen


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
