// SPDX-License-Identifier: Apache-2.0
/* luks_image.c - a raw disk behind a LUKS header */
#include "blk/be.h"
#include "blk/crypt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK (256u << 10)

struct luks_image {
	struct fmt f;
	struct luks *l;
	u64 payload;
};

static bool luks_probe(const u8 *head, size_t len)
{
	return len >= 592 && !memcmp(head, "LUKS\xba\xbe", 6) && be16(head + 6) == 1;
}

static int luks_peek_image(struct blk *file, struct image_info *ret, struct err *e)
{
	u64 payload;

	TRY(luks_peek(file, 0, &payload, ret->variant, sizeof ret->variant, e));
	ret->encrypted = ret->needs_secret = true;
	ret->size = payload < file->info.size ?
			    align_down(file->info.size - payload, BLK_SECTOR) :
			    0;
	return 0;
}

static int luks_open_image(struct fmt *f, const struct image_opts *o, struct err *e)
{
	struct luks_image *i = (struct luks_image *)f;
	u64 size = f->b.base->info.size;

	if (!o->secret)
		return err_set(e, ENOKEY, "luks: want the passphrase");
	i->l = luks_open(f->b.base, 0, size, o->secret, e);
	if (!i->l)
		return -e->code;
	i->payload = luks_payload(i->l);
	if (i->payload < 592 || i->payload > size)
		return err_set(e, EINVAL, "luks: the data does not begin inside the file");
	f->b.info.size = align_down(size - i->payload, BLK_SECTOR);
	f->b.info.discard = false;
	return 0;
}

static void luks_close_image(struct fmt *f)
{
	luks_free(((struct luks_image *)f)->l);
}

/* One piece at @off of the disk. */
static int piece(struct luks_image *i, struct blk_req *r, u64 pos, u64 n, u8 *buf)
{
	u64 off = r->offset + pos;

	if (r->op == BLK_READ) {
		TRY(fio_read(i->f.b.base, i->payload + off, buf, n));
		TRY(crypt_sectors(i->l, false, off / 512, buf, n));
		req_put(r, pos, buf, n);
		return 0;
	}
	if (r->op == BLK_WRITE)
		req_get(r, pos, buf, n);
	else
		memset(buf, 0, n);
	TRY(crypt_sectors(i->l, true, off / 512, buf, n));
	return fio_write(i->f.b.base, i->payload + off, buf, n);
}

static int luks_io(struct fmt *f, struct blk_req *r)
{
	struct luks_image *i = (struct luks_image *)f;
	u64 n = r->len < CHUNK ? r->len : CHUNK;
	u8 *buf;
	int err = 0;

	if (r->op == BLK_FLUSH)
		return fio_flush(f->b.base);
	if (r->op == BLK_DISCARD)
		return 0;
	buf = malloc(n);
	if (!buf)
		return -ENOMEM;
	for (u64 pos = 0; pos < r->len && !err; pos += n) {
		n = r->len - pos < CHUNK ? r->len - pos : CHUNK;
		err = piece(i, r, pos, n, buf);
	}
	free(buf);
	return err;
}

static int luks_create(struct blk *file, const struct image_create *c, struct err *e)
{
	if (!c->secret)
		return err_set(e, EINVAL, "luks: want a passphrase");
	TRY(luks_format(file, 0, c->secret, c->luks_iter_ms, e));
	return blk_resize(file, LUKS_HEADER + c->size, e);
}

const struct fmt_ops luks_fmt = {
	.format = IMAGE_LUKS,
	.node_size = sizeof(struct luks_image),
	.probe = luks_probe,
	.peek = luks_peek_image,
	.open = luks_open_image,
	.create = luks_create,
	.io = luks_io,
	.close = luks_close_image,
};
