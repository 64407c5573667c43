// SPDX-License-Identifier: Apache-2.0
/*
 * copy.c - moving data between nodes: several pieces at a time, zeroes skipped
 *
 * What to copy is found out in segments with nothing in flight (blk_status), then
 * copied with DEPTH pieces in flight, each read, scanned for zeroes and written.
 */
#include "disk/disk_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH	    8u
#define PIECE	    (256u << 10)
#define SEGMENT	    (2ull << 30)
#define MAX_EXTENTS 8192u
#define ZERO_UNIT   4096u  /* zeroes are looked for in units of this */
#define ZERO_GAP    32768u /* fewer zeroes between data are written */

struct extent {
	u64 off, len;
};

struct piece {
	struct blk_req r;
	struct iovec iov;
	struct copy *c;
	u8 *buf;
	u64 off, len, at; /* at: bytes written or passed over */
	bool reading;
};

struct copy {
	struct blk *src, *dst;
	struct progress *p;
	struct extent extent[MAX_EXTENTS];
	unsigned nr_extent, next;
	u64 pos; /* in the next extent */
	unsigned busy;
	int error; /* the first one; negative */
	bool write_failed;
	bool all; /* zeroes must be written */
	struct piece piece[DEPTH];
};

int copy_status(struct blk *b, u64 off, u64 len, struct blk_extent *ret)
{
	struct blk *below;

	TRY(blk_status(b, off, len, ret));
	while (ret->state == BLK_BELOW) {
		struct blk_info i;

		below = image_backing(b);
		if (below)
			blk_get_info(below, &i);
		if (!below || off >= i.size) {
			ret->state = BLK_ZERO;
			break;
		}
		b = below;
		TRY(blk_status(b, off, ret->len < i.size - off ? ret->len : i.size - off, ret));
	}
	return 0;
}

