// SPDX-License-Identifier: Apache-2.0
/* pci_test.c - configuration access, BAR sizing and moves, INTx sharing, MSI-X */
#include "dev/pci/pci.h"

#include "base/test.h"

#include <string.h>

struct toy {
	struct pci_dev pci;
	u32 reg;
};

enum { CAP_TOY = 0x40 };

static int toy_init(struct dev *d, const void *cfg, struct err *e)
{
	static const struct pci_ident id = { .vendor = 0x1234, .device = 0x5678,
					     .class_code = 0xff0000, .pin = 1 };
	struct toy *t = container_of(d, struct toy, pci.dev);
	static unsigned slot;

	slot = slot == 5 ? 1 : 5; /* two devices on the same wire */
	TRY(pci_init(&t->pci, &id, (struct pci_host *)cfg, slot, e));
	return msix_init(&t->pci, 3, 2, e);
}

static void toy_fini(struct dev *d)
{
	pci_fini(container_of(d, struct pci_dev, dev));
}

static void toy_reset(struct dev *d)
{
	pci_reset(container_of(d, struct pci_dev, dev));
}

static u64 toy_read(struct dev *d, unsigned region, u64 off, unsigned size)
{
	struct toy *t = container_of(d, struct toy, pci.dev);

	return region ? msix_read(&t->pci, off, size) : t->reg + off;
}

static void toy_write(struct dev *d, unsigned region, u64 off, unsigned size, u64 val)
{
	struct toy *t = container_of(d, struct toy, pci.dev);

	if (region)
		msix_write(&t->pci, off, size, (u32)val);
	else
		t->reg = (u32)val;
}

static const struct dev_region toy_regions[] = {
	{ .name = "regs", .space = SPACE_BAR, .size = 0x4000, .acc_min = 1, .acc_max = 4 },
	{ .name = "msix", .space = SPACE_BAR, .size = MSIX_BAR_SIZE, .acc_min = 1, .acc_max = 4 },
};

static const struct field toy_state[] = { PCI_DEV_FIELDS(struct toy, pci), FIELD(struct toy, reg),
					  FIELD_END };

static const struct pci_class toy_class = {
	.dev = { .name = "toy", .size = sizeof(struct toy), .region = toy_regions,
		 .nr_regions = 2, .state = toy_state, .init = toy_init, .fini = toy_fini,
		 .reset = toy_reset, .read = toy_read, .write = toy_write },
	.bar = { [0] = { PCI_BAR_USED | PCI_BAR_64, 0 }, [2] = { PCI_BAR_USED, 1 } },
};

struct machine {
	struct bus *pio, *mmio;
	struct pci_host *host;
	struct dev *a, *b; /* slots 5 and 1 */
	unsigned level[PCI_NR_PINS], changes;
	u64 msi_addr[8];
	u32 msi_data[8];
	unsigned nr_msi;
};

static void on_wire(void *chip, unsigned pin, bool level)
{
	struct machine *m = chip;

	m->level[pin] = level;
	m->changes++;
}

static void on_msi(void *ctx, u64 addr, u32 data)
{
	struct machine *m = ctx;

	m->msi_addr[m->nr_msi % 8] = addr;
	m->msi_data[m->nr_msi++ % 8] = data;
}

#define ECAM 0xb0000000ull

static bool open_machine(struct machine *m)
{
	struct dev_env env = { .msi = { on_msi, m } };
	struct pci_host_cfg c = { .ecam_base = ECAM, .intx_line = { 16, 17, 18, 19 } };
	struct err e = { 0 };

	memset(m, 0, sizeof *m);
	m->pio = c.pio = bus_new();
	m->mmio = c.mmio = bus_new();
	for (unsigned i = 0; i < PCI_NR_PINS; i++)
		c.intx[i] = (struct irq){ on_wire, m, i };
	m->host = pci_host_new(&c, "pci", &env, &e);
	if (!m->host)
		return false;
	m->a = dev_new(&toy_class.dev, "a", &env, m->host, &e);
	m->b = dev_new(&toy_class.dev, "b", &env, m->host, &e);
	return m->a && m->b;
}

