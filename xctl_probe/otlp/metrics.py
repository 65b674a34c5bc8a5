"""The series of the collector as requests to /v1/metrics, with cumulative sums.

A request that is not taken loses nothing, because the next one has the sums again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from xctl_probe.otlp import conventions as c
from xctl_probe.otlp.messages import LARGEST, fill
from xctl_probe.prometheus.families import Family
from xctl_probe.prometheus.registry import Labels, Registry, Series

_MOST_POINTS = 5_000  # of a request: about 1 MB, and 20 ms to make
_NS_PER_MS = 1_000_000
_NS_PER_S = 1e9
_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


def render(family: Family, labels: Labels) -> bytes:
    """Return a data point that has only the attributes, as bytes: what a series keeps."""
    if family in c.LEFT_OUT:
        return b""
    point = NumberDataPoint()
    fill(point.attributes, (c.attribute(family, name, text) for name, text in labels if text))
    found: bytes = point.SerializeToString()
    return found


def requests(
    registry: Registry, resource: Resource, scope: InstrumentationScope, now_ms: int
) -> Iterator[tuple[ExportMetricsServiceRequest, int]]:
    """Yield all series as they were at `now_ms` (Unix epoch), with the number of points."""
    points = (
        (family, one)
        for family, table in registry.tables()
        if family not in c.LEFT_OUT
        for one in table
    )
    while part := list(islice(points, _MOST_POINTS)):
        yield _request(part, resource, scope, now_ms * _NS_PER_MS), len(part)


def _request(
    part: Iterable[tuple[Family, Series]],
    resource: Resource,
    scope: InstrumentationScope,
    now_ns: int,
) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    of_resource = request.resource_metrics.add(resource=resource, schema_url=c.SCHEMA_URL)
    of_scope = of_resource.scope_metrics.add(scope=scope, schema_url=c.SCHEMA_URL)
    last: Family | None = None
    for family, series in part:
        if family is not last:
            last, known = family, c.METRICS[family]
            metric = of_scope.metrics.add(name=known.name, unit=known.unit, description=family.help)
            if known.monotonic:
                metric.sum.is_monotonic = True
                metric.sum.aggregation_temporality = _CUMULATIVE
                points = metric.sum.data_points
            else:
                points = metric.gauge.data_points
        point = points.add()
        point.MergeFromString(series.line)
        point.time_unix_nano = now_ns
        if known.monotonic:
            point.start_time_unix_nano = series.since_ms * _NS_PER_MS
        if known.as_seconds:
            point.as_double = series.value / _NS_PER_S
        else:
            point.as_int = min(series.value, LARGEST)
    return request
