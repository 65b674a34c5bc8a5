/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which thread waits on a UDP socket, how, and since when. */
#ifndef DATAGRAM_WAITS_BPF_H
#define DATAGRAM_WAITS_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "datagrams.bpf.h"
#include "emit.bpf.h"
#include "maps.bpf.h"
#include "registers.bpf.h"
#include "settings.bpf.h"
#include "stall.bpf.h"
#include "task.bpf.h"
#include "waitqueue.bpf.h"

/* In the address of a task, which is a multiple of 64. */
#define WAITER_RECEIVES 1ULL
#define WAITER_SENDS 2ULL
#define WAITER_POLLS 4ULL
#define WAITER_ALONE 8ULL
#define WAITER_BITS 15ULL

#define WQ_FLAG_EXCLUSIVE 1 /* receivers sleep so, senders do not: net/core/{datagram,sock}.c */

/*
 * Functions of addresses that are not static are verified once each, see pid_nr_in_probe_ns():
 * inline, the loop of datagram_waiter() takes the verifier 20,000 steps.
 */

/*
 * Does the call that the sleeping thread is in give up after a while?  0 where its arguments are
 * not found.
 */
__noinline __u32 has_timeout(__u64 address)
{
	struct pt_regs *regs = user_registers((void *)address);

	if (!regs)
		return 0;
#if defined(__TARGET_ARCH_x86) || defined(__x86_64__)
	switch (BPF_CORE_READ(regs, orig_ax)) {
	case 7: /* poll */
		return (int)BPF_CORE_READ(regs, dx) >= 0;
	case 232: /* epoll_wait */
	case 281: /* epoll_pwait */
		return (int)BPF_CORE_READ(regs, r10) >= 0;
	case 271: /* ppoll */
		return BPF_CORE_READ(regs, dx) != 0;
	case 441: /* epoll_pwait2 */
		return BPF_CORE_READ(regs, r10) != 0;
	case 23: /* select */
	case 270: /* pselect6 */
		return BPF_CORE_READ(regs, r8) != 0;
	}
#elif defined(__TARGET_ARCH_arm64) || defined(__aarch64__)
	switch (BPF_CORE_READ(regs, syscallno)) { /* there is no poll, epoll_wait and select */
	case 22: /* epoll_pwait */
		return (int)BPF_CORE_READ(regs, regs[3]) >= 0;
	case 73: /* ppoll */
		return BPF_CORE_READ(regs, regs[2]) != 0;
	case 441: /* epoll_pwait2 */
		return BPF_CORE_READ(regs, regs[3]) != 0;
	case 72: /* pselect6 */
		return BPF_CORE_READ(regs, regs[4]) != 0;
	}
#endif
	return 0;
}

/* As datagram_waiter(), of one entry: of a thread in poll or select. */
__noinline __u64 polling_thread(__u64 address)
{
	struct wait_queue_entry *entry = (void *)address;
	struct poll_table_entry *polled =
		(void *)entry - bpf_core_field_offset(struct poll_table_entry, wait);
	struct poll_wqueues *all = BPF_CORE_READ(entry, private);
	struct task_struct *task = BPF_CORE_READ(all, polling_task);
	__u64 found;

	if (!task || !is_task(task) || !(BPF_CORE_READ(polled, key) & POLLED_TO_READ))
		return 0;
	found = (__u64)task | WAITER_POLLS;
	if (is_only_entry(all) && has_timeout((__u64)task))
		found |= WAITER_ALONE;
	return found;
}

#ifndef MAPS_ARE_FUNCTIONS /* bcc compiles with the kernel's headers, and these are in none */
/* Who sleeps in epoll_wait() for the socket; the entry is epoll's when it knows its queue. */
__noinline __u64 epoll_thread(__u64 address, __u64 queue)
{
	struct wait_queue_entry *entry = (void *)address;
	struct eppoll_entry *watch =
		(void *)entry - bpf_core_field_offset(struct eppoll_entry, wait);
	struct epitem *item;
	struct eventpoll *ep;
	struct rb_node *node;
	__u64 found;

	if ((__u64)BPF_CORE_READ(watch, whead) != queue)
		return 0;
	item = BPF_CORE_READ(watch, base);
	if (!(BPF_CORE_READ(item, event.events) & POLLED_TO_READ))
		return 0;
	ep = BPF_CORE_READ(item, ep);
	found = waiting_task((__u64)ep + bpf_core_field_offset(struct eventpoll, wq) -
			     bpf_core_field_offset(struct socket_wq, wait));
	if (!found || found & IS_POLLING)
		return 0;
	node = (void *)item + bpf_core_field_offset(struct epitem, rbn);
	if (BPF_CORE_READ(ep, rbr.rb_root.rb_node) == node && !BPF_CORE_READ(node, rb_left) &&
	    !BPF_CORE_READ(node, rb_right) && has_timeout(found))
		found |= WAITER_ALONE;
	return found | WAITER_POLLS;
}
#else
static __always_inline __u64 epoll_thread(__u64 address, __u64 queue)
{
	return 0;
}
#endif