static void close_machine(struct machine *m)
{
	dev_free(m->a);
	dev_free(m->b);
	pci_host_free(m->host);
	bus_free(m->pio);
	bus_free(m->mmio);
}

static struct pci_dev *fn(struct dev *d)
{
	return container_of(d, struct pci_dev, dev);
}

static void out(struct machine *m, unsigned slot, unsigned off, unsigned size, u32 val)
{
	bus_write(m->pio, 0xcf8, 4, 0x80000000u | slot << 11 | (off & 0xfc));
	bus_write(m->pio, 0xcfc + (off & 3), size, val);
}

static u32 in(struct machine *m, unsigned slot, unsigned off, unsigned size)
{
	bus_write(m->pio, 0xcf8, 4, 0x80000000u | slot << 11 | (off & 0xfc));
	return (u32)bus_read(m->pio, 0xcfc + (off & 3), size);
}

TEST(configuration_is_read_by_ports_and_ecam_alike)
{
	struct machine m;

	CHECK(open_machine(&m));
	CHECK_EQ(in(&m, 0, 8, 4) >> 8, 0x060000); /* the host bridge */
	for (unsigned off = 0; off < 256; off += 4)
		CHECK_EQ(in(&m, 5, off, 4), bus_read(m.mmio, ECAM + (5 << 15) + off, 4));
	CHECK_EQ(in(&m, 5, 0, 4), 0x56781234);
	CHECK_EQ(in(&m, 5, 2, 2), 0x5678);
	CHECK_EQ(in(&m, 5, 0x3c, 1), 17); /* slot 5, pin A: wire 1 */
	CHECK_EQ(in(&m, 9, 0, 4), 0xffffffff);
	CHECK_EQ(bus_read(m.mmio, ECAM + (5 << 15) + 0x1000, 4), 0xffffffff); /* function 1 */
	CHECK_EQ(bus_read(m.mmio, ECAM + (5 << 15) + 0x100, 4), 0xffffffff);
	bus_write(m.pio, 0xcf8, 4, 0x80010000); /* bus 1 */
	CHECK_EQ(bus_read(m.pio, 0xcfc, 4), 0xffffffff);
	bus_write(m.pio, 0xcf8, 4, 0x00002800); /* not enabled */
	CHECK_EQ(bus_read(m.pio, 0xcfc, 4), 0xffffffff);
	bus_write(m.pio, 0xcf8, 4, 0x80000000);
	bus_write(m.pio, 0xcfb, 1, 1); /* bytes do not reach CONFIG_ADDRESS */
	CHECK_EQ(bus_read(m.pio, 0xcf8, 4), 0x80000000);
	close_machine(&m);
}

TEST(read_only_configuration_stays)
{
	struct machine m;

	CHECK(open_machine(&m));
	for (unsigned off = 0; off < 256; off++) {
		u32 was = in(&m, 5, off, 1), now;

		out(&m, 5, off, 1, ~was & 0xff);
		now = in(&m, 5, off, 1);
		if (off < 4 || (off >= 6 && off < 12) || (off >= 0x28 && off < 0x3c))
			CHECK_EQ(now, was);
	}
	close_machine(&m);
}

