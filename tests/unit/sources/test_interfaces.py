"""Interface counters become differences, and never jump."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.events import InterfaceDelta
from xctl_probe.linux.links import Birth, Counts, End, Link
from xctl_probe.sources.interfaces import Interfaces


class Kernel:
    """Stands in for the kernel's interfaces, by their index."""

    def __init__(self):
        self.links = {1: row(1, "lo", 101, 101), 2: row(2, "eth0", 1_009, 2_003, 3, 5, 7, 11)}
        self.events = []

    def set(self, index, name, *values):
        self.links[index] = row(index, name, *values)

    def born(self, index, name, *values):
        self.set(index, name, *values)
        self.events.append(Birth(self.links[index]))

    def ended(self, index, *values):
        link = self.links.pop(index)
        self.events.append(End(row(index, link.name, *values) if values else link))

    def read(self):
        return list(self.links.values())

    def queue(self):
        events, self.events = self.events, []
        yield from events


def row(index, name, *values):
    return Link(index, name, Counts._make([*values, *[0] * (6 - len(values))]))


@pytest.fixture
def kernel():
    return Kernel()


def reported(watched):
    return {counts.name: (counts.rx_bytes, counts.tx_bytes) for counts in watched.collect()}


def test_differences_count_from_the_start(kernel):
    """What was there before the probe is not its traffic; each field goes to its own."""
    watched = Interfaces(links=kernel)
    kernel.set(2, "eth0", 1_009 + 161, 2_003 + 143, 3 + 13, 5 + 17, 7 + 19, 11 + 23)
    assert list(watched.collect()) == [InterfaceDelta("eth0", 161, 143, 13, 17, 19, 23)]
    assert list(watched.collect()) == [InterfaceDelta("eth0", 0, 0, 0, 0, 0, 0)]


@pytest.mark.parametrize(
    ("only", "loopback", "shown"),
    [
        (frozenset(), False, ["eth0"]),
        (frozenset(), True, ["eth0", "lo"]),
        (frozenset({"lo"}), False, ["lo"]),
        (frozenset({"eth0"}), True, ["eth0"]),
        (frozenset({"gone0"}), True, []),
    ],
)
def test_loopback_is_shown_when_asked_for(kernel, only, loopback, shown):
    """By name or by --loopback; named interfaces leave the others out."""
    watched = Interfaces(only, loopback=loopback, links=kernel)
    assert sorted(counts.name for counts in watched.collect()) == shown


@pytest.mark.parametrize("field", range(6))
def test_a_counter_that_went_back_alone_is_no_reset(kernel, field):
    """Some drivers count in 32 bits, or drops anew when they rebuild their queues."""
    watched = Interfaces(links=kernel)
    before = [1_009, 2_003, 3, 5, 7, 11]
    anew = [count + 13 for count in before]
    anew[field] = before[field] - 1
    kernel.set(2, "eth0", *anew)
    moved = [13] * 6
    moved[field] = 0
    assert list(watched.collect()) == [InterfaceDelta("eth0", *moved)]


def test_counters_that_all_went_back_start_afresh(kernel):
    """A driver that was reset has moved nothing yet."""
    watched = Interfaces(links=kernel)
    anew = [1_008, 2_002, 2, 4, 6, 10]
    kernel.set(2, "eth0", *anew)
    assert list(watched.collect()) == [InterfaceDelta("eth0", 0, 0, 0, 0, 0, 0)]
    kernel.set(2, "eth0", *[count + 7 for count in anew])
    assert list(watched.collect()) == [InterfaceDelta("eth0", 7, 7, 7, 7, 7, 7)]


def test_an_interface_that_is_made_counts_from_its_first_byte(kernel):
    """It came into being at zero, whatever it has moved until the counters are read."""
    watched = Interfaces(links=kernel)
    kernel.born(3, "veth7", 0, 0)
    kernel.set(3, "veth7", 10_007, 10_009)
    assert reported(watched) == {"eth0": (0, 0), "veth7": (10_007, 10_009)}
    kernel.set(3, "veth7", 10_018, 10_022)
    assert reported(watched)["veth7"] == (11, 13)


