"""RDMA of a real kernel: two soft RoCE devices on a wire, and perftest's traffic on them.

rxe counts bytes from Linux 7.2 on (ed7e5e4a932a), and its port has them (1648bcf1ed5c): whole
packets from their IP header on, without the Ethernet header.  Before, it counts packets only; siw
counts nothing, and Debian has no siw.  All packets pass the network stack, so that the interface
counts them in either case.
Everything is in the guest's first network namespace: in others, rxe receives nothing.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.probe import Probe

LIMIT_S = 240
SENDER, RECEIVER = "rxe0", "rxe1"  # devices
NETDEVS = {SENDER: "roce0", RECEIVER: "roce1"}
ADDRESSES = {SENDER: "10.97.0.1", RECEIVER: "10.97.0.2"}
# What a packet has besides its payload: IPv4, UDP, BTH, and the check sum at the end.  A write also
# has the remote address, an acknowledgement its own header.  Each packet is a multiple of 4 bytes.
MTU, HEADERS, RETH, AETH, ETHERNET = 1_024, 20 + 8 + 12 + 4, 16, 4, 14
COUNTS_BYTES_SINCE = 7, 2
MESSAGES = 101
PORT, LISTEN = f":{18_515:04X}", "0A"
# At its own speed, rxe would leave an emulated guest no time, and would time out.  So the wire is
# slow, an acknowledgement has 0.5 s, and perftest sleeps while there is nothing to do.
SHAPED = "rate 500kbit burst 10kb limit 1mb"
COMMON = ("-F", "-x", "1", "-u", "17")  # the GID of the IPv4 address; 4.096 us * 2 ** 17
# Of four messages in flight, the last one is on the wire within 0.3 s; a receiver that stops has
# taken 16 more after a second.
BANDWIDTH = ("ib_send_bw", "-t", "4", "-r", "16", "-s", "4096")
WITHOUT_END = (*BANDWIDTH, *COMMON, "-e", "-N", "-n", "100000000")
# Exact: all receives are posted before the first message, and an acknowledgement has 8.6 s, so that
# nothing is sent twice.
EXACT = (*COMMON, "-u", "21", "-n", str(MESSAGES))


class FirstNamespace:
    """Commands run as they are."""

    def command(self, _user):
        return []


def run(*words):
    subprocess.run(words, check=True, capture_output=True, text=True)


def add_link(device):
    run("rdma", "link", "add", device, "type", "rxe", "netdev", NETDEVS[device])


@pytest.fixture(scope="module")
def wire():
    """Two interfaces of this namespace, between which packets take the wire.

    The kernel would deliver them at once, because both addresses are its own: the rule that finds
    local addresses is only for what comes in from the wire.
    """
    run("modprobe", "-a", "veth", "rdma_rxe", "ib_uverbs")
    with ExitStack() as stack:

        def do(words, undo=""):
            run("ip", *words.split())
            if undo:
                stack.callback(subprocess.run, ["ip", *undo.split()], check=False)

        do("link add roce0 type veth peer name roce1", "link delete roce0")
        for device, other in ((SENDER, RECEIVER), (RECEIVER, SENDER)):
            netdev = NETDEVS[device]
            for name, value in (("accept_local", 1), ("rp_filter", 0), ("arp_ignore", 1)):
                Path(f"/proc/sys/net/ipv4/conf/{netdev}/{name}").write_text(str(value))
            # No neighbour discovery: only what the test sends is counted.
            Path(f"/proc/sys/net/ipv6/conf/{netdev}/disable_ipv6").write_text("1")
            do(f"address add {ADDRESSES[device]}/24 dev {netdev}")
            do(f"link set {netdev} up")
            run("tc", "qdisc", "add", "dev", netdev, "root", "tbf", *SHAPED.split())
            table, to = 200 + int(netdev[-1]), ADDRESSES[other]
            do(f"route add {to} dev {netdev} src {ADDRESSES[device]} table {table}")
            do(f"rule add pref 1 iif {netdev} lookup local", f"rule del pref 1 iif {netdev}")
            do(f"rule add pref 2 iif lo to {to} lookup {table}", f"rule del pref 2 to {to}")
        do("rule add pref 3 lookup local", "rule del pref 3")
        do("rule del pref 0", "rule add pref 0 lookup local")
        yield


@pytest.fixture
def devices(wire):
    """A soft RoCE device on either side."""
    try:
        for device in NETDEVS:
            add_link(device)
        yield
    finally:
        for device in NETDEVS:
            subprocess.run(["rdma", "link", "delete", device], check=False)


@pytest.fixture
def start(devices):
    """Start perftest on a device, for its sender with the receiver's address."""
    with ExitStack() as stack:

        def started(device, *words):
            to = (ADDRESSES[RECEIVER],) if device == SENDER else ()
            command = [words[0], "-d", device, *words[1:], *to]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            if device == RECEIVER:
                until(listens, "the receiver does not listen")
            return process

        yield started


