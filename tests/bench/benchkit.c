// SPDX-License-Identifier: Apache-2.0
// benchkit: the small workloads of the bench, one static program for the guests and the host.
// usage: benchkit NAME SIZE       prints "seconds checksum"; the table at the end names them.
// A test returns a checksum that depends on all its work; it is the same on every machine.
#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t rng_state = 88172645463325252ull;

static uint64_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	return rng_state ^= rng_state << 17;
}

static uint64_t mix(uint64_t sum, uint64_t v)
{
	return (sum ^ v) * 0x100000001b3ull + (sum >> 47);
}

static uint64_t bits(double d)
{
	uint64_t u;

	memcpy(&u, &d, sizeof u);
	return u;
}

static void fail(const char *what)
{
	fprintf(stderr, "benchkit: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *pages(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail("mmap");
	return p;
}

// -- computing in registers and branches --

// Collatz lengths and a bitwise CRC: shifts, adds and branches that cannot be predicted.
static uint64_t test_int(long n)
{
	uint64_t sum = 0;

	for (uint64_t i = 1; i <= (uint64_t)n * 10000; i++) {
		uint64_t v = i;
		unsigned len = 0;

		while (v != 1) {
			v = v & 1 ? 3 * v + 1 : v / 2;
			len++;
		}
		sum = mix(sum, len);
	}
	return sum;
}

static __attribute__((noinline, noclone, optimize("no-optimize-sibling-calls"))) uint64_t fib(long n)
{
	return n < 2 ? (uint64_t)n : fib(n - 1) + fib(n - 2);
}

static uint64_t test_fib(long n)
{
	return fib(n);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static uint64_t test_qsort(long n)
{
	size_t len = (size_t)n * 1000;
	uint32_t *v = malloc(len * sizeof *v);
	uint64_t sum = 0;

	for (size_t i = 0; i < len; i++)
		v[i] = (uint32_t)rng();
	qsort(v, len, sizeof *v, compare);
	for (size_t i = 0; i < len; i += 97)
		sum = mix(sum, v[i]);
	free(v);
	return sum;
}

// Open addressing in 8 MB: inserts, then look-ups of which half miss.
static uint64_t test_hash(long n)
{
	enum { SLOTS = 1 << 20 };
	uint64_t *slot = calloc(SLOTS, sizeof *slot), sum = 0;
	size_t at;

	for (size_t i = 0; i < (size_t)n * 1000; i++) {
		uint64_t key = (i % (SLOTS / 2) + 1) * (i & 1 ? 1 : 3);

		for (at = key * 0x9e3779b97f4a7c15ull >> 44; slot[at] && slot[at] != key;)
			at = (at + 1) % SLOTS;
		if (i < SLOTS / 2)
			slot[at] = key;
		sum = mix(sum, slot[at]);
	}
	free(slot);
	return sum;
}

// One cycle through 8 MB in random order: every step is a cache miss and often a TLB miss.
static uint64_t test_chase(long n)
{
	enum { LEN = 2 << 20 };
	uint32_t *next = malloc(LEN * sizeof *next), at = 0;

	for (uint32_t i = 0; i < LEN; i++)
		next[i] = i;
	for (uint32_t i = LEN - 1; i > 0; i--) {
		uint32_t j = (uint32_t)(rng() % i), t = next[i];

		next[i] = next[j];
		next[j] = t;
	}
	for (long i = 0; i < n * 1000; i++)
		at = next[at];
	free(next);
	return at;
}

// A byte-code machine: one unpredictable indirect jump for each few instructions of work.
static uint64_t test_dispatch(long n)
{
	static const void *const ops[] = { &&add, &&sub, &&xor, &&rot, &&mul, &&swap, &&loop };
	uint8_t code[256];
	uint64_t a = 1, b = 2, left = (uint64_t)n * 4000;
	size_t pc = 0;

	for (size_t i = 0; i < sizeof code - 1; i++)
		code[i] = (uint8_t)(rng() % 6);
	code[sizeof code - 1] = 6;
#define NEXT goto *ops[code[pc++]]
	NEXT;
add:	a += b; NEXT;
sub:	b -= a + 7; NEXT;
xor:	a ^= b; NEXT;
rot:	a = a << 11 | a >> 53; NEXT;
mul:	b *= a | 1; NEXT;
swap:	a += b; b = a - b; a -= b; NEXT;
loop:
	pc = 0;
	if (--left)
		NEXT;
#undef NEXT
	return mix(a, b);
}

// Lengths, searches, comparisons and number printing, as C programs do all day.
static uint64_t test_strings(long n)
{
	char buf[512], copy[512];
	uint64_t sum = 0;

	for (long i = 0; i < n * 1000; i++) {
		int len = snprintf(buf, sizeof buf, "%ld:key-%lx:%s", i, i * 2654435761, "value");
		const char *k = strstr(buf, "key-");

		strcpy(copy, buf);
		sum = mix(sum, strtoul(k + 4, NULL, 16) + (uint64_t)len);
		sum += (uint64_t)(strchr(copy, ':') - copy) + strlen(copy) + !memcmp(buf, copy, (size_t)len);
	}
	return sum;
}

// -- floating point and vectors --

static uint64_t test_fp(long n)
{
	double x = 0.5, y = 0.25, e = 0, sum = 0;

	for (long i = 1; i <= n * 1000000; i++) {
		x = 3.9 * x * (1.0 - x);
		y = y * 0.999 + x / (1.0 + y * y);
		e += x > y ? x - y : y - x;
		if ((i & 1023) == 0)
			sum += e * 1e-3;
	}
	return mix(bits(sum), bits(e));
}

static uint64_t test_x87(long n)
{
	long double x = 0.5L, s = 0;

	for (long i = 1; i <= n * 1000000; i++) {
		x = 3.9L * x * (1.0L - x);
		s += x / (long double)i;
	}
	return mix(bits((double)x), bits((double)s));
}

static uint64_t test_matrix(long n)
{
	size_t size = (size_t)n * (size_t)n;
	double *a = malloc(3 * size * sizeof *a), *b = a + size, *c = b + size;
	uint64_t sum = 0;

	for (size_t i = 0; i < size; i++) {
		a[i] = (double)(rng() % 1000) / 7;
		b[i] = (double)(rng() % 1000) / 11;
	}
	for (long i = 0; i < n; i++)
		for (long j = 0; j < n; j++) {
			double s = 0;

			for (long k = 0; k < n; k++)
				s += a[i * n + k] * b[k * n + j];
			c[i * n + j] = s;
		}
	for (size_t i = 0; i < size; i += 13)
		sum = mix(sum, bits(c[i]));
	free(a);
	return sum;
}

__attribute__((target("avx2,fma"))) static uint64_t test_avx2(long n)
{
	static uint8_t data[32768] __attribute__((aligned(32)));
	__m256i sum = _mm256_setzero_si256(), key = _mm256_set1_epi8(0x5b);
	__m256 acc = _mm256_setzero_ps(), k = _mm256_set1_ps(0.9999f);
	uint64_t out[4];
	float f[8];

	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)rng();
	for (long r = 0; r < n * 10; r++)
		for (size_t i = 0; i < sizeof data; i += 32) {
			__m256i v = _mm256_load_si256((const __m256i *)(data + i));
			__m256i s = _mm256_shuffle_epi8(key, _mm256_and_si256(v, _mm256_set1_epi8(15)));

			sum = _mm256_add_epi64(sum, _mm256_sad_epu8(_mm256_max_epu8(v, s), sum));
			sum = _mm256_xor_si256(sum, _mm256_slli_epi32(v, 3));
			acc = _mm256_fmadd_ps(acc, k, _mm256_cvtepi32_ps(_mm256_srli_epi32(v, 16)));
		}
	_mm256_storeu_si256((__m256i *)out, sum);
	_mm256_storeu_ps(f, acc);
	for (int i = 0; i < 8; i++)
		out[i & 3] = mix(out[i & 3], bits((double)f[i]));
	return mix(mix(mix(out[0], out[1]), out[2]), out[3]);
}

// -- memory --

static uint64_t test_memfill(long n)
{
	enum { SIZE = 16 << 20 };
	uint8_t *p = pages(SIZE);
	uint64_t sum = 0;

	for (long i = 0; i < n; i++) {
		memset(p, (int)i, SIZE);
		sum = mix(sum, p[(size_t)i * 4099 % SIZE]);
	}
	munmap(p, SIZE);
	return sum;
}

static uint64_t test_memcpy(long n)
{
	enum { SIZE = 8 << 20 };
	uint8_t *p = pages(2 * SIZE);
	uint64_t sum = 0;

	for (size_t i = 0; i < 2 * SIZE; i += 8)
		memcpy(p + i, &(uint64_t){ rng() }, 8);
	for (long i = 0; i < n; i++) {
		memcpy(p + SIZE * (i & 1), p + SIZE * (~i & 1), SIZE);
		p[SIZE * (i & 1) + i * 4099 % SIZE]++;
		sum = mix(sum, p[(size_t)i * 40961 % SIZE]);
	}
	munmap(p, 2 * SIZE);
	return sum;
}

static uint64_t test_atomic(long n)
{
	static uint64_t counter, other;

	for (long i = 0; i < n * 1000000; i++) {
		uint64_t was = __atomic_fetch_add(&counter, 3, __ATOMIC_SEQ_CST);

		if (!__atomic_compare_exchange_n(&other, &was, was + 5, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			other = counter;
	}
	return mix(counter * 31, other);
}

// -- the kernel --

static uint64_t test_syscall(long n)
{
	uint64_t sum = 0;

	for (long i = 0; i < n * 1000; i++)
		sum += syscall(SYS_umask, 022) == 022;
	return sum;
}

static uint64_t test_rw1(long n)
{
	int fd[2];
	uint8_t c = 0;
	uint64_t sum = 0;

	if (pipe(fd) < 0)
		fail("pipe");
	for (long i = 0; i < n * 1000; i++) {
		c = (uint8_t)i;
		if (write(fd[1], &c, 1) != 1 || read(fd[0], &c, 1) != 1)
			fail("pipe");
		sum += c;
	}
	close(fd[0]);
	close(fd[1]);
	return sum;
}

// `procs` processes in a ring pass one byte round `turns` times; each touches `work` bytes.
static uint64_t ring(int procs, long turns, size_t work)
{
	static uint8_t area[32768];
	int fd[16][2], first = 0;
	uint8_t c = 1;
	uint64_t sum = 0;

	for (int i = 0; i < procs; i++)
		if (pipe(fd[i]) < 0)
			fail("pipe");
	for (int i = 1; i < procs; i++)
		if (fork() == 0) {
			first = i;
			break;
		}
	for (long t = 0; t < turns; t++) {
		if (first == 0 && write(fd[1][1], &c, 1) != 1)
			_exit(1);
		if (read(fd[first][0], &c, 1) != 1)
			_exit(1);
		for (size_t i = 0; i < work; i += 64)
			area[i] += c;
		c = (uint8_t)(c * 5 + 1);
		sum = mix(sum, c);
		if (first != 0 && write(fd[(first + 1) % procs][1], &c, 1) != 1)
			_exit(1);
	}
	if (first != 0)
		_exit(0);
	for (int i = 1; i < procs; i++)
		wait(NULL);
	return mix(sum, area[0]);
}

static uint64_t test_pipe(long n)
{
	return ring(2, n * 1000, 0);
}

static uint64_t test_ctxsw(long n)
{
	return ring(8, n * 200, 16384);
}

static uint64_t test_pagefault(long n)
{
	enum { SIZE = 64 << 20 };
	uint64_t sum = 0;

	for (long r = 0; r < n; r++) {
		uint8_t *p = pages(SIZE);

		madvise(p, SIZE, MADV_NOHUGEPAGE);
		for (size_t i = 0; i < SIZE; i += 4096)
			p[i] = (uint8_t)(i >> 12);
		for (size_t i = 0; i < SIZE; i += 4096)
			sum += p[i];
		munmap(p, SIZE);
	}
	return sum;
}

// Map, write one page, protect, unmap: page table changes and single-page invalidations.
static uint64_t test_mmap(long n)
{
	uint64_t sum = 0;

	for (long i = 0; i < n * 1000; i++) {
		uint8_t *p = pages(16384);

		p[4096] = (uint8_t)i;
		if (mprotect(p, 16384, PROT_READ) < 0)
			fail("mprotect");
		sum += p[4096];
		munmap(p, 16384);
	}
	return sum;
}

static volatile sig_atomic_t signals;

static void on_signal(int sig)
{
	signals += sig == SIGUSR1;
}

static uint64_t test_signal(long n)
{
	signal(SIGUSR1, on_signal);
	for (long i = 0; i < n * 1000; i++)
		raise(SIGUSR1);
	return (uint64_t)signals;
}

static uint64_t test_forkexec(long n)
{
	uint64_t sum = 0;
	int status;

	for (long i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid < 0)
			fail("fork");
		if (pid == 0) {
			execl("/proc/self/exe", "benchkit", "exit", NULL);
			execl("/bench/benchkit", "benchkit", "exit", NULL);
			_exit(127);
		}
		waitpid(pid, &status, 0);
		sum += WIFEXITED(status) && WEXITSTATUS(status) == 42;
	}
	return sum;
}

// Create, write, stat, read back, rename and remove small files in memory.
static uint64_t test_files(long n)
{
	char a[64], b[64], buf[1024];
	uint64_t sum = 0;
	struct stat st;

	for (long i = 0; i < n * 1000; i++) {
		int fd;

		snprintf(a, sizeof a, "/tmp/f%ld", i % 50);
		snprintf(b, sizeof b, "/tmp/g%ld", i % 50);
		fd = open(a, O_RDWR | O_CREAT | O_TRUNC, 0600);
		memset(buf, (int)i, sizeof buf);
		if (fd < 0 || write(fd, buf, sizeof buf) != sizeof buf || fstat(fd, &st) < 0)
			fail(a);
		sum += (uint64_t)st.st_size;
		if (pread(fd, buf, 100, 500) != 100)
			fail(a);
		sum = mix(sum, (uint8_t)buf[99]);
		close(fd);
		if (rename(a, b) < 0 || unlink(b) < 0)
			fail(b);
	}
	return sum;
}

static const struct {
	const char *name;
	uint64_t (*run)(long size);
} tests[] = {
	{ "int", test_int },
	{ "fib", test_fib },
	{ "qsort", test_qsort },
	{ "hash", test_hash },
	{ "chase", test_chase },
	{ "dispatch", test_dispatch },
	{ "strings", test_strings },
	{ "fp", test_fp },
	{ "x87", test_x87 },
	{ "matrix", test_matrix },
	{ "avx2", test_avx2 },
	{ "memfill", test_memfill },
	{ "memcpy", test_memcpy },
	{ "atomic", test_atomic },
	{ "syscall", test_syscall },
	{ "rw1", test_rw1 },
	{ "pipe", test_pipe },
	{ "ctxsw", test_ctxsw },
	{ "pagefault", test_pagefault },
	{ "mmap", test_mmap },
	{ "signal", test_signal },
	{ "forkexec", test_forkexec },
	{ "files", test_files },
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "exit"))
		return 42;
	for (size_t i = 0; argc == 3 && i < sizeof tests / sizeof *tests; i++)
		if (!strcmp(argv[1], tests[i].name)) {
			double start = now();
			uint64_t sum = tests[i].run(atol(argv[2]));

			printf("%.6f %016llx\n", now() - start, (unsigned long long)sum);
			return 0;
		}
	fprintf(stderr, "usage: benchkit NAME SIZE\n");
	return 2;
}
