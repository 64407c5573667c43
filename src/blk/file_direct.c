// SPDX-License-Identifier: Apache-2.0
/*
 * file_direct.c - a file past the host's page cache: O_DIRECT and its alignment (open(2))
 *
 * Requests whose offset, length and buffers are aligned go to the host as they are. Others
 * go piece by piece through a buffer of ours that holds whole blocks:
 *
 *	read	the blocks, then copy
 *	write	the blocks, if only parts of them are written; then copy, then write them back
 *
 * (D1) While a part of a block is being written, no other write to that block is in flight.
 * (D2) f->end is the exact end of the file once everything in flight is done. Writing back
 *	the last block may make the file longer than that; it is cut again at once.
 */
#include "base/bits.h"
#include "blk/file_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE	      (256u << 10) /* of a request, bounced at a time */
#define ALIGN_UNKNOWN 4096u
#define ALIGN_MAX     65536u

static bool is_write(const struct blk_req *r)
{
	return r->op == BLK_WRITE || r->op == BLK_WRITE_ZEROES || r->op == BLK_DISCARD;
}

static bool is_partial(const struct file *f, const struct blk_req *r)
{
	return f->align && is_write(r) && (r->offset | r->len) % f->align;
}

static bool share_a_block(const struct file *f, const struct blk_req *a, const struct blk_req *b)
{
	return align_down(a->offset, f->align) < b->offset + b->len &&
	       align_down(b->offset, f->align) < a->offset + a->len;
}

bool direct_must_wait(const struct file *f, const struct blk_req *r)
{
	bool partial = is_partial(f, r);

	if (!f->align || !is_write(r) || (!partial && !f->nr_partial))
		return false;
	for (unsigned i = 0; i < AIO_DEPTH; i++) {
		const struct blk_req *o = f->slot[i].r;

		if (o && is_write(o) && (partial || is_partial(f, o)) && share_a_block(f, o, r))
			return true;
	}
	return false;
}

void direct_begin(struct slot *s)
{
	struct file *f = s->f;
	const struct blk_req *r = s->r;

	f->nr_partial += is_partial(f, r);
	if (is_write(r) && r->op != BLK_DISCARD && r->offset + r->len > f->end)
		f->end = r->offset + r->len;
}

void direct_end(struct slot *s)
{
	s->f->nr_partial -= is_partial(s->f, s->r);
	free(s->bounce);
	s->bounce = NULL;
}

/* After a short transfer the rest may begin inside a block. */
bool direct_needs_bounce(const struct slot *s)
{
	const struct file *f = s->f;
	const struct blk_req *r = s->r;

	if (!f->align)
		return false;
	if (s->bounce || (r->offset + s->done) % f->align || r->len % f->align)
		return true;
	for (int i = 0; i < r->nr_iov && r->op != BLK_WRITE_ZEROES; i++)
		if ((uintptr_t)r->iov[i].iov_base % f->align_mem || r->iov[i].iov_len % f->align)
			return true;
	return false;
}

/* Where the piece begins in the request's buffers, and how much of them it holds. */
static u64 piece_len(const struct slot *s)
{
	u64 at = s->r->offset + s->done, left = s->r->len - s->done;

	return left < s->to - at ? left : s->to - at;
}

static void begin_piece(struct slot *s)
{
	const struct file *f = s->f;
	u64 at = s->r->offset + s->done, end = align_up(s->r->offset + s->r->len, f->align);

	s->from = align_down(at, f->align);
	s->to = end - s->from < PIECE ? end : s->from + PIECE;
	s->got = 0;
	s->filled = s->r->op == BLK_READ || (s->from == at && s->to - at == piece_len(s));
}

static void copy_in(struct slot *s)
{
	u8 *to = s->bounce + (s->r->offset + s->done - s->from);

	if (s->r->op == BLK_WRITE_ZEROES)
		memset(to, 0, piece_len(s));
	else
		req_get(s->r, s->done, to, piece_len(s));
}

