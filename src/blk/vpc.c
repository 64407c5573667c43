// SPDX-License-Identifier: Apache-2.0
/*
 * vpc.c - Virtual PC and Hyper-V version 1 disks, .vhd
 * [Microsoft Virtual Hard Disk Image Format Specification 1.0]
 */
#include "blk/sparse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { FOOTER = 512, HEADER = 1024 };
enum { F_FEATURES = 8, F_VERSION = 12, F_DATA = 16, F_TIME = 24, F_CREATOR = 28, F_OS = 36,
       F_ORIGINAL = 40, F_SIZE = 48, F_CYLINDERS = 56, F_HEADS = 58, F_SECTORS = 59, F_TYPE = 60,
       F_CHECKSUM = 64, F_UUID = 68 };
enum { H_DATA = 8, H_TABLE = 16, H_VERSION = 24, H_ENTRIES = 28, H_BLOCK = 32, H_CHECKSUM = 36,
       H_PARENT = 40, H_NAME = 64, H_LOCATORS = 576 };
enum { L_CODE = 0, L_LENGTH = 8, L_OFFSET = 16, L_BYTES = 24, LOCATORS = 8 };
enum { TYPE_FIXED = 2, TYPE_DYNAMIC = 3, TYPE_DIFF = 4 };

#define ABSENT	 0xffffffffu
#define MAX_SIZE (2040ull << 30)
#define RELATIVE 0x57327275u /* "W2ru": a relative name in UTF-16LE */
#define NAME_MAX_UNITS 256u
#define EPOCH	 946684800 /* 2000-01-01 */

struct vpc {
	struct fmt f;
	struct sparse s;
	bool fixed, child;
	u64 table;
	u8 footer[FOOTER];
};

static int bad(struct err *e, const char *what)
{
	return err_set(e, EINVAL, "vhd: %s", what);
}

static bool vpc_probe(const u8 *head, size_t len)
{
	return len >= FOOTER && !memcmp(head, "conectix", 8);
}

static u32 checksum(const u8 *p, size_t n, size_t skip)
{
	u32 sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += i >= skip && i < skip + 4 ? 0 : p[i];
	return ~sum;
}

/* Fuzzers do not guess checksums: they get by without. */
static bool sum_ok(const u8 *p, size_t n, size_t at)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
	return (n > at) && p[at] != 0xbc;
#else
	return checksum(p, n, at) == be32(p + at);
#endif
}

/* Old creators mean the geometry, newer ones the size. */
static u64 disk_size(const u8 *f)
{
	u64 chs = (u64)be16(f + F_CYLINDERS) * f[F_HEADS] * f[F_SECTORS] * BLK_SECTOR;
	u64 size = be64(f + F_SIZE);
	bool old = !memcmp(f + F_CREATOR, "vpc ", 4) || !memcmp(f + F_CREATOR, "qemu", 4);

	if (old && chs && be16(f + F_CYLINDERS) * f[F_HEADS] * f[F_SECTORS] < 65535 * 16 * 255)
		return chs;
	return align_down(size, BLK_SECTOR);
}

/* The footer: at the end, or its copy at the start. */
static int read_footer(struct blk *file, u8 f[FOOTER], struct err *e)
{
	u64 size = file->info.size;
	u32 type;
	int r = size < FOOTER ? -EINVAL : fio_read(file, size - FOOTER, f, FOOTER);

	if (!r && (!vpc_probe(f, FOOTER) || !sum_ok(f, FOOTER, F_CHECKSUM)))
		r = fio_read(file, 0, f, FOOTER);
	if (r == -EINVAL || (!r && !vpc_probe(f, FOOTER)))
		return bad(e, "no footer");
	if (r)
		return err_set(e, -r, "vhd: cannot read the footer: %s", strerror(-r));
	if (!sum_ok(f, FOOTER, F_CHECKSUM))
		return bad(e, "the footer's checksum is wrong");
	type = be32(f + F_TYPE);
	if (type != TYPE_FIXED && type != TYPE_DYNAMIC && type != TYPE_DIFF)
		return bad(e, "unknown type of disk");
	if (disk_size(f) > MAX_SIZE)
		return bad(e, "the disk is larger than 2040 GiB");
	if (type == TYPE_FIXED && disk_size(f) > size)
		return bad(e, "the file is shorter than the disk");
	return 0;
}

