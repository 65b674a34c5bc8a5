"""A wait for an equal, where the samples of one process do not show it: the ranks of a job."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from xctl_probe.commands.why.diagnose import Diagnosis
from xctl_probe.commands.why.equals.lockstep import Held, Towards, note
from xctl_probe.commands.why.findings.finding import Finding, ranked
from xctl_probe.commands.why.humanize import format_duration, processes
from xctl_probe.linux.procfs import read_process


def with_equals(diagnosis: Diagnosis, equals: Callable[[], Iterable[Held]]) -> Diagnosis:
    """Return the diagnosis with what its equals show, where nothing else shows a wait.

    `equals` samples them, for half a second.
    """
    if diagnosis.frozen or any(one.waits for one in diagnosis.found) or not _has_equal(diagnosis):
        return diagnosis
    for held in equals():
        if diagnosis.process.pid in held.pids:
            return _of_group(diagnosis, held)
    return diagnosis


def _has_equal(diagnosis: Diagnosis) -> bool:
    process = diagnosis.process
    peers = (tcp.peer for tcp in diagnosis.tcp if tcp.peer is not None)
    return any(peer.comm == process.comm and peer.pid != process.pid for peer in peers)


def _of_group(diagnosis: Diagnosis, held: Held) -> Diagnosis:
    pid = diagnosis.process.pid
    if held.pid is None:
        return replace(diagnosis, notes=(*diagnosis.notes, note(held)))
    if held.pid == pid:
        others = processes(len(held.pids) - 1)
        waits = f"{others} of its program probably wait for it: {note(held)}"
        return replace(diagnosis, notes=(*diagnosis.notes, waits))
    for wait in held.waits:
        inode = _inode(diagnosis, wait) if wait.waiter == pid else None
        if inode is not None:
            found = ranked([_finding(wait, held, inode), *diagnosis.found])
            return replace(diagnosis, found=tuple(found))
    return diagnosis


def _inode(diagnosis: Diagnosis, wait: Towards) -> int | None:
    pair = wait.local, wait.remote
    return next((tcp.inode for tcp in diagnosis.tcp if (tcp.local, tcp.remote) == pair), None)


def _finding(wait: Towards, held: Held, inode: int) -> Finding:
    text = (
        f"probably waits for data from {_name(wait.target)} at {wait.remote} for "
        f"{format_duration(held.quiet_ms)}: nothing has moved between {len(held.pids)} processes "
        f"of its program since then, and all but {_name(held.pid, held.does)} wait"
    )
    return Finding(text, True, False, None, inode, float(held.quiet_ms))


def _name(pid: int | None, does: str = "") -> str:
    process = read_process(pid) if pid is not None else None
    more = f", {does}" if does else ""
    return f"{process.comm if process else '-'} (pid {pid}{more})"
