/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The first bytes of each direction of a socket, once.  Loaded only for --metrics protocols.
 *
 * These programs see the packets of the sockets of a cgroup and of all below it, in every network
 * namespace, with their headers from the network layer on.  They read no field of the kernel's own
 * structs, so the object needs no type information.
 */
#include "include/payload_abi.h"
#include "include/vmlinux_min.h"

#define IP_PROTOCOL_AT 9
#define IPV6_NEXT_HEADER_AT 6
#define IPV6_HEADER_BYTES 40
#define UDP_HEADER_BYTES 8
#define TCP_SEQUENCE_AT 4
#define TCP_OFFSET_AT 12
#define HTTP2_MESSAGES 4 /* after the preface, of its sender: the first headers are among them */
#define PASS 1

struct sampling {
	__u8 sampled[2]; /* by direction */
	__u8 last; /* direction of the last payload, plus 1 */
	__u8 more[2]; /* messages that are sampled, too */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sampling);
} samplings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} payloads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} unsampled SEC(".maps"); /* payloads for which the ring buffer had no room */

struct segment {
	__u32 payload_at;
	__u32 length; /* of the payload */
	__u32 sequence; /* of TCP */
};

static __always_inline void count_unsampled(void)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&unsampled, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/* False for what is not plainly a segment or datagram with payload of this protocol. */
static __always_inline bool find_payload(struct __sk_buff *skb, __u32 protocol,
					 struct segment *found)
{
	__u8 first, carried, offset;
	__be32 sequence;
	__u32 at;

	if (bpf_skb_load_bytes(skb, 0, &first, 1))
		return false;
	if (first >> 4 == 4) {
		at = (first & 15) * 4;
		if (bpf_skb_load_bytes(skb, IP_PROTOCOL_AT, &carried, 1))
			return false;
	} else {
		at = IPV6_HEADER_BYTES;
		if (bpf_skb_load_bytes(skb, IPV6_NEXT_HEADER_AT, &carried, 1))
			return false;
	}
	if (carried != protocol)
		return false;
	if (protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, at + TCP_SEQUENCE_AT, &sequence, 4) ||
		    bpf_skb_load_bytes(skb, at + TCP_OFFSET_AT, &offset, 1))
			return false;
		found->sequence = bpf_ntohl(sequence);
		at += (offset >> 4) * 4;
	} else {
		at += UDP_HEADER_BYTES;
	}
	if (skb->len <= at)
		return false;
	found->payload_at = at;
	found->length = skb->len - at;
	return true;
}

/* Whether these bytes continue the stream; `from_start`: they begin it. */
static __always_inline bool in_order(struct bpf_tcp_sock *tcp, struct __sk_buff *skb,
				     struct segment *found, __u8 direction, bool *from_start)
{
	__u32 segments = skb->gso_segs;

	if (direction == PAYLOAD_RECEIVED) {
		*from_start = !tcp->bytes_received;
		return found->sequence == tcp->rcv_nxt;
	}
	/* What is sent is counted before it comes here, and snd_nxt moves after. */
	*from_start = tcp->data_segs_out == (segments ? segments : 1);
	return found->sequence == tcp->snd_nxt;
}

/* `size`, which is 1 to `mask` + 1 already, so that the verifier of 5.10 sees it. */
static __always_inline __u32 bounded(__u32 size, __u32 mask)
{
	size -= 1;
	asm volatile("%0 &= %1" : "+r"(size) : "i"(mask));
	return size + 1;
}

static __always_inline bool begins(const __u8 *bytes, char a, char b, char c)
{
	return bytes[0] == a && bytes[1] == b && bytes[2] == c;
}

static __always_inline void fill(struct payload *head, struct __sk_buff *skb, __u32 length,
				 __u8 kind, bool from_start)
{
	head->cookie = bpf_get_socket_cookie(skb);
	head->length = length;
	head->kind = kind;
	head->from_start = from_start;
}

/* The reader comes by the clock: waking it for each would cost more than the rest. */
static __always_inline bool pass_short(struct __sk_buff *skb, struct segment *found, __u8 kind,
				       bool from_start, const __u8 *bytes)
{
	struct short_payload *event = bpf_ringbuf_reserve(&payloads, sizeof(*event), 0);

	if (!event)
		return false;
	fill(&event->head, skb, found->length, kind, from_start);
	event->head.kept = found->length < PAYLOAD_SHORT ? found->length : PAYLOAD_SHORT;
	__builtin_memcpy(event->bytes, bytes, PAYLOAD_SHORT);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return true;
}

