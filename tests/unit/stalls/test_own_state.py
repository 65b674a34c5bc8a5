"""The state of the process that waits decides where the connection cannot."""

from __future__ import annotations

import pytest
from support.fake_peer import FakePeer

from xctl_probe.events import Process, Socket
from xctl_probe.linux.process_activity import Activity, OwnActivity, RunTime
from xctl_probe.stalls.own_state import OwnState
from xctl_probe.stalls.peer_inspector import PeerState
from xctl_probe.stalls.reply_waits import ReplyWait, ReplyWaits
from xctl_probe.stalls.request_history import RequestHistory

MS = 1_000_000
SOCKET = Socket(1, 7, "tcp", "10.0.0.7", 40_009, "10.0.0.11", 6_379)
IN_EPOLL = OwnActivity(Activity.WAITING_ON_SOCKET)


def after(*samples: tuple[int, OwnActivity]) -> OwnState:
    """The state after samples: time in ms, and what was read then."""
    state = OwnState()
    for now_ms, seen in samples:
        state.note(seen, now_ms * MS)
    return state


@pytest.mark.parametrize("activity", [Activity.OTHER, Activity.STOPPED])
def test_a_process_that_is_elsewhere_does_not_wait(activity):
    """One sample may find a thread on its way; the second decides."""
    once = after((100, IN_EPOLL), (200, OwnActivity(activity)))
    assert (once.elsewhere, once.is_elsewhere) == (1, False)
    assert after((100, OwnActivity(activity)), (200, OwnActivity(activity))).is_elsewhere


