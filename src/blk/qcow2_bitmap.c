// SPDX-License-Identifier: Apache-2.0
/*
 * qcow2_bitmap.c - dirty bitmaps kept in an image [QEMU docs/interop/qcow2.txt, "Bitmaps"]
 *
 * The directory is read as a whole, changed in memory and written to a new place; then
 * the header points there. While an image is written its bitmaps are marked as in use
 * (q_begin_writing()): who finds one so knows that writes are missing in it.
 */
#include "blk/dirty.h"
#include "blk/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DIR_FIXED = 24, EXT_LEN = 24, MAX_ENTRIES = 65535, MAX_NAME = 1023, TYPE_DIRTY = 1 };
enum { F_IN_USE = 1, F_AUTO = 2, F_EXTRA_COMPATIBLE = 4 };
#define MAX_DIR	  (64u << 20)
#define MAX_BYTES (512u << 20) /* of one bitmap */
#define ALL_ONES  1ull

struct entry {
	u64 table_off;
	u32 table_size, flags, extra_len;
	u8 type, shift;
	u16 name_len;
	const u8 *extra, *name; /* in the directory's buffer, or the caller's */
};

struct dir {
	u8 *buf;
	u64 off, len; /* where it is in the file */
	struct entry *e;
	u32 n;
};

static int failed(int r, const char *doing, struct err *e)
{
	if (r == -EINVAL)
		return err_set(e, EINVAL, "qcow2: the bitmap directory makes no sense");
	return err_set(e, -r, "qcow2: cannot %s: %s", doing, strerror(-r));
}

/* -- the directory -------------------------------------------------------------------------- */

static struct q_ext *find_ext(struct qcow2 *q)
{
	for (unsigned i = 0; i < q->nr_ext; i++)
		if (q->ext[i].type == EXT_BITMAPS)
			return &q->ext[i];
	return NULL;
}

static int parse_entry(const u8 *p, u64 left, struct entry *e, u64 *ret_len)
{
	u64 n;

	if (left < DIR_FIXED)
		return -EINVAL;
	*e = (struct entry){ .table_off = be64(p), .table_size = be32(p + 8),
			     .flags = be32(p + 12), .type = p[16], .shift = p[17],
			     .name_len = be16(p + 18), .extra_len = be32(p + 20) };
	n = align_up(DIR_FIXED + (u64)e->extra_len + e->name_len, 8);
	if (n > left || !e->name_len || e->name_len > MAX_NAME || e->shift < DIRTY_SHIFT_MIN ||
	    e->shift > DIRTY_SHIFT_MAX)
		return -EINVAL;
	e->extra = p + DIR_FIXED;
	e->name = e->extra + e->extra_len;
	*ret_len = n;
	return 0;
}

static void drop_dir(struct dir *d)
{
	free(d->buf);
	free(d->e);
}

/* What the image has, with room for one more. */
static int load_dir(struct qcow2 *q, struct dir *d)
{
	const struct q_ext *x = find_ext(q);
	u64 at = 0, n = 0;
	int r = 0;

	*d = (struct dir){ .n = 0 };
	if (x && x->len >= EXT_LEN && q->h.autoclear & AUTOCLEAR_BITMAPS) {
		d->n = be32(x->data);
		d->len = be64(x->data + 8);
		d->off = be64(x->data + 16);
	}
	if (d->n > MAX_ENTRIES || d->len > MAX_DIR || d->len / DIR_FIXED < d->n ||
	    d->off % q->cluster_size ||
	    !range_ok(d->off, d->len, align_up(q->f.b.base->info.size, q->cluster_size)))
		return -EINVAL;
	d->buf = malloc(d->len + 1);
	d->e = calloc(d->n + 1, sizeof *d->e);
	if (!d->buf || !d->e)
		r = -ENOMEM;
	if (!r)
		r = fio_read_below(q->f.b.base, d->off, d->buf, d->len);
	for (u32 i = 0; i < d->n && !r; i++, at += n)
		r = parse_entry(d->buf + at, d->len - at, &d->e[i], &n);
	if (r)
		drop_dir(d);
	return r;
}

static struct entry *find(const struct dir *d, const char *name)
{
	for (u32 i = 0; i < d->n; i++)
		if (d->e[i].name_len == strlen(name) &&
		    !memcmp(d->e[i].name, name, d->e[i].name_len))
			return &d->e[i];
	return NULL;
}

static u64 entry_size(const struct entry *e)
{
	return align_up(DIR_FIXED + (u64)e->extra_len + e->name_len, 8);
}

