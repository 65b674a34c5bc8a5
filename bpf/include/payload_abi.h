/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What payload.bpf.c passes to user space: xctl_probe/ebpf/payload.py decodes it. */
#ifndef PAYLOAD_ABI_H
#define PAYLOAD_ABI_H

#include <linux/types.h>

#define PAYLOAD_SHORT 32 /* bytes of a message that are passed on */
#define PAYLOAD_LONG 512 /* of a ClientHello, and of HTTP/2 */

enum payload_kind {
	PAYLOAD_SENT,
	PAYLOAD_RECEIVED,
	PAYLOAD_CLOSED, /* the socket is closed: no bytes */
};

/* The beginning of a message of one socket.  `kept` bytes follow. */
struct payload {
	__u64 cookie;
	__u32 length; /* of what came with it, in this packet */
	__u16 kept;
	__u8 kind; /* enum payload_kind */
	__u8 from_start; /* these are the first bytes of the stream, or the first datagram */
};

struct short_payload {
	struct payload head;
	__u8 bytes[PAYLOAD_SHORT];
};

struct long_payload {
	struct payload head;
	__u8 bytes[PAYLOAD_LONG];
};

#endif
