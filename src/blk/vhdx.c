// SPDX-License-Identifier: Apache-2.0
/*
 * vhdx.c - Hyper-V disks, .vhdx [MS-VHDX]
 *
 * Entries of the block table are changed in place, each within a sector, after the
 * data they point to: no log is needed for that, and none is left behind. A log that
 * another program left is replayed at opening: into the file, or, if that is opened
 * for reading only, the image is refused.
 */
#include "base/crc32c.h"
#include "blk/sparse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MB (1ull << 20)

enum { HEADER = 4096, TABLE = 65536, AT_HEADER1 = 65536, AT_HEADER2 = 131072,
       AT_REGION1 = 196608, AT_REGION2 = 262144 };
enum { HD_CRC = 4, HD_SEQ = 8, HD_FILE_GUID = 16, HD_DATA_GUID = 32, HD_LOG_GUID = 48,
       HD_LOG_VERSION = 64, HD_VERSION = 66, HD_LOG_LEN = 68, HD_LOG_OFF = 72 };
enum { BAT_STATE = 7, BAT_PRESENT = 6, BAT_PARTIAL = 7 };
enum { LOG_SECTOR = 4096, MAX_LOG = 64 << 20, MAX_REGIONS = 2047, MAX_META = 2047 };

static const u8 guid_bat[16] = "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
static const u8 guid_meta[16] = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
static const u8 guid_params[16] = "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
static const u8 guid_size[16] = "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
static const u8 guid_id[16] = "\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46";
static const u8 guid_logical[16] = "\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f";
static const u8 guid_physical[16] = "\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56";

struct vhdx_meta {
	u64 size;
	u32 block, flags, logical;
};

struct vhdx {
	struct fmt f;
	struct sparse s;
	u64 bat, bat_len;
	u64 ratio; /* blocks between two bitmap entries of the table */
	u8 header[HEADER];
	bool second; /* the valid header is the second one */
	struct vhdx_meta m;
	bool announced;
};

static int bad(struct err *e, const char *what)
{
	return err_set(e, EINVAL, "vhdx: %s", what);
}

static int cannot(struct err *e, int r, const char *what)
{
	return err_set(e, -r, "vhdx: cannot %s: %s", what, strerror(-r));
}

static bool vhdx_probe(const u8 *head, size_t len)
{
	return len >= 8 && !memcmp(head, "vhdxfile", 8);
}

/* CRC-32C of @p with the 4 bytes at @skip taken as zeroes. */
static u32 crc_without(const u8 *p, size_t n, size_t skip)
{
	u32 c = crc32c(crc32c(0, p, skip), (const u8[4]){ 0 }, 4);

	return crc32c(c, p + skip + 4, n - skip - 4);
}

/* Fuzzers do not guess checksums: they get by without. */
static bool crc_ok(const u8 *p, size_t n)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
	(void)n;
	return p[4] != 0xbc;
#else
	return rd_le32(p + 4) == crc_without(p, n, 4);
#endif
}

static bool is_null(const u8 *guid)
{
	static const u8 none[16];

	return !memcmp(guid, none, 16);
}

/* -- headers ---------------------------------------------------------------------------- */

static bool header_ok(const u8 *h)
{
	return !memcmp(h, "head", 4) && crc_ok(h, HEADER) && rd_le16(h + HD_VERSION) == 1;
}

static int read_header(struct vhdx *v, struct err *e)
{
	struct blk *file = v->f.b.base;
	u8 *h = malloc(2 * HEADER);
	bool a, b;
	int r = h ? fio_read_below(file, AT_HEADER1, h, HEADER) : -ENOMEM;

	if (!r)
		r = fio_read_below(file, AT_HEADER2, h + HEADER, HEADER);
	if (r) {
		free(h);
		return cannot(e, r, "read the header");
	}
	a = header_ok(h);
	b = header_ok(h + HEADER);
	v->second = b && (!a || rd_le64(h + HEADER + HD_SEQ) > rd_le64(h + HD_SEQ));
	memcpy(v->header, h + (v->second ? HEADER : 0), HEADER);
	free(h);
	if (!a && !b)
		return bad(e, "both headers are damaged");
	if (rd_le16(v->header + HD_LOG_VERSION) && !is_null(v->header + HD_LOG_GUID))
		return err_set(e, ENOTSUP, "vhdx: a log of an unknown version");
	return 0;
}

