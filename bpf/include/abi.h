/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Layouts shared by kernel and user space.  xctl_probe/ebpf/abi.py decodes them, and
 * tests/unit/ebpf/test_abi.py compares the two.
 */
#ifndef ABI_H
#define ABI_H

#include <linux/types.h>

#define COMM_LEN 16
#define ADDRESS_LEN 16

enum record_kind {
	RECORD_RECEIVED = 1, /* when data came last, to a process in asked_processes */
	RECORD_RETRANSMIT, /* occurrences: segments sent again */
	RECORD_REFUSED,
	RECORD_TIMEOUT,
	RECORD_RESET,
	RECORD_STALL, /* it has ended after span_ns */
	RECORD_ONGOING, /* it lasts since span_ns */
	RECORD_PROHIBITED,
	RECORD_NO_PORT,
	RECORD_ABORTED,
	RECORD_CLOSING, /* a close begins to wait for at most span_ns: SO_LINGER */
	RECORD_CLOSED, /* all that it waited for is acknowledged, or lost */
};

enum stall_direction {
	STALL_SEND = 1,
	STALL_RECEIVE,
	STALL_CONNECT,
};

/* What was seen around a stall; user space decides by it whether it is one, and why. */
enum evidence {
	SEEN_BLOCKED = 1, /* a thread blocked in a receive on this socket */
	SEEN_POLLING = 2, /* a thread in poll or select with this socket */
	SEEN_OPENED = 4, /* this side opened the connection */
	SEEN_RETRANSMIT = 8, /* segments were lost: sent again to the end, or still being */
	SEEN_PEER_WINDOW = 16, /* the peer's window limited the sender, most of the time */
	SEEN_HOLE = 32, /* data is here that comes after data that is not */
	SEEN_FLOW = 64, /* a sustained flow came before */
	SEEN_DATA = 128, /* it ended with data, not with the connection */
	SEEN_SUPERSEDED = 256, /* it ended as the process sent on: another wait begins */
	SEEN_PACED = 512, /* the sender's own limit (SO_MAX_PACING_RATE) is its rate */
	SEEN_UNSENT = 1024, /* data waits, none is on its way, and the window is open */
	SEEN_UNSENDABLE = 2048, /* and the kernel tries in vain to send it */
	SEEN_ALONE = 4096, /* the thread that polls waits for this socket alone, with a timeout */
	SEEN_KEEPALIVE = 8192, /* only keepalives are on their way, and none is answered */
	SEEN_SYMMETRIC = 16384, /* the peer is an equal: see silences.bpf.h */
	SEEN_SPINNING = 32768, /* receives that find nothing, again and again: see spins.bpf.h */
	SEEN_ANNOUNCED = 65536, /* an equal announced itself, and was always answered soon */
	SEEN_UPLOAD = 131072, /* sent in slow pieces, beside which no thread was in a receive */
};

/* A raw event of one socket, from an iterator or through the ring buffer. */
struct event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 span_ns;
	__u64 start_ticks; /* of the owner, as field 22 of /proc/pid/stat */
	__u64 cgroup;
	__u64 inode;
	__u64 cookie;
	__u32 kind;
	__u32 occurrences; /* of RECORD_ONGOING: keepalives that go unanswered now */
	__u32 pid; /* as the probe's namespace numbers it; 0: unknown */
	__u32 tid;
	__u32 uid;
	__u32 netns; /* inode */
	__u32 ifindex; /* 0: unknown */
	__u32 direction;
	__u32 evidence;
	__u32 answered; /* request/reply history of the connection: see request_history.py */
	__u32 unanswered;
	__u16 family;
	__u16 protocol;
	__u16 local_port; /* host order */
	__u16 remote_port;
	__u8 local_address[ADDRESS_LEN]; /* network order; IPv4 in the first four bytes */
	__u8 remote_address[ADDRESS_LEN];
	char comm[COMM_LEN];
	__u32 duplicates; /* segments that the receiver reports to have got twice (DSACK) */
};

/* All bytes are added up by process and interface. */
struct process_key {
	__u64 start_boottime_ns;
	__u32 tgid; /* as the first namespace numbers it */
	__u32 ifindex;
	__u32 netns;
	__u32 reserved;
};

/* A total decreases by bytes that were reported twice: see reconcile_double_count() in
 * traffic.bpf.h. */
struct process_traffic {
	__s64 sent_bytes;
	__s64 received_bytes;
	__u64 start_ticks;
	__u32 pid;
	__u32 reserved;
	char comm[COMM_LEN];
};

