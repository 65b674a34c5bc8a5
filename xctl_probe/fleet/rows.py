"""Lines to rows of the three tables that the queries join; docs/fleet.md has their columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from xctl_probe.events import Placement, Process, State
from xctl_probe.exporters.labels import entity, local, remote
from xctl_probe.exporters.records import ProcessRecord, StallRecord
from xctl_probe.recordings.lines import BROKEN
from xctl_probe.recordings.parse import to_record

LARGEST = 2**53  # of a number: what every engine and JSON parser has exactly
_LONGEST_TEXT = 256
_UNIT = 1_000_000  # ns of a millisecond

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Host:
    """The host of a stream; `boot_id` is empty where the stream does not name it."""

    name: str
    boot_id: str = ""


def rows_of(
    line: bytes, stream: str, interval_ms: int, problems: Counter[str]
) -> Iterator[tuple[str, Row]]:
    """Yield the rows of one line, each with its table: `stalls`, `connections`, `processes`.

    `stream` names the host where the line does not.  A line that is no such record, or has a number
    beyond what is possible, is counted.  A stall that is only probable has no row: nothing is to be
    concluded from it.
    """
    record = to_record(line)
    if not isinstance(record, (StallRecord, ProcessRecord)):
        problems[BROKEN] += 1
        return
    if isinstance(record, StallRecord) and record.stall.probable:
        return
    host = host_of(line, stream)
    found = (
        [("stalls", _stall(record, host, interval_ms))]
        if isinstance(record, StallRecord)
        else list(_states(record, host))
    )
    if all(_is_possible(row) for _, row in found):
        yield from found
    else:
        problems[BROKEN] += 1


def host_of(line: bytes, stream: str) -> Host:
    """Return the host of a line that is a record."""
    net = orjson.loads(line)["net"]
    name, boot_id = net.get("host"), net.get("boot_id")
    return Host(
        name if isinstance(name, str) and name else stream,
        boot_id if isinstance(boot_id, str) else "",
    )


def host_of_row(row: Row) -> Host:
    """Return the host of a row."""
    return Host(row["host"], row["boot_id"])


def _who(ts_ms: int, host: Host, owner: Process | None, placement: Placement | None) -> Row:
    where = placement or Placement()
    return {
        "ts_ms": ts_ms,
        "host": host.name,
        "boot_id": host.boot_id,
        "pid": owner.pid if owner else None,
        "comm": owner.comm if owner else None,
        "job_id": where.job_id,
        "job_rank": where.rank,
    }


def _stall(record: StallRecord, host: Host, interval_ms: int) -> Row:
    stall = record.stall
    return _who(record.ts_ms, host, stall.owner, record.placement) | {
        "entity_id": entity(record),
        "ongoing": stall.ongoing,
        "direction": stall.direction.value,
        "cause": stall.cause.value if stall.cause else None,
        "duration_ms": stall.duration_ns // _UNIT,
        "local_endpoint": local(stall.socket),
        "remote_endpoint": remote(stall.socket),
        "peer_pid": stall.peer.pid if stall.peer else None,
        "peer_comm": stall.peer.comm if stall.peer else None,
        "peer_state": stall.peer_activity.value if stall.peer_activity else None,
        "interval_ms": interval_ms,
    }


def _states(record: ProcessRecord, host: Host) -> Iterator[tuple[str, Row]]:
    state = record.state
    who = _who(record.ts_ms, host, state.owner, state.placement)
    activity = state.activity.value if state.activity else None
    yield "processes", who | {"value": state.state.value, "state": activity}
    if state.state is State.CONNECTED:
        for connection in state.connections:
            yield (
                "connections",
                who | {"local_endpoint": connection.local, "remote_endpoint": connection.remote},
            )


def _is_possible(row: Row) -> bool:
    return all(
        0 <= value <= LARGEST
        if isinstance(value, int)
        else not isinstance(value, str) or len(value) <= _LONGEST_TEXT
        for value in row.values()
    )
