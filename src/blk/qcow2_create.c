// SPDX-License-Identifier: Apache-2.0
/*
 * qcow2_create.c - making, resizing and filling qcow2 images (compressed clusters)
 */
#include "blk/crypt.h"
#include "blk/qcow2.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

static int failed(int r, const char *doing, struct err *e)
{
	return r ? err_set(e, -r, "qcow2: cannot %s: %s", doing, strerror(-r)) : 0;
}

static int set_header(const struct image_create *c, struct q_header *h, struct err *e)
{
	u32 cs = c->cluster_size ? c->cluster_size : 65536;
	u32 bits = c->refcount_bits ? c->refcount_bits : 16;

	*h = (struct q_header){ .version = c->compat_v2 ? 2 : 3, .size = c->size };
	h->length = c->compat_v2 ? 72 : 112;
	if (cs & (cs - 1) || cs < 512 || cs > 2u << 20)
		return err_set(e, EINVAL, "qcow2: cluster size: want a power of 2, 512 to 2M");
	if (bits & (bits - 1) || bits > 64)
		return err_set(e, EINVAL, "qcow2: refcount bits: want a power of 2 up to 64");
	if (c->compat_v2 &&
	    (bits != 16 || c->lazy_refcounts || c->extended_l2 || c->zstd))
		return err_set(e, EINVAL, "qcow2: this needs version 3");
	if (c->extended_l2 && cs < 16384)
		return err_set(e, EINVAL, "qcow2: subclusters need clusters of 16K or more");
	h->cluster_bits = (u32)__builtin_ctz(cs);
	h->refcount_order = (u32)__builtin_ctz(bits);
	h->compat = c->lazy_refcounts ? COMPAT_LAZY : 0;
	h->incompat = (c->extended_l2 ? INCOMPAT_EXT_L2 : 0) |
		      (c->zstd ? INCOMPAT_COMPRESSION : 0);
	h->compression = c->zstd;
	h->crypt = c->secret ? 2 : 0;
	if (c->size > BLK_MAX / 2 || q_l1_needed(h, c->size) > Q_MAX_L1 / 8)
		return err_set(e, EFBIG, "qcow2: the disk is too large for this cluster size");
	h->l1_size = (u32)q_l1_needed(h, c->size);
	return 0;
}

/* Clusters 0 header, 1 refcount table, 2 refcount block, 3... L1 table: all counted once. */
static int write_skeleton(struct blk *file, struct q_header *h, u64 l1_clusters)
{
	u64 cs = BIT_ULL(h->cluster_bits), used = 3 + l1_clusters;
	u8 *p = calloc(1, cs);
	int r = p ? 0 : -ENOMEM;

	if (r)
		return r;
	h->rt_off = cs;
	h->rt_clusters = 1;
	h->l1_off = 3 * cs;
	put_be64(p, 2 * cs);
	r = fio_write(file, cs, p, cs);
	memset(p, 0, cs);
	for (u64 i = 0; i < used; i++) {
		switch (h->refcount_order) {
		case 3:
			p[i] = 1;
			break;
		case 4:
			put_be16(p + 2 * i, 1);
			break;
		case 5:
			put_be32(p + 4 * i, 1);
			break;
		case 6:
			put_be64(p + 8 * i, 1);
			break;
		default:
			p[(i << h->refcount_order) / 8] |= (u8)(1u << ((i << h->refcount_order) % 8));
		}
	}
	if (!r)
		r = fio_write(file, 2 * cs, p, cs);
	memset(p, 0, cs);
	for (u64 i = 0; i < l1_clusters && !r; i++)
		r = fio_write(file, (3 + i) * cs, p, cs);
	free(p);
	return r;
}

/* The header of a new image, in full, by the code that rewrites headers. */
static int write_first_header(struct blk *file, const struct q_header *h,
			      const struct image_create *c, const struct q_ext *ext, unsigned nr)
{
	struct qcow2 *q = calloc(1, sizeof *q);
	int r;

	if (!q)
		return -ENOMEM;
	q->f.b.base = file;
	q->h = *h;
	q->cluster_size = BIT_ULL(h->cluster_bits);
	if (c->backing)
		snprintf(q->backing, sizeof q->backing, "%s", c->backing);
	if (c->backing_format)
		snprintf(q->backing_format, sizeof q->backing_format, "%s", c->backing_format);
	for (unsigned i = 0; i < nr; i++)
		q->ext[i] = ext[i];
	q->nr_ext = nr;
	r = q_write_header(q);
	free(q);
	return r;
}

