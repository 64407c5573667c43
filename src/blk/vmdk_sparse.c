// SPDX-License-Identifier: Apache-2.0
/*
 * vmdk_sparse.c - hosted sparse extents, stream-optimised ones, new disks
 * [VMware Virtual Disk Format 5.0, "Hosted Sparse Extents", "Stream-Optimized ..."]
 */
#include "blk/vmdk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <zlib.h>

enum { S_VERSION = 4, S_FLAGS = 8, S_CAPACITY = 12, S_GRAIN = 20, S_DESC = 28, S_DESC_LEN = 36,
       S_PER_GT = 44, S_RGD = 48, S_GD = 56, S_OVERHEAD = 64, S_UNCLEAN = 72, S_NL = 73,
       S_COMPRESS = 77 };
enum { FLAG_NL = 1, FLAG_RGD = 2, FLAG_COMPRESSED = 1 << 16, FLAG_MARKERS = 1 << 17 };
enum { MARK_EOS, MARK_GT, MARK_GD, MARK_FOOTER };
enum { DESC_SECTORS = 20, GRAIN = 65536, PER_GT = 512 };

#define GD_AT_END UINT64_MAX

static int bad(struct err *e, const char *what)
{
	return err_set(e, EINVAL, "vmdk: %s", what);
}

static int cannot(int r, const char *what, struct err *e)
{
	return r ? err_set(e, -r, "vmdk: cannot %s: %s", what, strerror(-r)) : 0;
}

/* -- tables ----------------------------------------------------------------------------- */

static int put_entries(struct sparse *s, u64 first, u64 n)
{
	struct vmdk_extent *x = container_of(s, struct vmdk_extent, s);

	for (u64 i = first; i < first + n; i++) {
		u64 t = i / x->per_gt, in = i % x->per_gt * 4;
		u8 buf[4];

		if (!x->gt[t])
			return -EIO;
		put_le32(buf, (u32)(s->map[i] / BLK_SECTOR));
		TRY(fio_write(s->file, x->gt[t] + in, buf, 4));
		if (x->rgt && x->rgt[t])
			TRY(fio_write(s->file, x->rgt[t] + in, buf, 4));
	}
	return 0;
}

static int read_gd(struct vmdk_extent *x, u64 at, u64 **ret)
{
	u64 *gd = calloc(x->nr_gt + 1, 8);
	u8 *p = malloc(x->nr_gt * 4 + 1);
	int r = gd && p ? fio_read_below(x->file, at, p, x->nr_gt * 4) : -ENOMEM;

	for (u64 i = 0; i < x->nr_gt && !r; i++)
		gd[i] = (u64)rd_le32(p + 4 * i) * BLK_SECTOR;
	free(p);
	if (r)
		free(gd);
	else
		*ret = gd;
	return r;
}

static int read_gt(struct vmdk *v, struct vmdk_extent *x, u64 t, u8 *p)
{
	u64 size = x->file->info.size;

	if (x->gt[t] >= size)
		return -EINVAL;
	TRY(fio_read_below(x->file, x->gt[t], p, x->per_gt * 4));
	for (u64 i = 0; i < x->per_gt && t * x->per_gt + i < x->s.nr; i++) {
		u64 at = (u64)rd_le32(p + 4 * i) * BLK_SECTOR;

		if (at <= BLK_SECTOR) { /* 1 = known to be zeroes */
			x->s.map[t * x->per_gt + i] = at ? SPARSE_ZERO : SPARSE_NONE;
			continue;
		}
		if (at >= size)
			return -EINVAL;
		x->s.map[t * x->per_gt + i] = at;
		v->grains++;
	}
	return 0;
}

static int read_tables(struct vmdk *v, struct vmdk_extent *x, u64 gd, u64 rgd, struct err *e)
{
	u8 *p = malloc(x->per_gt * 4);
	int r = p ? read_gd(x, gd, &x->gt) : -ENOMEM;

	if (!r && rgd)
		r = read_gd(x, rgd, &x->rgt);
	for (u64 t = 0; t < x->nr_gt && !r; t++)
		if (x->gt[t])
			r = read_gt(v, x, t, p);
	free(p);
	return r == -EINVAL ? bad(e, "a grain or a table lies outside the file") :
			      cannot(r, "read the tables", e);
}

/* The header; the one at the end where the first refers to that. */
static int read_header(struct vmdk_extent *x, u8 h[512], struct err *e)
{
	u64 size = x->file->info.size;
	int r = fio_read_below(x->file, 0, h, 512);

	if (!r && memcmp(h, "KDMV", 4) != 0)
		return bad(e, "an extent is no sparse file");
	if (!r && rd_le64(h + S_GD) == GD_AT_END && size >= 1536 + 512) {
		u8 f[512];

		r = fio_read(x->file, align_down(size, 512) - 1024, f, 512);
		if (!r && !memcmp(f, "KDMV", 4))
			memcpy(h, f, 512);
	}
	return cannot(r, "read the header", e);
}

