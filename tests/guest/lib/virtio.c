// SPDX-License-Identifier: Apache-2.0
/* virtio.c - see virtio.h */
#include "virtio.h"

enum { C_DFSEL = 0, C_DF = 4, C_GFSEL = 8, C_GF = 12, C_MSIX = 16, C_STATUS = 20, C_QSEL = 22,
       C_QSIZE = 24, C_QVEC = 26, C_QENABLE = 28, C_QNOTIFY = 30, C_QDESC = 32, C_QDRIVER = 40,
       C_QDEVICE = 48 };

static void w8(u64 a, u8 v) { *(volatile u8 *)a = v; }
static void w16(u64 a, u16 v) { *(volatile u16 *)a = v; }
static u16 r16(u64 a) { return *(volatile u16 *)a; }

static void barrier(void)
{
	__asm__ volatile("mfence" ::: "memory");
}

static void find_regs(struct vdev *d)
{
	for (unsigned c = pci_cap(d->slot, 9, 0); c; c = pci_cap(d->slot, 9, c)) {
		u64 at = pci_bar(d->slot, pci_read(d->slot, c + 4) & 0xff) + pci_read(d->slot, c + 8);

		switch (pci_read(d->slot, c) >> 24) {
		case 1: d->common = at; break;
		case 2:
			d->notify = at;
			d->notify_mult = pci_read(d->slot, c + 16);
			break;
		case 3: d->isr = at; break;
		case 4: d->config = at; break;
		}
	}
}

u8 virtio_status(const struct vdev *d)
{
	return *(volatile u8 *)(d->common + C_STATUS);
}

static u64 features(const struct vdev *d, unsigned sel, unsigned reg)
{
	u64 v;

	write32(d->common + sel, 0);
	v = read32(d->common + reg);
	write32(d->common + sel, 1);
	return v | (u64)read32(d->common + reg) << 32;
}

u64 virtio_features(const struct vdev *d)
{
	return features(d, C_GFSEL, C_GF);
}

void virtio_open(struct vdev *d, u16 device_id, u64 want)
{
	int slot = pci_find(0x1af4, 0x1040 + device_id);
	u64 f;

	EXPECT(slot >= 0);
	d->slot = (unsigned)slot;
	pci_write(d->slot, 4, pci_read(d->slot, 4) | 6);
	find_regs(d);
	EXPECT(d->common && d->notify && d->isr);
	w8(d->common + C_STATUS, 0);
	while (virtio_status(d))
		;
	w8(d->common + C_STATUS, 1);
	w8(d->common + C_STATUS, 3);
	d->offered = features(d, C_DFSEL, C_DF);
	f = d->offered & (want | BIT(F_VERSION_1));
	write32(d->common + C_GFSEL, 0);
	write32(d->common + C_GF, (u32)f);
	write32(d->common + C_GFSEL, 1);
	write32(d->common + C_GF, (u32)(f >> 32));
	w8(d->common + C_STATUS, 11);
	EXPECT_EQ(virtio_status(d), 11);
}

void virtio_queue(struct vdev *d, unsigned n, struct vqueue *q, u8 vector)
{
	*q = (struct vqueue){ .dev = d, .index = n, .wrap = true };
	q->desc = alloc(QSIZE * 16, 4096);
	q->avail = alloc(4096, 4096);
	q->used = alloc(4096, 4096);
	q->indirect = alloc(QSIZE * 16 * QSIZE, 4096);
	w16(d->common + C_QSEL, (u16)n);
	EXPECT(r16(d->common + C_QSIZE) >= QSIZE);
	w16(d->common + C_QSIZE, QSIZE);
	if (vector) {
		msix_set(d->slot, n, vector);
		w16(d->common + C_QVEC, (u16)n);
		EXPECT_EQ(r16(d->common + C_QVEC), n);
	}
	*(volatile u64 *)(d->common + C_QDESC) = (u64)q->desc;
	*(volatile u64 *)(d->common + C_QDRIVER) = (u64)q->avail;
	*(volatile u64 *)(d->common + C_QDEVICE) = (u64)q->used;
	w16(d->common + C_QENABLE, 1);
	q->doorbell = d->notify + (u64)r16(d->common + C_QNOTIFY) * d->notify_mult;
}

void virtio_go(struct vdev *d)
{
	w8(d->common + C_STATUS, 15);
	EXPECT_EQ(virtio_status(d), 15);
}

static unsigned fill(struct vdesc *t, const struct part *p, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		t[k] = (struct vdesc){ (u64)p[k].at, p[k].len,
				       (u16)((p[k].write ? D_WRITE : 0) | (k + 1 < n ? D_NEXT : 0)),
				       (u16)(k + 1) };
	return n;
}

void vq_give(struct vqueue *q, const struct part *p, unsigned n, bool indirect)
{
	u16 idx = q->avail[1];

	if (indirect) {
		fill(q->indirect, p, n);
		q->desc[0] = (struct vdesc){ (u64)q->indirect, n * 16, D_INDIRECT, 0 };
	} else {
		fill(q->desc, p, n);
	}
	q->avail[2 + idx % QSIZE] = 0;
	barrier();
	q->avail[1] = idx + 1;
	barrier();
}

/* Available: flag bit 7 is the wrap counter, bit 15 its inverse. [virtio 2.8.1] */
void vq_give_packed(struct vqueue *q, const struct part *p, unsigned n, bool indirect)
{
	u16 avail = q->wrap ? 0x80 : 0x8000, at = q->seen, first = 0;

	if (indirect) {
		for (unsigned k = 0; k < n; k++)
			q->indirect[k] = (struct vdesc){ (u64)p[k].at, p[k].len, 0,
							 p[k].write ? D_WRITE : 0 };
		barrier();
		q->desc[at] = (struct vdesc){ (u64)q->indirect, n * 16, 7, 0 };
		barrier();
		q->desc[at].b = avail | D_INDIRECT;
		barrier();
		return;
	}
	EXPECT(at + n <= QSIZE);
	for (unsigned k = 0; k < n; k++) {
		u16 flags = (u16)(avail | (p[k].write ? D_WRITE : 0) | (k + 1 < n ? D_NEXT : 0));

		q->desc[at + k] = (struct vdesc){ (u64)p[k].at, p[k].len, 7, k ? flags : 0 };
		if (!k)
			first = flags;
	}
	barrier();
	q->desc[at].b = first;
	barrier();
}

void vq_ring(struct vqueue *q)
{
	w16(q->doorbell, (u16)q->index);
}

bool vq_done(struct vqueue *q, u32 *len)
{
	volatile u32 *ring = (volatile u32 *)(q->used + 2);

	barrier();
	if (q->used[1] == q->seen)
		return false;
	if (len)
		*len = ring[q->seen % QSIZE * 2 + 1];
	q->seen++;
	return true;
}

/* Used: both bits equal the wrap counter; the chain took @n slots. */
bool vq_done_packed(struct vqueue *q, u32 *len, unsigned n)
{
	volatile struct vdesc *d = &q->desc[q->seen];
	u16 flags;

	barrier();
	flags = d->b & 0x8080;
	if (flags != (q->wrap ? 0x8080 : 0))
		return false;
	EXPECT_EQ(d->a, 7);
	if (len)
		*len = d->len;
	q->seen = (u16)(q->seen + n);
	if (q->seen >= QSIZE) {
		q->seen -= QSIZE;
		q->wrap = !q->wrap;
	}
	return true;
}

bool vq_wait(struct vqueue *q, u32 *len)
{
	for (unsigned n = 0; n < 20000; n++) {
		if (vq_done(q, len))
			return true;
		delay_us(100);
	}
	return false;
}
