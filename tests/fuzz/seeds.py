"""What mutations start from: bytes that a kernel (6.18) really gave, from sockets on loopback."""

from __future__ import annotations

import gzip
import struct
from functools import cache
from pathlib import Path

from support.status import STATUS, WITHOUT_KERNEL

from xctl_probe.recordings.members import pack
from xctl_probe.status.document import to_json

FOLDER = Path(__file__).parent / "seeds"
GOLDEN = Path(__file__).parents[1] / "golden"


@cache
def captured(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def cut(*pieces: bytes) -> bytes:
    """As `kernels_side.parts` takes it apart, to the 255th of the whole."""
    whole, cuts, at = b"".join(pieces), [], 0
    for piece in pieces[:-1]:
        at += len(piece)
        cuts.append(-(-at * 255 // max(len(whole), 1)))
    return bytes(cuts) + whole


def seeds() -> dict[str, list[bytes]]:
    """For each target, inputs that it takes without an error."""
    dump, closed = captured("dump"), captured("closed")
    records, rare = captured("records"), captured("ring")
    processes, calls = captured("processes"), captured("calls")
    btf = struct.pack("=4xI8xI4x", 24, 4) + b"\1\0\0\0" + b"\0tcp_sendmsg\0inet_recvmsg\0"
    positions = bytes(8) + (3 * 112).to_bytes(8, "little")
    files = ("stat", "task_stat", "wchan", "syscall", "sched", "fdinfo", "tcp", "tcp6", "udp")
    return {
        "netlink_messages": [dump, closed],
        "sampler": [
            cut(dump, b"", dump, closed, dump, b""),
            cut(b"", b"", b"", closed, dump, dump),
        ],
        "why_samples": [cut(dump, dump)],
        "kernel_source": [
            cut(processes, bytes(8), records, records, b"\0" + rare),
            cut(processes, b"", rare, rare, b""),
        ],
        "ring": [positions + calls[: 3 * 112], bytes(16) + rare],
        "tables": [(2).to_bytes(4, "little") + b"\xff\0" + processes, processes],
        "kernel_files": [captured("kallsyms"), captured("status"), btf, b"0-3,8-11"],
        "proc_files": [b"\0".join([*map(captured, files), b"socket:[4241]"])],
        "settings_file": [
            b'interval = 0.5\nstall-ms = 200\npid = [1, 2]\ninterface = "lo"\nloopback = true\n',
            b'min-bw = 1e3\nduration = 10\nbackend = "proc"\nattach = "kprobe"\nformat = "text"\n',
        ],
        "status_answer": [to_json(STATUS), to_json(WITHOUT_KERNEL)],
        "payload": [
            bytes.fromhex("16030100500100004c0303") + bytes(32) + b"\0\0\2\x13\1\1\0"
            b"\0\x21\0\0\0\x10\0\x0e\0\0\x0blab.example\0\x10\0\5\0\3\2h2",
            b"\x124\1\0\0\1\0\0\0\0\0\0\3lab\7example\0\0\1\0\1\n\n+PONG\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\nHTTP/1.1 200 OK\r\n",
            b"\x10\x0d\0\4MQTT\4\2\0\x3c\0\1a\n\n\x20\2\0\0",
        ],
        "http_request": [
            b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: text/plain;version=0.0.4;q=0.5\r\n",
            b"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
        ],
        "recording": [
            (GOLDEN / "all.ndjson").read_bytes()[:8_192],
            b"".join(map(gzip.compress, (GOLDEN / "few.ndjson").read_bytes().splitlines(True))),
            pack((GOLDEN / "few.ndjson").read_bytes().splitlines(True)) * 2,
        ],
        "command_line": [
            b"XCTL_NETWORK_INTERVAL=0.5\nXCTL_NETWORK_PID=1\0--interval\x000.5\0--pid\x001\0",
            b"XCTL_NETWORK_LOOPBACK=1\0--stall-ms\x00100\0--interface\0lo\0--no-sock-diag",
        ],
    }
