/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Attached to functions by BPF trampolines.  inet_sendmsg and inet_recvmsg carry TCP, UDP and
 * MPTCP, each call once and with the same arguments on every kernel; those of tcp_recvmsg and
 * udp_recvmsg changed in 5.19, and a mapped address passes both udpv6_sendmsg and udp_sendmsg.
 */
#include "include/connection_handlers.bpf.h"
#include "include/handlers.bpf.h"
#include "include/iterators.bpf.h"
#include "include/tp_btf.bpf.h"

SEC("fexit/inet_sendmsg")
int BPF_PROG(on_send, struct socket *socket, struct msghdr *msg, size_t size, int ret)
{
	struct sock *sk = socket->sk;

	return sk ? sent(sk, ret) : 0;
}

SEC("fexit/inet6_sendmsg")
int BPF_PROG(on_send6, struct socket *socket, struct msghdr *msg, size_t size, int ret)
{
	struct sock *sk = socket->sk;

	return sk ? sent(sk, ret) : 0;
}

SEC("fexit/inet_recvmsg")
int BPF_PROG(on_receive, struct socket *socket, struct msghdr *msg, size_t size, int flags, int ret)
{
	struct sock *sk = socket->sk;

	return sk ? received(sk, ret, flags) : 0;
}

SEC("fexit/inet6_recvmsg")
int BPF_PROG(on_receive6, struct socket *socket, struct msghdr *msg, size_t size, int flags,
	     int ret)
{
	struct sock *sk = socket->sk;

	return sk ? received(sk, ret, flags) : 0;
}

/* sendfile and splice, until 6.5 made them messages with MSG_SPLICE_PAGES. */
SEC("fexit/inet_sendpage")
int BPF_PROG(on_sendpage, struct socket *socket, void *page, int offset, size_t size, int flags,
	     long ret)
{
	struct sock *sk = socket->sk;

	return sk ? sent(sk, ret) : 0;
}

/* splice from a socket: no message at all. */
SEC("fexit/tcp_splice_read")
int BPF_PROG(on_splice_read, struct socket *socket, long long *position,
	     struct pipe_inode_info *pipe, size_t size, unsigned int flags, long ret)
{
	struct sock *sk = socket->sk;

	return sk ? received(sk, ret, 0) : 0;
}

/* An accepted connection has an owner before anything is sent. */
SEC("fexit/inet_accept")
int BPF_PROG(on_accept, struct socket *listener, struct socket *accepted)
{
	struct sock *sk = accepted->sk;

	return sk ? was_accepted(sk) : 0;
}

/* A send waits for memory, or is about to return short. */
SEC("fentry/sk_stream_wait_memory")
int BPF_PROG(on_full_buffer, struct sock *sk)
{
	return transport_of(sk) == TRANSPORT_TCP ? found_full_buffer(sk) : 0;
}

#ifdef SOCKETS_IN_HASH /* else their memory goes with them */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_tcp_end, struct sock *sk)
{
	return socket_ended(sk);
}

SEC("fentry/udp_destroy_sock")
int BPF_PROG(on_udp_end, struct sock *sk)
{
	return socket_ended(sk);
}

SEC("fentry/udpv6_destroy_sock")
int BPF_PROG(on_udp6_end, struct sock *sk)
{
	return socket_ended(sk);
}
#endif

char LICENSE[] SEC("license") = "Dual MIT/GPL";
