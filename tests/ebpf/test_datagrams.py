"""Who waits for a datagram or to send one, and who only looks as if."""

from __future__ import annotations

import os

import pytest

from xctl_probe.events import Cause, Direction

MS = 1_000_000
STALL_MS = 100
TICK_MS = 5
OFF_BY_MS = 200 if os.environ.get("XCTL_IN_GUEST") else TICK_MS  # code is slow under emulation

SERVER = """
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); server.bind(("127.0.0.1", 0))
say(server.getsockname()[1])
_, back = server.recvfrom(100); step()
server.sendto(b"a" * 29, back); step()
"""

RESOLVER = """
there = ("127.0.0.1", int(sys.argv[1])); asks, waits = sys.argv[2:4]
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if asks == "connected": client.connect(there)
inode = os.fstat(client.fileno()).st_ino
poll = select.poll(); poll.register(client, select.POLLIN)
loop = select.epoll(); loop.register(client, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
loop.poll(0)
ways = {
    "poll": lambda: poll.poll(60_000),
    "select": lambda: select.select([client], [], [], 60),
    "epoll": lambda: loop.poll(60),
    "recv": lambda: None,
}
if waits != "epoll": loop.close()
def query():
    if asks == "connected": client.send(b"q" * 23)
    else: client.sendto(b"q" * 23, there)
say(inode)
begin = time.monotonic()
query(); ways[waits](); client.recv(100)
say(time.monotonic() - begin)
"""


@pytest.mark.parametrize(
    ("asks", "waits"),
    [
        ("unconnected", "poll"),
        ("unconnected", "select"),
        ("unconnected", "epoll"),
        ("unconnected", "recv"),
        ("connected", "poll"),
        ("connected", "epoll"),
    ],
)
def test_a_first_query_that_is_answered_late(watch, actor, asks, waits):
    seen = watch()
    if seen.source.attach == "bcc" and waits == "epoll":
        pytest.skip("declared: datagram_epoll")
    server = actor(SERVER)
    port = server.said
    client = actor(RESOLVER, arguments=(port, asks, waits))
    server.start()
    client.start()
    seen.until(lambda: len(seen.stalls(client.pid, ongoing=True)) >= 2)
    server.finish()
    server.go()
    took_s = client.finish()
    seen.until(lambda: seen.stalls(client.pid, ongoing=False))
    told = seen.stalls(client.pid)
    assert {stall.direction for stall in told} == {Direction.RECEIVE}
    assert {stall.cause for stall in told} == {Cause.NO_REPLY}
    assert {stall.socket.inode for stall in told} == {client.said}
    assert {stall.tid for stall in told if stall.ongoing} == {client.pid}
    remote = port if asks == "connected" else 0
    assert {stall.socket.remote_port for stall in told} == {remote}
    (ended,) = (stall for stall in told if not stall.ongoing)
    assert ended.duration_ns / MS == pytest.approx(took_s * 1000, abs=OFF_BY_MS)


def test_a_wait_that_ends_with_its_socket(watch, actor):
    """The kernel reports no end of a UDP socket: the next walk does not meet it."""
    seen = watch()
    server = actor(SERVER)
    client = actor(RESOLVER, arguments=(server.said, "unconnected", "poll"))
    server.start()
    client.start()
    seen.until(lambda: seen.stalls(client.pid, ongoing=True))
    client.process.kill()
    client.process.wait()
    seen.until(lambda: seen.stalls(client.pid, ongoing=False))
    lengths = [stall.duration_ns for stall in seen.stalls(client.pid)]
    assert lengths == sorted(lengths)


