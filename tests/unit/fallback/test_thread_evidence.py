"""What a process shows of itself, for the one socket that is asked about."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.tcp_model import INODE, OWNER, SOCKET

from xctl_probe.events import Direction
from xctl_probe.fallback.thread_evidence import Blocked, ProcessEvidence
from xctl_probe.linux.socket_waits import NotRead, SocketWaits, What

SEND, RECEIVE = Direction.SEND, Direction.RECEIVE
OTHER = INODE + 2
CONNECTION = SimpleNamespace(socket=SOCKET)


class Process:
    """The owner of the socket in question, and what it waits for."""

    def __init__(self):
        self.known = True
        self.threads = ()
        self.closing = ()
        self.writable = frozenset()
        self.read = []
        self.begun = 0
        self.busy = False

    def get(self, inode):
        return OWNER if self.known and inode == INODE else None

    def begin(self):
        self.begun += 1

    def waits(self, pid, what):
        assert pid == OWNER.pid
        self.read.append(what)
        if self.busy:
            raise NotRead
        parts = {
            What.THREADS: SocketWaits(threads=tuple(self.threads)),
            What.CLOSING: SocketWaits(closing=tuple(self.closing)),
            What.WRITABLE: SocketWaits(writable=frozenset(self.writable)),
        }
        return parts[what]


@pytest.fixture
def process():
    return Process()


@pytest.fixture
def found(process):
    return ProcessEvidence(process, process)


@pytest.mark.parametrize(
    ("thread", "sending", "receiving"),
    [
        ((239, INODE, SEND), Blocked(239), None),
        ((239, INODE, RECEIVE), None, Blocked(239)),
        ((239, INODE, None), Blocked(239), Blocked(239)),
        ((239, OTHER, RECEIVE), None, None),
        ((239, OTHER, None), None, None),
    ],
)
def test_a_thread_proves_its_own_socket_and_direction(process, found, thread, sending, receiving):
    process.threads = [thread]
    assert found.of_sending(CONNECTION) == sending
    assert found.of_receiving(CONNECTION) == receiving


def test_the_right_thread_is_found_among_others(process, found):
    """One of three is on this socket."""
    process.threads = [(239, OTHER, RECEIVE), (241, INODE, SEND), (257, INODE, RECEIVE)]
    assert found.of_receiving(CONNECTION) == Blocked(257)


def test_an_event_loop_is_evidence_for_sending_alone(process, found):
    """It names no thread; a blocked thread outweighs it."""
    process.writable = {INODE}
    assert found.of_sending(CONNECTION) == Blocked(None)
    assert found.of_receiving(CONNECTION) is None
    process.threads = [(239, INODE, SEND)]
    assert found.of_sending(CONNECTION) == Blocked(239)


@pytest.mark.parametrize(
    ("tids", "closing"), [([], None), ([239], Blocked(239)), ([239, 241], Blocked(None))]
)
def test_a_thread_in_close_has_no_descriptor_any_more(process, found, tids, closing):
    """One is the one; of several any may be it."""
    process.closing = tids
    assert found.of_closing(CONNECTION) == closing


def test_without_an_owner_nothing_is_read(process, found):
    """Another user's process, or none."""
    process.known, process.writable = False, {INODE}
    process.threads = [(239, INODE, SEND)]
    assert found.of_sending(CONNECTION) is None
    assert found.of_receiving(CONNECTION) is None
    assert found.of_closing(CONNECTION) is None
    assert process.read == []


def test_an_event_loop_is_read_only_where_no_thread_is_found(process, found):
    process.threads = [(239, INODE, SEND)]
    found.of_sending(CONNECTION)
    found.of_receiving(CONNECTION)
    assert set(process.read) == {What.THREADS}


def test_a_process_that_is_not_read_in_time_is_neither(process, found):
    process.busy = True
    with pytest.raises(NotRead):
        found.of_sending(CONNECTION)


def test_a_sample_begins_with_the_readings(process, found):
    found.begin()
    assert process.begun == 1
