"""Holds connected TCP sockets open: `python -m bench.traffic.sockets COUNT`.

Prints "ready" once they are open, each pair after one exchange.  For each line of input, it
exchanges once more on each pair and prints "done".  Exits at the end of its input.
"""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.place import as_anybody
from bench.servers import NotReady, end

_EACH = 18_000  # of one process: below the 20,000 descriptors that many hosts allow


def _open_pairs(count: int, listener: socket.socket) -> list[tuple[socket.socket, socket.socket]]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    pairs = []
    for _ in range(count // 2):
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        pairs.append((client, server))
    return pairs


def _exchange(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    for client, server in pairs:
        for sender, receiver in ((client, server), (server, client)):
            sender.sendall(b"13 odd bytes.")
            receiver.recv(64)


def main() -> None:
    """Hold the sockets open until the end of the input."""
    # The listener stays open: a later probe uses it to find the accepting side.
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        pairs = _open_pairs(int(sys.argv[1]), listener)
        _exchange(pairs)
        print("ready", flush=True)
        for _ in sys.stdin:
            _exchange(pairs)
            print("done", flush=True)


@dataclass(frozen=True, slots=True)
class OpenSockets:
    """Held by other processes."""

    holders: list[subprocess.Popen[bytes]]

    def exchange(self) -> None:
        """Something happens on each of them, once."""
        for holder in self.holders:
            assert holder.stdin is not None
            holder.stdin.write(b"\n")
            holder.stdin.flush()
        self.wait()

    def wait(self) -> None:
        """Wait for the next line of all holders.  Raises NotReady."""
        for holder in self.holders:
            assert holder.stdout is not None
            if not holder.stdout.readline():
                raise NotReady("the sockets could not be opened")


@contextmanager
def open_sockets(count: int) -> Iterator[OpenSockets]:
    """So many connected sockets, held by as many processes as that takes."""
    with ExitStack() as stack:
        holders = []
        for first in range(0, count, _EACH):
            each = min(_EACH, count - first)
            holder = subprocess.Popen(
                [*as_anybody(), sys.executable, "-m", "bench.traffic.sockets", str(each)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            stack.callback(end, holder)
            holders.append(holder)
        ready = OpenSockets(holders)
        ready.wait()
        yield ready


if __name__ == "__main__":
    main()
