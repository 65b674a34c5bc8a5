"""A socket that ends just while it is read out: its bytes are told once."""

from __future__ import annotations

import select
from contextlib import ExitStack

from support.actors import Actor
from support.kernel_watch import Watch
from support.require import require

from xctl_probe.errors import SourceUnavailable

# More processes than processors: the reader is interrupted, now and then in the wrong moment.
PROCESSES, CONNECTIONS = 6, 12_000
QUESTION, ANSWER = 101, 1_009
SCRIPT = f"""
listener = socket.create_server(("127.0.0.1", 0), backlog=100)
def serve():
    for _ in range({CONNECTIONS}):
        server, _ = listener.accept()
        exactly(server, {QUESTION}); server.sendall(b"a" * {ANSWER})
        server.recv(1); server.close()
thread = threading.Thread(target=serve)
step()
thread.start()
for _ in range({CONNECTIONS}):
    client = socket.create_connection(listener.getsockname())
    client.sendall(b"q" * {QUESTION}); exactly(client, {ANSWER}); client.close()
thread.join()
step()
"""


def test_bytes_that_are_read_while_their_connection_ends_count_once():
    """The reader and the end both take them, on two processors; one of them gives them back."""
    try:
        seen = Watch()
    except SourceUnavailable as reason:
        require(False, str(reason))
    moved = CONNECTIONS * (QUESTION + ANSWER)
    with seen, ExitStack() as stack:
        actors = [stack.enter_context(Actor(SCRIPT)) for _ in range(PROCESSES)]
        for one in actors:
            one.start()
        busy = [one.process.stdout for one in actors]
        while len(select.select(busy, [], [], 0)[0]) < PROCESSES:
            seen.drain()
        seen.until(lambda: all(seen.received(one.pid) >= moved for one in actors))
        told = [(seen.sent(one.pid), seen.received(one.pid)) for one in actors]
        assert told == [(moved, moved)] * PROCESSES
