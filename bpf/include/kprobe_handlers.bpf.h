/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What entry points without typed pointers need besides: shared by kprobe.bpf.c and bcc.c. */
#ifndef KPROBE_HANDLERS_BPF_H
#define KPROBE_HANDLERS_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "clock.bpf.h"
#include "connection_handlers.bpf.h"
#include "core_read.bpf.h"
#include "handlers.bpf.h"
#include "maps.bpf.h"
#include "settings.bpf.h"
#include "sock.bpf.h"
#include "sock_state.bpf.h"
#include "spins.bpf.h"
#include "stall.bpf.h"
#include "tcp_seq.bpf.h"
#include "tcp_sock.bpf.h"
#include "traffic.bpf.h"

/*
 * A process lets go of a socket that it had locked: at the end of each call, and where it begins
 * to wait in one.
 */
static __always_inline int on_release_sock(struct sock *sk)
{
	struct sock_state *state = sock_state_lookup(sk);
	struct progress *progress;
	__u32 sent, received;

	if (!state) { /* open before the probe, without a visible owner */
		/* The last release follows the end of the socket: of that nothing would be left. */
		if (is_tcp(sk) && !(FIELD(sk, __sk_common.skc_flags) & (1 << SOCK_DEAD)))
			sock_state_get_or_create(sk);
		return 0;
	}
	progress = &state->progress;
	if (!progress->counts)
		return 0;
	if (!progress->initialized)
		begin_progress(sk, progress);
	if (state->closed) {
		/* Data from before the reset is read; or connect() with AF_UNSPEC removes the peer.
		 */
		if (!BPF_CORE_READ(sk, sk_shutdown))
			return 0;
		sent = 0;
	} else {
		sent = take_sent_delta(sk, progress);
	}
	received = take_received_delta(sk, progress);
	if (!sent && !received)
		return found_nothing(state);
	claim_sock(sk, state);
	if (sent)
		stream_sent(sk, state, coarse_ns(), sent);
	if (received)
		bytes_read(sk, state, received, 0);
	return 0;
}

/* sk_stream_wait_memory(): the sender blocks until *timeo_p, or with 0 returns a short write. */
static __always_inline int on_wait_for_memory(struct sock *sk, long *timeo_p)
{
	struct sock_state *state;
	long left = 0;
	__u32 sent;

	if (transport_of(sk) != TRANSPORT_TCP)
		return 0;
	state = sock_state_get_or_create(sk);
	if (state && state->progress.initialized && !state->closed) {
		sent = take_sent_delta(sk, &state->progress);
		bpf_probe_read_kernel(&left, sizeof(left), timeo_p);
		if (sent)
			claim_sock(sk, state);
		if (sent && !left)
			stream_sent(sk, state, coarse_ns(), sent);
		else
			add_atomic(&state->unread_sent,
				   sent); /* the call goes on, and so may a stall */
	}
	return found_full_buffer(sk);
}

static __always_inline int hashed_state_changed(struct sock *sk, int old, int new)
{
	struct sock_state *state;

	/* Nothing was read yet, and the address may be that of one whose end was missed. */
	if (old == TCP_SYN_RECV && new == TCP_ESTABLISHED && is_tcp(sk)) {
		sock_state_delete(sk);
		sock_state_get_or_create(sk);
	}
	state_changed(sk, old, new);
	state = sock_state_lookup(sk);
	if (state && state->progress.counts)
		note_state(sk, &state->progress, old, new);
	return 0;
}

/*
 * Datagrams move no numbers: what a send returns is what counts.  A thread's entry has the socket
 * that it is sending on, and in the lowest bits which function: one may call another.  It goes at
 * the return; where that is missed it stays, until the thread sends again or room is needed.
 */
enum udp_send_func {
	SENDER_UDP,
	SENDER_UDP6, /* calls the one above for a mapped address */
	SENDER_PAGE, /* sendfile and splice until 6.5; calls it with no bytes */
};
#define SENDERS 3ULL

#ifndef MAPS_ARE_FUNCTIONS /* see bcc_compat.h */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* thread */
	__type(value, __u64);
} udp_send_in_flight SEC(".maps");
#endif

static __always_inline int udp_send_enter(struct sock *sk, enum udp_send_func func, __u64 count)
{
	__u64 thread = bpf_get_current_pid_tgid(), value = (__u64)sk | func, *found;

	if (func == SENDER_UDP && FIELD(sk, __sk_common.skc_family) == AF_INET6)
		return 0;
	found = bpf_map_lookup_elem(&udp_send_in_flight, &thread);
	if (!count && found && *found == ((__u64)sk | SENDER_PAGE))
		return 0; /* called by that one */
	/*
	 * The return of its last send was missed: more threads slept in the call than the kernel
	 * keeps returns for.  Only from 6.7 on does the kernel count them for who asks.
	 */
	if (found)
		count_lost(LOST_RETURN);
	if (found)
		*found = value;
	else if (bpf_map_update_elem(&udp_send_in_flight, &thread, &value, BPF_ANY))
		count_lost(LOST_CALL);
	return 0;
}

static __always_inline int udp_send_exit(int ret, enum udp_send_func func)
{
	__u64 thread = bpf_get_current_pid_tgid(), *found, value;

	found = bpf_map_lookup_elem(&udp_send_in_flight, &thread);
	if (!found)
		return 0;
	value = *found;
	if ((value & SENDERS) != func)
		return 0;
	bpf_map_delete_elem(&udp_send_in_flight, &thread);
	return datagram_sent((struct sock *)(value & ~SENDERS), ret);
}

#endif
