/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which iterator visits the sockets, and the socket that it is at. */
#ifndef ITER_CTX_BPF_H
#define ITER_CTX_BPF_H

#include "vmlinux_min.h"

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

#define ITERATE_SOCKETS "iter/bpf_map_elem"
#define sock_iter_ctx struct bpf_iter__bpf_map_elem

static __always_inline struct sock *iterated(sock_iter_ctx *ctx)
{
	struct sock **key = ctx->key;

	return key ? *key : 0;
}

#elif defined(SOCKETS_BY_FILE)
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

#endif
