// SPDX-License-Identifier: Apache-2.0
/* mem_uffd_test.c - written pages are known, and only they are in a difference */
#include "base/test.h"
#include "mem/mem.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (16ull << 20)

static struct err e;

static u64 blocks(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? ~0ull : (u64)st.st_blocks * 512;
}

TEST(a_difference_holds_the_pages_written_since)
{
	int full = memfd_create("full", 0), diff = memfd_create("diff", 0);
	struct mem *m = mem_new(SIZE, &e);
	static u8 a[SIZE], b[SIZE];
	u64 v = 1, sum;

	CHECK(m);
	if (mem_track(m)) {
		mem_free(m);
		test_skip("the host does not note writes (Linux 6.7, userfaultfd)");
		return;
	}
	CHECK(mem_is_tracked(m));
	for (u64 gpa = 0; gpa < SIZE; gpa += 64 << 10)
		CHECK(mem_write(m, gpa, &v, sizeof v));
	CHECK_EQ(mem_save(m, full, &sum), 0);
	CHECK_EQ(mem_forget_dirty(m), 0);
	v = 2;
	CHECK(mem_write(m, 5 * MEM_PAGE, &v, sizeof v)); /* never touched before */
	CHECK(mem_write(m, 0, &v, sizeof v));
	v = 0;
	CHECK(mem_write(m, 64 << 10, &v, sizeof v)); /* becomes a page of zeroes */
	CHECK_EQ(mem_save_dirty(m, diff), 0);
	CHECK_EQ(blocks(diff), 3 * MEM_PAGE);
	CHECK_EQ(pread(diff, &v, sizeof v, 5 * MEM_PAGE), sizeof v);
	CHECK_EQ(v, 2);
	/* laid over the full one, it is RAM */
	CHECK_EQ(pread(full, a, SIZE, 0), (ssize_t)SIZE);
	for (unsigned k = 0; k < 3; k++) {
		const u64 at[] = { 0, 5 * MEM_PAGE, 64 << 10 };

		CHECK_EQ(pread(diff, a + at[k], MEM_PAGE, (off_t)at[k]), (ssize_t)MEM_PAGE);
	}
	CHECK(mem_read(m, 0, b, SIZE));
	CHECK(!memcmp(a, b, SIZE));
	close(diff);
	diff = memfd_create("diff", 0);
	CHECK_EQ(mem_save_dirty(m, diff), 0); /* nothing since */
	CHECK_EQ(blocks(diff), 0);
	close(full);
	close(diff);
	mem_free(m);
}
