/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The limit: programs that do nothing, at the hooks of the hot path that the probe takes for
 * each way to attach.  bench/watchers/empty.py compiles and loads it.
 */
#define HOOK(place, name) \
	__attribute__((section(place), used)) int name(void *ctx); \
	int name(void *ctx) \
	{ \
		(void)ctx; \
		return 0; \
	}

HOOK("tp_btf/sock_send_length", tracepoint_send)
HOOK("tp_btf/sock_recv_length", tracepoint_receive)
HOOK("tp_btf/tcp_sendmsg_locked", tracepoint_full_buffer)

HOOK("fexit/inet_sendmsg", fentry_send)
HOOK("fexit/inet_recvmsg", fentry_receive)

HOOK("kprobe/release_sock", kprobe_release)
HOOK("kprobe/udp_sendmsg", kprobe_begin_datagram)
HOOK("kretprobe/udp_sendmsg", kprobe_end_datagram)
HOOK("kprobe/skb_consume_udp", kprobe_datagram)

__attribute__((section("license"), used)) char LICENSE[] = "Dual MIT/GPL";