static int get_bounce(struct slot *s)
{
	const struct file *f = s->f;
	u64 from = align_down(s->r->offset + s->done, f->align);
	u64 len = align_up(s->r->offset + s->r->len, f->align) - from;
	void *p;

	if (posix_memalign(&p, ALIGN_UNKNOWN > f->align ? ALIGN_UNKNOWN : f->align,
			   len < PIECE ? len : PIECE))
		return -ENOMEM;
	s->bounce = p;
	s->to = 0;
	return 0;
}

int direct_step(struct slot *s)
{
	bool reading = s->r->op == BLK_READ;

	if (!s->bounce && get_bounce(s))
		return ENOMEM;
	if (!s->to)
		begin_piece(s);
	s->aio.op = reading || !s->filled ? AIO_READ : AIO_WRITE;
	if (s->aio.op == AIO_WRITE)
		copy_in(s);
	s->aio.off = s->from + s->got;
	s->one = (struct iovec){ s->bounce + s->got, s->to - s->from - s->got };
	s->aio.iov = &s->one;
	s->aio.nr_iov = 1;
	return 0;
}

static int piece_done(struct slot *s, u64 n)
{
	s->done += n;
	s->to = 0;
	return s->done < s->r->len ? 0 : -1;
}

/* Bytes came, or the end of the file, which may lie inside a block. */
static int after_read(struct slot *s, u64 n)
{
	u64 skip = s->r->offset + s->done - s->from, want = piece_len(s), len = s->to - s->from;
	bool whole, reading = s->r->op == BLK_READ;

	s->got += n;
	whole = s->got == len;
	if (!whole && n && s->got % s->f->align == 0)
		return 0; /* short, but not at the end */
	memset(s->bounce + s->got, 0, len - s->got);
	if (!reading) {
		s->filled = true;
		s->got = 0;
		return 0;
	}
	if (s->got < skip + want && !s->f->b.zero_tail)
		return EIO; /* the file was cut short under us */
	req_put(s->r, s->done, s->bounce + skip, want);
	return piece_done(s, want);
}

static int after_write(struct slot *s, u64 n)
{
	struct file *f = s->f;

	s->got += align_down(n, f->align);
	if (s->got < s->to - s->from)
		return n < f->align ? EIO : 0;
	if (s->to > f->end && ftruncate(f->fd, (off_t)f->end) && errno != EINVAL)
		return errno; /* EINVAL: a device */
	return piece_done(s, piece_len(s));
}

int direct_stepped(struct slot *s, u64 n)
{
	return s->aio.op == AIO_READ ? after_read(s, n) : after_write(s, n);
}

/* -- opening ------------------------------------------------------------------ */

/* What the host wants aligned [statx(2), STATX_DIOALIGN]. */
static void get_alignment(struct file *f)
{
	struct statx x;
	int size;

	f->align_mem = f->align = ALIGN_UNKNOWN;
	if (!statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &x) &&
	    (x.stx_mask & STATX_DIOALIGN) && x.stx_dio_offset_align) {
		f->align_mem = x.stx_dio_mem_align;
		f->align = x.stx_dio_offset_align;
	} else if (!ioctl(f->fd, BLKSSZGET, &size) && size > 0) {
		f->align_mem = f->align = (u32)size;
	}
	if (f->align < BLK_SECTOR)
		f->align = BLK_SECTOR;
	if (!f->align_mem)
		f->align_mem = 1;
}

static bool is_power(u32 n)
{
	return n && !(n & (n - 1)) && n <= ALIGN_MAX;
}

int direct_open(struct file *f, struct err *e)
{
	int mode = fcntl(f->fd, F_GETFL);
	struct stat st;

	get_alignment(f);
	if (mode < 0 || fstat(f->fd, &st) || !is_power(f->align) || !is_power(f->align_mem) ||
	    fcntl(f->fd, F_SETFL, mode | O_DIRECT)) {
		f->align = 0;
		return err_set(e, EINVAL, "image: the file system it lies on cannot leave out the "
					  "host's cache: want another cache mode");
	}
	f->end = S_ISBLK(st.st_mode) ? UINT64_MAX : (u64)st.st_size;
	return 0;
}