TEST(bars_size_and_move)
{
	struct machine m;

	CHECK(open_machine(&m));
	out(&m, 5, 0x10, 4, ~0u);
	out(&m, 5, 0x14, 4, ~0u);
	CHECK_EQ(in(&m, 5, 0x10, 4), 0xffffc004);
	CHECK_EQ(in(&m, 5, 0x14, 4), 0xffffffff);
	out(&m, 5, 0x18, 4, ~0u);
	CHECK_EQ(in(&m, 5, 0x18, 4), 0xfffff000);
	CHECK_EQ(in(&m, 5, 0x1c, 4), 0);
	out(&m, 5, 0x10, 4, 0xe0000000);
	out(&m, 5, 0x14, 4, 0x1);
	CHECK_EQ(bus_read(m.mmio, 0x1e0000004, 4), 0xffffffff); /* decoding is off */
	out(&m, 5, 4, 2, 2);
	bus_write(m.mmio, 0x1e0000000, 4, 0x100);
	CHECK_EQ(bus_read(m.mmio, 0x1e0000004, 4), 0x104);
	out(&m, 5, 0x14, 4, 0);
	CHECK_EQ(bus_read(m.mmio, 0x1e0000004, 4), 0xffffffff);
	CHECK_EQ(bus_read(m.mmio, 0xe0000004, 4), 0x104);
	bus_write(m.mmio, ECAM + (5 << 15) + 0x10, 8, 0x2f0000000); /* both halves at once */
	CHECK_EQ(bus_read(m.mmio, 0x2f0000004, 4), 0x104);
	out(&m, 5, 4, 2, 0);
	CHECK_EQ(bus_read(m.mmio, 0x2f0000004, 4), 0xffffffff);
	close_machine(&m);
}

TEST(a_bar_over_another_decodes_when_that_one_moves)
{
	struct machine m;

	CHECK(open_machine(&m));
	((struct toy *)m.a)->reg = 0xa00;
	((struct toy *)m.b)->reg = 0xb00;
	out(&m, 5, 4, 2, 2);
	out(&m, 1, 4, 2, 2);
	out(&m, 5, 0x10, 4, 0xe0000000);
	out(&m, 1, 0x10, 4, 0xe0000000);
	CHECK_EQ(bus_read(m.mmio, 0xe0000000, 4), 0xa00);
	out(&m, 5, 0x10, 4, 0xe0010000);
	CHECK_EQ(bus_read(m.mmio, 0xe0000000, 4), 0xb00);
	CHECK_EQ(bus_read(m.mmio, 0xe0010000, 4), 0xa00);
	close_machine(&m);
}

TEST(assign_places_every_bar_aligned_and_apart)
{
	struct machine m;
	struct err e = { 0 };

	CHECK(open_machine(&m));
	CHECK_EQ(pci_host_assign(m.host, 0xe0000000, 0x10000, &e), 0);
	((struct toy *)m.a)->reg = 0xa00;
	CHECK_EQ(in(&m, 1, 0x10, 4), 0xe0000004);
	CHECK_EQ(in(&m, 1, 0x18, 4), 0xe0004000);
	CHECK_EQ(in(&m, 5, 0x10, 4), 0xe0008004);
	CHECK_EQ(bus_read(m.mmio, 0xe0008000, 4), 0xa00);
	CHECK(pci_host_assign(m.host, 0xe0000000, 0x8000, &e) < 0);
	close_machine(&m);
}

TEST(intx_wire_is_shared_and_maskable)
{
	struct machine m;

	CHECK(open_machine(&m));
	pci_set_intx(fn(m.a), true);
	pci_set_intx(fn(m.b), true);
	CHECK_EQ(m.level[1], 1);
	CHECK_EQ(m.changes, 1);
	CHECK_EQ(in(&m, 5, 6, 2) & 8, 8);
	pci_set_intx(fn(m.a), false);
	CHECK_EQ(m.level[1], 1);
	out(&m, 1, 4, 2, 0x400); /* Interrupt Disable */
	CHECK_EQ(m.level[1], 0);
	CHECK_EQ(in(&m, 1, 6, 2) & 8, 8); /* Interrupt Status ignores it */
	out(&m, 1, 4, 2, 0);
	CHECK_EQ(m.level[1], 1);
	m.b->class->reset(m.b);
	CHECK_EQ(m.level[1], 0);
	close_machine(&m);
}

