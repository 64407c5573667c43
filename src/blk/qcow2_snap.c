// SPDX-License-Identifier: Apache-2.0
/*
 * qcow2_snap.c - internal snapshots [QEMU docs/interop/qcow2.txt, "Snapshots"]
 *
 * A cluster's refcount is the number of L1 tables from which it can be reached. Each
 * operation first counts up and writes that, then switches the header in one sector,
 * then counts down: a crash in between leaks clusters, no more.
 */
#include "blk/qcow2.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ENTRY_FIXED = 40, EXTRA_KNOWN = 24, EXTRA_MAX = 1024 };

static int failed(int r, const char *doing, struct err *e)
{
	if (r == -EOVERFLOW)
		return err_set(e, EOVERFLOW, "qcow2: cannot %s: a cluster's refcount is as large as "
					     "the image's refcounts can be", doing);
	return r ? err_set(e, -r, "qcow2: cannot %s: %s", doing, strerror(-r)) : 0;
}

void q_free_snapshots(struct qcow2 *q)
{
	for (u32 i = 0; i < q->h.nr_snapshots && q->snap_extra; i++)
		free(q->snap_extra[i]);
	free(q->snap_extra);
	free(q->snap_extra_len);
	free(q->snap);
	free(q->snap_l1);
	q->snap_extra = NULL;
	q->snap_extra_len = NULL;
	q->snap = NULL;
	q->snap_l1 = NULL;
}

/* Room for @n snapshots. */
static int make_room(struct qcow2 *q, u32 n)
{
	struct image_snapshot *snap = reallocarray(q->snap, n + 1, sizeof *snap);
	struct q_snap_table *l1;
	u8 **extra;
	u32 *len;

	q->snap = snap ? snap : q->snap;
	l1 = reallocarray(q->snap_l1, n + 1, sizeof *l1);
	q->snap_l1 = l1 ? l1 : q->snap_l1;
	extra = reallocarray(q->snap_extra, n + 1, sizeof *extra);
	q->snap_extra = extra ? extra : q->snap_extra;
	len = reallocarray(q->snap_extra_len, n + 1, sizeof *len);
	q->snap_extra_len = len ? len : q->snap_extra_len;
	return snap && l1 && extra && len ? 0 : -ENOMEM;
}

/* One entry at *at of the table. Return: 0, or -EINVAL. */
static int load_one(struct qcow2 *q, u32 i, u64 *at)
{
	u8 p[ENTRY_FIXED], extra[EXTRA_MAX];
	struct image_snapshot *s = &q->snap[i];
	u32 id_len, name_len, extra_len;

	TRY(fio_read_below(q->f.b.base, *at, p, sizeof p));
	*s = (struct image_snapshot){ .date_s = be32(p + 16), .date_ns = be32(p + 20),
				      .clock_ns = be64(p + 24), .state_size = be32(p + 32),
				      .size = q->h.size };
	q->snap_l1[i] = (struct q_snap_table){ be64(p), be32(p + 8) };
	id_len = be16(p + 12);
	name_len = be16(p + 14);
	extra_len = be32(p + 36);
	if (extra_len > EXTRA_MAX || !(id_len + name_len) || id_len >= sizeof s->id || name_len >= sizeof s->name ||
	    q->snap_l1[i].l1_size > Q_MAX_L1 / 8 || q->snap_l1[i].l1_off % q->cluster_size)
		return -EINVAL;
	TRY(fio_read_below(q->f.b.base, *at + ENTRY_FIXED, extra, extra_len));
	if (extra_len >= 8)
		s->state_size = be64(extra);
	if (extra_len >= 16)
		s->size = be64(extra + 8);
	if (s->size > BLK_MAX / 2)
		return -EINVAL;
	q->snap_extra_len[i] = extra_len;
	q->snap_extra[i] = malloc(extra_len + 1);
	if (!q->snap_extra[i])
		return -ENOMEM;
	memcpy(q->snap_extra[i], extra, extra_len);
	TRY(fio_read_below(q->f.b.base, *at + ENTRY_FIXED + extra_len, s->id, id_len));
	TRY(fio_read_below(q->f.b.base, *at + ENTRY_FIXED + extra_len + id_len, s->name, name_len));
	*at = align_up(*at + ENTRY_FIXED + extra_len + id_len + name_len, 8);
	return 0;
}

