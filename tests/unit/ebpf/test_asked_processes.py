"""The kernel is asked about the processes that wait now, and about no others."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from xctl_probe.ebpf.asked_processes import MOST_ASKED, AskedProcesses


class Table:
    """A map with room for a few keys."""

    def __init__(self, room):
        self.room, self.rows = room, {}

    def update(self, key, value):
        if len(self.rows) >= self.room:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        self.rows[key] = value

    def delete(self, key):
        self.rows.pop(key, None)

    @property
    def pids(self):
        return {int.from_bytes(key, "little") for key in self.rows}


def test_those_that_wait_no_more_make_room_for_others():
    table = Table(room=2)
    asked = AskedProcesses(table)
    for pids in ({23, 29}, {29, 31}, {29, 31}, set()):
        assert asked.ask(pids) == pids
        assert table.pids == pids


def test_too_many_are_left_out_without_an_error():
    table = Table(room=2)
    asked = AskedProcesses(table)
    assert asked.ask({23, 29, 31}) == table.pids
    assert len(table.pids) == 2
    assert asked.ask({37}) == table.pids == {37}


def test_one_that_found_no_room_is_tried_again():
    table = Table(room=1)
    asked = AskedProcesses(table)
    asked.ask({23})
    assert asked.ask({23, 29}) == {23}
    assert asked.ask({29}) == {29}


def test_the_room_is_that_of_the_map():
    maps = (Path(__file__).parents[3] / "bpf/include/maps.bpf.h").read_text()
    (entries,) = re.findall(r"max_entries, (\d+)\);[^}]*\} asked_processes", maps)
    assert int(entries) == MOST_ASKED
