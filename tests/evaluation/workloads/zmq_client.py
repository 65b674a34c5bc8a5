"""A ZeroMQ client.  Arguments: name, address, port (the first of three), kind.

Kinds: `request` (REQ, every 20 to 100 ms), `push` (64 KiB every 10 ms, at most 10 queued),
`subscribe`.  Order: `idle S`.
"""

import random
import sys
import time

import zmq
from workload import Op, Orders, die_with_parent, emit, step

die_with_parent()
NAME, ADDRESS, PORT, KIND = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
number, kind = {"request": (0, zmq.REQ), "push": (1, zmq.PUSH), "subscribe": (2, zmq.SUB)}[KIND]
orders = Orders()
one = zmq.Context().socket(kind)
if KIND == "push":
    one.setsockopt(zmq.SNDHWM, 10)
if KIND == "subscribe":
    one.setsockopt(zmq.SUBSCRIBE, b"t")
one.connect(f"tcp://{ADDRESS}:{PORT + number}")
emit(ready=True)
while True:
    orders.idle()
    if KIND == "subscribe":
        one.recv()
        continue
    time.sleep(random.uniform(0.02, 0.1) if KIND == "request" else 0.01)
    with Op():
        one.send(NAME.encode() if KIND == "request" else b"y" * 65536)
        if KIND == "request":
            one.recv()
    step()
