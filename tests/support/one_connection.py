"""The rules of `fallback/progress.py` for one connection, in the order of their words.

The oracle of its tests: no arrays, one value after another.

`struct tcp_info` contains the time since the last data was sent and received (`last_data_sent`,
`last_data_recv`), to a scheduler tick.  The beginning of a stall is therefore exact, although no
sample was taken then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from xctl_probe.fallback.sock_diag import (
    ESTABLISHED,
    GOT_FIN,
    LISTEN,
    UNKNOWN_PACKS,
    TcpSample,
)
from xctl_probe.stalls.policy import (
    DELAYED_ACK_MS,
    MOST_OF_MESSAGE,
    MOST_OF_PING,
    SILENCE_NS,
    is_transfer,
)
from xctl_probe.stalls.request_history import RequestHistory, Usual

MS = 1_000_000  # in ns
# A connection that was open at the start has a history if both sides sent this often.
_CONVERSATION_SEGMENTS = 8
# Whether a thread waits in a receive while sends get no reply.
UNKNOWN_HABIT, SENDS_ONLY, LISTENS = range(3)


class Counters(NamedTuple):
    """Counters to compare with the next sample: bytes, segments, `rwnd_limited` in us, queue."""

    state: int
    written: int
    segments_out: int
    segments_in: int
    acks_in: int  # without data
    rwnd_limited_us: int
    wqueue: int
    sent_payload: int
    received_payload: int


def counters_of(sample: TcpSample, before: TcpSample | None = None) -> Counters:
    """A socket that this side closed may be destroyed before the peer's FIN: nothing has come."""
    info, received = sample.info, sample.received_payload
    if before and before.info.bytes_received == info.bytes_received and before.state not in GOT_FIN:
        received = info.bytes_received
    return Counters(
        sample.state, sample.written, info.data_segs_out, info.data_segs_in,
        info.segs_in - info.data_segs_in,
        info.rwnd_limited_us, sample.wqueue, sample.sent_payload, received,
    )  # fmt: skip


