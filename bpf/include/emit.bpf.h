/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Events for user space: reserved in the ring buffer, filled, sent. */
#ifndef EMIT_BPF_H
#define EMIT_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "clock.bpf.h"
#include "core_read.bpf.h"
#include "maps.bpf.h"
#include "settings.bpf.h"
#include "sock.bpf.h"
#include "task.bpf.h"

static __always_inline void set_owner(struct event *event, struct owner *owner)
{
	event->pid = owner->pid;
	event->start_ticks = owner->start_ticks;
	event->cgroup = owner->cgroup;
	__builtin_memcpy(event->comm, owner->comm, COMM_LEN);
}

/* Assigns every byte. */
VERIFIED_ONCE int fill_event_at(struct event *event, struct sock_state *state, __u64 address)
{
	struct sock *sk = (void *)address;

	if (!event || !state)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	event->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	event->time_ns = exact_ns();
	set_owner(event, &state->owner);
	if (!state->inode)
		state->inode = inode_of(sk);
	event->inode = state->inode;
	event->uid = BPF_CORE_READ(sk, sk_uid.val);
	event->netns = netns_of(sk, false);
	event->ifindex = interface_of(sk, false);
	event->answered = state->answered;
	event->unanswered = state->unanswered;
	if (state->opened)
		event->evidence = SEEN_OPENED;
	event->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	event->protocol = BPF_CORE_READ(sk, sk_protocol);
	event->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	event->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	read_addresses(sk, event->family, event->local_address, event->remote_address);
	return 0;
}

static __always_inline void fill_event(struct event *event, struct sock *sk,
				       struct sock_state *state)
{
	cookie_of(sk); /* makes it */
	fill_event_at(event, state, address_of(sk));
}

/* The caller submits it, when there is one. */
static __always_inline struct event *reserve_event(void)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		count_lost(LOST_RING);
	return event;
}

static __noinline void emit_event(struct sock *sk, struct sock_state *state, __u32 kind,
				  __u32 occurrences)
{
	struct event *event = reserve_event();

	if (!event)
		return;
	fill_event(event, sk, state);
	event->kind = kind;
	event->occurrences = occurrences;
	bpf_ringbuf_submit(event, 0);
}

#endif
