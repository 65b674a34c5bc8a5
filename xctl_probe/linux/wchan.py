"""Kernel functions in which threads wait, by how their names begin.  proc(5): wchan.

Names are beginnings, because a compiler appends `.isra.0` and the like.
"""

from __future__ import annotations

# A stream of either direction, and a close that waits for the peer; also a terminal.
EITHER = ("wait_woken",)
STREAM_RECEIVE = (*EITHER, "sk_wait_data")
RECEIVE = ("sk_wait_data", "__skb_wait_for_more_packets", "__skb_recv_udp")
SEND = ("sk_stream_wait_memory", "sock_alloc_send_pskb", "sock_wait_for_wmem")
CONNECT = ("inet_wait_for_connect", "sk_stream_wait_connect")
ACCEPT = ("inet_csk_accept",)
CLOSE = (*EITHER, "sk_stream_wait_close", "inet_wait_woken")
ON_SOCKETS = (*EITHER, *RECEIVE, *SEND, *CONNECT, *ACCEPT, *CLOSE)
EPOLL = ("ep_poll", "do_epoll_wait")
POLL = ("do_poll", "poll_schedule", "do_sys_poll", "do_select")
RING = ("io_cqring_wait",)  # io_uring, whose requests show nowhere
EVENTS = (*EPOLL, *POLL)
# Before 5.16 (kernel commit bc9bbb81730e) x86 could not name the function.
UNKNOWN = ("", "0")
