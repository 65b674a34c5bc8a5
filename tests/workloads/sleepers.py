"""A worker whose threads all sleep in a send at the same time, each to a peer that does not read.

`block THREADS COUNT` begins, `release` reads all of it, `again COUNT` lets each thread send once
more: into buffers that are empty, so that none sleeps.  With a third number COUNT goes in datagrams
of that size, which are read at once: there it is the interface that has to be slow.
"""

from __future__ import annotations

import platform
import socket
import sys
import threading
import time
from pathlib import Path

from talk import hello, report

SENDTO = {"x86_64": "44", "aarch64": "206"}  # what send() calls


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        return sender, listener.accept()[0]


def datagram_pair() -> tuple[socket.socket, socket.socket]:
    sender, receiver = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    receiver.bind(("127.0.0.1", 0))
    sender.connect(receiver.getsockname())
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least that there is
    return sender, receiver


class Sleepers:
    """The threads, and both sockets of the connection of each."""

    def __init__(self) -> None:
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.threads: list[threading.Thread] = []
        self.steps: threading.Barrier

    def block(self, threads: int, count: int, datagram: int = 0) -> None:
        self.count, self.more, self.piece = count, 0, datagram or count
        self.steps = threading.Barrier(threads + 1)
        self.pairs = [datagram_pair() if datagram else pair() for _ in range(threads)]
        self.threads = [
            threading.Thread(target=self._send, args=(sender,), daemon=True)
            for sender, _ in self.pairs
        ]
        for thread in self.threads:
            thread.start()
        while not all(map(sleeps_in_send, self.threads)):
            time.sleep(0.01)
        report("block")

    def release(self) -> None:
        for _, receiver in self.pairs:
            read(receiver, self.count)
        self.steps.wait()
        report("release")

    def again(self, count: int) -> None:
        self.more = count
        self.steps.wait()
        for _, receiver in self.pairs:
            read(receiver, count)
        for thread in self.threads:
            thread.join()
        report("again")

    def _send(self, sender: socket.socket) -> None:
        for _ in range(self.count // self.piece):
            sender.sendall(bytes(self.piece))
        self.steps.wait()
        self.steps.wait()
        sender.sendall(bytes(self.more))


def sleeps_in_send(thread: threading.Thread) -> bool:
    """It does not run, and its call is a send: the kernel shows it of one's own threads."""
    folder = Path(f"/proc/self/task/{thread.native_id}")
    state = folder.joinpath("stat").read_text().rpartition(") ")[2][0]
    call = folder.joinpath("syscall").read_text().split()[0]
    return state == "S" and call == SENDTO[platform.machine()]


def read(receiver: socket.socket, count: int) -> None:
    while count:
        count -= len(receiver.recv(min(count, 1 << 20)))


def run() -> None:
    """Obey stdin, one command a line."""
    worker = Sleepers()
    hello("sleepers")
    for line in sys.stdin:
        verb, *words = line.split()
        getattr(worker, verb)(*map(int, words))
