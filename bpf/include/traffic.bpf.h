/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Who moved how many bytes. */
#ifndef TRAFFIC_BPF_H
#define TRAFFIC_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "core_read.bpf.h"
#include "emit.bpf.h"
#include "maps.bpf.h"
#include "settings.bpf.h"
#include "sock.bpf.h"
#include "sock_state.bpf.h"
#include "task.bpf.h"
#include "tcp_sock.bpf.h"

/*
 * The entry of a process, a new one where there is none; the interface is left out where there is
 * no room.  NULL: no room at all, which is counted.
 */
static __noinline struct process_traffic *traffic_of(struct process_key *key, struct owner *owner)
{
	struct process_traffic *traffic, fresh = {
		.start_ticks = owner->start_ticks,
		.pid = owner->pid,
	};

	__builtin_memcpy(fresh.comm, owner->comm, COMM_LEN);
	bpf_map_update_elem(&processes, key, &fresh, BPF_NOEXIST);
	traffic = bpf_map_lookup_elem(&processes, key);
	if (traffic)
		return traffic;
	key->ifindex = key->netns = 0;
	bpf_map_update_elem(&crowded_processes, key, &fresh, BPF_NOEXIST);
	traffic = bpf_map_lookup_elem(&crowded_processes, key);
	if (!traffic)
		count_lost(LOST_PROCESS);
	return traffic;
}

static __noinline struct process_traffic *new_process(struct process_key *key)
{
	struct owner owner = {};

	fill_owner(&owner, bpf_get_current_task());
	return traffic_of(key, &owner);
}

/* A datagram: its socket may be gone before anybody asks, so it counts for the process. */
static __always_inline void count_datagram(struct sock *sk, __u64 sent, __u64 received)
{
	struct task_struct *task = current_task();
	struct process_key key = {
		.start_boottime_ns = FIELD_OF(task, group_leader, start_boottime),
		.tgid = current_tgid(task),
		.netns = netns_of(sk, true),
	};
	struct process_traffic *traffic;

	barrier(); /* typed loads before the paths of an interface: see core_read.bpf.h */
	key.ifindex = interface_of(sk, true);
	traffic = bpf_map_lookup_elem(&processes, &key);
	if (!traffic)
		traffic = new_process(&key);
	if (!traffic)
		return;
	if (sent)
		add_atomic((__u64 *)&traffic->sent_bytes, sent);
	if (received)
		add_atomic((__u64 *)&traffic->received_bytes, received);
}

/*
 * Bytes of a socket that go to its process.  Taken before they are given: where this is
 * interrupted, a reader finds nothing, rather than the same bytes again.
 */
static __noinline void move_bytes_to_process(struct sock *sk, struct sock_state *state, bool hot)
{
	__u64 sent = state->unread_sent, received = state->unread_received;
	struct process_key key = {};
	struct process_traffic *traffic;

	if (!sent && !received)
		return;
	key.start_boottime_ns = state->owner.start_boottime_ns;
	key.tgid = state->owner.tgid;
	key.netns = netns_of(sk, hot);
	barrier();
	key.ifindex = interface_of(sk, hot);
	add_atomic(&state->unread_sent, -sent);
	add_atomic(&state->unread_received, -received);
	traffic = bpf_map_lookup_elem(&processes, &key);
	if (!traffic)
		traffic = traffic_of(&key, &state->owner);
	if (!traffic)
		return;
	__builtin_memcpy(traffic->comm, state->owner.comm, COMM_LEN); /* execve() changes it */
	add_atomic((__u64 *)&traffic->sent_bytes, sent);
	add_atomic((__u64 *)&traffic->received_bytes, received);
}

/* The iterator and the close handler both took the same bytes, so they are counted twice. */
static __always_inline bool is_double_counted(struct sock_state *state)
{
	return (__s64)state->unread_sent < 0 || (__s64)state->unread_received < 0;
}

/*
 * Subtract the double-counted bytes from the process total exactly once.  BPF_NOEXIST elects one
 * of the two racers; 5.10 has no atomic exchange.
 */