int vmdk_open_sparse(struct vmdk *v, struct vmdk_extent *x, struct err *e)
{
	u64 capacity, grain, gd, rgd;
	u32 flags;
	u8 h[512];

	TRY(read_header(x, h, e));
	capacity = rd_le64(h + S_CAPACITY);
	grain = rd_le64(h + S_GRAIN);
	gd = rd_le64(h + S_GD);
	flags = rd_le32(h + S_FLAGS);
	rgd = flags & FLAG_RGD ? rd_le64(h + S_RGD) : 0;
	x->per_gt = rd_le32(h + S_PER_GT);
	if (rd_le32(h + S_VERSION) < 1 || rd_le32(h + S_VERSION) > 3)
		return err_set(e, ENOTSUP, "vmdk: version %u: want 1 to 3", rd_le32(h + S_VERSION));
	if (flags & FLAG_COMPRESSED && rd_le16(h + S_COMPRESS) != 1)
		return err_set(e, ENOTSUP, "vmdk: an unknown compression");
	if (grain < 8 || grain > 32768 || grain & (grain - 1) || !x->per_gt || x->per_gt > 4096)
		return bad(e, "grains or tables of impossible size");
	if (capacity > BLK_MAX / 512 || (x->len && capacity * 512 < x->len))
		return bad(e, "an extent of impossible size");
	v->stream = flags & FLAG_COMPRESSED;
	if (v->stream && v->d.nr > 1)
		return err_set(e, ENOTSUP, "vmdk: several compressed extents: not supported");
	x->s = (struct sparse){ .file = x->file, .size = capacity * BLK_SECTOR,
				.block = grain * BLK_SECTOR, .align = grain * BLK_SECTOR,
				.end = align_up(x->file->info.size, BLK_SECTOR),
				.put_entries = put_entries };
	TRY(sparse_init(&x->s, e));
	x->nr_gt = (x->s.nr + x->per_gt - 1) / x->per_gt;
	if (gd == GD_AT_END) /* just begun, or cut off before its end */
		return v->stream ? 0 : bad(e, "the grain directory is missing");
	if (!gd || gd > BLK_MAX / 512 || rgd > BLK_MAX / 512 || gd * 512 >= x->file->info.size)
		return bad(e, "the grain directory is not inside the file");
	return read_tables(v, x, gd * BLK_SECTOR, rgd * BLK_SECTOR, e);
}

/* -- compressed grains ------------------------------------------------------------------ */

static int unpack(struct vmdk *v, struct vmdk_extent *x, u64 at)
{
	u64 grain = x->s.block, max = grain + grain / 8 + 1024;
	uLongf out = grain;
	u8 head[12], *in;
	u32 len;
	int r;

	if (v->grain && v->grain_at == at)
		return 0;
	TRY(fio_read_below(x->file, at, head, sizeof head));
	len = rd_le32(head + 8);
	if (!len || len > max)
		return -EIO;
	in = malloc(len);
	if (!v->grain)
		v->grain = malloc(grain);
	r = in && v->grain ? fio_read_below(x->file, at + 12, in, len) : -ENOMEM;
	if (!r) {
		v->grain_at = 0;
		memset(v->grain, 0, grain);
		if (uncompress(v->grain, &out, in, len) == Z_OK)
			v->grain_at = at;
		else
			r = -EIO;
	}
	free(in);
	return r;
}

size_t vmdk_pack(const struct fmt *f UNUSED, const void *in, u32 len, void *out, size_t cap)
{
	uLongf n = cap;

	return compress2(out, &n, in, len, Z_DEFAULT_COMPRESSION) == Z_OK ? n : 0;
}

/* Append a compressed grain: marker, data, up to a sector's end. */
int vmdk_write_packed(struct fmt *f, u64 off, const void *data, size_t len)
{
	struct vmdk *v = (struct vmdk *)f;
	struct vmdk_extent *x = &v->d.x[0];
	u64 n = align_up(12 + len, BLK_SECTOR), at = align_up(x->s.end, BLK_SECTOR);
	u8 *p;
	int r;

	if (at + n > (u64)UINT32_MAX * BLK_SECTOR || x->s.map[off / x->s.block])
		return -EFBIG;
	p = calloc(1, n);
	if (!p)
		return -ENOMEM;
	put_le64(p, off / BLK_SECTOR);
	put_le32(p + 8, (u32)len);
	memcpy(p + 12, data, len);
	r = fio_write(x->file, at, p, n);
	free(p);
	if (r)
		return r;
	x->s.map[off / x->s.block] = at;
	x->s.end = at + n;
	return 0;
}

