"""What the equals of a process show, where its own samples show no wait."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from support.why_sockets import ACCEPTED, IN_EPOLL, INODE
from unit.commands.why.test_report import PID, WAITING

from xctl_probe.commands.why.equals.finding import with_equals
from xctl_probe.commands.why.equals.lockstep import SLEEPS, Held, Towards, note
from xctl_probe.commands.why.report import headline
from xctl_probe.commands.why.sockets import Peer
from xctl_probe.commands.why.verdict import findings
from xctl_probe.linux.procfs import read_process

HERE, THERE = ACCEPTED.local, ACCEPTED.remote
EQUAL = replace(ACCEPTED, peer=Peer(0, 239, WAITING.process.comm, stopped=False))
UNDECIDED = replace(WAITING, tcp=(EQUAL,), found=tuple(findings([EQUAL], [], {INODE: IN_EPOLL})))
ME = os.getpid()  # stands for a rank that lives
OTHER = Towards(239, ME, "10.0.0.9:7", "10.0.0.7:9")
HELD = Held([PID, 239, ME], 14_000, [OTHER, Towards(PID, 239, HERE, THERE)], ME, SLEEPS)


def test_it_probably_waits_for_the_neighbour_and_in_the_end_for_the_one_that_does_something():
    found = with_equals(UNDECIDED, lambda: [HELD])
    comm = read_process(ME).comm
    assert headline(found) == (
        "probably waits for data from - (pid 239) at 10.0.0.7:5432 for 14.0 s: nothing has moved "
        f"between 3 processes of its program since then, and all but {comm} (pid {ME}, sleeping "
        "for a time) wait"
    )
    first = found.found[0]
    assert (first.waits, first.certain, first.ms, first.inode) == (True, False, 14_000.0, INODE)


def test_the_one_that_the_others_wait_for_has_a_note():
    held = HELD._replace(pid=PID, waits=[])
    found = with_equals(UNDECIDED, lambda: [held])
    assert found.found == UNDECIDED.found
    assert found.notes == (f"2 processes of its program probably wait for it: {note(held)}",)


def test_where_none_is_named_a_note_has_the_silence():
    held = HELD._replace(pid=None, waits=[])
    assert with_equals(UNDECIDED, lambda: [held]).notes == (note(held),)


@pytest.mark.parametrize(
    "held",
    [
        HELD._replace(pids=[239, ME]),
        HELD._replace(waits=[OTHER]),
        HELD._replace(waits=[Towards(PID, 239, HERE, "10.0.0.7:7")]),
    ],
)
def test_other_groups_and_connections_show_nothing_of_it(held):
    assert with_equals(UNDECIDED, lambda: [held]) == UNDECIDED


@pytest.mark.parametrize(
    "diagnosis",
    [
        WAITING,
        replace(UNDECIDED, frozen=True),
        replace(UNDECIDED, tcp=(ACCEPTED,)),
        replace(UNDECIDED, tcp=(replace(EQUAL, peer=Peer(0, 239, "server", stopped=False)),)),
        replace(UNDECIDED, tcp=(replace(EQUAL, peer=replace(EQUAL.peer, pid=PID)),)),
    ],
)
def test_equals_are_sampled_only_where_something_is_to_be_found(diagnosis):
    assert with_equals(diagnosis, None) == diagnosis
