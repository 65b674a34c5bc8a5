"""What the states of threads show of a process."""

from __future__ import annotations

import pytest

from xctl_probe.events import PeerActivity
from xctl_probe.linux.thread_states import ThreadStates

PID = 233


def states(proc, *threads):
    for number, state in enumerate(threads):
        folder = proc / str(PID) / "task" / str(PID + number)
        folder.mkdir(parents=True)
        (folder / "stat").write_text(f"{PID + number} (a) b) {state} 1 1")
    (proc / str(PID) / "stat").write_text(f"{PID} (a) b) {threads[0]} 1 1")
    return ThreadStates(proc).of(PID)


@pytest.mark.parametrize(
    ("threads", "found"),
    [
        ("S", None),
        ("SS", None),
        ("SR", PeerActivity.RUNNING),
        ("RD", PeerActivity.DISK_SLEEP),
        ("T", PeerActivity.STOPPED),
        ("t", PeerActivity.STOPPED),
        ("ST", None),  # one thread alone does not stop the process
    ],
)
def test_the_states_of_the_threads_are_one_activity(tmp_path, threads, found):
    assert states(tmp_path, *threads) is found


def test_a_process_that_is_gone_shows_nothing(tmp_path):
    assert ThreadStates(tmp_path).of(PID) is None