def test_a_process_that_computes_beside_its_event_loop_does_not_wait():
    """From half of a core on, whichever thread it is."""
    busy = [
        (ms, OwnActivity(Activity.WAITING_ON_SOCKET, runs=True, ran_ns=ms * MS * 6 // 10))
        for ms in (100, 200, 300)
    ]
    assert after(*busy).is_elsewhere
    idle = [
        (ms, OwnActivity(Activity.WAITING_ON_SOCKET, runs=True, ran_ns=ms * MS * 4 // 10))
        for ms in (100, 200)
    ]
    assert not after(*idle).elsewhere


def test_a_late_answer_goes_with_the_time_of_its_reading():
    """Read at 100 ms and noted at 1,100: what was used in between was used in 1,200 ms."""
    before = OwnActivity(Activity.WAITING_ON_SOCKET, runs=True, ran_ns=0, read_ns=100 * MS)
    now = before._replace(ran_ns=360 * MS, read_ns=1_300 * MS)
    assert not after((1_100, before), (1_300, now)).elsewhere
    assert after((1_100, before), (1_300, now._replace(ran_ns=600 * MS))).is_elsewhere


@pytest.mark.parametrize(
    ("activity", "system_share", "elsewhere"),
    [
        (Activity.EVENT_LOOP_BUSY, 0.25, False),
        (Activity.OTHER, 0.25, False),
        (Activity.EVENT_LOOP_BUSY, 0.1, True),  # it computes
        (Activity.STOPPED, 0.25, True),
    ],
)
def test_who_polls_without_sleeping_may_wait(activity, system_share, elsewhere):
    """A rank of MPI, by its time in system calls, where the peer has not read its request."""
    samples = [
        OwnActivity(activity, True, ran_ns=ms * MS, system_ns=int(ms * MS * system_share))
        for ms in (200, 400, 600)
    ]
    waits, computes = OwnState(), OwnState()
    for at, seen in enumerate(samples, 1):
        waits.note(seen, at * 200 * MS, may_poll=True)
        computes.note(seen, at * 200 * MS)
    assert waits.is_elsewhere is elsewhere
    assert computes.is_elsewhere


def queued(ms, ran_share, queued_share, tid=7, *, sleeps=True, **seen):
    """A thread that runs at each reading, and takes and waits for these parts of the time."""
    time = RunTime(tid, int(ms * MS * ran_share), int(ms * MS * queued_share), ms * sleeps)
    return OwnActivity(
        Activity.WAITING_ON_SOCKET, True, ran_ns=time.ran_ns, running=(time,), **seen
    )


@pytest.mark.parametrize(
    ("ran_share", "queued_share", "elsewhere"),
    [
        (0.25, 0.7, True),  # four ranks on a core
        (0.01, 0.99, True),
        (0.25, 0.5, True),
        (0.24, 0.5, False),
        (0.03, 0.5, False),  # an event loop that is woken often
    ],
)
def test_who_computes_on_a_busy_host_waits_for_a_cpu(ran_share, queued_share, elsewhere):
    samples = [(ms, queued(ms, ran_share, queued_share)) for ms in (200, 400, 600)]
    assert after(*samples).is_elsewhere is elsewhere


def test_who_has_not_slept_computes_however_little_it_got():
    """Its time in the queue counts from when it runs again."""
    samples = [(ms, queued(ms, 0.04, 0.5, sleeps=False)) for ms in (200, 400, 600)]
    assert after(*samples).is_elsewhere


def test_the_queue_counts_for_a_thread_that_runs_at_both_readings():
    samples = [(ms, queued(ms, 0.1, 0.9, tid=ms)) for ms in (200, 400, 600)]
    assert not after(*samples).elsewhere


def test_who_polls_on_a_busy_host_waits_for_a_cpu_as_well():
    """A rank of MPI that gets a twelfth of a CPU."""
    polls = OwnState()
    for ms in (1, 500, 1_000, 1_500):
        seen = queued(ms, 0.08, 0.9, system_ns=int(ms * MS * 0.07))
        polls.note(seen, ms * MS, may_poll=True)
    assert not polls.elsewhere


def test_one_tick_of_system_time_makes_no_poll():
    """Of four, it is a quarter."""
    state = OwnState()
    for at_ms, ticks in ((1, 0), (200, 4), (400, 8)):
        seen = OwnActivity(
            Activity.WAITING_ON_SOCKET, True, ran_ns=10 * ticks * MS,
            system_ns=10 * MS * (ticks > 0), running=(RunTime(7, 0, at_ms * MS, 0),),
        )  # fmt: skip
        state.note(seen, at_ms * MS, may_poll=True)
        assert state.is_undecided


def test_who_was_seen_to_poll_still_does_within_the_error_of_the_share():
    """System time is counted in ticks: of 70 of them, a quarter is 17, give or take 7.

    Of 20, it takes 9 to be seen.
    """
    polls = OwnState()
    for at_ms, system_ms in ((0, 0), (200, 110), (500, 110), (700, 110)):
        seen = OwnActivity(
            Activity.EVENT_LOOP_BUSY, True, ran_ns=at_ms * MS, system_ns=system_ms * MS
        )
        polls.note(seen, (at_ms + 1) * MS, may_poll=True)
        if at_ms:
            assert not polls.elsewhere
    for at_ms in (900, 1_100):
        seen = seen._replace(ran_ns=at_ms * MS)
        polls.note(seen, (at_ms + 1) * MS, may_poll=True)
    assert polls.is_elsewhere


def test_a_few_ticks_do_not_decide_whether_a_process_polls_or_computes():
    """Two samples are 25 ms apart, and of two ticks that half falls to, none may be of system."""
    polls, computes = OwnState(), OwnState()
    for at_ms, system_ms in ((0, 0), (30, 0), (230, 100), (430, 200)):
        seen = OwnActivity(Activity.EVENT_LOOP_BUSY, True, ran_ns=at_ms * MS)
        now_ns = (at_ms + 1) * MS
        polls.note(seen._replace(system_ns=system_ms * MS), now_ns, may_poll=True)
        computes.note(seen, now_ns, may_poll=True)
        assert not polls.is_elsewhere
        assert polls.is_undecided == (at_ms < 230)
        assert computes.is_undecided
    assert computes.is_elsewhere


def test_a_process_whose_first_thread_sleeps_for_a_time_does_not_wait():
    sleeping = OwnActivity(Activity.WAITING_ON_SOCKET, sleeps_elsewhere=True)
    assert after((100, sleeping), (200, sleeping)).is_elsewhere
    assert not after((100, sleeping), (200, IN_EPOLL)).elsewhere


def test_a_thread_in_a_receive_waits_whatever_the_first_thread_does():
    seen = OwnActivity(
        Activity.WAITING_ON_SOCKET,
        runs=True,
        sleeps_elsewhere=True,
        ran_ns=10_000 * MS,
        blocked=True,
    )
    state = after((100, seen), (200, seen._replace(ran_ns=20_000 * MS)))
    assert not state.elsewhere


def test_an_event_loop_that_runs_for_a_moment_is_undecided():
    """The next sample decides by the CPU that it took."""
    runs = OwnActivity(Activity.EVENT_LOOP_BUSY, runs=True, ran_ns=1_000)
    assert after((100, runs)).elsewhere == 1
    assert not after((100, runs), (200, runs)).elsewhere


@pytest.mark.parametrize("activity", [Activity.UNKNOWN, Activity.UNDECIDED])
def test_a_process_that_may_not_be_read_may_wait(activity):
    """As before: the connection alone decides."""
    assert not after((100, OwnActivity(activity))).is_undecided


def test_a_process_that_is_about_to_be_read_is_undecided():
    """What it does is not known yet: until its turn comes, it is not reported."""
    later = (100, OwnActivity(Activity.LATER))
    assert after(later).is_undecided
    assert not after(later, (200, IN_EPOLL)).is_undecided
    assert not after((100, IN_EPOLL), (200, OwnActivity(Activity.LATER))).is_undecided


@pytest.mark.parametrize("activity", [Activity.UNKNOWN, Activity.LATER])
def test_a_process_that_is_not_read_again_stays_where_it_was_seen(activity):
    """On a busy host the helper answers late, or its budget is used up: no evidence of a wait."""
    sleeping = OwnActivity(Activity.OTHER, sleeps_elsewhere=True)
    seen = (100, sleeping), (200, sleeping), (300, OwnActivity(activity))
    assert after(*seen).is_elsewhere
    assert not after(*seen, (400, IN_EPOLL)).elsewhere


def test_a_process_that_was_found_elsewhere_once_and_is_then_unreadable_may_wait():
    for activity in (Activity.UNKNOWN, Activity.UNDECIDED):
        once = (100, OwnActivity(Activity.OTHER)), (200, OwnActivity(activity))
        assert after(*once).elsewhere == 0


class Scene:
    """A wait of a process in an event loop for a peer on another host; times in ms."""

    def __init__(self):
        self.peer = FakePeer(PeerState.UNKNOWN)
        self.replies = ReplyWaits(100 * MS, None, self.peer, 1_000 * MS)

    def asked(self, *, blocked=False):
        return ReplyWait(
            SOCKET, 0, Process(233, 7_001, "rank"), RequestHistory(answered=8), True, blocked
        )

    def take_sample(self, now_ms, own=None, **asked):
        self.peer.own = own or self.peer.own
        self.replies.begin_sample()
        reported = self.replies.observe(self.asked(**asked), now_ms * MS)
        return reported and reported.since_ns // MS


def test_a_process_that_computes_is_not_reported_however_long():
    scene = Scene()
    for now_ms in range(100, 6_000, 100):
        own = OwnActivity(Activity.WAITING_ON_SOCKET, runs=True, ran_ns=now_ms * MS)
        assert scene.take_sample(now_ms, own) is None
    assert scene.replies.close(scene.asked(), 6_000 * MS) is None


def test_the_wait_begins_when_the_process_has_computed():
    """Its length is that of the wait, not of the silence."""
    scene = Scene()
    busy = OwnActivity(Activity.WAITING_ON_SOCKET, runs=True)
    for now_ms in range(100, 3_001, 100):
        assert scene.take_sample(now_ms, busy._replace(ran_ns=now_ms * MS)) is None
    found = [
        scene.take_sample(ms, IN_EPOLL._replace(ran_ns=3_000 * MS))
        for ms in range(3_100, 4_301, 100)
    ]
    assert found[:9] == [None] * 9
    assert 3_000 <= found[-1] <= 3_200


def test_a_stall_goes_on_over_one_sample_that_shows_something_else():
    scene = Scene()
    assert [scene.take_sample(ms, IN_EPOLL) for ms in (900, 1_000)] == [None, 0]
    elsewhere = OwnActivity(Activity.OTHER)
    assert scene.take_sample(1_100, elsewhere) == 0  # not read: it is read less often now
    assert scene.take_sample(1_500, elsewhere) == 0
    assert scene.take_sample(1_600, elsewhere) is None
    assert scene.take_sample(1_700, IN_EPOLL) is None  # it waits anew


def test_a_blocked_thread_waits_whatever_the_others_do():
    scene = Scene()
    own = OwnActivity(Activity.OTHER, runs=True, ran_ns=10_000 * MS)
    assert scene.take_sample(1_000, own, blocked=True) == 0
