// SPDX-License-Identifier: Apache-2.0
/*
 * pitfall_insn_test.c - what goes wrong when instructions are re-emitted with
 * other operands (docs/pitfalls.md, 1..27); every test on every tier
 */
#include "cpu/soft/insn.h"
#include "cpu/soft/guestvm.h"

#include "base/test.h"
#include "cpu/cpuid.h"

#define DATA0 0x8081828384858687ull /* at GV_DATA */
#define DATA1 0xf0e0d0c0b0a09080ull /* at GV_DATA + 8 */

static void run(struct gv *g, const u8 *code, const u8 *end)
{
	gv_code(g, GV_CODE, code, end);
	gv_put(g, GV_DATA, 8, DATA0);
	gv_put(g, GV_DATA + 8, 8, DATA1);
	g->s.rip = GV_CODE;
	g->s.gpr[RSP] = GV_STACK;
	gv_run(g);
}

/* rax after the code, on every tier */
static void expect(const u8 *code, const u8 *end, u64 want)
{
	EACH_TIER(g) {
		run(g, code, end);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RAX], want);
	}
}

static void expect_fault(const u8 *code, const u8 *end, int vector, u64 offset)
{
	EACH_TIER(g) {
		run(g, code, end);
		CHECK_EQ(g->vector, vector);
		CHECK_EQ(g->rip, GV_CODE + offset);
	}
}

