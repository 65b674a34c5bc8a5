/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the kernel records about a TCP socket: its queues, its window, what holds data back. */
#ifndef TCP_SOCK_BPF_H
#define TCP_SOCK_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "core_read.bpf.h"
#include "settings.bpf.h"

#define CHRONO_RWND_LIMITED 2 /* enum tcp_chrono; chrono_stat[] begins at its first real value */

static __always_inline __u32 jiffies32(void)
{
	return bpf_jiffies64();
}

static __always_inline bool is_tcp(struct sock *sk)
{
	return FIELD(sk, sk_protocol) == IPPROTO_TCP; /* a MPTCP socket is no tcp_sock */
}

/* One path of a Multipath TCP socket: no process has it by itself. */
static __always_inline bool is_subflow(struct tcp_sock *tp)
{
	return bpf_core_field_exists(tp->is_mptcp) && BPF_CORE_READ(tp, is_mptcp);
}

/* As tcp_stream_memory_free(): with `half`, of the limit.  By default there is none. */
static __always_inline bool exceeds_unsent(struct sock *sk, bool half)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u32 most, unsent;

	if (!is_tcp(sk))
		return false;
	most = BPF_CORE_READ(tp, notsent_lowat);
	if (!most)
		most = BPF_CORE_READ(sk, __sk_common.skc_net.net, ipv4.sysctl_tcp_notsent_lowat);
	if (most == ~0U)
		return false;
	unsent = BPF_CORE_READ(tp, write_seq) - BPF_CORE_READ(tp, snd_nxt);
	return unsent << half >= most;
}

static __always_inline bool buffer_is_full(struct sock *sk)
{
	return FIELD(sk, sk_wmem_queued) >= FIELD(sk, sk_sndbuf);
}

/* The next send waits, or is refused. */
static __always_inline bool sock_is_full(struct sock *sk)
{
	return buffer_is_full(sk) || exceeds_unsent(sk, false);
}

/* As sk_stream_is_writeable() of include/net/sock.h. */
static __always_inline bool sock_is_writable(struct sock *sk)
{
	int queued = FIELD(sk, sk_wmem_queued);

	return FIELD(sk, sk_sndbuf) - queued >= queued >> 1 && !exceeds_unsent(sk, true);
}

/* Jiffies that the peer's window limited the sender. */
static __always_inline __u32 rwnd_limited(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u32 limited;

	if (!is_tcp(sk))
		return 0;
	limited = BPF_CORE_READ(tp, chrono_stat[CHRONO_RWND_LIMITED - 1]);
	if (BPF_CORE_READ_BITFIELD_PROBED(tp, chrono_type) == CHRONO_RWND_LIMITED)
		limited += jiffies32() - BPF_CORE_READ(tp, chrono_start);
	return limited;
}

/* Arrival of the last data, to a jiffy; UDP does not record it. */
static __always_inline __u64 arrival_ns(struct sock *sk, __u64 now)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;

	if (!is_tcp(sk))
		return now;
	return now -
	       (__u64)(jiffies32() - BPF_CORE_READ(icsk, icsk_ack.lrcvtime)) * settings.tick_ns;
}

/* The sequence number of the next byte from the peer; 0 where the socket is not TCP's. */
static __always_inline __u32 next_to_come(struct sock *sk)
{
	return is_tcp(sk) ? BPF_CORE_READ((struct tcp_sock *)sk, rcv_nxt) : 0;
}

/* What has come and lies in the queue; a FIN counts as one. */
static __always_inline __u32 unread_bytes(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return is_tcp(sk) ? BPF_CORE_READ(tp, rcv_nxt) - BPF_CORE_READ(tp, copied_seq) : 0;
}

/* The peer has not got all that was sent before the last `count` bytes. */
static __always_inline bool undelivered(struct sock *sk, __u32 count)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u32 before;

	if (!is_tcp(sk))
		return false;
	before = BPF_CORE_READ(tp, write_seq) - count;
	return (__s32)(BPF_CORE_READ(tp, snd_una) - before) < 0;
}

/* Segments that the receiver reports to have got twice: DSACK blocks, RFC 2883. */
static __always_inline __u32 dsack_dups(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return is_tcp(sk) ? BPF_CORE_READ(tp, dsack_dups) : 0;
}

static __always_inline bool window_closed(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return is_tcp(sk) && !BPF_CORE_READ(tp, snd_wnd);
}

/* A window full of what is not acknowledged may be a line that is cut. */
static __always_inline bool window_limits(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return window_closed(sk) ||
	       (is_tcp(sk) && !BPF_CORE_READ(tp, packets_out) &&
		BPF_CORE_READ_BITFIELD_PROBED(tp, chrono_type) == CHRONO_RWND_LIMITED);
}

/* What this end itself does to keep data from leaving. */
static __always_inline __u32 held_back(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	unsigned long most = BPF_CORE_READ(sk, sk_max_pacing_rate);
	__u32 seen = 0;

	if (!is_tcp(sk))
		return 0;
	if (most != ~0UL && BPF_CORE_READ(sk, sk_pacing_rate) >= most)
		seen |= SEEN_PACED;
	if (BPF_CORE_READ(tp, packets_out) || !BPF_CORE_READ(tp, snd_wnd) ||
	    BPF_CORE_READ(tp, write_seq) == BPF_CORE_READ(tp, snd_una))
		return seen;
	return seen | SEEN_UNSENT |
	       (BPF_CORE_READ(tp, inet_conn.icsk_probes_out) ? SEEN_UNSENDABLE : 0);
}

#endif