/* -- sparse ------------------------------------------------------------------------------------ */

static int put_entries(struct sparse *s, u64 first, u64 n)
{
	struct vpc *v = container_of(s, struct vpc, s);
	u8 buf[512 * 4];

	for (u64 i = 0; i < n; i++)
		put_be32(buf + 4 * i, (u32)((s->map[first + i] - s->lead) / BLK_SECTOR));
	return fio_write(s->file, v->table + first * 4, buf, n * 4);
}

/* The bitmap in front of a block: everything is present. And the footer moves on. */
static int prepare(struct sparse *s, u64 at)
{
	struct vpc *v = container_of(s, struct vpc, s);
	u8 *map = malloc(s->lead);
	int r;

	if (!map)
		return -ENOMEM;
	if (at + s->lead + s->block > (u64)ABSENT * BLK_SECTOR) {
		free(map);
		return -EFBIG;
	}
	memset(map, 0xff, s->lead);
	r = fio_write(s->file, at + s->lead + s->block, v->footer, FOOTER);
	if (!r)
		r = fio_write(s->file, at, map, s->lead);
	free(map);
	return r;
}

static int load_map(struct vpc *v, u64 entries, struct err *e)
{
	u64 n = v->s.nr < entries ? v->s.nr : entries;
	u8 *buf = malloc(n * 4 + 1);
	int r = buf ? fio_read_below(v->f.b.base, v->table, buf, n * 4) : -ENOMEM;

	v->s.end = align_up(v->table + entries * 4, BLK_SECTOR);
	for (u64 i = 0; i < n && !r; i++) {
		u64 at = (u64)be32(buf + 4 * i) * BLK_SECTOR;

		if (be32(buf + 4 * i) == ABSENT)
			continue;
		if (at < v->table || at + v->s.lead + v->s.block > v->f.b.base->info.size) {
			free(buf);
			return bad(e, "a block lies outside the file");
		}
		v->s.map[i] = at + v->s.lead;
		at += v->s.lead + v->s.block;
		v->s.end = at > v->s.end ? at : v->s.end;
	}
	free(buf);
	return r ? err_set(e, -r, "vhd: cannot read the table: %s", strerror(-r)) : 0;
}

static int read_header(struct blk *file, const u8 *footer, u8 h[HEADER], struct err *e)
{
	u64 at = be64(footer + F_DATA);
	int r = at > BLK_MAX ? -EINVAL : fio_read_below(file, at, h, HEADER);

	if (r || memcmp(h, "cxsparse", 8) != 0)
		return bad(e, "the header of a dynamic disk is missing");
	return sum_ok(h, HEADER, H_CHECKSUM) ? 0 : bad(e, "the header's checksum is wrong");
}

/* -- differencing disks: a bit in front of each block says which sectors the parent has ------- */

/* UTF-16 up to its end or a zero, with Windows' separators, as a path. false: it is none. */
static bool to_path(const u8 *p, unsigned units, bool big, char ret[IMAGE_NAME_MAX])
{
	char *to = ret;

	for (unsigned i = 0; i < units; i++) {
		u16 c = big ? be16(p + 2 * i) : rd_le16(p + 2 * i);

		if (!c)
			break;
		if (c < 0x20 || (c & 0xf800) == 0xd800)
			return false;
		if (c < 0x80) {
			*to++ = c == '\\' ? '/' : (char)c;
		} else if (c < 0x800) {
			*to++ = (char)(0xc0 | c >> 6);
			*to++ = (char)(0x80 | (c & 0x3f));
		} else {
			*to++ = (char)(0xe0 | c >> 12);
			*to++ = (char)(0x80 | (c >> 6 & 0x3f));
			*to++ = (char)(0x80 | (c & 0x3f));
		}
	}
	*to = '\0';
	return to != ret;
}

