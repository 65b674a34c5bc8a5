/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Frames of HTTP/2 that neither request nor reply (RFC 9113, 6): pings, window updates, settings.
 *
 * Libraries send them by themselves, also while all handlers hang: gRPC measures the path with a
 * ping after each burst of data.  A message may have the same size, so the heads of the frames are
 * read, from the buffer of the call.  Inside TLS they are not readable.
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

#define MOST_OF_FRAMES 64 /* bytes of a send or a receive whose frames are read */
#define MOST_FRAMES 5
#define MOST_VECTORS 4

enum frame_type {
	FRAME_RESET = 3, /* of a stream */
	FRAME_SETTINGS = 4,
	FRAME_PING = 6,
	FRAME_WINDOW_UPDATE = 8,
};

struct frame_head {
	__u8 length[3]; /* of what follows the head, big endian */
	__u8 type;
	__u8 flags;
	__u8 stream[4];
};

static __always_inline bool is_control_frame(struct frame_head *head)
{
	if (head->length[0] || head->length[1])
		return false;
	switch (head->type) {
	case FRAME_RESET:
	case FRAME_WINDOW_UPDATE:
		return head->length[2] == 4;
	case FRAME_SETTINGS:
		return !(head->length[2] % 6);
	case FRAME_PING:
		return head->length[2] == 8;
	}
	return false;
}

/* The types of the frames in a buffer of user space, as bits; 0 where any of them is another. */
__noinline __u32 control_frames(__u64 buffer, __u32 count)
{
	__u32 types = 0, at = 0;
	struct frame_head head;

	for (int i = 0; i < MOST_FRAMES && at < count; i++) {
		if (bpf_probe_read_user(&head, sizeof(head), (void *)(buffer + at)) ||
		    !is_control_frame(&head))
			return 0;
		types |= 1 << (head.type & 31);
		at += sizeof(head) + head.length[2];
	}
	return at == count ? types : 0;
}

/* The same of a list of buffers. */
__noinline __u32 control_frames_of_vectors(__u64 vectors, __u32 count)
{
	struct {
		__u64 base;
		__u64 length;
	} vector; /* struct iovec */
	__u32 types = 0;

	for (int i = 0; i < MOST_VECTORS && count; i++) {
		__u32 length, found;

		if (bpf_probe_read_user(&vector, sizeof(vector),
					(void *)(vectors + i * sizeof(vector))))
			return 0;
		length = vector.length < count ? vector.length : count;
		if (!length)
			continue;
		found = control_frames(vector.base, length);
		if (!found)
			return 0;
		types |= found;
		count -= length;
	}
	return count ? 0 : types;
}

/*
 * The same of the call that the task is in.  Its second argument is the buffer of read, write, recv
 * and send, the vectors of readv and writev, or the header of recvmsg and sendmsg, which has them
 * in its third word.
 */
__noinline __u32 control_frames_of_call(__u64 task, __u32 count)
{
	struct pt_regs *regs = user_registers((void *)task);
	__u64 argument, vectors = 0;
	__u32 types;

	if (!regs)
		return 0;
	argument = second_argument(regs);
	types = control_frames(argument, count);
	if (types)
		return types;
	types = control_frames_of_vectors(argument, count);
	if (types || bpf_probe_read_user(&vectors, sizeof(vectors), (void *)(argument + 16)))
		return types;
	return control_frames_of_vectors(vectors, count);
}

static __always_inline __u32 control_frames_of(struct sock_state *state, __u32 count)
{
	if (!state->http2 || count > MOST_OF_FRAMES)
		return 0;
	return control_frames_of_call(address_of(current_task()), count);
}

/* True for a send that asks for nothing.  With a reset the process gives up its request. */
static __always_inline bool sent_control_frames(struct sock *sk, struct sock_state *state,
						__u32 count)
{
	__u32 types = control_frames_of(state, count);

	if (types & 1 << FRAME_RESET && state->reply_state) {
		emit_reply_stall(sk, state, exact_ns(), 0);
		state->reply_state = 0;
	}
	return types;
}

/* True for a receive that does not reply.  A reset does. */
static __always_inline bool received_control_frames(struct sock_state *state, __u32 count)
{
	__u32 types = 0;

	if (state->reply_state == AWAITING && state->tls.phase == TLS_OVER)
		types = control_frames_of(state, count);
	return types && !(types & 1 << FRAME_RESET);
}

/*
 * Of a connection on which hardly any reply was missing.  Else this may be a stream of messages to
 * which no reply is due: there control frames end each wait.
 */
static __always_inline bool has_replied(struct sock_state *state)
{
	return state->answered > ANSWERED_PER_SLIP && !is_one_way(state);
}

#endif
