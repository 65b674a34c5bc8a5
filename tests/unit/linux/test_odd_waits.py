"""Processes that wait on a connection in calls that few use, read from the kernel's own files."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.require import require

from xctl_probe.linux.kcmp import has_own_descriptors, is_same_file
from xctl_probe.linux.process_activity import Activity, Processes
from xctl_probe.linux.wchan import PIPE

# Each prints the inode of its socket, and waits until data comes on it.
SHARED = """
import ctypes, os, select, socket, threading, time
here, there = socket.socketpair()
def waits(inode=None):
    print(inode or os.fstat(here.fileno()).st_ino, flush=True)
"""
WAITS = {
    "splice": "reads, writes = os.pipe(); waits(); os.splice(here.fileno(), writes, 1000)",
    "preadv2": "waits(); os.preadv(here.fileno(), [bytearray(100)], -1)",
    "own descriptors": """
def wait():
    assert ctypes.CDLL(None).unshare(0x400) == 0
    own, other = socket.socketpair()
    os.dup2(own.fileno(), 71)
    waits(os.fstat(71).st_ino)
    os.read(71, 100)
os.dup2(os.open("/dev/null", os.O_RDONLY), 71)
threading.Thread(target=wait).start()
time.sleep(600)
""",
    "own event loop": """
def wait():
    assert ctypes.CDLL(None).unshare(0x400) == 0
    own, other = socket.socketpair()
    loop = select.epoll()
    loop.register(own, select.EPOLLIN)
    waits(os.fstat(own.fileno()).st_ino)
    loop.poll()
threading.Thread(target=wait).start()
time.sleep(600)
""",
}
ELSEWHERE = {
    "full pipe": """
reads, writes = os.pipe()
os.set_blocking(writes, False)
os.write(writes, bytes(1 << 16))
os.set_blocking(writes, True)
there.send(bytes(1000))
waits()
os.splice(here.fileno(), writes, 1000)
""",
    "pipe": "reads, writes = os.pipe(); waits(); os.splice(reads, here.fileno(), 1000)",
}
MANY = """
reads, writes = os.pipe()
poll = select.poll()
for _ in range(4200):
    poll.register(os.dup(reads), select.POLLIN)
poll.register(here, select.POLLIN)
waits()
poll.poll()
"""


@contextmanager
def running(script):
    """Return pid and inode of such a process."""
    words = [sys.executable, "-c", SHARED + script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


def comes_to(expected, pid, inode):
    until = time.monotonic() + 60
    while (found := Processes().activity(pid, inode)) is not expected:
        assert time.monotonic() < until, found
    return True


@pytest.mark.parametrize("script", WAITS.values(), ids=WAITS.keys())
def test_a_peer_waits_for_more_in_whichever_call(script):
    with running(script) as (pid, inode):
        assert comes_to(Activity.WAITING_ON_SOCKET, pid, inode)


@pytest.mark.parametrize("script", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_a_splice_that_waits_for_its_pipe_does_not(script):
    with running(script) as (pid, inode):
        until = time.monotonic() + 60
        while not Path(f"/proc/{pid}/wchan").read_text().startswith(PIPE):
            assert time.monotonic() < until
        assert Processes().activity(pid, inode) is Activity.OTHER


def test_a_poll_of_more_descriptors_than_are_read_may_have_this_one():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = most == resource.RLIM_INFINITY or most >= 5_000
    require(enough, "a process may not have 5,000 descriptors: raise the hard limit (ulimit -Hn)")
    raised = f"import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (5000, {most}))\n"
    with running(raised + MANY) as (pid, inode):
        assert comes_to(Activity.UNDECIDED, pid, inode)


def test_threads_have_the_descriptors_of_their_process():
    stop, tids = threading.Event(), []
    thread = threading.Thread(target=lambda: (tids.append(threading.get_native_id()), stop.wait()))
    thread.start()
    with running(WAITS["own descriptors"]) as (pid, _):
        tid = max(map(int, os.listdir(f"/proc/{pid}/task")))
        while not tids:
            time.sleep(0.01)
        assert has_own_descriptors(tid, pid)
        assert not has_own_descriptors(pid, pid)
        assert not has_own_descriptors(tids[0], os.getpid())
    stop.set()
    assert not has_own_descriptors(tid, pid)  # gone: not known


def test_a_duplicate_is_the_same_file():
    one, other = socket.socketpair()
    copy = os.dup(one.fileno())
    assert is_same_file(os.getpid(), one.fileno(), copy)
    assert not is_same_file(os.getpid(), one.fileno(), other.fileno())
    os.close(copy)
