"""The holders of sockets, read aside: nothing waits for who cannot be read."""

from __future__ import annotations

import threading

import pytest
from support.fake_proc import FakeProcess

from xctl_probe.events import Process
from xctl_probe.linux import owner_search, worker
from xctl_probe.linux import owners_aside as module
from xctl_probe.linux.barred import Barred
from xctl_probe.linux.owner_search import Search
from xctl_probe.linux.owners_aside import OwnersAside
from xctl_probe.linux.thread_delay import Delay

INODE, OTHER = 4_241, 4_243
ATTACKER, VICTIM = 233, 239
LONG_NS = 20_000_000_000


class Proc:
    """A /proc with two processes; reading `stuck`, a path in it, lasts until `go_on`."""

    def __init__(self, path):
        self.path, self.stuck, self.go_on = path, "", threading.Event()
        self.read: list[str] = []
        for pid, inode in ((ATTACKER, OTHER), (VICTIM, INODE)):
            process = FakeProcess(path, pid)
            process.stat()
            process.socket(5, inode)


@pytest.fixture
def proc(tmp_path, monkeypatch):
    made = Proc(tmp_path)
    readlink = module.Search._link

    def link(search, pid, fd):
        made.read.append(f"{pid}/{fd}")
        if made.read[-1] == made.stuck:
            assert made.go_on.wait(60)
        return readlink(search, pid, fd)

    monkeypatch.setattr(Search, "_link", link)
    monkeypatch.setattr(module, "_WAIT_NS", LONG_NS)
    for reader in (module, owner_search):
        monkeypatch.setattr(reader, "real_user", lambda pid, _: 1_000 + int(pid))
    monkeypatch.setattr(worker, "_HANGS_NS", 0)
    monkeypatch.setattr(worker.ThreadDelay, "observe", lambda *_: Delay(blocked_ns=1))
    yield made
    made.go_on.set()


@pytest.fixture
def barred():
    return Barred()


@pytest.fixture
def owners(proc, barred):
    made = OwnersAside(Search(proc=proc.path, barred=barred), barred)
    yield made
    made.close()


def test_holders_are_found_at_once_where_nothing_is_in_the_way(owners):
    assert owners.search_for({INODE: 1_239, OTHER: 1_233}) == set()
    assert owners.get(INODE) == Process(VICTIM, 7_001, "client")
    assert owners.get(OTHER) == Process(ATTACKER, 7_001, "client")
    assert owners.is_current(INODE)
    assert not owners.is_searching


def test_a_process_that_cannot_be_read_keeps_no_other_from_being_found(
    owners, proc, barred, monkeypatch
):
    """Its reader is left behind, and it is not read again."""
    owners._wait_ns = 1
    monkeypatch.setattr(module, "_WAIT_NS", 1)
    proc.stuck = f"{ATTACKER}/5"
    assert owners.search_for({OTHER: 1_233}) == {OTHER}
    while f"{ATTACKER}/5" not in proc.read:
        pass
    assert owners.get(OTHER) is None
    assert owners.is_pending(OTHER)
    owners._wait_ns = LONG_NS
    monkeypatch.setattr(module, "_WAIT_NS", LONG_NS)
    owners.search_for({INODE: 1_239})
    assert owners.get(INODE) == Process(VICTIM, 7_001, "client")
    assert barred.covers(ATTACKER, 1_000 + ATTACKER)
    assert owners.refused
    assert proc.read.count(f"{ATTACKER}/5") == 1


def test_while_the_reader_is_busy_answers_stay_and_changes_wait(owners, proc, monkeypatch):
    owners.search_for({INODE: 1_239})
    monkeypatch.setattr(worker.ThreadDelay, "observe", lambda *_: Delay())
    owners._wait_ns = 1
    monkeypatch.setattr(module, "_WAIT_NS", 1)
    proc.stuck = f"{ATTACKER}/5"
    owners.search_for({OTHER: 1_233})
    assert owners.stale([INODE, OTHER]) == {OTHER}
    owners.begin()
    owners.forget([OTHER, INODE])
    assert owners.get(INODE) is not None
    assert owners.search_for({4_259: 1_239}) == {4_259}
    proc.go_on.set()
    owners._worker._thread._idle.acquire()
    owners._worker._thread._idle.release()
    owners._wait_ns = LONG_NS
    assert owners.search_for({}) == set()
    assert owners.get(INODE) is None
    assert not owners.is_searching


def test_one_check_serves_a_sample_and_those_of_the_last_are_made_together(owners, monkeypatch):
    owners.search_for({INODE: 1_239, OTHER: 1_233})
    checked = []
    stale = Search.stale
    monkeypatch.setattr(
        Search, "stale", lambda one, inodes: checked.append(set(inodes)) or stale(one, inodes)
    )
    for _ in range(3):
        assert owners.is_current(INODE)
        assert owners.is_current(OTHER)
    assert checked == [{INODE}, {OTHER}]
    owners.begin_sample()
    assert owners.is_current(OTHER)
    assert owners.is_current(INODE)
    assert checked[2:] == [{INODE, OTHER}]


def test_the_first_search_has_a_second(owners):
    owners.allow_first_search()
    assert owners._wait_ns > 1_000_000_000
    owners.search_for({INODE: 1_239})
    assert owners._wait_ns == LONG_NS
