"""The sampler takes sock_diag where it answers, /proc/net where not, and stays cheap."""

from __future__ import annotations

import errno
import os
from unittest.mock import Mock

import pytest

from xctl_probe.errors import SourceUnavailable, is_shortage
from xctl_probe.events import DroppedEvents
from xctl_probe.fallback import sampler
from xctl_probe.fallback.sampler import Sampler

MS = 1_000_000
START_NS = 7_000 * MS


class Sockets:
    """Stands in for `Connections` and `ProcNet`."""

    def __init__(self, fails=None):
        self.fails = fails
        self.rests, self.has_unaccepted = True, False
        self.cost = lambda: None
        self.sampled = []
        self.unchanged = []
        self.collected = []

    def sample(self, now_ns):
        if self.fails:
            raise OSError(self.fails, os.strerror(self.fails))
        self.sampled.append(now_ns)
        self.cost()

    def note_unchanged(self, now_ns):
        self.unchanged.append(now_ns)

    def collect(self, now_ns, interval_ns):
        self.collected.append((now_ns, interval_ns))
        yield DroppedEvents("sock_diag", 7)


class Activity:
    """Stands in for the counters of the namespace."""

    def __init__(self):
        self.opened = self.moved = False

    def take(self):
        self.opened = self.moved = False

    def changes(self):
        return self

    def close(self):
        pass


class Diag:
    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


@pytest.fixture
def host(monkeypatch):
    """What of sock_diag and /proc/net works here, and what a sample costs."""

    class Host:
        refuses = None
        diag = Diag()
        activity = Activity()
        connections, proc_net = Sockets(), Sockets()
        cost_ns = 0
        share = 0.01

        def sock_diag(self):
            if self.refuses:
                raise OSError(self.refuses, os.strerror(self.refuses))
            return self.diag

        def sampler(self, *, sock_diag=True):
            return Sampler(
                None, stall_ns=100 * MS, interval_ns=1_009 * MS, sock_diag=sock_diag,
                proc_share=self.share,
            )  # fmt: skip

    made = Host()
    monkeypatch.setattr(sampler, "SockDiag", made.sock_diag)
    monkeypatch.setattr(sampler, "SocketTable", lambda *_, **__: made.connections)
    monkeypatch.setattr(sampler, "ProcNet", lambda *_, **__: made.proc_net)
    monkeypatch.setattr(sampler, "TcpActivity", lambda: made.activity)
    monkeypatch.setattr(sampler.time, "monotonic_ns", lambda: START_NS)
    monkeypatch.setattr(sampler.time, "process_time_ns", lambda: made.cost_ns)
    return made


def test_sock_diag_is_taken_where_it_answers(host):
    """And prints what it does not see."""
    source = host.sampler()
    assert "sock_diag" in source.description
    assert "UDP" in source.description
    assert len(host.connections.sampled) == 1
    assert host.proc_net.sampled == []


@pytest.mark.parametrize("number", [errno.EPROTONOSUPPORT, errno.EPERM, errno.EACCES])
def test_proc_net_is_taken_where_sock_diag_is_refused(host, number):
    """gVisor and seccomp refuse the socket; the line at start shows it."""
    host.refuses = number
    source = host.sampler()
    assert source.description.startswith("/proc/net only, sock_diag is refused here")
    assert os.strerror(number) in source.description
    assert len(host.proc_net.sampled) == 1


def test_proc_net_is_taken_when_asked_for(host):
    """--no-sock-diag does not even try."""
    host.refuses = errno.EPERM
    assert "--no-sock-diag was given" in host.sampler(sock_diag=False).description


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EPERM])
def test_proc_net_is_taken_where_the_first_dump_is_refused(host, number):
    """A kernel without tcp_diag gives the socket and refuses the question."""
    host.connections.fails = number
    assert host.sampler().description.startswith("/proc/net only")


def test_neither_is_an_error_with_its_remedy(host):
    """One line: what is missing and what would help."""
    host.refuses, host.proc_net.fails = errno.EPERM, errno.ENOENT
    with pytest.raises(SourceUnavailable, match=r"No such file or directory\); mount /proc"):
        host.sampler()


def test_a_lack_of_descriptors_is_no_end(host):
    """Owners are searched for in /proc.  A dump that fails is another matter."""
    sampled = host.sampler()
    for error, raised in (
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/proc"), OSError),
        (OSError(errno.ENOENT, os.strerror(errno.ENOENT)), SourceUnavailable),
    ):
        host.connections.sample = Mock(side_effect=error)
        host.activity.moved = True
        with pytest.raises(raised) as caught:
            sampled.poll(START_NS + 60_000 * MS)
        assert is_shortage(caught.value) is (raised is OSError)


