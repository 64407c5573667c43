// SPDX-License-Identifier: Apache-2.0
/*
 * pack.c - writing compressed images: pieces are compressed by several threads and
 * written in order. While one batch is compressed the next one is read.
 */
#include "disk/disk_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_BYTES  (8u << 20)
#define BATCH_PIECES 1024u

struct read_ahead {
	struct blk_req r;
	struct iovec iov;
	u8 *buf;
	u64 off, len;
	bool zero, done;
};

static void read_done(struct blk_req *r)
{
	container_of(r, struct read_ahead, r)->done = true;
}

static bool is_zero(const u8 *p, size_t n)
{
	return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

/* Begin to read the batch at @off; nothing else is in flight. */
static int begin(struct blk *src, struct read_ahead *a, u64 off, u64 size, u32 unit)
{
	u64 max = (u64)unit * BATCH_PIECES < BATCH_BYTES ? (u64)unit * BATCH_PIECES : BATCH_BYTES;
	struct blk_extent x;

	a->off = off;
	a->len = size - off < max ? size - off : max;
	TRY(copy_status(src, off, a->len, &x));
	a->zero = x.state == BLK_ZERO && x.len == a->len;
	a->done = a->zero;
	a->iov = (struct iovec){ a->buf, a->len };
	a->r = (struct blk_req){ .op = BLK_READ, .offset = off, .len = a->len, .iov = &a->iov,
				 .nr_iov = 1, .done = read_done };
	if (!a->zero)
		blk_submit(src, &a->r);
	return 0;
}

static int store(struct blk *dst, const struct read_ahead *a, u32 unit, struct progress *p,
		 struct err *e)
{
	const void *piece[BATCH_PIECES];
	u64 off[BATCH_PIECES];
	u32 len[BATCH_PIECES];
	unsigned n = 0;

	for (u64 i = 0; i < a->len && !a->zero; i += unit) {
		len[n] = a->len - i < unit ? (u32)(a->len - i) : unit;
		if (is_zero(a->buf + i, len[n]))
			continue;
		piece[n] = a->buf + i;
		off[n++] = a->off + i;
	}
	if (n)
		TRY(image_write_compressed_many(dst, off, piece, len, n, e));
	progress_add(p, a->len);
	return 0;
}

int copy_compressed(struct loop *l UNUSED, struct blk *src, struct blk *dst, struct progress *p,
		    struct err *e)
{
	struct read_ahead a[2] = { 0 };
	u32 unit = image_compressed_unit(dst);
	struct blk_info info;
	unsigned k = 0;
	int r = 0;

	if (!unit)
		return err_set(e, ENOTSUP, "this format cannot be compressed");
	blk_get_info(src, &info);
	a[0].buf = malloc(BATCH_BYTES);
	a[1].buf = malloc(BATCH_BYTES);
	if (!a[0].buf || !a[1].buf)
		r = err_set(e, ENOMEM, "out of memory");
	if (!r && info.size)
		r = begin(src, &a[0], 0, info.size, unit);
	for (u64 off = 0; off < info.size && !r; k = !k) {
		blk_drain(src);
		if (a[k].r.error)
			r = err_set(e, a[k].r.error, "cannot read: %s", strerror(a[k].r.error));
		off += a[k].len;
		if (!r && off < info.size && begin(src, &a[!k], off, info.size, unit))
			r = err_set(e, EIO, "cannot read the image's tables");
		if (!r)
			r = store(dst, &a[k], unit, p, e);
		if (!r && disk_interrupted)
			r = err_set(e, EINTR, "interrupted");
	}
	blk_drain(src);
	free(a[0].buf);
	free(a[1].buf);
	return r;
}
