// SPDX-License-Identifier: Apache-2.0
/* paging.c - translation, permissions, accessed and dirty bits, TLB [SDM 3A 4] */
#include "../lib/guest.h"

#define VA 0x10000000000 /* 1 TiB: ours alone, mapped by pte_of() */

static u8 *page(void)
{
	return alloc(4096, 4096);
}

static void map(u64 va, const void *at, u64 flags)
{
	*pte_of(va) = (u64)at | flags;
	invlpg(va);
}

#define LOAD(va)  CATCH("mov (%0), %%eax", ::"r"(va) : "rax", "r15", "memory")
#define STORE(va) CATCH("movl $1, (%0)", ::"r"(va) : "r15", "memory")

#define EXPECT_PF(err, addr)                                                                       \
	do {                                                                                       \
		EXPECT_EQ(caught.vector, 14);                                                      \
		EXPECT_EQ(caught.error, err);                                                      \
		EXPECT_EQ(caught.cr2, addr);                                                       \
	} while (0)

CLAIM(alias_shows_the_same_memory)
{
	u8 *p = page();

	map(VA, p, PTE_P | PTE_W);
	map(VA + 4096, p, PTE_P | PTE_W);
	*(volatile u32 *)(VA + 8) = 0x12345678;
	EXPECT_EQ(*(volatile u32 *)(VA + 4096 + 8), 0x12345678);
	EXPECT_EQ(*(volatile u32 *)(p + 8), 0x12345678);
}

CLAIM(not_present_faults_with_address)
{
	pte_of(VA);
	LOAD(VA + 0x123);
	EXPECT_PF(0, VA + 0x123);
	STORE(VA + 0x124);
	EXPECT_PF(2, VA + 0x124);
}

CLAIM(read_only_needs_wp)
{
	map(VA, page(), PTE_P);
	STORE(VA);
	EXPECT_PF(3, VA);
	write_cr0(read_cr0() & ~BIT(16));
	STORE(VA);
	EXPECT_EQ(caught.vector, NO_FAULT);
	write_cr0(read_cr0() | BIT(16));
	STORE(VA);
	EXPECT_PF(3, VA);
}

CLAIM(no_execute_faults_on_fetch)
{
	u8 *p = page();

	p[0] = 0xc3; /* ret */
	map(VA, p, PTE_P | PTE_W | PTE_NX);
	LOAD(VA);
	EXPECT_EQ(caught.vector, NO_FAULT);
	CATCH("call *%0", ::"r"(VA) : "r15", "memory");
	__asm__ volatile("" ::: "memory");
	EXPECT_PF(0x11, VA);
}

static void user_reads(void)
{
	__asm__ volatile("mov (%0), %%eax" ::"r"(VA) : "rax", "memory");
}

static void user_fault(struct frame *f)
{
	caught.vector = f->vector;
	caught.error = f->error;
	caught.cr2 = read_cr2();
	leave_user(f);
}

CLAIM(supervisor_page_is_not_for_users)
{
	map(VA, page(), PTE_P | PTE_W);
	pml4[VA >> 39 & 511] |= PTE_U;
	handlers[14] = user_fault;
	user_call(user_reads);
	EXPECT_PF(5, VA);
}

CLAIM(accessed_and_dirty_bits_follow_use)
{
	u64 *e = pte_of(VA);

	map(VA, page(), PTE_P | PTE_W);
	EXPECT_EQ(*e & (PTE_A | PTE_D), 0);
	LOAD(VA);
	EXPECT_EQ(*(volatile u64 *)e & (PTE_A | PTE_D), PTE_A);
	STORE(VA);
	EXPECT_EQ(*(volatile u64 *)e & (PTE_A | PTE_D), PTE_A | PTE_D);
}

CLAIM(invlpg_makes_a_change_visible)
{
	u8 *a = page(), *b = page();

	a[0] = 1;
	b[0] = 2;
	for (unsigned n = 0; n < 1000; n++) {
		*pte_of(VA) = (u64)(n & 1 ? b : a) | PTE_P;
		invlpg(VA);
		EXPECT_EQ(*(volatile u8 *)VA, n & 1 ? 2 : 1);
	}
}

