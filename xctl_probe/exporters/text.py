"""Records for people: one aligned line each, and nothing in it that a terminal obeys."""

from __future__ import annotations

import time

from xctl_probe.exporters.records import DROP, Bandwidth, Event, Record

_PID_WIDTH = 7
_COMM_WIDTH = 15
_MS_PER_S = 1000
_RED, _YELLOW, _PLAIN = b"\x1b[31m", b"\x1b[33m", b"\x1b[0m"  # ECMA-48, 8.3.117


def printable(text: str) -> str:
    """`text` in visible ASCII; everything else becomes a backslash escape."""
    return "".join(
        c if " " <= c <= "~" else c.encode("unicode_escape").decode("ascii") for c in text
    )


def to_text(record: Record) -> bytes:
    """One line without colour, ending in a newline."""
    clock = time.strftime("%H:%M:%S", time.localtime(record.ts_ms / _MS_PER_S))
    return f"{clock}  {printable(_line(record))}\n".encode("ascii")


def to_coloured_text(record: Record) -> bytes:
    """The same line for a terminal that shows colour: what goes wrong stands out."""
    colour = b""
    if not isinstance(record, Bandwidth):
        ended = record.event_type == DROP and not record.net["ongoing"]
        colour = _YELLOW if ended else _RED
    text = to_text(record)
    return colour + text[:-1] + _PLAIN + text[-1:] if colour else text


def _line(record: Record) -> str:
    if isinstance(record, Bandwidth):
        return _bandwidth(record)
    return _stall(record) if record.event_type == DROP else _error(record)


def _bandwidth(record: Bandwidth) -> str:
    who = _who(record.owner.pid, record.owner.comm) if record.owner else _who(None, "(all)")
    per_mbps = 8_000.0 / record.elapsed_ns if record.elapsed_ns > 0 else 0.0
    rx, tx = record.rx_bytes * per_mbps, record.tx_bytes * per_mbps
    return f"bw     {who}  {record.interface:<12}  rx {rx:>10.2f}  tx {tx:>10.2f}  Mbps"


def _stall(event: Event) -> str:
    net = event.net
    seconds = int(net["duration_ms"] or 0) / _MS_PER_S
    state = "waits " if net["ongoing"] else "waited"
    what = {"send": "to send to", "receive": "for data from", "connect": "to connect to"}
    cause = f"  ({net['cause']})" if net["cause"] else ""
    return (
        f"stall  {_comm_of(event)}  {state} {seconds:>8.3f} s "
        f"{what[str(net['direction'])]} {net['remote']}{cause}  {event.entity}"
    )


def _error(event: Event) -> str:
    where = f"{event.net['local']} -> {event.net['remote']}" if "remote" in event.net else ""
    return f"error  {_comm_of(event)}  {event.value}  {event.entity}  {where}".rstrip()


def _comm_of(event: Event) -> str:
    return _who(event.pid, str(event.net.get("comm") or "-"))


def _who(pid: int | None, comm: str) -> str:
    return f"{pid if pid is not None else '-':>{_PID_WIDTH}} {printable(comm):<{_COMM_WIDTH}}"
