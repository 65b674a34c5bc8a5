"""OTLP of real traffic: what a receiver decodes is what the records have, however it behaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from support.conversation import answered, connected, transfer, unanswered
from support.namespace import UNPRIVILEGED
from support.otlp import LOGS, METRICS, Receiver, attributes

BULK_BYTES = 20_000_003
SECOND = ("--otlp-interval", "1")
ALL = ("--min-bw", "0")
CLIENT_MS = 9_000  # one that waits for the answer does so for ten seconds


@pytest.fixture(scope="module", autouse=True)
def _with_extra(installed):
    words = [str(installed.python), "-m", "pip", "install", "-q", f"{installed.wheel}[otlp]"]
    subprocess.run(words, check=True, capture_output=True, cwd="/")


@pytest.fixture
def receiver(installed, netns):
    """Start a receiver in the namespace, on a port or any; it is closed after the test."""
    started = []

    def start(port=0):
        program = installed.traffic / "otlp_receiver.py"
        started.append(Receiver(netns.command(), installed.python, program, port))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def sampler(start_probe):
    """Start a probe of one source: how the receiver behaves concerns none."""

    def start(*options):
        running = start_probe("--backend", "sampler", "--loopback", "--interval", "0.2", *options)
        running.wait_ready()
        return running

    return start


@pytest.fixture
def folder(installed):
    """A directory for the socket of the probe's user."""
    made = Path(tempfile.mkdtemp(prefix="status-", dir=installed.traffic.parent))
    if os.geteuid() == 0:
        os.chown(made, UNPRIVILEGED, UNPRIVILEGED)
    yield made
    shutil.rmtree(made)


def test_bytes_and_stalls_are_those_of_the_records(probe, receiver, worker, backend):
    """Known traffic, and a wait that lasts and is over: exact at the receiver."""
    one = receiver()
    running = probe("--otlp", one.url, *SECOND, *ALL, "--host", "node7")
    # A suite that runs beside this one has processes of other names.
    sends, takes = f"sends-{os.getpid()}", f"takes-{os.getpid()}"
    sender, taker = worker(comm=sends.encode()), worker(comm=takes.encode())
    port = taker.ask("listen")["port"]
    sender.connect("127.0.0.1", port)
    taker.ask("accept")
    transfer(sender, taker, BULK_BYTES)
    sender.ask("settle")

    def total(comm, direction):
        has = {"process__title": comm, "network__io__direction": direction}
        return one.total("process.network.io", **has, network__interface__name="lo")

    least = BULK_BYTES * (1 - backend.bytes_tolerance)
    one.wait_for(lambda: total(sends, "transmit") >= least)
    one.wait_for(lambda: total(takes, "receive") >= least)
    server, client, _ = connected(worker)
    answered(server, client)
    unanswered(server, client)
    one.wait_for(lambda: one.events("xctl.stall", process__pid=client.pid))
    server.ask("send", 29)
    client.expect("ask")
    one.wait_for(lambda: one.events(process__pid=client.pid, xctl__stall__ongoing=False))
    consumer = running.stop()
    # What the source drops are events of others on this host, too: of these, all are found below.
    assert "otlp" not in consumer.losses()
    last = one.messages(METRICS)[-1]
    (of_resource,) = last.resource_metrics
    about = attributes(of_resource.resource.attributes)
    assert (about["service.name"], about["host.name"]) == ("xctl-probe-network", "node7")
    one.wait_for(lambda: total(sends, "transmit") == consumer.sent_bytes(sender.pid))
    one.wait_for(lambda: total(takes, "receive") == consumer.received_bytes(taker.pid))
    if not backend.bytes_tolerance:
        assert total(sends, "transmit") == total(takes, "receive") == BULK_BYTES
    of_interface = [r.net for r in consumer.records if r.event_type == "transport.bw" and not r.pid]
    for direction, key in (("receive", "rx_bytes"), ("transmit", "tx_bytes")):
        has = {"network__interface__name": "lo", "network__io__direction": direction}
        assert one.total("system.network.io", **has) == sum(net[key] for net in of_interface)
    lines = [r for r in consumer.records if r.event_type == "transport.drop"]
    found = [attributes(event.attributes) for event in one.events("xctl.stall")]
    assert [(e["xctl.entity"], e.get("process.pid"), e["xctl.stall.ongoing"]) for e in found] == [
        (line.entity_id, line.pid, line.ongoing) for line in lines
    ]
    assert [int(e["xctl.stall.duration"] * 1_000) for e in found] == [
        line.net["duration_ms"] for line in lines
    ]
    assert b"--otlp" not in running.stderr


