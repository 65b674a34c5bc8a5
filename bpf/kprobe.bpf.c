/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Attached by kprobes and raw tracepoints: no typed pointers, so sockets are in a hash, and it
 * is the tracepoint of their end that empties it.
 */
#define SOCKETS_IN_HASH
#define COUNTS_BY_SEQUENCE
#include "include/connection_handlers.bpf.h"
#include "include/iterators.bpf.h"
#include "include/kprobe_handlers.bpf.h"

/* The end of each call on a TCP socket, and of each wait in one. */
SEC("kprobe/release_sock")
int BPF_KPROBE(on_release, struct sock *sk)
{
	return on_release_sock(sk);
}

SEC("kprobe/sk_stream_wait_memory")
int BPF_KPROBE(on_full_buffer, struct sock *sk, long *timeo_p)
{
	return on_wait_for_memory(sk, timeo_p);
}

#define SEND_PROBES(function, func, count)                                                         \
	SEC("kprobe/" #function)                                                                   \
	int BPF_KPROBE(begin_##function, struct sock *sk, void *from, unsigned long third,         \
		       unsigned long fourth)                                                       \
	{                                                                                          \
		return udp_send_enter(sk, func, count);                                            \
	}                                                                                          \
	SEC("kretprobe/" #function)                                                                \
	int BPF_KRETPROBE(end_##function, int ret)                                                 \
	{                                                                                          \
		return udp_send_exit(ret, func);                                                   \
	}

SEND_PROBES(udp_sendmsg, SENDER_UDP, third)
SEND_PROBES(udpv6_sendmsg, SENDER_UDP6, third)
SEND_PROBES(udp_sendpage, SENDER_PAGE, fourth)

/* The end of udp_recvmsg and udpv6_recvmsg: what it returns, or less than 0 for a peek. */
SEC("kprobe/skb_consume_udp")
int BPF_KPROBE(on_datagram, struct sock *sk, struct sk_buff *skb, int length)
{
	return length >= 0 ? datagram_received(sk, length, 0) : 0;
}

SEC("kprobe/udp_destroy_sock")
int BPF_KPROBE(on_udp_end, struct sock *sk)
{
	return socket_ended(sk);
}

SEC("kprobe/udpv6_destroy_sock")
int BPF_KPROBE(on_udp6_end, struct sock *sk)
{
	return socket_ended(sk);
}

SEC("raw_tp/tcp_destroy_sock")
int on_tcp_end(struct bpf_raw_tracepoint_args *ctx)
{
	return socket_ended((struct sock *)ctx->args[0]);
}

SEC("raw_tp/tcp_retransmit_skb")
int on_retransmit(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	__u32 segments = segments_of((void *)ctx->args[1]);

	if (RETRANSMIT_REPORTS_ERROR) /* with a third argument */
		return tried_to_retransmit(sk, segments, ctx->args[2]);
	return retransmitted(sk, segments);
}

SEC("raw_tp/tcp_retransmit_synack")
int on_retransmit_synack(struct bpf_raw_tracepoint_args *ctx)
{
	return retransmitted_synack((struct sock *)ctx->args[0]);
}

SEC("raw_tp/tcp_receive_reset")
int on_reset(struct bpf_raw_tracepoint_args *ctx)
{
	return was_reset((struct sock *)ctx->args[0]);
}

SEC("raw_tp/inet_sock_set_state")
int on_state(struct bpf_raw_tracepoint_args *ctx)
{
	return hashed_state_changed((struct sock *)ctx->args[0], ctx->args[1], ctx->args[2]);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