/* The other header becomes the valid one. */
static int write_header(struct vhdx *v)
{
	put_le64(v->header + HD_SEQ, rd_le64(v->header + HD_SEQ) + 1);
	put_le32(v->header + HD_CRC, crc_without(v->header, HEADER, HD_CRC));
	TRY(fio_write(v->f.b.base, v->second ? AT_HEADER1 : AT_HEADER2, v->header, HEADER));
	v->second = !v->second;
	return fio_flush(v->f.b.base);
}

/* -- the log [MS-VHDX 2.3] -------------------------------------------------------------- */

struct log {
	u8 *p;
	u64 len;
	const u8 *guid;
};

static void log_copy(const struct log *g, u64 at, u8 *to, u64 n)
{
	for (u64 i = 0; i < n; i++)
		to[i] = g->p[(at + i) % g->len];
}

/* A valid entry at @at: its bytes (to free), or NULL. */
static u8 *log_entry(const struct log *g, u64 at, u64 *ret_len)
{
	u8 head[64], *p;
	u64 len, n;

	log_copy(g, at, head, sizeof head);
	len = rd_le32(head + 8);
	n = rd_le32(head + 24);
	if (memcmp(head, "loge", 4) != 0 || len < LOG_SECTOR || len > g->len || len % LOG_SECTOR ||
	    memcmp(head + 32, g->guid, 16) != 0 || n > (len - 64) / 32 ||
	    rd_le32(head + 12) % LOG_SECTOR || rd_le32(head + 12) >= g->len)
		return NULL;
	p = malloc(len);
	if (!p)
		return NULL;
	log_copy(g, at, p, len);
	if (!crc_ok(p, len)) {
		free(p);
		return NULL;
	}
	*ret_len = len;
	return p;
}

/* The sequence that begins at @at: entries in it, where its last one is. */
static unsigned log_sequence(const struct log *g, u64 at, u64 *ret_seq, u64 *ret_tail)
{
	u64 len, seq = 0, total = 0;
	unsigned n = 0;

	for (;; n++) {
		u8 *p = total < g->len ? log_entry(g, (at + total) % g->len, &len) : NULL;

		if (!p || (n && rd_le64(p + 16) != seq + 1) || total + len > g->len) {
			free(p);
			return n;
		}
		seq = rd_le64(p + 16);
		*ret_seq = seq;
		*ret_tail = rd_le32(p + 12);
		total += len;
		free(p);
	}
}

/* Where the active sequence starts: the tail its last entry names, reaching that entry. */
static bool log_find(const struct log *g, u64 *ret_at)
{
	u64 best = 0, seq, tail, checked, t2;
	bool found = false;
	unsigned budget = 4096;

	for (u64 at = 0; at < g->len && budget; at += LOG_SECTOR, budget--) {
		if (!log_sequence(g, at, &seq, &tail) || (found && seq <= best))
			continue;
		if (!log_sequence(g, tail, &checked, &t2) || checked != seq)
			continue;
		best = seq;
		*ret_at = tail;
		found = true;
	}
	return found;
}

static int replay_one(struct vhdx *v, const u8 *d, const u8 *data)
{
	u64 off = rd_le64(d + 16);
	u8 sector[LOG_SECTOR];

	if (off % LOG_SECTOR || off > BLK_MAX)
		return -EINVAL;
	if (!memcmp(d, "zero", 4)) {
		u64 len = rd_le64(d + 8);

		if (!range_ok(off, len, BLK_MAX) || len % LOG_SECTOR)
			return -EINVAL;
		return len ? fio_req(v->f.b.base, BLK_WRITE_ZEROES, off, len, NULL, 0) : 0;
	}
	if (memcmp(d, "desc", 4) != 0 || memcmp(data, "data", 4) != 0)
		return -EINVAL;
	memcpy(sector, d + 8, 8);
	memcpy(sector + 8, data + 8, LOG_SECTOR - 12);
	memcpy(sector + LOG_SECTOR - 4, d + 4, 4);
	return fio_write(v->f.b.base, off, sector, LOG_SECTOR);
}

