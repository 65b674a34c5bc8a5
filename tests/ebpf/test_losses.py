"""Nothing is lost silently: what arrived and what is reported lost add up to what happened."""

from __future__ import annotations

import mmap

from xctl_probe.ebpf.source import MapSizes
from xctl_probe.events import ErrorKind

REFUSALS = 997


def test_a_full_ring_is_counted_to_the_record(watch, actor):
    """Nobody reads while a thousand connects are refused; a page of ring holds a few."""
    seen = watch(sizes=MapSizes(ring_bytes=mmap.PAGESIZE))
    one = actor(
        f"""
step()
for _ in range({REFUSALS}):
    try: socket.create_connection(("127.0.0.1", 1))
    except ConnectionRefusedError: pass
step()
"""
    )
    one.go()
    seen.until(lambda: seen.lost("ring"))
    seen.drain()
    refused = (f for f in seen.events if getattr(f, "kind", None) is ErrorKind.REFUSED)
    arrived = sum(event.count for event in refused)
    assert 0 < arrived < mmap.PAGESIZE // 168
    # Others on this machine may add a rare record of their own, never hide one.
    assert REFUSALS <= arrived + seen.lost("ring") < REFUSALS + 50


def test_after_the_flood_the_ring_works_again(watch, actor):
    seen = watch(sizes=MapSizes(ring_bytes=mmap.PAGESIZE))
    one = actor(
        """
def refused(times):
    for _ in range(times):
        try: socket.create_connection(("127.0.0.1", 1))
        except ConnectionRefusedError: pass
step()
refused(101); step()
refused(7); step()
"""
    )
    one.go()
    seen.until(lambda: seen.lost("ring"))
    before = seen.errors(one.pid, ErrorKind.REFUSED)
    one.go()
    seen.until(lambda: seen.errors(one.pid, ErrorKind.REFUSED) == before + 7)


def test_a_full_map_of_processes_is_counted_to_the_call(watch, actor):
    """There is room for two processes; every datagram of the others is counted as lost."""
    seen = watch(sizes=MapSizes(processes=1))
    script = """
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); server.bind(("127.0.0.1", 0))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); client.connect(server.getsockname())
step()
for _ in range(101): client.send(b"x" * 7)
step()
"""
    actors = [actor(script) for _ in range(4)]
    for one in actors:
        one.go()
    seen.drain()
    told = sum(seen.sent(one.pid) for one in actors)
    assert told % 7 == 0
    assert told // 7 + seen.lost("process") >= 404
    assert seen.lost("process") >= 202


def test_many_interfaces_of_one_process_leave_room_for_the_others(watch, actor):
    """One fills the map by sending through many interfaces; another's bytes are all told."""
    seen = watch(sizes=MapSizes(processes=16))
    crowd = actor(
        """
import ctypes, subprocess
assert ctypes.CDLL(None).unshare(0x40000000) == 0
for i in range(12):
    subprocess.run(f"ip link add a{i} type veth peer b{i}; ip link set a{i} arp off up; "
                   f"ip link set b{i} arp off up; ip addr add 10.{i}.0.1/24 dev a{i}; "
                   f"ip addr add 10.{i}.1.1/24 dev b{i}", shell=True, check=True)
step()
for i in range(12):
    for name, net in ("a", 0), ("b", 1):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, f"{name}{i}".encode())
        for _ in range(3): one.sendto(b"x" * 7, (f"10.{i}.{net}.9", 9))
step()
"""
    )
    victim = actor(
        """
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); one.bind(("127.0.0.1", 0))
one.connect(one.getsockname())
step()
for _ in range(101): one.send(b"x" * 997)
step()
"""
    )
    crowd.go()
    victim.go()
    seen.drain()
    assert seen.sent(victim.pid) == 101 * 997
    assert seen.sent(crowd.pid) == 24 * 3 * 7  # what found no interface's room is its own, too
    assert seen.lost("process") == 0


def test_no_count_is_lost_between_two_buffers_of_the_iterator(watch, actor):
    """Each socket has two records, its bytes and its stall: one may fit where both do not."""
    seen = watch()
    one = actor(
        """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
listener = socket.create_server(("127.0.0.1", 0))
pairs = []
for _ in range(701):
    client = socket.create_connection(listener.getsockname())
    pairs.append((client, listener.accept()[0]))
for client, server in pairs:
    client.sendall(b"q"); server.recv(1); server.sendall(b"a"); client.recv(1)
step()
for client, server in pairs: client.sendall(b"q" * 7)
time.sleep(0.2)
step()
"""
    )
    one.go()
    seen.drain()
    assert seen.sent(one.pid) == 701 * 9
    assert len(seen.stalls(one.pid, ongoing=True)) == 701


def test_nothing_is_reported_lost_where_nothing_is(watch, actor):
    seen = watch()
    one = actor(
        """
step()
for _ in range(101):
    try: socket.create_connection(("127.0.0.1", 1))
    except ConnectionRefusedError: pass
step()
"""
    )
    one.go()
    seen.until(lambda: seen.errors(one.pid, ErrorKind.REFUSED) == 101)
    assert {where: seen.lost(where) for where in ("ring", "socket", "process", "endpoint")} == {
        "ring": 0,
        "socket": 0,
        "process": 0,
        "endpoint": 0,
    }
