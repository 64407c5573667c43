// SPDX-License-Identifier: Apache-2.0
/*
 * qcow2.c - opening and closing qcow2 images, the header [QEMU docs/interop/qcow2.txt]
 */
#include "blk/qcow2.h"

#include "blk/crypt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { V2_LENGTH = 72, V3_LENGTH = 104, OUR_LENGTH = 112 };

#define KNOWN_INCOMPAT                                                                             \
	(INCOMPAT_DIRTY | INCOMPAT_CORRUPT | INCOMPAT_COMPRESSION | INCOMPAT_EXT_L2)

static int bad(struct err *e, const char *what)
{
	return err_set(e, EINVAL, "qcow2: %s", what);
}

static bool q_probe(const u8 *head, size_t len)
{
	return len >= V2_LENGTH && be32(head) == QCOW2_MAGIC && be32(head + 4) >= 2;
}

u64 q_l1_needed(const struct q_header *h, u64 size)
{
	unsigned entry = h->incompat & INCOMPAT_EXT_L2 ? 4 : 3;
	unsigned shift = h->cluster_bits + h->cluster_bits - entry;

	return (size >> shift) + !!(size & (BIT_ULL(shift) - 1));
}

/* -- the header ------------------------------------------------------------------------------- */

static void parse_fixed(const u8 *p, struct q_header *h)
{
	*h = (struct q_header){
		.version = be32(p + 4),
		.backing_off = be64(p + 8),
		.backing_len = be32(p + 16),
		.cluster_bits = be32(p + 20),
		.size = be64(p + 24),
		.crypt = be32(p + 32),
		.l1_size = be32(p + 36),
		.l1_off = be64(p + 40),
		.rt_off = be64(p + 48),
		.rt_clusters = be32(p + 56),
		.nr_snapshots = be32(p + 60),
		.snapshots_off = be64(p + 64),
		.refcount_order = 4,
		.length = V2_LENGTH,
	};
	if (h->version < 3)
		return;
	h->incompat = be64(p + 72);
	h->compat = be64(p + 80);
	h->autoclear = be64(p + 88);
	h->refcount_order = be32(p + 96);
	h->length = be32(p + 100);
	h->compression = h->length > V3_LENGTH ? p[104] : 0;
}

static int check_header(const struct q_header *h, u64 file_size, struct err *e)
{
	u64 cs, rt;

	if (h->version > 3)
		return err_set(e, ENOTSUP, "qcow2: version %u: want 2 or 3", h->version);
	if (h->cluster_bits < 9 || h->cluster_bits > 21)
		return err_set(e, EINVAL, "qcow2: clusters of 2^%u bytes: want 2^9 to 2^21",
			       h->cluster_bits);
	cs = BIT_ULL(h->cluster_bits);
	rt = (u64)h->rt_clusters * cs;
	if (h->incompat & INCOMPAT_DATA_FILE)
		return err_set(e, ENOTSUP, "qcow2: keeps its data in another file: not supported");
	if (h->incompat & ~(u64)KNOWN_INCOMPAT)
		return err_set(e, ENOTSUP, "qcow2: uses features this version does not know: %#llx",
			       (unsigned long long)(h->incompat & ~(u64)KNOWN_INCOMPAT));
	if (h->version > 2 && (h->length < V3_LENGTH || h->length > cs || h->length % 8))
		return bad(e, "the header's length is impossible");
	if (h->refcount_order > 6)
		return bad(e, "refcounts wider than 64 bits");
	if (h->incompat & INCOMPAT_EXT_L2 && h->cluster_bits < 14)
		return bad(e, "subclusters need clusters of 16 KiB or more");
	if (h->crypt == 1)
		return err_set(e, ENOTSUP, "qcow2: encrypted by the old AES scheme: want LUKS");
	if (h->crypt > 2 || h->compression > 1)
		return bad(e, "unknown encryption or compression");
	if (h->compression && !(h->incompat & INCOMPAT_COMPRESSION))
		return bad(e, "the compression type lacks its feature bit");
	if (h->size > BLK_MAX / 2)
		return bad(e, "the disk is larger than any disk");
	if (h->l1_size > Q_MAX_L1 / 8 || h->l1_size < q_l1_needed(h, h->size))
		return bad(e, "the L1 table's size does not fit the disk's");
	if (h->l1_off % cs || h->rt_off % cs || h->snapshots_off % cs)
		return bad(e, "a table is not at a cluster boundary");
	if (!h->rt_clusters || !h->rt_off || rt > Q_MAX_RT || !range_ok(h->rt_off, rt, file_size + cs))
		return bad(e, "the refcount table is not inside the file");
	if (h->l1_size && !range_ok(h->l1_off, (u64)h->l1_size * 8, file_size))
		return bad(e, "the L1 table is not inside the file");
	if (h->nr_snapshots > Q_MAX_SNAPSHOTS || (h->nr_snapshots && h->snapshots_off >= file_size))
		return bad(e, "the snapshot table is not inside the file");
	return 0;
}

