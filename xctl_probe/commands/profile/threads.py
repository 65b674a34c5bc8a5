"""What the threads of a process are in, sampled from /proc.  proc(5): syscall, stat."""

from __future__ import annotations

import os
import platform
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from xctl_probe.commands.profile.activity import Activity
from xctl_probe.commands.profile.categories import Category, category_of, has_descriptor
from xctl_probe.commands.profile.turns import Turns
from xctl_probe.ebpf.profile import Descriptor
from xctl_probe.linux import procfs
from xctl_probe.linux.freezer import Freezer
from xctl_probe.linux.syscalls import has_other_calls, resumed
from xctl_probe.linux.tasks import reader_of
from xctl_probe.linux.wchan import ON_THREADS

_NO_CALL = -1  # blocked outside a system call, as in a page fault
_RESTARTED = "restart_syscall"  # goes on with a call that a stop has interrupted
_FROZEN = "frozen with its cgroup"
_STOPPED = {"T": "stopped by a signal", "t": "held by a debugger"}
_LOCAL = ("pipe:", "anon_inode:")  # who waits for these waits for no file
_DEVICES = "/dev/"  # a terminal is none either, but a disk is one
_LOCAL_PROTOCOLS = ("UNIX", "UNIX-STREAM", "NETLINK")


_OF_CATEGORY = {
    Category.NETWORK: Activity.NETWORK,
    Category.FILE: Activity.IO,
    Category.MEMORY: Activity.MEMORY,
}


@dataclass(slots=True)
class ThreadSamples:
    """Samples of all threads so far.

    `moments`: of the process, by what it did.  `waits`: of single threads, by activity and by the
    call that they waited in.  `running`: how many threads ran, of all moments together.
    """

    names: dict[int, str]
    proc: Path = procfs.PROC
    moments: Counter[Activity] = field(default_factory=Counter)
    waits: Counter[tuple[Activity, str]] = field(default_factory=Counter)
    running: int = 0
    machine: str = platform.machine()
    _turns: Turns = field(init=False)
    _freezer: Freezer = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the first threads."""
        self._turns = Turns(self.proc)
        self._freezer = Freezer(self.proc)

    def take(self, pids: Iterable[int]) -> None:
        """Sample the threads of these processes once."""
        threads = self._turns.take(pids)
        self._freezer.begin()
        now = {pid for pid, _ in threads}
        frozen = {pid for pid in now if self._freezer.frozen(pid)}
        hidden = {pid for pid in now if has_other_calls(reader_of(pid, self.proc), self.proc)}
        found = [
            self._one(pid, tid, frozen=pid in frozen, hidden=pid in hidden) for pid, tid in threads
        ]
        for thread, one in zip(threads, found, strict=True):
            self._turns.found(thread, one[0] if one else None)
        seen = [one for one in found if one is not None]
        if not seen:
            return
        activities = {activity for activity, _ in seen} | self._turns.others(threads)
        first = next(activity for activity in Activity if activity in activities)
        self.moments[first] += 1
        self.running += sum(activity is Activity.CPU for activity, _ in seen)
        self.waits.update((activity, call) for activity, call in seen if call)

    @property
    def at_once(self) -> float:
        """How many threads ran on average at the moments at which any did."""
        return max(self.running / max(self.moments[Activity.CPU], 1), 1.0)

    def share(self, activity: Activity) -> float:
        """Return the part of the moments in which the process did this."""
        return self.moments[activity] / max(self.moments.total(), 1)

    def _one(
        self, pid: int, tid: int, *, frozen: bool, hidden: bool
    ) -> tuple[Activity, str] | None:
        """Return what a thread does, and the call that it waits in; None where it is gone.

        `hidden`: the numbers of its calls are those of a 32-bit program.
        """
        folder = f"{self.proc}/{pid}/task/{tid}"
        text = procfs.word(f"{folder}/syscall")
        if text.startswith("running"):
            return Activity.CPU, ""
        state = procfs.state(f"{folder}/stat")
        if state in ("", "Z", "X"):
            return None
        if frozen or state in _STOPPED:  # whatever it waits in
            return Activity.STOPPED, _STOPPED.get(state, _FROZEN)
        if not text or hidden:  # of another user
            return {"R": Activity.CPU, "D": Activity.IO}.get(state, Activity.UNKNOWN), ""
        wchan = f"{folder}/wchan"
        words = resumed(text, wchan, self.machine).split()
        if self.names.get(int(words[0])) == _RESTARTED:
            sleeps = procfs.word(wchan).startswith(ON_THREADS)
            return Activity.SLEEP if sleeps else Activity.UNKNOWN, _RESTARTED
        return self._waits(folder, words, state)

    def _waits(self, folder: str, words: list[str], state: str) -> tuple[Activity, str]:
        """Return the same of a thread that waits, by the words of its file `syscall`."""
        number = int(words[0])
        if number == _NO_CALL:
            return (Activity.MEMORY, "page fault") if state == "D" else (Activity.SLEEP, "")
        name = self.names.get(number, f"call {number}")
        kind = Descriptor.NONE
        if has_descriptor(name) and len(words) > 1:
            kind = _kind(f"{folder}/fd/{int(words[1], 16) & 0xFFFFFFFF}")
        category = category_of(name, kind)
        return _OF_CATEGORY.get(category, Activity.SLEEP), label(name, kind)


def _kind(path: str) -> Descriptor:
    """Return what a descriptor is, by its link in the folder of the thread.

    The folder of the process shows none once its first thread has exited.
    """
    target = procfs.link(path)
    if target.startswith(_LOCAL) or (target.startswith(_DEVICES) and _is_character(path)):
        return Descriptor.LOCAL
    if procfs.socket_inode(target) is None:
        return Descriptor.NONE
    try:
        local = procfs.socket_protocol(path) in _LOCAL_PROTOCOLS
    except OSError:
        return Descriptor.INTERNET
    return Descriptor.LOCAL if local else Descriptor.INTERNET


def _is_character(path: str) -> bool:
    """True for a terminal and the like.  Not for use on any file: that of a server may block."""
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False


_KINDS = {Descriptor.NONE: "", Descriptor.INTERNET: " (socket)", Descriptor.LOCAL: " (local)"}


def label(name: str, kind: Descriptor) -> str:
    """Return a call as text, with what it was made on."""
    return f"{name}{_KINDS[kind]}"
