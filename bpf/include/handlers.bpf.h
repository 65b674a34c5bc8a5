/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What each hook of a send, a receive or a retransmit means for a socket. */
#ifndef HANDLERS_BPF_H
#define HANDLERS_BPF_H

#include "vmlinux_min.h"
#include "clock.bpf.h"
#include "core_read.bpf.h"
#include "datagrams.bpf.h"
#include "http2_frames.bpf.h"
#include "maps.bpf.h"
#include "settings.bpf.h"
#include "sock.bpf.h"
#include "sock_state.bpf.h"
#include "stall.bpf.h"
#include "silences.bpf.h"
#include "spins.bpf.h"
#include "tcp_sock.bpf.h"
#include "tls_tickets.bpf.h"
#include "traffic.bpf.h"

static __always_inline int datagram_sent(struct sock *sk, int ret)
{
	struct sock_state *state;
	bool asks;

	if (ret < 0)
		return 0;
	if (ret > 0)
		count_datagram(sk, ret, 0);
	asks = may_ask(sk);
	if (!asks && !full_of_datagrams(sk))
		return 0;
	state = sock_state_get_or_create(sk);
	if (!state)
		return 0;
	claim_sock(sk, state);
	if (state->send_blocked_ns)
		send_unblocked(sk, state);
	if (!asks || state->unasked)
		return 0;
	if (state->owed < MOST_OWED)
		state->owed++;
	state->opened = 1;
	sock_on_send(sk, state, coarse_ns(), ret);
	return 0;
}

static __always_inline int datagram_received(struct sock *sk, int ret, int flags)
{
	struct sock_state *state;

	if (ret < 0)
		return 0;
	if (ret > 0 && !(flags & MSG_PEEK))
		count_datagram(sk, 0, ret);
	if (!may_ask(sk))
		return 0;
	state = sock_state_get_or_create(sk);
	if (!state)
		return 0;
	if (!(flags & MSG_PEEK)) {
		if (state->owed)
			state->owed--;
		else
			state->unasked = 1;
	}
	if (state->reply_state && on_reply(sk, state, coarse_ns(), ret, flags) && ret > 0)
		count_answer(sk, state);
	return 0;
}

/* `count` bytes went into the buffer of a stream. */
static __always_inline int stream_sent(struct sock *sk, struct sock_state *state, __u64 now,
				       int count)
{
	add_atomic(&state->unread_sent, uncounted(state, count, true));
	if (state->closed)
		flush_bytes_to_process(sk, state, false);
	/*
	 * A short send keeps the mark of the full buffer: it has only begun to wait.  Without a
	 * hook for the full buffer, a set bit and a full queue are the evidence.
	 */
	if (state->send_blocked_ns) {
		bool still = sock_nospace(sk) && sock_is_full(sk);

		send_unblocked(sk, state);
		if (still)
			send_blocked(sk, state);
		if (state->reply_state) /* it has only now got all of its request in */
			restart_request(sk, state, now, now);
	} else if (!settings.sees_full_buffer && sock_nospace(sk) && sock_is_full(sk)) {
		send_blocked(sk, state);
	}
	if (sent_control_frames(sk, state, now, count))
		return 0;
	note_silence_before_send(state, now);
	if (state->awaits_equal)
		wait_for_equal_ended(sk, state, exact_ns());
	sock_on_send(sk, state, now, count);
	state->sent_again = state->sent_last;
	state->sent_last = 1;
	state->received_since = 0;
	note_size(state, count);
	return 0;
}

/* `ret` is what the send call returns: bytes, or -errno. */
static __always_inline int sent(struct sock *sk, int ret)
{
	enum transport transport = transport_of(sk);
	struct sock_state *state;
	__u64 now;

	if (transport == TRANSPORT_OTHER)
		return 0;
	if (transport == TRANSPORT_UDP)
		return datagram_sent(sk, ret);
	if (ret <= 0 && ret != -EAGAIN)
		return 0;
	state = sock_state_get_or_create(sk);
	if (!state)
		return 0;
	claim_sock(sk, state);
	now = coarse_ns();
	if (ret == -EAGAIN) {
		if (!state->send_blocked_ns && FIELD(sk, __sk_common.skc_state) != TCP_SYN_SENT)
			send_blocked(sk, state);
		return 0;
	}
	return stream_sent(sk, state, now, ret);
}

