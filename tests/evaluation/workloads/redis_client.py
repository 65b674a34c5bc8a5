"""A client of Redis by redis-py.  Arguments: name, address, port, kind.

Kinds: `get` (no time-out), `timeout` (it polls), `produce` (a list element and a message every 2 to
8 s, and a GET every 0.2 s), `blpop` (waits for the element), `subscribe` (waits for the message).
Order: `idle S`.
"""

import random
import sys
import time

import redis
from workload import Op, Orders, die_with_parent, emit, step

die_with_parent()
NAME, ADDRESS, PORT, KIND = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
orders = Orders()


def connected():
    timeout = 120 if KIND == "timeout" else None
    return redis.Redis(ADDRESS, PORT, socket_timeout=timeout, retry=None)


def ask(client):
    due = time.monotonic() + random.uniform(2, 8)
    while True:
        orders.idle()
        time.sleep(random.uniform(0.02, 0.2))
        with Op():
            client.get("key")
        if KIND == "produce" and time.monotonic() > due:
            due = time.monotonic() + random.uniform(2, 8)
            with Op():
                client.rpush("queue", b"x" * 100)
            with Op():
                client.publish("channel", b"x" * 100)
        step()


def receive(client):
    if KIND == "blpop":
        while True:
            client.blpop("queue", timeout=0)
            step()
    messages = client.pubsub()
    messages.subscribe("channel")
    for _ in messages.listen():
        step()


emit(ready=True)
while True:
    try:
        (receive if KIND in ("blpop", "subscribe") else ask)(connected())
    except (redis.RedisError, OSError):
        time.sleep(0.2)
