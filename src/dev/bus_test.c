// SPDX-License-Identifier: Apache-2.0
/* bus_test.c - address decoding, width rules, overlays */
#include "base/clock_fake.h"
#include "base/test.h"
#include "dev/dev.h"

struct echo {
	struct dev dev;
	u8 reg[16];
	unsigned widest;
};

static u64 echo_read(struct dev *d, unsigned region, u64 off, unsigned size)
{
	struct echo *x = (struct echo *)d;
	u64 v = 0;

	memcpy(&v, x->reg + off, size);
	return v | (u64)region << 56;
}

static void echo_write(struct dev *d, unsigned region UNUSED, u64 off, unsigned size, u64 val)
{
	struct echo *x = (struct echo *)d;

	x->widest = size > x->widest ? size : x->widest;
	memcpy(x->reg + off, &val, size);
}

static const struct dev_region echo_region[] = {
	{ .name = "wide", .size = 16, .acc_min = 1, .acc_max = 8 },
	{ .name = "narrow", .size = 16, .acc_min = 2, .acc_max = 2 },
	{ .name = "over", .size = 1, .acc_min = 1, .acc_max = 1, .overlay = true },
	{ .name = "dword", .size = 8, .acc_min = 4, .acc_max = 4 },
};

static const struct dev_class echo_class = {
	.name = "echo",
	.size = sizeof(struct echo),
	.region = echo_region,
	.nr_regions = array_len(echo_region),
	.read = echo_read,
	.write = echo_write,
};

static struct bus *b;
static struct dev *d;
static struct err e;

static void setup(void)
{
	b = bus_new();
	d = dev_new(&echo_class, "echo", &(struct dev_env){ 0 }, NULL, &e);
}

static void teardown(void)
{
	bus_free(b);
	dev_free(d);
}

TEST(bus_splits_wide_accesses_and_refuses_narrow_ones)
{
	setup();
	CHECK_EQ(bus_map(b, 0x100, d, 0, &e), 0);
	CHECK_EQ(bus_map(b, 0x200, d, 1, &e), 0);
	bus_write(b, 0x100, 8, 0x1122334455667788);
	CHECK_EQ(((struct echo *)d)->widest, 8);
	CHECK_EQ(bus_read(b, 0x100, 8), 0x1122334455667788);
	CHECK_EQ(bus_read(b, 0x200, 8), 0x1122334455667788);
	CHECK_EQ(bus_read(b, 0x200, 1), 0xff);
	((struct echo *)d)->widest = 0;
	bus_write(b, 0x208, 8, 0x8877665544332211);
	CHECK_EQ(((struct echo *)d)->widest, 2);
	bus_write(b, 0x200, 1, 0);
	CHECK_EQ(bus_read(b, 0x108, 8), 0x8877665544332211);
	CHECK_EQ(bus_read(b, 0x100, 1), 0x88);
	teardown();
}

TEST(bus_unclaimed_and_straddling_accesses_read_ones)
{
	setup();
	CHECK_EQ(bus_map(b, 0x100, d, 0, &e), 0);
	CHECK_EQ(bus_read(b, 0xff, 1), 0xff);
	CHECK_EQ(bus_read(b, 0x10f, 2), 0xffff);
	CHECK_EQ(bus_read(b, 0x110, 8), ~0ull);
	CHECK_EQ(bus_read(b, ~0ull, 1), 0xff);
	bus_write(b, 0x10f, 2, 0);
	bus_unmap(b, d, 0);
	bus_unmap(b, d, 0);
	CHECK_EQ(bus_read(b, 0x100, 4), 0xffffffff);
	teardown();
}

TEST(bus_refuses_overlap_naming_both)
{
	setup();
	CHECK_EQ(bus_map(b, 0x100, d, 0, &e), 0);
	CHECK(bus_map(b, 0x10f, d, 1, &e) < 0);
	CHECK_STR(e.msg, "echo: narrow at 0x10f overlaps echo (wide at 0x100)");
	CHECK(bus_map(b, 0xf1, d, 1, &e) < 0);
	CHECK_EQ(bus_map(b, 0xf0, d, 1, &e), 0);
	CHECK(bus_map(b, -8ull, d, 0, &e) < 0);
	CHECK_EQ(bus_map(b, -16ull, d, 3, &e), 0);
	teardown();
}

TEST(bus_overlay_takes_what_fits_in_it)
{
	setup();
	CHECK_EQ(bus_map(b, 0xcf9, d, 2, &e), 0);
	CHECK_EQ(bus_map(b, 0xcf8, d, 3, &e), 0);
	CHECK(bus_map(b, 0xcf9, d, 2, &e) < 0);
	bus_write(b, 0xcf8, 4, 0x80001234);
	CHECK_EQ(bus_read(b, 0xcf8, 4), 0x80001234);
	bus_write(b, 0xcf9, 1, 6); /* lands at offset 0 of the overlay */
	CHECK_EQ(bus_read(b, 0xcf8, 4), 0x80001206);
	CHECK_EQ(bus_read(b, 0xcfa, 1), 0xff);
	bus_unmap(b, d, 2);
	CHECK_EQ(bus_read(b, 0xcf9, 1), 0xff);
	teardown();
}

TEST(bus_finds_every_region_of_many)
{
	struct dev *v[64];

	setup();
	for (unsigned i = 0; i < 64; i++) {
		v[i] = dev_new(&echo_class, "x", &(struct dev_env){ 0 }, NULL, &e);
		CHECK_EQ(bus_map(b, (i * 37 % 64) * 0x20, v[i], 0, &e), 0);
		bus_write(b, (i * 37 % 64) * 0x20 + 4, 4, i);
	}
	for (unsigned i = 0; i < 64; i++) {
		CHECK_EQ(bus_read(b, (i * 37 % 64) * 0x20 + 4, 4), i);
		CHECK_EQ(bus_read(b, (i * 37 % 64) * 0x20 + 0x10, 1), 0xff);
	}
	for (unsigned i = 0; i < 64; i++)
		dev_free(v[i]);
	teardown();
}

static unsigned ticks;

static void tick(struct timer *t UNUSED, u64 now UNUSED)
{
	ticks++;
}

TEST(fake_clock_fires_in_time_order_and_once)
{
	struct clock_fake c;
	struct timer t = { .fn = tick }, u = { .fn = tick };

	clock_fake_init(&c);
	ticks = 0;
	clock_arm(&c.clock, &t, c.now_ns + 10);
	clock_arm(&c.clock, &u, c.now_ns + 20);
	clock_fake_advance(&c, 9);
	CHECK_EQ(ticks, 0);
	clock_fake_advance(&c, 1);
	CHECK_EQ(ticks, 1);
	clock_disarm(&c.clock, &u);
	clock_fake_advance(&c, 100);
	CHECK_EQ(ticks, 1);
	CHECK_EQ(c.nr, 0);
}