static void put_entry(const struct entry *e, u8 *p)
{
	put_be64(p, e->table_off);
	put_be32(p + 8, e->table_size);
	put_be32(p + 12, e->flags);
	p[16] = e->type;
	p[17] = e->shift;
	put_be16(p + 18, e->name_len);
	put_be32(p + 20, e->extra_len);
	if (e->extra_len)
		memcpy(p + DIR_FIXED, e->extra, e->extra_len);
	memcpy(p + DIR_FIXED + e->extra_len, e->name, e->name_len);
}

/* The header says where the directory is; none: @n is 0. */
static int put_ext(struct qcow2 *q, u32 n, u64 off, u64 len)
{
	struct q_ext *x = find_ext(q);

	if (!x && q->nr_ext == Q_EXT_MAX)
		return -ENOSPC;
	if (!x || x->len != EXT_LEN) {
		u8 *p = calloc(1, EXT_LEN + 1);

		if (!p)
			return -ENOMEM;
		if (!x)
			x = &q->ext[q->nr_ext++];
		else
			free(x->data);
		*x = (struct q_ext){ EXT_BITMAPS, EXT_LEN, p };
	}
	put_be32(x->data, n);
	put_be32(x->data + 4, 0);
	put_be64(x->data + 8, len);
	put_be64(x->data + 16, off);
	if (!n) {
		free(x->data);
		*x = q->ext[--q->nr_ext];
	}
	q->h.autoclear = n ? q->h.autoclear | AUTOCLEAR_BITMAPS :
			     q->h.autoclear & ~(u64)AUTOCLEAR_BITMAPS;
	return q_write_header(q);
}

/* Write the directory to a new place, make it the valid one, free the old one. */
static int write_dir(struct qcow2 *q, const struct dir *d)
{
	u64 len = 0, off = 0, at = 0, bits = q->h.cluster_bits;
	u8 *p = NULL;
	int r = 0;

	for (u32 i = 0; i < d->n; i++)
		len += entry_size(&d->e[i]);
	if (len > MAX_DIR)
		return -ENOSPC;
	if (d->n) {
		TRY(q_alloc_exact(q, (len + q->cluster_size - 1) >> bits, &off));
		p = calloc(1, len);
		r = p ? 0 : -ENOMEM;
	}
	for (u32 i = 0; i < d->n && !r; i++) {
		put_entry(&d->e[i], p + at);
		at += entry_size(&d->e[i]);
	}
	if (!r && d->n)
		r = fio_write(q->f.b.base, off, p, len);
	free(p);
	if (!r)
		r = q_settle(q);
	if (!r)
		r = put_ext(q, d->n, off, len);
	if (!r && d->len)
		r = q_free_later(q, d->off, (d->len + q->cluster_size - 1) >> bits, false);
	return r;
}

/* -- tables and data ------------------------------------------------------------------------ */

static u64 table_entries(const struct qcow2 *q, u64 size, unsigned shift)
{
	u64 granules = (size >> shift) + ((size & (BIT_ULL(shift) - 1)) != 0);
	u64 bytes = granules / 8 + (granules % 8 != 0);

	return bytes / q->cluster_size + (bytes % q->cluster_size != 0);
}

static int read_table(struct qcow2 *q, const struct entry *e, u64 **ret)
{
	u64 *t;
	int r;

	if (e->table_off % q->cluster_size ||
	    !range_ok(e->table_off, (u64)e->table_size * 8,
		      align_up(q->f.b.base->info.size, q->cluster_size)))
		return -EINVAL;
	t = malloc((u64)e->table_size * 8 + 1);
	r = t ? fio_read_below(q->f.b.base, e->table_off, t, (u64)e->table_size * 8) : -ENOMEM;
	if (r) {
		free(t);
		return r;
	}
	for (u32 i = 0; i < e->table_size; i++)
		t[i] = be64toh(t[i]);
	*ret = t;
	return 0;
}

/* Bits of one cluster, from granule @first on: only runs of set ones count. */
static void take_bits(struct dirty *d, const u8 *p, u64 first, u64 n)
{
	for (u64 i = 0; i < n; i++)
		if (p[i / 8] >> (i % 8) & 1)
			dirty_set(d, (first + i) << d->shift, 1);
}

