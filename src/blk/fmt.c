// SPDX-License-Identifier: Apache-2.0
/* fmt.c - the frame of image formats (see fmt.h) */
#include "blk/fmt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A coroutine that serves requests of one node, one after the other. */
struct fmt_co {
	struct co co;
	struct fmt *f;
	struct blk_req *r;
	int error;
	struct fmt_co *next;
};

/* -- access to another node ------------------------------------------------------------ */

struct fio {
	struct blk_req r;
	struct co *co;
	bool done;
};

static void fio_done(struct blk_req *r)
{
	struct fio *f = container_of(r, struct fio, r);

	f->done = true;
	if (f->co)
		co_wake(f->co);
}

int fio_req(struct blk *b, enum blk_op op, u64 off, u64 len, const struct iovec *iov, int nr)
{
	struct fio f = { .r = { .op = op,
				.offset = off,
				.len = len,
				.iov = iov,
				.nr_iov = nr,
				.done = fio_done },
			 .co = co_self() };

	blk_submit(b, &f.r);
	if (f.co)
		co_wait();
	while (!f.done)
		b->drv->wait(b);
	return -f.r.error;
}

int fio_read(struct blk *b, u64 off, void *buf, size_t len)
{
	struct iovec iov = { buf, len };

	return len ? fio_req(b, BLK_READ, off, len, &iov, 1) : 0;
}

int fio_write(struct blk *b, u64 off, const void *buf, size_t len)
{
	struct iovec iov = { (void *)buf, len };

	return len ? fio_req(b, BLK_WRITE, off, len, &iov, 1) : 0;
}

int fio_flush(struct blk *b)
{
	return fio_req(b, BLK_FLUSH, 0, 0, NULL, 0);
}

int fio_part(struct blk *b, enum blk_op op, u64 off, const struct blk_req *r, u64 pos, u64 len)
{
	struct iovec small[16], *iov = small;
	int n, err;

	if (!pos && len == r->len)
		return fio_req(b, op, off, len, r->iov, r->nr_iov);
	if (r->nr_iov > (int)array_len(small))
		iov = malloc((size_t)r->nr_iov * sizeof *iov);
	if (!iov)
		return -ENOMEM;
	n = blk_slice(r->iov, r->nr_iov, pos, len, iov, r->nr_iov);
	err = fio_req(b, op, off, len, iov, n);
	if (iov != small)
		free(iov);
	return err;
}

int fio_part_below(struct blk *b, const struct blk_req *r, u64 pos, u64 off, u64 len)
{
	u64 have = !b || off >= b->info.size ? 0 : b->info.size - off;

	have = have < len ? have : len;
	if (have < len)
		req_zero(r, pos + have, len - have);
	return have ? fio_part(b, BLK_READ, off, r, pos, have) : 0;
}

int fio_read_below(struct blk *b, u64 off, void *buf, u64 len)
{
	u64 have = !b || off >= b->info.size ? 0 : b->info.size - off;

	have = have < len ? have : len;
	memset((u8 *)buf + have, 0, len - have);
	return fio_read(b, off, buf, have);
}

/* -- range locks ---------------------------------------------------------------------------- */

static bool conflict(const struct range_locks *l, const struct range_lock *r)
{
	for (const struct range_lock *o = l->head; o; o = o->next)
		if (o->first <= r->last && r->first <= o->last && (o->exclusive || r->exclusive))
			return true;
	return false;
}

void range_lock(struct range_locks *l, struct range_lock *r, u64 first, u64 last, bool exclusive)
{
	*r = (struct range_lock){ .first = first, .last = last, .exclusive = exclusive };
	while (co_self() && conflict(l, r))
		co_queue_wait(&l->waiting);
	r->next = l->head;
	l->head = r;
}

void range_unlock(struct range_locks *l, struct range_lock *r)
{
	struct range_lock **p = &l->head;

	while (*p != r)
		p = &(*p)->next;
	*p = r->next;
	co_queue_wake_all(&l->waiting);
}

/* -- the node -------------------------------------------------------------------------------- */

