/* SPDX-License-Identifier: MIT */
/*
 * datagrams SECONDS: 64-byte datagrams over loopback, sent and received in turn by one process
 * on one core.  Nothing sleeps, so what a call costs more shows whole.
 * The sender is connected, the receiver is not.
 */
#include "timing.h"

int main(int argc, char **argv)
{
	uint64_t limit_ns = (argc > 1 ? atof(argv[1]) : 1) * 1e9, pairs = 0, begun, before, now, used;
	struct sockaddr_in address = loopback(1, 0);
	int receiver, sender;
	char data[PAYLOAD] = {};

	pin(0);
	receiver = bound(SOCK_DGRAM, &address);
	sender = socket(AF_INET, SOCK_DGRAM, 0);
	check(!connect(sender, (void *)&address, sizeof(address)), "connect");
	used = cpu_ns(0);
	begun = now = now_ns();
	while (now - begun < limit_ns) {
		before = now;
		check(send(sender, data, PAYLOAD, 0) == PAYLOAD, "send");
		check(recv(receiver, data, PAYLOAD, 0) == PAYLOAD, "recv");
		now = now_ns();
		note(now - before);
		pairs++;
	}
	report(pairs, 2 * pairs, now - begun, cpu_ns(0) - used);
	return 0;
}
