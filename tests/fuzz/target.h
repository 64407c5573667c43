// SPDX-License-Identifier: Apache-2.0
/*
 * target.h - what a fuzz target is, and the program around a table of them (target.c)
 *
 *	PROGRAM list				names of the targets
 *	PROGRAM TARGET FILE...			inputs from files
 *	PROGRAM TARGET --mutate SEED COUNT FILE...	COUNT changed copies of each file
 *	PROGRAM TARGET --seeds DIR		write the target's own first inputs there
 *
 * Ends with "N passed, N failed, 0 skipped". A failure is a refusal without a sentence; a
 * crash, hang or sanitizer report ends the program. Compiled with -DLIBFUZZER it is a libFuzzer
 * program for the target that the environment variable FUZZ_TARGET names (tests/fuzz/run), which
 * also knows --seeds DIR.
 */
#ifndef FUZZ_TARGET_H
#define FUZZ_TARGET_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

#include <string.h>

struct fuzz_target {
	const char *name;
	/*
	 * One input, from the same state every time. Return: 0 = taken, negative = refused with
	 * a sentence in *e. @p is an allocation of its own of @len bytes.
	 */
	int (*run)(const u8 *p, size_t len, struct err *e);
	/* Optional: write seed number @n of at most @max bytes. Return: its bytes, 0 = no more. */
	size_t (*seed)(unsigned n, u8 *buf, size_t max);
};

extern const struct fuzz_target fuzz_targets[]; /* the one after the last has no name */

/* An invariant does not hold: say so and abort. */
NORETURN void fuzz_broken(const char *what);

/*
 * Is @what, @n bytes, among the @len bytes at @p? Out of the fuzzer's sight, which puts what memmem()
 * looks for into inputs.
 */
bool fuzz_contains(const void *p, size_t len, const void *what, size_t n);

/* -- inputs that are a sequence of operations ---------------------------------------------- */

struct fuzz_in {
	const u8 *p;
	size_t len;
};

/* The next @bytes bytes (1..8), little-endian; zero where the input has ended. */
static inline u64 fuzz_take(struct fuzz_in *in, unsigned bytes)
{
	u64 v = 0;

	for (unsigned i = 0; i < bytes && in->len; i++, in->p++, in->len--)
		v |= (u64)*in->p << i * 8;
	return v;
}

/* The next bytes, as many as there are of @want, into @buf; the rest of it is zero. */
static inline size_t fuzz_bytes(struct fuzz_in *in, void *buf, size_t want)
{
	size_t n = want < in->len ? want : in->len;

	memcpy(buf, in->p, n);
	memset((u8 *)buf + n, 0, want - n);
	in->p += n;
	in->len -= n;
	return n;
}

#endif
