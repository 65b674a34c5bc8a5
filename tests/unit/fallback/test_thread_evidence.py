"""What a process shows of itself, for the one socket that is asked about."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.tcp_model import INODE, OWNER, SOCKET

from xctl_probe.events import Direction
from xctl_probe.fallback import thread_evidence
from xctl_probe.fallback.thread_evidence import Blocked, ProcessEvidence
from xctl_probe.linux.threads import BlockedThread

SEND, RECEIVE = Direction.SEND, Direction.RECEIVE
CONNECTION = SimpleNamespace(socket=SOCKET)


class Process:
    """The owner: descriptor 5 is the socket in question, 7 another one."""

    def __init__(self):
        self.known = True
        self.threads = []
        self.loop_waits = False
        self.only = None
        self.closing = []
        self.read = 0

    def get(self, inode):
        return OWNER if self.known and inode == INODE else None

    def fd_inode(self, pid, fd):
        assert pid == OWNER.pid
        return {5: INODE, 7: INODE + 2}.get(fd)

    def blocked_threads(self, pid):
        assert pid == OWNER.pid
        self.read += 1
        return self.threads

    def closing_threads(self, pid):
        assert pid == OWNER.pid
        return self.closing

    def waits_writable(self, pid, inode):
        assert (pid, inode) == (OWNER.pid, INODE)
        return self.loop_waits


@pytest.fixture
def process(monkeypatch):
    made = Process()
    monkeypatch.setattr(thread_evidence, "blocked_threads", made.blocked_threads)
    monkeypatch.setattr(thread_evidence, "waits_writable", made.waits_writable)
    monkeypatch.setattr(thread_evidence, "sole_stream_socket", lambda _: made.only)
    monkeypatch.setattr(thread_evidence, "closing_threads", made.closing_threads)
    return made


@pytest.mark.parametrize(
    ("thread", "sending", "receiving"),
    [
        (BlockedThread(239, 5, SEND), Blocked(239), None),
        (BlockedThread(239, 5, RECEIVE), None, Blocked(239)),
        (BlockedThread(239, 5, None), None, None),
        (BlockedThread(239, 7, RECEIVE), None, None),
        (BlockedThread(239, 9, RECEIVE), None, None),
        (BlockedThread(239, None, RECEIVE), None, None),
    ],
)
def test_a_thread_proves_its_own_socket_and_direction(process, thread, sending, receiving):
    """Blocked elsewhere, or nobody knows where or which way: no proof."""
    process.threads = [thread]
    found = ProcessEvidence(process)
    assert found.of_sending(CONNECTION) == sending
    assert found.of_receiving(CONNECTION) == receiving


@pytest.mark.parametrize(
    ("only", "direction", "sending", "receiving"),
    [
        (INODE, None, Blocked(239), Blocked(239)),
        (INODE, RECEIVE, None, Blocked(239)),
        (INODE + 2, None, None, None),
        (None, None, None, None),
    ],
)
def test_where_calls_may_not_be_read_the_only_socket_is_it(
    process, only, direction, sending, receiving
):
    """As under Yama: a thread sleeps in a stream, and there is one it can be."""
    process.only = only
    process.threads = [BlockedThread(239, None, direction)]
    found = ProcessEvidence(process)
    assert found.of_sending(CONNECTION) == sending
    assert found.of_receiving(CONNECTION) == receiving


def test_the_right_thread_is_found_among_others(process):
    """One of four is on this socket."""
    process.threads = [
        BlockedThread(239, 7, RECEIVE),
        BlockedThread(241, 5, SEND),
        BlockedThread(251, None, RECEIVE),
        BlockedThread(257, 5, RECEIVE),
    ]
    assert ProcessEvidence(process).of_receiving(CONNECTION) == Blocked(257)


def test_an_event_loop_speaks_for_sending_alone(process):
    """It names no thread; a blocked thread outweighs it."""
    process.loop_waits = True
    found = ProcessEvidence(process)
    assert found.of_sending(CONNECTION) == Blocked(None)
    assert found.of_receiving(CONNECTION) is None
    process.threads = [BlockedThread(239, 5, SEND)]
    found.begin()
    assert found.of_sending(CONNECTION) == Blocked(239)


@pytest.mark.parametrize(
    ("tids", "found"), [([], None), ([239], Blocked(239)), ([239, 241], Blocked(None))]
)
def test_a_thread_in_close_has_no_descriptor_any_more(process, tids, found):
    """One is the one; of several any may be it."""
    process.closing = tids
    assert ProcessEvidence(process).of_closing(CONNECTION) == found


def test_without_an_owner_there_is_nobody_to_ask(process):
    """Another user's process, or none."""
    process.known, process.loop_waits = False, True
    process.threads = [BlockedThread(239, 5, SEND)]
    found = ProcessEvidence(process)
    assert found.of_sending(CONNECTION) is None
    assert found.of_receiving(CONNECTION) is None
    assert found.of_closing(CONNECTION) is None
    assert process.read == 0


def test_a_process_is_read_once_a_sample(process):
    """Hundreds of its connections cost one reading; the next sample reads anew."""
    found = ProcessEvidence(process)
    for _ in range(101):
        found.of_receiving(CONNECTION)
    assert process.read == 1
    found.begin()
    found.of_receiving(CONNECTION)
    assert process.read == 2
