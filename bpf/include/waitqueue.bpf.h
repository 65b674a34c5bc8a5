/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which thread waits on a socket at this moment. */
#ifndef WAITQUEUE_BPF_H
#define WAITQUEUE_BPF_H

#include "vmlinux_min.h"
#include "task.bpf.h"

#define WAITERS 16 /* entries of a wait queue that are read */
#define IS_POLLING 1ULL /* in the address of a task, which is even */
#define POLLED_TO_WRITE 4 /* POLLOUT and EPOLLOUT */
#define EDGE_TRIGGERED (1U << 31) /* EPOLLET */

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
		struct wait_queue_entry *entry;
		struct task_struct *task;
		void *private;

		if (!at || at == head)
			break;
		entry = (void *)at - bpf_core_field_offset(struct wait_queue_entry, entry);
		private = BPF_CORE_READ(entry, private);
		if (private && is_task(private))
			return (__u64) private;
		task = BPF_CORE_READ((struct poll_wqueues *)private, polling_task);
		if (task && is_task(task))
			polls = (__u64)task | IS_POLLING;
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

/* Does somebody poll the socket of a struct socket_wq until it is writable? */
__noinline __u32 polled_to_write(__u64 address)
{
	void *queue = (void *)address + bpf_core_field_offset(struct socket_wq, wait);
	struct list_head *first = queue + bpf_core_field_offset(struct wait_queue_head, head);
	struct list_head *at = BPF_CORE_READ(first, next);

	for (int i = 0; i < WAITERS; i++) {
		struct wait_queue_entry *entry;
		struct poll_table_entry *polled;
		void *private;

		if (!at || at == first)
			break;
		entry = (void *)at - bpf_core_field_offset(struct wait_queue_entry, entry);
		polled = (void *)entry - bpf_core_field_offset(struct poll_table_entry, wait);
		private = BPF_CORE_READ(entry, private);
		if (!private && epolled_to_write(entry, queue))
			return 1;
		if (private && !is_task(private) && BPF_CORE_READ(polled, key) & POLLED_TO_WRITE)
			return 1;
		at = BPF_CORE_READ(at, next);
	}
	return 0;
}

static __always_inline struct task_struct *find_waiter(struct sock *sk, bool *polling)
{
	__u64 task = waiting_task((__u64)BPF_CORE_READ(sk, sk_wq));

	*polling = task & IS_POLLING;
	return (struct task_struct *)(task & ~IS_POLLING);
}

#endif