static int replay_entry(struct vhdx *v, const u8 *p, u64 len)
{
	u64 n = rd_le32(p + 24), data = align_up(64 + n * 32, LOG_SECTOR);

	for (u64 i = 0; i < n; i++) {
		const u8 *d = p + 64 + 32 * i;
		bool has_data = !memcmp(d, "desc", 4);

		if (rd_le64(d + 24) != rd_le64(p + 16) || (has_data && data + LOG_SECTOR > len))
			return -EINVAL;
		TRY(replay_one(v, d, p + (has_data ? data : 0)));
		data += has_data ? LOG_SECTOR : 0;
	}
	return 0;
}

static int replay_from(struct vhdx *v, const struct log *g, u64 at)
{
	u64 len, seq = 0, total = 0;
	int r = 0;

	while (!r && total < g->len) {
		u8 *p = log_entry(g, (at + total) % g->len, &len);

		if (!p || (seq && rd_le64(p + 16) != seq + 1)) {
			free(p);
			break;
		}
		seq = rd_le64(p + 16);
		r = replay_entry(v, p, len);
		if (!r && rd_le64(p + 56) > v->f.b.base->info.size &&
		    rd_le64(p + 56) <= v->f.b.base->info.size + (1ull << 40)) {
			struct err e;

			r = blk_resize(v->f.b.base, rd_le64(p + 56), &e);
		}
		total += len;
		free(p);
	}
	return r ? r : fio_flush(v->f.b.base);
}

static int replay(struct vhdx *v, struct err *e)
{
	struct log g = { .len = rd_le32(v->header + HD_LOG_LEN), .guid = v->header + HD_LOG_GUID };
	u64 off = rd_le64(v->header + HD_LOG_OFF), at = 0;
	int r;

	if (is_null(g.guid))
		return 0;
	if (!g.len || g.len > MAX_LOG || g.len % MB || off % MB ||
	    !range_ok(off, g.len, v->f.b.base->info.size))
		return bad(e, "the log is not inside the file");
	g.p = malloc(g.len);
	r = g.p ? fio_read(v->f.b.base, off, g.p, g.len) : -ENOMEM;
	if (!r && log_find(&g, &at))
		r = v->f.b.info.read_only ? -EROFS : replay_from(v, &g, at);
	free(g.p);
	if (r == -EROFS)
		return err_set(e, EROFS, "vhdx: was not closed cleanly: open it for writing once");
	if (!r && v->f.b.info.read_only)
		return 0;
	if (r == -EINVAL)
		return bad(e, "the log makes no sense");
	memset(v->header + HD_LOG_GUID, 0, 16);
	if (!r)
		r = write_header(v);
	return r ? cannot(e, r, "replay the log") : 0;
}

/* -- regions, metadata ------------------------------------------------------------------ */

static int find_region(struct vhdx *v, const u8 *guid, const u8 *t, u64 *ret_off, u64 *ret_len)
{
	u32 n = rd_le32(t + 8);

	for (u32 i = 0; i < n; i++) {
		const u8 *x = t + 16 + 32 * i;

		if (memcmp(x, guid, 16) != 0)
			continue;
		*ret_off = rd_le64(x + 16);
		*ret_len = rd_le32(x + 24);
		return *ret_off % MB || *ret_off < MB ||
				       !range_ok(*ret_off, *ret_len, v->f.b.base->info.size) ?
			       -EINVAL :
			       0;
	}
	return -ENOENT;
}

static bool region_table_ok(const u8 *t)
{
	return !memcmp(t, "regi", 4) && rd_le32(t + 8) <= MAX_REGIONS && crc_ok(t, TABLE);
}

static int meta_item(struct blk *file, u64 meta, u64 meta_len, const u8 *t, const u8 *guid,
		     void *ret, u32 len)
{
	for (u32 i = 0; i < rd_le16(t + 10); i++) {
		const u8 *x = t + 32 + 32 * i;
		u32 off = rd_le32(x + 16);

		if (memcmp(x, guid, 16) != 0)
			continue;
		if (off < TABLE || !range_ok(off, len, meta_len))
			return -EINVAL;
		return fio_read_below(file, meta + off, ret, len);
	}
	return -EINVAL;
}