CLAIM(cr3_reload_makes_a_change_visible)
{
	u8 *a = page(), *b = page();

	a[0] = 1;
	b[0] = 2;
	for (unsigned n = 0; n < 1000; n++) {
		*pte_of(VA) = (u64)(n & 1 ? b : a) | PTE_P;
		write_cr3(read_cr3());
		EXPECT_EQ(*(volatile u8 *)VA, n & 1 ? 2 : 1);
	}
}

CLAIM(global_pages_go_with_cr4_pge)
{
	u8 *a = page(), *b = page();

	a[0] = 1;
	b[0] = 2;
	write_cr4(read_cr4() | BIT(7));
	map(VA, a, PTE_P | PTE_G);
	EXPECT_EQ(*(volatile u8 *)VA, 1);
	*pte_of(VA) = (u64)b | PTE_P | PTE_G;
	write_cr4(read_cr4() & ~BIT(7));
	EXPECT_EQ(*(volatile u8 *)VA, 2);
}

CLAIM(reserved_bit_faults)
{
	map(VA, page(), PTE_P | PTE_W);
	pml4[VA >> 39 & 511] |= BIT(7); /* PS is reserved there */
	write_cr3(read_cr3());
	LOAD(VA);
	EXPECT_EQ(caught.vector, 14);
	EXPECT_EQ(caught.error | PTE_P, 9); /* QEMU's processor, under the lab, leaves out P */
	EXPECT_EQ(caught.cr2, VA);
}

CLAIM(large_pages_of_both_sizes)
{
	u32 r[4];
	u64 *t = alloc(4096, 4096), *m = (u64 *)(20 << 20);

	*m = 0x1122334455667788;
	pml4[VA >> 39 & 511] = (u64)t | PTE_P | PTE_W;
	t[1] = (u64)alloc(4096, 4096) | PTE_P | PTE_W;
	((u64 *)(t[1] & ~0xfffull))[0] = (16 << 20) | PTE_P | PTE_W | PTE_PS;
	((u64 *)(t[1] & ~0xfffull))[2] = (20 << 20) | PTE_P | PTE_W | PTE_PS;
	EXPECT_EQ(*(volatile u64 *)(VA + BIT(30) + (4 << 20)), *m);
	cpuid(0x80000001, 0, r);
	if (!(r[3] & BIT(26)))
		return;
	t[0] = PTE_P | PTE_W | PTE_PS;
	EXPECT_EQ(*(volatile u64 *)(VA + (20 << 20)), *m);
}

CLAIM(smep_keeps_the_kernel_off_user_pages)
{
	u32 r[4];
	u8 *p = page();

	cpuid(7, 0, r);
	if (!(r[1] & BIT(7)))
		return;
	p[0] = 0xc3;
	map(VA, p, PTE_P | PTE_U);
	pml4[VA >> 39 & 511] |= PTE_U;
	CATCH("call *%0", ::"r"(VA) : "r15", "memory");
	EXPECT_EQ(caught.vector, NO_FAULT);
	write_cr4(read_cr4() | BIT(20));
	CATCH("call *%0", ::"r"(VA) : "r15", "memory");
	EXPECT_PF(0x11, VA);
}

CLAIM(an_access_across_two_pages_faults_on_the_second)
{
	map(VA, page(), PTE_P | PTE_W);
	pte_of(VA + 4096);
	CATCH("movq $-1, (%0)", ::"r"(VA + 4092) : "r15", "memory");
	EXPECT_PF(2, VA + 4096);
	EXPECT_EQ(*(volatile u32 *)(VA + 4092), 0);
}

CLAIM(code_written_is_code_run)
{
	u8 *p = page();

	map(VA, p, PTE_P | PTE_W);
	p[0] = 0xb8; /* mov $imm, %eax; ret */
	p[5] = 0xc3;
	for (u32 n = 0; n < 1000; n++) {
		u32 got;

		*(volatile u32 *)(n & 1 ? p + 1 : (u8 *)VA + 1) = n;
		__asm__ volatile("call *%1" : "=a"(got) : "r"(VA) : "memory", "cc");
		EXPECT_EQ(got, n);
	}
}
