// SPDX-License-Identifier: Apache-2.0
/*
 * pack.c - writing compressed images: several threads compress (image.h) while the
 * next batch is read
 */
#include "disk/disk_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_BYTES  (4u << 20)
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

static int store(struct image_packer *pack, const struct read_ahead *a, u32 unit,
		 struct progress *p, struct err *e)
{
	for (u64 i = 0; i < a->len; i += unit) {
		u32 len = a->len - i < unit ? (u32)(a->len - i) : unit;

		if (!a->zero && !is_zero(a->buf + i, len))
			TRY(image_packer_put(pack, a->off + i, a->buf + i, len, e));
		if (disk_interrupted)
			return err_set(e, EINTR, "interrupted");
		progress_add(p, len);
	}
	return 0;
}

int copy_compressed(struct loop *l UNUSED, struct blk *src, struct blk *dst, struct progress *p,
		    struct err *e)
{
	struct read_ahead a[2] = { 0 };
	u32 unit = image_compressed_unit(dst);
	struct image_packer *pack = image_packer_new(dst, e);
	struct blk_info info;
	unsigned k = 0;
	int r = 0;

	if (!pack)
		return -e->code;
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
			r = store(pack, &a[k], unit, p, e);
	}
	blk_drain(src);
	if (!r)
		r = image_packer_finish(pack, e);
	image_packer_free(pack);
	free(a[0].buf);
	free(a[1].buf);
	return r;
}