static int read_meta(struct vhdx *v, u64 meta, u64 len, u8 *t, struct err *e)
{
	struct blk *file = v->f.b.base;
	u8 p[8], size[8], logical[4];
	int r;

	if (len < TABLE)
		return bad(e, "the metadata is too short");
	r = fio_read_below(file, meta, t, TABLE);
	if (r)
		return cannot(e, r, "read the metadata");
	if (memcmp(t, "metadata", 8) != 0 || rd_le16(t + 10) > MAX_META)
		return bad(e, "the metadata table makes no sense");
	if (meta_item(file, meta, len, t, guid_params, p, 8) ||
	    meta_item(file, meta, len, t, guid_size, size, 8) ||
	    meta_item(file, meta, len, t, guid_logical, logical, 4))
		return bad(e, "the metadata lacks what every disk has");
	v->m = (struct vhdx_meta){ rd_le64(size), rd_le32(p), rd_le32(p + 4), rd_le32(logical) };
	if (v->m.flags & 2)
		return err_set(e, ENOTSUP, "vhdx: a differencing disk: not supported");
	if (v->m.block < MB || v->m.block > 256 * MB || v->m.block & (v->m.block - 1))
		return bad(e, "blocks of impossible size");
	if ((v->m.logical != 512 && v->m.logical != 4096) || v->m.size % v->m.logical ||
	    v->m.size > 64ull << 40)
		return bad(e, "the disk's size or sector size is impossible");
	return 0;
}

static int read_regions(struct vhdx *v, struct err *e)
{
	u64 meta, meta_len;
	u8 *t = malloc(TABLE);
	int r = t ? fio_read_below(v->f.b.base, AT_REGION1, t, TABLE) : -ENOMEM;

	if (!r && !region_table_ok(t))
		r = fio_read_below(v->f.b.base, AT_REGION2, t, TABLE);
	if (r)
		r = cannot(e, r, "read the regions");
	else if (!region_table_ok(t))
		r = bad(e, "both region tables are damaged");
	else if (find_region(v, guid_bat, t, &v->bat, &v->bat_len) ||
		 find_region(v, guid_meta, t, &meta, &meta_len))
		r = bad(e, "a region is missing or outside the file");
	else
		r = read_meta(v, meta, meta_len, t, e);
	free(t);
	return r;
}

/* -- the block table -------------------------------------------------------------------- */

static u64 entry_of(const struct vhdx *v, u64 block)
{
	return block + block / v->ratio;
}

static int put_entries(struct sparse *s, u64 first, u64 n)
{
	struct vhdx *v = container_of(s, struct vhdx, s);
	u8 buf[8];

	for (u64 i = first; i < first + n; i++) {
		put_le64(buf, s->map[i] | BAT_PRESENT);
		TRY(fio_write(s->file, v->bat + entry_of(v, i) * 8, buf, 8));
	}
	return 0;
}

static int load_map(struct vhdx *v, struct err *e)
{
	u64 n = v->s.nr ? entry_of(v, v->s.nr - 1) + 1 : 0, size = v->f.b.base->info.size;
	u8 *t;
	int r;

	if (n * 8 > v->bat_len)
		return bad(e, "the disk is larger than its table");
	t = malloc(n * 8 + 1);
	r = t ? fio_read_below(v->f.b.base, v->bat, t, n * 8) : -ENOMEM;
	for (u64 i = 0; i < v->s.nr && !r; i++) {
		u64 x = rd_le64(t + entry_of(v, i) * 8), at = align_down(x, MB);

		if ((x & BAT_STATE) == BAT_PARTIAL)
			r = -EINVAL;
		if ((x & BAT_STATE) != BAT_PRESENT)
			continue;
		if (at < MB || at > BLK_MAX || at >= size)
			r = -EINVAL;
		v->s.map[i] = at;
	}
	free(t);
	v->s.end = align_up(size, MB);
	return r == -EINVAL ? bad(e, "a block lies where none can be") :
	       r	    ? cannot(e, r, "read the table") :
			      0;
}

