"""A broker like Kafka: a fetch is answered after 500 ms without data, all else at once.

Arguments: address, port.  A frame is its length (4 bytes, big-endian), one letter (F fetch, P
produce, H heartbeat), the name of the client, and data.  Orders: those of Fault.
"""

import asyncio
import random
import sys
import threading

from server_fault import Fault
from workload import die_with_parent, emit, obey

die_with_parent()
fault = Fault()
WAIT_S = 0.5


async def serve(reader, writer):
    try:
        while True:
            size = int.from_bytes(await reader.readexactly(4), "big")
            kind, client, _ = (await reader.readexactly(size)).split(b" ", 2)
            if fault.loses(client.decode()):
                await asyncio.sleep(fault.left("lose"))
            if kind == b"F":
                # Now and then there are data before the time is up.
                await asyncio.sleep(WAIT_S if random.random() < 0.9 else random.uniform(0, WAIT_S))
            reply = b"r" * (64 if kind != b"F" else random.choice([64, 3000]))
            writer.write(len(reply).to_bytes(4, "big") + reply)
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        writer.close()


async def main():
    loop = asyncio.get_running_loop()

    def block(order):
        done = threading.Event()
        loop.call_soon_threadsafe(lambda: (obey(order), done.set()))
        done.wait()

    fault.start(block)
    server = await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2]))
    emit(ready=True)
    await server.serve_forever()


asyncio.run(main())
