"""What a helper answers about peers, and what is made of it when it does not."""

from __future__ import annotations

import os

from xctl_probe.linux.process_activity import Activity, SchedCounters
from xctl_probe.linux.processes_aside import ProcessesAside, _Answer, _Request

PID, INODE = os.getpid(), 4_241
STEPS = SchedCounters(7, 11, 13)


class Helper:
    """Answers what the test says."""

    def __init__(self, answer=None):
        self.answer, self.late, self.asked = answer, None, []

    def ask(self, request, _wait_ns):
        self.asked.append(request)
        return self.answer


def looks(processes, count=1):
    found = []
    for _ in range(count):
        processes.begin()
        found.append(processes.activity(PID, INODE))
    return found


def test_an_answer_comes_with_the_steps_of_the_threads():
    processes = ProcessesAside(helper=Helper(_Answer(Activity.EVENT_LOOP_BUSY, STEPS, 7)))
    assert looks(processes) == [Activity.EVENT_LOOP_BUSY]
    assert processes.sched_counters(PID) == STEPS


def test_without_an_answer_it_is_tried_again_and_then_unknown():
    helper = Helper()
    processes = ProcessesAside(helper=helper)
    assert looks(processes, 7) == [Activity.LATER] * 5 + [Activity.UNKNOWN] * 2
    helper.answer = _Answer(Activity.WAITING_ON_SOCKET, None, 7)
    assert looks(processes) == [Activity.WAITING_ON_SOCKET]
    helper.answer = None
    assert looks(processes) == [Activity.LATER]


def test_an_answer_that_was_late_serves_the_next_look_and_no_other():
    helper = Helper()
    processes = ProcessesAside(helper=helper)
    looks(processes)
    helper.late = helper.asked[-1], _Answer(Activity.WAITING_ON_SOCKET, None, 7)
    assert looks(processes, 2) == [Activity.WAITING_ON_SOCKET, Activity.LATER]
    helper.late = helper.asked[0], _Answer(Activity.WAITING_ON_SOCKET, None, 7)
    assert looks(processes) == [Activity.LATER]


def test_who_holds_a_helper_up_is_not_asked_about_again():
    """Nor are that user's other processes; of root's only this one."""
    helper = Helper(_Answer(Activity.OTHER, None, 7))
    processes = ProcessesAside(helper=helper)
    processes._users = {1: 1_009, 2: 1_009, 3: 1_013, 4: 0, 5: 0}
    processes._bar(_Request(1, 1, INODE, 1_009))
    processes._bar(_Request(1, 4, INODE, 0))
    found = [processes.activity(pid, INODE) for pid in (1, 2, 3, 4, 5)]
    assert found == [
        Activity.UNKNOWN,
        Activity.UNKNOWN,
        Activity.OTHER,
        Activity.UNKNOWN,
        Activity.OTHER,
    ]


def test_a_user_whose_processes_take_long_to_read_is_read_about_less():
    helper = Helper(_Answer(Activity.OTHER, None, 60_000_000))
    processes = ProcessesAside(helper=helper)
    assert looks(processes, 3) == [Activity.OTHER, Activity.OTHER, Activity.LATER]
    assert len(helper.asked) == 2
