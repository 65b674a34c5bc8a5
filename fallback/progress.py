"""What a sample shows of many connections at once: who sent last, who replied, and the queues.

A sample of a connection has the `FIELDS` of `message_arrays`.  `struct tcp_info` contains the time
since the last data was sent and received (`last_data_sent`, `last_data_recv`), to a scheduler tick.
The beginning of a stall is therefore exact, although no sample was taken then.

The functions change the rows that they are given in place.
"""

from __future__ import annotations

import numpy as np

from xctl_probe.fallback.candidates import note_active, unanswered_keepalives
from xctl_probe.fallback.message_arrays import Bools, Records
from xctl_probe.fallback.row import (
    LISTENS,
    MS,
    NOT_READ,
    SENDS_ONLY,
    UNKNOWN_HABIT,
    UNSET,
    Ints,
    Times,
    Turns,
    Values,
    history_of,
    keep_history,
)
from xctl_probe.fallback.sock_diag import (
    ESTABLISHED,
    GOT_FIN,
    LISTEN,
    SENT_FIN,
    SYN_SENT,
    UNKNOWN_PACKS,
)
from xctl_probe.stalls.policy import DELAYED_ACK_MS, MOST_OF_MESSAGE, MOST_OF_PING, SILENCE_NS
from xctl_probe.stalls.request_history import LONG_STALLS

# A connection that was open at the start has a history if both sides sent this often.
_CONVERSATION_SEGMENTS = 8
_OF_GOT_FIN = np.isin(np.arange(256), list(GOT_FIN))  # by state
_OF_SENT_FIN = np.isin(np.arange(256), list(SENT_FIN))
_RQUEUE = (1 << 32) - 1  # of the first of `queues`


