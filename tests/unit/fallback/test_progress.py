"""Many connections at once are what each would be alone, by the words of the rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.one_connection import OneConnection, counters_of
from support.tcp_model import (
    CLOSE,
    CLOSE_WAIT,
    CLOSING,
    FIN_WAIT1,
    FIN_WAIT2,
    INODE,
    LAST_ACK,
    LISTEN,
    MS,
    SNDBUF,
    SYN_SENT,
    TIMER_KEEPALIVE,
    TIMER_PROBE,
    Tcp,
)

from xctl_probe.fallback.message_arrays import messages_from
from xctl_probe.fallback.progress import closed_ns, first_seen, observe
from xctl_probe.fallback.row import ROW, UNSET, Times, history_of
from xctl_probe.stalls.request_history import RequestHistory

STALL_NS = 100 * MS
TIMES = ("pending_ns", "full_ns", "hole_ns", "keepalive_ns")
SAME = ("opened", "order_ambiguous", "unsolicited", "held_by_window", "sent_ns", "wrote_ns",
        "received_ns", "flow_begin_ns", "flow_bytes", "habit", "ask_ns",
        "first_sample_ns")  # fmt: skip


class Alone:
    """Connections one by one, each with its peer."""

    def __init__(self, tcps, last_ns):
        self.connections = []
        for tcp in tcps:
            sample = tcp.sample()
            one = OneConnection(
                sample, sample.opened, RequestHistory(), tcp.now_ns, counters_of(sample)
            )
            if sample.state != LISTEN:
                one.init_from_first_sample(tcp.now_ns, last_ns)
            self.connections.append(one)

    def observe(self, tcps, last_ns):
        for one, tcp in zip(self.connections, tcps, strict=True):
            sample = tcp.sample()
            if one.counters.state == SYN_SENT and sample.state == 1:
                one.opened = True
            one.observe(sample, tcp.now_ns, last_ns, STALL_NS)


class Together:
    """The same in rows."""

    def __init__(self, tcps, last_ns):
        self.rows, self.peers = np.zeros(len(tcps), ROW), [RequestHistory() for _ in tcps]
        self.count(first_seen(self.rows, fields(tcps), times(tcps, last_ns)))

    def observe(self, tcps, last_ns):
        self.count(observe(self.rows, fields(tcps), times(tcps, last_ns)))

    def count(self, turns):
        for index in turns.answered.tolist():
            if index in turns.late:
                waited_ns, end_ns = turns.late[index]
                self.peers[index].record_latency(waited_ns, STALL_NS, end_ns)
            self.peers[index].answered += 1
        for index in turns.unanswered.tolist():
            self.peers[index].unanswered += 1


def fields(tcps):
    return messages_from([tcp.message() for tcp in tcps]).fields


def times(tcps, last_ns):
    return Times(tcps[0].now_ns, last_ns, STALL_NS)


def assert_same(together, alone):
    for row, peer, one in zip(together.rows, together.peers, alone.connections, strict=True):
        assert {name: row[name].item() for name in SAME} == {n: getattr(one, n) for n in SAME}
        known = {name: row[name].item() for name in TIMES}
        assert known == {n: UNSET if getattr(one, n) is None else getattr(one, n) for n in TIMES}
        assert row["listened"] == (-1 if one.listened is None else one.listened)
        assert history_of(row) == one.history
        assert peer == one.peer_history
        assert row["active"] == (not one.idle)
        counters = one.counters
        assert [
            row[name]
            for name in ("state", "written", "segments_out", "segments_in", "acks_in",
                         "rwnd_limited_us", "wqueue", "sent_payload", "received_payload")
        ] == list(counters)  # fmt: skip


_CHANGES = st.one_of(
    st.tuples(st.just("send"), st.sampled_from((1, 7, 48, 49, 1_009, 2_000_003))),
    st.tuples(st.just("receive"), st.sampled_from((1, 7, 48, 49, 1_009, 2_000_003))),
    st.tuples(st.just("wait"), st.sampled_from((1, 3, 9, 20, 100, 400, 1_100))),
    st.tuples(st.just("acknowledge"), st.just(0)),
    st.tuples(st.just("unanswered"), st.sampled_from((7, 1_009))),
    st.tuples(st.just("reply"), st.sampled_from((7, 1_009))),
    st.tuples(st.just("fill"), st.just(80_021)),
    st.tuples(st.just("uncounted"), st.just(7)),  # sent, and in no segment
    st.tuples(st.just("listened"), st.sampled_from((0, 1))),
)
_ODD = st.sampled_from(
    (None,) * 7
    + (
        ("state", CLOSE_WAIT), ("state", FIN_WAIT1), ("state", FIN_WAIT2), ("state", LAST_ACK),
        ("state", CLOSING), ("state", SYN_SENT), ("state", 1), ("state", LISTEN),
        ("state", CLOSE),
        ("inode", 0), ("inode", INODE + 1), ("retransmits_ever", 1), ("backoff", 2),
        ("backoff", 0), ("wmem", SNDBUF), ("wmem", SNDBUF - 1), ("wmem", SNDBUF // 2), ("wmem", 0),
        ("rmem", 1), ("rmem", 0), ("out_of_order", 2), ("out_of_order", 3),
        ("rqueue", 7), ("rqueue", 0), ("rwnd_limited_us", 1_009),
        ("fin_received", 1), ("fin_sent", 1), ("timer", TIMER_KEEPALIVE), ("timer", TIMER_PROBE),
        ("timer_retries", 2), ("timer_retries", 0), ("retransmitted_bytes", 2**63),
    )
)  # fmt: skip


def through(tcp, changes, odd):
    """Let that happen; what the rules have set of it since."""
    listened = None
    for what, number in changes:
        if what == "wait":
            tcp.at(tcp.now_ms + number)
        elif what == "uncounted":
            tcp.send(number, segments=0)
        elif what == "unanswered":
            tcp.send(number, acked=False)
        elif what == "reply":
            tcp.receive(number, acks=True)
        elif what == "acknowledge":
            tcp.acknowledge()
        elif what == "listened":
            listened = number
        else:
            getattr(tcp, what)(number)
    if odd:
        setattr(tcp, *odd)
    return listened


_STEP = st.tuples(st.lists(_CHANGES, max_size=5), _ODD)
_THREE = st.tuples(_STEP, _STEP, _STEP)


@settings(max_examples=1_000, deadline=None)
@given(
    opened=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    tick_ms=st.sampled_from((1, 4, 10)),
    steps=st.lists(_THREE, min_size=1, max_size=8),
)
def test_each_of_many_is_what_it_would_be_alone(opened, tick_ms, steps):
    """Whatever happens to three connections: each value, and the histories of their peers."""
    tcps = [Tcp(opened=one, tick_ms=tick_ms).at(1_009) for one in opened]
    for number, tcp in enumerate(tcps):
        tcp.cookie += number
    alone = together = None
    last_ns = 0
    for step in steps:
        listened = [through(tcp, *part) for tcp, part in zip(tcps, step, strict=True)]
        now_ms = max(tcp.now_ms for tcp in tcps) + 1
        for tcp in tcps:
            tcp.at(now_ms)
        if alone is None:
            alone, together = Alone(tcps, last_ns), Together(tcps, last_ns)
        else:
            alone.observe(tcps, last_ns)
            together.observe(tcps, last_ns)
        last_ns = tcps[0].now_ns
        assert_same(together, alone)
        for number, value in enumerate(listened):
            if value is not None:  # as the stall detector does
                together.rows["listened"][number] = value
                alone.connections[number].listened = bool(value)


@settings(max_examples=300, deadline=None)
@given(
    before=st.lists(_CHANGES, max_size=6), steps=st.lists(_CHANGES, max_size=6),
    read_ms=st.integers(0, 500),
)  # fmt: skip
def test_the_time_of_a_close_is_what_one_message_shows(before, steps, read_ms):
    tcp = Tcp().at(1_009)
    through(tcp, before, None)
    alone, together = Alone([tcp], 0), Together([tcp], 0)
    last_ns = tcp.now_ns
    through(tcp, steps, None)
    tcp.state, tcp.inode = CLOSE, 0
    now_ns = tcp.now_ns + read_ms * MS
    (found,) = closed_ns(together.rows, fields([tcp]), now_ns, np.array([last_ns]))
    (one,) = alone.connections
    assert found == one.closed_ns(tcp.sample(), now_ns, last_ns)


def test_rows_of_one_sample_may_have_times_of_their_own():
    """Closed connections: each ended at another time."""
    tcps = [Tcp(), Tcp()]
    together = Together(tcps, 0)
    tcps[0].at(20).receive(1_009)
    tcps[1].at(30).receive(1_009)
    closes_ns = np.array([tcp.now_ns for tcp in tcps])
    observe(together.rows, fields(tcps), Times(closes_ns, closes_ns - 9 * MS, STALL_NS))
    assert together.rows["received_ns"].tolist() == closes_ns.tolist()


@pytest.mark.parametrize("pong", [0, 7])
def test_what_may_be_a_ping_keeps_who_opened_active(pong):
    """Whether its pong, in this sample or the next, asks for something is decided by that."""
    for opened in (True, False):
        tcp = Tcp(opened=opened).at(1_009)
        together = Together([tcp], 0)
        assert together.rows["active"].tolist() == [False]
        last_ns = tcp.now_ns
        tcp.at(1_023).receive(7)
        if pong:
            tcp.send(pong)
        together.observe([tcp], last_ns)
        assert together.rows["active"].tolist() == [opened]
