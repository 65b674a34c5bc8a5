"""Exact byte counts, over every way into and out of a socket that this kernel has."""

from __future__ import annotations

from pathlib import Path

import pytest

ADDRESSES = {
    "IPv4": ("AF_INET", "127.0.0.1"),
    "IPv6": ("AF_INET6", "::1"),
    "mapped": ("AF_INET6", "::ffff:127.0.0.1"),
}

PAIR = """
family, address = getattr(socket, sys.argv[1]), sys.argv[2]
listener = socket.socket(family); listener.bind((address, 0)); listener.listen()
client = socket.socket(family); client.connect(listener.getsockname()[:2])
server, _ = listener.accept()
"""

UDP_PAIR = """
family, address = getattr(socket, sys.argv[1]), sys.argv[2]
server = socket.socket(family, socket.SOCK_DGRAM); server.bind((address, 0))
there = server.getsockname()[:2]
client = socket.socket(family, socket.SOCK_DGRAM)
"""


@pytest.fixture(params=ADDRESSES.values(), ids=ADDRESSES.keys())
def place(request):
    return request.param


def setting(name):
    """A sysctl, None where this kernel does not have it."""
    path = Path("/proc/sys") / name
    return path.read_text().strip() if path.exists() else None


@pytest.fixture
def attached(watch):
    """The flavour in use."""
    return watch().source.attach


@pytest.fixture
def moved(watch, actor):
    """Run one step of a script; assert what its process sent and received, to the byte."""

    def check(script, place, sent, received):
        seen = watch()
        one = actor(script, arguments=place)
        one.go()
        seen.until(lambda: (seen.sent(one.pid), seen.received(one.pid)) >= (sent, received))
        seen.drain()
        assert (seen.sent(one.pid), seen.received(one.pid)) == (sent, received)
        return list(seen.of(one.pid))

    return check


def test_a_stream(moved, place):
    events = moved(
        PAIR
        + """
step()
for _ in range(23): client.sendall(b"x" * 7)
exactly(server, 161)
step()
""",
        place,
        161,
        161,
    )
    assert {event.interface for event in events} == {"lo"}


def test_connections_that_live_for_a_moment(moved, place):
    """Their last totals come with their end."""
    moved(
        """
family, address = getattr(socket, sys.argv[1]), sys.argv[2]
listener = socket.socket(family); listener.bind((address, 0)); listener.listen()
step()
for _ in range(29):
    client = socket.create_connection(listener.getsockname()[:2])
    server, _ = listener.accept()
    client.sendall(b"q" * 13); exactly(server, 13)
    server.sendall(b"a" * 31); exactly(client, 31)
    client.close(); server.close()
step()
""",
        place,
        29 * 44,
        29 * 44,
    )


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "unconnected"])
def test_datagrams(moved, place, connected):
    connect = "client.connect(there)" if connected else ""
    send = 'client.send(b"x" * 7)' if connected else 'client.sendto(b"x" * 7, there)'
    moved(
        UDP_PAIR
        + f"""
{connect}
step()
for _ in range(23): {send}; server.recv(100)
step()
""",
        place,
        161,
        161,
    )


def test_datagrams_of_sockets_that_die_at_once(moved, place):
    """A resolver makes a socket for each question."""
    moved(
        UDP_PAIR
        + """
step()
for _ in range(37):
    one = socket.socket(family, socket.SOCK_DGRAM); one.connect(there)
    one.send(b"q" * 17)
    _, back = server.recvfrom(100); server.sendto(b"a" * 19, back)
    one.recv(100); one.close()
step()
""",
        place,
        37 * 36,
        37 * 36,
    )


def test_segmentation_offload_and_cork_count_what_was_given(moved):
    moved(
        UDP_PAIR
        + """
UDP_CORK, UDP_SEGMENT = 1, 103
client.connect(there)
step()
client.setsockopt(socket.SOL_UDP if hasattr(socket, "SOL_UDP") else 17, UDP_SEGMENT, 7)
client.send(b"x" * 161)
for _ in range(23): server.recv(100)
client.setsockopt(17, UDP_SEGMENT, 0)
client.setsockopt(17, UDP_CORK, 1); client.send(b"y" * 11); client.send(b"z" * 13)
client.setsockopt(17, UDP_CORK, 0); server.recv(100)
step()
""",
        ADDRESSES["IPv4"],
        161 + 24,
        161 + 24,
    )