static void serve(struct co *c)
{
	struct fmt_co *fc = container_of(c, struct fmt_co, co);

	fc->error = fc->f->ops->io(fc->f, fc->r);
}

static void begin(struct fmt_co *fc, struct blk_req *r)
{
	fc->r = r;
	co_start(&fc->co);
}

static void served(struct co *c)
{
	struct fmt_co *fc = container_of(c, struct fmt_co, co);
	struct fmt *f = fc->f;
	struct blk_req *r = fc->r, *next = f->wait_head;
	int error = -fc->error;

	if (next) {
		f->wait_head = next->priv[0];
		if (!f->wait_head)
			f->wait_tail = &f->wait_head;
		begin(fc, next);
	} else {
		fc->next = f->free;
		f->free = fc;
	}
	blk_complete(&f->b, r, error);
}

static struct fmt_co *get_co(struct fmt *f)
{
	struct fmt_co *fc = f->free;

	if (fc) {
		f->free = fc->next;
		return fc;
	}
	if (f->nr_co == FMT_CO_MAX)
		return NULL;
	fc = calloc(1, sizeof *fc);
	if (!fc || co_init(&fc->co)) {
		free(fc);
		return NULL;
	}
	fc->f = f;
	fc->co.fn = serve;
	fc->co.end = served;
	f->nr_co++;
	return fc;
}

static void fmt_submit(struct blk *b, struct blk_req *r)
{
	struct fmt *f = (struct fmt *)b;
	struct fmt_co *fc = get_co(f);

	if (fc) {
		begin(fc, r);
	} else if (!f->nr_co) {
		blk_complete(b, r, ENOMEM);
	} else {
		r->priv[0] = NULL;
		*f->wait_tail = r;
		f->wait_tail = (struct blk_req **)&r->priv[0];
	}
}

static void fmt_plug(struct blk *b, bool on)
{
	struct fmt *f = (struct fmt *)b;

	for (unsigned i = 0; i <= f->nr_extent; i++) {
		struct blk *x = i < f->nr_extent ? f->extent[i] : f->backing;

		if (x && on)
			blk_plug(x);
		else if (x)
			blk_unplug(x);
	}
}

static void fmt_wait(struct blk *b)
{
	struct fmt *f = (struct fmt *)b;
	struct blk *on = b->base;

	if (!blk_in_flight(on) && f->backing && blk_in_flight(f->backing))
		on = f->backing;
	for (unsigned i = 0; i < f->nr_extent && !blk_in_flight(on); i++)
		on = f->extent[i];
	on->drv->wait(on);
}

static bool fmt_wait_below(struct blk *b)
{
	struct fmt *f = (struct fmt *)b;

	for (unsigned i = 0; i < f->nr_extent; i++)
		if (blk_wait_any(f->extent[i]))
			return true;
	return f->backing && blk_wait_any(f->backing);
}

static void fmt_close(struct blk *b)
{
	struct fmt *f = (struct fmt *)b;
	struct fmt_co *fc;

	f->ops->close(f);
	while ((fc = f->free)) {
		f->free = fc->next;
		co_fini(&fc->co);
		free(fc);
	}
	if (f->backing)
		blk_close(f->backing);
	for (unsigned i = 0; i < f->nr_extent; i++)
		blk_close(f->extent[i]);
	free(f->extent);
	free(f);
}

static int fmt_status(struct blk *b, u64 off, u64 len, struct blk_extent *ret)
{
	struct fmt *f = (struct fmt *)b;

	*ret = (struct blk_extent){ .len = len, .state = BLK_DATA, .host_offset = BLK_NOWHERE };
	return f->ops->status ? f->ops->status(f, off, len, ret) : 0;
}

static int fmt_resize(struct blk *b, u64 size, struct err *e)
{
	struct fmt *f = (struct fmt *)b;

	if (!f->ops->resize)
		return err_set(e, ENOTSUP, "image: a %s image cannot change its size",
			       image_format_name(f->ops->format));
	return f->ops->resize(f, size, e);
}

