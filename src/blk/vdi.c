// SPDX-License-Identifier: Apache-2.0
/* vdi.c - VirtualBox disk images, version 1.1 [VirtualBox VDICore.h] */
#include "blk/sparse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { O_SIGNATURE = 0x40, O_VERSION = 0x44, O_HEADER = 0x48, O_TYPE = 0x4c, O_MAP = 0x154,
       O_DATA = 0x158, O_SECTOR = 0x168, O_SIZE = 0x170, O_BLOCK = 0x178, O_EXTRA = 0x17c,
       O_BLOCKS = 0x180, O_ALLOCATED = 0x184, O_UUID = 0x188, O_LINK = 0x1a8, O_PARENT = 0x1b8,
       HEADER = 512 };
enum { TYPE_DYNAMIC = 1, TYPE_FIXED = 2 };

#define SIGNATURE 0xbeda107fu
#define ABSENT	  0xffffffffu /* and one less: zeroes */
#define BLOCK	  (1u << 20)

struct vdi {
	struct fmt f;
	struct sparse s;
	u64 map_off, data_off;
	u32 type, allocated;
};

static int bad(struct err *e, const char *what)
{
	return err_set(e, EINVAL, "vdi: %s", what);
}

static bool vdi_probe(const u8 *head, size_t len)
{
	return len >= HEADER && rd_le32(head + O_SIGNATURE) == SIGNATURE;
}

static int parse(struct blk *file, u8 h[HEADER], struct err *e)
{
	static const u8 none[16];
	u64 size, blocks, map, data;
	int r = fio_read_below(file, 0, h, HEADER);

	if (r)
		return err_set(e, -r, "vdi: cannot read the header: %s", strerror(-r));
	if (!vdi_probe(h, HEADER))
		return bad(e, "no VDI header");
	size = rd_le64(h + O_SIZE);
	blocks = rd_le32(h + O_BLOCKS);
	map = rd_le32(h + O_MAP);
	data = rd_le32(h + O_DATA);
	if (rd_le32(h + O_VERSION) >> 16 != 1)
		return bad(e, "version: want 1.1");
	if (rd_le32(h + O_TYPE) != TYPE_DYNAMIC && rd_le32(h + O_TYPE) != TYPE_FIXED)
		return err_set(e, ENOTSUP, "vdi: a differencing image: not supported");
	if (rd_le32(h + O_BLOCK) != BLOCK || rd_le32(h + O_EXTRA) || rd_le32(h + O_SECTOR) != 512)
		return bad(e, "blocks: want 1 MiB of sectors of 512 bytes");
	if (memcmp(h + O_LINK, none, 16) != 0 || memcmp(h + O_PARENT, none, 16) != 0)
		return err_set(e, ENOTSUP, "vdi: stands on another image: not supported");
	if (blocks > SPARSE_MAX || size > blocks * BLOCK)
		return bad(e, "the disk is larger than its table");
	if (map < HEADER || map % 512 || data % 512 || data < map + blocks * 4)
		return bad(e, "the table is not where it can be");
	return 0;
}

/* -- sparse ---------------------------------------------------------------------------------- */

static int put_entries(struct sparse *s, u64 first, u64 n)
{
	struct vdi *v = container_of(s, struct vdi, s);
	u8 buf[512 * 4];

	for (u64 i = 0; i < n; i++)
		put_le32(buf + 4 * i, (u32)((s->map[first + i] - v->data_off) / BLOCK));
	v->allocated += (u32)n;
	return fio_write(s->file, v->map_off + first * 4, buf, n * 4);
}

static int put_count(struct sparse *s)
{
	u8 buf[4];

	put_le32(buf, container_of(s, struct vdi, s)->allocated);
	return fio_write(s->file, O_ALLOCATED, buf, 4);
}

static int load_map(struct vdi *v, struct err *e)
{
	u8 *buf = malloc(v->s.nr * 4 + 1);
	int r = buf ? fio_read_below(v->f.b.base, v->map_off, buf, v->s.nr * 4) : -ENOMEM;

	v->s.end = v->data_off;
	for (u64 i = 0; i < v->s.nr && !r; i++) {
		u32 entry = rd_le32(buf + 4 * i);
		u64 at = v->data_off + (u64)entry * BLOCK;

		if (entry >= ABSENT - 1)
			continue;
		if (entry >= SPARSE_MAX) {
			free(buf);
			return bad(e, "a block lies where no file ends");
		}
		v->s.map[i] = at;
		v->s.end = at + BLOCK > v->s.end ? at + BLOCK : v->s.end;
	}
	free(buf);
	return r ? err_set(e, -r, "vdi: cannot read the table: %s", strerror(-r)) : 0;
}