def test_a_receiver_that_is_away_loses_no_bytes(sampler, receiver, worker):
    """One line when it is away, one when it is back; the stream goes on meanwhile."""
    one = receiver()
    port = one.port
    one.close()
    running = sampler("--otlp", f"http://127.0.0.1:{port}", *SECOND, *ALL)
    running.wait_for_stderr("connection refused; events wait in a queue of bounded length")
    sender, taker, _ = connected(worker)
    transfer(sender, taker, 1_000_003)
    sender.ask("settle")
    running.wait_for(lambda c: c.sent_bytes(sender.pid))
    running.wait_for_intervals(3)
    again = receiver(port)
    running.wait_for_stderr("it takes all again; nothing was dropped")
    again.wait_for(lambda: again.messages(METRICS))
    consumer = running.stop()
    sums = [r.net["tx_bytes"] for r in consumer.records if r.event_type == "transport.bw" and r.pid]
    again.wait_for(
        lambda: again.total("process.network.io", network__io__direction="transmit") == sum(sums)
    )
    assert running.stderr.count(b"--otlp http") == 2
    assert "otlp" not in consumer.losses()


def test_a_receiver_without_an_answer_delays_no_interval(sampler, receiver, worker):
    """And the probe still stops when it is asked to."""
    one = receiver()
    one.answers(LOGS, 0)
    one.answers(METRICS, 0)
    running = sampler("--otlp", one.url, *SECOND, *ALL)
    server, client, _ = connected(worker)
    answered(server, client)
    unanswered(server, client)
    one.wait_for(lambda: one.messages(LOGS) or one.messages(METRICS))
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=True))
    running.wait_for_intervals(7)
    server.ask("send", 29)
    client.expect("ask")
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=False))
    consumer = running.stop()
    assert "otlp" not in consumer.losses()
    spans_ms = [r.net["interval_ms"] for r in consumer.interface_bandwidth()]
    assert max(spans_ms) < CLIENT_MS  # a busy host may hold one up, but for less


def test_what_a_receiver_refuses_is_in_the_records_and_in_status(
    sampler, receiver, worker, folder, netns, installed
):
    """As one without logs does: metrics go on."""
    one = receiver()
    one.answers(LOGS, 404)
    running = sampler("--otlp", one.url, *SECOND, *ALL, "--status-dir", folder)
    server, client, _ = connected(worker)
    answered(server, client)
    unanswered(server, client)
    running.wait_for_stderr("/v1/logs: 404 Not Found; what it does not take is counted")

    def dropped(consumer):
        places = [r.net["where"] for r in consumer.records if r.value.startswith("PROBE_LOST")]
        return set(places) == {"otlp"}

    running.wait_for(dropped)
    words = [installed.command, "--status-dir", folder, "status", "--json"]
    done = subprocess.run(
        [*netns.command(), *map(str, words)],
        capture_output=True,
        timeout=60,
        check=True,
    )
    (found,) = json.loads(done.stdout)["probes"]
    assert found["status"]["lost"].keys() == {"otlp"}
    seen = len(one.messages(METRICS))
    one.wait_for(lambda: len(one.messages(METRICS)) > seen)
    running.stop()
    assert running.stderr.count(b"/v1/logs") == 1
