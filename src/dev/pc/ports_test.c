// SPDX-License-Identifier: Apache-2.0
/* ports_test.c - i8042, port 92, ACPI registers, test and debug devices, fw_cfg */
#include "base/test.h"
#include "dev/all/fake.h"

static struct fake f;
static struct dev *d;
static struct bus *b;
static unsigned rises[DEV_MAX_IRQS];
static bool level[DEV_MAX_IRQS];
static struct err e;

static void wire(void *chip UNUSED, unsigned pin, bool l)
{
	rises[pin] += l && !level[pin];
	level[pin] = l;
}

static void start(const struct dev_class *c)
{
	union fake_config cfg;

	fake_init(&f);
	for (unsigned i = 0; i < DEV_MAX_IRQS; i++) {
		f.env.irq[i] = (struct irq){ .set = wire, .pin = i };
		level[i] = false;
	}
	fake_config(&f, c, &cfg);
	d = dev_new(c, c->name, &f.env, &cfg, &e);
	memset(rises, 0, sizeof rises);
	b = bus_new();
}

static void teardown(void)
{
	bus_free(b);
	dev_free(d);
}

static void start_i8042(void)
{
	start(&i8042_class);
	(void)!bus_map(b, 0x60, d, 0, &e);
	(void)!bus_map(b, 0x64, d, 1, &e);
}

TEST(i8042_self_tests_and_command_byte)
{
	start_i8042();
	CHECK_EQ(bus_read(b, 0x64, 1), 0x14);
	bus_write(b, 0x64, 1, 0xaa);
	CHECK_EQ(bus_read(b, 0x64, 1), 0x1d);
	CHECK_EQ(bus_read(b, 0x60, 1), 0x55);
	CHECK_EQ(bus_read(b, 0x64, 1), 0x1c);
	bus_write(b, 0x64, 1, 0xab);
	CHECK_EQ(bus_read(b, 0x60, 1), 0x00);
	bus_write(b, 0x64, 1, 0xa9);
	CHECK(bus_read(b, 0x60, 1) != 0); /* no second port */
	bus_write(b, 0x64, 1, 0x20);
	CHECK_EQ(bus_read(b, 0x60, 1), 0x65);
	bus_write(b, 0x64, 1, 0x60);
	bus_write(b, 0x60, 1, 0x74);
	bus_write(b, 0x64, 1, 0x20);
	CHECK_EQ(bus_read(b, 0x60, 1), 0x74);
	CHECK_EQ(rises[I8042_IRQ1], 0);
	teardown();
}

TEST(i8042_absent_keyboard_answers_at_once_with_timeout)
{
	start_i8042();
	bus_write(b, 0x60, 1, 0xf2);
	CHECK_EQ(bus_read(b, 0x64, 1), 0x55);
	CHECK_EQ(level[I8042_IRQ1], 1);
	CHECK_EQ(bus_read(b, 0x60, 1), 0xfe);
	CHECK_EQ(level[I8042_IRQ1], 0);
	teardown();
}

TEST(i8042_resets_and_gates_a20)
{
	start_i8042();
	bus_write(b, 0x64, 1, 0xfe);
	CHECK_EQ(rises[I8042_RESET], 1);
	bus_write(b, 0x64, 1, 0xff);
	CHECK_EQ(rises[I8042_RESET], 1);
	bus_write(b, 0x64, 1, 0xd1);
	bus_write(b, 0x60, 1, 0xdd);
	CHECK_EQ(level[I8042_A20], 0);
	bus_write(b, 0x64, 1, 0xd0);
	CHECK_EQ(bus_read(b, 0x60, 1), 0xdd);
	bus_write(b, 0x64, 1, 0xdf);
	CHECK_EQ(level[I8042_A20], 1);
	bus_write(b, 0x64, 1, 0xd1);
	bus_write(b, 0x60, 1, 0xde);
	CHECK_EQ(rises[I8042_RESET], 2);
	teardown();
}

TEST(port92_resets_on_the_rising_bit_and_gates_a20)
{
	start(&port92_class);
	(void)!bus_map(b, 0x92, d, 0, &e);
	CHECK_EQ(bus_read(b, 0x92, 1), 2);
	bus_write(b, 0x92, 1, 0xfc);
	CHECK_EQ(bus_read(b, 0x92, 1), 0);
	CHECK_EQ(level[PORT92_A20], 0);
	bus_write(b, 0x92, 1, 3);
	bus_write(b, 0x92, 1, 3);
	CHECK_EQ(rises[PORT92_RESET], 1);
	CHECK_EQ(level[PORT92_A20], 1);
	teardown();
}

static void start_pm(void)
{
	start(&pmacpi_class);
	(void)!bus_map(b, 0x600, d, 0, &e);
	(void)!bus_map(b, 0xcf9, d, 1, &e);
}

TEST(pm_registers_after_reset_and_write)
{
	start_pm();
	CHECK_EQ(bus_read(b, 0x600, 2), 0);
	CHECK_EQ(bus_read(b, 0x602, 2), 0);
	CHECK_EQ(bus_read(b, 0x604, 2), 1);
	bus_write(b, 0x602, 2, 0xffff);
	CHECK_EQ(bus_read(b, 0x602, 2), 0x0721);
	bus_write(b, 0x602, 1, 0);
	CHECK_EQ(bus_read(b, 0x602, 2), 0x0700);
	bus_write(b, 0x604, 2, 0xdfff);
	CHECK_EQ(bus_read(b, 0x604, 2), 0x1c03);
	CHECK_EQ(rises[PMACPI_OFF], 0);
	teardown();
}

