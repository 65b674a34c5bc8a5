"""What the threads of a process are in, sampled from /proc.  proc(5): syscall, stat."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path

from xctl_probe.commands.profile.categories import Category, category_of, has_descriptor
from xctl_probe.ebpf.profile import Descriptor
from xctl_probe.linux import procfs

_MOST_THREADS = 64
_NO_CALL = -1  # blocked outside a system call, as in a page fault
_LOCAL = ("pipe:", "anon_inode:", "/dev/")  # who waits for these waits for no file
_LOCAL_PROTOCOLS = ("UNIX", "UNIX-STREAM", "NETLINK")


class Activity(StrEnum):
    """What a process does at one moment; the first that one of its threads does counts."""

    CPU = "cpu"
    MEMORY = "memory"
    IO = "io"
    NETWORK = "network"
    SLEEP = "sleep"


_OF_CATEGORY = {
    Category.NETWORK: Activity.NETWORK,
    Category.FILE: Activity.IO,
    Category.MEMORY: Activity.MEMORY,
}


@dataclass(slots=True)
class ThreadSamples:
    """Samples of all threads so far.

    `moments`: of the process, by what it did.  `waits`: of single threads, by activity and by the
    call that they waited in.
    """

    names: dict[int, str]
    proc: Path = procfs.PROC
    moments: Counter[Activity] = field(default_factory=Counter)
    waits: Counter[tuple[Activity, str]] = field(default_factory=Counter)

    def take(self, pids: Iterable[int]) -> None:
        """Sample the threads of these processes once."""
        threads = (thread for pid in pids for thread in self._threads(pid))
        found = [self._one(*thread) for thread in islice(threads, _MOST_THREADS)]
        seen = [one for one in found if one is not None]
        if not seen:
            return
        activities = {activity for activity, _ in seen}
        now = next(activity for activity in Activity if activity in activities)
        self.moments[now] += 1
        self.waits.update((activity, call) for activity, call in seen if call)

    def share(self, activity: Activity) -> float:
        """Return the part of the moments in which the process did this."""
        return self.moments[activity] / max(self.moments.total(), 1)

    def _threads(self, pid: int) -> list[tuple[int, str]]:
        try:
            return [(pid, tid) for tid in os.listdir(f"{self.proc}/{pid}/task")]
        except OSError:
            return []

    def _one(self, pid: int, tid: str) -> tuple[Activity, str] | None:
        """Return what a thread does, and the call that it waits in; None where it is gone."""
        folder = f"{self.proc}/{pid}/task/{tid}"
        text = procfs.word(f"{folder}/syscall")
        if text.startswith("running"):
            return Activity.CPU, ""
        state = procfs.state(f"{folder}/stat")
        if state in ("", "Z", "X"):
            return None
        words = text.split()
        if not words:  # of another user
            return {"R": Activity.CPU, "D": Activity.IO}.get(state, Activity.SLEEP), ""
        number = int(words[0])
        if number == _NO_CALL:
            return (Activity.MEMORY, "page fault") if state == "D" else (Activity.SLEEP, "stop")
        name = self.names.get(number, f"call {number}")
        kind = Descriptor.NONE
        if has_descriptor(name) and len(words) > 1:
            kind = self._kind(pid, int(words[1], 16))
        category = category_of(name, kind)
        return _OF_CATEGORY.get(category, Activity.SLEEP), label(name, kind)

    def _kind(self, pid: int, fd: int) -> Descriptor:
        path = f"{self.proc}/{pid}/fd/{fd & 0xFFFFFFFF}"
        target = procfs.link(path)
        if target.startswith(_LOCAL):
            return Descriptor.LOCAL
        if procfs.socket_inode(target) is None:
            return Descriptor.NONE
        try:
            local = procfs.socket_protocol(path) in _LOCAL_PROTOCOLS
        except OSError:
            return Descriptor.INTERNET
        return Descriptor.LOCAL if local else Descriptor.INTERNET


_KINDS = {Descriptor.NONE: "", Descriptor.INTERNET: " (socket)", Descriptor.LOCAL: " (local)"}


def label(name: str, kind: Descriptor) -> str:
    """Return a call as text, with what it was made on."""
    return f"{name}{_KINDS[kind]}"
