"""The sampler takes sock_diag where it answers, /proc/net where not, and stays cheap."""

from __future__ import annotations

import errno
import os

import pytest

from xctl_probe.errors import SourceUnavailable
from xctl_probe.events import Batch, DroppedEvents
from xctl_probe.fallback import sampler
from xctl_probe.fallback.sampler import Sampler

MS = 1_000_000


class Sockets:
    """Stands in for `Connections` and `ProcNet`."""

    def __init__(self, fails=None):
        self.fails = fails
        self.sampled = []
        self.collected = []

    def sample(self, now_ns):
        if self.fails:
            raise OSError(self.fails, os.strerror(self.fails))
        self.sampled.append(now_ns)

    def collect(self, now_ns, interval_ns):
        self.collected.append((now_ns, interval_ns))
        yield DroppedEvents("sock_diag", 7)


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
        connections, proc_net = Sockets(), Sockets()
        cost_ns = 0

        def sock_diag(self):
            if self.refuses:
                raise OSError(self.refuses, os.strerror(self.refuses))
            return self.diag

        def sampler(self, *, sock_diag=True):
            return Sampler(None, stall_ns=100 * MS, interval_ns=1_009 * MS, sock_diag=sock_diag)

    made = Host()
    monkeypatch.setattr(sampler, "SockDiag", made.sock_diag)
    monkeypatch.setattr(sampler, "SocketTable", lambda *_: made.connections)
    monkeypatch.setattr(sampler, "ProcNet", lambda *_: made.proc_net)
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


def test_samples_take_less_than_a_hundredth_of_a_core(host):
    """A sample that cost 3 ms is followed by 375 ms of rest; a cheap one by 25 ms."""
    source = host.sampler()
    host.cost_ns += 3 * MS
    assert source.poll(7_000 * MS) == 7_375 * MS
    host.cost_ns += 1_000
    assert source.poll(7_300 * MS) == 7_325 * MS


def test_a_drain_is_reported_how_long_its_interval_was(host):
    """The first by the setting, the others by the clock; events go out as one batch."""
    source = host.sampler()
    assert source.drain(7_000 * MS) == Batch(7_000 * MS, [DroppedEvents("sock_diag", 7)])
    source.drain(7_233 * MS)
    assert host.connections.collected == [(7_000 * MS, 1_009 * MS), (7_233 * MS, 233 * MS)]


def test_it_may_be_closed_twice(host):
    """The netlink sockets go back once."""
    source = host.sampler()
    source.close()
    source.close()
    assert host.diag.closed == 1
    assert source.fileno() is None
