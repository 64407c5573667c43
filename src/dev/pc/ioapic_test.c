// SPDX-License-Identifier: Apache-2.0
/* ioapic_test.c - redirection, remote IRR, masks */
#include "base/bits.h"
#include "base/test.h"
#include "dev/all/fake.h"

static struct fake f;
static struct dev *d;
static struct bus *b;
static unsigned sent;
static u64 last_addr;
static u32 last_data;
static struct err e;

static void record(void *ctx UNUSED, u64 addr, u32 data)
{
	sent++;
	last_addr = addr;
	last_data = data;
}

static void setup(void)
{
	fake_init(&f);
	f.env.msi.send = record;
	sent = 0;
	d = dev_new(&ioapic_class, "ioapic", &f.env, &(struct ioapic_config){ .id = 3 }, &e);
	b = bus_new();
	(void)!bus_map(b, IOAPIC_BASE, d, 0, &e);
}

static void teardown(void)
{
	bus_free(b);
	dev_free(d);
}

static void put(u8 reg, u32 val)
{
	bus_write(b, IOAPIC_BASE, 4, reg);
	bus_write(b, IOAPIC_BASE + 0x10, 4, val);
}

static u32 get(u8 reg)
{
	bus_write(b, IOAPIC_BASE, 4, reg);
	return (u32)bus_read(b, IOAPIC_BASE + 0x10, 4);
}

static void line(unsigned n, bool level)
{
	struct irq q = ioapic_line(d, n);

	irq_set(&q, level);
}

TEST(ioapic_registers_after_reset_and_write)
{
	setup();
	CHECK_EQ(get(0), 0x03000000);
	CHECK_EQ(get(1), 0x00170020);
	CHECK_EQ(get(0x10), 0x00010000);
	put(0, 0xffffffff);
	CHECK_EQ(get(0), 0x0f000000);
	put(1, 0);
	CHECK_EQ(get(1), 0x00170020);
	put(0x3e, 0xffffffff);
	put(0x3f, 0xffffffff);
	CHECK_EQ(get(0x3e), 0x0001afff); /* remote IRR and delivery status are read-only */
	CHECK_EQ(get(0x3f), 0xff000000);
	CHECK_EQ(get(0x40), 0);
	teardown();
}

TEST(ioapic_edge_sends_once_per_edge_and_loses_masked_ones)
{
	setup();
	put(0x10 + 2 * 5, 0x10041);
	line(5, true);
	CHECK_EQ(sent, 0);
	put(0x10 + 2 * 5, 0x00041);
	CHECK_EQ(sent, 0);
	line(5, true);
	CHECK_EQ(sent, 0); /* still the same edge */
	line(5, false);
	put(0x11 + 2 * 5, 0x02000000);
	line(5, true);
	CHECK_EQ(sent, 1);
	CHECK_EQ(last_addr, 0xfee02000);
	CHECK_EQ(last_data, 0x41);
	teardown();
}

TEST(ioapic_level_waits_for_eoi_with_remote_irr)
{
	setup();
	put(0x10 + 2 * 9, 0x8051);
	line(9, true);
	CHECK_EQ(sent, 1);
	CHECK_EQ(last_data, 0xc051);
	CHECK_EQ(get(0x10 + 2 * 9), 0xc051);
	line(9, false);
	line(9, true);
	CHECK_EQ(sent, 1); /* remote IRR holds it back */
	ioapic_eoi(d, 0x50);
	CHECK_EQ(sent, 1);
	ioapic_eoi(d, 0x51);
	CHECK_EQ(sent, 2); /* still asserted */
	line(9, false);
	bus_write(b, IOAPIC_BASE + 0x40, 4, 0x51); /* EOI register */
	CHECK_EQ(sent, 2);
	CHECK_EQ(get(0x10 + 2 * 9), 0x8051);
	teardown();
}

TEST(ioapic_level_is_sent_when_unmasked)
{
	setup();
	put(0x10, 0x18060);
	line(0, true);
	CHECK_EQ(sent, 0);
	put(0x10, 0x08060);
	CHECK_EQ(sent, 1);
	put(0x10, 0x10060); /* to edge: remote IRR goes */
	put(0x10, 0x08060);
	CHECK_EQ(sent, 2);
	teardown();
}

TEST(ioapic_message_carries_mode_and_destination)
{
	setup();
	put(0x11, 0xf0000000);
	put(0x10, 0x0960); /* lowest priority, logical */
	line(0, true);
	CHECK_EQ(last_addr, 0xfeef000c);
	CHECK_EQ(last_data, 0x160);
	teardown();
}

TEST(isa_irq_0_arrives_at_ioapic_pin_2)
{
	struct pc_irqs r = { 0 };
	struct irq q;

	setup();
	r.ioapic = d;
	put(0x14, 0x42);
	q = pc_irq(&r, 0);
	irq_pulse(&q);
	CHECK_EQ(sent, 1);
	CHECK_EQ(last_data, 0x42);
	teardown();
}

static u64 route_addr;
static u32 route_data;
static bool route_level;
static unsigned routes;

static void on_route(void *ctx UNUSED, unsigned pin, u64 addr, u32 data, bool level)
{
	if (pin != 5)
		return;
	routes++;
	route_addr = addr;
	route_data = data;
	route_level = level;
}

TEST(ioapic_tells_what_a_pin_would_send)
{
	const struct ioapic_config c = { .route = on_route };
	struct dev *old;

	setup();
	old = d;
	bus_unmap(b, old, 0);
	d = dev_new(&ioapic_class, "ioapic", &f.env, &c, &e);
	(void)!bus_map(b, IOAPIC_BASE, d, 0, &e);
	d->class->reset(d);
	CHECK(!route_level);
	put(0x10 + 2 * 5 + 1, 7u << 24);
	put(0x10 + 2 * 5, 0x41 | 1u << 15);
	CHECK(route_level);
	CHECK_EQ(route_data & 0xff, 0x41);
	line(5, true);
	CHECK_EQ(last_addr, route_addr);
	CHECK_EQ(last_data, route_data);
	put(0x10 + 2 * 5, 0x41);
	CHECK(!route_level);
	dev_free(old);
	teardown();
}

TEST(ioapic_registers_go_out_and_come_back)
{
	struct ioapic_regs r, again;

	setup();
	put(0x10 + 2 * 16, 0x8041);
	line(16, true); /* level: sent, waits for its EOI */
	ioapic_put(d, &r);
	CHECK_EQ(r.redir[16], 0xc041);
	CHECK_EQ(r.line, BIT(16));
	CHECK(ioapic_input(d, 16) && !ioapic_input(d, 17));
	r.redir[16] = 0xffffull << 17 | 0x8042;
	r.line = 0; /* the devices' */
	r.id = 0x1f;
	ioapic_take(d, &r);
	ioapic_put(d, &again);
	CHECK_EQ(again.redir[16], 0x8042);
	CHECK_EQ(again.line, BIT(16));
	CHECK_EQ(again.id, 15);
	CHECK_EQ(sent, 1);
	teardown();
}
