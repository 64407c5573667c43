// SPDX-License-Identifier: Apache-2.0
/*
 * mem_file.c - guest RAM to a file: see mem.h
 *
 * Zero pages, which most of a young guest's RAM are, become holes. Reading a page that was
 * never touched costs no memory: the host maps its page of zeroes.
 */
#include "mem/mem.h"

#include "base/crc32c.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define RUN_MAX (4u << 20) /* bytes written at once */

static bool is_zero(const u8 *page)
{
	const u64 *w = (const void *)page;
	u64 any = 0;

	for (unsigned i = 0; i < MEM_PAGE / sizeof *w; i += 8) {
		any = w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] |
		      w[i + 7];
		if (any)
			return false;
	}
	return true;
}

static u64 page_sum(u64 number, const u8 *page)
{
	return crc32c(crc32c(0, &number, sizeof number), page, MEM_PAGE);
}

static int write_all(int fd, const u8 *p, u64 len, u64 at)
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

static int save_part(const struct mem_part *p, int fd, u64 *sum)
{
	u64 start = 0, at;

	for (at = 0; at < p->len; at += MEM_PAGE) {
		bool zero = is_zero(p->host + at);

		if (!zero)
			*sum += page_sum((p->file + at) / MEM_PAGE, p->host + at);
		if (!zero && at - start < RUN_MAX)
			continue;
		TRY(write_all(fd, p->host + start, at - start, p->file + start));
		start = zero ? at + MEM_PAGE : at;
	}
	return write_all(fd, p->host + start, at - start, p->file + start);
}

int mem_save(const struct mem *m, int fd, u64 *ret_sum)
{
	struct mem_part part[MEM_PARTS];

	*ret_sum = 0;
	mem_parts(m, part);
	if (ftruncate(fd, (off_t)mem_size(m)) < 0)
		return -errno;
	for (unsigned i = 0; i < MEM_PARTS; i++)
		TRY(save_part(&part[i], fd, ret_sum));
	return 0;
}

u64 mem_sum(const struct mem *m)
{
	struct mem_part part[MEM_PARTS];
	u64 sum = 0;

	mem_parts(m, part);
	for (unsigned i = 0; i < MEM_PARTS; i++)
		for (u64 at = 0; at < part[i].len; at += MEM_PAGE)
			if (!is_zero(part[i].host + at))
				sum += page_sum((part[i].file + at) / MEM_PAGE, part[i].host + at);
	return sum;
}
