/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What every object has: its settings, and counters of what it had to drop. */
#ifndef SETTINGS_BPF_H
#define SETTINGS_BPF_H

#include "vmlinux_min.h"
#include "abi.h"

const volatile struct settings settings = {};

#ifndef MAPS_ARE_FUNCTIONS /* see bcc_compat.h */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOST_PLACES);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");
#endif

static __always_inline void count_lost(__u32 where)
{
	__u64 *count = bpf_map_lookup_elem(&lost, &where);

	if (count)
		__sync_fetch_and_add(count, 1); /* a softirq may interrupt a task here */
}

#endif