static int vhdx_open(struct fmt *f, const struct image_opts *o UNUSED, struct err *e)
{
	struct vhdx *v = (struct vhdx *)f;
	u8 id[8];

	if (fio_read_below(f->b.base, 0, id, 8) || !vhdx_probe(id, 8))
		return bad(e, "no VHDX file");
	TRY(read_header(v, e));
	TRY(replay(v, e));
	TRY(read_regions(v, e));
	f->b.info.size = v->m.size;
	f->b.info.block_size = v->m.logical;
	v->ratio = (1ull << 23) * v->m.logical / v->m.block;
	v->s = (struct sparse){ .file = f->b.base, .size = v->m.size, .block = v->m.block,
				.align = MB, .put_entries = put_entries };
	TRY(sparse_init(&v->s, e));
	return load_map(v, e);
}

static void vhdx_close(struct fmt *f)
{
	struct vhdx *v = (struct vhdx *)f;

	if (v->s.nr_dirty && sparse_commit(&v->s)) {
		/* Nobody is left to tell: what was flushed is safe. */
	}
	sparse_fini(&v->s);
}

/* Before the first write: the file's identity changes [MS-VHDX 2.2.2]. */
static int announce(struct vhdx *v)
{
	int r = 0;

	co_lock(&v->s.lock);
	if (!v->announced) {
		if (getrandom(v->header + HD_FILE_GUID, 32, 0) != 32)
			r = -EIO;
		if (!r)
			r = write_header(v);
		v->announced = !r;
	}
	co_unlock(&v->s.lock);
	return r;
}

static int vhdx_io(struct fmt *f, struct blk_req *r)
{
	struct vhdx *v = (struct vhdx *)f;

	if (!v->announced && (r->op == BLK_WRITE || r->op == BLK_WRITE_ZEROES))
		TRY(announce(v));
	return sparse_io(&v->s, r);
}

static int vhdx_status(struct fmt *f, u64 off, u64 len, struct blk_extent *ret)
{
	return sparse_status(&((struct vhdx *)f)->s, off, len, ret);
}

static int vhdx_peek(struct blk *file, struct image_info *ret, struct err *e)
{
	struct vhdx *v = calloc(1, sizeof *v);
	u8 id[8];
	int r;

	if (!v)
		return err_set(e, ENOMEM, "vhdx: out of memory");
	v->f.b.base = file;
	r = fio_read_below(file, 0, id, 8) || !vhdx_probe(id, 8) ? bad(e, "no VHDX file") : 0;
	if (!r)
		r = read_header(v, e);
	ret->dirty = !r && !is_null(v->header + HD_LOG_GUID);
	if (!r)
		r = read_regions(v, e);
	ret->size = v->m.size;
	ret->cluster_size = v->m.block;
	strcpy(ret->variant, v->m.flags & 1 ? "fixed" : "dynamic");
	free(v);
	return r;
}

/* -- creating --------------------------------------------------------------------------- */

static int write_headers(struct blk *file)
{
	static const char id[8] = "vhdxfile";
	u8 *h = calloc(1, TABLE);
	int r = h ? fio_write(file, 0, id, 8) : -ENOMEM;

	for (u64 i = 0; i < 2 && !r; i++) {
		memset(h, 0, HEADER);
		memcpy(h, "head", 4);
		put_le64(h + HD_SEQ, i);
		if (getrandom(h + HD_FILE_GUID, 32, 0) != 32)
			r = -EIO;
		put_le16(h + HD_VERSION, 1);
		put_le32(h + HD_LOG_LEN, (u32)MB);
		put_le64(h + HD_LOG_OFF, MB);
		put_le32(h + HD_CRC, crc_without(h, HEADER, HD_CRC));
		if (!r)
			r = fio_write(file, i ? AT_HEADER2 : AT_HEADER1, h, HEADER);
	}
	free(h);
	return r;
}

static void put_region(u8 *x, const u8 *guid, u64 off, u64 len)
{
	memcpy(x, guid, 16);
	put_le64(x + 16, off);
	put_le32(x + 24, (u32)len);
	put_le32(x + 28, 1);
}

