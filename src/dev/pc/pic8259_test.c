// SPDX-License-Identifier: Apache-2.0
/* pic8259_test.c - priorities, EOI forms, cascade, spurious interrupts */
#include "base/test.h"
#include "dev/all/fake.h"

static struct fake f;
static struct dev *d;
static struct bus *b;
static bool intr;
static struct err e;

static void set_intr(void *chip UNUSED, unsigned pin UNUSED, bool level)
{
	intr = level;
}

static void line(unsigned n, bool level)
{
	struct irq q = pic_line(d, n);

	irq_set(&q, level);
}

static void pulse(unsigned n)
{
	line(n, true);
	line(n, false);
}

static void init_chip(u64 port, u8 base, u8 icw3, u8 icw4)
{
	bus_write(b, port, 1, 0x11);
	bus_write(b, port + 1, 1, base);
	bus_write(b, port + 1, 1, icw3);
	bus_write(b, port + 1, 1, icw4);
}

static void setup(u8 icw4)
{
	fake_init(&f);
	f.env.irq[0] = (struct irq){ .set = set_intr };
	intr = true;
	d = dev_new(&pic8259_class, "pic", &f.env, NULL, &e);
	b = bus_new();
	(void)!bus_map(b, 0x20, d, 0, &e);
	(void)!bus_map(b, 0xa0, d, 1, &e);
	(void)!bus_map(b, 0x4d0, d, 2, &e);
	init_chip(0x20, 0x30, 4, icw4);
	init_chip(0xa0, 0x38, 2, icw4);
}

static void teardown(void)
{
	bus_free(b);
	dev_free(d);
}

TEST(pic_registers_read_back)
{
	setup(1);
	CHECK_EQ(intr, 0);
	CHECK_EQ(bus_read(b, 0x21, 1), 0); /* ICW1 clears the mask */
	bus_write(b, 0x21, 1, 0xa5);
	CHECK_EQ(bus_read(b, 0x21, 1), 0xa5);
	bus_write(b, 0x4d0, 2, 0xffff);
	CHECK_EQ(bus_read(b, 0x4d0, 2), 0xdef8);
	d->class->reset(d);
	CHECK_EQ(bus_read(b, 0x21, 1), 0xff);
	CHECK_EQ(bus_read(b, 0x4d0, 2), 0);
	teardown();
}

TEST(pic_serves_by_priority_and_nests)
{
	setup(1);
	pulse(5);
	pulse(3);
	CHECK_EQ(intr, 1);
	CHECK_EQ(pic_ack(d), 0x33);
	CHECK_EQ(intr, 0); /* 5 waits for 3's EOI */
	pulse(1);
	CHECK_EQ(pic_ack(d), 0x31); /* more urgent: nests */
	bus_write(b, 0x20, 1, 0x0b);
	CHECK_EQ(bus_read(b, 0x20, 1), 0x0a); /* ISR */
	bus_write(b, 0x20, 1, 0x20);
	CHECK_EQ(bus_read(b, 0x20, 1), 0x08);
	CHECK_EQ(intr, 0);
	bus_write(b, 0x20, 1, 0x63); /* specific EOI */
	CHECK_EQ(intr, 1);
	CHECK_EQ(pic_ack(d), 0x35);
	teardown();
}

TEST(pic_slave_goes_through_the_cascade)
{
	setup(1);
	pulse(12);
	pulse(3);
	CHECK_EQ(pic_ack(d), 0x3c); /* cascade is IR2: before 3 */
	CHECK_EQ(intr, 0);
	pulse(8); /* higher on the slave, but the master still serves IR2 */
	CHECK_EQ(intr, 0);
	bus_write(b, 0x20, 1, 0x62);
	CHECK_EQ(pic_ack(d), 0x38);
	bus_write(b, 0xa0, 1, 0x20);
	bus_write(b, 0x20, 1, 0x20);
	CHECK_EQ(pic_ack(d), 0x33);
	teardown();
}

TEST(pic_spurious_interrupts_are_7_and_15)
{
	setup(1);
	bus_write(b, 0x4d0, 2, 0x0420); /* 5 and 10 level */
	line(5, true);
	CHECK_EQ(intr, 1);
	line(5, false); /* gone before INTA */
	CHECK_EQ(pic_ack(d), 0x37);
	bus_write(b, 0x20, 1, 0x0b);
	CHECK_EQ(bus_read(b, 0x20, 1), 0); /* nothing in service */
	line(10, true);
	CHECK_EQ(intr, 1);
	bus_write(b, 0xa1, 1, 0xff);
	CHECK_EQ(intr, 0);
	CHECK_EQ(pic_ack(d), 0x37);
	teardown();
}

