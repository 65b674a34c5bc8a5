"""Which threads a sample reads: those that ran lately, and all others in turn."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xctl_probe.commands.profile.activity import Activity
from xctl_probe.linux import procfs

MOST_THREADS = 64  # of one sample; each costs up to four files
_MOST_BUSY = 48  # of these: the others are for the turns
Thread = tuple[int, int]  # process and thread


@dataclass(slots=True)
class _Known:
    """A thread at its last sample; `share`: how much of the time before that it ran."""

    activity: Activity
    at_ns: int
    ran_ns: int
    share: float


class Turns:
    """Chooses the threads of a sample, of several processes.

    Each process has as many of them as any other, while it has more.  The list of its threads is
    read again once all in it had their turn.
    """

    def __init__(self, proc: Path = procfs.PROC) -> None:
        self._proc = proc
        self._waiting: dict[int, deque[int]] = {}  # by process: threads before their turn
        self._known: dict[int, dict[int, _Known]] = {}  # by process; empty where all are sampled
        self._first = 0  # place of the process whose turn is first
        self._by_turns = False

    def take(self, pids: Iterable[int]) -> list[Thread]:
        """Return the threads of the next sample; processes that are left out are forgotten."""
        processes = list(pids)
        for table in (self._waiting, self._known):
            for pid in table.keys() - set(processes):
                del table[pid]
        chosen = dict.fromkeys(self._busiest())
        others = self._in_turn(processes)
        while len(chosen) < MOST_THREADS and (thread := next(others, None)):
            chosen[thread] = None
        self._by_turns = len(chosen) >= MOST_THREADS
        if not self._by_turns:
            self._known.clear()
        return list(chosen)

    def found(self, thread: Thread, activity: Activity | None) -> None:
        """Take note of what a thread of the sample does; None where it is gone."""
        pid, tid = thread
        known = self._known.setdefault(pid, {})
        last = known.pop(tid, None)
        if activity is None or not self._by_turns:
            return
        now_ns = time.monotonic_ns()
        ran_ns = procfs.schedstat(f"{self._proc}/{pid}/task/{tid}/schedstat").ran_ns
        share = (ran_ns - last.ran_ns) / max(now_ns - last.at_ns, 1) if last else 0.0
        share = max(share, float(activity is Activity.CPU))
        known[tid] = _Known(activity, now_ns, ran_ns, share)

    def others(self, chosen: Iterable[Thread]) -> set[Activity]:
        """Return what threads outside the sample were seen to wait for in their last turn.

        A thread that ran then may do anything now.
        """
        now = set(chosen)
        found = {
            known.activity
            for pid, threads in self._known.items()
            for tid, known in threads.items()
            if (pid, tid) not in now
        }
        return found - {Activity.CPU}

    def _busiest(self) -> list[Thread]:
        busy = [
            (known.share, (pid, tid))
            for pid, threads in self._known.items()
            for tid, known in threads.items()
            if known.share > 0
        ]
        return [thread for _, thread in sorted(busy, reverse=True)[:_MOST_BUSY]]

    def _in_turn(self, pids: list[int]) -> Iterator[Thread]:
        """Yield one thread of each process, then the next one of each, and so on."""
        self._first %= max(len(pids), 1)
        turns = {pid: self._of_one(pid) for pid in (*pids[self._first :], *pids[: self._first])}
        while turns:
            for pid in list(turns):
                tid = next(turns[pid], None)
                self._first += 1
                if tid is None:
                    del turns[pid]
                else:
                    yield pid, tid

    def _of_one(self, pid: int) -> Iterator[int]:
        """Yield what is left of the list of a process, and then all of a new one."""
        waiting = self._waiting.setdefault(pid, deque())
        while waiting:
            yield waiting.popleft()
        waiting.extend(self._listed(pid))
        while waiting:
            yield waiting.popleft()

    def _listed(self, pid: int) -> list[int]:
        """Return the threads of a process; those that are gone are forgotten."""
        try:
            tids = sorted(map(int, os.listdir(f"{self._proc}/{pid}/task")))
        except OSError:
            tids = []
        known = self._known.get(pid, {})
        self._known[pid] = {tid: known[tid] for tid in tids if tid in known}
        return tids
