"""`--otlp`: two threads beside the loop, one that adds records up and one that sends.

So the sums stay exact however slow the receiver is.
"""

from __future__ import annotations

import random
import select
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from xctl_probe.exporters.origin import Origin
from xctl_probe.exporters.records import Record
from xctl_probe.otlp import events, metrics
from xctl_probe.otlp.backlog import Backlog
from xctl_probe.otlp.client import Answer, Client
from xctl_probe.otlp.messages import resource, scope
from xctl_probe.otlp.reports import Reports
from xctl_probe.otlp.url import Url
from xctl_probe.prometheus.collector import Collector
from xctl_probe.prometheus.intake import Intake

_METRICS, _LOGS = "/v1/metrics", "/v1/logs"
_APART_S = 1.0  # least time between two requests of events
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 1.0, 60.0
_LONGEST_REQUEST_S = 20.0  # of a receiver that takes or answers a byte at a time
_NS_PER_MS = 1_000_000
_KEPT = "events wait in a queue of bounded length, sums go on, and the stream does not wait"
_COUNTED = "what it does not take is counted as PROBE_LOST"
_LATER = Answer("not tried", retry=True)


@dataclass(frozen=True, slots=True)
class About:
    """What all telemetry of a run has in common: host, version and source of the probe."""

    origin: Origin
    version: str | None
    source: str


