"""A gRPC client.  Arguments: name, address, port, kind.

Kinds: `unary` (a call every 20 to 100 ms), `aio` (the same with grpc.aio), `stream` (24 MB each),
`upload` (6 MB/s, each of 24 MB), `spare` (calls for 3 s, then a channel without calls).
Order: `idle S`.
"""

import asyncio
import random
import sys
import time

import grpc
from workload import Op, Orders, die_with_parent, emit, step

die_with_parent()
NAME, TARGET, KIND = sys.argv[1], f"{sys.argv[2]}:{sys.argv[3]}", sys.argv[4]
CHUNK, CHUNKS, EVERY_S = b"y" * 65536, 366, 0.0109
REQUEST = NAME.encode() + b" request"
SPARE_S = 3.0
# A new attempt to connect soon after the server is back.
OPTIONS = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 200)]
orders = Orders()


def unary(channel):
    call, begun = channel.unary_unary("/e/Ask"), time.monotonic()
    while KIND != "spare" or time.monotonic() < begun + SPARE_S:
        orders.idle()
        time.sleep(random.uniform(0.02, 0.1))
        with Op():
            call(REQUEST)
        step()
    time.sleep(1e6)


def stream(channel):
    call = channel.unary_stream("/e/Stream")
    while True:
        orders.idle()
        replies = call(REQUEST)
        while True:
            with Op():
                reply = next(replies, None)
            if reply is None:
                break
            step()


def upload(channel):
    call = channel.stream_unary("/e/Upload")

    def chunks():
        for _ in range(CHUNKS):
            with Op():
                yield CHUNK
            step()
            time.sleep(EVERY_S)

    while True:
        orders.idle()
        call(chunks())


async def aio():
    while True:
        try:
            async with grpc.aio.insecure_channel(TARGET, options=OPTIONS) as channel:
                call = channel.unary_unary("/e/Ask")
                while True:
                    orders.idle()
                    await asyncio.sleep(random.uniform(0.02, 0.1))
                    with Op():
                        await call(REQUEST)
                    step()
        except grpc.RpcError:
            await asyncio.sleep(0.2)


emit(ready=True)
if KIND == "aio":
    asyncio.run(aio())
channel = grpc.insecure_channel(TARGET, options=OPTIONS)
work = {"unary": unary, "spare": unary, "stream": stream, "upload": upload}[KIND]
while True:
    try:
        work(channel)
    except grpc.RpcError:
        time.sleep(0.2)
