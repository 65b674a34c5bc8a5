"""Clients of a server with TLS 1.3, which sends session tickets after the handshake."""

from __future__ import annotations

import select
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from peers.common import LONG_S, Bounds, Steps, aside, connection

REQUEST = b"q" * 53
PAUSE_S = 0.23  # longer than a stall
_OPENSSL = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=peer"


def _contexts(tickets: int, *, mutual: bool) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server and of a client, with a certificate; `mutual`: the client shows one, too."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    server.num_tickets = tickets
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "server.pem")
        command = [*_OPENSSL.split(), "-keyout", str(file), "-out", str(file)]
        subprocess.run(command, check=True, capture_output=True)
        server.load_cert_chain(file)
        if mutual:
            client.load_cert_chain(file)
            server.load_verify_locations(file)
            server.verify_mode = ssl.CERT_REQUIRED
    return server, client


def _serve(context: ssl.SSLContext, raw: socket.socket, at_once: int, late: Bounds | None) -> None:
    """Answer some requests at once, maybe one at a line on stdin, and then do something else."""
    server = context.wrap_socket(raw, server_side=True)
    for _ in range(at_once):
        server.recv(len(REQUEST))
        server.sendall(b"a")
    if late:
        server.recv(len(REQUEST))
        sys.stdin.readline()
        late.release()
        server.sendall(b"a")
    time.sleep(LONG_S)


def _client(
    *, at_once: int = 0, late: Bounds | None = None, tickets: int = 2, mutual: bool = False
) -> ssl.SSLSocket:
    servers, clients = _contexts(tickets, mutual=mutual)
    client, server = connection()
    aside(lambda: _serve(servers, server, at_once, late))
    return clients.wrap_socket(client)


def first_request(tickets: str = "2") -> Steps:
    """Blocks until its first request is answered; yields bounds of that wait in ns."""
    late = Bounds()
    client = _client(late=late, tickets=int(tickets))
    yield
    yield late.measure(lambda: client.sendall(REQUEST), lambda: client.recv(100))


def first_request_after_a_pause(tickets: str = "2") -> Steps:
    """The same, long after the handshake; tickets have come, and lie unread."""
    late = Bounds()
    client = _client(late=late, tickets=int(tickets))
    if int(tickets):
        select.select([client], [], [])
    time.sleep(PAUSE_S)
    yield
    yield late.measure(lambda: client.sendall(REQUEST), lambda: client.recv(100))


def first_request_polled() -> Steps:
    """The same of a client that has read the tickets before it polls for the reply."""
    late = Bounds()
    client = _client(late=late)
    client.setblocking(False)

    def receive() -> None:
        while True:
            try:
                client.recv(100)
                return
            except ssl.SSLWantReadError:
                select.select([client], [], [])

    yield
    yield late.measure(lambda: client.sendall(REQUEST), receive)


def second_request() -> Steps:
    """Yields bounds of the second wait in ns; the first request is answered at once."""
    late = Bounds()
    client = _client(at_once=1, late=late)
    client.sendall(REQUEST)
    client.recv(100)
    yield
    yield late.measure(lambda: client.sendall(REQUEST), lambda: client.recv(100))


def idle() -> Steps:
    """Four only make their connections, and two ask and are answered.  All wait for more."""
    polled, blocked = _client(), _client()
    without_tickets = [_client(tickets=0, mutual=mutual) for mutual in (False, True)]
    asking = [_client(at_once=1, tickets=tickets) for tickets in (2, 1)]
    for client in asking:
        client.sendall(REQUEST)
        client.recv(1)
    for client in (blocked, *without_tickets, *asking):
        aside(partial(client.recv, 100))
    polled.setblocking(False)
    poll = select.epoll()
    poll.register(polled, select.EPOLLIN)
    yield
    while poll.poll(-1):
        try:
            polled.recv(100)
        except ssl.SSLWantReadError:
            continue
