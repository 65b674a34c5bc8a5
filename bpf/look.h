/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Sockets read out: what they moved since the last time, and what waits on them now. */
#ifndef LOOK_H
#define LOOK_H

#include "stalls.h"

#define WAITERS 16 /* entries of a wait queue that are looked at */

#ifdef SOCKETS_IN_HASH
#define ITERATE_SOCKETS "iter/bpf_map_elem"
#define socket_iterator struct bpf_iter__bpf_map_elem
#else
#define ITERATE_SOCKETS "iter/bpf_sk_storage_map"
#define socket_iterator struct bpf_iter__bpf_sk_storage_map
#endif

/*
 * The task that sleeps on the socket's wait queue in a call of its own (`*polling` false), or
 * in poll or select.  epoll waits elsewhere: its entries carry no task.
 */
static __noinline struct task_struct *find_waiter(struct sock *sk, bool *polling)
{
	struct socket_wq *queue = BPF_CORE_READ(sk, sk_wq);
	struct list_head *head, *at;
	struct task_struct *polls = 0;

	if (!queue)
		return 0;
	head = (void *)queue + bpf_core_field_offset(struct socket_wq, wait.head);
	at = BPF_CORE_READ(head, next);
	for (int i = 0; i < WAITERS; i++) {
		struct wait_queue_entry *entry;
		void *private;

		if (!at || at == head)
			break;
		entry = (void *)at - bpf_core_field_offset(struct wait_queue_entry, entry);
		private = BPF_CORE_READ(entry, private);
		if (private && is_task(private)) {
			*polling = false;
			return private;
		}
		if (private && !polls) {
			struct task_struct *task =
				BPF_CORE_READ((struct poll_wqueues *)private, polling_task);

			if (task && is_task(task))
				polls = task;
		}
		at = BPF_CORE_READ(at, next);
	}
	*polling = polls != 0;
	return polls;
}

static __always_inline bool nothing_to_read(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	if (!is_tcp(sk))
		return true;
	return BPF_CORE_READ(tp, rcv_nxt) == BPF_CORE_READ(tp, copied_seq);
}

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

/* Fills direction, span and evidence of what waits on the socket; false when nothing does. */
static __always_inline bool find_wait(struct record *record, struct sock *sk,
				      struct sock_memory *memory, __u64 coarse)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u64 since, now = coarse;

	if (memory->connect_ns) {
		now = bpf_ktime_get_ns();
		since = memory->connect_ns;
		record->direction = STALL_CONNECT;
	} else if (memory->send_blocked_ns) {
		now = bpf_ktime_get_ns();
		since = memory->send_blocked_ns;
		record->direction = STALL_SEND;
		if (!nospace(sk)) { /* it may send, and has not yet */
			if (!memory->writable_ns)
				memory->writable_ns = now;
			return false;
		}
		if (window_closed(sk) ||
		    (is_tcp(sk) &&
		     BPF_CORE_READ_BITFIELD_PROBED(tp, chrono_type) == CHRONO_RWND_LIMITED))
			record->evidence |= SEEN_PEER_WINDOW;
	} else if (!memory->opened || !may_receive(sk) || !nothing_to_read(sk)) {
		return false;
	} else if (memory->awaiting) {
		since = memory->last_send_ns;
		record->direction = STALL_RECEIVE;
	} else if (memory->last_receive_ns && has_hole(sk)) {
		since = memory->last_receive_ns;
		record->direction = STALL_RECEIVE;
		record->evidence |= SEEN_HOLE;
		memory->hole_ns = now;
	} else {
		return false;
	}
	if (now < since || now - since < settings.stall_ns)
		return false;
	record->span_ns = now - since;
	if (is_tcp(sk) && !window_closed(sk) && BPF_CORE_READ(tp, inet_conn.icsk_retransmits))
		record->evidence |= SEEN_RETRANSMIT;
	record->evidence |= loss_in(memory, record->span_ns);
	return true;
}

/* Names the thread that waits; it is a better owner than the last one that did I/O. */
static __noinline void name_waiter(struct record *record, struct sock *sk,
				   struct sock_memory *memory)
{
	bool polling = false;
	struct task_struct *task = find_waiter(sk, &polling);
	struct owner owner = {};

	if (!task)
		return;
	if (polling) {
		record->evidence |= SEEN_POLLING;
		return;
	}
	if (record->direction == STALL_RECEIVE) {
		if (BPF_CORE_READ(sk, sk_write_pending))
			return; /* it waits to send */
		record->evidence |= SEEN_BLOCKED;
		memory->seen_blocked_ns = coarse_ns();
	}
	describe(&owner, task);
	set_owner(record, &owner);
	record->tid = visible_pid(task);
}

/* A full buffer that was met before the probe came, or unseen: from now on it counts. */
static __always_inline void find_unseen_sender(struct sock *sk, struct sock_memory *memory)
{
	if (!memory->send_blocked_ns && BPF_CORE_READ(sk, sk_write_pending) && nospace(sk))
		send_blocked(sk, memory);
}

static __always_inline bool anything_to_look_at(struct sock_memory *memory)
{
	return memory->awaiting || memory->send_blocked_ns || memory->connect_ns;
}

/* Every socket once: `drain` also takes its counts. */
static __always_inline int look(socket_iterator *ctx, bool drain)
{
	struct sock_memory *memory = ctx->value;
	struct sock *sk = ITERATOR_SK(ctx);
	struct record record;
	__u64 sent, received, retransmits, now = coarse_ns();

	if (!sk || !memory)
		return 0;
	if (transport_of(sk) == TRANSPORT_TCP)
		find_unseen_sender(sk, memory);
	sent = drain ? memory->unread_sent : 0;
	received = drain ? memory->unread_received : 0;
	retransmits = drain ? memory->unread_retransmits : 0;
	if ((__s64)sent > 0 || (__s64)received > 0 || (__s64)retransmits > 0) {
		fill(&record, sk, memory);
		record.kind = RECORD_TRAFFIC;
		record.sent_bytes = sent;
		record.received_bytes = received;
		record.occurrences = retransmits;
		/* Refused when the buffer is full: the same socket is shown again after it. */
		if (bpf_seq_write(ctx->meta->seq, &record, sizeof(record)))
			return 0;
		add(&memory->unread_sent, -sent);
		add(&memory->unread_received, -received);
		add(&memory->unread_retransmits, -retransmits);
	}
	if (!anything_to_look_at(memory) && !has_hole(sk))
		return 0;
	record.direction = record.evidence = record.span_ns = 0;
	if (!find_wait(&record, sk, memory, now))
		return 0;
	__u64 span = record.span_ns;
	__u32 direction = record.direction, evidence = record.evidence;

	fill(&record, sk, memory);
	record.kind = RECORD_ONGOING;
	record.span_ns = span;
	record.direction = direction;
	record.evidence |= evidence;
	name_waiter(&record, sk, memory);
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

#endif