static bool is_zero(const u8 *p, size_t n)
{
	return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

static void next_piece(struct piece *p);

/* The next run of data in the piece: *ret_len bytes at p->at, which skips zeroes. */
static bool find_data(struct piece *p, u64 *ret_len)
{
	u64 end, zeroes = 0;

	if (p->c->all) {
		*ret_len = p->len - p->at;
		return *ret_len;
	}
	while (p->at < p->len) {
		u64 n = p->len - p->at < ZERO_UNIT ? p->len - p->at : ZERO_UNIT;

		if (!is_zero(p->buf + p->at, n))
			break;
		p->at += n;
	}
	end = p->at;
	for (u64 i = p->at; i < p->len && zeroes < ZERO_GAP; i += ZERO_UNIT) {
		u64 n = p->len - i < ZERO_UNIT ? p->len - i : ZERO_UNIT;

		if (is_zero(p->buf + i, n)) {
			zeroes += n;
		} else {
			zeroes = 0;
			end = i + n;
		}
	}
	*ret_len = end - p->at;
	return *ret_len;
}

static void piece_done(struct blk_req *r);

static void write_more(struct piece *p)
{
	u64 n;

	if (p->c->error || !find_data(p, &n)) {
		progress_add(p->c->p, p->len);
		next_piece(p);
		return;
	}
	p->iov = (struct iovec){ p->buf + p->at, n };
	p->r = (struct blk_req){ .op = BLK_WRITE, .offset = p->off + p->at, .len = n,
				 .iov = &p->iov, .nr_iov = 1, .done = piece_done };
	p->at += n;
	blk_submit(p->c->dst, &p->r);
}

static void piece_done(struct blk_req *r)
{
	struct piece *p = container_of(r, struct piece, r);

	if (r->error && !p->c->error) {
		p->c->error = -r->error;
		p->c->write_failed = !p->reading;
	}
	p->reading = false;
	write_more(p);
}

/* The next bytes of the segment's data are this piece's. */
static void next_piece(struct piece *p)
{
	struct copy *c = p->c;
	struct extent *x = &c->extent[c->next];

	if (c->next == c->nr_extent || c->error || disk_interrupted) {
		c->busy--;
		return;
	}
	p->off = x->off + c->pos;
	p->len = x->len - c->pos < PIECE ? x->len - c->pos : PIECE;
	p->at = 0;
	p->reading = true;
	c->pos += p->len;
	if (c->pos == x->len) {
		c->next++;
		c->pos = 0;
	}
	p->iov = (struct iovec){ p->buf, p->len };
	p->r = (struct blk_req){ .op = BLK_READ, .offset = p->off, .len = p->len, .iov = &p->iov,
				 .nr_iov = 1, .done = piece_done };
	blk_submit(c->src, &p->r);
}

/* Note what is data from @off on. Return: the end of what was looked at, or -errno. */
static i64 plan(struct copy *c, u64 off, u64 size)
{
	u64 end = size - off < SEGMENT ? size : off + SEGMENT;
	struct blk_extent x;

	c->nr_extent = c->next = 0;
	c->pos = 0;
	while (off < end && c->nr_extent < MAX_EXTENTS) {
		struct extent *last = c->nr_extent ? &c->extent[c->nr_extent - 1] : NULL;

		TRY(copy_status(c->src, off, end - off, &x));
		if (x.state == BLK_ZERO && !c->all)
			progress_add(c->p, x.len);
		else if (last && last->off + last->len == off)
			last->len += x.len;
		else
			c->extent[c->nr_extent++] = (struct extent){ off, x.len };
		off += x.len;
		if (disk_interrupted)
			return -EINTR;
	}
	return (i64)off;
}

static void copy_segment(struct loop *l, struct copy *c)
{
	c->busy = DEPTH;
	for (unsigned i = 0; i < DEPTH; i++)
		next_piece(&c->piece[i]);
	while (c->busy)
		loop_once(l, 1000);
}

static int explain(int r, bool writing, struct err *e)
{
	return err_set(e, -r, "cannot %s: %s", writing ? "write" : "read", strerror(-r));
}

int copy_image(struct loop *l, struct blk *src, struct blk *dst, struct progress *p, struct err *e)
{
	struct copy *c = calloc(1, sizeof *c);
	u8 *mem = NULL;
	struct blk_info info;
	i64 at = 0;

	if (!c || posix_memalign((void **)&mem, 4096, (size_t)DEPTH * PIECE)) {
		free(c);
		return err_set(e, ENOMEM, "out of memory");
	}
	blk_get_info(src, &info);
	c->src = src;
	c->dst = dst;
	c->all = !image_new_is_zero(dst);
	c->p = p;
	for (unsigned i = 0; i < DEPTH; i++) {
		c->piece[i].c = c;
		c->piece[i].buf = mem + (size_t)i * PIECE;
	}
	while ((u64)at < info.size) {
		at = plan(c, (u64)at, info.size);
		if (at < 0)
			c->error = (int)at;
		else
			copy_segment(l, c);
		if (disk_interrupted && !c->error)
			c->error = -EINTR;
		if (c->error)
			break;
	}
	at = c->error ? explain(c->error, c->write_failed, e) : 0;
	free(mem);
	free(c);
	return (int)at;
}

/* -- between layers ------------------------------------------------------------------------- */

static int finish_piece(struct progress *p, u64 n)
{
	progress_add(p, n);
	return disk_interrupted ? -EINTR : 0;
}

struct wait_req {
	struct blk_req r;
	struct iovec iov;
	bool done;
};

static void wait_done(struct blk_req *r)
{
	container_of(r, struct wait_req, r)->done = true;
}

static int do_wait(struct blk *b, enum blk_op op, u64 off, void *buf, u64 len)
{
	struct wait_req w = { .iov = { buf, len } };

	w.r = (struct blk_req){ .op = op, .offset = off, .len = len, .iov = &w.iov, .nr_iov = 1,
				.done = wait_done };
	blk_submit(b, &w.r);
	blk_drain(b);
	return -w.r.error;
}

static int one_piece(struct blk *from, struct blk *to, u64 off, u64 len, bool zero, u8 *buf)
{
	if (zero)
		return do_wait(to, BLK_WRITE_ZEROES, off, NULL, len);
	TRY(do_wait(from, BLK_READ, off, buf, len));
	return do_wait(to, BLK_WRITE, off, buf, len);
}

int copy_down(struct blk *b, struct blk *to, struct progress *p, struct err *e)
{
	u8 *buf = malloc(PIECE);
	struct blk_info info;
	struct blk_extent x;
	int r = buf ? 0 : -ENOMEM;

	blk_get_info(b, &info);
	for (u64 off = 0; off < info.size && !r; off += x.len) {
		r = blk_status(b, off, info.size - off < PIECE ? info.size - off : PIECE, &x);
		if (!r && x.state != BLK_BELOW)
			r = one_piece(b, to, off, x.len, x.state == BLK_ZERO, buf);
		if (!r)
			r = finish_piece(p, x.len);
	}
	if (!r)
		r = do_wait(to, BLK_FLUSH, 0, NULL, 0);
	free(buf);
	return r ? explain(r, true, e) : 0;
}

static int read_or_zero(struct blk *b, u64 off, u8 *buf, u64 len)
{
	struct blk_info i = { 0 };
	u64 n;

	if (b)
		blk_get_info(b, &i);
	n = off >= i.size ? 0 : i.size - off;
	n = n < len ? n : len;
	memset(buf + n, 0, len - n);
	return n ? do_wait(b, BLK_READ, off, buf, n) : 0;
}

int copy_up_difference(struct blk *b, struct blk *old, struct blk *newer, struct progress *p,
		       struct err *e)
{
	u8 *buf = malloc(2 * PIECE);
	struct blk_info info;
	struct blk_extent x;
	int r = buf ? 0 : -ENOMEM;

	image_keep_zeroes(b);
	blk_get_info(b, &info);
	for (u64 off = 0; off < info.size && !r; off += x.len) {
		r = blk_status(b, off, info.size - off < PIECE ? info.size - off : PIECE, &x);
		if (!r && x.state == BLK_BELOW) {
			r = read_or_zero(old, off, buf, x.len);
			if (!r)
				r = read_or_zero(newer, off, buf + PIECE, x.len);
			if (!r && memcmp(buf, buf + PIECE, x.len) != 0)
				r = do_wait(b, is_zero(buf, x.len) ? BLK_WRITE_ZEROES : BLK_WRITE,
					    off, buf, x.len);
		}
		if (!r)
			r = finish_piece(p, x.len);
	}
	if (!r)
		r = do_wait(b, BLK_FLUSH, 0, NULL, 0);
	free(buf);
	return r ? explain(r, true, e) : 0;
}
