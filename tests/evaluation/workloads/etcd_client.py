"""A client of etcd by gRPC, without its library.  Arguments: name, address, port, kind.

Kinds: `get` (a call every 20 to 100 ms), `put` (the same; every 40th of a key that is watched),
`watch` (one stream, an event when the key is put), `lease` (one stream, renewed every 3 s).
Order: `idle S`.  Messages are written by hand: api/etcdserverpb/rpc.proto has the fields.
"""

import queue
import random
import sys
import time

import grpc
from workload import Op, Orders, die_with_parent, emit, step

die_with_parent()
TARGET, KIND = f"{sys.argv[2]}:{sys.argv[3]}", sys.argv[4]
WATCHED_EVERY = 40
LEASE_S, RENEW_S, CALL_S = 10, 3.0, 60
# A new attempt to connect soon after the server is back.
OPTIONS = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 200)]
orders = Orders()


def field(number, value):
    """A field of a protobuf message: bytes, or an int below 128."""
    if isinstance(value, int):
        return bytes((number << 3, value))
    return bytes((number << 3 | 2, len(value))) + value


def ask(channel):
    get, put = (channel.unary_unary(f"/etcdserverpb.KV/{name}") for name in ("Range", "Put"))
    number = 0
    while True:
        orders.idle()
        time.sleep(random.uniform(0.02, 0.1))
        number += 1
        key = field(1, b"watched" if number % WATCHED_EVERY == 0 else b"key")
        with Op():
            if KIND == "get":
                get(field(1, b"key"), timeout=CALL_S)
            else:
                put(key + field(2, b"value"), timeout=CALL_S)
        step()


def watch(channel):
    requests = queue.Queue()
    requests.put(field(1, field(1, b"watched")))  # create_request
    for _ in channel.stream_stream("/etcdserverpb.Watch/Watch")(iter(requests.get, None)):
        step()


def lease(channel):
    grant = channel.unary_unary("/etcdserverpb.Lease/LeaseGrant")
    reply = grant(field(1, LEASE_S), timeout=CALL_S)
    # Of header (a message), ID and TTL: the ID as it is encoded.
    number = reply[2 + reply[1] :].partition(b"\x10")[2].rpartition(b"\x18")[0]
    requests = queue.Queue()
    replies = channel.stream_stream("/etcdserverpb.Lease/LeaseKeepAlive")(iter(requests.get, None))
    while True:
        with Op():
            requests.put(b"\x08" + number)
            next(replies)
        step()
        time.sleep(RENEW_S)


emit(ready=True)
channel = grpc.insecure_channel(TARGET, options=OPTIONS)
work = {"get": ask, "put": ask, "watch": watch, "lease": lease}[KIND]
while True:
    try:
        work(channel)
    except grpc.RpcError:
        time.sleep(0.2)
