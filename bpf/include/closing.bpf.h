/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * close() with SO_LINGER waits until the peer has acknowledged everything.  The descriptor is gone
 * then, so that no iterator over files finds the socket: begin and end are emitted, and user space
 * reads the thread to see whether the call lasts.
 */
#ifndef CLOSING_BPF_H
#define CLOSING_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "core_read.bpf.h"
#include "emit.bpf.h"
#include "maps.bpf.h"
#include "settings.bpf.h"
#include "sock_state.bpf.h"
#include "stall.bpf.h"
#include "task.bpf.h"
#include "tcp_sock.bpf.h"

#define MOST_LINGER_TICKS (1ULL << 32)
#define STATES_OF_A_CLOSE (1 << TCP_FIN_WAIT1 | 1 << TCP_CLOSING | 1 << TCP_LAST_ACK)

static __always_inline void emit_closing(struct sock *sk, struct sock_state *state, __u32 kind,
					 __u64 span_ns)
{
	struct task_struct *task = current_task();
	struct event *event = reserve_event();
	struct owner owner = {};

	if (!event)
		return;
	fill_event(event, sk, state);
	event->kind = kind;
	event->direction = STALL_SEND;
	event->span_ns = span_ns;
	if (window_limits(sk))
		event->evidence |= SEEN_PEER_WINDOW;
	if (kind == RECORD_CLOSING) { /* in the thread that closes */
		fill_owner(&owner, bpf_get_current_task());
		set_owner(event, &owner);
		event->tid = task_pid_nr_in_probe_ns(task);
	}
	bpf_ringbuf_submit(event, 0);
}

/* Called before the state changes, of a socket with SO_LINGER. */
static __noinline void close_lingers(struct sock *sk, int new)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct sock_state *state = sock_state_lookup(sk);
	__u64 ticks;

	if (!state || !is_tcp(sk))
		return;
	if (state->closing && !(1 << new &STATES_OF_A_CLOSE)) {
		state->closing = 0;
		emit_closing(sk, state, RECORD_CLOSED, 0);
		return;
	}
	ticks = BPF_CORE_READ(sk, sk_lingertime);
	if (state->closing || !ticks || (new != TCP_FIN_WAIT1 &&new != TCP_LAST_ACK) ||
	    FIELD(sk, sk_shutdown) != SHUTDOWN_MASK ||
	    BPF_CORE_READ(tp, write_seq) == BPF_CORE_READ(tp, snd_una))
		return;
	state->closing = 1;
	emit_closing(sk, state, RECORD_CLOSING,
		     (ticks < MOST_LINGER_TICKS ? ticks : MOST_LINGER_TICKS) * settings.tick_ns);
}

static __always_inline bool lingers(struct sock *sk)
{
	return FIELD(sk, __sk_common.skc_flags) & (1 << SOCK_LINGER);
}

#endif
