/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What each hooked place in the kernel means for a socket; the entry points only call these. */
#ifndef HANDLERS_BPF_H
#define HANDLERS_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "clock.bpf.h"
#include "closing.bpf.h"
#include "core_read.bpf.h"
#include "datagrams.bpf.h"
#include "emit.bpf.h"
#include "maps.bpf.h"
#include "settings.bpf.h"
#include "sock.bpf.h"
#include "sock_state.bpf.h"
#include "stall.bpf.h"
#include "task.bpf.h"
#include "traffic.bpf.h"
#include "waitqueue.bpf.h"

static __always_inline int datagram_sent(struct sock *sk, int ret)
{
	struct sock_state *memory;
	bool asks;

	if (ret <= 0)
		return 0;
	count_datagram(sk, ret, 0);
	asks = may_ask(sk);
	if (!asks && !full_of_datagrams(sk))
		return 0;
	memory = sock_state_get_or_create(sk);
	if (!memory)
		return 0;
	claim_sock(sk, memory);
	if (memory->send_blocked_ns)
		send_unblocked(sk, memory);
	if (!asks || memory->unasked)
		return 0;
	if (memory->owed < MOST_OWED)
		memory->owed++;
	memory->opened = 1;
	sock_on_send(sk, memory, coarse_ns(), ret);
	return 0;
}

static __always_inline int datagram_received(struct sock *sk, int ret, int flags)
{
	struct sock_state *memory;

	if (ret < 0)
		return 0;
	if (ret > 0 && !(flags & MSG_PEEK))
		count_datagram(sk, 0, ret);
	if (!may_ask(sk))
		return 0;
	memory = sock_state_get_or_create(sk);
	if (!memory)
		return 0;
	if (!(flags & MSG_PEEK)) {
		if (memory->owed)
			memory->owed--;
		else
			memory->unasked = 1;
	}
	if (memory->reply_state)
		on_reply(sk, memory, coarse_ns(), ret, flags);
	return 0;
}

/* `count` bytes went into the buffer of a stream. */
static __always_inline int stream_sent(struct sock *sk, struct sock_state *memory, __u64 now,
				       int count)
{
	atomic_add(&memory->unread_sent, uncounted(memory, count, true));
	if (memory->closed)
		flush_bytes_to_process(sk, memory);
	/*
	 * A short send keeps the mark of the full buffer: it has only begun to wait.  Without a
	 * hook for the full buffer, a set bit and a full queue are the evidence.
	 */
	if (memory->send_blocked_ns) {
		bool still = sock_nospace(sk) && sock_is_full(sk);

		send_unblocked(sk, memory);
		if (still)
			send_blocked(sk, memory);
		if (memory->reply_state) /* it has only now got all of its request in */
			restart_request(sk, memory, now, now);
	} else if (!settings.sees_full_buffer && sock_is_full(sk) && sock_nospace(sk)) {
		send_blocked(sk, memory);
	}
	sock_on_send(sk, memory, now, count);
	return 0;
}

/* `ret` is what the send call returns: bytes, or -errno. */
static __always_inline int sent(struct sock *sk, int ret)
{
	enum transport transport = transport_of(sk);
	struct sock_state *memory;
	__u64 now;

	if (transport == TRANSPORT_OTHER)
		return 0;
	if (transport == TRANSPORT_UDP)
		return datagram_sent(sk, ret);
	if (ret <= 0 && ret != -EAGAIN)
		return 0;
	memory = sock_state_get_or_create(sk);
	if (!memory)
		return 0;
	claim_sock(sk, memory);
	now = coarse_ns();
	if (ret == -EAGAIN) {
		if (!memory->send_blocked_ns && !memory->connect_ns)
			send_blocked(sk, memory);
		return 0;
	}
	return stream_sent(sk, memory, now, ret);
}

/* Data was taken from the queue, in whatever task: `flags` are the call's. */
static __always_inline int bytes_read(struct sock *sk, struct sock_state *memory, int ret,
				      int flags)
{
	__u64 now = coarse_ns();

	if (ret > 0 && !(flags & MSG_PEEK)) {
		atomic_add(&memory->unread_received, uncounted(memory, ret, false));
		memory->flow_bytes += ret;
		if (memory->closed)
			flush_bytes_to_process(sk,
					       memory); /* read after a reset: nothing follows */
	}
	if (memory->reply_state)
		on_reply(sk, memory, now, ret, flags);
	else if (memory->peer_closed && ret > 0)
		count_answer(sk, memory);
	else if (memory->opened && now - memory->last_receive_ns >= settings.stall_ns)
		pause_ended(sk, memory, now);
	memory->last_receive_ns = now;
	return 0;
}

/* `ret` is what the receive call returns; `flags` are its flags. */
static __always_inline int received(struct sock *sk, int ret, int flags)
{
	enum transport transport = transport_of(sk);
	struct sock_state *memory;

	if (transport == TRANSPORT_OTHER || (flags & MSG_ERRQUEUE))
		return 0; /* the error queue gives back what was sent */
	if (transport == TRANSPORT_UDP)
		return datagram_received(sk, ret, flags);
	if (ret < 0)
		return 0;
	memory = sock_state_get_or_create(sk);
	if (!memory)
		return 0;
	claim_sock(sk, memory);
	return bytes_read(sk, memory, ret, flags);
}

