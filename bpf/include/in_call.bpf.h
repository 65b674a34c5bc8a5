/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Calls that last while data moves: recv() with MSG_WAITALL, a large send.  Where bytes are
 * counted when calls return, each sample counts the change of the sequence numbers during the
 * call, and the return counts the remainder, so that the total is what the calls return.
 */
#ifndef IN_CALL_BPF_H
#define IN_CALL_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "clock.bpf.h"
#include "core_read.bpf.h"
#include "maps.bpf.h"
#include "sock_state.bpf.h"
#include "stall.bpf.h"
#include "traffic.bpf.h"
#include "waitqueue.bpf.h"

#ifdef COUNTS_BY_SEQUENCE /* each wait in a call counts already: see kprobe_handlers.bpf.h */

static __always_inline void count_calls(struct sock *sk, struct sock_state *memory)
{
}

#else

static __always_inline bool may_move(struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	__u8 state = FIELD(sk, __sk_common.skc_state);

	if (!is_tcp(sk) || (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT))
		return false; /* a SYN and a FIN count in the numbers, and are no data */
	return !BPF_CORE_READ(icsk, icsk_ulp_ops); /* TLS: the numbers count its records */
}

/* Bytes since the last count of this direction; the first sample only sets the start. */
static __always_inline __u32 moved(struct way *way, __u32 now)
{
	__s32 count = now - way->until;

	if (!way->initialized) {
		way->until = now;
		way->initialized = 1;
		return 0;
	}
	return count > 0 ? count : 0;
}

static __always_inline void count_ahead(struct way *way, __u64 *unread, __u32 count)
{
	__sync_fetch_and_add(&way->until, count);
	__sync_fetch_and_add(&way->ahead, count);
	atomic_add(unread, count);
}

/*
 * A call that has not returned reads the reply to the last request.  The wait ended after the
 * previous sample, and has lasted at least until then.
 */
static __noinline void answered_in_call(struct sock *sk, struct sock_state *memory, __u64 arrival)
{
	if (memory->waiting_ns > memory->request_ns)
		emit_reply_stall(sk, memory, to_monotonic(memory->waiting_ns),
				 SEEN_BLOCKED | SEEN_DATA);
	memory->reply_state = 0;
	flow_begins(memory, arrival);
	count_answer(sk, memory);
}

/* Data that came after the request and is not in the queue has been read. */
static __always_inline void follow_answer(struct sock *sk, struct sock_state *memory)
{
	__u64 now, arrival;

	if (!memory->opened || memory->reply_state != AWAITING || unread_bytes(sk))
		return;
	now = coarse_ns();
	arrival = arrival_ns(sk, now);
	if (arrival > memory->request_ns)
		answered_in_call(sk, memory, arrival);
	else
		memory->waiting_ns = now;
}

static __always_inline void received_in_call(struct sock *sk, struct sock_state *memory,
					     __u32 count)
{
	__u64 now = coarse_ns();

	count_ahead(&memory->receiving, &memory->unread_received, count);
	memory->flow_bytes += count;
	if (memory->midstream_pause)
		pause_ended(sk, memory, now);
	memory->last_receive_ns = arrival_ns(sk, now);
}

/* Bytes count once a thread was sampled in the call: its process owns them. */
static __always_inline bool in_call(struct sock *sk, struct sock_state *memory)
{
	bool polling = false;
	struct task_struct *task = find_waiter(sk, &polling);

	if (!task || polling)
		return memory->receiving.ahead > 0 || memory->sending.ahead > 0;
	if (memory->owner.tgid != (__u32)BPF_CORE_READ(task, tgid))
		change_owner(sk, memory, task);
	return true;
}

static __noinline void count_calls(struct sock *sk, struct sock_state *memory)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u32 sent, received;

	if (!may_move(sk))
		return;
	follow_answer(sk, memory);
	sent = moved(&memory->sending, BPF_CORE_READ(tp, write_seq));
	received = moved(&memory->receiving, BPF_CORE_READ(tp, copied_seq));
	if (FIELD(sk, __sk_common.skc_state) == TCP_CLOSE_WAIT)
		received = 0;
	if ((!sent && !received) || !in_call(sk, memory))
		return;
	if (sent)
		count_ahead(&memory->sending, &memory->unread_sent, sent);
	if (received)
		received_in_call(sk, memory, received);
}

#endif

#endif
