// SPDX-License-Identifier: Apache-2.0
/*
 * qcow2_meta.c - the metadata cache, refcounts, the allocator, commits (see qcow2.h)
 */
#include "blk/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DIRTY_MAX (Q_SLICES * 3 / 4)
#define FREES_MAX 65536u
#define BATCH	  32
#define SCAN_MAX  FUZZ_LESS(BIT_ULL(27), BIT_ULL(16)) /* used clusters passed over in search of a free one */

/* -- cache ------------------------------------------------------------------------------- */

static struct slice **bucket(struct qcow2 *q, u64 off)
{
	return &q->hash[(off / q->slice_size * 0x9e3779b97f4a7c15ull) >> 53];
}

static void unlink_lru(struct slice *s)
{
	s->newer->older = s->older;
	s->older->newer = s->newer;
}

static void link_newest(struct qcow2 *q, struct slice *s)
{
	s->newer = &q->lru;
	s->older = q->lru.older;
	s->older->newer = s;
	q->lru.older = s;
}

int q_cache_init(struct qcow2 *q)
{
	q->slice_size = q->cluster_size < 4096 ? (u32)q->cluster_size : 4096;
	if (posix_memalign((void **)&q->slice_mem, 4096, (size_t)Q_SLICES * q->slice_size))
		return -ENOMEM;
	q->lru.newer = q->lru.older = &q->lru;
	for (unsigned i = 0; i < Q_SLICES; i++) {
		q->slice[i].data = q->slice_mem + (size_t)i * q->slice_size;
		link_newest(q, &q->slice[i]);
	}
	return 0;
}

void q_cache_drop(struct qcow2 *q)
{
	memset(q->hash, 0, sizeof q->hash);
	memset(q->nr_dirty, 0, sizeof q->nr_dirty);
	for (unsigned i = 0; i < Q_SLICES; i++) {
		q->slice[i].kind = SLICE_FREE;
		q->slice[i].dirty = false;
	}
}

struct slice *q_cached(struct qcow2 *q, u64 off)
{
	struct slice *s = *bucket(q, off);

	while (s && s->off != off)
		s = s->hash_next;
	if (s && s != q->lru.older) {
		unlink_lru(s);
		link_newest(q, s);
	}
	return s;
}

static void unhash(struct qcow2 *q, struct slice *s)
{
	struct slice **p = bucket(q, s->off);

	while (*p != s)
		p = &(*p)->hash_next;
	*p = s->hash_next;
	s->kind = SLICE_FREE;
}

/* The oldest clean slice, out of the hash. There is one: dirty ones are limited. */
static struct slice *evict(struct qcow2 *q)
{
	struct slice *s = q->lru.newer;

	while (s->dirty)
		s = s->newer;
	if (s->kind != SLICE_FREE)
		unhash(q, s);
	unlink_lru(s);
	link_newest(q, s);
	return s;
}

int q_get_slice(struct qcow2 *q, u64 off, enum slice_kind kind, struct slice **ret)
{
	struct slice *s = q_cached(q, off), **b;

	if (s && s->kind != kind)
		return q_corrupt(q); /* one cluster in two roles */
	if (!s) {
		if (q->nr_dirty[SLICE_REF] + q->nr_dirty[SLICE_L2] > DIRTY_MAX)
			TRY(q_commit(q));
		s = evict(q);
		TRY(fio_read(q->f.b.base, off, s->data, q->slice_size));
		s->off = off;
		s->kind = kind;
		b = bucket(q, off);
		s->hash_next = *b;
		*b = s;
	}
	*ret = s;
	return 0;
}

void q_dirty(struct qcow2 *q, struct slice *s)
{
	if (!s->dirty)
		q->nr_dirty[s->kind]++;
	s->dirty = true;
}

/* -- refcounts ----------------------------------------------------------------------------- */

static u64 ref_in(const struct qcow2 *q, const u8 *p, u64 i)
{
	switch (q->h.refcount_order) {
	case 3:
		return p[i];
	case 4:
		return be16(p + 2 * i);
	case 5:
		return be32(p + 4 * i);
	case 6:
		return be64(p + 8 * i);
	default: { /* 1, 2 or 4 bits, from the low end of the byte */
		unsigned w = 1u << q->h.refcount_order;

		return p[i * w / 8] >> (i * w % 8) & ((1u << w) - 1);
	}
	}
}

