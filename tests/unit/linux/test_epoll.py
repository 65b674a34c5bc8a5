"""What epoll instances watch: long lists are read rarely and in part, duplicates once."""

from __future__ import annotations

import os
import select

import pytest
from support.fake_proc import EPOLL_HEAD, FakeProcess, epoll_line

from xctl_probe.linux import epoll as module
from xctl_probe.linux.epoll import Epolls

PID = 233


@pytest.fixture
def proc(tmp_path):
    FakeProcess(tmp_path, PID)
    return tmp_path


def watch(proc, fd, inodes, events=select.EPOLLIN):
    (proc / f"{PID}/fdinfo/{fd}").write_text(
        EPOLL_HEAD + "".join(epoll_line(7, events, inode) for inode in inodes)
    )


def test_it_is_read_anew_each_time_while_that_is_quick(proc, monkeypatch):
    monkeypatch.setattr(module, "_LONG_NS", 10**12)
    epolls = Epolls(proc)
    watch(proc, 5, [11, 13])
    assert epolls.watches(PID, 5) == {11, 13}
    watch(proc, 5, [17])
    assert epolls.watches(PID, 5) == {17}
    watch(proc, 5, [17], select.EPOLLOUT)
    assert epolls.watches(PID, 5) == set()


def test_what_took_long_is_not_read_again_soon(proc, monkeypatch):
    """For the kernel holds the process's own loop up meanwhile."""
    clock = [0, 7_000_000]  # it takes 7 ms
    monkeypatch.setattr(module.time, "monotonic_ns", lambda: clock.pop(0))
    epolls = Epolls(proc)
    watch(proc, 5, [11])
    assert epolls.watches(PID, 5) == {11}
    watch(proc, 5, [13])
    clock += [699_000_000]
    assert epolls.watches(PID, 5) == {11}
    clock += [700_000_000, 707_000_000]
    assert epolls.watches(PID, 5) == {13}
    assert len(epolls._kept) == 1


def test_of_a_list_without_end_the_beginning_is_read(proc):
    epolls = Epolls(proc)
    watch(proc, 5, range(1, 30_001))
    found = epolls.watches(PID, 5)
    assert 10_000 < len(found) < 20_000
    assert epolls.partly == {PID}
    epolls.begin()
    assert epolls.partly == set()


def test_a_few_instances_of_a_process_are_enough(proc):
    for fd in range(3_000):
        (proc / f"{PID}/fd/{fd}").symlink_to("anon_inode:[eventpoll]")
    epolls = Epolls(proc)
    assert len(epolls.of(PID)) == 16
    assert epolls.partly == {PID}


def test_a_process_that_is_gone_watches_nothing(proc):
    epolls = Epolls(proc)
    assert epolls.of(239) == []
    assert epolls.watches(239, 5) == frozenset()


def test_an_instance_with_many_descriptors_is_one():
    """By kcmp(2), where the kernel has it."""
    one, other = select.epoll(), select.epoll()
    copies = [os.dup(one.fileno()) for _ in range(40)]
    try:
        found = Epolls().of(os.getpid())
        mine = {one.fileno(), other.fileno(), *copies}
        assert len(mine & set(found)) == 2
    finally:
        for fd in copies:
            os.close(fd)
        one.close()
        other.close()