class OtlpExporter:
    """Receives the records of each interval and sends them to a receiver of OTLP/HTTP.

    Metrics are sent every `metrics_s` seconds, events at once unless `metrics_only`.  `report` gets
    one line for each change between a receiver that takes all and one that does not.
    """

    where = events.WHERE
    takes_all = True

    def __init__(
        self,
        url: Url,
        about: About,
        interval_ns: int,
        report: Callable[[str], None],
        *,
        metrics_s: float,
        metrics_only: bool = False,
    ) -> None:
        now_ms = time.time_ns() // _NS_PER_MS
        info = (about.version or "", about.source)
        self._collector = Collector(interval_ns, info, render=metrics.render, began_ms=now_ms)
        self._resource = resource(about.origin, about.version, about.source)
        self._scope = scope(about.version)
        self._metrics_s = metrics_s
        self._metrics_only = metrics_only
        self._reports = Reports(str(url), report)
        self._client = Client(url)
        self._backlog = Backlog()
        self._intake = Intake()
        self._adding = threading.Lock()  # the registry
        self._counted_ms = now_ms  # the time of what the registry has
        self._changed = threading.Condition()
        self._stopped = False
        # By path: a receiver may take metrics, and have no room for events.
        self._resume_s = dict.fromkeys((_LOGS, _METRICS), 0.0)  # monotonic: no request before
        self._backoff_s = dict.fromkeys((_LOGS, _METRICS), _FIRST_BACKOFF_S)
        self._request_began_s: float | None = None
        self._unsent: list[events.Event] = []  # of a request without an answer
        self._added = self._sent = 0  # intervals
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("otlp-add", self._add_all), ("otlp-send", self._send_all))
        ]
        for thread in self._threads:
            thread.start()

    def put(self, records: Sequence[Record]) -> None:
        """Queue the records of one interval."""
        self._intake.put(records)

    def dropped(self) -> int:
        """Return the number of records, events and points dropped since the last call."""
        return self._intake.dropped()

    def close(self, wait_s: float) -> None:
        """Send what is left, for at most `wait_s`."""
        until_s = time.monotonic() + wait_s
        self._intake.stop()
        for thread in self._threads:
            thread.join(max(until_s - time.monotonic(), 0))
        self._reports.left(len(self._unsent) + self._backlog.clear())

    def _add_all(self) -> None:
        poll = select.poll()
        poll.register(self._intake.fileno(), select.POLLIN)
        stopped = False
        while not stopped:
            poll.poll()
            intervals, stopped = self._intake.take()
            for records in intervals:
                self._add(records)
            self._abort_if_late()
            with self._changed:
                self._stopped = stopped
                self._changed.notify()

    def _add(self, records: Sequence[Record]) -> None:
        now_ms = time.time_ns() // _NS_PER_MS
        try:
            with self._adding:
                self._collector.add(records, time.monotonic_ns(), now_ms)
                self._counted_ms = now_ms
                self._added += 1
            if not self._metrics_only:
                self._drop(self._backlog.put(filter(events.is_event, records)))
        except MemoryError:
            self._drop(len(records))

    def _abort_if_late(self) -> None:
        began_s = self._request_began_s
        if began_s is not None and time.monotonic() - began_s > _LONGEST_REQUEST_S:
            self._client.abort()

    def _drop(self, count: int) -> None:
        if count:
            self._intake.drop(count)
            self._reports.dropped(count)

    def _send_all(self) -> None:
        metrics_due_s = time.monotonic() + self._metrics_s
        stopped = False
        while not stopped:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped, self._pause_s(metrics_due_s))
                stopped = self._stopped
            self._send_events()
            now_s = time.monotonic()
            if (stopped or now_s >= metrics_due_s) and self._send_metrics():
                metrics_due_s = now_s + self._metrics_s

    def _pause_s(self, metrics_due_s: float) -> float:
        """Return the time until there is something to do."""
        now_s = time.monotonic()
        due_s = max(metrics_due_s, self._resume_s[_METRICS])
        if not self._metrics_only:
            due_s = min(due_s, max(now_s + _APART_S, self._resume_s[_LOGS]))
        return max(due_s - now_s, 0)

    def _send_events(self) -> None:
        while batch := self._unsent or self._backlog.take():
            self._unsent = batch
            try:
                message = events.request(batch, self._resource, self._scope).SerializeToString()
            except MemoryError:
                self._unsent = []
                self._drop(len(batch))
                return
            answer = self._post(_LOGS, message)
            if answer.retry:
                return
            self._unsent = []
            self._settle(_LOGS, answer, len(batch))

    def _send_metrics(self) -> bool:
        """Send all series, where an interval has passed; False: again later."""
        if self._sent == self._added:
            return True
        try:
            with self._adding:
                made = metrics.requests(
                    self._collector.registry, self._resource, self._scope, self._counted_ms
                )
                messages = [(one.SerializeToString(), count) for one, count in made]
                added = self._added
        except MemoryError:
            return True
        for message, count in messages:
            answer = self._post(_METRICS, message)
            if answer.retry:
                return False
            self._settle(_METRICS, answer, count)
        self._sent = added
        return True

    def _post(self, path: str, message: bytes) -> Answer:
        """Send a message; after a failure that may pass, none is sent there for a while."""
        now_s = time.monotonic()
        if now_s < self._resume_s[path]:
            return _LATER
        self._request_began_s = now_s
        answer = self._client.post(path, message)
        self._request_began_s = None
        if not answer.retry:
            self._backoff_s[path] = _FIRST_BACKOFF_S
            return answer
        self._reports.failed(path if answer.answered else "", answer.problem, _KEPT)
        # With a jitter, so that the probes of many hosts do not return all at once.
        backoff_s = self._backoff_s[path]
        wait_s = answer.after_s or backoff_s * random.uniform(0.5, 1)  # noqa: S311
        self._resume_s[path] = time.monotonic() + wait_s
        self._backoff_s[path] = min(backoff_s * 2, _LONGEST_BACKOFF_S)
        return answer

    def _settle(self, path: str, answer: Answer, count: int) -> None:
        """Count what the receiver has refused of a request with so many events or points."""
        problem, refused = answer.problem, count
        if not problem:
            read = _rejected_events if path == _LOGS else _rejected_points
            try:
                refused, text = read(answer.content)
                problem = f"{refused} of {count} rejected: {text}" if refused else ""
            except DecodeError:
                problem = "the answer is no message of OTLP; is that a receiver of OTLP/HTTP?"
        if problem:
            self._drop(refused)
            self._reports.failed(path, problem, _COUNTED)
        else:
            self._reports.worked(path)


def _rejected_events(content: bytes) -> tuple[int, str]:
    partial = ExportLogsServiceResponse.FromString(content).partial_success
    return partial.rejected_log_records, partial.error_message


def _rejected_points(content: bytes) -> tuple[int, str]:
    partial = ExportMetricsServiceResponse.FromString(content).partial_success
    return partial.rejected_data_points, partial.error_message
