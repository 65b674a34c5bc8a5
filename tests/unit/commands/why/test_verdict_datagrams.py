"""The answer about a process with datagram sockets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.why_sockets import FD, IN_EPOLL, IN_RECV, IN_SEND, INODE

from xctl_probe.commands.why.sockets import Udp
from xctl_probe.commands.why.verdict import findings
from xctl_probe.commands.why.waiters import Waiter
from xctl_probe.events import Cause


def test_a_datagram_may_be_a_dns_answer():
    """A connected UDP socket and a thread in recv on it, or in poll."""
    udp = Udp(FD, INODE, "10.0.0.11:40009", "10.0.0.2:53", 0, 0, 0)
    (finding,) = findings([], [udp], {INODE: IN_RECV})
    assert finding.text == "waits for a DNS answer from 10.0.0.2:53 for 12.5 s"
    (finding,) = findings([], [replace(udp, remote=None)], {INODE: IN_RECV})
    assert not finding.waits
    assert findings([], [udp], {}) == []
    (finding,) = findings([], [udp], {INODE: IN_EPOLL})
    assert finding.text == "probably waits for a DNS answer from 10.0.0.2:53"
    assert (finding.waits, finding.certain) == (True, False)


@pytest.mark.parametrize(("port", "seen"), [(40_009, False), (53, True)])
def test_on_a_port_of_a_client_s_a_datagram_may_be_an_answer(port, seen):
    """The kernel does not keep whether the socket sent anything."""
    udp = Udp(FD, INODE, f"10.0.0.11:{port}", None, 0, 0, 0)
    for waiter in (IN_RECV, IN_EPOLL):
        (finding,) = findings([], [udp], {INODE: waiter}, range(32_768, 61_000))
        assert finding.text == f"waits for datagrams on 10.0.0.11:{port}"
        assert (finding.waits, finding.seen) == (False, seen)


def test_who_polls_a_connected_datagram_socket_alone_probably_waits():
    """In epoll too, as Go does; with other sockets it is an idle event loop, but for DNS."""
    udp = Udp(FD, INODE, "10.0.0.11:40009", "10.0.0.2:3001", 0, 0, 0)
    (finding,) = findings([], [udp], {INODE: Waiter(reads=True, only=True)})
    assert finding.text == "probably waits for a datagram from 10.0.0.2:3001"
    assert (finding.waits, finding.certain, finding.cause) == (True, False, Cause.NO_REPLY)
    (finding,) = findings([], [udp], {INODE: IN_EPOLL})
    assert not finding.waits
    (finding,) = findings([], [replace(udp, remote="10.0.0.2:53")], {INODE: IN_EPOLL})
    assert finding.text == "probably waits for a DNS answer from 10.0.0.2:53"
    assert findings([], [replace(udp, receive_queue=23)], {INODE: Waiter(reads=True)}) == []


def test_who_polls_an_unconnected_one_with_a_timeout_may_be_a_resolver():
    """Nothing shows whether it has sent; services choose their port, or wait without a limit."""
    polls = Waiter(reads=True, exclusive=True, ms=2_500.0, only=True, gives_up=True)
    udp = Udp(FD, INODE, "0.0.0.0:40009", None, 0, 0, 0, chosen_port=True)
    (finding,) = findings([], [udp], {INODE: polls})
    assert finding.text == (
        "probably waits for an answer on 0.0.0.0:40009 for 2.5 s: it polls nothing else"
    )
    assert (finding.waits, finding.certain, finding.cause) == (True, False, None)
    for other, waiter in (
        (replace(udp, chosen_port=False), polls),
        (udp, replace(polls, gives_up=False)),
        (udp, replace(polls, only=False, exclusive=False)),
        (udp, IN_RECV),
    ):
        (finding,) = findings([], [other], {INODE: waiter})
        assert not finding.waits


def test_a_datagram_is_held_up_by_a_full_send_buffer():
    udp = Udp(FD, INODE, "10.0.0.11:40009", "10.0.0.2:9", 0, 20_480, 0)
    (finding,) = findings([], [udp], {INODE: IN_SEND})
    assert finding.text == (
        "waits to send a datagram to 10.0.0.2:9 for 3.0 s: the path is slower than the sender, "
        "its send buffer is full (20.0 KiB)"
    )
    assert (finding.waits, finding.certain, finding.cause) == (True, True, Cause.SEND_BUFFER)
    assert findings([], [replace(udp, send_queue=0)], {INODE: IN_SEND}) == []
    (finding,) = findings([], [replace(udp, remote=None)], {INODE: IN_SEND})
    assert finding.text.startswith("waits to send a datagram from 10.0.0.11:40009 for 3.0 s: ")
