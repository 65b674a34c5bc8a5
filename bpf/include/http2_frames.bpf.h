/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Frames of HTTP/2 that neither request nor reply (RFC 9113, 6): pings, window updates, settings.
 *
 * Libraries send them by themselves, also while all handlers hang: gRPC measures the path with a
 * ping after each burst of data.  A message may have the same size, so the heads of the frames are
 * read, from the buffers of the call.  Inside TLS they are not readable.
 */
#ifndef HTTP2_FRAMES_BPF_H
#define HTTP2_FRAMES_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "clock.bpf.h"
#include "core_read.bpf.h"
#include "maps.bpf.h"
#include "registers.bpf.h"
#include "stall.bpf.h"
#include "tcp_sock.bpf.h"

#define MOST_FRAMES 8 /* of a call */
#define MOST_VECTORS 16 /* from one frame to the next */
#define MOST_OF_CONTROL 64 /* bytes of a receive whose frames are read */

enum frame_type {
	FRAME_DATA = 0,
	FRAME_HEADERS = 1,
	FRAME_RESET = 3, /* of a stream */
	FRAME_SETTINGS = 4,
	FRAME_PING = 6,
	FRAME_WINDOW_UPDATE = 8,
};
#define CONTROL_FRAMES                                                                             \
	(1 << FRAME_RESET | 1 << FRAME_SETTINGS | 1 << FRAME_PING | 1 << FRAME_WINDOW_UPDATE)
#define END_STREAM 1 /* a flag of data and headers */

/* The frames of a call, besides the bit of each type, by its last headers, data or reset. */
#define IS_REQUEST (1U << 31) /* there are headers, and it has END_STREAM */
#define IS_RESET (1U << 30)

/* The first eight bytes of a frame: big endian its length, less its head; its type, its flags. */
static __always_inline __u32 frame_bytes(__u64 head)
{
	return HTTP2_FRAME_HEAD +
	       ((head & 0xff) << 16 | (head >> 8 & 0xff) << 8 | (head >> 16 & 0xff));
}

/*
 * Without a branch for each type: the verifier would follow each order of them.  A nibble has the
 * bytes behind the head, where a type has a fixed number.
 */
#define FRAME_TYPES (CONTROL_FRAMES | 1 << FRAME_DATA | 1 << FRAME_HEADERS)
#define FRAME_SIZES                                                                                \
	(4ULL << 4 * FRAME_RESET | 8ULL << 4 * FRAME_PING | 4ULL << 4 * FRAME_WINDOW_UPDATE)

static __always_inline bool is_frame(__u32 type, __u32 bytes)
{
	__u32 fixed = FRAME_SIZES >> 4 * (type & 15) & 15;

	return type < 16 && FRAME_TYPES >> type & 1 &&
	       (!fixed || bytes == HTTP2_FRAME_HEAD + fixed);
}

struct vector { /* struct iovec */
	__u64 base;
	__u64 length;
};

/* Where in a list of buffers. */
struct cursor {
	__u64 next; /* vector; 0: there is one buffer */
	struct vector here;
	__u64 at; /* in it */
};

static __always_inline bool next_vector(struct cursor *cursor)
{
	if (!cursor->next ||
	    bpf_probe_read_user(&cursor->here, sizeof(cursor->here), (void *)cursor->next))
		return false;
	cursor->next += sizeof(cursor->here);
	return true;
}

/* The first bytes of a frame, which may lie in two buffers, and in no more. */
static __always_inline bool read_head(struct cursor *cursor, __u64 *head)
{
	struct vector behind;
	__u64 rest, left;

	for (int i = 0; i < MOST_VECTORS && cursor->at >= cursor->here.length; i++) {
		cursor->at -= cursor->here.length;
		if (!next_vector(cursor))
			return false;
	}
	if (cursor->at >= cursor->here.length ||
	    bpf_probe_read_user(head, sizeof(*head), (void *)(cursor->here.base + cursor->at)))
		return false;
	left = cursor->here.length - cursor->at;
	if (left >= sizeof(*head))
		return true;
	if (!cursor->next || bpf_probe_read_user(&behind, sizeof(behind), (void *)cursor->next) ||
	    behind.length < sizeof(*head) - left ||
	    bpf_probe_read_user(&rest, sizeof(rest), (void *)behind.base))
		return false;
	left *= 8;
	*head = (*head & ((1ULL << (left & 63)) - 1)) | rest << (left & 63);
	return true;
}

