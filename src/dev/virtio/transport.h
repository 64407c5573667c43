// SPDX-License-Identifier: Apache-2.0
/* transport.h - queue registers both transports have, see virtio_pci.c, virtio_mmio.c */
#ifndef DEV_VIRTIO_TRANSPORT_H
#define DEV_VIRTIO_TRANSPORT_H

#include "dev/virtio/virtio.h"

enum { ISR_QUEUE = 1, ISR_CONFIG = 2 };

/* The selected queue, NULL if it does not exist. */
static inline struct virtq *selected_queue(struct virtio *v, u16 sel)
{
	return sel < v->nr_queues ? &v->q[sel] : NULL;
}

static inline u32 feature_word(u64 features, u32 sel)
{
	return sel > 1 ? 0 : (u32)(features >> (32 * sel));
}

/* Set the low or high half of a ring address; fixed once the queue runs. */
static inline void set_half(const struct virtq *q, u64 *addr, bool high, u32 val)
{
	if (q->ready)
		return;
	if (high)
		*addr = (*addr & 0xffffffffull) | (u64)val << 32;
	else
		*addr = (*addr & ~0xffffffffull) | val;
}

/*
 * Doorbells of a transport: queue n's is at @at + n * @step, with @size as in struct doorbells. @was:
 * what it was told last, 0 = off. Call when the device's status or the registers' place may have changed; @at 0:
 * they have none. Return: what to pass as @was the next time.
 */
gpa_t virtio_doorbells(struct virtio *v, gpa_t was, gpa_t at, unsigned step, unsigned size);

/* The device behind @d if it is this transport, else NULL. */
struct virtio *virtio_of_pci(struct dev *d);
struct virtio *virtio_of_mmio(struct dev *d);

#endif
