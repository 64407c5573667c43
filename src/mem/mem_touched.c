// SPDX-License-Identifier: Apache-2.0
/*
 * mem_touched.c - which pages of its memory file a machine used, and bringing them before it asks:
 * see mem.h
 *
 * Integers in the file are little-endian; runs ascend. It is as hostile as a memory file, and can only
 * make us bring pages that the guest could touch too.
 */
#include "mem/mem_int.h"

#include "base/bits.h"
#include "base/populate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUNS_MAX 65536u
#define NEAR	 4 /* so many pages not used between two that were: one run */

static const u8 magic[8] = "VIREOPGS";

struct header {
	u8 magic[8];
	le64 nr_runs;
	u8 id[MEM_ID];
};

struct run {
	le64 page; /* number in the memory file */
	le32 nr, written;
};

struct mem_touched {
	u64 nr;
	struct run run[];
};

/* -- writing ------------------------------------------------------------------------------ */

/* A run ends where another kind of use begins, but for small holes in what was read. */
static int note_use(struct mem_touched *t, u64 page, bool written)
{
	struct run *r = t->nr ? &t->run[t->nr - 1] : NULL;
	u64 end = r ? le64_get(r->page) + le32_get(r->nr) : 0;

	if (r && le32_get(r->written) == written && page - end <= (written ? 0 : NEAR)) {
		r->nr = le32_of((u32)(page + 1 - le64_get(r->page)));
		return 0;
	}
	if (t->nr == RUNS_MAX)
		return -E2BIG;
	t->run[t->nr++] =
		(struct run){ .page = le64_of(page), .nr = le32_of(1), .written = le32_of(written) };
	return 0;
}

static int find_used(const struct mem *m, struct mem_touched *t)
{
	struct mem_part part[MEM_PARTS];
	struct mem_scan s;

	mem_parts(m, part);
	mem_scan_begin(&s, m);
	if (s.pagemap < 0 || mem_file(m) < 0)
		return -ENOTSUP;
	for (unsigned i = 0; i < MEM_PARTS; i++) {
		mem_scan_part(&s);
		for (u64 page = 0; page < part[i].len / MEM_PAGE; page++)
			if (mem_scan_present(&s, &part[i], page))
				TRY(note_use(t, part[i].file / MEM_PAGE + page,
					     mem_scan_copied(&s, &part[i], page)));
	}
	return 0;
}

static struct mem_touched *new_list(u64 nr)
{
	return malloc(sizeof(struct mem_touched) + nr * sizeof(struct run));
}

int mem_save_touched(const struct mem *m, int fd, const u8 id[MEM_ID])
{
	struct mem_touched *t = new_list(RUNS_MAX);
	struct header h = { 0 };
	int r = -ENOMEM;

	if (t) {
		t->nr = 0;
		r = find_used(m, t);
	}
	if (!r) {
		memcpy(h.magic, magic, sizeof magic);
		memcpy(h.id, id, MEM_ID);
		h.nr_runs = le64_of(t->nr);
		r = mem_write_file(fd, (const u8 *)t->run, t->nr * sizeof t->run[0], sizeof h);
	}
	if (!r) /* last: without it the rest is nothing */
		r = mem_write_file(fd, (const u8 *)&h, sizeof h, 0);
	free(t);
	return r;
}

/* -- reading ------------------------------------------------------------------------------- */

static bool runs_ok(const struct mem_touched *t, u64 nr_pages)
{
	u64 end = 0;

	for (u64 i = 0; i < t->nr; i++) {
		u64 page = le64_get(t->run[i].page), nr = le32_get(t->run[i].nr);

		if (page < end || !nr || !range_ok(page, nr, nr_pages))
			return false;
		end = page + nr;
	}
	return true;
}

struct mem_touched *mem_read_touched(const struct mem *m, int fd, const u8 id[MEM_ID])
{
	struct mem_touched *t;
	struct header h;
	size_t bytes;
	u64 nr;

	if (pread(fd, &h, sizeof h, 0) != sizeof h || memcmp(h.magic, magic, sizeof magic) != 0 ||
	    memcmp(h.id, id, MEM_ID) != 0)
		return NULL;
	nr = le64_get(h.nr_runs);
	if (nr > RUNS_MAX || !(t = new_list(nr)))
		return NULL;
	t->nr = nr;
	bytes = nr * sizeof t->run[0];
	if (pread(fd, t->run, bytes, sizeof h) == (ssize_t)bytes && runs_ok(t, mem_file_size(m) / MEM_PAGE))
		return t;
	free(t);
	return NULL;
}

/* The pages of a run as they lie in our address space: in one part or more. */
static void advise(const struct mem_part part[MEM_PARTS], const struct run *r, int how)
{
	u64 from = le64_get(r->page) * MEM_PAGE, end = from + le32_get(r->nr) * MEM_PAGE;

	for (unsigned i = 0; i < MEM_PARTS; i++) {
		u64 a = from > part[i].file ? from : part[i].file;
		u64 b = end < part[i].file + part[i].len ? end : part[i].file + part[i].len;

		if (a < b)
			madvise(part[i].host + (a - part[i].file), b - a, how);
	}
}

void mem_touch(const struct mem *m, const struct mem_touched *t, const volatile bool *stop)
{
	struct mem_part part[MEM_PARTS];

	mem_parts(m, part);
	for (u64 i = 0; i < t->nr && !*stop; i++) /* the disk has them all to do at once */
		advise(part, &t->run[i], MADV_WILLNEED);
	for (u64 i = 0; i < t->nr && !*stop; i++)
		advise(part, &t->run[i],
		       le32_get(t->run[i].written) ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}
