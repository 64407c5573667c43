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
	n = mem_new_file(SIZE, 0, fd, &e);
	CHECK(n);
	CHECK(!memcmp(mem_ptr(n, 0, SIZE), mem_ptr(m, 0, SIZE), SIZE));
	CHECK_EQ(mem_sum(n), sum);
	v = 1;
	CHECK(mem_write(n, 12345, &v, sizeof v));
	CHECK(mem_sum(n) != sum);
	mem_free(n);
	n = mem_new_file(SIZE, 0, fd, &e);
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
	int fd = memfd_create("one", 0), base = 0;

	CHECK(m && fd >= 0);
	CHECK_EQ(mem_freeze(m, fd, &base), 0);
	CHECK_EQ(base, -1); /* anonymous memory is frozen as a whole */
	CHECK_EQ(mem_sum(m), sum);
	CHECK(mem_write(m, 8192, &v, sizeof v));
	CHECK(mem_sum(m) != sum);
	n = mem_new_file(SIZE, 0, fd, &e);
	CHECK(n);
	CHECK_EQ(mem_sum(n), sum);
	mem_free(n);
	mem_free(m);
	close(fd);
}

/* A copy made of what mem_freeze() gave. */
static struct mem *copy_of(int base, int fd)
{
	struct mem *n = mem_new_file(SIZE, 0, base >= 0 ? base : fd, &e);

	if (n && base >= 0 && mem_overlay(n, fd))
		abort();
	return n;
}

TEST(memory_frozen_again_writes_only_what_changed)
{
	struct mem *m = busy_mem(), *n;
	u64 v = 42, zero[MEM_PAGE / 8] = { 0 }, sum;
	int fd[4], base[4];

	for (unsigned i = 0; i < 4; i++) {
		struct stat st;

		fd[i] = memfd_create("frozen", 0);
		CHECK_EQ(mem_freeze(m, fd[i], &base[i]), 0);
		CHECK_EQ(base[i] >= 0, i > 0);
		CHECK(!fstat(fd[i], &st) && (i == 0 || st.st_size < 64 * (off_t)MEM_PAGE));
		sum = mem_sum(m);
		n = copy_of(base[i], fd[i]);
		CHECK(n);
		CHECK(!memcmp(mem_ptr(n, 0, SIZE), mem_ptr(m, 0, SIZE), SIZE));
		/* The parent and the copy go on, each for itself; the next one has what changed. */
		CHECK(mem_write(n, 0, &v, sizeof v));
		mem_free(n);
		CHECK_EQ(mem_sum(m), sum);
		v = i + 100;
		CHECK(mem_write(m, i * 100 * MEM_PAGE, &v, sizeof v));
		CHECK(mem_write(m, SIZE - 8, &v, sizeof v));
		CHECK(mem_write(m, 5 * MEM_PAGE, zero, MEM_PAGE)); /* zeroes are a change too */
		CHECK(mem_discard(m, (1000 + i) * MEM_PAGE, 2 * MEM_PAGE));
		CHECK(mem_sum(m) != sum);
	}
	mem_free(m);
	for (unsigned i = 0; i < 4; i++) {
		close(fd[i]);
		if (base[i] >= 0)
			close(base[i]);
	}
}

TEST(memory_that_changed_much_is_frozen_as_a_whole)
{
	struct mem *m = busy_mem(), *n;
	int one = memfd_create("one", 0), two = memfd_create("two", 0), base = 0;

	CHECK_EQ(mem_freeze(m, one, &base), 0);
	for (u64 gpa = 0; gpa < SIZE; gpa += 4 * MEM_PAGE)
		CHECK(mem_write(m, gpa, "x", 1));
	CHECK_EQ(mem_freeze(m, two, &base), 0);
	CHECK_EQ(base, -1);
	n = copy_of(base, two);
	CHECK(n && mem_sum(n) == mem_sum(m));
	mem_free(n);
	mem_free(m);
	close(one);
	close(two);
}

TEST(a_file_of_changes_that_makes_no_sense_is_refused)
{
	struct mem *m = busy_mem(), *n;
	int one = memfd_create("one", 0), two = memfd_create("two", 0), base = 0;
	struct stat st;
	u8 byte, flipped;

	CHECK_EQ(mem_freeze(m, one, &base), 0);
	CHECK(mem_write(m, 77 * MEM_PAGE, "x", 1));
	CHECK_EQ(mem_freeze(m, two, &base), 0);
	CHECK(base >= 0 && !fstat(two, &st));
	n = mem_new_file(SIZE, 0, base, &e);
	for (off_t at = MEM_PAGE + 8; at < st.st_size; at++) { /* from the length of the run on */
		CHECK(pread(two, &byte, 1, at) == 1);
		flipped = byte ^ 0x80;
		CHECK(pwrite(two, &flipped, 1, at) == 1);
		CHECK(mem_overlay(n, two) < 0);
		CHECK(pwrite(two, &byte, 1, at) == 1);
	}
	CHECK_EQ(mem_overlay(n, one), -22); /* a memory file is none */
	CHECK_EQ(mem_overlay(n, two), 0);
	mem_free(n);
	mem_free(m);
	close(one);
	close(two);
	close(base);
}

#define ROOM (2ull << 20)

/* RAM over @fd, or anonymous, with memory above it. */
static struct mem *roomy(int fd)
{
	struct mem *m = fd < 0 ? mem_new_room(SIZE, ROOM, 0, &e) : mem_new_file(SIZE, ROOM, fd, &e);

	if (m && mem_map(m, mem_room(m), ROOM, -1, false, &e))
		abort();
	return m;
}

TEST(anonymous_memory_above_ram_is_saved_and_frozen_with_it)
{
	struct mem *m = roomy(-1), *n;
	int fd = memfd_create("mem", 0), one = memfd_create("one", 0), two = memfd_create("two", 0);
	gpa_t at = mem_room(m);
	int base = 0;
	u64 v = 7, sum;
	struct stat st;

	CHECK(mem_write(m, at + 5 * MEM_PAGE, &v, sizeof v) && mem_write(m, 12, &v, sizeof v));
	CHECK_EQ(mem_save(m, fd, &sum), 0);
	CHECK(!fstat(fd, &st) && (u64)st.st_size == SIZE + ROOM);
	n = roomy(fd);
	CHECK(n);
	CHECK_EQ(mem_sum(n), sum);
	CHECK_EQ(mem_sum(m), sum);
	CHECK(mem_write(n, at + 6 * MEM_PAGE, &v, sizeof v));
	CHECK(mem_discard(n, at + 5 * MEM_PAGE, MEM_PAGE)); /* does not come back from the file */
	CHECK(mem_read(n, at + 5 * MEM_PAGE, &v, sizeof v) && v == 0);
	sum = mem_sum(n);
	CHECK_EQ(mem_freeze(n, one, &base), 0);
	CHECK(base >= 0 && mem_sum(n) == sum);
	mem_free(m);
	m = roomy(base);
	CHECK_EQ(mem_overlay(m, one), 0);
	CHECK_EQ(mem_sum(m), sum);
	close(base);
	CHECK_EQ(mem_freeze(m, two, &base), 0);
	CHECK(base >= 0 && mem_sum(m) == sum);
	mem_free(m);
	mem_free(n);
	close(base);
	close(fd);
	close(one);
	close(two);
}
