"""What never returns is left behind; the probe goes on without its answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import pytest

from xctl_probe.linux import helper as module
from xctl_probe.linux.helper import Helper
from xctl_probe.linux.thread_delay import Delay

LONG_NS = 20_000_000_000


class Starved(NamedTuple):
    """A request that needs a processor that has something else to do."""

    processor: int


def serve(request):
    """As a process that can be held up by what it is asked."""
    if request == "hang":
        signal.pause()
    if request == "end":
        os._exit(7)
    if request == "long":
        return "x" * 1_000_003
    if request == "slow":
        time.sleep(0.5)
    if isinstance(request, Starved):
        os.sched_setaffinity(0, {request.processor})
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
    if request == "descriptors":
        return sorted(os.listdir("/proc/self/fd"), key=int)[:5]
    return request, os.getpid()


@pytest.fixture
def helper():
    blamed = []
    made = Helper(serve, blamed.append)
    made.blamed = blamed
    yield made
    made.close()


def test_one_child_answers_all(helper):
    assert helper.pid is None  # lazily
    word, pid = helper.ask("word", LONG_NS)
    assert (word, pid) == ("word", helper.pid)
    assert pid != os.getpid()
    assert helper.ask(("other", 7), LONG_NS) == (("other", 7), pid)


def test_it_holds_nothing_of_the_probe_s(helper):
    """A pipe to the consumer, or a program in the kernel, would outlive the probe."""
    readable, writable = os.pipe()
    try:
        # The last is that of the listing itself.
        assert helper.ask("descriptors", LONG_NS) == ["0", "1", "2", "3", "4"]
    finally:
        os.close(readable)
        os.close(writable)


def test_what_hangs_is_waited_for_no_longer_than_shown_and_left_behind(helper, monkeypatch):
    _, first = helper.ask("word", LONG_NS)
    assert helper.ask("hang", 1_000_000) is None
    assert helper.ask("word", 1_000_000) is None  # it has not hung for long
    assert helper.pid == first
    monkeypatch.setattr(module, "_LOST_NS", 0)
    monkeypatch.setattr(module, "_START_AGAIN_NS", 0)
    assert helper.ask("word", LONG_NS)[0] == "word"
    assert helper.pid != first
    assert helper.blamed == ["hang"]
    gone(first, helper)


def test_the_delay_of_a_late_answer_counts_from_the_request_on(helper, monkeypatch):
    """Else the time without a processor until the next sample would be held against it."""
    observed = []

    def observe(_, now_ns):
        observed.append(now_ns)
        return Delay()

    monkeypatch.setattr(module.ThreadDelay, "observe", observe)
    assert helper.ask("word", LONG_NS)[0] == "word"
    assert observed == []
    assert helper.ask("hang", 1_000_000) is None
    assert len(observed) == 1


def test_who_sleeps_uninterruptibly_is_left_behind_sooner(helper, monkeypatch):
    assert helper.ask("hang", 1_000_000) is None
    monkeypatch.setattr(module, "_HANGS_NS", 0)
    monkeypatch.setattr(module.ThreadDelay, "observe", lambda *_: Delay(blocked_ns=1))
    monkeypatch.setattr(module, "_START_AGAIN_NS", 0)
    helper.ask("word", LONG_NS)
    assert helper.blamed == ["hang"]


def test_who_gets_no_processor_is_waited_for(helper):
    """On a busy host no one is blamed for it; the answer comes late."""
    _, pid = helper.ask("word", LONG_NS)
    processor = min(os.sched_getaffinity(0))
    loop = (
        f"import os; os.sched_setaffinity(0, {{{processor}}}); print(flush=True)\nwhile True: pass"
    )
    with subprocess.Popen([sys.executable, "-c", loop], stdout=subprocess.PIPE) as busy:
        assert busy.stdout.readline()
        assert helper.ask(Starved(processor), 1_000_000) is None
        until = time.monotonic() + 60
        while helper._delayed().queued_ns < module._LOST_NS * 4 // 3:
            helper.collect()
            assert time.monotonic() < until
        busy.kill()
    # As any other process again: others may have the processor, too.
    os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
    os.sched_setaffinity(pid, os.sched_getaffinity(0))
    while not helper.late and time.monotonic() < until:
        helper.collect()
    assert helper.blamed == []
    assert [(late.sent.request, late.answer) for late in helper.late] == [
        (Starved(processor), (Starved(processor), pid))
    ]


def test_a_child_that_has_ended_is_replaced(helper, monkeypatch):
    monkeypatch.setattr(module, "_START_AGAIN_NS", 0)
    _, first = helper.ask("word", LONG_NS)
    assert helper.ask("end", LONG_NS) is None
    assert helper.ask("word", LONG_NS)[1] not in (None, first)
    assert helper.blamed == []


def test_only_so_many_are_left_behind(helper, monkeypatch):
    """Four that the kernel does not let go, and no more are started."""
    monkeypatch.setattr(module, "_START_AGAIN_NS", 0)
    monkeypatch.setattr(module, "_LOST_NS", 0)
    monkeypatch.setattr(Helper, "_reap", lambda _: None)
    pids = set()
    for _ in range(6):
        helper.ask("hang", 1_000_000)
        pids.add(helper.pid)
        helper.ask("word", 0)
        pids.add(helper.pid)
    assert len(pids - {None}) == 4
    monkeypatch.undo()
    assert pids - {None} <= helper._hanging
    for pid in pids - {None}:
        gone(pid, helper)


def test_late_answers_are_kept_apart_in_their_order(helper):
    """On a busy host many are asked before the first answer comes."""
    words = [str(number) for number in range(module._MOST_ASKED - 1)]
    assert helper.ask("slow", 0) is None
    assert [helper.ask(word, 0) for word in words] == [None] * len(words)
    assert helper.is_full
    assert helper.ask("more", LONG_NS) is None
    assert [sent.request for sent in helper.unanswered] == ["slow", *words]
    until = time.monotonic() + 60
    while helper.is_full and time.monotonic() < until:
        helper.collect()
    assert helper.ask("other", LONG_NS) == ("other", helper.pid)
    assert not helper.unanswered
    expected = [(word, (word, helper.pid)) for word in ["slow", *words]]
    assert [(late.sent.request, late.answer) for late in helper.late] == expected


def test_who_is_asked_about_behind_one_that_hangs_is_not_blamed(helper, monkeypatch):
    assert helper.ask("hang", 0) is None
    assert helper.ask("word", 0) is None
    monkeypatch.setattr(module, "_LOST_NS", 0)
    helper.collect()
    assert helper.blamed == ["hang"]
    assert not helper.unanswered
    assert helper.late == []


def test_without_processes_to_be_had_there_is_no_answer(helper, monkeypatch):
    def refuse():
        raise BlockingIOError

    monkeypatch.setattr(module.os, "fork", refuse)
    assert helper.ask("word", LONG_NS) is None
    monkeypatch.undo()
    monkeypatch.setattr(module, "_START_AGAIN_NS", 0)
    helper._start_ns = 0
    assert helper.ask("word", LONG_NS)[0] == "word"


def gone(pid, helper):
    until = time.monotonic() + 60
    while pid in helper._hanging and time.monotonic() < until:
        helper._reap()
    assert pid not in helper._hanging
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_long_answer_comes_whole(helper):
    assert helper.ask("long", LONG_NS) == "x" * 1_000_003
    assert helper.ask("word", LONG_NS)[0] == "word"


def test_a_read_waits_for_who_works_and_not_for_who_hangs(helper, monkeypatch):
    assert helper.read("slow")[0] == "slow"
    monkeypatch.setattr(module, "_CHECK_NS", 1_000_000)
    monkeypatch.setattr(module, "_READ_HANGS_NS", 1)
    monkeypatch.setattr(module.ThreadDelay, "observe", lambda *_: Delay(blocked_ns=1))
    assert helper.read("hang") is None
    assert helper.pid is not None


def test_a_read_of_a_child_that_exits_has_no_answer(helper):
    assert helper.read("end") is None
    assert helper.pid is None
