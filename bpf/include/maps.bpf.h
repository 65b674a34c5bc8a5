/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
#ifndef MAPS_BPF_H
#define MAPS_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "task.bpf.h"

enum reply_state {
	AWAITING_NOTHING,
	AWAITING, /* sent, and not received since */
	REPLY_QUEUED, /* and the answer to what was sent before lies unread */
};

#ifdef SOCKETS_IN_HASH
/* Counted sequence numbers of both directions of a TCP socket: see tcp_seq.bpf.h. */
struct progress {
	__u32 write_seq;
	__u32 copied_seq;
	__u8 counts; /* it is a stream of its own, and no part of a Multipath TCP socket */
	__u8 initialized; /* the numbers are known: not before it connects */
	__u8 fin_seen; /* one of the two may have sent a FIN */
};
#endif

#ifndef COUNTS_BY_SEQUENCE
/* One direction of a TCP socket, as counted by samples: see in_call.bpf.h. */
struct way {
	__u32 until; /* sequence number */
	__s32 ahead; /* bytes of a call that has not returned */
	__u32 initialized; /* since the last return */
};
#endif

/* Silences of one kind, and the longest of them of late. */
struct silences {
	__u16 count;
	__u16 longest_ticks;
};

/* The first records that a client reads: see tls_tickets.bpf.h. */
struct tls_reads {
	__u64 request_ns; /* of the last request that one seemed to answer */
	__u32 record; /* bytes of the last one, without its head */
	__u32 last_record; /* of the one before */
	__u8 phase; /* enum tls_phase */
	__u8 reads;
	__u8 records_since; /* after that request */
	__u8 sent_again; /* as of then */
	__u8 finished; /* this side's part of the handshake was sent */
};

/*
 * State of a socket.  Times are coarse_ns() unless noted, 0: never.
 * The three counts are what user space has not read yet.  A reader subtracts what it took, so
 * that what is added meanwhile stays; 5.10 has no atomic exchange.
 */