static void free_ext(struct q_ext *ext, unsigned *nr)
{
	for (unsigned i = 0; i < *nr; i++)
		free(ext[i].data);
	*nr = 0;
}

static int parse_ext(const u8 *p, u32 at, u32 end, struct q_ext *ext, unsigned *nr,
		     char *backing_format, struct err *e)
{
	*nr = 0;
	while (at + 8 <= end) {
		u32 type = be32(p + at), len = be32(p + at + 4);

		at += 8;
		if (type == EXT_END)
			return 0;
		if (len > end - at || *nr == Q_EXT_MAX)
			return bad(e, "a header extension is longer than the header");
		if (type == EXT_BACKING_FORMAT) {
			u32 n = len < 15 ? len : 15;

			memcpy(backing_format, p + at, n);
			backing_format[n] = '\0';
		} else {
			ext[*nr] = (struct q_ext){ type, len, malloc(len + 1) };
			if (!ext[*nr].data)
				return err_set(e, ENOMEM, "qcow2: out of memory");
			memcpy(ext[*nr].data, p + at, len);
			++*nr;
		}
		at += (len + 7) & ~7u;
	}
	return 0;
}

static int parse_backing(const u8 *p, const struct q_header *h, u64 cs, char *backing,
			 struct err *e)
{
	backing[0] = '\0';
	if (!h->backing_off || !h->backing_len)
		return 0;
	if (h->backing_len >= IMAGE_NAME_MAX || !range_ok(h->backing_off, h->backing_len, cs))
		return bad(e, "the backing file's name is not inside the header");
	memcpy(backing, p + h->backing_off, h->backing_len);
	backing[h->backing_len] = '\0';
	if (strlen(backing) != h->backing_len)
		return bad(e, "the backing file's name contains a NUL byte");
	return 0;
}

int q_parse_header(struct blk *file, struct q_header *h, struct q_ext *ext, unsigned *nr_ext,
		   char *backing, char *backing_format, struct err *e)
{
	u8 head[OUR_LENGTH] = { 0 }, *p;
	u64 cs, end;
	int r;

	*nr_ext = 0;
	backing_format[0] = '\0';
	if (file->info.size < V2_LENGTH)
		return bad(e, "shorter than a header");
	r = fio_read_below(file, 0, head, sizeof head);
	if (r)
		return err_set(e, -r, "qcow2: cannot read the header: %s", strerror(-r));
	if (!q_probe(head, sizeof head))
		return bad(e, "no qcow2 header");
	parse_fixed(head, h);
	TRY(check_header(h, file->info.size, e));
	cs = BIT_ULL(h->cluster_bits);
	p = malloc(cs);
	if (!p)
		return err_set(e, ENOMEM, "qcow2: out of memory");
	r = fio_read_below(file, 0, p, cs);
	if (r)
		r = err_set(e, -r, "qcow2: cannot read the header: %s", strerror(-r));
	else
		r = parse_backing(p, h, cs, backing, e);
	end = h->backing_off > h->length && h->backing_off < cs ? h->backing_off : cs;
	if (!r)
		r = parse_ext(p, h->length, (u32)end, ext, nr_ext, backing_format, e);
	if (r)
		free_ext(ext, nr_ext);
	free(p);
	return r;
}

