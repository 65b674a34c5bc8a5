/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Which side breaks the silences of a connection, and what that shows.
 *
 * Equals: ranks of a job, nodes of a cluster.  Either side may wait for the other, whichever has
 * opened the connection.  Both end silences, and often one sends after a silence although it sent
 * last.  A server replies.
 *
 * Unsolicited data: a few bytes after a silence while no reply is due, as a ping of the server.
 *
 * Announcements: an equal that wants to receive, or to send much, first sends a few bytes, and the
 * peer answers as soon as it wants the same (gloo).  The last message of an exchange is data.  So
 * the silences after a few bytes are short, those after data are as long as the work between
 * exchanges, and one after a few bytes that is much longer is a wait.  In a ring of gloo, all data
 * of a connection come from one side, and the other asks for them: with a few bytes that end a
 * silence.
 */
#ifndef SILENCES_BPF_H
#define SILENCES_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "clock.bpf.h"
#include "core_read.bpf.h"
#include "maps.bpf.h"
#include "settings.bpf.h"
#include "sock.bpf.h"
#include "stall.bpf.h"
#include "tcp_sock.bpf.h"

#define SILENCE_TICKS 2
#define LONGEST_SILENCE_TICKS 256 /* a night of silence is one silence */
#define MOST_SILENT_TICKS (1 << 24)
#define LEAST_IN_A_ROW 8 /* fewer may be chance: in the first calls of a client */
/*
 * The part of the silences, by time, that is in a row: a third with gloo.  A request after a window
 * update, and a message in two parts on a busy host, are in a row as well, for a tenth at most.
 */
#define IN_A_ROW_OF 5
/* The silences that one side has ended last at most so many times as long as those of the other,
 * so that neither is a server. */
#define BALANCE 4
#define MOST_ANNOUNCED 64 /* bytes; those of gloo have 48 to 56 */
#define LEAST_ANNOUNCED 8 /* that were answered, and sends or answers with data */
#define MOST_PER_DATA 4 /* answered few bytes, per send of data: more are replies of a server */
#define ASKED_PER_SEND 16 /* answers with data, per send of data, of who only asks */
#define MOST_TICKS 16384 /* of one silence that counts as the longest */
#define TOO_LONG 5
#define FORGOTTEN_AFTER 4 /* silences: then a quarter of the longest */

/* The time of the last data in either direction. */
static __always_inline __u64 last_data_ns(struct sock_state *state)
{
	return state->last_send_ns > state->last_receive_ns ? state->last_send_ns
							    : state->last_receive_ns;
}

static __always_inline void note_size(struct sock_state *state, __u32 count)
{
	state->last_sent_bytes = count;
	if (count <= MOST_ANNOUNCED)
		return;
	state->asks = 0;
	if (state->large_sent < 255)
		state->large_sent++;
}

/* The proportion to the sends of data is that of the recent past. */
static __always_inline void note_small_answered(struct sock_state *state)
{
	if (state->small_answered == 255) {
		state->small_answered /= 2;
		state->large_sent /= 2;
	}
	state->small_answered++;
}

static __always_inline bool small_was_last(struct sock_state *state)
{
	return state->sent_last && state->last_sent_bytes <= MOST_ANNOUNCED;
}

static __always_inline void note_longest(struct silences *silences, __u64 ticks)
{
	if (!(++silences->count % FORGOTTEN_AFTER))
		silences->longest_ticks -= silences->longest_ticks / 4;
	if (ticks > MOST_TICKS)
		ticks = MOST_TICKS;
	if (ticks > silences->longest_ticks)
		silences->longest_ticks = ticks;
}

/* All data come from the peer, after it was asked.  Who has opened the connection is a client. */
static __always_inline bool only_asks(struct sock_state *state)
{
	return !state->opened && state->asks && state->data_asked >= LEAST_ANNOUNCED &&
	       state->large_sent * ASKED_PER_SEND <= state->data_asked;
}

static __always_inline bool sends_data(struct sock_state *state)
{
	return state->large_sent >= LEAST_ANNOUNCED &&
	       state->large_sent * MOST_PER_DATA >= state->small_answered;
}

