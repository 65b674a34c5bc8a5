/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The registers of user space, as a system call has left them at the top of the kernel stack. */
#ifndef REGISTERS_BPF_H
#define REGISTERS_BPF_H

#include "vmlinux_min.h"
#include "settings.bpf.h"

/* Of a task that is in a system call; NULL where they are not found. */
static __always_inline struct pt_regs *user_registers(struct task_struct *task)
{
	void *top = BPF_CORE_READ(task, stack) + settings.kernel_stack_bytes -
		    bpf_core_type_size(struct pt_regs);
	struct pt_regs *regs = top;

#if defined(__TARGET_ARCH_x86) || defined(__x86_64__)
	if ((BPF_CORE_READ(regs, cs) & 3) == 3)
		return regs;
	regs = top - 16; /* with FRED */
	return (BPF_CORE_READ(regs, cs) & 3) == 3 ? regs : NULL;
#elif defined(__TARGET_ARCH_arm64) || defined(__aarch64__)
	return BPF_CORE_READ(regs, pstate) & 0xf ? NULL : regs; /* EL0 */
#else
	return NULL;
#endif
}

static __always_inline __u64 second_argument(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86) || defined(__x86_64__)
	return BPF_CORE_READ(regs, si);
#elif defined(__TARGET_ARCH_arm64) || defined(__aarch64__)
	return BPF_CORE_READ(regs, regs[1]);
#else
	return 0;
#endif
}

#endif
