/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What vmlinux_min.h, settings.bpf.h and maps.h are to the objects compiled ahead, for a program
 * that bcc compiles on the host: the kernel's own headers, so that each offset is right for
 * this kernel, and maps that exist before the program does.
 *
 * bcc rewrites the one file that it is given (bcc.c), and no header: there pointers into the
 * kernel are read by the macros below, and maps are used without bcc's methods.  It joins all
 * functions into their callers and has no global variables, hence the differences below.
 *
 * Given by user space (xctl_probe/bcc/program.py): STALL_NS, TICK_NS, PID_NAMESPACE,
 * SEES_FULL_BUFFER, KERNEL_STACK_BYTES, PROBE_PID; a <map>_FD for each map; MEMORY_BYTES; and what
 * it has read in the kernel's headers: BEFORE_CHRONO_TYPE, HAS_SK_RX_DST_IFINDEX,
 * RETRANSMIT_REPORTS_ERROR.
 */
#ifndef BCC_COMPAT_H
#define BCC_COMPAT_H

/*
 * Left out: it is only there for declarations of functions, and includes linux/bpf.h, whose
 * user part bcc replaces by a copy of its own, too old for younger kernels.
 */
#define __LINUX_SECURITY_H

#include <linux/sched.h>
#include <linux/cgroup-defs.h>
#include <linux/fs.h>
#include <linux/kernfs.h>
#include <linux/pid_namespace.h>
#include <linux/poll.h>
#include <linux/tcp.h>
#include <net/sock.h>

#define VMLINUX_MIN_H
#define SOCKETS_IN_HASH
#define COUNTS_BY_SEQUENCE
#define MAPS_ARE_FUNCTIONS

#define current_task probed_task /* the kernel has a variable of this name until 6.2 */

#undef __noinline
#define __noinline inline __always_inline
#define SEC(name)

/* Reading the kernel: what bpf/bpf_core_read.h does, with offsets that are already right. */

#define READ_1(from, a)                                                                            \
	({                                                                                         \
		__typeof__((from)->a) read_;                                                       \
		bpf_probe_read_kernel((void *)&read_, sizeof(read_), (void *)&(from)->a);          \
		read_;                                                                             \
	})
#define READ_2(from, a, b) READ_1(READ_1(from, a), b)
#define READ_3(from, a, b, c) READ_1(READ_2(from, a, b), c)
#define READ_4(from, a, b, c, d) READ_1(READ_3(from, a, b, c), d)
#define READ_N(a, b, c, d, chosen, ...) chosen
#define BPF_CORE_READ(from, ...)                                                                   \
	READ_N(__VA_ARGS__, READ_4, READ_3, READ_2, READ_1)(from, __VA_ARGS__)
#define BPF_CORE_READ_INTO(to, from, field)                                                        \
	bpf_probe_read_kernel(to, sizeof(*(to)), (void *)&(from)->field)
#define bpf_core_read(to, size, from) bpf_probe_read_kernel(to, size, (void *)(from))
#define bpf_core_field_offset(type, field) offsetof(type, field)
#define bpf_core_type_size(type) sizeof(type)

/* A bit-field has no address: it follows the member before it. */
#define BPF_CORE_READ_BITFIELD_PROBED(tp, field) field##_of(tp)

static __always_inline __u8 chrono_type_of(struct tcp_sock *tp)
{
	__u8 bits = 0;

	bpf_probe_read_kernel(&bits, sizeof(bits),
			      (void *)tp + offsetof(struct tcp_sock, BEFORE_CHRONO_TYPE) +
				      sizeof(tp->BEFORE_CHRONO_TYPE));
	return bits & 3;
}

/*
 * By name: one that is not known here does not compile.  What this kernel lacks must compile, and
 * is not reached.
 */
