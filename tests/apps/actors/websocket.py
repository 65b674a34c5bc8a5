"""Either end of a websocket: server|client PORT PING_EVERY_S, which is 0 for none."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import websockets
from lines import emit

Options = dict[str, Any]


async def serve(port: int, options: Options) -> None:
    async def echo(connection: websockets.ServerConnection) -> None:
        async for message in connection:
            await connection.send(str(len(message)))

    async with websockets.serve(echo, "127.0.0.1", port, **options):
        emit("ready")
        await asyncio.get_running_loop().create_future()


async def ask(port: int, options: Options) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with websockets.connect(f"ws://127.0.0.1:{port}", **options) as connection:
        emit("ready")
        while line := await lines.readline():
            await connection.send(bytes(int(line)))
            emit(f"echoed {await connection.recv()}")


if __name__ == "__main__":
    role, number, every_s = sys.argv[1:]
    given: Options = {"ping_interval": float(every_s) or None, "ping_timeout": 60.0}
    given |= {"max_size": None, "compression": None}
    asyncio.run({"server": serve, "client": ask}[role](int(number), given))
