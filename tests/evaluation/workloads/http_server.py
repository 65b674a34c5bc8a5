"""An HTTP server.  Arguments: address, port, `threads` (http.server) or `loop` (asyncio), and
for TLS the file of its certificate and key.

/work replies with 200 bytes, /stream with 24 MB at 6 MB/s.  Orders: compute, sleep, deadlock and
disk keep all handlers (the loop) from their work; `lose S NAME` holds one request of the client
NAME; `break S` stops all streams in mid-body; `slow S` takes 0.3 s for each reply.
"""

import asyncio
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from server_fault import SLOW_S, Fault
from workload import die_with_parent, emit, obey, step

die_with_parent()
ADDRESS, PORT, KIND = sys.argv[1], int(sys.argv[2]), sys.argv[3]
BODY, CHUNK, CHUNKS, EVERY_S = b"x" * 200, b"y" * 65536, 366, 0.0109
fault = Fault()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        fault.hold(self.headers["X-Client"])
        stream = self.path == "/stream"
        self.send_response(200)
        self.send_header("Content-Length", str(len(CHUNK) * CHUNKS if stream else len(BODY)))
        self.end_headers()
        if not stream:
            self.wfile.write(BODY)
            step()
            return
        for _ in range(CHUNKS):
            fault.hold()
            time.sleep(fault.left("break"))
            self.wfile.write(CHUNK)
            time.sleep(EVERY_S)


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

    fault.start(block)
    server = await asyncio.start_server(serve, ADDRESS, PORT, backlog=128)
    emit(ready=True)
    await server.serve_forever()


if KIND == "threads":
    fault.start()
    server = Server((ADDRESS, PORT), Handler)
    if len(sys.argv) > 4:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[4])
        # The handshake is the handler's: a client that is slow in it keeps no other from work.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    emit(ready=True)
    server.serve_forever()
else:
    asyncio.run(loop_server())
