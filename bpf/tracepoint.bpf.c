/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Attached to tracepoints alone: for kernels without kprobes and BPF trampolines.
 * sock_send_length and sock_recv_length: 6.3, commit 6e6eda44b939.
 */
#include "include/handlers.bpf.h"
#include "include/iterators.bpf.h"
#include "include/tp_btf.bpf.h"

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send, struct sock *sk, int ret)
{
	return sent(sk, ret);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_receive, struct sock *sk, int ret, int flags)
{
	return received(sk, ret, flags);
}

/* Once for each segment that a send fills, before it requests memory (6.16). */
SEC("tp_btf/tcp_sendmsg_locked")
int BPF_PROG(on_full_buffer, struct sock *sk, struct msghdr *msg, struct sk_buff *skb,
	     int size_goal)
{
	if (skb && (int)skb->len < size_goal) /* the last segment has room */
		return 0;
	/* Without a last segment, nothing is unsent. */
	return buffer_is_full(sk) || (skb && exceeds_unsent(sk, false)) ? found_full_buffer(sk) : 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
