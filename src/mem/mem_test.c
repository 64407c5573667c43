// SPDX-License-Identifier: Apache-2.0
/* mem_test.c - guest RAM */
#include "mem/mem.h"

#include "base/test.h"

TEST(mem_access_stops_at_the_end_of_ram)
{
	struct err e = { 0 };
	struct mem *m = mem_new(1 << 20, &e);
	u8 b[8] = { 1, 2, 3 };

	CHECK(m);
	CHECK(mem_write(m, (1 << 20) - 8, b, 8));
	CHECK(!mem_write(m, (1 << 20) - 7, b, 8));
	CHECK(!mem_read(m, ~0ull, b, 8));
	CHECK(!mem_read(m, MEM_HIGH_BASE, b, 8));
	mem_free(m);
}

static unsigned hook_calls;

static void count_hook(void *ctx UNUSED, gpa_t gpa UNUSED, u64 len UNUSED)
{
	hook_calls++;
}

TEST(a_write_to_a_code_frame_is_reported)
{
	struct err e = { 0 };
	struct mem *m = mem_new(1 << 20, &e);

	CHECK(m);
	mem_set_code_hook(m, count_hook, NULL);
	mem_code_map(m)[3] = 1;
	hook_calls = 0;
	CHECK(mem_write(m, 0x2000, "x", 1));
	CHECK_EQ(hook_calls, 0);
	CHECK(mem_write(m, 0x2fff, "xy", 2));
	CHECK_EQ(hook_calls, 1);
	mem_free(m);
}