int q_load_snapshots(struct qcow2 *q, struct err *e)
{
	u64 at = q->h.snapshots_off;
	u32 n = q->h.nr_snapshots, i;
	int r = 0;

	q->h.nr_snapshots = 0; /* so many are loaded */
	if (n && !range_ok(at, (u64)n * ENTRY_FIXED, q->f.b.base->info.size))
		return err_set(e, EINVAL, "qcow2: the snapshot table is not inside the file");
	for (i = 0; i < n && !r; i++) {
		r = i & (i - 1) ? 0 : make_room(q, i ? 2 * i : 1);
		if (!r) {
			q->snap_extra[i] = NULL;
			q->h.nr_snapshots = i + 1;
			r = load_one(q, i, &at);
		}
		if (!r && at - q->h.snapshots_off > Q_MAX_SNAP_TABLE)
			r = -EINVAL;
	}
	return r == -EINVAL ? err_set(e, EINVAL, "qcow2: the snapshot table makes no sense") :
			      failed(r, "read the snapshots", e);
}

/* -- the table on disk ------------------------------------------------------------------------ */

static u64 entry_size(const struct qcow2 *q, u32 i)
{
	u32 extra = q->snap_extra_len[i] < EXTRA_KNOWN ? EXTRA_KNOWN : q->snap_extra_len[i];

	return align_up(ENTRY_FIXED + extra + strlen(q->snap[i].id) + strlen(q->snap[i].name), 8);
}

u64 q_snapshot_table_size(const struct qcow2 *q)
{
	u64 n = 0;

	for (u32 i = 0; i < q->h.nr_snapshots; i++)
		n += entry_size(q, i);
	return n;
}

static void put_entry(const struct qcow2 *q, u32 i, u8 *p)
{
	const struct image_snapshot *s = &q->snap[i];
	u32 extra = q->snap_extra_len[i] < EXTRA_KNOWN ? EXTRA_KNOWN : q->snap_extra_len[i];
	size_t id = strlen(s->id), name = strlen(s->name);

	put_be64(p, q->snap_l1[i].l1_off);
	put_be32(p + 8, q->snap_l1[i].l1_size);
	put_be16(p + 12, (u16)id);
	put_be16(p + 14, (u16)name);
	put_be32(p + 16, s->date_s);
	put_be32(p + 20, s->date_ns);
	put_be64(p + 24, s->clock_ns);
	put_be32(p + 32, s->state_size > UINT32_MAX ? 0 : (u32)s->state_size);
	put_be32(p + 36, extra);
	p += ENTRY_FIXED;
	if (q->snap_extra_len[i] < EXTRA_KNOWN)
		put_be64(p + 16, UINT64_MAX); /* no instruction count */
	memcpy(p, q->snap_extra[i], q->snap_extra_len[i]);
	put_be64(p, s->state_size);
	put_be64(p + 8, s->size);
	memcpy(p + extra, s->id, id);
	memcpy(p + extra + id, s->name, name);
}

/*
 * Write a table of q->snap[0..n) elsewhere, make the header point to it.
 * @old_size:	of the table there is
 */
static int switch_table(struct qcow2 *q, u32 n, u64 old_size)
{
	u64 old_off = q->h.snapshots_off, off = 0, size, at = 0;
	u64 old_n = old_off ? (old_size + q->cluster_size - 1) / q->cluster_size : 0;
	u8 *p, field[12];
	int r;

	q->h.nr_snapshots = n;
	size = q_snapshot_table_size(q);
	if (n) {
		TRY(q_alloc_exact(q, (size + q->cluster_size - 1) / q->cluster_size, &off));
		p = calloc(1, size);
		if (!p)
			return -ENOMEM;
		for (u32 i = 0; i < n; i++) {
			put_entry(q, i, p + at);
			at += entry_size(q, i);
		}
		r = fio_write(q->f.b.base, off, p, size);
		free(p);
		if (r)
			return r;
	}
	TRY(q_commit(q));
	put_be32(field, n);
	put_be64(field + 4, off);
	TRY(q_put_header_field(q, 60, field, sizeof field));
	TRY(fio_flush(q->f.b.base));
	q->h.snapshots_off = off;
	return old_n ? q_free_later(q, old_off, old_n, false) : 0;
}

/* -- trees ------------------------------------------------------------------------------ */

