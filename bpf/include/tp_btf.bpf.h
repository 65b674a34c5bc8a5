/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Tracepoints with typed pointers: for the attach variants by BTF. */
#ifndef TP_BTF_BPF_H
#define TP_BTF_BPF_H

#include "vmlinux_min.h"
#include "connection_handlers.bpf.h"
#include "handlers.bpf.h"

SEC("tp_btf/tcp_retransmit_skb")
int on_retransmit(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	__u32 segments = segments_of((void *)ctx[1]);

	if (RETRANSMIT_REPORTS_ERROR) /* with a third argument */
		return tried_to_retransmit(sk, segments, ctx[2]);
	return retransmitted(sk, segments);
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(on_retransmit_synack, struct sock *listener)
{
	return retransmitted_synack(listener);
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(on_reset, struct sock *sk)
{
	return was_reset(sk);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int old, int new)
{
	return state_changed(sk, old, new);
}

#endif
