/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What entry points without typed pointers need besides: shared by kprobe.bpf.c and bcc.c. */
#ifndef KPROBE_HANDLERS_BPF_H
#define KPROBE_HANDLERS_BPF_H

#include "handlers.bpf.h"

/*
 * A process lets go of a socket that it had locked: at the end of each call, and where it begins
 * to wait in one.
 */
static __always_inline int released(struct sock *sk)
{
	struct sock_memory *memory = memory_of(sk);
	struct progress *progress;
	__u32 sent, received;

	if (!memory) { /* open before the probe, and held by nobody that it sees */
		if (is_tcp(sk))
			memory_for(sk);
		return 0;
	}
	progress = &memory->progress;
	if (!progress->counts)
		return 0;
	if (!progress->placed)
		begin_progress(sk, progress);
	if (memory->closed) {
		/* Data from before the reset is read; or connect() was told to forget the peer. */
		if (!BPF_CORE_READ(sk, sk_shutdown))
			return 0;
		sent = 0;
	} else {
		sent = newly_sent(sk, progress);
	}
	received = newly_received(sk, progress);
	if (!sent && !received)
		return 0;
	own(sk, memory);
	if (sent)
		stream_sent(sk, memory, coarse_ns(), sent);
	if (received)
		taken(sk, memory, received, 0);
	return 0;
}

/* A send is about to wait for memory, until its patience ends, or has none and returns short. */
static __always_inline int send_waits(struct sock *sk, long *patience)
{
	struct sock_memory *memory;
	long left = 0;
	__u32 sent;

	if (transport_of(sk) != TRANSPORT_TCP)
		return 0;
	memory = memory_for(sk);
	if (memory && memory->progress.placed && !memory->closed) {
		sent = newly_sent(sk, &memory->progress);
		bpf_probe_read_kernel(&left, sizeof(left), patience);
		if (sent)
			own(sk, memory);
		if (sent && !left)
			stream_sent(sk, memory, coarse_ns(), sent);
		else
			add(&memory->unread_sent, sent); /* the call goes on, and so may a stall */
	}
	return met_full_buffer(sk);
}

static __always_inline int hashed_state_changed(struct sock *sk, int old, int new)
{
	struct sock_memory *memory;

	/* Nothing was read yet, and the address may be that of one whose end was missed. */
	if (old == TCP_SYN_RECV && new == TCP_ESTABLISHED && is_tcp(sk)) {
		forget(sk);
		memory_for(sk);
	}
	state_changed(sk, old, new);
	memory = memory_of(sk);
	if (memory && memory->progress.counts)
		note_state(sk, &memory->progress, old, new);
	return 0;
}

/*
 * Datagrams move no numbers: what a send returns is what counts.  A thread's entry has the socket
 * that it is sending on, and in the lowest bits which function: one may call another.
 */
enum sender {
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
} sending SEC(".maps");
#endif

static __always_inline int datagram_begins(struct sock *sk, enum sender sender, __u64 count)
{
	__u64 thread = bpf_get_current_pid_tgid(), value = (__u64)sk | sender, *found;

	if (!count || (sender == SENDER_UDP && FIELD(sk, __sk_common.skc_family) == AF_INET6))
		return 0;
	found = bpf_map_lookup_elem(&sending, &thread);
	/*
	 * The return of its last send was missed: more threads slept in the call than the kernel
	 * keeps returns for.  Only from 6.7 on does the kernel count them for who asks.
	 */
	if (found && *found)
		count_lost(LOST_RETURN);
	if (found)
		*found = value;
	else if (bpf_map_update_elem(&sending, &thread, &value, BPF_ANY))
		count_lost(LOST_CALL);
	return 0;
}

static __always_inline int datagram_ends(int ret, enum sender sender)
{
	__u64 thread = bpf_get_current_pid_tgid(), *found, value;

	found = bpf_map_lookup_elem(&sending, &thread);
	if (!found)
		return 0;
	value = *found;
	if (!value || (value & SENDERS) != sender)
		return 0;
	*found = 0;
	return datagram_sent((struct sock *)(value & ~SENDERS), ret);
}

#endif
