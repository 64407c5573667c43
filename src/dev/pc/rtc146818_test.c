// SPDX-License-Identifier: Apache-2.0
/* rtc146818_test.c - time of day, alarms, flags, CMOS bytes */
#include "base/test.h"
#include "dev/all/fake.h"

static struct fake f;
static struct dev *d;
static struct bus *b;
static bool irq8;
static struct err e;

static void set_irq8(void *chip UNUSED, unsigned pin UNUSED, bool level)
{
	irq8 = level;
}

static void setup(void)
{
	struct rtc_config c = { .mem_low = 3ull << 30, .mem_high = 0x12340000 };

	fake_init(&f); /* 2024-02-29 12:34:56, a Thursday */
	f.env.irq[0] = (struct irq){ .set = set_irq8 };
	d = dev_new(&rtc146818_class, "rtc", &f.env, &c, &e);
	b = bus_new();
	(void)!bus_map(b, 0x70, d, 0, &e);
}

static void teardown(void)
{
	bus_free(b);
	dev_free(d);
}

static u8 get(u8 reg)
{
	bus_write(b, 0x70, 1, reg);
	return (u8)bus_read(b, 0x71, 1);
}

static void put(u8 reg, u8 val)
{
	bus_write(b, 0x70, 1, reg);
	bus_write(b, 0x71, 1, val);
}

TEST(rtc_shows_host_utc_in_bcd_and_binary)
{
	static const u8 reg[] = { 0, 2, 4, 6, 7, 8, 9, 0x32 };
	static const u8 bcd[] = { 0x56, 0x34, 0x12, 0x05, 0x29, 0x02, 0x24, 0x20 };
	static const u8 bin[] = { 56, 34, 12, 5, 29, 2, 24, 20 };

	setup();
	for (unsigned i = 0; i < array_len(reg); i++)
		CHECK_EQ(get(reg[i]), bcd[i]);
	put(0x0b, 0x06);
	for (unsigned i = 0; i < array_len(reg); i++)
		CHECK_EQ(get(reg[i]), bin[i]);
	put(0x0b, 0x00); /* 12 hours */
	CHECK_EQ(get(4), 0x92);
	clock_fake_advance(&f.clock, 86400ull * 1000000000);
	CHECK_EQ(get(7), 0x01);
	CHECK_EQ(get(8), 0x03);
	teardown();
}

TEST(rtc_time_can_be_set_and_survives_reset)
{
	setup();
	put(0x0b, 0x82);
	put(9, 0x31);
	put(8, 0x12);
	put(7, 0x31);
	put(4, 0x23);
	put(2, 0x59);
	put(0, 0x59);
	clock_fake_advance(&f.clock, 5000000000ull);
	CHECK_EQ(get(0), 0x59); /* frozen */
	put(0x0b, 0x02);
	clock_fake_advance(&f.clock, 1000000000);
	CHECK_EQ(get(0), 0x00);
	CHECK_EQ(get(9), 0x32);
	CHECK_EQ(get(7), 0x01);
	d->class->reset(d);
	CHECK_EQ(get(9), 0x32);
	teardown();
}

TEST(rtc_update_in_progress_precedes_the_update)
{
	setup();
	CHECK_EQ(get(0x0a), 0x26);
	clock_fake_advance(&f.clock, 999800000);
	CHECK_EQ(get(0x0a), 0xa6);
	clock_fake_advance(&f.clock, 200000);
	CHECK_EQ(get(0x0a), 0x26);
	teardown();
}

TEST(rtc_update_interrupt_until_c_is_read)
{
	setup();
	put(0x0b, 0x12);
	clock_fake_advance(&f.clock, 999999999);
	CHECK_EQ(irq8, 0);
	clock_fake_advance(&f.clock, 1);
	CHECK_EQ(irq8, 1);
	CHECK_EQ(get(0x0c), 0xd0); /* the periodic flag is set too, if not enabled */
	CHECK_EQ(irq8, 0);
	CHECK_EQ(get(0x0c), 0);
	clock_fake_advance(&f.clock, 1000000000);
	CHECK_EQ(irq8, 1);
	teardown();
}

TEST(rtc_periodic_interrupt_at_the_chosen_rate)
{
	unsigned n = 0;

	setup();
	put(0x0b, 0x42);
	put(0x0a, 0x26); /* 1024 Hz */
	for (unsigned i = 0; i < 10240; i++) {
		clock_fake_advance(&f.clock, 97657);
		if (irq8) {
			n++;
			CHECK_EQ(get(0x0c) & 0xc0, 0xc0);
		}
	}
	CHECK(n >= 1023 && n <= 1025);
	teardown();
}

TEST(rtc_alarm_with_wildcards)
{
	setup();
	put(1, 0x00); /* at second 0 of */
	put(3, 0xff); /* every minute */
	put(5, 0xff);
	put(0x0b, 0x22);
	clock_fake_advance(&f.clock, 3999999999ull);
	CHECK_EQ(irq8, 0);
	clock_fake_advance(&f.clock, 1);
	CHECK_EQ(irq8, 1);
	CHECK_EQ(get(0x0c) & 0xa0, 0xa0);
	put(1, 0x30);
	put(3, 0x15);
	put(5, 0x09); /* tomorrow 09:15:30 */
	get(0x0c);
	clock_fake_advance(&f.clock, (86400ull - 12 * 3600 - 35 * 60 + 9 * 3600 + 15 * 60 + 29) *
					     1000000000);
	CHECK_EQ(irq8, 0);
	clock_fake_advance(&f.clock, 1000000000);
	CHECK_EQ(irq8, 1);
	get(0x0c);
	put(1, 0x77); /* no such second: never */
	clock_fake_advance(&f.clock, 1000000000000ull);
	CHECK_EQ(irq8, 0);
	teardown();
}

TEST(cmos_says_how_much_memory_there_is)
{
	setup();
	CHECK_EQ(get(0x15) | get(0x16) << 8, 640);
	CHECK_EQ(get(0x17) | get(0x18) << 8, 0xffff);
	CHECK_EQ(get(0x34) | get(0x35) << 8, (0xc0000000u - 0x1000000) >> 16);
	CHECK_EQ(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 0x1234);
	CHECK_EQ(get(0x0d), 0x80);
	put(0x40, 0xa5);
	CHECK_EQ(get(0xc0), 0xa5); /* bit 7 is the NMI mask */
	teardown();
}
