/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Session tickets of TLS 1.3, which are no reply; and the end of its handshake, which is no
 * request.
 *
 * A server sends them unasked when the handshake is over, often after the client's first request.
 * They are encrypted like all else, but a library that reads record by record shows their size:
 * OpenSSL, GnuTLS, NSS and Java's sockets read a head of 5 bytes, then the body.  The second record
 * of a server has 1 byte (change_cipher_spec: RFC 8446, D.4).  Two tickets are of equal size, and
 * follow each other; after a single one, a thread goes on to wait.  The wait that they seemed to
 * end goes on, too.
 */
#ifndef TLS_TICKETS_BPF_H
#define TLS_TICKETS_BPF_H

#include "vmlinux_min.h"
#include "abi.h"
#include "maps.bpf.h"
#include "settings.bpf.h"

#define TLS_HEAD_BYTES 5
#define LEAST_TICKET_BYTES 58 /* with a ticket of 32 bytes: a key of the server's cache */
#define MOST_TLS_READS 64 /* of the handshake and the tickets */

enum tls_phase {
	TLS_NOTHING_READ,
	TLS_FIRST_RECORD,
	TLS_SECOND_HEAD,
	TLS_SECOND_RECORD,
	TLS_HEAD, /* of the next record, or more of the last one */
	TLS_RECORD,
	TLS_OVER, /* or none, or not read so */
};

/*
 * The first send after a record that follows the server's second one is this side's part of the
 * handshake, which asks for nothing.  After the second alone it is another hello.
 */
static __always_inline bool is_tls_finished(struct sock_state *state)
{
	struct tls_reads *tls = &state->tls;

	if (tls->finished || !(tls->record | tls->last_record) ||
	    (tls->phase != TLS_HEAD && tls->phase != TLS_RECORD))
		return false;
	tls->finished = 1;
	return true;
}

static __always_inline void tls_head_read(struct tls_reads *tls)
{
	tls->last_record = tls->record;
	tls->record = 0;
	tls->records_since++;
}

/*
 * Tickets were all that came, up to `last`.  What seemed to be answered is a request if it was sent
 * between two tickets, or after the end of the handshake: then it was the second send in a row.
 */
static __always_inline void tls_tickets_read(struct sock_state *state, __u64 last)
{
	struct tls_reads *tls = &state->tls;

	tls->phase = TLS_OVER;
	if (!tls->request_ns || state->reply_state ||
	    tls->records_since > (tls->sent_again ? 1 : 0))
		return;
	state->reply_state = AWAITING;
	state->answered--;
	/* A wait of a stall length has been reported: it is over. */
	state->request_ns = last - tls->request_ns < settings.stall_ns ? tls->request_ns : last;
}

/*
 * One record has come after the handshake and the first request: a reply, or a ticket, if the
 * server sends one, as those of Go and Java.
 */
static __always_inline bool may_be_ticket(struct sock_state *state)
{
	struct tls_reads *tls = &state->tls;

	return tls->phase == TLS_HEAD && tls->request_ns && tls->sent_again &&
	       !tls->records_since && tls->record >= LEAST_TICKET_BYTES && !state->sent_last;
}

/* `request_ns`: of the request that this read seemed to answer, or 0. */
static __noinline void tls_read(struct sock_state *state, __u64 now, __u32 count, __u64 request_ns)
{
	struct tls_reads *tls = &state->tls;
	bool head = count == TLS_HEAD_BYTES, begins = head && tls->phase == TLS_HEAD;

	if (++tls->reads > MOST_TLS_READS) {
		tls->phase = TLS_OVER;
		return;
	}
	switch (tls->phase) {
	case TLS_NOTHING_READ:
		tls->phase = head && state->opened && request_ns ? TLS_FIRST_RECORD : TLS_OVER;
		return;
	case TLS_FIRST_RECORD:
		tls->phase = TLS_SECOND_HEAD;
		return;
	case TLS_SECOND_HEAD:
		tls->phase = head ? TLS_SECOND_RECORD : TLS_OVER;
		return;
	case TLS_SECOND_RECORD:
		tls->phase = count == 1 ? TLS_HEAD : TLS_OVER;
		return;
	}
	if (begins)
		tls_head_read(tls);
	else
		tls->record += count;
	tls->phase = begins ? TLS_RECORD : TLS_HEAD;
	if (request_ns) {
		tls->request_ns = request_ns;
		tls->records_since = 0;
		tls->sent_again = state->sent_again;
	}
	if (tls->record == tls->last_record && tls->record >= LEAST_TICKET_BYTES)
		tls_tickets_read(state, now);
}

#endif
