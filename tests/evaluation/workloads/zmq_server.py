"""ZeroMQ sockets in one thread: REP, PULL and PUB.  Arguments: address, port (the first of three).

It replies to requests, takes what is pushed, and publishes every 2 to 8 s.  Orders: compute, sleep,
deadlock and disk keep the thread; `lose S NAME` answers the request of NAME after S seconds.
"""

import random
import sys
import time

import zmq
from workload import Orders, die_with_parent, emit, now_ms, obey, step

die_with_parent()
address, port = sys.argv[1], int(sys.argv[2])
orders, context = Orders(), zmq.Context()
reply, pull, publish = (context.socket(kind) for kind in (zmq.ROUTER, zmq.PULL, zmq.PUB))
pull.setsockopt(zmq.RCVHWM, 10)
for number, one in enumerate((reply, pull, publish)):
    one.bind(f"tcp://{address}:{port + number}")
emit(ready=True)
poller = zmq.Poller()
poller.register(reply, zmq.POLLIN)
poller.register(pull, zmq.POLLIN)
due, loses, held = time.monotonic() + 3, None, None
while True:
    order = orders.take("compute", "sleep", "deadlock", "disk")
    if order:
        obey(order)
    order = orders.take("lose")
    if order:
        loses, until = order[2].encode(), time.monotonic() + float(order[1])
        emit(fault="lose", at=now_ms())
    ready = dict(poller.poll(10))
    if reply in ready:
        frames = reply.recv_multipart()
        if frames[-1] == loses:
            held, loses = frames, None
        else:
            reply.send_multipart([*frames[:-1], b"x" * 200])
            step()
    if held and time.monotonic() > until:
        reply.send_multipart([*held[:-1], b"x" * 200])
        held = None
        emit(healed="lose", at=now_ms())
    if pull in ready:
        pull.recv()
    if time.monotonic() > due:
        publish.send(b"t" + b"x" * 100)
        due = time.monotonic() + random.uniform(2, 8)