static void put_fixed(u8 *p, const struct q_header *h)
{
	put_be32(p, QCOW2_MAGIC);
	put_be32(p + 4, h->version);
	put_be64(p + 8, h->backing_off);
	put_be32(p + 16, h->backing_len);
	put_be32(p + 20, h->cluster_bits);
	put_be64(p + 24, h->size);
	put_be32(p + 32, h->crypt);
	put_be32(p + 36, h->l1_size);
	put_be64(p + 40, h->l1_off);
	put_be64(p + 48, h->rt_off);
	put_be32(p + 56, h->rt_clusters);
	put_be32(p + 60, h->nr_snapshots);
	put_be64(p + 64, h->snapshots_off);
	if (h->version < 3)
		return;
	put_be64(p + 72, h->incompat);
	put_be64(p + 80, h->compat);
	put_be64(p + 88, h->autoclear);
	put_be32(p + 96, h->refcount_order);
	put_be32(p + 100, h->length);
	if (h->length > V3_LENGTH)
		p[104] = h->compression;
}

/* Append an extension at *at. false: no room. */
static bool put_ext(u8 *p, u64 cap, u64 *at, u32 type, const void *data, u32 len)
{
	if (*at + 8 + len + 16 > cap)
		return false;
	put_be32(p + *at, type);
	put_be32(p + *at + 4, len);
	memcpy(p + *at + 8, data, len);
	*at += 8 + ((len + 7) & ~7u);
	return true;
}

int q_write_header(struct qcow2 *q)
{
	u64 cs = q->cluster_size, at, n = strlen(q->backing), old = q->h.length;
	u8 *p = calloc(1, cs);
	bool ok = true;
	int r;

	if (!p)
		return -ENOMEM;
	r = fio_read_below(q->f.b.base, 0, p, old); /* fields of later versions stay */
	memset(p + old, 0, cs - old);
	at = old;
	if (*q->backing_format && n)
		ok = put_ext(p, cs, &at, EXT_BACKING_FORMAT, q->backing_format,
			     (u32)strlen(q->backing_format));
	for (unsigned i = 0; i < q->nr_ext && ok; i++)
		ok = put_ext(p, cs, &at, q->ext[i].type, q->ext[i].data, q->ext[i].len);
	if (ok && q->h.version > 2)
		ok = put_ext(p, cs, &at, EXT_END, "", 0);
	else
		at += 8; /* an end mark of zeroes */
	if (!ok || at + n > cs || at + n > 4096 + cs)
		r = r ? r : -ENOSPC;
	q->h.backing_off = n ? at : 0;
	q->h.backing_len = (u32)n;
	if (!r) {
		memcpy(p + at, q->backing, n);
		put_fixed(p, &q->h);
		r = fio_write(q->f.b.base, 0, p, cs);
	}
	free(p);
	return r ? r : fio_flush(q->f.b.base);
}

int q_put_header_field(struct qcow2 *q, unsigned off, const void *p, unsigned len)
{
	return fio_write(q->f.b.base, off, p, len);
}

int q_set_incompat(struct qcow2 *q, u64 incompat)
{
	u8 be[8];

	if (q->h.version < 3)
		return 0;
	put_be64(be, incompat);
	TRY(q_put_header_field(q, 72, be, sizeof be));
	q->h.incompat = incompat;
	return fio_flush(q->f.b.base);
}

int q_corrupt(struct qcow2 *q)
{
	q->broken = true;
	return -EIO;
}

int q_begin_writing(struct qcow2 *q)
{
	u8 be[8];

	if (q->writing)
		return 0;
	if (q->h.autoclear & AUTOCLEAR_BITMAPS)
		TRY(q_mark_bitmaps(q));
	if (q->h.autoclear & ~(u64)AUTOCLEAR_BITMAPS) {
		put_be64(be, q->h.autoclear & AUTOCLEAR_BITMAPS);
		TRY(q_put_header_field(q, 88, be, sizeof be));
		q->h.autoclear &= AUTOCLEAR_BITMAPS;
	}
	q->writing = true;
	return 0;
}

/* -- opening ---------------------------------------------------------------------------- */

static int read_table(struct blk *file, u64 off, u32 n, u64 **ret)
{
	u64 *t = calloc(n ? n : 1, 8);
	int r = t ? fio_read_below(file, off, t, (u64)n * 8) : -ENOMEM;

	if (r) {
		free(t);
		return r;
	}
	for (u32 i = 0; i < n; i++)
		t[i] = be64toh(t[i]);
	*ret = t;
	return 0;
}

