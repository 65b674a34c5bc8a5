"""Whose window was closed keeps that cause until the stall ends, and no later one inherits it."""

from __future__ import annotations

import pytest

from xctl_probe.ebpf.abi import RECORD, Evidence, Kind, Record, StallDirection
from xctl_probe.ebpf.zero_window import ClosedWindows
from xctl_probe.events import Cause

MS = 1_000_000
BEGAN = 7_000 * MS
CLOSED, LOST, NOTHING = Evidence.PEER_WINDOW, Evidence.RETRANSMIT, Evidence(0)


def send(
    after_ms: int,
    seen: Evidence,
    *,
    kind: Kind = Kind.ONGOING,
    began: int = BEGAN,
    inode: int = 23,
) -> Record:
    blank = Record._make(RECORD.unpack(bytes(RECORD.size)))
    return blank._replace(
        kind=kind,
        direction=StallDirection.SEND,
        evidence=seen,
        inode=inode,
        time_ns=began + after_ms * MS,
        span_ns=after_ms * MS,
    )


@pytest.mark.parametrize("seen", [NOTHING, LOST])
def test_a_window_that_opens_without_room_for_more_changes_no_cause(seen: Evidence) -> None:
    """The peer threw away what overran it, and opened: nothing was lost on the way."""
    windows = ClosedWindows()
    for after_ms, now in ((100, CLOSED), (600, seen), (1_100, seen)):
        windows.note([send(after_ms, now)])
        assert windows.cause(send(after_ms, now)) is Cause.PEER_WINDOW
    assert windows.cause(send(1_200, seen, kind=Kind.STALL)) is Cause.PEER_WINDOW


def test_the_next_stall_of_the_socket_has_its_own_cause() -> None:
    """It began later: the process had got more into the buffer between the two."""
    windows = ClosedWindows()
    windows.note([send(100, CLOSED)])
    later = send(200, LOST, began=BEGAN + 150 * MS)
    assert windows.cause(later) is Cause.LOSS
    windows.note([later])
    assert windows.cause(send(300, LOST, began=later.time_ns - later.span_ns)) is Cause.LOSS


def test_who_is_not_seen_any_more_is_forgotten() -> None:
    windows = ClosedWindows()
    windows.note([send(100, CLOSED)])
    windows.note([])
    assert windows.cause(send(200, LOST)) is Cause.LOSS


def test_another_socket_has_its_own_cause() -> None:
    windows = ClosedWindows()
    windows.note([send(100, CLOSED)])
    assert windows.cause(send(100, LOST, inode=29)) is Cause.LOSS
