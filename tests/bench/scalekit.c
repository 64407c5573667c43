// SPDX-License-Identifier: Apache-2.0
// scalekit.c - work for tests/bench/scale: each prints nanoseconds per unit, whatever the number of units.
//
//   scalekit text BYTES         that much text on standard output
//   scalekit ring PROCESSES HOPS  a byte goes round a ring of processes joined by pipes
//   scalekit code FUNCTIONS     each function, all different, runs once
//   scalekit fork N             fork, exit, wait
//   scalekit touch PAGES        map, touch, unmap
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static double text(long bytes, long unused)
{
	static const char *const words[] = { "the ", "of ", "machine ", "and\n", "virtual ", "a ", "page ", "to ",
					     "kernel ", "in ", "process ", "is ", "memory, ", "that ", "it ", "time.\n" };
	uint64_t x = 88172645463325252ull;

	(void)unused;
	for (long n = 0; n < bytes;) {
		const char *w = words[(x >> 20) % 16];

		x = x * 6364136223846793005ull + 1442695040888963407ull;
		n += printf("%s", w);
		if (x >> 62 == 3)
			n += printf("%llx", (unsigned long long)(x >> 30));
	}
	exit(0);
}

static void pass_on(int from, int to)
{
	char byte;

	while (read(from, &byte, 1) == 1)
		if (write(to, &byte, 1) != 1)
			_exit(1);
	_exit(0);
}

// The parent is one of them; the ring breaks when it closes its end.
static double ring(long processes, long hops)
{
	long rounds = hops / processes;
	int first[2], in, next[2];
	double start;
	char byte = 1;

	if (pipe(first) < 0)
		fail("pipe");
	in = first[0];
	for (long k = 1; k < processes; k++) {
		if (pipe(next) < 0)
			fail("pipe");
		switch (fork()) {
		case -1: fail("fork");
		case 0:
			close(first[1]);
			close(next[0]);
			pass_on(in, next[1]);
		}
		close(in);
		close(next[1]);
		in = next[0];
	}
	for (long k = -1; k < rounds; k++) { // the first round wakes everybody
		if (k == 0)
			start = now_ns();
		if (write(first[1], &byte, 1) != 1 || read(in, &byte, 1) != 1)
			fail("ring");
	}
	return (now_ns() - start) / (double)(rounds * processes);
}

// Function k: mov eax, k; add eax, esi; ror eax, k; ret
static double code(long n, long unused)
{
	uint8_t *p = mmap(NULL, (size_t)n * 64, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	double start;
	uint32_t sum = 0;

	(void)unused;
	if (p == MAP_FAILED)
		fail("mmap");
	for (long k = 0; k < n; k++) {
		uint8_t f[] = { 0xb8, k, k >> 8, k >> 16, 0, 0x01, 0xf0, 0xc1, 0xc8, k & 31, 0xc3 };

		memcpy(p + k * 64, f, sizeof f);
	}
	start = now_ns();
	for (long k = 0; k < n; k++)
		sum += ((uint32_t(*)(long, uint32_t))(uintptr_t)(p + k * 64))(0, sum);
	start = (now_ns() - start) / (double)n;
	fprintf(stderr, "%x\n", sum);
	return start;
}

static double forks(long n, long unused)
{
	double start = now_ns();

	(void)unused;
	for (long k = 0; k < n; k++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			fail("fork");
	}
	return (now_ns() - start) / (double)n;
}

static double touch(long n, long unused)
{
	enum { PAGES = 256 };
	double start = now_ns();

	(void)unused;
	for (long k = 0; k < n / PAGES; k++) {
		uint8_t *p = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			fail("mmap");
		for (long i = 0; i < PAGES; i++)
			p[i * 4096] = 1;
		munmap(p, PAGES * 4096);
	}
	return (now_ns() - start) / (double)(n / PAGES * PAGES);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		double (*fn)(long a, long b);
	} work[] = { { "text", text }, { "ring", ring }, { "code", code }, { "fork", forks }, { "touch", touch } };

	for (size_t k = 0; argc >= 3 && k < sizeof work / sizeof *work; k++)
		if (!strcmp(argv[1], work[k].name)) {
			printf("%.1f\n", work[k].fn(atol(argv[2]), argc > 3 ? atol(argv[3]) : 0));
			return 0;
		}
	return 2;
}
