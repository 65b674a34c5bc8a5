"""A recorded run of events gives the same bytes as ever, as NDJSON and as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from xctl_probe.aggregate import Filter, aggregate
from xctl_probe.events import (
    App,
    Cause,
    Connection,
    Counted,
    Direction,
    DroppedEvents,
    ErrorKind,
    Event,
    InterfaceDelta,
    PacketCounts,
    PacketDelta,
    PeerActivity,
    Placement,
    PortErrorKind,
    PortErrors,
    Process,
    ProcessLoad,
    ProcessState,
    QueuePairErrors,
    RdmaLink,
    RdmaPortDelta,
    Socket,
    SocketError,
    Stall,
    State,
    TrafficDelta,
)
from xctl_probe.exporters.ndjson import to_line
from xctl_probe.exporters.text import to_coloured_text, to_text

GOLDEN = Path(__file__).parents[2] / "golden"
TYPES = {
    "traffic": TrafficDelta,
    "stall": Stall,
    "socket_error": SocketError,
    "interface": InterfaceDelta,
    "packets": PacketDelta,
    "dropped": DroppedEvents,
    "port": RdmaPortDelta,
    "port_errors": PortErrors,
    "queue_pairs": QueuePairErrors,
    "state": ProcessState,
    "load": ProcessLoad,
}
FIELDS = {
    "owner": lambda fields: Process(**fields),
    "socket": lambda fields: socket_of(**fields),
    "counts": lambda both: PacketCounts(*(counted(both[way]) for way in ("rx", "tx"))),
    "direction": Direction,
    "cause": Cause,
    "kind": lambda word: ErrorKind(word) if word in list(ErrorKind) else PortErrorKind(word),
    "link": lambda fields: RdmaLink(**fields),
    "placement": lambda fields: Placement(**fields),
    # Of a queue pair it is a word of the kernel.
    "state": lambda word: State(word) if word in list(State) else word,
    "counters": lambda pairs: tuple(map(tuple, pairs)),
    "connections": lambda pairs: tuple(Connection(*pair) for pair in pairs),
    "activity": PeerActivity,
}
# The recorded run was taken from real traffic on loopback, as root, with `--loopback` and an
# interval of half a second; the last intervals are written by hand, for rare shapes.
ALL = Filter(loopback=True)
FEW = Filter(min_mbps=0.0, pids=frozenset({4711}), interfaces=frozenset({"eth0"}))


def socket_of(app=None, **fields):
    return Socket(**fields, app=App(app["name"], app["sni"], tuple(app["alpn"])) if app else None)


def counted(kinds):
    return {kind: Counted(*pair) for kind, pair in kinds.items()}


def event_of(fields):
    kind = TYPES[fields.pop("event")] if "event" in fields else TYPES[fields.pop("type")]
    return kind(
        **{k: FIELDS[k](v) if k in FIELDS and v is not None else v for k, v in fields.items()}
    )


def rendered(wanted, render):
    lines = []
    for line in (GOLDEN / "events.jsonl").read_text().splitlines():
        interval = json.loads(line)
        events = [event_of(fields) for fields in interval["events"]]
        records = aggregate(events, wanted, interval["elapsed_ns"], interval["ts_ms"])
        lines += [render(record) for record in records]
    return b"".join(lines)


@pytest.mark.parametrize(
    ("name", "wanted", "render"),
    [
        ("all.ndjson", ALL, to_line),
        ("few.ndjson", FEW, to_line),
        ("all.text", ALL, to_text),
        ("all.coloured", ALL, to_coloured_text),
    ],
)
def test_recorded_events_render_to_the_golden_bytes(name, wanted, render):
    path = GOLDEN / name
    golden = path.read_bytes() if path.exists() else b""
    found = rendered(wanted, render)
    if found.startswith(golden):
        assert found == golden, f"append to tests/golden/{name}:\n{found[len(golden) :].decode()}"
    assert found == golden, f"earlier lines of tests/golden/{name} have changed"


def test_every_kind_of_event_is_recorded():
    """A new event without a branch in `aggregate` renders to nothing, here, too."""
    intervals = map(json.loads, (GOLDEN / "events.jsonl").read_text().splitlines())
    recorded = {type(event_of(fields)) for one in intervals for fields in one["events"]}
    assert recorded == set(get_args(Event)), "add one to tests/golden/events.jsonl and to TYPES"


@pytest.mark.parametrize("kind", get_args(Event), ids=lambda kind: kind.__name__)
def test_every_kind_of_event_becomes_a_record(kind):
    intervals = map(json.loads, (GOLDEN / "events.jsonl").read_text().splitlines())
    events = [event_of(fields) for one in intervals for fields in one["events"]]
    # Packets are part of the record of their interface.
    kinds = (kind, InterfaceDelta) if kind is PacketDelta else (kind,)
    chosen = [event for event in events if type(event) in kinds]
    records = [*aggregate(chosen, ALL, 1, 1)]
    assert records, f"xctl_probe/aggregate.py has no branch for {kind.__name__}"
