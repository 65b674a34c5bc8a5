/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What packets.bpf.c counts: xctl_probe/ebpf/packets.py reads it. */
#ifndef PACKETS_ABI_H
#define PACKETS_ABI_H

#include <linux/types.h>

/* Each packet is of one of the first five, and of as many of the others as apply. */
enum packet_kind {
	PACKET_TCP,
	PACKET_UDP,
	PACKET_ICMP,
	PACKET_ICMPV6,
	PACKET_OTHER,
	PACKET_IPV4,
	PACKET_IPV6,
	PACKET_FRAGMENT,
	PACKET_KINDS,
};

struct packet_key {
	__u32 ifindex;
	__u32 is_transmit;
};

struct packet_counts {
	__u64 packets[PACKET_KINDS];
	__u64 bytes[PACKET_KINDS];
};

#endif
