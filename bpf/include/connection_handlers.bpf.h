/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What each hook of the life of a connection means for a socket, from connect to close. */
#ifndef CONNECTION_HANDLERS_BPF_H
#define CONNECTION_HANDLERS_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "clock.bpf.h"
#include "closing.bpf.h"
#include "core_read.bpf.h"
#include "emit.bpf.h"
#include "maps.bpf.h"
#include "peer_history.bpf.h"
#include "sock.bpf.h"
#include "sock_state.bpf.h"
#include "stall.bpf.h"
#include "silences.bpf.h"
#include "spins.bpf.h"
#include "task.bpf.h"
#include "tcp_sock.bpf.h"
#include "traffic.bpf.h"
#include "waitqueue.bpf.h"

/* In the task that called accept. */
static __always_inline int was_accepted(struct sock *sk)
{
	struct sock_state *state;

	if (transport_of(sk) != TRANSPORT_TCP)
		return 0;
	state = sock_state_get_or_create(sk);
	if (state)
		claim_sock(sk, state);
	return 0;
}

/*
 * The connection breaks off under a thread in a call, as in a child that waits for the reply to its
 * parent's request.  Who only polls is the owner where none is known: of what was accepted, and
 * neither sent nor received.
 */
static __noinline void claim_for_waiter(struct sock *sk, struct sock_state *state)
{
	__u64 waiter = stream_waiter(sk);
	struct task_struct *task = task_of(waiter);
	bool in_call = in_call_or_alone(waiter);

	if (in_call)
		state->seen_blocked_ns = coarse_ns();
	if (!task || (state->owner.tgid && !in_call))
		return;
	if (state->owner.tgid != (__u32)BPF_CORE_READ(task, tgid))
		change_owner(sk, state, (__u64)task);
}

static __always_inline int was_reset(struct sock *sk)
{
	struct sock_state *state;

	if (FIELD(sk, __sk_common.skc_state) == TCP_SYN_SENT)
		return 0; /* refused: reported when the state changes */
	state = sock_state_get_or_create(sk);
	if (!state)
		return 0;
	claim_for_waiter(sk, state);
	emit_event(sk, state, RECORD_RESET, 1);
	return 0;
}

/* No response, or an ICMP error: at the connect, or on an established connection. */
static __always_inline bool is_unreachable(int error)
{
	return error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH ||
	       error == EHOSTDOWN || error == ENONET;
}

/* Somebody forbids it by ICMP: the errors that net/ipv4/icmp.c and net/ipv6/icmp.c make of it. */
static __always_inline bool is_prohibited(int error)
{
	return error == EACCES || error == ENOPROTOOPT || error == EPROTO || error == EOPNOTSUPP;
}

/*
 * connect() found no local port (EADDRNOTAVAIL): the call returns the error, the socket does not
 * keep it.  A connect that is given up has a SYN that is not acknowledged, or is being closed.
 */
static __always_inline bool found_no_port(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return is_tcp(sk) && !FIELD(sk, sk_shutdown) && !BPF_CORE_READ(tp, packets_out);
}

/* The kind of record for a connection that failed in state `old`; 0: it did not fail. */
static __always_inline __u32 failure_of(struct sock *sk, int old)
{
	int error = FIELD(sk, sk_err);

	if (old == TCP_SYN_SENT && error == ECONNREFUSED)
		return RECORD_REFUSED;
	if (is_unreachable(error))
		return RECORD_TIMEOUT;
	if (is_prohibited(error))
		return RECORD_PROHIBITED;
	if (error == ECONNABORTED)
		return RECORD_ABORTED;
	if (old == TCP_SYN_SENT && !error && found_no_port(sk))
		return RECORD_NO_PORT;
	return 0;
}

static __always_inline void connection_failed(struct sock *sk, struct sock_state *state, int old)
{
	__u32 kind = failure_of(sk, old);

	if (kind)
		emit_event(sk, state, kind, 1);
}

