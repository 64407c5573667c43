// SPDX-License-Identifier: Apache-2.0
/* pit8254_test.c - modes, latches and port 0x61, in exact fake time */
#include "base/test.h"
#include "dev/all/fake.h"

static struct fake f;
static struct dev *d;
static struct bus *b;
static unsigned edges;
static bool level;
static struct err e;

static void set_irq0(void *chip UNUSED, unsigned pin UNUSED, bool l)
{
	edges += l && !level;
	level = l;
}

static void setup(void)
{
	fake_init(&f);
	f.env.irq[0] = (struct irq){ .set = set_irq0 };
	edges = 0;
	level = false;
	d = dev_new(&pit8254_class, "pit", &f.env, NULL, &e);
	b = bus_new();
	(void)!bus_map(b, 0x40, d, 0, &e);
	(void)!bus_map(b, 0x61, d, 1, &e);
}

static void teardown(void)
{
	bus_free(b);
	dev_free(d);
}

static void program(unsigned ch, u8 mode_bits, u16 count)
{
	bus_write(b, 0x43, 1, ch << 6 | 0x30 | mode_bits);
	bus_write(b, 0x40 + ch, 1, count & 0xff);
	bus_write(b, 0x40 + ch, 1, count >> 8);
}

static u16 read_count(unsigned ch)
{
	u16 v = (u16)bus_read(b, 0x40 + ch, 1);

	return (u16)(v | bus_read(b, 0x40 + ch, 1) << 8);
}

TEST(pit_mode_2_is_periodic)
{
	setup();
	program(0, 2 << 1, 11932); /* 100.0 Hz */
	clock_fake_advance(&f.clock, 1000000000);
	CHECK(edges == 99 || edges == 100);
	program(0, 3 << 1, 1193); /* square wave, 1 kHz */
	edges = 0;
	clock_fake_advance(&f.clock, 100500000);
	CHECK_EQ(edges, 100);
	teardown();
}

TEST(pit_count_zero_is_65536)
{
	setup();
	program(0, 2 << 1, 0); /* 18.2 Hz */
	clock_fake_advance(&f.clock, 10000000000ull);
	CHECK_EQ(edges, 182);
	teardown();
}

TEST(pit_mode_0_fires_once_and_rearms_on_write)
{
	setup();
	program(0, 0, 1193); /* 1 ms */
	clock_fake_advance(&f.clock, 999000);
	CHECK_EQ(edges, 0);
	clock_fake_advance(&f.clock, 2000);
	CHECK_EQ(edges, 1);
	CHECK_EQ(level, 1);
	clock_fake_advance(&f.clock, 1000000000);
	CHECK_EQ(edges, 1);
	bus_write(b, 0x40, 1, 0xff);
	bus_write(b, 0x40, 1, 0x00);
	CHECK_EQ(level, 0);
	clock_fake_advance(&f.clock, 1000000);
	CHECK_EQ(edges, 2);
	program(0, 4 << 1, 1193); /* software strobe */
	clock_fake_advance(&f.clock, 1000000000);
	CHECK_EQ(edges, 3);
	teardown();
}

TEST(pit_late_host_gets_one_tick_not_a_storm)
{
	setup();
	program(0, 2 << 1, 2); /* 1.7 us: far above what a host should serve */
	clock_fake_advance(&f.clock, 10000000);
	CHECK(edges <= 101);
	program(0, 2 << 1, 11932);
	edges = 0;
	f.clock.now_ns += 5000000000ull; /* the host slept */
	clock_fake_advance(&f.clock, 1);
	CHECK_EQ(edges, 1);
	clock_fake_advance(&f.clock, 20000100);
	CHECK_EQ(edges, 3); /* back in step */
	teardown();
}

TEST(pit_counter_latch_holds_until_read)
{
	u16 v;

	setup();
	program(0, 2 << 1, 10000);
	clock_fake_advance(&f.clock, 1000000); /* 1193 clocks */
	bus_write(b, 0x43, 1, 0x00); /* latch channel 0 */
	clock_fake_advance(&f.clock, 1000000);
	v = read_count(0);
	CHECK_EQ(v, 10000 - 1193);
	v = read_count(0);
	CHECK_EQ(v, 10000 - 2386);
	teardown();
}

TEST(pit_read_back_latches_status_then_count)
{
	setup();
	program(1, 2 << 1, 0x1234);
	bus_write(b, 0x43, 1, 0xc0 | 1 << 2); /* count and status of channel 1 */
	CHECK_EQ(bus_read(b, 0x41, 1), 0xb4); /* OUT high, RW both, mode 2 */
	CHECK_EQ(read_count(1), 0x1234);
	bus_write(b, 0x43, 1, 0x70); /* mode 0: OUT low, null count */
	bus_write(b, 0x43, 1, 0xe0 | 1 << 2);
	CHECK_EQ(bus_read(b, 0x41, 1), 0x70);
	teardown();
}

TEST(pit_bcd_counts_in_decimal)
{
	setup();
	program(1, 2 << 1 | 1, 0x1000);
	clock_fake_advance(&f.clock, 1000000 * 838 / 1000); /* 999 clocks */
	CHECK_EQ(read_count(1), 0x0001);
	teardown();
}

TEST(pit_byte_access_modes)
{
	setup();
	bus_write(b, 0x43, 1, 0x40 | 0x10 | 2 << 1); /* LSB only */
	bus_write(b, 0x41, 1, 0x80);
	CHECK_EQ(bus_read(b, 0x41, 1), 0x80);
	CHECK_EQ(bus_read(b, 0x41, 1), 0x80);
	bus_write(b, 0x43, 1, 0x40 | 0x20 | 2 << 1); /* MSB only */
	bus_write(b, 0x41, 1, 0x12);
	CHECK_EQ(bus_read(b, 0x41, 1), 0x12);
	CHECK_EQ(bus_read(b, 0x43, 1), 0xff);
	teardown();
}

TEST(pit_channel_2_gate_and_output_at_port_61)
{
	setup();
	CHECK_EQ(bus_read(b, 0x61, 1) & 0xef, 0);
	bus_write(b, 0x61, 1, 0xfd);
	CHECK_EQ(bus_read(b, 0x61, 1) & 0x0f, 0x0d);
	program(2, 0, 1193); /* as kernels calibrate: mode 0, poll OUT2 */
	CHECK_EQ(bus_read(b, 0x61, 1) & 0x20, 0);
	clock_fake_advance(&f.clock, 500000);
	bus_write(b, 0x61, 1, 0); /* gate low: counting stops */
	clock_fake_advance(&f.clock, 10000000);
	CHECK_EQ(bus_read(b, 0x61, 1) & 0x20, 0);
	bus_write(b, 0x61, 1, 1);
	clock_fake_advance(&f.clock, 490000);
	CHECK_EQ(bus_read(b, 0x61, 1) & 0x20, 0);
	clock_fake_advance(&f.clock, 20000);
	CHECK_EQ(bus_read(b, 0x61, 1) & 0x20, 0x20);
	CHECK_EQ(edges, 0);
	teardown();
}

TEST(pit_mode_1_waits_for_the_gate)
{
	setup();
	bus_write(b, 0x61, 1, 0);
	program(2, 1 << 1, 1193);
	CHECK_EQ(bus_read(b, 0x61, 1) & 0x20, 0x20);
	bus_write(b, 0x61, 1, 1); /* trigger */
	CHECK_EQ(bus_read(b, 0x61, 1) & 0x20, 0);
	clock_fake_advance(&f.clock, 1010000);
	CHECK_EQ(bus_read(b, 0x61, 1) & 0x20, 0x20);
	teardown();
}
