/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Spans in which a process wanted the network.  The kernel side notes candidates with what was
 * seen; whether a quiet connection is a stall is decided in xctl_probe/stalls/policy.py.
 */
#ifndef STALL_BPF_H
#define STALL_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "clock.bpf.h"
#include "core_read.bpf.h"
#include "datagrams.bpf.h"
#include "emit.bpf.h"
#include "maps.bpf.h"
#include "peer_history.bpf.h"
#include "settings.bpf.h"
#include "sock.bpf.h"
#include "tcp_sock.bpf.h"
#include "tls_tickets.bpf.h"
#include "waitqueue.bpf.h"

#define LEAST_HTTP2_PREFACE 33 /* bytes: 24, and the head of its settings (RFC 9113, 3.4) */
#define HTTP2_FRAME_HEAD 9
#define HTTP2_FRAME_HEAD_IN_TLS 31 /* with a record's head of 5, its type and a tag of 16 */
#define WINDOW_UPDATE 13 /* bytes: a head, and the number of bytes (RFC 9113, 6.9) */
#define WINDOW_UPDATE_IN_TLS 35
#define LEAST_DOWNLOADED 4096 /* bytes between two updates, in the libraries of Go and others */
#define ANSWERED_PER_SLIP 8 /* as in xctl_probe/stalls/request_history.py */
#define MOST_OF_MESSAGE 512 /* bytes of a log line, a heartbeat, a subscription: no upload */
#define MOST_OF_PING 48 /* bytes, with the header of TLS; the least message of gloo has 56 */
#define NS_PER_MS 1000000
#define FLOW_BYTES_PER_MS 1000 /* of a transfer, at least */
#define WAKE_UP_TICKS 2 /* from the arrival of data to the return of who waited for it */

struct span { /* CLOCK_MONOTONIC ns */
	__u64 begin;
	__u64 end;
};

static __always_inline bool is_long(struct span *span)
{
	return span->end > span->begin && span->end - span->begin >= settings.stall_ns;
}

VERIFIED_ONCE int stall_ended_at(struct sock_state *state, __u64 address, __u32 direction,
				 struct span *span, __u32 evidence)
{
	struct event *event;

	if (!state || !span)
		return 0;
	event = reserve_event();
	if (!event)
		return 0;
	fill_event_at(event, state, address);
	event->kind = RECORD_STALL;
	event->direction = direction;
	event->time_ns = span->end; /* the answer may have lain there for a while */
	event->span_ns = span->end - span->begin;
	event->evidence |= evidence;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __always_inline void stall_ended(struct sock *sk, struct sock_state *state, __u32 direction,
					struct span *span, __u32 evidence)
{
	cookie_of(sk); /* makes it */
	stall_ended_at(state, address_of(sk), direction, span, evidence);
}

/*
 * Retransmits in a span up to now, 0 where they are not its cause.  Retransmits back off, so the
 * last one of a lossy span falls into its second half; an early one was repaired, and the wait
 * had another cause.
 */
static __always_inline __u32 loss_in(struct sock_state *state, __u64 span_ns)
{
	return state->last_loss_ns >= coarse_ns() - span_ns / 2 ? SEEN_RETRANSMIT : 0;
}

/* Rare enough for the exact clock. */
static __noinline void send_blocked(struct sock *sk, struct sock_state *state)
{
	state->rwnd_limited = rwnd_limited(sk);
	state->writable_ns = 0;
	state->send_blocked_ns = bpf_ktime_get_ns();
}

static __noinline void send_unblocked(struct sock *sk, struct sock_state *state)
{
	struct span span = {
		.begin = state->send_blocked_ns,
		.end = state->writable_ns ?: bpf_ktime_get_ns(),
	};
	__u64 lasted = span.end - span.begin;
	__u32 evidence;

	if (is_long(&span)) {
		evidence = loss_in(state, lasted) | held_back(sk);
		if ((rwnd_limited(sk) - state->rwnd_limited) * settings.tick_ns >= lasted / 2)
			evidence |= SEEN_PEER_WINDOW;
		stall_ended(sk, state, STALL_SEND, &span, evidence);
	}
	state->send_blocked_ns = 0;
	state->writable_ns = 0;
}

static __always_inline void flow_begins(struct sock_state *state, __u64 now)
{
	state->flow_begin_ns = now;
	state->flow_bytes = 0;
}

/*
 * Nothing came for a stall length, up to this read of `count` bytes.  A reader that was late itself
 * finds what a transfer has brought meanwhile.
 */
static __always_inline bool has_paused(struct sock *sk, struct sock_state *state, __u64 now,
				       __u32 count)
{
	__u64 silent_ns = now - state->last_receive_ns;

	if (silent_ns < settings.stall_ns)
		return false;
	return state->midstream_pause ||
	       (unread_bytes(sk) + count) / FLOW_BYTES_PER_MS < silent_ns / NS_PER_MS;
}

/* A pause in mid-stream that the iterator saw is over; or a flow begins. */
static __noinline void pause_ended(struct sock *sk, struct sock_state *state, __u64 now)
{
	struct span span = { to_monotonic(state->last_receive_ns), exact_ns() };

	if (state->midstream_pause & SEEN_HOLE)
		span.begin = to_monotonic(state->hole_ns);
	if (state->midstream_pause && is_long(&span))
		stall_ended(sk, state, STALL_RECEIVE, &span, state->midstream_pause);
	state->midstream_pause = 0;
	flow_begins(state, now);
}

/* Restart the request timer.  User space drops the old wait if it was never reported. */
static __noinline void restart_request(struct sock *sk, struct sock_state *state, __u64 now,
				       __u64 ended)
{
	struct span span = { to_monotonic(state->request_ns), to_monotonic(ended) };

	if (is_long(&span))
		stall_ended(sk, state, STALL_RECEIVE, &span, SEEN_SUPERSEDED);
	state->request_ns = now;
}

static __always_inline bool is_one_way(struct sock_state *state)
{
	return state->unanswered * ANSWERED_PER_SLIP > state->answered;
}

/*
 * An upload in slow pieces, each as if it had gone unanswered: the process only sent until now.  A
 * subscriber that pings has a thread in a receive meanwhile; and pieces are larger than messages.
 */
static __always_inline bool is_upload(struct sock *sk, struct sock_state *state)
{
	return is_tcp(sk) && is_one_way(state) && !state->listened;
}

/* Since when a reply is due: to an upload in pieces since the last of them. */
static __always_inline __u64 due_since(struct sock *sk, struct sock_state *state)
{
	return is_upload(sk, state) ? state->last_send_ns : state->request_ns;
}

/* A ping, while a reply or nothing is due; or a piece of an upload. */
static __always_inline void sent_unanswered(struct sock *sk, struct sock_state *state, __u32 count)
{
	bool listens =
		state->seen_blocked_ns >= state->request_ns || in_call_or_alone(stream_waiter(sk));

	if (listens && is_upload(sk, state)) {
		struct span span = { to_monotonic(state->last_send_ns), exact_ns() };

		if (is_long(&span))
			stall_ended(sk, state, STALL_RECEIVE, &span, SEEN_SUPERSEDED);
	}
	state->listened |= listens || count <= MOST_OF_MESSAGE;
	state->unanswered++;
}

/* Sent again, a stall's length after the request, and nothing received between. */
static __noinline void on_send_while_waiting(struct sock *sk, struct sock_state *state, __u64 now,
					     __u32 count)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;

