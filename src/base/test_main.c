// SPDX-License-Identifier: Apache-2.0
/*
 * test_main.c - runs every TEST() linked into the program
 *
 * unit [SUBSTRING]: run only tests whose file or name contains SUBSTRING.
 * Ends with "N passed, N failed, N skipped"; status 1 if any failed.
 */
#include "base/test.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

extern const struct test __start_vtests[], __stop_vtests[];

static bool failed, skipped;

void test_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	failed = true;
	fprintf(stderr, "%s:%d: ", file, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void test_skip(const char *why)
{
	skipped = true;
	fprintf(stderr, "skipped: %s\n", why);
}

int main(int argc, char **argv)
{
	unsigned nr_passed = 0, nr_failed = 0, nr_skipped = 0;

	for (const struct test *t = __start_vtests; t < __stop_vtests; t++) {
		if (argc > 1 && !strstr(t->name, argv[1]) && !strstr(t->file, argv[1]))
			continue;
		failed = skipped = false;
		t->fn();
		if (failed)
			fprintf(stderr, "FAIL %s: %s\n", t->file, t->name);
		nr_failed += failed;
		nr_skipped += !failed && skipped;
		nr_passed += !failed && !skipped;
	}
	printf("%u passed, %u failed, %u skipped\n", nr_passed, nr_failed, nr_skipped);
	return nr_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
