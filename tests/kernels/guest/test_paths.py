"""Every way that bytes take into and out of a socket, counted once: sendfile, splice and so on.

Where these functions are called from changed much between the kernels (tcp_sendpage went
with 6.5, for one), so each way runs on each.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.worker import Worker

COUNT = 60_013  # fits into the buffers: one process does both ends in turn
FOLDER = Path(__file__).with_name("paths")
TCP = (
    *("sendfile", "splice_out", "splice_in", "peek", "vectors", "read_write", "zerocopy"),
    *("full_buffer", "tls", "mptcp", "v6", "v4_mapped"),
)
UDP = ("udp_peek", "udp_segments", "udp_cork", "udp_batches", "udp_v6", "udp_v4_mapped")
# What xctl_probe/blind_spots.py declares: the tracepoints of 6.3 do not fire on a splice, and
# neither Multipath TCP nor kernel TLS sends through tcp_sendmsg.
BLIND = {("tracepoint", "splice_in")} | {
    (flavour, way) for flavour in ("kprobe", "bcc") for way in ("mptcp", "tls")
}
# Records of 16 KiB each carry 29 bytes of header, nonce and tag; either count is a true one.
TLS_OVERHEAD = 0.01


@pytest.fixture
def path(netns):
    started = []

    def start(name):
        started.append(Worker(FOLDER, netns, name))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_each_way_is_counted_once(probe, path, sees):
    """All of them under one probe, each in a process of its own."""
    running = probe()
    names = [*TCP, *(UDP if sees.sees_rare else ())]
    movers = {name: path(name) for name in names if (sees.name, name) not in BLIND}
    moved = {}
    for name, mover in movers.items():
        trouble = mover.ask("open").get("error")
        done = {} if trouble else mover.ask("move", COUNT)
        if trouble := trouble or done.get("error"):
            print(f"this kernel has no {name}: {trouble}")
        else:
            moved[name] = done["bytes"]
    running.wait_for_intervals(3)  # also so that what is counted twice has time to show
    consumer = running.stop()
    wrong = {}
    for name, count in moved.items():
        pid = movers[name].pid
        slack = count * (TLS_OVERHEAD if name == "tls" else sees.bytes_tolerance)
        found = consumer.sent_bytes(pid), consumer.received_bytes(pid)
        if any(abs(one - count) > slack for one in found):
            wrong[name] = f"{count} bytes moved; sent {found[0]}, received {found[1]}"
    assert wrong == {}
    assert consumer.lost() == 0
