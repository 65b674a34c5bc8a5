"""Who waits for the network, for how long and why; and who only seems to."""

from __future__ import annotations

import pytest
from support.actors import is_length

from xctl_probe.events import Cause, Direction

MS = 1_000_000
TICK_MS = 5

CONNECTION = """
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname()); server, _ = listener.accept()
"""


def one_ended(seen, pid, lasted, direction):
    """There is exactly one ended stall, as long as the process says it was."""
    seen.until(lambda: seen.stalls(pid, ongoing=False))
    seen.drain()
    (ended,) = seen.stalls(pid, ongoing=False)
    assert ended.direction is direction
    assert is_length(ended.duration_ns, lasted), (ended.duration_ns, lasted)
    return ended


def test_a_client_that_waits_for_an_answer(watch, actor):
    seen = watch()
    one = actor(
        CONNECTION
        + """
def answer(): exactly(server, 7); time.sleep(0.317); server.sendall(b"a")
thread = threading.Thread(target=answer); thread.start()
step()
begin = clock()
client.sendall(b"q" * 7); client.recv(100)
say(since(begin))
"""
    )
    ended = one_ended(seen, one.pid, one.go(), Direction.RECEIVE)
    assert ended.cause is Cause.NO_REPLY


def test_a_client_in_epoll_that_was_answered_before(watch, actor):
    """The first exchange is quick and teaches; so the second one shows while it lasts."""
    seen = watch()
    one = actor(
        CONNECTION
        + """
client.setblocking(False)
def answer():
    exactly(server, 7); server.sendall(b"a")
    exactly(server, 7); time.sleep(0.5); server.sendall(b"a")
thread = threading.Thread(target=answer); thread.start()
poll = select.epoll(); poll.register(client, select.EPOLLIN)
client.sendall(b"q" * 7); poll.poll(); client.recv(100)
step()
begin = clock()
client.sendall(b"q" * 7); poll.poll(); client.recv(100)
say(since(begin))
"""
    )
    one.start()
    seen.until(lambda: seen.stalls(one.pid, ongoing=True))
    one_ended(seen, one.pid, one.finish(), Direction.RECEIVE)


def test_a_client_that_sends_on_before_it_reads_the_answer(watch, actor):
    """The wait that was told ends when the answer came; the next one is another."""
    seen = watch()
    one = actor(
        CONNECTION
        + """
def answer():
    exactly(server, 7); server.sendall(b"a")
    exactly(server, 7); time.sleep(0.5); server.sendall(b"a")
    exactly(server, 7); time.sleep(0.3); server.sendall(b"a")
thread = threading.Thread(target=answer); thread.start()
client.sendall(b"q" * 7); client.recv(100)
step()
client.sendall(b"q" * 7); begin = clock()
select.select([client], [], []); first = since(begin)
time.sleep(0.2)
client.sendall(b"q" * 7); begin = clock()
exactly(client, 2)
say([first, since(begin)])
"""
    )
    one.start()
    seen.until(lambda: seen.stalls(one.pid, ongoing=True))
    lasted = one.finish()
    seen.until(lambda: len(seen.stalls(one.pid, ongoing=False)) == 2)
    seen.drain()
    told = [stall.duration_ns for stall in seen.stalls(one.pid, ongoing=False)]
    assert list(map(is_length, told, lasted)) == [True, True], (told, lasted)


def test_a_new_connection_to_who_answered_before(watch, actor):
    """Nothing was ever received on this connection, but on others to the same endpoint."""
    seen = watch()
    one = actor(
        """
listener = socket.create_server(("127.0.0.1", 0))
def serve():
    for delay in (0, 60):
        server, _ = listener.accept(); exactly(server, 7); time.sleep(delay); server.sendall(b"a")
        server.close()
threading.Thread(target=serve, daemon=True).start()
def ask():
    client = socket.create_connection(listener.getsockname()); client.setblocking(False)
    client.sendall(b"q" * 7); select.select([client], [], []); client.recv(100)
ask()
step()
ask()
"""
    )
    one.start()
    seen.until(lambda: seen.stalls(one.pid, ongoing=True))