struct sock_state {
	__u64 unread_sent;
	__u64 unread_received;
	__u64 unread_retransmits;
	__u64 inode;
	struct owner owner;
#ifdef SOCKETS_IN_HASH
	struct progress progress;
#endif
#ifdef SOCKETS_BY_FILE
	__u64 session; /* of the iterator that visited it last: several files may be one socket */
#endif
	__u64 last_send_ns; /* from here on of this connection: see forget_connection() */
	__u64 request_ns; /* what was sent since has had no answer: see sock_on_send() */
	__u64 last_receive_ns;
	__u64 reply_seen_ns; /* an iterator saw a reply unread that came then */
	__u64 send_blocked_ns; /* CLOCK_MONOTONIC: a sender found a full buffer, nothing sent since
				*/
	__u64 writable_ns; /* CLOCK_MONOTONIC: room again, but the sender did not use it */
	__u64 connect_ns; /* SYN sent, no answer yet */
	__u64 flow_begin_ns; /* received without a pause since */
	__u64 flow_bytes; /* received since it began */
	__u64 seen_blocked_ns; /* an iterator saw a thread blocked in a receive */
	__u64 hole_ns; /* data is missing since, by the iterator */
	__u64 spin_begin_ns; /* receives find nothing since: see spins.bpf.h */
	__u64 last_spin_ns;
	__u64 last_loss_ns; /* segments were sent again, with the peer's window open */
	__u64 last_control_ns; /* received frames of HTTP/2 that replied nothing */
	struct tls_reads tls;
#ifndef COUNTS_BY_SEQUENCE
	struct way sending;
	struct way receiving;
	__u64 waiting_ns; /* last sample without data since request_ns */
	__u64 read_seen_ns; /* a sample found data that came then read, and no program was run */
#endif
	__u32 rwnd_limited; /* jiffies, as send_blocked_ns began */
	__u32 closing; /* what a close has waited for may still be on its way */
	__u32 answered;
	__u32 unanswered;
	__u32 counted_answers; /* those of `answered` that the endpoint has */
	__u32 counted_unanswered;
	__u32 spins; /* receives that found nothing since spin_begin_ns, saturating */
	__u32 silent_ticks_ours; /* silences that this side has ended: see silences.bpf.h */
	__u32 silent_ticks_peers;
	__u32 silent_ticks_in_a_row; /* those of both that the side ended that had sent last */
	__u32 last_sent_bytes; /* by the last send */
	__u32 received_since; /* that send, bytes */
	__u32 queued_until; /* what had come when a request was sent beside an unread reply */
	__u32 known_attempts; /* one more than the total_retrans that is counted; 0: not known */
	__u32 known_duplicates; /* of dsack_dups: those that user space has, or came before */
	struct silences after_small; /* that began after few bytes of this side, and others */
	struct silences after_other;
	__u8 opened;
	__u8 reply_state; /* enum reply_state */
	__u8 midstream_pause; /* an iterator saw a pause in mid-stream: its evidence */
	__u8 peer_closed; /* the peer, with nothing unread: what was read just before may be untold
			   */
	__u8 closed; /* TCP_CLOSE; what has come may still be read */
	__u8 owed; /* UDP: datagrams sent without a reply, saturating */
	__u8 unasked; /* UDP: more has come than was asked for, so not each comes as an answer */
	__u8 silences_in_a_row; /* that the side ended that had sent last, saturating */
	__u8 sent_last; /* and not received: the times may be of one tick */
	__u8 listened; /* its sends without a reply are no upload: see is_upload() */
	__u8 http2; /* it has acknowledged the settings of the peer */
	__u8 sent_request; /* HTTP/2: the last message was a whole call: see http2_frames.bpf.h */
	__u8 sent_again; /* by the last send: nothing was received since the one before */
	__u8 unsolicited; /* what came last: see silences.bpf.h */
	__u8 awaits_equal; /* an iterator has reported such a wait */
	__u8 small_answered; /* few bytes of this side that the peer answered, less others */
	__u8 large_sent; /* sends of more, saturating */
	__u8 asks; /* few bytes of this side ended a silence, and no data followed */
	__u8 data_asked; /* those that the peer answered with data, saturating */
	__u8 from_before; /* open before the probe, and no iterator has sought its sender yet */
	__u8 waited; /* UDP: how a thread was seen to wait: enum waited of datagrams.bpf.h */
};

#ifndef MAPS_ARE_FUNCTIONS /* see bcc_compat.h */

#ifdef SOCKETS_IN_HASH
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64); /* address of the struct sock */
	__type(value, struct sock_state);
} sockets SEC(".maps");
#else
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sock_state);
} sockets SEC(".maps");
#endif

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct process_key);
	__type(value, struct process_traffic);
} processes SEC(".maps");

/*
 * Those that found no room above, by process alone: one process on very many interfaces must not
 * take the room of all others.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct process_key);
	__type(value, struct process_traffic);
} crowded_processes SEC(".maps");

/* Processes with a wait: user space asks where else data comes to them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, __u32); /* pid, as the probe's namespace numbers it */
	__type(value, __u8);
} asked_processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384); /* all places of 16 users */
	__type(key, struct endpoint_key);
	__type(value, struct endpoint);
} endpoints SEC(".maps");

/* Ports somebody listens on, while open sockets are seeded: {netns, port}. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u8);
} listen_ports SEC(".maps");

/* Sockets whose bytes two have taken, while one gives them back: see reconcile_double_count(). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, __u64); /* address of the struct sock */
	__type(value, __u8);
} reconcile_guard SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* What a new socket begins with. */
static __always_inline const struct sock_state *zero_sock_state(void)
{
	static const struct sock_state empty;

	return &empty;
}

/* What coarse_ns() lags behind CLOCK_MONOTONIC right after a tick: the least that was seen. */
static __always_inline __s64 *tick_origin(void)
{
	static __s64 lag_ns;

	return &lag_ns;
}

#endif

#endif
