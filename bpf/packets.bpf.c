/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Packets and bytes by protocol, of each interface and direction.  Loaded only for
 * --metrics packets.  A packet is what the hook sees: at tcx one that GRO has merged or that GSO
 * has not split yet, with its link-layer header and without a VLAN tag.
 */
#include "include/packets_abi.h"
#include "include/vmlinux_min.h"

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88A8
#define ETH_HEADER_BYTES 14
#define ETH_TYPE_AT 12
#define VLAN_TAG_BYTES 4
#define MOST_TAGS 2
#define NEXT -1 /* TCX_NEXT: the other programs of this hook decide */

#define IPPROTO_HOPOPTS 0
#define IPPROTO_ICMP 1
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_ICMPV6 58
#define IPPROTO_DSTOPTS 60
#define IPV4_FRAGMENT 0x3FFF /* MF, and the offset */
#define MOST_EXTENSIONS 4
#define MOST_HEADERS 511 /* bytes */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct packet_key);
	__type(value, struct packet_counts);
} packets SEC(".maps");

/* Where a header is read from. */
struct source {
	struct __sk_buff *skb;
	struct xdp_md *xdp; /* from its first byte on */
	enum bpf_hdr_start_off start; /* of skb */
};

static __always_inline bool load(const struct source *from, __u32 at, void *to, __u32 size)
{
	__u8 *data, *end;

	if (from->skb)
		return !bpf_skb_load_bytes_relative(from->skb, at, to, size, from->start);
	data = (void *)(long)from->xdp->data;
	end = (void *)(long)from->xdp->data_end;
	if (at > MOST_HEADERS)
		return false;
	at &= MOST_HEADERS; /* for the verifier */
	if (data + at + size > end)
		return false;
	__builtin_memcpy(to, data + at, size);
	return true;
}

static __always_inline void count_as(struct packet_counts *counts, __u32 kind, __u32 length)
{
	/* Of this CPU, and softirqs are off at all three hooks. */
	counts->packets[kind]++;
	counts->bytes[kind] += length;
}

static __always_inline void count_carried(struct packet_counts *counts, __u8 protocol, __u32 length)
{
	if (protocol == IPPROTO_TCP)
		count_as(counts, PACKET_TCP, length);
	else if (protocol == IPPROTO_UDP)
		count_as(counts, PACKET_UDP, length);
	else if (protocol == IPPROTO_ICMP)
		count_as(counts, PACKET_ICMP, length);
	else if (protocol == IPPROTO_ICMPV6)
		count_as(counts, PACKET_ICMPV6, length);
	else
		count_as(counts, PACKET_OTHER, length);
}

static __always_inline __u8 ipv4(const struct source *from, __u32 at, bool *fragment)
{
	__u8 header[10];

	if (!load(from, at, header, sizeof(header)))
		return 255;
	*fragment = (header[6] << 8 | header[7]) & IPV4_FRAGMENT;
	return header[9];
}

static __always_inline __u8 ipv6(const struct source *from, __u32 at, bool *fragment)
{
	__u8 header[2];
	__u8 next;
	int i;

	if (!load(from, at + 6, &next, 1))
		return 255;
	at += 40;
#pragma unroll
	for (i = 0; i < MOST_EXTENSIONS; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT)
			return next;
		if (!load(from, at, header, sizeof(header)))
			return 255;
		if (next == IPPROTO_FRAGMENT) {
			*fragment = true;
			at += 8;
		} else {
			at += (header[1] + 1) * 8;
		}
		next = header[0];
	}
	return next;
}

static __always_inline struct packet_counts *counts_of(__u32 ifindex, __u32 is_transmit)
{
	struct packet_key key = { ifindex, is_transmit };
	static const struct packet_counts none;
	struct packet_counts *found = bpf_map_lookup_elem(&packets, &key);

	if (found)
		return found;
	bpf_map_update_elem(&packets, &key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&packets, &key);
}

static __always_inline void count(const struct source *from, __u32 ifindex, __u32 is_transmit,
				  __u32 length, __u16 type, __u32 at)
{
	struct packet_counts *counts = counts_of(ifindex, is_transmit);
	bool fragment = false;
	__u8 tag[VLAN_TAG_BYTES], protocol;
	int i;

	if (!counts)
		return;
#pragma unroll
	for (i = 0; i < MOST_TAGS; i++) {
		if (type != ETH_P_8021Q && type != ETH_P_8021AD)
			break;
		if (!load(from, at, tag, sizeof(tag)))
			break;
		type = tag[2] << 8 | tag[3];
		at += VLAN_TAG_BYTES;
	}
	if (type == ETH_P_IP) {
		count_as(counts, PACKET_IPV4, length);
		protocol = ipv4(from, at, &fragment);
	} else if (type == ETH_P_IPV6) {
		count_as(counts, PACKET_IPV6, length);
		protocol = ipv6(from, at, &fragment);
	} else {
		protocol = 255; /* reserved: ARP and whatever is not IP */
	}
	count_carried(counts, protocol, length);
	if (fragment)
		count_as(counts, PACKET_FRAGMENT, length);
}

static __always_inline int on_skb(struct __sk_buff *skb, bool is_transmit)
{
	struct source from = { .skb = skb, .start = BPF_HDR_START_NET };
	__u16 type = bpf_ntohs(skb->protocol);
	__u32 at = 0;

	/* A packet socket has its network header behind the tag (packet_parse_headers()). */
	if (type == ETH_P_8021Q || type == ETH_P_8021AD) {
		from.start = BPF_HDR_START_MAC;
		at = ETH_HEADER_BYTES;
	}
	count(&from, skb->ifindex, is_transmit, skb->len, type, at);
	return NEXT;
}

SEC("tc")
int count_receive(struct __sk_buff *skb)
{
	return on_skb(skb, false);
}

SEC("tc")
int count_transmit(struct __sk_buff *skb)
{
	return on_skb(skb, true);
}

SEC("xdp")
int count_xdp(struct xdp_md *xdp)
{
	struct source from = { .xdp = xdp };
	__u8 type[2] = {};

	load(&from, ETH_TYPE_AT, type, sizeof(type));
	count(&from, xdp->ingress_ifindex, false, xdp->data_end - xdp->data, type[0] << 8 | type[1],
	      ETH_HEADER_BYTES);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