@pytest.fixture
def pair(start):
    """A receiver and a sender that go on."""
    return start(RECEIVER, *WITHOUT_END), start(SENDER, *WITHOUT_END)


@pytest.fixture
def probe(installed):
    """The sampler, ready."""
    options = ("--backend", "sampler", "--interval", "0.5", "--format", "ndjson")
    running = Probe(installed, FirstNamespace(), *options)
    try:
        running.wait_for_stderr("source", LIMIT_S)
        running.wait_for_intervals(1, LIMIT_S)
        yield running
    finally:
        running.close()


def until(condition, message):
    deadline = time.monotonic() + LIMIT_S
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
    shown = subprocess.run(
        [installed.command, "why", str(pid), "--json"], check=True, capture_output=True
    )
    return json.loads(shown.stdout)["queue_pairs"]


def moving(installed, process):
    """Wait until the queue pair of this process moves, and return it."""
    (one,) = until(
        lambda: [q for q in queue_pairs(installed, process.pid) if q["moved"]],
        "no queue pair moves",
    )
    return one


def blame(installed):
    shown = subprocess.run(
        [installed.command, "blame", "--json"], check=True, capture_output=True, timeout=LIMIT_S
    )
    return json.loads(shown.stdout)


def counts_bytes(device):
    """True where the port has counters of bytes; fails where this kernel should have them or not.

    The kernel itself is asked, not the probe.
    """
    path = Path(f"/sys/class/infiniband/{device}/ports/1/counters/port_xmit_data")
    series = tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])
    assert path.exists() == (series >= COUNTS_BYTES_SINCE)
    return path.exists()


def size(packets, headers):
    """The bytes of packets, each kind of them as (count, bytes besides the headers)."""
    return sum(count * (headers + more) for count, more in packets)


ACKNOWLEDGED = (MESSAGES, AETH)  # the last packet of each message
WRITTEN = (MESSAGES, 1_012 + RETH)


@pytest.mark.parametrize(
    ("words", "sent", "answered"),
    [
        ((*BANDWIDTH, "-r", "128"), [(4 * MESSAGES, MTU)], [ACKNOWLEDGED]),
        # Both sides write.
        (("ib_write_lat", "-s", "1012"), [WRITTEN, ACKNOWLEDGED], [WRITTEN, ACKNOWLEDGED]),
    ],
    ids=["ib_send_bw", "ib_write_lat"],
)
def test_bytes_of_a_software_device_are_those_of_perftest(start, probe, words, sent, answered):
    """To the byte at its port, where it counts them; at least as many at its interface.

    The interface also counts how the two sides find each other: ARP, and a connection by TCP.
    """
    counted = {device: counts_bytes(device) for device in NETDEVS}
    begun = [start(device, *words, *EXACT) for device in (RECEIVER, SENDER)]
    assert [process.wait(LIMIT_S) for process in reversed(begun)] == [0, 0]
    probe.wait_for_intervals(2, LIMIT_S)
    consumer = probe.stop()
    moved = {
        name: tuple(
            sum(record.net[key] for record in consumer.interface_bandwidth(name))
            for key in ("tx_bytes", "rx_bytes")
        )
        for name in (*NETDEVS, *NETDEVS.values())
    }
    at_ports = size(sent, HEADERS), size(answered, HEADERS)
    for device, exact in ((SENDER, at_ports), (RECEIVER, at_ports[::-1])):
        assert moved[device] == (exact if counted[device] else (0, 0))
        assert bool(consumer.interface_bandwidth(device)) == counted[device]
    tx_bytes, rx_bytes = moved[NETDEVS[SENDER]]
    assert moved[NETDEVS[RECEIVER]] == (rx_bytes, tx_bytes)
    least_tx, least_rx = (size(packets, HEADERS + ETHERNET) for packets in (sent, answered))
    assert least_tx <= tx_bytes < least_tx + 4_096
    assert least_rx <= rx_bytes < least_rx + 4_096
    assert of_devices(consumer) == []  # nothing was sent twice


