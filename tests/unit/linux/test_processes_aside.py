"""What a helper answers about peers, and what is made of it when it does not."""

from __future__ import annotations

import os

import pytest
from support.fake_helper import FakeHelper

from xctl_probe.events import Direction
from xctl_probe.linux import processes_aside
from xctl_probe.linux.process_activity import Activity, OwnActivity, SchedCounters
from xctl_probe.linux.processes_aside import (
    ProcessesAside,
    _Answer,
    _OwnAnswer,
    _Request,
    _WaitsAnswer,
)
from xctl_probe.linux.socket_waits import NotRead, SocketWaits, What

PID, INODE = os.getpid(), 4_241
WAITS = SocketWaits(threads=((239, INODE, Direction.SEND),))
STEPS = SchedCounters(7, 11, 13)


def now_ns():
    """The clock of a test may stand still."""
    return processes_aside.time.monotonic_ns()


def made(answer=None):
    """Processes, and the helper that answers about them."""
    helper = FakeHelper(answer, clock=now_ns)
    return ProcessesAside(helper=helper), helper


@pytest.fixture
def elapse(monkeypatch):
    """Move the clock on, which stands still otherwise."""
    now_ns = [1_009_000_000]

    class Clock:
        @staticmethod
        def monotonic_ns():
            return now_ns[0]

    def elapse(ms):
        now_ns[0] += ms * 1_000_000

    monkeypatch.setattr(processes_aside, "time", Clock)
    return elapse


def samples(processes, count=1):
    found = []
    for _ in range(count):
        processes.begin()
        found.append(processes.activity(PID, INODE))
    return found


def test_an_answer_comes_with_the_steps_of_the_threads():
    processes, _ = made(_Answer(Activity.EVENT_LOOP_BUSY, STEPS, 7))
    assert samples(processes) == [Activity.EVENT_LOOP_BUSY]
    assert processes.sched_counters(PID) == STEPS


def test_without_a_helper_it_is_tried_again_and_then_unknown(elapse):
    processes, helper = made()
    helper.refuses = True
    assert samples(processes, 5) == [Activity.LATER] * 5
    elapse(2_000)
    assert samples(processes, 2) == [Activity.UNKNOWN] * 2
    helper.answer = _Answer(Activity.WAITING_ON_SOCKET, None, 7)
    assert samples(processes) == [Activity.WAITING_ON_SOCKET]
    helper.answer = None
    assert samples(processes) == [Activity.LATER]


@pytest.mark.parametrize(("count", "each_ms"), [(100, 4), (4, 700)])
def test_without_a_helper_it_is_not_unknown_before_two_seconds_and_five_samples(
    elapse, count, each_ms
):
    """However often, or seldom, the samples are."""
    processes, helper = made()
    helper.refuses = True
    for _ in range(count):
        assert samples(processes) == [Activity.LATER]
        elapse(each_ms)


def test_an_answer_that_was_late_serves_the_next_sample_and_no_other():
    processes, helper = made()
    samples(processes)
    helper.comes(_Answer(Activity.WAITING_ON_SOCKET, None, 7))
    assert samples(processes, 2) == [Activity.WAITING_ON_SOCKET, Activity.LATER]


def test_what_is_asked_of_a_busy_host_is_asked_once_and_answered_together():
    """The helper is seldom given a processor: then it answers all, one after the other."""
    processes, helper = made()
    for _ in range(3):
        processes.begin()
        assert processes.activity(PID, INODE) is Activity.LATER
        assert processes.own_activity(PID, INODE).activity is Activity.LATER
        with pytest.raises(NotRead):
            processes.waits(PID, What.THREADS)
    assert len(helper.asked) == 3
    helper.comes(_Answer(Activity.WAITING_ON_SOCKET, None, 7))
    helper.comes(_OwnAnswer(OwnActivity(Activity.OTHER), 11))
    helper.comes(_WaitsAnswer(WAITS, 13))
    processes.begin()
    assert processes.activity(PID, INODE) is Activity.WAITING_ON_SOCKET
    assert processes.own_activity(PID, INODE).activity is Activity.OTHER
    assert processes.waits(PID, What.THREADS) == WAITS
    assert processes.spent_ns == 31


