// SPDX-License-Identifier: Apache-2.0
/*
 * tsc.c - the host's TSC frequency, which is also the guest's
 *
 * In order of trust: what the hypervisor or the processor states in CPUID,
 * what the kernel measured (perf_event's time_mult/time_shift), a short
 * measurement of our own. [SDM 2A CPUID 15h], [perf_event.h]
 */
#include "cpu/cpu.h"

#include <linux/perf_event.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void native(u32 leaf, u32 r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(0));
}

static u64 rdtsc(void)
{
	u32 lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi));
	return lo | (u64)hi << 32;
}

static u64 khz_from_cpuid(void)
{
	u32 r[4];

	native(1, r);
	if (r[2] >> 31) { /* a hypervisor may have leaf 40000010h */
		native(0x40000000, r);
		if (r[0] >= 0x40000010 && r[0] < 0x40010000) {
			native(0x40000010, r);
			if (r[0])
				return r[0];
		}
	}
	native(0, r);
	if (r[0] < 0x15)
		return 0;
	native(0x15, r);
	return r[0] && r[1] && r[2] ? (u64)r[2] * r[1] / r[0] / 1000 : 0;
}

/* ns = cycles * mult >> shift, as the kernel calibrated it. */
static u64 khz_from_perf(void)
{
	struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(a),
				     .config = PERF_COUNT_SW_DUMMY, .exclude_kernel = 1 };
	int fd = (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	struct perf_event_mmap_page *p;
	u64 khz = 0;

	if (fd < 0)
		return 0;
	p = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED) {
		if (p->cap_user_time && p->time_mult)
			khz = (1000000ull << p->time_shift) / p->time_mult;
		munmap(p, (size_t)sysconf(_SC_PAGESIZE));
	}
	close(fd);
	return khz;
}

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

/* The pair read closest together of several tries. */
static void sample(u64 *ret_ns, u64 *ret_tsc)
{
	u64 best = ~0ull;

	for (unsigned n = 0; n < 16; n++) {
		u64 a = rdtsc(), ns = now_ns(), b = rdtsc();

		if (b - a >= best)
			continue;
		best = b - a;
		*ret_ns = ns;
		*ret_tsc = a + (b - a) / 2;
	}
}

/* Over @ns nanoseconds: of which each end is known to about 20. */
static u64 khz_measured(u64 ns)
{
	struct timespec t = { .tv_nsec = (long)ns };
	u64 ns0, ns1, tsc0, tsc1;

	sample(&ns0, &tsc0);
	nanosleep(&t, NULL);
	sample(&ns1, &tsc1);
	return (tsc1 - tsc0) * 1000000 / (ns1 - ns0);
}

#define MEASURE_NS 5000000 /* good to a few in a million */
#define COMPARE_NS 200000  /* to one in five thousand */

static u64 known; /* said by CPUID or the kernel; 0 = by neither */
static u64 hint;
static u64 khz;

static void look(void)
{
	known = khz_from_cpuid();
	if (!known)
		known = khz_from_perf();
}

static bool agrees(u64 a, u64 b)
{
	return (a > b ? a - b : b - a) <= b / 2000;
}

static void find(void)
{
	cpu_tsc_prepare();
	khz = known;
	if (!khz && hint && agrees(khz_measured(COMPARE_NS), hint))
		khz = hint;
	if (!khz)
		khz = khz_measured(MEASURE_NS);
}

void cpu_tsc_prepare(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, look);
}

void cpu_tsc_hint(u64 likely)
{
	hint = likely;
}

u64 cpu_virtual_random(struct cpu_virtual *v) /* splitmix64 */
{
	u64 z = v->random += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

u64 cpu_tsc_khz(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, find);
	return khz;
}
