// SPDX-License-Identifier: Apache-2.0
/* uart16550_test.c - the model against its datasheet, through the bus and the byte stream */
#include "base/test.h"
#include "dev/all/fake.h"

enum { BASE = 0x3f8 };

static struct fake f;
static struct dev *d;
static struct bus *b;
static bool level;
static unsigned asked;
static struct err e;

static void set_irq(void *chip UNUSED, unsigned pin UNUSED, bool l)
{
	level = l;
}

static void ask(struct chr *c UNUSED)
{
	asked++;
}

static void setup(void)
{
	struct uart_config c = { .chr = &f.chr };

	fake_init(&f);
	f.chr.can_receive = ask;
	f.env.irq[0] = (struct irq){ .set = set_irq };
	asked = 0;
	level = true;
	d = dev_new(&uart16550_class, "com1", &f.env, &c, &e);
	b = bus_new();
	(void)!bus_map(b, BASE, d, 0, &e);
}

static void teardown(void)
{
	bus_free(b);
	dev_free(d);
}

static void put(unsigned reg, u8 val)
{
	bus_write(b, BASE + reg, 1, val);
}

static u8 get(unsigned reg)
{
	return (u8)bus_read(b, BASE + reg, 1);
}

TEST(uart_registers_after_reset_and_write)
{
	/* off, value after reset, write, value read back */
	static const struct {
		u8 off, reset, wr, rd;
	} t[] = {
		{ 1, 0x00, 0xff, 0x0f }, { 2, 0x01, 0xc1, 0xc1 }, { 3, 0x00, 0x03, 0x03 },
		{ 4, 0x00, 0x0f, 0x0f }, { 5, 0x60, 0xff, 0x60 }, { 6, 0xb0, 0x00, 0xb0 },
		{ 7, 0x00, 0xa5, 0xa5 },
	};

	for (size_t i = 0; i < array_len(t); i++) {
		setup();
		CHECK_EQ(level, 0);
		CHECK_EQ(get(t[i].off), t[i].reset);
		put(t[i].off, t[i].wr);
		CHECK_EQ(get(t[i].off), t[i].rd);
		teardown();
	}
}

TEST(uart_divisor_latch_is_16_bits)
{
	setup();
	put(3, 0x83);
	CHECK_EQ(bus_read(b, BASE, 2), 12);
	bus_write(b, BASE, 2, 0x1234); /* a 16-bit OUT is split by the bus */
	CHECK_EQ(bus_read(b, BASE, 2), 0x1234);
	put(3, 0x03);
	CHECK_EQ(get(3), 0x03);
	teardown();
}

TEST(uart_receives_one_byte_without_fifo_and_asks_for_more)
{
	setup();
	put(1, 0x01);
	CHECK_EQ(f.chr.receive(f.chr.dev, "xy", 2), 1);
	CHECK_EQ(level, 1);
	CHECK_EQ(get(2), 0x04);
	CHECK_EQ(get(5), 0x61);
	CHECK_EQ(asked, 0);
	CHECK_EQ(get(0), 'x');
	CHECK_EQ(asked, 1);
	CHECK_EQ(level, 0);
	CHECK_EQ(f.chr.receive(f.chr.dev, "y", 1), 1);
	CHECK_EQ(get(0), 'y');
	CHECK_EQ(asked, 1);
	teardown();
}

TEST(uart_fifo_holds_16_and_tells_trigger_from_timeout)
{
	setup();
	put(2, 0x81); /* trigger at 8 */
	put(1, 0x01);
	CHECK_EQ(f.chr.receive(f.chr.dev, "abcdefg", 7), 7);
	CHECK_EQ(get(2), 0xcc);
	CHECK_EQ(f.chr.receive(f.chr.dev, "hijklmnopqrst", 13), 9);
	CHECK_EQ(get(2), 0xc4);
	for (unsigned i = 0; i < 16; i++)
		CHECK_EQ(get(0), 'a' + i);
	CHECK_EQ(asked, 1);
	CHECK_EQ(get(5), 0x60);
	CHECK_EQ(get(2), 0xc1);
	teardown();
}

TEST(uart_transmit_interrupt_is_acknowledged_by_iir)
{
	setup();
	put(1, 0x02);
	CHECK_EQ(level, 1);
	CHECK_EQ(get(2), 0x02);
	CHECK_EQ(level, 0);
	put(0, 'A');
	CHECK_EQ(f.chr_bytes, 1);
	CHECK_EQ(level, 1);
	put(1, 0);
	put(1, 2); /* enabling again raises it again */
	CHECK_EQ(get(2), 0x02);
	teardown();
}

TEST(uart_full_output_clears_thre_until_writable)
{
	setup();
	put(2, 0x01);
	put(1, 0x02);
	get(2);
	f.chr_room = 0;
	put(0, 'a');
	CHECK_EQ(get(5), 0x00);
	CHECK_EQ(level, 0);
	for (unsigned i = 0; i < 15; i++)
		put(0, 'b');
	CHECK_EQ(d->guest_errors, 0);
	put(0, 'c'); /* ignores THRE: lost, as on the chip */
	CHECK_EQ(d->guest_errors, 1);
	f.chr_room = 10;
	f.chr.writable(f.chr.dev);
	CHECK_EQ(get(5), 0x00);
	f.chr_room = 10;
	f.chr.writable(f.chr.dev);
	CHECK_EQ(get(5), 0x60);
	CHECK_EQ(level, 1);
	CHECK_EQ(f.chr_bytes, 16);
	teardown();
}

TEST(uart_loopback_turns_lines_and_bytes_around)
{
	setup();
	put(4, 0x1a);
	CHECK_EQ(get(6) & 0xf0, 0x90); /* as Linux probes */
	CHECK_EQ(get(6) & 0x0f, 0);    /* deltas are read once */
	put(0, 0x5a);
	CHECK_EQ(f.chr_bytes, 0);
	CHECK_EQ(get(0), 0x5a);
	CHECK_EQ(f.chr.receive(f.chr.dev, "x", 1), 0);
	put(0, 1);
	put(0, 2);
	CHECK_EQ(get(5), 0x63); /* overrun, once */
	CHECK_EQ(get(5), 0x61);
	CHECK_EQ(get(0), 1);
	put(4, 0x00);
	CHECK_EQ(asked, 1);
	teardown();
}

TEST(uart_drops_output_beyond_its_limit)
{
	struct uart_config c = { .chr = &f.chr, .limit = { .size = 10, .refill_ms = 1000 } };

	setup();
	teardown();
	d = dev_new(&uart16550_class, "com1", &f.env, &c, &e);
	b = bus_new();
	CHECK_EQ(bus_map(b, BASE, d, 0, &e), 0);
	for (unsigned i = 0; i < 50; i++) {
		CHECK(get(5) & 0x20); /* always ready: the guest does not wait */
		put(0, 'x');
	}
	CHECK_EQ(f.chr_bytes, 10);
	clock_fake_advance(&f.clock, 500000000);
	for (unsigned i = 0; i < 50; i++)
		put(0, 'x');
	CHECK_EQ(f.chr_bytes, 15);
	teardown();
	CHECK_EQ(f.clock.nr, 0);
}
