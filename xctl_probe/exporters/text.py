"""Records as text: one aligned line each, without control characters."""

from __future__ import annotations

import time

from xctl_probe.events import (
    Direction,
    Placement,
    Process,
    ProcessState,
    QueuePairErrors,
    SocketError,
    State,
)
from xctl_probe.exporters.labels import app_text, counts, endpoints, entity, remote
from xctl_probe.exporters.records import (
    BandwidthRecord,
    CpuRecord,
    ErrorRecord,
    MemoryRecord,
    ProcessRecord,
    Record,
    StallRecord,
)
from xctl_probe.exporters.sanitize import printable

_PID_WIDTH = 7
_COMM_WIDTH = 15
_MS_PER_S = 1_000
_NS_PER_MS = 1_000_000
_RED, _YELLOW, _PLAIN = b"\x1b[31m", b"\x1b[33m", b"\x1b[0m"  # ECMA-48, 8.3.117
WAITS = {
    Direction.SEND: "to send to",
    Direction.RECEIVE: "for data from",
    Direction.CONNECT: "to connect to",
}


def to_text(record: Record) -> bytes:
    """Return one line without colour, with its newline."""
    clock = time.strftime("%H:%M:%S", time.localtime(record.ts_ms / _MS_PER_S))
    line = f"{_line(record)}{_job(record.placement)}"
    return f"{clock}  {printable(line)}\n".encode("ascii")


def to_coloured_text(record: Record) -> bytes:
    """Return the same line with colour for stalls and errors."""
    text = to_text(record)
    match record:
        case BandwidthRecord() | ProcessRecord() | CpuRecord() | MemoryRecord():
            return text
        case StallRecord() if not record.stall.ongoing:
            colour = _YELLOW
        case _:
            colour = _RED
    return colour + text[:-1] + _PLAIN + text[-1:]


def _line(record: Record) -> str:
    match record:
        case BandwidthRecord():
            return _bandwidth(record)
        case StallRecord():
            return _stall(record)
        case ErrorRecord():
            return _error(record)
        case ProcessRecord():
            return f"state  {_who(record.owner)}  {_state(record.state)}"
        case CpuRecord():
            return f"cpu    {_who(record.owner)}  {record.percent:>6.2f} % of a core"
        case MemoryRecord():
            return f"memory {_who(record.owner)}  {record.percent:>6.2f} % of the host's"


def _job(placement: Placement | None) -> str:
    """Return the job and the rank, with two spaces before them; empty without a job."""
    if placement is None or placement.job_id is None:
        return ""
    rank = "" if placement.rank is None else f" rank {placement.rank}"
    return f"  job {placement.job_id}{rank}"


def _bandwidth(record: BandwidthRecord) -> str:
    who = _who(record.owner, "(all)")
    rx, tx = record.rx_mbps, record.tx_mbps
    return f"bw     {who}  {record.interface:<12}  rx {rx:>10.2f}  tx {tx:>10.2f}  Mbps"


def _stall(record: StallRecord) -> str:
    stall = record.stall
    seconds = stall.duration_ns // _NS_PER_MS / _MS_PER_S
    state = "waits " if stall.ongoing else "waited"
    notes = [stall.cause.value] if stall.cause else []
    if stall.probable:
        notes.append("probably")
    cause = f"  ({', '.join(notes)})" if notes else ""
    return (
        f"stall  {_who(stall.owner)}  {state} {seconds:>8.3f} s "
        f"{WAITS[stall.direction]} {remote(stall.socket)}{cause}  {entity(record)}  "
        f"{app_text(stall.socket)}"
    ).rstrip()


def _error(record: ErrorRecord) -> str:
    value = ",".join(f"{what}:{count}" for what, count in counts(record))
    where = ""
    if isinstance(record.error, SocketError):
        here, there = endpoints(record.error)
        where = f"{here or '*'} -> {there or '*'}"
        if record.error.duplicates:
            where += f"  ({record.error.duplicates} received twice)"
        where += f"  {app_text(record.error.socket)}"
    elif isinstance(record.error, QueuePairErrors):
        where = f"qp {record.error.number} {record.error.type} {record.error.state}"
    return f"error  {_who(record.owner)}  {value}  {entity(record)}  {where}".rstrip()


def _state(event: ProcessState) -> str:
    if event.state is not State.CONNECTED:
        return event.state.value
    activity = f"  ({event.activity})" if event.activity else ""
    return f"{event.state}  {len(event.connections)}{activity}"


def _who(owner: Process | None, unknown: str = "-") -> str:
    pid, comm = (owner.pid, owner.comm or "-") if owner else ("-", unknown)
    return f"{pid:>{_PID_WIDTH}} {printable(comm):<{_COMM_WIDTH}}"
