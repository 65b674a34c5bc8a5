"""The connections of a process, from its descriptors and the table of its namespace."""

from __future__ import annotations

import os
import socket

from xctl_probe.events import Connection
from xctl_probe.linux.process_connections import Asked, ConnectionReader, parse
from xctl_probe.linux.procfs import read_process

HEAD = b"  sl  local_address rem_address   st tx_queue rx_queue tr uid  inode\n"


def row(local, remote, state=b"01", inode=4241):
    return b"   0: %b %b %b 00000000:00000000 00:00000000 00000000  1009        0 %d 1\n" % (
        local,
        remote,
        state,
        inode,
    )


def test_open_connections_to_other_addresses_are_read():
    """10.0.0.1:5000 to 10.0.0.2:40009; and an IPv6 address that is a v4-mapped one."""
    mapped = b"0000000000000000FFFF00000200000A:9C49"
    table = HEAD + row(b"0100000A:1388", b"0200000A:9C49")
    table += row(b"0000000000000000FFFF00000100000A:1389", mapped, b"08", 4243)
    assert list(parse(table)) == [
        (4241, Connection("10.0.0.1:5000", "10.0.0.2:40009")),
        (4243, Connection("10.0.0.1:5001", "10.0.0.2:40009")),
    ]


def test_what_stays_on_this_host_is_left_out():
    """Loopback, the own address, listeners, closed sockets, and sockets without an inode."""
    table = HEAD
    table += row(b"0100007F:1388", b"0100007F:9C49") + row(b"0100000A:1388", b"0100000A:9C49")
    table += row(b"0100000A:1388", b"00000000:0000", b"0A")
    table += row(b"0100000A:1388", b"0200000A:9C49", b"06")
    table += row(b"0100000A:1388", b"0200000A:9C49", inode=0)
    assert list(parse(table)) == []


def test_lines_that_do_not_parse_are_left_out():
    table = HEAD + b"x\n" + row(b"zz:1388", b"0200000A:9C49") + row(b"01:1388", b"0200000A:9C49")
    table += row(b"0100000A:zz", b"0200000A:9C49") + row(b"", b"")
    assert list(parse(table)) == []


def test_a_process_that_runs_is_read():
    me = read_process(os.getpid())
    with socket.create_server(("127.0.0.1", 0)):
        held = ConnectionReader()(Asked(me.pid, me.start_ticks, 0))
    assert (held.connections, held.left_out) == ((), 0)  # a listener is no connection


def test_another_process_with_the_pid_is_not_read():
    me = read_process(os.getpid())
    assert ConnectionReader()(Asked(me.pid, me.start_ticks + 1, 0)) is None
    assert ConnectionReader()(Asked((1 << 22) - 1, 7, 0)) is None
