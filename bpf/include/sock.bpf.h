/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* A socket described for user space; not on the hot path. */
#ifndef SOCK_BPF_H
#define SOCK_BPF_H

#include "sock_state.bpf.h"

#define LOOPBACK_IFINDEX 1 /* include/net/flow.h: lo, in every network namespace */

static __always_inline bool is_loopback(struct sock *sk)
{
	__be32 address;
	__be64 local[2];

	if (FIELD(sk, __sk_common.skc_family) == AF_INET) {
		address = FIELD(sk, __sk_common.skc_rcv_saddr);
		return (bpf_ntohl(address) >> 24) == 127;
	}
	bpf_core_read(local, sizeof(local), &sk->__sk_common.skc_v6_rcv_saddr);
	return !local[0] && local[1] == bpf_cpu_to_be64(1);
}

/* The device that packets of this socket take; 0 where unknown. */
static __always_inline __u32 interface_of(struct sock *sk)
{
	struct inet_sock *inet = (struct inet_sock *)sk;
	int ifindex = FIELD(sk, __sk_common.skc_bound_dev_if);

	if (ifindex)
		return ifindex;
	ifindex = FIELD_BEHIND(sk, sk_dst_cache, dev, ifindex);
	if (ifindex)
		return ifindex;
	if (bpf_core_field_exists(sk->sk_rx_dst_ifindex)) /* 5.16, commit 0c0a5ef809f9 */
		ifindex = FIELD(sk, sk_rx_dst_ifindex);
	else if (bpf_core_field_exists(inet->rx_dst_ifindex))
		ifindex = BPF_CORE_READ(inet, rx_dst_ifindex);
	if (ifindex)
		return ifindex;
	return is_loopback(sk) ? LOOPBACK_IFINDEX : 0;
}

static __always_inline __u64 inode_of(struct sock *sk)
{
	struct socket *socket = BPF_CORE_READ(sk, sk_socket);
	struct socket_alloc *alloc = (void *)socket;

	/* struct socket is the first member of socket_alloc; none once the process closed it. */
	return socket ? BPF_CORE_READ(alloc, vfs_inode.i_ino) : 0;
}

static __always_inline void read_addresses(struct sock *sk, __u8 *local, __u8 *remote)
{
	if (FIELD(sk, __sk_common.skc_family) == AF_INET) {
		bpf_core_read(local, 4, &sk->__sk_common.skc_rcv_saddr);
		bpf_core_read(remote, 4, &sk->__sk_common.skc_daddr);
	} else {
		bpf_core_read(local, ADDRESS_LEN, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(remote, ADDRESS_LEN, &sk->__sk_common.skc_v6_daddr);
	}
}

static __always_inline void set_owner(struct event *event, struct owner *owner)
{
	event->pid = owner->pid;
	event->start_ticks = owner->start_ticks;
	event->cgroup = owner->cgroup;
	__builtin_memcpy(event->comm, owner->comm, COMM_LEN);
}

/* Assigns every byte. */
static __noinline void fill_event(struct event *event, struct sock *sk, struct sock_state *memory)
{
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = exact_ns();
	set_owner(event, &memory->owner);
	if (!memory->inode)
		memory->inode = inode_of(sk);
	event->inode = memory->inode;
	event->cookie = cookie_of(sk);
	event->uid = BPF_CORE_READ(sk, sk_uid.val);
	event->netns = FIELD_OF(sk, __sk_common.skc_net.net, ns.inum);
	event->ifindex = interface_of(sk);
	event->answered = memory->answered;
	event->unanswered = memory->unanswered;
	if (memory->opened)
		event->evidence = SEEN_OPENED;
	event->family = FIELD(sk, __sk_common.skc_family);
	event->protocol = FIELD(sk, sk_protocol);
	event->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	event->remote_port = bpf_ntohs(FIELD(sk, __sk_common.skc_dport));
	read_addresses(sk, event->local_address, event->remote_address);
}

/* The caller submits it, when there is one. */
static __always_inline struct event *reserve_event(void)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		count_lost(LOST_RING);
	return event;
}

static __noinline void emit_event(struct sock *sk, struct sock_state *memory, __u32 kind,
				  __u32 occurrences)
{
	struct event *event = reserve_event();

	if (!event)
		return;
	fill_event(event, sk, memory);
	event->kind = kind;
	event->occurrences = occurrences;
	bpf_ringbuf_submit(event, 0);
}

#endif
