"""A model of a rank of NCCL over its socket transport, written from its documented behaviour.

The sender connects, the receiver accepts, and data flow in that direction only.  While a receive
is posted, the process calls a non-blocking recv again and again (EAGAIN); no thread ever blocks on
these sockets, and an idle communicator polls nothing.  Arguments: rank, number of ranks, seconds of
own work, what it is, port, and the address of each rank.
"""

import os
import socket
import sys
import time
from contextlib import suppress

import job
from workload import die_with_parent, emit

die_with_parent()
rank, size, work_s, kind, port = sys.argv[1:6]
rank, size, port, addresses = int(rank), int(size), int(port), sys.argv[6:]
CHUNK = 100_003
CONNECT_S = 30

listener = socket.create_server((addresses[rank], port + rank))
emit(ready=True)
following = (rank + 1) % size
deadline = time.monotonic() + CONNECT_S
while True:
    try:
        sender = socket.create_connection((addresses[following], port + following))
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.1)
receiver, _ = listener.accept()
for one in (sender, receiver):
    one.setblocking(False)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
data, space = memoryview(bytearray(CHUNK)), memoryview(bytearray(CHUNK))


def exchange():
    """Ring all_reduce: 2 (n - 1) times one chunk to the next rank and one from the previous."""
    for _ in range(2 * (size - 1)):
        sent = received = 0
        while sent < CHUNK or received < CHUNK:
            if sent < CHUNK:
                with suppress(BlockingIOError):
                    sent += sender.send(data[sent:])
            if received < CHUNK:
                try:
                    count = receiver.recv_into(space[received:])
                    if not count:
                        sys.exit("the previous rank is gone")
                    received += count
                except BlockingIOError:
                    os.sched_yield()


job.run(rank, float(work_s), kind, exchange)
