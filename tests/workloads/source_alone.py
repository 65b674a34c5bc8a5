"""The kernel source with whatever privileges this process has: `source_alone.py PACKAGES`.

It counts its own 7 bytes, and prints the errors of a connection that was there before it and is
reset: a socket whose owner it has to have read at the start.
"""

from __future__ import annotations

import os
import socket
import sys
import time


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    from xctl_probe.ebpf.source import KernelSource
    from xctl_probe.errors import SourceUnavailable
    from xctl_probe.events import SocketError, TrafficDelta

    listener = socket.create_server(("127.0.0.1", 0))
    _client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    try:
        source = KernelSource()
    except SourceUnavailable as reason:
        print("unavailable:", reason)
        sys.exit()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.sendto(b"x" * 7, one.getsockname())
        one.recv(100)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    server.close()
    events = source.drain(time.monotonic_ns()).events
    mine = [
        event
        for event in events
        if isinstance(event, TrafficDelta | SocketError)
        and event.owner
        and event.owner.pid == os.getpid()
    ]
    moved = [event for event in mine if isinstance(event, TrafficDelta)]
    sent, received = (sum(e.sent_bytes for e in moved), sum(e.received_bytes for e in moved))
    print("sent", sent, "received", received)
    print("errors", [str(event.kind) for event in mine if isinstance(event, SocketError)])
    source.close()


if __name__ == "__main__":
    main()
