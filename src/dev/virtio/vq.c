// SPDX-License-Identifier: Apache-2.0
/*
 * vq.c - virtqueues: chains, and the split ring [virtio 2.7]; see vq.h
 *
 * Every index, flag and address in a ring is hostile and may change while it is
 * looked at. Rules: (1) a value is copied once, then checked, then used; (2) a chain
 * has at most as many buffers as the queue has descriptors, which also ends loops;
 * (3) an indirect table is not entered from an indirect table; (4) device-readable
 * buffers come first; (5) each buffer lies in RAM as a whole.
 */
#include "base/bits.h"
#include "dev/virtio/vq_int.h"
#include "mem/mem.h"

struct split_desc {
	le64 addr;
	le32 len;
	le16 flags, next;
};

struct used_elem {
	le32 id, len;
};

/* Offsets in the available and used rings. */
enum { RING_FLAGS = 0, RING_IDX = 2, RING_RING = 4 };
enum { AVAIL_NO_INTERRUPT = 1 };

static bool is_packed(const struct virtq *q)
{
	return virtio_has(q->v, VIRTIO_F_RING_PACKED);
}

static u16 ring_slot(const struct virtq *q, u16 idx)
{
	return idx & (u16)(q->size - 1);
}

void vq_break(struct virtq *q, const char *what)
{
	virtio_needs_reset(q->v, what);
}

/* -- chains ------------------------------------------------------------------------------ */

void vq_chain_init(const struct virtq *q, struct vchain *c)
{
	c->mem = q->v->dev.env.mem;
	c->nr_out = c->nr_in = 0;
	c->readable = c->writable = 0;
	c->read_pos = c->write_pos = 0;
}

bool vq_chain_add(struct virtq *q, struct vchain *c, const struct vq_buf *b)
{
	u32 *total = b->flags & DESC_WRITE ? &c->writable : &c->readable;
	unsigned i = c->nr_out + c->nr_in;
	u8 *p = mem_ptr(c->mem, b->addr, b->len);

	if (!b->len)
		return true;
	if (!p || i >= q->size || __builtin_add_overflow(*total, b->len, total) ||
	    (c->nr_in && !(b->flags & DESC_WRITE))) {
		vq_break(q, !p		   ? "virtqueue: buffer outside RAM" :
			    i >= q->size ? "virtqueue: chain too long or looped" :
					   "virtqueue: buffers too long or out of order");
		return false;
	}
	c->iov[i] = (struct iovec){ p, b->len };
	c->gpa[i] = b->addr;
	if (b->flags & DESC_WRITE)
		c->nr_in++;
	else
		c->nr_out++;
	return true;
}

const u8 *vq_indirect_table(struct virtq *q, const struct vq_buf *b, u32 *ret_nr)
{
	const u8 *p = mem_ptr(q->v->dev.env.mem, b->addr, b->len);

	if (!virtio_has(q->v, VIRTIO_F_INDIRECT_DESC) || (b->flags & DESC_NEXT) || !b->len ||
	    b->len % DESC_SIZE || !p) {
		vq_break(q, "virtqueue: bad indirect table");
		return NULL;
	}
	*ret_nr = b->len / DESC_SIZE;
	return p;
}

/* -- split ring -------------------------------------------------------------------------- */

static bool walk(struct virtq *q, struct vchain *c, u16 head)
{
	const u8 *table = q->desc_p;
	u32 nr = q->size, i = head;
	bool indirect = false;

	for (unsigned count = 0; count <= q->size; count++) {
		struct split_desc d;
		struct vq_buf b;

		if (i >= nr)
			break;
		ring_copy(&d, table + (size_t)i * DESC_SIZE, sizeof d);
		b = (struct vq_buf){ le64_get(d.addr), le32_get(d.len), le16_get(d.flags) };
		if ((b.flags & DESC_INDIRECT) && indirect)
			break;
		if (b.flags & DESC_INDIRECT) {
			table = vq_indirect_table(q, &b, &nr);
			if (!table)
				return false;
			indirect = true;
			i = 0;
			continue;
		}
		if (!vq_chain_add(q, c, &b))
			return false;
		if (!(b.flags & DESC_NEXT))
			return true;
		i = le16_get(d.next);
	}
	vq_break(q, "virtqueue: bad or looped descriptor chain");
	return false;
}

/* Entries available now; asks the driver to notify about the next one if none. */
static u16 split_available(struct virtq *q)
{
	u16 n = (u16)(ring_load16(q->driver_p + RING_IDX) - q->last_avail);

	if (n || !virtio_has(q->v, VIRTIO_F_EVENT_IDX))
		return n;
	ring_store16(q->device_p + RING_RING + q->size * sizeof(struct used_elem), q->last_avail);
	ring_full_fence();
	return (u16)(ring_load16(q->driver_p + RING_IDX) - q->last_avail);
}