static __noinline void reconcile_double_count(struct sock *sk, struct sock_state *state, bool hot)
{
	__u64 key = (__u64)sk;
	__u8 yes = 1;

	if (bpf_map_update_elem(&reconcile_guard, &key, &yes, BPF_NOEXIST))
		return;
	if (is_double_counted(state))
		move_bytes_to_process(sk, state, hot);
	bpf_map_delete_elem(&reconcile_guard, &key);
}

/* Bytes of a socket that is iterated or closes, or changes its owner. */
static __always_inline void flush_bytes_to_process(struct sock *sk, struct sock_state *state,
						   bool hot)
{
	if (!is_double_counted(state))
		move_bytes_to_process(sk, state, hot);
	if (is_double_counted(state))
		reconcile_double_count(sk, state, hot);
}

#ifndef RETRANSMIT_REPORTS_ERROR /* since 6.17 the tracepoint fires on failure, too */
#define RETRANSMIT_REPORTS_ERROR                                                                   \
	bpf_core_field_exists(struct trace_event_raw_tcp_retransmit_skb, err)
#endif

static __always_inline void know_attempts(struct sock *sk, struct sock_state *state)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	if (is_tcp(sk))
		state->known_attempts = BPF_CORE_READ(tp, total_retrans) + 1;
}

/* Segments that were sent again, or failed to be, since know_attempts(). */
static __always_inline __u32 new_attempts(struct sock *sk, struct sock_state *state)
{
	__u32 known = state->known_attempts;

	know_attempts(sk, state);
	return state->known_attempts - known;
}

static __always_inline void flush_retransmits(struct sock *sk, struct sock_state *state)
{
	__s64 count = state->unread_retransmits;
	struct event *event;

	if (count <= 0) /* an iterator has reported the same ones: they are made up for */
		return;
	event = reserve_event();
	if (event) {
		fill_event(event, sk, state);
		event->kind = RECORD_RETRANSMIT;
		event->occurrences = count;
		event->duplicates = dsack_dups(sk) - state->known_duplicates;
		state->known_duplicates += event->duplicates;
		bpf_ringbuf_submit(event, 0);
	}
	add_atomic(&state->unread_retransmits, -count);
}

static __noinline void change_owner(struct sock *sk, struct sock_state *state, __u64 address)
{
	struct task_struct *task = (void *)address;

	if (state->owner.tgid && state->owner.tgid != (__u32)BPF_CORE_READ(task, tgid)) {
		flush_bytes_to_process(sk, state, false);
		flush_retransmits(sk, state);
	}
	fill_owner(&state->owner, address);
	if (!state->inode)
		state->inode = inode_of(sk);
	if (!state->known_attempts)
		know_attempts(sk, state);
	/* Reset before its first read. */
	state->closed = FIELD(sk, __sk_common.skc_state) == TCP_CLOSE;
}

/* The last task that did I/O owns the socket; called in that task only, never in softirq. */
static __always_inline void claim_sock(struct sock *sk, struct sock_state *state)
{
	struct task_struct *task = current_task();

	if (state->owner.tgid != current_tgid(task) ||
	    state->owner.exec_id != (__u32)FIELD(task, self_exec_id))
		change_owner(sk, state, bpf_get_current_task());
}

#ifdef COUNTS_BY_SEQUENCE

static __always_inline __s64 uncounted(struct sock_state *state, int count, bool sends)
{
	return count;
}

#else

/* A sampled call has returned: subtract what the samples have counted. */
static __noinline __s64 settle_call(struct way *way, int count)
{
	__s32 counted = way->ahead < count ? way->ahead : count;

	__sync_fetch_and_add(&way->ahead, -counted);
	__sync_fetch_and_add(&way->until, count - counted);
	if (!way->ahead)
		way->initialized = 0;
	return (__s64)count - counted;
}

/* Bytes of a returned call that no sample has counted. */
static __always_inline __s64 uncounted(struct sock_state *state, int count, bool sends)
{
	struct way *way = sends ? &state->sending : &state->receiving;

	return way->initialized ? settle_call(way, count) : count;
}

#endif

#endif
