// SPDX-License-Identifier: Apache-2.0
/* power.c - how a machine restarts and ends. What follows a reset is checked by this same program:
 * memory keeps its contents, and says which time round it is. */
#include "../lib/guest.h"

#define MARK_AT (volatile u64 *)0x50000
#define MARK	0x5ca1ab1e5ca1ab1e

static bool second_time(void)
{
	if (*MARK_AT == MARK)
		return true;
	*MARK_AT = MARK;
	return false;
}

static void forever(void)
{
	delay_us(3000000);
	fail(__FILE__, 0, "nothing happened", 0, 0);
}

CLAIM(reset_by_port_cf9)
{
	if (second_time())
		return;
	out8(0xcf9, 6);
	forever();
}

CLAIM(reset_by_keyboard_controller)
{
	if (second_time())
		return;
	out8(0x64, 0xfe);
	forever();
}

CLAIM(reset_by_port_92)
{
	if (second_time())
		return;
	out8(0x92, 1);
	forever();
}

static void run_on(void *unused)
{
	(void)unused;
	lapic_set(LAPIC_TPR, 0x50);
	for (;;)
		pause();
}

/* Every CPU and chip is as after power-on, whatever it did. */
CLAIM(reset_with_all_cpus_busy)
{
	lapic_on();
	if (second_time()) {
		EXPECT_EQ(lapic(LAPIC_TPR), 0);
		EXPECT_EQ(lapic(LAPIC_TMICT), 0);
		EXPECT_EQ(read_cr4() & BIT(7), 0);
		for (unsigned n = 1; n < nr_cpus(); n++)
			start_cpu(n, NULL, NULL);
		return;
	}
	for (unsigned n = 1; n < nr_cpus(); n++)
		start_cpu(n, run_on, NULL);
	write_cr4(read_cr4() | BIT(7));
	lapic_set(LAPIC_TPR, 0x50);
	lapic_set(LAPIC_LVTT, 0x20040);
	lapic_set(LAPIC_TMICT, 100000);
	out8(0xcf9, 6);
	forever();
}

CLAIM(power_off_by_acpi)
{
	out16(0x604, 5 << 10 | 1 << 13);
	forever();
}

CLAIM(triple_fault_ends_the_machine)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) none = { 0, 0 };

	__asm__ volatile("lidt %0; ud2" ::"m"(none));
	forever();
}

CLAIM(panic_by_pvpanic)
{
	out8(0x505, 1);
	forever();
}
