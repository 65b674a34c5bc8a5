/* SPDX-License-Identifier: MIT */
/* Time, pinning and percentiles for the traffic programs; each prints one line of JSON. */
#ifndef TIMING_H
#define TIMING_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAYLOAD 64
#define SLOTS 100000 /* of a histogram, each 100 ns wide: 10 ms */
#define SLOT_NS 100

static uint64_t now_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000000000ull + at.tv_nsec;
}

static void check(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static __attribute__((unused)) void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	check(!sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

static uint32_t slots[SLOTS];

static void note(uint64_t took_ns)
{
	uint64_t slot = took_ns / SLOT_NS;

	slots[slot < SLOTS ? slot : SLOTS - 1]++;
}

static double percentile_us(uint64_t count, double share)
{
	uint64_t wanted = count * share, seen = 0;

	for (int i = 0; i < SLOTS; i++) {
		seen += slots[i];
		if (seen > wanted)
			return (i + 0.5) * SLOT_NS / 1000;
	}
	return 0;
}

/* CPU that a process has used so far, user and system. */
static uint64_t cpu_ns(pid_t pid)
{
	struct timespec used;
	clockid_t clock;

	check(!clock_getcpuclockid(pid, &clock) && !clock_gettime(clock, &used), "CPU clock");
	return used.tv_sec * 1000000000ull + used.tv_nsec;
}

/* `calls` are sends and receives together, of all processes; so is the CPU that was used. */
static void report(uint64_t operations, uint64_t calls, uint64_t took_ns, uint64_t used_ns)
{
	printf("{\"operations\": %llu, \"calls\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, "
	       "\"p50_us\": %.2f, \"p99_us\": %.2f}\n",
	       (unsigned long long)operations, (unsigned long long)calls, took_ns / 1e9,
	       used_ns / 1e9,
	       percentile_us(operations, 0.50), percentile_us(operations, 0.99));
}

/* A child that exits with its parent; returns 0 in it. */
static __attribute__((unused)) pid_t child(void)
{
	pid_t pid = fork();

	check(pid >= 0, "fork");
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static struct sockaddr_in loopback(uint32_t host, uint16_t port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl((127u << 24) + host),
		.sin_port = port, /* as the kernel gave it: network order */
	};

	return address;
}

/* A socket bound to a free port of `address`, which is completed. */
static int bound(int type, struct sockaddr_in *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(AF_INET, type, 0);

	check(fd >= 0, "socket");
	check(!bind(fd, (void *)address, length), "bind");
	check(!getsockname(fd, (void *)address, &length), "getsockname");
	return fd;
}

#endif
