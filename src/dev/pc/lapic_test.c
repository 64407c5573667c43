// SPDX-License-Identifier: Apache-2.0
/* lapic_test.c - acceptance, priority, EOI, IPIs, timer modes, x2APIC */
#include "base/test.h"
#include "dev/all/fake.h"
#include "mem/mem.h"

#define CPUS 20

static struct fake f;
static struct dev *cpu[CPUS];
static unsigned sig[CPUS][4];
static u8 sipi[CPUS];
static unsigned eois, eoi_vec;
static struct err e;

enum { ID = 0x20, VER = 0x30, TPR = 0x80, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0,
       SVR = 0xf0, ISR = 0x100, TMR = 0x180, IRR = 0x200, ESR = 0x280, ICR = 0x300, ICR2 = 0x310,
       LVTT = 0x320, LINT0 = 0x350, LINT1 = 0x360, LVTERR = 0x370, TMICT = 0x380, TMCCT = 0x390,
       TDCR = 0x3e0 };

static void on_signal(void *ctx, enum lapic_signal what, u8 arg)
{
	unsigned n = (unsigned)(unsigned long)ctx;

	sig[n][what]++;
	if (what == LAPIC_SIG_SIPI)
		sipi[n] = arg;
}

static void on_eoi(void *ctx UNUSED, u8 vector)
{
	eois++;
	eoi_vec = vector;
}

static u64 tsc(void *ctx UNUSED)
{
	return f.clock.now_ns * 3; /* 3 GHz */
}

static void put(unsigned n, unsigned reg, u32 val)
{
	lapic_mmio_write(cpu[n], LAPIC_BASE + reg, 4, val);
}

static u32 get(unsigned n, unsigned reg)
{
	return (u32)lapic_mmio_read(cpu[n], LAPIC_BASE + reg, 4);
}

static void setup_more(unsigned nr)
{
	memset(sig, 0, sizeof sig);
	eois = 0;
	f.lapics.eoi = on_eoi;
	for (unsigned i = 0; i < nr; i++) {
		struct lapic_config c = {
			.set = &f.lapics, .index = i, .phys_bits = 40, .tsc_khz = 3000000,
			.tsc = tsc, .signal = on_signal, .ctx = (void *)(unsigned long)i,
		};

		cpu[i] = dev_new(&lapic_class, "lapic", &f.env, &c, &e);
		put(i, SVR, 0x1ff);
	}
}

static void setup(unsigned nr)
{
	fake_init(&f);
	setup_more(nr);
}

static void teardown(void)
{
	for (unsigned i = 0; i < CPUS; i++) {
		dev_free(cpu[i]);
		cpu[i] = NULL;
	}
}

static void msi(u32 dest, u32 data)
{
	lapic_set_msi(&f.lapics, LAPIC_BASE | dest << 12, data);
}

static void to_x2apic(unsigned n)
{
	u64 v;

	(void)!lapic_rdmsr(cpu[n], 0x1b, &v);
	(void)!lapic_wrmsr(cpu[n], 0x1b, v | 0x400);
}

TEST(lapic_registers_after_reset_write_and_read_back)
{
	static const struct {
		u16 reg;
		u32 reset, wr, rd;
	} t[] = {
		{ ID, 0x01000000, 0xffffffff, 0x01000000 }, { VER, 0x01050014, 0, 0x01050014 },
		{ TPR, 0, 0xffffffff, 0xff },		    { LDR, 0, 0xffffffff, 0xff000000 },
		{ DFR, 0xffffffff, 0, 0x0fffffff },	    { SVR, 0xff, 0xffffffff, 0x13ff },
		{ ISR, 0, 0xffffffff, 0 },		    { IRR + 0x70, 0, 0xffffffff, 0 },
		{ ESR, 0, 0, 0 },			    { ICR2, 0, 0xffffffff, 0xff000000 },
		{ LVTT, 0x10000, 0xffffffff, 0x700ff },	    { 0x330, 0x10000, 0xffffffff, 0x107ff },
		{ 0x340, 0x10000, 0xffffffff, 0x107ff },    { LINT0, 0x10000, 0xffffffff, 0x1a7ff },
		{ LINT1, 0x10000, 0xffffffff, 0x1a7ff },    { LVTERR, 0x10000, ~0u, 0x100ff },
		{ TMICT, 0, 0, 0 },			    { TDCR, 0, 0xffffffff, 0xb },
	};

	for (unsigned i = 0; i < array_len(t); i++) {
		setup(2);
		lapic_class.reset(cpu[1]);
		CHECK_EQ(get(1, t[i].reg), t[i].reset);
		put(1, t[i].reg, t[i].wr);
		CHECK_EQ(get(1, t[i].reg), t[i].rd);
		teardown();
	}
}

