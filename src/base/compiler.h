// SPDX-License-Identifier: Apache-2.0
/*
 * compiler.h - the only place that names a compiler extension.
 */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#include <stddef.h>

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define FALLTHROUGH       __attribute__((fallthrough))
#define CLEANUP(fn)       __attribute__((cleanup(fn)))
#define UNUSED            __attribute__((unused))
#define PACKED            __attribute__((packed))
#define ALIGNED(n)        __attribute__((aligned(n)))
#define NOINLINE          __attribute__((noinline))
#define ALWAYS_INLINE     inline __attribute__((always_inline))
#define NORETURN          __attribute__((noreturn))

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define container_of(p, T, m) ((T *)((char *)(p)-offsetof(T, m)))
#define array_len(a)          (sizeof(a) / sizeof((a)[0]))

/* A bound on work or memory: what users get, and what fuzzers do, who have millions of inputs. */
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
#define FUZZ_LESS(real, fuzzing) (fuzzing)
#else
#define FUZZ_LESS(real, fuzzing) (real)
#endif

/* Propagate a non-zero result of a step that failed (0 is success). */
#define TRY(x)                                                                                     \
	do {                                                                                       \
		int try_r_ = (x);                                                                  \
		if (unlikely(try_r_))                                                              \
			return try_r_;                                                             \
	} while (0)

#endif
