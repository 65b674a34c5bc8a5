/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The kernel's fields that the probe reads, and no others.  Offsets here mean nothing: each
 * access is relocated against the running kernel's BTF when the object is loaded.
 */
#ifndef VMLINUX_MIN_H
#define VMLINUX_MIN_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>

/* Registers by the kernel's names, which struct pt_regs below has, not by user space's. */
#define __VMLINUX_H__

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define AF_INET 2
#define AF_INET6 10

#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_UDPLITE 136
#define IPPROTO_MPTCP 262

#define EAGAIN 11
#define EACCES 13
#define ENONET 64
#define EPROTO 71
#define ENOPROTOOPT 92
#define EOPNOTSUPP 95
#define ENETUNREACH 101
#define ECONNABORTED 103
#define ETIMEDOUT 110
#define ECONNREFUSED 111
#define EHOSTDOWN 112
#define EHOSTUNREACH 113

#define S_IFMT 00170000
#define S_IFSOCK 0140000
#define S_IFIFO 0010000

#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_ERRQUEUE 0x2000

#define PF_KTHREAD 0x200000 /* the bit in task_struct.flags: a thread of the kernel */

#define SOCK_LINGER 4 /* the bit in sock.sk_flags: close() waits */
#define SOCK_DONE 1 /* the bit in sock.sk_flags: a FIN has come */
#define SOCK_BROADCAST 6 /* the bit there: SO_BROADCAST */
#define SOCK_DEAD 0 /* the bit in skc_flags: no process has it any more */
#define SOCK_NOSPACE 2 /* the bit in socket.flags: a sender found a full buffer */
#define SHUTDOWN_MASK 3 /* both directions: close(), not shutdown(SHUT_WR) */
#define RCV_SHUTDOWN 1

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di;
	unsigned long si;
	unsigned long dx;
	unsigned long cx;
	unsigned long ax;
	unsigned long r10;
	unsigned long r8;
	unsigned long orig_ax; /* the number of the system call */
	unsigned long cs;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
};

struct pt_regs {
	__u64 regs[31];
	__u64 pstate;
	__s32 syscallno;
};
#endif

struct list_head {
	struct list_head *next;
};

struct epoll_event {
	__u32 events;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct rb_node {
	struct rb_node *rb_left;
	struct rb_node *rb_right;
};

struct rb_root {
	struct rb_node *rb_node;
};

struct rb_root_cached {
	struct rb_root rb_root;
};

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	atomic_t refs;
} refcount_t;

typedef struct {
	long counter;
} atomic64_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct ns_common {
	unsigned int inum;
};

struct netns_ipv4 {
	unsigned int sysctl_tcp_notsent_lowat;
};

