// SPDX-License-Identifier: Apache-2.0
/*
 * smp.c - what several CPUs may see of each other, as a guest program
 *
 * usage: smp ROUNDS. One line per test, "ok NAME" or "bad NAME: COUNT"; status 1 if any is bad.
 * Threads are pinned: thread n to CPU n modulo their number.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS 8

static uint32_t rounds;
static unsigned nr_cpus;
static _Atomic unsigned long bad;
static volatile bool stop;
static bool failed;

static void check(bool ok)
{
	bad += !ok;
}

/* -- locked operations: aligned, across a page boundary, 16 bytes --------------------- */

static volatile uint64_t counter;
static uint64_t *crossing; /* 3 bytes in one page, 5 in the next */
static struct {
	uint64_t lo, hi;
} wide __attribute__((aligned(16)));

static void add_wide(void)
{
	uint64_t lo = wide.lo, hi = wide.hi;
	bool done;

	do {
		__asm__ volatile("lock cmpxchg16b %1"
				 : "=@ccz"(done), "+m"(wide), "+a"(lo), "+d"(hi)
				 : "b"(lo + 1), "c"(hi + 1));
	} while (!done);
}

static void add(unsigned cpu)
{
	(void)cpu;
	for (uint32_t k = 0; k < rounds; k++) {
		__asm__ volatile("lock incq %0" : "+m"(counter));
		__asm__ volatile("lock incq %0" : "+m"(*crossing));
		add_wide();
	}
}

static void check_sums(unsigned threads)
{
	uint64_t want = (uint64_t)rounds * threads;

	check(counter == want);
	check(*crossing == want);
	check(wide.lo == want && wide.hi == want);
}

/* -- memory ordering [SDM 3A 9.2] ------------------------------------------------------ */

static struct {
	volatile uint64_t x __attribute__((aligned(64)));
	volatile uint64_t y __attribute__((aligned(64)));
} msg;

/* Stores are seen in order: who sees y sees the x before it. */
static void message(unsigned cpu)
{
	if (cpu == 0) {
		for (uint64_t k = 1; k <= 20ull * rounds; k++) {
			msg.x = k;
			msg.y = k;
		}
		stop = true;
		return;
	}
	while (!stop) {
		uint64_t y = msg.y;

		check(msg.x >= y);
	}
}

static volatile uint32_t turn[2], seen[2], store[2] __attribute__((aligned(64)));

/* With MFENCE between, two CPUs that store and then load cannot both miss the other's store. */
static void dekker(unsigned cpu)
{
	for (uint32_t k = 1; k <= rounds; k++) {
		store[cpu] = k;
		__asm__ volatile("mfence" ::: "memory");
		seen[cpu] = store[!cpu];
		turn[cpu] = k;
		while (turn[!cpu] < k)
			__asm__ volatile("pause");
		if (cpu == 0)
			check(seen[0] >= k || seen[1] >= k);
		turn[cpu] = k; /* both looked: next round only then */
		__asm__ volatile("lock incq %0" : "+m"(counter));
		while (counter < 2ull * k)
			__asm__ volatile("pause");
	}
}

/* -- code written by another CPU [SDM 3A 9.1.3] ------------------------------------------ */

static uint8_t *code;
static volatile uint32_t published, taken;

static void write_code(void)
{
	for (uint32_t k = 1; k <= rounds / 10; k++) {
		*(volatile uint32_t *)(code + 1) = k; /* mov eax, k */
		published = k;
		while (taken != k)
			__asm__ volatile("pause");
	}
}

static void call_code(void)
{
	uint32_t (*fn)(void) = (void *)code;

	for (uint32_t k = 1; k <= rounds / 10; k++) {
		uint32_t leaf = 0;

		while (published != k)
			__asm__ volatile("pause");
		__asm__ volatile("cpuid" : "+a"(leaf) : : "rbx", "rcx", "rdx", "memory");
		check(fn() == k);
		taken = k;
	}
}

static void modify_code(unsigned cpu)
{
	if (cpu == 0)
		write_code();
	else
		call_code();
}

/* -- page tables ------------------------------------------------------------------------- */

static uint64_t *volatile page;

/* CPU 0 replaces a page; after mmap() returned nobody reads the old one any more. */
static void replace_page(unsigned cpu)
{
	if (cpu) {
		while (!stop) {
			uint64_t p = published;

			check(*(volatile uint64_t *)page >= p);
		}
		return;
	}
	for (uint32_t k = 1; k <= rounds / 50; k++) {
		uint64_t *fresh = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		*fresh = k;
		check(mremap(fresh, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, page) == page);
		published = k;
	}
	stop = true;
}

/* -- time --------------------------------------------------------------------------------- */

static _Atomic uint64_t latest;

/* The clock does not go back, whoever reads it. */
static void read_clock(unsigned cpu)
{
	(void)cpu;
	for (uint32_t k = 0; k < rounds; k++) {
		uint64_t before = latest, now;
		struct timespec t;

		clock_gettime(CLOCK_MONOTONIC, &t);
		now = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
		check(now >= before);
		while (before < now && !__atomic_compare_exchange_n(&latest, &before, now, false,
								   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
	}
}

/* -- sleeping and waking -------------------------------------------------------------------- */

static int pipes[2][2];

static void ping(unsigned cpu)
{
	char c = 0;

	for (uint32_t k = 0; k < rounds / 20; k++) {
		if (cpu == 0)
			check(write(pipes[0][1], &c, 1) == 1 && read(pipes[1][0], &c, 1) == 1);
		else
			check(read(pipes[0][0], &c, 1) == 1 && write(pipes[1][1], &c, 1) == 1);
	}
}

/* -- driver ----------------------------------------------------------------------------------- */

static void (*job)(unsigned cpu);

static void *thread(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % nr_cpus, &set);
	sched_setaffinity(0, sizeof set, &set);
	job(cpu);
	return NULL;
}

static void run(const char *name, void (*fn)(unsigned), unsigned threads, void (*after)(unsigned))
{
	pthread_t t[MAX_THREADS];

	bad = 0;
	stop = false;
	counter = published = taken = 0;
	job = fn;
	for (unsigned k = 0; k < threads; k++)
		pthread_create(&t[k], NULL, thread, (void *)(uintptr_t)k);
	for (unsigned k = 0; k < threads; k++)
		pthread_join(t[k], NULL);
	if (after)
		after(threads);
	if (bad)
		printf("bad %s: %lu\n", name, bad);
	else
		printf("ok %s\n", name);
	failed |= bad;
}

int main(int argc, char **argv)
{
	unsigned all;
	uint8_t *two;

	rounds = argc > 1 ? (uint32_t)atoi(argv[1]) : 10000;
	nr_cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	all = nr_cpus < 2 ? 2 : nr_cpus > MAX_THREADS ? MAX_THREADS : nr_cpus;
	two = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	crossing = (void *)(two + 4093);
	code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(code, "\xb8\0\0\0\0\xc3", 6);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pipe(pipes[0]) || pipe(pipes[1]))
		return 2;
	run("locked operations", add, all, check_sums);
	run("stores stay in order", message, 2, NULL);
	run("a fence orders a store and a load", dekker, 2, NULL);
	run("code written by another CPU", modify_code, 2, NULL);
	run("a replaced page", replace_page, all, NULL);
	run("one time", read_clock, all, NULL);
	run("sleep and wake", ping, 2, NULL);
	return failed;
}