/* Whom a program talks to: sockets of one user that its processes of one name have opened. */
struct peer {
	__u8 address[ADDRESS_LEN];
	char comm[COMM_LEN];
	__u32 netns;
	__u16 port;
	__u16 family;
} __attribute__((aligned(8))); /* read as words: see peer_hash() */

/*
 * Key of the request/reply history with a peer: one of a few places of its user, so that no user
 * can evict the histories of another.
 */
struct endpoint_key {
	__u32 uid;
	__u32 place;
};

#define ENDPOINT_PLACES 1024 /* of each user; a power of two */
#define ENDPOINT_TRIES 4 /* of them that one peer may have */
#define ENDPOINT_SHIFT 7 /* bits of a peer's hash, from one to the next */
#define PEER_HASH_FACTOR 0x9E3779B97F4A7C15ULL /* 2^64 divided by the golden ratio */

/* Request/reply history of all connections that a program has opened to one peer. */
struct endpoint {
	struct peer peer; /* another one may have the same place */
	__u32 answered;
	__u32 unanswered;
};

/* One call, as --trace streams it. */
struct call {
	__u64 time_ns; /* CLOCK_MONOTONIC, at its return */
	__u64 cookie;
	__u32 pid; /* as the probe's namespace numbers it; 0: unknown */
	__u32 tid;
	__s32 result; /* bytes, or -errno */
	__u32 flags; /* of a receive: MSG_PEEK and the like */
	__u32 netns;
	__u8 is_receive;
	__u8 reserved;
	__u16 family;
	__u16 protocol;
	__u16 local_port; /* host order */
	__u16 remote_port;
	__u16 reserved2;
	__u8 local_address[ADDRESS_LEN];
	__u8 remote_address[ADDRESS_LEN];
	char comm[COMM_LEN];
};

#define PROFILED_NUMBERS 1024 /* of system calls; the last one stands for all above it */
#define LATENCY_BUCKETS 32
#define FIRST_BUCKET_SHIFT 8 /* the first bucket is below 2^8 ns, each next twice as wide */

/* What user space knows of a system call. */
enum call_flag {
	CALL_HAS_FD = 1, /* its first argument is a descriptor */
	CALL_RETURNS_BYTES = 2,
	CALL_LEAVES = 4, /* it does not return: counted at the entry */
};

enum descriptor_kind {
	DESCRIPTOR_NONE, /* a file, or no descriptor */
	DESCRIPTOR_INTERNET, /* a socket of IPv4 or IPv6 */
	DESCRIPTOR_LOCAL, /* another socket, or a pipe */
};

/* Of `profile`: set by user space before the program is loaded. */
struct profile_settings {
	__u32 pid; /* as the probe's namespace numbers it */
	__u32 with_children;
	__u8 flags[PROFILED_NUMBERS]; /* enum call_flag, by number */
};

struct call_key {
	__u32 number;
	__u32 kind; /* enum descriptor_kind */
};

/* The calls of one kind that have returned. */
struct call_stats {
	__u64 count;
	__u64 failures;
	__u64 total_ns;
	__u64 sleeps; /* calls in which the thread gave up its CPU to wait */
	__u64 sleep_ns; /* in those calls */
	__u64 bytes;
	__u64 buckets[LATENCY_BUCKETS];
};

struct failure_key {
	__u32 number;
	__u32 error; /* errno */
};

struct call_in_flight {
	__u64 begin_ns; /* CLOCK_MONOTONIC */
	__u64 nvcsw;
	__u32 number;
	__u32 kind;
};

/* Places that can lose something; each has a counter on each CPU. */
enum lost_where {
	LOST_RING, /* no room in the ring buffer */
	LOST_SOCKET, /* no memory for a socket's storage, or the hash is full */
	LOST_PROCESS, /* the map of processes is full */
	LOST_ENDPOINT, /* the map of endpoints refused an entry */
	LOST_CALL, /* no room for a call in flight: what it sent is not counted */
	LOST_RETURN, /* a call's return was missed: what it sent is not counted */
	LOST_PLACES,
};

/* Set by user space before the program is loaded. */
struct settings {
	__u64 stall_ns;
	__u64 tick_ns; /* length of a jiffy */
	__u32 pid_namespace; /* inode */
	__u32 sees_full_buffer; /* a send that finds a full buffer is hooked */
	__u64 kernel_stack_bytes; /* of a thread */
};

#endif
