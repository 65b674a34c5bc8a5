"""What a process waits for on its sockets, by the threads and event loops that it has."""

from __future__ import annotations

import pytest

from xctl_probe.events import Direction
from xctl_probe.linux import socket_waits as module
from xctl_probe.linux.socket_waits import SocketWaits, What, socket_waits
from xctl_probe.linux.threads import BlockedThread

PID, TID, INODE = 233, 239, 4_241
SEND, RECEIVE = Direction.SEND, Direction.RECEIVE


@pytest.fixture
def shows(tmp_path, monkeypatch):
    """A process with descriptor 5, a socket, and 7, a file; it shows what a test asks."""
    folder = tmp_path / f"{PID}/fd"
    folder.mkdir(parents=True)
    (folder / "5").symlink_to(f"socket:[{INODE}]")
    (folder / "7").symlink_to("/dev/null")

    def read(what, *, threads=(), closing=(), writable=(), sole=None):
        monkeypatch.setattr(module, "blocked_threads", lambda *_: list(threads))
        monkeypatch.setattr(module, "closing_threads", lambda *_: list(closing))
        monkeypatch.setattr(module, "inodes_awaited_writable", lambda *_: set(writable))
        monkeypatch.setattr(module, "sole_stream_socket", lambda *_: sole)
        return socket_waits(PID, what, tmp_path)

    return read


@pytest.mark.parametrize(
    ("thread", "sole", "found"),
    [
        (BlockedThread(TID, 5, SEND), None, ((TID, INODE, SEND),)),
        (BlockedThread(TID, 5, RECEIVE), None, ((TID, INODE, RECEIVE),)),
        (BlockedThread(TID, 5, None), None, ()),
        (BlockedThread(TID, 7, RECEIVE), None, ()),
        (BlockedThread(TID, 9, RECEIVE), None, ()),
        (BlockedThread(TID, None, RECEIVE), None, ()),
        (BlockedThread(TID, None, RECEIVE), INODE, ((TID, INODE, RECEIVE),)),
        (BlockedThread(TID, None, None), INODE, ((TID, INODE, None),)),
    ],
)
def test_a_thread_is_on_the_socket_of_its_call_or_on_the_only_one(shows, thread, sole, found):
    """Where its call may not be read, as under Yama, it is the only socket that it can be."""
    assert shows(What.THREADS, threads=[thread], sole=sole) == SocketWaits(threads=found)


def test_threads_in_close_and_sockets_of_event_loops_are_read_apart(shows):
    seen = {"threads": [BlockedThread(TID, 5, SEND)], "closing": [TID], "writable": [INODE]}
    assert shows(What.CLOSING, **seen) == SocketWaits(closing=(TID,))
    assert shows(What.WRITABLE, **seen) == SocketWaits(writable=frozenset({INODE}))


def test_an_answer_is_no_longer_than_a_helper_can_send(shows):
    many = [BlockedThread(tid, 5, SEND) for tid in range(1, 9_001)]
    assert len(shows(What.THREADS, threads=many).threads) == 2_048
    assert len(shows(What.WRITABLE, writable=range(1, 9_001)).writable) == 4_096