TEST(lapic_delivers_by_priority)
{
	setup(1);
	CHECK_EQ(lapic_has_irq(cpu[0]), 0);
	CHECK_EQ(lapic_ack_irq(cpu[0]), (unsigned long long)-1);
	msi(0, 0x41);
	msi(0, 0x62);
	msi(0, 0x63);
	CHECK_EQ(sig[0][LAPIC_SIG_IRQ], 3);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x63);
	CHECK_EQ(get(0, PPR), 0x60);
	CHECK_EQ(lapic_has_irq(cpu[0]), 0); /* 0x62 is in the same class */
	put(0, EOI, 0);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x62);
	msi(0, 0x71);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x71); /* nests */
	CHECK_EQ(get(0, ISR + 0x30), 0x00020004);
	put(0, EOI, 0);
	put(0, EOI, 0);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x41);
	put(0, EOI, 0);
	put(0, EOI, 0); /* one too many: harmless */
	CHECK_EQ(lapic_has_irq(cpu[0]), 0);
	teardown();
}

TEST(lapic_tpr_and_cr8_hold_back)
{
	setup(1);
	lapic_set_cr8(cpu[0], 5);
	CHECK_EQ(get(0, TPR), 0x50);
	msi(0, 0x5f);
	CHECK_EQ(lapic_has_irq(cpu[0]), 0);
	msi(0, 0x60);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x60);
	put(0, EOI, 0);
	put(0, TPR, 0x4f);
	CHECK_EQ(lapic_get_cr8(cpu[0]), 4);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x5f);
	teardown();
}

TEST(lapic_level_eoi_is_broadcast_unless_suppressed)
{
	setup(1);
	msi(0, 0xc055);
	CHECK_EQ(get(0, TMR + 0x20), 1u << 21);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x55);
	put(0, EOI, 0);
	CHECK_EQ(eois, 1);
	CHECK_EQ(eoi_vec, 0x55);
	msi(0, 0x55); /* the same vector as an edge */
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x55);
	put(0, EOI, 0);
	CHECK_EQ(eois, 1);
	put(0, SVR, 0x11ff);
	msi(0, 0xc055);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x55);
	put(0, EOI, 0);
	CHECK_EQ(eois, 1);
	teardown();
}

/* -- the end of interrupts by a flag in guest memory (KVM's PV EOI) -- */

#define FLAG 0x1004ull

static struct mem *ram;

static u8 flag(void)
{
	return *mem_ptr(ram, FLAG, 1);
}

static void setup_flag(void)
{
	struct err err = { 0 };

	ram = mem_new(1 << 20, &err);
	CHECK(ram != NULL);
	fake_init(&f);
	f.env.mem = ram;
	setup_more(1);
	CHECK(lapic_wrmsr(cpu[0], 0x4b564d04, FLAG | 1));
}

TEST(lapic_pv_eoi_flag_cleared_by_the_guest_ends_the_interrupt)
{
	setup_flag();
	msi(0, 0x55);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x55);
	CHECK_EQ(flag(), 1);
	*mem_ptr(ram, FLAG, 1) = 0;
	sig[0][LAPIC_SIG_IRQ] = 0;
	msi(0, 0x51); /* lower: held back by the other until the flag is seen */
	CHECK_EQ(sig[0][LAPIC_SIG_IRQ], 1);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x51);
	CHECK_EQ(get(0, ISR + 0x20), 1u << 17);
	teardown();
	mem_free(ram);
}

TEST(lapic_pv_eoi_is_withdrawn_when_another_interrupt_comes)
{
	setup_flag();
	msi(0, 0x55);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x55);
	msi(0, 0x51);
	CHECK_EQ(lapic_ack_irq(cpu[0]), -1); /* the handler still runs */
	CHECK_EQ(flag(), 0);
	put(0, EOI, 0);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x51);
	teardown();
	mem_free(ram);
}