def test_an_answer_is_one_though_the_peer_hangs_up_as_it_is_read(watch, actor):
    """The reader meets the FIN as it lets the socket go: one in sixty of such short exchanges."""
    seen, peers = watch(), 240
    one = actor(
        f"""
listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range({peers})]
def serve():
    for listener in listeners:
        with listener.accept()[0] as server: exactly(server, 7); server.sendall(b"a")
    kept = [listener.accept()[0] for listener in listeners]
    for server in kept: exactly(server, 7)
    time.sleep(60)
def ask(listener):
    client = socket.create_connection(listener.getsockname()); client.setblocking(False)
    client.sendall(b"q" * 7)
    return client
threading.Thread(target=serve, daemon=True).start()
for listener in listeners:
    with ask(listener) as client: select.select([client], [], []); client.recv(100)
step()
clients = [ask(listener) for listener in listeners]
select.select(clients, [], [])
"""
    )
    one.start()
    seen.until(lambda: len({s.socket.inode for s in seen.stalls(one.pid, ongoing=True)}) == peers)


def test_a_receive_that_hangs_for_ever_names_its_thread_each_time(watch, actor):
    seen = watch()
    one = actor(
        CONNECTION
        + """
thread = threading.Thread(target=lambda: client.recv(100), daemon=True)
client.sendall(b"q" * 7); thread.start()
say(thread.native_id)
"""
    )
    seen.until(lambda: len(seen.stalls(one.pid, ongoing=True)) >= 5)
    stalls = seen.stalls(one.pid, ongoing=True)
    assert {stall.tid for stall in stalls} == {one.said}
    lengths = [stall.duration_ns for stall in stalls]
    assert lengths == sorted(lengths)
    assert lengths[0] >= 100 * MS


@pytest.mark.parametrize("blocking", [True, False])
def test_a_sender_whose_peer_does_not_read(watch, actor, blocking):
    wait = "" if blocking else "select.select([], [client], [])"
    seen = watch()
    one = actor(
        CONNECTION
        + f"""
client.setblocking({blocking})
def fill():
    \"\"\"Until not one byte more fits.\"\"\"
    client.setblocking(False)
    while True:
        try: client.send(b"x" * 65536)
        except BlockingIOError: break
    client.setblocking({blocking})
fill()
def later(): time.sleep(0.4); drained.set(); server.recv(1 << 24); exactly(server, 1 << 20)
drained = threading.Event()
thread = threading.Thread(target=later)
step()
thread.start()
begin = clock()
{wait}
client.send(b"y")
say(since(begin))
"""
    )
    one.start()
    seen.until(lambda: seen.stalls(one.pid, ongoing=True, direction=Direction.SEND))
    ongoing = seen.stalls(one.pid, ongoing=True, direction=Direction.SEND)
    assert {stall.cause for stall in ongoing} == {Cause.PEER_WINDOW}
    if blocking:
        assert one.pid in {stall.tid for stall in ongoing}
    one.finish()
    seen.until(lambda: seen.stalls(one.pid, ongoing=False, direction=Direction.SEND))


def test_a_blocking_send_is_as_long_as_it_stayed(watch, actor):
    """More than all buffers in one call, to a peer that begins to read late."""
    seen = watch()
    one = actor(
        CONNECTION
        + """
SIZE = 12_000_017
data = b"x" * SIZE
step()
sender = threading.get_native_id()
def asleep():
    queued = struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))[0]
    state = open(f"/proc/self/task/{sender}/stat").read().rpartition(")")[2].split()[0]
    return queued and state == "S"
def later():
    while not asleep(): time.sleep(0.001)
    blocked.append(time.monotonic())
    sys.stdin.readline()
    blocked.append(time.monotonic())
    exactly(server, SIZE)
import fcntl, termios
blocked = []
threading.Thread(target=later).start()
begin = time.monotonic()
sent = client.send(data)
took = time.monotonic() - begin
say((blocked[1] - blocked[0], took))
"""
    )
    one.start()
    seen.until(lambda: len(seen.stalls(one.pid, ongoing=True)) >= 3)
    one.start()
    least_s, most_s = one.finish()
    seen.until(lambda: seen.stalls(one.pid, ongoing=False))
    (ended,) = seen.stalls(one.pid, ongoing=False)
    assert ended.direction is Direction.SEND
    assert ended.cause is Cause.PEER_WINDOW
    # The call also copies some megabytes before it meets the full buffer.
    assert least_s * 1000 - TICK_MS <= ended.duration_ns / MS <= most_s * 1000 + TICK_MS


