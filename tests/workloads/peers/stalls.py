"""Peers that wait for the network, and peers that only seem to."""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import sys
import termios
import threading
import time

from peers.common import (
    LONG_S,
    Bounds,
    Steps,
    aside,
    call,
    connection,
    datagram_client,
    datagram_socket,
    exactly,
    fill,
    listen,
)

REQUEST = b"q" * 53
SIOCOUTQNSD = 0x894B  # linux/sockios.h: what is not sent yet
LOSSY_PORT = 7777
UNTIL_FULL_S = 0.3  # the peer's kernel may still take some
TICKS_S = 0.05  # the order of a request and its reply shows


class _Answers:
    """A server in a thread: it answers at once, and from then on at a line on stdin.

    `bounds` has one for each of the late answers.  `unread`: their requests lie in the queue until
    then, which is seen without a read of /proc, whose budget a busy host uses up.
    """

    def __init__(
        self, sock: socket.socket, at_once: int, late: int, *, unread: bool = False
    ) -> None:
        self._sock, self._at_once, self._unread = sock, at_once, unread
        self.bounds = [Bounds() for _ in range(late)]
        aside(self._run)

    def _run(self) -> None:
        for _ in range(self._at_once):
            exactly(self._sock, len(REQUEST))
            self._sock.sendall(b"a")
        for bounds in self.bounds:
            if self._unread:
                self._sock.recv(1, socket.MSG_PEEK)
            else:
                exactly(self._sock, len(REQUEST))
            sys.stdin.readline()
            if self._unread:
                exactly(self._sock, len(REQUEST))
            bounds.release()
            self._sock.sendall(b"a")


def answered_late() -> Steps:
    """Yields bounds of the wait in ns."""
    client, server = connection()
    (late,) = _Answers(server, 0, 1).bounds
    yield
    yield late.measure(lambda: client.sendall(REQUEST), lambda: client.recv(100))


def answered_in_pieces() -> Steps:
    """The first piece comes at once, and is less than wakes a reader (SO_RCVLOWAT).

    Yields bounds of the wait in ns.
    """
    client, server = connection()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1_009)
    bounds = Bounds()
    poll = select.poll()
    poll.register(client, select.POLLIN)

    def answer() -> None:
        exactly(server, len(REQUEST))
        server.sendall(b"a" * 11)
        sys.stdin.readline()
        bounds.release()
        server.sendall(b"a" * 1_009)

    def wait() -> None:
        poll.poll()
        exactly(client, 1_020)

    aside(answer)
    yield
    yield bounds.measure(lambda: client.sendall(REQUEST), wait)


def reads_late_what_wakes_no_reader() -> Steps:
    """The reply is less than would wake a reader, and the process does something else."""
    client, server = connection()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1_009)
    client.sendall(REQUEST)
    exactly(server, len(REQUEST))
    server.sendall(b"a" * 11)
    yield
    time.sleep(LONG_S)


def answered_late_in_epoll() -> Steps:
    """The first reply comes at once; yields bounds of the second wait in ns."""
    client, server = connection()
    client.setblocking(False)
    (late,) = _Answers(server, 1, 1, unread=True).bounds
    poll = select.epoll()
    poll.register(client, select.EPOLLIN)
    client.sendall(REQUEST)
    poll.poll()
    client.recv(100)
    yield
    yield late.measure(lambda: client.sendall(REQUEST), lambda: (poll.poll(), client.recv(100)))


def sends_on_before_it_reads() -> Steps:
    """Yields bounds of one wait and then of another, in ns."""
    client, server = connection()
    first, second = _Answers(server, 1, 2).bounds
    client.sendall(REQUEST)
    client.recv(100)
    yield
    yield first.measure(lambda: client.sendall(REQUEST), lambda: select.select([client], [], []))
    yield second.measure(lambda: client.sendall(REQUEST), lambda: exactly(client, 2))


def second_connection() -> Steps:
    """The server answers on the first connection, and not on the second."""
    listener = listen()

    def serve() -> None:
        server, _ = listener.accept()
        with server:
            exactly(server, len(REQUEST))
            server.sendall(b"a")
        server, _ = listener.accept()
        exactly(server, len(REQUEST))
        time.sleep(LONG_S)

    def ask() -> None:
        client = call(listener)
        client.setblocking(False)
        client.sendall(REQUEST)
        select.select([client], [], [])
        client.recv(100)

    aside(serve)
    ask()
    yield
    ask()


def hangs_up_after_the_answer(peers: int) -> Steps:
    """Each peer answers once and closes; then none reads from the second connection.

    An unread request is a stall without a read of /proc, whose budget a busy host uses up.
    """
    listeners = [listen() for _ in range(peers)]

    def serve() -> None:
        for listener in listeners:
            with listener.accept()[0] as server:
                exactly(server, len(REQUEST))
                server.sendall(b"a")

    def ask(listener: socket.socket) -> socket.socket:
        client = call(listener)
        client.setblocking(False)
        client.sendall(REQUEST)
        return client

    server = aside(serve)
    for listener in listeners:
        with ask(listener) as client:
            select.select([client], [], [])
            client.recv(100)
    server.join()
    yield
    clients = [ask(listener) for listener in listeners]
    select.select(clients, [], [])


def hangs_for_ever() -> Steps:
    """Yields the thread that is in the receive."""
    client, _server = connection()
    client.sendall(REQUEST)
    yield aside(lambda: client.recv(100)).native_id


def _read_later(server: socket.socket) -> None:
    """Read all, after a line on stdin."""
    sys.stdin.readline()
    while server.recv(1 << 20):
        continue


