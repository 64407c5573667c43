// SPDX-License-Identifier: Apache-2.0
/* qcow2_io.c - serving requests of a qcow2 image (see qcow2.h) */
#include "blk/crypt.h"
#include "blk/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define CRYPT_CHUNK (256u << 10)

/* A request of our own around one buffer. */
struct own {
	struct blk_req r;
	struct iovec iov;
};

static void own_req(struct own *o, enum blk_op op, u64 off, void *buf, u64 len)
{
	o->iov = (struct iovec){ buf, len };
	o->r = (struct blk_req){ .op = op, .offset = off, .len = len, .iov = &o->iov, .nr_iov = 1 };
}

/* -- compressed clusters ------------------------------------------------------------------- */

static bool inflate_all(const u8 *in, size_t n, u8 *out, size_t size)
{
	z_stream z = { .next_in = (u8 *)in, .avail_in = (uInt)n, .next_out = out,
		       .avail_out = (uInt)size };
	int r;

	if (inflateInit2(&z, -15) != Z_OK)
		return false;
	r = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return (r == Z_STREAM_END || r == Z_BUF_ERROR) && !z.avail_out;
}

static bool unzstd_all(const u8 *in, size_t n, u8 *out, size_t size)
{
	ZSTD_DCtx *d = ZSTD_createDCtx();
	ZSTD_inBuffer i = { in, n, 0 };
	ZSTD_outBuffer o = { out, size, 0 };
	size_t r = 1;

	if (!d)
		return false;
	while (o.pos < o.size) { /* the input has padding behind the frame */
		size_t before = o.pos + i.pos;

		r = ZSTD_decompressStream(d, &o, &i);
		if (ZSTD_isError(r) || !r || o.pos + i.pos == before)
			break;
	}
	ZSTD_freeDCtx(d);
	return !ZSTD_isError(r) && o.pos == o.size;
}

int q_unpack(struct qcow2 *q, u64 desc)
{
	u64 off, len;
	u8 *in;
	bool ok;
	int r;

	if (q->zbuf && q->zbuf_desc == desc)
		return 0;
	q_packed_range(q, desc, &off, &len);
	in = malloc(len);
	if (!q->zbuf)
		q->zbuf = malloc(q->cluster_size);
	if (!in || !q->zbuf) {
		free(in);
		return -ENOMEM;
	}
	r = fio_read(q->f.b.base, off, in, len);
	if (!r) {
		q->zbuf_desc = 0;
		ok = q->h.compression ? unzstd_all(in, len, q->zbuf, q->cluster_size) :
					inflate_all(in, len, q->zbuf, q->cluster_size);
		if (ok)
			q->zbuf_desc = desc;
		else
			r = -EIO;
	}
	free(in);
	return r;
}

/* -- reading ---------------------------------------------------------------------------------- */

/* Whole sectors at @host: what the image's bytes there are. Waits. */
static int read_crypt(struct qcow2 *q, u64 host, const struct blk_req *r, u64 pos, u64 len)
{
	u8 *buf = malloc(len < CRYPT_CHUNK ? len : CRYPT_CHUNK);
	int err = buf ? 0 : -ENOMEM;

	while (len && !err) {
		u64 n = len < CRYPT_CHUNK ? len : CRYPT_CHUNK;

		err = fio_read(q->f.b.base, host, buf, n);
		if (!err)
			err = crypt_sectors(q->crypt, false, host / 512, buf, n);
		req_put(r, pos, buf, n);
		host += n;
		pos += n;
		len -= n;
	}
	free(buf);
	return err;
}

static int read_some(struct qcow2 *q, const struct blk_req *r, u64 pos, u64 *ret_n)
{
	u64 off = r->offset + pos;
	struct q_map m;

	TRY(q_lookup(q, off, r->len - pos, &m));
	*ret_n = m.len;
	switch (m.type) {
	case Q_UNMAPPED:
		return fio_part_below(q->f.backing, r, pos, off, m.len);
	case Q_ZEROES:
		req_zero(r, pos, m.len);
		return 0;
	case Q_PACKED:
		TRY(q_unpack(q, m.desc));
		req_put(r, pos, q->zbuf + (off & (q->cluster_size - 1)), m.len);
		return 0;
	case Q_DATA:
		break;
	}
	if (q->crypt)
		return read_crypt(q, m.host, r, pos, m.len);
	return fio_part(q->f.b.base, BLK_READ, m.host, r, pos, m.len);
}

static int q_read(struct qcow2 *q, const struct blk_req *r)
{
	u64 n;

	for (u64 pos = 0; pos < r->len; pos += n)
		TRY(read_some(q, r, pos, &n));
	return 0;
}

