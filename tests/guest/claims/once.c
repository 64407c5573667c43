// SPDX-License-Identifier: Apache-2.0
/*
 * once.c - counts interrupts that come twice, or not at all; for the lab, no claim of tests.cfg
 *
 * usage: once ms=N. The local timer is armed, one shot at a time, and each shot must be taken once. The
 * handler stays long and without an exit: whoever disturbs the processor meanwhile may deliver
 * once more.
 */
#include "../lib/guest.h"

#define SHOT 0x61
#define STAY 200000 /* cycles */

static volatile u64 taken, nested, inside;

static void shot(struct frame *f)
{
	u64 t = rdtsc();

	(void)f;
	taken++;
	nested += inside++ != 0;
	while (rdtsc() - t < STAY)
		;
	inside--;
	lapic_set(LAPIC_EOI, 0);
}

CLAIM(once)
{
	u64 ms = cmdline_number("ms", 5000), start = pm_us(), shots = 0, twice = 0, lost = 0;

	handlers[SHOT] = shot;
	lapic_on();
	lapic_set(LAPIC_TDCR, 0xb);
	lapic_set(LAPIC_LVTT, SHOT);
	while (pm_us() - start < ms * 1000) {
		u64 before = taken, t = pm_us();

		lapic_set(LAPIC_TMICT, 20000);
		shots++;
		__asm__ volatile("sti" ::: "memory");
		while (taken == before && pm_us() - t < 2000000)
			pause();
		for (u64 end = rdtsc() + STAY; rdtsc() < end;)
			pause();
		cli();
		lost += taken == before;
		twice += taken > before ? taken - before - 1 : 0;
	}
	print("once shots %d twice %d nested %d lost %d", shots, twice, nested, lost);
}
