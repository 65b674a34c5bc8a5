/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The system calls of one process, for `profile`: counted here, not streamed.  Loaded only for it.
 * Every task enters these programs, so the test for the process comes first.
 */
#include "include/settings.bpf.h"
#include "include/task.bpf.h"

#define MOST_PROCESSES 16384
#define MOST_THREADS 16384
#define MOST_ANCESTORS 64
#define ERRNO_MAX 511 /* numbers above it restart the call: include/linux/errno.h */

/* The receives whose flags decide what their result means. */
#if defined(__TARGET_ARCH_x86)
#define CALL_RECVFROM 45
#define CALL_RECVMSG 47
#elif defined(__TARGET_ARCH_arm64)
#define CALL_RECVFROM 207
#define CALL_RECVMSG 212
#endif

const volatile struct profile_settings profile SEC(".rodata.profile") = {};

/* As the first namespace numbers it; 0 until the iterator has found it. */
__u32 profiled_tgid = 0;

/* Where the stack has no room for one. */
static struct call_stats no_calls;

/* Its children, where they are wanted. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MOST_PROCESSES);
	__type(key, __u32);
	__type(value, __u8);
} children SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct call_key);
	__type(value, struct call_stats);
} calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct failure_key);
	__type(value, __u64);
} failures SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MOST_THREADS);
	__type(key, __u32);
	__type(value, struct call_in_flight);
} in_flight SEC(".maps");

static __always_inline bool is_profiled(__u32 tgid)
{
	if (tgid == profiled_tgid)
		return true;
	return profile.with_children && bpf_map_lookup_elem(&children, &tgid);
}

static __always_inline void add_child(__u32 tgid)
{
	__u8 yes = 1;

	if (bpf_map_update_elem(&children, &tgid, &yes, BPF_ANY))
		count_lost(LOST_PROCESS);
}

/* What a descriptor of the current task is. */
static __noinline __u32 kind_of(__u32 fd)
{
	struct task_struct___profile *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files, *file = NULL;
	struct socket *socket;
	__u16 mode, family;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return DESCRIPTOR_NONE;
	files = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	mode = BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT;
	if (mode == S_IFIFO)
		return DESCRIPTOR_LOCAL;
	if (mode != S_IFSOCK)
		return DESCRIPTOR_NONE;
	socket = BPF_CORE_READ(file, private_data);
	family = BPF_CORE_READ(socket, sk, __sk_common.skc_family);
	return family == AF_INET || family == AF_INET6 ? DESCRIPTOR_INTERNET : DESCRIPTOR_LOCAL;
}

/* The place of a duration: 0 below 2^FIRST_BUCKET_SHIFT ns, and one more with each bit. */
static __always_inline __u32 bucket_of(__u64 ns)
{
	__u32 place = 0;

	ns >>= FIRST_BUCKET_SHIFT;
	for (__u32 bits = 16; bits; bits >>= 1) {
		if (ns >> bits) {
			ns >>= bits;
			place += bits;
		}
	}
	place += ns > 0;
	return place < LATENCY_BUCKETS ? place : LATENCY_BUCKETS - 1;
}

static __noinline struct call_stats *stats_of(struct call_key *key)
{
	struct call_stats *stats = bpf_map_lookup_elem(&calls, key);

	if (stats)
		return stats;
	bpf_map_update_elem(&calls, key, &no_calls, BPF_NOEXIST);
	stats = bpf_map_lookup_elem(&calls, key);
	if (!stats)
		count_lost(LOST_CALL);
	return stats;
}

