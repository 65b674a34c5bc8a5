/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which thread waits on a socket at this moment. */
#ifndef WAITQUEUE_BPF_H
#define WAITQUEUE_BPF_H

#include "vmlinux_min.h"
#include "task.bpf.h"

#define WAITERS 16 /* entries of a wait queue that are read */
/* In the address of a task, which is a multiple of 64. */
#define IS_POLLING 1ULL
#define POLLS_ALONE 2ULL /* for data of this socket, and for nothing else */
#define POLLED_TO_READ 0x41 /* POLLIN and POLLRDNORM, either of which is enough; as in epoll */
#define POLLED_TO_WRITE 0x104 /* POLLOUT and POLLWRNORM */
#define EDGE_TRIGGERED (1U << 31) /* EPOLLET */

/* Does the poll or select of this entry of a wait queue have no other? */
static __always_inline bool is_only_entry(struct poll_wqueues *all)
{
	return !BPF_CORE_READ(all, table) && BPF_CORE_READ(all, inline_index) == 1;
}

/* As waiting_task(), of one entry of the queue. */
__noinline __u64 task_of_entry(__u64 address)
{
	struct wait_queue_entry *entry = (void *)address;
	struct poll_table_entry *polled =
		(void *)entry - bpf_core_field_offset(struct poll_table_entry, wait);
	struct poll_wqueues *all = BPF_CORE_READ(entry, private);
	struct task_struct *task = (void *)all;
	unsigned long key;

	if (!all)
		return 0;
	if (is_task(task))
		return (__u64)task;
	task = BPF_CORE_READ(all, polling_task);
	if (!task || !is_task(task))
		return 0;
	key = BPF_CORE_READ(polled, key);
	if (key & POLLED_TO_READ && !(key & POLLED_TO_WRITE) && is_only_entry(all))
		return (__u64)task | IS_POLLING | POLLS_ALONE;
	return (__u64)task | IS_POLLING;
}

/*
 * The address of the task that sleeps on a struct socket_wq in a call of its own; with
 * IS_POLLING, of one in poll or select; 0 for none.  epoll waits elsewhere: its entries carry
 * no task.  Not static for the reason that pid_nr_in_probe_ns() has.
 */
__noinline __u64 waiting_task(__u64 queue)
{
	struct list_head *head, *at;
	__u64 polls = 0;

	head = (void *)queue + bpf_core_field_offset(struct socket_wq, wait.head);
	at = BPF_CORE_READ(head, next);
	for (int i = 0; i < WAITERS; i++) {
		__u64 task;

		if (!at || at == head)
			break;
		task = task_of_entry((__u64)at -
				     bpf_core_field_offset(struct wait_queue_entry, entry));
		if (task && !(task & IS_POLLING))
			return task;
		if (task)
			polls = task;
		at = BPF_CORE_READ(at, next);
	}
	return polls;
}

#ifndef MAPS_ARE_FUNCTIONS /* bcc compiles with the kernel's headers, and these are in none */
/*
 * Does a level-triggered epoll report the socket as writable?  The entry is epoll's when it knows
 * its queue.  A loop that is edge-triggered asks for both directions once and for all.
 */
static __always_inline bool epolled_to_write(struct wait_queue_entry *entry, void *queue)
{
	struct eppoll_entry *watch =
		(void *)entry - bpf_core_field_offset(struct eppoll_entry, wait);
	__u32 events;

	if (BPF_CORE_READ(watch, whead) != queue)
		return false;
	events = BPF_CORE_READ(watch, base, event.events);
	return events & POLLED_TO_WRITE && !(events & EDGE_TRIGGERED);
}
#else
static __always_inline bool epolled_to_write(struct wait_queue_entry *entry, void *queue)
{
	return false;
}
#endif

/* As polled_to_write(), of one entry of the queue. */
__noinline __u32 entry_polled_to_write(__u64 address, __u64 queue)
{
	struct wait_queue_entry *entry = (void *)address;
	struct poll_table_entry *polled =
		(void *)entry - bpf_core_field_offset(struct poll_table_entry, wait);
	void *private = BPF_CORE_READ(entry, private);

	if (!private)
		return epolled_to_write(entry, (void *)queue);
	return !is_task(private) && BPF_CORE_READ(polled, key) & POLLED_TO_WRITE;
}

/* Does somebody poll the socket of a struct socket_wq until it is writable? */
__noinline __u32 polled_to_write(__u64 address)
{
	__u64 queue = address + bpf_core_field_offset(struct socket_wq, wait);
	struct list_head *first =
		(void *)queue + bpf_core_field_offset(struct wait_queue_head, head);
	struct list_head *at = BPF_CORE_READ(first, next);

	for (int i = 0; i < WAITERS; i++) {
		if (!at || at == first)
			break;
		if (entry_polled_to_write(
			    (__u64)at - bpf_core_field_offset(struct wait_queue_entry, entry),
			    queue))
			return 1;
		at = BPF_CORE_READ(at, next);
	}
	return 0;
}

static __always_inline __u64 stream_waiter(struct sock *sk)
{
	return waiting_task((__u64)BPF_CORE_READ(sk, sk_wq));
}

static __always_inline struct task_struct *task_of(__u64 waiter)
{
	return (struct task_struct *)(waiter & ~(IS_POLLING | POLLS_ALONE));
}

/*
 * Who polls one socket to read it, and nothing else, is as good as in the receive: so wait libpq,
 * and Python where a socket has a timeout.
 */
static __always_inline bool in_call_or_alone(__u64 waiter)
{
	return waiter && (!(waiter & IS_POLLING) || waiter & POLLS_ALONE);
}

#endif