/* Data was taken from the queue, in whatever task: `flags` are the call's. */
static __always_inline int bytes_read(struct sock *sk, struct sock_state *state, int ret, int flags)
{
	__u64 now = coarse_ns(), request_ns;
	bool control =
		ret > 0 && !(flags & (MSG_PEEK | MSG_TRUNC)) && received_control_frames(state, ret);

	if (control && owes_reply(state)) {
		add_atomic(&state->unread_received, uncounted(state, ret, false));
		state->last_control_ns = now;
		state->reply_seen_ns = 0; /* an iterator may have seen it unread */
		return 0;
	}
	note_silence_before_receive(sk, state, now, ret);
	if (state->spins)
		spin_ended(sk, state, to_monotonic(arrival_ns(sk, now)), ret > 0 ? SEEN_DATA : 0);
	if (state->awaits_equal) {
		wait_for_equal_ended(sk, state, to_monotonic(arrival_ns(sk, now)));
		state->request_ns = now; /* it is no reply to an earlier request as well */
	}
	if (ret > 0 && !(flags & MSG_PEEK)) {
		add_atomic(&state->unread_received, uncounted(state, ret, false));
		state->flow_bytes += ret;
		state->received_since += ret;
		if (state->closed) /* by a reset: nothing follows */
			flush_bytes_to_process(sk, state, false);
	}
	request_ns = state->reply_state == AWAITING ? state->request_ns : 0;
	if (state->reply_state) {
		if (on_reply(sk, state, now, ret, flags) && ret > 0 && !control)
			count_answer(sk, state);
	} else if (state->peer_closed && ret > 0) {
		count_answer(sk, state);
	} else if (state->opened && has_paused(sk, state, now, ret)) {
		pause_ended(sk, state, now);
	}
	if (state->tls.phase != TLS_OVER && ret > 0 && !(flags & MSG_PEEK))
		tls_read(state, now, ret, state->reply_state ? 0 : request_ns);
	state->last_receive_ns = now;
	state->sent_last = 0;
	return 0;
}

/* `ret` is what the receive call returns; `flags` are its flags. */
static __always_inline int received(struct sock *sk, int ret, int flags)
{
	enum transport transport = transport_of(sk);
	struct sock_state *state;

	if (transport == TRANSPORT_OTHER || (flags & MSG_ERRQUEUE))
		return 0; /* the error queue gives back what was sent */
	if (transport == TRANSPORT_UDP)
		return datagram_received(sk, ret, flags);
	if (ret == -EAGAIN) {
		state = sock_state_lookup(sk);
		return state ? found_nothing(state) : 0;
	}
	if (ret < 0)
		return 0;
	state = sock_state_get_or_create(sk);
	if (!state)
		return 0;
	claim_sock(sk, state);
	return bytes_read(sk, state, ret, flags);
}

/* A send is about to wait for memory, or to return short. */
static __always_inline int found_full_buffer(struct sock *sk)
{
	struct sock_state *state;

	state = sock_state_get_or_create(sk);
	if (!state)
		return 0;
	claim_sock(sk, state);
	if (!state->send_blocked_ns)
		send_blocked(sk, state);
	return 0;
}

static __always_inline __u32 segments_of(struct sk_buff *skb)
{
	struct tcp_skb_cb *cb = (void *)skb + bpf_core_field_offset(struct sk_buff, cb);

	return BPF_CORE_READ(cb, tcp_gso_segs);
}

static __always_inline int retransmitted(struct sock *sk, __u32 segments)
{
	struct sock_state *state = sock_state_get_or_create(sk);

	if (!state)
		return 0;
	add_atomic(&state->unread_retransmits, segments);
	if (!window_closed(sk)) /* into a closed window it is a probe, or overran the buffer */
		state->last_loss_ns = coarse_ns();
	return 0;
}

/*
 * As retransmitted(), where failures are shown, too.  The socket's own count also has segments for
 * which the kernel did not run the program: see docs/edge-cases.md.  Some failures are not in it.
 */
static __always_inline int tried_to_retransmit(struct sock *sk, __u32 segments, int error)
{
	struct sock_state *state = sock_state_get_or_create(sk);
	__u32 left;

	if (!state)
		return 0;
	if (state->known_attempts) {
		left = new_attempts(sk, state);
	} else {
		know_attempts(sk, state);
		left = segments;
	}
	if (error)
		left -= left < segments ? left : segments;
	return left ? retransmitted(sk, left) : 0;
}

/* Of a listener; or of a connection by Fast Open, which counts it itself. */
static __always_inline int retransmitted_synack(struct sock *sk)
{
	struct sock_state *state = sock_state_get_or_create(sk);

	if (state && state->known_attempts)
		know_attempts(sk, state);
	return retransmitted(sk, 1);
}

#endif
