// SPDX-License-Identifier: Apache-2.0
/*
 * mem_freeze.c - RAM on top of files that other machines share: see mem.h
 *
 * RAM that is a private mapping of a whole file (the base) and has changed little since is
 * frozen by its changed pages alone. A page is changed if the host has made a copy of its own
 * of it (the page map tells), or if the module noted that it is not the base's.
 *
 * File of changed pages: the pages, one after the other; a struct run for each range of them;
 * a struct tail. Integers are the host's: the file never leaves it.
 */
#include "mem/mem_int.h"

#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUNS_MAX 4096 /* each is a mapping: the host allows 65530 in a process */
#define GAP	 8    /* so many pages that did not change are cheaper than another mapping */
#define PART_MAX 16   /* 1 / this of RAM may have changed: else it is frozen as a whole */
#define MAGIC	 0x7367617065726956ull

struct run {
	u64 page, nr; /* numbers in a memory file */
};

struct tail {
	u64 nr_runs, pages, magic;
};

struct changes {
	struct run run[RUNS_MAX];
	struct tail t;
};

/* -- which pages -------------------------------------------------------------------------- */

/* Return: false when it is too much. */
static bool note_change(struct changes *c, u64 page, u64 max)
{
	struct run *r = c->t.nr_runs ? &c->run[c->t.nr_runs - 1] : NULL;
	u64 end = r ? r->page + r->nr : 0, more = 1;

	if (r && page - end < GAP) {
		more = page - end + 1;
		r->nr += more;
	} else if (c->t.nr_runs == RUNS_MAX) {
		return false;
	} else {
		c->run[c->t.nr_runs++] = (struct run){ page, 1 };
	}
	c->t.pages += more;
	return c->t.pages <= max;
}

static int mark(void *bits, const struct mem_part *p, u64 off, u64 len)
{
	u64 *b = bits, first = (p->file + off) / MEM_PAGE;

	for (u64 page = first; page < first + len / MEM_PAGE; page++)
		b[page / 64] |= BIT_ULL(page % 64);
	return 0;
}

/* The host made copies of these pages: found in one go, or page by page. */
static void mark_copies(const struct mem *m, u64 *bits)
{
	const struct pm_query copied = { .inverted = PM_IS_FILE, .mask = PM_IS_FILE,
					 .any_of = PM_IS_PRESENT | PM_IS_SWAPPED,
					 .ret = PM_IS_PRESENT | PM_IS_SWAPPED };
	struct mem_part part[MEM_PARTS];
	struct mem_scan s;

	mem_parts(m, part);
	mem_scan_begin(&s, m);
	for (unsigned i = 0; i < MEM_PARTS; i++) {
		if (!part[i].len || !mem_query(&part[i], &copied, mark, bits))
			continue;
		mem_scan_part(&s);
		for (u64 at = 0; at < part[i].len; at += MEM_PAGE)
			if (mem_scan_copied(&s, &part[i], at / MEM_PAGE))
				mark(bits, &part[i], at, MEM_PAGE);
	}
}

static bool find_changes(const struct mem *m, struct changes *c)
{
	u64 nr = mem_file_size(m) / MEM_PAGE, max = nr / PART_MAX + 256, word = 0;
	u64 *bits = mem_pagemap() < 0 ? NULL : mem_own_pages(m);
	bool ok = bits;

	c->t = (struct tail){ .magic = MAGIC };
	if (bits)
		mark_copies(m, bits);
	for (u64 page = 0; page < nr && ok; page += 64)
		for (word = bits[page / 64]; word && ok; word &= word - 1)
			ok = note_change(c, page + (u64)__builtin_ctzll(word), max);
	free(bits);
	return ok;
}

/* -- the file ------------------------------------------------------------------------------ */

/* Runs end where a part does: parts are whole in a memory file, but not in our address space. */
static int each_piece(const struct mem *m, const struct changes *c,
		      int (*fn)(void *host, u64 len, u64 at, int fd), int fd)
{
	struct mem_part part[MEM_PARTS];
	u64 at = 0;

	mem_parts(m, part);
	for (u64 i = 0; i < c->t.nr_runs; i++) {
		u64 from = c->run[i].page * MEM_PAGE, left = c->run[i].nr * MEM_PAGE;

		for (unsigned k = 0; k < MEM_PARTS && left; k++) {
			u64 off = from - part[k].file, n;

			if (from < part[k].file || off >= part[k].len)
				continue;
			n = left < part[k].len - off ? left : part[k].len - off;
			TRY(fn(part[k].host + off, n, at, fd));
			from += n, at += n, left -= n;
		}
	}
	return 0;
}