struct net {
	struct ns_common ns;
	struct netns_ipv4 ipv4;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct hlist_head tasks[4];
	struct upid numbers[1]; /* level + 1 of them: one for each namespace that sees the task */
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct signal_struct {
	atomic_t live; /* threads that have not exited */
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	void *stack;
	unsigned int flags;
	int pid;
	int tgid;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct hlist_node pid_links[4];
	__u64 start_boottime;
	__u64 self_exec_id;
	struct css_set *cgroups;
	char comm[16];
};

/* The same, with what only `profile` reads: libbpf leaves out what follows the three underscores.
 */
struct task_struct___profile {
	struct task_struct *real_parent;
	struct signal_struct *signal;
	struct files_struct *files;
	unsigned long nvcsw; /* how often it gave up its CPU to wait */
};

struct inode {
	__u16 i_mode;
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
	void *private_data; /* of a socket's file: its struct socket */
};

struct socket {
	unsigned long flags;
	struct file *file;
	struct sock *sk;
};

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

struct wait_queue_head {
	struct list_head head;
};

struct wait_queue_entry {
	unsigned int flags;
	void *private;
	struct list_head entry;
};

struct poll_table_page;

struct poll_wqueues {
	struct poll_table_page *table; /* further entries, where the first few are not enough */
	struct task_struct *polling_task;
	int inline_index; /* of those in use */
};

struct poll_table_entry {
	unsigned long key; /* what is polled for */
	struct wait_queue_entry wait;
};

struct eventpoll {
	struct wait_queue_head wq; /* who sleeps in epoll_wait() */
	struct rb_root_cached rbr; /* what is watched */
};

struct epitem {
	struct rb_node rbn;
	struct eventpoll *ep;
	struct epoll_event event;
};

struct eppoll_entry {
	struct epitem *base;
	struct wait_queue_entry wait;
	struct wait_queue_head *whead;
};

struct socket_wq {
	struct wait_queue_head wait;
};

struct net_device {
	int ifindex;
};

struct dst_entry {
	struct net_device *dev;
};

struct sock_common {
	union {
		struct {
			__be32 skc_daddr;
			__be32 skc_rcv_saddr;
		};
	};
	union {
		struct {
			__be16 skc_dport;
			__u16 skc_num;
		};
	};
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned long skc_flags;
	int skc_bound_dev_if;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
};

typedef struct {
	unsigned int val;
} kuid_t;

typedef struct {
	int owned; /* by a process, in a call */
} socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	int sk_rx_dst_ifindex;
	struct socket_wq *sk_wq;
	int sk_err;
	struct socket *sk_socket;
	int sk_write_pending;
	struct {
		atomic_t rmem_alloc; /* what lies unread, with its overhead */
	} sk_backlog;
	refcount_t sk_wmem_alloc; /* what is not sent yet, likewise, and one */
	int sk_wmem_queued;
	kuid_t sk_uid;
	__u16 sk_protocol;
	struct dst_entry *sk_dst_cache;
	int sk_sndbuf;
	int sk_rcvlowat; /* SO_RCVLOWAT: what has to lie unread before a reader is woken */
	__u8 sk_shutdown;
	unsigned long sk_lingertime; /* jiffies */
	unsigned long sk_pacing_rate; /* bytes a second; at most the one below, if nothing else */
	unsigned long sk_max_pacing_rate; /* SO_MAX_PACING_RATE; all ones: none */
};

struct inet_sock {
	__be16 inet_sport; /* kept when a closing socket gives its port back, unlike skc_num */
	int rx_dst_ifindex; /* until 5.15: then struct sock has it */
	struct ip_mc_socklist *mc_list; /* the multicast groups that it has joined */
};

struct inet_connection_sock {
	__u8 icsk_retransmits;
	const void *icsk_ulp_ops; /* what runs on top, as kernel TLS does */
	__u8 icsk_probes_out; /* into a closed window or a host that drops, or keepalives */
	struct {
		__u32 lrcvtime; /* jiffies: the last segment with data */
	} icsk_ack;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 snd_wnd;
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 notsent_lowat; /* TCP_NOTSENT_LOWAT; 0: that of the namespace */
	__u32 write_seq;
	__u64 bytes_acked; /* with a SYN of this side */
	__u64 bytes_sent; /* 4.19; without the SYN, and with what was sent again */
	__u64 bytes_retrans;
	__u32 data_segs_out;
	__u32 segs_out; /* with the SYN */
	__u32 total_retrans; /* segments to be sent again, with those that could not leave */
	__u32 dsack_dups; /* segments that the receiver reports to have got twice */
	__u32 packets_out; /* sent and not acknowledged */
	bool is_mptcp; /* 5.6, with CONFIG_MPTCP */
	__u64 bytes_received;
	__u32 lsndtime; /* jiffies: the last data sent */
	__u32 rcv_tstamp; /* jiffies: the last ACK received */
	__u32 copied_seq;
	__u32 rcv_nxt;
	__u32 chrono_start;
	__u32 chrono_stat[3];
	__u8 chrono_type : 2; /* a bit-field until 6.7 or so: read as one */
	struct rb_root out_of_order_queue;
};

struct tcp_skb_cb {
	union {
		struct {
			__u16 tcp_gso_segs;
		};
	};
};

struct sk_buff {
	char cb[48];
	unsigned int len;
};

struct ip_mc_socklist;
struct pipe_inode_info;
struct request_sock;
struct msghdr;

/* Has `err` from 6.17 on, when the tracepoint began to fire on failure too (see retransmit()). */
struct trace_event_raw_tcp_retransmit_skb {
	int err;
};

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
};

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

#endif