static const struct blk_driver fmt_driver = {
	.name = "format",
	.submit = fmt_submit,
	.plug = fmt_plug,
	.wait = fmt_wait,
	.wait_below = fmt_wait_below,
	.status = fmt_status,
	.resize = fmt_resize,
	.close = fmt_close,
};

/* -- the formats ---------------------------------------------------------------------------- */

static const struct {
	const char *name;
	const struct fmt_ops *ops;
} formats[IMAGE_NR] = {
	[IMAGE_RAW] = { "raw", NULL },	   [IMAGE_QCOW2] = { "qcow2", &qcow2_fmt },
	[IMAGE_VPC] = { "vpc", &vpc_fmt }, [IMAGE_VHDX] = { "vhdx", &vhdx_fmt },
	[IMAGE_VDI] = { "vdi", &vdi_fmt }, [IMAGE_VMDK] = { "vmdk", &vmdk_fmt },
	[IMAGE_LUKS] = { "luks", &luks_fmt },
};

const char *image_format_name(enum image_format f)
{
	return formats[f].name;
}

bool image_format_parse(const char *name, enum image_format *ret)
{
	if (!strcmp(name, "vhd"))
		name = "vpc";
	for (unsigned i = 0; i < IMAGE_NR; i++) {
		if (!strcmp(name, formats[i].name)) {
			*ret = i;
			return true;
		}
	}
	return false;
}

int image_probe(struct blk *file, enum image_format *ret, struct err *e)
{
	u8 head[2048], tail[512] = { 0 };
	u64 size = file->info.size, n = size < sizeof head ? size : sizeof head;
	int r;

	memset(head, 0, sizeof head);
	r = fio_read(file, 0, head, n);
	if (!r && size >= 512)
		r = fio_read(file, size - 512, tail, 512);
	if (r)
		return err_set(e, -r, "image: cannot be read: %s", strerror(-r));
	*ret = IMAGE_RAW;
	for (unsigned i = 0; i < IMAGE_NR; i++) {
		const struct fmt_ops *o = formats[i].ops;

		if (o && (o->probe(head, n) || (i == IMAGE_VPC && o->probe(tail, 512)))) {
			*ret = i;
			break;
		}
	}
	return 0;
}

struct blk *image_open_file(struct loop *l, int fd, bool read_only, struct err *e)
{
	return blk_open_file_with(l, fd, read_only, FILE_BYTES, e);
}

struct blk *image_open_file_with(struct loop *l, int fd, bool read_only, unsigned flags,
				 struct err *e)
{
	return blk_open_file_with(l, fd, read_only, FILE_BYTES | flags, e);
}

static void drop_opts(const struct image_opts *o)
{
	if (o->backing)
		blk_close(o->backing);
	for (unsigned i = 0; i < o->nr_extent; i++)
		blk_close(o->extent[i]);
	free(o->extent);
}

/* A raw image: the file itself, its size in whole sectors. */
static struct blk *open_raw(struct blk *file, const struct image_opts *o, struct err *e)
{
	if (o->backing || o->nr_extent) {
		drop_opts(o);
		blk_close(file);
		err_set(e, EINVAL, "image: a raw image has no backing file");
		return NULL;
	}
	file->growable = false; /* but what the file lacks of the last sector is zeroes */
	file->info.block_size = BLK_SECTOR;
	file->info.size = align_up(file->info.size, BLK_SECTOR);
	return file;
}

struct blk *image_open(struct blk *file, enum image_format format, const struct image_opts *o,
		       struct err *e)
{
	const struct fmt_ops *ops = formats[format].ops;
	struct fmt *f;

	if (format == IMAGE_RAW)
		return open_raw(file, o, e);
	f = ops ? calloc(1, ops->node_size) : NULL;
	if (!f) {
		drop_opts(o);
		blk_close(file);
		err_set(e, ops ? ENOMEM : ENOTSUP, "image: %s",
			ops ? "out of memory" : "this format is not built in");
		return NULL;
	}
	blk_init(&f->b, &fmt_driver, file->loop, file);
	f->ops = ops;
	f->backing = o->backing;
	f->extent = o->extent;
	f->nr_extent = o->nr_extent;
	f->wait_tail = &f->wait_head;
	f->b.info = (struct blk_info){ .block_size = BLK_SECTOR,
				       .read_only = o->read_only || file->info.read_only,
				       .discard = !o->read_only };
	if (ops->open(f, o, e)) {
		blk_close(&f->b);
		return NULL;
	}
	return &f->b;
}

