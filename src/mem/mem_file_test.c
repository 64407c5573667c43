// SPDX-License-Identifier: Apache-2.0
/* mem_file_test.c - RAM to a file and back */
#include "base/test.h"
#include "mem/mem.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (16ull << 20)

static struct err e;

static struct mem *busy_mem(void)
{
	struct mem *m = mem_new(SIZE, &e);

	for (u64 gpa = 0; m && gpa < SIZE; gpa += 5 * MEM_PAGE + 7)
		if (!mem_write(m, gpa, &gpa, gpa + sizeof gpa <= SIZE ? sizeof gpa : 0))
			abort();
	return m;
}

TEST(saved_memory_is_the_same_when_mapped_and_stays_as_it_is)
{
	struct mem *m = busy_mem(), *n;
	int fd = memfd_create("mem", 0);
	u64 sum = 0, v = 0;
	struct stat st;

	CHECK(m && fd >= 0);
	CHECK_EQ(mem_save(m, fd, &sum), 0);
	CHECK_EQ(mem_sum(m), sum);
	CHECK(!fstat(fd, &st) && (u64)st.st_size == SIZE);
	CHECK((u64)st.st_blocks * 512 < SIZE / 2); /* holes */
	n = mem_new_file(SIZE, fd, &e);
	CHECK(n);
	CHECK(!memcmp(mem_ptr(n, 0, SIZE), mem_ptr(m, 0, SIZE), SIZE));
	CHECK_EQ(mem_sum(n), sum);
	v = 1;
	CHECK(mem_write(n, 12345, &v, sizeof v));
	CHECK(mem_sum(n) != sum);
	mem_free(n);
	n = mem_new_file(SIZE, fd, &e);
	CHECK(n);
	CHECK_EQ(mem_sum(n), sum); /* the write above did not reach the file */
	mem_free(n);
	mem_free(m);
	close(fd);
}

TEST(frozen_memory_goes_on_above_what_was_frozen)
{
	struct mem *m = busy_mem(), *n;
	u64 sum = mem_sum(m), v = 42;
	int fd = memfd_create("one", 0), again = memfd_create("two", 0);

	CHECK(m && fd >= 0 && again >= 0);
	CHECK_EQ(mem_freeze(m, fd, NULL), 0);
	CHECK_EQ(mem_sum(m), sum);
	CHECK(mem_write(m, 8192, &v, sizeof v));
	CHECK(mem_sum(m) != sum);
	n = mem_new_file(SIZE, fd, &e);
	CHECK(n);
	CHECK_EQ(mem_sum(n), sum);
	mem_free(n);
	sum = mem_sum(m);
	CHECK_EQ(mem_freeze(m, again, NULL), 0); /* with pages of the file and of its own */
	CHECK_EQ(mem_sum(m), sum);
	mem_free(m);
	close(fd);
	close(again);
}