static int vdi_open(struct fmt *f, const struct image_opts *o UNUSED, struct err *e)
{
	struct vdi *v = (struct vdi *)f;
	u8 h[HEADER];

	TRY(parse(f->b.base, h, e));
	f->b.info.size = align_down(rd_le64(h + O_SIZE), BLK_SECTOR);
	v->type = rd_le32(h + O_TYPE);
	v->map_off = rd_le32(h + O_MAP);
	v->data_off = rd_le32(h + O_DATA);
	v->allocated = rd_le32(h + O_ALLOCATED);
	v->s = (struct sparse){ .file = f->b.base, .size = f->b.info.size, .block = BLOCK,
				.put_entries = put_entries, .finish = put_count };
	TRY(sparse_init(&v->s, e));
	return load_map(v, e);
}

static void vdi_close(struct fmt *f)
{
	struct vdi *v = (struct vdi *)f;

	if (v->s.nr_dirty && sparse_commit(&v->s)) {
		/* Nobody is left to tell: what was flushed is safe. */
	}
	sparse_fini(&v->s);
}

static int vdi_io(struct fmt *f, struct blk_req *r)
{
	return sparse_io(&((struct vdi *)f)->s, r);
}

static int vdi_status(struct fmt *f, u64 off, u64 len, struct blk_extent *ret)
{
	return sparse_status(&((struct vdi *)f)->s, off, len, ret);
}

static int vdi_peek(struct blk *file, struct image_info *ret, struct err *e)
{
	u8 h[HEADER];

	TRY(parse(file, h, e));
	ret->size = align_down(rd_le64(h + O_SIZE), BLK_SECTOR);
	ret->cluster_size = BLOCK;
	strcpy(ret->variant, rd_le32(h + O_TYPE) == TYPE_FIXED ? "fixed" : "dynamic");
	return 0;
}

static int vdi_check(struct fmt *f, enum image_repair fix UNUSED, struct image_check *c,
		     struct err *e)
{
	struct vdi *v = (struct vdi *)f;
	u64 slots = (v->s.end - v->data_off) / BLOCK;
	u8 *seen = calloc(slots / 8 + 1, 1);

	if (!seen)
		return err_set(e, ENOMEM, "vdi: out of memory");
	c->clusters = v->s.nr;
	for (u64 i = 0; i < v->s.nr; i++) {
		u64 slot = (v->s.map[i] - v->data_off) / BLOCK;

		if (v->s.map[i] == SPARSE_NONE)
			continue;
		c->allocated++;
		c->errors += seen[slot / 8] >> (slot % 8) & 1;
		seen[slot / 8] |= (u8)(1 << (slot % 8));
	}
	free(seen);
	c->end = v->s.end;
	return 0;
}

/* -- creating --------------------------------------------------------------------------- */

static int vdi_create(struct blk *file, const struct image_create *c, struct err *e)
{
	bool fixed = c->subformat && !strcmp(c->subformat, "fixed");
	u64 blocks = (c->size + BLOCK - 1) / BLOCK, map = align_up(blocks * 4, BLK_SECTOR);
	u8 h[HEADER] = "<<< Oracle VM VirtualBox Disk Image >>>\n", *t;
	int r;

	if (c->subformat && !fixed && strcmp(c->subformat, "dynamic") != 0)
		return bad(e, "subformat: want dynamic or fixed");
	if (blocks > SPARSE_MAX)
		return bad(e, "the disk is too large");
	put_le32(h + O_SIGNATURE, SIGNATURE);
	put_le32(h + O_VERSION, 0x00010001);
	put_le32(h + O_HEADER, 0x180);
	put_le32(h + O_TYPE, fixed ? TYPE_FIXED : TYPE_DYNAMIC);
	put_le32(h + O_MAP, HEADER);
	put_le32(h + O_DATA, (u32)(HEADER + map));
	put_le32(h + O_SECTOR, 512);
	put_le64(h + O_SIZE, c->size);
	put_le32(h + O_BLOCK, BLOCK);
	put_le32(h + O_BLOCKS, (u32)blocks);
	put_le32(h + O_ALLOCATED, fixed ? (u32)blocks : 0);
	if (getrandom(h + O_UUID, 32, 0) != 32)
		return bad(e, "no random numbers");
	t = malloc(map + 1);
	if (!t)
		return err_set(e, ENOMEM, "vdi: out of memory");
	for (u64 i = 0; i < map / 4; i++)
		put_le32(t + 4 * i, fixed && i < blocks ? (u32)i : i < blocks ? ABSENT : 0);
	r = fio_write(file, 0, h, HEADER);
	if (!r)
		r = fio_write(file, HEADER, t, map);
	free(t);
	if (!r && fixed)
		return blk_resize(file, HEADER + map + blocks * BLOCK, e);
	return r ? err_set(e, -r, "vdi: cannot write: %s", strerror(-r)) : 0;
}

const struct fmt_ops vdi_fmt = {
	.format = IMAGE_VDI,
	.node_size = sizeof(struct vdi),
	.probe = vdi_probe,
	.peek = vdi_peek,
	.open = vdi_open,
	.create = vdi_create,
	.io = vdi_io,
	.close = vdi_close,
	.status = vdi_status,
	.check = vdi_check,
};
