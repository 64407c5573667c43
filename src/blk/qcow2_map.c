// SPDX-License-Identifier: Apache-2.0
/*
 * qcow2_map.c - from guest offsets to places in the file: L1 and L2 tables
 * [QEMU docs/interop/qcow2.txt, "Cluster mapping", "Extended L2 Entries"]
 */
#include "blk/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct q_l2e q_entry(const struct qcow2 *q, const u8 *p)
{
	return (struct q_l2e){ be64(p), q->nr_sub > 1 ? be64(p + 8) : 0 };
}

void q_put_entry(const struct qcow2 *q, u8 *p, struct q_l2e v)
{
	put_be64(p, v.e);
	if (q->nr_sub > 1)
		put_be64(p + 8, v.bitmap);
}

void q_packed_range(const struct qcow2 *q, u64 e, u64 *ret_off, u64 *ret_len)
{
	unsigned x = 62 - (q->h.cluster_bits - 8);

	*ret_off = e & (BIT_ULL(x) - 1);
	*ret_len = (((e & ~(Q_COPIED | Q_COMPRESSED)) >> x) + 1) * 512 - (*ret_off & 511);
}

static enum q_type sub_type(const struct qcow2 *q, struct q_l2e v, unsigned sub)
{
	if (v.e & Q_COMPRESSED)
		return Q_PACKED;
	if (q->nr_sub == 1) {
		if (q->h.version > 2 && v.e & Q_ZERO)
			return Q_ZEROES;
		return v.e & Q_OFFSET ? Q_DATA : Q_UNMAPPED;
	}
	if (v.bitmap >> (32 + sub) & 1)
		return Q_ZEROES;
	return v.bitmap >> sub & 1 ? Q_DATA : Q_UNMAPPED;
}

/* In the L2 slice of guest cluster @c, the place of its entry. */
static u32 entry_at(const struct qcow2 *q, u64 c)
{
	return (u32)(c * q->entry % q->slice_size);
}

u64 q_entries_left(const struct qcow2 *q, u64 c)
{
	return (q->slice_size - entry_at(q, c)) / q->entry;
}

/* Where the slice with the entry of guest cluster @c is; 0 = there is no table. */
static int slice_off(struct qcow2 *q, u64 c, u64 *ret)
{
	u64 l1 = c >> q->l2_bits, in = c & (BIT_ULL(q->l2_bits) - 1), table;

	*ret = 0;
	if (l1 >= q->h.l1_size)
		return q_corrupt(q);
	table = q->l1[l1] & Q_OFFSET;
	if (table % q->cluster_size)
		return q_corrupt(q);
	if (table)
		*ret = table + align_down(in * q->entry, q->slice_size);
	return 0;
}

static int slice_for_read(struct qcow2 *q, u64 c, struct slice **ret)
{
	u64 off;
	int r;

	TRY(slice_off(q, c, &off));
	*ret = off ? q_cached(q, off) : NULL;
	if (*ret && (*ret)->kind != SLICE_L2)
		return q_corrupt(q);
	if (*ret || !off)
		return 0;
	co_lock(&q->meta);
	r = slice_off(q, c, &off);
	if (!r && off)
		r = q_get_slice(q, off, SLICE_L2, ret);
	co_unlock(&q->meta);
	return r;
}

int q_lookup(struct qcow2 *q, u64 off, u64 len, struct q_map *ret)
{
	u64 c = off >> q->h.cluster_bits, end = off + len, at = off;
	u64 stop = (c + q_entries_left(q, c)) << q->h.cluster_bits;
	struct slice *s;

	TRY(slice_for_read(q, c, &s));
	*ret = (struct q_map){ .type = Q_UNMAPPED };
	end = end < stop ? end : stop;
	while (s && at < end) {
		struct q_l2e v = q_entry(q, s->data + entry_at(q, c));
		u64 in = at & (q->cluster_size - 1);
		enum q_type t = sub_type(q, v, (unsigned)(in / q->sub_size));
		struct q_map m = { .type = t };

		if (t == Q_DATA) {
			m.host = (v.e & Q_OFFSET) + in;
			m.copied = v.e & Q_COPIED;
			if ((v.e & Q_OFFSET) % q->cluster_size || !(v.e & Q_OFFSET))
				return q_corrupt(q);
		} else if (t == Q_PACKED) {
			m.desc = v.e;
		}
		if (at == off)
			*ret = m;
		else if (m.type != ret->type || m.copied != ret->copied || m.desc != ret->desc ||
			 (t == Q_DATA && m.host != ret->host + (at - off)))
			break;
		at = align_down(at, q->sub_size) + q->sub_size;
		if (t == Q_PACKED && q->nr_sub > 1)
			at = align_down(at - 1, q->cluster_size) + q->cluster_size;
		c = at >> q->h.cluster_bits;
		if (t == Q_PACKED && !(at & (q->cluster_size - 1)))
			break;
	}
	ret->len = (s && at < end ? at : end) - off;
	return 0;
}

/* An L2 table of our own for L1 entry @l1: a new one, or a copy of a shared one. */
static int own_table(struct qcow2 *q, u64 l1)
{
	u64 old = q->l1[l1] & Q_OFFSET, off, n;
	u8 *buf;
	int r = 0;

	TRY(q_alloc(q, 1, &off, &n));
	buf = calloc(1, q->cluster_size);
	if (!buf)
		return -ENOMEM;
	if (old)
		r = fio_read(q->f.b.base, old, buf, q->cluster_size);
	if (!r)
		r = fio_write(q->f.b.base, off, buf, q->cluster_size);
	free(buf);
	if (r)
		return r; /* a leak */
	q->l1[l1] = off | Q_COPIED;
	if (l1 < q->l1_dirty_first)
		q->l1_dirty_first = (u32)l1;
	if (l1 + 1 > q->l1_dirty_end)
		q->l1_dirty_end = (u32)l1 + 1;
	return old ? q_free_later(q, old, 1, false) : 0;
}

int q_l2_for_write(struct qcow2 *q, u64 c, struct slice **ret, u32 *ret_off)
{
	u64 off, l1 = c >> q->l2_bits;

	TRY(slice_off(q, c, &off));
	if (!off || !(q->l1[l1] & Q_COPIED)) {
		TRY(own_table(q, l1));
		TRY(slice_off(q, c, &off));
	}
	if (q_overlaps_meta(q, off, q->slice_size))
		return q_corrupt(q);
	*ret_off = entry_at(q, c);
	return q_get_slice(q, off, SLICE_L2, ret);
}

int q_free_entry(struct qcow2 *q, u64 e, bool discard)
{
	u64 off, len, first, last;

	if (!(e & Q_COMPRESSED)) {
		if ((e & Q_OFFSET) % q->cluster_size)
			return q_corrupt(q);
		return e & Q_OFFSET ? q_free_later(q, e & Q_OFFSET, 1, discard) : 0;
	}
	q_packed_range(q, e, &off, &len);
	first = off >> q->h.cluster_bits;
	last = (off + len - 1) >> q->h.cluster_bits;
	for (; first <= last; first++)
		TRY(q_free_later(q, first << q->h.cluster_bits, 1, false));
	return 0;
}