static void put_ref(const struct qcow2 *q, u8 *p, u64 i, u64 v)
{
	unsigned w = 1u << q->h.refcount_order;

	switch (q->h.refcount_order) {
	case 3:
		p[i] = (u8)v;
		return;
	case 4:
		put_be16(p + 2 * i, (u16)v);
		return;
	case 5:
		put_be32(p + 4 * i, (u32)v);
		return;
	case 6:
		put_be64(p + 8 * i, v);
		return;
	default:
		p += i * w / 8;
		*p = (u8)((*p & ~(((1u << w) - 1) << (i * w % 8))) | v << (i * w % 8));
	}
}

static u64 ref_max(const struct qcow2 *q)
{
	return q->h.refcount_order == 6 ? UINT64_MAX >> 1 : (1ull << (1u << q->h.refcount_order)) - 1;
}

/* Refcounts in one slice. */
static u64 refs_per_slice(const struct qcow2 *q)
{
	return (u64)q->slice_size * 8 >> q->h.refcount_order;
}

/* The slice with the refcount of @index; *ret = NULL if there is no block for it. */
static int ref_slice(struct qcow2 *q, u64 index, struct slice **ret)
{
	u64 t = index >> q->block_bits, in = index & (BIT_ULL(q->block_bits) - 1), block;

	*ret = NULL;
	if (t >= q->rt_size || !(q->rt[t] & Q_OFFSET))
		return 0;
	block = q->rt[t] & Q_OFFSET;
	if (block % q->cluster_size)
		return q_corrupt(q);
	return q_get_slice(q, block + in / refs_per_slice(q) * q->slice_size, SLICE_REF, ret);
}

int q_get_ref(struct qcow2 *q, u64 index, u64 *ret)
{
	struct slice *s;

	TRY(ref_slice(q, index, &s));
	*ret = s ? ref_in(q, s->data, index % refs_per_slice(q)) : 0;
	return 0;
}

int q_get_refs(struct qcow2 *q, u64 index, unsigned max, u64 *ret, unsigned *ret_n)
{
	u64 per = refs_per_slice(q), in = index % per;
	unsigned n = per - in < max ? (unsigned)(per - in) : max;
	struct slice *s;

	*ret_n = n;
	TRY(ref_slice(q, index, &s));
	for (unsigned i = 0; i < n; i++)
		ret[i] = s ? ref_in(q, s->data, in + i) : 0;
	return 0;
}

int q_set_ref(struct qcow2 *q, u64 index, u64 v)
{
	struct slice *s;

	TRY(ref_slice(q, index, &s));
	if (!s || v > ref_max(q))
		return s ? -EFBIG : q_corrupt(q);
	put_ref(q, s->data, index % refs_per_slice(q), v);
	q_dirty(q, s);
	if (!v && index < q->free_index)
		q->free_index = index;
	return 0;
}

int q_add_ref(struct qcow2 *q, u64 index, i64 by)
{
	u64 v;

	TRY(q_get_ref(q, index, &v));
	if ((by < 0 && v < (u64)-by) || !v)
		return q_corrupt(q);
	return q_set_ref(q, index, v + (u64)by);
}

/* -- the allocator --------------------------------------------------------------------------- */

static bool touches(u64 off, u64 len, u64 at, u64 size)
{
	return size && off < at + size && at < off + len;
}

bool q_overlaps_meta(struct qcow2 *q, u64 off, u64 len)
{
	u64 rt = (u64)q->h.rt_clusters * q->cluster_size;

	return touches(off, len, 0, q->cluster_size) ||
	       touches(off, len, q->h.l1_off, (u64)q->h.l1_size * 8) ||
	       touches(off, len, q->h.rt_off, rt) ||
	       touches(off, len, q->h.snapshots_off, q->h.nr_snapshots ? 1 : 0);
}

/* Like q_overlaps_meta(), for clusters about to be allocated: refcount blocks as well. */
static bool in_use(struct qcow2 *q, u64 off, u64 len)
{
	u64 first = off >> q->h.cluster_bits, last = (off + len - 1) >> q->h.cluster_bits;

	if (q_overlaps_meta(q, off, len))
		return true;
	/* blocks commonly lie in what they describe: look there, not everywhere */
	for (u64 t = first >> q->block_bits; t <= last >> q->block_bits && t < q->rt_size; t++)
		if (touches(off, len, q->rt[t] & Q_OFFSET, q->rt[t] ? q->cluster_size : 0))
			return true;
	return false;
}

