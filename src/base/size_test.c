// SPDX-License-Identifier: Apache-2.0
/* size_test.c - sizes as people write them */
#include "base/size.h"

#include "base/test.h"

TEST(sizes_are_powers_of_1024)
{
	u64 v = 7;

	CHECK(size_parse("512M", "KMGT", false, &v));
	CHECK_EQ(v, 512ull << 20);
	CHECK(size_parse("2GiB", "KMGT", false, &v));
	CHECK_EQ(v, 2ull << 30);
	CHECK(size_parse("3k", "KMGTP", true, &v));
	CHECK_EQ(v, 3u << 10);
	CHECK(size_parse("4096", "KMGT", false, &v));
	CHECK_EQ(v, 4096);
}

TEST(a_blank_or_another_letter_is_no_unit)
{
	static const char *const bad[] = { "10 ", " 10", "10 M", "3X", "1MM", "-1", "", "20000000T" };
	u64 v = 7;

	for (unsigned k = 0; k < sizeof bad / sizeof bad[0]; k++)
		CHECK(!size_parse(bad[k], "KMGTP", true, &v));
	CHECK(!size_parse("3k", "KMGT", false, &v));
	CHECK_EQ(v, 7);
}
