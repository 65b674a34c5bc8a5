"""The output of a probe, added up as it comes: a long run's records would fill the memory."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from support.consumer_model import Consumer, Record
from support.namespace import FLOODER


@dataclass(frozen=True)
class ReportedStall:
    """A `transport.drop` record, on the monotonic clock."""

    pid: int | None
    begin_ns: int
    end_ns: int
    record: Record


@dataclass
class Tally:
    """Feed it lines; every one goes through the model of the consumer first."""

    sent: Counter[tuple[int, str]] = field(default_factory=Counter)  # by pid and name
    received: Counter[tuple[int, str]] = field(default_factory=Counter)
    unattributed: int = 0
    intervals: int = 0
    longest_interval_ms: int = 0
    errors: Counter[tuple[int | None, str]] = field(default_factory=Counter)  # by pid and word
    lost: Counter[str] = field(default_factory=Counter)  # by place
    stalls: list[ReportedStall] = field(default_factory=list)
    consumer: Consumer = field(default_factory=Consumer)

    def feed(self, line: bytes) -> None:
        """Raises ContractError."""
        record = self.consumer.feed(line)
        self.consumer.records.clear()
        if record is None:
            return
        if record.event_type == "transport.bw":
            self._bandwidth(record)
        elif record.event_type == "transport.drop":
            self._stall(record)
        elif record.event_type == "error.net":
            self._error(record)  # others are of jobs, such as those of another test

    def _bandwidth(self, record: Record) -> None:
        if record.pid is None:
            self.unattributed += record.net["unattributed_bytes"]
            self.intervals += 1
            self.longest_interval_ms = max(self.longest_interval_ms, record.net["interval_ms"])
            return
        who = (record.pid, record.net["comm"])
        self.sent[who] += record.net["tx_bytes"]
        self.received[who] += record.net["rx_bytes"]

    def _stall(self, record: Record) -> None:
        monotonic_ns = record.ts * 1_000_000 - (time.time_ns() - time.monotonic_ns())
        begin_ns = monotonic_ns - record.stall_ms * 1_000_000
        self.stalls.append(ReportedStall(record.pid, begin_ns, monotonic_ns, record))

    def _error(self, record: Record) -> None:
        word, _, count = record.value.partition(":")
        if word == "PROBE_LOST":
            if record.net.get("uid") != FLOODER:  # of tests that flood this host meanwhile
                self.lost[record.net["where"]] += int(count)
        elif record.pid is not None or record.net.get("interface"):  # else another namespace's
            self.errors[record.pid, word] += int(count)