TEST(pm_timer_counts_at_3_58_mhz_and_overflows)
{
	start_pm();
	clock_fake_advance(&f.clock, 1000000000);
	CHECK_EQ(bus_read(b, 0x608, 4), 3579545);
	CHECK_EQ(bus_read(b, 0x600, 2), 0);
	bus_write(b, 0x602, 2, 1);
	clock_fake_advance(&f.clock, 599000000000ull); /* 2^31 ticks are 599.9 s */
	CHECK_EQ(level[PMACPI_SCI], 1);
	CHECK_EQ(bus_read(b, 0x600, 4), 0x00010001);
	bus_write(b, 0x600, 2, 1);
	CHECK_EQ(level[PMACPI_SCI], 0);
	teardown();
}

TEST(pm_power_button_raises_sci)
{
	start_pm();
	pmacpi_power_button(d);
	CHECK_EQ(level[PMACPI_SCI], 0);
	bus_write(b, 0x602, 2, 0x100);
	CHECK_EQ(level[PMACPI_SCI], 1);
	bus_write(b, 0x600, 1, 0xff); /* the low byte: not this bit */
	CHECK_EQ(level[PMACPI_SCI], 1);
	bus_write(b, 0x601, 1, 0x01);
	CHECK_EQ(level[PMACPI_SCI], 0);
	teardown();
}

TEST(pm_soft_off_and_reset_port)
{
	start_pm();
	bus_write(b, 0x604, 2, 3 << 10 | 1 << 13); /* S3 is not offered */
	CHECK_EQ(rises[PMACPI_OFF], 0);
	CHECK_EQ(d->guest_errors, 1);
	bus_write(b, 0x604, 2, PMACPI_SLP_TYP_S5 << 10 | 1 << 13);
	CHECK_EQ(rises[PMACPI_OFF], 1);
	bus_write(b, 0xcf9, 1, 2);
	CHECK_EQ(rises[PMACPI_RESET], 0);
	bus_write(b, 0xcf9, 1, PMACPI_RESET_VALUE);
	CHECK_EQ(rises[PMACPI_RESET], 1);
	CHECK_EQ(bus_read(b, 0xcf9, 1), 6);
	teardown();
}

static u32 exit_status;

static void on_exit_status(void *ctx UNUSED, u32 status)
{
	exit_status = status;
}

TEST(debug_exit_status_is_never_zero)
{
	struct debug_exit_config c = { .exit = on_exit_status };

	start(&debug_exit_class);
	dev_free(d);
	d = dev_new(&debug_exit_class, "exit", &f.env, &c, &e);
	(void)!bus_map(b, 0xf4, d, 0, &e);
	bus_write(b, 0xf4, 1, 0);
	CHECK_EQ(exit_status, 1);
	bus_write(b, 0xf4, 4, 0x10);
	CHECK_EQ(exit_status, 0x21);
	teardown();
}

TEST(debugcon_prints_and_identifies_itself)
{
	start(&debugcon_class);
	(void)!bus_map(b, 0xe9, d, 0, &e);
	CHECK_EQ(bus_read(b, 0xe9, 1), 0xe9);
	bus_write(b, 0xe9, 1, 'x');
	CHECK_EQ(f.chr_bytes, 1);
	teardown();
}

static unsigned line_seen;

static void on_line(void *chip UNUSED, unsigned pin, bool l)
{
	line_seen = pin << 1 | l;
}

TEST(testdev_echoes_drives_lines_and_has_scratch)
{
	struct testdev_config c = { .gsi.set = on_line };

	start(&testdev_class);
	dev_free(d);
	d = dev_new(&testdev_class, "testdev", &f.env, &c, &e);
	(void)!bus_map(b, 0xe0, d, 0, &e);
	(void)!bus_map(b, 0xe4, d, 1, &e);
	(void)!bus_map(b, 0x2000, d, 3, &e);
	(void)!bus_map(b, 0xff000000, d, 4, &e);
	bus_write(b, 0xe0, 4, 0x12345678);
	CHECK_EQ(bus_read(b, 0xe0, 4), 0x12345678);
	CHECK_EQ(bus_read(b, 0xe0, 2), 0x5678);
	bus_write(b, 0xe0, 1, 0xff);
	CHECK_EQ(bus_read(b, 0xe0, 4), 0x123456ff);
	bus_write(b, 0x2000 + 14, 1, 1);
	CHECK_EQ(line_seen, 14 << 1 | 1);
	d->class->reset(d);
	CHECK_EQ(line_seen, 14 << 1);
	bus_write(b, 0xff00fff8, 8, 0x1122334455667788);
	CHECK_EQ(bus_read(b, 0xff00ffff, 1), 0x11);
	CHECK_EQ(bus_read(b, 0xff00fff8, 8), 0x1122334455667788);
	teardown();
}

TEST(fwcfg_items_are_read_byte_by_byte)
{
	u64 v = 0;

	start(&fwcfg_class);
	(void)!bus_map(b, 0x510, d, 0, &e);
	bus_write(b, 0x510, 2, 0);
	for (unsigned i = 0; i < 4; i++)
		v |= bus_read(b, 0x511, 1) << i * 8;
	CHECK_EQ(v, 0x554d4551); /* "QEMU" */
	CHECK_EQ(bus_read(b, 0x511, 1), 0);
	bus_write(b, 0x510, 2, 3);
	v = 0;
	for (unsigned i = 0; i < 8; i++)
		v |= bus_read(b, 0x511, 1) << i * 8;
	CHECK_EQ(v, 4ull << 30);
	CHECK_EQ(bus_read(b, 0x511, 1), 0);
	bus_write(b, 0x510, 2, 5);
	CHECK_EQ(bus_read(b, 0x511, 1), 2);
	teardown();
}