/* A send is about to wait for memory, or to return short. */
static __always_inline int found_full_buffer(struct sock *sk)
{
	struct sock_state *memory;

	memory = sock_state_get_or_create(sk);
	if (!memory)
		return 0;
	claim_sock(sk, memory);
	if (!memory->send_blocked_ns)
		send_blocked(sk, memory);
	return 0;
}

static __always_inline __u32 segments_of(struct sk_buff *skb)
{
	struct tcp_skb_cb *cb = (void *)skb + bpf_core_field_offset(struct sk_buff, cb);

	return BPF_CORE_READ(cb, tcp_gso_segs);
}

static __always_inline int retransmitted(struct sock *sk, __u32 segments)
{
	struct sock_state *memory = sock_state_get_or_create(sk);

	if (!memory)
		return 0;
	atomic_add(&memory->unread_retransmits, segments);
	if (!window_closed(sk)) /* into a closed window it is a probe, or overran the buffer */
		memory->last_loss_ns = coarse_ns();
	return 0;
}

/* In the task that called accept. */
static __always_inline int was_accepted(struct sock *sk)
{
	struct sock_state *memory;

	if (transport_of(sk) != TRANSPORT_TCP)
		return 0;
	memory = sock_state_get_or_create(sk);
	if (memory)
		claim_sock(sk, memory);
	return 0;
}

static __always_inline int was_reset(struct sock *sk)
{
	struct sock_state *memory;
	bool polling = false;

	if (FIELD(sk, __sk_common.skc_state) == TCP_SYN_SENT)
		return 0; /* refused: reported when the state changes */
	memory = sock_state_get_or_create(sk);
	if (!memory)
		return 0;
	if (!memory->owner.tgid) { /* accepted, and nothing sent or received yet */
		struct task_struct *task = find_waiter(sk, &polling);

		if (task)
			fill_owner(&memory->owner, task);
	}
	emit_event(sk, memory, RECORD_RESET, 1);
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

static __always_inline void connection_failed(struct sock *sk, struct sock_state *memory, int old)
{
	__u32 kind = failure_of(sk, old);

	if (kind)
		emit_event(sk, memory, kind, 1);
}

/*
 * The peer sends no more; without data to read, this is the end of the reply.  A call that has
 * read data processes the FIN when it releases the socket, before its data is counted.
 */
static __always_inline void peer_finished(struct sock *sk, struct sock_state *memory)
{
	struct task_struct *task;
	bool polling = false;

	if (!memory->reply_state || unread_bytes(sk) > 1) /* a FIN counts as one */
		return;
	task = find_waiter(sk, &polling);
	emit_reply_stall(sk, memory, exact_ns(), task && !polling ? SEEN_BLOCKED : 0);
	memory->reply_state = 0;
	memory->peer_closed = 1;
}

#define HANDLED_STATES                                                                             \
	(1 << TCP_SYN_SENT | 1 << TCP_LISTEN | 1 << TCP_FIN_WAIT1 | 1 << TCP_LAST_ACK |            \
	 1 << TCP_CLOSE_WAIT | 1 << TCP_CLOSE)

/* Called before the state changes, with the old and the new one. */
static __always_inline int state_changed(struct sock *sk, int old, int new)
{
	struct sock_state *memory;

	if (lingers(sk))
		close_lingers(sk, new);
	if (old != TCP_SYN_SENT && !(1 << new &HANDLED_STATES))
		return 0;
	if (transport_of(sk) != TRANSPORT_TCP)
		return 0;
	if (new == TCP_SYN_SENT || new == TCP_LISTEN) { /* in the task that called */
		memory = sock_state_get_or_create(sk);
		if (!memory)
			return 0;
		claim_sock(sk, memory);
		memory->closed = memory->peer_closed = 0;
		if (new == TCP_SYN_SENT) {
			memory->opened = 1;
			memory->connect_ns = coarse_ns();
		}
		return 0;
	}
	memory = sock_state_lookup(sk);
	if (!memory)
		return 0;
	/* shutdown(SHUT_WR) also leads to FIN_WAIT1, but a reply may still be awaited then. */
	if (old == TCP_SYN_SENT || new == TCP_CLOSE ||
	    ((new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK) &&
	     FIELD(sk, sk_shutdown) == SHUTDOWN_MASK)) {
		connection_ended(sk, memory);
		flush_bytes_to_process(sk,
				       memory); /* no iterator over files finds it after close() */
	}
	if (new == TCP_CLOSE_WAIT)
		peer_finished(sk, memory);
	if (new != TCP_CLOSE)
		return 0;
	memory->closed = 1;
	connection_failed(sk, memory, old);
	flush_bytes_to_process(sk, memory);
	flush_retransmits(sk, memory);
	merge_peer_history(sk, memory);
	memory->opened = 0;
	memory->answered = memory->unanswered = 0;
	memory->counted_answers = memory->counted_unanswered = 0;
	return 0;
}

/* It is destroyed; with storage of its own, that goes by itself. */
static __always_inline int socket_ended(struct sock *sk)
{
	struct sock_state *memory = sock_state_lookup(sk);

	if (memory)
		flush_bytes_to_process(sk, memory);
	sock_state_delete(sk);
	return 0;
}

#endif
