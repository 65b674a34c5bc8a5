"""A receiver of OTLP/HTTP, and what it has got, as the official definitions decode it."""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from support.install import WORKLOADS
from support.namespace import end, spawn

METRICS, LOGS = "/v1/metrics", "/v1/logs"
ENOUGH_S = 45.0  # only where a test fails
_KINDS = {METRICS: ExportMetricsServiceRequest, LOGS: ExportLogsServiceRequest}
Attributes = dict[str, Any]


class Receiver:
    """Runs tests/workloads/otlp_receiver.py; `requests` has path, headers and message of each."""

    def __init__(
        self,
        prefix: Sequence[str] = (),
        python: object = sys.executable,
        program: object = WORKLOADS / "otlp_receiver.py",
        port: int = 0,
    ) -> None:
        self._process = spawn([*prefix, str(python), str(program), str(port)])
        first = self._process.stdout.readline()
        assert first, self._process.stderr.read()
        self.port = int(first)
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self._settled = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self, path: str, status: int, message: bytes = b"", **headers: str) -> None:
        """Answer so from now on; with the status 0, not at all."""
        wanted = self._settled + 1
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        line = {path: [status, base64.b64encode(message).decode(), names]}
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        self._process.stdin.flush()
        self.wait_for(lambda: self._settled >= wanted)

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Wait until the condition holds, which is tried after each request; its value."""
        deadline = time.monotonic() + ENOUGH_S
        with self._changed:
            while not (found := condition()):
                assert time.monotonic() < deadline, [path for path, *_ in self.requests]
                self._changed.wait(0.2)
            return found

    def messages(self, path: str) -> list[Any]:
        """The messages that came to a path."""
        with self._changed:
            return [message for to, _, message in self.requests if to == path]

    def events(self, name: str = "", **wanted: object) -> list[Any]:
        """The log records with that name and these attributes (`__` in a name is a dot)."""
        asked = {key.replace("__", "."): value for key, value in wanted.items()}
        return [
            record
            for message in self.messages(LOGS)
            for record in log_records(message)
            if record.event_name.startswith(name)
            and asked.items() <= attributes(record.attributes).items()
        ]

    def total(self, name: str, **wanted: object) -> int | float:
        """The sum of the points of a metric with these attributes, in the newest messages.

        A message that does not have the metric is no newer one.
        """
        asked = {key.replace("__", "."): value for key, value in wanted.items()}
        for message in reversed(self.messages(METRICS)):
            found = points(message).get(name)
            if found:
                return sum(v for has, v in found if asked.items() <= has.items())
        return 0

    def close(self) -> None:
        end(self._process)
        self._thread.join(60)

    def _read(self) -> None:
        for line in self._process.stdout:
            if not line.endswith(b"\n"):
                return  # ended while it wrote
            found = json.loads(line)
            with self._changed:
                if found == "answers":
                    self._settled += 1
                else:
                    path, headers, body = found
                    message = _KINDS[path[path.rindex("/v1/") :]].FromString(base64.b64decode(body))
                    self.requests.append((path, headers, message))
                self._changed.notify_all()


def attributes(pairs: Any) -> Attributes:
    """Attributes by name; a list of pairs is a dictionary, too."""
    found = {pair.key: _value(pair.value) for pair in pairs}
    assert len(found) == len(pairs), "an attribute comes twice"
    return found


def _value(any_value: Any) -> Any:
    kind = any_value.WhichOneof("value")
    found = getattr(any_value, kind)
    return attributes(found.values) if kind == "kvlist_value" else found


def log_records(message: Any) -> Iterator[Any]:
    for of_resource in message.resource_logs:
        for of_scope in of_resource.scope_logs:
            yield from of_scope.log_records


def metrics(message: Any) -> Iterator[Any]:
    for of_resource in message.resource_metrics:
        for of_scope in of_resource.scope_metrics:
            yield from of_scope.metrics


def points(message: Any) -> dict[str, list[tuple[Attributes, int | float]]]:
    """Attributes and value of each data point, by the name of the metric."""
    return {
        metric.name: [
            (attributes(point.attributes), getattr(point, point.WhichOneof("value")))
            for point in getattr(metric, metric.WhichOneof("data")).data_points
        ]
        for metric in metrics(message)
    }
