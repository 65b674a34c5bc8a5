"""A call that does not return is left behind with its thread."""

from __future__ import annotations

import threading

import pytest

from xctl_probe.linux import worker as module
from xctl_probe.linux.thread_delay import Delay
from xctl_probe.linux.worker import Worker

LONG_NS = 20_000_000_000


@pytest.fixture
def worker():
    made = Worker()
    yield made
    made.close()


@pytest.fixture
def stuck(worker, monkeypatch):
    """Begin a call that lasts until the test lets it end; it appears to be in state D."""
    monkeypatch.setattr(module, "_HANGS_NS", 0)
    monkeypatch.setattr(module.ThreadDelay, "observe", lambda *_: Delay(blocked_ns=1))
    go_on = threading.Event()

    def begin():
        begun = threading.Event()
        assert not worker.run(lambda: begun.set() or go_on.wait(60), 1)
        assert begun.wait(60)
        return worker._thread

    yield begin
    go_on.set()


def test_one_thread_makes_all_calls(worker):
    seen = []
    for _ in range(3):
        assert worker.run(lambda: seen.append(threading.get_ident()), LONG_NS)
    assert len(set(seen)) == 1
    assert seen[0] != threading.get_ident()


def test_what_a_call_raises_is_raised_where_it_is_waited_for(worker):
    with pytest.raises(MemoryError):
        worker.run(lambda: [][:].append(raises(MemoryError)), LONG_NS)
    assert worker.is_free


def raises(error):
    raise error


def test_while_a_call_is_under_way_there_is_no_other(worker, stuck):
    stuck()
    assert not worker.is_free
    assert worker.hangs
    assert not worker.run(lambda: None, 1)


def test_a_thread_that_computes_does_not_hang(worker, stuck, monkeypatch):
    stuck()
    monkeypatch.setattr(module.ThreadDelay, "observe", lambda *_: Delay())
    assert not worker.hangs


def test_after_one_was_left_behind_another_thread_goes_on(worker, stuck):
    first = stuck()
    worker.abandon()
    seen = []
    assert worker.run(lambda: seen.append(threading.current_thread()), LONG_NS)
    assert seen[0] is not first


def test_one_that_was_left_behind_exits_after_its_call(worker, monkeypatch):
    go_on = threading.Event()
    worker.run(lambda: go_on.wait(60), 1)
    left = worker._thread
    worker.abandon()
    go_on.set()
    left.join(60)
    assert not left.is_alive()


def test_an_idle_thread_exits_with_its_worker(worker):
    worker.run(lambda: None, LONG_NS)
    thread = worker._thread
    worker.close()
    worker.close()
    thread.join(60)
    assert not thread.is_alive()


def test_no_more_than_four_are_left_behind(worker, stuck):
    for _ in range(4):
        stuck()
        worker.abandon()
    assert not worker.run(lambda: None, LONG_NS)
    assert worker.is_free


def test_without_threads_nothing_is_called(worker, monkeypatch):
    def refuse(_self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module._Thread, "start", refuse)
    assert not worker.run(lambda: None, LONG_NS)
    assert worker.is_free