/* Count the clusters behind one L2 table up or down. */
static int ref_table(struct qcow2 *q, const u8 *table, i64 by)
{
	for (u64 i = 0; i < q->cluster_size; i += q->entry) {
		u64 e = q_entry(q, table + i).e, off, len, c, last;

		if (e & Q_COMPRESSED) {
			q_packed_range(q, e, &off, &len);
			last = (off + len - 1) >> q->h.cluster_bits;
			for (c = off >> q->h.cluster_bits; c <= last; c++)
				TRY(q_add_ref(q, c, by));
		} else if (e & Q_OFFSET) {
			TRY(q_add_ref(q, (e & Q_OFFSET) >> q->h.cluster_bits, by));
		}
	}
	return 0;
}

static int ref_tree(struct qcow2 *q, const u64 *l1, u32 n, i64 by)
{
	u8 *table = malloc(q->cluster_size);
	int r = table ? 0 : -ENOMEM;

	for (u32 i = 0; i < n && !r; i++) {
		u64 off = l1[i] & Q_OFFSET;

		if (!off)
			continue;
		r = off % q->cluster_size ? q_corrupt(q) :
					    fio_read(q->f.b.base, off, table, q->cluster_size);
		if (!r)
			r = ref_table(q, table, by);
		if (!r)
			r = q_add_ref(q, off >> q->h.cluster_bits, by);
	}
	free(table);
	return r;
}

/* Can all that @table refers to be counted once more? Compressed clusters share: by packs. */
static int check_table_room(struct qcow2 *q, const u8 *table, u64 max)
{
	for (u64 i = 0; i < q->cluster_size; i += q->entry) {
		u64 e = q_entry(q, table + i).e, off = e & Q_OFFSET, len = 1, ref, packs = 1;

		if (e & Q_COMPRESSED) {
			q_packed_range(q, e, &off, &len);
			TRY(q_get_ref(q, off >> q->h.cluster_bits, &packs));
		}
		if (!off)
			continue;
		TRY(q_get_ref(q, off >> q->h.cluster_bits, &ref));
		if (ref + packs > max)
			return -EOVERFLOW;
		TRY(q_get_ref(q, (off + len - 1) >> q->h.cluster_bits, &ref));
		if (e & Q_COMPRESSED && 2 * ref > max)
			return -EOVERFLOW;
	}
	return 0;
}

/* Refcounts that are narrow, or that many snapshots have used up: better known before. */
static int check_room(struct qcow2 *q)
{
	u64 max = q->h.refcount_order < 6 ? BIT_ULL(1u << q->h.refcount_order) - 1 : UINT64_MAX;
	u8 *table;
	int r = 0;

	if (q->h.refcount_order > 3 && q->h.nr_snapshots < max / 2)
		return 0;
	table = malloc(q->cluster_size);
	if (!table)
		return -ENOMEM;
	for (u32 i = 0; i < q->h.l1_size && !r; i++) {
		u64 off = q->l1[i] & Q_OFFSET, ref;

		if (!off)
			continue;
		r = q_get_ref(q, off >> q->h.cluster_bits, &ref);
		if (!r && ref >= max)
			r = -EOVERFLOW;
		if (!r)
			r = fio_read(q->f.b.base, off, table, q->cluster_size);
		if (!r)
			r = check_table_room(q, table, max);
	}
	free(table);
	return r;
}

static int fix_flag(struct qcow2 *q, u64 *e, u64 *wrong)
{
	u64 ref, want;

	if (*e & Q_COMPRESSED || !(*e & Q_OFFSET))
		return 0;
	TRY(q_get_ref(q, (*e & Q_OFFSET) >> q->h.cluster_bits, &ref));
	want = (*e & ~Q_COPIED) | (ref == 1 ? Q_COPIED : 0);
	*wrong += want != *e;
	*e = want;
	return 0;
}

/* The data entries of one L2 table. */
static int fix_table(struct qcow2 *q, u64 off, u8 *table, u64 *wrong)
{
	u64 before = *wrong;

	if (off % q->cluster_size)
		return q_corrupt(q);
	TRY(fio_read(q->f.b.base, off, table, q->cluster_size));
	for (u64 k = 0; k < q->cluster_size; k += q->entry) {
		struct q_l2e v = q_entry(q, table + k);

		TRY(fix_flag(q, &v.e, wrong));
		q_put_entry(q, table + k, v);
	}
	return *wrong > before ? fio_write(q->f.b.base, off, table, q->cluster_size) : 0;
}

