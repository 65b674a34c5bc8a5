/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* fentry.bpf.c for kernels before 5.11, which give these programs no socket storage. */
#define SOCKETS_IN_HASH
#include "fentry.bpf.c"
