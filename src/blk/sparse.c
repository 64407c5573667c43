// SPDX-License-Identifier: Apache-2.0
/* sparse.c - disks of blocks that are appended to a file (see sparse.h) */
#include "blk/sparse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int sparse_init(struct sparse *s, struct err *e)
{
	s->nr = s->size / s->block + !!(s->size % s->block);
	if (s->nr > SPARSE_MAX)
		return err_set(e, EFBIG, "image: consists of more blocks than are served");
	s->map = calloc(s->nr + 1, sizeof *s->map);
	s->dirty = calloc(s->nr / 64 + 1, 8);
	s->align = s->align ? s->align : BLK_SECTOR;
	return s->map && s->dirty ? 0 : err_set(e, ENOMEM, "image: out of memory");
}

void sparse_fini(struct sparse *s)
{
	free(s->map);
	free(s->dirty);
	s->map = s->dirty = NULL;
}

static bool is_there(const struct sparse *s, u64 b)
{
	return s->map[b] > SPARSE_ZERO;
}

/* Is block @b with the parent? */
static bool is_below(const struct sparse *s, u64 b)
{
	return s->parent && s->map[b] == SPARSE_NONE;
}

/* Does the block behind @b go on as @b does? */
static bool goes_on(const struct sparse *s, u64 b)
{
	if (is_there(s, b))
		return s->map[b + 1] == s->map[b] + s->block;
	return b + 1 < s->nr && !is_there(s, b + 1) && is_below(s, b) == is_below(s, b + 1);
}

/* Bytes from @off on, at most @len, that lie in one block or in blocks that follow in the file. */
static u64 run_at(const struct sparse *s, u64 off, u64 len, u64 *ret_host)
{
	u64 b = off / s->block, in = off % s->block, n = s->block - in;

	*ret_host = is_there(s, b) ? s->map[b] + in : BLK_NOWHERE;
	while (n < len && goes_on(s, b)) {
		b++;
		n += s->block;
	}
	return n < len ? n : len;
}

int sparse_read(struct sparse *s, const struct blk_req *r, u64 pos, u64 off, u64 len)
{
	u64 host, n;

	for (; len; off += n, pos += n, len -= n) {
		n = run_at(s, off, len, &host);
		if (is_below(s, off / s->block))
			TRY(fio_part_below(*s->parent, r, pos, s->parent_at + off, n));
		else if (host == BLK_NOWHERE)
			req_zero(r, pos, n);
		else
			TRY(fio_part(s->file, BLK_READ, host, r, pos, n));
	}
	return 0;
}

/* A place for block @b at the end of the file. Holds the lock. */
static int place(struct sparse *s, u64 *ret)
{
	u64 at = align_up(s->end, s->align), end;
	struct err e;

	if (!add_ok(at, s->lead + s->block, &end) || end > BLK_MAX)
		return -EFBIG;
	if (s->file->info.size > at + s->lead) /* what somebody left there unused */
		TRY(fio_req(s->file, BLK_WRITE_ZEROES, at + s->lead,
			    (s->file->info.size < end ? s->file->info.size : end) - at - s->lead,
			    NULL, 0));
	if (s->prepare)
		TRY(s->prepare(s, at));
	if (s->file->info.size < end)
		TRY(blk_resize(s->file, end, &e));
	s->end = end;
	*ret = at + s->lead;
	return 0;
}

/*
 * A whole block of a child, at @host: what the parent has, and the request's bytes, or
 * zeroes if @r is NULL.
 */
static int write_filled(struct sparse *s, u64 b, u64 host, const struct blk_req *r, u64 pos,
			u64 in, u64 n)
{
	u8 *buf = malloc(s->block);
	int err = buf ? 0 : -ENOMEM;

	if (!err && n < s->block) /* without the parent there is nothing to fill it with */
		err = *s->parent ? fio_read_below(*s->parent, s->parent_at + b * s->block, buf,
						  s->block) : -ENOLINK;
	if (!err && r)
		req_get(r, pos, buf + in, n);
	else if (!err)
		memset(buf + in, 0, n);
	if (!err)
		err = fio_write(s->file, host, buf, s->block);
	free(buf);
	return err;
}

