"""Every way that bytes take into and out of a socket is counted once, or is a declared blind spot.

sendfile, splice, zerocopy, io_uring, MPTCP, offloads and so on bypass the function that one
would count at, or hit it twice; and what the process peeks at or throws away misleads as well.
"""

from __future__ import annotations

import pytest
from support.paths import BLIND_SPOTS_OF, trouble

FAST_OPEN_BYTES = 1_009  # with the connect
COUNT = 60_013  # fits into the buffers: one process uses both sockets in turn
# What a kernel need not have, and the least that has it.
OPTIONAL = {
    "tls": "CONFIG_TLS",
    "zerocopy_receive": "5.11",
    "udp_coalesced": "a kernel that leaves to the receiver what loopback carries in one piece",
    "mptcp": "CONFIG_MPTCP",
    "ring": "5.6, and io_uring not disabled",
    "udp_ring": "5.6, and io_uring not disabled",
    "ring_multishot": "6.0",
    "ring_zerocopy": "6.0",
}


@pytest.mark.parametrize("opened", ["before", "after"])
def test_each_way_is_counted_once_or_is_a_declared_blind_spot(
    every_probe, every_backend, worker, netns, opened
):
    """All of them under one probe, each in a process of its own.

    Sockets that were open before it started are counted like those that come later.
    """
    netns.run("sysctl", "-q", "-w", "net.ipv4.tcp_fastopen=0x207")  # data in the SYN, no cookie
    movers = worker("paths")
    if opened == "after":
        running = every_probe("--min-bw", 0)
    reported = {name: movers.ask("open", name) for name in BLIND_SPOTS_OF}
    if opened == "before":
        running = every_probe("--min-bw", 0)
    running.wait_for_intervals(2)  # the sampler must have sampled them to know their owners
    moved = {}
    for name, at in reported.items():
        done = at if "error" in at else at | movers.ask("move", name, COUNT)
        if error := done.get("error"):
            assert name in OPTIONAL, f"{name}: {error}"
            print(f"NOT TESTED: {name} needs {OPTIONAL[name]}; here it is {error}")
        else:
            moved[name] = done
    if opened == "after":
        for side in ("sent", "received"):
            moved["fast_open"][side] += FAST_OPEN_BYTES

    def troubles(closed):
        running.wait_for_intervals(3)  # also so that what is counted twice has time to show
        consumer = running.consumer
        found = {
            name: (consumer.sent_bytes(done["pid"]), consumer.received_bytes(done["pid"]))
            for name, done in moved.items()
        }
        reported = {
            n: trouble(every_backend, n, done, found[n], closed) for n, done in moved.items()
        }
        return {name: what for name, what in reported.items() if what}

    assert troubles(closed=False) == {}
    for name in moved:
        movers.ask("close", name)
    assert troubles(closed=True) == {}
