"""A process by all of its threads, in a /proc made of files."""

from __future__ import annotations

import os

import pytest

from xctl_probe.linux.socket_owners import Owners
from xctl_probe.linux.tasks import (
    children_of,
    descendants_of,
    held_state,
    held_state_of,
    reader_of,
    state_of,
)

PID, INODE = 233, 4_241


@pytest.fixture
def threads(tmp_path):
    """The states of the threads, the first one first."""

    def write(*states):
        for tid, state in enumerate(states, PID):
            (tmp_path / str(PID) / "task" / str(tid)).mkdir(parents=True)
            (tmp_path / str(tid)).mkdir(exist_ok=True)
            line = f"{tid} (a) b) {state} 1 " + "7 " * 49
            (tmp_path / str(tid) / "stat").write_text(line)
            (tmp_path / str(PID) / "task" / str(tid) / "stat").write_text(line)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("states", "state", "reader"),
    [
        ("S", "S", PID),
        ("TS", "T", PID),
        ("ZS", "S", PID + 1),
        ("ZZR", "R", PID + 2),
        ("ZXT", "T", PID + 2),
        ("Z", "Z", PID),
        ("ZZ", "Z", PID),
    ],
)
def test_a_thread_that_lives_stands_for_its_process(threads, states, state, reader):
    proc = threads(*states)
    assert (state_of(PID, proc), reader_of(PID, proc)) == (state, reader)


def test_a_process_that_is_gone_has_no_state(tmp_path):
    assert (state_of(PID, tmp_path), reader_of(PID, tmp_path)) == ("", PID)
    (tmp_path / str(PID)).mkdir()
    (tmp_path / str(PID) / "stat").write_text("233 (a")
    assert state_of(PID, tmp_path) == ""


def test_its_sockets_are_found_by_that_thread(threads, monkeypatch):
    """And belong to the process: /proc lists processes, though it has a folder for each thread."""
    proc = threads("Z", "S")
    monkeypatch.setattr(
        "xctl_probe.linux.socket_owners.os.listdir",
        lambda path: [str(PID)] if path == proc else [entry.name for entry in os.scandir(path)],
    )
    for tid in (PID, PID + 1):
        (proc / str(tid) / "fd").mkdir()
    (proc / str(PID + 1) / "fd/7").symlink_to(f"socket:[{INODE}]")
    owners = Owners(proc)
    owners.search({INODE})
    assert owners.get(INODE).pid == PID
    assert owners.is_current(INODE)


@pytest.mark.parametrize(
    ("states", "held"),
    [
        ("S", ""),
        ("T", "T"),
        ("TS", "T"),  # a thread in a disk sleep stops later
        ("t", "t"),
        ("tt", "t"),
        ("tT", "t"),
        ("tS", ""),  # a debugger holds this thread alone
        ("ttR", ""),
        ("St", ""),
        ("tZ", "t"),
        ("Ztt", "t"),
        ("ZtS", ""),
        ("Z", ""),
    ],
)
def test_a_debugger_holds_a_process_by_all_its_threads(threads, states, held):
    assert held_state(states) == held
    assert held_state_of(PID, threads(*states)) == held


def test_children_are_those_of_all_threads(threads):
    """A worker thread may start them: the file of the first thread has none of these."""
    proc = threads("S", "S", "S")
    for tid, children in ((PID, "251 "), (PID + 2, "257 263 ")):
        (proc / str(PID) / "task" / str(tid) / "children").write_text(children)
    assert children_of(PID, proc) == [251, 257, 263]
    assert children_of(PID, proc, most_threads=1) == [251]
    assert children_of(PID + 10, proc) == []


def test_descendants_are_children_and_theirs(threads):
    proc = threads("S")
    (proc / str(PID) / "task" / str(PID) / "children").write_text("251 257 ")
    below = proc / "251" / "task" / "251"
    below.mkdir(parents=True)
    (below / "children").write_text("263 ")
    assert descendants_of(PID, 256, proc) == [251, 257, 263]
    assert descendants_of(PID, 2, proc) == [251, 257]
    assert descendants_of(263, 256, proc) == []


def test_of_a_thread_with_very_many_children_a_number_is_not_cut(threads):
    proc = threads("S")
    many = "".join(f"{pid} " for pid in range(123_457, 125_457))
    (proc / str(PID) / "task" / str(PID) / "children").write_text(many)
    found = children_of(PID, proc)
    assert found == [*range(123_457, 123_457 + len(found))]
    assert len(found) > 1_000