IN_NAMESPACE = ("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$0" "$@"')


def test_a_datagram_that_waits_for_room_in_the_send_buffer(watch, actor):
    """A line of 16 kbit/s takes 0.6 s for each."""
    seen = watch()
    sender = actor(
        """
import subprocess
run = lambda line: subprocess.run(line.split(), check=True)
run("ip link add slow type veth peer name far")
run("ip addr add 10.9.9.1/24 dev slow"); run("ip link set far up"); run("ip link set slow up")
run("ip neigh add 10.9.9.2 lladdr 02:00:00:00:00:02 dev slow")
run("tc qdisc add dev slow root tbf rate 16kbit burst 1600 limit 1000000")
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
out.bind(("10.9.9.1", 3_001))
say(os.fstat(out.fileno()).st_ino)
longest = 0.0
for _ in range(23):
    begin = time.monotonic()
    out.sendto(b"x" * 1_201, ("10.9.9.2", 9))
    longest = max(longest, time.monotonic() - begin)
say(longest)
""",
        prefix=IN_NAMESPACE,
    )
    sender.start()
    seen.until(lambda: seen.stalls(sender.pid, ongoing=True))
    longest_s = sender.finish()
    seen.until(lambda: seen.stalls(sender.pid, ongoing=False))
    seen.drain()
    told = seen.stalls(sender.pid)
    assert {stall.direction for stall in told} == {Direction.SEND}
    assert {stall.cause for stall in told} == {Cause.SEND_BUFFER}
    assert {stall.socket.inode for stall in told} == {sender.said}
    assert {stall.tid for stall in told if stall.ongoing} == {sender.pid}
    lengths = [stall.duration_ns / MS for stall in told]
    assert min(lengths) >= STALL_MS
    assert max(lengths) <= longest_s * 1000 + OFF_BY_MS


# Each of these has sent, waits, and is owed nothing.  `other` is the far end, which says nothing
# of its own accord.
SCENES = {
    "a server with a port of the kernel's choice, between requests": """
client.sendto(b"q", sock.getsockname()); exactly(sock, 1); sock.sendto(b"a", client.getsockname())
step(); alone()
""",
    "a server that blocks for its next request": """
client.sendto(b"q", sock.getsockname()); exactly(sock, 1); sock.sendto(b"a", client.getsockname())
step(); sock.recv(100)
""",
    "a log sender whose event loop watches other things, too": """
sock.connect(there); loop = select.epoll(); loop.register(sock, select.EPOLLIN)
loop.register(os.eventfd(0), select.EPOLLIN); sock.send(b"line")
step(); loop.poll(60)
""",
    "a log sender of asyncio": """
import asyncio
async def main():
    loop = asyncio.get_running_loop()
    out, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=there)
    out.sendto(b"line"); step(); await asyncio.sleep(60)
asyncio.run(main())
""",
    "a log sender that reads nothing": """
sock.sendto(b"line", there); step(); time.sleep(60)
""",
    "a receiver of a stream that acknowledges it (QUIC, RTP)": """
sock.connect(there); sock.send(b"hello"); exactly(client, 5)
for _ in range(3): client.sendto(b"data", sock.getsockname()); exactly(sock, 4)
sock.send(b"ack"); step(); alone()
""",
    "the same, blocked": """
sock.connect(there); sock.send(b"hello"); exactly(client, 5)
for _ in range(3): client.sendto(b"data", sock.getsockname()); exactly(sock, 4)
sock.send(b"ack"); step(); sock.recv(100)
""",
    "a member of a multicast group that has announced itself (mDNS)": """
group = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
sock.sendto(b"here", there); step(); alone()
""",
    "who may speak to all of a network (DHCP)": """
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
sock.sendto(b"discover", there); step(); alone()
""",
    "a service on a port of its own that has told another": """
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); own.bind(("127.0.0.1", 3_001))
own.sendto(b"news", there); step(); select.select([own], [], [], 60)
""",
    "who subscribed and polls without a time limit": """
sock.sendto(b"subscribe", there); step(); select.select([sock], [], [])
""",
    "a client between two queries (NTP, DNS)": """
sock.connect(there); sock.send(b"q"); exactly(client, 1); client.sendto(b"a", sock.getsockname())
exactly(sock, 1); step(); alone()
""",
    "who has given up, and does something else": """
sock.connect(there); sock.send(b"q"); exactly(client, 1); client.sendto(b"a", sock.getsockname())
exactly(sock, 1); sock.send(b"q"); step(); time.sleep(60)
""",
    "who has not read its answer": """
sock.connect(there); sock.send(b"q"); exactly(client, 1); client.sendto(b"a", sock.getsockname())
step(); time.sleep(60)
""",
}
BOTH = """
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); client.bind(("127.0.0.1", 0))
there = client.getsockname()
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sock.bind(("127.0.0.1", 0))
def alone(): select.select([sock], [], [], 60)
step()
"""


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_who_is_owed_nothing_is_silent(watch, actor, scene):
    """A resolver that asks after it shows when it would have been reported at the latest."""
    seen = watch()
    one = actor(BOTH + scene)
    one.go()
    one.start()
    server = actor(SERVER)
    resolver = actor(RESOLVER, arguments=(server.said, "unconnected", "poll"))
    server.start()
    resolver.start()
    seen.until(lambda: len(seen.stalls(resolver.pid, ongoing=True)) >= 2)
    assert seen.stalls(one.pid) == []
