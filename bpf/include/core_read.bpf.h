/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Fields of kernel structures on the hot path: typed loads, or reads of kernel memory where an
 * attach variant has no typed pointers.  Who the current task is.
 *
 * FIELD_OF and FIELD_BEHIND are for what each call does.  For a typed load of a pointer, the
 * verifier searches the names of the kernel's whole BTF up to four times, on each path that it
 * follows (6.4 to 6.18 at least, btf_nested_type_is_trusted() in kernel/bpf/btf.c): used
 * everywhere, they made the start of the probe 0.7 s longer.
 *
 * VERIFIED_ONCE is for what is rare and called from many places: a function that is not static is
 * verified by itself, and not again on each path of each caller.  It takes memory and numbers: no
 * typed pointer, but the address of what it points to.
 */
#ifndef CORE_READ_BPF_H
#define CORE_READ_BPF_H

#include "vmlinux_min.h"

#ifdef SOCKETS_IN_HASH

#define VERIFIED_ONCE static __noinline /* before 5.12, its arguments cannot be pointers */
#define FIELD(sk, field) BPF_CORE_READ(sk, field)
#define FIELD_OF(sk, pointer, field) BPF_CORE_READ(sk, pointer, field)
#define FIELD_BEHIND(sk, pointer, next, field) BPF_CORE_READ(sk, pointer, next, field)

static __always_inline __u64 address_of(const void *pointer)
{
	return (__u64)pointer;
}

static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

static __always_inline __u32 current_tgid(struct task_struct *task)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline __u64 cookie_of(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_cookie.counter); /* 0 until somebody asks */
}

#else

#define VERIFIED_ONCE __noinline
#define FIELD(sk, field) ((sk)->field)
#define FIELD_OF(sk, pointer, field) ((sk)->pointer->field)
#define FIELD_BEHIND(sk, pointer, next, field) ((sk)->pointer->next->field)

/* A number to the verifier; stored and loaded, it would still be a typed pointer. */
static __always_inline __u64 address_of(const void *pointer)
{
	__u64 address;

	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

static __always_inline struct task_struct *current_task(void)
{
	return bpf_get_current_task_btf();
}

static __always_inline __u32 current_tgid(struct task_struct *task)
{
	return task->tgid;
}

static __always_inline __u64 cookie_of(struct sock *sk)
{
	return bpf_get_socket_cookie(sk);
}

#endif

/* `hot` as a constant */
#define FIELD_IF(hot, sk, field) ((hot) ? FIELD(sk, field) : BPF_CORE_READ(sk, field))

#endif