/* Write blocks [idx + k, idx + k + m) that count themselves and [idx, idx + k). */
static int write_blocks(struct qcow2 *q, u64 idx, u64 k, u64 m, u64 *table)
{
	u64 per = BIT_ULL(q->block_bits), first = idx >> q->block_bits;
	u8 *buf = malloc(q->cluster_size);
	int r = buf ? 0 : -ENOMEM;

	for (u64 b = 0; b < m && !r; b++) {
		memset(buf, 0, q->cluster_size);
		for (u64 i = 0; i < per; i++) {
			u64 c = (first + b) * per + i;

			if (c >= idx && c < idx + k + m)
				put_ref(q, buf, i, 1);
		}
		table[first + b] = (idx + k + b) * q->cluster_size;
		r = fio_write(q->f.b.base, table[first + b], buf, q->cluster_size);
	}
	free(buf);
	return r;
}

static int write_table(struct qcow2 *q, u64 off, const u64 *table, u64 n)
{
	u64 *be = malloc(n * 8);
	int r;

	if (!be)
		return -ENOMEM;
	for (u64 i = 0; i < n; i++)
		be[i] = htobe64(table[i]);
	r = fio_write(q->f.b.base, off, be, n * 8);
	free(be);
	return r;
}

static int use_table(struct qcow2 *q, u64 off, u64 clusters)
{
	u8 field[12];

	put_be64(field, off);
	put_be32(field + 8, (u32)clusters);
	TRY(fio_flush(q->f.b.base));
	TRY(q_put_header_field(q, 48, field, sizeof field));
	return fio_flush(q->f.b.base);
}

static void wrote_to(struct qcow2 *q, u64 end)
{
	if (q->zero_from < end)
		q->zero_from = end;
}

/* @idx lies behind all the refcount table covers: move to a larger one, placed there. */
static int grow_table(struct qcow2 *q, u64 idx)
{
	u64 want = (idx >> q->block_bits) + 2, old_off = q->h.rt_off, old_n = q->h.rt_clusters;
	u64 per = q->cluster_size / 8, k, m = 0, *table;
	int r;

	want = want + want / 2;
	k = (want + per - 1) / per;
	while (((idx + k + m - 1 + !m) >> q->block_bits) - (idx >> q->block_bits) + 1 > m)
		m++;
	if (k * q->cluster_size > Q_MAX_RT ||
	    ((idx + k + m) >> q->block_bits) >= k * per)
		return -EFBIG;
	table = calloc(k * per, 8);
	if (!table)
		return -ENOMEM;
	memcpy(table, q->rt, (size_t)q->rt_size * 8);
	r = write_blocks(q, idx, k, m, table);
	if (!r)
		r = write_table(q, idx * q->cluster_size, table, k * per);
	if (!r)
		r = use_table(q, idx * q->cluster_size, k);
	if (r) {
		free(table);
		return r;
	}
	wrote_to(q, (idx + k + m) * q->cluster_size);
	free(q->rt);
	q->rt = table;
	q->rt_size = (u32)(k * per);
	q->h.rt_off = idx * q->cluster_size;
	q->h.rt_clusters = (u32)k;
	return q_free_later(q, old_off, old_n, false);
}

/* There is no refcount block for the free cluster @idx: make one, in @idx itself. */
static int add_block(struct qcow2 *q, u64 idx)
{
	u64 t = idx >> q->block_bits, old;
	u8 be[8];

	if (t >= q->rt_size)
		return grow_table(q, idx);
	if (in_use(q, idx * q->cluster_size, q->cluster_size))
		return q_corrupt(q);
	old = q->rt[t];
	TRY(write_blocks(q, idx, 0, 1, q->rt));
	put_be64(be, q->rt[t]);
	q->rt[t] = old; /* not before it is there */
	TRY(fio_flush(q->f.b.base));
	TRY(fio_write(q->f.b.base, q->h.rt_off + t * 8, be, 8));
	TRY(fio_flush(q->f.b.base));
	q->rt[t] = be64(be);
	wrote_to(q, (idx + 1) * q->cluster_size);
	return 0;
}

