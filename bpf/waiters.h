/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which thread waits on a socket at this moment. */
#ifndef WAITERS_H
#define WAITERS_H

#include "stalls.h"

#define WAITERS 16 /* entries of a wait queue that are looked at */

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

#endif
