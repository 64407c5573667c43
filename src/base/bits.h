// SPDX-License-Identifier: Apache-2.0
/*
 * bits.h - bit fields, alignment and checked arithmetic.
 */
#ifndef BASE_BITS_H
#define BASE_BITS_H

#include "base/types.h"

#define BIT(n)     (1u << (n))
#define BIT_ULL(n) (1ull << (n))

/* Bits hi..lo of v, both inclusive, shifted down. */
static inline u64 bits_get(u64 v, unsigned hi, unsigned lo)
{
	return (v >> lo) & (~0ull >> (63 - (hi - lo)));
}

/* All ones in the low @bytes bytes (1..8). */
static inline u64 mask_bytes(unsigned bytes)
{
	return ~0ull >> (64 - 8 * bytes);
}

/* Sign-extend the low @bytes bytes (1, 2, 4 or 8) of v. */
static inline u64 sext_bytes(u64 v, unsigned bytes)
{
	unsigned s = 64 - 8 * bytes;

	return (u64)((i64)(v << s) >> s);
}

static inline u64 align_down(u64 v, u64 a)
{
	return v & ~(a - 1);
}

static inline u64 align_up(u64 v, u64 a)
{
	return (v + a - 1) & ~(a - 1);
}

/* [off, off+len) lies inside [0, size), without overflow. */
static inline bool range_ok(u64 off, u64 len, u64 size)
{
	return len <= size && off <= size - len;
}

/* *ret = a + b; false on overflow. */
static inline bool add_ok(u64 a, u64 b, u64 *ret)
{
	return !__builtin_add_overflow(a, b, ret);
}

#endif
