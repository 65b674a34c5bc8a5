"""The search for holders goes on bit by bit, and one user's descriptors delay no other user."""

from __future__ import annotations

import pytest
from support.fake_proc import FakeProcess

from xctl_probe.events import Process
from xctl_probe.linux.budget import Budget
from xctl_probe.linux.owner_search import Search, _Folder

MS = 1_000_000
INODE = 4_241
ATTACKER, VICTIM = 1_009, 1_013


class World:
    """A /proc whose descriptors take CPU time to read, each `cost_ns`; `slower`: on a busy host."""

    def __init__(self, path, monkeypatch):
        self.path, self.now_ns, self.cost_ns = path, 1_000_000 * MS, 10_000
        self.slower = 1
        self.users, self.tables, self.inodes, self.read = {}, {}, {}, []
        self.listed = []
        self.cpu_ns = 0  # of the thread; the rest of the time it did not run
        self.search = Search(Budget(), path, lambda: self.now_ns, lambda: self.cpu_ns)
        monkeypatch.setattr(self.search, "_names", self.names)
        monkeypatch.setattr(self.search, "_link", self.link)
        monkeypatch.setattr(self.search, "_folder", self.folder)

    def names(self, pid):
        self.listed.append(int(pid))
        return map(str, self.tables[int(pid)])

    def link(self, pid, fd):
        self.now_ns += self.cost_ns * self.slower
        self.cpu_ns += self.cost_ns
        self.read.append(int(pid))
        return self.tables[int(pid)][int(fd)]

    def folder(self, pid):
        return _Folder(self.users[int(pid)], len(self.tables[int(pid)]), self.inodes[int(pid)])

    def add(self, pid, *inodes, user=VICTIM, others=0, flags=0, folder=0):
        FakeProcess(self.path, pid).stat(flags=flags)
        self.inodes[pid] = folder
        self.users[pid] = user
        self.tables[pid] = dict(enumerate([None] * others + list(inodes)))

    def samples(self, inodes, asker=VICTIM, most=600):
        """How many samples, 100 ms apart, the search takes until it is over."""
        for count in range(1, most):
            if not self.search.search(inodes, asker):
                return count
            self.now_ns += 100 * MS
        return most


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch)


def test_among_few_descriptors_it_is_over_at_once(world):
    world.add(233, INODE)
    world.add(239, 4_243)
    assert world.search.search([INODE, 4_243, 4_259], VICTIM) == set()
    assert world.search.get(INODE) == Process(233, 7_001, "client")
    assert world.search.get(4_243) == Process(239, 7_001, "client")
    assert world.search.get(4_259) is None


def test_it_stops_after_a_moment_and_goes_on_where_it_was(world):
    world.add(233, INODE, others=5_000)
    begun_ns = world.now_ns
    assert world.search.search([INODE], VICTIM) == {INODE}
    assert world.now_ns - begun_ns < 25 * MS
    assert world.samples([INODE]) < 10
    assert world.search.get(INODE) == Process(233, 7_001, "client")
    assert len(world.read) <= 5_001  # nothing was read twice


def test_whose_socket_it_is_comes_first_and_who_has_few_descriptors(world):
    world.add(211, INODE, user=VICTIM)
    world.add(223, others=1_000, user=VICTIM)
    world.add(227, user=ATTACKER, others=50)
    assert world.search.search([INODE], VICTIM) == set()
    assert set(world.read) == {211}


def test_a_user_with_many_descriptors_keeps_no_other_waiting(world):
    """He asks for what no process holds; the other one's search is over in a few samples."""
    for pid in range(300, 303):
        world.add(pid, user=ATTACKER, others=9_000)
    world.add(211, INODE, others=700)
    for inode in range(10):
        world.search.search([inode], ATTACKER)
        world.now_ns += 100 * MS
    assert world.samples([INODE]) <= 5
    assert world.search.get(INODE) == Process(211, 7_001, "client")


def test_who_asks_for_much_pays_for_it(world):
    """In the long run all of it takes a hundredth of the time."""
    for pid in range(300, 303):
        world.add(pid, user=ATTACKER, others=9_000)
    begun_ns, read_before = world.now_ns, len(world.read)
    for inode in range(1_000):
        world.search.search([inode], ATTACKER)
        world.now_ns += 100 * MS
    took_ns = (len(world.read) - read_before) * world.cost_ns
    # 100 ms ahead for each account, and the last piece.
    assert took_ns < (world.now_ns - begun_ns) * 0.01 + 250 * MS


def test_what_no_process_holds_is_over_though_not_all_was_read(world):
    """Four times at most it goes through what it may read."""
    for pid in range(300, 303):
        world.add(pid, user=ATTACKER, others=9_000)
    world.add(211, others=20)
    assert world.samples([INODE]) < 60
    assert world.search.get(INODE) is None


def test_what_is_gone_is_searched_for_no_more(world):
    world.add(233, others=5_000)
    assert world.search.search([INODE], VICTIM) == {INODE}
    world.search.forget([INODE])
    assert not world.search._wanted
    assert not world.search._passes


def test_no_more_than_so_many_are_searched_for(world):
    world.add(233, others=9_000)
    world.search.search(range(1, 9_001), VICTIM)
    assert len(world.search._wanted) <= 4_096


