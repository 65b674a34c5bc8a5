"""Peers of which there are more than the kernel's tables or buffers hold."""

from __future__ import annotations

import resource
import socket
import threading
import time

from peers.common import Steps, call, datagram_client, datagram_socket, exactly, listen

CLONE_NEWNET = 0x40000000
INTERFACES = 12
STALL_S = 0.1


def datagrams(times: int, size: int) -> Steps:
    server = datagram_socket()
    client = datagram_client(server)
    yield
    for _ in range(times):
        client.send(bytes(size))
    yield


def many_interfaces() -> Steps:
    """Three datagrams of 7 bytes through each of 24 interfaces."""
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
    time.sleep(2 * STALL_S)  # nothing is drained before the waits are stalls
    yield


def brief_conversations(connections: int, question: int, answer: int) -> Steps:
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