static __always_inline bool pass_long(struct __sk_buff *skb, struct segment *found, __u8 kind,
				      bool from_start)
{
	struct long_payload *event;
	__u32 kept = found->length;

	event = bpf_ringbuf_reserve(&payloads, sizeof(*event), 0);
	if (!event)
		return false;
	fill(&event->head, skb, found->length, kind, from_start);
	if (kept > PAYLOAD_LONG)
		kept = PAYLOAD_LONG;
	kept = bounded(kept, PAYLOAD_LONG - 1);
	if (bpf_skb_load_bytes(skb, found->payload_at, event->bytes, kept))
		kept = 0;
	event->head.kept = kept;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return true;
}

static __always_inline int on_packet(struct __sk_buff *skb, __u8 direction)
{
	struct bpf_sock *sk = skb->sk;
	__u8 bytes[PAYLOAD_SHORT] = {};
	struct sampling *sampling;
	struct segment found = {};
	struct bpf_tcp_sock *tcp;
	bool from_start, passed;
	__u32 protocol, kept;

	if (!sk)
		return PASS;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return PASS;
	protocol = sk->protocol;
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return PASS;
	/* The first payload of a connection that is not accepted yet comes to the listener. */
	if (sk->state == TCP_LISTEN)
		return PASS;
	sampling = bpf_sk_storage_get(&samplings, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!sampling || (sampling->sampled[direction] && !sampling->more[direction]))
		return PASS;
	if (!find_payload(skb, protocol, &found))
		return PASS;
	if (protocol == IPPROTO_TCP) {
		tcp = bpf_tcp_sock(sk);
		if (!tcp || !in_order(tcp, skb, &found, direction, &from_start))
			return PASS;
		/*
		 * Of a stream that began unseen, the first bytes after the other side's are the
		 * beginning of a message.
		 */
		if (!from_start && !sampling->more[direction] && sampling->last != 2 - direction) {
			sampling->last = direction + 1;
			return PASS;
		}
	} else {
		from_start = true;
	}
	kept = found.length < PAYLOAD_SHORT ? found.length : PAYLOAD_SHORT;
	kept = bounded(kept, PAYLOAD_SHORT - 1);
	if (bpf_skb_load_bytes(skb, found.payload_at, bytes, kept))
		return PASS;
	sampling->last = direction + 1;
	sampling->sampled[direction] = true;
	if (sampling->more[direction]) {
		sampling->more[direction]--;
		passed = pass_long(skb, &found, direction, from_start);
	} else if (from_start && begins(bytes, 'P', 'R', 'I')) {
		sampling->more[direction] = HTTP2_MESSAGES;
		passed = pass_long(skb, &found, direction, from_start);
	} else if (begins(bytes, 0x16, 3, bytes[2]) && bytes[5] == 1) { /* a ClientHello */
		passed = pass_long(skb, &found, direction, from_start);
	} else {
		passed = pass_short(skb, &found, direction, from_start, bytes);
	}
	if (!passed)
		count_unsampled();
	return PASS;
}

SEC("cgroup_skb/egress")
int on_egress(struct __sk_buff *skb)
{
	return on_packet(skb, PAYLOAD_SENT);
}

SEC("cgroup_skb/ingress")
int on_ingress(struct __sk_buff *skb)
{
	return on_packet(skb, PAYLOAD_RECEIVED);
}

SEC("cgroup/sock_release")
int on_release(struct bpf_sock *sk)
{
	struct sampling *sampling = bpf_sk_storage_get(&samplings, sk, NULL, 0);
	struct payload *event;

	if (!sampling || !(sampling->sampled[PAYLOAD_SENT] || sampling->sampled[PAYLOAD_RECEIVED]))
		return PASS;
	event = bpf_ringbuf_reserve(&payloads, sizeof(*event), 0);
	if (!event) {
		count_unsampled();
		return PASS;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->cookie = bpf_get_socket_cookie(sk);
	event->kind = PAYLOAD_CLOSED;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
