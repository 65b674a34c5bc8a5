/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Sockets read out: what they moved since the last time, and what waits on them now. */
#ifndef SOCK_ITER_BPF_H
#define SOCK_ITER_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "clock.bpf.h"
#include "core_read.bpf.h"
#include "datagram_waits.bpf.h"
#include "emit.bpf.h"
#include "in_call.bpf.h"
#include "iter_ctx.bpf.h"
#include "maps.bpf.h"
#include "settings.bpf.h"
#include "sock.bpf.h"
#include "sock_state.bpf.h"
#include "stall.bpf.h"
#include "silences.bpf.h"
#include "spins.bpf.h"
#include "task.bpf.h"
#include "tcp_sock.bpf.h"
#include "tls_tickets.bpf.h"
#include "traffic.bpf.h"
#include "waitqueue.bpf.h"

#define FLOW_NS (800ULL * NS_PER_MS)
#define ANSWERS_APART_NS (5000ULL * NS_PER_MS) /* also in xctl_probe/stalls/policy.py */

static __always_inline bool may_receive(struct sock *sk)
{
	__u8 state = FIELD(sk, __sk_common.skc_state);

	return (state == TCP_ESTABLISHED || state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2) &&
	       !(FIELD(sk, sk_shutdown) & RCV_SHUTDOWN);
}

static __always_inline bool has_hole(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return is_tcp(sk) && BPF_CORE_READ(tp, out_of_order_queue.rb_node);
}

/*
 * Since when data is missing: in a flow, since the last data in order.  After a pause, since the
 * sample that found the hole: a little late, where the pause is not a stall.
 */
static __always_inline __u64 hole_since(struct sock *sk, struct sock_state *state, __u64 coarse)
{
	if (!has_hole(sk))
		state->hole_ns = 0;
	else if (coarse - state->last_receive_ns <= settings.stall_ns)
		state->hole_ns = state->last_receive_ns;
	else if (state->hole_ns < state->last_receive_ns)
		state->hole_ns = coarse;
	return state->hole_ns;
}

/* Sustained: long and fast enough for a transfer, unlike messages of a subscription. */
static __always_inline bool had_flow(struct sock_state *state)
{
	__u64 lasted_ns = state->last_receive_ns - state->flow_begin_ns;

	return state->flow_begin_ns && lasted_ns >= FLOW_NS &&
	       state->flow_bytes / FLOW_BYTES_PER_MS >= lasted_ns / NS_PER_MS;
}

/* tcp_keepalive_timer() probes while nothing is on its way; any ACK sets the count back. */
static __always_inline __u32 unanswered_keepalives(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	if (!is_tcp(sk) || BPF_CORE_READ(tp, write_seq) != BPF_CORE_READ(tp, snd_una))
		return 0;
	return BPF_CORE_READ(tp, inet_conn.icsk_probes_out);
}

static __always_inline __u32 of_equal(struct sock_state *state, __u64 now)
{
	__u64 silent_ticks = (now - state->last_send_ns) / settings.tick_ns;

	return SEEN_SYMMETRIC | (is_announced(state, silent_ticks) ? SEEN_ANNOUNCED : 0);
}

/* The process is late itself: what comes until it reads is not what it has waited for. */
static __always_inline void note_unread_reply(struct sock *sk, struct sock_state *state,
					      __u64 coarse)
{
	if (state->reply_state == AWAITING && state->reply_seen_ns <= state->request_ns &&
	    unread_bytes(sk))
		state->reply_seen_ns = arrival_ns(sk, coarse);
}

/*
 * A connect whose last change of state has interrupted another run of the program on the same CPU:
 * the kernel skips it then.  The program runs before the state changes, so that is read first, and
 * a connect that begins right now does not count.
 */
static __always_inline void find_missed_connect(struct sock *sk, struct sock_state *state)
{
	__u8 now = FIELD(sk, __sk_common.skc_state);
	__u64 since;

	barrier();
	since = state->connect_ns;
	if (since && now != TCP_SYN_SENT && now != TCP_SYN_RECV &&
	    coarse_ns() > since + settings.tick_ns)
		connected(sk, state);
}

