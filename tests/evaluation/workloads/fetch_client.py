"""A client of fetch_server.py.  Arguments: name, address, port, kind.

Kinds: `fetch` (one fetch after the other, in poll), `fetch-blocking` (in recv), `produce` (every 20
to 200 ms), `heartbeat` (every 3 s).  Order: `idle S`.
"""

import random
import socket
import sys
import time

from workload import Op, Orders, die_with_parent, emit, step

die_with_parent()
NAME, ADDRESS, PORT, KIND = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
LETTER = {"fetch": b"F", "fetch-blocking": b"F", "produce": b"P", "heartbeat": b"H"}[KIND]
orders = Orders()


def exactly(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise OSError("closed")
        data += piece
    return data


def ask(connection):
    while True:
        orders.idle()
        if KIND == "produce":
            time.sleep(random.uniform(0.02, 0.2))
        elif KIND == "heartbeat":
            time.sleep(0.3 if STARTING[0] > 0 else 3.0)
            STARTING[0] -= 1
        request = b" ".join([LETTER, NAME.encode(), b"d" * random.randrange(20, 200)])
        with Op():
            connection.sendall(len(request).to_bytes(4, "big") + request)
            exactly(connection, int.from_bytes(exactly(connection, 4), "big"))
        step()


STARTING = [25]
emit(ready=True)
while True:
    try:
        with socket.create_connection((ADDRESS, PORT)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(120 if KIND == "fetch" else None)
            ask(connection)
    except OSError:
        time.sleep(0.2)
