"""Kernel functions in which threads wait, by the beginning of the name.  proc(5): wchan.

A compiler appends suffixes such as `.isra.0`.
"""

from __future__ import annotations

# Streams in both directions, a close that waits for the peer, and terminals.
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
RING = ("io_cqring_wait",)  # io_uring, whose requests are not visible
ON_THREADS = ("futex_",)
SLEEP = ("hrtimer_nanosleep", "do_nanosleep")
PIPE = ("pipe_", "anon_pipe_")
EVENTS = (*EPOLL, *POLL)
# Before 5.16 (kernel commit bc9bbb81730e), x86 did not report the function.
UNKNOWN = ("", "0")