TEST(pic_level_lines_ask_again_until_released)
{
	setup(1);
	bus_write(b, 0x4d1, 1, 0x02); /* 9 level */
	line(9, true);
	CHECK_EQ(pic_ack(d), 0x39);
	CHECK_EQ(intr, 0);
	bus_write(b, 0xa0, 1, 0x20);
	bus_write(b, 0x20, 1, 0x20);
	CHECK_EQ(intr, 1);
	line(9, false);
	CHECK_EQ(intr, 0);
	teardown();
}

TEST(pic_masked_edge_is_remembered)
{
	setup(1);
	bus_write(b, 0x21, 1, 0x10);
	pulse(4);
	CHECK_EQ(intr, 0);
	bus_write(b, 0x21, 1, 0);
	CHECK_EQ(intr, 1);
	CHECK_EQ(pic_ack(d), 0x34);
	line(4, true); /* held: one edge, one interrupt */
	bus_write(b, 0x20, 1, 0x20);
	CHECK_EQ(pic_ack(d), 0x34);
	bus_write(b, 0x20, 1, 0x20);
	CHECK_EQ(intr, 0);
	teardown();
}

TEST(pic_automatic_eoi_and_rotation)
{
	setup(3); /* AEOI */
	pulse(1);
	pulse(6);
	CHECK_EQ(pic_ack(d), 0x31);
	CHECK_EQ(pic_ack(d), 0x36);
	CHECK_EQ(intr, 0);
	bus_write(b, 0x20, 1, 0xc3); /* 3 becomes the lowest: 4 is first */
	pulse(1);
	pulse(4);
	CHECK_EQ(pic_ack(d), 0x34);
	CHECK_EQ(pic_ack(d), 0x31);
	teardown();
}

TEST(pic_poll_acknowledges)
{
	setup(1);
	bus_write(b, 0x20, 1, 0x0c);
	CHECK_EQ(bus_read(b, 0x20, 1), 0);
	pulse(6);
	bus_write(b, 0x20, 1, 0x0c);
	CHECK_EQ(bus_read(b, 0x20, 1), 0x86);
	CHECK_EQ(intr, 0);
	teardown();
}

TEST(pic_special_mask_lets_lower_priorities_in)
{
	setup(1);
	pulse(2 + 1);
	CHECK_EQ(pic_ack(d), 0x33);
	pulse(7);
	CHECK_EQ(intr, 0);
	bus_write(b, 0x20, 1, 0x68); /* special mask mode on */
	bus_write(b, 0x21, 1, 0x08);
	CHECK_EQ(intr, 1);
	CHECK_EQ(pic_ack(d), 0x37);
	teardown();
}

TEST(pic_registers_go_out_and_come_back)
{
	struct pic_chip chip[2], again[2];

	setup(1);
	bus_write(b, 0x21, 1, 0x0f);
	bus_write(b, 0x4d1, 1, 0x02);
	line(12, true);
	pic_put(d, chip);
	CHECK_EQ(chip[0].imr, 0x0f);
	CHECK_EQ(chip[1].elcr, 0x02);
	CHECK_EQ(chip[1].line, 0x10);
	chip[0].imr = 0;
	chip[1].line = 0; /* not its to change */
	chip[1].elcr = 0xff;
	pic_take(d, chip);
	pic_put(d, again);
	CHECK_EQ(again[0].imr, 0);
	CHECK_EQ(again[1].line, 0x10);
	CHECK_EQ(again[1].elcr, 0xde);
	CHECK(pic_pending(d));
	teardown();
}

TEST(pic_gives_a_vector_it_took_back_again)
{
	u8 vec;

	setup(1);
	bus_write(b, 0x21, 1, 0);
	bus_write(b, 0xa1, 1, 0);
	for (unsigned n = 3; n < 16; n += 7) { /* master's and slave's */
		pulse(n);
		vec = pic_ack(d);
		CHECK(!pic_pending(d));
		pic_unack(d, vec);
		CHECK(intr && pic_pending(d));
		CHECK_EQ(pic_ack(d), vec);
		bus_write(b, n < 8 ? 0x20 : 0xa0, 1, 0x20);
		bus_write(b, 0x20, 1, 0x20);
		CHECK(!pic_pending(d));
	}
	pic_unack(d, 0x99); /* nobody's */
	CHECK(!pic_pending(d));
	teardown();
}
