"""A broker that pushes messages now and then, and who acknowledges each: server|client PORT."""

from __future__ import annotations

import asyncio
import socket
import sys

from lines import emit

MESSAGE_EVERY_S = 1.3


async def serve(port: int) -> None:
    async def push(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            await asyncio.sleep(MESSAGE_EVERY_S)
            writer.write(b"message\n")

    async with await asyncio.start_server(push, "127.0.0.1", port):
        emit("ready")
        await asyncio.get_running_loop().create_future()


def subscribe(port: int) -> None:
    client = socket.create_connection(("127.0.0.1", port))
    lines = client.makefile("rb")
    client.sendall(b"subscribe\n")
    emit("ready")
    while lines.readline():
        client.sendall(b"ack\n")


if __name__ == "__main__":
    role, number = sys.argv[1], int(sys.argv[2])
    if role == "server":
        asyncio.run(serve(number))
    subscribe(number)