/* A relative name if there is one, else the last part of the other one. */
static int parent_name(struct blk *file, const u8 *h, char ret[IMAGE_NAME_MAX], struct err *e)
{
	u8 buf[2 * NAME_MAX_UNITS];
	const char *slash;

	for (unsigned i = 0; i < LOCATORS; i++) {
		const u8 *l = h + H_LOCATORS + i * L_BYTES;
		u32 len = be32(l + L_LENGTH);

		if (be32(l + L_CODE) != RELATIVE || len > sizeof buf || len % 2 ||
		    be64(l + L_OFFSET) > BLK_MAX ||
		    fio_read_below(file, be64(l + L_OFFSET), buf, len))
			continue;
		if (to_path(buf, len / 2, false, ret) && *ret != '/')
			return 0;
	}
	if (!to_path(h + H_NAME, NAME_MAX_UNITS, true, ret))
		return bad(e, "a differencing disk that does not name its parent");
	slash = strrchr(ret, '/');
	if (slash)
		memmove(ret, slash + 1, strlen(slash));
	return *ret ? 0 : bad(e, "a differencing disk that does not name its parent");
}

static int check_parent(struct vpc *v, const u8 *h, const struct image_opts *o, struct err *e)
{
	const struct vpc *p = (const struct vpc *)v->f.backing;

	if (!v->f.b.info.read_only)
		return err_set(e, EROFS, "vhd: a differencing disk can only be read: convert it");
	if (!p)
		return o->no_backing ? 0 : err_set(e, ENOLINK, "vhd: its parent was not allowed or not "
							       "given");
	if (!fmt_is(v->f.backing, &vpc_fmt))
		return bad(e, "its parent is no VHD");
	return !memcmp(h + H_PARENT, p->footer + F_UUID, 16) ? 0 : bad(e, "that is not its parent");
}

/* Whose are the sectors at @off of the disk? *ret_n: bytes alike from there on, in one block. */
static int sectors_at(struct vpc *v, u64 off, u64 len, u64 *ret_n, bool *ret_own)
{
	u64 b = off / v->s.block, in = off % v->s.block, first = in / BLK_SECTOR, n = 1, max;
	u8 *map;
	int r;

	len = v->s.block - in < len ? v->s.block - in : len;
	max = (len + BLK_SECTOR - 1) / BLK_SECTOR;
	*ret_own = v->s.map[b] != SPARSE_NONE;
	*ret_n = len;
	if (!*ret_own)
		return 0;
	map = malloc(v->s.lead);
	r = map ? fio_read(v->s.file, v->s.map[b] - v->s.lead, map, v->s.lead) : -ENOMEM;
	if (!r) {
#define OWN(i) (map[(i) / 8] >> (7 - (i) % 8) & 1)
		*ret_own = OWN(first);
		while (n < max && OWN(first + n) == *ret_own)
			n++;
#undef OWN
		*ret_n = n * BLK_SECTOR < len ? n * BLK_SECTOR : len;
	}
	free(map);
	return r;
}

static int read_child(struct vpc *v, const struct blk_req *r)
{
	u64 n;

	for (u64 pos = 0; pos < r->len; pos += n) {
		u64 off = r->offset + pos;
		bool own;

		TRY(sectors_at(v, off, r->len - pos, &n, &own));
		if (own)
			TRY(fio_part(v->s.file, BLK_READ,
				     v->s.map[off / v->s.block] + off % v->s.block, r, pos, n));
		else
			TRY(fio_part_below(v->f.backing, r, pos, off, n));
	}
	return 0;
}

static int child_status(struct vpc *v, u64 off, u64 len, struct blk_extent *ret)
{
	bool own;

	TRY(sectors_at(v, off, len, &len, &own));
	*ret = (struct blk_extent){ .len = len, .state = own ? BLK_DATA : BLK_BELOW,
				    .host_offset = own ? v->s.map[off / v->s.block] +
								 off % v->s.block : BLK_NOWHERE };
	return 0;
}

