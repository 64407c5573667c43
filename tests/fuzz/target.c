// SPDX-License-Identifier: Apache-2.0
/* target.c - see target.h */
#include "target.h"

#include <stdio.h>
#include <stdlib.h>

#define INPUT_MAX (1u << 20)

void fuzz_broken(const char *what)
{
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

bool fuzz_contains(const void *p, size_t len, const void *what, size_t n)
{
	const u8 *a = p, *b = what;

	for (size_t i = 0; i + n <= len; i++) {
		size_t k = 0;

		while (k < n && a[i + k] == b[k])
			k++;
		if (k == n)
			return true;
	}
	return false;
}

static const struct fuzz_target *find(const char *name)
{
	for (const struct fuzz_target *t = fuzz_targets; name && t->name; t++)
		if (!strcmp(t->name, name))
			return t;
	fprintf(stderr, "fuzz: %s: no such target: see list\n", name ? name : "");
	exit(2);
}

/* false: refused without a sentence. */
static bool feed(const struct fuzz_target *t, const u8 *p, size_t len, bool say)
{
	struct err e = { 0 };
	int r = t->run(p, len, &e);

	if (say)
		printf("%s: %s\n", t->name, r < 0 ? e.msg : "taken");
	return r >= 0 || strlen(e.msg) > 5;
}

static u8 input[INPUT_MAX];

static int write_seeds(const struct fuzz_target *t, const char *dir)
{
	char path[4096];
	size_t len;

	for (unsigned n = 0; t->seed && (len = t->seed(n, input, INPUT_MAX)); n++) {
		FILE *f;

		snprintf(path, sizeof path, "%s/seed-%u", dir, n);
		f = fopen(path, "wb");
		if (!f || fwrite(input, 1, len, f) != len || fclose(f)) {
			perror(path);
			return 1;
		}
	}
	return 0;
}

#ifdef LIBFUZZER

static const struct fuzz_target *target;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	target = find(getenv("FUZZ_TARGET"));
	if (*argc == 3 && !strcmp((*argv)[1], "--seeds"))
		exit(write_seeds(target, (*argv)[2]));
	return 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	if (!feed(target, data, len, false))
		fuzz_broken("refused without a sentence");
	return 0;
}

#else

static u8 changed[INPUT_MAX];
static unsigned long passed, failed;

static u64 rnd(u64 *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

/* A few bytes of @input changed, repeated or cut off. Return: the new length. */
static size_t mutate(size_t len, u64 *x)
{
	static const u8 edge[] = { 0, 1, 0x7f, 0x80, 0xff };
	size_t n = len;

	memcpy(changed, input, len);
	for (unsigned k = 1 + rnd(x) % 6; k && n; k--) {
		size_t at = rnd(x) % n;

		switch (rnd(x) % 8) {
		case 0: n = at + 1; break;
		case 1: memmove(changed + at, changed + rnd(x) % n / 2, (n - at) / 2); break;
		case 2:
			memset(changed + at, edge[rnd(x) % sizeof edge], n - at < 4 ? n - at : 4);
			break;
		case 3: changed[at] = edge[rnd(x) % sizeof edge]; break;
		case 4: changed[at] ^= (u8)(1 << rnd(x) % 8); break;
		default: changed[at] = (u8)rnd(x);
		}
	}
	return n;
}

static void run_one(const struct fuzz_target *t, const u8 *p, size_t len, bool say)
{
	/* its own allocation, so that the sanitizers see every overread */
	u8 *copy = malloc(len ? len : 1);

	memcpy(copy, p, len);
	if (feed(t, copy, len, say))
		passed++;
	else
		failed++;
	free(copy);
}

int main(int argc, char **argv)
{
	const struct fuzz_target *t;
	unsigned long count = 0;
	u64 x = 88172645463325252ull;
	int first = 2;

	if (argc == 2 && !strcmp(argv[1], "list")) {
		for (t = fuzz_targets; t->name; t++)
			puts(t->name);
		return 0;
	}
	t = find(argc > 1 ? argv[1] : NULL);
	if (argc == 4 && !strcmp(argv[2], "--seeds"))
		return write_seeds(t, argv[3]);
	if (argc > 5 && !strcmp(argv[2], "--mutate")) {
		x ^= strtoull(argv[3], NULL, 0) * 0x9e3779b97f4a7c15ull;
		count = strtoul(argv[4], NULL, 0);
		first = 5;
	}
	for (int i = first; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");
		size_t len = f ? fread(input, 1, sizeof input, f) : 0;

		if (f)
			fclose(f);
		run_one(t, input, len, !count);
		for (unsigned long n = 0; n < count; n++)
			run_one(t, changed, mutate(len, &x), false);
	}
	printf("%lu passed, %lu failed, 0 skipped\n", passed, failed);
	return failed ? 1 : 0;
}

#endif
