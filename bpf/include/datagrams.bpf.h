/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What is known of a UDP socket, which has neither a handshake nor sequence numbers. */
#ifndef DATAGRAMS_BPF_H
#define DATAGRAMS_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "core_read.bpf.h"

#define FIRST_CHOSEN_PORT 32768 /* of net.ipv4.ip_local_port_range, as Linux has it at first */
#define MOST_OWED 255

/* How a thread was seen to wait for a datagram; fits the __u8 of struct sock_state. */
enum waited {
	WAITED_BLOCKED = 1,
	WAITED_POLLING = 2,
	WAITED_ALONE = 4,
};

static __always_inline __u32 seen_by(__u8 waited)
{
	return (waited & WAITED_BLOCKED ? SEEN_BLOCKED : 0) |
	       (waited & WAITED_POLLING ? SEEN_POLLING : 0) |
	       (waited & WAITED_ALONE ? SEEN_ALONE : 0);
}

static __always_inline bool connected_udp(struct sock *sk)
{
	return FIELD(sk, __sk_common.skc_state) == TCP_ESTABLISHED;
}

/* Services choose their port.  A socket with a port of the kernel's choice is mostly a client. */
static __always_inline bool may_ask(struct sock *sk)
{
	return connected_udp(sk) || FIELD(sk, __sk_common.skc_num) >= FIRST_CHOSEN_PORT;
}

/* The next send waits, or is refused: sock_alloc_send_pskb() in net/core/sock.c. */
static __always_inline bool full_of_datagrams(struct sock *sk)
{
	return FIELD(sk, sk_wmem_alloc.refs.counter) - 1 >= FIELD(sk, sk_sndbuf);
}

/*
 * A sender that sleeps may still sleep: it is woken when half of the buffer is free, while what
 * leaves before makes it less than full.  As sock_writeable().
 */
static __always_inline bool holds_senders(struct sock *sk)
{
	return FIELD(sk, sk_wmem_alloc.refs.counter) - 1 >= FIELD(sk, sk_sndbuf) >> 1;
}

static __always_inline bool has_datagrams(struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter) > 0;
}

/* It sends to many, and may receive from any of them at any time, or never. */
static __always_inline bool sends_to_many(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_flags) & (1 << SOCK_BROADCAST) ||
	       BPF_CORE_READ((struct inet_sock *)sk, mc_list);
}

#endif
