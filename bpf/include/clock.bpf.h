/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Clocks: a coarse one, read without a call, and CLOCK_MONOTONIC. */
#ifndef CLOCK_BPF_H
#define CLOCK_BPF_H

#include "vmlinux_min.h"
#include "maps.bpf.h"
#include "settings.bpf.h"

/*
 * A tick's grain is enough for a threshold of 100 ms, and jiffies are read without a call
 * (bpf_ktime_get_coarse_ns() is refused to these program types).  Since an origin of its own:
 * only differences mean anything.
 */
static __always_inline __u64 coarse_ns(void)
{
	return bpf_jiffies64() * settings.tick_ns;
}

static __always_inline __u64 exact_ns(void)
{
	__u64 now = bpf_ktime_get_ns();
	__s64 lag = now - coarse_ns(), *origin = tick_origin();

	if (origin && (!*origin || lag < *origin))
		*origin = lag;
	return now;
}

/* The CLOCK_MONOTONIC time of a coarse one, right to half a tick. */
static __always_inline __u64 to_monotonic(__u64 coarse)
{
	__s64 *origin = tick_origin();

	return coarse + (origin ? *origin : 0) + settings.tick_ns / 2;
}

#endif
