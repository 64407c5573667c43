// SPDX-License-Identifier: Apache-2.0
/* faults.c - exceptions, their error codes and where they return to [SDM 3A 6.15] */
#include "../lib/guest.h"

extern u64 gdt_spare;

CLAIM(divide_error_points_at_the_instruction)
{
	u64 at;

	CATCH("lea 1f(%%rip), %0; xor %%ecx, %%ecx; 1: div %%ecx", : "=&r"(at)::"rax", "rcx", "rdx", "r15", "memory");
	EXPECT_EQ(caught.vector, 0);
	EXPECT_EQ(caught.rip, at);
}

CLAIM(undefined_instruction)
{
	u64 at;

	CATCH("lea 1f(%%rip), %0; 1: ud2", : "=&r"(at)::"r15", "memory");
	EXPECT_EQ(caught.vector, 6);
	EXPECT_EQ(caught.rip, at);
}

CLAIM(breakpoint_points_after_itself)
{
	u64 at;

	CATCH("lea 1f(%%rip), %0; int3; 1:", : "=&r"(at)::"r15", "memory");
	EXPECT_EQ(caught.vector, 3);
	EXPECT_EQ(caught.rip, at);
}

CLAIM(bad_addresses_and_registers_are_gp_0)
{
	CATCH("mov (%0), %%eax", ::"r"(BIT(62)) : "rax", "r15", "memory");
	EXPECT_EQ(caught.vector, 13);
	EXPECT_EQ(caught.error, 0);
	CATCH("rdmsr", ::"c"(0x12345678) : "rax", "rdx", "r15", "memory");
	EXPECT_EQ(caught.vector, 13);
}

CLAIM(selector_errors_name_the_selector)
{
	CATCH("mov %w0, %%fs", ::"r"(0x1f0) : "r15", "memory");
	EXPECT_EQ(caught.vector, 13);
	EXPECT_EQ(caught.error, 0x1f0);
	gdt_spare = 0x00cf13000000ffff; /* data, not present */
	CATCH("mov %w0, %%fs", ::"r"(SEL_SPARE) : "r15", "memory");
	EXPECT_EQ(caught.vector, 11);
	EXPECT_EQ(caught.error, SEL_SPARE);
	CATCH("mov %w0, %%ss", ::"r"(SEL_SPARE) : "r15", "memory");
	EXPECT_EQ(caught.vector, 12);
	EXPECT_EQ(caught.error, SEL_SPARE);
}

CLAIM(trap_flag_stops_after_one_instruction)
{
	u64 at;

	CATCH("lea 1f(%%rip), %0; pushf; orl $0x100, (%%rsp); popf; nop; 1: nop", : "=&r"(at)::"r15", "memory");
	EXPECT_EQ(caught.vector, 1);
	EXPECT_EQ(caught.rip, at);
	EXPECT(caught.dr6 & BIT(14));
}

CLAIM(data_breakpoint_reports_its_number)
{
	static u32 watched;

	__asm__ volatile("mov %0, %%dr6; mov %1, %%dr1; mov %2, %%dr7" ::"r"(0ull), "r"((u64)&watched),
			 "r"(0xd00400ull | BIT(2)));
	CATCH("movl $5, %0", : "=m"(watched)::"r15", "memory");
	__asm__ volatile("mov %0, %%dr7" ::"r"(0x400ull));
	EXPECT_EQ(caught.vector, 1);
	EXPECT_EQ(caught.dr6 & 15, 2);
	EXPECT_EQ(watched, 5);
}

CLAIM(task_switched_is_device_not_available)
{
	write_cr0(read_cr0() | BIT(3));
	CATCH("movaps %%xmm0, %%xmm1", ::: "r15", "memory");
	EXPECT_EQ(caught.vector, 7);
	__asm__ volatile("clts");
	CATCH("movaps %%xmm0, %%xmm1", ::: "r15", "memory");
	EXPECT_EQ(caught.vector, NO_FAULT);
}

CLAIM(two_contributory_faults_are_a_double_fault)
{
	extern u8 entries[];

	set_gate(8, (u64)entries + 16 * 8, 0x8e, 1); /* on a stack of its own */
	set_gate(13, 0, 0, 0);
	CATCH("mov (%0), %%eax", ::"r"(BIT(62)) : "rax", "r15", "memory");
	EXPECT_EQ(caught.vector, 8);
	EXPECT_EQ(caught.error, 0);
}

static void user_code(void)
{
	__asm__ volatile("mov %%cs, %%eax; shl $32, %%rax; mov $0x1234, %%ax; int $0x80" ::: "rax", "memory");
}

CLAIM(ring_3_is_entered_and_left)
{
	user_call(user_code);
	EXPECT_EQ(user_result & 0xffff, 0x1234);
}

static void user_privileged(void)
{
	__asm__ volatile("mov %%cr0, %%rax" ::: "rax", "memory");
}

static u64 user_vector;

static void on_gp(struct frame *f)
{
	user_vector = f->vector;
	f->rax = f->cs;
	leave_user(f);
}

CLAIM(ring_3_may_not_read_cr0)
{
	handlers[13] = on_gp;
	user_call(user_privileged);
	EXPECT_EQ(user_vector, 13);
	EXPECT_EQ(user_result, SEL_UCODE);
}

extern u8 syscall_entry[];
__asm__(".globl syscall_entry\nsyscall_entry: mov %rcx, %rax; mov $0x77, %edx; sysretq");

static void user_syscall(void)
{
	__asm__ volatile("xor %%edx, %%edx; lea 1f(%%rip), %%rbx; syscall; 1: cmp %%rax, %%rbx; jne 2f; "
			 "mov %%rdx, %%rax; int $0x80; 2: ud2" ::
				 : "rax", "rbx", "rcx", "rdx", "r11", "memory");
}

CLAIM(syscall_and_sysret_come_back)
{
	wrmsr(0xc0000081, 0x001b000800000000 | 0);
	wrmsr(0xc0000082, (u64)syscall_entry);
	wrmsr(0xc0000084, 0x200);
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
	user_call(user_syscall);
	EXPECT_EQ(user_result, 0x77);
}

CLAIM(iret_to_a_bad_selector_faults_inside)
{
	CATCH("pushq $0x10; pushq %%rsp; pushfq; pushq $0x1f0; lea 1f(%%rip), %%rax; pushq %%rax; iretq; 1:",
	      ::: "rax", "r15", "memory");
	EXPECT_EQ(caught.vector, 13);
	EXPECT_EQ(caught.error, 0x1f0);
}
