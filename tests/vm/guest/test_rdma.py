"""RDMA of a real kernel: soft RoCE over a dummy interface, and perftest's traffic on it.

The device counts no bytes; its errors, its queue pairs and their processes are real.  Everything
is in the guest's first network namespace: in another one the kernel shows no counters.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.probe import Probe

PATIENCE_S = 120
NETDEV, DEVICE, ADDRESS = "dummy7", "rxe7", "10.97.0.1"
PORT, LISTEN = f":{18_515:04X}", "0A"
TRAFFIC = ("ib_send_bw", "-d", DEVICE, "-x", "1", "-s", "4096", "-F", "--run_infinitely")


class FirstNamespace:
    """Commands run as they are."""

    def command(self, _user):
        return []


def run(*words):
    subprocess.run(words, check=True, capture_output=True, text=True)


def add_link():
    run("rdma", "link", "add", DEVICE, "type", "rxe", "netdev", NETDEV)


@pytest.fixture
def device():
    """A soft RoCE device; skips where the kernel in the cache, or the host, has no part of it."""
    if not all(map(shutil.which, ("rdma", TRAFFIC[0]))):
        pytest.skip("needs rdma (iproute2) and perftest")
    if subprocess.run(["modprobe", "-a", "rdma_rxe", "ib_uverbs", "dummy"], check=False).returncode:
        pytest.skip("the modules of this kernel have no rdma_rxe: fetch the kernel again")
    run("ip", "link", "add", NETDEV, "type", "dummy")
    try:
        run("ip", "address", "add", f"{ADDRESS}/24", "dev", NETDEV)
        run("ip", "link", "set", NETDEV, "up")
        add_link()
        yield DEVICE
    finally:
        subprocess.run(["rdma", "link", "delete", DEVICE], check=False)
        subprocess.run(["ip", "link", "delete", NETDEV], check=False)


@pytest.fixture
def pair(device):
    """A receiver and a sender that go on for ever."""
    with ExitStack() as stack:

        def start(*words):
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        receiver = start(*TRAFFIC)
        until(listens, "the receiver does not listen")
        yield receiver, start(*TRAFFIC, ADDRESS)


@pytest.fixture
def probe(installed):
    options = ("--backend", "sampler", "--interval", "0.5", "--format", "ndjson")
    running = Probe(installed, FirstNamespace(), *options)
    yield running
    running.close()


def until(condition, message):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, message
        time.sleep(0.1)
    return found


def listens():
    """True while a socket listens on perftest's port."""
    tables = [Path(f"/proc/net/{table}").read_text().split() for table in ("tcp", "tcp6")]
    return any(
        word.endswith(PORT) and words[at + 2] == LISTEN
        for words in tables
        for at, word in enumerate(words)
    )


def queue_pairs(installed, pid):
    told = subprocess.run(
        [installed.command, "why", str(pid), "--json"], check=True, capture_output=True
    )
    return json.loads(told.stdout)["queue_pairs"]


def test_queue_pairs_of_a_process_move_while_it_sends(pair, installed):
    """Each side's queue pair names the other's; both are seen to move."""

    def moving(process):
        (one,) = until(
            lambda: [q for q in queue_pairs(installed, process.pid) if q["moved"]],
            "no queue pair moves",
        )
        return one

    received, sent = map(moving, pair)
    assert (received["peer"], sent["peer"]) == (sent["number"], received["number"])
    assert [(q["device"], q["type"], q["state"]) for q in (received, sent)] == [
        (DEVICE, "RC", "RTR"),  # perftest's receiver never sends
        (DEVICE, "RC", "RTS"),
    ]


def test_receiver_that_stops_shows_as_errors_of_the_port(pair, probe, installed):
    """It posts no receives: the sender is refused, and waits; nothing was wrong before."""
    receiver, sender = pair
    until(lambda: any(q["moved"] for q in queue_pairs(installed, sender.pid)), "the sender is idle")
    receiver.send_signal(signal.SIGSTOP)
    words = ("RDMA_RNR:", "RDMA_OUT_OF_BUFFER:")
    for word in words:
        probe.wait_for(
            lambda c, word=word: [r for r in c.errors(DEVICE) if r.value.startswith(word)],
            PATIENCE_S,
        )
    consumer = probe.stop()
    assert consumer.interface_bandwidth(DEVICE) == []  # it counts no bytes
    assert {r.pid for r in consumer.errors(DEVICE)} == {None}


def test_device_that_is_deleted_and_made_again_does_no_harm(device, probe):
    probe.wait_for_intervals(2, PATIENCE_S)
    run("rdma", "link", "delete", device)
    probe.wait_for_intervals(2, PATIENCE_S)
    add_link()
    probe.wait_for_intervals(2, PATIENCE_S)
    consumer = probe.stop()
    assert consumer.errors() == []
