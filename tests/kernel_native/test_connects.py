"""Connections that are refused, time out, take long, or are reset."""

from __future__ import annotations

import pytest
from actors import is_length

from xctl_probe.facts import Cause, Direction, ErrorKind

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
