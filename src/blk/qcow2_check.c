// SPDX-License-Identifier: Apache-2.0
/*
 * qcow2_check.c - do the refcounts say what the tables say? And repair.
 *
 * Counts the references to each cluster of the file and compares. More refcount than
 * references is a leak; less is an error, repaired by writing all refcounts anew at
 * the end of the file. Memory and time are bounded by the file's size.
 */
#include "blk/qcow2.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CLUSTERS FUZZ_LESS(BIT_ULL(28), BIT_ULL(16))
#define MAX_SAID     100
#define MAX_BITMAPS  65535u
#define MIN_BUDGET   FUZZ_LESS(1u << 23, 1u << 16) /* entries looked at, however small the file */

struct walk {
	struct qcow2 *q;
	struct image_check *c;
	u16 *refs; /* per cluster of the file, at most UINT16_MAX */
	u64 n;
	u64 budget; /* entries that may still be looked at */
	u8 *table;
	unsigned said;
};

static void say(struct walk *w, bool error, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void say(struct walk *w, bool error, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	if (error)
		w->c->errors++;
	if (!w->c->say || w->said++ >= MAX_SAID)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	w->c->say(w->c->ctx, w->said == MAX_SAID ? "(more of the same)" : text);
}

/* -- counting ------------------------------------------------------------------------------- */

/* Bytes [off, off + len) belong to @what. false: impossible, and said so. */
static bool count(struct walk *w, u64 off, u64 len, const char *what)
{
	u64 bits = w->q->h.cluster_bits, c = off >> bits, last;

	if (!len)
		return true;
	if (!range_ok(off, len, w->n << bits)) {
		say(w, true, "%s at %#llx lies outside the file", what, (unsigned long long)off);
		return false;
	}
	last = (off + len - 1) >> bits;
	if (last >= w->c->end >> bits)
		w->c->end = (last + 1) << bits;
	for (; c <= last; c++)
		if (w->refs[c] < UINT16_MAX)
			w->refs[c]++;
	return true;
}

static bool aligned(struct walk *w, u64 off, const char *what)
{
	if (!(off & (w->q->cluster_size - 1)))
		return true;
	say(w, true, "%s at %#llx is not at a cluster boundary", what, (unsigned long long)off);
	return false;
}

static int spend(struct walk *w, u64 n)
{
	if (w->budget < n)
		return -EOVERFLOW;
	w->budget -= n;
	return 0;
}

static void count_entry(struct walk *w, struct q_l2e v, bool active)
{
	u64 off, len;

	if (v.e & Q_COMPRESSED) {
		q_packed_range(w->q, v.e, &off, &len);
		/* the last sector may reach past the end of the file, into nothing */
		if (off < w->n << w->q->h.cluster_bits && off + len > w->n << w->q->h.cluster_bits)
			len = (w->n << w->q->h.cluster_bits) - off;
		count(w, off, len, "compressed data");
		w->c->compressed += active;
		w->c->allocated += active;
		if (v.e & Q_COPIED)
			say(w, true, "a compressed cluster is marked as written in place");
	} else if (v.e & Q_OFFSET) {
		if (aligned(w, v.e & Q_OFFSET, "data"))
			count(w, v.e & Q_OFFSET, w->q->cluster_size, "data");
		w->c->allocated += active;
	}
	if (w->q->nr_sub > 1 && v.bitmap & v.bitmap >> 32 & UINT32_MAX)
		say(w, true, "a subcluster is both data and zeroes");
}

static int count_tables(struct walk *w, const u64 *l1, u32 n, bool active)
{
	struct qcow2 *q = w->q;

	TRY(spend(w, n));
	for (u32 i = 0; i < n; i++) {
		u64 off = l1[i] & Q_OFFSET;

		if (!off || !aligned(w, off, "L2 table") ||
		    !count(w, off, q->cluster_size, "L2 table"))
			continue;
		TRY(spend(w, q->cluster_size / q->entry));
		TRY(fio_read_below(q->f.b.base, off, w->table, q->cluster_size));
		for (u64 k = 0; k < q->cluster_size; k += q->entry)
			count_entry(w, q_entry(q, w->table + k), active);
	}
	return 0;
}

static int count_snapshots(struct walk *w)
{
	struct qcow2 *q = w->q;
	u64 table = q_snapshot_table_size(q);

	if (q->h.nr_snapshots)
		count(w, q->h.snapshots_off, table, "snapshot table");
	for (u32 i = 0; i < q->h.nr_snapshots; i++) {
		u32 n = q->snap_l1[i].l1_size;
		u64 *l1;
		int r;

		if (!count(w, q->snap_l1[i].l1_off, (u64)n * 8, "a snapshot's L1 table"))
			continue;
		l1 = calloc(n + 1, 8);
		r = l1 ? fio_read_below(q->f.b.base, q->snap_l1[i].l1_off, l1, (u64)n * 8) :
			 -ENOMEM;
		for (u32 k = 0; k < n && !r; k++)
			l1[k] = be64toh(l1[k]);
		if (!r)
			r = count_tables(w, l1, n, false);
		free(l1);
		TRY(r);
	}
	return 0;
}

/* -- bitmaps [QEMU docs/interop/qcow2.txt, "Bitmaps extension"] -------------------------------- */

enum { DIR_FIXED = 24, BITMAP_IN_USE = 1 };

struct bitmap_dir {
	u8 *p;
	u64 off, len;
	u32 n;
};

static int load_bitmaps(struct qcow2 *q, struct bitmap_dir *d)
{
	const u8 *x = NULL;

	*d = (struct bitmap_dir){ .p = NULL };
	for (unsigned i = 0; i < q->nr_ext; i++)
		if (q->ext[i].type == EXT_BITMAPS && q->ext[i].len >= 24)
			x = q->ext[i].data;
	if (!x || !(q->h.autoclear & AUTOCLEAR_BITMAPS))
		return 0;
	d->n = be32(x);
	d->len = be64(x + 8);
	d->off = be64(x + 16);
	if (d->n > MAX_BITMAPS || d->len > (64u << 20) ||
	    !range_ok(d->off, d->len, align_up(q->f.b.base->info.size, q->cluster_size)))
		return -EINVAL;
	d->p = malloc(d->len + 1);
	if (!d->p)
		return -ENOMEM;
	return fio_read_below(q->f.b.base, d->off, d->p, d->len);
}

/* Step to the entry behind *at; false at the end or if it does not fit. */
static bool dir_entry(const struct bitmap_dir *d, u64 at, u64 *ret_next)
{
	u64 n;

	if (d->len < DIR_FIXED || at > d->len - DIR_FIXED)
		return false;
	n = align_up(DIR_FIXED + (u64)be32(d->p + at + 20) + be16(d->p + at + 18), 8);
	*ret_next = at + n;
	return n <= d->len - at;
}

int q_mark_bitmaps(struct qcow2 *q)
{
	struct bitmap_dir d;
	u64 at = 0, next;
	int r = load_bitmaps(q, &d);

	for (u32 i = 0; i < d.n && !r && dir_entry(&d, at, &next); i++, at = next) {
		put_be32(d.p + at + 12, be32(d.p + at + 12) | BITMAP_IN_USE);
		r = fio_write(q->f.b.base, d.off + at + 12, d.p + at + 12, 4);
	}
	if (!r && d.n)
		r = fio_flush(q->f.b.base);
	free(d.p);
	return r;
}

static int count_bitmap(struct walk *w, u64 off, u32 n)
{
	u64 *t;
	int r;

	if (!count(w, off, (u64)n * 8, "bitmap table"))
		return 0;
	TRY(spend(w, n));
	t = malloc((u64)n * 8 + 1);
	r = t ? fio_read_below(w->q->f.b.base, off, t, (u64)n * 8) : -ENOMEM;
	for (u32 i = 0; i < n && !r; i++)
		if (be64toh(t[i]) & Q_OFFSET)
			count(w, be64toh(t[i]) & Q_OFFSET, w->q->cluster_size, "bitmap");
	free(t);
	return r;
}

static int count_bitmaps(struct walk *w)
{
	struct bitmap_dir d;
	u64 at = 0, next;
	int r = load_bitmaps(w->q, &d);

	if (r == -EINVAL) {
		say(w, true, "the bitmap directory lies outside the file");
		return 0;
	}
	if (!r && d.n)
		count(w, d.off, d.len, "bitmap directory");
	for (u32 i = 0; i < d.n && !r && dir_entry(&d, at, &next); i++, at = next)
		r = count_bitmap(w, be64(d.p + at), be32(d.p + at + 8));
	free(d.p);
	return r;
}

static int count_all(struct walk *w)
{
	struct qcow2 *q = w->q;

	count(w, 0, q->cluster_size, "header");
	count(w, q->h.l1_off, (u64)q->h.l1_size * 8, "L1 table");
	TRY(count_tables(w, q->l1, q->h.l1_size, true));
	TRY(count_snapshots(w));
	TRY(count_bitmaps(w));
	if (q->crypt_off)
		count(w, q->crypt_off, q->crypt_len, "LUKS header");
	return 0; /* and the refcounts' own clusters: count_refcounts() */
}

static void count_refcounts(struct walk *w)
{
	struct qcow2 *q = w->q;

	count(w, q->h.rt_off, (u64)q->h.rt_clusters * q->cluster_size, "refcount table");
	for (u32 i = 0; i < q->rt_size; i++) {
		u64 off = q->rt[i] & Q_OFFSET;

		if (!off || !aligned(w, off, "refcount block"))
			continue;
		if (count(w, off, q->cluster_size, "refcount block") &&
		    w->refs[off >> q->h.cluster_bits] > 1)
			say(w, true, "refcount block at %#llx is used for something else as well",
			    (unsigned long long)off);
	}
}

/* -- comparing, repairing --------------------------------------------------------------- */

/* Cluster @i has another refcount than references. */
static int differs(struct walk *w, u64 i, u64 found, u64 want, bool fix_leaks)
{
	if (found < want) {
		say(w, true, "cluster %#llx: refcount %llu, but %llu references",
		    (unsigned long long)i, (unsigned long long)found, (unsigned long long)want);
	} else if (want < UINT16_MAX) {
		w->c->leaks++;
		say(w, false, "cluster %#llx: leaked: refcount %llu, %llu references",
		    (unsigned long long)i, (unsigned long long)found, (unsigned long long)want);
		if (fix_leaks) {
			TRY(q_set_ref(w->q, i, want));
			w->c->leaks--;
			w->c->leaks_fixed++;
		}
	}
	return 0;
}

static int compare(struct walk *w, bool fix_leaks)
{
	struct qcow2 *q = w->q;
	u64 end = align_up(w->n, BIT_ULL(q->block_bits)), found[64];
	unsigned n;

	for (u64 i = 0; i < end; i += n) {
		int r = q_get_refs(q, i, array_len(found), found, &n);

		if (r == -EIO && q->broken) { /* a block where none can be */
			q->broken = false;
			memset(found, 0, sizeof found);
		} else if (r) {
			return r;
		}
		for (unsigned k = 0; k < n; k++) {
			u64 want = i + k < w->n ? w->refs[i + k] : 0;

			if (found[k] != want)
				TRY(differs(w, i + k, found[k], want, fix_leaks));
		}
	}
	return 0;
}

static void put_count(struct qcow2 *q, u8 *p, u64 i, u64 v)
{
	unsigned order = q->h.refcount_order;

	if (order < 3)
		p[(i << order) / 8] |= (u8)(v << ((i << order) % 8));
	else
		for (unsigned b = 0; b < 1u << (order - 3); b++)
			p[(i << (order - 3)) + b] = (u8)(v >> 8 * ((1u << (order - 3)) - 1 - b));
}

/* All refcounts anew, behind the end: blocks at [n, n + m), the table behind them. */
static int rebuild(struct walk *w)
{
	struct qcow2 *q = w->q;
	u64 per = BIT_ULL(q->block_bits), n = w->n, m = 1, k = 1, cs = q->cluster_size;
	u8 field[12], *buf;
	u64 *table;
	int r = 0;

	while (m * per < n + m + k || k * cs / 8 < m) {
		m = (n + m + k + per - 1) / per;
		k = (m * 8 + cs - 1) / cs;
	}
	if (k * cs > Q_MAX_RT)
		return -EFBIG;
	buf = malloc(cs);
	table = calloc(k, cs);
	if (!buf || !table)
		r = -ENOMEM;
	for (u64 b = 0; b < m && !r; b++) {
		memset(buf, 0, cs);
		for (u64 i = 0; i < per; i++) {
			u64 c = b * per + i;

			put_count(q, buf, i, c < n ? w->refs[c] : c < n + m + k);
		}
		table[b] = htobe64((n + b) * cs);
		r = fio_write(q->f.b.base, (n + b) * cs, buf, cs);
	}
	if (!r)
		r = fio_write(q->f.b.base, (n + m) * cs, table, k * cs);
	if (!r)
		r = fio_flush(q->f.b.base);
	put_be64(field, (n + m) * cs);
	put_be32(field + 8, (u32)k);
	if (!r)
		r = q_put_header_field(q, 48, field, sizeof field);
	if (!r)
		r = fio_flush(q->f.b.base);
	free(buf);
	if (r) {
		free(table);
		return r;
	}
	for (u64 i = 0; i < k * cs / 8; i++)
		table[i] = be64toh(table[i]);
	free(q->rt);
	q->rt = table;
	q->rt_size = (u32)(k * cs / 8);
	q->h.rt_off = (n + m) * cs;
	q->h.rt_clusters = (u32)k;
	q->free_index = 0;
	q->zero_from = (n + m + k) * cs;
	q_cache_drop(q);
	return 0;
}

static int begin(struct walk *w, struct qcow2 *q, struct image_check *c)
{
	u64 snaps = q->h.nr_snapshots < 64 ? q->h.nr_snapshots : 64;

	*w = (struct walk){ .q = q, .c = c };
	w->n = align_up(q->f.b.base->info.size, q->cluster_size) >> q->h.cluster_bits;
	if (w->n > MAX_CLUSTERS)
		return -EFBIG;
	w->budget = w->n * (q->cluster_size / q->entry) * (1 + snaps) + MIN_BUDGET;
	w->refs = calloc(w->n + 1, sizeof *w->refs);
	w->table = malloc(q->cluster_size);
	return w->refs && w->table ? 0 : -ENOMEM;
}

static int run(struct walk *w, enum image_repair fix)
{
	struct image_check *c = w->c;
	struct qcow2 *q = w->q;
	u64 wrong = 0;

	c->clusters = (q->h.size + q->cluster_size - 1) >> q->h.cluster_bits;
	TRY(count_all(w));
	if (c->errors) /* references that make no sense: no counting helps */
		return compare(w, false);
	count_refcounts(w);
	TRY(compare(w, fix != IMAGE_CHECK_ONLY));
	if (fix == IMAGE_FIX_ALL && c->errors) {
		u64 n = c->errors;

		memset(w->refs, 0, (w->n + 1) * sizeof *w->refs);
		c->allocated = c->compressed = 0;
		TRY(count_all(w));
		TRY(rebuild(w));
		c->leaks_fixed += c->leaks;
		c->errors_fixed = n;
		c->errors = c->leaks = 0;
	}
	if (fix != IMAGE_CHECK_ONLY && !c->errors) {
		TRY(q_settle(q));
		TRY(q_fix_copied(q, &wrong));
	}
	if (fix == IMAGE_FIX_ALL && !c->errors) {
		TRY(fio_flush(q->f.b.base));
		TRY(q_set_incompat(q, q->h.incompat & ~(u64)(INCOMPAT_DIRTY | INCOMPAT_CORRUPT)));
	}
	return 0;
}

/* A cluster written in place although a snapshot shares it. */
static int check_flags(struct walk *w)
{
	struct qcow2 *q = w->q;

	for (u32 i = 0; i < q->h.l1_size; i++) {
		u64 off = q->l1[i] & Q_OFFSET;

		if (!off || off % q->cluster_size || off >> q->h.cluster_bits >= w->n)
			continue;
		if (q->l1[i] & Q_COPIED && w->refs[off >> q->h.cluster_bits] > 1)
			say(w, true, "a shared L2 table is marked as written in place");
		TRY(fio_read_below(q->f.b.base, off, w->table, q->cluster_size));
		for (u64 k = 0; k < q->cluster_size; k += q->entry) {
			u64 e = q_entry(q, w->table + k).e, c = (e & Q_OFFSET) >> q->h.cluster_bits;

			if (!(e & Q_COMPRESSED) && e & Q_COPIED && c && c < w->n && w->refs[c] > 1)
				say(w, true, "cluster %#llx: shared, but marked as written in place",
				    (unsigned long long)c);
		}
	}
	return 0;
}

int q_check(struct fmt *f, enum image_repair fix, struct image_check *c, struct err *e)
{
	struct qcow2 *q = (struct qcow2 *)f;
	struct walk w;
	int r;

	if (fix != IMAGE_CHECK_ONLY && f->b.info.read_only)
		return err_set(e, EROFS, "qcow2: opened for reading only: cannot be repaired");
	r = q->writing ? q_settle(q) : 0;
	if (!r)
		r = begin(&w, q, c);
	else
		w = (struct walk){ .q = q };
	q_cache_drop(q);
	if (!r)
		r = run(&w, fix);
	if (!r && fix == IMAGE_CHECK_ONLY)
		r = check_flags(&w);
	free(w.refs);
	free(w.table);
	if (r == -EOVERFLOW)
		return err_set(e, EINVAL, "qcow2: the tables refer to each other without end");
	return r ? err_set(e, -r, "qcow2: cannot check: %s", strerror(-r)) : 0;
}