def test_check_names_where_the_bytes_of_a_software_device_are(devices, installed):
    """With the interface alone, or with both."""
    shown = subprocess.run(
        [installed.command, "check"], check=True, capture_output=True, text=True, timeout=LIMIT_S
    )
    lines = shown.stdout.splitlines()
    for device, netdev in NETDEVS.items():
        (line,) = [line for line in lines if line.startswith(f"  RDMA port {device} ")]
        only, both = "its bytes are those of", "its bytes are also in the counters of"
        assert line.endswith(f": {both if counts_bytes(device) else only} {netdev}")


def test_queue_pairs_of_a_process_move_while_it_sends(pair, installed):
    """Each side's queue pair names the other's; both are seen to move."""
    received, sent = (moving(installed, process) for process in pair)
    assert (received["peer"], sent["peer"]) == (sent["number"], received["number"])
    assert [(q["device"], q["type"], q["state"]) for q in (received, sent)] == [
        (RECEIVER, "RC", "RTR"),  # perftest's receiver never sends
        (SENDER, "RC", "RTS"),
    ]


def of_devices(consumer):
    """The errors but those of TCP: a slow guest may send again on perftest's own connection."""
    return [r for r in consumer.errors() if not r.entity_id.startswith("socket-")]


def errors(probe, device, word, pid):
    """Wait for errors of this device and kind that are those of this process."""
    return probe.wait_for(
        lambda c: [r for r in c.errors(device) if r.value.startswith(f"{word}:") and r.pid == pid],
        LIMIT_S,
    )


def test_receiver_that_stops_shows_at_both_ports(pair, probe):
    """It posts no receives: the sender is refused, again and again.

    The errors of each port have the pid of its one process.
    """
    receiver, sender = pair
    receiver.send_signal(signal.SIGSTOP)
    errors(probe, SENDER, "RDMA_RNR", sender.pid)
    errors(probe, RECEIVER, "RDMA_OUT_OF_BUFFER", receiver.pid)
    consumer = probe.stop()
    # Whose they are is not known before a whole interval has seen the process.
    assert {r.pid for r in consumer.errors(SENDER)} <= {sender.pid, None}
    assert {r.pid for r in consumer.errors(RECEIVER)} <= {receiver.pid, None}


def test_receiver_that_stops_is_named_by_blame(pair, installed):
    """It is stopped, and its peer's requests are refused; its queue pair does not move."""
    receiver, sender = pair
    moving(installed, receiver)
    receiver.send_signal(signal.SIGSTOP)

    def refused():
        answer = blame(installed)
        found = {one["pid"]: one for one in answer["processes"]}
        return found[sender.pid]["rdma_errors"].get("RDMA_RNR") and (answer, found[receiver.pid])

    answer, stopped = until(refused, "blame does not show that the sender is refused")
    assert f"(pid {receiver.pid}) is stopped (kill -CONT {receiver.pid}" in answer["verdict"]
    assert any(f"(pid {sender.pid}) sends to an RDMA peer" in text for text in answer["rdma"])
    assert (stopped["state"], stopped["queue_pairs"]) == (
        "stopped",
        [{"device": RECEIVER, "moving": 0, "still": 1, "failed": 0, "others": 0}],
    )


def test_queue_pair_that_fails_is_an_error_of_its_process(devices, probe, installed):
    command = [installed.python, installed.traffic / "failed_queue_pair.py", SENDER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            (failed,) = errors(probe, SENDER, "QP_ERR", process.pid)
            (one,) = queue_pairs(installed, process.pid)
            answer = blame(installed)
        finally:
            process.kill()
    assert (failed.value, failed.net["type"], failed.net["state"]) == ("QP_ERR:1", "RC", "ERR")
    assert (one["number"], one["device"], one["state"]) == (failed.net["qp"], SENDER, "ERR")
    assert "1 RDMA queue pair of " in answer["verdict"]
    assert f"(pid {process.pid}) has failed" in answer["verdict"]


def test_device_that_is_deleted_and_made_again_does_no_harm(devices, probe):
    probe.wait_for_intervals(2, LIMIT_S)
    run("rdma", "link", "delete", SENDER)
    probe.wait_for_intervals(2, LIMIT_S)
    add_link(SENDER)
    probe.wait_for_intervals(2, LIMIT_S)
    consumer = probe.stop()
    assert of_devices(consumer) == []
