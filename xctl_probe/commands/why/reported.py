"""What a probe that runs here already reports of the process.

It knows what each connection did before, and the kernel source what is polled without sleeping.
The two samples of this moment do not show that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from xctl_probe.commands.recorded import ACTIVITIES
from xctl_probe.commands.why.diagnose import Diagnosis
from xctl_probe.commands.why.findings.finding import Finding, ranked
from xctl_probe.commands.why.humanize import format_duration
from xctl_probe.commands.why.sockets import Tcp
from xctl_probe.events import Direction, Stall
from xctl_probe.exporters.records import StallRecord, is_probable
from xctl_probe.exporters.text import WAITS

_NS_PER_MS = 1_000_000


def with_reported(diagnosis: Diagnosis, records: Iterable[StallRecord], now_ms: int) -> Diagnosis:
    """Return the diagnosis with the stalls of a running probe, where the samples do not decide.

    `now_ms` is the time of the second sample, since the Unix epoch.
    """
    tcp = {socket.inode: socket for socket in diagnosis.tcp}
    decided = {one.inode: one.certain for one in diagnosis.found if one.waits}
    reported: dict[int, Finding] = {}
    for record in sorted(records, key=is_probable, reverse=True):  # of several probes
        stall = record.stall
        socket = tcp.get(stall.socket.inode)
        of_process = stall.owner is not None and stall.owner.pid == diagnosis.process.pid
        if not of_process or socket is None:
            continue
        samples_know = socket.inode in decided and (stall.probable or decided[socket.inode])
        if not samples_know and not _is_over(socket, stall, now_ms - record.ts_ms):
            reported[socket.inode] = _finding(socket, stall)
    if not reported:
        return diagnosis
    others = (one for one in diagnosis.found if one.inode not in reported)
    return replace(
        diagnosis,
        found=tuple(ranked([*reported.values(), *others])),
        source=f"{diagnosis.source}, running probe",
    )


def _is_over(socket: Tcp, stall: Stall, age_ms: int) -> bool:
    """Return whether data have moved since the record, `age_ms` ago."""
    came_ms = socket.last_receive_ms if stall.direction is Direction.RECEIVE else None
    return socket.moved or (came_ms is not None and came_ms < age_ms)


def _finding(socket: Tcp, stall: Stall) -> Finding:
    ms = stall.duration_ns / _NS_PER_MS
    cause = f" ({stall.cause})" if stall.cause else ""
    how, why = "waits", "as the probe reports that runs here"
    if stall.probable:
        how = "probably waits"
        why = "which always replied sooner before, as the probe knows that runs here"
    text = (
        f"{how} {WAITS[stall.direction]} {_peer(stall)}{socket.remote} for "
        f"{format_duration(ms)}{cause}, {why}"
    )
    return Finding(text, True, not stall.probable, stall.cause, socket.inode, ms)


def _peer(stall: Stall) -> str:
    if stall.peer is None:
        return ""
    does = f", {ACTIVITIES[stall.peer_activity]}" if stall.peer_activity else ""
    return f"{stall.peer.comm} (pid {stall.peer.pid}{does}) at "
