// SPDX-License-Identifier: Apache-2.0
/* virtio.c - every form of ring, block requests, interrupts, broken chains [virtio 2.7, 2.8] */
#include "../lib/virtio.h"

enum { RNG = 4, BLK = 2 };

static bool not_all_zero(const u8 *p, u32 len)
{
	for (u32 n = 0; n < len; n++)
		if (p[n])
			return true;
	return false;
}

static void open_rng(struct vdev *d, struct vqueue *q, u64 features, u8 vector)
{
	lapic_on();
	virtio_open(d, RNG, features);
	virtio_queue(d, 0, q, vector);
	virtio_go(d);
}

static void ask_random(struct vqueue *q, bool indirect)
{
	u8 *a = alloc(64, 64), *b = alloc(64, 64);
	const struct part p[] = { { a, 40, true }, { b, 24, true } };
	u32 len = 0;

	vq_give(q, p, 2, indirect);
	vq_ring(q);
	EXPECT(vq_wait(q, &len));
	EXPECT(len >= 1 && len <= 64);
	EXPECT(not_all_zero(a, 40));
	EXPECT(len <= 40 || not_all_zero(b, len - 40));
}

CLAIM(split_ring)
{
	struct vdev d;
	struct vqueue q;

	open_rng(&d, &q, 0, 0x61);
	EXPECT_EQ(virtio_features(&d) & (BIT(F_INDIRECT) | BIT(F_EVENT_IDX) | BIT(F_PACKED)), 0);
	for (u32 n = 1; n <= 3 * QSIZE; n++) {
		ask_random(&q, false);
		EXPECT(wait_for(&irqs[0x61], n, 1000000));
	}
}

CLAIM(indirect_descriptors)
{
	struct vdev d;
	struct vqueue q;

	open_rng(&d, &q, BIT(F_INDIRECT), 0x61);
	EXPECT(virtio_features(&d) & BIT(F_INDIRECT));
	for (u32 n = 1; n <= 3 * QSIZE; n++) {
		ask_random(&q, true);
		EXPECT(wait_for(&irqs[0x61], n, 1000000));
	}
}

CLAIM(event_index_decides_about_interrupts)
{
	struct vdev d;
	struct vqueue q;
	volatile u16 *used_event;

	open_rng(&d, &q, BIT(F_EVENT_IDX), 0x61);
	EXPECT(virtio_features(&d) & BIT(F_EVENT_IDX));
	used_event = q.avail + 2 + QSIZE;
	*used_event = 3;
	ask_random(&q, false);
	wait_for(&irqs[0x61], 1, 100000); /* the first may interrupt in any case */
	irqs[0x61] = 0;
	ask_random(&q, false);
	ask_random(&q, false);
	EXPECT(!wait_for(&irqs[0x61], 1, 20000));
	ask_random(&q, false); /* the fourth: entry 3 */
	EXPECT(wait_for(&irqs[0x61], 1, 1000000));
}

CLAIM(no_interrupt_flag_is_kept)
{
	struct vdev d;
	struct vqueue q;

	open_rng(&d, &q, 0, 0x61);
	q.avail[0] = 1;
	ask_random(&q, false);
	EXPECT(!wait_for(&irqs[0x61], 1, 20000));
	q.avail[0] = 0;
	ask_random(&q, false);
	EXPECT(wait_for(&irqs[0x61], 1, 1000000));
}

static void packed(bool indirect)
{
	struct vdev d;
	struct vqueue q;
	u8 *a = alloc(64, 64), *b = alloc(64, 64);
	const struct part p[] = { { a, 40, true }, { b, 24, true } };
	unsigned slots = indirect ? 1 : 2;

	open_rng(&d, &q, BIT(F_PACKED) | BIT(F_INDIRECT), 0x61);
	EXPECT(virtio_features(&d) & BIT(F_PACKED));
	for (u32 n = 1; n <= 3 * QSIZE; n++) {
		u32 len = 0;

		memset(a, 0, 64);
		vq_give_packed(&q, p, 2, indirect);
		vq_ring(&q);
		EXPECT(wait_for(&irqs[0x61], n, 1000000));
		EXPECT(vq_done_packed(&q, &len, slots));
		EXPECT(len >= 1 && len <= 64);
		EXPECT(not_all_zero(a, 40));
	}
}