static void put_item(u8 *x, const u8 *guid, u32 off, u32 len, u32 flags)
{
	memcpy(x, guid, 16);
	put_le32(x + 16, off);
	put_le32(x + 20, len);
	put_le32(x + 24, flags);
}

static int write_meta(struct blk *file, u64 at, u64 size, u64 block, bool fixed)
{
	enum { VIRTUAL = 2, REQUIRED = 4 };
	u8 *t = calloc(2, TABLE), *d = t + TABLE;
	int r;

	if (!t)
		return -ENOMEM;
	memcpy(t, "metadata", 8);
	put_le16(t + 10, 5);
	put_item(t + 32, guid_params, TABLE, 8, REQUIRED);
	put_item(t + 64, guid_size, TABLE + 8, 8, VIRTUAL | REQUIRED);
	put_item(t + 96, guid_id, TABLE + 16, 16, VIRTUAL | REQUIRED);
	put_item(t + 128, guid_logical, TABLE + 32, 4, VIRTUAL | REQUIRED);
	put_item(t + 160, guid_physical, TABLE + 36, 4, VIRTUAL | REQUIRED);
	put_le32(d, (u32)block);
	put_le32(d + 4, fixed);
	put_le64(d + 8, size);
	r = getrandom(d + 16, 16, 0) == 16 ? 0 : -EIO;
	put_le32(d + 32, 512);
	put_le32(d + 36, 512);
	if (!r)
		r = fio_write(file, at, t, 2 * TABLE);
	free(t);
	return r;
}

static int write_regions(struct blk *file, u64 meta, u64 bat, u64 bat_len)
{
	u8 *t = calloc(1, TABLE);
	int r;

	if (!t)
		return -ENOMEM;
	memcpy(t, "regi", 4);
	put_le32(t + 8, 2);
	put_region(t + 16, guid_bat, bat, bat_len);
	put_region(t + 48, guid_meta, meta, MB);
	put_le32(t + 4, crc_without(t, TABLE, 4));
	r = fio_write(file, AT_REGION1, t, TABLE);
	if (!r)
		r = fio_write(file, AT_REGION2, t, TABLE);
	free(t);
	return r;
}

static int vhdx_create(struct blk *file, const struct image_create *c, struct err *e)
{
	bool fixed = c->subformat && !strcmp(c->subformat, "fixed");
	u64 block = c->cluster_size ? c->cluster_size : 8 * MB, n = (c->size + block - 1) / block;
	u64 ratio, entries, bat_len, at;
	u8 x[8];
	int r;

	if (c->subformat && !fixed && strcmp(c->subformat, "dynamic") != 0)
		return bad(e, "subformat: want dynamic or fixed");
	if (block < MB || block > 256 * MB || block & (block - 1))
		return bad(e, "cluster size: want a power of 2, 1M to 256M");
	if (c->size > 64ull << 40 || n > SPARSE_MAX)
		return bad(e, "the disk is larger than 64 TiB");
	ratio = (1ull << 23) * 512 / block;
	entries = n ? n + (n - 1) / ratio : 0;
	bat_len = align_up(entries * 8 + 1, MB);
	at = 3 * MB + bat_len;
	r = write_headers(file);
	if (!r)
		r = write_regions(file, 2 * MB, 3 * MB, bat_len);
	if (!r)
		r = write_meta(file, 2 * MB, c->size, block, fixed);
	for (u64 i = 0; i < n && fixed && !r; i++) {
		put_le64(x, (at + i * block) | BAT_PRESENT);
		r = fio_write(file, 3 * MB + (i + i / ratio) * 8, x, 8);
	}
	if (r)
		return cannot(e, r, "write");
	return blk_resize(file, at + (fixed ? n * block : 0), e);
}

const struct fmt_ops vhdx_fmt = {
	.format = IMAGE_VHDX,
	.node_size = sizeof(struct vhdx),
	.probe = vhdx_probe,
	.peek = vhdx_peek,
	.open = vhdx_open,
	.create = vhdx_create,
	.io = vhdx_io,
	.close = vhdx_close,
	.status = vhdx_status,
};
