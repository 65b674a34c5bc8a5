"""Peers that wait for a datagram or to send one, and peers that only seem to."""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Callable

from peers.common import LONG_S, LOOPBACK, Bounds, Steps, aside, datagram_socket, exactly

LONG_MS = 1_000 * LONG_S


def server() -> Steps:
    """Replies to one request in a step of its own; yields its port."""
    sock = datagram_socket()
    yield sock.getsockname()[1]
    _, back = sock.recvfrom(100)
    yield
    sock.sendto(b"a" * 29, back)
    yield


def resolver(port: int, asks: str, waits: str) -> Steps:
    """Sends one query and waits for the reply; yields its inode, then when the send began, and it
    and the wait were over (monotonic, ns).
    """
    there = (LOOPBACK, port)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if asks == "connected":
        client.connect(there)
    poll = select.poll()
    poll.register(client, select.POLLIN)
    loop = select.epoll()
    loop.register(client, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
    loop.poll(0)
    wait: Callable[[], object] = {
        "poll": lambda: poll.poll(LONG_MS),
        "select": lambda: select.select([client], [], [], LONG_S),
        "epoll": lambda: loop.poll(LONG_S),
        "recv": lambda: None,
    }[waits]
    if waits != "epoll":
        loop.close()
    yield os.fstat(client.fileno()).st_ino
    times_ns = [time.monotonic_ns()]
    if asks == "connected":
        client.send(b"q" * 23)
    else:
        client.sendto(b"q" * 23, there)
    times_ns.append(time.monotonic_ns())
    wait()
    client.recv(100)
    yield [*times_ns, time.monotonic_ns()]


def resolver_whose_first_query_is_empty() -> Steps:
    """The empty one is answered at once; yields bounds of the wait for the next reply, in ns."""
    two = _Two()
    late = Bounds()
    two.sock.connect(two.there)
    yield
    two.sock.send(b"")
    two.peer.recv(100)
    two.peer.sendto(b"a", two.here)
    exactly(two.sock, 1)

    def answer() -> None:
        two.peer.recv(100)
        sys.stdin.readline()
        late.release()
        two.peer.sendto(b"a", two.here)

    aside(answer)
    yield late.measure(lambda: two.sock.send(b"q" * 23), lambda: two.sock.recv(100))


def slow_line() -> Steps:
    """Sends through an interface of 16 kbit/s; yields its inode, then the longest send, in s."""
    import subprocess

    for line in (
        "ip link add slow type veth peer name far",
        "ip addr add 10.9.9.1/24 dev slow",
        "ip link set far up",
        "ip link set slow up",
        "ip neigh add 10.9.9.2 lladdr 02:00:00:00:00:02 dev slow",
        "tc qdisc add dev slow root tbf rate 16kbit burst 1600 limit 1000000",
    ):
        subprocess.run(line.split(), check=True)
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
    out.bind(("10.9.9.1", 3_001))
    yield os.fstat(out.fileno()).st_ino
    longest = 0.0
    for _ in range(23):
        begin = time.monotonic()
        out.sendto(b"x" * 1_201, ("10.9.9.2", 9))
        longest = max(longest, time.monotonic() - begin)
    yield longest


class _Two:
    """The socket that the scene is about, and its peer, which sends nothing of its own accord."""

    def __init__(self) -> None:
        self.peer, self.sock = datagram_socket(), datagram_socket()
        self.there = self.peer.getsockname()
        self.here = self.sock.getsockname()

    def poll_alone(self) -> None:
        """As resolvers do: this socket alone, with a timeout."""
        select.select([self.sock], [], [], LONG_S)

    def serve_once(self) -> None:
        """The socket is the server of one exchange."""
        self.peer.sendto(b"q", self.here)
        exactly(self.sock, 1)
        self.sock.sendto(b"a", self.there)

    def get_answer(self, *, read: bool = True) -> None:
        """The socket is the client of one exchange."""
        self.sock.connect(self.there)
        self.sock.send(b"q")
        exactly(self.peer, 1)
        self.peer.sendto(b"a", self.here)
        if read:
            exactly(self.sock, 1)

    def get_stream(self) -> None:
        """The socket receives more than it sends."""
        self.sock.connect(self.there)
        self.sock.send(b"hello")
        exactly(self.peer, 5)
        for _ in range(3):
            self.peer.sendto(b"data", self.here)
            exactly(self.sock, 4)
        self.sock.send(b"ack")


def server_between_requests() -> Steps:
    two = _Two()
    yield
    two.serve_once()
    yield
    two.poll_alone()


def server_in_receive() -> Steps:
    two = _Two()
    yield
    two.serve_once()
    yield
    two.sock.recv(100)


def log_sender_in_event_loop() -> Steps:
    two = _Two()
    yield
    two.sock.connect(two.there)
    with select.epoll() as loop:
        loop.register(two.sock, select.EPOLLIN)
        loop.register(os.eventfd(0), select.EPOLLIN)
        two.sock.send(b"line")
        yield
        loop.poll(LONG_S)


def log_sender_of_asyncio() -> Steps:
    import asyncio  # a fifth of a second under emulation, and only here

    two = _Two()
    yield
    loop = asyncio.new_event_loop()
    connect = loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=two.there)
    out, _ = loop.run_until_complete(connect)
    out.sendto(b"line")
    yield
    loop.run_forever()


def log_sender_that_reads_nothing() -> Steps:
    two = _Two()
    yield
    two.sock.sendto(b"line", two.there)
    yield
    time.sleep(LONG_S)


def stream_receiver() -> Steps:
    two = _Two()
    yield
    two.get_stream()
    yield
    two.poll_alone()


def stream_receiver_in_receive() -> Steps:
    two = _Two()
    yield
    two.get_stream()
    yield
    two.sock.recv(100)


def multicast_member() -> Steps:
    two = _Two()
    yield
    group = socket.inet_aton("224.0.0.251") + socket.inet_aton(LOOPBACK)
    two.sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    two.sock.sendto(b"here", two.there)
    yield
    two.poll_alone()


def broadcaster() -> Steps:
    two = _Two()
    yield
    two.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    two.sock.sendto(b"discover", two.there)
    yield
    two.poll_alone()


def service_on_its_own_port() -> Steps:
    two = _Two()
    yield
    own = datagram_socket(port=3_001)
    own.sendto(b"state", two.there)
    yield
    select.select([own], [], [], LONG_S)


def subscriber_without_timeout() -> Steps:
    two = _Two()
    yield
    two.sock.sendto(b"subscribe", two.there)
    yield
    select.select([two.sock], [], [])


def client_between_queries() -> Steps:
    two = _Two()
    yield
    two.get_answer()
    yield
    two.poll_alone()


def client_that_gave_up() -> Steps:
    two = _Two()
    yield
    two.get_answer()
    two.sock.send(b"q")
    yield
    time.sleep(LONG_S)


def client_with_unread_answer() -> Steps:
    two = _Two()
    yield
    two.get_answer(read=False)
    yield
    time.sleep(LONG_S)