/* A grain that does not shrink, or the disk's short last one. */
static int write_plain(struct vmdk *v, struct vmdk_extent *x, const struct blk_req *r, u64 pos,
		       u64 off, u64 n)
{
	uLongf len = compressBound(x->s.block);
	u8 *in, *out;
	int err = -EROFS;

	if (off % x->s.block || (n != x->s.block && off + n != x->s.size))
		return -EROFS;
	in = calloc(1, x->s.block);
	out = malloc(len);
	if (!in || !out)
		err = -ENOMEM;
	else
		req_get(r, pos, in, n);
	if (in && out && compress(out, &len, in, x->s.block) == Z_OK)
		err = vmdk_write_packed(&v->f, off, out, len);
	free(in);
	free(out);
	return err;
}

int vmdk_stream_io(struct vmdk *v, struct vmdk_extent *x, const struct blk_req *r, u64 pos, u64 off,
		   u64 len)
{
	u64 n;

	if (r->op == BLK_DISCARD)
		return 0;
	for (; len; off += n, pos += n, len -= n) {
		u64 at = x->s.map[off / x->s.block] & ~(u64)SPARSE_ZERO, in = off % x->s.block;

		n = x->s.block - in < len ? x->s.block - in : len;
		if (r->op == BLK_WRITE) {
			TRY(write_plain(v, x, r, pos, off, n));
		} else if (r->op == BLK_WRITE_ZEROES) {
			if (at)
				return -EROFS;
		} else if (!at) {
			req_zero(r, pos, n);
		} else {
			TRY(unpack(v, x, at));
			req_put(r, pos, v->grain + in, n);
		}
	}
	return 0;
}

/* -- ending a stream: tables, directory, footer, end marker ----------------------------- */

static void put_marker(u8 *p, u64 sectors, u32 type)
{
	memset(p, 0, BLK_SECTOR);
	put_le64(p, sectors);
	put_le32(p + 12, type);
}

static int append(struct vmdk_extent *x, const void *p, u64 n)
{
	u64 at = x->s.end;

	x->s.end += n;
	return fio_write(x->file, at, p, n);
}

static int write_gts(struct vmdk_extent *x, u8 *gd)
{
	u8 p[BLK_SECTOR + PER_GT * 4];

	for (u64 t = 0; t < x->nr_gt; t++) {
		bool any = false;

		put_marker(p, PER_GT * 4 / BLK_SECTOR, MARK_GT);
		for (u64 i = 0; i < PER_GT; i++) {
			u64 b = t * PER_GT + i, at = b < x->s.nr ? x->s.map[b] / BLK_SECTOR : 0;

			put_le32(p + BLK_SECTOR + 4 * i, (u32)at);
			any = any || at;
		}
		if (!any)
			continue;
		put_le32(gd + BLK_SECTOR + 4 * t, (u32)(x->s.end / BLK_SECTOR) + 1);
		TRY(append(x, p, sizeof p));
	}
	return 0;
}

int vmdk_finish(struct fmt *f, struct err *e)
{
	struct vmdk *v = (struct vmdk *)f;
	struct vmdk_extent *x = &v->d.x[0];
	u64 gd_len = align_up(x->nr_gt * 4, BLK_SECTOR), at;
	u8 p[3 * BLK_SECTOR], *gd;
	int r;

	if (!v->stream || v->finished || f->b.info.read_only)
		return 0;
	gd = calloc(1, BLK_SECTOR + gd_len);
	if (!gd)
		return err_set(e, ENOMEM, "vmdk: out of memory");
	x->s.end = align_up(x->s.end, BLK_SECTOR);
	put_marker(gd, gd_len / BLK_SECTOR, MARK_GD);
	r = write_gts(x, gd);
	at = x->s.end / BLK_SECTOR + 1;
	if (!r)
		r = append(x, gd, BLK_SECTOR + gd_len);
	free(gd);
	put_marker(p, 1, MARK_FOOTER);
	if (!r)
		r = fio_read(x->file, 0, p + BLK_SECTOR, BLK_SECTOR);
	put_le64(p + BLK_SECTOR + S_GD, at);
	put_marker(p + 2 * BLK_SECTOR, 0, MARK_EOS);
	if (!r)
		r = append(x, p, sizeof p);
	v->finished = !r;
	return cannot(r, "write", e);
}

/* -- creating --------------------------------------------------------------------------- */

static int make_text(char *text, size_t cap, const struct image_create *c, const char *type,
		     const char *extent)
{
	u64 cylinders = c->size / BLK_SECTOR / (63 * 16);
	u32 cid;
	int n;

	if (getrandom(&cid, sizeof cid, 0) != sizeof cid)
		return -EIO;
	cid = cid == UINT32_MAX ? 1 : cid;
	n = snprintf(text, cap,
		     "# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=ffffffff\n"
		     "createType=\"%s\"\n\n# Extent description\n%s\n\n# The Disk Data Base\n#DDB\n\n"
		     "ddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"%llu\"\n"
		     "ddb.geometry.heads = \"16\"\nddb.geometry.sectors = \"63\"\n"
		     "ddb.adapterType = \"ide\"\n", cid, type, extent,
		     (unsigned long long)(cylinders > 16383 ? 16383 : cylinders));
	return n < (int)cap ? n : -E2BIG;
}