int q_read_guest(struct qcow2 *q, u64 off, void *buf, u64 len)
{
	u64 size = q->f.b.info.size, have = off >= size ? 0 : size - off;
	struct own o;

	have = have < len ? have : len;
	memset((u8 *)buf + have, 0, len - have);
	own_req(&o, BLK_READ, off, buf, have);
	return have ? q_read(q, &o.r) : 0;
}

/* -- writing in place -------------------------------------------------------------------------- */

static int write_iov(struct qcow2 *q, u64 host, u64 len, const struct iovec *iov, int n)
{
	struct blk_req r = { .len = len, .iov = iov, .nr_iov = n };
	u64 chunk = len < CRYPT_CHUNK ? len : CRYPT_CHUNK, pos, k;
	int err = 0;
	u8 *buf;

	if (!q->crypt)
		return fio_req(q->f.b.base, BLK_WRITE, host, len, iov, n);
	buf = malloc(chunk);
	if (!buf)
		return -ENOMEM;
	for (pos = 0; pos < len && !err; pos += k) {
		k = len - pos < chunk ? len - pos : chunk;
		req_get(&r, pos, buf, k);
		err = crypt_sectors(q->crypt, true, (host + pos) / 512, buf, k);
		if (!err)
			err = fio_write(q->f.b.base, host + pos, buf, k);
	}
	free(buf);
	return err;
}

/* Head, a part of @r and tail in one write. */
static int write_padded(struct qcow2 *q, u64 host, struct iovec head, const struct blk_req *r,
			u64 pos, u64 len, struct iovec tail)
{
	struct iovec small[18], *iov = small;
	int n = 0, err;

	if (r->nr_iov > 16)
		iov = malloc(((size_t)r->nr_iov + 2) * sizeof *iov);
	if (!iov)
		return -ENOMEM;
	if (head.iov_len)
		iov[n++] = head;
	n += blk_slice(r->iov, r->nr_iov, pos, len, iov + n, r->nr_iov);
	if (tail.iov_len)
		iov[n++] = tail;
	err = write_iov(q, host, head.iov_len + len + tail.iov_len, iov, n);
	if (iov != small)
		free(iov);
	return err;
}

/* Return: 1 = written, *ret_n bytes; 0 = the mapping must change first; or -errno. */
static int write_in_place(struct qcow2 *q, const struct blk_req *r, u64 pos, u64 len, u64 *ret_n)
{
	static const struct iovec none;
	struct q_map m;

	TRY(q_lookup(q, r->offset + pos, len, &m));
	if (m.type != Q_DATA || !m.copied)
		return 0;
	if (q_overlaps_meta(q, m.host, m.len))
		return q_corrupt(q);
	*ret_n = m.len;
	TRY(write_padded(q, m.host, none, r, pos, m.len, none));
	return 1;
}

/* -- writing to new places -------------------------------------------------------------- */

/* Guest clusters [c, c + n) get their data at @host of the file. */
struct plan {
	u64 c, n, host;
	bool in_place; /* one cluster, ours already, of which parts are not in use yet */
	bool keep_old; /* extended entries: what is not written stays as it is */
	bool fresh;    /* the place reads as zeroes */
};

static bool is_ours(struct q_l2e v)
{
	return !(v.e & Q_COMPRESSED) && v.e & Q_COPIED && v.e & Q_OFFSET;
}

static bool has_host(struct q_l2e v)
{
	return v.e & (Q_COMPRESSED | Q_OFFSET);
}

/* How to write from @off on, at most @len bytes. Allocates. Holds meta. */
static int make_plan(struct qcow2 *q, u64 off, u64 len, struct plan *p)
{
	u64 c = off >> q->h.cluster_bits, last = (off + len - 1) >> q->h.cluster_bits, n = 1;
	struct q_l2e v;
	struct slice *s;
	u32 at;

	TRY(q_l2_for_write(q, c, &s, &at));
	v = q_entry(q, s->data + at);
	*p = (struct plan){ .c = c, .n = 1, .keep_old = q->nr_sub > 1 };
	if (is_ours(v)) {
		p->in_place = true;
		p->host = v.e & Q_OFFSET;
		return q_overlaps_meta(q, p->host, q->cluster_size) ||
				       p->host % q->cluster_size ?
			       q_corrupt(q) :
			       0;
	}
	if (q->nr_sub > 1 && has_host(v))
		p->keep_old = false; /* the whole cluster moves */
	else
		while (c + n <= last && n < q_entries_left(q, c)) {
			v = q_entry(q, s->data + at + n * q->entry);
			if (is_ours(v) || (q->nr_sub > 1 && has_host(v)))
				break;
			n++;
		}
	TRY(q_alloc(q, n, &p->host, &p->n));
	p->fresh = q->fresh && !q->crypt;
	return 0;
}