/* The first cluster from @from on that is free and counted: *ret, in slice *s. */
static int find_free(struct qcow2 *q, u64 from, u64 *ret, struct slice **s)
{
	u64 per = refs_per_slice(q), idx = from;

	while (idx - from < SCAN_MAX) {
		if (idx >= Q_MAX_FILE >> q->h.cluster_bits)
			return -EFBIG;
		TRY(ref_slice(q, idx, s));
		if (!*s) {
			TRY(add_block(q, idx));
			continue;
		}
		do {
			if (!ref_in(q, (*s)->data, idx % per)) {
				*ret = idx;
				return 0;
			}
		} while (++idx % per);
	}
	return q_corrupt(q);
}

/* What the cache holds of clusters that begin a new life. */
static void forget(struct qcow2 *q, u64 off, u64 len)
{
	for (u64 end = off + len; off < end; off += q->slice_size) {
		struct slice *s = q_cached(q, off);

		if (!s)
			continue;
		if (s->dirty)
			q->nr_dirty[s->kind]--;
		s->dirty = false;
		unhash(q, s);
	}
}

int q_alloc(struct qcow2 *q, u64 want, u64 *ret_off, u64 *ret_n)
{
	u64 per = refs_per_slice(q), idx, n = 0;
	struct slice *s;

	if (q->broken)
		return -EIO;
	TRY(find_free(q, q->free_index, &idx, &s));
	while (n < want && (idx + n) / per == idx / per && !ref_in(q, s->data, (idx + n) % per))
		n++;
	if (in_use(q, idx * q->cluster_size, n * q->cluster_size))
		return q_corrupt(q);
	for (u64 i = 0; i < n; i++)
		put_ref(q, s->data, (idx + i) % per, 1);
	q_dirty(q, s);
	forget(q, idx * q->cluster_size, n * q->cluster_size);
	q->free_index = idx + n;
	q->fresh = idx * q->cluster_size >= q->zero_from;
	wrote_to(q, (idx + n) * q->cluster_size);
	*ret_off = idx * q->cluster_size;
	*ret_n = n;
	return 0;
}

int q_alloc_exact(struct qcow2 *q, u64 n, u64 *ret_off)
{
	u64 first = q->free_index, run = 0, idx = first, off, got, keep;

	while (run < n) { /* find a run, making refcount blocks on the way */
		struct slice *s;
		u64 at;

		TRY(find_free(q, idx, &at, &s));
		if (at != idx || !run) {
			first = at;
			run = 0;
		}
		idx = at + 1;
		run++;
	}
	keep = q->free_index;
	q->free_index = first;
	*ret_off = first * q->cluster_size;
	for (u64 done = 0; done < n; done += got)
		TRY(q_alloc(q, n - done, &off, &got));
	if (keep < first)
		q->free_index = keep;
	return 0;
}

int q_free_later(struct qcow2 *q, u64 off, u64 n, bool discard)
{
	struct q_free *last = q->nr_frees ? &q->frees[q->nr_frees - 1] : NULL;
	u64 index = off >> q->h.cluster_bits;

	if (last && last->index + last->count == index && last->discard == discard) {
		last->count += (u32)n;
		return 0;
	}
	if (q->nr_frees == q->cap_frees) {
		size_t cap = q->cap_frees ? 2 * q->cap_frees : 64;
		struct q_free *f = realloc(q->frees, cap * sizeof *f);

		if (!f)
			return -ENOMEM;
		q->frees = f;
		q->cap_frees = cap;
	}
	q->frees[q->nr_frees++] = (struct q_free){ index, (u32)n, discard };
	return q->nr_frees >= FREES_MAX ? q_commit(q) : 0;
}

/* -- commits ---------------------------------------------------------------------------- */

struct batch {
	struct batch_io {
		struct blk_req r;
		struct batch *b;
	} io[BATCH];
	struct iovec iov[BATCH];
	unsigned nr, left;
	int error;
	struct co *co;
};

static void batch_done(struct blk_req *r)
{
	struct batch *b = container_of(r, struct batch_io, r)->b;

	b->error = b->error ? b->error : r->error;
	if (!--b->left && b->co)
		co_wake(b->co);
}