/*
 * The peer sends no more; without data to read, this is the end of the reply.  A call that has
 * read data processes the FIN when it releases the socket, before its data is counted.
 */
static __always_inline void peer_finished(struct sock *sk, struct sock_state *state)
{
	if (!state->reply_state || unread_bytes(sk) > 1) /* a FIN counts as one */
		return;
	emit_reply_stall(sk, state, exact_ns(), 0);
	state->reply_state = 0;
	state->peer_closed = 1;
}

#define HANDLED_STATES                                                                             \
	(1 << TCP_SYN_SENT | 1 << TCP_LISTEN | 1 << TCP_FIN_WAIT1 | 1 << TCP_LAST_ACK |            \
	 1 << TCP_CLOSE_WAIT | 1 << TCP_CLOSE)

/* connect() or listen(), in the task that called.  Of what waits, Multipath TCP has one socket. */
static __always_inline void begins(struct sock *sk, struct sock_state *state, int new)
{
	bool subflow = is_tcp(sk) && is_subflow((struct tcp_sock *)sk);

	if (new == TCP_SYN_SENT && state->connect_ns) { /* see find_missed_connect() */
		connected(sk, state);
		state->closed = 1;
	}
	if (state->closed)
		forget_connection(state);
	/* Where the peer has announced another address, a worker of the kernel connects to it. */
	if (!subflow || !is_kernel_thread(current_task()))
		claim_sock(sk, state);
	state->closed = 0;
	if (new != TCP_SYN_SENT)
		return;
	know_attempts(sk, state);
	state->opened = 1;
	if (!subflow)
		state->connect_ns = coarse_ns();
}

/* Called before the state changes, with the old and the new one. */
static __always_inline int state_changed(struct sock *sk, int old, int new)
{
	struct sock_state *state;

	if (lingers(sk))
		close_lingers(sk, new);
	if (old != TCP_SYN_SENT && !(1 << new &HANDLED_STATES))
		return 0;
	if (transport_of(sk) != TRANSPORT_TCP)
		return 0;
	if (new == TCP_SYN_SENT || new == TCP_LISTEN) {
		state = sock_state_get_or_create(sk);
		if (state)
			begins(sk, state, new);
		return 0;
	}
	state = sock_state_lookup(sk);
	if (!state)
		return 0;
	if (state->reply_state)
		claim_for_waiter(sk, state);
	/* shutdown(SHUT_WR) also leads to FIN_WAIT1, but a reply may still be awaited then. */
	if (old == TCP_SYN_SENT || new == TCP_CLOSE ||
	    ((new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK) &&
	     FIELD(sk, sk_shutdown) == SHUTDOWN_MASK)) {
		if (state->awaits_equal)
			wait_for_equal_ended(sk, state, exact_ns());
		if (state->spins)
			spin_ended(sk, state, exact_ns(), 0);
		connection_ended(sk, state);
		/* No iterator over files finds it after close(). */
		flush_bytes_to_process(sk, state, false);
	}
	if (new == TCP_CLOSE_WAIT)
		peer_finished(sk, state);
	if (new != TCP_CLOSE)
		return 0;
	state->closed = 1;
	connection_failed(sk, state, old);
	flush_bytes_to_process(sk, state, false);
	if (RETRANSMIT_REPORTS_ERROR && state->known_attempts)
		add_atomic(&state->unread_retransmits, new_attempts(sk, state));
	flush_retransmits(sk, state);
	merge_peer_history(sk, state);
	state->opened = state->silences_in_a_row = state->listened = 0;
	state->answered = state->unanswered = 0;
	state->counted_answers = state->counted_unanswered = 0;
	if (!is_tcp(sk)) /* of Multipath TCP, the end has no hook */
		sock_state_delete(sk);
	return 0;
}

/* It is destroyed; with storage of its own, that goes by itself. */
static __always_inline int socket_ended(struct sock *sk)
{
	struct sock_state *state = sock_state_lookup(sk);

	if (state)
		flush_bytes_to_process(sk, state, false);
	sock_state_delete(sk);
	return 0;
}

#endif
