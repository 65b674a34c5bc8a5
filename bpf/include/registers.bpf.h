/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What a system call got: the registers of user space lie at the top of the kernel stack. */
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

enum buffers {
	NO_BUFFERS, /* it is another call */
	ONE_BUFFER,
	VECTORS, /* an array of struct iovec */
	MESSAGE, /* struct msghdr */
};

/* What the second argument of a call that sends or receives points to. */
static __always_inline enum buffers buffers_of(struct pt_regs *regs, __u64 *argument)
{
#if defined(__TARGET_ARCH_x86) || defined(__x86_64__)
	*argument = BPF_CORE_READ(regs, si);
	switch (BPF_CORE_READ(regs, orig_ax)) {
	case 0: /* read */
	case 1: /* write */
	case 44: /* sendto */
	case 45: /* recvfrom */
		return ONE_BUFFER;
	case 19: /* readv */
	case 20: /* writev */
		return VECTORS;
	case 46: /* sendmsg */
	case 47: /* recvmsg */
		return MESSAGE;
	}
#elif defined(__TARGET_ARCH_arm64) || defined(__aarch64__)
	*argument = BPF_CORE_READ(regs, regs[1]);
	switch (BPF_CORE_READ(regs, syscallno)) {
	case 63: /* read */
	case 64: /* write */
	case 206: /* sendto */
	case 207: /* recvfrom */
		return ONE_BUFFER;
	case 65: /* readv */
	case 66: /* writev */
		return VECTORS;
	case 211: /* sendmsg */
	case 212: /* recvmsg */
		return MESSAGE;
	}
#endif
	return NO_BUFFERS;
}

#endif