/*
 * By TCP Fast Open connect() returns at once, and it is the first send that lets the SYN go: until
 * then nothing waits.  The state changes before the SYN goes, so that a connect that begins right
 * now does not count.
 */
static __always_inline void find_deferred_connect(struct sock *sk, struct sock_state *state)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u64 now;

	if (FIELD(sk, __sk_common.skc_state) != TCP_SYN_SENT || !is_tcp(sk) || is_subflow(tp))
		return;
	now = coarse_ns();
	if (!BPF_CORE_READ(tp, segs_out)) {
		if (now > state->connect_ns + settings.tick_ns)
			state->connect_ns = 0;
	} else if (!state->connect_ns) {
		state->connect_ns = now;
	}
}

/* A thread that waits for more than has come (SO_RCVLOWAT) is not woken by less. */
static __always_inline bool may_read(struct sock *sk)
{
	__u32 unread = unread_bytes(sk);

	return unread && (unread >= (__u32)BPF_CORE_READ(sk, sk_rcvlowat) || !stream_waiter(sk));
}

/* Fills direction, span and evidence of what waits on the socket; false when nothing does. */
static __always_inline bool detect_wait(struct event *event, struct sock *sk,
					struct sock_state *state, __u64 coarse)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u64 since, now = coarse;

	if (transport_of(sk) == TRANSPORT_UDP)
		return find_datagram_wait(event, sk, state, coarse);
	if (state->connect_ns) {
		since = state->connect_ns;
		event->direction = STALL_CONNECT;
	} else if (state->send_blocked_ns) {
		now = bpf_ktime_get_ns();
		since = state->send_blocked_ns;
		event->direction = STALL_SEND;
		if (!sock_nospace(sk)) { /* it may send, and has not yet */
			if (!state->writable_ns)
				state->writable_ns = now;
			return false;
		}
		state->writable_ns = 0; /* it did, within its call, and the buffer is full again */
		if (window_limits(sk))
			event->evidence |= SEEN_PEER_WINDOW;
	} else if (!state->opened && !may_await_equal(state) && !awaits_unasked(state, coarse)) {
		return false; /* of most servers, before their sockets are read */
	} else if (!may_receive(sk) || may_read(sk)) {
		note_unread_reply(sk, state, coarse);
		return false;
	} else if (awaits_unasked(state, coarse)) {
		since = state->spin_begin_ns;
		now = state->last_spin_ns; /* it may have been given up since */
		event->evidence = SEEN_SPINNING;
		event->direction = STALL_RECEIVE;
	} else if (may_await_equal(state)) {
		since = state->last_send_ns;
		event->evidence = of_equal(state, coarse);
		event->direction = STALL_RECEIVE;
		state->awaits_equal = coarse - since >= settings.stall_ns;
	} else if (state->reply_state) {
		since = due_since(sk, state);
		event->evidence = is_symmetric(state) ? of_equal(state, coarse) : 0;
		if (is_upload(sk, state))
			event->evidence |= SEEN_UPLOAD;
		if (spins_now(state, coarse)) { /* as good as a thread that sleeps there */
			event->evidence |= SEEN_BLOCKED;
			state->seen_blocked_ns = coarse;
		}
		event->direction = STALL_RECEIVE;
	} else {
		since = 0;
		if (state->last_receive_ns) {
			since = hole_since(sk, state, coarse);
			event->evidence |= since ? SEEN_HOLE : SEEN_FLOW;
			if (!since && had_flow(state))
				since = state->last_receive_ns;
		}
		if (!since) {
			if (!unanswered_keepalives(sk))
				return false;
			since = coarse - settings.stall_ns; /* user space notes since when */
			event->evidence = SEEN_KEEPALIVE;
		}
		event->direction = STALL_RECEIVE;
	}
	if (now < since || now - since < settings.stall_ns)
		return false;
	event->span_ns = now - since;
	if (is_tcp(sk) && !window_closed(sk) && BPF_CORE_READ(tp, inet_conn.icsk_retransmits))
		event->evidence |= SEEN_RETRANSMIT;
	event->evidence |= loss_in(state, event->span_ns);
	if (event->direction != STALL_CONNECT)
		event->evidence |= held_back(sk);
	return true;
}