static int run_batch(struct qcow2 *q, struct batch *b)
{
	struct blk *file = q->f.b.base;

	b->left = b->nr + 1;
	b->co = co_self();
	blk_plug(file);
	for (unsigned i = 0; i < b->nr; i++)
		blk_submit(file, &b->io[i].r);
	blk_unplug(file);
	if (--b->left) {
		if (b->co)
			co_wait();
		while (b->left)
			file->drv->wait(file);
	}
	b->nr = 0;
	return -b->error;
}

static int by_offset(const void *a, const void *b)
{
	u64 x = (*(struct slice *const *)a)->off, y = (*(struct slice *const *)b)->off;

	return x < y ? -1 : x > y;
}

static int write_slices(struct qcow2 *q, enum slice_kind kind)
{
	struct slice **list;
	unsigned n = 0;
	struct batch *b;
	int r = 0;

	if (!q->nr_dirty[kind])
		return 0;
	list = malloc(q->nr_dirty[kind] * sizeof *list);
	b = calloc(1, sizeof *b);
	for (unsigned i = 0; i < Q_SLICES && list && b; i++)
		if (q->slice[i].dirty && q->slice[i].kind == kind)
			list[n++] = &q->slice[i];
	if (!list || !b)
		r = -ENOMEM;
	else
		qsort(list, n, sizeof *list, by_offset);
	for (unsigned i = 0; i < n && !r; i++) {
		b->iov[b->nr] = (struct iovec){ list[i]->data, q->slice_size };
		b->io[b->nr].b = b;
		b->io[b->nr].r = (struct blk_req){ .op = BLK_WRITE, .offset = list[i]->off,
						   .len = q->slice_size, .iov = &b->iov[b->nr],
						   .nr_iov = 1, .done = batch_done };
		b->nr++;
		if (b->nr == BATCH || i + 1 == n)
			r = run_batch(q, b);
	}
	for (unsigned i = 0; i < n && !r; i++)
		list[i]->dirty = false;
	if (!r)
		q->nr_dirty[kind] = 0;
	free(list);
	free(b);
	return r;
}

static int write_l1(struct qcow2 *q)
{
	u32 first = q->l1_dirty_first, end = q->l1_dirty_end;

	if (first >= end)
		return 0;
	TRY(fio_flush(q->f.b.base)); /* (I2) */
	TRY(write_table(q, q->h.l1_off + (u64)first * 8, q->l1 + first, end - first));
	q->l1_dirty_first = UINT32_MAX;
	q->l1_dirty_end = 0;
	return 0;
}

/* What was unlinked is off the disk: count it down, for the next commit to write. */
static int apply_frees(struct qcow2 *q)
{
	struct q_free *list = q->frees;
	size_t n = q->nr_frees;
	int r = 0;

	q->frees = NULL;
	q->nr_frees = q->cap_frees = 0;
	for (size_t i = 0; i < n && !r; i++) {
		u64 v = 1;

		for (u32 k = 0; k < list[i].count && !r; k++) {
			r = q_add_ref(q, list[i].index + k, -1);
			if (!r)
				r = q_get_ref(q, list[i].index + k, &v);
			if (!r && !v && list[i].discard && q->f.b.base->info.discard)
				r = fio_req(q->f.b.base, BLK_DISCARD,
					    (list[i].index + k) << q->h.cluster_bits,
					    q->cluster_size, NULL, 0);
		}
	}
	free(list);
	return r;
}

int q_commit(struct qcow2 *q)
{
	bool mapping = q->nr_dirty[SLICE_L2] || q->l1_dirty_first < q->l1_dirty_end;
	bool refs = q->nr_dirty[SLICE_REF];

	TRY(write_slices(q, SLICE_REF));
	if (mapping && (refs || q->barrier))
		TRY(fio_flush(q->f.b.base)); /* (I1) */
	q->barrier = false;
	TRY(write_slices(q, SLICE_L2));
	TRY(write_l1(q));
	TRY(fio_flush(q->f.b.base));
	return q->nr_frees ? apply_frees(q) : 0; /* (I3) */
}

int q_settle(struct qcow2 *q)
{
	do
		TRY(q_commit(q));
	while (q->nr_frees || q->nr_dirty[SLICE_REF]);
	return 0;
}