@dataclass(slots=True, eq=False)
class OneConnection:
    """One TCP connection.

    `peer_history` is the request/reply history of its user with the remote address and port, over
    all connections.  Times are monotonic, in ns.
    """

    sample: TcpSample
    opened: bool
    peer_history: RequestHistory
    first_sample_ns: int  # when the first sample was taken
    counters: Counters  # of the latest sample
    history: RequestHistory = field(default_factory=RequestHistory)
    pending_ns: int | None = None  # when the request without a reply was complete
    order_ambiguous: bool = False  # both sent last within one tick
    unsolicited: bool = False  # a few bytes came last, after a silence while no reply was due
    sent_ns: int = 0  # the latest segment with data that went out
    wrote_ns: int = 0  # when the process last got something into the buffer
    received_ns: int = 0  # the latest arrival
    full_ns: int | None = None  # since when the send buffer is full
    held_by_window: bool = False  # the peer's window blocked sends since the last sample
    hole_ns: int | None = None  # since when out-of-order data waits for missing data
    out_of_order: int = 0  # segments that came so, when no unread data was left
    flow_begin_ns: int = 0  # since when data arrives without a pause; 0: none is expected
    flow_bytes: int = 0  # `received_payload` at that time
    keepalive_ns: int | None = None  # since when keepalives go unanswered
    listened: bool | None = None  # a thread was in a receive since the last send; None: not read
    habit: int = UNKNOWN_HABIT  # found before it sent again without a reply
    was_unread: bool = False  # in the sample before
    ask_ns: int = 0  # when to read again what a process waits in that only sends

    @property
    def idle(self) -> bool:
        """True when a stall cannot arise without new activity."""
        return (
            # A server that has replied waits for work.  Thousands of these have to be cheap.
            (self.pending_ns is None or not self.opened)
            and self.full_ns is None
            and self.hole_ns is None
            and not (self.opened and self._may_wait_later)
            and not self.sample.wqueue
            and self.sample.state == ESTABLISHED
        ) or self.sample.state == LISTEN

    @property
    def _may_wait_later(self) -> bool:
        return self.unsolicited or self.transfers or bool(self.sample.unanswered_keepalives)

    @property
    def transfers(self) -> bool:
        """True from when a sustained transfer to this side has begun until it is over."""
        return self.flow_begin_ns != 0 and is_transfer(
            self.received_ns - self.flow_begin_ns, self.sample.received_payload - self.flow_bytes
        )

    @property
    def usual(self) -> Usual:
        """Usual latency of replies, on this connection and from this peer."""
        return Usual(self.history, self.peer_history)

    def init_from_first_sample(self, now_ns: int, last_sample_ns: int) -> None:
        """Derive the state from the first sample; of the time before, only totals are known.

        `last_sample_ns` is the time of the sample without this connection, 0 for no sample.
        """
        info = self.sample.info
        self.out_of_order = 0 if last_sample_ns else info.rcv_ooopack
        self.sent_ns = now_ns - info.last_data_sent_ms * MS
        self.wrote_ns = self.sent_ns if info.data_segs_out else now_ns
        self.received_ns = now_ns - info.last_data_recv_ms * MS
        self._begin_flow(now_ns)
        if not (info.data_segs_out and info.data_segs_in):
            if info.data_segs_out:
                self.pending_ns = self.sent_ns
        elif not self._sent_last():
            self._answered()
        else:
            self.pending_ns = self.sent_ns
            if info.data_segs_in >= max(_CONVERSATION_SEGMENTS, info.data_segs_out // 2):
                self.history.answered = 1
        self._update_queues(now_ns, last_sample_ns, wrote=False)

    def observe(self, sample: TcpSample, now_ns: int, last_sample_ns: int, stall_ns: int) -> None:
        """Update the state from the next sample; `last_sample_ns` is the time of the one before."""
        self.was_unread = self.sample.rqueue > 0
        before, self.counters = self.counters, counters_of(sample, self.sample)
        self.sample = sample
        if sample.state == ESTABLISHED and not sample.wqueue and sample.info.bytes_sent:
            self.opened = self.opened or sample.opened  # the first sample may be wrong
        wrote = self.counters.written > before.written
        received = self.counters.received_payload > before.received_payload
        if wrote or received:
            self._update_turn(before, wrote, received, now_ns, last_sample_ns, stall_ns)
        elif (
            self.order_ambiguous
            and before.wqueue  # else it acknowledged nothing new
            and acknowledged_late(sample.info.last_data_recv_ms, sample.info.last_ack_recv_ms)
        ):
            self.order_ambiguous = False
            if not self.unsolicited:  # else it was a ping, and this its pong
                self.pending_ns = self.sent_ns
        elif (
            self.unsolicited
            and now_ns - self.received_ns >= stall_ns
            and not (self.was_unread or sample.rqueue)
        ):
            # A pong that is acknowledged later still asks for nothing.
            self.unsolicited = self.order_ambiguous = False
        if wrote:
            self.wrote_ns = now_ns
        self.held_by_window = self.counters.rwnd_limited_us > before.rwnd_limited_us
        self._update_queues(now_ns, last_sample_ns, wrote=wrote)

    def closed_ns(self, last: TcpSample, now_ns: int, last_sample_ns: int) -> int:
        """Return when the socket was destroyed, from its last sample, which was taken then.

        `now_ns` is when the sample was read, up to an interval later.  Its ages count from the
        close; where nothing was sent or nothing received since the sample before, this shows the
        time.  Else `now_ns`.
        """
        before, info = self.counters, last.info
        shown = []
        if info.data_segs_out == before.segments_out:
            shown.append(self.sent_ns + info.last_data_sent_ms * MS)
        if counters_of(last, self.sample).received_payload == before.received_payload:
            shown.append(self.received_ns + info.last_data_recv_ms * MS)
        return min(max(*shown, last_sample_ns), now_ns) if shown else now_ns

    def _begin_flow(self, now_ns: int) -> None:
        self.flow_begin_ns, self.flow_bytes = now_ns, self.sample.received_payload

    def _update_turn(
        self, before: Counters, wrote: bool, received: bool, now_ns: int, last_sample_ns: int,
        stall_ns: int,
    ) -> None:  # fmt: skip
        info = self.sample.info
        transmitted = info.data_segs_out != before.segments_out
        last_send_ns = now_ns - info.last_data_sent_ms * MS if transmitted else now_ns
        pending = self.pending_ns is not None
        if received:
            last_ns = max(self.sent_ns, self.received_ns)
            self._note_received(before, wrote, now_ns, last_sample_ns, stall_ns)
            silence_ns = self.received_ns - last_ns
            may_be_ping = self.opened and not pending
            self.unsolicited = may_be_ping and self._is_ping(before, wrote, silence_ns)
        self.order_ambiguous = wrote and received and not self._sent_last(before, pending)
        if wrote and not self.order_ambiguous:
            rare = now_ns - last_sample_ns >= stall_ns
            read_late = self.was_unread or (received and rare)
            if self._is_pong(before, last_send_ns, stall_ns, read_late=read_late):
                self.unsolicited = False
            else:
                self._note_request(before, last_send_ns, stall_ns, rare=rare)
        if wrote:
            self.sent_ns = last_send_ns

    def _note_received(
        self, before: Counters, wrote: bool, now_ns: int, last_sample_ns: int, stall_ns: int
    ) -> None:
        paused = last_sample_ns - self.received_ns >= stall_ns  # as the sample before has shown
        # To a tick, it may seem older than the sample before, which does not contain it.
        self.received_ns = max(now_ns - self.sample.info.last_data_recv_ms * MS, last_sample_ns)
        pending_ns, self.pending_ns, self.listened = self.pending_ns, None, None
        if pending_ns is not None or wrote or paused:
            self._begin_flow(self.received_ns)
        if pending_ns is not None and not before.wqueue:  # else it was in flight
            waited_ns = self.received_ns - pending_ns
            self.usual.record_latency(waited_ns, stall_ns, self.received_ns)
        if pending_ns is not None or wrote:
            self._answered()

    def _note_request(
        self, before: Counters, last_send_ns: int, stall_ns: int, *, rare: bool
    ) -> None:
        went = self.counters.segments_out - before.segments_out
        many = rare and went > 1 and self.counters.written - before.written > MOST_OF_PING * went
        if self.pending_ns is None:
            self.pending_ns = last_send_ns
        elif not self._delivered(before):
            if not self.sample.info.backoff:  # else the kernel retransmits, which is no progress
                self.pending_ns = last_send_ns
        elif last_send_ns - self.sent_ns < stall_ns * (went if many else 1):
            self.pending_ns = last_send_ns  # one request, in pieces
        else:
            self._unanswered(
                self.counters.written - before.written
            )  # or a ping while it waits: the wait continues

    def _is_ping(self, before: Counters, wrote: bool, silence_ns: int) -> bool:
        """True for a few bytes in one segment after a silence; what was sent is no older.

        On a busy host a sample may find several of them, each with its pong.
        """
        came = self.counters.received_payload - before.received_payload
        times = self.counters.segments_in - before.segments_in
        went = self.counters.segments_out - before.segments_out
        sent_ms, received_ms = (
            self.sample.info.last_data_sent_ms,
            self.sample.info.last_data_recv_ms,
        )
        later = went == times and sent_ms <= received_ms
        later |= 0 < went == times - 1 and sent_ms > received_ms  # the last has no pong yet
        few = times > 0 and came <= MOST_OF_PING * times
        return few and silence_ns >= SILENCE_NS * times and (later or not wrote)

    def _is_pong(
        self, before: Counters, last_send_ns: int, stall_ns: int, *, read_late: bool
    ) -> bool:
        """True for as few bytes soon after a ping, or after it was read: they ask for nothing."""
        times = max(self.counters.segments_out - before.segments_out, 1)
        few = self.counters.written - before.written <= MOST_OF_PING * times
        soon = read_late or last_send_ns - self.received_ns < stall_ns
        return self.unsolicited and few and soon

    def _sent_last(self, before: Counters | None = None, pending: bool = False) -> bool:
        """See `sent_last`; `pending`: a request was outstanding before."""
        info = self.sample.info
        by_segments = False
        if before is not None:
            segments_out = info.data_segs_out - before.segments_out
            segments_in = info.data_segs_in - before.segments_in
            by_segments = (
                pending
                and segments_out == segments_in == 1
                # Else the reply acknowledged all: it is the later.
                and self.counters.acks_in - before.acks_in > (before.wqueue > 0)
            )
        return sent_last(
            info.last_data_sent_ms, info.last_data_recv_ms, info.last_ack_recv_ms,
            bool(self.sample.wqueue) or by_segments,
        )  # fmt: skip

    def _answered(self) -> None:
        self.history.answered += 1
        self.peer_history.answered += 1

    def _delivered(self, before: Counters) -> bool:
        """True when the peer has acknowledged all data written before the last sample."""
        return self.counters.written - self.sample.wqueue >= before.written

    def _unanswered(self, added: int) -> None:
        if self.listened or added <= MOST_OF_MESSAGE:
            self.habit = LISTENS
        elif self.listened is False and self.habit == UNKNOWN_HABIT:
            self.habit = SENDS_ONLY
        self.listened, self.ask_ns = None, 0
        self.history.unanswered += 1
        self.peer_history.unanswered += 1

    def _update_queues(self, now_ns: int, last_sample_ns: int, *, wrote: bool) -> None:
        sample = self.sample
        if not sample.unanswered_keepalives:
            self.keepalive_ns = None
        elif self.keepalive_ns is None:
            self.keepalive_ns = now_ns
        if sample.wmem_queued >= sample.sndbuf > 0:
            if self.full_ns is None or wrote:
                # The buffer was full soon after the last segment was sent.
                last_sent_ns = now_ns - sample.info.last_data_sent_ms * MS
                self.full_ns = max(last_sent_ns, last_sample_ns)
        elif wrote or not self.above_writeable_threshold:
            # Acknowledged bytes above the threshold do not wake the process.
            self.full_ns = None
        hole = self.opened and sample.rmem_alloc > 0 and sample.rqueue == 0
        packs = sample.info.rcv_ooopack
        grown = packs != self.out_of_order or packs == UNKNOWN_PACKS
        hole = hole and (grown or self.hole_ns is not None)
        if not sample.rmem_alloc:
            self.out_of_order = packs
        if not hole:
            self.hole_ns = None
        elif self.hole_ns is None or self.received_ns > self.hole_ns:
            self.hole_ns = max(self.received_ns, last_sample_ns)

    @property
    def above_writeable_threshold(self) -> bool:
        """True while the kernel does not wake a sender (sk_stream_is_writeable)."""
        return self.sample.wmem_queued * 3 > self.sample.sndbuf * 2


def sent_last(sent_ms: int, received_ms: int, ack_received_ms: int, shown: bool) -> bool:
    """True when the last data of this side is probably later than the last data of the peer.

    The times are ages, in ms.  Within one tick they are equal.  Then data without an
    acknowledgement, or with a late one, shows that this side sent last.  `shown`:
    data is unacknowledged, or the segments show it.
    """
    if sent_ms != received_ms:
        return sent_ms < received_ms
    return shown or acknowledged_late(received_ms, ack_received_ms)


def acknowledged_late(received_ms: int, ack_received_ms: int) -> bool:
    """True when an ACK without data came after the last data of the peer: it acknowledges ours.

    The peer delays such an ACK by 200 ms at most; a later one responds to a keepalive.
    """
    return 0 < received_ms - ack_received_ms <= DELAYED_ACK_MS