def test_a_large_process_keeps_no_small_one_of_its_own_user_waiting(world):
    """It held what was searched for before, and what is searched for in it is not there."""
    for pid in (300, 301):
        world.add(pid, 4_243 + pid, others=19_000)
    world.samples([4_543, 4_544], most=60)
    for inode in range(10):
        world.search.search([inode], VICTIM)
        world.now_ns += 1_000 * MS
    world.add(211, INODE, others=7)
    assert world.samples([INODE], most=50) <= 20
    assert world.search.get(INODE) == Process(211, 7_001, "client")


def test_what_is_allowed_begins_with_the_search_and_is_not_charged(world):
    """All sockets are new at the start of the sampler, and reading them takes a while."""
    world.add(211, INODE, others=19_000)
    world.search.allow(1_000 * MS)
    world.now_ns += 5_000 * MS
    world.search.search([], VICTIM)
    assert world.search.search([INODE], VICTIM) == set()
    assert world.search.get(INODE) == Process(211, 7_001, "client")
    assert not any(world.search._budget._owed_ns.values())
    world.now_ns += 1_000 * MS
    world.add(223, 4_243, others=19_000)
    assert world.search.search([4_243], VICTIM) == {4_243}


def test_on_a_busy_host_the_time_of_others_is_not_charged(world):
    """The search runs for a tenth of the time: it takes as many samples as on an idle host."""
    for pid in range(101, 131):
        world.add(pid, others=300)
    world.add(233, INODE)
    idle = world.samples([INODE])
    world.search.forget([INODE])
    world.now_ns += 10**12
    world.slower = 10
    world.samples([INODE])
    world.search.forget([INODE])
    world.now_ns += 1_000 * MS
    assert world.samples([INODE]) <= idle + 1


def test_kernel_threads_are_listed_once(world):
    world.add(2, user=0, flags=0x208040, folder=811)
    world.add(17, user=0, flags=0x400140, folder=821)  # a process without descriptors
    for inode in (4_259, 4_261):
        world.search.search([inode], VICTIM)
    assert sorted(world.listed) == [2, 17, 17]
    # the pid is taken by a process
    world.add(2, INODE, user=0, folder=823)
    world.search.search([INODE], VICTIM)
    assert world.search.get(INODE) == Process(2, 7_001, "client")


def test_the_recent_owners_leave_time_for_other_processes_of_their_user(world):
    """Also where the account of the user is in debt: in each pass the recent ones come first."""
    for pid in range(211, 241):
        world.add(pid, 5_000 + pid, others=100)
    world.search.want(dict.fromkeys((5_000 + pid for pid in range(211, 241)), VICTIM))
    while not world.search.is_over:
        world.search.proceed()
        world.now_ns += 100 * MS
    world.add(199, INODE, others=100)
    world.search._budget.charge(("about", VICTIM), 3_600_000 * MS, world.now_ns)
    assert world.samples([INODE]) < 100
    assert world.search.get(INODE) == Process(199, 7_001, "client")


def test_a_socket_that_is_searched_for_again_may_have_come_to_a_process_since(world):
    world.add(233)
    assert world.search.search([INODE], VICTIM) == set()
    assert world.search.get(INODE) is None
    world.add(233, INODE)
    assert world.search.search([INODE], VICTIM) == set()
    assert world.search.get(INODE) == Process(233, 7_001, "client")


def test_who_is_new_comes_before_all_others(world):
    """A short connection of a process that has just begun: the other 500 are not read for it."""
    for pid in range(1_000, 1_500):
        world.add(pid, pid)
    assert world.search.search([1_003, 1_450], VICTIM) == set()
    world.read.clear()
    world.add(2_003, INODE, others=7)
    assert world.search.search([INODE], VICTIM) == set()
    assert world.search.get(INODE) == Process(2_003, 7_001, "client")
    assert set(world.read) <= {1_003, 1_450, 2_003}


def test_new_processes_leave_time_for_the_others_of_their_user(world):
    """They may take half of its time: the socket of an old one is found in the other half."""
    world.add(233, 4_243)
    world.add(239, INODE, others=10)
    assert world.search.search([4_243], VICTIM) == set()
    for pid in range(1_000, 1_400):
        world.add(pid, *([None] * 100))
    assert world.samples([INODE]) <= 2
    assert world.search.get(INODE) == Process(239, 7_001, "client")


def test_what_is_over_is_noted_once(world):
    """Found, not found, forgotten, and not searched for at all: each is over."""
    search = Search(
        Budget(), world.path, lambda: world.now_ns, lambda: world.cpu_ns, most_wanted=3,
        notes_finished=True,
    )  # fmt: skip
    process = FakeProcess(world.path, 233)
    process.stat()
    process.socket(3, INODE)
    search.want(dict.fromkeys([INODE, 4_243, 4_259, 4_261], VICTIM))
    assert search.finished() == [4_261]
    search.forget([4_259])
    assert search.finished() == [4_259]
    search.proceed()
    assert sorted(search.finished()) == [INODE, 4_243]
    assert search.finished() == []
    assert search.get(INODE) is not None


def test_nothing_is_noted_for_who_does_not_ask(world):
    """The list would grow for ever."""
    world.add(233, INODE)
    world.search.search([INODE], VICTIM)
    assert world.search._finished == []
