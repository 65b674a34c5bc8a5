/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Pings of HTTP/2, which are no request and no reply (RFC 9113, 6.7).
 *
 * Either side sends them during a wait: gRPC measures the path with one after each burst, and keeps
 * idle connections alive.  The library answers a ping at once, also while all handlers hang.  They
 * are known by their size, alone in a send or a receive, on a connection of HTTP/2.
 *
 * A reply of the same size, while an acknowledgement of the peer is due, is taken for it, and the
 * acknowledgement for the reply.  Else such a receive is a ping of the peer if this side
 * acknowledges it soon, and the reply if it does not.  A request of this size is missed.
 */
#ifndef HTTP2_PINGS_BPF_H
#define HTTP2_PINGS_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "clock.bpf.h"
#include "maps.bpf.h"
#include "settings.bpf.h"
#include "stall.bpf.h"

#define HTTP2_PING 17 /* bytes: a head of 9, and 8 of its own */
#define HTTP2_PING_IN_TLS 39
#define PEER_PINGS_APART_NS (250ULL * NS_PER_MS) /* during a wait */

static __always_inline bool is_ping(__u32 count)
{
	return count == HTTP2_PING || count == HTTP2_PING_IN_TLS;
}

/* Or with a window update: in the clear, in one record of TLS, or in two. */
static __always_inline bool has_size_of_ping_ack(__u32 count)
{
	return is_ping(count) || count == HTTP2_PING + WINDOW_UPDATE ||
	       count == HTTP2_PING_IN_TLS + WINDOW_UPDATE ||
	       count == HTTP2_PING_IN_TLS + WINDOW_UPDATE_IN_TLS;
}

/* What seemed to be a ping of the peer was the reply, if one was due: the wait was over. */
static __noinline void ping_was_reply(struct sock *sk, struct sock_state *state)
{
	state->maybe_peer_ping = 0;
	if (state->reply_state != AWAITING)
		return;
	emit_reply_stall(sk, state, to_monotonic(state->peer_ping_ns), SEEN_DATA);
	state->reply_state = 0;
	state->sent_last = 0;
	state->last_receive_ns = state->peer_ping_ns;
	flow_begins(state, state->peer_ping_ns);
	count_answer(sk, state);
}

/* This side has not acknowledged it. */
static __always_inline void find_reply_like_ping(struct sock *sk, struct sock_state *state,
						 __u64 coarse)
{
	if (state->maybe_peer_ping && coarse - state->peer_ping_ns >= settings.stall_ns)
		ping_was_reply(sk, state);
}

/* True for a send that is a ping or an acknowledgement of one. */
static __always_inline bool sent_ping(struct sock *sk, struct sock_state *state, __u64 now,
				      __u32 count)
{
	if (state->maybe_peer_ping) {
		if (has_size_of_ping_ack(count) && now - state->peer_ping_ns < settings.stall_ns) {
			state->maybe_peer_ping = 0;
			return true;
		}
		ping_was_reply(sk, state);
	}
	if (!is_ping(count))
		return false;
	state->ping_due = 1;
	return true;
}

/* True for a receive that is a ping or an acknowledgement of one, or may be. */
static __always_inline bool received_ping(struct sock_state *state, __u64 now, __u32 count)
{
	bool acknowledged = state->ping_due && has_size_of_ping_ack(count);
	/* Requests and replies of this size in a loop follow each other faster. */
	bool apart = state->peer_ping_ns <= state->request_ns ||
		     now - state->peer_ping_ns >= PEER_PINGS_APART_NS;
	bool pinged = !acknowledged && is_ping(count) && apart && !state->maybe_peer_ping &&
		      state->reply_state != REPLY_QUEUED;

	state->ping_due = 0; /* or it was acknowledged within what came */
	state->maybe_peer_ping = pinged;
	if (!acknowledged && !pinged)
		return false;
	if (pinged)
		state->peer_ping_ns = now;
	state->last_ping_ns = now;
	state->reply_seen_ns = 0; /* an iterator may have seen it unread */
	return true;
}

#endif