def test_who_is_asked_about_and_not_answered_yet_is_not_unknown(elapse):
    """However long: the helper may get no processor.  Where it hangs, it is abandoned."""
    processes, helper = made()
    for _ in range(7):
        elapse(1_000)
        processes.begin()
        assert processes.activity(PID, INODE) is Activity.LATER
        with pytest.raises(NotRead):
            processes.waits(PID, What.THREADS)
    helper.comes(_Answer(Activity.WAITING_ON_SOCKET, None, 7))
    assert samples(processes) == [Activity.WAITING_ON_SOCKET]


def test_a_late_answer_about_a_wait_that_had_begun_serves_for_a_second(elapse):
    """Not each wait is inspected in each sample."""
    processes, helper = made()
    elapse(10)
    since_ns = now_ns()
    for waited_ms, found in ((900, Activity.WAITING_ON_SOCKET), (1_100, Activity.LATER)):
        processes.begin()
        assert processes.activity(PID, INODE, since_ns) is Activity.LATER
        helper.comes(_Answer(Activity.WAITING_ON_SOCKET, None, 7))
        for _ in range(4):
            processes.begin()
            elapse(waited_ms // 4)
        assert processes.activity(PID, INODE, since_ns) is found


def test_the_requests_of_one_user_that_have_no_answer_are_bounded():
    """They are paid for when they are answered; other users are asked about meanwhile."""
    processes, helper = made()
    processes.begin()
    processes._users = dict.fromkeys(range(233, 243), 1_009) | {251: 1_013}
    found = [processes.activity(pid, INODE) for pid in range(233, 243)]
    assert found == [Activity.LATER] * 10
    assert processes.activity(251, INODE) is Activity.LATER
    assert [request.pid for request in helper.asked] == [233, 234, 235, 236, 251]
    helper.comes(_Answer(Activity.OTHER, None, 7))
    processes.begin()
    processes._users = dict.fromkeys(range(233, 243), 1_009)
    for pid in range(233, 243):
        processes.activity(pid, INODE)
    assert helper.asked[5].pid == 237  # the first that was refused


def test_an_answer_that_was_late_is_none_about_a_wait_that_began_after_its_sample(elapse):
    """The peer was idle then, as the reply to the request before was out."""
    processes, helper = made()
    samples(processes)
    elapse(10)
    between_ns = processes_aside.time.monotonic_ns()
    elapse(10)
    helper.comes(_Answer(Activity.WAITING_ON_SOCKET, None, 7), read_ns=between_ns - 1)
    processes.begin()
    assert processes.activity(PID, INODE, between_ns) is Activity.LATER  # asked again
    helper.comes(_Answer(Activity.WAITING_ON_SOCKET, None, 7))
    assert processes.activity(PID, INODE, between_ns) is Activity.WAITING_ON_SOCKET
    own = OwnActivity(Activity.WAITING_ON_SOCKET)
    assert processes.own_activity(PID, INODE, between_ns).activity is Activity.LATER
    helper.comes(_OwnAnswer(own, 7))
    assert processes.own_activity(PID, INODE, between_ns) == own  # of this sample


def test_late_waits_of_long_ago_serve_no_sample(elapse):
    """They are of whatever the process did then: no wait is known that had begun before."""
    processes, helper = made()
    elapse(10)
    processes.begin()
    with pytest.raises(NotRead):
        processes.waits(PID, What.THREADS)
    helper.comes(_WaitsAnswer(WAITS, 7))
    for _ in range(2):
        elapse(160)
        processes.begin()
    with pytest.raises(NotRead):
        processes.waits(PID, What.THREADS)


def test_late_waits_whose_reading_took_longer_than_a_sample_serve(elapse):
    """The child was preempted meanwhile: samples may be 25 ms apart."""
    processes, helper = made()
    elapse(10)
    begun_ns = now_ns()
    processes.begin()
    with pytest.raises(NotRead):
        processes.waits(PID, What.THREADS)
    for _ in range(5):
        elapse(25)
        processes.begin()
    helper.comes(_WaitsAnswer(WAITS, 7), read_ns=begun_ns)
    processes.begin()
    assert processes.waits(PID, What.THREADS) == WAITS


def test_who_holds_a_helper_up_is_not_asked_about_again():
    """Nor are that user's other processes."""
    processes, _ = made(_Answer(Activity.OTHER, None, 7))
    processes._users = {1: 1_009, 2: 1_009, 3: 1_013}
    processes._bar(_Request(1, 1, INODE, 1_009))
    found = [processes.activity(pid, INODE) for pid in (1, 2, 3)]
    assert found == [Activity.UNKNOWN, Activity.UNKNOWN, Activity.OTHER]
    assert processes.waits(2, What.THREADS) == SocketWaits()


def test_what_a_process_waits_for_is_read_once_a_sample():
    processes, helper = made(_WaitsAnswer(WAITS, 7))
    for _ in range(3):
        assert processes.waits(PID, What.THREADS) == WAITS
    assert processes.waits(PID, What.WRITABLE) == WAITS
    assert [request.what for request in helper.asked] == [What.THREADS, What.WRITABLE]
    assert processes.spent_ns == 14
    processes.begin()
    processes.waits(PID, What.THREADS)
    assert len(helper.asked) == 3


def test_waits_that_cannot_be_read_are_tried_again_and_then_none(elapse):
    processes, helper = made()
    helper.refuses = True
    for _ in range(5):
        processes.begin()
        for _ in range(2):
            with pytest.raises(NotRead):
                processes.waits(PID, What.THREADS)
    elapse(2_000)
    processes.begin()
    assert processes.waits(PID, What.THREADS) == SocketWaits()
    assert len(helper.asked) == 6


def test_late_waits_serve_the_next_sample():
    processes, helper = made()
    with pytest.raises(NotRead):
        processes.waits(PID, What.THREADS)
    helper.comes(_WaitsAnswer(WAITS, 7))
    processes.begin()
    with pytest.raises(NotRead):
        processes.waits(PID, What.CLOSING)
    assert processes.waits(PID, What.THREADS) == WAITS


def test_a_user_whose_processes_take_long_to_read_is_read_about_less():
    processes, helper = made(_Answer(Activity.OTHER, None, 60_000_000))
    assert samples(processes, 3) == [Activity.OTHER, Activity.OTHER, Activity.LATER]
    assert len(helper.asked) == 2


def test_who_was_not_asked_about_for_want_of_budget_is_not_unknown(elapse):
    """However long: only a helper that does not answer shows that it cannot be read."""
    processes, _ = made(_Answer(Activity.OTHER, None, 600_000_000))
    assert samples(processes) == [Activity.OTHER]
    for _ in range(10):
        elapse(1_000)
        assert samples(processes) == [Activity.LATER]


def test_processes_of_one_user_take_turns(elapse):
    processes, helper = made(_Answer(Activity.OTHER, None, 200_000_000))
    processes._users = dict.fromkeys((233, 239, 241), 1_009)
    asked = []
    for _ in range(100):
        processes.begin()
        processes._users |= dict.fromkeys((233, 239, 241), 1_009)
        for pid in (233, 239, 241):
            processes.activity(pid, INODE)
        asked += [request.pid for request in helper.asked]
        helper.asked.clear()
        elapse(1_000)
    assert asked[:6] == [233, 239, 241, 233, 239, 241]
    assert len(asked) < 10  # 100 s, of which a hundredth may be spent


def test_what_the_process_itself_does_is_another_question_than_what_a_peer_does():
    processes, helper = made()
    samples(processes, 5)  # without an answer
    processes.begin()
    assert processes.own_activity(PID, INODE).activity is Activity.LATER
    own = OwnActivity(Activity.WAITING_ON_SOCKET, runs=True, ran_ns=233)
    helper.comes(_Answer(Activity.OTHER, None, 7))
    processes.begin()
    assert processes.own_activity(PID, INODE).activity is Activity.LATER
    helper.comes(_OwnAnswer(own, 7))
    assert processes.own_activity(PID, INODE) == own
    assert processes.spent_ns == 14


def test_a_process_that_held_a_helper_up_is_not_known():
    processes, _ = made(_OwnAnswer(OwnActivity(Activity.OTHER), 7))
    processes._users = {1: 1_009}
    processes._bar(_Request(1, 1, INODE, 1_009))
    assert processes.own_activity(1, INODE) == OwnActivity(Activity.UNKNOWN)