def test_a_peek_is_not_a_receive(moved, place):
    moved(
        PAIR
        + """
step()
client.sendall(b"x" * 31)
for _ in range(3): server.recv(100, socket.MSG_PEEK)
exactly(server, 31)
step()
""",
        place,
        31,
        31,
    )


def test_partial_sends_and_eagain_count_what_went(moved):
    """1,000,003 bytes through a full, non-blocking socket."""
    moved(
        PAIR
        + """
client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
client.setblocking(False)
def drain(): exactly(server, 1_000_003)
reader = threading.Thread(target=drain)
step()
left = 1_000_003
for _ in range(50):  # until it is full, nobody reads
    try: left -= client.send(b"x" * min(left, 8191))
    except BlockingIOError: break
reader.start()
while left:
    select.select([], [client], [])
    try: left -= client.send(b"x" * min(left, 8191))
    except BlockingIOError: pass
reader.join()
step()
""",
        ADDRESSES["IPv4"],
        1_000_003,
        1_000_003,
    )


def test_sendfile_and_splice_into_a_socket_are_counted_once(moved):
    moved(
        PAIR
        + """
import tempfile
file = tempfile.TemporaryFile(); file.write(b"f" * 10_007); file.flush()
step()
sent = 0
while sent < 10_007: sent += os.sendfile(client.fileno(), file.fileno(), sent, 10_007 - sent)
exactly(server, 10_007)
out, into = os.pipe()
os.write(into, b"s" * 1_009); os.splice(out, client.fileno(), 1_009)
exactly(server, 1_009)
step()
""",
        ADDRESSES["IPv4"],
        11_016,
        11_016,
    )


def test_zerocopy_counts_once_and_its_notice_not_at_all(moved):
    moved(
        PAIR
        + """
SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000
client.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
step()
client.send(b"z" * 10_007, MSG_ZEROCOPY)
exactly(server, 10_007)
select.select([], [], [client], 1)
client.recvmsg(100, 512, socket.MSG_ERRQUEUE)
step()
""",
        ADDRESSES["IPv4"],
        10_007,
        10_007,
    )


def test_multipath_tcp_counts_what_the_process_gave(moved, attached):
    if setting("net/mptcp/enabled") != "1":
        pytest.skip("this kernel has no MPTCP")
    if attached == "kprobe":
        pytest.skip("what such a socket receives passes no kprobe")
    moved(
        """
IPPROTO_MPTCP = 262
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
listener.bind(("127.0.0.1", 0)); listener.listen()
client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
client.connect(listener.getsockname()); server, _ = listener.accept()
step()
for _ in range(23): client.sendall(b"x" * 7)
exactly(server, 161)
client.close(); server.close()
step()
""",
        ADDRESSES["IPv4"],
        161,
        161,
    )


def test_what_is_read_after_a_reset_counts(moved):
    """The socket is closed for the kernel, yet there was data to read."""
    moved(
        PAIR
        + """
step()
client.sendall(b"x" * 101)
client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
client.close()
exactly(server, 101)
server.close()
step()
""",
        ADDRESSES["IPv4"],
        101,
        101,
    )


def test_two_processes_on_one_socket_have_each_their_own(watch, actor):
    """They send in turns, many times between two drains."""
    seen = watch()
    one = actor(
        PAIR
        + """
gate_in, gate_out = os.pipe(); back_in, back_out = os.pipe()
child = os.fork()
if not child:
    os.close(gate_out)  # else its own end of the pipe keeps it waiting for ever
    while os.read(gate_in, 1):
        client.sendall(b"c" * 13); os.write(back_out, b".")
    os._exit(0)
say(child)
for _ in range(31):
    client.sendall(b"p" * 7); os.write(gate_out, b"."); os.read(back_in, 1)
exactly(server, 31 * 20)
step()
""",
        arguments=ADDRESSES["IPv4"],
    )
    child = one.said
    one.go()
    all_sent = 31 * 20
    seen.until(lambda: seen.received(one.pid) >= all_sent)
    seen.until(lambda: seen.sent(one.pid) + seen.sent(child) >= all_sent)
    assert (seen.sent(one.pid), seen.sent(child)) == (31 * 7, 31 * 13)
    assert (seen.received(one.pid), seen.received(child)) == (31 * 20, 0)


