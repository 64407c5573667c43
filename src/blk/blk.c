// SPDX-License-Identifier: Apache-2.0
/* blk.c - what every block node has in common: checks, counting, draining (see blk.h) */
#include "base/bits.h"
#include "blk/blk_int.h"

#include <errno.h>
#include <string.h>

void blk_init(struct blk *b, const struct blk_driver *drv, struct loop *l, struct blk *base)
{
	b->drv = drv;
	b->loop = l;
	b->base = base;
}

u64 blk_iov_len(const struct iovec *iov, int nr)
{
	u64 n = 0;

	for (int i = 0; i < nr; i++)
		n += iov[i].iov_len;
	return n;
}

int blk_slice(const struct iovec *iov, int nr, u64 from, u64 len, struct iovec *out, int max)
{
	int n = 0;

	for (int i = 0; i < nr && len && n < max; i++) {
		u64 k = iov[i].iov_len;

		if (from >= k) {
			from -= k;
			continue;
		}
		k -= from;
		k = k < len ? k : len;
		out[n++] = (struct iovec){ (u8 *)iov[i].iov_base + from, k };
		from = 0;
		len -= k;
	}
	return n;
}

/* Call @step for each piece of [pos, pos + len) of the request's buffers. */
#define FOR_PIECES(r, pos, len, piece, n)                                                          \
	for (int i_ = 0; i_ < (r)->nr_iov && (len); i_++)                                          \
		if ((pos) >= (r)->iov[i_].iov_len) {                                               \
			(pos) -= (r)->iov[i_].iov_len;                                             \
		} else if (((piece) = (u8 *)(r)->iov[i_].iov_base + (pos)),                        \
			   ((n) = (r)->iov[i_].iov_len - (pos)), ((n) = (n) < (len) ? (n) : (len)), \
			   ((len) -= (n)), ((pos) = 0), true)

void req_zero(const struct blk_req *r, u64 pos, u64 len)
{
	u8 *p;
	u64 n;

	FOR_PIECES(r, pos, len, p, n)
		memset(p, 0, n);
}

void req_put(const struct blk_req *r, u64 pos, const void *from, u64 len)
{
	const u8 *src = from;
	u8 *p;
	u64 n;

	FOR_PIECES(r, pos, len, p, n) {
		memcpy(p, src, n);
		src += n;
	}
}

void req_get(const struct blk_req *r, u64 pos, void *to, u64 len)
{
	u8 *dst = to, *p;
	u64 n;

	FOR_PIECES(r, pos, len, p, n) {
		memcpy(dst, p, n);
		dst += n;
	}
}

static int check(const struct blk *b, const struct blk_req *r)
{
	if (r->op == BLK_FLUSH)
		return 0;
	if (r->op != BLK_READ && b->info.read_only)
		return EROFS;
	if (b->growable)
		return r->len > BLK_MAX || r->offset > BLK_MAX - r->len ? EFBIG : 0;
	if (r->offset > b->info.size || r->len > b->info.size - r->offset)
		return EINVAL;
	if ((r->offset | r->len) % b->info.block_size)
		return EINVAL;
	if ((r->op == BLK_READ || r->op == BLK_WRITE) && blk_iov_len(r->iov, r->nr_iov) != r->len)
		return EINVAL;
	return 0;
}

void blk_submit(struct blk *b, struct blk_req *r)
{
	int err = check(b, r);

	b->in_flight++;
	if (b->growable && !err && (r->op == BLK_WRITE || r->op == BLK_WRITE_ZEROES) &&
	    r->offset + r->len > b->info.size)
		b->info.size = r->offset + r->len;
	if (err || (r->op == BLK_FLUSH ? b->no_flush : !r->len))
		blk_complete(b, r, err);
	else
		b->drv->submit(b, r);
}

void blk_complete(struct blk *b, struct blk_req *r, int error)
{
	b->in_flight--;
	r->error = error;
	r->done(r);
}

void blk_plug(struct blk *b)
{
	if (b->plugged++)
		return;
	if (b->drv->plug)
		b->drv->plug(b, true);
	if (b->base)
		blk_plug(b->base);
}

void blk_unplug(struct blk *b)
{
	if (--b->plugged)
		return;
	if (b->base)
		blk_unplug(b->base);
	if (b->drv->plug)
		b->drv->plug(b, false);
}

void blk_drain(struct blk *b)
{
	while (b->in_flight)
		b->drv->wait(b);
}

void blk_no_flush(struct blk *b)
{
	b->no_flush = true;
}

bool blk_wait_any(struct blk *b)
{
	if (b->in_flight) {
		b->drv->wait(b);
		return true;
	}
	if (b->base && blk_wait_any(b->base))
		return true;
	return b->drv->wait_below && b->drv->wait_below(b);
}

unsigned blk_in_flight(const struct blk *b)
{
	return b->in_flight;
}

void blk_get_info(const struct blk *b, struct blk_info *ret)
{
	*ret = b->info;
}

int blk_resize(struct blk *b, u64 size, struct err *e)
{
	if (b->info.read_only)
		return err_set(e, EROFS, "image: opened for reading only");
	if (!b->drv->resize)
		return err_set(e, ENOTSUP, "image: %s cannot change its size", b->drv->name);
	return b->drv->resize(b, size, e);
}

int blk_status(struct blk *b, u64 offset, u64 len, struct blk_extent *ret)
{
	if (!range_ok(offset, len, b->info.size) || !len)
		return -EINVAL;
	if (b->drv->status)
		return b->drv->status(b, offset, len, ret);
	*ret = (struct blk_extent){ .len = len, .state = BLK_DATA, .host_offset = BLK_NOWHERE };
	return 0;
}

void blk_close(struct blk *b)
{
	while (b) {
		struct blk *base = b->base;

		b->drv->close(b);
		b = base;
	}
}

/* -- synchronous access ------------------------------------------------------ */

struct now {
	struct blk_req r;
	bool finished;
};

static void now_done(struct blk_req *r)
{
	container_of(r, struct now, r)->finished = true;
}

static int now(struct blk *b, enum blk_op op, u64 offset, void *buf, size_t len)
{
	struct iovec iov = { buf, len };
	struct now n = { .r = { .op = op,
				.offset = offset,
				.len = len,
				.iov = &iov,
				.nr_iov = 1,
				.done = now_done } };

	blk_submit(b, &n.r);
	while (!n.finished)
		b->drv->wait(b);
	return -n.r.error;
}

int blk_read_now(struct blk *b, u64 offset, void *buf, size_t len)
{
	return now(b, BLK_READ, offset, buf, len);
}

int blk_write_now(struct blk *b, u64 offset, const void *buf, size_t len)
{
	return now(b, BLK_WRITE, offset, (void *)buf, len);
}

int blk_flush_now(struct blk *b)
{
	return now(b, BLK_FLUSH, 0, NULL, 0);
}
