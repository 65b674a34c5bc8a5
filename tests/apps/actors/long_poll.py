"""A server of long polls in one event loop: PORT.  /wait is answered when there is a message."""

from __future__ import annotations

import asyncio
import sys

from lines import emit

MESSAGE_AFTER_S = 1.9
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nnews\n"


async def serve(port: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.readline():
            while (await reader.readline()).strip():
                pass
            if b"/wait" in request:
                await asyncio.sleep(MESSAGE_AFTER_S)
            writer.write(ANSWER)

    async with await asyncio.start_server(answer, "127.0.0.1", port):
        emit("ready")
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
