// SPDX-License-Identifier: Apache-2.0
/* mem_touched_test.c - which pages were used, and having them brought */
#include "base/test.h"
#include "mem/mem_int.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE  (16ull << 20)
#define PAGES (SIZE / MEM_PAGE)

static const u8 id[MEM_ID] = "sixteen bytes!!";
static struct err e;

/* A memory file without holes. */
static int full_file(void)
{
	int fd = memfd_create("mem", 0);
	u8 page[MEM_PAGE];

	for (u64 i = 0; i < PAGES; i++) {
		memset(page, (int)i | 1, sizeof page);
		if (pwrite(fd, page, sizeof page, (off_t)(i * MEM_PAGE)) != sizeof page)
			abort();
	}
	return fd;
}

static unsigned nr_copied(struct mem *m, u64 from, u64 nr)
{
	struct mem_part part[MEM_PARTS];
	static struct mem_scan s;
	unsigned n = 0;

	mem_parts(m, part);
	mem_scan_begin(&s, m);
	mem_scan_part(&s);
	for (u64 i = from; i < from + nr; i++)
		n += mem_scan_copied(&s, &part[0], i);
	return n;
}

TEST(pages_that_were_written_are_brought_as_copies_with_their_contents)
{
	int mem_fd = full_file(), fd = memfd_create("pages", 0);
	struct mem *m = mem_new_file(SIZE, 0, mem_fd, &e), *n;
	struct mem_touched *t;
	volatile bool stop = false;
	u64 sum = 0;

	CHECK(m && fd >= 0);
	if (mem_pagemap() < 0)
		return;
	for (u64 i = 100; i < 150; i++)
		*mem_ptr(m, i * MEM_PAGE, 1) = 0;
	for (u64 i = 1000; i < 1016; i++)
		sum += *mem_ptr(m, i * MEM_PAGE, 1);
	CHECK(sum);
	CHECK_EQ(mem_save_touched(m, fd, id), 0);
	mem_free(m);

	n = mem_new_file(SIZE, 0, mem_fd, &e);
	t = mem_read_touched(n, fd, id);
	CHECK(n && t);
	CHECK_EQ(nr_copied(n, 0, PAGES), 0);
	mem_touch(n, t, &stop);
	CHECK_EQ(nr_copied(n, 100, 50), 50); /* the host can: Linux 5.14 */
	CHECK_EQ(nr_copied(n, 0, PAGES), 50);
	CHECK_EQ(*mem_ptr(n, 120 * MEM_PAGE, 1), 120 | 1);
	free(t);
	mem_free(n);
	close(fd);
	close(mem_fd);
}

TEST(a_list_of_pages_is_refused_unless_it_is_of_this_memory_file)
{
	static const u8 other[MEM_ID] = "another file...";
	int mem_fd = full_file(), fd = memfd_create("pages", 0);
	struct mem *m = mem_new_file(SIZE, 0, mem_fd, &e);
	struct {
		le64 page;
		le32 nr, written;
	} run = { .page = le64_of(PAGES - 1), .nr = le32_of(2) };
	struct mem_touched *t;

	CHECK(m && fd >= 0);
	CHECK(!mem_read_touched(m, fd, id)); /* empty */
	if (mem_pagemap() < 0)
		return;
	*mem_ptr(m, 0, 1) = 1;
	CHECK_EQ(mem_save_touched(m, fd, id), 0);
	CHECK(!mem_read_touched(m, fd, other));
	t = mem_read_touched(m, fd, id);
	CHECK(t);
	free(t);
	CHECK_EQ(pwrite(fd, &run, sizeof run, 32), sizeof run); /* ends behind RAM */
	CHECK(!mem_read_touched(m, fd, id));
	run.nr = le32_of(0);
	CHECK_EQ(pwrite(fd, &run, sizeof run, 32), sizeof run);
	CHECK(!mem_read_touched(m, fd, id));
	CHECK_EQ(ftruncate(fd, 40), 0);
	CHECK(!mem_read_touched(m, fd, id));
	mem_free(m);
	close(fd);
	close(mem_fd);
}
