"""A close that waits: reported while its thread is seen in it, and never without."""

from __future__ import annotations

from xctl_probe.ebpf.abi import RECORD, Evidence, Kind, RawEvent, StallDirection, is_sound
from xctl_probe.ebpf.closers import Closers, cause, sleeps_on_a_socket
from xctl_probe.events import Cause

MS = 1_000_000
BEGAN, LINGER_MS = 7_000 * MS, 20_000


def closing(
    kind: Kind = Kind.CLOSING, after_ms: int = 0, cookie: int = 23, tid: int = 41
) -> RawEvent:
    blank = RawEvent._make(RECORD.unpack(bytes(RECORD.size)))
    return blank._replace(
        kind=kind,
        direction=StallDirection.SEND,
        time_ns=BEGAN + after_ms * MS,
        span_ns=LINGER_MS * MS,
        inode=239,
        cookie=cookie,
        pid=37,
        tid=tid,
    )


def reported(records: list[RawEvent]) -> list[tuple[int, int]]:
    return [(record.kind, record.span_ns // MS) for record in records]


def test_it_is_reported_once_a_drain_and_at_its_end() -> None:
    closers = Closers(100 * MS, lambda pid, tid: (pid, tid) == (37, 41))
    assert is_sound(closing())
    closers.begin(closing())
    assert closers.drain(BEGAN + 99 * MS) == []
    assert reported(closers.drain(BEGAN + 100 * MS)) == [(Kind.ONGOING, 100)]
    assert reported(closers.drain(BEGAN + 1_100 * MS)) == [(Kind.ONGOING, 1_100)]
    ended = closers.end(closing(Kind.CLOSED, 1_301))
    assert ended is not None
    assert reported([ended]) == [(Kind.STALL, 1_301)]
    assert ended.tid == 41
    assert closers.drain(BEGAN + 2_000 * MS) == []


def test_what_no_drain_has_seen_is_not_reported_at_its_end() -> None:
    closers = Closers(100 * MS, lambda *_: True)
    closers.begin(closing())
    assert closers.end(closing(Kind.CLOSED, 400)) is None


def test_it_is_over_when_the_thread_has_left_or_its_timeout_has_ended() -> None:
    there = [True]
    closers = Closers(100 * MS, lambda *_: there[0])
    for cookie in (1, 2):
        closers.begin(closing(cookie=cookie))
    assert len(closers.drain(BEGAN + 500 * MS)) == 2
    there[0] = False
    assert reported(closers.drain(BEGAN + 700 * MS)) == [(Kind.STALL, 700)] * 2
    there[0] = True
    closers.begin(closing())
    assert reported(closers.drain(BEGAN + 19_999 * MS)) == [(Kind.ONGOING, 19_999)]
    assert reported(closers.drain(BEGAN + 20_500 * MS)) == [(Kind.STALL, LINGER_MS)]


def test_a_shutdown_whose_thread_does_something_else_is_nothing() -> None:
    closers = Closers(100 * MS, lambda *_: False)
    closers.begin(closing())
    assert closers.drain(BEGAN + 500 * MS) == []


def test_a_thousand_closes_cost_no_more_than_some_samples_and_all_have_their_turn() -> None:
    sampled: list[int] = []
    closers = Closers(100 * MS, lambda _pid, tid: sampled.append(tid) is None)
    for number in range(1, 1_101):
        closers.begin(closing(cookie=number, tid=number))
    assert closers.unkept == 1_100 - 1_024
    for drain in range(16):
        assert len(closers.drain(BEGAN + (500 + drain) * MS)) == 64
    assert sorted(sampled) == list(range(1, 1_025))


def test_its_cause_is_the_window_or_not_known() -> None:
    assert cause(closing()._replace(evidence=Evidence.PEER_WINDOW)) is Cause.PEER_WINDOW
    assert cause(closing()._replace(evidence=Evidence.RETRANSMIT)) is None


def test_a_thread_that_is_gone_sleeps_nowhere() -> None:
    assert not sleeps_on_a_socket(1 << 30, 1 << 30)
