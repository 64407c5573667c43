// SPDX-License-Identifier: Apache-2.0
/*
 * speed.c - TSC cycles of what leaves the guest; for the lab's comparison, no claim of tests.cfg.
 * The least of many short rounds: the host may be busy.
 */
#include "../lib/guest.h"

#define ROUNDS 30
#define TIMES  100

static void port(void)
{
	out8(0x80, 0);
}

static void device(void)
{
	(void)in8(0x3fd);
}

static void mmio(void)
{
	(void)read32(0xfec00010);
}

static void id(void)
{
	u32 r[4];

	cpuid(1, 0, r);
}

/* Interrupt, halt and wake by the local timer. */
static void timer(void)
{
	lapic_set(LAPIC_TMICT, 1000);
	halt();
}

static const struct {
	const char *name;
	void (*fn)(void);
} tests[] = { { "port", port }, { "device", device }, { "mmio", mmio }, { "cpuid", id }, { "timer", timer } };

CLAIM(speed)
{
	lapic_on();
	lapic_set(LAPIC_TDCR, 0xb);
	lapic_set(LAPIC_LVTT, 0x63);
	for (unsigned n = 0; n < ARRAY(tests); n++) {
		u64 best = ~0ull;

		for (unsigned r = 0; r < ROUNDS; r++) {
			u64 t = rdtsc();

			for (unsigned k = 0; k < TIMES; k++)
				tests[n].fn();
			t = rdtsc() - t;
			best = t < best ? t : best;
		}
		print("speed %s %d", tests[n].name, best / TIMES);
	}
}
