"""Processes of one program that fell silent together, while one of them does something else.

The ranks of a job exchange data in turns.  Where nothing has moved between them since one moment,
and all but one sleep or poll without sleeping, they wait for that one.  Which of two equals waits
for the other their sockets do not show, so such a wait is only probable.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import NamedTuple

from xctl_probe.commands.why.humanize import format_duration
from xctl_probe.commands.why.threads import is_much_in_calls
from xctl_probe.events import Process
from xctl_probe.fallback.local_pairs import Pair
from xctl_probe.linux import procfs, wchan
from xctl_probe.linux.helper import Helper

_QUIET_MS = 2_000  # a step of healthy training is shorter, or all of them compute
_MOST_APART_MS = 2_000  # after the last exchange the ranks may compute, and send once more
_LEAST_PROCESSES = 3  # of two, one may be the server of the other
_MOST_PROCESSES = 256
_MOST_THREADS = 8_192
_APART_S = 0.3
_RUNS, _WAKES = 0.5, 0.1  # parts of the time between the samples that a thread was on a CPU
_DIGITS = re.compile(rb"[0-9]+")
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_WAITS = (*wchan.ON_THREADS, *wchan.EVENTS, *wchan.ON_SOCKETS)

RUNS, DISK, SLEEPS = "running on a CPU", "in an uninterruptible sleep", "sleeping for a time"
STOPPED, WAITS_ASIDE = "stopped", "sleeping, while the others poll"
WAITS, POLLS = "", "polling"  # for something that may come from the others


class Link(NamedTuple):
    """A connection between two processes, as `Pair`."""

    pids: tuple[int, int]
    addresses: tuple[str, str]
    quiet_ms: int
    unread: tuple[bool, bool] = (False, False)


class Towards(NamedTuple):
    """A process waits for another one on a connection, both its addresses as `1.2.3.4:5`."""

    waiter: int
    target: int
    local: str
    remote: str


class Held(NamedTuple):
    """A group of processes that fell silent together, and who probably waits for whom.

    `pid` is the one that they wait for, and `does` what it does; None where none can be named.
    """

    pids: list[int]
    quiet_ms: int
    waits: list[Towards]
    pid: int | None = None
    does: str = ""


class Thread(NamedTuple):
    """Sample of one thread."""

    state: str
    user_ticks: int  # on a CPU, in its own code
    system_ticks: int  # and in system calls
    function: str  # of the kernel, in which it sleeps


def links_of(pairs: Iterable[Pair], owners: Mapping[int, Process]) -> list[Link]:
    """Return the connections between two processes of one program.

    That is one user, one name, and one command line but for its numbers.
    """
    known = [pair for pair in pairs if all(inode in owners for inode in pair.inodes)]
    links = []
    for pair in known:
        one, other = (owners[inode] for inode in pair.inodes)
        if one.pid != other.pid and one.comm == other.comm:
            links.append(Link((one.pid, other.pid), *pair[1:]))
    programs = _programs({pid for link in links for pid in link.pids})
    return [link for link in links if len({programs.get(pid, pid) for pid in link.pids}) == 1]


def _programs(pids: set[int]) -> dict[int, tuple[int, bytes]]:
    """Return the user and the command line by pid.  A child reads: memory may not answer."""
    if not pids or len(pids) > _MOST_PROCESSES:
        return {}
    helper = Helper(_read_programs, lambda _: None)
    try:
        found: dict[int, tuple[int, bytes]] | None = helper.read(sorted(pids))
    finally:
        helper.close()
    return found or {}


def _read_programs(pids: list[int]) -> dict[int, tuple[int, bytes]]:
    lines = {pid: procfs.read(f"/proc/{pid}/cmdline") for pid in pids}
    return {
        pid: (procfs.real_user(pid), _DIGITS.sub(b"", line)) for pid, line in lines.items() if line
    }


def groups_of(links: Iterable[Link]) -> list[list[Link]]:
    """Return the links of processes that are connected, directly or not."""
    root: dict[int, int] = {}

    def found(pid: int) -> int:
        while root.setdefault(pid, pid) != pid:
            pid = root[pid]
        return pid

    all_links = list(links)
    for link in all_links:
        one, other = map(found, link.pids)
        root[one] = other
    groups: dict[int, list[Link]] = {}
    for link in all_links:
        groups.setdefault(found(link.pids[0]), []).append(link)
    return list(groups.values())


def fell_silent_together(links: Iterable[Link]) -> int | None:
    """Return for how long nothing has moved on these links, in ms; None where that is no stop.

    The last data of each process moved within `_MOST_APART_MS`.
    """
    last: dict[int, int] = {}
    for link in links:
        for pid in link.pids:
            last[pid] = min(last.get(pid, link.quiet_ms), link.quiet_ms)
    if len(last) < _LEAST_PROCESSES:
        return None
    newest, oldest = min(last.values()), max(last.values())
    return newest if newest >= _QUIET_MS and oldest - newest <= _MOST_APART_MS else None


def sample_threads(pids: Iterable[int]) -> dict[int, dict[int, Thread]]:
    """Return the threads of these processes by pid and tid; no such read ever blocks."""
    found: dict[int, dict[int, Thread]] = {}
    left = _MOST_THREADS
    for pid in pids:
        try:
            tids = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        left -= len(tids)
        if left < 0:
            return {}
        found[pid] = {int(tid): one for tid in tids if (one := _thread(f"/proc/{pid}/task/{tid}"))}
    return found


def _thread(folder: str) -> Thread | None:
    stat = procfs.parse_stat(procfs.read(f"{folder}/stat"))
    if stat is None or stat.cpu_ticks is None:
        return None
    return Thread(stat.state, *stat.cpu_ticks, procfs.word(f"{folder}/wchan"))


class _Part(NamedTuple):
    """What one thread did between the samples."""

    states: set[str]
    user_ticks: int
    system_ticks: int

    @property
    def ticks(self) -> int:
        return self.user_ticks + self.system_ticks


def _part(before: Thread, after: Thread) -> _Part:
    return _Part(
        {before.state, after.state},
        after.user_ticks - before.user_ticks,
        after.system_ticks - before.system_ticks,
    )


def does(
    pid: int, before: Mapping[int, Thread], after: Mapping[int, Thread], seconds: float
) -> str | None:
    """Return what a process does, WAITS where all its threads sleep; None: not known."""
    parts = [_part(before[tid], after[tid]) for tid in after if tid in before]
    second = seconds * _TICKS_A_SECOND
    # On a busy host it has less of the time.
    running = [one for one in parts if one.ticks >= _RUNS * second or one.states == {"R"}]
    if running:
        polls = all(is_much_in_calls(one.user_ticks, one.system_ticks) for one in running)
        return POLLS if polls else RUNS
    if any(one.states == {"D"} for one in parts):
        return DISK
    if after and all(one.state in "Tt" for one in after.values()):
        return STOPPED
    wakes = any(one.ticks >= _WAKES * second for one in parts)
    if wakes or pid not in before or pid not in after:
        return None
    first = before[pid].function, after[pid].function
    if all(function.startswith(wchan.SLEEP) for function in first):
        return SLEEPS
    return WAITS if all(function.startswith(_WAITS) for function in first) else None


def _odd_one(activities: dict[int, str | None]) -> tuple[int, str] | None:
    """Return the only process that does not wait as the others do, and what it does.

    One that is unknown may be that one.
    """
    busy = [pid for pid, what in activities.items() if what not in (WAITS, POLLS)]
    if not busy:
        for usual, does_instead in ((WAITS, RUNS), (POLLS, WAITS_ASIDE)):
            others = [pid for pid, what in activities.items() if what != usual]
            if len(others) == 1:
                return others[0], does_instead
    what = activities[busy[0]] if len(busy) == 1 else None
    return (busy[0], what) if what is not None else None


def held_by_one(links: list[Link], activities: Mapping[int, str | None], quiet_ms: int) -> Held:
    """Return who waits for whom, where one process does something and all others wait.

    Who leaves data unread waits for something else.
    """
    pids = sorted(set(chain.from_iterable(link.pids for link in links)))
    unknown = Held(pids, quiet_ms, [])
    odd = _odd_one({pid: activities.get(pid) for pid in pids})
    if odd is None:
        return unknown
    busy, what = odd
    unread = (
        pid for link in links for pid, data in zip(link.pids, link.unread, strict=True) if data
    )
    if any(pid != busy for pid in unread):
        return unknown
    towards: dict[int, Towards] = {}
    left = deque([busy])
    while left:
        target = left.popleft()
        for link in links:
            for at, pid in enumerate(link.pids):
                if link.pids[1 - at] != target or pid in towards or pid == busy:
                    continue
                local, remote = link.addresses[at], link.addresses[1 - at]
                towards[pid] = Towards(pid, target, local, remote)
                left.append(pid)
    return Held(pids, quiet_ms, list(towards.values()), busy, what)


def lockstep(pairs: Iterable[Pair], owners: Mapping[int, Process]) -> list[Held]:
    """Return the groups of equal processes that fell silent, after two samples of their threads."""
    silent = [
        (group, quiet_ms)
        for group in groups_of(links_of(pairs, owners))
        if (quiet_ms := fell_silent_together(group)) is not None
    ]
    pids = {pid for group, _ in silent for link in group for pid in link.pids}
    if not pids:
        return []
    begun_s, before = time.monotonic(), sample_threads(pids)
    time.sleep(_APART_S)
    seconds, after = time.monotonic() - begun_s, sample_threads(pids)
    activities = {pid: does(pid, before.get(pid, {}), after.get(pid, {}), seconds) for pid in pids}
    return [held_by_one(group, activities, quiet_ms) for group, quiet_ms in silent]


def note(held: Held) -> str:
    """Return what a wait is derived from, or why none is, in one sentence."""
    silent = (
        f"nothing has moved between {len(held.pids)} processes of one program for "
        f"{format_duration(held.quiet_ms)}"
    )
    if held.pid is None:
        return f"{silent}: they are idle, or which of them holds the others up cannot be seen"
    return f"{silent}, and all but one wait: who waits is derived from that, not from a socket"
