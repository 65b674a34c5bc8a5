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
#include "silences.bpf.h"
#include "tcp_sock.bpf.h"
#include "traffic.bpf.h"
#include "waitqueue.bpf.h"

#ifdef COUNTS_BY_SEQUENCE /* each wait in a call counts already: see kprobe_handlers.bpf.h */

static __always_inline void count_calls(struct sock *sk, struct sock_state *state)
{
}

#else

static __always_inline bool may_move(struct sock *sk)
{
	__u8 state = FIELD(sk, __sk_common.skc_state);

	/* A SYN and a FIN count in the numbers, and are no data. */
	return is_tcp(sk) && (state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT);
}

/* TLS: the numbers count its records. */
static __always_inline bool has_records(struct sock *sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;

	return BPF_CORE_READ(icsk, icsk_ulp_ops);
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
	add_atomic(unread, count);
}

/*
 * A call that has not returned reads the reply to the last request.  The wait ended after the
 * previous sample, and has lasted at least until then.
 */
static __noinline void answered_in_call(struct sock *sk, struct sock_state *state, __u64 arrival)
{
	if (state->waiting_ns > state->request_ns)
		emit_reply_stall(sk, state, to_monotonic(state->waiting_ns),
				 SEEN_BLOCKED | SEEN_DATA);
	state->reply_state = 0;
	state->reply_seen_ns = 0;
	flow_begins(state, arrival);
	count_answer(sk, state);
}

/*
 * Data that came after the request, and after the last call, and is not in the queue has been read.
 * A thread that sleeps in the call goes on to wait for more; else its call is about to return, and
 * finds the answer itself.  Where the next sample finds the same, no program was run for the read:
 * the kernel skipped it, or it was a splice.  How long the wait was is not known.
 */
static __always_inline void follow_answer(struct sock *sk, struct sock_state *state)
{
	__u64 now, arrival, waiter;

	if (!state->opened || state->reply_state != AWAITING || unread_bytes(sk) || has_records(sk))
		return;
	now = coarse_ns();
	arrival = arrival_ns(sk, now);
	if (arrival <= state->request_ns || arrival <= state->last_receive_ns + settings.tick_ns ||
	    arrival <= state->last_control_ns + settings.tick_ns) {
		state->waiting_ns = now;
		return;
	}
	waiter = stream_waiter(sk);
	if (task_of(waiter) && !(waiter & IS_POLLING)) {
		answered_in_call(sk, state, arrival);
	} else if (state->read_seen_ns > state->request_ns &&
		   arrival - state->read_seen_ns <= settings.tick_ns) {
		state->waiting_ns = 0;
		answered_in_call(sk, state, arrival);
	} else {
		state->read_seen_ns = arrival;
	}
}

static __always_inline void received_in_call(struct sock *sk, struct sock_state *state, __u32 count)
{
	__u64 now = coarse_ns();

	count_ahead(&state->receiving, &state->unread_received, count);
	if (state->awaits_equal)
		wait_for_equal_ended(sk, state, to_monotonic(arrival_ns(sk, now)));
	state->flow_bytes += count;
	state->received_since += count;
	if (state->midstream_pause)
		pause_ended(sk, state, now);
	state->last_receive_ns = arrival_ns(sk, now);
	state->sent_last = 0;
}

/* Bytes count once a thread was sampled in the call: its process owns them. */
static __always_inline bool in_call(struct sock *sk, struct sock_state *state)
{
	__u64 waiter = stream_waiter(sk);
	struct task_struct *task = task_of(waiter);

	if (!task || waiter & IS_POLLING)
		return state->receiving.ahead > 0 || state->sending.ahead > 0;
	if (state->owner.tgid != (__u32)BPF_CORE_READ(task, tgid))
		change_owner(sk, state, (__u64)task);
	return true;
}

static __noinline void count_calls(struct sock *sk, struct sock_state *state)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u32 sent, received;

	if (!may_move(sk))
		return;
	follow_answer(sk, state);
	sent = moved(&state->sending, BPF_CORE_READ(tp, write_seq));
	received = moved(&state->receiving, BPF_CORE_READ(tp, copied_seq));
	if (FIELD(sk, __sk_common.skc_state) == TCP_CLOSE_WAIT)
		received = 0;
	if ((!sent && !received) || has_records(sk) || !in_call(sk, state))
		return;
	if (sent)
		count_ahead(&state->sending, &state->unread_sent, sent);
	if (received)
		received_in_call(sk, state, received);
}

#endif

#endif
