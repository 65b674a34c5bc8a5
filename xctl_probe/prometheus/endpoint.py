"""`--prometheus`: /metrics and /healthz, on a thread beside the loop."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Sequence

from xctl_probe.errors import ProbeError, UsageError
from xctl_probe.exporters.records import Record
from xctl_probe.prometheus.address import Address
from xctl_probe.prometheus.collector import Collector
from xctl_probe.prometheus.http import Answer, content_type
from xctl_probe.prometheus.intake import Intake
from xctl_probe.prometheus.server import Server

# At the boot of a host: a service is started again, as its input is good.
_LATER = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
_LATE_INTERVALS = 3  # without one for so long, the probe is not healthy
_LEAST_LATE_NS = 5_000_000_000
_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


class Endpoint:
    """Receives the records of each interval and serves them as metrics.

    Raises ProbeError where the address cannot be had now, UsageError where that will not change.
    """

    where = "prometheus"
    takes_all = True

    def __init__(self, address: Address, collector: Collector, interval_ns: int) -> None:
        self._collector = collector
        self._late_ns = max(_LATE_INTERVALS * interval_ns, _LEAST_LATE_NS)
        self._last_ns = time.monotonic_ns()  # of the interval before, or the start
        self._texts: dict[str, bytes] = {}  # of this interval, by format
        self._intake = Intake()
        try:
            handlers = {"/metrics": self._metrics, "/healthz": self._health}
            self._server = Server(address, handlers, time.monotonic_ns)
        except OSError as error:
            self._intake.close()
            kind = ProbeError if error.errno in _LATER else UsageError
            raise kind(f"--prometheus {address}: {_remedy(error)}") from error
        self._server.watch(self._intake.fileno())
        self._thread = threading.Thread(target=self._run, name="prometheus", daemon=True)
        self._thread.start()

    @property
    def description(self) -> str:
        """Text for the start line."""
        return f"metrics at http://{self._server.address}/metrics"

    def put(self, records: Sequence[Record]) -> None:
        """Queue the records of one interval."""
        self._intake.put(records)

    def dropped(self) -> int:
        """Return the number of records that were dropped since the last call."""
        return self._intake.dropped()

    def close(self, wait_s: float) -> None:
        """Stop serving; wait for the thread for at most `wait_s`.  Safe to call twice."""
        if self._thread.is_alive():
            self._intake.stop()
            self._thread.join(wait_s)

    def _run(self) -> None:
        stopped = False
        while not stopped:
            self._server.serve()
            intervals, stopped = self._intake.take()
            for records in intervals:
                self._add(records)
        self._server.close()

    def _add(self, records: Sequence[Record]) -> None:
        self._last_ns = time.monotonic_ns()
        try:
            self._collector.add(records, self._last_ns, time.time_ns() // _NS_PER_MS)
        except MemoryError:
            self._intake.drop(len(records))
        self._texts.clear()

    def _metrics(self, accept: str) -> Answer:
        kind = content_type(accept)
        text = self._texts.get(kind)
        if text is None:  # once an interval, however often it is asked for
            text = self._texts[kind] = self._collector.registry.text(kind)
        return Answer(200, text, kind)

    def _health(self, _accept: str) -> Answer:
        since_ns = time.monotonic_ns() - self._last_ns
        if since_ns < self._late_ns:
            return Answer(200, b"ok\n")
        return Answer(503, b"no interval for %d s\n" % (since_ns // _NS_PER_S))


def _remedy(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there; give another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "no interface of this host has the address; `ip address` lists all"
    if error.errno == errno.EACCES:
        return "this user may not listen there; give a port from 1024 up"
    return f"{error.strerror}; give another address"
