// SPDX-License-Identifier: Apache-2.0
/*
 * vmdk.c - VMware disks [VMware Virtual Disk Format 5.0]
 *
 * A text descriptor, in a file of its own or inside a sparse extent, lists extents:
 * flat files, sparse files, zeroes. A sparse extent maps grains by a directory of
 * tables; in stream-optimised ones grains are compressed, in the order they came.
 */
#include "blk/vmdk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static int bad(struct err *e, const char *what)
{
	return err_set(e, EINVAL, "vmdk: %s", what);
}

static bool vmdk_probe(const u8 *head, size_t len)
{
	static const char text[] = "# Disk DescriptorFile";

	return (len >= 512 && !memcmp(head, "KDMV", 4)) ||
	       (len >= sizeof text && !memcmp(head, text, sizeof text - 1));
}

/* -- the descriptor --------------------------------------------------------------------- */

/* One line of the descriptor: "RW 2048 FLAT "name" 0". false: not an extent. */
static bool parse_extent(const char *line, struct vmdk_extent *x, struct err *e)
{
	char access[16], type[16], name[IMAGE_NAME_MAX] = "";
	unsigned long long sectors, offset = 0;
	int n = 0, k;

	k = sscanf(line, "%15s %llu %15s \"%1023[^\n\r\"]\"%n", access, &sectors, type, name, &n);
	if (k < 3 || (strcmp(access, "RW") != 0 && strcmp(access, "RDONLY") != 0 &&
		      strcmp(access, "NOACCESS") != 0))
		return false;
	if (n && line[n] == ' ')
		sscanf(line + n, "%llu", &offset);
	*x = (struct vmdk_extent){ .len = sectors * BLK_SECTOR, .offset = offset * BLK_SECTOR };
	memcpy(x->name, name, sizeof name);
	if (!strcmp(type, "ZERO"))
		x->kind = VMDK_ZERO;
	else if ((!strcmp(type, "FLAT") || !strcmp(type, "VMFS")) && *name)
		x->kind = VMDK_FLAT;
	else if (!strcmp(type, "SPARSE") && *name)
		x->kind = VMDK_SPARSE;
	else
		err_set(e, ENOTSUP, "vmdk: an extent of type %.15s: not supported", type);
	if (sectors > BLK_MAX / BLK_SECTOR || offset > BLK_MAX / BLK_SECTOR)
		err_set(e, EINVAL, "vmdk: an extent of impossible size");
	return true;
}

/* The value of "KEY=..." at the start of a line, or NULL. */
static const char *value_of(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *p = text; (p = strstr(p, key)); p += n)
		if ((p == text || p[-1] == '\n') && p[n] == '=')
			return p + n + 1;
	return NULL;
}

static int parse_parent(const char *text, struct vmdk_desc *d, struct err *e)
{
	const char *cid = value_of(text, "CID"), *parent = value_of(text, "parentCID");
	const char *name = value_of(text, "parentFileNameHint");

	d->cid = cid ? (u32)strtoul(cid, NULL, 16) : 0;
	d->parent_cid = parent ? (u32)strtoul(parent, NULL, 16) : VMDK_NO_PARENT;
	if (d->parent_cid == VMDK_NO_PARENT)
		return 0;
	if (!name || sscanf(name, "\"%1023[^\"\r\n]", d->parent) != 1)
		return bad(e, "stands on another image without naming it");
	return 0;
}

int vmdk_parse_text(char *text, struct vmdk_desc *d, struct err *e)
{
	char *save = NULL;

	e->code = 0;
	TRY(parse_parent(text, d, e));
	if (strstr(text, "createType=\""))
		sscanf(strstr(text, "createType=\"") + 12, "%31[^\"\n]", d->type);
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		struct vmdk_extent x;

		if (!parse_extent(l, &x, e))
			continue;
		if (e->code)
			return -e->code;
		if (d->nr == VMDK_EXTENTS)
			return bad(e, "more extents than are served");
		d->size += x.len;
		d->x[d->nr++] = x;
		if (d->size > BLK_MAX)
			return bad(e, "larger than any disk");
	}
	return d->nr ? 0 : bad(e, "the descriptor lists no extents");
}

/* The descriptor in @file, whatever kind of file that is; a sparse one may have none. */
static int read_desc(struct blk *file, struct vmdk_desc *d, bool *ret_inside, struct err *e)
{
	u8 h[512];
	u64 at = 0, len = file->info.size;
	char *text;
	int r = fio_read_below(file, 0, h, sizeof h);

	memset(d, 0, sizeof *d);
	if (r)
		return err_set(e, -r, "vmdk: cannot read the header: %s", strerror(-r));
	if (!vmdk_probe(h, sizeof h))
		return bad(e, "no VMDK header");
	*ret_inside = !memcmp(h, "KDMV", 4);
	if (*ret_inside) {
		at = rd_le64(h + 28) * BLK_SECTOR;
		len = rd_le64(h + 36) * BLK_SECTOR;
		if (rd_le64(h + 28) > BLK_MAX / 512 || rd_le64(h + 36) > 65536)
			return bad(e, "the descriptor is not inside the file");
	}
	if (len > VMDK_TEXT_MAX)
		return bad(e, "the descriptor is larger than a descriptor is");
	text = calloc(1, len + 1);
	if (!text)
		return err_set(e, ENOMEM, "vmdk: out of memory");
	r = fio_read_below(file, at, text, len);
	r = r ? err_set(e, -r, "vmdk: cannot read: %s", strerror(-r)) :
	    len ? vmdk_parse_text(text, d, e) : 0;
	free(text);
	return r;
}