	if (unread_bytes(sk)) {
		restart_request(sk, state, now, arrival_ns(sk, now));
		state->reply_state = REPLY_QUEUED;
		state->queued_until = next_to_come(sk);
	} else if (undelivered(sk, count)) {
		/* A long request, or a slow path; but to be sent again is no progress. */
		if (!BPF_CORE_READ(icsk, icsk_retransmits))
			restart_request(sk, state, now, now);
	} else if (now - state->last_send_ns < settings.stall_ns) {
		restart_request(sk, state, now, now); /* one request, in pieces */
	} else {
		sent_unanswered(sk, state, count);
	}
}

/* A pong: as few bytes soon after unsolicited ones.  It asks for nothing. */
static __always_inline bool is_pong(struct sock_state *state, __u64 now, __u32 count)
{
	return state->unsolicited && !state->sent_last && count <= MOST_OF_PING &&
	       now - state->last_receive_ns < settings.stall_ns;
}

/* Right after the reply to what may be the preface of HTTP/2, and to no more than `most` before. */
static __always_inline bool follows_preface(struct sock_state *state, __u64 now, __u64 most)
{
	return !state->sent_last && state->last_sent_bytes >= LEAST_HTTP2_PREFACE &&
	       now - state->last_receive_ns < settings.stall_ns && state->answered &&
	       state->answered <= most;
}

/* The acknowledgement of the peer's settings: a head alone.  It asks for nothing. */
static __always_inline bool is_settings_ack(struct sock_state *state, __u64 now, __u32 count)
{
	return (count == HTTP2_FRAME_HEAD && follows_preface(state, now, 1)) ||
	       (count == HTTP2_FRAME_HEAD_IN_TLS &&
		follows_preface(state, now, 3)); /* of the handshake, too */
}

/*
 * Inside TLS, during a download, and after its end: of the connection, of the stream, or of both at
 * once.  A request of the same size, right after such a reply, is taken for one.
 */
static __always_inline bool is_window_update(struct sock_state *state, __u64 now, __u32 count)
{
	return state->http2 && !state->sent_last && !state->reply_state &&
	       (count == WINDOW_UPDATE_IN_TLS || count == WINDOW_UPDATE_IN_TLS + WINDOW_UPDATE) &&
	       state->received_since >= LEAST_DOWNLOADED &&
	       now - state->last_receive_ns < settings.stall_ns;
}