static __noinline int count_failure(__u32 number, __u32 error)
{
	struct failure_key key = { .number = number, .error = error };
	__u64 *count, none = 0;

	bpf_map_update_elem(&failures, &key, &none, BPF_NOEXIST);
	count = bpf_map_lookup_elem(&failures, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		count_lost(LOST_CALL);
	return 0;
}

/*
 * How many bytes a call took that has returned so many.  A receive may leave them in the queue, or
 * return the length of a datagram (MSG_TRUNC) of which it took less.
 */
static __always_inline __u64 moved_by(__u32 number, struct pt_regs *regs, __u64 result)
{
	__u64 length = result;
	__u32 flags;

	if (number == CALL_RECVFROM) {
		flags = PT_REGS_PARM4_CORE_SYSCALL(regs);
		length = PT_REGS_PARM3_CORE_SYSCALL(regs);
	} else if (number == CALL_RECVMSG) {
		flags = PT_REGS_PARM3_CORE_SYSCALL(regs);
	} else {
		return result;
	}
	if (flags & (MSG_PEEK | MSG_ERRQUEUE))
		return 0;
	return length < result ? length : result;
}

SEC("raw_tp/sys_enter")
int on_enter(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tid = id, number = ctx->args[1];
	struct call_in_flight call = {};
	struct task_struct___profile *task;
	struct pt_regs *regs;
	__u8 flags;

	if (!is_profiled(id >> 32))
		return 0;
	if (number >= PROFILED_NUMBERS)
		number = PROFILED_NUMBERS - 1;
	flags = profile.flags[number];
	task = (void *)bpf_get_current_task();
	regs = (void *)ctx->args[0];
	call.number = number;
	if (flags & CALL_HAS_FD)
		call.kind = kind_of(PT_REGS_PARM1_CORE_SYSCALL(regs));
	if (flags & CALL_LEAVES) {
		struct call_key key = { .number = number };
		struct call_stats *stats = stats_of(&key);

		if (stats)
			__sync_fetch_and_add(&stats->count, 1);
		return 0;
	}
	call.nvcsw = BPF_CORE_READ(task, nvcsw);
	call.begin_ns = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&in_flight, &tid, &call, BPF_ANY))
		count_lost(LOST_CALL);
	return 0;
}

SEC("raw_tp/sys_exit")
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 took_ns, id = bpf_get_current_pid_tgid();
	struct task_struct___profile *task;
	struct call_in_flight *call;
	struct call_stats *stats;
	struct call_key key = {};
	__u32 tid = id, bucket;
	__s64 result;
	bool slept;

	if (!is_profiled(id >> 32))
		return 0;
	call = bpf_map_lookup_elem(&in_flight, &tid);
	if (!call)
		return 0; /* entered before the profile began */
	took_ns = bpf_ktime_get_ns() - call->begin_ns;
	task = (void *)bpf_get_current_task();
	slept = BPF_CORE_READ(task, nvcsw) != call->nvcsw;
	result = ctx->args[1];
	key.number = call->number;
	key.kind = call->kind;
	bpf_map_delete_elem(&in_flight, &tid);
	stats = stats_of(&key);
	if (!stats)
		return 0;
	__sync_fetch_and_add(&stats->count, 1);
	__sync_fetch_and_add(&stats->total_ns, took_ns);
	if (slept) {
		__sync_fetch_and_add(&stats->sleeps, 1);
		__sync_fetch_and_add(&stats->sleep_ns, took_ns);
	}
	bucket = bucket_of(took_ns);
	if (bucket < LATENCY_BUCKETS)
		__sync_fetch_and_add(&stats->buckets[bucket], 1);
	if (result < 0 && result >= -ERRNO_MAX) {
		__sync_fetch_and_add(&stats->failures, 1);
		count_failure(key.number, -result);
	} else if (result > 0 && key.number < PROFILED_NUMBERS &&
		   profile.flags[key.number] & CALL_RETURNS_BYTES) {
		__sync_fetch_and_add(&stats->bytes,
				     moved_by(key.number, (void *)ctx->args[0], result));
	}
	return 0;
}

SEC("raw_tp/sched_process_fork")
int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0], *child = (void *)ctx->args[1];
	__u32 tgid = BPF_CORE_READ(parent, tgid), new = BPF_CORE_READ(child, tgid);

	if (new != tgid && is_profiled(tgid))
		add_child(new);
	return 0;
}

/* Its number may be used again. */
SEC("raw_tp/sched_process_exit")
int on_process_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	struct task_struct___profile *same = (void *)task;
	__u32 tgid = BPF_CORE_READ(task, tgid);

	if (!BPF_CORE_READ(same, signal, live.counter))
		bpf_map_delete_elem(&children, &tgid);
	return 0;
}

static __always_inline bool descends(struct task_struct *task)
{
	for (__u32 i = 0; i < MOST_ANCESTORS; i++) {
		task = BPF_CORE_READ((struct task_struct___profile *)task, real_parent,
				     group_leader);
		if (!task || !BPF_CORE_READ(task, tgid))
			return false;
		if (task_pid_nr_in_probe_ns(task) == profile.pid)
			return true;
	}
	return false;
}

/* Finds the process, and those that it has made before. */
SEC("iter/task")
int find_profiled(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (!task || task->pid != task->tgid)
		return 0;
	if (task_pid_nr_in_probe_ns(task) == profile.pid)
		profiled_tgid = task->tgid;
	else if (profile.with_children && descends(task))
		add_child(task->tgid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