/* Names the thread that waits; it is a better owner than the last one that did I/O. */
static __noinline void attribute_waiter(struct event *event, struct sock *sk,
					struct sock_state *state)
{
	struct task_struct *task;
	struct owner owner = {};
	__u64 waiter;
	bool sends;

	if (transport_of(sk) == TRANSPORT_UDP)
		return name_datagram_waiter(event, sk, state);
	waiter = stream_waiter(sk);
	if (!waiter)
		return;
	if (!in_call_or_alone(waiter)) {
		event->evidence |= SEEN_POLLING;
		return;
	}
	task = task_of(waiter);
	sends = BPF_CORE_READ(sk, sk_write_pending);
	if ((event->direction == STALL_RECEIVE && sends) ||
	    (event->direction == STALL_SEND && !sends))
		return; /* this one sleeps in the other direction */
	if (event->direction == STALL_RECEIVE) {
		event->evidence |= SEEN_BLOCKED;
		state->seen_blocked_ns = coarse_ns();
	}
	fill_owner(&owner, (__u64)task);
	set_owner(event, &owner);
	event->tid = task_pid_nr_in_probe_ns(task);
}

/*
 * The buffer was full before the probe, soon after the last data went, or unnoticed: it counts from
 * now on.  An event loop may also wait for space that no send has found missing, as a socket is
 * writable only when a third of its buffer is free: from its last send on, unless that was long
 * before.
 */
static __always_inline void find_unseen_sender(struct sock *sk, struct sock_state *state)
{
	bool since_send = state->from_before;

	state->from_before = 0;
	if (state->send_blocked_ns)
		return;
	if (!FIELD(sk, sk_wmem_queued) && !FIELD(sk, sk_write_pending))
		return; /* nothing that a sender could wait behind: its flags are not read */
	if (!sock_nospace(sk))
		return;
	if (BPF_CORE_READ(sk, sk_write_pending)) {
		send_blocked(sk, state);
	} else if (!sock_is_writable(sk) && polled_to_write((__u64)BPF_CORE_READ(sk, sk_wq))) {
		send_blocked(sk, state);
		since_send |= coarse_ns() - state->last_send_ns < 2 * settings.stall_ns;
	} else {
		return;
	}
	if (since_send && state->last_send_ns)
		state->send_blocked_ns -= coarse_ns() - state->last_send_ns;
}

/* Who has its reply does not wait on the connection for more: but for one that is subscribed. */
static __always_inline void find_wait_behind_ticket(struct sock *sk, struct sock_state *state)
{
	__u64 waiter;

	if (!may_be_ticket(state) || unread_bytes(sk) || BPF_CORE_READ(sk, sk_write_pending))
		return;
	waiter = stream_waiter(sk);
	if (waiter && in_call_or_alone(waiter))
		tls_tickets_read(state, state->last_receive_ns);
}

static __always_inline bool write_retransmit_event(struct seq_file *seq, struct sock *sk,
						   struct sock_state *state, struct event *event,
						   __u64 count, __u32 duplicates)
{
	fill_event(event, sk, state);
	event->kind = RECORD_RETRANSMIT;
	event->occurrences = count;
	event->duplicates = duplicates;
	return !bpf_seq_write(seq, event, sizeof(*event));
}

/* Of Multipath TCP, when it was read. */
static __always_inline __u64 last_data_came_ns(struct sock *sk, struct sock_state *state)
{
	return is_tcp(sk) ? arrival_ns(sk, coarse_ns()) : state->last_receive_ns;
}

/* Who has opened a connection may be answered on it. */
static __always_inline bool is_asked_for(struct sock *sk, struct sock_state *state)
{
	__u32 pid = state->owner.pid;

	if (!state->opened || !state->last_receive_ns || transport_of(sk) != TRANSPORT_TCP)
		return false;
	if ((__s64)state->unread_received <= 0 &&
	    coarse_ns() - last_data_came_ns(sk, state) > ANSWERS_APART_NS)
		return false;
	return bpf_map_lookup_elem(&asked_processes, &pid);
}