/* What is not in the image may be somewhere else, although the image was opened alone. */
static bool has_below(const struct qcow2 *q, u64 off)
{
	if (q->f.keep_zeroes)
		return true;
	return q->f.backing ? off < q->f.backing->info.size : *q->backing != '\0';
}

static bool reads_zero(struct qcow2 *q, u64 off, u64 len)
{
	struct q_map m;

	if (q_lookup(q, off, len, &m) || m.len < len)
		return false;
	return m.type == Q_ZEROES || (m.type == Q_UNMAPPED && !has_below(q, off));
}

/* What must be written beside the request's data: [from, from + len) as the guest sees it. */
static int padding(struct qcow2 *q, const struct plan *p, u64 from, u64 len, struct iovec *ret)
{
	*ret = (struct iovec){ NULL, 0 };
	if (!len || (p->fresh && reads_zero(q, from, len)))
		return 0;
	ret->iov_base = malloc(len);
	ret->iov_len = len;
	return ret->iov_base ? q_read_guest(q, from, ret->iov_base, len) : -ENOMEM;
}

static int write_planned(struct qcow2 *q, const struct plan *p, const struct blk_req *r, u64 pos,
			 u64 len)
{
	u64 unit = p->in_place || p->keep_old ? q->sub_size : q->cluster_size;
	u64 off = r->offset + pos, from = align_down(off, unit), to = align_up(off + len, unit);
	struct iovec head, tail = { NULL, 0 };
	int err = padding(q, p, from, off - from, &head);

	if (!err)
		err = padding(q, p, off + len, to - off - len, &tail);
	if (!err)
		err = write_padded(q, p->host + (off - head.iov_len - (p->c << q->h.cluster_bits)),
				   head, r, pos, len, tail);
	free(head.iov_base);
	free(tail.iov_base);
	return err;
}

/* Bits of the subclusters of cluster @c that [off, off + len) touches. */
static u32 sub_bits(const struct qcow2 *q, u64 c, u64 off, u64 len)
{
	u64 start = c << q->h.cluster_bits, end = off + len;
	u64 a = off > start ? (off - start) / q->sub_size : 0;
	u64 b = end < start + q->cluster_size ? (end - start - 1) / q->sub_size : 31;

	return (u32)((BIT_ULL(b + 1) - 1) & ~(BIT_ULL(a) - 1));
}

/* The data is in place: let the mapping say so. Holds meta. */
static int link_plan(struct qcow2 *q, const struct plan *p, u64 off, u64 len)
{
	struct slice *s;
	u32 at;

	TRY(q_l2_for_write(q, p->c, &s, &at));
	q->barrier = true;
	q_dirty(q, s);
	for (u64 i = 0; i < p->n; i++) {
		struct q_l2e old = q_entry(q, s->data + at + i * q->entry);
		u64 bits = p->keep_old ? sub_bits(q, p->c + i, off, len) : UINT32_MAX;
		struct q_l2e v = { .e = (p->host + i * q->cluster_size) | Q_COPIED };

		v.bitmap = p->keep_old ? (old.bitmap & ~(bits << 32)) | bits : bits;
		q_put_entry(q, s->data + at + i * q->entry, v);
		if (!p->in_place && has_host(old))
			TRY(q_free_entry(q, old.e, false));
	}
	return 0;
}

static void drop_plan(struct qcow2 *q, const struct plan *p)
{
	for (u64 i = 0; i < p->n && !p->in_place; i++)
		if (q_add_ref(q, (p->host >> q->h.cluster_bits) + i, -1))
			break; /* a leak */
}

/* The clusters are locked exclusively. */
static int write_new(struct qcow2 *q, const struct blk_req *r, u64 pos, u64 len, u64 *ret_n)
{
	u64 off = r->offset + pos, end;
	struct plan p;
	int err;

	co_lock(&q->meta);
	err = make_plan(q, off, len, &p);
	co_unlock(&q->meta);
	if (err)
		return err;
	end = (p.c + p.n) << q->h.cluster_bits;
	*ret_n = end - off < len ? end - off : len;
	err = write_planned(q, &p, r, pos, *ret_n);
	co_lock(&q->meta);
	if (!err)
		err = link_plan(q, &p, off, *ret_n);
	else
		drop_plan(q, &p);
	co_unlock(&q->meta);
	return err;
}