static bool split_pop(struct virtq *q, struct vchain *c)
{
	u16 n = split_available(q), head;

	if (!n)
		return false;
	if (n > q->size) {
		vq_break(q, "virtqueue: available index out of range");
		return false;
	}
	head = ring_load16(q->driver_p + RING_RING + 2 * ring_slot(q, q->last_avail));
	if (head >= q->size) {
		vq_break(q, "virtqueue: descriptor index out of range");
		return false;
	}
	vq_chain_init(q, c);
	c->tok = (struct vq_tok){ head, 1 };
	if (!walk(q, c, head))
		return false;
	q->last_avail++;
	return true;
}

static void split_push(struct virtq *q, struct vq_tok tok, u32 written)
{
	struct used_elem u = { le32_of(tok.id), le32_of(written) };
	size_t off = RING_RING + ring_slot(q, (u16)(q->used_idx + q->pending_nr)) * sizeof u;

	memcpy(q->device_p + off, &u, sizeof u);
	mem_wrote(q->v->dev.env.mem, q->device + off, sizeof u);
	q->pending_nr++;
}

/* Publish; true if the driver wants an interrupt [virtio 2.7.7]. */
static bool split_flush(struct virtq *q)
{
	u16 old = q->signalled;
	bool valid = q->signalled_valid;

	q->used_idx = (u16)(q->used_idx + q->pending_nr);
	ring_store16(q->device_p + RING_IDX, q->used_idx);
	mem_wrote(q->v->dev.env.mem, q->device + RING_IDX, 2);
	ring_full_fence();
	if (!virtio_has(q->v, VIRTIO_F_EVENT_IDX))
		return !(ring_load16(q->driver_p + RING_FLAGS) & AVAIL_NO_INTERRUPT);
	q->signalled = q->used_idx;
	q->signalled_valid = true;
	return !valid ||
	       vq_need_event(ring_load16(q->driver_p + RING_RING + 2 * q->size), q->used_idx, old);
}

/* -- either ring ------------------------------------------------------------------------- */

bool vq_pop(struct virtq *q, struct vchain *c)
{
	if (!q->desc_p || !virtio_running(q->v) || !virtio_spend(q->v, q->n))
		return false;
	return is_packed(q) ? vq_packed_pop(q, c) : split_pop(q, c);
}

void vq_unpop(struct virtq *q, struct vq_tok tok)
{
	if (!q->desc_p)
		return;
	if (is_packed(q))
		vq_packed_unpop(q, tok);
	else
		q->last_avail--;
}

void vq_push(struct virtq *q, struct vq_tok tok, u32 written)
{
	if (!q->desc_p)
		return;
	if (is_packed(q))
		vq_packed_push(q, tok, written);
	else
		split_push(q, tok, written);
}

void vq_flush(struct virtq *q)
{
	bool want;

	if (!q->desc_p || !q->pending_nr)
		return;
	want = is_packed(q) ? vq_packed_flush(q) : split_flush(q);
	q->pending_nr = 0;
	if (want)
		q->v->tp->queue_irq(q->v, q->n);
}

void vq_reset(struct virtq *q)
{
	*q = (struct virtq){
		.v = q->v, .n = q->n, .max_size = q->max_size, .size = q->max_size,
		.avail_wrap = true, .used_wrap = true,
	};
}

/* Host pointer to one ring area, NULL unless aligned and in RAM. */
static u8 *area(const struct virtq *q, u64 gpa, u64 len, u64 align)
{
	return gpa & (align - 1) ? NULL : mem_ptr(q->v->dev.env.mem, gpa, len);
}

void vq_start(struct virtq *q)
{
	bool packed = is_packed(q);
	u64 n = q->size;

	q->ready = true;
	if (n && n <= q->max_size && (packed || !(n & (n - 1)))) {
		q->driver_p = area(q, q->driver, packed ? 4 : 6 + 2 * n, packed ? 4 : 2);
		q->device_p = area(q, q->device, packed ? 4 : 6 + 8 * n, 4);
		q->desc_p = area(q, q->desc, DESC_SIZE * n, DESC_SIZE);
	}
	if (!q->desc_p || !q->driver_p || !q->device_p) {
		q->desc_p = NULL;
		vq_break(q, "virtqueue: bad size or ring address");
	} else if (packed) {
		vq_packed_start(q);
	}
}
