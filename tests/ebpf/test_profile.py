"""The system calls of one process: each is counted once, and no other process's."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
import time

import pytest
from support.require import require

from xctl_probe.commands.profile.categories import flags
from xctl_probe.commands.profile.numbers import numbers
from xctl_probe.ebpf.profile import Descriptor, KernelProfile
from xctl_probe.errors import SourceUnavailable

NAMES = numbers(platform.machine())
NUMBERS = {name: number for number, name in NAMES.items()}
MOST_S = 60
NONE, INTERNET, LOCAL = Descriptor.NONE, Descriptor.INTERNET, Descriptor.LOCAL


@pytest.fixture
def profile():
    """Profile processes; they are closed with the test."""
    opened = []

    def start(pid, **options):
        try:
            opened.append(KernelProfile(pid, flags(NAMES), **options))
        except SourceUnavailable as reason:
            require(False, str(reason))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def by_name(profile):
    return {(NAMES[one.number], one.kind): one for one in profile.calls()}


def test_each_call_is_counted_with_its_bytes_and_on_what_it_was_made(profile, peer):
    one, other = peer("profile.calls"), peer("profile.calls")
    counted = profile(one.pid)
    one.go()
    other.go()
    found = by_name(counted)
    times = {key: found[key].times for key in found}
    moved = {key: found[key].bytes for key in found}
    assert times["getppid", NONE] == 23
    assert times["sendto", INTERNET] == times["recvfrom", INTERNET] == 7
    assert moved["sendto", INTERNET] == moved["recvfrom", INTERNET] == 7 * 61
    assert (times["write", INTERNET], moved["write", INTERNET]) == (5, 5 * 29)
    assert (times["read", INTERNET], moved["read", INTERNET]) == (5, 5 * 29)
    assert times["sendto", LOCAL] == times["recvfrom", LOCAL] == 3
    assert (found["openat", NONE].times, found["openat", NONE].failures) == (11, 11)
    assert (times["connect", INTERNET], found["connect", INTERNET].failures) == (2, 2)
    assert times["close", INTERNET] == 2
    for call in found.values():
        assert sum(call.buckets) == call.times
        assert call.sleep_ns <= call.total_ns
    assert counted.lost() == 0


RECEIVES = """
import socket
input()
datagrams = [socket.socket(type=socket.SOCK_DGRAM) for _ in "ab"]
listener = socket.create_server(("127.0.0.1", 0))
out = socket.create_connection(listener.getsockname())
into, _ = listener.accept()
datagrams[0].bind(("127.0.0.1", 0))
datagrams[1].connect(datagrams[0].getsockname())
for n in range(7):
    out.send(bytes(61))
    into.recv(61, socket.MSG_PEEK)
    into.recvmsg(61, 0, socket.MSG_PEEK)
    into.recv(61) if n else into.recvmsg(61)
    datagrams[1].send(bytes(1000))
    datagrams[0].recv(10, socket.MSG_TRUNC)
print(flush=True)
input()
"""


def test_bytes_that_stay_in_the_queue_are_not_received(profile):
    with subprocess.Popen(
        [sys.executable, "-c", RECEIVES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        counted = profile(one.pid)
        print(file=one.stdin, flush=True)
        one.stdout.readline()
        found = by_name(counted)
        print(file=one.stdin, flush=True)
    assert found["recvfrom", INTERNET].times == 7 + 6 + 7
    assert found["recvfrom", INTERNET].bytes == 6 * 61 + 7 * 10
    assert (found["recvmsg", INTERNET].times, found["recvmsg", INTERNET].bytes) == (8, 61)


def test_failures_are_counted_by_their_errno(profile, peer):
    one = peer("profile.calls")
    counted = profile(one.pid)
    one.go()
    failures = counted.failures()
    assert failures[NUMBERS["openat"], errno.ENOENT] == 11
    assert failures[NUMBERS["connect"], errno.ECONNREFUSED] == 2


def test_a_call_that_waits_sleeps_and_is_in_flight(profile, peer):
    """Between its steps the peer waits for the next: a read of a pipe, with all its length."""
    one = peer("profile.calls")
    counted = profile(one.pid)
    one.go()
    deadline = time.monotonic() + MOST_S
    while one.pid not in (flights := counted.in_flight()):
        assert time.monotonic() < deadline
    flying = flights[one.pid]
    assert (NAMES[flying.number], flying.kind) == ("read", LOCAL)
    assert flying.begin_ns > counted.begin_ns


@pytest.mark.parametrize(("children", "times"), [(False, None), (True, 17 + 19)])
def test_children_are_counted_where_they_are_wanted(profile, peer, children, times):
    """Those from before, too."""
    one = peer("profile.children")
    counted = profile(one.pid, children=children)
    one.go()
    found = {NAMES[call.number]: call for call in counted.calls()}
    assert (found["getpgrp"].times if "getpgrp" in found else None) == times
    assert ("exit_group" in found) is children
    if children:
        assert found["exit_group"].times == 2


def test_closed_it_gives_every_descriptor_back(profile, peer):
    one = peer("profile.calls")
    before = set(os.listdir("/proc/self/fd"))
    counted = profile(one.pid)
    assert len(os.listdir("/proc/self/fd")) > len(before)
    counted.close()
    counted.close()
    assert not set(os.listdir("/proc/self/fd")) - before  # what others left open may close