/* Make room for a LUKS header in the empty image, write it, say where it is. */
static int add_luks(struct blk *file, const struct q_header *h, const struct image_create *c,
		    struct err *e)
{
	struct q_header plain = *h;
	u8 where[16];
	struct q_ext ext = { EXT_CRYPTO, sizeof where, where };
	struct qcow2 *q = calloc(1, sizeof *q);
	u64 off = 0;
	int r;

	if (!q)
		return err_set(e, ENOMEM, "qcow2: out of memory");
	q->f.b.base = file;
	q->h = plain;
	q->cluster_size = BIT_ULL(h->cluster_bits);
	q->block_bits = h->cluster_bits + 3 - h->refcount_order;
	q->rt_size = (u32)(q->cluster_size / 8);
	q->l1_dirty_first = UINT32_MAX;
	q->rt = calloc(q->rt_size, 8);
	r = q->rt ? q_cache_init(q) : -ENOMEM;
	if (!r) {
		q->rt[0] = 2 * q->cluster_size;
		r = q_alloc_exact(q, (LUKS_HEADER + q->cluster_size - 1) / q->cluster_size, &off);
	}
	if (!r)
		r = q_settle(q);
	plain = q->h;
	free(q->rt);
	free(q->slice_mem);
	free(q->frees);
	free(q);
	if (r)
		return failed(r, "write the tables", e);
	TRY(luks_format(file, off, c->secret, c->luks_iter_ms, e));
	put_be64(where, off);
	put_be64(where + 8, LUKS_HEADER);
	return failed(write_first_header(file, &plain, c, &ext, 1), "write the header", e);
}

int q_create(struct blk *file, const struct image_create *c, struct err *e)
{
	struct q_header h;
	u64 cs, l1, fit;
	int r;

	TRY(set_header(c, &h, e));
	if (c->backing && strlen(c->backing) >= IMAGE_NAME_MAX)
		return err_set(e, EINVAL, "qcow2: the backing file's name is longer than 1023 bytes");
	cs = BIT_ULL(h.cluster_bits);
	l1 = ((u64)h.l1_size * 8 + cs - 1) / cs;
	l1 = l1 ? l1 : 1;
	fit = cs * 8 >> h.refcount_order;
	if (3 + l1 > fit)
		return err_set(e, EFBIG, "qcow2: the disk is too large for this cluster size");
	r = write_skeleton(file, &h, l1);
	if (r)
		return failed(r, "write the tables", e);
	if (c->secret)
		return add_luks(file, &h, c, e);
	return failed(write_first_header(file, &h, c, NULL, 0), "write the header", e);
}

/* -- size ------------------------------------------------------------------------------------- */

/* Move to an L1 table of @n entries; size and table change in one sector. */
static int larger_l1(struct qcow2 *q, u32 n, u64 size)
{
	u64 clusters = ((u64)n * 8 + q->cluster_size - 1) / q->cluster_size, off;
	u64 old_off = q->h.l1_off, old_bytes = (u64)q->h.l1_size * 8;
	u64 *l1 = calloc(n, 8), *be = calloc(clusters, q->cluster_size);
	u8 field[24];
	int r = l1 && be ? q_commit(q) : -ENOMEM;

	if (!r)
		r = q_alloc_exact(q, clusters, &off);
	for (u32 i = 0; i < q->h.l1_size && !r; i++) {
		l1[i] = q->l1[i];
		be[i] = htobe64(l1[i]);
	}
	if (!r)
		r = fio_write(q->f.b.base, off, be, clusters * q->cluster_size);
	free(be);
	if (!r)
		r = q_commit(q);
	put_be64(field, size);
	put_be32(field + 8, q->h.crypt);
	put_be32(field + 12, n);
	put_be64(field + 16, r ? 0 : off);
	if (!r)
		r = q_put_header_field(q, 24, field, sizeof field);
	if (!r)
		r = fio_flush(q->f.b.base);
	if (r) {
		free(l1);
		return r;
	}
	free(q->l1);
	q->l1 = l1;
	q->h.l1_size = n;
	q->h.l1_off = off;
	old_bytes = align_up(old_bytes ? old_bytes : 1, q->cluster_size);
	return q_free_later(q, old_off, old_bytes / q->cluster_size, false);
}

static int set_size(struct qcow2 *q, u64 size)
{
	u64 n = q_l1_needed(&q->h, size);
	u8 field[8];

	if (n > Q_MAX_L1 / 8)
		return -EFBIG;
	if (n > q->h.l1_size) {
		TRY(larger_l1(q, (u32)n, size));
	} else {
		put_be64(field, size);
		TRY(q_put_header_field(q, 24, field, sizeof field));
	}
	q->h.size = size;
	q->f.b.info.size = size;
	return q_settle(q);
}