CLAIM(packed_ring)
{
	packed(false);
}

CLAIM(packed_ring_with_indirect_tables)
{
	packed(true);
}

static u64 isr_at;
static volatile u32 lines, isr_seen;

static void on_line(struct frame *f)
{
	(void)f;
	isr_seen |= *(volatile u8 *)isr_at; /* reading lets the line fall */
	lines++;
	lapic_set(LAPIC_EOI, 0);
}

CLAIM(line_interrupt_without_msix)
{
	struct vdev d;
	struct vqueue q;
	u32 pin;

	lapic_on();
	virtio_open(&d, RNG, 0);
	pin = pci_read(d.slot, 0x3c) & 0xff; /* the line is the I/O APIC's pin */
	write32(0xfec00000, 0x10 + 2 * pin + 1);
	write32(0xfec00010, 0);
	write32(0xfec00000, 0x10 + 2 * pin);
	write32(0xfec00010, 0x8062);
	virtio_queue(&d, 0, &q, 0);
	virtio_go(&d);
	pci_write(d.slot, 4, pci_read(d.slot, 4) & ~(u32)BIT(10));
	isr_at = d.isr;
	handlers[0x62] = on_line;
	for (u32 n = 1; n <= 5; n++) {
		isr_seen = 0;
		ask_random(&q, false);
		EXPECT(wait_for(&lines, n, 1000000));
		EXPECT_EQ(isr_seen, 1);
	}
}

static void block(struct vqueue *q, u32 type, u64 sector, u8 *buf, u32 len, bool indirect)
{
	struct {
		u32 type, zero;
		u64 sector;
	} *head = alloc(16, 16);
	u8 *status = alloc(1, 1);
	const struct part p[] = { { head, 16, false }, { buf, len, type == 0 }, { status, 1, true } };
	const struct part flush[] = { { head, 16, false }, { status, 1, true } };

	head->type = type;
	head->sector = sector;
	*status = 0xff;
	vq_give(q, len ? p : flush, len ? 3 : 2, indirect);
	vq_ring(q);
	EXPECT(vq_wait(q, NULL));
	EXPECT_EQ(*status, 0);
}

CLAIM(block_write_flush_read)
{
	struct vdev d;
	struct vqueue q;
	u8 *out = alloc(8192, 4096), *in = alloc(8192, 4096);

	lapic_on();
	virtio_open(&d, BLK, BIT(F_INDIRECT) | BIT(9));
	virtio_queue(&d, 0, &q, 0x61);
	virtio_go(&d);
	EXPECT_EQ(*(volatile u64 *)d.config, 8192); /* 4 MiB */
	for (u32 k = 0; k < 16; k++) {
		for (u32 n = 0; n < 8192; n++)
			out[n] = (u8)(n * 7 + k);
		block(&q, 1, k * 16, out, 8192, k & 1);
		block(&q, 4, 0, NULL, 0, k & 1);
		block(&q, 0, k * 16, in, 8192, k & 1);
		for (u32 n = 0; n < 8192; n++)
			EXPECT_EQ(in[n], out[n]);
	}
	EXPECT(irqs[0x61] == 0);
	sti();
	cli();
	EXPECT(irqs[0x61] >= 1);
}

/* A chain that runs in a circle, one beyond the ring, one outside of memory: the device says so. */
CLAIM(a_broken_chain_needs_a_reset)
{
	for (unsigned k = 0; k < 3; k++) {
		struct vdev d;
		struct vqueue q;
		u8 *buf = alloc(64, 64);
		const struct part p[] = { { buf, 8, true }, { buf, 8, true } };

		open_rng(&d, &q, 0, 0);
		vq_give(&q, p, 2, false);
		if (k == 0)
			q.desc[1] = (struct vdesc){ (u64)buf, 8, D_WRITE | D_NEXT, 0 };
		else if (k == 1)
			q.desc[1].a |= D_NEXT, q.desc[1].b = 1000;
		else
			q.desc[0].addr = 0xfffffffffffff000, q.desc[0].len = 0x2000;
		vq_ring(&q);
		for (unsigned n = 0; n < 1000 && !(virtio_status(&d) & 0x40); n++)
			delay_us(1000);
		EXPECT(virtio_status(&d) & 0x40);
	}
}
