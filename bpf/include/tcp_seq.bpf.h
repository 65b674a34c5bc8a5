/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Bytes that a process has sent and received on a TCP socket, by the sequence numbers of the
 * socket.  A kretprobe on tcp_sendmsg or tcp_recvmsg would be missed when more threads than
 * `maxactive` sleep in the call; here the next run includes the bytes of a missed one.  Splice,
 * sendfile and zero copy change the same numbers; a peek does not.
 */
#ifndef TCP_SEQ_BPF_H
#define TCP_SEQ_BPF_H

#include "vmlinux_min.h"
#include "maps.bpf.h"
#include "tcp_sock.bpf.h"

/* A FIN occupies one sequence number.  Exclude the received FIN from the byte count once read. */
static __always_inline __u32 readable_seq(struct sock *sk, struct progress *progress)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u32 at = BPF_CORE_READ(tp, copied_seq);

	if (progress->fin_seen && BPF_CORE_READ(sk, __sk_common.skc_flags) & (1 << SOCK_DONE) &&
	    at == BPF_CORE_READ(tp, rcv_nxt))
		at--;
	return at;
}

/* What went before is not ours. */
static __noinline void begin_progress(struct sock *sk, struct progress *progress)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);

	progress->counts = is_tcp(sk) && !is_subflow(tp);
	if (!progress->counts || state == TCP_CLOSE)
		return;
	progress->fin_seen = state > TCP_SYN_RECV;
	progress->copied_seq = readable_seq(sk, progress);
	if (state == TCP_SYN_SENT) /* what follows the SYN, and is not acknowledged yet, is new */
		progress->write_seq = BPF_CORE_READ(tp, snd_una) + 1;
	else
		progress->write_seq = BPF_CORE_READ(tp, write_seq);
	progress->initialized = 1;
}

static __always_inline __u32 advance(__u32 *counted, __u32 now)
{
	__s32 count = now - *counted;

	if (count <= 0)
		return 0;
	*counted = now;
	return count;
}

static __always_inline __u32 take_sent_delta(struct sock *sk, struct progress *progress)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return advance(&progress->write_seq, BPF_CORE_READ(tp, write_seq));
}

static __always_inline __u32 take_received_delta(struct sock *sk, struct progress *progress)
{
	return advance(&progress->copied_seq, readable_seq(sk, progress));
}

/* Called before the state changes. */
static __always_inline void note_state(struct sock *sk, struct progress *progress, int old, int new)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	if (new == TCP_SYN_SENT) {
		progress->initialized = progress->fin_seen = 0;
		return;
	}
	if (old == TCP_SYN_SENT && new == TCP_ESTABLISHED) /* since now it is known */
		progress->copied_seq = BPF_CORE_READ(tp, copied_seq);
	if (new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK)
		progress->write_seq++; /* our FIN, which goes now */
	if (new > TCP_SYN_RECV)
		progress->fin_seen = 1;
}

#endif