/* A wait begins with the end of the request, which may be written in pieces. */
static __always_inline void sock_on_send(struct sock *sk, struct sock_state *state, __u64 now,
					 __u32 count)
{
	bool waited;

	/* What a server sends is the answer. */
	if (!state->opened || is_pong(state, now, count) || is_tls_finished(state) ||
	    is_window_update(state, now, count)) {
		state->last_send_ns = now;
		return;
	}
	if (is_settings_ack(state, now, count)) {
		state->http2 = 1;
		state->last_send_ns = now;
		return;
	}
	if (state->midstream_pause)
		pause_ended(sk, state, now); /* from now on it waits for something else */
	waited = state->reply_state && now - state->request_ns >= settings.stall_ns;
	state->reply_state = AWAITING;
	if (waited)
		on_send_while_waiting(sk, state, now, count);
	else
		state->request_ns = now;
	state->last_send_ns = now;
}

/* `end` is CLOCK_MONOTONIC. */
static __noinline void emit_reply_stall(struct sock *sk, struct sock_state *state, __u64 end,
					__u32 evidence)
{
	__u64 since = due_since(sk, state);
	struct span span = { to_monotonic(since), end };

	if (!state->opened || !is_long(&span))
		return;
	if (is_upload(sk, state))
		evidence |= SEEN_UPLOAD;
	if (state->seen_blocked_ns >= since)
		evidence |=
			transport_of(sk) == TRANSPORT_UDP ? seen_by(state->waited) : SEEN_BLOCKED;
	/* A datagram's arrival is not noted: the process may have slept beside a full queue. */
	if (transport_of(sk) == TRANSPORT_UDP && !(evidence & (SEEN_BLOCKED | SEEN_POLLING)))
		return;
	evidence |= loss_in(state, span.end - span.begin);
	stall_ended(sk, state, STALL_RECEIVE, &span, evidence);
}

static __always_inline void count_answer(struct sock *sk, struct sock_state *state)
{
	state->peer_closed = 0;
	if (state->answered++ == 0)
		merge_peer_history(sk, state);
}

/* True where the wait is over. */
static __noinline bool on_reply(struct sock *sk, struct sock_state *state, __u64 now, int ret,
				int flags)
{
	__u64 arrival = now, end;
	__u32 evidence = 0;

	if (state->reply_state == REPLY_QUEUED) {
		state->reply_state = AWAITING;
		if (unread_bytes(sk) || next_to_come(sk) == state->queued_until)
			return false; /* this is that other's answer; else both were read at once */
	}
	if (now - state->request_ns + settings.tick_ns >= settings.stall_ns) {
		end = exact_ns();
		if (ret > 0) /* a FIN is no data: its arrival is not noted */
			arrival = arrival_ns(sk, now);
		if (state->reply_seen_ns > state->request_ns && state->reply_seen_ns < arrival)
			arrival = state->reply_seen_ns;
		if (arrival + settings.tick_ns < state->request_ns)
			return false; /* it had come before the request: not its answer */
		if (now - arrival > WAKE_UP_TICKS * settings.tick_ns)
			end = to_monotonic(arrival);
		/*
		 * The thread was there when the data came: it waited, unless by a rare chance.
		 * Not for MSG_DONTWAIT (also O_NONBLOCK, see __sys_recvfrom()).
		 */
		else if (!(flags & MSG_DONTWAIT) && is_tcp(sk))
			evidence = SEEN_BLOCKED;
		if (ret > 0)
			evidence |= SEEN_DATA;
		emit_reply_stall(sk, state, end, evidence);
	}
	state->reply_state = 0;
	state->reply_seen_ns = 0;
	flow_begins(state, now);
	return true;
}

/* Or given up; most are too short for a second read of the clock. */
static __always_inline void connected(struct sock *sk, struct sock_state *state)
{
	if (coarse_ns() - state->connect_ns + settings.tick_ns >= settings.stall_ns) {
		__u64 now = exact_ns();
		struct span span = { to_monotonic(state->connect_ns), now };

		if (is_long(&span))
			stall_ended(sk, state, STALL_CONNECT, &span, 0);
	}
	state->connect_ns = 0;
}

/* End of a connect: established, failed, reset, or the process gave up. */
static __noinline void connection_ended(struct sock *sk, struct sock_state *state)
{
	if (state->connect_ns)
		connected(sk, state);
	if (state->send_blocked_ns)
		send_unblocked(sk, state);
	if (state->reply_state) {
		emit_reply_stall(sk, state, exact_ns(), 0);
		state->reply_state = 0;
	}
	if (state->midstream_pause)
		pause_ended(sk, state, coarse_ns());
}

#endif
