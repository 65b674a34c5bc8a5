/* SPDX-License-Identifier: MIT */
/*
 * connects SECONDS: TCP connections over loopback, one after the other, each with one exchange of
 * 64 bytes, in batches of 20,000 until the time is over.  The addresses are many, so that ports
 * in TIME_WAIT are never short.
 */
#include "timing.h"

#define HOSTS 199
#define BATCH 20000

static void serve(int listener)
{
	char data[PAYLOAD];

	for (;;) {
		int fd = accept(listener, 0, 0);

		check(fd >= 0, "accept");
		if (recv(fd, data, PAYLOAD, MSG_WAITALL) == PAYLOAD)
			check(send(fd, data, PAYLOAD, 0) == PAYLOAD, "send");
		close(fd);
	}
}

int main(int argc, char **argv)
{
	uint64_t limit_ns = (argc > 1 ? atof(argv[1]) : 1) * 1e9, done = 0, begun, before, used;
	struct sockaddr_in any = { .sin_family = AF_INET }, address;
	int listener = bound(SOCK_STREAM, &any);
	char data[PAYLOAD] = {};
	pid_t server;

	check(!listen(listener, 128), "listen");
	server = child();
	if (!server)
		serve(listener);
	used = cpu_ns(0) + cpu_ns(server);
	begun = now_ns();
	while (done % BATCH || !done || now_ns() - begun < limit_ns) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		address = loopback(1 + done % HOSTS, any.sin_port);
		before = now_ns();
		check(!connect(fd, (void *)&address, sizeof(address)), "connect");
		check(send(fd, data, PAYLOAD, 0) == PAYLOAD, "send");
		check(recv(fd, data, PAYLOAD, MSG_WAITALL) == PAYLOAD, "recv");
		note(now_ns() - before);
		close(fd);
		done++;
	}
	report(done, 4 * done, now_ns() - begun, cpu_ns(0) + cpu_ns(server) - used);
	return 0;
}
