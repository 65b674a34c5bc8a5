"""Whose a wait was that is over, where several processes have the socket."""

from __future__ import annotations

import pytest
from support.fake_kernel_events import (
    ANSWERED,
    BEGAN_MS,
    CLIENT,
    IN_RECV,
    MS,
    OTHER,
    entered,
    finished,
    lasts,
)

from xctl_probe.ebpf.abi import Kind

CHILD = {"pid": OTHER, "tid": OTHER, "start_ticks": 31, "cgroup": 37, "comm": b"child"}


@pytest.fixture
def scene(monkeypatch):
    return entered(monkeypatch)


def whose(scene, now_ms, since_ms=0, **fields):
    """The process of the stall that this end event makes."""
    over = scene.waits.on_end(finished(now_ms, since_ms, **fields))
    return {name: getattr(over.record, name) for name in ("pid", "start_ticks", "cgroup", "comm")}


PARENT = {"pid": CLIENT, "start_ticks": 0, "cgroup": 0, "comm": bytes(16)}
WAITER = {name: value for name, value in CHILD.items() if name != "tid"}


@pytest.mark.parametrize("seen", [IN_RECV, ANSWERED])
def test_a_stall_that_was_reported_stays_that_of_the_same_process(scene, seen):
    """Also where another one takes the data."""
    scene.drain(150, lasts(150, **CHILD))
    assert whose(scene, 400, seen=seen) == WAITER


def test_who_took_the_data_had_waited_where_nothing_was_reported(scene):
    scene.take_sample(lasts(150, **CHILD))
    assert whose(scene, 400, seen=ANSWERED) == PARENT


def test_the_next_wait_on_the_socket_has_an_owner_of_its_own(scene):
    scene.drain(150, lasts(150, **CHILD))
    assert whose(scene, 700, 403) == PARENT


def test_a_process_that_leaves_the_wait_to_another_has_waited_until_then(scene):
    """As where it is killed, and its parent has the connection."""
    scene.drain(150, lasts(150, **CHILD))
    over, now = drained(scene, 1_150, lasts(1_150))
    assert (over, now) == ((Kind.STALL, OTHER, 1_150 * MS), (Kind.ONGOING, CLIENT, 1_150 * MS))
    assert drained(scene, 2_150, lasts(2_150)) == [(Kind.ONGOING, CLIENT, 2_150 * MS)]
    assert whose(scene, 2_400) == PARENT


def test_it_has_done_so_also_where_the_wait_is_over_before_the_drain(scene):
    scene.drain(150, lasts(150, **CHILD))
    scene.take_sample(lasts(400))
    assert scene.end(450) is None
    assert drained(scene, 1_150) == [(Kind.STALL, OTHER, 400 * MS)]


def drained(scene, now_ms, *records):
    scene.begin_drain()
    found = scene.waits.drain(list(records), set(), (BEGAN_MS + now_ms) * MS)
    return [(one.record.kind, one.record.pid, one.record.span_ns) for one in found]