TEST(lapic_pv_eoi_is_not_for_level_or_nested_or_with_others_waiting)
{
	setup_flag();
	msi(0, 0xc055);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x55);
	CHECK_EQ(flag(), 0); /* its end is broadcast */
	msi(0, 0x75);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x75);
	CHECK_EQ(flag(), 1);
	CHECK_EQ(get(0, ISR + 0x30), 1u << 21); /* a look at the registers settles it */
	CHECK_EQ(flag(), 0);
	put(0, EOI, 0);
	put(0, EOI, 0);
	msi(0, 0x61);
	msi(0, 0x62);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x62);
	CHECK_EQ(flag(), 0);
	CHECK(!lapic_wrmsr(cpu[0], 0x4b564d04, FLAG | 3));
	CHECK(lapic_wrmsr(cpu[0], 0x4b564d04, 1ull << 45 | 1)); /* no RAM there: as without */
	put(0, EOI, 0);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x61);
	teardown();
	mem_free(ram);
}

TEST(lapic_software_disable_masks_lvt_and_refuses_fixed)
{
	setup(1);
	put(0, LVTT, 0x40);
	put(0, SVR, 0xff);
	CHECK_EQ(get(0, LVTT), 0x10040);
	put(0, LVTT, 0x41);
	CHECK_EQ(get(0, LVTT), 0x10041);
	msi(0, 0x50);
	CHECK_EQ(lapic_has_irq(cpu[0]), 0);
	msi(0, 0x400);
	CHECK_EQ(sig[0][LAPIC_SIG_NMI], 1);
	teardown();
}

TEST(lapic_one_shot_fires_once_and_rearms)
{
	setup(1);
	put(0, TDCR, 0xb); /* divide by 1 */
	put(0, LVTT, 0x40);
	put(0, TMICT, 1000000);
	clock_fake_advance(&f.clock, 400000);
	CHECK_EQ(get(0, TMCCT), 600000);
	clock_fake_advance(&f.clock, 599999);
	CHECK_EQ(lapic_has_irq(cpu[0]), 0);
	clock_fake_advance(&f.clock, 1);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x40);
	CHECK_EQ(get(0, TMCCT), 0);
	put(0, EOI, 0);
	clock_fake_advance(&f.clock, 10000000);
	CHECK_EQ(lapic_has_irq(cpu[0]), 0);
	put(0, TMICT, 10);
	clock_fake_advance(&f.clock, 10);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x40);
	put(0, LVTT, 0x20040); /* to periodic: an expired count stays at zero */
	CHECK_EQ(get(0, TMCCT), 0);
	teardown();
}

TEST(lapic_periodic_keeps_its_period_and_divides)
{
	unsigned n = 0;

	setup(1);
	put(0, TDCR, 0x0); /* divide by 2 */
	put(0, LVTT, 0x20040);
	put(0, TMICT, 500000); /* 1 ms */
	for (unsigned i = 0; i < 105; i++) {
		clock_fake_advance(&f.clock, 100000);
		if (lapic_ack_irq(cpu[0]) == 0x40)
			n++;
		put(0, EOI, 0);
	}
	CHECK_EQ(n, 10);
	CHECK_EQ(get(0, TMCCT), 250000);
	put(0, TDCR, 0x2); /* by 8: the count stays, time stretches */
	CHECK_EQ(get(0, TMCCT), 250000);
	clock_fake_advance(&f.clock, 1000000);
	CHECK_EQ(get(0, TMCCT), 125000);
	put(0, TMICT, 0);
	CHECK_EQ(f.clock.nr, 0);
	teardown();
}

TEST(lapic_tsc_deadline_fires_at_its_time_and_past_ones_at_once)
{
	u64 v;

	setup(1);
	CHECK(lapic_wrmsr(cpu[0], 0x6e0, tsc(NULL) + 3000));
	CHECK(lapic_rdmsr(cpu[0], 0x6e0, &v));
	CHECK_EQ(v, 0); /* not in deadline mode: ignored */
	put(0, LVTT, 0x40040);
	CHECK(lapic_wrmsr(cpu[0], 0x6e0, tsc(NULL) + 3000));
	clock_fake_advance(&f.clock, 999);
	CHECK_EQ(lapic_has_irq(cpu[0]), 0);
	clock_fake_advance(&f.clock, 1);
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x40);
	CHECK(lapic_rdmsr(cpu[0], 0x6e0, &v));
	CHECK_EQ(v, 0);
	put(0, EOI, 0);
	CHECK(lapic_wrmsr(cpu[0], 0x6e0, 1));
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x40);
	put(0, EOI, 0);
	CHECK(lapic_wrmsr(cpu[0], 0x6e0, tsc(NULL) + 3000));
	CHECK(lapic_wrmsr(cpu[0], 0x6e0, 0)); /* 0 disarms */
	CHECK_EQ(f.clock.nr, 0);
	CHECK(lapic_wrmsr(cpu[0], 0x6e0, ~0ull)); /* a century away */
	CHECK_EQ(f.clock.nr, 1);
	put(0, LVTT, 0x40); /* leaving the mode disarms */
	CHECK_EQ(f.clock.nr, 0);
	teardown();
}

