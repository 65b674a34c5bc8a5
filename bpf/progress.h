/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a process has read from a TCP socket, told by the socket itself.  A kretprobe on
 * tcp_recvmsg would be missed once more threads than `maxactive` sleep in the call, silently; a
 * sequence number is not, splice moves it too, and a peek does not.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include "events.h"

/*
 * Kernel TLS of before 6.0 reads as segments come, in the task that the softirq interrupted; who
 * has called holds the socket.
 */
static __noinline int taken_in_softirq(struct sock *sk, struct sock_memory *memory, int count)
{
	return taken(sk, memory, count, MSG_DONTWAIT);
}

static __always_inline int progressed(struct sock *sk)
{
	struct sock_memory *memory;
	__u64 total, before;

	if (!is_tcp(sk))
		return 0;
	memory = memory_of(sk);
	total = consumed(sk);
	if (!memory) { /* open before the probe, and held by nobody that it sees */
		memory_for(sk);
		return 0;
	}
	before = memory->consumed_bytes;
	memory->consumed_bytes = total;
	if (total <= before)
		return 0;
	if (!BPF_CORE_READ(sk, sk_lock.owned))
		return taken_in_softirq(sk, memory, total - before);
	return received(sk, total - before, 0);
}

#endif