/* True where this side has announced itself, and the peer is much later than it ever was. */
static __always_inline bool is_announced(struct sock_state *state, __u64 silent_ticks)
{
	__u64 usual = state->after_small.longest_ticks;

	if (!small_was_last(state) || state->small_answered < LEAST_ANNOUNCED)
		return false;
	if (!sends_data(state) && !only_asks(state))
		return false;
	return usual * 2 <= state->after_other.longest_ticks && silent_ticks >= usual * TOO_LONG;
}

static __noinline void note_silence(struct sock_state *state, __u64 ticks, bool sends)
{
	__u32 *total = sends ? &state->silent_ticks_ours : &state->silent_ticks_peers;
	__u32 counted = ticks < LONGEST_SILENCE_TICKS ? ticks : LONGEST_SILENCE_TICKS;

	if (!state->awaits_equal && !is_announced(state, ticks)) /* a stall is not usual */
		note_longest(small_was_last(state) ? &state->after_small : &state->after_other,
			     ticks);

	if (sends == state->sent_last) {
		if (state->silences_in_a_row < 255)
			state->silences_in_a_row++;
		state->silent_ticks_in_a_row += counted;
	}
	*total += counted;
	if (*total > MOST_SILENT_TICKS) { /* what is recent counts more */
		state->silent_ticks_ours /= 2;
		state->silent_ticks_peers /= 2;
		state->silent_ticks_in_a_row /= 2;
	}
}

/* Before the send is noted. */
static __always_inline void note_silence_before_send(struct sock_state *state, __u64 now)
{
	__u64 last = last_data_ns(state);

	if (!last || now <= last + SILENCE_TICKS * settings.tick_ns)
		return;
	note_silence(state, (now - last) / settings.tick_ns, true);
	if (small_was_last(state)) /* it was no announcement, like many frames of HTTP/2 */
		state->small_answered = state->small_answered > ANSWERED_PER_SLIP
						? state->small_answered - ANSWERED_PER_SLIP
						: 0;
	state->asks = 1; /* unless it is data: see note_size() */
}

/* Before the receive is noted: the silence ended when the data arrived. */
static __always_inline void note_silence_before_receive(struct sock *sk, struct sock_state *state,
							__u64 now, int count)
{
	__u64 last = last_data_ns(state), arrival;

	if (state->reply_state || count > MOST_OF_PING)
		state->unsolicited = 0;
	if (count > 0 && small_was_last(state))
		note_small_answered(state);
	if (state->asks && count > MOST_ANNOUNCED) {
		state->asks = 0;
		if (state->data_asked < 255)
			state->data_asked++;
	}
	if (!last || now <= last + SILENCE_TICKS * settings.tick_ns)
		return;
	arrival = arrival_ns(sk, now);
	if (arrival <= last + SILENCE_TICKS * settings.tick_ns)
		return;
	note_silence(state, (arrival - last) / settings.tick_ns, false);
	state->unsolicited = !state->reply_state && count > 0 && count <= MOST_OF_PING;
}

static __always_inline bool is_symmetric(struct sock_state *state)
{
	__u32 ours = state->silent_ticks_ours, peers = state->silent_ticks_peers;

	if (state->silences_in_a_row < LEAST_IN_A_ROW ||
	    state->silent_ticks_in_a_row * IN_A_ROW_OF < ours + peers)
		return false;
	return ours && peers && ours <= peers * BALANCE && peers <= ours * BALANCE;
}

/*
 * True where this side sent last, and the rules for a client do not apply: it has accepted the
 * connection, or its sends are often followed by another one.
 */
static __always_inline bool may_await_equal(struct sock_state *state)
{
	if (!state->sent_last)
		return false;
	if (state->opened && !is_one_way(state))
		return false;
	return is_symmetric(state);
}

/* A wait that an iterator has reported is over: data came, the process sent on, or it closed. */
static __noinline void wait_for_equal_ended(struct sock *sk, struct sock_state *state, __u64 end)
{
	struct span span = { to_monotonic(state->last_send_ns), end };

	state->awaits_equal = 0;
	if (is_long(&span))
		stall_ended(sk, state, STALL_RECEIVE, &span, SEEN_SYMMETRIC);
}

#endif
