// SPDX-License-Identifier: Apache-2.0
/*
 * mem_file.c - guest RAM to a file: see mem.h
 *
 * Most of a young guest's RAM was never touched. The host's page map says which pages were;
 * pages of zeroes among them become holes too.
 */
#include "mem/mem_int.h"

#include "base/crc32c.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define RUN_MAX	  (4u << 20) /* bytes written at once */
#define PM_EXISTS (3ull << 62) /* present or swapped out [Linux admin-guide/mm/pagemap.rst] */
#define PM_FILE	  (1ull << 61) /* and of a file, or shared */

static bool is_zero(const u8 *page)
{
	const u64 *w = (const void *)page;

	for (unsigned i = 0; i < MEM_PAGE / sizeof *w; i += 8)
		if (w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] |
		    w[i + 7])
			return false;
	return true;
}

static u64 page_sum(u64 number, const u8 *page)
{
	return crc32c(crc32c(0, &number, sizeof number), page, MEM_PAGE);
}

int mem_write_file(int fd, const u8 *p, u64 len, u64 at)
{
	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENOSPC;
		p += n, at += (u64)n, len -= (u64)n;
	}
	return 0;
}

/* -- pages that can be other than zero ------------------------------------------------- */

void mem_scan_begin(struct mem_scan *s, const struct mem *m)
{
	s->mem = m;
	s->pagemap = mem_pagemap();
	s->file = mem_file(m);
	if (s->file < 0 && !mem_is_huge(m)) /* a file of huge pages does not tell where it has holes */
		s->file = mem_shared_fd(m); /* others write there too */
}

/* The page map's entry; one that says the most if there is none to be had. */
static u64 entry(struct mem_scan *s, const struct mem_part *p, u64 page)
{
	if (s->pagemap < 0)
		return PM_EXISTS;
	if (page < s->first || page >= s->first + s->nr) {
		u64 left = p->len / MEM_PAGE - page, n = left < MEM_SCAN_PAGES ? left : MEM_SCAN_PAGES;
		ssize_t got = pread(s->pagemap, s->map, n * sizeof s->map[0],
				    (off_t)(((u64)p->host / MEM_PAGE + page) * sizeof s->map[0]));

		s->first = page;
		s->nr = got > 0 ? (u64)got / sizeof s->map[0] : 0;
		if (!s->nr)
			return PM_EXISTS;
	}
	return s->map[page - s->first];
}

bool mem_scan_present(struct mem_scan *s, const struct mem_part *p, u64 page)
{
	return entry(s, p, page) & PM_EXISTS;
}

bool mem_scan_copied(struct mem_scan *s, const struct mem_part *p, u64 page)
{
	u64 e = entry(s, p, page);

	return e & PM_EXISTS && !(e & PM_FILE);
}

#define NR_RUNS	1024
#define PROTECT 1 /* PM_SCAN_WP_MATCHING */

struct pm_region {
	u64 start, end, categories;
};

struct pm_scan { /* struct pm_scan_arg: newer than the headers of Debian 12 */
	u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	u64 inverted, mask, any_of, ret;
};

#define PM_SCAN _IOWR('f', 16, struct pm_scan)

int mem_query(const struct mem_part *p, const struct pm_query *q,
	      int (*fn)(void *ctx, const struct mem_part *p, u64 off, u64 len), void *ctx)
{
	struct pm_region run[NR_RUNS];
	struct pm_scan s = {
		.size = sizeof s,
		.flags = q->protect ? PROTECT : 0,
		.start = (u64)p->host,
		.end = (u64)p->host + p->len,
		.vec = (u64)run,
		.vec_len = NR_RUNS,
		.inverted = q->inverted,
		.mask = q->mask,
		.any_of = q->any_of,
		.ret = q->ret,
	};

	while (s.start < s.end) {
		int n = ioctl(mem_pagemap(), PM_SCAN, &s);

		if (n < 0)
			return -errno;
		for (int i = 0; i < n && fn; i++)
			TRY(fn(ctx, p, run[i].start - (u64)p->host, run[i].end - run[i].start));
		s.start = s.walk_end;
	}
	return 0;
}

static bool in_file(struct mem_scan *s, u64 at)
{
	off_t r;

	if (s->file < 0)
		return false;
	if (at < s->data_end)
		return at >= s->data;
	r = lseek(s->file, (off_t)at, SEEK_DATA);
	s->data = r < 0 ? ~0ull : (u64)r; /* ENXIO: none any more */
	r = r < 0 ? -1 : lseek(s->file, r, SEEK_HOLE);
	s->data_end = r < 0 ? ~0ull : (u64)r;
	return at >= s->data;
}

void mem_scan_part(struct mem_scan *s)
{
	s->nr = 0;
	s->data = s->data_end = 0;
}

/* -- saving ------------------------------------------------------------------------------ */

static bool is_empty(struct mem_scan *s, const struct mem_part *p, u64 at)
{
	if (!(entry(s, p, at / MEM_PAGE) & PM_EXISTS) && !in_file(s, p->file + at) &&
	    !mem_is_own(s->mem, (p->file + at) / MEM_PAGE))
		return true;
	return is_zero(p->host + at);
}

static int save_part(const struct mem_part *p, struct mem_scan *s, int fd, u64 *sum)
{
	u64 start = 0, at;

	mem_scan_part(s);
	for (at = 0; at < p->len; at += MEM_PAGE) {
		bool empty = is_empty(s, p, at);

		if (!empty && sum)
			*sum += page_sum((p->file + at) / MEM_PAGE, p->host + at);
		if (!empty && at - start < RUN_MAX)
			continue;
		TRY(mem_write_file(fd, p->host + start, at - start, p->file + start));
		start = empty ? at + MEM_PAGE : at;
	}
	return mem_write_file(fd, p->host + start, at - start, p->file + start);
}

int mem_save(const struct mem *m, int fd, u64 *ret_sum)
{
	struct mem_part part[MEM_PARTS];
	struct mem_scan s;
	int r = 0;

	if (ret_sum)
		*ret_sum = 0;
	if (ftruncate(fd, (off_t)mem_file_size(m)) < 0)
		return -errno;
	mem_parts(m, part);
	mem_scan_begin(&s, m);
	for (unsigned i = 0; i < MEM_PARTS && !r; i++)
		r = save_part(&part[i], &s, fd, ret_sum);
	return r;
}

u64 mem_sum(const struct mem *m)
{
	struct mem_part part[MEM_PARTS];
	struct mem_scan s;
	u64 sum = 0;

	mem_parts(m, part);
	mem_scan_begin(&s, m);
	for (unsigned i = 0; i < MEM_PARTS; i++) {
		const struct mem_part *p = &part[i];

		mem_scan_part(&s);
		for (u64 at = 0; at < p->len; at += MEM_PAGE)
			if (!is_empty(&s, p, at))
				sum += page_sum((p->file + at) / MEM_PAGE, p->host + at);
	}
	return sum;
}
