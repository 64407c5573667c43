// SPDX-License-Identifier: Apache-2.0
/* speed.c - nanoseconds of what leaves the guest; for the lab's comparison, no claim of tests.cfg */
#include "../lib/guest.h"

static u64 hz;

static void report(const char *what, u64 cycles, u64 n)
{
	print("speed %s %d", what, cycles * 1000 / (hz / 1000000) / n);
}

CLAIM(speed)
{
	const u64 n = 20000;
	u64 t;
	u32 r[4];

	hz = tsc_hz();
	lapic_on();
	t = rdtsc();
	for (u64 k = 0; k < n; k++)
		out8(0x80, 0);
	report("port", rdtsc() - t, n);
	t = rdtsc();
	for (u64 k = 0; k < n; k++)
		(void)in8(0x3fd);
	report("device", rdtsc() - t, n);
	t = rdtsc();
	for (u64 k = 0; k < n; k++)
		(void)read32(0xfec00010);
	report("mmio", rdtsc() - t, n);
	t = rdtsc();
	for (u64 k = 0; k < n; k++)
		cpuid(1, 0, r);
	report("cpuid", rdtsc() - t, n);
	/* interrupt, halt and wake by the local timer */
	lapic_set(LAPIC_TDCR, 0xb);
	lapic_set(LAPIC_LVTT, 0x63);
	t = rdtsc();
	for (u64 k = 0; k < n / 10; k++) {
		lapic_set(LAPIC_TMICT, 1000);
		halt();
	}
	report("timer", rdtsc() - t, n / 10);
}
