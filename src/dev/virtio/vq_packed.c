// SPDX-License-Identifier: Apache-2.0
/*
 * vq_packed.c - the packed ring [virtio 2.8], behind the calls of vq.h
 *
 * One ring of descriptors serves both directions; a descriptor is available when
 * its AVAIL bit equals the wrap counter and its USED bit does not. last_avail and
 * used_idx are slots here, not counters. The rules at the top of vq.c hold.
 */
#include "dev/virtio/vq_int.h"
#include "mem/mem.h"

struct packed_desc {
	le64 addr;
	le32 len;
	le16 id, flags;
};

enum { PACKED_AVAIL = 1 << 7, PACKED_USED = 1 << 15 };
enum { DESC_LEN = 8, DESC_ID = 12, DESC_FLAGS = 14 };

/* The event suppression areas [virtio 2.8.10]. */
enum { EVENT_OFF_WRAP = 0, EVENT_FLAGS = 2 };
enum { EVENT_ENABLE, EVENT_DISABLE, EVENT_DESC };

static u8 *slot_ptr(const struct virtq *q, u16 slot)
{
	return q->desc_p + (size_t)slot * DESC_SIZE;
}

static bool head_available(const struct virtq *q)
{
	u16 flags = ring_load16(slot_ptr(q, q->last_avail) + DESC_FLAGS);

	return !!(flags & PACKED_AVAIL) == q->avail_wrap &&
	       !!(flags & PACKED_USED) != q->avail_wrap;
}

/* Like head_available(), but asks the driver to notify if there is nothing. */
static bool check_available(struct virtq *q)
{
	if (head_available(q))
		return true;
	if (!virtio_has(q->v, VIRTIO_F_EVENT_IDX))
		return false;
	ring_store16(q->device_p + EVENT_OFF_WRAP,
		     (u16)(q->last_avail | (q->avail_wrap ? 1u << 15 : 0)));
	ring_store16(q->device_p + EVENT_FLAGS, EVENT_DESC);
	ring_full_fence();
	return head_available(q);
}

static struct vq_buf copy_desc(const u8 *p, u16 *ret_id)
{
	struct packed_desc d;

	ring_copy(&d, p, sizeof d);
	*ret_id = le16_get(d.id);
	return (struct vq_buf){ le64_get(d.addr), le32_get(d.len), le16_get(d.flags) };
}

/* All of an indirect table's entries are the chain; NEXT means nothing there. */
static bool add_indirect(struct virtq *q, struct vchain *c, const struct vq_buf *ind)
{
	u32 nr;
	u16 id;
	const u8 *table = vq_indirect_table(q, ind, &nr);

	if (!table)
		return false;
	if (nr > q->size) {
		vq_break(q, "virtqueue: indirect table longer than the queue");
		return false;
	}
	for (u32 i = 0; i < nr; i++) {
		struct vq_buf b = copy_desc(table + (size_t)i * DESC_SIZE, &id);

		if (b.flags & DESC_INDIRECT) {
			vq_break(q, "virtqueue: nested indirect table");
			return false;
		}
		if (!vq_chain_add(q, c, &b))
			return false;
	}
	return true;
}

static bool walk(struct virtq *q, struct vchain *c)
{
	u16 slot = q->last_avail;

	for (u16 n = 1; n <= q->size; n++) {
		struct vq_buf b = copy_desc(slot_ptr(q, slot), &c->tok.id);

		c->tok.nr = n;
		if (b.flags & DESC_INDIRECT)
			return add_indirect(q, c, &b);
		if (!vq_chain_add(q, c, &b))
			return false;
		if (!(b.flags & DESC_NEXT))
			return true;
		slot = (u16)(slot + 1 == q->size ? 0 : slot + 1);
	}
	vq_break(q, "virtqueue: chain too long or looped");
	return false;
}

static void advance(const struct virtq *q, u16 *slot, bool *wrap, u16 n)
{
	*slot = (u16)(*slot + n);
	if (*slot < q->size)
		return;
	*slot = (u16)(*slot - q->size);
	*wrap = !*wrap;
}

bool vq_packed_pop(struct virtq *q, struct vchain *c)
{
	if (!check_available(q))
		return false;
	vq_chain_init(q, c);
	if (!walk(q, c))
		return false;
	advance(q, &q->last_avail, &q->avail_wrap, c->tok.nr);
	return true;
}

void vq_packed_unpop(struct virtq *q, struct vq_tok tok)
{
	if (q->last_avail >= tok.nr) {
		q->last_avail = (u16)(q->last_avail - tok.nr);
		return;
	}
	q->last_avail = (u16)(q->last_avail + q->size - tok.nr);
	q->avail_wrap = !q->avail_wrap;
}

void vq_packed_push(struct virtq *q, struct vq_tok tok, u32 written)
{
	u8 *p = slot_ptr(q, q->used_idx);
	u16 flags = (u16)((q->used_wrap ? PACKED_AVAIL | PACKED_USED : 0) |
			  (written ? DESC_WRITE : 0));
	u16 before = q->used_idx;
	le32 len = le32_of(written);
	le16 id = le16_of(tok.id);

	memcpy(p + DESC_LEN, &len, sizeof len);
	memcpy(p + DESC_ID, &id, sizeof id);
	if (q->pending_nr) {
		ring_store16(p + DESC_FLAGS, flags);
	} else {
		q->pending_slot = q->used_idx;
		q->pending_flags = flags;
	}
	mem_wrote(q->v->dev.env.mem, q->desc + (u64)q->used_idx * DESC_SIZE, DESC_SIZE);
	q->pending_nr++;
	advance(q, &q->used_idx, &q->used_wrap, tok.nr);
	if (q->used_idx < before) /* keep the distance from signalled [virtio 2.8.21.3.1] */
		q->signalled = (u16)(q->signalled - q->size);
}

static bool want_interrupt(const struct virtq *q, bool valid, u16 old)
{
	u16 flags = ring_load16(q->driver_p + EVENT_FLAGS) & 3;
	u16 off_wrap = ring_load16(q->driver_p + EVENT_OFF_WRAP);
	u16 event = off_wrap & 0x7fff;

	if (flags != EVENT_DESC)
		return flags != EVENT_DISABLE;
	if ((off_wrap >> 15) != q->used_wrap)
		event = (u16)(event - q->size);
	return !valid || vq_need_event(event, q->used_idx, old);
}

bool vq_packed_flush(struct virtq *q)
{
	u16 old = q->signalled;
	bool valid = q->signalled_valid;

	ring_store16(slot_ptr(q, q->pending_slot) + DESC_FLAGS, q->pending_flags);
	ring_full_fence();
	q->signalled = q->used_idx;
	q->signalled_valid = true;
	return want_interrupt(q, valid, old);
}

void vq_packed_start(struct virtq *q)
{
	if (q->last_avail >= q->size || q->used_idx >= q->size)
		q->last_avail = q->used_idx = 0; /* a loaded state may say anything */
	ring_store16(q->device_p + EVENT_FLAGS, EVENT_ENABLE);
}