int q_fix_copied(struct qcow2 *q, u64 *wrong)
{
	u8 *table = malloc(q->cluster_size);
	int r = table ? q_commit(q) : -ENOMEM;

	for (u32 i = 0; i < q->h.l1_size && !r; i++) {
		u64 off = q->l1[i] & Q_OFFSET, e = q->l1[i];

		if (!off)
			continue;
		r = fix_table(q, off, table, wrong);
		if (!r)
			r = fix_flag(q, &e, wrong);
		if (e == q->l1[i])
			continue;
		q->l1[i] = e;
		q->l1_dirty_first = i < q->l1_dirty_first ? i : q->l1_dirty_first;
		q->l1_dirty_end = i + 1 > q->l1_dirty_end ? i + 1 : q->l1_dirty_end;
	}
	free(table);
	if (!r)
		r = q_settle(q);
	if (!r)
		q_cache_drop(q);
	return r;
}

/* -- operations ------------------------------------------------------------------------- */

static int find(const struct qcow2 *q, const char *name)
{
	for (u32 i = 0; i < q->h.nr_snapshots; i++)
		if (!strcmp(q->snap[i].name, name))
			return (int)i;
	for (u32 i = 0; i < q->h.nr_snapshots; i++)
		if (!strcmp(q->snap[i].id, name))
			return (int)i;
	return -1;
}

static u64 next_id(const struct qcow2 *q)
{
	u64 max = 0;

	for (u32 i = 0; i < q->h.nr_snapshots; i++) {
		u64 id = strtoull(q->snap[i].id, NULL, 10);

		max = id > max ? id : max;
	}
	return max + 1;
}

static u64 l1_clusters(const struct qcow2 *q, u32 l1_size)
{
	u64 n = ((u64)l1_size * 8 + q->cluster_size - 1) / q->cluster_size;

	return n ? n : 1;
}

/* Write @n entries to new clusters. */
static int store_l1(struct qcow2 *q, const u64 *l1, u32 n, u64 flags, u64 *ret_off)
{
	u64 *be, clusters = l1_clusters(q, n);
	int r;

	TRY(q_alloc_exact(q, clusters, ret_off));
	be = calloc(clusters, q->cluster_size);
	if (!be)
		return -ENOMEM;
	for (u32 i = 0; i < n; i++)
		be[i] = htobe64(l1[i] & Q_OFFSET ? (l1[i] & ~Q_COPIED) | flags : 0);
	r = fio_write(q->f.b.base, *ret_off, be, clusters * q->cluster_size);
	free(be);
	return r;
}

static int create(struct qcow2 *q, const char *name)
{
	u64 wrong = 0, off, old_size = q_snapshot_table_size(q);
	u32 i = q->h.nr_snapshots;
	struct timespec now;

	TRY(check_room(q));
	TRY(make_room(q, i + 1));
	TRY(store_l1(q, q->l1, q->h.l1_size, 0, &off));
	TRY(ref_tree(q, q->l1, q->h.l1_size, 1));
	TRY(q_commit(q));
	TRY(q_fix_copied(q, &wrong));
	clock_gettime(CLOCK_REALTIME, &now);
	q->snap[i] = (struct image_snapshot){ .size = q->h.size, .date_s = (u32)now.tv_sec,
					      .date_ns = (u32)now.tv_nsec };
	snprintf(q->snap[i].id, sizeof q->snap[i].id, "%llu", (unsigned long long)next_id(q));
	strcpy(q->snap[i].name, name);
	q->snap_l1[i] = (struct q_snap_table){ off, q->h.l1_size };
	q->snap_extra[i] = calloc(1, 1);
	q->snap_extra_len[i] = 0;
	return q->snap_extra[i] ? switch_table(q, i + 1, old_size) : -ENOMEM;
}

static int load_l1(struct qcow2 *q, u32 i, u64 **ret)
{
	u32 n = q->snap_l1[i].l1_size;
	u64 *l1 = calloc(n ? n : 1, 8);
	int r = l1 ? fio_read_below(q->f.b.base, q->snap_l1[i].l1_off, l1, (u64)n * 8) : -ENOMEM;

	for (u32 k = 0; k < n && !r; k++)
		l1[k] = be64toh(l1[k]);
	if (r)
		free(l1);
	else
		*ret = l1;
	return r;
}

