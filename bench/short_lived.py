"""Short connections and their owners: `python -m bench.short_lived HELD_MS`.

Nine processes one after another connect, send 1.5 MB, and hold the connection open for so long.
Prints in JSON how many of them the sampler names with all their bytes, and its CPU time.  The
connections are on loopback: run it in a network namespace of its own, with `lo` up.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time

from bench.cost import usage
from bench.servers import end

_COUNT, _APART_S, _SETTLE_S = 9, 0.5, 3.0
_BYTES = 1_500_000
_CLIENT = """
import socket, sys, time
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.sendall(bytes(int(sys.argv[2])))
time.sleep(int(sys.argv[3]) / 1e3)
connection.close()
time.sleep(2)  # so that its pid is its own until the interval is over
"""
_PROBE = ("--backend", "sampler", "--format", "ndjson", "--loopback", "--min-bw", "0")


def main() -> None:
    """Connect, and print what the sampler has named."""
    held_ms = int(sys.argv[1])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        probe = subprocess.Popen(
            ["xctl-probe-network", *_PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        time.sleep(_SETTLE_S)
        before, begun = usage(probe.pid), time.monotonic()
        port = str(listener.getsockname()[1])
        words = [sys.executable, "-c", _CLIENT, port, str(_BYTES), str(held_ms)]
        clients = []
        for _ in range(_COUNT):
            clients.append(subprocess.Popen(words))
            time.sleep(_APART_S)
        time.sleep(_SETTLE_S)
        spent_ns, took_s = usage(probe.pid).cpu_ns - before.cpu_ns, time.monotonic() - begun
        probe.terminate()
        assert probe.stdout is not None
        sent = _sent(probe.stdout.read())
        end(probe)
        named = sum(sent.get(client.pid) == _BYTES for client in clients)
        for client in clients:
            client.wait()
    share = round(spent_ns / 1e9 / took_s, 4)
    print(json.dumps({"held_ms": held_ms, "of": _COUNT, "named": named, "cpu_share": share}))


def _serve(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            while connection.recv(1 << 16):
                pass


def _sent(lines: bytes) -> dict[int, int]:
    sent: dict[int, int] = {}
    for line in lines.splitlines():
        record = json.loads(line)
        if record["event_type"] == "transport.bw" and record["pid"] is not None:
            sent[record["pid"]] = sent.get(record["pid"], 0) + record["net"]["tx_bytes"]
    return sent


if __name__ == "__main__":
    main()
