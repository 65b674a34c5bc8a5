"""Interface counters become differences, and never jump."""

from __future__ import annotations

import itertools
from collections import namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe import interfaces
from xctl_probe.facts import InterfaceCounts
from xctl_probe.interfaces import Interfaces

FIELDS = "bytes_recv bytes_sent errin errout dropin dropout packets_recv packets_sent"
Counters = namedtuple("Counters", FIELDS)


class Kernel:
    """Stands in for the kernel's counters."""

    def __init__(self, **now):
        self.now = {name: self._row(*values) for name, values in now.items()}

    def _row(self, *values):
        return Counters(*values, *[0] * (8 - len(values)))

    def set(self, name, *values):
        self.now[name] = self._row(*values)

    def counters(self, *, pernic, nowrap):
        assert pernic
        assert not nowrap  # psutil's own correction would invent traffic
        return dict(self.now)


@pytest.fixture
def kernel(monkeypatch):
    made = Kernel(lo=(101, 101), eth0=(1_009, 2_003, 3, 5, 7, 11))
    monkeypatch.setattr(interfaces.psutil, "net_io_counters", made.counters)
    return made


def test_differences_count_from_the_start(kernel):
    """What was there before the probe is not its traffic; each field goes to its own."""
    watched = Interfaces()
    kernel.set("eth0", 1_009 + 161, 2_003 + 143, 3 + 13, 5 + 17, 7 + 19, 11 + 23)
    assert list(watched.collect()) == [InterfaceCounts("eth0", 161, 143, 13, 17, 19, 23)]
    assert list(watched.collect()) == [InterfaceCounts("eth0", 0, 0, 0, 0, 0, 0)]


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
    watched = Interfaces(only, loopback=loopback)
    assert sorted(counts.name for counts in watched.collect()) == shown


@pytest.mark.parametrize("field", range(6))
def test_a_counter_that_went_back_starts_afresh(kernel, field):
    """An interface made anew has moved nothing yet, whichever counter shows it."""
    watched = Interfaces()
    before = [1_009, 2_003, 3, 5, 7, 11]
    anew = [count + 13 for count in before]
    anew[field] = before[field] - 1
    kernel.set("eth0", *anew)
    assert list(watched.collect()) == [InterfaceCounts("eth0", 0, 0, 0, 0, 0, 0)]
    kernel.set("eth0", *[count + 7 for count in anew])
    assert list(watched.collect()) == [InterfaceCounts("eth0", 7, 7, 7, 7, 7, 7)]


def test_an_interface_that_appears_begins_at_zero(kernel):
    """Its counters may hold a past in another namespace."""
    watched = Interfaces()
    kernel.set("veth7", 10_007, 10_009)
    assert InterfaceCounts("veth7", 0, 0, 0, 0, 0, 0) in list(watched.collect())
    kernel.set("veth7", 10_018, 10_022)
    assert InterfaceCounts("veth7", 11, 13, 0, 0, 0, 0) in list(watched.collect())


def test_an_interface_that_goes_and_comes_begins_anew(kernel):
    """The interval without it is its end."""
    watched = Interfaces()
    gone = kernel.now.pop("eth0")
    assert list(watched.collect()) == []
    kernel.now["eth0"] = gone
    kernel.set("eth0", 5_003, 5_003)
    assert list(watched.collect()) == [InterfaceCounts("eth0", 0, 0, 0, 0, 0, 0)]


@given(st.lists(st.tuples(*[st.integers(0, 2**64 - 1)] * 6), min_size=1, max_size=11))
def test_no_sequence_of_counters_gives_a_negative_one(rows):
    """Wraps, resets and jumps: every difference is a natural number."""
    kernel = Kernel(eth0=rows[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interfaces.psutil, "net_io_counters", kernel.counters)
        watched = Interfaces()
        for before, row in itertools.pairwise(rows):
            kernel.set("eth0", *row)
            (counts,) = watched.collect()
            delta = (counts.rx_bytes, counts.tx_bytes, counts.rx_errors, counts.tx_errors,
                     counts.rx_dropped, counts.tx_dropped)  # fmt: skip
            forward = tuple(n - b for n, b in zip(row, before, strict=True))
            assert delta == (forward if min(forward) >= 0 else (0,) * 6)
