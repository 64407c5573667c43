// SPDX-License-Identifier: Apache-2.0
/* smp.c - starting CPUs, IPIs between them, shared memory, time [SDM 3A 8] */
#include "../lib/guest.h"

static volatile u32 flag, counter, ready;

static void count(void *unused)
{
	(void)unused;
	while (!flag)
		pause();
	for (unsigned n = 0; n < 100000; n++)
		__atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
}

static void start_all(void (*fn)(void *arg))
{
	lapic_on();
	EXPECT(nr_cpus() > 1);
	for (unsigned n = 1; n < nr_cpus(); n++)
		start_cpu(n, fn, (void *)(u64)n);
}

CLAIM(every_cpu_starts_by_sipi)
{
	start_all(NULL);
	EXPECT_EQ(cpus_up, nr_cpus() - 1);
}

CLAIM(locked_adds_are_not_lost)
{
	start_all(count);
	flag = 1;
	count(NULL);
	while (ready < nr_cpus())
		pause();
	EXPECT_EQ(counter, 100000 * nr_cpus());
}

static void wait_halted(void *unused)
{
	(void)unused;
	__atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
	for (;;)
		halt();
}

static volatile u32 got[MAX_CPUS];

static void on_ping(struct frame *f)
{
	(void)f;
	lapic_set(LAPIC_EOI, 0);
	__atomic_fetch_add(&got[cpu_id()], 1, __ATOMIC_SEQ_CST);
	ipi(0, 0x4091);
}

CLAIM(ipis_wake_halted_cpus)
{
	handlers[0x90] = on_ping;
	start_all(wait_halted);
	for (u32 n = 0; n < 200; n++) {
		unsigned cpu = 1 + n % (nr_cpus() - 1);

		ipi(cpu, 0x4090);
		EXPECT(wait_for(&irqs[0x91], n + 1, 2000000));
	}
	for (unsigned n = 1; n < nr_cpus(); n++)
		EXPECT(got[n] > 0);
}

CLAIM(broadcast_leaves_out_the_sender)
{
	handlers[0x90] = on_ping;
	start_all(wait_halted);
	while (ready < nr_cpus() - 1)
		pause();
	lapic_set(LAPIC_ICR, 0xc4090);
	EXPECT(wait_for(&irqs[0x91], 1, 2000000));
	delay_us(50000);
	for (unsigned n = 1; n < nr_cpus(); n++)
		EXPECT_EQ(got[n], 1);
	EXPECT_EQ(got[0], 0);
}

static volatile u64 stamp[MAX_CPUS];

static void tick(void *arg_)
{
	u64 n = (u64)arg_;

	for (;;) {
		while (flag != n)
			pause();
		stamp[n] = rdtsc();
		__atomic_store_n(&flag, 0, __ATOMIC_SEQ_CST);
	}
}

CLAIM(tscs_agree)
{
	start_all(tick);
	for (unsigned k = 0; k < 300; k++) {
		unsigned n = 1 + k % (nr_cpus() - 1);
		u64 before = rdtsc();

		__atomic_store_n(&flag, n, __ATOMIC_SEQ_CST);
		while (flag)
			pause();
		EXPECT(stamp[n] >= before);
		EXPECT(rdtsc() >= stamp[n]);
	}
}

#define VA 0x10000000000

static void reader(void *unused)
{
	(void)unused;
	for (;;) {
		counter = *(volatile u32 *)VA;
		if (flag)
			halt();
	}
}

static void on_flush(struct frame *f)
{
	(void)f;
	invlpg(VA);
	flag = 0;
	__atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
	lapic_set(LAPIC_EOI, 0);
}

CLAIM(shootdown_reaches_the_other_cpu)
{
	u32 *a = alloc(4096, 4096), *b = alloc(4096, 4096);

	*a = 1;
	*b = 2;
	*pte_of(VA) = (u64)a | PTE_P;
	handlers[0x92] = on_flush;
	start_all(reader);
	for (u32 n = 1; n <= 50; n++) {
		*pte_of(VA) = (u64)(n & 1 ? b : a) | PTE_P;
		flag = 1;
		ipi(1, 0x4092);
		while (ready < n)
			pause();
		counter = 0;
		while (!counter)
			pause();
		EXPECT_EQ(counter, n & 1 ? 2 : 1);
	}
}

static void spin(void *unused)
{
	(void)unused;
	for (;;)
		__atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
}

CLAIM(init_stops_a_cpu_and_sipi_starts_it_again)
{
	u32 before;

	start_all(spin);
	while (counter < 1000)
		pause();
	ipi(1, 0x4500);
	delay_us(20000);
	before = counter;
	delay_us(20000);
	if (nr_cpus() == 2)
		EXPECT_EQ(counter, before);
	start_cpu(1, NULL, NULL);
	EXPECT_EQ(cpus_up, nr_cpus());
}

static void nmi_target(void *unused)
{
	(void)unused;
	flag = 1;
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void on_nmi(struct frame *f)
{
	(void)f;
	__atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
}

CLAIM(nmi_wakes_a_cpu_that_masks_interrupts)
{
	handlers[2] = on_nmi;
	start_all(nmi_target);
	while (!flag)
		pause();
	delay_us(5000);
	ipi(1, 0x4400);
	EXPECT(wait_for(&ready, 1, 2000000));
}
