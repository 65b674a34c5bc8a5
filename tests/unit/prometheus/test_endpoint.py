"""The endpoint: what is put is served, and whether intervals pass."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from support.metrics import parsed, total
from support.records import CLIENT, NOW_MS

from xctl_probe.errors import ProbeError
from xctl_probe.exporters.records import BandwidthRecord
from xctl_probe.prometheus import endpoint as module
from xctl_probe.prometheus import intake
from xctl_probe.prometheus.address import Address
from xctl_probe.prometheus.collector import Collector
from xctl_probe.prometheus.endpoint import Endpoint

SECOND_NS = 1_000_000_000
ENOUGH_S = 45.0  # only where a test fails
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


def record(rx, owner=CLIENT):
    return BandwidthRecord(NOW_MS, "eth0", owner, rx, 0, SECOND_NS)


@pytest.fixture
def endpoint():
    made = Endpoint(Address("127.0.0.1", 0), Collector(SECOND_NS, ("", "ebpf")), SECOND_NS)
    yield made
    made.close(ENOUGH_S)


@pytest.fixture
def get(endpoint):
    """Status and content of a path."""

    def ask(path="/metrics", headers=None):
        url = endpoint.description.removeprefix("metrics at ").replace("/metrics", path)
        request = urllib.request.Request(url, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=ENOUGH_S) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    return ask


def served(get, count):
    """The metrics once so many intervals are in them."""
    while True:
        text = get()[1]
        if total(text, "probe_intervals_total") == count:
            return text


def test_what_is_put_is_served(endpoint, get):
    endpoint.put([record(1_009), record(7)])
    endpoint.put([record(2_003)])
    assert total(served(get, 2), "process_bytes_total") == 3_019
    status, text = get(headers=OPENMETRICS)
    assert status == 200
    assert text.endswith(b"\n# EOF\n")
    assert len(parsed(text, as_openmetrics=True)) == len(parsed(get()[1]))
    assert get("/metric")[0] == 404


def test_health_is_that_of_the_intervals(endpoint, get, monkeypatch):
    """Of three intervals, at least five seconds."""
    now_ns = module.time.monotonic_ns()
    clock = SimpleNamespace(monotonic_ns=lambda: now_ns, time_ns=module.time.time_ns)
    assert get("/healthz") == (200, b"ok\n")
    monkeypatch.setattr(module, "time", clock)
    endpoint.put([])
    served(get, 1)
    now_ns += 5 * SECOND_NS - 1
    assert get("/healthz") == (200, b"ok\n")
    now_ns += 1
    assert get("/healthz") == (503, b"no interval for 5 s\n")
    endpoint.put([])
    served(get, 2)
    assert get("/healthz") == (200, b"ok\n")


def test_the_loop_does_not_wait_and_what_is_dropped_is_counted(endpoint, get, monkeypatch):
    """Up to a limit it is queued; an interval of any size is, where none is."""
    begun, goes_on = threading.Event(), threading.Event()
    add = endpoint._collector.add

    def held(*records):
        begun.set()
        assert goes_on.wait(ENOUGH_S)
        add(*records)

    monkeypatch.setattr(endpoint._collector, "add", held)
    endpoint.put([record(1)])
    assert begun.wait(ENOUGH_S)
    endpoint.put([record(7)] * (intake._MOST_QUEUED + 1))
    endpoint.put([record(1_009)] * 23)
    assert (endpoint.dropped(), endpoint.dropped()) == (23, 0)
    goes_on.set()
    assert total(served(get, 2), "process_bytes_total") == 1 + 7 * (intake._MOST_QUEUED + 1)


def test_an_address_that_is_taken_may_be_free_later(endpoint):
    """Exit code 1: a service is started again."""
    address = endpoint._server.address
    with pytest.raises(ProbeError, match="another program listens there; give another port") as e:
        Endpoint(address, Collector(SECOND_NS, ("", "")), SECOND_NS)
    assert e.value.exit_code == 1


def test_an_address_that_no_interface_has_may_be_there_later():
    with pytest.raises(ProbeError, match="no interface of this host has the address") as e:
        Endpoint(Address("192.0.2.1", 0), Collector(SECOND_NS, ("", "")), SECOND_NS)
    assert e.value.exit_code == 1


def test_closing_twice_is_safe(endpoint):
    endpoint.close(ENOUGH_S)
    endpoint.close(ENOUGH_S)
    assert not endpoint._thread.is_alive()
