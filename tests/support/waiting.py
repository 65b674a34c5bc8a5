"""Wait for what comes some time later."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.consumer_model import Record, peers_of
from support.probe import Probe
from support.worker import Worker
from xctl_probe.linux.syscalls import Role, parsed

ENOUGH_S = 60.0  # only where a test fails
_STDIN = 0


def until(condition: Callable[[], Any]) -> Any:
    """Try again and again until the condition holds; its value."""
    deadline = time.monotonic() + ENOUGH_S
    while not (found := condition()):
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)
    return found


def wait_until_in_call(pid: int, role: Role) -> None:
    """Until a process sleeps in such a call, other than the one for its next command."""

    def sleeps() -> bool:
        call = parsed(Path(f"/proc/{pid}/syscall").read_text())
        return call is not None and call[1] is role and call[2][0] != _STDIN

    until(sleeps)


def wait_until_known(running: Probe, waiter: Worker) -> None:
    """Until it is reported, with its peer: the search for one takes its time on a busy host."""
    running.wait_for(lambda c: len(c.stalls(pid=waiter.pid, ongoing=True)) >= 3)
    running.wait_for(lambda c: peers_of(c.stalls(pid=waiter.pid, ongoing=True)))


def stalls_once_shown(running: Probe, pid: int, shown: bool, intervals: int = 5) -> list[Record]:
    """Stalls of a process: where one has to show, however late, and else after a while."""
    if shown:
        running.wait_for(lambda c: c.stalls(pid=pid))
    else:
        running.wait_for_intervals(intervals)
    return running.consumer.stalls(pid=pid)