/* As datagram_waiter(), of one entry. */
__noinline __u64 datagram_waiter_of_entry(__u64 address, __u64 queue)
{
	struct wait_queue_entry *entry = (void *)address;
	void *private = BPF_CORE_READ(entry, private);

	if (!private)
		return epoll_thread(address, queue);
	if (!is_task(private))
		return polling_thread(address);
	return (__u64) private |
	       (BPF_CORE_READ(entry, flags) & WQ_FLAG_EXCLUSIVE ? WAITER_RECEIVES : WAITER_SENDS);
}

/*
 * The address of the task that waits on a struct socket_wq, with bits for its kind; 0 for none.
 * Who sleeps in a call on the socket comes before who polls.  Not static for the reason that
 * pid_nr_in_probe_ns() has.
 */
__noinline __u64 datagram_waiter(__u64 queue)
{
	__u64 head = queue + bpf_core_field_offset(struct socket_wq, wait);
	struct list_head *first =
		(void *)head + bpf_core_field_offset(struct wait_queue_head, head);
	struct list_head *at = BPF_CORE_READ(first, next);
	__u64 polls = 0;

	for (int i = 0; i < WAITERS; i++) {
		__u64 waiter;

		if (!at || at == first)
			break;
		waiter = datagram_waiter_of_entry(
			(__u64)at - bpf_core_field_offset(struct wait_queue_entry, entry), head);
		if (waiter & (WAITER_RECEIVES | WAITER_SENDS))
			return waiter;
		if (!polls)
			polls = waiter;
		at = BPF_CORE_READ(at, next);
	}
	return polls;
}

static __always_inline __u64 waiter_of(struct sock *sk)
{
	return datagram_waiter((__u64)BPF_CORE_READ(sk, sk_wq));
}

/* A send that waits began after the previous sample. */
static __always_inline bool find_held_datagram(struct event *event, struct sock *sk,
					       struct sock_state *state)
{
	__u64 now;

	if (!holds_senders(sk) || !(waiter_of(sk) & WAITER_SENDS)) {
		state->send_blocked_ns = 0;
		return false;
	}
	if (!state->send_blocked_ns)
		send_blocked(sk, state);
	now = bpf_ktime_get_ns();
	if (now - state->send_blocked_ns < settings.stall_ns)
		return false;
	event->direction = STALL_SEND;
	event->span_ns = now - state->send_blocked_ns;
	return true;
}

/* As detect_wait() in sock_iter.bpf.h, which calls it. */
static __noinline bool find_datagram_wait(struct event *event, struct sock *sk,
					  struct sock_state *state, __u64 coarse)
{
	__u64 waiter;

	if (find_held_datagram(event, sk, state))
		return true;
	if (!state->reply_state || state->unasked || has_datagrams(sk) || sends_to_many(sk) ||
	    coarse - state->request_ns < settings.stall_ns)
		return false;
	waiter = waiter_of(sk);
	if (!(waiter & (WAITER_RECEIVES | WAITER_POLLS)))
		return false;
	state->waited = waiter & WAITER_RECEIVES ? WAITED_BLOCKED : WAITED_POLLING;
	if (waiter & WAITER_ALONE)
		state->waited |= WAITED_ALONE;
	state->seen_blocked_ns = coarse;
	event->direction = STALL_RECEIVE;
	event->span_ns = coarse - state->request_ns;
	event->evidence |= seen_by(state->waited);
	return true;
}

/* The thread that sleeps is a better owner than the last that did I/O; who polls has it too. */
static __noinline void name_datagram_waiter(struct event *event, struct sock *sk,
					    struct sock_state *state)
{
	__u64 waiter = waiter_of(sk);
	struct task_struct *task = (struct task_struct *)(waiter & ~WAITER_BITS);
	struct owner owner = {};

	if (!task)
		return;
	if (!(waiter & WAITER_POLLS)) {
		fill_owner(&owner, (__u64)task);
		set_owner(event, &owner);
	} else if ((__u32)BPF_CORE_READ(task, tgid) != state->owner.tgid) {
		return;
	}
	event->tid = task_pid_nr_in_probe_ns(task);
}

#endif
