/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What entry points without typed pointers need besides: shared by kprobe.bpf.c and bcc.c. */
#ifndef KPROBES_H
#define KPROBES_H

#include "progress.h"

/* The socket that a thread is sending on; a send seldom sleeps, so its return is seen. */
#ifndef MAPS_ARE_FUNCTIONS /* see bcc.h */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64); /* thread */
	__type(value, __u64); /* address of the struct sock */
} sending SEC(".maps");
#endif

static __always_inline int send_begins(struct socket *socket)
{
	__u64 thread = bpf_get_current_pid_tgid(), value = (__u64)BPF_CORE_READ(socket, sk);

	/*
	 * The return of its last send was missed: more threads slept in the call than the kernel
	 * keeps returns for.  Only from 6.7 on does the kernel count them for who asks.
	 */
	if (bpf_map_lookup_elem(&sending, &thread))
		count_lost(LOST_RETURN);
	if (bpf_map_update_elem(&sending, &thread, &value, BPF_ANY))
		count_lost(LOST_CALL);
	return 0;
}

static __always_inline int send_ends(int ret)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u64 *found = bpf_map_lookup_elem(&sending, &thread);
	struct sock *sk;

	if (!found)
		return 0;
	sk = (struct sock *)*found;
	bpf_map_delete_elem(&sending, &thread);
	/* What such a socket receives, and its end, is not seen here. */
	if (!sk || FIELD(sk, sk_protocol) == IPPROTO_MPTCP)
		return 0;
	return sent(sk, ret);
}

static __always_inline int hashed_state_changed(struct sock *sk, int old, int new)
{
	/* Nothing was read yet, and the address may be that of one whose end was missed. */
	if (old == TCP_SYN_RECV && new == TCP_ESTABLISHED && is_tcp(sk)) {
		forget(sk);
		memory_for(sk);
	}
	return state_changed(sk, old, new);
}

#endif
