"""Connections that are refused, time out, take long, or are reset."""

from __future__ import annotations

import pytest
from support.actors import is_length

from xctl_probe.events import Cause, Direction, ErrorKind

DEAF = (
    "unshare",
    "--net",
    "sh",
    "-c",
    "ip link set lo up; sysctl -qw net.ipv4.tcp_syn_retries=1; "
    "nft 'add table inet t; add chain inet t i { type filter hook input priority 0; }; "
    "add rule inet t i tcp dport 7777 drop'; "
    'exec "$0" "$@"',
)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_refused(watch, actor, address):
    seen = watch()
    one = actor(
        f"""
step()
for _ in range(3):
    try: socket.create_connection(("{address}", 1))
    except ConnectionRefusedError: pass
step()
"""
    )
    one.go()
    seen.until(lambda: seen.errors(one.pid, ErrorKind.REFUSED) == 3)
    seen.drain()
    assert seen.errors(one.pid, ErrorKind.REFUSED) == 3
    assert seen.errors(one.pid, ErrorKind.RESET) == 0


def test_a_connect_that_times_out_shows_while_it_hangs_and_at_its_end(watch, actor):
    seen = watch()
    one = actor(
        """
client = socket.socket()
step()
begin = clock()
try: client.connect(("127.0.0.1", 7777))
except TimeoutError: pass
say(since(begin))
""",
        prefix=DEAF,
    )
    one.start()
    seen.until(lambda: len(seen.stalls(one.pid, ongoing=True)) >= 2)
    lasted = one.finish()
    seen.until(lambda: seen.errors(one.pid, ErrorKind.TIMEOUT) == 1)
    (ended,) = seen.stalls(one.pid, ongoing=False)
    assert ended.direction is Direction.CONNECT
    assert ended.cause is Cause.CONNECTING
    assert is_length(ended.duration_ns, lasted), (ended.duration_ns, lasted)
    assert seen.errors(one.pid, ErrorKind.RETRANSMIT) >= 1
    while_it_hung = seen.stalls(one.pid, ongoing=True)
    assert {stall.tid for stall in while_it_hung} == {one.pid}


def test_a_connect_that_is_given_up_was_a_stall_but_no_timeout(watch, actor):
    seen = watch()
    one = actor(
        """
client = socket.socket(); client.setblocking(False)
step()
begin = clock()
client.connect_ex(("127.0.0.1", 7777))
select.select([], [client], [], 0.3)
client.close()
say(since(begin))
""",
        prefix=DEAF,
    )
    lasted = one.go()
    seen.until(lambda: seen.stalls(one.pid, ongoing=False))
    (ended,) = seen.stalls(one.pid, ongoing=False)
    assert is_length(ended.duration_ns, lasted), (ended.duration_ns, lasted)
    assert seen.errors(one.pid, ErrorKind.TIMEOUT) == 0


FORBIDDEN = (
    "unshare",
    "--net",
    "sh",
    "-c",
    "ip link set lo up; "
    "nft 'add table inet t; add chain inet t i { type filter hook input priority 0; }; "
    "add rule inet t i tcp dport 7777 reject with icmpx type admin-prohibited'; "
    'exec "$0" "$@"',
)


def test_a_connect_that_a_firewall_forbids(watch, actor):
    """ICMP makes it EHOSTUNREACH by IPv4, and EACCES by IPv6."""
    seen = watch()
    one = actor(
        """
import errno
found = []
step()
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    client = socket.socket(family)
    found.append(errno.errorcode[client.connect_ex((host, 7777))])
    client.close()
say(found)
""",
        prefix=FORBIDDEN,
    )
    assert one.go() == ["EHOSTUNREACH", "EACCES"]
    seen.until(lambda: seen.errors(one.pid, ErrorKind.PROHIBITED))
    seen.drain()
    assert seen.errors(one.pid, ErrorKind.PROHIBITED) == 1
    assert seen.errors(one.pid, ErrorKind.TIMEOUT) == 1


def test_connects_without_a_port_that_is_left(watch, actor):
    """Each is an error of its own socket; who gives up or succeeds has none."""
    seen = watch()
    one = actor(
        """
import errno
listener = socket.create_server(("127.0.0.1", 7000), backlog=100)
step()
found, held = [], [socket.socket() for _ in range(11)]
for client in held:
    found.append(errno.errorcode.get(client.connect_ex(("127.0.0.1", 7000)), ""))
say((found, [os.fstat(client.fileno()).st_ino for client in held]))
for client in held: client.close()
step()
""",
        prefix=(
            "unshare",
            "--net",
            "sh",
            "-c",
            "ip link set lo up; "
            "sysctl -qw net.ipv4.ip_local_port_range='40000 40003'; "
            'exec "$0" "$@"',
        ),
    )
    found, inodes = one.go()
    assert found == [""] * 4 + ["EADDRNOTAVAIL"] * 7
    one.go()
    seen.until(lambda: seen.errors(one.pid, ErrorKind.NO_PORT) >= 7)
    seen.drain()
    told = [f for f in seen.of(one.pid) if getattr(f, "kind", None) is ErrorKind.NO_PORT]
    assert [f.socket.inode for f in told] == inodes[4:]
    assert {(f.socket.remote_address, f.socket.remote_port) for f in told} == {("127.0.0.1", 7000)}


def test_a_connect_that_is_given_up_had_a_port(watch, actor):
    seen = watch()
    one = actor(
        """
first, second = socket.socket(), socket.socket()
for client in (first, second): client.setblocking(False)
step()
for client in (first, second): client.connect_ex(("127.0.0.1", 7777))
first.close()
nobody = struct.pack("H14x", socket.AF_UNSPEC)
import ctypes
assert ctypes.CDLL(None).connect(second.fileno(), nobody, 16) == 0
try: socket.create_connection(("127.0.0.1", 1))
except ConnectionRefusedError: pass
step()
""",
        prefix=DEAF,
    )
    one.go()
    seen.until(lambda: seen.errors(one.pid, ErrorKind.REFUSED) == 1)
    seen.drain()
    assert seen.errors(one.pid, ErrorKind.NO_PORT) == 0


def test_a_connection_that_the_administrator_ends(watch, actor):
    """ss -K: the process reads ECONNABORTED."""
    seen = watch()
    one = actor(
        """
import errno, subprocess
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname()); server, _ = listener.accept()
client.sendall(b"a" * 7); exactly(server, 7)
step()
port = client.getsockname()[1]
subprocess.run(["ss", "-K", "sport", "=", str(port)], check=True, stdout=subprocess.DEVNULL)
try: say(client.recv(1))
except OSError as error: say(errno.errorcode[error.errno])
""",
        prefix=("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$0" "$@"'),
    )
    if one.go() != "ECONNABORTED":
        pytest.skip("this kernel has no CONFIG_INET_DIAG_DESTROY")
    seen.until(lambda: seen.errors(one.pid, ErrorKind.ABORTED))
    seen.drain()
    assert seen.errors(one.pid, ErrorKind.ABORTED) == 1
