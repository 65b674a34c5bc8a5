"""The first bytes of each direction of a socket, once: in every namespace, and nothing else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.require import require
from support.waiting import until

from xctl_probe.ebpf.payload import IMAGE, PROGRAMS, Payloads
from xctl_probe.errors import SourceUnavailable
from xctl_probe.protocols.names import Sample

FIRST, SECOND = b"7 seven\n", b"23 more\n"
ANSWER = bytes(range(64, 128))


@pytest.fixture
def payloads():
    try:
        opened = Payloads()
    except SourceUnavailable as reason:
        require(False, f"{IMAGE}: {reason}")
    yield opened
    opened.close()


def cookie(one):
    return int.from_bytes(one.getsockopt(socket.SOL_SOCKET, 57, 8), sys.byteorder)  # SO_COOKIE


def connection(family=socket.AF_INET, host="127.0.0.1"):
    with socket.create_server((host, 0), family=family) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        return client, listener.accept()[0]


def of(payloads, *sockets):
    """What was sampled of these, in order; others on the host are no concern of a test."""
    cookies = {cookie(one) for one in sockets}
    return [one for one in payloads.read() if isinstance(one, Sample) and one.cookie in cookies]


def exchange(asks, answers, message, reply):
    asks.sendall(message)
    assert answers.recv(len(message), socket.MSG_WAITALL) == message
    answers.sendall(reply)
    assert asks.recv(len(reply), socket.MSG_WAITALL) == reply


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_the_first_bytes_of_each_direction_once(payloads, family, host):
    client, server = connection(family, host)
    with client, server:
        for message in (FIRST, SECOND, SECOND):
            exchange(client, server, message, ANSWER)
        mine, theirs = cookie(client), cookie(server)
        assert sorted(of(payloads, client, server)) == sorted(
            [
                Sample(mine, False, True, len(FIRST), FIRST),
                Sample(theirs, True, True, len(FIRST), FIRST),
                Sample(mine, True, True, len(ANSWER), ANSWER[:32]),
                Sample(theirs, False, True, len(ANSWER), ANSWER[:32]),
            ]
        )
        assert payloads.unsampled() == 0


def test_a_stream_that_began_before_is_sampled_where_messages_begin():
    client, server = connection()
    with client, server:
        exchange(client, server, FIRST, ANSWER)
        opened = Payloads()
        try:
            client.sendall(FIRST)  # whether it goes on with one before is not known
            assert server.recv(100) == FIRST
            assert of(opened, client, server) == []
            server.sendall(ANSWER)
            assert client.recv(100) == ANSWER
            exchange(client, server, SECOND, ANSWER)
            found = [(one.received, one.from_start, one.payload) for one in of(opened, client)]
        finally:
            opened.close()
    assert found == [(True, False, ANSWER[:32]), (False, False, SECOND)]


def test_datagrams(payloads):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        for _ in range(3):
            client.send(FIRST)
            _, peer = server.recvfrom(100)
            server.sendto(ANSWER, peer)
            client.recv(100)
        assert of(payloads, client) == [
            Sample(cookie(client), False, True, len(FIRST), FIRST),
            Sample(cookie(client), True, True, len(ANSWER), ANSWER[:32]),
        ]


def test_of_a_client_hello_as_much_as_its_names_need(payloads):
    hello = bytes.fromhex("16030107d001000602") + bytes(700)
    client, server = connection()
    with client, server:
        exchange(client, server, hello, ANSWER)
        sampled = of(payloads, client)
    assert [(one.length, len(one.payload)) for one in sampled] == [(709, 512), (64, 32)]
    assert sampled[0].payload == hello[:512]


def test_a_closed_socket_is_reported_by_its_cookie(payloads):
    client, server = connection()
    with client, server:
        exchange(client, server, FIRST, ANSWER)
        both = {cookie(client), cookie(server)}
    seen = set()
    deadline = time.monotonic() + 60
    while not both <= seen:
        seen |= {one for one in payloads.read() if not isinstance(one, Sample)}
        assert time.monotonic() < deadline


def test_sockets_of_other_network_namespaces(payloads):
    script = (
        "import socket\n"
        "with socket.create_server(('127.0.0.1', 0)) as listener:\n"
        "    client = socket.create_connection(listener.getsockname())\n"
        f"    client.sendall({FIRST!r})\n"
        "    print(int.from_bytes(client.getsockopt(1, 57, 8), 'little'))\n"
    )
    words = ("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$0" "$@"')
    done = subprocess.run([*words, sys.executable, "-c", script], capture_output=True, check=True)
    found = [one for one in payloads.read() if isinstance(one, Sample)]
    assert Sample(int(done.stdout), False, True, len(FIRST), FIRST) in found


def test_messages_without_room_are_counted(payloads):
    payloads.close()
    small = Payloads(ring_bytes=4096)  # 64 messages, if no other process sends one
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(100)]
            for client in clients:
                client.sendto(FIRST, server.getsockname())
                client.close()
        assert small.unsampled() >= 36
        until(lambda: small.unsampled() < 36)  # only once, but others may send meanwhile
    finally:
        small.close()


def programs_of(pid):
    """The names of the kernel programs that this process has loaded."""
    found = []
    for entry in os.scandir(f"/proc/{pid}/fdinfo"):
        try:
            info = Path(entry.path).read_text()
        except FileNotFoundError:
            continue
        found += [line for line in info.splitlines() if line.startswith("prog_type:")]
    return [int(line.split(":")[1]) for line in found]


CGROUP_SKB, CGROUP_SOCK = 8, 9  # enum bpf_prog_type


@pytest.mark.parametrize("metrics", [(), ("--metrics", "bandwidth,stalls,errors,protocols")])
def test_programs_are_loaded_only_where_asked_for(installed, start_probe, metrics):
    probe = start_probe("--loopback", "--interval", "0.2", *metrics, user="root")
    probe.wait_ready()
    if not any(programs_of(probe.pid)):
        require(False, "the kernel source cannot be used here")
    mine = [one for one in programs_of(probe.pid) if one in (CGROUP_SKB, CGROUP_SOCK)]
    assert len(mine) == (len(PROGRAMS) if metrics else 0)
    probe.stop()


TLS_CLIENT = """
import socket, ssl, sys
context = ssl.create_default_context()
context.set_alpn_protocols(["h2"])
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
if not (pid := __import__("os").fork()):
    client.close()
    server.recv(1 << 16)
    sys.stdin.read()
    sys.exit()
server.close()
print("ready", flush=True)
context.wrap_socket(client, server_hostname="lab.example")
"""


def test_a_handshake_without_an_answer_names_the_server(start_probe, netns):
    probe = start_probe(
        "--loopback", "--interval", "0.2", "--metrics", "bandwidth,stalls,errors,protocols",
        user="root",
    )  # fmt: skip
    probe.wait_ready()
    if b"no protocols" in probe.stderr:
        require(False, probe.stderr.decode())
    words = [*netns.command("root"), sys.executable, "-c", TLS_CLIENT]
    for _ in range(10):
        lost = probe.consumer.losses().get("protocols")
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert client.stdout.readline() == b"ready\n"
            (stall, *_) = probe.wait_for(lambda consumer, pid=client.pid: consumer.stalls(pid=pid))
            client.kill()
            client.stdin.close()
        probe.wait_for_intervals(1)
        if "app" in stall.net or probe.consumer.losses().get("protocols") == lost:
            break  # else other programs' messages have filled the queue
    wanted = {"app": "tls", "sni": "lab.example", "alpn": ["h2"], "direction": "receive"}
    assert {name: stall.net.get(name) for name in wanted} == wanted, json.dumps(stall.net)
    probe.stop()
