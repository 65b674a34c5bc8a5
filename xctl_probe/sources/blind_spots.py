"""Blind spots of each source: declared once, for `check`, the documents and the tests.

An undeclared blind spot reads as *nothing happened*.  A test that skips a source for a blind
spot names the spot by its key.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BlindSpot:
    """One blind spot: a key for tests, and the text that `check` prints."""

    key: str
    text: str


_EVERYWHERE = (
    BlindSpot(
        "other_protocols",
        "protocols other than TCP and UDP: SCTP, raw sockets, AF_XDP; of RDMA, stalls, and bytes by"
        " process unless counters are bound",
    ),
    BlindSpot("mptcp_detail", "the cause and exact length of stalls on Multipath TCP sockets"),
    BlindSpot(
        "local_nat",
        "the effect of this host's own NAT on a connection: its interface is that of the address"
        " before translation",
    ),
    BlindSpot(
        "remote_transfer",
        "transfers from other hosts to an event loop that break off: they may be complete",
    ),
    BlindSpot("no_route", "connects that fail at once without a route (ENETUNREACH)"),
    BlindSpot("brief_job", "the job of a process that has exited before the interval is over"),
    BlindSpot("udp_socket", "which UDP socket: datagrams are counted by process, or by interface"),
    BlindSpot(
        "hidden_protocol",
        "the protocol of a socket (protocols in --metrics), on Multipath TCP sockets, inside TLS,"
        " in messages that came with the handshake, of NCCL's bootstrap and older versions, and"
        " on connections from before the probe unless both directions show it",
    ),
    BlindSpot(
        "foreign_packets",
        "packets by protocol (packets in --metrics) of interfaces in other network namespaces",
    ),
)
_SHORT_REPLY_WAIT = BlindSpot(
    "brief_wait",
    "reply waits that are over before a sample finds them, if the local peer is idle afterwards:"
    " they may have been expected",
)
_BUSY_PEER = BlindSpot(
    "busy_peer",
    "waits of an event loop for another host that goes on to answer the process's other"
    " connections: they may be expected",
)
_NEW_PEER = BlindSpot(
    "first_requests",
    "waits of an event loop for another host that has replied to its program less than eight times:"
    " they may be expected",
)
_SESSION_TICKETS = BlindSpot(
    "session_tickets",
    "waits for the reply to the first request of a new TLS 1.3 connection, once the server has sent"
    " its session tickets: they count as the reply",
)
_OTHER_TICKETS = BlindSpot(
    "other_tickets",
    "waits for the reply to the first request of a new TLS 1.3 connection, if the server has sent"
    " its session tickets, and either it is an event loop and has got one ticket only, or the"
    " program does not read record by record (Go, Node): they count as the reply",
)
_HIDDEN_PEER = BlindSpot(
    "hidden_peer",
    "waits for a local peer of another user that has read the request, unless run as root: they may"
    " be expected",
)
_KERNEL = (
    *_EVERYWHERE,
    _SHORT_REPLY_WAIT,
    BlindSpot(
        "accepted_reply",
        "waits for data of the side that accepted a connection, unless it spins, announces itself"
        " to an equal, or its peer is on this host and does not read",
    ),
    _BUSY_PEER,
    _NEW_PEER,
    _OTHER_TICKETS,
    BlindSpot("unconnected_query", "the destination of datagrams of unconnected UDP sockets"),
    BlindSpot(
        "shared_query",
        "waits for the first reply by UDP of a thread that polls more sockets, except to port 53",
    ),
    BlindSpot(
        "udp_interface", "the interface of UDP sockets that are neither connected nor bound to one"
    ),
)
_KPROBES = (
    *_KERNEL,
    BlindSpot("mptcp_receive_stalls", "waits for a reply on Multipath TCP sockets"),
    BlindSpot("mptcp_bytes", "bytes of Multipath TCP sockets"),
)
_ZEROCOPY_RECEIVE = BlindSpot(
    "zerocopy_receive",
    "bytes received by TCP_ZEROCOPY_RECEIVE, by zero copy of io_uring, or by the kernel for itself"
    " (NVMe/TCP, iSCSI)",
)
_TRACEPOINTS = (
    *_KERNEL,
    _ZEROCOPY_RECEIVE,
    BlindSpot(
        "splice_in",
        "bytes that a process reads from a socket by splice(2); before Linux 6.5 also those that it"
        " sends by sendfile(2) and splice(2)",
    ),
)
_SAMPLED = (
    *_EVERYWHERE,
    BlindSpot("payload", "the protocol of a socket, unless run as root"),
    BlindSpot("accepted_waits", "waits for data of the side that accepted the connection"),
    BlindSpot(
        "spinning_receives", "waits in receives that do not block, made again and again, as by NCCL"
    ),
    BlindSpot("udp_bytes", "UDP bytes of a process: UDP is counted by interface only"),
    BlindSpot("datagram_waits", "waits for the reply to a datagram"),
    BlindSpot("datagram_sends", "datagrams whose send blocks"),
    BlindSpot(
        "connect_errors",
        "failed connects, for any reason, and reset connections",
    ),
    BlindSpot(
        "policy_routes",
        "the interface where rules route by mark, user, protocol or port, or where ports choose"
        " between the next hops of a route (fib_multipath_hash_policy)",
    ),
    BlindSpot(
        "handshake_retransmits", "retransmitted SYN-ACKs of a connection that has no socket yet"
    ),
    BlindSpot(
        "foreign_owner",
        "the process behind other users' sockets, and their waits for a first reply, unless run as"
        " root",
    ),
    BlindSpot(
        "other_namespaces", "sockets of other network namespaces, such as those of containers"
    ),
    BlindSpot(
        "exact_times",
        "the beginning of a stalled send (by /proc/net, of a connect too): the sample that found it"
        " counts",
    ),
    BlindSpot(
        "shared_user",
        "which of the processes that hold a socket uses it; where more than 512 are in use in an"
        " interval, for some intervals, which process one was passed to",
    ),
)

# By source and attach variant: the names of the rows of `check`.
BLIND_SPOTS: dict[str, tuple[BlindSpot, ...]] = {
    "ebpf fentry": (*_KERNEL, _ZEROCOPY_RECEIVE),
    "ebpf kprobe": _KPROBES,
    "ebpf tracepoint": _TRACEPOINTS,
    "ebpf tracepoint_files": (
        *_TRACEPOINTS,
        BlindSpot(
            "unheld_socket",
            "waits of a socket without a descriptor in a process, and its bytes during that time:"
            " in close(), in a message of a unix socket, or only in the table of an io_uring",
        ),
        BlindSpot(
            "outside_processes",
            "waits of processes outside the probe's own pid namespace, and their bytes until a"
            " connection is closed",
        ),
    ),
    "bcc": (
        *_KPROBES,
        BlindSpot("datagram_epoll", "waits for the reply to a datagram in epoll"),
    ),
    "sampler sock_diag": (
        *_SAMPLED,
        _SHORT_REPLY_WAIT,
        _BUSY_PEER,
        _NEW_PEER,
        _SESSION_TICKETS,
        _HIDDEN_PEER,
        BlindSpot(
            "one_sided",
            "waits of an event loop for another host to which it sends three messages or more for"
            " two that come: not each of them expects a reply",
        ),
        BlindSpot("late_close", "last bytes of a finished connection, until its process closes it"),
        BlindSpot("aborted", "last bytes of a connection that its process aborts (SO_LINGER of 0)"),
        BlindSpot(
            "reset_byte",
            "one byte of a connection that is reset, or that its process closes first, if data came"
            " since the last sample: it is counted as a FIN",
        ),
        BlindSpot("brief_owner", "the process of a connection that is closed between two samples"),
        BlindSpot("brief_stall", "a request and its reply that both fall between two samples"),
    ),
    "sampler /proc/net": (
        *_SAMPLED,
        BlindSpot("no_cookie", "the protocol of a socket, also as root"),
        BlindSpot("tcp_bytes", "bytes of processes: bandwidth is reported by interface only"),
        BlindSpot("retransmits", "retransmits, unless they stall a process"),
        BlindSpot("keepalives", "peers that stop answering keepalives"),
        BlindSpot("replies", "waits for a reply: only connects and sends are reported"),
    ),
}
