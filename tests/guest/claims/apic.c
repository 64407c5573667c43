// SPDX-License-Identifier: Apache-2.0
/* apic.c - local APIC: identity, priorities, errors, destinations, x2APIC [SDM 3A 11] */
#include "../lib/guest.h"

CLAIM(identity_and_version)
{
	u32 r[4];

	cpuid(1, 0, r);
	EXPECT_EQ(lapic(LAPIC_ID) >> 24, r[1] >> 24);
	EXPECT_EQ(lapic(LAPIC_VER) & 0xf0, 0x10);
	EXPECT((lapic(LAPIC_VER) >> 16 & 0xff) >= 5);
	EXPECT(rdmsr(0x1b) & BIT(11));
	EXPECT(rdmsr(0x1b) & BIT(8));
}

CLAIM(self_ipi_sets_request_then_service)
{
	lapic_on();
	lapic_set(LAPIC_ICR, 0x44070);
	delay_us(1000);
	EXPECT(lapic(LAPIC_IRR + 0x30) & BIT(0x10));
	EXPECT(wait_for(&irqs[0x70], 1, 100000));
	EXPECT_EQ(lapic(LAPIC_IRR + 0x30) & BIT(0x10), 0);
	EXPECT_EQ(lapic(LAPIC_ISR + 0x30) & BIT(0x10), 0);
}

static u8 order[8];
static volatile u32 nr_order;

static void on_order(struct frame *f)
{
	order[nr_order++ & 7] = (u8)f->vector;
	lapic_set(LAPIC_EOI, 0);
}

CLAIM(higher_vectors_come_first)
{
	static const u8 send[] = { 0x41, 0x81, 0x61, 0x91 };

	lapic_on();
	for (unsigned n = 0; n < ARRAY(send); n++) {
		handlers[send[n]] = on_order;
		ipi(0, 0x4000 | send[n]);
	}
	delay_us(1000);
	EXPECT(wait_for(&nr_order, 4, 100000));
	EXPECT_EQ(order[0], 0x91);
	EXPECT_EQ(order[1], 0x81);
	EXPECT_EQ(order[2], 0x61);
	EXPECT_EQ(order[3], 0x41);
}

CLAIM(task_priority_holds_back)
{
	lapic_on();
	write_cr8(7);
	EXPECT_EQ(lapic(LAPIC_TPR), 0x70);
	ipi(0, 0x4071);
	EXPECT(!wait_for(&irqs[0x71], 1, 5000));
	ipi(0, 0x4081);
	EXPECT(wait_for(&irqs[0x81], 1, 100000));
	EXPECT_EQ(irqs[0x71], 0);
	write_cr8(0);
	EXPECT(wait_for(&irqs[0x71], 1, 100000));
}

static volatile u32 inner, outer_done;

static void on_outer(struct frame *f)
{
	(void)f;
	ipi(0, 0x4052); /* lower class: after our EOI */
	ipi(0, 0x4092); /* higher: at once */
	sti();
	delay_us(2000);
	cli();
	inner = irqs[0x92] * 10 + irqs[0x52];
	outer_done = 1;
	lapic_set(LAPIC_EOI, 0);
}

CLAIM(only_a_higher_class_interrupts_a_handler)
{
	lapic_on();
	handlers[0x62] = on_outer;
	ipi(0, 0x4062);
	EXPECT(wait_for(&outer_done, 1, 1000000));
	EXPECT_EQ(inner, 10);
	EXPECT(wait_for(&irqs[0x52], 1, 100000));
}

CLAIM(logical_destination_flat_and_cluster)
{
	lapic_on();
	lapic_set(LAPIC_DFR, 0xffffffff);
	lapic_set(LAPIC_LDR, 4u << 24);
	ipi(4, 0x4853);
	EXPECT(wait_for(&irqs[0x53], 1, 100000));
	ipi(3, 0x4854);
	EXPECT(!wait_for(&irqs[0x54], 1, 5000));
	lapic_set(LAPIC_DFR, 0x0fffffff);
	lapic_set(LAPIC_LDR, 0x21u << 24);
	ipi(0x23, 0x4855);
	EXPECT(wait_for(&irqs[0x55], 1, 100000));
	ipi(0x11, 0x4856);
	EXPECT(!wait_for(&irqs[0x56], 1, 5000));
}

CLAIM(software_disable_masks_the_table)
{
	lapic_on();
	lapic_set(LAPIC_LVTT, 0x60);
	lapic_set(LAPIC_SVR, 0xff);
	EXPECT(lapic(LAPIC_LVTT) & BIT(16));
	lapic_set(LAPIC_LVTT, 0x60);
	EXPECT(lapic(LAPIC_LVTT) & BIT(16));
	lapic_set(LAPIC_SVR, 0x1ff);
	lapic_set(LAPIC_LVTT, 0x60);
	EXPECT_EQ(lapic(LAPIC_LVTT) & BIT(16), 0);
}

CLAIM(x2apic_by_msr)
{
	u32 id = lapic(LAPIC_ID) >> 24, r[4];

	cpuid(1, 0, r);
	EXPECT(r[2] & BIT(21));
	lapic_on();
	wrmsr(0x1b, rdmsr(0x1b) | BIT(10));
	EXPECT_EQ(rdmsr(0x802), id);
	wrmsr(0x80f, 0x1ff);
	wrmsr(0x808, 0x20);
	EXPECT_EQ(rdmsr(0x808), 0x20);
	EXPECT_EQ(read_cr8(), 2);
	wrmsr(0x808, 0);
	EXPECT_EQ(rdmsr(0x80d), BIT(id & 15) | (id & ~15u) << 12);
	CATCH("rdmsr", ::"c"(0x80e) : "rax", "rdx", "r15", "memory"); /* no DFR there */
	EXPECT_EQ(caught.vector, 13);
	handlers[0x57] = NULL;
	wrmsr(0x83f, 0x57); /* self IPI */
	delay_us(1000);
	EXPECT(rdmsr(0x822) & BIT(0x17));
}

CLAIM(apic_base_refuses_a_wrong_change)
{
	u64 base = rdmsr(0x1b);

	CATCH("wrmsr", ::"c"(0x1b), "a"((u32)(base & ~BIT(11)) | 0x400), "d"(0) : "r15", "memory");
	EXPECT_EQ(caught.vector, 13);
	EXPECT_EQ(rdmsr(0x1b), base);
}
