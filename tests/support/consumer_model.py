"""A strict, independent model of the consumer: what it accepts, and the graph it builds.

It shares no code with the probe on purpose: it is written from the consumer's contract, so
that a mistake made on one side is not repeated on the other.  Every test that makes the
probe write feeds every line to it; a line that the consumer would refuse, or that would
harm it, raises `ContractError`.  So does one that docs/records.schema.json has no place for.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from support import records_schema
from support.namespace import FLOODER

PID_MAX = 2**32 - 1
# A record may wait in a full pipe for as long as a consumer is stopped; it is never early.
OLDEST_MS = 180_000
EARLIEST_MS = 1_000
WAITING_BELOW_MBPS = 1.0
STALLED_BELOW_PERCENT = 1.0

COUNT = r"[1-9][0-9]*"
ANY_COUNT = r"(?:0|[1-9][0-9]*)"
SOCKET = re.compile(rf"socket-{COUNT}")
INTERFACE = re.compile(r"[!-.0-~]{1,64}")  # printable, without space and slash
BANDWIDTH = re.compile(rf"{ANY_COUNT}\.[0-9]{{2}}")
STALL = re.compile(rf"STALL_({ANY_COUNT})ms")
SOCKET_ERROR = re.compile(
    rf"(RETRANSMIT|CONNECT_(?:REFUSED|TIMEOUT|PROHIBITED|NO_PORT)|RESET|ABORTED):({COUNT})",
)
INTERFACE_ERROR = re.compile(
    rf"RX_ERR:({ANY_COUNT}),TX_ERR:({ANY_COUNT})|RX_DROP:({ANY_COUNT}),TX_DROP:({ANY_COUNT})",
)
RDMA_PORT = re.compile(r"[!-.0-~]{1,64}(?:/[0-9]{1,3})?")
PORT_ERROR = re.compile(
    r"(RDMA_(?:RETRY|TIMEOUT|RETRY_EXCEEDED|SEQ_ERR|DUPLICATE|OUT_OF_BUFFER|RNR|REQUEST_ERR|IMPAIRED)"
    rf"|CNP|CNP_SENT|ECN|PORT_DISCARD|PORT_ERR|SYMBOL_ERR|LINK_ERR"
    rf"|PFC_PAUSE|PFC_PAUSE_SENT|PAUSE|PAUSE_SENT|PAUSE_STORM):({COUNT})",
)
QUEUE_PAIR_ERROR = re.compile(rf"QP_ERR:{COUNT}")
PROBE_LOST = re.compile(rf"PROBE_LOST:({COUNT})")
MISSED_RUNS = "missed_probe_runs"
PROCESS = re.compile(rf"pid-({COUNT})")
PERCENT = re.compile(rf"{ANY_COUNT}\.[0-9]{{2}}")


class ContractError(AssertionError):
    """The consumer would reject this line, misread it or be harmed by it."""


@dataclass(frozen=True)
class Record:
    """One accepted line.  `net` is the probe's detail, which the consumer itself ignores."""

    ts: int
    event_type: str
    entity_id: str
    pid: int | None
    value: str
    job_id: str | None = None
    net: dict[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        detail = " ".join(f"{key}={value}" for key, value in self.net.items())
        who = "-" if self.pid is None else self.pid
        return f"{self.ts} {self.event_type} {self.entity_id} pid {who} {self.value} {detail}"

    @property
    def mbps(self) -> float:
        return float(self.value)

    @property
    def stall_ms(self) -> int:
        found = STALL.fullmatch(self.value)
        assert found, f"not a stall: {self.value}"
        return int(found[1])

    @property
    def ongoing(self) -> bool:
        return bool(self.net["ongoing"])


@dataclass
class Graph:
    """What the consumer knows after the lines so far."""

    bandwidth_mbps: dict[str, float] = field(default_factory=dict)
    waits: set[tuple[int, str]] = field(default_factory=set)
    errors: dict[str, list[str]] = field(default_factory=dict)
    jobs: dict[int, str] = field(default_factory=dict)  # of the processes that a start made
    exited: set[int] = field(default_factory=set)
    consumed: dict[int, set[str]] = field(default_factory=dict)
    # Of a resource there is one value: that of the last record, of whatever process.
    used_percent: dict[str, float] = field(default_factory=dict)

    def stalled(self) -> set[int]:
        """The processes that its rule calls stalled: all that they consume is hardly used.

        A wait for a socket does not change that: only those for `network`, `storage` and `disk` do.
        """
        return {
            pid
            for pid, resources in self.consumed.items()
            if all(self.used_percent[one] < STALLED_BELOW_PERCENT for one in resources)
        }

    def apply(self, record: Record) -> None:
        """The effect of one record, as the contract's table has it."""
        match record.event_type, record.pid:
            case "transport.bw", None:
                self.bandwidth_mbps[record.entity_id] = record.mbps
            case "transport.bw", pid if record.mbps < WAITING_BELOW_MBPS:
                self.waits.add((pid, record.entity_id))
            case "transport.drop", int(pid):
                # It would make the process again, running for ever and without its job.
                if pid in self.exited:
                    _refuse(f"a stall of {pid} after its exit")
                self.waits.add((pid, record.entity_id))
            case "process.state", int(pid) if record.value == "start":
                # It replaces the process's node; the waits are kept apart and stay.
                if self.jobs.get(pid) == record.job_id:
                    _refuse(f"{pid} of {record.job_id} starts twice")
                assert record.job_id
                self.jobs[pid] = record.job_id
                self.exited.discard(pid)
            case "process.state", _ if record.value == "connected":
                pass  # handle_process_state() knows start, exit and zombie; others change nothing
            case "process.state", int(pid):
                # The node goes, and every wait of it; without a node nothing changes.
                self.jobs.pop(pid, None)
                self.exited.add(pid)
                self.consumed.pop(pid, None)
                self.waits = {wait for wait in self.waits if wait[0] != pid}
            case "compute.util" | "compute.mem", int(pid):
                # It would make the process again, without its job.
                if pid in self.exited:
                    _refuse(f"a load of {pid} after its exit")
                self.consumed.setdefault(pid, set()).add(record.entity_id)
                self.used_percent[record.entity_id] = float(record.value)
                if stalled := self.stalled():
                    _refuse(f"{stalled} would be stalled")
            case "error.net", _:
                self.errors.setdefault(record.entity_id, []).append(record.value)


class Consumer:
    """Feed it lines; it keeps the records and the graph, or raises `ContractError`.

    `promised` raises SchemaError for a record that the probe does not document: the consumer
    accepts more than the probe writes.
    """

    def __init__(
        self,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        promised: Callable[[dict[str, Any]], None] = records_schema.check,
    ) -> None:
        self._now_ms = now_ms
        self._promised = promised
        self.records: list[Record] = []
        self.graph = Graph()

    def feed(self, line: bytes) -> Record | None:
        """Take one line, with or without its newline; a blank one gives None."""
        line = line.removesuffix(b"\n")
        if not line.strip():
            return None
        try:
            fields = _object(line)
            record = _record(fields, self._now_ms())
            self._promised(fields)
        except (ContractError, records_schema.SchemaError) as error:
            raise ContractError(f"{error}\n  in line: {line!r}") from None
        self.records.append(record)
        self.graph.apply(record)
        return record

    # What tests ask.

    def interface_bandwidth(self, interface: str | None = None) -> list[Record]:
        return [
            r
            for r in self.records
            if r.event_type == "transport.bw" and r.pid is None and interface in (None, r.entity_id)
        ]

    def process_bandwidth(self, pid: int | None = None) -> list[Record]:
        return [
            r
            for r in self.records
            if r.event_type == "transport.bw" and r.pid is not None and pid in (None, r.pid)
        ]

    def sent_bytes(self, pid: int) -> int:
        return _total(self.process_bandwidth(pid), "tx_bytes")

    def received_bytes(self, pid: int) -> int:
        return _total(self.process_bandwidth(pid), "rx_bytes")

    def unattributed_bytes(self) -> int:
        return _total(self.interface_bandwidth(), "unattributed_bytes")

    def stalls(
        self,
        *,
        pid: int | None = None,
        inode: int | None = None,
        ongoing: bool | None = None,
    ) -> list[Record]:
        """The `transport.drop` records, narrowed by process, socket and whether they ended."""
        return [
            r
            for r in self.records
            if r.event_type == "transport.drop"
            and pid in (None, r.pid)
            and (inode is None or r.entity_id == f"socket-{inode}")
            and ongoing in (None, r.ongoing)
        ]

    def errors(self, entity_id: str | None = None) -> list[Record]:
        return [
            r
            for r in self.records
            if r.event_type == "error.net" and entity_id in (None, r.entity_id)
        ]

    def count(self, word: str, *, inode: int | None = None, pid: int | None = None) -> int:
        """The sum of n over `<word>:<n>` on sockets, narrowed by socket and process."""
        return sum(
            int(found[2])
            for r in self.errors(None if inode is None else f"socket-{inode}")
            if pid in (None, r.pid)
            and (found := SOCKET_ERROR.fullmatch(r.value))
            and found[1] == word
        )

    def duplicates(self, inode: int) -> int:
        """The sum of `net.duplicates` of a socket's retransmits."""
        return sum(r.net.get("duplicates", 0) for r in self.errors(f"socket-{inode}"))

    def states(self, pid: int | None = None) -> list[Record]:
        """The `process.state` records, narrowed by process."""
        return [r for r in self.records if r.event_type == "process.state" and pid in (None, r.pid)]

    def loads(self, pid: int, kind: str = "compute.util") -> list[Record]:
        """The records of a process's CPU, or memory."""
        return [r for r in self.records if r.event_type == kind and r.pid == pid]

    def processes_of(self, job_id: str) -> set[int]:
        """The processes that its view of a job shows."""
        return {pid for pid, job in self.graph.jobs.items() if job == job_id}

    def lost(self) -> int:
        """The sum of n over `PROBE_LOST:<n>`."""
        return sum(self.losses().values())

    def losses(self) -> dict[str, int]:
        """The same by where it was lost; without what names the user that floods the host."""
        sums: dict[str, int] = {}
        for record in self.errors("xctl-probe"):
            if record.net.get("uid") == FLOODER:
                continue
            if found := PROBE_LOST.match(record.value):
                where = record.net["where"]
                sums[where] = sums.get(where, 0) + int(found[1])
        return sums

    def events_lost(self) -> dict[str, int]:
        """`losses` without the runs that the kernel skipped: for a host with no other traffic."""
        return {where: n for where, n in self.losses().items() if where != MISSED_RUNS}

    def waits_on(self, pid: int) -> set[str]:
        return {entity for waiting, entity in self.graph.waits if waiting == pid}


def peers_of(records: Iterable[Record]) -> set[int]:
    """The processes waited for; the first record may come before the search has found one."""
    return {record.net["peer_pid"] for record in records if "peer_pid" in record.net}


def _total(records: Iterable[Record], key: str) -> int:
    return sum(r.net.get(key, 0) for r in records)


def _refuse(message: str) -> None:
    raise ContractError(message)


def _object(line: bytes) -> dict[str, Any]:
    """The one JSON object of a line, refusing all that Python's parser lets through."""
    try:
        text = line.decode("ascii")
    except UnicodeDecodeError:
        raise ContractError("not ASCII") from None
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ContractError(f"not JSON: {error}") from None
    if type(found) is not dict:
        raise ContractError("not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            _refuse(f"duplicate key {key!r}")
    return dict(pairs)


def _no_constant(word: str) -> None:
    _refuse(f"{word} is not JSON")


def _record(fields: dict[str, Any], now_ms: int) -> Record:
    if "node_id" in fields:
        _refuse("node_id breaks the consumer's lookups")
    for name in ("ts", "event_type", "entity_id", "value"):
        if name not in fields:
            _refuse(f"{name} is missing")
    record = Record(
        ts=_ts(fields["ts"], now_ms),
        event_type=_text("event_type", fields["event_type"]),
        entity_id=_text("entity_id", fields["entity_id"]),
        pid=_pid(fields.get("pid")),
        value=_text("value", fields["value"]),
        job_id=None if fields.get("job_id") is None else _text("job_id", fields["job_id"]),
        net=fields.get("net") or {},
    )
    if "link_down" in record.value:
        _refuse("a value with link_down evicts the node's workloads")
    form = FORMS.get(record.event_type)
    if form is None:
        raise ContractError(f"unknown event_type {record.event_type!r}")
    form(record)
    return record


def _ts(ts: object, now_ms: int) -> int:
    if type(ts) is not int or ts < 0:
        raise ContractError(f"ts must be a natural number of ms, not {ts!r}")
    if not now_ms - OLDEST_MS <= ts <= now_ms + EARLIEST_MS:
        raise ContractError(f"ts {ts} is {ts - now_ms} ms from now: not Unix epoch ms?")
    return ts


def _text(name: str, value: object) -> str:
    if type(value) is not str:
        raise ContractError(f"{name} must be a string, not {value!r}")
    if not value:
        raise ContractError(f"{name} is empty")
    return value


def _pid(pid: object) -> int | None:
    if pid is None:
        return None
    if type(pid) is not int or not 1 <= pid <= PID_MAX:
        raise ContractError(f"pid must be 1..2^32-1 or null, not {pid!r}")
    return pid


def _bandwidth(record: Record) -> None:
    if not BANDWIDTH.fullmatch(record.value):
        _refuse(f"transport.bw carries Mbps with two decimals, not {record.value!r}")
    if not RDMA_PORT.fullmatch(record.entity_id) or SOCKET.fullmatch(record.entity_id):
        _refuse(f"transport.bw is about an interface, not {record.entity_id!r}")


def _drop(record: Record) -> None:
    if not STALL.fullmatch(record.value):
        _refuse(f"transport.drop carries STALL_<n>ms, not {record.value!r}")
    if not SOCKET.fullmatch(record.entity_id):
        _refuse(f"transport.drop is about a socket, not {record.entity_id!r}")


def _error(record: Record) -> None:
    if record.entity_id == "xctl-probe":
        good = PROBE_LOST.fullmatch(record.value)
    elif SOCKET.fullmatch(record.entity_id):
        good = SOCKET_ERROR.fullmatch(record.value)
    elif RDMA_PORT.fullmatch(record.entity_id) and QUEUE_PAIR_ERROR.fullmatch(record.value):
        good = QUEUE_PAIR_ERROR.fullmatch(record.value)
    elif RDMA_PORT.fullmatch(record.entity_id) and PORT_ERROR.fullmatch(record.value):
        good = PORT_ERROR.fullmatch(record.value)
    else:
        # A connection that ended before it was accepted has no inode: its error is reported
        # the interface, unattributed.
        good = INTERFACE.fullmatch(record.entity_id) and (
            INTERFACE_ERROR.fullmatch(record.value)
            or (record.pid is None and SOCKET_ERROR.fullmatch(record.value))
        )
        if good and not any(int(n) for n in good.groups() if n is not None and n.isdecimal()):
            _refuse(f"an error of zero is none: {record.value!r}")
    if not good:
        _refuse(f"error.net of {record.entity_id!r} cannot be {record.value!r}")


def _state(record: Record) -> None:
    if record.value not in ("start", "connected", "exit"):
        _refuse(f"process.state is start, connected or exit, not {record.value!r}")
    if record.pid is None or record.job_id is None:
        _refuse("process.state is about a process of a job")
    found = PROCESS.fullmatch(record.entity_id)
    if not found or int(found[1]) != record.pid:
        _refuse(f"process.state of {record.pid} cannot be about {record.entity_id!r}")


def _load(record: Record) -> None:
    entity = {"compute.util": "cpu", "compute.mem": "memory"}[record.event_type]
    if record.pid is None or record.entity_id != entity:
        _refuse(f"{record.event_type} is about a process and {entity}")
    if not PERCENT.fullmatch(record.value):
        _refuse(f"{record.event_type} carries percent with two decimals, not {record.value!r}")


FORMS: dict[str, Callable[[Record], None]] = {
    "transport.bw": _bandwidth,
    "transport.drop": _drop,
    "error.net": _error,
    "process.state": _state,
    "compute.util": _load,
    "compute.mem": _load,
}