/* @r NULL: zeroes, of a block that is below. */
static int write_new(struct sparse *s, u64 b, const struct blk_req *r, u64 pos, u64 in, u64 n)
{
	u64 host;
	int err;

	co_lock(&s->lock);
	err = place(s, &host);
	co_unlock(&s->lock);
	if (!err)
		err = is_below(s, b) ? write_filled(s, b, host, r, pos, in, n) :
				       fio_part(s->file, BLK_WRITE, host + in, r, pos, n);
	if (err)
		return err;
	s->map[b] = host;
	s->dirty[b / 64] |= BIT_ULL(b % 64);
	s->nr_dirty++;
	return 0;
}

static int write_block(struct sparse *s, const struct blk_req *r, u64 pos, u64 off, u64 n)
{
	u64 b = off / s->block, in = off % s->block;
	struct range_lock lock;
	int err;

	range_lock(&s->ranges, &lock, b, b, true);
	if (is_there(s, b))
		err = fio_part(s->file, BLK_WRITE, s->map[b] + in, r, pos, n);
	else
		err = write_new(s, b, r, pos, in, n);
	range_unlock(&s->ranges, &lock);
	return err;
}

int sparse_write(struct sparse *s, const struct blk_req *r, u64 pos, u64 off, u64 len)
{
	u64 host, n;

	for (; len; off += n, pos += n, len -= n) {
		n = run_at(s, off, len, &host);
		if (host != BLK_NOWHERE) {
			TRY(fio_part(s->file, BLK_WRITE, host, r, pos, n));
			continue;
		}
		n = s->block - off % s->block;
		n = n < len ? n : len;
		TRY(write_block(s, r, pos, off, n));
	}
	return 0;
}

int sparse_zero(struct sparse *s, u64 off, u64 len)
{
	u64 host, n;

	for (; len; off += n, len -= n) {
		struct range_lock lock;
		int err = 0;

		n = s->block - off % s->block;
		n = n < len ? n : len;
		range_lock(&s->ranges, &lock, off / s->block, off / s->block, true);
		run_at(s, off, n, &host);
		if (host != BLK_NOWHERE)
			err = fio_req(s->file, BLK_WRITE_ZEROES, host, n, NULL, 0);
		else if (is_below(s, off / s->block))
			err = write_new(s, off / s->block, NULL, 0, off % s->block, n);
		range_unlock(&s->ranges, &lock);
		TRY(err);
	}
	return 0;
}

static bool is_dirty(const struct sparse *s, u64 b)
{
	return s->dirty[b / 64] >> (b % 64) & 1;
}

/* Write runs of changed entries. Blocks linked meanwhile wait for the next commit. */
static int write_dirty(struct sparse *s)
{
	u64 words = s->nr / 64 + 1, n;

	for (u64 b = 0; b < s->nr; b += n) {
		n = 1;
		if (!(b % 64) && !s->dirty[b / 64]) {
			n = 64;
			continue;
		}
		if (!is_dirty(s, b))
			continue;
		while (b + n < s->nr && n < 512 && is_dirty(s, b + n))
			n++;
		TRY(s->put_entries(s, b, n));
	}
	memset(s->dirty, 0, words * 8);
	s->nr_dirty = 0;
	return s->finish ? s->finish(s) : 0;
}

int sparse_commit(struct sparse *s)
{
	struct range_lock lock;
	int err;

	if (!s->nr_dirty)
		return fio_flush(s->file);
	/* what is linked from here on has data that is not flushed: keep it out */
	range_lock(&s->ranges, &lock, 0, UINT64_MAX, true);
	err = fio_flush(s->file);
	if (!err)
		err = write_dirty(s);
	range_unlock(&s->ranges, &lock);
	return err ? err : fio_flush(s->file);
}

int sparse_status(struct sparse *s, u64 off, u64 len, struct blk_extent *ret)
{
	u64 host, n = run_at(s, off, len, &host);

	*ret = (struct blk_extent){ .len = n, .host_offset = host,
				    .state = host != BLK_NOWHERE	 ? BLK_DATA :
					     is_below(s, off / s->block) ? BLK_BELOW :
									   BLK_ZERO };
	return 0;
}

int sparse_io(struct sparse *s, struct blk_req *r)
{
	switch (r->op) {
	case BLK_READ:
		return sparse_read(s, r, 0, r->offset, r->len);
	case BLK_WRITE:
		return sparse_write(s, r, 0, r->offset, r->len);
	case BLK_WRITE_ZEROES:
		return sparse_zero(s, r->offset, r->len);
	case BLK_FLUSH:
		return sparse_commit(s);
	case BLK_DISCARD:
		break; /* advice */
	}
	return 0;
}
