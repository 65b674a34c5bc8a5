"""What each source cannot see: declared once, for `check`, the documents and the tests.

A silent gap reads as *nothing happened*.  So whoever asks is told, and a test that skips a
source for its gap names the gap by its key here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BlindSpot:
    """One gap: a key for tests, and what a user is told is missing."""

    key: str
    text: str


_EVERYWHERE = (
    BlindSpot(
        "other_protocols", "protocols other than TCP and UDP: SCTP, raw sockets, RDMA, AF_XDP"
    ),
    BlindSpot("mptcp_detail", "why, and how long exactly, a Multipath TCP socket stalls"),
    BlindSpot(
        "local_nat",
        "what this host's own NAT makes of a connection: its interface is the one that the address"
        " before it leads to",
    ),
    BlindSpot("no_route", "a connect that fails at once for want of a route (ENETUNREACH)"),
    BlindSpot("udp_socket", "which UDP socket: datagrams are told by process, or by interface"),
)
_BRIEF_WAIT = BlindSpot(
    "brief_wait",
    "a wait for a reply that was over before a look met it, of a peer on this host that listens"
    " again: it may have been by agreement",
)
_HIDDEN_PEER = BlindSpot(
    "hidden_peer",
    "a wait for a peer of another user on this host that has read the request, unless run as"
    " root: it may be intended",
)
_KERNEL = (
    *_EVERYWHERE,
    _BRIEF_WAIT,
    BlindSpot("unconnected_query", "where a datagram of an unconnected UDP socket went"),
    BlindSpot(
        "shared_query",
        "waits for the first answer by UDP of who polls other sockets, too; but to port 53",
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
_TRACEPOINTS = (
    *_KERNEL,
    BlindSpot("splice_in", "bytes that a process takes out of a socket by splice(2)"),
)
_SAMPLED = (
    *_EVERYWHERE,
    BlindSpot("udp_bytes", "UDP bytes of a process: UDP shows in its interface's total only"),
    BlindSpot("datagram_waits", "waits for the answer to a datagram"),
    BlindSpot("datagram_sends", "datagrams whose send is held up"),
    BlindSpot(
        "connect_errors",
        "connects that failed, whatever the reason, and connections that were reset",
    ),
    BlindSpot("keepalives", "that a peer answers no keepalives any more"),
    BlindSpot("policy_routes", "the interface, where rules route by mark, user, protocol or port"),
    BlindSpot(
        "handshake_retransmits", "SYN-ACKs sent again, for a connection that is no socket yet"
    ),
    BlindSpot("foreign_owner", "the process behind other users' sockets, unless run as root"),
    BlindSpot("other_namespaces", "sockets of other network namespaces, as containers have them"),
    BlindSpot(
        "exact_times",
        "when a stalled send (by /proc/net, a connect too) began: only the look that met it tells",
    ),
    BlindSpot("shared_user", "which of several processes that hold a socket uses it"),
)

# By source and way to attach, as `check` names its rows.
BLIND_SPOTS: dict[str, tuple[BlindSpot, ...]] = {
    "ebpf fentry": _KERNEL,
    "ebpf kprobe": _KPROBES,
    "ebpf tracepoint": _TRACEPOINTS,
    "ebpf tracepoint_files": (
        *_TRACEPOINTS,
        BlindSpot(
            "unheld_socket",
            "waits of a socket that no descriptor of a process holds, and its bytes while it is so:"
            " it is being closed, is in a message of a unix socket, or only in an io_uring's table",
        ),
        BlindSpot(
            "outside_processes",
            "waits of processes outside the probe's own pid namespace, and their bytes until a"
            " connection ends",
        ),
    ),
    "bcc": (
        *_KPROBES,
        BlindSpot("datagram_epoll", "waits for the answer to a datagram in epoll"),
    ),
    "proc sock_diag": (
        *_SAMPLED,
        _BRIEF_WAIT,
        _HIDDEN_PEER,
        BlindSpot(
            "late_close", "last bytes of a connection that has ended, until its process closes it"
        ),
        BlindSpot("aborted", "last bytes of a connection that its process aborts (SO_LINGER of 0)"),
        BlindSpot("reset_byte", "one byte of a connection that is reset: it is taken for a FIN"),
        BlindSpot("brief_owner", "the process of a connection that ends between two looks"),
        BlindSpot("brief_stall", "a request and its answer that both fall between two looks"),
    ),
    "proc net": (
        *_SAMPLED,
        BlindSpot("tcp_bytes", "bytes of processes: bandwidth is told by interface only"),
        BlindSpot("retransmits", "retransmits, unless they hold a process up"),
        BlindSpot("replies", "waits for a reply: only connects and sends that are stuck show"),
    ),
}