static void set_geometry(struct qcow2 *q)
{
	bool ext = q->h.incompat & INCOMPAT_EXT_L2;

	q->cluster_size = BIT_ULL(q->h.cluster_bits);
	q->entry = ext ? 16 : 8;
	q->l2_bits = q->h.cluster_bits - (ext ? 4 : 3);
	q->nr_sub = ext ? 32 : 1;
	q->sub_size = q->cluster_size / q->nr_sub;
	q->block_bits = q->h.cluster_bits + 3 - q->h.refcount_order;
	q->rt_size = (u32)(q->h.rt_clusters * (q->cluster_size / 8));
	q->l1_dirty_first = UINT32_MAX;
	q->zero_from = align_up(q->f.b.base->info.size, q->cluster_size);
	q->f.b.info.size = align_up(q->h.size, BLK_SECTOR);
}

static int open_crypt(struct qcow2 *q, const struct image_opts *o, struct err *e)
{
	for (unsigned i = 0; i < q->nr_ext; i++) {
		if (q->ext[i].type == EXT_CRYPTO && q->ext[i].len >= 16) {
			q->crypt_off = be64(q->ext[i].data);
			q->crypt_len = be64(q->ext[i].data + 8);
		}
	}
	if (q->h.crypt != 2)
		return 0;
	if (!q->crypt_off || !range_ok(q->crypt_off, q->crypt_len, q->f.b.base->info.size) ||
	    q->crypt_len > (64u << 20))
		return bad(e, "the LUKS header is not inside the file");
	if (!o->secret)
		return err_set(e, ENOKEY, "qcow2: encrypted: want its passphrase");
	q->crypt = luks_open(q->f.b.base, q->crypt_off, q->crypt_len, o->secret, e);
	return q->crypt ? 0 : -e->code;
}

static int load(struct qcow2 *q, struct err *e)
{
	int r = read_table(q->f.b.base, q->h.l1_off, q->h.l1_size, &q->l1);

	if (!r)
		r = read_table(q->f.b.base, q->h.rt_off, q->rt_size, &q->rt);
	if (!r)
		r = q_cache_init(q);
	if (r)
		return err_set(e, -r, "qcow2: cannot read the tables: %s", strerror(-r));
	return q_load_snapshots(q, e);
}

/* An image whose refcounts were left for later (lazy refcounts, a crash) is repaired first. */
static int make_usable(struct qcow2 *q, const struct image_opts *o, struct err *e)
{
	struct image_check c = { 0 };

	if (q->f.b.info.read_only || o->no_repair)
		return 0;
	if (q->h.incompat & INCOMPAT_CORRUPT)
		return err_set(e, EIO, "qcow2: marked as corrupt: check and repair it, or open it "
				       "for reading only");
	if (!(q->h.incompat & INCOMPAT_DIRTY))
		return 0;
	TRY(q_check(&q->f, IMAGE_FIX_ALL, &c, e));
	if (c.errors)
		return err_set(e, EIO, "qcow2: was not closed cleanly and cannot be repaired");
	return 0;
}

static int q_open(struct fmt *f, const struct image_opts *o, struct err *e)
{
	struct qcow2 *q = (struct qcow2 *)f;

	TRY(q_parse_header(f->b.base, &q->h, q->ext, &q->nr_ext, q->backing, q->backing_format,
			   e));
	if (*q->backing && !f->backing && !o->no_backing)
		return err_set(e, ENOLINK,
			       "qcow2: stands on \"%.100s\", which was not allowed or not given",
			       q->backing);
	if (!*q->backing && f->backing)
		return bad(e, "has no backing file, but one was given");
	set_geometry(q);
	TRY(open_crypt(q, o, e));
	TRY(load(q, e));
	return make_usable(q, o, e);
}

static void q_close(struct fmt *f)
{
	struct qcow2 *q = (struct qcow2 *)f;

	if (q->writing && !q->broken && q->l1 && q->rt)
		if (q_settle(q)) {
			/* Nobody is left to tell: what was flushed is safe. */
		}
	luks_free(q->crypt);
	free_ext(q->ext, &q->nr_ext);
	q_free_snapshots(q);
	free(q->slice_mem);
	free(q->frees);
	free(q->zbuf);
	free(q->l1);
	free(q->rt);
}

/* -- what it says of itself ------------------------------------------------------------- */

