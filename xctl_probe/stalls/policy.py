"""Which waits for data are stalls: the rules and thresholds that both sources share.

A source obtains the evidence, and passes it here as small values.  Causes are in `causes`; the
rules about the peer of a reply wait are in `reply_waits`.
"""

from __future__ import annotations

from typing import NamedTuple

from xctl_probe.stalls.request_history import RequestHistory

NS_PER_MS = 1_000_000
# Default of --stall-ms: the network itself delays the process.
STALL_MS = 100
# Default of --reply-ms: the peer has the request.  A server at work often takes a part of a second.
REPLY_MS = 1_000
# A transfer, as opposed to a feed of events, lasts this long at this rate.  The kernel programs
# have the same two in bpf/include/sock_iter.bpf.h and stall.bpf.h.
FLOW_NS = 800 * NS_PER_MS
FLOW_BYTES_PER_MS = 1_000
# One lost packet explains a single keepalive without an answer.
LEAST_KEEPALIVES = 2
# A ping of the peer and its pong have at most so many bytes, with the header of TLS; the ping comes
# after a silence of at least two scheduler ticks.  bpf/include/stall.bpf.h has the first, too.
MOST_OF_PING = 48
SILENCE_NS = 8 * NS_PER_MS
# Log lines, heartbeats and subscriptions have at most so many bytes, pieces of an upload more; also
# in bpf/include/stall.bpf.h.
MOST_OF_MESSAGE = 512
# TCP_DELACK_MAX, include/net/tcp.h; also in bpf/include/existing_sockets.bpf.h.
DELAYED_ACK_MS = 200
TICK_MS = 10  # of the slowest scheduler (HZ=100): begins of waits are no more exact
# A peer that has answered so lately on another connection will be asked there again soon.  Also in
# bpf/include/sock_iter.bpf.h.
ANSWERS_APART_NS = 5_000 * NS_PER_MS
DNS_PORT = 53
# A sender of datagrams that never got a reply is reported after this time.
UNANSWERED_DATAGRAM_NS = 1_000_000_000
# Resolvers give up sooner (resolv.conf(5): timeout).  A longer poll is an idle event loop.
LONGEST_DATAGRAM_POLL_NS = 30_000_000_000


class DatagramWait(NamedTuple):
    """Observations of a wait for a datagram.

    `blocked`: a thread is in a receive.  `polling`: a thread polls the socket, `alone`: no other
    socket, and with a timeout.  `remote_port` is 0 on a socket that is not connected.
    """

    blocked: bool
    polling: bool
    alone: bool
    remote_port: int
    span_ns: int


def expects_reply(connection: RequestHistory, peer: RequestHistory, *, blocked: bool) -> bool:
    """Return whether a request on a stream expects a reply.

    `connection` and `peer` count the replies on this connection and from its peer to the same
    owner.  `blocked`: a thread is in a receive on this socket.
    """
    if connection.one_way():
        return False
    return blocked or connection.expects_reply() or peer.expects_reply()


def expects_datagram(wait: DatagramWait, connection: RequestHistory, peer: RequestHistory) -> bool:
    """Return whether a datagram expects a reply.

    A datagram has no handshake: its sender may be a client, or may expect nothing.
    """
    if not (wait.blocked or wait.polling):
        return False  # its queue may be full of replies
    if not wait.blocked and wait.span_ns > LONGEST_DATAGRAM_POLL_NS:
        return False
    if wait.remote_port == DNS_PORT:
        return True  # only queries go there
    if connection.one_way():
        return False
    connected = wait.remote_port != 0
    if connection.expects_reply() or (connected and peer.expects_reply()):
        return True
    if wait.blocked and connected:
        return True
    return (wait.blocked or wait.alone) and wait.span_ns >= UNANSWERED_DATAGRAM_NS


def is_silent(unanswered_keepalives: int) -> bool:
    """Return whether so many keepalives without an answer show that the peer's host is gone.

    The kernel sends one after another, a second apart or more (tcp(7): TCP_KEEPINTVL).
    """
    return unanswered_keepalives >= LEAST_KEEPALIVES


def is_transfer(lasted_ns: int, received_bytes: int) -> bool:
    """Return whether so many bytes in so long a time are a sustained transfer.

    Mirrors `had_flow` in bpf/include/sock_iter.bpf.h, whole milliseconds included.
    """
    return lasted_ns >= FLOW_NS and received_bytes // FLOW_BYTES_PER_MS >= lasted_ns // NS_PER_MS