TEST(lapic_ipi_reaches_physical_logical_and_shorthand_targets)
{
	setup(4);
	for (unsigned i = 0; i < 4; i++)
		put(i, LDR, 0x01000000u << i);
	put(0, ICR2, 2u << 24);
	put(0, ICR, 0x4040);
	CHECK_EQ(lapic_ack_irq(cpu[2]), 0x40);
	CHECK_EQ(lapic_has_irq(cpu[0]) || lapic_has_irq(cpu[1]) || lapic_has_irq(cpu[3]), 0);
	put(0, ICR2, 0x0a000000); /* logical flat: 1 and 3 */
	put(0, ICR, 0x4841);
	CHECK_EQ(lapic_ack_irq(cpu[1]), 0x41);
	CHECK_EQ(lapic_ack_irq(cpu[3]), 0x41);
	CHECK_EQ(lapic_has_irq(cpu[0]), 0);
	put(1, ICR, 0xc4050); /* all but self */
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x50);
	CHECK_EQ(lapic_ack_irq(cpu[2]), 0x50);
	CHECK_EQ(lapic_has_irq(cpu[1]), 0);
	put(1, ICR, 0x84061); /* all */
	CHECK_EQ(lapic_ack_irq(cpu[1]), 0x61);
	put(1, EOI, 0);
	put(1, ICR, 0x44062); /* self */
	CHECK_EQ(lapic_ack_irq(cpu[1]), 0x62);
	CHECK_EQ(lapic_ack_irq(cpu[3]), 0x61);
	teardown();
}

TEST(lapic_cluster_model_addresses_within_the_cluster)
{
	setup(4);
	for (unsigned i = 0; i < 4; i++) {
		put(i, DFR, 0x0fffffff);
		put(i, LDR, (i / 2) << 28 | 1u << (24 + i % 2));
	}
	lapic_set_msi(&f.lapics, LAPIC_BASE | 0x12 << 12 | 4, 0x55); /* cluster 1, member 1 */
	CHECK_EQ(lapic_ack_irq(cpu[3]), 0x55);
	CHECK_EQ(lapic_has_irq(cpu[1]), 0);
	CHECK_EQ(lapic_has_irq(cpu[2]), 0);
	teardown();
}

TEST(lapic_lowest_priority_picks_the_idle_one_and_takes_turns)
{
	setup(3);
	put(0, TPR, 0x40);
	for (unsigned i = 0; i < 4; i++)
		msi(0xff, 0x100 | (0x50 + i));
	CHECK_EQ(lapic_has_irq(cpu[0]), 0);
	CHECK_EQ(lapic_ack_irq(cpu[1]), 0x52);
	CHECK_EQ(lapic_ack_irq(cpu[2]), 0x53);
	teardown();
}

TEST(lapic_init_and_sipi_reach_the_target)
{
	setup(2);
	put(1, TPR, 0x30);
	msi(1, 0x80);
	put(0, ICR2, 1u << 24);
	put(0, ICR, 0xc500); /* INIT, assert, level */
	CHECK_EQ(sig[1][LAPIC_SIG_INIT], 1);
	CHECK_EQ(get(1, TPR), 0);
	CHECK_EQ(get(1, SVR), 0xff);
	CHECK_EQ(lapic_has_irq(cpu[1]), 0);
	put(0, ICR, 0x8500); /* de-assert: nothing */
	CHECK_EQ(sig[1][LAPIC_SIG_INIT], 1);
	put(0, ICR, 0x4699);
	CHECK_EQ(sig[1][LAPIC_SIG_SIPI], 1);
	CHECK_EQ(sipi[1], 0x99);
	put(0, ICR, 0x4400);
	CHECK_EQ(sig[1][LAPIC_SIG_NMI], 1);
	CHECK_EQ(sig[0][LAPIC_SIG_INIT] + sig[0][LAPIC_SIG_NMI], 0);
	teardown();
}

