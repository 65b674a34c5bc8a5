/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The entry points for bcc: those of kprobe.bpf.c, and two in place of its iterators.  The
 * logic is the same, in the same headers; see bcc_compat.h.
 */
#include "include/bcc_compat.h"
#include "include/kprobe_handlers.bpf.h"
#include "include/sock_iter.bpf.h"
#include "include/existing_sockets.bpf.h"

/* By way of a number: bcc would take a pointer for one that it has to read through. */
#define ARGUMENT(n, type) ((type)(unsigned long)PT_REGS_PARM##n(ctx))

int on_release(struct pt_regs *ctx)
{
	return on_release_sock(ARGUMENT(1, struct sock *));
}

int on_full_buffer(struct pt_regs *ctx)
{
	return on_wait_for_memory(ARGUMENT(1, struct sock *), ARGUMENT(2, long *));
}

int begin_udp(struct pt_regs *ctx)
{
	return udp_send_enter(ARGUMENT(1, struct sock *), SENDER_UDP, ARGUMENT(3, unsigned long));
}

int end_udp(struct pt_regs *ctx)
{
	return udp_send_exit((int)PT_REGS_RC(ctx), SENDER_UDP);
}

int begin_udpv6(struct pt_regs *ctx)
{
	return udp_send_enter(ARGUMENT(1, struct sock *), SENDER_UDP6, ARGUMENT(3, unsigned long));
}

int end_udpv6(struct pt_regs *ctx)
{
	return udp_send_exit((int)PT_REGS_RC(ctx), SENDER_UDP6);
}

int begin_page(struct pt_regs *ctx)
{
	return udp_send_enter(ARGUMENT(1, struct sock *), SENDER_PAGE, ARGUMENT(4, unsigned long));
}

int end_page(struct pt_regs *ctx)
{
	return udp_send_exit((int)PT_REGS_RC(ctx), SENDER_PAGE);
}

int on_datagram(struct pt_regs *ctx)
{
	int length = ARGUMENT(3, int);

	return length >= 0 ? datagram_received(ARGUMENT(1, struct sock *), length, 0) : 0;
}

int on_udp_end(struct pt_regs *ctx)
{
	return socket_ended(ARGUMENT(1, struct sock *));
}

int on_tcp_end(struct bpf_raw_tracepoint_args *ctx)
{
	return socket_ended((struct sock *)ctx->args[0]);
}

int on_retransmit(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	__u32 segments = segments_of((void *)ctx->args[1]);

	if (RETRANSMIT_REPORTS_ERROR) /* with a third argument */
		return tried_to_retransmit(sk, segments, ctx->args[2]);
	return retransmitted(sk, segments);
}

int on_retransmit_synack(struct bpf_raw_tracepoint_args *ctx)
{
	return retransmitted_synack((struct sock *)ctx->args[0]);
}

int on_reset(struct bpf_raw_tracepoint_args *ctx)
{
	return was_reset((struct sock *)ctx->args[0]);
}

int on_state(struct bpf_raw_tracepoint_args *ctx)
{
	return hashed_state_changed((struct sock *)ctx->args[0], ctx->args[1], ctx->args[2]);
}

/*
 * In place of the iterator over the sockets.  Its uprobe is on a function that only the
 * probe calls in the probe's process: once for each key of the hash, as read in batches.
 */
int on_iterate(struct pt_regs *ctx)
{
	__u32 first = 0;
	/* Not on the stack, where the verifier tracks and distinguishes what each path wrote. */
	struct event *event = bpf_map_lookup_elem(&event_scratch, &first);
	struct bpf_iter_meta meta = {};
	struct sock *sk = ARGUMENT(1, struct sock *);
	struct bpf_iter__bpf_map_elem at = {
		.meta = &meta,
		.key = &sk,
		.value = sock_state_lookup(sk),
	};

	return event ? visit_sock(&at, event, ARGUMENT(2, int)) : 0;
}

/* Who holds a socket, as user space found it in /proc. */
struct current_owner {
	__u64 start_ticks;
	__u32 pid;
	__u32 listeners; /* the first pass */
	char comm[COMM_LEN];
};

/*
 * In place of the iterator over open files: runs as the probe reads /proc/<pid>/fdinfo/<fd>.
 * The task_struct of the owner is not available, so user space sets the owner.  Its exec_id is one
 * that no task has, so that the next I/O replaces it.
 */
int on_fdinfo(struct pt_regs *ctx)
{
	struct bpf_iter__task_file at = {
		.task = current_task(),
		.file = ARGUMENT(2, struct file *),
	};
	__u32 first = 0;
	struct current_owner *from = bpf_map_lookup_elem(&current_owner, &first);
	struct sock_state *state;
	struct sock *sk;

	if (!from || task_pid_nr_in_probe_ns(at.task) != PROBE_PID)
		return 0;
	if (from->listeners)
		return seed_listener(&at);
	sk = file_sock(&at);
	state = sock_state_lookup(sk);
	if (state && state->owner.tgid)
		return 0;
	seed_socket(&at);
	state = sock_state_lookup(sk);
	if (!state)
		return 0;
	state->owner.start_boottime_ns = from->start_ticks * TICK_USER_NS;
	state->owner.start_ticks = from->start_ticks;
	state->owner.cgroup = 0;
	state->owner.tgid = from->pid;
	state->owner.exec_id = ~0;
	state->owner.pid = from->pid;
	__builtin_memcpy(state->owner.comm, from->comm, COMM_LEN);
	return 0;
}
