// SPDX-License-Identifier: Apache-2.0
/* hpet_test.c - counter, comparators, routing */
#include "base/test.h"
#include "dev/all/fake.h"

static struct fake f;
static struct dev *d;
static struct bus *b;
static unsigned edges, level_pin;
static bool level;
static struct err e;

enum { T0 = 0x100, T1 = 0x120 };

static void gsi(void *chip UNUSED, unsigned pin, bool l)
{
	edges += l && !level;
	level = l;
	level_pin = pin;
}

static void setup(void)
{
	struct hpet_config c = { .gsi.set = gsi };

	fake_init(&f);
	level = false;
	d = dev_new(&hpet_class, "hpet", &f.env, &c, &e);
	b = bus_new();
	(void)!bus_map(b, HPET_BASE, d, 0, &e);
	edges = 0;
}

static void teardown(void)
{
	bus_free(b);
	dev_free(d);
}

static void put(unsigned reg, u64 val)
{
	bus_write(b, HPET_BASE + reg, 8, val);
}

static u64 get(unsigned reg)
{
	return bus_read(b, HPET_BASE + reg, 8);
}

TEST(hpet_registers_after_reset_and_write)
{
	setup();
	CHECK_EQ(get(0), 0x0098968080862201);
	CHECK_EQ(get(0x10), 0);
	CHECK_EQ(get(T0), 0x00f0000000000030);
	CHECK_EQ(get(T0 + 8), ~0ull);
	put(0x10, ~0ull);
	CHECK_EQ(get(0x10), 1); /* no legacy routing */
	put(T0, ~0ull);
	CHECK_EQ(get(T0), 0x00f0000000003f7e);
	put(0x10, 0);
	put(0xf0, 0x1122334455667788);
	CHECK_EQ(bus_read(b, HPET_BASE + 0xf0, 4), 0x55667788);
	CHECK_EQ(bus_read(b, HPET_BASE + 0xf4, 4), 0x11223344);
	bus_write(b, HPET_BASE + 0xf4, 4, 1);
	CHECK_EQ(get(0xf0), 0x155667788);
	teardown();
}

TEST(hpet_counter_runs_at_100_mhz_only_when_enabled)
{
	setup();
	clock_fake_advance(&f.clock, 1000);
	CHECK_EQ(get(0xf0), 0);
	put(0x10, 1);
	clock_fake_advance(&f.clock, 1000);
	CHECK_EQ(get(0xf0), 100);
	put(0x10, 0);
	clock_fake_advance(&f.clock, 1000);
	CHECK_EQ(get(0xf0), 100);
	teardown();
}

TEST(hpet_one_shot_edge)
{
	setup();
	put(0x10, 1);
	put(T0, 20 << 9 | 4);
	put(T0 + 8, 100000); /* 1 ms */
	clock_fake_advance(&f.clock, 999999);
	CHECK_EQ(edges, 0);
	clock_fake_advance(&f.clock, 1);
	CHECK_EQ(edges, 1);
	CHECK_EQ(level_pin, 20);
	clock_fake_advance(&f.clock, 1000000000000);
	CHECK_EQ(edges, 1);
	teardown();
}

TEST(hpet_32_bit_one_shot_wraps)
{
	setup();
	put(0x10, 1);
	put(T0, 21 << 9 | 0x104);
	clock_fake_advance(&f.clock, 5000);
	put(T0 + 8, 100); /* already passed: the next match is a turn away */
	clock_fake_advance(&f.clock, 1000000000);
	CHECK_EQ(edges, 0);
	clock_fake_advance(&f.clock, 42000000000ull);
	CHECK_EQ(edges, 1);
	teardown();
}

TEST(hpet_periodic_level_until_status_is_cleared)
{
	setup();
	put(0x10, 1);
	put(T1, 22 << 9 | 0x4e); /* level, enabled, periodic, value set */
	put(T1 + 8, 50000);	 /* first at 0.5 ms, */
	put(T1 + 8, 100000);	 /* then every 1 ms */
	clock_fake_advance(&f.clock, 500000);
	CHECK_EQ(level, 1);
	CHECK_EQ(get(0x20), 2);
	CHECK_EQ(get(T1 + 8), 150000);
	put(0x20, 1);
	CHECK_EQ(level, 1);
	put(0x20, 2);
	CHECK_EQ(level, 0);
	clock_fake_advance(&f.clock, 999999);
	CHECK_EQ(level, 0);
	clock_fake_advance(&f.clock, 1);
	CHECK_EQ(level, 1);
	put(T1, 22 << 9 | 0x8); /* to edge, disabled: the line drops */
	CHECK_EQ(level, 0);
	teardown();
}

TEST(hpet_late_host_gets_one_tick_not_a_storm)
{
	setup();
	put(0x10, 1);
	put(T0, 20 << 9 | 0x4c);
	put(T0 + 8, 1);
	put(T0 + 8, 1); /* every 10 ns */
	clock_fake_advance(&f.clock, 10000000);
	CHECK(edges >= 100 && edges <= 202);
	CHECK(!f.clock.runaway);
	teardown();
}
