/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Entry points that every flavour with typed pointers shares. */

SEC("tp_btf/tcp_retransmit_skb")
int on_retransmit(__u64 *ctx)
{
	struct tcp_skb_cb *cb = (void *)ctx[1] + bpf_core_field_offset(struct sk_buff, cb);

	/* From 6.17 on it fires on failure too, and says so in a third argument. */
	if (bpf_core_field_exists(struct trace_event_raw_tcp_retransmit_skb, err) && (int)ctx[2])
		return 0;
	return retransmitted((struct sock *)ctx[0], BPF_CORE_READ(cb, tcp_gso_segs));
}

SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(on_retransmit_synack, struct sock *listener)
{
	return retransmitted(listener, 1);
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

SEC(ITERATE_SOCKETS)
int drain_sockets(socket_iterator *ctx)
{
	return look(ctx, true);
}

SEC(ITERATE_SOCKETS)
int look_at_sockets(socket_iterator *ctx)
{
	return look(ctx, false);
}

SEC("iter/task_file")
int seed_listeners(struct bpf_iter__task_file *ctx)
{
	return seed_listener(ctx);
}

SEC("iter/task_file")
int seed_sockets(struct bpf_iter__task_file *ctx)
{
	return seed_socket(ctx);
}