/* -- opening --------------------------------------------------------------------------------- */

static int open_dynamic(struct vpc *v, const struct image_opts *o, struct err *e)
{
	struct blk *file = v->f.b.base;
	u64 entries, block;
	u8 h[HEADER];

	TRY(read_header(file, v->footer, h, e));
	if (v->child)
		TRY(check_parent(v, h, o, e));
	entries = be32(h + H_ENTRIES);
	block = be32(h + H_BLOCK);
	v->table = be64(h + H_TABLE);
	if (block < BLK_SECTOR || block & (block - 1) || block > 256u << 20)
		return bad(e, "blocks of impossible size");
	if (!range_ok(v->table, entries * 4, file->info.size) ||
	    entries < (v->f.b.info.size + block - 1) / block)
		return bad(e, "the table is not inside the file");
	v->s = (struct sparse){ .file = file, .size = v->f.b.info.size, .block = block,
				.lead = align_up(block / BLK_SECTOR / 8, BLK_SECTOR),
				.put_entries = put_entries, .prepare = prepare };
	TRY(sparse_init(&v->s, e));
	return load_map(v, entries, e);
}

static int vpc_open(struct fmt *f, const struct image_opts *o, struct err *e)
{
	struct vpc *v = (struct vpc *)f;

	TRY(read_footer(f->b.base, v->footer, e));
	v->fixed = be32(v->footer + F_TYPE) == TYPE_FIXED;
	f->b.info.size = disk_size(v->footer);
	v->child = be32(v->footer + F_TYPE) == TYPE_DIFF;
	if (f->backing && !v->child)
		return bad(e, "has no parent, but one was given");
	return v->fixed ? 0 : open_dynamic(v, o, e);
}

static void vpc_close(struct fmt *f)
{
	struct vpc *v = (struct vpc *)f;

	if (v->s.nr_dirty && sparse_commit(&v->s)) {
		/* Nobody is left to tell: what was flushed is safe. */
	}
	sparse_fini(&v->s);
}

static int vpc_io(struct fmt *f, struct blk_req *r)
{
	struct vpc *v = (struct vpc *)f;

	if (v->fixed)
		return fio_req(f->b.base, r->op, r->offset, r->len, r->iov, r->nr_iov);
	if (v->child && r->op == BLK_READ)
		return read_child(v, r);
	return sparse_io(&v->s, r);
}

static int vpc_status(struct fmt *f, u64 off, u64 len, struct blk_extent *ret)
{
	struct vpc *v = (struct vpc *)f;

	if (v->child)
		return child_status(v, off, len, ret);
	return v->fixed ? blk_status(f->b.base, off, len, ret) :
			  sparse_status(&v->s, off, len, ret);
}

static int vpc_peek(struct blk *file, struct image_info *ret, struct err *e)
{
	u32 type;
	u8 f[FOOTER], h[HEADER];

	TRY(read_footer(file, f, e));
	type = be32(f + F_TYPE);
	ret->size = disk_size(f);
	strcpy(ret->variant, type == TYPE_FIXED ? "fixed" :
			     type == TYPE_DIFF	? "differencing" : "dynamic");
	if (type != TYPE_DIFF)
		return 0;
	strcpy(ret->backing_format, "vpc");
	TRY(read_header(file, f, h, e));
	return parent_name(file, h, ret->backing, e);
}

/* -- creating --------------------------------------------------------------------------- */