#define RAX_IS(test, want, text)                                                                   \
	GUEST(g_##test, text GV_FINISH);                                                           \
	TEST(test) { expect(g_##test, g_##test##_end, want); }
#define FAULTS(test, vector, offset, text)                                                         \
	GUEST(g_##test, text GV_FINISH);                                                           \
	TEST(test) { expect_fault(g_##test, g_##test##_end, vector, offset); }

/* -- 1..4: flags ----------------------------------------------------------------------------- */

RAX_IS(pitfall_01_carry_survives_loads_stores_pushes_and_calls, 0x3f,
       "xor %eax, %eax; stc; mov 0x20000, %rcx; adc %eax, %eax\n"
       "cmp %rcx, %rcx; mov %rcx, 0x20100; mov $0, %edx; setz %dl; lea (%rdx,%rax,2), %eax\n"
       "stc; push %rcx; adc %eax, %eax; stc; pop %rcx; adc %eax, %eax\n"
       "stc; call 1f; adc %eax, %eax; add $0x7f, %dl; mov 0x20008, %r11; seto %dl\n"
       "movzbl %dl, %edx; lea (%rdx,%rax,2), %eax; jmp 2f; 1: ret; 2: nop")
RAX_IS(pitfall_01_a_big_number_addition_carries_through_memory, 0x1,
       "movq $-1, 0x20200; movq $-1, 0x20208; movq $-1, 0x20210; movq $0, 0x20218; mov $1, %eax\n"
       "add %rax, 0x20200; adcq $0, 0x20208; adcq $0, 0x20210; adcq $0, 0x20218; mov 0x20218, %rax")
RAX_IS(pitfall_02_inc_and_dec_keep_carry, 0xb,
       "xor %eax, %eax; mov $1, %ecx; stc; inc %ecx; adc %eax, %eax; stc; decl 0x20000\n"
       "adc %eax, %eax; clc; incl 0x20008; mov 0x20008, %edx; adc %eax, %eax; stc; dec %r15\n"
       "mov 0x20000, %r15; adc %eax, %eax; sub $2, %eax")
RAX_IS(pitfall_02_shifts_by_zero_keep_all_flags, 0x1f,
       "xor %eax, %eax; xor %ecx, %ecx; mov $-1, %edx\n"
       "stc; shl %cl, %edx; mov 0x20000, %rbx; adc %eax, %eax\n"
       "mov $32, %ecx; stc; mov 0x20000, %rbx; shr %cl, %edx; mov 0x20000, %rbx; adc %eax, %eax\n"
       "mov $64, %ecx; stc; sar %cl, %rdx; mov 0x20000, %rbx; adc %eax, %eax\n"
       "stc; mov 0x20000, %rbx; .byte 0xc1, 0xe2, 0x20; mov 0x20000, %rbx; adc %eax, %eax\n" /* shl edx, 32 */
       "stc; mov 0x20000, %rbx; .byte 0x48, 0xc0, 0xe2, 0x20; mov 0x20000, %rbx; adc %eax, %eax") /* shl dl, 32 with W */
RAX_IS(pitfall_03_flags_reach_code_behind_jumps, 5,
       "xor %eax, %eax; mov 0x20000, %rcx; cmp %rcx, %rcx; jmp 1f; .balign 4096\n"
       "1: mov 0x20008, %rdx; jne 3f; inc %eax; cmp %rdx, %rcx; jz 3f; jmp 2f; nop\n"
       "2: jb 4f; jmp 3f; 4: add $4, %eax; 3: nop")
RAX_IS(pitfall_04_carry_returned_by_ret_and_iret, 3,
       "xor %eax, %eax; call 1f; adc %eax, %eax; push $0x10; push $0x40000; pushf; orq $1, (%rsp)\n"
       "push $8; lea 2f(%rip), %rcx; push %rcx; iretq; 1: stc; ret; 2: adc %eax, %eax")

/* -- 5..11: operands -------------------------------------------------------------------------- */

RAX_IS(pitfall_05_high_byte_registers_beside_renamed_ones, 0x80818283848586aa,
       "mov $0xaa11, %ecx; mov %ch, 0x20000; mov $0x20000, %r10d; mov %rsp, %rbx\n"
       "mov $0x20010, %esp; mov %ch, (%rsp); mov %rbx, %rsp; mov 0x20010, %bh; cmp %ch, %bh; jne 9f\n"
       "add %bh, 0x20010; mov 0x20010, %dh; add %ch, %ch; cmp %dh, %ch; jne 9f\n"
       "xchg %dh, 0x20000; cmp $0xaa, %dh; jne 9f; xchg %dh, 0x20000\n"
       "mov 0x20000, %rax; mov $0xaa, %al; 9: nop")
RAX_IS(pitfall_06_writes_of_32_bits_clear_the_upper_half, 0,
       "mov $-1, %rcx; mov %rcx, %rdx; mov %rcx, %r10; mov %rcx, %r11; mov %rcx, %r15\n"
       "cmp %rcx, %rcx; cmovne %ecx, %edx; cmovne 0x20000, %r10d; mov 0x20000, %r11d\n"
       "mov %rcx, %rbx; xchg %ebx, %r15d; mov %rdx, %rax; or %r10, %rax; or %r11, %rax\n"
       "or %r15, %rax; or %rbx, %rax; xor %esi, %esi; mov %rcx, %r14; lea (%rcx), %r14d; or %r14, %rax\n"
       "mov %rcx, %r10; bsf %esi, %r8d; movzbl %cl, %r15d; or %r15, %rax; shr $32, %rax")
RAX_IS(pitfall_07_writes_of_8_and_16_bits_keep_the_rest, 0x11223344556688bb,
       "mov $0x1122334455667788, %r10; mov %r10, %r11; mov %r10, %r15; mov %r10, %rsi; mov $0xbb, %dl\n"
       "mov %dl, %r10b; mov %r10, %r11; movb $0x88, 0x20001; mov 0x20001, %r15b; movw $0x88bb, 0x20002\n"
       "mov 0x20002, %r11w; lea 0x1(%rsi), %si; mov %r15, %rax; cmp $0x88, %al; jne 9f; mov %r11, %rax\n"
       "9: nop")
RAX_IS(pitfall_08_rip_relative_operands_count_from_the_end, 0x7b,
       "movl $100, 1f(%rip); addl $0x11, 1f(%rip); addw $2, 1f(%rip); imul $1, 1f(%rip), %eax\n"
       "testl $0x12345678, 1f(%rip); btsl $2, 1f(%rip); shll $1, 1f(%rip); shrl $1, 1f(%rip)\n"
       "movb $0, 1f+1(%rip); mov 1f(%rip), %eax; add $4, %eax; jmp 2f\n.balign 8\n1: .quad 0; 2: nop")
RAX_IS(pitfall_09_the_67h_prefix_truncates_before_the_segment_base, DATA1,
       "mov $0x10000, %eax; wrfsbase %rax; mov $0xffffffff0000fff8, %rbx; mov $0x10, %ecx\n"
       "mov %fs:(%ebx,%ecx), %rax; lea (%ebx,%ebx), %rdx; shr $32, %rdx; add %rdx, %rax")
RAX_IS(pitfall_10_odd_sib_forms_address_right, 4 * DATA1,
       "mov $0x20008, %r13d; mov %r13, %r12; mov %r13, %rbp; mov %rsp, %rbx; xor %eax, %eax\n"
       "add (%r13), %rax; add (%r12), %rax; add (%rbp), %rax; mov %r13, %rsp\n"
       ".byte 0x48, 0x03, 0x04, 0x24; mov %rbx, %rsp") /* add rax, [rsp] */
RAX_IS(pitfall_10_homed_registers_as_base_and_index, DATA1 + DATA0 + 0x8,
       "mov $0x20000, %r10d; mov $8, %r11d; mov $1, %r15d; mov (%r10,%r15,8), %rax\n"
       "add -8(%r10,%r11), %rax; lea (,%r15,8), %r10; add %r10, %rax")

/* disp8 counts in vectors of 64, 32 or 4 bytes */
GUEST(g_evex, "mov $0x20000, %r10d; movups (%r10), %xmm0; vmovdqu32 %zmm0, 64(%r10)\n"
	      "vpaddd 64(%r10), %xmm0, %xmm17; vpaddd 4(%r10){1to4}, %xmm17, %xmm18\n"
	      "vmovdqu32 %xmm18, 128(%r10); mov 128(%r10), %eax" GV_FINISH);

TEST(pitfall_11_evex_displacements_are_scaled)
{
	u32 lo = (u32)DATA0, hi = DATA0 >> 32;

	if (!__builtin_cpu_supports("avx512vl"))
		return;
	EACH_TIER(g) {
		g->s.xcr0 = 0xe7;
		run(g, g_evex, g_evex_end);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.gpr[RAX], (u32)(2 * lo + hi));
	}
}

/* -- 12..17: encodings --------------------------------------------------------------------------- */

RAX_IS(pitfall_12_redundant_prefixes_change_nothing, DATA0 + 1,
       ".byte 0x66, 0x66, 0x2e, 0x3e, 0x26, 0x48, 0x8b, 0x04, 0x25, 0, 0, 2, 0\n" /* mov rax, [20000] */
       ".byte 0x48, 0x66, 0x83, 0xc0, 0x01") /* REX not last is none: add ax, 1 */
FAULTS(pitfall_12_sixteen_bytes_are_a_fault, EX_GP, 1,
       "nop; .byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90")
RAX_IS(pitfall_13_hints_are_nops, 7,
       "mov $7, %eax; endbr64; pause; .byte 0xf3, 0x0f, 0x1e, 0xc8; nopw 0x7(%rax,%rax)\n" /* rdsspd */
       "prefetchw 0x12345678; .byte 0x0f, 0x19, 0xc0; call 1f; jmp 2f; 1: .byte 0xf3, 0xc3\n"
       "2: .byte 0xf2, 0xeb, 0x00; xacquire lock addl $0, 0x20000")

TEST(pitfall_14_near_branches_with_66h_follow_the_vendor)
{
	static const u8 code[] = { 0xb8, 1, 0, 0, 0, 0x66, 0xe9, 0x00, 0x00, 0x00, 0x00, 0xe6, 0xf4 };

	/* AMD: a 16-bit offset, and 16 bits of the target remain */
	EACH_TIER(g) {
		gv_put(g, 9, 2, 0xf4e6);
		run(g, code, code + sizeof code);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(g->s.rip, cpu_model_is_amd() ? 11 : GV_CODE + sizeof code);
	}
}

TEST(movsxd_with_a_16_bit_operand_reads_as_many_bytes_as_the_vendor)
{
	static const u8 code[] = { 0x66, 0x63, 0x07 };
	struct insn i;

	CHECK(insn_decode(&i, code, sizeof code, 8));
	CHECK_EQ(i.mem_size, cpu_model_is_amd() ? 4 : 2);
	CHECK_EQ(i.rm_size, i.mem_size);
}

GUEST(g_counts, "mov $8, %ecx; lzcnt %ecx, %eax; tzcnt %ecx, %edx; lea (%rax,%rdx,8), %eax" GV_FINISH);
GUEST(g_hidden, "vaddps %xmm0, %xmm0, %xmm0" GV_FINISH);
GUEST(g_hidden_bmi, "andn %eax, %eax, %eax" GV_FINISH);
GUEST(g_hidden_movbe, "movbe 0x20000, %eax" GV_FINISH);
GUEST(g_hidden512, "vaddps %zmm0, %zmm0, %zmm0" GV_FINISH);

TEST(pitfall_15_bit_counts_are_scans_where_the_model_lacks_them)
{
	for (unsigned t = 0; t < 2; t++) {
		struct cpu_config c = { .interpret_only = !t, .code_cache_bytes = 1u << 20 };

		for (c.model = CPU_MODEL_V3; c.model <= CPU_MODEL_MAX; c.model++) {
			struct gv *g = gv_new_config(&c);

			if (!g)
				return;
			run(g, g_counts, g_counts_end);
			CHECK_EQ(g->vector, -1);
			CHECK_EQ(g->s.gpr[RAX], c.model == CPU_MODEL_V2 ? 3 + 24 : 28 + 24);
			gv_free(g);
		}
	}
}

TEST(pitfall_16_what_cpuid_hides_is_undefined)
{
	for (unsigned t = 0; t < 2; t++) {
		struct cpu_config c = { .interpret_only = !t, .model = CPU_MODEL_V2,
					.code_cache_bytes = 1u << 20 };
		struct gv *g = gv_new_config(&c);

		if (!g)
			return;
		g->s.cr4 &= ~(u64)CR4_OSXSAVE; /* as this model's guest must run */
		g->s.xcr0 = 1;
		run(g, g_hidden, g_hidden_end);
		CHECK_EQ(g->vector, EX_UD);
		run(g, g_hidden_bmi, g_hidden_bmi_end);
		CHECK_EQ(g->vector, EX_UD);
		run(g, g_hidden_movbe, g_hidden_movbe_end);
		CHECK_EQ(g->vector, EX_UD);
		gv_free(g);
		c.model = CPU_MODEL_V3;
		g = gv_new_config(&c);
		run(g, g_hidden512, g_hidden512_end);
		CHECK_EQ(g->vector, EX_UD);
		gv_free(g);
	}
}

/* The guest's answers, never the host's. */
GUEST(g_leaks, "sgdt 0x20100; sidt 0x20110; smsw %rax; str %ecx; xor %edx, %edx; sldt %edx\n"
	       "mov $0x40000000, %eax; push %rbx; cpuid; mov %ebx, %esi; pop %rbx; mov $0xc0000103, %ecx\n"
	       "mov $77, %eax; xor %edx, %edx; wrmsr; rdtscp; mov %ecx, %edi; smsw %rax; str %ecx" GV_FINISH);

TEST(pitfall_17_tables_cpuid_and_tsc_aux_are_the_guests)
{
	EACH_TIER(g) {
		run(g, g_leaks, g_leaks_end);
		CHECK_EQ(g->vector, -1);
		CHECK_EQ(gv_get(g, 0x20102, 8), GV_GDT);
		CHECK_EQ(gv_get(g, 0x20112, 8), GV_IDT);
		CHECK_EQ(g->s.gpr[RAX], g->s.cr0);
		CHECK_EQ(g->s.gpr[RCX], 0x30);
		CHECK_EQ(g->s.gpr[RDI], 77);
		CHECK_EQ(g->s.gpr[RSI], 0x4b4d564b); /* "KVMK" */
	}
}

/* -- 18, 23..26 ------------------------------------------------------------------------------------ */

FAULTS(pitfall_18_movaps_faults_when_misaligned, EX_GP, 8, "movups 0x20001, %xmm0; movaps 0x20001, %xmm1")
GUEST(g_ac, "pushf; orl $0x40000, (%rsp); popf; mov 0x20000, %rax; mov 0x20002, %rax" GV_FINISH);

TEST(pitfall_18_misaligned_user_data_with_ac_faults)
{
	EACH_TIER(g) {
		gv_user(g);
		g->s.cr0 |= CR0_AM;
		gv_code(g, GV_CODE, g_ac, g_ac_end);
		gv_run(g);
		CHECK_EQ(g->vector, EX_AC);
		CHECK_EQ(g->rip, GV_CODE + (u64)(g_ac_end - g_ac) - 3 - 8);
	}
}

FAULTS(pitfall_23_division_overflow_faults_at_the_division, EX_DE, 12,
       "mov $0x80000000, %eax; cltd; mov $-1, %ecx; 1: nop; idiv %ecx")
FAULTS(pitfall_23_division_by_zero_in_memory_faults_at_the_division, EX_DE, 14,
       "movl $0, 0x20100; xor %edx, %edx; nop; divl 0x20100")
RAX_IS(pitfall_24_overlapping_moves_repeat_the_pattern, 0x8787878787878787,
       "mov $0x20000, %esi; mov $0x20001, %edi; mov $15, %ecx; rep movsb; mov 0x20008, %rax")
RAX_IS(pitfall_24_rep_with_no_count_and_backwards, DATA1 + 0x20008,
       "mov $0xdead0000, %edi; mov $1, %esi; shl $63, %rsi; xor %ecx, %ecx; rep movsb\n"
       "std; mov $0x20008, %esi; mov $0x20108, %edi; mov $1, %ecx; rep movsq; cld\n"
       "mov 0x20108, %rax; add $8, %rsi; add %rsi, %rax")

GUEST(g_rep_fault, "mov $0x20000, %esi; mov $0x40000ff0, %edi; mov $32, %ecx; rep movsb" GV_FINISH);

TEST(pitfall_24_a_fault_inside_rep_leaves_exact_counts)
{
	EACH_TIER(g) {
		gv_map(g, 0x40000000, GV_FREE, PTE_P | PTE_W);
		run(g, g_rep_fault, g_rep_fault_end);
		CHECK_EQ(g->vector, EX_PF);
		CHECK_EQ(g->s.cr2, 0x40001000);
		CHECK_EQ(g->rip, GV_CODE + 15);
		CHECK_EQ(g->s.gpr[RCX], 16);
		CHECK_EQ(g->s.gpr[RSI], 0x20010);
		CHECK_EQ(gv_get(g, GV_FREE + 0xff8, 8), DATA1);
	}
}

GUEST(g_cx_fail, "xor %eax, %eax; mov (%rbx), %rcx; cmpxchg %rdx, (%rbx)" GV_FINISH);
GUEST(g_cx8_fail, "xor %eax, %eax; mov (%rbx), %rcx; cmpxchg8b (%rbx)" GV_FINISH);

TEST(pitfall_25_a_compare_that_fails_needs_write_permission)
{
	EACH_TIER(g) {
		for (unsigned k = 0; k < 2; k++) {
			gv_map(g, 0x40000000, GV_FREE, PTE_P);
			gv_put(g, GV_FREE, 8, 5);
			g->s.gpr[RBX] = 0x40000000;
			run(g, k ? g_cx8_fail : g_cx_fail, k ? g_cx8_fail_end : g_cx_fail_end);
			CHECK_EQ(g->vector, EX_PF);
			CHECK_EQ(g->error, PF_P | PF_W);
		}
	}
}

FAULTS(pitfall_25_lock_on_a_load_is_undefined, EX_UD, 1, "nop; .byte 0xf0; mov 0x20000, %eax")
RAX_IS(pitfall_26_the_stack_pointer_as_an_operand, 0x40000 - 16 + 7,
       "push %rsp; pop %rcx; cmp %rsp, %rcx; jne 9f; push $0x3fff0; pop %rsp; push $5; pop 8(%rsp)\n"
       "mov %rsp, %rbp; push $7; mov %rsp, %rbp; leave; cmp $7, %ebp; jne 9f; mov %rsp, %rax; push %rax\n"
       "xchg %rsp, (%rsp); cmp %rsp, %rax; jne 9f; add %rbp, %rax; 9: nop")
