/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* tracepoint.bpf.c for kernels that refuse iterators over maps, as some hardened ones do. */
#define SOCKETS_BY_FILE
#include "tracepoint.bpf.c"
