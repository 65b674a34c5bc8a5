"""The cause of a wait, by what was seen; and what the memory of closed windows adds."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from xctl_probe.commands.top.screen import _HELP
from xctl_probe.events import Cause, Direction
from xctl_probe.stalls.causes import TABLE, Evidence, SeenWait, ZeroWindowMemory, cause

ROOT = Path(__file__).parents[3]
MS = 1_000_000
BEGAN = 7_000 * MS
SEND, RECEIVE, CONNECT = Direction
CLOSED, LOST, FULL = Cause.PEER_WINDOW, Cause.LOSS, Cause.SEND_BUFFER


def test_every_cause_has_a_meaning() -> None:
    assert set(TABLE) == set(Cause), "give the cause a row of TABLE in xctl_probe/stalls/causes.py"


def test_the_help_of_top_has_every_cause() -> None:
    missing = [one for one in Cause if not re.search(rf"\b{one}\b", _HELP)]
    assert missing == [], "name the cause in _HELP of xctl_probe/commands/top/screen.py"


def test_the_documents_have_the_words_of_the_table() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (.*) \|$", (ROOT / "docs/records.md").read_text(), re.MULTILINE
    )
    missing = {(str(one), meaning.text) for one, meaning in TABLE.items()} - set(rows)
    assert missing == set(), "docs/records.md has the texts of TABLE"


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (Evidence(CONNECT, retransmitted=True), Cause.CONNECTING),
        (Evidence(RECEIVE, host_silent=True, hole=True), Cause.KEEPALIVE),
        (Evidence(SEND), FULL),
        (Evidence(SEND, retransmitted=True, window_closed=True), LOST),
        (Evidence(SEND, window_closed=True, paced=True), CLOSED),
        (Evidence(SEND, paced=True, unsent=True, unsendable=True), Cause.PACING),
        (Evidence(SEND, unsent=True, unsendable=True), Cause.LOCAL_DROP),
        (Evidence(SEND, unsendable=True), FULL),
        (Evidence(SEND, unsent=True), None),
        (Evidence(RECEIVE), Cause.NO_REPLY),
        (Evidence(RECEIVE, hole=True), LOST),
        (Evidence(RECEIVE, retransmitted=True, undelivered=True), LOST),
        (Evidence(RECEIVE, undelivered=True, unsent=True), None),
        (Evidence(RECEIVE, window_closed=True), Cause.NO_REPLY),
        (Evidence(RECEIVE, paced=True), Cause.NO_REPLY),
        (Evidence(RECEIVE, window_closed=True, unsent=True), CLOSED),
        (Evidence(RECEIVE, paced=True, unsent=True), Cause.PACING),
        (Evidence(RECEIVE, unsent=True, unsendable=True), Cause.LOCAL_DROP),
        (Evidence(RECEIVE, unsent=True), None),
    ],
)
def test_cause_of_what_was_seen(seen: Evidence, expected: Cause | None) -> None:
    assert cause(seen) is expected


def test_a_send_never_waits_for_a_reply_nor_a_receive_for_the_buffer() -> None:
    for flags in itertools.product((False, True), repeat=len(Evidence._fields) - 1):
        assert cause(Evidence(SEND, *flags)) is not Cause.NO_REPLY
        assert cause(Evidence(RECEIVE, *flags)) is not FULL


def wait(own: Cause, *, ongoing: bool = True, began: int = BEGAN, key: int = 23) -> SeenWait:
    """A send that by itself has the cause `own`."""
    return SeenWait(key, began, ongoing, own)


@pytest.mark.parametrize("own", [FULL, LOST])
def test_a_window_that_opens_without_room_for_more_changes_no_cause(own: Cause) -> None:
    """The peer threw away what overran it, and opened: nothing was lost on the way."""
    windows = ZeroWindowMemory()
    for now in (CLOSED, own, own):
        windows.note([wait(now)])
        assert windows.cause(wait(now)) is CLOSED
    assert windows.cause(wait(own, ongoing=False)) is CLOSED


def test_the_next_stall_of_the_socket_has_its_own_cause() -> None:
    """It began later: the process had got more into the buffer between the two."""
    windows = ZeroWindowMemory()
    windows.note([wait(CLOSED)])
    later = wait(LOST, began=BEGAN + 150 * MS)
    assert windows.cause(later) is LOST
    windows.note([later])
    assert windows.cause(wait(LOST, began=later.since_ns)) is LOST


def test_a_wait_that_is_not_in_the_next_sample_is_forgotten() -> None:
    windows = ZeroWindowMemory()
    windows.note([wait(CLOSED)])
    windows.note([])
    assert windows.cause(wait(LOST)) is LOST


def test_another_socket_has_its_own_cause() -> None:
    windows = ZeroWindowMemory()
    windows.note([wait(CLOSED)])
    assert windows.cause(wait(LOST, key=29)) is LOST
