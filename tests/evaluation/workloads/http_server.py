"""An HTTP server.  Arguments: address, port, `threads` (http.server) or `loop` (asyncio).

/work replies with 200 bytes, /stream with 24 MB at 6 MB/s.  Orders: compute, sleep, deadlock and
disk keep all handlers (the loop) from their work; `lose S NAME` holds one request of the client
NAME; `break S` stops all streams in mid-body; `slow S` takes 0.3 s for each reply.
"""

import asyncio
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from workload import Orders, die_with_parent, emit, now_ms, obey, step

die_with_parent()
ADDRESS, PORT, KIND = sys.argv[1], int(sys.argv[2]), sys.argv[3]
BODY, CHUNK, CHUNKS, EVERY_S, SLOW_S = b"x" * 200, b"y" * 65536, 366, 0.0109, 0.3
orders = Orders()


class Fault:
    """The order that is on, as handlers look at it."""

    def __init__(self):
        self.name, self.until, self.client = None, 0.0, None

    def left(self, *names):
        return max(0.0, self.until - time.monotonic()) if self.name in names else 0.0

    def loses(self, client):
        """Whether to lose this request: one of the client that the order names."""
        if self.name == "lose" and client == self.client:
            self.client = None
            return True
        return False


fault = Fault()


def manage(block):
    while True:
        order = orders.take("compute", "sleep", "deadlock", "disk", "lose", "break", "slow", "idle")
        if order is None:
            time.sleep(0.01)
        elif block is not None and order[0] in ("compute", "sleep", "deadlock", "disk"):
            block(order)
        else:
            seconds = float(order[1])
            fault.until = time.monotonic() + seconds
            fault.client = order[2] if len(order) > 2 else None
            fault.name = order[0]
            emit(fault=order[0], at=now_ms())
            time.sleep(seconds)
            fault.name = None
            emit(healed=order[0], at=now_ms())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def hold(self):
        for name in ("sleep", "deadlock", "disk", "compute"):
            left = fault.left(name)
            if left:
                hold_here(name, left)

    def do_GET(self):
        self.hold()
        if fault.loses(self.headers["X-Client"]):
            threading.Event().wait(fault.left("lose"))
        if fault.left("slow"):
            time.sleep(SLOW_S)
        stream = self.path == "/stream"
        self.send_response(200)
        self.send_header("Content-Length", str(len(CHUNK) * CHUNKS if stream else len(BODY)))
        self.end_headers()
        if not stream:
            self.wfile.write(BODY)
            step()
            return
        for _ in range(CHUNKS):
            self.hold()
            time.sleep(fault.left("break"))
            self.wfile.write(CHUNK)
            time.sleep(EVERY_S)


def hold_here(name, seconds):
    from workload import compute, deadlock, disk

    {"compute": compute, "sleep": time.sleep, "deadlock": deadlock, "disk": disk}[name](seconds)


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *_):
        pass


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            client = head.split("X-Client: ")[1].split("\r\n")[0]
            if fault.loses(client):
                await asyncio.sleep(fault.left("lose"))
            if fault.left("slow"):
                await asyncio.sleep(SLOW_S)
            stream = head.startswith("GET /stream")
            length = len(CHUNK) * CHUNKS if stream else len(BODY)
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())
            if not stream:
                writer.write(BODY)
                step()
            else:
                for _ in range(CHUNKS):
                    await asyncio.sleep(fault.left("break"))
                    writer.write(CHUNK)
                    await writer.drain()
                    await asyncio.sleep(EVERY_S)
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        writer.close()


async def loop_server():
    loop = asyncio.get_running_loop()

    def block(order):
        done = threading.Event()
        loop.call_soon_threadsafe(lambda: (obey(order), done.set()))
        done.wait()

    threading.Thread(target=manage, args=(block,), daemon=True).start()
    server = await asyncio.start_server(serve, ADDRESS, PORT, backlog=128)
    emit(ready=True)
    await server.serve_forever()


if KIND == "threads":
    threading.Thread(target=manage, args=(None,), daemon=True).start()
    server = Server((ADDRESS, PORT), Handler)
    emit(ready=True)
    server.serve_forever()
else:
    asyncio.run(loop_server())
