"""The numbers of system calls on this machine: what /proc shows of a thread that waits."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xctl_probe.commands.profile.numbers import numbers
from xctl_probe.linux.syscalls import Role, is_sleep, parsed

LIMIT_S = 120
BEFORE = """
import os, select, socket, threading, time
here, there = socket.socketpair()
name = "\\0waits-" + str(os.getpid())
listener = socket.socket(socket.AF_UNIX)
listener.bind(name)
listener.listen(0)
poll, epoll = select.poll(), select.epoll()
poll.register(here, select.POLLIN)
epoll.register(here, select.EPOLLIN)
def full():
    while True:
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(name)
            kept.append(one.detach())
kept = []
"""
# What a thread does, the names that its call may have in a C library, and the role.
WAITS = {
    "here.recv(1)": ({"recvfrom"}, Role.RECEIVE),
    "here.recvmsg(1)": ({"recvmsg"}, Role.RECEIVE),
    "os.read(here.fileno(), 1)": ({"read"}, Role.RECEIVE),
    "here.sendall(bytes(1 << 24))": ({"sendto"}, Role.SEND),
    "here.sendmsg([bytes(1 << 24)])": ({"sendmsg"}, Role.SEND),
    "os.write(here.fileno(), bytes(1 << 24))": ({"write"}, Role.SEND),
    "full()": ({"connect"}, Role.CONNECT),
    "[listener.accept() for _ in range(9)]": ({"accept", "accept4"}, Role.ACCEPT),
    "poll.poll()": ({"poll", "ppoll"}, Role.POLL),
    "select.select([here], [], [])": ({"select", "pselect6"}, Role.POLL),
    "epoll.poll()": ({"epoll_wait", "epoll_pwait"}, Role.EPOLL),
    "threading.Lock().acquire() and threading.Event().wait()": ({"futex"}, None),
    "time.sleep(600)": ({"nanosleep", "clock_nanosleep"}, None),
}


def line_of(pid):
    """The line once the thread sleeps in the same call at two readings."""
    end, before = time.monotonic() + LIMIT_S, None
    while time.monotonic() < end:
        line = Path(f"/proc/{pid}/syscall").read_text()
        if line == before and line.split()[0].isdigit():
            return line
        before = line
        time.sleep(0.5)
    raise AssertionError(before)


@pytest.mark.parametrize("wait", WAITS)
def test_a_call_has_the_number_of_this_machine(wait):
    """As `profile` names it, and as the rules know its role."""
    names, role = WAITS[wait]
    with subprocess.Popen(
        (sys.executable, "-c", f"{BEFORE}\nprint(flush=True)\n{wait}"), stdout=subprocess.PIPE
    ) as child:
        try:
            child.stdout.readline()
            line = line_of(child.pid)
        finally:
            child.kill()
    name = numbers(platform.machine())[int(line.split()[0])]
    known = parsed(line)
    assert name in names
    assert (known and known[:2]) == (role and (name, role))
    assert is_sleep(line) == ("sleep" in wait)