/* The specification's appendix: cylinders, heads, sectors of a disk of @sectors. */
static void geometry(u64 sectors, u8 *f)
{
	u64 cth, spt, heads;

	sectors = sectors > 65535 * 16 * 255 ? 65535 * 16 * 255 : sectors;
	if (sectors >= 65535 * 16 * 63) {
		spt = 255;
		heads = 16;
		cth = sectors / spt;
	} else {
		spt = 17;
		cth = sectors / spt;
		heads = (cth + 1023) / 1024;
		heads = heads < 4 ? 4 : heads;
		if (cth >= heads * 1024 || heads > 16) {
			spt = 31;
			heads = 16;
			cth = sectors / spt;
		}
		if (cth >= heads * 1024) {
			spt = 63;
			heads = 16;
			cth = sectors / spt;
		}
	}
	put_be16(f + F_CYLINDERS, (u16)(cth / heads));
	f[F_HEADS] = (u8)heads;
	f[F_SECTORS] = (u8)spt;
}

static int make_footer(u8 f[FOOTER], u64 size, bool fixed)
{
	memset(f, 0, FOOTER);
	memcpy(f, "conectix", 8);
	put_be32(f + F_FEATURES, 2);
	put_be32(f + F_VERSION, 0x00010000);
	put_be64(f + F_DATA, fixed ? UINT64_MAX : FOOTER);
	put_be32(f + F_TIME, (u32)(time(NULL) - EPOCH));
	memcpy(f + F_CREATOR, "win ", 4); /* readers take the size, not the geometry */
	put_be32(f + F_CREATOR + 4, 0x00060001);
	memcpy(f + F_OS, "Wi2k", 4);
	put_be64(f + F_ORIGINAL, size);
	put_be64(f + F_SIZE, size);
	geometry(size / BLK_SECTOR, f);
	put_be32(f + F_TYPE, fixed ? TYPE_FIXED : TYPE_DYNAMIC);
	if (getrandom(f + F_UUID, 16, 0) != 16)
		return -EIO;
	put_be32(f + F_CHECKSUM, checksum(f, FOOTER, F_CHECKSUM));
	return 0;
}

static int write_dynamic(struct blk *file, const u8 *f, u64 size)
{
	u64 block = 2u << 20, n = (size + block - 1) / block, table = align_up(n * 4, BLK_SECTOR);
	u8 h[HEADER] = "cxsparse", *t = malloc(table + 1);
	int r = t ? 0 : -ENOMEM;

	put_be64(h + H_DATA, UINT64_MAX);
	put_be64(h + H_TABLE, FOOTER + HEADER);
	put_be32(h + H_VERSION, 0x00010000);
	put_be32(h + H_ENTRIES, (u32)n);
	put_be32(h + H_BLOCK, (u32)block);
	put_be32(h + H_CHECKSUM, checksum(h, HEADER, H_CHECKSUM));
	if (!r)
		r = fio_write(file, 0, f, FOOTER);
	if (!r)
		r = fio_write(file, FOOTER, h, HEADER);
	if (!r) {
		memset(t, 0xff, table);
		r = fio_write(file, FOOTER + HEADER, t, table);
	}
	if (!r)
		r = fio_write(file, FOOTER + HEADER + table, f, FOOTER);
	free(t);
	return r;
}

static int vpc_create(struct blk *file, const struct image_create *c, struct err *e)
{
	bool fixed = c->subformat && !strcmp(c->subformat, "fixed");
	u8 f[FOOTER];
	int r;

	if (c->subformat && !fixed && strcmp(c->subformat, "dynamic") != 0)
		return bad(e, "subformat: want dynamic or fixed");
	if (c->size > MAX_SIZE)
		return bad(e, "the disk is larger than 2040 GiB");
	r = make_footer(f, c->size, fixed);
	if (!r)
		r = fixed ? fio_write(file, c->size, f, FOOTER) : write_dynamic(file, f, c->size);
	return r ? err_set(e, -r, "vhd: cannot write: %s", strerror(-r)) : 0;
}

const struct fmt_ops vpc_fmt = {
	.format = IMAGE_VPC,
	.node_size = sizeof(struct vpc),
	.probe = vpc_probe,
	.peek = vpc_peek,
	.open = vpc_open,
	.create = vpc_create,
	.io = vpc_io,
	.close = vpc_close,
	.status = vpc_status,
};
