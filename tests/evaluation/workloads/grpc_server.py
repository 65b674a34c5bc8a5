"""A gRPC server with a pool of threads.  Arguments: address, port.

/e/Ask replies with 200 bytes, /e/Stream with 24 MB at 6 MB/s, /e/Upload takes what comes.  The
request begins with the name of the client.  Orders: those of Fault; `break` also stops the
reader of uploads.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from server_fault import Fault
from workload import die_with_parent, emit, step

die_with_parent()
CHUNK, CHUNKS, EVERY_S = b"y" * 65536, 366, 0.0109
fault = Fault()


def ask(request, _context):
    fault.hold(request.split()[0].decode())
    step()
    return b"x" * 200


def stream(_request, _context):
    for _ in range(CHUNKS):
        fault.hold()
        time.sleep(fault.left("break"))
        yield CHUNK
        time.sleep(EVERY_S)


def upload(requests, _context):
    for _ in requests:
        fault.hold()
        time.sleep(fault.left("break"))
    return b"done"


handlers = {
    "Ask": grpc.unary_unary_rpc_method_handler(ask),
    "Stream": grpc.unary_stream_rpc_method_handler(stream),
    "Upload": grpc.stream_unary_rpc_method_handler(upload),
}
server = grpc.server(ThreadPoolExecutor(16))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("e", handlers)])
server.add_insecure_port(f"{sys.argv[1]}:{sys.argv[2]}")
server.start()
fault.start()
emit(ready=True)
server.wait_for_termination()