/* The types of the frames that a call has sent or received, `count` bytes; 0: not whole frames. */
__noinline __u32 frames_at(__u64 argument, __u32 count, __u32 buffers)
{
	struct cursor cursor = { .here = { .base = argument, .length = count } };
	__u64 head, last = 0;
	__u32 types = 0, done = 0;

	if (buffers != ONE_BUFFER) {
		cursor.next = argument;
		if (buffers == MESSAGE &&
		    bpf_probe_read_user(&cursor.next, sizeof(cursor.next), (void *)(argument + 16)))
			return 0;
		if (!next_vector(&cursor))
			return 0;
	}
	for (int i = 0; i < MOST_FRAMES && done < count; i++) {
		__u32 type, bytes;

		if (!read_head(&cursor, &head))
			return 0;
		type = head >> 24 & 0xff;
		bytes = frame_bytes(head);
		if (!is_frame(type, bytes))
			return 0;
		if (type <= FRAME_RESET)
			last = head;
		types |= 1 << (type & 15);
		done += bytes;
		cursor.at += bytes;
	}
	if (done != count)
		return 0;
	if (types & 1 << FRAME_RESET && (last >> 24 & 0xff) == FRAME_RESET)
		types |= IS_RESET;
	else if (types & 1 << FRAME_HEADERS && last >> 32 & END_STREAM)
		types |= IS_REQUEST;
	return types;
}

/* The same of the call that the task is in. */
__noinline __u32 frames_of_call(__u64 task, __u32 count)
{
	struct pt_regs *regs = user_registers((void *)task);
	__u64 argument = 0;
	__u32 buffers;

	if (!regs)
		return 0;
	buffers = buffers_of(regs, &argument);
	return buffers ? frames_at(argument, count, buffers) : 0;
}

/* The wait is over with a reset, of whichever stream; or with its reply, if that lies there. */
static __noinline void gave_up(struct sock *sk, struct sock_state *state)
{
	__u64 arrival, end = exact_ns();

	if (unread_bytes(sk)) {
		arrival = arrival_ns(sk, coarse_ns());
		if (state->reply_seen_ns > state->request_ns && state->reply_seen_ns < arrival)
			arrival = state->reply_seen_ns;
		end = to_monotonic(arrival);
	}
	emit_reply_stall(sk, state, end, 0);
	state->reply_state = 0;
	state->reply_seen_ns = 0;
}

/* True for a send that asks for nothing. */
static __always_inline bool sent_control_frames(struct sock *sk, struct sock_state *state,
						__u64 now, __u32 count)
{
	__u32 types;

	if (!state->http2 && !follows_preface(state, now, 1))
		return false;
	types = frames_of_call(address_of(current_task()), count);
	if (types & 1 << FRAME_SETTINGS) /* acknowledged, alone or with the first request */
		state->http2 = 1;
	if (!state->http2)
		return false;
	if (types & IS_RESET) {
		if (state->reply_state)
			gave_up(sk, state);
		return true;
	}
	if (types && !(types & ~CONTROL_FRAMES))
		return true;
	state->sent_request = types & IS_REQUEST ? 1 : 0;
	return false;
}

/* True for a receive that replies nothing.  A reset does. */
static __always_inline bool received_control_frames(struct sock_state *state, __u32 count)
{
	__u32 types;

	if (!state->http2 || state->reply_state != AWAITING || state->tls.phase != TLS_OVER ||
	    count > MOST_OF_CONTROL)
		return false;
	types = frames_of_call(address_of(current_task()), count);
	return types && !(types & ~CONTROL_FRAMES) && !(types & 1 << FRAME_RESET);
}

/*
 * A reply is due: the last message was a whole request, of a connection on which hardly any reply
 * was missing.  Other messages may be of a stream without replies, and frames that could not be
 * read may be no request: there control frames end each wait.
 */
static __always_inline bool owes_reply(struct sock_state *state)
{
	return state->sent_request && state->answered > ANSWERED_PER_SLIP && !is_one_way(state);
}

#endif
