"""A source whose reads block does not hold up the others, and loses nothing."""

from __future__ import annotations

import errno
import threading

import pytest

from xctl_probe.events import DroppedEvents
from xctl_probe.sources import aside as module
from xctl_probe.sources.aside import Aside

LONG_S = 60.0


class Source:
    """Counts its reads; each waits for `go`, and releases `begun` before that."""

    name = "slow"

    def __init__(self):
        self.go = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.reads = 0
        self.error = None

    def collect(self):
        self.begun.release()
        assert self.go.acquire(timeout=LONG_S)
        if self.error:
            raise self.error
        self.reads += 1
        yield DroppedEvents("slow", self.reads)


@pytest.fixture
def source():
    return Source()


def counts(aside):
    return [event.count for event in aside.collect()]


def test_events_of_a_quick_source_are_those_of_the_call(source):
    aside = Aside("slow", lambda: source, lambda: True, LONG_S)
    for read in (1, 2, 3):
        source.go.release()
        assert counts(aside) == [read]


def test_source_that_blocks_holds_up_no_one(source):
    """It is not asked again meanwhile; its events come with a later call."""
    aside = Aside("slow", lambda: source, lambda: True, wait_s=LONG_S)
    aside._wait_s = 0.0
    assert counts(aside) == []
    assert source.begun.acquire(timeout=LONG_S)
    assert counts(aside) == []
    aside._wait_s = LONG_S
    source.go.release()
    assert counts(aside) == [1]
    assert not source.begun.acquire(blocking=False)


def test_errors_are_raised_where_they_are_asked_for(source):
    aside = Aside("slow", lambda: source, lambda: True, LONG_S)
    source.error = OSError(errno.EMFILE, "no descriptor")
    source.go.release()
    with pytest.raises(OSError, match="no descriptor"):
        counts(aside)
    source.error = None
    source.go.release()
    assert counts(aside) == [1]


def test_source_that_cannot_be_opened_is_opened_later(source):
    def opened():
        attempts.append(1)
        if len(attempts) == 1:
            raise MemoryError
        return source

    attempts = []
    present = [False]
    aside = Aside("slow", opened, lambda: present[0], LONG_S)
    present[0] = True
    with pytest.raises(MemoryError):
        counts(aside)
    assert counts(aside) == []
    source.go.release()
    assert counts(aside) == [1]


def test_nothing_is_started_without_a_device():
    before = threading.active_count()
    aside = Aside("slow", lambda: pytest.fail("opened"), lambda: False)
    assert counts(aside) == []
    assert threading.active_count() == before


def test_thread_that_cannot_be_started_is_a_shortage(source, monkeypatch):
    def refuse(_self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module.threading.Thread, "start", refuse)
    aside = Aside("slow", lambda: source, lambda: True)
    with pytest.raises(OSError, match="new thread") as raised:
        counts(aside)
    assert raised.value.errno == errno.EAGAIN