def first_seen(rows: Records, sample: Records, times: Times) -> Turns:
    """Derive new rows from their first sample; of the time before, only totals are known."""
    now_ns = np.asarray(times.now_ns, np.int64)
    now = Values(sample)
    rows["opened"] = _opened(now)
    for name in ("pending_ns", "full_ns", "hole_ns", "keepalive_ns"):
        rows[name] = UNSET
    rows["listened"] = NOT_READ
    # What came out of order before the probe may long be in its place.
    rows["out_of_order"] = np.where(np.asarray(times.last_ns) == 0, now("rcv_ooopack"), 0)
    rows["first_sample_ns"] = now_ns
    _take_counters(rows, now, sample)
    lives = now("state") != LISTEN
    out, into = now("data_segs_out"), now("data_segs_in")
    sent_ns = now_ns - now("last_data_sent_ms") * MS
    rows["sent_ns"] = np.where(lives, sent_ns, 0)
    rows["wrote_ns"] = np.where(lives, np.where(out > 0, sent_ns, now_ns), 0)
    received_ns = now_ns - now("last_data_recv_ms") * MS
    rows["received_ns"] = np.where(lives, received_ns, 0)
    rows["flow_begin_ns"] = np.where(lives, now_ns, 0)
    rows["flow_bytes"] = np.where(lives, rows["received_payload"], 0)
    both = lives & (out > 0) & (into > 0)
    asked = both & _sent_last(now, now("wqueue") > 0)
    rows["pending_ns"] = np.where(asked | (lives & (out > 0) & (into == 0)), sent_ns, UNSET)
    conversed = asked & (into >= np.maximum(_CONVERSATION_SEGMENTS, out // 2))
    answered = both & ~asked
    rows["answered"] = answered | conversed
    _update_queues(rows, now, times, np.zeros(len(rows), np.bool_), lives)
    note_active(rows, now)
    return Turns(np.flatnonzero(answered), {}, np.zeros(0, np.int64))


def observe(rows: Records, sample: Records, times: Times) -> Turns:
    """Update rows from their next sample."""
    step = _Step(rows, sample, times)
    answered = step.arrivals()
    step.order()
    unanswered = step.requests()
    step.keep()
    _note_unanswered(rows, unanswered, step.added)
    _update_queues(rows, step.now, times, step.wrote, None)
    note_active(rows, step.now)
    return Turns(np.flatnonzero(answered), step.late_replies, np.flatnonzero(unanswered))


class _Step:
    """The turns of connections from one sample to the next."""

    def __init__(self, rows: Records, sample: Records, times: Times) -> None:
        self.rows, self.times = rows, times
        self.now_ns, self.last_ns, self.stall_ns = times
        was, now = self.was, self.now = Values(rows), Values(sample)
        for name in _COMPARED:
            was(name)
        self.went = now("data_segs_out") - was("segments_out")
        self.came = now("data_segs_in") - was("segments_in")
        self.opened = was.flags("opened")
        self.opened |= (was("state") == SYN_SENT) & (now("state") == ESTABLISHED)
        # The kernel reads the queue before it locks the socket: the first sample may be wrong.
        settled = (now("state") == ESTABLISHED) & (now("wqueue") == 0)
        self.opened |= settled & (now("bytes_sent") != 0) & _opened(now)
        self.ambiguous, self.unsolicited = was.flags("order_ambiguous"), was.flags("unsolicited")
        self.was_unread: Bools = (rows["queues"][:, 0] & _RQUEUE) > 0
        self.written, self.received_payload = _take_counters(rows, now, sample)
        self.added: Ints = self.written - was("written")
        self.wrote = self.added > 0
        self.received = self.received_payload > was("received_payload")
        self.pending_ns = was("pending_ns")
        self.pending = self.pending_ns != UNSET  # a request was outstanding before
        self.received_ns = was("received_ns")
        self.last_send_ns: Ints = np.where(
            self.went != 0, self.now_ns - now("last_data_sent_ms") * MS, self.now_ns
        )
        self.late_replies: dict[int, tuple[int, int]] = {}

    def arrivals(self) -> Bools:
        """Note what was received; return where it was a reply."""
        rows, received, was = self.rows, self.received, self.was
        replied: Bools = received & (self.pending | self.wrote)
        if not received.any():
            return replied
        paused = self.last_ns - self.received_ns >= self.stall_ns  # as the sample before has shown
        # To a tick, it may seem older than the sample before, which does not contain it.
        age_ns = self.now("last_data_recv_ms") * MS
        arrived_ns = np.maximum(self.now_ns - age_ns, self.last_ns)
        self.received_ns = np.where(received, arrived_ns, self.received_ns)
        begins = received & (self.pending | self.wrote | paused)
        rows["flow_begin_ns"][begins] = self.received_ns[begins]
        rows["flow_bytes"][begins] = self.received_payload[begins]
        waited = received & self.pending & (was("wqueue") == 0)  # else it was in flight
        self.late_replies = _note_late(rows, waited, self.pending_ns, self.received_ns, self.times)
        rows["answered"] += replied
        rows["listened"][received] = NOT_READ
        self.pending_ns = np.where(received, UNSET, self.pending_ns)
        return replied

    def order(self) -> None:
        """Decide which side sent last, and whether a few bytes came that ask for nothing."""
        wrote, received = self.wrote, self.received
        quiet = ~(wrote | received)
        if (quiet & (self.ambiguous | self.unsolicited)).any():
            self._decide_late(quiet)
        if received.any():
            self.unsolicited = np.where(received, self._pings(), self.unsolicited)
        self.ambiguous &= quiet
        both = wrote & received
        if both.any():
            shown = (self.now("wqueue") > 0) | self._asked_again()
            self.ambiguous |= both & ~_sent_last(self.now, shown)

    def _asked_again(self) -> Bools:
        """Return where the segments show a reply, and then the next request.

        With more segments each way, it may as well be a request that the peer acknowledged before
        it replied.  Where no ACK without data came but that of the request before, the reply
        acknowledged all: it is the later.
        """
        single = (self.went == 1) & (self.came == 1)
        acks = self.rows["acks_in"] - self.was("acks_in")
        found: Bools = self.pending & single & (acks > (self.was("wqueue") > 0))
        return found

    def _decide_late(self, quiet: Bools) -> None:
        """Decide what the sample before has left open."""
        late = quiet & self.ambiguous & _acknowledged_late(self.now)
        late &= self.was("wqueue") > 0  # else it acknowledged nothing new
        # Else it was a ping, and this its pong.
        self.pending_ns = np.where(late & ~self.unsolicited, self.was("sent_ns"), self.pending_ns)
        # A pong that is acknowledged later still asks for nothing.
        old = self.now_ns - self.received_ns >= self.stall_ns
        unread = self.was_unread | (self.now("rqueue") > 0)
        aged = quiet & ~late & self.unsolicited & old & ~unread
        self.unsolicited &= ~aged
        self.ambiguous &= ~(late | aged)

    def _pings(self) -> Bools:
        """Return where few bytes came in one segment after a silence; what was sent is no older.

        On a busy host a sample may find several of them, each with its pong.
        """
        came, was, now = self.came, self.was, self.now
        few = self.received_payload - was("received_payload") <= MOST_OF_PING * came
        pings: Bools = self.opened & ~self.pending & (came > 0) & few
        if not pings.any():
            return pings
        silence_ns = self.received_ns - np.maximum(was("sent_ns"), was("received_ns"))
        sent_ms, received_ms = now("last_data_sent_ms"), now("last_data_recv_ms")
        later = (self.went == came) & (sent_ms <= received_ms)
        # The last has no pong yet.
        later |= (self.went > 0) & (self.went == came - 1) & (sent_ms > received_ms)
        pings &= (silence_ns >= SILENCE_NS * came) & (later | ~self.wrote)
        return pings

    def requests(self) -> Bools:
        """Note the requests; return where the one before got no reply."""
        request: Bools = self.wrote & ~self.ambiguous
        if not request.any():
            return request
        written, was_written = self.written, self.was("written")
        if self.unsolicited.any():
            few = written - was_written <= MOST_OF_PING * np.maximum(self.went, 1)
            soon = self.last_send_ns - self.received_ns < self.stall_ns
            # On a busy host the process reads the ping late: the sample before has shown it unread,
            # or came before it.
            soon |= self.was_unread | (
                self.received & (self.now_ns - self.last_ns >= self.stall_ns)
            )
            pong = request & self.unsolicited & few & soon
            self.unsolicited &= ~pong
            request &= ~pong
        new = self.pending_ns == UNSET
        delivered = written - self.now("wqueue") >= was_written
        # While the kernel retransmits there is no progress.
        resent = ~delivered & (self.now("backoff") == 0)
        in_pieces = delivered & self._in_pieces()
        begins = request & (new | resent | in_pieces)
        self.pending_ns = np.where(begins, self.last_send_ns, self.pending_ns)
        # Or a ping while it waits: the wait continues.
        unanswered: Bools = request & ~new & delivered & ~in_pieces
        return unanswered

    def _in_pieces(self) -> Bools:
        """Return where the last send followed soon after the one before.

        Samples may be more than a stall length apart: with very many sockets, or on a busy host.
        Then it is the mean of several segments, which are larger than pings.
        """
        apart_ns = self.last_send_ns - self.was("sent_ns")
        several = (self.went > 1) & (self.added > MOST_OF_PING * self.went)
        several &= self.now_ns - self.last_ns >= self.stall_ns
        soon: Bools = apart_ns < self.stall_ns * np.where(several, self.went, 1)
        return soon

    def keep(self) -> None:
        """Set the rows."""
        rows, was, wrote = self.rows, self.was, self.wrote
        rows["opened"] = self.opened
        rows["order_ambiguous"], rows["unsolicited"] = self.ambiguous, self.unsolicited
        rows["pending_ns"], rows["received_ns"] = self.pending_ns, self.received_ns
        rows["sent_ns"] = np.where(wrote, self.last_send_ns, was("sent_ns"))
        rows["wrote_ns"][wrote] = np.broadcast_to(self.now_ns, len(rows))[wrote]
        rows["held_by_window"] = self.now("rwnd_limited_us") > was("rwnd_limited_us")


# Copied before the rows change.
_COMPARED = ("written", "received_payload", "sent_ns", "received_ns", "rwnd_limited_us", "wqueue",
             "acks_in")  # fmt: skip


def closed_ns(rows: Records, last: Records, now_ns: int, before_ns: Ints) -> Ints:
    """Return when sockets were destroyed, from their last samples, which were taken then.

    `now_ns` is when these were read, up to an interval later.  Their ages count from the close;
    where nothing was sent or nothing received since the sample before, at `before_ns`, this shows
    the time.  Else `now_ns`.
    """
    now = Values(last)
    _, received = _take_counters(rows.copy(), now, last)
    sent_ns = rows["sent_ns"] + now("last_data_sent_ms") * MS
    received_ns = rows["received_ns"] + now("last_data_recv_ms") * MS
    quiet_out = now("data_segs_out") == rows["segments_out"]
    quiet_in = received == rows["received_payload"]
    shown_ns = np.maximum(
        np.where(quiet_out, sent_ns, UNSET), np.where(quiet_in, received_ns, UNSET)
    )
    closes_ns = np.minimum(np.maximum(shown_ns, before_ns), now_ns)
    found: Ints = np.where(quiet_out | quiet_in, closes_ns, now_ns)
    return found


def _take_counters(rows: Records, now: Values, sample: Records) -> tuple[Ints, Ints]:
    """Keep what the next sample is compared with, see `sock_diag.TcpSample`.

    Return `written` and `received_payload`.
    """
    state, received = now("state"), now("bytes_received")
    # A socket that this side closed may be destroyed before the peer's FIN: nothing has come.
    got_fin = _OF_GOT_FIN[state] & (received != 0)
    got_fin &= (received != rows["activity"][:, 1]) | _OF_GOT_FIN[rows["state"]]
    for name in ("activity", "queues", "state", "retries", "wqueue", "rwnd_limited_us"):
        rows[name] = sample[name]
    rows["segments_out"], rows["segments_in"] = sample["data_segs_out"], sample["data_segs_in"]
    rows["acks_in"] = sample["segs_in"] - sample["data_segs_in"]
    rows["retransmits"], rows["duplicates"] = sample["total_retrans"], sample["dsack_dups"]
    acked, sent = now("bytes_acked"), now("bytes_sent")
    transmitted = np.minimum(acked, sent - now("bytes_retrans"))
    rows["sent_payload"] = np.where(sent != 0, transmitted, np.maximum(acked - 1, 0))
    written = acked + now("wqueue") - _OF_SENT_FIN[state]
    payload: Ints = received - got_fin
    rows["written"], rows["received_payload"] = written, payload
    return written, payload


def _opened(now: Values) -> Bools:
    """Return which side sent the SYN, see `sock_diag.TcpSample.opened`."""
    state, unsent = now("state"), now("notsent_bytes")
    sent_fin = _OF_SENT_FIN[state]
    in_sequence = now("bytes_acked") + now("wqueue") - sent_fin - unsent
    in_sequence = in_sequence + (sent_fin & (unsent > 0))
    by_syn: Bools = in_sequence - (now("bytes_sent") - now("bytes_retrans")) == 1
    by_syn |= state == SYN_SENT
    return by_syn


def _sent_last(now: Values, shown: Bools) -> Bools:
    """Return where the last data of this side is probably later than the last data of the peer.

    The times are ages, in ms.  Within one tick they are equal.  Then data without an
    acknowledgement, or with a late one, shows that this side sent last.  `shown`: data
    is unacknowledged, or the segments show it.
    """
    sent_ms, received_ms = now("last_data_sent_ms"), now("last_data_recv_ms")
    by_tick: Bools = (sent_ms == received_ms) & (shown | _acknowledged_late(now))
    return by_tick | (sent_ms < received_ms)


def _acknowledged_late(now: Values) -> Bools:
    """Return where an ACK without data came after the last data of the peer: it acknowledges ours.

    The peer delays such an ACK by 200 ms at most; a later one responds to a keepalive.
    """
    after_ms = now("last_data_recv_ms") - now("last_ack_recv_ms")
    late: Bools = (after_ms > 0) & (after_ms <= DELAYED_ACK_MS)
    return late


def _note_late(
    rows: Records, replied: Bools, pending_ns: Ints, arrived_ns: Ints, times: Times
) -> dict[int, tuple[int, int]]:
    """Note the replies of `replied` that were late; return their waits, with the end of each."""
    waited_ns = np.where(replied, arrived_ns - np.where(replied, pending_ns, 0), 0)
    late = {}
    for index in np.flatnonzero(waited_ns >= LONG_STALLS * times.stall_ns).tolist():
        late[index] = int(waited_ns[index]), int(arrived_ns[index])
        history = history_of(rows[index])
        history.record_latency(late[index][0], times.stall_ns, late[index][1])
        keep_history(rows[index], history)
    return late


def _note_unanswered(rows: Records, unanswered: Bools, added: Ints) -> None:
    if not unanswered.any():
        return
    listened, habit = rows["listened"][unanswered], rows["habit"][unanswered]
    only = (listened == 0) & (habit == UNKNOWN_HABIT)
    no_upload = (listened > 0) | (added[unanswered] <= MOST_OF_MESSAGE)
    rows["habit"][unanswered] = np.where(no_upload, LISTENS, np.where(only, SENDS_ONLY, habit))
    rows["listened"][unanswered], rows["ask_ns"][unanswered] = NOT_READ, 0
    rows["unanswered"] += unanswered


def _update_queues(
    rows: Records, now: Values, times: Times, wrote: Bools, lives: Bools | None
) -> None:
    """Update since when keepalives, a full buffer and a hole last; only of `lives`."""
    now_ns, last_ns = times.now_ns, times.last_ns
    kept_alive = unanswered_keepalives(now) > 0
    full = (now.raw("wmem_queued") >= now.raw("sndbuf")) & (now.raw("sndbuf") > 0)
    # Messages in the error queue, as of SO_TIMESTAMPING, take memory as well.  So a hole begins
    # only where segments have come out of order since the memory was empty.
    hole = rows["opened"] & (now.raw("rmem_alloc") > 0) & (now.raw("rqueue") == 0)
    packs = now.raw("rcv_ooopack")
    grown = (packs != rows["out_of_order"]) | (packs == UNKNOWN_PACKS)
    hole &= grown | (rows["hole_ns"] != UNSET)
    rows["out_of_order"] = np.where(now.raw("rmem_alloc") == 0, packs, rows["out_of_order"])
    if lives is not None:
        kept_alive, full, hole = kept_alive & lives, full & lives, hole & lives
    since_ns: int | Ints = UNSET
    if kept_alive.any():
        begins = kept_alive & (rows["keepalive_ns"] == UNSET)
        since_ns = np.where(begins, now_ns, np.where(kept_alive, rows["keepalive_ns"], UNSET))
    rows["keepalive_ns"] = since_ns
    since_ns = UNSET
    if hole.any():
        begins = (rows["hole_ns"] == UNSET) | (rows["received_ns"] > rows["hole_ns"])
        since_ns = np.where(begins, np.maximum(rows["received_ns"], last_ns), rows["hole_ns"])
        since_ns = np.where(hole, since_ns, UNSET)
    rows["hole_ns"] = since_ns
    was_full = rows["full_ns"] != UNSET
    if not (full | was_full).any():
        return
    # The buffer was full soon after the last segment was sent.
    last_sent_ns = np.maximum(now_ns - now("last_data_sent_ms") * MS, last_ns)
    since_ns = np.where(full & (wrote | ~was_full), last_sent_ns, rows["full_ns"])
    # Acknowledged bytes above the threshold do not wake the process (sk_stream_is_writeable).
    drains = ~full & (wrote | (now("wmem_queued") * 3 <= now("sndbuf") * 2))
    rows["full_ns"] = np.where(drains, UNSET, since_ns)