#define MSIX_BAR 0xe000c000ull
#define ENTRY(n) (MSIX_BAR + 16 * (n))

static bool open_msix(struct machine *m)
{
	struct err e = { 0 };

	if (!open_machine(m) || pci_host_assign(m->host, 0xe0000000, 0x10000, &e) < 0)
		return false;
	for (unsigned v = 0; v < 3; v++) {
		bus_write(m->mmio, ENTRY(v), 8, 0x1fee00000ull);
		bus_write(m->mmio, ENTRY(v) + 8, 4, 0x40 + v);
	}
	return true;
}

TEST(msix_masks_hold_messages_pending)
{
	struct machine m;

	CHECK(open_msix(&m));
	CHECK_EQ(in(&m, 5, 0x40, 1), 0x11);
	CHECK_EQ(in(&m, 5, 0x42, 2), 2); /* table size - 1 */
	CHECK_EQ(bus_read(m.mmio, ENTRY(1) + 12, 4), 1); /* masked after reset */
	msix_send(fn(m.a), 1);
	CHECK_EQ(bus_read(m.mmio, MSIX_BAR + MSIX_PBA_OFF, 8), 0); /* not enabled: nothing */
	out(&m, 5, 0x42, 2, 0x8000);
	msix_send(fn(m.a), 1);
	msix_send(fn(m.a), 1);
	CHECK_EQ(bus_read(m.mmio, MSIX_BAR + MSIX_PBA_OFF, 8), 2);
	CHECK_EQ(m.nr_msi, 0);
	bus_write(m.mmio, ENTRY(1) + 12, 4, 0xfffffffe); /* unmask; reserved bits are dropped */
	CHECK_EQ(m.nr_msi, 1);
	CHECK_EQ(m.msi_addr[0], 0x1fee00000ull);
	CHECK_EQ(m.msi_data[0], 0x41);
	CHECK_EQ(bus_read(m.mmio, ENTRY(1) + 12, 4), 0);
	CHECK_EQ(bus_read(m.mmio, MSIX_BAR + MSIX_PBA_OFF, 4), 0);
	msix_send(fn(m.a), 1);
	CHECK_EQ(m.nr_msi, 2);
	close_machine(&m);
}

TEST(msix_function_mask_holds_all_vectors)
{
	struct machine m;

	CHECK(open_msix(&m));
	for (unsigned v = 0; v < 3; v++)
		bus_write(m.mmio, ENTRY(v) + 12, 4, 0);
	out(&m, 5, 0x42, 2, 0xc000);
	for (unsigned v = 0; v < 4; v++) /* 3 is out of range */
		msix_send(fn(m.a), v);
	CHECK_EQ(m.nr_msi, 0);
	CHECK_EQ(bus_read(m.mmio, MSIX_BAR + MSIX_PBA_OFF, 4), 7);
	bus_write(m.mmio, MSIX_BAR + MSIX_PBA_OFF, 4, 0); /* the PBA is read-only */
	out(&m, 5, 0x42, 2, 0x8000);
	CHECK_EQ(m.nr_msi, 3);
	CHECK_EQ(m.msi_data[2], 0x42);
	close_machine(&m);
}

TEST(every_width_of_the_msix_bar_answers)
{
	struct machine m;

	CHECK(open_msix(&m));
	for (unsigned off = 0; off < MSIX_BAR_SIZE; off++)
		for (unsigned size = 1; size <= 8; size *= 2) {
			bus_write(m.mmio, MSIX_BAR + off, size, ~0ull);
			(void)bus_read(m.mmio, MSIX_BAR + off, size);
		}
	CHECK_EQ(m.nr_msi, 0);
	close_machine(&m);
}

TEST(pci_device_state_covers_every_member)
{
	CHECK_EQ(field_first_gap(toy_state, sizeof(struct toy)), sizeof(struct toy));
}
