// SPDX-License-Identifier: Apache-2.0
/* vq_int.h - between the two ring layouts, vq.c (split) and vq_packed.c */
#ifndef DEV_VIRTIO_VQ_INT_H
#define DEV_VIRTIO_VQ_INT_H

#include "dev/virtio/virtio.h"

#include <stdatomic.h>
#include <string.h>

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

#define DESC_SIZE 16

/* One buffer of a chain, out of either layout's descriptor. */
struct vq_buf {
	u64 addr;
	u32 len;
	u16 flags;
};

/*
 * Shared-memory access. Each value is read exactly once, into a local: the fences
 * keep the compiler from reading it again after it was checked.
 */
static inline u16 ring_load16(const u8 *p)
{
	u16 v = *(const volatile u16 *)p;

	atomic_thread_fence(memory_order_acquire); /* pairs with the driver's write barrier */
	return v;
}

static inline void ring_store16(u8 *p, u16 v)
{
	atomic_thread_fence(memory_order_release); /* pairs with the driver's read barrier */
	*(volatile u16 *)p = v;
}

static inline void ring_copy(void *dst, const u8 *src, size_t len)
{
	memcpy(dst, src, len);
	atomic_signal_fence(memory_order_seq_cst);
}

static inline void ring_full_fence(void)
{
	atomic_thread_fence(memory_order_seq_cst); /* pairs with the driver's full barrier */
}

/* [virtio 2.7.10]: did new pass event since old? */
static inline bool vq_need_event(u16 event, u16 new, u16 old)
{
	return (u16)(new - event - 1) < (u16)(new - old);
}

void vq_chain_init(const struct virtq *q, struct vchain *c);
/* Add a checked buffer to *c; false = the queue was broken. */
bool vq_chain_add(struct virtq *q, struct vchain *c, const struct vq_buf *b);
/* The checked indirect table b describes, or NULL = the queue was broken. */
const u8 *vq_indirect_table(struct virtq *q, const struct vq_buf *b, u32 *ret_nr);

bool vq_packed_pop(struct virtq *q, struct vchain *c);
void vq_packed_unpop(struct virtq *q, struct vq_tok tok);
void vq_packed_push(struct virtq *q, struct vq_tok tok, u32 written);
bool vq_packed_flush(struct virtq *q); /* true: interrupt */
void vq_packed_start(struct virtq *q);

#endif