#define IS_NAME(name, other) (__builtin_strcmp(name, other) == 0)
#define bpf_core_field_exists(field)                                                               \
	({                                                                                         \
		_Static_assert(IS_NAME(#field, "tp->is_mptcp") ||                                  \
				       IS_NAME(#field, "sk->sk_rx_dst_ifindex") ||                 \
				       IS_NAME(#field, "inet->rx_dst_ifindex"),                    \
			       "bcc_compat.h knows whether the kernel has this field");            \
		IS_NAME(#field, "tp->is_mptcp")		   ? IS_ENABLED(CONFIG_MPTCP)              \
		: IS_NAME(#field, "sk->sk_rx_dst_ifindex") ? HAS_SK_RX_DST_IFINDEX                 \
							   : !HAS_SK_RX_DST_IFINDEX;               \
	})
#if !IS_ENABLED(CONFIG_MPTCP)
#define is_mptcp repair_queue
#endif
#if HAS_SK_RX_DST_IFINDEX
#define rx_dst_ifindex inet_sport
#else
#define sk_rx_dst_ifindex sk_sndbuf
#endif

#define bpf_ntohs(number) ntohs(number)
#define bpf_ntohl(number) ntohl(number)
#define bpf_cpu_to_be64(number) cpu_to_be64(number)

#ifdef JIFFIES_ADDRESS /* before 5.6, commit 5576b991e9c1 */
static __always_inline __u64 jiffies_now(void)
{
	__u64 now = 0;

	bpf_probe_read_kernel(&now, sizeof(now), (void *)JIFFIES_ADDRESS);
	return now;
}
#define bpf_jiffies64() jiffies_now()
#endif

/* net/tcp.h has it among much that an older bcc cannot compile.  The same since 3.18. */
struct tcp_skb_cb {
	__u32 seq;
	__u32 end_seq;
	__u16 tcp_gso_segs;
};

/* A map is a function that returns its descriptor, so that &map identifies it. */

#define MAP(name)                                                                                  \
	static __always_inline void *name(void)                                                    \
	{                                                                                          \
		return (void *)bpf_pseudo_fd(1, name##_FD);                                        \
	}

MAP(lost)
MAP(sockets)
MAP(processes)
MAP(crowded_processes)
MAP(endpoints)
MAP(listen_ports)
MAP(reconcile_guard)
MAP(asked_processes)
MAP(udp_send_in_flight)
MAP(events)
MAP(iter_output) /* output of the socket iterators: events */
MAP(zero_values) /* one struct sock_state, and one number */
MAP(monotonic_offset)
MAP(current_owner)
MAP(event_scratch)

#define bpf_map_lookup_elem(map, key) bpf_map_lookup_elem((map)(), key)
#define bpf_map_update_elem(map, key, value, flags)                                                \
	bpf_map_update_elem((map)(), key, (void *)(value), flags)
#define bpf_map_delete_elem(map, key) bpf_map_delete_elem((map)(), key)

#include "settings.bpf.h"

#define settings                                                                                   \
	((struct settings){                                                                        \
		.stall_ns = STALL_NS,                                                              \
		.tick_ns = TICK_NS,                                                                \
		.pid_namespace = PID_NAMESPACE,                                                    \
		.sees_full_buffer = SEES_FULL_BUFFER,                                              \
		.kernel_stack_bytes = KERNEL_STACK_BYTES,                                          \
	})

#include "maps.bpf.h"

_Static_assert(sizeof(struct sock_state) == MEMORY_BYTES, "the size that user space has");

static __always_inline const struct sock_state *zero_sock_state(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&zero_values, &first);
}

static __always_inline __s64 *tick_origin(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&monotonic_offset, &first);
}

/*
 * Records leave by the ring buffer; before 5.8 by a queue.  A perf buffer would want the program's
 * context, which the shared logic does not have, and is one for each CPU, out of order.
 */

#ifdef RECORDS_IN_QUEUE
MAP(event_scratch_percpu)

/* A softirq's program may interrupt a task's: each has a draft of its own. */
struct event_scratch_percpu {
	struct event records[4];
	__u32 depth;
};

static __always_inline void *begin_event(void)
{
	__u32 first = 0, depth;
	struct event_scratch_percpu *here = bpf_map_lookup_elem(&event_scratch_percpu, &first);

	if (!here)
		return 0;
	depth = here->depth;
	if (depth >= ARRAY_SIZE(here->records))
		return 0;
	here->depth = depth + 1;
	return &here->records[depth];
}

static __always_inline void end_event(struct event *event)
{
	__u32 first = 0;
	struct event_scratch_percpu *here = bpf_map_lookup_elem(&event_scratch_percpu, &first);

	if (bpf_map_push_elem(events(), event, 0))
		count_lost(LOST_RING);
	if (here)
		here->depth--;
}

#define bpf_ringbuf_reserve(map, size, flags) begin_event()
#define bpf_ringbuf_submit(event, flags) end_event(event)
#define bpf_seq_write(seq, event, size) bpf_map_push_elem(iter_output(), event, 0)
#else
#define bpf_ringbuf_reserve(map, size, flags) bpf_ringbuf_reserve((map)(), size, flags)
#define bpf_seq_write(seq, event, size) bpf_ringbuf_output(iter_output(), event, size, 0)
#endif

/* Iterator types that sock_iter.bpf.h and existing_sockets.bpf.h use.  Iterators need BTF; bcc.c
 * replaces them. */

#define bpf_iter_meta iter_meta
#define bpf_iter__bpf_map_elem iterated_socket
#define bpf_iter__task_file iterated_file

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	void *key;
	void *value;
};

struct bpf_iter__task_file {
	struct task_struct *task;
	struct file *file;
};

#endif
