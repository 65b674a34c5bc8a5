/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Every call that moves data, for debugging: a stream, not counts.  Loaded only for it. */
#include "include/settings.bpf.h"
#include "include/task.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} calls SEC(".maps");

static __always_inline bool is_internet(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;
	__u16 protocol = sk->sk_protocol;

	return (family == AF_INET || family == AF_INET6) &&
	       (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP || protocol == IPPROTO_UDP ||
		protocol == IPPROTO_UDPLITE);
}

/* A function of its own also keeps the layout in the object's BTF, for the test that compares. */
static __noinline void describe_socket(struct call *call, struct sock *sk)
{
	call->cookie = bpf_get_socket_cookie(sk);
	call->netns = sk->__sk_common.skc_net.net->ns.inum;
	call->family = sk->__sk_common.skc_family;
	call->protocol = sk->sk_protocol;
	call->local_port = sk->__sk_common.skc_num;
	call->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	__builtin_memset(call->local_address, 0, 2 * ADDRESS_LEN);
	if (call->family == AF_INET) {
		*(__be32 *)call->local_address = sk->__sk_common.skc_rcv_saddr;
		*(__be32 *)call->remote_address = sk->__sk_common.skc_daddr;
	} else {
		bpf_core_read(call->local_address, ADDRESS_LEN, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(call->remote_address, ADDRESS_LEN, &sk->__sk_common.skc_v6_daddr);
	}
}

static __always_inline int stream(struct sock *sk, int result, int flags, bool is_receive)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call *call;

	if (!is_internet(sk))
		return 0;
	call = bpf_ringbuf_reserve(&calls, sizeof(*call), 0);
	if (!call) {
		count_lost(LOST_RING);
		return 0;
	}
	call->time_ns = bpf_ktime_get_ns();
	call->pid = task_pid_nr_in_probe_ns(task->group_leader);
	call->tid = task_pid_nr_in_probe_ns(task);
	call->result = result;
	call->flags = flags;
	call->is_receive = is_receive;
	call->reserved = call->reserved2 = 0;
	describe_socket(call, sk);
	bpf_get_current_comm(call->comm, sizeof(call->comm));
	/* The reader comes by the clock: waking it for each call would cost more than the call. */
	bpf_ringbuf_submit(call, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(trace_send, struct sock *sk, int result, int flags)
{
	return stream(sk, result, flags, false);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(trace_receive, struct sock *sk, int result, int flags)
{
	return stream(sk, result, flags, true);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
