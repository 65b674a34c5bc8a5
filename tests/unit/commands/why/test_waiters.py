"""Which sockets the threads of a process wait on, and how."""

from __future__ import annotations

import os
import socket

import pytest

from xctl_probe.commands.why.threads import Thread
from xctl_probe.commands.why.waiters import by_first_descriptors, waiters
from xctl_probe.linux.syscalls import Call, Role, Watched

FD, INODE = 7, 4_241
THREAD = Thread(233, "client", "S", "", None, True, 0, None, idle_ms=17.0)


@pytest.mark.parametrize(
    ("role", "fds", "alone"),
    [
        (Role.RECEIVE, [FD], True),
        (Role.POLL, [FD], True),
        (Role.POLL, [FD, 3], True),  # 3 is no socket of the network: a pipe that wakes it
        (Role.POLL, [FD, 11], False),
        (Role.EPOLL, [FD], False),
    ],
)
def test_a_thread_that_can_only_go_on_with_one_socket_is_evidence(role, fds, alone):
    """A poll of one socket is as good as a recv; an event loop may have other things to do."""
    call = Call("call", role, tuple(Watched(fd, True, False) for fd in fds))
    found = waiters([(THREAD, call)], {INODE: FD, 1_009: 3, 1_013: 11}, {INODE, 1_013})
    assert found[INODE].reads
    assert found[INODE].exclusive is alone
    assert found[INODE].ms == (17.0 if alone else None)


def test_a_thread_that_sleeps_at_both_samples_is_marked():
    call = Call("recvfrom", Role.RECEIVE, (Watched(FD, True, False),))
    for sleepers in ((), (THREAD.tid,)):
        found = waiters([(THREAD, call)], {INODE: FD}, {INODE}, sleepers)
        assert found[INODE].still is bool(sleepers)
        assert found[INODE].plus(found[INODE]).still is bool(sleepers)


def test_two_threads_on_one_socket_are_both_heard():
    """One reads, the other writes."""
    calls = [
        Call("epoll_wait", Role.EPOLL, (Watched(FD, True, False),)),
        Call("sendto", Role.SEND, (Watched(FD, False, True),)),
    ]
    found = waiters([(THREAD, call) for call in calls], {INODE: FD}, {INODE})[INODE]
    assert (found.reads, found.writes, found.exclusive, found.ms) == (True, True, True, 17.0)


def test_a_poll_of_which_the_rest_is_not_read_may_have_more_sockets():
    call = Call("poll", Role.POLL, (Watched(FD, True, False),), cut=True)
    waiter = waiters([(THREAD, call)], {INODE: FD}, {INODE})[INODE]
    assert (waiter.reads, waiter.exclusive, waiter.only) == (True, False, False)


def test_a_socket_that_an_epoll_instance_has_by_a_closed_descriptor_is_known():
    """dup(2), and a close of the one that was registered."""
    entry = Watched(FD + 1, True, False, INODE)
    call = by_first_descriptors(Call("epoll_wait", Role.EPOLL, (entry,)), {INODE: FD}, os.getpid())
    assert call.watched == (Watched(FD, True, False),)


def test_a_socket_goes_by_its_first_descriptor():
    """As inetd passes it: 0, 1 and 2 are one socket."""
    with socket.socket() as one, socket.socket() as other:
        first, inode = one.fileno(), os.fstat(one.fileno()).st_ino
        second = os.dup(first)
        try:
            watched = (
                Watched(second, True, False),
                Watched(first, False, True),
                Watched(other.fileno(), True, False),
            )
            call = by_first_descriptors(
                Call("poll", Role.POLL, watched), {inode: first}, os.getpid()
            )
        finally:
            os.close(second)
    assert call.watched == (Watched(first, True, True), watched[2])
