"""Rows are found by the cookie of their socket, and their memory is used again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xctl_probe.fallback import codes
from xctl_probe.fallback.codes import Codes
from xctl_probe.fallback.row import ROW
from xctl_probe.fallback.rows import Rows


def made(cookies):
    rows = np.zeros(len(cookies), ROW)
    rows["cookie"] = cookies
    rows["answered"] = np.array(cookies, np.uint64) % 1_009
    return rows


_COOKIES = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=200, unique=True)


@settings(max_examples=50, deadline=None)
@given(_COOKIES, st.lists(st.tuples(st.booleans(), st.integers(0, 199)), max_size=30))
def test_they_are_what_a_dict_would_be(cookies, steps):
    """Added and removed in any order: each is found with its values, others are not."""
    rows, known = Rows(), {}
    for adds, number in steps:
        chosen = [c for c in cookies[number % len(cookies) :] if (c in known) != adds]
        if adds:
            numbers = rows.add(made(chosen))
            known |= dict(zip(chosen, numbers.tolist(), strict=True))
        else:
            rows.remove(np.array([known.pop(cookie) for cookie in chosen], np.int64))
        assert len(rows) == len(known)
        found = rows.find(np.array(cookies, np.uint64)).tolist()
        assert found == [known.get(cookie, -1) for cookie in cookies]
        numbers = np.array(list(known.values()), np.int64)
        assert rows.take(numbers).tobytes() == made(list(known)).tobytes()
    assert len(rows.array) <= 400


def test_a_hidden_row_keeps_its_values_and_is_not_given_again():
    rows = Rows()
    (first,) = rows.add(made([7]))
    rows.hide(np.array([first]))
    assert rows.find(np.array([7], np.uint64)).tolist() == [-1]
    (second,) = rows.add(made([7]))
    assert first != second
    assert rows.array["cookie"][[first, second]].tolist() == [7, 7]
    rows.remove(np.array([first]))
    assert rows.array["cookie"][[first, second]].tolist() == [0, 7]
    assert rows.find(np.array([7], np.uint64)).tolist() == [second]


def test_values_that_no_row_has_are_let_go_of(monkeypatch):
    """1,000 names after one another, of which the rows have two: the rows keep theirs."""
    monkeypatch.setattr(codes, "_MOST_UNUSED", 23)
    kept, rows = Codes(), np.zeros(3, ROW)
    for number in range(1_000):
        rows["interface"][0] = kept.of(f"veth{number}")
        rows["interface"][1] = kept.of("lo")
        kept.trim(rows, "interface")
        names = [kept.value(code) for code in rows["interface"].tolist()]
        assert names == [f"veth{number}", "lo", None]
        assert len(kept._values) <= 60
    assert kept.of(None) == 0


def test_a_child_does_not_keep_the_memory() -> None:
    rows = Rows()
    rows.add(made(range(5_000)))  # it has grown
    address = rows.array.ctypes.data
    assert is_mapped(address)
    child = os.fork()
    if not child:
        os._exit(is_mapped(address))
    assert os.waitpid(child, 0)[1] == 0


def is_mapped(address):
    areas = [line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines()]
    return any(
        int(begin, 16) <= address < int(end, 16)
        for begin, _, end in (a.partition("-") for a in areas)
    )
