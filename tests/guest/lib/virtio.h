/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio.h - a driver of a few lines for modern virtio-pci devices [virtio 4.1]
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include "guest.h"

#define F_INDIRECT  28
#define F_EVENT_IDX 29
#define F_VERSION_1 32
#define F_PACKED    34

#define D_NEXT	   1
#define D_WRITE	   2
#define D_INDIRECT 4

struct vdev {
	unsigned slot;
	u64 common, notify, isr, config;
	u32 notify_mult;
	u64 offered;
};

#define QSIZE 16

struct vdesc {
	u64 addr;
	u32 len;
	u16 a, b; /* split: flags, next; packed: id, flags */
};

struct vqueue {
	struct vdev *dev;
	unsigned index;
	u64 doorbell;
	struct vdesc *desc;
	volatile u16 *avail; /* flags, idx, ring[], used_event */
	volatile u16 *used;  /* flags, idx, { u32 id, len }[], avail_event */
	u16 seen;	     /* split: used entries taken; packed: next slot */
	bool wrap;	     /* packed */
	struct vdesc *indirect;
};

struct part {
	void *at;
	u32 len;
	bool write; /* by the device */
};

/* Find, reset and negotiate: features are those wanted and offered. DRIVER_OK is not set yet. */
void virtio_open(struct vdev *d, u16 device_id, u64 want);
u64 virtio_features(const struct vdev *d); /* negotiated */
/* Set up queue @n; its interrupt is MSI-X entry @n with @vector, or INTx if vector is 0. */
void virtio_queue(struct vdev *d, unsigned n, struct vqueue *q, u8 vector);
void virtio_go(struct vdev *d); /* DRIVER_OK */
u8 virtio_status(const struct vdev *d);

/* Give a chain to the device (split ring), directly or by an indirect table; no doorbell. */
void vq_give(struct vqueue *q, const struct part *p, unsigned n, bool indirect);
void vq_give_packed(struct vqueue *q, const struct part *p, unsigned n, bool indirect);
void vq_ring(struct vqueue *q);
bool vq_done(struct vqueue *q, u32 *len); /* take one used entry, if there is one */
bool vq_done_packed(struct vqueue *q, u32 *len, unsigned n);
bool vq_wait(struct vqueue *q, u32 *len); /* up to two seconds */

#endif
