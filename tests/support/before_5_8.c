/* SPDX-License-Identifier: MIT */
/*
 * Preloaded, it answers bpf(2) as a kernel before 5.8 does where a ring buffer is asked for:
 * such a kernel cannot be had here.  libbpf and libbcc both call through libc's syscall().
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <sys/syscall.h>

#define ARGUMENTS 6

long syscall(long number, ...)
{
	static long (*real)(long, ...);
	long arguments[ARGUMENTS];
	va_list list;

	if (!real)
		real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	va_start(list, number);
	for (int i = 0; i < ARGUMENTS; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_bpf && arguments[0] == BPF_MAP_CREATE &&
	    ((union bpf_attr *)arguments[1])->map_type == BPF_MAP_TYPE_RINGBUF) {
		errno = EINVAL;
		return -1;
	}
	return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
		    arguments[5]);
}