/* -- opening ---------------------------------------------------------------------------- */

static int open_extent(struct vmdk *v, struct vmdk_extent *x, struct blk *file, struct err *e)
{
	x->file = file;
	if (x->kind == VMDK_FLAT)
		return range_ok(x->offset, x->len, align_up(file->info.size, BLK_SECTOR)) ?
			       0 :
			       bad(e, "an extent's file is too short");
	return vmdk_open_sparse(v, x, e);
}

static int open_all(struct vmdk *v, bool inside, struct err *e)
{
	unsigned next = 0;

	if (inside) { /* one extent: this file */
		struct vmdk_extent *x = &v->d.x[0];

		v->d.nr = 1;
		x->kind = VMDK_SPARSE;
		TRY(open_extent(v, x, v->f.b.base, e));
		x->len = x->s.size;
		v->d.size = x->len;
		return 0;
	}
	for (unsigned i = 0; i < v->d.nr; i++) {
		if (v->d.x[i].kind == VMDK_ZERO)
			continue;
		if (next == v->f.nr_extent)
			return err_set(e, ENOLINK,
				       "vmdk: names %.100s, which was not allowed or not given",
				       v->d.x[i].name);
		TRY(open_extent(v, &v->d.x[i], v->f.extent[next++], e));
	}
	return 0;
}

/* The parent is one that has not changed since, as far as it says itself. */
static int check_parent(struct vmdk *v, const struct image_opts *o, struct err *e)
{
	const struct vmdk *p = (const struct vmdk *)v->f.backing;

	if (!*v->d.parent)
		return p ? bad(e, "has no parent, but one was given") : 0;
	if (!p)
		return o->no_backing ? 0 :
				       err_set(e, ENOLINK, "vmdk: stands on \"%.100s\", which was not "
							   "allowed or not given", v->d.parent);
	if (!fmt_is(v->f.backing, &vmdk_fmt))
		return bad(e, "its parent is no VMDK");
	if (p->d.cid != v->d.parent_cid)
		return bad(e, "its parent has been changed since");
	return 0;
}

/* What the extents do not hold is with the parent. */
static int join_parent(struct vmdk *v, struct err *e)
{
	u64 at = 0;

	if (*v->d.parent && v->stream)
		return bad(e, "stream-optimised, and stands on another image");
	for (unsigned i = 0; *v->d.parent && i < v->d.nr; at += v->d.x[i++].len) {
		v->d.x[i].s.parent = &v->f.backing;
		v->d.x[i].s.parent_at = at;
	}
	return 0;
}

static int vmdk_open(struct fmt *f, const struct image_opts *o, struct err *e)
{
	struct vmdk *v = (struct vmdk *)f;
	bool inside;

	TRY(read_desc(f->b.base, &v->d, &inside, e));
	TRY(check_parent(v, o, e));
	TRY(open_all(v, inside, e));
	TRY(join_parent(v, e));
	f->b.info.size = align_down(v->d.size, BLK_SECTOR);
	if (v->stream && v->grains && !f->b.info.read_only)
		return err_set(e, EROFS, "vmdk: stream-optimised: can only be read: convert it");
	return 0;
}

static int vmdk_peek(struct blk *file, struct image_info *ret, struct err *e)
{
	struct vmdk_desc *d = malloc(sizeof *d);
	bool inside;
	u8 h[512];
	int r = d ? read_desc(file, d, &inside, e) : err_set(e, ENOMEM, "vmdk: out of memory");

	if (!r && inside)
		r = fio_read_below(file, 0, h, sizeof h) ? bad(e, "cannot be read") : 0;
	if (!r) {
		ret->size = inside ? rd_le64(h + 12) * BLK_SECTOR : d->size;
		snprintf(ret->variant, sizeof ret->variant, "%s", d->type);
		strcpy(ret->backing, d->parent);
		strcpy(ret->backing_format, *d->parent ? "vmdk" : "");
		for (unsigned i = 0; i < d->nr && !inside; i++)
			ret->nr_extent += d->x[i].kind != VMDK_ZERO;
	}
	free(d);
	return r;
}

