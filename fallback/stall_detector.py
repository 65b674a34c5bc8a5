"""Waits and stalls of a TCP connection from its samples, by the rules of `stalls`.

Each step returns a `Wait` or None.  Where the evidence does not decide, it returns None: a consumer
takes a stall for the root cause of a hang, so a false stall is worse than a missing one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from xctl_probe.events import Cause, Direction, Process, Stall
from xctl_probe.fallback.connection import (
    Connection,
    Wait,
    may_receive,
    waits_to_connect,
)
from xctl_probe.fallback.row import LISTENS, MS, SENDS_ONLY, UNKNOWN_HABIT
from xctl_probe.fallback.sock_diag import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT1,
    LAST_ACK,
    SYN_SENT,
    TIMER_PROBE,
    TIMER_RETRANSMIT,
    UNKNOWN_WINDOW,
    TcpInfo,
)
from xctl_probe.fallback.thread_evidence import Blocked
from xctl_probe.linux.socket_waits import NotRead
from xctl_probe.stalls.causes import Evidence, cause
from xctl_probe.stalls.policy import ANSWERS_APART_NS, expects_reply
from xctl_probe.stalls.reply_waits import ReplyWait, ReplyWaits
from xctl_probe.stalls.request_history import RequestHistory

# The kernel retries a lost SYN after a second, and later ones no sooner.
_FIRST_SYN_RETRY_NS = 1_000_000_000
# Stall lengths of a reply after which a transfer that was not reported counts as complete.
_DECIDED = 5
_CLOSING = (FIN_WAIT1, CLOSING, LAST_ACK)
_NO_LIMIT = (1 << 64) - 1


class ThreadEvidence(Protocol):
    """Evidence of the owner's threads about a connection, where they may be read.

    Each method raises NotRead where it could not be read in time.
    """

    def of_sending(self, connection: Connection) -> Blocked | None:
        """Return the thread or event loop that waits until it can send."""

    def of_closing(self, connection: Connection) -> Blocked | None:
        """Return the thread that waits in close() until all data is sent."""

    def of_receiving(self, connection: Connection) -> Blocked | None:
        """Return the thread that waits for data."""


class StallDetector:
    """Starts, continues and closes the stall of each connection.

    `stall_ns` is the stall length, in ns.
    """

    def __init__(self, stall_ns: int, evidence: ThreadEvidence, replies: ReplyWaits) -> None:
        self._stall_ns = stall_ns
        self._decided_ns = _DECIDED * replies.reply_ns
        self._evidence = evidence
        self._replies = replies

    def update(self, connection: Connection, owner: Process | None, now_ns: int) -> None:
        """Start, continue or close the stall of `connection`, after a sample.

        Where its process could not be read in time, nothing changes until the next sample.
        """
        try:
            wait = self._wait(connection, owner, now_ns)
        except NotRead:
            return
        running = connection.wait
        if running and (
            wait is None
            or wait.direction != running.direction
            or wait.since_ns > running.since_ns  # there was progress, and then none again
            or wait.probable > running.probable  # what was certain is over
        ):
            self.end(connection, owner, now_ns)
        elif running and wait:
            known = running.cause if _is_weaker(connection, wait, now_ns) else wait.cause
            wait = replace(
                wait, since_ns=running.since_ns, cause=known or wait.cause,
                reported=running.reported,
            )  # fmt: skip
        connection.wait = wait

    def _wait(self, connection: Connection, owner: Process | None, now_ns: int) -> Wait | None:
        if not connection.sample.inode:  # no process has it open: none can wait for it
            return None
        return (
            self._connecting(connection, now_ns)
            or self._sending(connection, owner, now_ns)
            or self._receiving(connection, owner, now_ns)
        )

    def end(self, connection: Connection, owner: Process | None, now_ns: int) -> None:
        """Close the ongoing stall, if there is one."""
        running, connection.wait = connection.wait, None
        if running is None:
            return
        end_ns = now_ns
        if running.direction is Direction.RECEIVE and connection.received_ns > running.since_ns:
            end_ns = connection.received_ns
        owner = running.reported or owner
        connection.ended.append(stall_of(connection, running, owner, end_ns, ongoing=False))

    def ongoing(
        self, connection: Connection, owner: Process | None, now_ns: int
    ) -> Iterator[Stall]:
        """Yield the ongoing stall, which is that of its `owner` from now on.

        The stall of a process that has no longer the socket is over.
        """
        wait = connection.wait
        if wait is None:
            return
        before, owner = wait.reported, owner or wait.reported
        if before and owner and before.pid != owner.pid:
            yield stall_of(connection, wait, before, now_ns, ongoing=False)
        if owner is not before:
            connection.wait = replace(wait, reported=owner)
        yield stall_of(connection, wait, owner, now_ns, ongoing=True)

    def _exceeds_threshold(self, since_ns: int, now_ns: int) -> bool:
        return now_ns - since_ns >= self._stall_ns

    def _connecting(self, connection: Connection, now_ns: int) -> Wait | None:
        if not waits_to_connect(connection):
            if connection.sample.state == SYN_SENT:
                connection.first_sample_ns = now_ns  # the SYN is sent later
            return None
        # First sampled during the connect: it has waited at least for its retries.
        lasted = connection.sample.timer_retries * _FIRST_SYN_RETRY_NS
        since_ns = min(connection.first_sample_ns, now_ns - lasted)
        if not self._exceeds_threshold(since_ns, now_ns):
            return None
        return Wait(Direction.CONNECT, since_ns, Cause.CONNECTING)

    def _sending(self, connection: Connection, owner: Process | None, now_ns: int) -> Wait | None:
        sample = connection.sample
        if sample.state in _CLOSING:
            return self._lingering(connection, now_ns)
        if sample.state not in (ESTABLISHED, CLOSE_WAIT) or not sample.wqueue:
            return None
        since_ns = connection.full_ns
        if since_ns is not None:
            if self._exceeds_threshold(since_ns, now_ns):
                return Wait(Direction.SEND, since_ns, send_cause(connection))
            return None
        since_ns = connection.wrote_ns
        # A buffer that is not full may still block a sender (TCP_NOTSENT_LOWAT, memory
        # pressure, a few bytes of window); then only the threads of the process show it.
        if not sample.info.notsent_bytes or not self._exceeds_threshold(since_ns, now_ns):
            return None
        if owner is None:
            # No owner: there are no threads to read, and no pid to report.
            held = connection.above_writeable_threshold and connection.held_by_window
            return Wait(Direction.SEND, since_ns, Cause.PEER_WINDOW) if held else None
        blocked = self._evidence.of_sending(connection)
        return (
            Wait(Direction.SEND, since_ns, send_cause(connection), blocked.tid) if blocked else None
        )

    def _lingering(self, connection: Connection, now_ns: int) -> Wait | None:
        """Return the wait in close() until the peer has all data (SO_LINGER, socket(7))."""
        since_ns = connection.full_ns or connection.wrote_ns
        if not connection.sample.wqueue or not self._exceeds_threshold(since_ns, now_ns):
            return None
        blocked = self._evidence.of_closing(connection)
        if blocked is None:
            return None
        return Wait(Direction.SEND, since_ns, send_cause(connection), blocked.tid)

    def _receiving(self, connection: Connection, owner: Process | None, now_ns: int) -> Wait | None:
        if not may_receive(connection) or connection.sample.rqueue:
            return None
        if connection.hole_ns is not None and self._exceeds_threshold(connection.hole_ns, now_ns):
            return Wait(Direction.RECEIVE, connection.hole_ns, Cause.LOSS)
        if connection.pending_ns is not None:
            wait = self._awaiting_reply(connection, connection.pending_ns, now_ns)
        else:
            wait = self._broken_off(connection, now_ns)
        stall = wait and self._filter_expected(connection, wait, owner, now_ns)
        if connection.host_silent_ns is None:
            return stall
        if wait and wait.tid is None and connection.pending_ns is None:
            wait = None  # maybe a spare connection
        return self._of_silent_host(connection, wait, stall, connection.host_silent_ns, now_ns)

    def _of_silent_host(
        self,
        connection: Connection,
        wait: Wait | None,
        stall: Wait | None,
        since_ns: int,
        now_ns: int,
    ) -> Wait | None:
        """Return the stall of a host that does not respond, also in an expected wait."""
        if stall is not None:
            return replace(stall, cause=Cause.KEEPALIVE)
        if not self._exceeds_threshold(since_ns, now_ns):
            return None
        thread = wait or self._evidence.of_receiving(connection)
        if thread is None:
            return None
        return Wait(Direction.RECEIVE, since_ns, Cause.KEEPALIVE, thread.tid)

    def _broken_off(self, connection: Connection, now_ns: int) -> Wait | None:
        if not connection.transfers or not self._exceeds_threshold(connection.received_ns, now_ns):
            return None
        thread = self._evidence.of_receiving(connection)
        paused_ns = now_ns - connection.received_ns
        if thread is None and connection.wait is None and paused_ns >= self._decided_ns:
            connection.flow_begin_ns = 0  # it is complete, as far as anything shows
            return None
        return Wait(Direction.RECEIVE, connection.received_ns, None, thread.tid if thread else None)

    def _awaiting_reply(self, connection: Connection, since_ns: int, now_ns: int) -> Wait | None:
        history, peer = connection.history, connection.peer_history
        if not self._exceeds_threshold(since_ns, now_ns):
            return None
        if history.one_way():
            since_ns = connection.sent_ns  # until then the process was not waiting
            if not self._turned_to_receive(connection, now_ns):
                return None
            history = peer = RequestHistory()  # only a thread in a receive shows a wait now
        sample = connection.sample
        if sample.info.notsent_bytes and not self._exceeds_threshold(connection.wrote_ns, now_ns):
            # The process is still writing a long request.  Once it is known to wait, data that it
            # adds during a retransmit of the request changes nothing.
            wait = connection.wait
            waited = wait and wait.direction is Direction.RECEIVE and not wait.probable
            if not (waited and sample.info.backoff):
                return None
        why = _reply_cause(connection)
        expected = expects_reply(history, peer, blocked=False)
        if expected and connection.usual.is_known():  # reading the threads costs more
            return Wait(Direction.RECEIVE, since_ns, why)
        thread = self._evidence.of_receiving(connection)
        connection.listened = bool(connection.listened or thread)
        if not expected and (thread is None or not expects_reply(history, peer, blocked=True)):
            return None
        return Wait(Direction.RECEIVE, since_ns, why, thread.tid if thread else None)

    def _turned_to_receive(self, connection: Connection, now_ns: int) -> bool:
        """True where the process only sent until now, and has a thread in a receive now.

        An upload in slow pieces finishes this way.  A process with a thread in a receive beside its
        sends, such as a subscriber that pings, expects no reply: where that is not known
        yet, the next send decides by what is read here.  The threads are read with backoff.
        """
        if connection.habit == LISTENS or not self._exceeds_threshold(connection.sent_ns, now_ns):
            return False
        if connection.wait is None and now_ns < connection.ask_ns:
            return False
        connection.ask_ns = now_ns + (now_ns - connection.sent_ns)
        if connection.habit == UNKNOWN_HABIT:
            thread = self._evidence.of_receiving(connection)
            connection.listened = bool(connection.listened or thread)
        return connection.habit == SENDS_ONLY

    def _filter_expected(
        self, connection: Connection, wait: Wait, owner: Process | None, now_ns: int
    ) -> Wait | None:
        """Return the wait, unless it is an expected wait."""
        delivered = not connection.sample.wqueue
        blocked = wait.tid is not None
        asked = ReplyWait(
            connection.socket, wait.since_ns, owner, connection.usual, delivered, blocked,
            lost=wait.cause is Cause.LOSS, transfer=connection.pending_ns is None,
            answered_elsewhere=connection.answers.last_ns > wait.since_ns + self._stall_ns // 2,
            answered_lately=now_ns - connection.answers.idle_ns < ANSWERS_APART_NS,
            one_sided=connection.is_one_sided,
        )  # fmt: skip
        reply_stall = self._replies.observe(asked, now_ns)
        if reply_stall is None:
            return None
        return replace(
            wait, since_ns=reply_stall.since_ns, cause=reply_stall.cause or wait.cause,
            probable=reply_stall.probable,
        )  # fmt: skip


def stall_of(
    connection: Connection, wait: Wait, owner: Process | None, now_ns: int, *, ongoing: bool
) -> Stall:
    """Return the stall event of a wait."""
    return Stall(
        owner, connection.socket, wait.direction, now_ns - wait.since_ns, ongoing, wait.cause,
        wait.tid, probable=wait.probable,
    )  # fmt: skip


def send_cause(connection: Connection) -> Cause | None:
    """Return why the send buffer of a connection keeps its data; None where nothing decides."""
    sample, info = connection.sample, connection.sample.info
    # A receiver may close its window over data in flight, which is then retransmitted.
    zero_window = info.snd_wnd == 0
    unsent = bool(info.notsent_bytes and not info.unacked)
    probing = sample.timer == TIMER_PROBE or bool(info.probes)
    closed = _holds_back(connection) if unsent else info.snd_wnd == UNKNOWN_WINDOW and probing
    return cause(
        Evidence(
            Direction.SEND,
            retransmitted=bool(sample.timer == TIMER_RETRANSMIT and info.retransmits)
            and not zero_window,
            window_closed=zero_window or closed,
            paced=_paced(info),
            unsent=unsent,
            unsendable=bool(info.probes),
        )
    )


def _is_weaker(connection: Connection, wait: Wait, now_ns: int) -> bool:
    """True where an earlier cause of this wait is kept: a full buffer alone shows the least.

    A request that was held up, and has arrived since, was held up most of the time.
    """
    if wait.cause is Cause.NO_REPLY:
        delivered_ns = connection.sample.info.last_ack_recv_ms * MS
        return delivered_ns < (now_ns - wait.since_ns) // 2
    return wait.cause in (None, Cause.SEND_BUFFER)


def _reply_cause(connection: Connection) -> Cause | None:
    sample, info = connection.sample, connection.sample.info
    if not sample.wqueue:
        return cause(Evidence(Direction.RECEIVE))
    return cause(
        Evidence(
            Direction.RECEIVE,
            retransmitted=bool(info.unacked and info.retransmits),
            undelivered=bool(info.unacked),
            window_closed=_holds_back(connection),
            paced=_paced(info),
            unsent=bool(info.notsent_bytes),
            unsendable=bool(info.probes),
        )
    )


def _holds_back(connection: Connection) -> bool:
    """True when the window of the peer is the reason why unsent data waits, with none in flight.

    The kernel then runs its timer for probes of a closed window, whatever the reason is.
    """
    info = connection.sample.info
    closed = info.snd_wnd in (0, UNKNOWN_WINDOW) or info.snd_wnd < info.snd_mss
    return closed or connection.held_by_window


def _paced(info: TcpInfo) -> bool:
    """True where the sender's own limit (SO_MAX_PACING_RATE) determines its rate."""
    return 0 < info.max_pacing_rate < _NO_LIMIT and info.pacing_rate >= info.max_pacing_rate
