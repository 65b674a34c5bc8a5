/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Who a task is, as the probe's own pid namespace and /proc tell it. */
#ifndef OWNER_H
#define OWNER_H

#include "maps.h"

#define PID_LEVELS 33 /* MAX_PID_NS_LEVEL + 1 */
#define TICK_USER_NS 10000000 /* USER_HZ is 100 */

/*
 * bpf_get_ns_current_pid_tgid() knows only tasks whose innermost namespace is ours; a host's
 * probe must also name the processes of its containers.  0: not visible from our namespace.
 */
static __noinline __u32 visible_pid(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);

	for (__u32 i = 0; i < PID_LEVELS; i++) {
		if (i > level)
			break;
		struct upid *at = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
				  i * bpf_core_type_size(struct upid);

		if (BPF_CORE_READ(at, ns, ns.inum) == settings.pid_namespace)
			return BPF_CORE_READ(at, nr);
	}
	return 0;
}

static __noinline void describe(struct owner *owner, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	owner->tgid = BPF_CORE_READ(task, tgid);
	owner->exec_id = BPF_CORE_READ(task, self_exec_id);
	owner->start_boottime_ns = BPF_CORE_READ(leader, start_boottime);
	owner->start_ticks = owner->start_boottime_ns / TICK_USER_NS;
	owner->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	owner->pid = visible_pid(leader);
	BPF_CORE_READ_INTO(&owner->comm, leader, comm);
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