static int write_some(struct qcow2 *q, const struct blk_req *r, u64 pos, u64 *ret_n)
{
	u64 off = r->offset + pos, c = off >> q->h.cluster_bits, len = r->len - pos, last;
	u64 stop = (c + q_entries_left(q, c)) << q->h.cluster_bits;
	struct range_lock lock;
	int err;

	len = stop - off < len ? stop - off : len;
	last = (off + len - 1) >> q->h.cluster_bits;
	range_lock(&q->ranges, &lock, c, last, false);
	err = write_in_place(q, r, pos, len, ret_n);
	range_unlock(&q->ranges, &lock);
	if (err)
		return err < 0 ? err : 0;
	range_lock(&q->ranges, &lock, c, last, true);
	err = write_in_place(q, r, pos, len, ret_n);
	if (!err)
		err = write_new(q, r, pos, len, ret_n);
	range_unlock(&q->ranges, &lock);
	return err < 0 ? err : 0;
}

static int q_write(struct qcow2 *q, const struct blk_req *r)
{
	u64 n;

	for (u64 pos = 0; pos < r->len; pos += n)
		TRY(write_some(q, r, pos, &n));
	return 0;
}

/* -- zeroes, discard --------------------------------------------------------------------------- */

/* Entries of whole clusters [c, c + n), in one slice: they read as zeroes now. Holds meta. */
static int drop_entries(struct qcow2 *q, u64 c, u64 n, bool hide)
{
	struct q_l2e none = { .e = hide && q->nr_sub == 1 ? Q_ZERO : 0,
			      .bitmap = hide ? (u64)UINT32_MAX << 32 : 0 };
	struct slice *s;
	u32 at;

	if (!hide && !(q->l1[c >> q->l2_bits] & Q_OFFSET))
		return 0;
	TRY(q_l2_for_write(q, c, &s, &at));
	q_dirty(q, s);
	for (u64 i = 0; i < n; i++) {
		u8 *p = s->data + at + i * q->entry;
		struct q_l2e old = q_entry(q, p);

		q_put_entry(q, p, none);
		if (has_host(old))
			TRY(q_free_entry(q, old.e, true));
	}
	return 0;
}

static int drop_clusters(struct qcow2 *q, u64 c, u64 end, bool hide)
{
	struct range_lock lock;
	int err = 0;
	u64 n;

	for (; c < end && !err; c += n) {
		n = q_entries_left(q, c);
		n = n < end - c ? n : end - c;
		range_lock(&q->ranges, &lock, c, c + n - 1, true);
		co_lock(&q->meta);
		err = drop_entries(q, c, n, hide);
		co_unlock(&q->meta);
		range_unlock(&q->ranges, &lock);
	}
	return err;
}

/* Part of a cluster, or what a version 2 image cannot express. */
static int zero_by_writing(struct qcow2 *q, u64 off, u64 len)
{
	u64 chunk = len < q->cluster_size ? len : q->cluster_size, n;
	u8 *buf = calloc(1, chunk);
	int err = buf ? 0 : -ENOMEM;
	struct own o;

	for (; len && !err; off += n, len -= n) {
		n = len < chunk ? len : chunk;
		if (reads_zero(q, off, n))
			continue;
		own_req(&o, BLK_WRITE, off, buf, n);
		err = q_write(q, &o.r);
	}
	free(buf);
	return err;
}

int q_drop_range(struct qcow2 *q, u64 off, u64 len, bool zeroes)
{
	u64 end = off + len, first = align_up(off, q->cluster_size);
	u64 last = end == q->f.b.info.size ? align_up(end, q->cluster_size) :
					     align_down(end, q->cluster_size);
	bool hide = q->f.backing || *q->backing || q->f.keep_zeroes;

	if (last <= first || (hide && q->h.version < 3))
		return zeroes ? zero_by_writing(q, off, len) : 0;
	if (zeroes && first > off)
		TRY(zero_by_writing(q, off, first - off));
	TRY(drop_clusters(q, first >> q->h.cluster_bits, last >> q->h.cluster_bits, hide));
	return zeroes && last < end ? zero_by_writing(q, last, end - last) : 0;
}

/* -- requests ---------------------------------------------------------------------------------- */

static int q_flush(struct qcow2 *q)
{
	int err;

	if (!q->writing)
		return fio_flush(q->f.b.base);
	co_lock(&q->meta);
	err = q_commit(q);
	co_unlock(&q->meta);
	return err;
}

int q_io(struct fmt *f, struct blk_req *r)
{
	struct qcow2 *q = (struct qcow2 *)f;

	if (r->op == BLK_READ)
		return q_read(q, r);
	if (r->op == BLK_FLUSH)
		return q_flush(q);
	if (!q->writing) {
		int err;

		co_lock(&q->meta);
		err = q_begin_writing(q);
		co_unlock(&q->meta);
		if (err)
			return err;
	}
	if (q->broken)
		return -EIO;
	if (r->op == BLK_WRITE)
		return q_write(q, r);
	return q_drop_range(q, r->offset, r->len, r->op == BLK_WRITE_ZEROES);
}