int image_peek(struct blk *file, enum image_format f, struct image_info *ret, struct err *e)
{
	*ret = (struct image_info){ .format = f, .size = align_up(file->info.size, BLK_SECTOR) };
	if (f == IMAGE_RAW)
		return 0;
	if (!formats[f].ops)
		return err_set(e, ENOTSUP, "image: this format is not built in");
	return formats[f].ops->peek(file, ret, e);
}

int image_peek_extent(struct blk *file, unsigned i, char ret[IMAGE_NAME_MAX], struct err *e)
{
	const struct fmt_ops *o = formats[IMAGE_VMDK].ops;

	return o ? o->peek_extent(file, i, ret, e) : err_set(e, ENOTSUP, "image: no VMDK");
}

int image_create(struct blk *file, enum image_format f, const struct image_create *c,
		 struct err *e)
{
	if (f == IMAGE_RAW)
		return blk_resize(file, c->size, e);
	if (!formats[f].ops || !formats[f].ops->create)
		return err_set(e, ENOTSUP, "image: cannot create the %s format",
			       image_format_name(f));
	return formats[f].ops->create(file, c, e);
}

/* -- chains ------------------------------------------------------------------------------------ */

static void close_layers(const struct image_layer *layer, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = 0; k < layer[i].nr_extent; k++)
			close(layer[i].extent[k]);
		close(layer[i].fd);
	}
}

/* @o->backing is taken over. */
static struct blk *open_layer(struct loop *l, const struct image_layer *y, struct image_opts o,
			      struct err *e)
{
	unsigned flags = o.direct ? FILE_DIRECT : 0;
	struct blk *file = image_open_file_with(l, y->fd, o.read_only, flags, e);
	bool ok = file;

	o.extent = y->nr_extent ? calloc(y->nr_extent, sizeof *o.extent) : NULL;
	o.nr_extent = 0;
	for (unsigned i = 0; i < y->nr_extent; i++) {
		struct blk *x = o.extent && ok ?
					image_open_file_with(l, y->extent[i], o.read_only, flags,
							     e) :
					(close(y->extent[i]), NULL);

		if (x)
			o.extent[o.nr_extent++] = x;
		ok = ok && x;
	}
	if (ok)
		return image_open(file, y->format, &o, e);
	drop_opts(&o);
	if (file)
		blk_close(file);
	return NULL;
}

struct blk *image_open_layers(struct loop *l, const struct image_layer *layer, unsigned n,
			      const struct image_opts *o, struct err *e)
{
	struct blk *below = o->backing;

	while (n--) {
		struct image_opts x = { .read_only = n ? true : o->read_only,
					.no_backing = o->no_backing,
					.no_repair = o->no_repair,
					.direct = o->direct,
					.backing = below,
					.secret = o->secret };

		below = open_layer(l, &layer[n], x, e);
		if (!below) {
			close_layers(layer, n);
			return NULL;
		}
	}
	return below;
}

bool fmt_is(const struct blk *b, const struct fmt_ops *o)
{
	return b->drv == &fmt_driver && ((const struct fmt *)b)->ops == o;
}

/* -- maintenance: the node's own functions, where it has them ---------------------------------- */

static struct fmt *as_fmt(struct blk *b)
{
	return b->drv == &fmt_driver ? (struct fmt *)b : NULL;
}

static int cannot(struct fmt *f, const char *what, struct err *e)
{
	return err_set(e, ENOTSUP, "image: a %s image %s",
		       image_format_name(f ? f->ops->format : IMAGE_RAW), what);
}

