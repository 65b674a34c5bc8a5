/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Differences of attach variants: how a field is read on the hot path, who the current task is, and
 * where a socket's memory is.  A kprobe has no typed pointers, so its sockets are in a hash.
 */
#ifndef SOCK_STATE_BPF_H
#define SOCK_STATE_BPF_H

#include "maps.bpf.h"

static __always_inline struct sock *file_sock(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	struct socket *socket;

	if (!ctx->task || !file)
		return 0;
#ifdef SOCKETS_IN_HASH /* the helper came with 5.11, as did socket storage for these programs */
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
#else
	socket = bpf_sock_from_file(file);
	return socket ? socket->sk : 0;
#endif
}

#ifdef SOCKETS_IN_HASH

#define FIELD(sk, field) BPF_CORE_READ(sk, field)
#define FIELD_OF(sk, pointer, field) BPF_CORE_READ(sk, pointer, field)
#define FIELD_BEHIND(sk, pointer, next, field) BPF_CORE_READ(sk, pointer, next, field)
#define ITERATE_SOCKETS "iter/bpf_map_elem"
#define sock_iter_ctx struct bpf_iter__bpf_map_elem

#include "tcp_seq.bpf.h"

static __always_inline struct sock *iterated(sock_iter_ctx *ctx)
{
	struct sock **key = ctx->key;

	return key ? *key : 0;
}

static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

static __always_inline struct sock_state *sock_state_lookup(struct sock *sk)
{
	__u64 key = (__u64)sk;

	return bpf_map_lookup_elem(&sockets, &key);
}

static __always_inline __u32 current_tgid(struct task_struct *task)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline struct sock_state *sock_state_get_or_create(struct sock *sk)
{
	const struct sock_state *fresh;
	__u64 key = (__u64)sk;
	struct sock_state *memory = bpf_map_lookup_elem(&sockets, &key);

	if (memory)
		return memory;
	fresh = zero_sock_state();
	if (fresh)
		bpf_map_update_elem(&sockets, &key, fresh, BPF_NOEXIST);
	memory = bpf_map_lookup_elem(&sockets, &key);
	if (memory)
		begin_progress(sk, &memory->progress);
	else
		count_lost(LOST_SOCKET);
	return memory;
}

static __always_inline void sock_state_delete(struct sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_delete_elem(&sockets, &key);
}

static __always_inline __u64 cookie_of(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_cookie.counter); /* 0 until somebody asks */
}

#else

#define FIELD(sk, field) ((sk)->field)
#define FIELD_OF(sk, pointer, field) ((sk)->pointer->field)
#define FIELD_BEHIND(sk, pointer, next, field) ((sk)->pointer->next->field)

#ifdef SOCKETS_BY_FILE
/* The kernel refuses iterators over maps: every socket is found by the files of the tasks. */
#define ITERATE_SOCKETS "iter/task_file"
#define sock_iter_ctx struct bpf_iter__task_file

static __always_inline struct sock *iterated(sock_iter_ctx *ctx)
{
	return file_sock(ctx);
}
#else
#define ITERATE_SOCKETS "iter/bpf_sk_storage_map"
#define sock_iter_ctx struct bpf_iter__bpf_sk_storage_map

static __always_inline struct sock *iterated(sock_iter_ctx *ctx)
{
	return ctx->sk;
}
#endif

static __always_inline struct task_struct *current_task(void)
{
	return bpf_get_current_task_btf();
}

static __always_inline __u32 current_tgid(struct task_struct *task)
{
	return task->tgid;
}

static __always_inline struct sock_state *sock_state_lookup(struct sock *sk)
{
	return bpf_sk_storage_get(&sockets, sk, 0, 0);
}

static __always_inline struct sock_state *sock_state_get_or_create(struct sock *sk)
{
	struct sock_state *memory =
		bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!memory)
		count_lost(LOST_SOCKET);
	return memory;
}

static __always_inline void sock_state_delete(struct sock *sk) /* it goes with the socket */
{
}

static __always_inline __u64 cookie_of(struct sock *sk)
{
	return bpf_get_socket_cookie(sk);
}

#endif

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

static __always_inline void add(__u64 *to, __u64 amount)
{
	__sync_fetch_and_add(to, amount);
}

enum transport {
	TRANSPORT_OTHER,
	TRANSPORT_TCP,
	TRANSPORT_UDP,
};

static __always_inline enum transport transport_of(struct sock *sk)
{
	__u16 family = FIELD(sk, __sk_common.skc_family);
	__u16 protocol;

	if (family != AF_INET && family != AF_INET6)
		return TRANSPORT_OTHER;
	protocol = FIELD(sk, sk_protocol);
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP)
		return TRANSPORT_TCP;
	if (protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE)
		return TRANSPORT_UDP;
	return TRANSPORT_OTHER;
}

static __always_inline bool nospace(struct sock *sk)
{
	if (!FIELD(sk, sk_socket))
		return false;
	return FIELD_OF(sk, sk_socket, flags) & (1 << SOCK_NOSPACE);
}

static __always_inline bool full(struct sock *sk)
{
	return FIELD(sk, sk_wmem_queued) >= FIELD(sk, sk_sndbuf);
}

#endif