class Polls:
    """A sampler that is polled when it asks to be; samples cost so much, and so do polls."""

    def __init__(self, host, *, sample_ns, poll_ns=0):
        self.host, self.source, self.poll_ns = host, host.sampler(), poll_ns
        self.now_ns = START_NS
        host.connections.cost = lambda: self.spend(sample_ns)
        host.connections.sampled.clear()

    def spend(self, cost_ns):
        self.host.cost_ns += cost_ns

    def run(self, seconds, before=lambda: None):
        """How many samples were taken."""
        taken, until_ns = len(self.host.connections.sampled), self.now_ns + seconds * 1_000 * MS
        while self.now_ns < until_ns:
            before()
            self.spend(self.poll_ns)
            due_ns = self.source.poll(self.now_ns)
            assert due_ns >= self.now_ns + 25 * MS
            self.now_ns = due_ns
        return len(self.host.connections.sampled) - taken


def test_nothing_is_sampled_where_nothing_has_changed(host):
    """The counters of the namespace show that; an interval is sampled in any case."""
    polls = Polls(host, sample_ns=MS)
    assert polls.run(10) == 0
    assert len(host.connections.unchanged) == 400
    list(polls.source.drain(polls.now_ns).events)
    assert len(host.connections.collected) == 1


@pytest.mark.parametrize("why", ["opened", "moved", "active"])
@pytest.mark.parametrize("sample_ns", [MS // 5, MS, 3 * MS, 40 * MS])
def test_samples_take_less_than_a_hundredth_of_a_core(host, why, sample_ns):
    """0.8 % in the long run, whatever happens all the time: 16 ms of credit at the start."""
    polls = Polls(host, sample_ns=sample_ns, poll_ns=50_000)
    host.connections.rests = why != "active"

    def happens():
        host.activity.opened, host.activity.moved = why == "opened", why == "moved"

    polls.run(100, happens)
    credit_ns = 16 * MS + sample_ns
    assert 0.7 * 800 * MS <= host.cost_ns <= 800 * MS + credit_ns


@pytest.mark.parametrize("poll_ns", [50_000, 200_000, MS, 10 * MS])
def test_polls_that_find_nothing_take_half_of_that_at_most(host, poll_ns):
    """On a busy machine a poll costs more: then it comes less often."""
    polls = Polls(host, sample_ns=MS, poll_ns=poll_ns)
    assert polls.run(100) == 0
    assert host.cost_ns <= 400 * MS + poll_ns
    assert host.cost_ns >= min(0.9 * 400 * MS, 0.9 * 4_000 * poll_ns)


def test_an_interval_is_no_poll(host):
    """The next poll comes as soon as the one after any other."""
    polls = Polls(host, sample_ns=MS, poll_ns=50_000)
    polls.run(1)
    polls.source.drain(polls.now_ns)
    polls.spend(5 * MS)
    assert polls.source.poll(polls.now_ns) == polls.now_ns + 25 * MS


def test_a_connection_that_is_made_is_sampled_at_the_next_poll(host):
    """Of 40 ms, also when traffic takes all samples that the share allows."""
    polls = Polls(host, sample_ns=MS)

    def traffic():
        host.activity.moved = True

    polls.run(20, traffic)
    for _ in range(9):
        assert polls.run(1, traffic) > 0
        host.activity.opened = True
        before = len(host.connections.sampled)
        polls.source.poll(polls.now_ns)
        assert len(host.connections.sampled) == before + 1


def test_a_connection_in_the_queue_of_a_listener_is_sampled_again(host):
    polls = Polls(host, sample_ns=MS)
    host.connections.has_unaccepted = True
    polls.source.poll(polls.now_ns)
    assert len(host.connections.sampled) == 1


def test_an_expensive_interval_silences_the_sampler_for_two_seconds_at_most(host):
    """300 ms, once: what was owed before would take 37 s."""
    polls = Polls(host, sample_ns=MS)
    polls.spend(300 * MS)
    assert polls.source.poll(polls.now_ns) == polls.now_ns + 2_000 * MS


def test_a_command_that_answers_once_samples_at_each_poll(host):
    """Half a core for reads of /proc: `blame`."""
    host.share = 0.5
    polls = Polls(host, sample_ns=40 * MS)
    host.connections.rests = False
    for number in range(4):
        polls.source.poll(START_NS + number * 120 * MS)
    assert len(host.connections.sampled) == 4


def test_a_drain_is_reported_how_long_its_interval_was(host):
    """The first by the setting, the others by the clock; events go out as one batch."""
    source = host.sampler()
    batch = source.drain(7_000 * MS)
    assert batch.events == [DroppedEvents("sock_diag", 7)]
    source.drain(7_233 * MS)
    assert host.connections.collected == [(7_000 * MS, 1_009 * MS), (7_233 * MS, 233 * MS)]


def test_it_may_be_closed_twice(host):
    """The netlink sockets go back once."""
    source = host.sampler()
    source.close()
    source.close()
    assert host.diag.closed == 1
    assert source.fileno() is None