bool image_new_is_zero(struct blk *b)
{
	struct fmt *f = as_fmt(b);

	return !f || f->ops->format != IMAGE_LUKS;
}

struct blk *image_backing(struct blk *b)
{
	struct fmt *f = as_fmt(b);

	return f ? f->backing : NULL;
}

struct blk *image_swap_backing(struct blk *b, struct blk *with)
{
	struct fmt *f = as_fmt(b);
	struct blk *old = f ? f->backing : NULL;

	if (f)
		f->backing = with;
	return old;
}

void image_get_info(struct blk *b, struct image_info *ret)
{
	struct fmt *f = as_fmt(b);

	*ret = (struct image_info){ .format = f ? f->ops->format : IMAGE_RAW,
				    .size = b->info.size };
	if (f && f->ops->info)
		f->ops->info(f, ret);
}

int image_check(struct blk *b, enum image_repair fix, struct image_check *c, struct err *e)
{
	struct fmt *f = as_fmt(b);

	if (!f || !f->ops->check)
		return cannot(f, "has nothing that could be checked", e);
	return f->ops->check(f, fix, c, e);
}

static int snapshot(struct blk *b, int what, const char *name, struct err *e)
{
	struct fmt *f = as_fmt(b);

	if (!f || !f->ops->snapshot)
		return cannot(f, "has no snapshots", e);
	if (b->info.read_only != (what == FMT_SNAP_VIEW))
		return err_set(e, EROFS, "image: opened for %s", b->info.read_only ?
			       "reading only" : "writing");
	return f->ops->snapshot(f, what, name, e);
}

int image_snapshot_create(struct blk *b, const char *name, struct err *e)
{
	return snapshot(b, FMT_SNAP_CREATE, name, e);
}

int image_snapshot_apply(struct blk *b, const char *name, struct err *e)
{
	return snapshot(b, FMT_SNAP_APPLY, name, e);
}

int image_snapshot_delete(struct blk *b, const char *name, struct err *e)
{
	return snapshot(b, FMT_SNAP_DELETE, name, e);
}

static int no_bitmaps(struct blk *b, struct err *e)
{
	struct fmt *f = as_fmt(b);

	return f && f->ops->bitmap_get ? 0 : cannot(f, "has no bitmaps", e);
}

int image_bitmap_get(struct blk *b, unsigned i, struct image_bitmap *ret, struct err *e)
{
	TRY(no_bitmaps(b, e));
	return as_fmt(b)->ops->bitmap_get(as_fmt(b), i, ret, e);
}

int image_bitmap_load(struct blk *b, const char *name, struct dirty *ret, struct err *e)
{
	TRY(no_bitmaps(b, e));
	return as_fmt(b)->ops->bitmap_load(as_fmt(b), name, ret, e);
}

int image_bitmap_store(struct blk *b, const char *name, const struct dirty *bits, bool recording,
		       struct err *e)
{
	TRY(no_bitmaps(b, e));
	if (b->info.read_only)
		return err_set(e, EROFS, "image: opened for reading only");
	return as_fmt(b)->ops->bitmap_store(as_fmt(b), name, bits, recording, e);
}

void image_keep_zeroes(struct blk *b)
{
	struct fmt *f = as_fmt(b);

	if (f)
		f->keep_zeroes = true;
}

int image_set_backing(struct blk *b, const char *name, const char *format, struct err *e)
{
	struct fmt *f = as_fmt(b);

	if (!f || !f->ops->set_backing)
		return cannot(f, "has no backing file", e);
	return f->ops->set_backing(f, name, format, e);
}

int image_snapshot_view(struct blk *b, const char *name, struct err *e)
{
	return snapshot(b, FMT_SNAP_VIEW, name, e);
}

u32 image_compressed_unit(struct blk *b)
{
	struct fmt *f = as_fmt(b);

	return f && f->ops->compressed_unit ? f->ops->compressed_unit(f) : 0;
}

int image_finish(struct blk *b, struct err *e)
{
	struct fmt *f = as_fmt(b);

	return f && f->ops->finish ? f->ops->finish(f, e) : 0;
}