static void make_header(u8 h[512], u64 size, bool stream, u64 gd, u64 rgd, u64 overhead)
{
	memset(h, 0, 512);
	memcpy(h, "KDMV", 4);
	put_le32(h + S_VERSION, stream ? 3 : 1);
	put_le32(h + S_FLAGS, FLAG_NL | (stream ? FLAG_COMPRESSED | FLAG_MARKERS : FLAG_RGD));
	put_le64(h + S_CAPACITY, size / BLK_SECTOR);
	put_le64(h + S_GRAIN, GRAIN / BLK_SECTOR);
	put_le64(h + S_DESC, 1);
	put_le64(h + S_DESC_LEN, DESC_SECTORS);
	put_le32(h + S_PER_GT, PER_GT);
	put_le64(h + S_RGD, rgd);
	put_le64(h + S_GD, gd);
	put_le64(h + S_OVERHEAD, overhead);
	memcpy(h + S_NL, "\n \r\n", 4);
	put_le16(h + S_COMPRESS, stream);
}

/* A directory at sector @at, its tables behind it. Return: the sector behind those. */
static int write_dir(struct blk *file, u64 at, u64 nr_gt, u64 *ret_end)
{
	u64 dir = align_up(nr_gt * 4, BLK_SECTOR), step = PER_GT * 4 / BLK_SECTOR;
	u8 *p = calloc(1, dir + 1);
	int r;

	if (!p)
		return -ENOMEM;
	for (u64 i = 0; i < nr_gt; i++)
		put_le32(p + 4 * i, (u32)(at + dir / BLK_SECTOR + i * step));
	r = fio_write(file, at * BLK_SECTOR, p, dir);
	free(p);
	*ret_end = at + dir / BLK_SECTOR + nr_gt * step;
	return r;
}

static int create_sparse(struct blk *file, const struct image_create *c, bool stream,
			 struct err *e)
{
	u64 n = (c->size + GRAIN - 1) / GRAIN, nr_gt = (n + PER_GT - 1) / PER_GT;
	u64 rgd = 1 + DESC_SECTORS, gd = GD_AT_END, end = GRAIN / BLK_SECTOR;
	char text[DESC_SECTORS * 512] = "", extent[128];
	u8 h[512];
	int r;

	if (n > SPARSE_MAX)
		return bad(e, "the disk is too large");
	snprintf(extent, sizeof extent, "RW %llu SPARSE \"disk.vmdk\"",
		 (unsigned long long)(c->size / BLK_SECTOR));
	r = make_text(text, sizeof text, c, stream ? "streamOptimized" : "monolithicSparse", extent);
	if (r > 0 && !stream) {
		r = write_dir(file, rgd, nr_gt, &gd);
		if (!r)
			r = write_dir(file, gd, nr_gt, &end);
		end = align_up(end, GRAIN / BLK_SECTOR);
	}
	make_header(h, c->size, stream, gd, stream ? 0 : rgd, end);
	if (r >= 0)
		r = fio_write(file, 0, h, sizeof h);
	if (!r)
		r = fio_write(file, BLK_SECTOR, text, sizeof text);
	return r ? cannot(r, "write", e) : blk_resize(file, end * BLK_SECTOR, e);
}

int vmdk_create(struct blk *file, const struct image_create *c, struct err *e)
{
	char text[4096], extent[IMAGE_NAME_MAX + 64];
	int n;

	if (!c->subformat || !strcmp(c->subformat, "monolithicSparse"))
		return create_sparse(file, c, false, e);
	if (!strcmp(c->subformat, "streamOptimized"))
		return create_sparse(file, c, true, e);
	if (strcmp(c->subformat, "monolithicFlat") != 0)
		return bad(e, "subformat: want monolithicSparse, streamOptimized or monolithicFlat");
	if (!c->extent_name || strpbrk(c->extent_name, "\"\n\r") ||
	    strlen(c->extent_name) >= IMAGE_NAME_MAX)
		return bad(e, "the data file needs a name without quotes");
	snprintf(extent, sizeof extent, "RW %llu FLAT \"%s\" 0",
		 (unsigned long long)(c->size / BLK_SECTOR), c->extent_name);
	n = make_text(text, sizeof text, c, "monolithicFlat", extent);
	n = n < 0 ? n : fio_write(file, 0, text, (size_t)n);
	return cannot(n, "write", e);
}