static int remove_one(struct qcow2 *q, u32 i)
{
	struct q_snap_table t = q->snap_l1[i];
	u64 *l1, wrong = 0, old_size = q_snapshot_table_size(q);
	u32 n = q->h.nr_snapshots - 1 - i;
	int r;

	TRY(load_l1(q, i, &l1));
	free(q->snap_extra[i]);
	memmove(&q->snap[i], &q->snap[i + 1], n * sizeof *q->snap);
	memmove(&q->snap_l1[i], &q->snap_l1[i + 1], n * sizeof *q->snap_l1);
	memmove(&q->snap_extra[i], &q->snap_extra[i + 1], n * sizeof *q->snap_extra);
	memmove(&q->snap_extra_len[i], &q->snap_extra_len[i + 1], n * sizeof *q->snap_extra_len);
	q->h.nr_snapshots--;
	r = switch_table(q, q->h.nr_snapshots, old_size);
	if (!r)
		r = ref_tree(q, l1, t.l1_size, -1);
	if (!r && t.l1_off)
		r = q_free_later(q, t.l1_off, l1_clusters(q, t.l1_size), false);
	free(l1);
	return r ? r : q_fix_copied(q, &wrong);
}

/* The active table becomes a copy of snapshot @i's. */
static int apply(struct qcow2 *q, u32 i)
{
	u64 *old = q->l1, *l1, off, wrong = 0, old_off = q->h.l1_off;
	u32 n = q->snap_l1[i].l1_size, old_n = q->h.l1_size;
	u8 field[24];
	int r;

	if (q->snap_l1[i].l1_size < q_l1_needed(&q->h, q->snap[i].size))
		return -EINVAL;
	TRY(load_l1(q, i, &l1));
	r = ref_tree(q, l1, n, 1);
	if (!r)
		r = store_l1(q, l1, n, 0, &off);
	if (!r)
		r = q_commit(q);
	put_be64(field, q->snap[i].size);
	put_be32(field + 8, q->h.crypt);
	put_be32(field + 12, n);
	put_be64(field + 16, off);
	if (!r)
		r = q_put_header_field(q, 24, field, sizeof field);
	if (!r)
		r = fio_flush(q->f.b.base);
	if (r) {
		free(l1);
		return r;
	}
	q->l1 = l1;
	q->h.l1_size = n;
	q->h.l1_off = off;
	q->h.size = q->snap[i].size;
	q->f.b.info.size = align_up(q->h.size, BLK_SECTOR);
	r = ref_tree(q, old, old_n, -1);
	free(old);
	if (!r)
		r = q_free_later(q, old_off, l1_clusters(q, old_n), false);
	return r ? r : q_fix_copied(q, &wrong);
}

/* Read-only: look through snapshot @i's table. */
static int view(struct qcow2 *q, u32 i)
{
	u64 *l1;

	if (q->snap_l1[i].l1_size < q_l1_needed(&q->h, q->snap[i].size))
		return -EINVAL;
	TRY(load_l1(q, i, &l1));
	free(q->l1);
	q->l1 = l1;
	q->h.l1_size = q->snap_l1[i].l1_size;
	q->f.b.info.size = align_up(q->snap[i].size, BLK_SECTOR);
	return 0;
}

int q_snapshot(struct fmt *f, int what, const char *name, struct err *e)
{
	static const char *const doing[] = { "create the snapshot", "go back to the snapshot",
					     "delete the snapshot", "read the snapshot" };
	struct qcow2 *q = (struct qcow2 *)f;
	int i = find(q, name), r;

	if (what == FMT_SNAP_CREATE && (strlen(name) >= sizeof q->snap->name || !*name))
		return err_set(e, EINVAL, "qcow2: a snapshot's name has 1 to 255 bytes");
	if (what == FMT_SNAP_CREATE && i >= 0)
		return err_set(e, EEXIST, "qcow2: there is a snapshot \"%.80s\" already", name);
	if (what != FMT_SNAP_CREATE && i < 0)
		return err_set(e, ENOENT, "qcow2: there is no snapshot \"%.80s\"", name);
	if (what == FMT_SNAP_CREATE && q->h.nr_snapshots == Q_MAX_SNAPSHOTS)
		return err_set(e, ENOSPC, "qcow2: there are 65536 snapshots already");
	if (what == FMT_SNAP_VIEW)
		return failed(view(q, (u32)i), doing[what], e);
	r = q_begin_writing(q);
	if (!r)
		r = q_settle(q);
	if (!r)
		r = what == FMT_SNAP_CREATE ? create(q, name) :
		    what == FMT_SNAP_APPLY  ? apply(q, (u32)i) :
					      remove_one(q, (u32)i);
	if (!r)
		r = q_settle(q);
	return failed(r, doing[what], e);
}
