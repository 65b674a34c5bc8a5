"""Which process holds a socket: found once, kept while right, given up when wrong."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_proc import FakeProcess, stat_line

from xctl_probe.events import Process
from xctl_probe.linux import socket_owners as module
from xctl_probe.linux.procfs import parse_process, read_process
from xctl_probe.linux.socket_owners import Owners

INODE = 4_241


class Proc:
    """A /proc with the processes that a test wants."""

    def __init__(self, path):
        self.path = path
        self.links = 0

    def add(self, pid, *inodes, comm=b"client", start=7_001, parent=1):
        process = FakeProcess(self.path, pid)
        process.stat(comm, start, parent=parent)
        process.link(0, "/dev/null")
        process.link(1, "pipe:[4241]")
        for fd, inode in enumerate(inodes, start=3):
            process.socket(fd, inode)

    def close(self, pid, fd=3):
        (self.path / f"{pid}/fd/{fd}").unlink()

    def end(self, pid):
        os.rename(self.path / str(pid), self.path / f"gone-{pid}")


@pytest.fixture
def proc(tmp_path):
    made = Proc(tmp_path)
    (tmp_path / "net").mkdir()
    (tmp_path / "version").write_text("7")
    return made


@pytest.fixture
def owners(proc):
    return Owners(proc.path)


def test_of_a_parent_and_its_children_the_parent_is_the_owner(proc, owners):
    """Workers that load data for a rank have its connections; and theirs have them, too."""
    proc.add(233, INODE, parent=97)  # a shell, which does not hold it
    proc.add(97, INODE + 2)
    proc.add(239, INODE, parent=233)
    proc.add(241, INODE, parent=239)
    owners.search([INODE])
    assert owners.get(INODE).pid == 233
    assert owners.is_current(INODE)
    proc.close(233)  # as a server that forks for each connection
    assert not owners.is_current(INODE)
    owners.search([INODE])
    assert owners.get(INODE).pid == 239


def test_a_socket_of_a_child_is_its_own(proc, owners):
    """Opened after the fork, under a number that the parent has for another one."""
    proc.add(233, INODE + 2)
    proc.add(239, INODE, parent=233)
    owners.search([INODE])
    assert owners.get(INODE).pid == 239


def test_a_process_is_its_pid_start_and_name(proc):
    """Field 22 of stat is the start."""
    proc.add(233, start=7_001)
    assert read_process(233, proc.path) == Process(233, 7_001, "client")


@pytest.mark.parametrize(
    ("comm", "text"),
    [
        (b"a b", "a b"),
        (b"((sd-pam))", "((sd-pam))"),
        (b") S 1 (", ") S 1 ("),
        (b"", ""),
        (b"\xc3\xa9", "é"),
        (b"\xff\n", "\\xff\n"),
        (b"tmux: server", "tmux: server"),
    ],
)
def test_a_name_may_hold_anything(proc, comm, text):
    """Spaces, parentheses and bytes that are no text do not shift the fields."""
    proc.add(233, comm=comm)
    assert read_process(233, proc.path) == Process(233, 7_001, text)


@given(st.binary(max_size=15))
def test_any_name_is_text_that_can_be_written(comm):
    """Whatever a process calls itself, its name encodes as UTF-8 and its start is right."""
    process = _parsed(stat_line(233, comm))
    assert process is not None
    assert process.start_ticks == 7_001
    process.comm.encode()


@given(st.integers(0, 200))
def test_a_cut_stat_is_no_process_or_has_its_start(cut):
    """The start stands in the middle: cut before it there is no process."""
    line = stat_line(233, start=7)
    process = _parsed(line[:cut])
    assert process in (None, Process(233, 7, "client"))


@pytest.mark.parametrize("line", [b"", b"233", b"233 (x", b"233 x)", b")(", b"\0" * 300])
def test_what_is_no_stat_is_no_process(line):
    """Without a name in parentheses and the fields after it there is none."""
    assert _parsed(line) is None


def test_a_mangled_start_is_no_process():
    """Never an exception, whatever stands in /proc/<pid>/stat."""
    assert _parsed(b"233 (client) S " + b"x " * 40) is None


def _parsed(line):
    return parse_process(233, line)


def test_a_process_that_is_gone_is_none(proc, owners):
    """It may end at any time."""
    assert read_process(233, proc.path) is None
    assert owners.process(233) is None


def test_holders_are_found_among_all(proc, owners):
    """Each socket by its process; a pipe with the same number is none."""
    proc.add(233, INODE, 4_243)
    proc.add(239, 4_259, comm=b"other")
    proc.add(241)
    owners.search([INODE, 4_243, 4_259, 4_261])
    assert owners.get(INODE) == owners.get(4_243) == Process(233, 7_001, "client")
    assert owners.get(4_259) == Process(239, 7_001, "other")
    assert owners.get(4_261) is None
    assert owners.is_current(INODE)
    assert not owners.is_current(4_261)


def test_a_kept_answer_is_wrong_once_the_descriptor_is_closed(proc, owners):
    """`holds` reports it; the answer itself stays, for what the socket still does."""
    proc.add(233, INODE)
    owners.search([INODE])
    proc.close(233)
    assert not owners.is_current(INODE)
    assert owners.get(INODE) == Process(233, 7_001, "client")


def test_a_descriptor_used_again_for_another_socket_is_wrong_too(proc, owners):
    """Same process, same number, other inode."""
    proc.add(233, INODE)
    owners.search([INODE])
    proc.close(233)
    (proc.path / "233/fd/3").symlink_to("socket:[4243]")
    assert not owners.is_current(INODE)


def test_after_a_fork_the_remaining_holder_is_found(proc, owners):
    """One of the two is taken; when that one closes, a new search moves on."""
    proc.add(233, INODE)
    proc.add(239, INODE)
    owners.search([INODE])
    first = owners.get(INODE)
    assert first is not None
    proc.close(first.pid)
    owners.search([INODE])
    second = owners.get(INODE)
    assert second is not None
    assert {first.pid, second.pid} == {233, 239}
    assert owners.is_current(INODE)


def test_a_reused_pid_is_another_process(proc, owners):
    """The owner is the one that held the socket, not who has its number now."""
    proc.add(233, INODE)
    owners.search([INODE])
    proc.end(233)
    proc.add(233, comm=b"thief", start=9_001)
    owners.begin()
    assert owners.get(INODE) == Process(233, 7_001, "client")


def test_a_name_is_read_anew_each_interval(proc, owners):
    """exec changes the name and keeps the process; within an interval it is read once."""
    proc.add(233, INODE)
    owners.search([INODE])
    (proc.path / "233/stat").write_bytes(stat_line(233, b"execed"))
    assert owners.get(INODE) == Process(233, 7_001, "client")
    owners.begin()
    assert owners.get(INODE) == Process(233, 7_001, "execed")


def test_an_ended_process_stays_the_owner(proc, owners):
    """What its socket does in its FIN states belongs to it."""
    proc.add(233, INODE)
    owners.search([INODE])
    proc.end(233)
    owners.begin()
    assert owners.get(INODE) == Process(233, 7_001, "client")
    assert not owners.is_current(INODE)


def test_what_is_forgotten_is_unknown(proc, owners):
    """An inode number is used again: the answer for the old socket must not stay."""
    proc.add(233, INODE)
    owners.search([INODE])
    owners.forget([INODE, 4_243])
    assert owners.get(INODE) is None


def test_processes_that_may_not_be_read_are_tried_once_for_each_user(proc, owners, monkeypatch):
    """Others' processes are left alone until they change their user."""
    proc.add(233)
    tried = []

    def refuse(path):
        if str(path).endswith("/fd"):
            tried.append(path)
            raise PermissionError
        return listdir(path)

    listdir = os.listdir
    monkeypatch.setattr(module.os, "listdir", refuse)
    user = [1_009]
    monkeypatch.setattr(owners, "_user", lambda _: user[0])
    for _ in range(8):
        owners.search([INODE])
    assert len(tried) == 1
    user[0] = 1_013
    for _ in range(8):
        owners.search([INODE])
    assert len(tried) == 2


def test_a_search_stops_when_all_are_found(proc, owners, monkeypatch):
    """The youngest process is read first, and the others not at all."""
    for pid in range(211, 241):
        proc.add(pid)
    proc.add(251, INODE)
    sampled = []
    listdir = os.listdir
    monkeypatch.setattr(
        module.os, "listdir", lambda path: sampled.append(str(path)) or listdir(path)
    )
    owners.search([INODE])
    assert [path for path in sampled if path.endswith("/fd")] == [f"{proc.path}/251/fd"]


def test_who_had_sockets_before_is_asked_first(proc, owners, monkeypatch):
    """A server's next connection is found without reading younger processes."""
    proc.add(211, INODE)
    for pid in range(223, 241):
        proc.add(pid)
    owners.search([INODE])
    (proc.path / "211/fd/4").symlink_to("socket:[4243]")
    sampled = []
    listdir = os.listdir
    monkeypatch.setattr(
        module.os, "listdir", lambda path: sampled.append(str(path)) or listdir(path)
    )
    owners.search([4_243])
    assert [path for path in sampled if path.endswith("/fd")] == [f"{proc.path}/211/fd"]
