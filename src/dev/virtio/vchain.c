// SPDX-License-Identifier: Apache-2.0
/* vchain.c - copying to and from a chain of guest buffers; see vq.h */
#include "dev/virtio/vq.h"
#include "mem/mem.h"

#include <string.h>

/* A position in one part of a chain. */
struct pos {
	unsigned i, end;
	u64 off; /* in iov[i] */
};

static struct pos seek(const struct vchain *c, bool in, u64 off)
{
	struct pos p = { in ? c->nr_out : 0, in ? c->nr_out + c->nr_in : c->nr_out, off };

	while (p.i < p.end && p.off >= c->iov[p.i].iov_len)
		p.off -= c->iov[p.i++].iov_len;
	return p;
}

/* The next piece of at most @len bytes; false at the end. */
static bool next(const struct vchain *c, struct pos *p, u64 len, struct iovec *ret, gpa_t *ret_gpa)
{
	u64 room;

	if (p->i >= p->end || !len)
		return false;
	room = c->iov[p->i].iov_len - p->off;
	ret->iov_base = (u8 *)c->iov[p->i].iov_base + p->off;
	ret->iov_len = len < room ? len : room;
	*ret_gpa = c->gpa[p->i] + p->off;
	p->off = 0;
	if (ret->iov_len == room)
		p->i++;
	else
		p->i = p->end; /* len ended inside this buffer */
	return true;
}

size_t vchain_read_at(const struct vchain *c, u64 off, void *buf, size_t len)
{
	struct pos p = seek(c, false, off);
	struct iovec v;
	size_t n = 0;
	gpa_t gpa;

	while (next(c, &p, len - n, &v, &gpa)) {
		memcpy((u8 *)buf + n, v.iov_base, v.iov_len);
		n += v.iov_len;
	}
	return n;
}

size_t vchain_write_at(struct vchain *c, u64 off, const void *buf, size_t len)
{
	struct pos p = seek(c, true, off);
	struct iovec v;
	size_t n = 0;
	gpa_t gpa;

	while (next(c, &p, len - n, &v, &gpa)) {
		memcpy(v.iov_base, (const u8 *)buf + n, v.iov_len);
		mem_wrote(c->mem, gpa, v.iov_len);
		n += v.iov_len;
	}
	return n;
}

size_t vchain_read(struct vchain *c, void *buf, size_t len)
{
	size_t n = vchain_read_at(c, c->read_pos, buf, len);

	c->read_pos += (u32)n;
	return n;
}

size_t vchain_write(struct vchain *c, const void *buf, size_t len)
{
	size_t n = vchain_write_at(c, c->write_pos, buf, len);

	c->write_pos += (u32)n;
	return n;
}

int vchain_iov(const struct vchain *c, bool in, u64 off, u64 len, struct iovec *ret, int max)
{
	struct pos p = seek(c, in, off);
	struct iovec v;
	gpa_t gpa;
	int n = 0;

	while (next(c, &p, len, &v, &gpa)) {
		if (n == max)
			return -1;
		ret[n++] = v;
		len -= v.iov_len;
	}
	return len ? -1 : n;
}

void vchain_wrote(struct vchain *c, u64 off, u64 len)
{
	struct pos p = seek(c, true, off);
	struct iovec v;
	gpa_t gpa;

	while (next(c, &p, len, &v, &gpa)) {
		mem_wrote(c->mem, gpa, v.iov_len);
		len -= v.iov_len;
	}
}
