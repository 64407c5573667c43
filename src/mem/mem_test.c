// SPDX-License-Identifier: Apache-2.0
/* mem_test.c - guest RAM */
#include "mem/mem.h"

#include "base/test.h"

#include <stdlib.h>
#include <unistd.h>

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

TEST(huge_pages_are_used_or_refused_with_a_sentence)
{
	struct err e = { 0 };
	struct mem *m = mem_new(4 << 20, &e);
	int r = m ? mem_use_huge(m, &e) : 0;

	CHECK(m);
	if (r) {
		CHECK(strstr(e.msg, "huge pages: "));
	} else {
		CHECK(mem_is_huge(m) && mem_shared_fd(m) >= 0);
		CHECK(mem_write(m, (4 << 20) - 8, "the end", 8));
		CHECK(mem_discard(m, 0, MEM_PAGE));
	}
	mem_free(m);
	m = mem_new(3 << 20, &e);
	CHECK(m && mem_use_huge(m, &e) < 0);
	mem_free(m);
}

TEST(room_above_ram_holds_memory_and_files)
{
	static const char text[] = "in the file";
	const u64 mib = 1 << 20;
	char path[] = "/tmp/mem-test-XXXXXX", buf[sizeof text];
	int fd = mkstemp(path);
	struct err e = { 0 };
	struct mem *m = mem_new_room(16 * mib, 8 * mib, 0, &e);
	gpa_t at;

	CHECK(m && fd >= 0);
	unlink(path);
	CHECK_EQ(pwrite(fd, text, sizeof text, 0), sizeof text);
	at = mem_room(m);
	CHECK_EQ(at, MEM_HIGH_BASE);
	CHECK(!mem_ptr(m, at, 1)); /* nothing is there yet */
	CHECK_EQ(mem_map(m, at, 4 * mib, -1, false, &e), 0);
	CHECK_EQ(mem_map(m, at + 4 * mib, 2 * mib, fd, true, &e), 0);
	CHECK_EQ(mem_map(m, at + 6 * mib, 2 * mib, fd, false, &e), 0);
	CHECK(mem_map(m, at + 8 * mib, 4096, -1, false, &e) < 0);
	CHECK(mem_map(m, 0, 4096, -1, false, &e) < 0);
	CHECK(!mem_ptr(m, at + 4 * mib - 1, 2)); /* not across two of them */
	CHECK(mem_ptr(m, at + 8 * mib - 1, 1) && !mem_ptr(m, at + 8 * mib, 1));
	CHECK(mem_read(m, at + 4 * mib, buf, sizeof buf));
	CHECK_STR(buf, text);
	CHECK(mem_write(m, at + 6 * mib, "private", 7)); /* the guest's own */
	CHECK(mem_write(m, at + 4 * mib + 3, "THE", 3));
	CHECK_EQ(pread(fd, buf, sizeof buf, 0), sizeof buf);
	CHECK_STR(buf, "in THE file");
	CHECK(!mem_discard(m, at + 4 * mib, 4096)); /* of a file */
	CHECK(mem_write(m, at, "x", 1) && mem_discard(m, at, 4 * mib) && !*mem_ptr(m, at, 1));
	CHECK_EQ(mem_nr_frames(m), (at + 8 * mib) / MEM_PAGE);
	CHECK(mem_region(m, 2)->file && !mem_region(m, 0)->file && !mem_region(m, 3));
	CHECK_EQ(mem_size(m), 16 * mib);
	close(fd);
	mem_free(m);
}
