/* SPDX-License-Identifier: MIT */
/* refused SECONDS: TCP connects over loopback, one after the other, to a port that is closed. */
#include "timing.h"

int main(int argc, char **argv)
{
	uint64_t limit_ns = (argc > 1 ? atof(argv[1]) : 1) * 1e9, done = 0, begun, before, used;
	struct sockaddr_in address = {}, closed;

	close(bound(SOCK_STREAM, &address)); /* the port was free, and nothing listens there */
	closed = loopback(1, address.sin_port);
	used = cpu_ns(0);
	begun = now_ns();
	while (now_ns() - begun < limit_ns) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		before = now_ns();
		check(connect(fd, (void *)&closed, sizeof(closed)) < 0, "refused");
		note(now_ns() - before);
		close(fd);
		done++;
	}
	report(done, done, now_ns() - begun, cpu_ns(0) - used);
	return 0;
}