def test_an_interface_that_is_moved_here_leaves_its_past_behind(kernel):
    """Its counters came along from another namespace."""
    watched = Interfaces(links=kernel)
    kernel.born(3, "veth7", 10_007, 10_009)
    kernel.set(3, "veth7", 10_018, 10_022)
    assert reported(watched)["veth7"] == (11, 13)


def test_an_interface_whose_birth_was_not_announced_begins_at_zero(kernel):
    """Without the announcement its counters may be any past: nothing is better than wrong."""
    watched = Interfaces(links=kernel)
    kernel.set(3, "veth7", 10_007, 10_009)
    assert reported(watched)["veth7"] == (0, 0)
    kernel.set(3, "veth7", 10_018, 10_022)
    assert reported(watched)["veth7"] == (11, 13)


def test_an_interface_that_is_made_while_the_counters_are_read(kernel):
    """The message is younger than the counters: it shows in the next interval, with all of it."""
    watched = Interfaces(links=kernel)
    kernel.events.append(Birth(row(3, "veth7", 5, 7)))
    assert reported(watched) == {"eth0": (0, 0)}
    kernel.set(3, "veth7", 16, 20)
    assert reported(watched)["veth7"] == (11, 13)


def test_a_renamed_interface_loses_nothing(kernel):
    """It is the same one: what it has moved since goes by the new name."""
    watched = Interfaces(links=kernel)
    kernel.born(2, "wan0", 1_016, 2_014, 3, 5, 7, 11)
    kernel.set(2, "wan0", 1_020, 2_016, 3, 5, 7, 11)
    assert reported(watched) == {"wan0": (11, 13)}


def test_an_interface_that_is_removed_has_its_last_bytes_reported_once(kernel):
    """The announcement of its end carries its last counters."""
    watched = Interfaces(links=kernel)
    kernel.ended(2, 1_020, 2_016, 3, 5, 7, 11)
    assert reported(watched) == {"eth0": (11, 13)}
    assert reported(watched) == {}


def test_an_interface_made_again_has_both_lives_in_one_record(kernel):
    """With a new index, or with the same one."""
    for index in (3, 2):
        watched = Interfaces(links=kernel)
        kernel.ended(2, 1_020, 2_016, 3, 5, 7, 11)
        kernel.born(index, "eth0", 0, 0)
        kernel.set(index, "eth0", 17, 19)
        assert reported(watched) == {"eth0": (11 + 17, 13 + 19)}
        kernel.links = {2: row(2, "eth0", 1_009, 2_003, 3, 5, 7, 11)}


def test_a_life_between_two_intervals_is_reported(kernel):
    """A container that lived for a moment."""
    watched = Interfaces(links=kernel)
    kernel.born(3, "veth7", 0, 0)
    kernel.ended(3, 23, 29)
    assert reported(watched) == {"eth0": (0, 0), "veth7": (23, 29)}
    assert reported(watched) == {"eth0": (0, 0)}


def test_an_interface_that_is_removed_while_the_counters_are_read(kernel):
    """It is among them, and its end is known already: nothing is counted twice."""
    watched = Interfaces(links=kernel)
    kernel.set(2, "eth0", 1_015, 2_010, 3, 5, 7, 11)
    kernel.events.append(End(row(2, "eth0", 1_020, 2_016, 3, 5, 7, 11)))
    assert reported(watched) == {"eth0": (11, 13)}
    del kernel.links[2]
    assert reported(watched) == {}


@given(st.lists(st.tuples(*[st.integers(0, 2**64 - 1)] * 6), min_size=1, max_size=11))
def test_no_sequence_of_counters_gives_a_negative_one(rows):
    """Wraps, resets and jumps: every difference is a natural number."""
    kernel = Kernel()
    kernel.links = {2: row(2, "eth0", *rows[0])}
    watched = Interfaces(links=kernel)
    for before, now in itertools.pairwise(rows):
        kernel.set(2, "eth0", *now)
        (counts,) = watched.collect()
        delta = (counts.rx_bytes, counts.tx_bytes, counts.rx_errors, counts.tx_errors,
                 counts.rx_dropped, counts.tx_dropped)  # fmt: skip
        forward = tuple(n - b for n, b in zip(now, before, strict=True))
        assert delta == tuple(max(n, 0) for n in forward)
