/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Predicates and addresses of a struct sock. */
#ifndef SOCK_BPF_H
#define SOCK_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "core_read.bpf.h"

#define LOOPBACK_IFINDEX 1 /* include/net/flow.h: lo, in every network namespace */

enum transport {
	TRANSPORT_OTHER,
	TRANSPORT_TCP,
	TRANSPORT_UDP,
};

static __always_inline enum transport transport_of(struct sock *sk)
{
	__u16 family = FIELD(sk, __sk_common.skc_family);
	__u16 protocol;

	if (family != AF_INET && family != AF_INET6)
		return TRANSPORT_OTHER;
	protocol = FIELD(sk, sk_protocol);
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP)
		return TRANSPORT_TCP;
	if (protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE)
		return TRANSPORT_UDP;
	return TRANSPORT_OTHER;
}

static __always_inline bool sock_nospace(struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_socket, flags) & (1 << SOCK_NOSPACE);
}

static __always_inline bool is_loopback(struct sock *sk, bool hot)
{
	__be32 address;
	__be64 local[2];

	if (FIELD_IF(hot, sk, __sk_common.skc_family) == AF_INET) {
		address = FIELD_IF(hot, sk, __sk_common.skc_rcv_saddr);
		return (bpf_ntohl(address) >> 24) == 127;
	}
	bpf_core_read(local, sizeof(local), &sk->__sk_common.skc_v6_rcv_saddr);
	return !local[0] && local[1] == bpf_cpu_to_be64(1);
}

/* `hot`: by typed loads, see core_read.bpf.h. */
static __always_inline __u32 netns_of(struct sock *sk, bool hot)
{
	return hot ? FIELD_OF(sk, __sk_common.skc_net.net, ns.inum)
		   : BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

/* The device that packets of this socket take; 0 where unknown. */
static __always_inline __u32 interface_of(struct sock *sk, bool hot)
{
	struct inet_sock *inet = (struct inet_sock *)sk;
	int ifindex = FIELD_IF(hot, sk, __sk_common.skc_bound_dev_if);

	if (ifindex)
		return ifindex;
	ifindex = hot ? FIELD_BEHIND(sk, sk_dst_cache, dev, ifindex)
		      : BPF_CORE_READ(sk, sk_dst_cache, dev, ifindex);
	if (ifindex)
		return ifindex;
	if (bpf_core_field_exists(sk->sk_rx_dst_ifindex)) /* 5.16, commit 0c0a5ef809f9 */
		ifindex = FIELD_IF(hot, sk, sk_rx_dst_ifindex);
	else if (bpf_core_field_exists(inet->rx_dst_ifindex))
		ifindex = BPF_CORE_READ(inet, rx_dst_ifindex);
	if (ifindex)
		return ifindex;
	return is_loopback(sk, hot) ? LOOPBACK_IFINDEX : 0;
}

static __always_inline __u64 inode_of(struct sock *sk)
{
	struct socket *socket = BPF_CORE_READ(sk, sk_socket);
	struct socket_alloc *alloc = (void *)socket;

	/* struct socket is the first member of socket_alloc; none once the process closed it. */
	return socket ? BPF_CORE_READ(alloc, vfs_inode.i_ino) : 0;
}

static __always_inline void read_addresses(struct sock *sk, __u16 family, __u8 *local, __u8 *remote)
{
	if (family == AF_INET) {
		bpf_core_read(local, 4, &sk->__sk_common.skc_rcv_saddr);
		bpf_core_read(remote, 4, &sk->__sk_common.skc_daddr);
	} else {
		bpf_core_read(local, ADDRESS_LEN, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(remote, ADDRESS_LEN, &sk->__sk_common.skc_v6_daddr);
	}
}

#endif
