/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Pings of HTTP/2 during a wait, which are no request and no reply (RFC 9113, 6.7).
 *
 * Both sides send them: gRPC measures the path with one after each burst of data, and keeps idle
 * connections alive.  The library answers a ping at once, also while all handlers hang.  They are
 * known by their size, alone in a send or a receive, on a connection of HTTP/2.
 *
 * Frames that ask for nothing are short.  After one of them a receive of the size of a ping is the
 * reply, as any other.
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
/* Of the peer during a wait: replies of this size may follow faster. */
#define FIRST_PINGS 2
#define FIRST_PINGS_APART_NS (250ULL * NS_PER_MS)
#define PINGS_APART_NS (1000ULL * NS_PER_MS)

static __always_inline bool in_tls(struct sock_state *state)
{
	return state->http2 == HTTP2_IN_TLS;
}

static __always_inline bool is_ping(struct sock_state *state, __u32 count)
{
	return count == (in_tls(state) ? HTTP2_PING_IN_TLS : HTTP2_PING);
}

/* Or with a window update; inside TLS in one record, or in two. */
static __always_inline bool has_ping(struct sock_state *state, __u32 count)
{
	if (!in_tls(state))
		return count == HTTP2_PING || count == HTTP2_PING + WINDOW_UPDATE;
	return count == HTTP2_PING_IN_TLS || count == HTTP2_PING_IN_TLS + WINDOW_UPDATE ||
	       count == HTTP2_PING_IN_TLS + WINDOW_UPDATE_IN_TLS;
}

/* A reply is due to a request: a reset, an update, a ping with an update have fewer bytes. */
static __always_inline bool awaits_request(struct sock_state *state)
{
	__u32 most = in_tls(state) ? HTTP2_PING_IN_TLS + WINDOW_UPDATE : HTTP2_PING + WINDOW_UPDATE;

	return state->reply_state == AWAITING && state->last_sent_bytes > most;
}

/* What seemed to be a ping of the peer was the reply: the wait was over when it came. */
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

/* True for a send that is a ping or an acknowledgement of one, and changes nothing. */
static __always_inline bool sent_ping(struct sock *sk, struct sock_state *state, __u64 now,
				      __u32 count)
{
	state->ping_sent_ns = 0;
	if (state->maybe_peer_ping) {
		if (has_ping(state, count) && now - state->peer_ping_ns < settings.stall_ns) {
			state->maybe_peer_ping = 0;
			return true;
		}
		ping_was_reply(sk, state);
	}
	if (state->pong_due && has_ping(state, count)) {
		state->pong_due = 0;
		if (now - state->last_receive_ns < settings.stall_ns)
			return awaits_request(state); /* else see is_pong() */
	}
	if (!is_ping(state, count))
		return false;
	if (!state->reply_state) { /* soon after data it may acknowledge one that came with them */
		bool soon = now - state->last_receive_ns < settings.stall_ns;

		state->idle_ping = !soon && !state->short_requests;
		return state->idle_ping;
	}
	if (!awaits_request(state))
		return false;
	state->ping_sent_ns = now;
	return true;
}

static __always_inline bool may_follow_ping(struct sock_state *state, __u64 now)
{
	__u64 apart = state->peer_pings < FIRST_PINGS ? FIRST_PINGS_APART_NS : PINGS_APART_NS;

	return now - state->peer_ping_ns >= apart;
}

/* True for a receive that is a ping or an acknowledgement of one, or may be. */
static __always_inline bool received_ping(struct sock_state *state, __u64 now, __u32 count)
{
	bool due = state->ping_sent_ns && now - state->ping_sent_ns < settings.stall_ns;
	bool first = state->peer_ping_ns <= state->request_ns;

	if (state->idle_ping && !has_ping(state, count))
		state->short_requests = 1; /* it was one, and this is the reply */
	state->idle_ping = 0;
	state->ping_sent_ns = 0; /* what came has it, if it is one at all */
	state->pong_due = !state->reply_state && has_ping(state, count);
	if (state->maybe_peer_ping || !has_ping(state, count) || !awaits_request(state)) {
		state->maybe_peer_ping = 0;
		return false;
	}
	if (!due) {
		if (first)
			state->peer_pings = 0;
		else if (!may_follow_ping(state, now))
			return false;
		if (state->peer_pings < FIRST_PINGS)
			state->peer_pings++;
		state->peer_ping_ns = now;
		state->maybe_peer_ping = 1;
	}
	state->last_ping_ns = now;
	state->reply_seen_ns = 0; /* an iterator may have seen it unread */
	return true;
}

#endif
