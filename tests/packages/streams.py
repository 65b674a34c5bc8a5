#!/usr/bin/env python3
"""streams.py SOURCE COMMAND ...: the command streams a known conversation, by that source.

Runs where only the distribution's Python is.  A client sends so many bytes over loopback TCP and
waits for an answer that the server holds back.  The records have to hold exactly these bytes, for
both processes, and the wait with its cause.  SIGTERM then stops the probe with exit code 0.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable

REQUEST = b"x" * (1_013 * 23)
ANSWER = b"y" * 31
SETTINGS = {
    "XCTL_NETWORK_INTERVAL": "0.2",
    "XCTL_NETWORK_LOOPBACK": "1",
    "XCTL_NETWORK_MIN_BW": "0.0",
    "XCTL_NETWORK_REPLY_MS": "100",
}
DEADLINE_S = 300  # a start under emulation takes most of a minute


class Conversation:
    """A client and a server, each a process of its own; `answer` lets the server reply."""

    def __init__(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        gate, self._gate = os.pipe()
        self.server = _child(_serve, listener, gate, self._gate)
        listener.close()
        os.close(gate)
        self.client = _child(_ask, self.port, self._gate)

    def answer(self) -> None:
        os.write(self._gate, b"!")

    def close(self) -> None:
        os.close(self._gate)
        for pid in (self.client, self.server):
            os.waitpid(pid, 0)


def _child(run, *arguments) -> int:
    if pid := os.fork():
        return pid
    try:
        run(*arguments)
    finally:
        os._exit(0)


def _serve(listener: socket.socket, gate: int, other: int) -> None:
    os.close(other)
    connection, _ = listener.accept()
    left = len(REQUEST)
    while left:
        left -= len(connection.recv(left))
    if os.read(gate, 1):
        connection.sendall(ANSWER)
    os.read(gate, 1)  # at its end the test is over


def _ask(port: int, gate: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        os.close(gate)
        connection.sendall(REQUEST)
        while connection.recv(4_096):
            pass


class Seen:
    """What the probe has reported of each process so far."""

    def __init__(self) -> None:
        self.intervals = 0
        self.bytes: Counter[tuple[int, str]] = Counter()
        self.stalls: set[tuple[int, str, str | None]] = set()

    def take(self, record: dict) -> None:
        net, pid = record["net"], record["pid"]
        if record["event_type"] == "transport.bw" and pid is None and record["entity_id"] == "lo":
            self.intervals += 1
        elif record["event_type"] == "transport.bw":
            self.bytes[pid, "rx"] += net["rx_bytes"]
            self.bytes[pid, "tx"] += net["tx_bytes"]
        elif record["event_type"] == "transport.drop":
            self.stalls.add((pid, net["remote"], net["cause"]))


def converse(lines: Iterable[bytes]) -> None:
    """Hold the conversation while records come, until they hold it.

    Raises AssertionError where they come to their end before.
    """
    seen, conversation, waits = Seen(), None, False
    try:
        for line in lines:
            seen.take(json.loads(line))
            if conversation is None:
                conversation = Conversation() if seen.intervals else None
            elif not waits:
                peer = f"127.0.0.1:{conversation.port}"
                waits = (conversation.client, peer, "no_reply") in seen.stalls
                if waits:
                    conversation.answer()
            elif seen.bytes == _expected(conversation, seen.bytes):
                return
        assert waits, f"no wait of {conversation and conversation.client} in {seen.stalls}"
        raise AssertionError(f"other bytes: {seen.bytes}")
    finally:
        if conversation is not None:
            conversation.close()


def _expected(conversation: Conversation, others: Counter) -> dict:
    """Exact counts of the two processes; those of any other process are as they are."""
    return dict(others) | {
        (conversation.client, "tx"): len(REQUEST),
        (conversation.client, "rx"): len(ANSWER),
        (conversation.server, "rx"): len(REQUEST),
        (conversation.server, "tx"): len(ANSWER),
    }


def main() -> None:
    """Raise AssertionError where the records differ, or the probe does not stop."""
    source, *command = sys.argv[1:]
    with subprocess.Popen(
        command, env=os.environ | SETTINGS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as probe:  # fmt: skip
        timer = threading.Timer(DEADLINE_S, probe.kill)
        timer.start()
        try:
            converse(probe.stdout)
        finally:
            probe.terminate()
            _, errors = probe.communicate()
            timer.cancel()
            print(errors.decode(), end="", file=sys.stderr)
    assert errors.decode().startswith(f"xctl-probe-network: source {source} ("), source
    assert probe.returncode == 0, probe.returncode
    print(f"{source}: {len(REQUEST)} and {len(ANSWER)} bytes, and the wait, with their pids")


if __name__ == "__main__":
    main()
