/* SPDX-License-Identifier: MIT */
/*
 * pingpong SECONDS [CALLS_PER_SECOND]: 64-byte requests and replies on one TCP connection over
 * loopback, client and server on one core, so that neither waits for the other to wake up
 * elsewhere.  Four calls a round.
 */
#include "timing.h"

static void get(int fd, char *data)
{
	check(recv(fd, data, PAYLOAD, MSG_WAITALL) == PAYLOAD, "recv");
}

static void put(int fd, char *data)
{
	check(send(fd, data, PAYLOAD, 0) == PAYLOAD, "send");
}

static void serve(int listener)
{
	char data[PAYLOAD];
	int fd = accept(listener, 0, 0), on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	while (recv(fd, data, PAYLOAD, MSG_WAITALL) == PAYLOAD)
		put(fd, data);
	_exit(0);
}

static void sleep_until(uint64_t at_ns)
{
	struct timespec at = { at_ns / 1000000000, at_ns % 1000000000 };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, 0);
}

int main(int argc, char **argv)
{
	uint64_t limit_ns = (argc > 1 ? atof(argv[1]) : 1) * 1e9;
	double calls_per_s = argc > 2 ? atof(argv[2]) : 0;
	uint64_t rounds = 0, begun, before, now, used;
	struct sockaddr_in address = loopback(1, 0);
	int listener, fd, on = 1;
	pid_t server;
	char data[PAYLOAD] = {};

	pin(0);
	listener = bound(SOCK_STREAM, &address);
	check(!listen(listener, 1), "listen");
	server = child();
	if (!server)
		serve(listener);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	check(!connect(fd, (void *)&address, sizeof(address)), "connect");
	used = cpu_ns(0) + cpu_ns(server);
	begun = now = now_ns();
	while (now - begun < limit_ns) {
		if (calls_per_s)
			sleep_until(begun + rounds * 4e9 / calls_per_s);
		before = now_ns();
		put(fd, data);
		get(fd, data);
		now = now_ns();
		note(now - before);
		rounds++;
	}
	report(rounds, 4 * rounds, now - begun, cpu_ns(0) + cpu_ns(server) - used);
	return 0;
}
