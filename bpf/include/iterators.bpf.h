/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The iterators that every object has: read out once an interval, and seed at start. */
#ifndef ITERATORS_BPF_H
#define ITERATORS_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "existing_sockets.bpf.h"
#include "iter_ctx.bpf.h"
#include "sock_iter.bpf.h"

/*
 * Not on the stack: there the verifier knows what each path wrote, so that no two paths are equal,
 * and 6.1 follows a million instructions.  The probe reads one iterator at a time.
 */
static struct event iterated_event;

SEC(ITERATE_SOCKETS)
int drain_sockets(sock_iter_ctx *ctx)
{
	return visit_sock(ctx, &iterated_event, true);
}

SEC(ITERATE_SOCKETS)
int iter_waiters(sock_iter_ctx *ctx)
{
	return visit_sock(ctx, &iterated_event, false);
}

SEC("iter/task_file")
int seed_listeners(struct bpf_iter__task_file *ctx)
{
	return seed_listener(ctx);
}

SEC("iter/task_file")
int seed_sockets(struct bpf_iter__task_file *ctx)
{
	return seed_socket(ctx);
}

#endif
