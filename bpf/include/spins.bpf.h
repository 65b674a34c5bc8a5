/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Spinning receives: a program that calls a non-blocking receive again and again waits for data,
 * as NCCL does while a receive is posted.  No thread ever sleeps on the socket.
 *
 * An event loop finds nothing once for each wake-up, and a timer some times a second.  A server
 * that polls all its connections waits for work, not for the network: only a connection on which
 * this side has never sent counts, or one on which a reply is due.
 */
#ifndef SPINS_BPF_H
#define SPINS_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "clock.bpf.h"
#include "maps.bpf.h"
#include "settings.bpf.h"
#include "stall.bpf.h"

#define LEAST_SPINS 100
#define NS_PER_SPIN 1000000ULL /* at most, on average */
#define LONGEST_PAUSE_NS 1000000000ULL /* of a process that waits for a CPU */

/* A receive found nothing.  Before a pause, it was another one that was posted. */
static __always_inline int found_nothing(struct sock_state *state)
{
	__u64 now;

	if (state->last_send_ns ? !state->reply_state : !state->last_receive_ns)
		return 0;
	now = coarse_ns();
	if (now - state->last_spin_ns > LONGEST_PAUSE_NS) {
		state->spins = 0;
		state->spin_begin_ns = now;
	}
	if (state->spins < ~0U)
		state->spins++;
	state->last_spin_ns = now;
	return 0;
}

static __always_inline bool spins(struct sock_state *state)
{
	return state->spins >= LEAST_SPINS &&
	       state->spins >= (state->last_spin_ns - state->spin_begin_ns) / NS_PER_SPIN;
}

/* True while receives spin. */
static __always_inline bool spins_now(struct sock_state *state, __u64 now)
{
	return spins(state) && now - state->last_spin_ns <= LONGEST_PAUSE_NS;
}

/* True while a receive is posted on a connection that only this side receives on. */
static __always_inline bool awaits_unasked(struct sock_state *state, __u64 now)
{
	return !state->last_send_ns && spins_now(state, now);
}

/* Data has come, or the connection has ended; `end` is CLOCK_MONOTONIC. */
static __noinline void spin_ended(struct sock *sk, struct sock_state *state, __u64 end,
				  __u32 evidence)
{
	struct span span = { to_monotonic(state->spin_begin_ns), end };

	if (!state->last_send_ns && spins(state) && is_long(&span))
		stall_ended(sk, state, STALL_RECEIVE, &span, SEEN_SPINNING | evidence);
	state->spins = 0;
	state->last_spin_ns = 0;
}

#endif
