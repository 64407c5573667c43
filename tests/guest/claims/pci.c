// SPDX-License-Identifier: Apache-2.0
/* pci.c - configuration space, BARs, MSI-X [PCI 6] */
#include "../lib/virtio.h"

#define ECAM 0xe0000000ull
#define RNG  0x1044

static u32 ecam(unsigned slot, unsigned reg)
{
	return read32(ECAM + (slot << 15) + reg);
}

CLAIM(ports_and_ecam_show_the_same)
{
	for (unsigned slot = 0; slot < 32; slot++)
		for (unsigned reg = 0; reg < 64; reg += 4)
			EXPECT_EQ(ecam(slot, reg), pci_read(slot, reg));
}

CLAIM(absent_functions_read_as_ones)
{
	EXPECT_EQ(pci_read(31, 0), 0xffffffff);
	out32(0xcf8, 0x80000000 | 5 << 16);
	EXPECT_EQ(in32(0xcfc), 0xffffffff);
}

CLAIM(a_bar_says_its_size_and_moves)
{
	struct vdev d;
	u32 old, size;
	u64 want = 0xd0000000;

	virtio_open(&d, 4, 0);
	for (unsigned n = 0; n < 6; n++) {
		old = pci_read(d.slot, 0x10 + 4 * n);
		if (!(old & ~15u))
			continue;
		pci_write(d.slot, 0x10 + 4 * n, 0xffffffff);
		size = ~(pci_read(d.slot, 0x10 + 4 * n) & ~15u) + 1;
		EXPECT(size >= 16 && !(size & (size - 1)));
		EXPECT_EQ(old & ~15u & (size - 1), 0);
		pci_write(d.slot, 0x10 + 4 * n, old);
		EXPECT_EQ(pci_read(d.slot, 0x10 + 4 * n), old);
		if ((d.common & ~(u64)(size - 1)) == (old & ~15u)) {
			EXPECT_EQ(virtio_status(&d), 11);
			pci_write(d.slot, 0x10 + 4 * n, (u32)want);
			d.common = want + (d.common & (size - 1));
			EXPECT_EQ(virtio_status(&d), 11);
		}
		if ((old & 6) == 4)
			n++;
	}
}

CLAIM(memory_decoding_can_be_off)
{
	struct vdev d;

	virtio_open(&d, 4, 0);
	pci_write(d.slot, 4, pci_read(d.slot, 4) & ~2u);
	EXPECT_EQ(virtio_status(&d), 0xff);
	pci_write(d.slot, 4, pci_read(d.slot, 4) | 2);
	EXPECT_EQ(virtio_status(&d), 11);
}

CLAIM(capability_lists_end)
{
	for (unsigned slot = 0; slot < 32; slot++) {
		unsigned n = 0;

		if (pci_read(slot, 0) == 0xffffffff || !(pci_read(slot, 4) & BIT(20)))
			continue;
		for (unsigned at = pci_read(slot, 0x34) & 0xfc; at; n++) {
			EXPECT(at >= 0x40 && n < 48);
			at = pci_read(slot, at) >> 8 & 0xfc;
		}
		EXPECT(n > 0);
	}
}

CLAIM(msix_waits_while_masked)
{
	struct vdev d;
	struct vqueue q;
	u8 *buf = alloc(64, 64);
	struct part p = { buf, 64, true };
	unsigned cap;
	u64 table;

	lapic_on();
	virtio_open(&d, 4, 0);
	virtio_queue(&d, 0, &q, 0x61);
	cap = pci_cap(d.slot, 0x11, 0);
	table = pci_bar(d.slot, pci_read(d.slot, cap + 4) & 7) + (pci_read(d.slot, cap + 4) & ~7u);
	write32(table + 12, 1);
	virtio_go(&d);
	vq_give(&q, &p, 1, false);
	vq_ring(&q);
	EXPECT(vq_wait(&q, NULL));
	EXPECT(!wait_for(&irqs[0x61], 1, 20000));
	write32(table + 12, 0);
	EXPECT(wait_for(&irqs[0x61], 1, 1000000));
}
