/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What is remembered of a socket: found, made, deleted.  Programs with typed pointers keep it in
 * the socket's storage; a kprobe has none, so there it is in a hash by address.
 */
#ifndef SOCK_STATE_BPF_H
#define SOCK_STATE_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "maps.bpf.h"
#include "settings.bpf.h"

#ifdef SOCKETS_IN_HASH

#include "tcp_seq.bpf.h"

static __always_inline struct sock_state *sock_state_lookup(struct sock *sk)
{
	__u64 key = (__u64)sk;

	return bpf_map_lookup_elem(&sockets, &key);
}

static __always_inline struct sock_state *sock_state_get_or_create(struct sock *sk)
{
	const struct sock_state *fresh;
	__u64 key = (__u64)sk;
	struct sock_state *state = bpf_map_lookup_elem(&sockets, &key);

	if (state)
		return state;
	fresh = zero_sock_state();
	if (fresh)
		bpf_map_update_elem(&sockets, &key, fresh, BPF_NOEXIST);
	state = bpf_map_lookup_elem(&sockets, &key);
	if (state)
		begin_progress(sk, &state->progress);
	else
		count_lost(LOST_SOCKET);
	return state;
}

static __always_inline void sock_state_delete(struct sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_delete_elem(&sockets, &key);
}

#else

static __always_inline struct sock_state *sock_state_lookup(struct sock *sk)
{
	return bpf_sk_storage_get(&sockets, sk, 0, 0);
}

static __always_inline struct sock_state *sock_state_get_or_create(struct sock *sk)
{
	struct sock_state *state = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!state)
		count_lost(LOST_SOCKET);
	return state;
}

static __always_inline void sock_state_delete(struct sock *sk) /* it goes with the socket */
{
}

#endif

/* A socket begins another connection: what is known of the one before does not hold for it. */
static __always_inline void forget_connection(struct sock_state *state)
{
	const __u64 kept = offsetof(struct sock_state, last_send_ns);

	__builtin_memset((void *)state + kept, 0, sizeof(*state) - kept);
}

static __always_inline void add_atomic(__u64 *to, __u64 amount)
{
	__sync_fetch_and_add(to, amount);
}

#endif