static __always_inline bool write_received_event(struct seq_file *seq, struct sock *sk,
						 struct sock_state *state, struct event *event)
{
	fill_event(event, sk, state);
	event->kind = RECORD_RECEIVED;
	event->time_ns = to_monotonic(last_data_came_ns(sk, state));
	return !bpf_seq_write(seq, event, sizeof(*event));
}

static __always_inline bool write_wait_event(struct seq_file *seq, struct sock *sk,
					     struct sock_state *state, struct event *event,
					     __u64 now)
{
	__u32 direction, evidence;
	__u64 span;

	event->direction = event->evidence = event->span_ns = 0;
	if (!detect_wait(event, sk, state, now))
		return true;
	span = event->span_ns;
	direction = event->direction;
	evidence = event->evidence;
	fill_event(event, sk, state);
	event->kind = RECORD_ONGOING;
	event->span_ns = span;
	event->direction = direction;
	event->evidence |= evidence;
	if (evidence & SEEN_SPINNING)
		event->time_ns = to_monotonic(state->last_spin_ns);
	event->occurrences = unanswered_keepalives(sk);
	attribute_waiter(event, sk, state);
	if (event->evidence & (SEEN_HOLE | SEEN_FLOW))
		state->midstream_pause = event->evidence & (SEEN_HOLE | SEEN_FLOW | SEEN_BLOCKED);
	return !bpf_seq_write(seq, event, sizeof(*event));
}

/* The state of the socket that is iterated; none where it was visited already. */
static __always_inline struct sock_state *iterated_sock_state(sock_iter_ctx *ctx, struct sock *sk)
{
#ifdef SOCKETS_BY_FILE
	struct sock_state *state = sock_state_lookup(sk);

	return state && state->session != ctx->meta->session_id ? state : 0;
#else
	return ctx->value;
#endif
}

static __always_inline void mark_visited(sock_iter_ctx *ctx, struct sock_state *state)
{
#ifdef SOCKETS_BY_FILE
	state->session = ctx->meta->session_id;
#endif
}

/* Every socket once: `drain` also takes its counts.  The record is only room to write in. */
static __always_inline int visit_sock(sock_iter_ctx *ctx, struct event *event, bool drain)
{
	struct seq_file *seq = ctx->meta->seq;
	struct sock *sk = iterated(ctx);
	struct sock_state *state;
	__u64 retransmits = 0;
	__u32 duplicates = 0;

	if (!sk)
		return 0;
	state = iterated_sock_state(ctx, sk);
	if (!state)
		return 0;
	if (transport_of(sk) == TRANSPORT_TCP) {
		find_missed_connect(sk, state);
		find_deferred_connect(sk, state);
		find_unseen_sender(sk, state);
		find_wait_behind_ticket(sk, state);
		count_calls(sk, state);
	}
	/*
	 * On seq_file overflow the kernel discards the output of this socket and calls the program
	 * again; subtract the counters only after a successful write.
	 */
	if (drain) {
		/* The close handler has reported them, too: the next retransmits compensate. */
		if ((__s64)state->unread_retransmits > 0) {
			retransmits = state->unread_retransmits;
			duplicates = dsack_dups(sk) - state->known_duplicates;
			if (!write_retransmit_event(seq, sk, state, event, retransmits, duplicates))
				return 0;
		}
		if (is_asked_for(sk, state) && !write_received_event(seq, sk, state, event))
			return 0;
	}
	if (!write_wait_event(seq, sk, state, event, coarse_ns()))
		return 0;
	mark_visited(ctx, state);
	if (!drain)
		return 0;
	if (retransmits) {
		add_atomic(&state->unread_retransmits, -retransmits);
		state->known_duplicates += duplicates;
	}
	if (state->unread_sent || state->unread_received)
		flush_bytes_to_process(sk, state, true);
	return 0;
}

#endif