static int load_data(struct qcow2 *q, const struct entry *e, struct dirty *d)
{
	u64 per = q->cluster_size * 8, *t;
	u8 *buf;
	int r;

	TRY(read_table(q, e, &t));
	buf = malloc(q->cluster_size);
	r = buf ? 0 : -ENOMEM;
	for (u64 i = 0; i * per < d->nr && i < e->table_size && !r; i++) {
		u64 n = d->nr - i * per < per ? d->nr - i * per : per, off = t[i] & Q_OFFSET;

		if (off % q->cluster_size) {
			r = -EINVAL;
		} else if (off) {
			r = fio_read_below(q->f.b.base, off, buf, q->cluster_size);
			if (!r)
				take_bits(d, buf, i * per, n);
		} else if (t[i] & ALL_ONES) {
			dirty_set(d, i * per << d->shift, n << d->shift);
		}
	}
	free(buf);
	free(t);
	return r;
}

static int free_data(struct qcow2 *q, const struct entry *e)
{
	u64 *t, bits = q->h.cluster_bits;
	int r;

	if (!e->table_size)
		return 0;
	TRY(read_table(q, e, &t));
	r = q_free_later(q, e->table_off,
			 ((u64)e->table_size * 8 + q->cluster_size - 1) >> bits, false);
	for (u32 i = 0; i < e->table_size && !r; i++)
		if (t[i] & Q_OFFSET)
			r = (t[i] & Q_OFFSET) % q->cluster_size ?
				    -EINVAL :
				    q_free_later(q, t[i] & Q_OFFSET, 1, false);
	free(t);
	return r;
}

static int store_cluster(struct qcow2 *q, const struct dirty *d, u64 i, u8 *buf, u64 *ret)
{
	u64 words = q->cluster_size / 8, first = i * words, n = d->nr / 64 + (d->nr % 64 != 0), got;
	u64 any = 0;

	memset(buf, 0, q->cluster_size);
	for (u64 k = 0; k < words && first + k < n; k++) {
		put_le64(buf + k * 8, d->bits[first + k]);
		any |= d->bits[first + k];
	}
	*ret = 0;
	if (!any)
		return 0;
	TRY(q_alloc(q, 1, ret, &got));
	return fio_write(q->f.b.base, *ret, buf, q->cluster_size);
}

static int store_data(struct qcow2 *q, const struct dirty *d, struct entry *e)
{
	u64 n = table_entries(q, d->size, d->shift), off;
	u64 *t = calloc(n + 1, 8);
	u8 *buf = malloc(q->cluster_size);
	int r = t && buf ? 0 : -ENOMEM;

	for (u64 i = 0; i < n && !r; i++) {
		r = store_cluster(q, d, i, buf, &t[i]);
		t[i] = htobe64(t[i]);
	}
	if (!r)
		r = q_alloc_exact(q, (n * 8 + q->cluster_size - 1) >> q->h.cluster_bits, &off);
	if (!r)
		r = fio_write(q->f.b.base, off, t, n * 8);
	free(t);
	free(buf);
	if (r)
		return r; /* leaks */
	e->table_off = off;
	e->table_size = (u32)n;
	return 0;
}

/* -- operations ----------------------------------------------------------------------------- */

int q_bitmap_get(struct fmt *f, unsigned i, struct image_bitmap *ret, struct err *e)
{
	struct qcow2 *q = (struct qcow2 *)f;
	struct dir d;
	int r = load_dir(q, &d);

	if (r)
		return failed(r, "read the bitmaps", e);
	if (i < d.n) {
		const struct entry *x = &d.e[i];

		*ret = (struct image_bitmap){ .shift = x->shift, .recording = x->flags & F_AUTO,
					      .in_use = x->flags & F_IN_USE };
		memcpy(ret->name, x->name, x->name_len);
	}
	r = i < d.n ? 0 : err_set(e, ENOENT, "qcow2: there are no more bitmaps");
	drop_dir(&d);
	return r;
}

static int check_usable(struct qcow2 *q, const struct entry *x, const char *name, struct err *e)
{
	if (!x)
		return err_set(e, ENOENT, "qcow2: there is no bitmap \"%.80s\"", name);
	if (x->flags & F_IN_USE)
		return err_set(e, EBUSY, "qcow2: the bitmap \"%.80s\" was in use when the image was "
					 "last closed: writes are missing in it; remove it", name);
	if (x->type != TYPE_DIRTY ||
	    (x->extra_len && !(x->flags & F_EXTRA_COMPATIBLE)))
		return err_set(e, ENOTSUP, "qcow2: the bitmap \"%.80s\" is of an unknown kind", name);
	if (q->f.b.info.size >> x->shift > (u64)MAX_BYTES * 8)
		return err_set(e, EFBIG, "qcow2: the bitmap \"%.80s\" is too large", name);
	return 0;
}

