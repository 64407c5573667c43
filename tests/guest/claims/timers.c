// SPDX-License-Identifier: Apache-2.0
/* timers.c - LAPIC timer, TSC, PIT, HPET, RTC, PM timer against each other */
#include "../lib/guest.h"

#define HPET 0xfed00000ull

/* Not early; late by what a busy host may need. */
static bool is_near(u64 got, u64 want)
{
	return got + 1000 >= want && got <= 3 * want + 200000;
}

static void near_us(const char *what, u64 got, u64 want)
{
	if (!is_near(got, want))
		fail(what, 0, "microseconds", got, want);
}

/* Two clocks are not read at one moment: on a busy host one of a few tries has no gap there. */
#define TRIES 5

CLAIM(lapic_timer_fires_once)
{
	u64 t;

	lapic_on();
	lapic_set(LAPIC_TDCR, 0xb); /* by 1 */
	lapic_set(LAPIC_LVTT, 0x60);
	t = pm_us();
	lapic_set(LAPIC_TMICT, 50000000); /* 1 GHz */
	EXPECT(wait_for(&irqs[0x60], 1, 1000000));
	near_us("one-shot", pm_us() - t, 50000);
	EXPECT_EQ(lapic(LAPIC_TMCCT), 0);
	EXPECT(!wait_for(&irqs[0x60], 2, 100000));
}

CLAIM(lapic_timer_repeats)
{
	u64 t;

	lapic_on();
	lapic_set(LAPIC_TDCR, 0x3); /* by 16 */
	lapic_set(LAPIC_LVTT, 0x20061);
	t = pm_us();
	lapic_set(LAPIC_TMICT, 625000); /* 10 ms */
	EXPECT(wait_for(&irqs[0x61], 10, 2000000));
	near_us("periodic", pm_us() - t, 100000);
	lapic_set(LAPIC_TMICT, 0);
}

CLAIM(lapic_count_goes_down)
{
	u32 a, b;

	lapic_on();
	lapic_set(LAPIC_TDCR, 0xb);
	lapic_set(LAPIC_LVTT, 0x10060); /* masked */
	lapic_set(LAPIC_TMICT, 0xffffffff);
	a = lapic(LAPIC_TMCCT);
	delay_us(1000);
	b = lapic(LAPIC_TMCCT);
	EXPECT(b < a);
	EXPECT(a - b >= 900000);
}

CLAIM(tsc_deadline_fires_in_time)
{
	u64 hz = tsc_hz(), t;
	u32 r[4];

	cpuid(1, 0, r);
	EXPECT(r[2] & BIT(24));
	lapic_on();
	lapic_set(LAPIC_LVTT, 0x40062);
	__asm__ volatile("mfence" ::: "memory");
	t = rdtsc() + hz / 20;
	wrmsr(0x6e0, t);
	EXPECT(wait_for(&irqs[0x62], 1, 1000000));
	EXPECT(rdtsc() >= t);
	near_us("deadline", (rdtsc() - t + hz / 20) / (hz / 1000000), 50000);
	EXPECT_EQ(rdmsr(0x6e0), 0);
	wrmsr(0x6e0, 1); /* long past: at once */
	EXPECT(wait_for(&irqs[0x62], 2, 100000));
}

CLAIM(halt_ends_with_a_timer)
{
	lapic_on();
	lapic_set(LAPIC_TDCR, 0xb);
	lapic_set(LAPIC_LVTT, 0x63);
	for (unsigned n = 1; n <= 20; n++) {
		lapic_set(LAPIC_TMICT, 1000000);
		halt();
		EXPECT_EQ(irqs[0x63], n);
	}
}

CLAIM(tsc_never_goes_back)
{
	u64 last = rdtsc();

	for (unsigned n = 0; n < 100000; n++) {
		u64 t = rdtsc();

		EXPECT(t >= last);
		last = t;
	}
}

CLAIM(pit_and_tsc_agree)
{
	u64 hz = tsc_hz(), t0, t1;

	out8(0x61, (in8(0x61) & 0xfc) | 1);
	out8(0x43, 0xb0);
	out8(0x42, 59659 & 0xff); /* 50 ms */
	out8(0x42, 59659 >> 8);
	t0 = rdtsc();
	while (!(in8(0x61) & 0x20))
		pause();
	t1 = rdtsc();
	near_us("PIT", (t1 - t0) / (hz / 1000000), 50000);
}

CLAIM(hpet_counts_and_interrupts)
{
	u64 a, b, t, got = 0, want = 0;

	lapic_on();
	write32(HPET + 0x10, 1);
	EXPECT(read32(HPET + 4) > 0 && read32(HPET + 4) <= 100000000);
	for (unsigned n = 0; n < TRIES && (!n || !is_near(got, want)); n++) {
		t = pm_us();
		a = read32(HPET + 0xf0);
		delay_us(10000);
		b = read32(HPET + 0xf0);
		want = pm_us() - t;
		got = (b - a) * (read32(HPET + 4) / 1000) / 1000000;
	}
	near_us("HPET", got, want);
}

struct pv_clock {
	u32 version, pad;
	u64 tsc, ns;
	u32 mul;
	signed char shift;
	u8 flags, pad2[2];
};

static u64 pv_ns(const volatile struct pv_clock *p)
{
	u64 d = rdtsc() - p->tsc;

	d = p->shift < 0 ? d >> -p->shift : d << p->shift;
	return p->ns + (u64)((unsigned __int128)d * p->mul >> 32);
}

CLAIM(kvm_clock_runs_with_the_tsc)
{
	volatile struct pv_clock *p = alloc(64, 64);
	u64 ns, t, got = 0, want = 0;
	u32 r[4];

	cpuid(0x40000001, 0, r);
	EXPECT(r[0] & BIT(3));
	wrmsr(0x4b564d01, (u64)p | 1);
	EXPECT(p->version && !(p->version & 1));
	for (unsigned n = 0; n < TRIES && (!n || !is_near(got, want)); n++) {
		t = pm_us();
		ns = pv_ns(p);
		delay_us(50000);
		got = (pv_ns(p) - ns) / 1000;
		want = pm_us() - t;
	}
	near_us("KVM clock", got, want);
	wrmsr(0x4b564d01, 0);
}

CLAIM(rtc_interrupts_every_period)
{
	lapic_on();
	write32(0xfec00000, 0x10 + 2 * 8 + 1);
	write32(0xfec00010, 0);
	write32(0xfec00000, 0x10 + 2 * 8);
	write32(0xfec00010, 0x48);
	out8(0x70, 0x0a);
	out8(0x71, 0x26); /* 1024 Hz */
	out8(0x70, 0x0b);
	out8(0x71, 0x42);
	for (unsigned n = 1; n <= 5; n++) {
		EXPECT(wait_for(&irqs[0x48], n, 1000000));
		out8(0x70, 0x0c);
		(void)in8(0x71);
	}
	out8(0x70, 0x0b);
	out8(0x71, 0x02);
}
