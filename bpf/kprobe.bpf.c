/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Attached by kprobes and raw tracepoints: no typed pointers, so sockets are in a hash, and it
 * is the tracepoint of their end that empties it.
 */
#define SOCKETS_IN_HASH
#include "iterators.h"
#include "progress.h"

/* The socket that a thread is sending on; a send seldom sleeps, so its return is seen. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64); /* thread */
	__type(value, __u64); /* address of the struct sock */
} sending SEC(".maps");

static __always_inline int send_begins(struct sock *sk)
{
	__u64 thread = bpf_get_current_pid_tgid(), value = (__u64)sk;

	if (bpf_map_update_elem(&sending, &thread, &value, BPF_ANY))
		count_lost(LOST_CALL);
	return 0;
}

/* udpv6_sendmsg calls udp_sendmsg for a mapped address: only the inner return finds a socket. */
static __always_inline int send_ends(int ret)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u64 *found = bpf_map_lookup_elem(&sending, &thread);
	struct sock *sk;

	if (!found)
		return 0;
	sk = (struct sock *)*found;
	bpf_map_delete_elem(&sending, &thread);
	return sent(sk, ret);
}

#define SEND_PROBES(function)                                                                      \
	SEC("kprobe/" #function)                                                                   \
	int BPF_KPROBE(begin_##function, struct sock *sk)                                          \
	{                                                                                          \
		return send_begins(sk);                                                            \
	}                                                                                          \
	SEC("kretprobe/" #function)                                                                \
	int BPF_KRETPROBE(end_##function, int ret)                                                 \
	{                                                                                          \
		return send_ends(ret);                                                             \
	}

SEND_PROBES(tcp_sendmsg)
SEND_PROBES(tcp_sendpage) /* sendfile and splice, until 6.5 */
SEND_PROBES(udp_sendmsg)
SEND_PROBES(udpv6_sendmsg)

/* The end of udp_recvmsg and udpv6_recvmsg: what it returns, or less than 0 for a peek. */
SEC("kprobe/skb_consume_udp")
int BPF_KPROBE(on_datagram, struct sock *sk, struct sk_buff *skb, int length)
{
	return length >= 0 ? received(sk, length, 0) : 0;
}

SEC("kprobe/sk_stream_wait_memory")
int BPF_KPROBE(on_full_buffer, struct sock *sk)
{
	return transport_of(sk) == TRANSPORT_TCP ? met_full_buffer(sk) : 0;
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

/* In tcp_recvmsg and tcp_splice_read, each time that data was copied. */
SEC("raw_tp/tcp_rcv_space_adjust")
int on_receive(struct bpf_raw_tracepoint_args *ctx)
{
	return progressed((struct sock *)ctx->args[0]);
}

SEC("raw_tp/tcp_destroy_sock")
int on_tcp_end(struct bpf_raw_tracepoint_args *ctx)
{
	return socket_ended((struct sock *)ctx->args[0]);
}

SEC("raw_tp/tcp_retransmit_skb")
int on_retransmit(struct bpf_raw_tracepoint_args *ctx)
{
	/* From 6.17 on it fires on failure too, and says so in a third argument. */
	if (bpf_core_field_exists(struct trace_event_raw_tcp_retransmit_skb, err) &&
	    (int)ctx->args[2])
		return 0;
	return retransmitted((struct sock *)ctx->args[0], segments_of((void *)ctx->args[1]));
}

SEC("raw_tp/tcp_retransmit_synack")
int on_retransmit_synack(struct bpf_raw_tracepoint_args *ctx)
{
	return retransmitted((struct sock *)ctx->args[0], 1);
}

SEC("raw_tp/tcp_receive_reset")
int on_reset(struct bpf_raw_tracepoint_args *ctx)
{
	return was_reset((struct sock *)ctx->args[0]);
}

SEC("raw_tp/inet_sock_set_state")
int on_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	int old = ctx->args[1], new = ctx->args[2];

	/* Nothing was read yet, and the address may be that of one whose end was missed. */
	if (old == TCP_SYN_RECV && new == TCP_ESTABLISHED && is_tcp(sk)) {
		forget(sk);
		memory_for(sk);
	}
	return state_changed(sk, old, new);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