int q_resize(struct fmt *f, u64 size, struct err *e)
{
	struct qcow2 *q = (struct qcow2 *)f;
	u64 old = f->b.info.size, below = q->f.backing ? q->f.backing->info.size : 0;
	struct q_kept *bitmaps;
	int r;

	if (size % BLK_SECTOR || size > BLK_MAX / 2)
		return err_set(e, EINVAL, "qcow2: size: want a multiple of 512 bytes");
	TRY(q_keep_bitmaps(q, &bitmaps, e));
	if (size < old && q->h.nr_snapshots && q->h.version < 3) /* has no bitmaps */
		return err_set(e, ENOTSUP, "qcow2: a version 2 image with snapshots cannot shrink");
	r = q_begin_writing(q);
	if (!r && size < old) /* what comes back by growing again is zeroes */
		r = q_drop_range(q, size, old - size, true);
	if (!r)
		r = set_size(q, size);
	if (!r && size > old && below > old) /* do not let the backing file shine through */
		r = q_drop_range(q, old, (size < below ? size : align_up(below, 512)) - old, true);
	if (!r)
		r = q_settle(q);
	if (!r)
		return q_put_bitmaps(q, bitmaps, e);
	q_drop_kept(bitmaps);
	return failed(r, "change the size", e);
}

/* -- compressed clusters ---------------------------------------------------------------- */

static size_t pack_zlib(const void *in, size_t n, u8 *out, size_t cap)
{
	z_stream z = { .next_in = (u8 *)in, .avail_in = (uInt)n, .next_out = out,
		       .avail_out = (uInt)cap };
	int r;

	if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		return 0;
	r = deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return r == Z_STREAM_END ? cap - z.avail_out : 0;
}

size_t q_pack(const struct fmt *f, const void *in, u32 len, void *out, size_t cap)
{
	size_t r;

	if (!((const struct qcow2 *)f)->h.compression)
		return pack_zlib(in, len, out, cap);
	r = ZSTD_compress(out, cap, in, len, ZSTD_CLEVEL_DEFAULT);
	return ZSTD_isError(r) ? 0 : r;
}

/* Room for @n bytes, behind the last compressed cluster where that is possible. */
static int pack_room(struct qcow2 *q, u64 n, u64 *ret)
{
	u64 cs = q->cluster_size, left = q->pack_at % cs ? cs - q->pack_at % cs : 0, off, got, ref;
	u64 max = q->h.refcount_order < 5 ? (1ull << (1u << q->h.refcount_order)) - 1 : UINT32_MAX;

	if (q->pack_at) {
		TRY(q_get_ref(q, q->pack_at >> q->h.cluster_bits, &ref));
		if (ref >= max)
			q->pack_at = 0;
	}
	if (q->pack_at && left && left < n) { /* continue in the next cluster if that is free */
		u64 next = (q->pack_at + left) >> q->h.cluster_bits;

		TRY(q_get_ref(q, next, &ref));
		if (!ref) {
			u64 keep = q->free_index;

			q->free_index = next;
			TRY(q_alloc(q, 1, &off, &got));
			q->free_index = keep < next ? keep : q->free_index;
			if (off != next << q->h.cluster_bits)
				return q_corrupt(q);
			TRY(q_add_ref(q, q->pack_at >> q->h.cluster_bits, 1));
			*ret = q->pack_at;
			return 0;
		}
	}
	if (!q->pack_at || left < n) {
		TRY(q_alloc(q, 1, ret, &got));
		return 0;
	}
	TRY(q_add_ref(q, q->pack_at >> q->h.cluster_bits, 1));
	*ret = q->pack_at;
	return 0;
}

static int link_packed(struct qcow2 *q, u64 c, u64 off, u64 len)
{
	unsigned x = 62 - (q->h.cluster_bits - 8);
	u64 sectors = (off + len - 1) / 512 - off / 512;
	struct q_l2e v = { .e = Q_COMPRESSED | off | sectors << x };
	struct slice *s;
	u32 at;

	TRY(q_l2_for_write(q, c, &s, &at));
	if (q_entry(q, s->data + at).e || q_entry(q, s->data + at).bitmap)
		return -EEXIST;
	q_put_entry(q, s->data + at, v);
	q_dirty(q, s);
	q->barrier = true;
	return 0;
}

int q_write_packed(struct fmt *f, u64 off, const void *data, size_t len)
{
	struct qcow2 *q = (struct qcow2 *)f;
	u64 host = 0;

	TRY(q_begin_writing(q));
	TRY(pack_room(q, len, &host));
	q->pack_at = (host + len) % q->cluster_size ? host + len : 0;
	TRY(fio_write(q->f.b.base, host, data, len));
	return link_packed(q, off >> q->h.cluster_bits, host, len);
}
