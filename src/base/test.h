// SPDX-License-Identifier: Apache-2.0
/*
 * test.h - unit tests: TEST(the_claim_as_a_name) { CHECK_EQ(got, want); }
 *
 * All x_test.c files are linked into build/<mode>/unit with test_main.c. A
 * failed CHECK records the failure and returns from the test function, so use
 * the macros in the TEST body or in void helpers only.
 */
#ifndef BASE_TEST_H
#define BASE_TEST_H

#include <stdio.h>
#include <string.h>

struct test {
	const char *file, *name;
	void (*fn)(void);
};

/* One record per test in a linker section: test programs only. */
#define TEST(id)                                                                                   \
	static void test_##id(void);                                                               \
	static const struct test test_rec_##id                                                     \
		__attribute__((used, section("vtests"), aligned(8))) = { __FILE__, #id,            \
									 test_##id };              \
	static void test_##id(void)

void test_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void test_skip(const char *why); /* count the running test as skipped */

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			test_fail(__FILE__, __LINE__, "%s", #cond);                                \
			return;                                                                    \
		}                                                                                  \
	} while (0)

#define CHECK_EQ(got, want)                                                                        \
	do {                                                                                       \
		unsigned long long g_ = (unsigned long long)(got);                                 \
		unsigned long long w_ = (unsigned long long)(want);                                \
		if (g_ != w_) {                                                                    \
			test_fail(__FILE__, __LINE__, "%s: got 0x%llx, want 0x%llx", #got, g_,     \
				  w_);                                                             \
			return;                                                                    \
		}                                                                                  \
	} while (0)

#define CHECK_STR(got, want)                                                                       \
	do {                                                                                       \
		const char *g_ = (got), *w_ = (want);                                              \
		if (strcmp(g_, w_)) {                                                              \
			test_fail(__FILE__, __LINE__, "%s: got \"%s\", want \"%s\"", #got, g_,     \
				  w_);                                                             \
			return;                                                                    \
		}                                                                                  \
	} while (0)

#endif
