// SPDX-License-Identifier: Apache-2.0
/* peek.c - reading bytes of a disk, whatever its format */
#include "disk/disk_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct blk *disk_open_read(struct loop *l, const char *path, const char *format, const char *allow,
			   const char *secret, struct err *e)
{
	struct disk_args *a = calloc(1, sizeof *a);
	struct blk *b;

	if (!a) {
		err_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	if (*allow)
		a->policy.allow[a->policy.nr_allow++] = allow;
	snprintf(a->secret, sizeof a->secret, "%s", secret);
	b = disk_open(l, a, path, format, false, false, e);
	explicit_bzero(a->secret, sizeof a->secret);
	free(a);
	return b;
}

u64 disk_size(const struct blk *b)
{
	struct blk_info i;

	blk_get_info(b, &i);
	return i.size;
}

static void done(struct blk_req *r UNUSED)
{
	/* blk_drain() waits */
}

static int read_aligned(struct blk *b, u64 off, void *buf, size_t len)
{
	struct iovec iov = { buf, len };
	struct blk_req r = { .op = BLK_READ, .offset = off, .len = len, .iov = &iov, .nr_iov = 1,
			     .done = done };

	blk_submit(b, &r);
	blk_drain(b);
	return -r.error;
}

int disk_read(struct blk *b, u64 off, void *buf, size_t len)
{
	struct blk_info i;
	u64 first, end;
	u8 *all;
	int r;

	blk_get_info(b, &i);
	first = off - off % i.block_size;
	end = (off + len + i.block_size - 1) / i.block_size * i.block_size;
	if (first == off && end == off + len)
		return read_aligned(b, off, buf, len);
	all = malloc(end - first);
	r = all ? read_aligned(b, first, all, end - first) : -ENOMEM;
	if (!r)
		memcpy(buf, all + (off - first), len);
	free(all);
	return r;
}
