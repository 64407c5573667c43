// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz.c - random values to every port, register and ring; no claim of tests.cfg
 *
 * usage: fuzz seed=N ops=N cpus=N. The same seed does the same. What devices write goes to
 * SANDBOX, or where there is no RAM, so that the program itself stays whole. It ends by
 * isa-debug-exit; a reset, power-off or triple fault on the way is the guest's own doing.
 */
#include "../lib/virtio.h"

#define SANDBOX	     (32ull << 20)
#define SANDBOX_SIZE (16ull << 20)

#define RESETS ((volatile u64 *)0x50000) /* memory survives a reset */
#define MAGIC  0xf0220f022

static u64 state;
static u64 done;

static u64 rnd(void)
{
	u64 z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static u64 below(u64 n)
{
	return rnd() % n;
}

/* Values that sit at the edges as often as not. */
static u64 value(void)
{
	static const u64 edges[] = { 0, 1, 2, 7, 8, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000,
				     0x7fffffff, 0x80000000, 0xffffffff, 1ull << 32, ~0ull, ~0ull - 4095 };

	switch (below(4)) {
	case 0: return edges[below(ARRAY(edges))];
	case 1: return BIT(below(64));
	case 2: return rnd() & 0xff;
	default: return rnd();
	}
}

/* A guest-physical address a device may be told to use. */
static u64 address(void)
{
	switch (below(10)) {
	case 0: return (64ull << 20) - below(8192) + 4096; /* around the end of RAM */
	case 1: return 0xc0000000 + below(0x40000000);	  /* registers */
	case 2: return ~0ull - below(1 << 20);
	default: return SANDBOX + below(SANDBOX_SIZE);
	}
}

/* -- ports --------------------------------------------------------------------------------------- */

static const struct {
	u16 first, nr;
} ports[] = {
	{ 0x20, 2 }, { 0xa0, 2 }, { 0x4d0, 2 }, { 0x40, 4 }, { 0x60, 5 }, { 0x70, 2 }, { 0x92, 1 },
	{ 0x3f8, 8 }, { 0xe9, 1 }, { 0x505, 1 }, { 0x600, 16 }, { 0xcf8, 8 }, { 0x510, 2 }, { 0xe0, 12 },
	{ 0x2000, 24 },
};

/* Ports that end or restart the machine: rarely. */
static bool ends(u16 port, unsigned size)
{
	static const u16 list[] = { 0x64, 0x92, 0x505, 0x604, 0x605, 0xcf9 };

	if (port <= 0xf7 && port + size > 0xf4)
		return true; /* our own exit: never */
	for (unsigned n = 0; n < ARRAY(list); n++)
		if (port <= list[n] && port + size > list[n])
			return below(5000) != 0;
	return false;
}

static void one_port(void)
{
	unsigned k = (unsigned)below(ARRAY(ports)), size = 1u << below(3);
	u16 port = below(8) ? (u16)(ports[k].first + below(ports[k].nr)) : (u16)rnd();
	u64 v = value();

	if (below(3) == 0) {
		size == 1 ? (void)in8(port) : size == 2 ? (void)in16(port) : (void)in32(port);
		return;
	}
	if (ends(port, size))
		return;
	size == 1 ? out8(port, (u8)v) : size == 2 ? out16(port, (u16)v) : out32(port, (u32)v);
}

/* -- registers ----------------------------------------------------------------------------------- */

static void poke(u64 at, unsigned size, bool write)
{
	u64 v = value();

	switch (size) {
	case 1: write ? (void)(*(volatile u8 *)at = (u8)v) : (void)*(volatile u8 *)at; break;
	case 2: write ? (void)(*(volatile u16 *)at = (u16)v) : (void)*(volatile u16 *)at; break;
	case 4: write ? (void)(*(volatile u32 *)at = (u32)v) : (void)*(volatile u32 *)at; break;
	default: write ? (void)(*(volatile u64 *)at = v) : (void)*(volatile u64 *)at; break;
	}
}

static void one_register(void)
{
	static const struct {
		u64 base, size;
	} areas[] = {
		{ 0xfec00000, 0x50 }, { 0xfed00000, 0x170 }, { 0xfee00000, 0x400 }, { 0xe0000000, 0x100000 },
		{ 0xff000000, 0x10000 },
	};
	unsigned k = (unsigned)below(ARRAY(areas)), size = 1u << below(4);
	u64 at = areas[k].base + below(areas[k].size);
	bool write = below(3) != 0;

	if (below(4))
		at &= ~(u64)(size - 1);
	if (k == 2 && below(4))
		at &= ~15ull;
	/* an INIT to ourselves ends the run */
	if (write && at >= LAPIC + 0x2f8 && at < LAPIC + 0x310 && below(200))
		return;
	poke(at, size, write);
}

/* -- PCI and virtio -------------------------------------------------------------------------------- */

static struct vdev devs[32];
static unsigned nr_devs;

static void find_devices(void)
{
	nr_devs = 0;
	for (unsigned slot = 0; slot < 32; slot++) {
		u32 id = pci_read(slot, 0);

		if ((id & 0xffff) == 0x1af4)
			devs[nr_devs++] = (struct vdev){ .slot = slot };
	}
}

static u64 reg_of(struct vdev *d, unsigned type)
{
	for (unsigned c = pci_cap(d->slot, 9, 0), n = 0; c && n < 8; c = pci_cap(d->slot, 9, c), n++)
		if (pci_read(d->slot, c) >> 24 == type)
			return pci_bar(d->slot, pci_read(d->slot, c + 4) & 7) + pci_read(d->slot, c + 8);
	return 0;
}

/* Every BAR where it is, decoding on: after writes to configuration space. */
static void put_bars(void)
{
	u32 at = 0xc0000000;

	for (unsigned n = 0; n < nr_devs; n++) {
		for (unsigned b = 0; b < 6; b++, at += 0x100000)
			pci_write(devs[n].slot, 0x10 + 4 * b, b & 1 ? 0 : at);
		pci_write(devs[n].slot, 4, 6);
	}
}

static void fill_ring(u64 at, unsigned bytes)
{
	for (unsigned n = 0; n < bytes; n += 16) {
		u64 *d = (u64 *)(at + n);

		d[0] = address();
		d[1] = (below(3) ? below(8192) : value()) | (below(8) << 32) | (below(24) << 48);
		if (below(3) == 0)
			d[1] ^= 0x8080ull << (below(2) ? 48 : 32);
	}
}

static void wr16(u64 at, u16 v) { *(volatile u16 *)at = v; }

static void start_device(struct vdev *d)
{
	u64 c = reg_of(d, 1), ring = SANDBOX + below(200) * 4096;
	unsigned nq = 1 + (unsigned)below(4);

	if (!c || c < 0xc0000000 || c > 0xdff00000)
		return;
	d->common = c;
	d->notify = reg_of(d, 2);
	*(volatile u8 *)(c + 20) = 0;
	*(volatile u8 *)(c + 20) = 3;
	write32(c + 8, 0);
	write32(c + 12, below(2) ? ~0u : (u32)rnd());
	write32(c + 8, 1);
	write32(c + 12, below(4) ? 1 | (u32)(below(2) * 4) : (u32)rnd());
	*(volatile u8 *)(c + 20) = 11;
	for (unsigned q = 0; q < nq; q++, ring += 3 * 4096) {
		wr16(c + 22, (u16)q);
		wr16(c + 24, (u16)(below(4) ? 1u << below(8) : value()));
		*(volatile u64 *)(c + 32) = below(20) ? ring : address();
		*(volatile u64 *)(c + 40) = below(20) ? ring + 4096 : address();
		*(volatile u64 *)(c + 48) = below(20) ? ring + 8192 : address();
		wr16(c + 28, 1);
		fill_ring(ring, 4096);
		for (unsigned n = 0; n < 64; n++)
			((volatile u16 *)(ring + 4096))[n] = (u16)below(16);
	}
	*(volatile u8 *)(c + 20) = below(30) ? 15 : (u8)rnd();
}

static void one_virtio(void)
{
	struct vdev *d = &devs[below(nr_devs)];

	switch (below(16)) {
	case 0:
		start_device(d);
		break;
	case 1: /* common and device configuration */
		if (d->common)
			poke(d->common + below(0x1000), 1u << below(4), below(2));
		break;
	case 2: /* configuration space, then back to where it can be reached */
		pci_write(d->slot, (unsigned)below(64) * 4, (u32)value());
		if (below(4) == 0)
			put_bars();
		break;
	case 3: /* anywhere in the BARs */
		poke(0xc0000000 + below(0x2000000), 1u << below(4), below(2));
		break;
	case 4:
	case 5: /* more for the rings */
		fill_ring((SANDBOX + below(SANDBOX_SIZE - 65536)) & ~15ull, 64 + 16 * (unsigned)below(16));
		break;
	default: { /* available, and the doorbell */
		u64 ring = SANDBOX + below(200) * 4096;

		((volatile u16 *)ring)[1] = (u16)(((volatile u16 *)ring)[1] + below(4));
		if (d->notify >= 0xc0000000 && d->notify < 0xdff00000)
			wr16(d->notify + 4 * below(4), (u16)below(4));
	}
	}
}

/* -- the rest ------------------------------------------------------------------------------------------ */

static volatile u64 taken;

static void ignore(struct frame *f)
{
	taken++;
	lapic_set(LAPIC_EOI, 0);
	if (taken % 64 == 0)
		f->rflags &= ~BIT(9); /* a storm ends */
}

/* A fault of our own: what we touched is gone for good. */
static void own_fault(struct frame *f)
{
	(void)f;
	finish(0x12);
}

CLAIM(fuzz)
{
	u64 ops = cmdline_number("ops", 20000);

	/* After a reset it goes on with other values, a few times. */
	if (RESETS[0] != MAGIC) {
		RESETS[0] = MAGIC;
		RESETS[1] = 0;
	}
	if (RESETS[1]++ == 5)
		return;
	state = cmdline_number("seed", 1) * 1000 + RESETS[1];
	for (unsigned n = 0; n < 256; n++)
		handlers[n] = n == 13 || n == 14 || n == 6 ? own_fault : ignore;
	lapic_on();
	find_devices();
	put_bars();
	for (done = 0; done < ops; done++) {
		switch (below(8)) {
		case 0:
		case 1: one_port(); break;
		case 2:
		case 3: one_register(); break;
		default: one_virtio(); break;
		}
		if (below(64) == 0) {
			sti();
			cli();
		}
	}
}