def test_data_that_came_in_time_and_was_read_late_is_no_stall(watch, actor):
    """The process slept beside its answer."""
    seen = watch()
    one = actor(
        CONNECTION
        + """
def exchange(pause):
    client.sendall(b"q" * 7); exactly(server, 7); server.sendall(b"a"); time.sleep(pause)
    client.recv(100)
exchange(0)
step()
for _ in range(3): exchange(0.3)
step()
"""
    )
    one.start()
    seen.for_s(1.2)
    one.finish()
    seen.drain()
    assert seen.stalls(one.pid) == []


def test_idle_servers_idle_clients_and_log_senders_are_silent(watch, actor):
    seen = watch()
    one = actor(
        CONNECTION
        + """
# A keep-alive pair that has answered and idles, each with a thread in the receive.
client.sendall(b"q"); server.recv(1); server.sendall(b"a"); client.recv(1)
threading.Thread(target=lambda: server.recv(1), daemon=True).start()
threading.Thread(target=lambda: client.recv(1), daemon=True).start()
# A listener nobody calls.
threading.Thread(target=listener.accept, daemon=True).start()
# A log sender, and who reads it.
sink = socket.create_server(("127.0.0.1", 0))
log = socket.create_connection(sink.getsockname()); reader, _ = sink.accept()
def read():
    while reader.recv(100): pass
threading.Thread(target=read, daemon=True).start()
def write():
    while True: log.sendall(b"line"); time.sleep(0.15)
threading.Thread(target=write, daemon=True).start()
# Datagrams that nobody answers.
beat = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); beat.bind(("127.0.0.1", 0))
beat.connect(beat.getsockname())
quiet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); quiet.bind(("127.0.0.1", 0))
threading.Thread(target=lambda: quiet.recv(1), daemon=True).start()
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); out.connect(quiet.getsockname())
step()
"""
    )
    seen.for_s(1.5)
    assert seen.stalls(one.pid) == []


def test_a_resolver_that_waits_for_a_datagram(watch, actor):
    seen = watch()
    one = actor(
        """
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); server.bind(("127.0.0.1", 0))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); client.connect(server.getsockname())
def answer():
    _, back = server.recvfrom(100); time.sleep(0.5); server.sendto(b"a", back)
threading.Thread(target=answer).start()
step()
begin = clock()
client.send(b"q" * 7); client.recv(100)
say(since(begin))
"""
    )
    one.start()
    seen.until(lambda: seen.stalls(one.pid, ongoing=True))
    one_ended(seen, one.pid, one.finish(), Direction.RECEIVE)


def test_a_download_that_stops_at_a_hole(watch, actor):
    """A segment is lost again and again, those after it are here: more was coming."""
    seen = watch()
    one = actor(
        """
import subprocess
nft = lambda rule: subprocess.run(["nft", rule], check=True)
nft("add table inet t; add chain inet t i { type filter hook input priority 0; }")
listener = socket.create_server(("127.0.0.1", 7777))
client = socket.create_connection(("127.0.0.1", 7777)); server, _ = listener.accept()
server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
client.sendall(b"q"); server.recv(1); server.sendall(b"a" * 1000); exactly(client, 1000)
threading.Thread(target=lambda: client.recv(9000), daemon=True).start()
step()
# Its length marks the segment that is lost: 40 bytes of headers, 12 of options, 777.
nft("add rule inet t i tcp sport 7777 meta length 829 drop")
server.sendall(b"b" * 777); time.sleep(0.01); server.sendall(b"c" * 1001)
step()
""",
        prefix=("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$0" "$@"'),
    )
    one.start()
    seen.until(lambda: seen.stalls(one.pid, ongoing=True, direction=Direction.RECEIVE))
    stall = seen.stalls(one.pid, ongoing=True, direction=Direction.RECEIVE)[0]
    assert stall.cause is Cause.LOSS
