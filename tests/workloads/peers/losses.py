"""Peers of which there are more than the kernel's tables or buffers hold."""

from __future__ import annotations

import resource
import socket
import struct
import threading
import time

from peers.common import (
    LOOPBACK,
    Steps,
    aside,
    call,
    datagram_client,
    datagram_socket,
    exactly,
    listen,
)

CLONE_NEWNET = 0x40000000
INTERFACES = 64
IPPROTO_MPTCP = 262
STALL_MS = 100
TCPI_LAST_DATA_SENT = 44  # its offset in struct tcp_info, linux/tcp.h


def datagrams(times: int, size: int) -> Steps:
    server = datagram_socket()
    client = datagram_client(server)
    yield
    for _ in range(times):
        client.send(bytes(size))
    yield


def datagrams_of_threads(count: int) -> Steps:
    """Each thread sends one of 7 bytes; yields their numbers while all are there."""
    server = datagram_socket()
    client = datagram_client(server)
    sent, leave = threading.Barrier(count + 1), threading.Event()
    found = []

    def send() -> None:
        client.send(bytes(7))
        found.append(threading.get_native_id())
        sent.wait()
        leave.wait()

    for _ in range(count):
        aside(send)
    yield
    sent.wait()
    yield found
    leave.set()


def multipath_connections(count: int) -> Steps:
    """Connections of Multipath TCP, one after the other, each with one datum."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP) as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        yield
        for _ in range(count):
            client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
            client.connect(listener.getsockname())
            server = listener.accept()[0]
            client.sendall(b"x" * 7)
            exactly(server, 7)
            client.close()
            server.close()
        yield


def many_interfaces() -> Steps:
    """Three datagrams of 7 bytes through each of 128 interfaces."""
    import ctypes
    import subprocess

    assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0
    for i in range(INTERFACES):
        for line in (
            f"ip link add a{i} type veth peer b{i}",
            f"ip link set a{i} arp off up",
            f"ip link set b{i} arp off up",
            f"ip addr add 10.{i}.0.1/24 dev a{i}",
            f"ip addr add 10.{i}.1.1/24 dev b{i}",
        ):
            subprocess.run(line.split(), check=True)
    yield
    for i in range(INTERFACES):
        for name, net in (("a", 0), ("b", 1)):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, f"{name}{i}".encode())
            for _ in range(3):
                one.sendto(b"x" * 7, (f"10.{i}.{net}.9", 9))
    yield


def _since_last_send_ms(sock: socket.socket) -> int:
    """Return the time since the last send, by the clock of the kernel."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCPI_LAST_DATA_SENT + 4)
    since_ms: int = struct.unpack_from("I", info, TCPI_LAST_DATA_SENT)[0]
    return since_ms


def many_requests(connections: int) -> Steps:
    """Each connection gets one reply, and then waits for a second one for longer than a stall."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    listener = listen()
    pairs = [(call(listener), listener.accept()[0]) for _ in range(connections)]
    for client, server in pairs:
        client.sendall(b"q")
        server.recv(1)
        server.sendall(b"a")
        client.recv(1)
    yield
    for client, _ in pairs:
        client.sendall(b"q" * 7)
    while _since_last_send_ms(client) < 2 * STALL_MS:  # the last one: the others wait longer
        time.sleep(0.001)
    yield


def short_exchanges(connections: int, question: int, answer: int) -> Steps:
    """One connection after the other, each with one request and its reply."""
    listener = listen()

    def serve() -> None:
        for _ in range(connections):
            server, _ = listener.accept()
            exactly(server, question)
            server.sendall(bytes(answer))
            server.recv(1)
            server.close()

    thread = threading.Thread(target=serve)
    yield
    thread.start()
    for _ in range(connections):
        client = call(listener)
        client.sendall(bytes(question))
        exactly(client, answer)
        client.close()
    thread.join()
    yield