def peer_does_not_read(blocking: int) -> Steps:
    """One byte more than fits; the peer reads in the next step."""
    client, server = connection()
    client.setblocking(bool(blocking))
    fill(client)

    yield
    aside(lambda: _read_later(server))
    if not blocking:
        select.select([], [client], [])
    client.send(b"y")
    yield


def unsent_data_is_limited() -> Steps:
    """An event loop with TCP_NOTSENT_LOWAT, whose peer reads in the next step.

    Each of its sends is cut short, with room in the buffer; then it waits in epoll.
    """
    client, server = connection()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 16_384)
    client.setblocking(False)
    poll = select.epoll()
    poll.register(client, select.EPOLLOUT)

    yield
    aside(lambda: _read_later(server))
    for _ in range(1_000):
        client.send(bytes(65_536))
        if not poll.poll(UNTIL_FULL_S):
            break
    poll.poll(-1)
    client.send(b"y")
    yield


def large_send(size: int) -> Steps:
    """More than all buffers in one call, to a peer that reads after a line on stdin.

    Yields the bounds of the wait in ns: the call also copies some megabytes before it waits.
    """
    client, server = connection()
    data = bytes(size)
    blocked_ns: list[int] = []
    sender = threading.get_native_id()

    def sleeps_in_send() -> bool:
        (queued,) = struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))
        with open(f"/proc/self/task/{sender}/stat") as file:
            state = file.read().rpartition(")")[2].split()[0]
        return bool(queued) and state == "S"

    def read_later() -> None:
        while not sleeps_in_send():
            time.sleep(0.001)
        blocked_ns.append(time.monotonic_ns())
        sys.stdin.readline()
        blocked_ns.append(time.monotonic_ns())
        exactly(server, size)

    yield
    aside(read_later)
    begin_ns = time.monotonic_ns()
    client.send(data)
    took_ns = time.monotonic_ns() - begin_ns
    yield [blocked_ns[1] - blocked_ns[0], took_ns]


def reads_its_answers_late(times: int) -> Steps:
    client, server = connection()

    def exchange(pause_s: float) -> None:
        client.sendall(REQUEST)
        exactly(server, len(REQUEST))
        server.sendall(b"a")
        time.sleep(pause_s)
        client.recv(100)

    exchange(0)
    yield
    for _ in range(times):
        exchange(0.3)
    yield


def idle_and_one_way() -> Steps:
    """Everything that never waits for a reply, at once."""
    # A keep-alive pair that has answered and idles, each with a thread in the receive.
    client, server = connection()
    client.sendall(b"q")
    server.recv(1)
    server.sendall(b"a")
    client.recv(1)
    aside(lambda: server.recv(1))
    aside(lambda: client.recv(1))
    # A listener without a connection.
    listener = listen()
    aside(listener.accept)
    # A log sender, and its reader.
    log, reader = connection()

    def read() -> None:
        while reader.recv(100):
            continue

    def write() -> None:
        while True:
            log.sendall(b"line")
            time.sleep(0.15)

    aside(read)
    aside(write)
    # Datagrams without a reply.
    silent = datagram_socket()
    aside(lambda: silent.recv(1))
    _out = datagram_client(silent)
    yield


def resolver() -> Steps:
    """Yields bounds of the wait in ns."""
    server = datagram_socket()
    client = datagram_client(server)
    bounds = Bounds()

    def answer() -> None:
        _, back = server.recvfrom(100)
        sys.stdin.readline()
        bounds.release()
        server.sendto(b"a", back)

    aside(answer)
    yield
    yield bounds.measure(lambda: client.send(REQUEST), lambda: client.recv(100))


def hole_in_a_download() -> Steps:
    """A segment is lost again and again, while the next one arrives."""
    import subprocess

    def nft(rule: str) -> None:
        subprocess.run(["nft", rule], check=True)

    nft("add table inet t; add chain inet t i { type filter hook input priority 0; }")
    client, server = connection(port=LOSSY_PORT)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(b"q")
    server.recv(1)
    server.sendall(b"a" * 1000)
    exactly(client, 1000)
    aside(lambda: client.recv(9000))
    yield
    # Its length marks the segment that is lost: 40 bytes of headers, 12 of options, 777.
    nft(f"add rule inet t i tcp sport {LOSSY_PORT} meta length 829 drop")
    server.sendall(b"b" * 777)
    while struct.unpack("i", fcntl.ioctl(server, SIOCOUTQNSD, bytes(4)))[0]:
        time.sleep(0.001)
    server.sendall(b"c" * 1001)
    yield


def accepted_and_answered() -> Steps:
    """Its listener is gone; the server has answered, and blocks for the next request."""
    client, server = connection()
    client.sendall(b"q")
    exactly(server, 1)
    time.sleep(TICKS_S)
    server.sendall(b"a")
    exactly(client, 1)
    aside(lambda: server.recv(1))
    yield
    time.sleep(LONG_S)


def busy_while_a_reply_comes() -> Steps:
    """Reads its reply long after it began to come, and while it comes; how late it began (ns)."""
    client, server = connection()
    began_ns = 0

    def serve() -> None:
        nonlocal began_ns
        exactly(server, 1)
        began_ns = time.monotonic_ns()
        for _ in range(1_000):
            server.sendall(b"a")
            time.sleep(0.005)
        time.sleep(LONG_S)

    aside(serve)
    yield
    begin_ns = time.monotonic_ns()
    client.sendall(b"q")
    sys.stdin.readline()
    client.recv(1)
    yield began_ns - begin_ns
