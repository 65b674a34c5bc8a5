/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Identity of a task, as in the probe's own pid namespace and /proc. */
#ifndef TASK_BPF_H
#define TASK_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "core_read.bpf.h"
#include "settings.bpf.h"

#define PID_LEVELS 33 /* MAX_PID_NS_LEVEL + 1 */
#define FIRST_PID_NAMESPACE 0xEFFFFFFC /* PROC_PID_INIT_INO */
#define TICK_USER_NS 10000000 /* USER_HZ is 100 */

/* The task that last did I/O on a socket. */
struct owner {
	__u64 start_boottime_ns;
	__u64 start_ticks;
	__u64 cgroup;
	__u32 tgid; /* as the first namespace numbers it: to notice another task */
	__u32 exec_id; /* of the program it runs: the name changes with it */
	__u32 pid; /* as the probe's namespace numbers it; 0: unknown */
	char comm[COMM_LEN];
};

/* 0: of another namespace. */
__noinline __u32 nr_of_upid(__u64 address)
{
	struct upid *at = (void *)address;

	return BPF_CORE_READ(at, ns, ns.inum) == settings.pid_namespace ? BPF_CORE_READ(at, nr) : 0;
}

/*
 * bpf_get_ns_current_pid_tgid() knows only tasks whose innermost namespace is ours; a host's
 * probe must also name the processes of its containers.  0: not visible from our namespace.
 * Takes the address of a struct pid: a function of scalars that is not static is verified
 * once, whoever calls it, where its loop would be followed again for each caller.
 */
__noinline __u32 pid_nr_in_probe_ns(__u64 address)
{
	struct pid *pid = (void *)address;
	__u32 level = BPF_CORE_READ(pid, level), nr = 0;

	if (settings.pid_namespace == FIRST_PID_NAMESPACE)
		level = 0;
	for (__u32 i = 0; i < PID_LEVELS; i++) {
		if (i > level || nr)
			break;
		nr = nr_of_upid(address + bpf_core_field_offset(struct pid, numbers) +
				i * bpf_core_type_size(struct upid));
	}
	return nr;
}

static __always_inline __u32 task_pid_nr_in_probe_ns(struct task_struct *task)
{
	return pid_nr_in_probe_ns((__u64)BPF_CORE_READ(task, thread_pid));
}

VERIFIED_ONCE int fill_owner(struct owner *owner, __u64 address)
{
	struct task_struct *task = (void *)address;
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	if (!owner)
		return 0;
	owner->tgid = BPF_CORE_READ(task, tgid);
	owner->exec_id = BPF_CORE_READ(task, self_exec_id);
	owner->start_boottime_ns = BPF_CORE_READ(leader, start_boottime);
	owner->start_ticks = owner->start_boottime_ns / TICK_USER_NS;
	owner->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	if (settings.pid_namespace == FIRST_PID_NAMESPACE)
		owner->pid = owner->tgid;
	else
		owner->pid = task_pid_nr_in_probe_ns(leader);
	BPF_CORE_READ_INTO(&owner->comm, leader, comm);
	return 0;
}

static __always_inline bool is_kernel_thread(struct task_struct *task)
{
	return BPF_CORE_READ(task, flags) & PF_KTHREAD;
}

/* Is this address that of a task?  A wrong guess reads garbage, which is never consistent. */
static __always_inline bool is_task(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	void *first = BPF_CORE_READ(pid, tasks[0].first);

	return first &&
	       first == (void *)task + bpf_core_field_offset(struct task_struct, pid_links);
}

#endif
