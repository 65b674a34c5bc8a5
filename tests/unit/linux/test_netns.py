"""Namespaces are entered for a moment, in turns, and never stayed in."""

import os

import pytest

from xctl_probe.linux import netns
from xctl_probe.linux.netns import NetnsLookup, NotEntered, NotNow, Visits


class Inside:
    """What looks up connections in a namespace, while it is open."""

    def __init__(self, netns):
        self.netns, self.closed = netns, 0

    def close(self):
        self.closed += 1

    def local_socket(self, of):
        return "local", self.netns, of

    def peer_socket(self, of):
        return "peer", self.netns, of


class World:
    """All namespaces; processes in `gone` lead nowhere."""

    def __init__(self):
        self.made, self.gone = [], set()
        self.visits = Visits(self.enter)

    def enter(self, netns, pid):
        self.made.append(Inside(netns))
        return None if pid in self.gone else self.made[-1]

    def take_sample(self, *numbers):
        """Which of them this sample is in."""
        self.visits.begin()
        return [netns for netns in numbers if self.enters(netns)]

    def enters(self, netns, pid=7):
        try:
            return self.visits.lookup(netns, pid)
        except NotNow:
            return None


@pytest.fixture
def world():
    return World()


def test_a_namespace_is_entered_once_a_sample_and_left_at_its_end(world):
    for _ in range(2):
        assert world.take_sample(3, 3, 5, 3) == [3, 3, 5, 3]
    assert [one.netns for one in world.made] == [3, 5, 3, 5]
    assert [one.closed for one in world.made] == [1, 1, 0, 0]
    world.visits.leave()
    world.visits.leave()
    assert [one.closed for one in world.made] == [1, 1, 1, 1]


def test_the_probe_s_own_is_held(world):
    own = os.stat("/proc/self/ns/net").st_ino
    for _ in range(3):
        assert world.take_sample(own) == [own]
    assert [one.closed for one in world.made] == [0]
    world.visits.close()
    world.visits.close()
    assert [one.closed for one in world.made] == [1]


def test_each_has_its_turn_and_a_new_one_at_once(world):
    """Two hundred of one user do not keep another's out."""
    seen = []
    for _ in range(60):
        found = world.take_sample(*range(1, 201))
        assert len(found) <= 8
        seen += found
    assert set(seen) == set(range(1, 201))
    assert min(map(seen.count, set(seen))) >= 1
    assert max(map(seen.count, set(seen))) <= 3
    for _ in range(26):
        if 999 in world.take_sample(999, *range(1, 201)):
            break
    else:
        pytest.fail("the new one was never looked into")


def test_who_has_left_leads_nowhere_and_another_one_may(world):
    world.gone = {7}
    world.visits.begin()
    assert world.enters(3, 7) is None
    assert world.enters(3, 7) is None
    assert len(world.made) == 1
    assert world.enters(3, 11)


def test_many_who_lead_nowhere_are_not_all_tried(world):
    world.gone = set(range(100))
    world.visits.begin()
    for pid in range(100):
        world.enters(3, pid)
    assert len(world.made) == 16


def test_a_connection_is_sampled_up_where_it_is(world):
    there = NetnsLookup(world.visits, 3, 7)
    assert there.local_socket("socket") == ("local", 3, "socket")
    assert there.peer_socket("socket") == ("peer", 3, "socket")
    world.gone = {7}
    world.visits.begin()
    for ask in (there.local_socket, there.peer_socket):
        with pytest.raises(NotEntered):
            ask("socket")


def test_without_threads_it_sees_nothing(monkeypatch):
    """Where a limit on processes is reached."""

    class NoMore:
        def __init__(self, **_):
            pass

        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(netns.threading, "Thread", NoMore)
    assert netns._lookup_in(3) is None


def test_a_namespace_that_a_process_has_left_is_found_by_its_name(tmp_path, monkeypatch):
    """`pid` lives elsewhere; the folder also has what is no namespace, and what is gone."""
    there = os.stat("/proc/self/ns/uts").st_ino  # stands for another network namespace
    (tmp_path / "gone").symlink_to("/nowhere")
    (tmp_path / "plain").touch()
    (tmp_path / "there").symlink_to("/proc/self/ns/uts")
    monkeypatch.setattr(netns, "_lookup_in", lambda fd: os.fstat(fd).st_ino)
    monkeypatch.setattr(netns, "_NAMED", (str(tmp_path / "missing"), str(tmp_path)))
    assert netns.socket_lookup_in(there, os.getpid()) == there
    (tmp_path / "there").unlink()
    assert netns.socket_lookup_in(there, os.getpid()) is None


def test_a_folder_of_names_is_not_read_without_bound(tmp_path, monkeypatch):
    for i in range(23):
        (tmp_path / str(i)).touch()
    monkeypatch.setattr(netns, "_NAMED", (str(tmp_path),))
    monkeypatch.setattr(netns, "_MOST_NAMED", 7)
    assert len(list(netns._paths(os.getpid()))) == 1 + 7