static int vmdk_peek_extent(struct blk *file, unsigned i, char *ret, struct err *e)
{
	struct vmdk_desc *d = malloc(sizeof *d);
	bool inside;
	int r = d ? read_desc(file, d, &inside, e) : err_set(e, ENOMEM, "vmdk: out of memory");

	for (unsigned k = 0; !r && k < d->nr; k++) {
		if (d->x[k].kind == VMDK_ZERO || i--)
			continue;
		strcpy(ret, d->x[k].name);
		free(d);
		return 0;
	}
	free(d);
	return r ? r : bad(e, "no such extent");
}

static void vmdk_close(struct fmt *f)
{
	struct vmdk *v = (struct vmdk *)f;

	for (unsigned i = 0; i < v->d.nr; i++) {
		struct sparse *s = &v->d.x[i].s;

		if (s->nr_dirty && !v->stream && sparse_commit(s)) {
			/* Nobody is left to tell: what was flushed is safe. */
		}
		sparse_fini(s);
		free(v->d.x[i].gt);
		free(v->d.x[i].rgt);
	}
	free(v->grain);
}

/* -- requests --------------------------------------------------------------------------- */

static int one(struct vmdk *v, struct vmdk_extent *x, const struct blk_req *r, u64 pos, u64 off,
	       u64 n)
{
	if (x->kind == VMDK_ZERO) {
		if (r->op == BLK_READ)
			req_zero(r, pos, n);
		return r->op == BLK_WRITE ? -EROFS : 0;
	}
	if (x->kind == VMDK_FLAT) {
		if (r->op == BLK_READ)
			return fio_part(x->file, BLK_READ, x->offset + off, r, pos, n);
		if (r->op == BLK_WRITE)
			return fio_part(x->file, BLK_WRITE, x->offset + off, r, pos, n);
		return fio_req(x->file, r->op, x->offset + off, n, NULL, 0);
	}
	if (v->stream)
		return vmdk_stream_io(v, x, r, pos, off, n);
	if (r->op == BLK_READ)
		return sparse_read(&x->s, r, pos, off, n);
	if (r->op == BLK_WRITE)
		return sparse_write(&x->s, r, pos, off, n);
	return r->op == BLK_WRITE_ZEROES ? sparse_zero(&x->s, off, n) : 0;
}

static int flush_all(struct vmdk *v)
{
	for (unsigned i = 0; i < v->d.nr; i++) {
		struct vmdk_extent *x = &v->d.x[i];

		if (x->kind == VMDK_SPARSE && !v->stream)
			TRY(sparse_commit(&x->s));
		else if (x->kind != VMDK_ZERO)
			TRY(fio_flush(x->file));
	}
	return 0;
}

/* The extent with byte *off of the disk; *off becomes relative to it. */
static struct vmdk_extent *extent_at(struct vmdk *v, u64 *off)
{
	struct vmdk_extent *x = v->d.x;

	while (*off >= x->len)
		*off -= x++->len;
	return x;
}

static int vmdk_io(struct fmt *f, struct blk_req *r)
{
	struct vmdk *v = (struct vmdk *)f;
	u64 n;

	if (r->op == BLK_FLUSH)
		return flush_all(v);
	for (u64 pos = 0; pos < r->len; pos += n) {
		u64 off = r->offset + pos;
		struct vmdk_extent *x = extent_at(v, &off);

		n = x->len - off < r->len - pos ? x->len - off : r->len - pos;
		TRY(one(v, x, r, pos, off, n));
	}
	return 0;
}

static int vmdk_status(struct fmt *f, u64 off, u64 len, struct blk_extent *ret)
{
	struct vmdk *v = (struct vmdk *)f;
	struct vmdk_extent *x = extent_at(v, &off);

	len = x->len - off < len ? x->len - off : len;
	*ret = (struct blk_extent){ .len = len, .state = BLK_ZERO, .host_offset = BLK_NOWHERE };
	if (x->kind == VMDK_FLAT)
		return blk_status(x->file, x->offset + off,
				  len, ret);
	if (x->kind == VMDK_SPARSE) {
		TRY(sparse_status(&x->s, off, len, ret));
		if (v->stream) {
			ret->compressed = ret->state == BLK_DATA;
			ret->host_offset = BLK_NOWHERE;
		}
	}
	return 0;
}

static u32 vmdk_unit(struct fmt *f)
{
	struct vmdk *v = (struct vmdk *)f;

	return v->stream ? (u32)v->d.x[0].s.block : 0;
}

const struct fmt_ops vmdk_fmt = {
	.format = IMAGE_VMDK,
	.node_size = sizeof(struct vmdk),
	.probe = vmdk_probe,
	.peek = vmdk_peek,
	.peek_extent = vmdk_peek_extent,
	.open = vmdk_open,
	.create = vmdk_create,
	.io = vmdk_io,
	.close = vmdk_close,
	.status = vmdk_status,
	.compressed_unit = vmdk_unit,
	.pack = vmdk_pack,
	.write_packed = vmdk_write_packed,
	.finish = vmdk_finish,
};
