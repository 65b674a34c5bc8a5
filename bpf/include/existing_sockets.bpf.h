/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Sockets that were open before the probe came get their owner from who holds them. */
#ifndef EXISTING_SOCKETS_BPF_H
#define EXISTING_SOCKETS_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "clock.bpf.h"
#include "iter_ctx.bpf.h"
#include "maps.bpf.h"
#include "settings.bpf.h"
#include "sock.bpf.h"
#include "sock_state.bpf.h"
#include "stall.bpf.h"
#include "task.bpf.h"
#include "tcp_sock.bpf.h"
#include "traffic.bpf.h"

#define DELAYED_ACK_NS 200000000ULL /* TCP_DELACK_MAX */

static __always_inline __u64 port_key(struct sock *sk)
{
	__u64 netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);

	return netns << 16 | BPF_CORE_READ(sk, __sk_common.skc_num);
}

/* First pass: what is listened on.  A connection from such a port was accepted, not opened. */
static __always_inline int seed_listener(struct bpf_iter__task_file *ctx)
{
	struct sock *sk = file_sock(ctx);
	__u8 yes = 1;
	__u64 key;

	if (!sk || transport_of(sk) != TRANSPORT_TCP ||
	    BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_LISTEN)
		return 0;
	key = port_key(sk);
	if (bpf_map_update_elem(&listen_ports, &key, &yes, BPF_ANY))
		count_lost(LOST_SOCKET);
	return 0;
}

/* What the kernel remembers of a connection's past, in place of what the probe did not see. */
static __always_inline void seed_past(struct sock *sk, struct sock_state *state)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u64 now = coarse_ns();
	__u32 jiffies = jiffies32();
	__u32 since_send = jiffies - BPF_CORE_READ(tp, lsndtime);
	__u32 since_receive = jiffies - BPF_CORE_READ(tp, inet_conn.icsk_ack.lrcvtime);
	__u32 since_ack = jiffies - BPF_CORE_READ(tp, rcv_tstamp);

	state->request_ns = state->last_send_ns = now - since_send * settings.tick_ns;
	state->last_receive_ns = now - since_receive * settings.tick_ns;
	/* Without data, the times are those of the handshake. */
	if (!BPF_CORE_READ(tp, data_segs_out))
		state->last_send_ns = 0;
	if (!BPF_CORE_READ(tp, bytes_received))
		state->last_receive_ns = 0;
	if (!BPF_CORE_READ(tp, bytes_received))
		state->reply_state = BPF_CORE_READ(tp, data_segs_out) != 0;
	else if (since_send != since_receive)
		state->reply_state = since_send < since_receive;
	else /* within one tick: a bare ACK after the peer's data was for ours, a keepalive's not */
		state->reply_state =
			since_ack < since_receive &&
			(since_receive - since_ack) * settings.tick_ns <= DELAYED_ACK_NS;
	state->sent_last = state->reply_state != 0;
	state->from_before = 1;
	state->known_duplicates = dsack_dups(sk);
	know_attempts(sk, state);
}

/*
 * Which side sent the SYN: of what was acknowledged, it alone is no data.  Of a FIN nothing is
 * known here.  Without that, a connection from a port on which a socket listens was accepted.
 */
static __always_inline bool was_opened(struct sock *sk, __u8 tcp_state)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u32 in_flight = BPF_CORE_READ(tp, snd_nxt) - BPF_CORE_READ(tp, snd_una);
	__u64 key = port_key(sk), sent, more;

	if (tcp_state == TCP_SYN_SENT)
		return true;
	if (is_tcp(sk) && (tcp_state == TCP_ESTABLISHED || tcp_state == TCP_CLOSE_WAIT)) {
		sent = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);
		more = BPF_CORE_READ(tp, bytes_acked) + in_flight - sent;
		if (more <= 1)
			return more;
	}
	return !bpf_map_lookup_elem(&listen_ports, &key);
}

static __always_inline int seed_socket(struct bpf_iter__task_file *ctx)
{
	struct sock *sk = file_sock(ctx);
	struct task_struct *task = ctx->task;
	struct sock_state *state;
	__u8 tcp_state;

	if (!sk || !task || transport_of(sk) != TRANSPORT_TCP)
		return 0;
	tcp_state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (tcp_state == TCP_CLOSE)
		return 0;
	state = sock_state_get_or_create(sk);
	if (!state || state->owner.tgid)
		return 0; /* it has done I/O meanwhile, or its first holder was taken */
	fill_owner(&state->owner, address_of(task));
	state->inode = inode_of(sk);
	if (tcp_state == TCP_LISTEN)
		return 0;
	state->opened = was_opened(sk, tcp_state);
	if (tcp_state == TCP_SYN_SENT)
		state->connect_ns = coarse_ns();
	else if (is_tcp(sk))
		seed_past(sk, state);
	return 0;
}

#endif