TEST(lapic_extint_comes_from_the_pic)
{
	struct irq q;

	setup(2);
	f.env.irq[0] = lapic_lint0(&f.lapics);
	f.lapics.pic = dev_new(&pic8259_class, "pic", &f.env, NULL, &e);
	for (unsigned i = 0; i < 4; i++) /* ICW1..ICW4: base 0x20 */
		pic8259_class.write(f.lapics.pic, 0, i > 0, 1, (u8[]){ 0x11, 0x20, 4, 1 }[i]);
	q = pic_line(f.lapics.pic, 1);
	irq_pulse(&q);
	CHECK_EQ(sig[0][LAPIC_SIG_IRQ], 1);
	CHECK_EQ(lapic_has_irq(cpu[1]), 0); /* masked there */
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x21);
	CHECK_EQ(lapic_has_irq(cpu[0]), 0);
	pic8259_class.write(f.lapics.pic, 0, 0, 1, 0x20);
	irq_pulse(&q);
	put(0, LINT0, 0x10700); /* masked */
	CHECK_EQ(lapic_has_irq(cpu[0]), 0);
	CHECK(lapic_wrmsr(cpu[0], 0x1b, LAPIC_BASE | 0x100)); /* APIC off: LINT0 is INTR */
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x21);
	dev_free(f.lapics.pic);
	teardown();
}

TEST(lapic_errors_are_recorded_and_reported)
{
	setup(1);
	put(0, LVTERR, 0x3f);
	put(0, ICR, 0x44003); /* vector 3 */
	CHECK_EQ(lapic_ack_irq(cpu[0]), 0x3f);
	CHECK_EQ(get(0, ESR), 0);
	put(0, ESR, 0);
	CHECK_EQ(get(0, ESR), 0x20);
	put(0, ESR, 0);
	CHECK_EQ(get(0, ESR), 0);
	msi(0, 0x05);
	put(0, ESR, 0);
	CHECK_EQ(get(0, ESR), 0x40);
	put(0, LVTERR, 0x05); /* an error entry that is itself an error ends */
	msi(0, 0x05);
	teardown();
}

TEST(x2apic_registers_and_protection)
{
	static const struct {
		u32 msr;
		u64 val;
		bool ok;
	} wr[] = {
		{ 0x802, 0, false }, { 0x803, 0, false }, { 0x808, 0x20, true },
		{ 0x808, 0x100, false }, { 0x80b, 0, true }, { 0x80b, 1, false },
		{ 0x80d, 0, false }, { 0x80e, 0, false }, { 0x80f, 0x1ff, true },
		{ 0x80f, 0x10000, false }, { 0x810, 0, false }, { 0x828, 0, true },
		{ 0x828, 1, false }, { 0x82f, 0, false }, { 0x831, 0, false },
		{ 0x832, 0x10040, true }, { 0x832, 1ull << 32, false }, { 0x838, 0, true },
		{ 0x839, 0, false }, { 0x83e, 0xb, true }, { 0x83e, 4, false },
		{ 0x83f, 0x60, true }, { 0x83f, 0x100, false }, { 0x840, 0, false },
		{ 0x830, 0x100000, false },
	};
	u64 v;

	setup(CPUS);
	CHECK(!lapic_rdmsr(cpu[19], 0x802, &v)); /* xAPIC mode: no such registers */
	to_x2apic(19);
	CHECK(lapic_rdmsr(cpu[19], 0x802, &v));
	CHECK_EQ(v, 19);
	CHECK(lapic_rdmsr(cpu[19], 0x80d, &v));
	CHECK_EQ(v, 0x10008);
	CHECK_EQ(lapic_mmio_hit(cpu[19], LAPIC_BASE), 0);
	for (unsigned i = 0; i < array_len(wr); i++)
		CHECK_EQ(lapic_wrmsr(cpu[19], wr[i].msr, wr[i].val) << 16 | i, wr[i].ok << 16 | i);
	CHECK(!lapic_rdmsr(cpu[19], 0x80b, &v));
	CHECK(!lapic_rdmsr(cpu[19], 0x80e, &v));
	CHECK(!lapic_rdmsr(cpu[19], 0x83f, &v));
	CHECK_EQ(lapic_ack_irq(cpu[19]), 0x60); /* from the self-IPI above */
	teardown();
}