static int write_piece(void *host, u64 len, u64 at, int fd)
{
	return mem_write_file(fd, host, len, at);
}

static int map_piece(void *host, u64 len, u64 at, int fd)
{
	return mmap(host, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
		    (off_t)at) == MAP_FAILED ?
		       -errno :
		       0;
}

static int write_changes(const struct mem *m, const struct changes *c, int fd)
{
	u64 at = c->t.pages * MEM_PAGE, len = c->t.nr_runs * sizeof c->run[0];

	TRY(each_piece(m, c, write_piece, fd));
	TRY(mem_write_file(fd, (const u8 *)c->run, len, at));
	return mem_write_file(fd, (const u8 *)&c->t, sizeof c->t, at + len);
}

static void own_all(struct mem *m, const struct changes *c)
{
	for (u64 i = 0; i < c->t.nr_runs; i++)
		mem_own(m, c->run[i].page, c->run[i].nr);
}

static int map_changes(struct mem *m, const struct changes *c, int fd)
{
	TRY(each_piece(m, c, map_piece, fd));
	mem_set_tracker(m, -1); /* it noted writes to what was mapped there */
	return 0;
}

static int read_at(int fd, void *buf, u64 len, u64 at)
{
	ssize_t n = pread(fd, buf, len, (off_t)at);

	return n < 0 ? -errno : (u64)n == len ? 0 : -EINVAL;
}

/* Every run within RAM, above the one before, and all together as long as the file says. */
static int check_changes(const struct changes *c, u64 nr_pages)
{
	u64 sum = 0, end = 0;

	for (u64 i = 0; i < c->t.nr_runs; i++) {
		const struct run *r = &c->run[i];

		if (r->page < end || !r->nr || !range_ok(r->page, r->nr, nr_pages))
			return -EINVAL;
		end = r->page + r->nr;
		sum += r->nr;
	}
	return sum == c->t.pages ? 0 : -EINVAL;
}

static int read_changes(struct changes *c, int fd, u64 nr_pages)
{
	struct stat st;
	u64 index;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((u64)st.st_size < sizeof c->t)
		return -EINVAL;
	TRY(read_at(fd, &c->t, sizeof c->t, (u64)st.st_size - sizeof c->t));
	index = c->t.nr_runs * sizeof c->run[0];
	if (c->t.magic != MAGIC || c->t.nr_runs > RUNS_MAX || c->t.pages > nr_pages ||
	    c->t.pages * MEM_PAGE + index + sizeof c->t != (u64)st.st_size)
		return -EINVAL;
	TRY(read_at(fd, c->run, index, c->t.pages * MEM_PAGE));
	return check_changes(c, nr_pages);
}

/* -- the whole ------------------------------------------------------------------------------- */

static int freeze_changes(struct mem *m, const struct changes *c, int fd, int *ret_base)
{
	int base, r;

	TRY(write_changes(m, c, fd));
	base = fcntl(mem_file(m), F_DUPFD_CLOEXEC, 0);
	if (base < 0)
		return -errno;
	own_all(m, c);
	r = map_changes(m, c, fd);
	if (r)
		close(base);
	else
		*ret_base = base;
	return r;
}

int mem_freeze(struct mem *m, int fd, int *ret_base)
{
	struct changes *c = mem_file(m) >= 0 ? malloc(sizeof *c) : NULL;
	int r;

	*ret_base = -1;
	if (c && find_changes(m, c)) {
		r = freeze_changes(m, c, fd, ret_base);
	} else {
		r = mem_save(m, fd, NULL);
		if (!r)
			r = mem_refile(m, fd);
	}
	free(c);
	return r;
}

int mem_overlay(struct mem *m, int fd)
{
	struct changes *c = malloc(sizeof *c);
	int r = c ? read_changes(c, fd, mem_file_size(m) / MEM_PAGE) : -ENOMEM;

	if (!r) {
		own_all(m, c);
		r = map_changes(m, c, fd);
	}
	free(c);
	return r;
}