static void describe(const struct q_header *h, struct image_info *ret)
{
	ret->format = IMAGE_QCOW2;
	ret->size = align_up(h->size, BLK_SECTOR);
	ret->cluster_size = 1u << h->cluster_bits;
	ret->encrypted = ret->needs_secret = h->crypt;
	ret->dirty = h->incompat & INCOMPAT_DIRTY;
	ret->corrupt = h->incompat & INCOMPAT_CORRUPT;
	ret->nr_snapshot = h->nr_snapshots;
	snprintf(ret->variant, sizeof ret->variant, "version %u, %s%s%s, refcounts of %u bits",
		 h->version & 0xff, h->compression ? "zstd" : "zlib",
		 h->incompat & INCOMPAT_EXT_L2 ? ", subclusters" : "",
		 h->compat & COMPAT_LAZY ? ", lazy" : "", 1u << (h->refcount_order & 7));
}

static unsigned nr_bitmaps(const struct q_ext *ext, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (ext[i].type == EXT_BITMAPS && ext[i].len >= 24)
			return be32(ext[i].data);
	return 0;
}

static int q_peek(struct blk *file, struct image_info *ret, struct err *e)
{
	struct q_ext ext[Q_EXT_MAX];
	struct q_header h;
	unsigned nr;

	TRY(q_parse_header(file, &h, ext, &nr, ret->backing, ret->backing_format, e));
	describe(&h, ret);
	ret->nr_bitmap = nr_bitmaps(ext, nr);
	free_ext(ext, &nr);
	return 0;
}

static void q_info(struct fmt *f, struct image_info *ret)
{
	struct qcow2 *q = (struct qcow2 *)f;

	describe(&q->h, ret);
	strcpy(ret->backing, q->backing);
	strcpy(ret->backing_format, q->backing_format);
	ret->snapshot = q->snap;
	ret->nr_bitmap = nr_bitmaps(q->ext, q->nr_ext);
}

static int q_status(struct fmt *f, u64 off, u64 len, struct blk_extent *ret)
{
	static const enum blk_state state[] = { [Q_UNMAPPED] = BLK_BELOW, [Q_ZEROES] = BLK_ZERO,
						[Q_DATA] = BLK_DATA, [Q_PACKED] = BLK_DATA };
	struct qcow2 *q = (struct qcow2 *)f;
	struct q_map m;

	TRY(q_lookup(q, off, len, &m));
	*ret = (struct blk_extent){ .len = m.len, .state = state[m.type],
				    .compressed = m.type == Q_PACKED,
				    .host_offset = m.type == Q_DATA ? m.host : BLK_NOWHERE };
	return 0;
}

static int q_set_backing(struct fmt *f, const char *name, const char *format, struct err *e)
{
	struct qcow2 *q = (struct qcow2 *)f;
	char old[IMAGE_NAME_MAX], old_format[16];
	int r;

	if (strlen(name) >= IMAGE_NAME_MAX)
		return bad(e, "the backing file's name is longer than 1023 bytes");
	strcpy(old, q->backing);
	strcpy(old_format, q->backing_format);
	strcpy(q->backing, name);
	snprintf(q->backing_format, sizeof q->backing_format, "%s", format ? format : "");
	r = q_settle(q);
	if (!r)
		r = q_write_header(q);
	if (!r)
		return 0;
	strcpy(q->backing, old);
	strcpy(q->backing_format, old_format);
	return err_set(e, -r, "qcow2: cannot write the header: %s", strerror(-r));
}

static u32 q_unit(struct fmt *f)
{
	struct qcow2 *q = (struct qcow2 *)f;

	return q->h.crypt ? 0 : (u32)q->cluster_size;
}

const struct fmt_ops qcow2_fmt = {
	.format = IMAGE_QCOW2,
	.node_size = sizeof(struct qcow2),
	.probe = q_probe,
	.peek = q_peek,
	.open = q_open,
	.create = q_create,
	.io = q_io,
	.close = q_close,
	.status = q_status,
	.resize = q_resize,
	.info = q_info,
	.check = q_check,
	.snapshot = q_snapshot,
	.set_backing = q_set_backing,
	.compressed_unit = q_unit,
	.pack = q_pack,
	.write_packed = q_write_packed,
	.bitmap_get = q_bitmap_get,
	.bitmap_load = q_bitmap_load,
	.bitmap_store = q_bitmap_store,
};