int q_bitmap_load(struct fmt *f, const char *name, struct dirty *ret, struct err *e)
{
	struct qcow2 *q = (struct qcow2 *)f;
	struct entry *x;
	struct dir d;
	int r = load_dir(q, &d);

	if (r)
		return failed(r, "read the bitmaps", e);
	x = find(&d, name);
	r = check_usable(q, x, name, e);
	if (!r) {
		r = dirty_init(ret, f->b.info.size, x->shift);
		if (!r)
			r = load_data(q, x, ret);
		if (r) {
			dirty_fini(ret);
			failed(r, "read the bitmap", e);
		}
	}
	drop_dir(&d);
	return r;
}

/* The entry's data becomes @bits, or it goes. */
static int change(struct qcow2 *q, struct dir *d, struct entry *x, const char *name,
		  const struct dirty *bits, bool recording)
{
	struct entry old = x ? *x : (struct entry){ .table_size = 0 };

	TRY(q_begin_writing(q));
	if (bits) {
		struct entry new = { .type = TYPE_DIRTY, .shift = (u8)bits->shift,
				     .flags = recording ? F_AUTO : 0,
				     .name = (const u8 *)name, .name_len = (u16)strlen(name) };

		TRY(store_data(q, bits, &new));
		if (!x)
			x = &d->e[d->n++];
		*x = new;
	} else {
		*x = d->e[--d->n];
	}
	TRY(write_dir(q, d));
	TRY(free_data(q, &old));
	TRY(q_settle(q));
	q->writing = false; /* the next write marks what is there now */
	return 0;
}

int q_bitmap_store(struct fmt *f, const char *name, const struct dirty *bits, bool recording,
		   struct err *e)
{
	struct qcow2 *q = (struct qcow2 *)f;
	struct entry *x;
	struct dir d;
	int r;

	if (q->h.version < 3)
		return err_set(e, ENOTSUP, "qcow2: a version 2 image has no bitmaps");
	if (!*name || strlen(name) > MAX_NAME)
		return err_set(e, EINVAL, "qcow2: a bitmap's name has 1 to 1023 bytes");
	r = load_dir(q, &d);
	if (r)
		return failed(r, "read the bitmaps", e);
	x = find(&d, name);
	if (!x && !bits)
		r = err_set(e, ENOENT, "qcow2: there is no bitmap \"%.80s\"", name);
	else if (!x && d.n == MAX_ENTRIES)
		r = err_set(e, ENOSPC, "qcow2: there are 65535 bitmaps already");
	else if (bits && bits->nr > (u64)MAX_BYTES * 8)
		r = err_set(e, EFBIG, "qcow2: so fine a bitmap of so large a disk is too large");
	else if ((r = change(q, &d, x, name, bits, recording)))
		failed(r, "write the bitmaps", e);
	drop_dir(&d);
	return r;
}

/* -- another size of the disk ---------------------------------------------------------------- */

struct q_kept {
	struct image_bitmap b;
	struct dirty d;
	struct q_kept *next;
};

void q_drop_kept(struct q_kept *k)
{
	while (k) {
		struct q_kept *next = k->next;

		dirty_fini(&k->d);
		free(k);
		k = next;
	}
}

int q_keep_bitmaps(struct qcow2 *q, struct q_kept **ret, struct err *e)
{
	int r = 0;

	*ret = NULL;
	for (unsigned i = 0; i < MAX_ENTRIES && find_ext(q) && !r; i++) {
		struct q_kept *k = calloc(1, sizeof *k);

		r = k ? q_bitmap_get(&q->f, i, &k->b, e) : err_set(e, ENOMEM, "qcow2: out of memory");
		if (!r && !k->b.in_use)
			r = q_bitmap_load(&q->f, k->b.name, &k->d, e);
		if (r || k->b.in_use) {
			free(k);
		} else {
			k->next = *ret;
			*ret = k;
		}
	}
	if (r == -ENOENT)
		return 0;
	if (r)
		q_drop_kept(*ret);
	return r;
}

int q_put_bitmaps(struct qcow2 *q, struct q_kept *k, struct err *e)
{
	int r = 0;

	for (struct q_kept *i = k; i && !r; i = i->next) {
		r = dirty_resize(&i->d, q->f.b.info.size);
		r = r ? failed(r, "resize the bitmaps", e) :
			q_bitmap_store(&q->f, i->b.name, &i->d, i->b.recording, e);
	}
	q_drop_kept(k);
	return r;
}