TEST(x2apic_ipis_use_32_bit_destinations)
{
	setup(CPUS);
	for (unsigned i = 0; i < CPUS; i++)
		to_x2apic(i);
	CHECK(lapic_wrmsr(cpu[0], 0x830, 17ull << 32 | 0x40));
	CHECK_EQ(lapic_ack_irq(cpu[17]), 0x40);
	CHECK(lapic_wrmsr(cpu[0], 0x830, 0x1000cull << 32 | 0x841)); /* cluster 1: 18, 19 */
	CHECK_EQ(lapic_ack_irq(cpu[18]), 0x41);
	CHECK_EQ(lapic_ack_irq(cpu[19]), 0x41);
	CHECK_EQ(lapic_has_irq(cpu[2]), 0);
	CHECK(lapic_wrmsr(cpu[0], 0x830, 0xffffffffull << 32 | 0x50));
	for (unsigned i = 0; i < CPUS; i++)
		CHECK_EQ(lapic_ack_irq(cpu[i]), 0x50);
	lapic_set_msi(&f.lapics, LAPIC_BASE | 0x06 << 12 | 4, 0x71); /* logical, cluster 0 */
	CHECK_EQ(lapic_ack_irq(cpu[1]), 0x71);
	CHECK_EQ(lapic_ack_irq(cpu[2]), 0x71);
	teardown();
}

TEST(apic_base_allows_only_the_documented_changes)
{
	const u64 off = LAPIC_BASE | 0x100, on = off | 0x800, x2 = on | 0x400, bad = off | 0x400;

	setup(1);
	CHECK(!lapic_wrmsr(cpu[0], 0x1b, bad));
	CHECK(!lapic_wrmsr(cpu[0], 0x1b, on | 1));
	CHECK(!lapic_wrmsr(cpu[0], 0x1b, on | 1ull << 40));
	CHECK(lapic_wrmsr(cpu[0], 0x1b, x2));
	CHECK(!lapic_wrmsr(cpu[0], 0x1b, on));
	CHECK(!lapic_wrmsr(cpu[0], 0x1b, bad));
	CHECK(lapic_wrmsr(cpu[0], 0x1b, off));
	CHECK(!lapic_wrmsr(cpu[0], 0x1b, x2));
	CHECK_EQ(lapic_mmio_hit(cpu[0], LAPIC_BASE + 0x30), 0);
	CHECK(lapic_wrmsr(cpu[0], 0x1b, (on & 0xfff) | 0x42000000));
	CHECK_EQ(lapic_mmio_hit(cpu[0], LAPIC_BASE + 0x30), 0);
	CHECK_EQ(lapic_mmio_hit(cpu[0], 0x42000030), 1);
	CHECK_EQ(lapic_mmio_read(cpu[0], 0x42000030, 4), 0x01050014);
	CHECK_EQ(lapic_mmio_read(cpu[0], 0x42000032, 1), 0x05);
	CHECK_EQ(lapic_mmio_read(cpu[0], 0x42000030, 8), ~0ull);
	teardown();
}

TEST(lapic_state_goes_out_as_registers_and_comes_back)
{
	struct lapic_regs r, again;

	setup(2);
	put(1, SVR, 0x1ff);
	put(1, TPR, 0x20);
	put(1, LDR, 2u << 24);
	put(1, LVTT, 0x20000 | 0x40); /* periodic */
	put(1, TDCR, 0xb);
	put(1, TMICT, 1000000);
	lapic_set_msi(&f.lapics, LAPIC_BASE | 1 << 12, 0x51);
	lapic_put(cpu[1], &r);
	CHECK_EQ(r.reg[ID / 16], 1u << 24);
	CHECK_EQ(r.reg[IRR / 16 + 2], 1u << 0x11);
	CHECK_EQ(r.reg[TMCCT / 16], 1000000);
	cpu[1]->class->reset(cpu[1]);
	CHECK_EQ(get(1, TPR), 0);
	lapic_take(cpu[1], &r);
	lapic_put(cpu[1], &again);
	CHECK_EQ(memcmp(&r, &again, sizeof r), 0);
	CHECK(lapic_has_irq(cpu[1]));
	CHECK_EQ(lapic_ack_irq(cpu[1]), 0x51);
	clock_fake_advance(&f.clock, 1000001);
	CHECK_EQ(get(1, IRR + 0x20), 1);
	teardown();
}
