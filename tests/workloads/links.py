"""A process with several connections by name, which asks, answers and forwards on them.

listen NAME           a listener on loopback; reports its port
accept NAME           takes the next connection of the listener NAME, under the same name
name NAME OTHER       gives a connection another name
connect NAME PORT     opens a connection
ask NAME BYTES        sends so many bytes and receives as many
answer NAME BYTES     receives so many bytes and sends as many
forward FROM TO BYTES receives from FROM, asks TO, and answers FROM
relay FROM TO         passes on what comes from FROM, in an event loop that monitors both, until
                      FROM is closed
take NAME BYTES       receives so many bytes
send NAME BYTES       sends so many bytes
loop NAME OTHER BYTES sends on NAME, and asks on OTHER whenever it has been answered, in an event
                      loop that monitors both; until data comes on NAME
sleep                 sleeps until the end
poll NAME             receives from NAME without blocking, again and again until the end
compute               computes until the end
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from contextlib import suppress

from talk import die_with_parent, failed, hello, report

_LOOPBACK = "127.0.0.1"
_LONG_S = 600
_PAUSE_S = 0.05
_PART_BYTES = 1 << 20


def _take(sock: socket.socket, count: int) -> None:
    while count:
        part = sock.recv(count)
        if not part:
            raise ConnectionResetError
        count -= len(part)


class Links:
    """The connections of this process; each method is a command."""

    def __init__(self) -> None:
        self._listeners: dict[str, socket.socket] = {}
        self._links: dict[str, socket.socket] = {}

    def listen(self, name: str, host: str = _LOOPBACK) -> dict[str, object]:
        listener = self._listeners[name] = socket.socket()
        listener.bind((host, 0))
        listener.listen(23)
        return {"port": listener.getsockname()[1]}

    def accept(self, name: str) -> dict[str, object]:
        self._links[name] = self._listeners[name].accept()[0]
        return {}

    def name(self, name: str, other: str) -> dict[str, object]:
        self._links[other] = self._links.pop(name)
        return {}

    def connect(self, name: str, port: str, host: str = _LOOPBACK) -> dict[str, object]:
        self._links[name] = socket.create_connection((host, int(port)))
        local = self._links[name].getsockname()
        return {"inode": os.fstat(self._links[name].fileno()).st_ino, "port": local[1]}

    def ask(self, name: str, count: str) -> dict[str, object]:
        self._links[name].sendall(bytes(int(count)))
        _take(self._links[name], int(count))
        return {}

    def answer(self, name: str, count: str) -> dict[str, object]:
        _take(self._links[name], int(count))
        self._links[name].sendall(bytes(int(count)))
        return {}

    def take(self, name: str, count: str) -> dict[str, object]:
        _take(self._links[name], int(count))
        return {}

    def send(self, name: str, count: str) -> dict[str, object]:
        self._links[name].sendall(bytes(int(count)))
        return {}

    def loop(self, name: str, other: str, count: str) -> dict[str, object]:
        waiting, asked = self._links[name], self._links[other]
        waiting.sendall(bytes(int(count)))
        asked.sendall(bytes(int(count)))
        with select.epoll() as poll:
            for one in (waiting, asked):
                poll.register(one, select.EPOLLIN)
            while waiting.fileno() not in [fd for fd, _ in poll.poll()]:
                _take(asked, int(count))
                if not poll.poll(_PAUSE_S):
                    asked.sendall(bytes(int(count)))
        return {}

    def relay(self, source: str, target: str) -> dict[str, object]:
        ways = self._links[source], self._links[target]
        with select.epoll() as poll:
            for one in ways:
                poll.register(one, select.EPOLLIN)
            while True:
                poll.poll()
                part = ways[0].recv(_PART_BYTES)
                if not part:
                    return {}
                ways[1].sendall(part)

    def forward(self, source: str, target: str, count: str) -> dict[str, object]:
        _take(self._links[source], int(count))
        self.ask(target, count)
        self._links[source].sendall(bytes(int(count)))
        return {}

    def sleep(self) -> dict[str, object]:
        time.sleep(_LONG_S)
        return {}

    def poll(self, name: str) -> dict[str, object]:
        """Receive again and again without blocking, as who never sleeps."""
        link = self._links[name]
        link.setblocking(False)
        until = time.monotonic() + _LONG_S
        while time.monotonic() < until:
            with suppress(BlockingIOError):
                link.recv(_PART_BYTES)
        return {}

    def compute(self) -> dict[str, object]:
        until = time.monotonic() + _LONG_S
        while time.monotonic() < until:
            pass
        return {}


def run() -> None:
    """Obey the commands on stdin."""
    die_with_parent()
    hello("links")
    links = Links()
    for line in sys.stdin:
        command, *arguments = line.split()
        try:
            report(command, **getattr(links, command)(*arguments))
        except OSError as error:
            failed(command, error)