def test_a_passed_socket_belongs_to_who_uses_it(watch, actor):
    seen = watch()
    one = actor(
        PAIR
        + """
ours, theirs = socket.socketpair()
child = os.fork()
if not child:
    client.close()
    _, (passed,), _, _ = socket.recv_fds(theirs, 1, 1)
    socket.socket(fileno=passed).sendall(b"c" * 43)
    time.sleep(60); os._exit(0)
say(child)
client.sendall(b"p" * 17)
socket.send_fds(ours, [b"."], [client.fileno()]); client.close()
exactly(server, 60)
step()
""",
        arguments=ADDRESSES["IPv4"],
    )
    child = one.said
    one.go()
    seen.until(lambda: seen.received(one.pid) >= 60 <= seen.sent(one.pid) + seen.sent(child))
    assert (seen.sent(one.pid), seen.sent(child)) == (17, 43)


def test_splice_from_a_socket_is_what_tracepoints_miss(watch, actor):
    """`check` says so; should a kernel begin to show it, this test tells."""
    seen = watch()
    visible = 0 if seen.source.attach.startswith("tracepoint") else 1_009
    one = actor(
        PAIR
        + """
out, into = os.pipe()
step()
client.sendall(b"x" * 1_009)
moved = 0
while moved < 1_009: moved += os.splice(server.fileno(), into, 1_009 - moved)
step()
""",
        arguments=ADDRESSES["IPv4"],
    )
    one.go()
    seen.until(lambda: seen.sent(one.pid) == 1_009)
    seen.drain()
    assert seen.received(one.pid) == visible


IO_URING = """
import ctypes, mmap
libc = ctypes.CDLL(None, use_errno=True)
SETUP, ENTER, SEND, RECV, GETEVENTS = 425, 426, 26, 27, 1
params = ctypes.create_string_buffer(120)  # struct io_uring_params
ring = libc.syscall(SETUP, 4, params)
assert ring >= 0, os.strerror(ctypes.get_errno())
sq_head, sq_tail, sq_mask, _, _, _, sq_array = struct.unpack_from("7I", params, 40)
cq_head, cq_tail, cq_mask, _, _, cqes = struct.unpack_from("6I", params, 80)
sq = mmap.mmap(ring, 4096, offset=0)
cq = mmap.mmap(ring, 4096, offset=0x8000000)
sqes = mmap.mmap(ring, 4096, offset=0x10000000)
def call(opcode, sock, data):
    (tail,) = struct.unpack_from("I", sq, sq_tail)
    (mask,) = struct.unpack_from("I", sq, sq_mask)
    address = ctypes.addressof(data)
    entry = struct.pack("=BBHiQQIIQ24x", opcode, 0, 0, sock.fileno(), 0, address, len(data), 0, 1)
    sqes[(tail & mask) * 64 : (tail & mask) * 64 + 64] = entry
    struct.pack_into("I", sq, sq_array + (tail & mask) * 4, tail & mask)
    struct.pack_into("I", sq, sq_tail, tail + 1)
    assert libc.syscall(ENTER, ring, 1, 1, GETEVENTS, None, 0) == 1
    (head,) = struct.unpack_from("I", cq, cq_head)
    (mask,) = struct.unpack_from("I", cq, cq_mask)
    _, result = struct.unpack_from("Qi", cq, cqes + (head & mask) * 16)
    struct.pack_into("I", cq, cq_head, head + 1)
    return result
"""


def test_io_uring_counts_like_a_call(moved):
    """Also where a receive has to wait, and is finished by another thread of the kernel."""
    if setting("kernel/io_uring_disabled") == "2":
        pytest.skip("io_uring is disabled here")
    moved(
        PAIR
        + IO_URING
        + """
out, into = ctypes.create_string_buffer(b"x" * 101, 101), ctypes.create_string_buffer(1009)
step()
for _ in range(7): assert call(SEND, client, out) == 101
got = 0
while got < 707: got += call(RECV, server, into)
def later(): time.sleep(0.05); client.send(b"y" * 53)
threading.Thread(target=later).start()
assert call(RECV, server, into) == 53
step()
""",
        ADDRESSES["IPv4"],
        760,
        760,
    )
