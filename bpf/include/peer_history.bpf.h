/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The request/reply history of all connections that a program opens to one peer. */
#ifndef PEER_HISTORY_BPF_H
#define PEER_HISTORY_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "core_read.bpf.h"
#include "maps.bpf.h"
#include "settings.bpf.h"
#include "sock.bpf.h"

static __always_inline void describe_peer(struct peer *peer, struct sock *sk,
					  struct sock_state *state)
{
	__u8 local[ADDRESS_LEN];

	__builtin_memset(peer, 0, sizeof(*peer));
	peer->family = FIELD(sk, __sk_common.skc_family);
	read_addresses(sk, peer->family, local, peer->address);
	peer->netns = netns_of(sk, false);
	peer->port = bpf_ntohs(FIELD(sk, __sk_common.skc_dport));
	/* Behind the end of a name an older kernel leaves what an earlier one had there. */
	bpf_probe_read_kernel_str(peer->comm, COMM_LEN, state->owner.comm);
}

/* As peer_hash() in xctl_probe/ebpf/endpoints.py. */
static __always_inline __u32 peer_hash(struct peer *peer)
{
	__u64 *words = (__u64 *)peer;
	__u64 hash = 0;

	for (int i = 0; i < (int)(sizeof(*peer) / sizeof(*words)); i++) {
		hash = (hash ^ words[i]) * PEER_HASH_FACTOR;
		hash ^= hash >> 32;
	}
	return hash;
}

static __always_inline bool same_peer(struct peer *one, struct peer *other)
{
	__u64 *a = (__u64 *)one, *b = (__u64 *)other;
	__u64 differs = 0;

	for (int i = 0; i < (int)(sizeof(*one) / sizeof(*a)); i++)
		differs |= a[i] ^ b[i];
	return !differs;
}

/* What is known of a peer, and where: or none, and a place that is free, or else its first. */
static __always_inline struct endpoint *endpoint_of(struct endpoint_key *key, struct peer *peer)
{
	__u32 hash = peer_hash(peer), free = hash % ENDPOINT_PLACES;
	struct endpoint *endpoint;
	bool found = false;

	for (int i = 0; i < ENDPOINT_TRIES; i++) {
		key->place = (hash >> (i * ENDPOINT_SHIFT)) % ENDPOINT_PLACES;
		endpoint = bpf_map_lookup_elem(&endpoints, key);
		if (endpoint && same_peer(&endpoint->peer, peer))
			return endpoint;
		if (!endpoint && !found) {
			free = key->place;
			found = true;
		}
	}
	key->place = free;
	return 0;
}

VERIFIED_ONCE int add_to_endpoint(struct endpoint *fresh, __u32 uid)
{
	struct endpoint_key key = { .uid = uid };
	struct endpoint *endpoint;

	if (!fresh)
		return 0;
	endpoint = endpoint_of(&key, &fresh->peer);
	if (endpoint) {
		__sync_fetch_and_add(&endpoint->answered, fresh->answered);
		__sync_fetch_and_add(&endpoint->unanswered, fresh->unanswered);
	} else if (bpf_map_update_elem(&endpoints, &key, fresh, BPF_ANY)) {
		count_lost(LOST_ENDPOINT);
	}
	return 0;
}

static __noinline void merge_peer_history(struct sock *sk, struct sock_state *state)
{
	struct endpoint fresh = {};

	fresh.answered = state->answered - state->counted_answers;
	fresh.unanswered = state->unanswered - state->counted_unanswered;
	if (!state->opened || !FIELD(sk, __sk_common.skc_dport) ||
	    !(fresh.answered | fresh.unanswered))
		return;
	state->counted_answers = state->answered;
	state->counted_unanswered = state->unanswered;
	describe_peer(&fresh.peer, sk, state);
	add_to_endpoint(&fresh, BPF_CORE_READ(sk, sk_uid.val));
}

#endif
