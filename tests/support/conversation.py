"""Scenes of two workers with a connection: what a client asks, and what its server does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.worker import Worker

QUESTION, ANSWER = 61, 29  # bytes


def connect(server: Worker, client: Worker, host: str = "127.0.0.1") -> dict[str, Any]:
    """Connect them; the client's inode and addresses, and the port of the server."""
    port = server.ask("listen", host)["port"]
    identity = client.connect(host, port)
    server.ask("accept")
    return identity | {"port": port}


def connected(
    worker: Callable[..., Worker],
    server_role: str = "blocking",
    client_role: str = "blocking",
    **client_options: object,
) -> tuple[Worker, Worker, dict[str, Any]]:
    """A server and a client with one connection, and the result of `connect`."""
    server, client = worker(server_role), worker(client_role, **client_options)
    return server, client, connect(server, client)


def answered(server: Worker, client: Worker) -> None:
    """One exchange without delay."""
    unanswered(server, client)
    server.ask("send", ANSWER)
    assert client.expect("ask")["bytes"] == ANSWER


def unanswered(server: Worker, client: Worker) -> None:
    """A request that the server has read, and nothing after it."""
    client.begin("ask", QUESTION, ANSWER)
    assert server.ask("recv", QUESTION)["bytes"] == QUESTION


def transfer(sender: Worker, receiver: Worker, count: int) -> None:
    """Bytes that the receiver has, all of them."""
    receiver.begin("recv", count)
    assert sender.ask("send", count)["bytes"] == count
    assert receiver.expect("recv")["bytes"] == count
