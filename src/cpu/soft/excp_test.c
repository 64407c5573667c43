// SPDX-License-Identifier: Apache-2.0
/* excp_test.c - interrupts, exceptions, far transfers and returns, segment loads */
#include "base/test.h"
#include "cpu/soft/desc.h"
#include "cpu/soft/mmu.h"
#include "cpu/soft/op_sys.h"
#include "cpu/soft/sysvm.h"

#define NEW_VM()                                                                                   \
	struct vcpu *v CLEANUP(free_vm) = sysvm_new();                                             \
	if (!v) {                                                                                  \
		test_skip("no room for guest memory");                                             \
		return;                                                                            \
	}

static void free_vm(struct vcpu **v)
{
	if (*v)
		sysvm_free(*v);
}

#define RUN(...)                                                                                   \
	sysvm_exec(v, (const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ }))

#define CHECK_EXC(expr, vec, err)                                                                  \
	do {                                                                                       \
		CHECK_EQ(expr, X_FAULT);                                                           \
		CHECK_EQ(v->exc.vector, vec);                                                      \
		CHECK_EQ(v->exc.error, err);                                                       \
	} while (0)

static u64 stack_word(struct vcpu *v, unsigned n)
{
	return sysvm_get(v, v->s.gpr[RSP] + 8 * n, 8);
}

static u64 handler(unsigned vector)
{
	return SV_HANDLER + 16 * vector;
}

/* -- long mode delivery ------------------------------------------------------------------- */

TEST(an_exception_in_user_mode_switches_to_rsp0_and_pushes_its_error)
{
	NEW_VM();
	sysvm_gate(v, EX_GP, DT_INT32, 0, 0, SV_CS);
	sysvm_cpl3(v);
	v->s.rflags |= FL_IF;
	raise_err(v, EX_GP, 0x1234);
	CHECK_EQ(deliver_exception(v), X_OK);
	CHECK_EQ(v->s.rip, handler(EX_GP));
	CHECK_EQ(v->cpl, 0);
	CHECK_EQ(v->s.gpr[RSP], SV_RSP0 - 48);
	CHECK_EQ(stack_word(v, 0), 0x1234);
	CHECK_EQ(stack_word(v, 1), SV_USER);
	CHECK_EQ(stack_word(v, 2), SV_UCS | 3);
	CHECK_EQ(stack_word(v, 3), FL_ONE | FL_IF | FL_RF);
	CHECK_EQ(stack_word(v, 4), SV_USER + 0x1000);
	CHECK_EQ(stack_word(v, 5), SV_UDS | 3);
	CHECK_EQ(v->s.seg[SEG_SS].sel, 0);
	CHECK(!(v->s.rflags & FL_IF));
}

TEST(ist_switches_stacks_at_the_same_privilege_and_aligns_them)
{
	NEW_VM();
	sysvm_gate(v, EX_UD, DT_TRAP32, 0, 1, SV_CS);
	v->s.rflags |= FL_IF;
	raise_ex(v, EX_UD);
	CHECK_EQ(deliver_exception(v), X_OK);
	CHECK_EQ(v->s.gpr[RSP], (SV_IST1 & ~15) - 40);
	CHECK_EQ(stack_word(v, 3), SV_STACK);
	CHECK_EQ(v->s.seg[SEG_SS].sel, SV_DS);
	CHECK(v->s.rflags & FL_IF); /* trap gate */
}

TEST(the_frame_is_aligned_to_sixteen_bytes)
{
	NEW_VM();
	sysvm_gate(v, 0x30, DT_INT32, 0, 0, SV_CS);
	v->s.gpr[RSP] = SV_STACK - 3;
	CHECK_EQ(deliver_interrupt(v, 0x30), X_OK);
	CHECK_EQ(v->s.gpr[RSP], SV_STACK - 16 - 40);
	CHECK_EQ(stack_word(v, 3), SV_STACK - 3);
}

TEST(an_nmi_blocks_nmis_until_iret)
{
	NEW_VM();
	sysvm_gate(v, EX_NMI, DT_INT32, 0, 0, SV_CS);
	CHECK_EQ(deliver_interrupt(v, EX_NMI), X_OK);
	CHECK(v->s.nmi_blocked);
	CHECK_EQ(RUN(0x48, 0xcf), X_OK);
	CHECK(!v->s.nmi_blocked);
	CHECK_EQ(v->s.rip, SV_CODE);
	CHECK_EQ(v->s.gpr[RSP], SV_STACK);
}

TEST(an_interrupt_ends_hlt)
{
	NEW_VM();
	sysvm_gate(v, 0x30, DT_INT32, 0, 0, SV_CS);
	CHECK_EQ(RUN(0xf4), X_OK);
	CHECK_EQ(v->s.activity, ACT_HALTED);
	CHECK_EQ(deliver_interrupt(v, 0x30), X_OK);
	CHECK_EQ(v->s.activity, ACT_RUNNING);
	CHECK_EQ(stack_word(v, 0), SV_CODE + 1);
}

TEST(int_n_needs_the_gates_privilege)
{
	NEW_VM();
	sysvm_gate(v, 0x80, DT_INT32, 0, 0, SV_CS);
	sysvm_gate(v, 0x81, DT_INT32, 3, 0, SV_CS);
	sysvm_cpl3(v);
	CHECK_EXC(RUN(0xcd, 0x80), EX_GP, 0x80 * 8 + 2);
	CHECK_EQ(RUN(0xcd, 0x81), X_OK);
	CHECK_EQ(v->s.rip, handler(0x81));
	CHECK_EQ(stack_word(v, 0), SV_USER + 2);
}

/* -- faults while delivering ------------------------------------------------------------------ */

TEST(a_missing_gate_for_a_contributory_exception_is_a_double_fault)
{
	NEW_VM();
	sysvm_gate(v, EX_DF, DT_INT32, 0, 0, SV_CS);
	raise_err(v, EX_GP, 7);
	CHECK_EQ(deliver_exception(v), X_OK);
	CHECK_EQ(v->s.rip, handler(EX_DF));
	CHECK_EQ(stack_word(v, 0), 0);
}

TEST(a_page_fault_while_delivering_gp_is_delivered_as_such)
{
	NEW_VM();
	sysvm_gate(v, EX_PF, DT_INT32, 0, 1, SV_CS);
	sysvm_gate(v, EX_GP, DT_INT32, 0, 0, SV_CS);
	sysvm_pte(v, SV_STACK - 0x1000, 0);
	raise_err(v, EX_GP, 7);
	CHECK_EQ(deliver_exception(v), X_OK);
	CHECK_EQ(v->s.rip, handler(EX_PF));
	CHECK_EQ(v->s.cr2, SV_STACK - 8);
	CHECK_EQ(stack_word(v, 0), PF_W);
	CHECK_EQ(stack_word(v, 1), SV_CODE);
}

TEST(a_page_fault_while_delivering_a_page_fault_is_double_and_moves_cr2)
{
	NEW_VM();
	sysvm_gate(v, EX_PF, DT_INT32, 0, 0, SV_CS);
	sysvm_gate(v, EX_DF, DT_INT32, 0, 1, SV_CS);
	sysvm_pte(v, SV_STACK - 0x1000, 0);
	raise_pf(v, 0x1234, 0);
	CHECK_EQ(deliver_exception(v), X_OK);
	CHECK_EQ(v->s.rip, handler(EX_DF));
	CHECK_EQ(v->s.cr2, SV_STACK - 8);
}

TEST(a_fault_while_delivering_a_double_fault_shuts_down)
{
	NEW_VM();
	v->s.idtr.limit = 0;
	raise_ex(v, EX_UD);
	CHECK_EQ(deliver_exception(v), X_SHUTDOWN);
	CHECK_EQ(v->s.rip, SV_CODE);
	CHECK_EQ(v->s.gpr[RSP], SV_STACK);
}

TEST(debug_exceptions_report_in_dr6_and_clear_gd)
{
	NEW_VM();
	sysvm_gate(v, EX_DB, DT_INT32, 0, 0, SV_CS);
	v->s.dr7 |= 1 << 13;
	CHECK_EXC(RUN(0x0f, 0x21, 0xf8), EX_DB, 0); /* mov rax, dr7 */
	CHECK_EQ(deliver_exception(v), X_OK);
	CHECK_EQ(v->s.dr6 & 0xe00f, 1 << 13);
	CHECK(!(v->s.dr7 & 1 << 13));
}

/* -- IRET ---------------------------------------------------------------------------------------- */

static void push_frame(struct vcpu *v, u64 ip, u16 cs, u64 flags, u64 sp, u16 ss)
{
	u64 w[] = { ip, cs, flags, sp, ss };

	v->s.gpr[RSP] = SV_STACK - sizeof(w);
	for (unsigned n = 0; n < 5; n++)
		sysvm_put(v, v->s.gpr[RSP] + 8 * n, 8, w[n]);
}

TEST(iretq_to_compatibility_mode)
{
	NEW_VM();
	push_frame(v, 0x50010, SV_UCS32 | 3, FL_IF | FL_RF | FL_ONE, 0x1ffffffff, SV_UDS | 3);
	CHECK_EQ(RUN(0x48, 0xcf), X_OK);
	CHECK_EQ(v->cpl, 3);
	CHECK(!is_long64(v) && is_long(v));
	CHECK_EQ(v->s.rip, 0x50010);
	CHECK_EQ(v->s.gpr[RSP], 0xffffffff);
	CHECK_EQ(v->s.rflags, FL_IF | FL_RF | FL_ONE);
}

TEST(iretq_with_nt_set_is_a_general_protection_fault)
{
	NEW_VM();
	push_frame(v, SV_CODE, SV_CS, FL_ONE, SV_STACK, SV_DS);
	v->s.rflags |= FL_NT;
	CHECK_EXC(RUN(0x48, 0xcf), EX_GP, 0);
}

TEST(iretq_to_a_non_canonical_address_faults_before_leaving_the_kernel)
{
	NEW_VM();
	push_frame(v, 0x800000000000, SV_UCS | 3, FL_ONE, SV_USER, SV_UDS | 3);
	CHECK_EXC(RUN(0x48, 0xcf), EX_GP, 0);
	CHECK_EQ(v->cpl, 0);
	CHECK_EQ(v->s.seg[SEG_SS].sel, SV_DS);
	CHECK_EQ(v->s.seg[SEG_CS].sel, SV_CS);
}

TEST(iretq_accepts_a_null_stack_segment_in_the_kernel_only)
{
	NEW_VM();
	push_frame(v, SV_CODE, SV_CS, FL_ONE, SV_STACK, 0);
	CHECK_EQ(RUN(0x48, 0xcf), X_OK);
	CHECK_EQ(v->cpl, 0);
	push_frame(v, SV_CODE, SV_UCS | 3, FL_ONE, SV_STACK, 3);
	CHECK_EXC(RUN(0x48, 0xcf), EX_GP, 0);
}

TEST(iret_keeps_msr_bases_of_null_segments)
{
	NEW_VM();
	v->s.seg[SEG_FS] = (struct x86_seg){ .base = 0x123456789000, .attr = SA_UNUSABLE };
	push_frame(v, SV_USER, SV_UCS | 3, FL_ONE, SV_USER, SV_UDS | 3);
	CHECK_EQ(RUN(0x48, 0xcf), X_OK);
	CHECK_EQ(v->s.seg[SEG_FS].base, 0x123456789000);
	CHECK_EQ(v->s.seg[SEG_DS].sel, 0); /* DPL 0: dropped */
}

TEST(user_iret_changes_neither_iopl_nor_if)
{
	NEW_VM();
	sysvm_cpl3(v);
	v->s.gpr[RSP] = SV_USER + 0x800;
	for (unsigned n = 0; n < 5; n++)
		sysvm_put(v, SV_USER + 0x800 + 8 * n, 8,
			  ((u64[]){ SV_USER, SV_UCS | 3, FL_IOPL | FL_IF | FL_CF, SV_USER,
				    SV_UDS | 3 })[n]);
	CHECK_EQ(RUN(0x48, 0xcf), X_OK);
	CHECK_EQ(v->s.rflags, FL_ONE | FL_CF);
}

/* -- SYSCALL and relatives ------------------------------------------------------------------------- */

static void set_star(struct vcpu *v)
{
	v->s.star = (u64)(SV_UCS32 | 3) << 48 | (u64)SV_CS << 32;
	v->s.lstar = 0xffffffff81000000;
	v->s.sfmask = FL_IF | FL_DF | FL_TF;
}

TEST(syscall_saves_rip_and_flags_and_masks_them)
{
	NEW_VM();
	set_star(v);
	sysvm_cpl3(v);
	v->s.rflags |= FL_IF | FL_CF;
	CHECK_EQ(RUN(0x0f, 0x05), X_OK);
	CHECK_EQ(v->s.rip, 0xffffffff81000000);
	CHECK_EQ(v->s.gpr[RCX], SV_USER + 2);
	CHECK_EQ(v->s.gpr[R11], FL_ONE | FL_IF | FL_CF);
	CHECK_EQ(v->s.rflags, FL_ONE | FL_CF);
	CHECK_EQ(v->s.seg[SEG_CS].sel, SV_CS);
	CHECK_EQ(v->s.seg[SEG_SS].sel, SV_CS + 8);
	CHECK_EQ(v->cpl, 0);
}

TEST(sysret_to_a_non_canonical_address_faults_where_the_vendor_says)
{
	NEW_VM();
	set_star(v);
	v->s.gpr[RCX] = 0x800000000000;
	v->s.gpr[R11] = FL_IF;
	if (!cpu_model_is_amd()) {
		CHECK_EXC(RUN(0x48, 0x0f, 0x07), EX_GP, 0);
		CHECK_EQ(v->cpl, 0);
		return;
	}
	CHECK_EQ(RUN(0x48, 0x0f, 0x07), X_OK);
	CHECK_EQ(v->cpl, 3);
	CHECK_EXC(interp_step(v), EX_GP, 0);
}

TEST(sysenter_in_ia32e_mode_follows_the_vendor)
{
	NEW_VM();
	v->s.sysenter_cs = SV_CS;
	v->s.sysenter_eip = SV_CODE;
	sysvm_cpl3(v);
	if (cpu_model_is_amd()) {
		CHECK_EXC(RUN(0x0f, 0x34), EX_UD, 0);
		return;
	}
	CHECK_EQ(RUN(0x0f, 0x34), X_OK);
	CHECK_EQ(v->cpl, 0);
}

TEST(syscall_without_sce_is_undefined)
{
	NEW_VM();
	v->s.efer &= ~(u64)EFER_SCE;
	CHECK_EXC(RUN(0x0f, 0x05), EX_UD, 0);
}

TEST(a_null_selector_clears_the_segment_base)
{
	NEW_VM();
	v->s.seg[SEG_FS].base = 0x1234;
	v->s.gpr[RAX] = 0;
	CHECK_EQ(RUN(0x8e, 0xe0), X_OK); /* mov fs, eax */
	CHECK_EQ(v->s.seg[SEG_FS].base, 0);
}

TEST(segment_base_registers_must_be_canonical)
{
	NEW_VM();
	v->s.gpr[RCX] = MSR_FS_BASE;
	v->s.gpr[RDX] = 0x8000;
	CHECK_EXC(RUN(0x0f, 0x30), EX_GP, 0);
	v->s.gpr[RDX] = 0x7fff;
	CHECK_EQ(RUN(0x0f, 0x30), X_OK);
	CHECK_EQ(v->s.seg[SEG_FS].base >> 32, 0x7fff);
	v->s.gpr[RAX] = 1ull << 47;
	v->s.cr4 |= CR4_FSGSBASE;
	CHECK_EXC(RUN(0xf3, 0x48, 0x0f, 0xae, 0xd0), EX_GP, 0); /* wrfsbase rax */
}

/* -- privilege --------------------------------------------------------------------------------------- */

TEST(system_instructions_fault_in_user_mode)
{
	static const u8 insns[][4] = {
		{ 0xf4 }, { 0xfa }, { 0xfb }, { 0x0f, 0x06 }, { 0x0f, 0x30 }, { 0x0f, 0x32 },
		{ 0x0f, 0x09 }, { 0x0f, 0x20, 0xc0 }, { 0x0f, 0x22, 0xd8 }, { 0x0f, 0x21, 0xc0 },
		{ 0x0f, 0x01, 0x10 }, { 0x0f, 0x01, 0x38 }, { 0x0f, 0x01, 0xf8 },
		{ 0x0f, 0x00, 0xd0 }, { 0x0f, 0x00, 0xd8 }, { 0x0f, 0x01, 0xf0 },
	};
	NEW_VM();

	sysvm_cpl3(v);
	v->s.cr4 |= CR4_OSXSAVE;
	v->s.gpr[RAX] = SV_USER + 0x100;
	for (unsigned n = 0; n < array_len(insns); n++)
		CHECK_EXC(sysvm_exec(v, insns[n], 4), EX_GP, 0);
}

TEST(umip_hides_descriptor_tables_from_user_mode)
{
	NEW_VM();
	sysvm_cpl3(v);
	v->s.gpr[RAX] = SV_USER + 0x100;
	CHECK_EQ(RUN(0x0f, 0x01, 0x00), X_OK); /* sgdt [rax] */
	v->s.rip = SV_USER;
	v->s.cr4 |= CR4_UMIP;
	CHECK_EXC(RUN(0x0f, 0x01, 0x00), EX_GP, 0);
	CHECK_EXC(RUN(0x0f, 0x01, 0xe0), EX_GP, 0); /* smsw eax */
	CHECK_EXC(RUN(0x0f, 0x00, 0xc0), EX_GP, 0); /* sldt eax */
	CHECK_EXC(RUN(0x0f, 0x00, 0xc8), EX_GP, 0); /* str eax */
}

TEST(ports_open_by_the_io_bitmap_only)
{
	NEW_VM();
	sysvm_put(v, SV_TSS + 0x66, 2, 0x68);
	sysvm_put(v, SV_TSS + 0x68 + 0x80 / 8, 1, 0xfe); /* port 80h */
	v->s.tr.limit = 0x68 + 0x2000;
	sysvm_cpl3(v);
	CHECK_EQ(RUN(0xe6, 0x80), X_OK);
	v->s.rip = SV_USER;
	CHECK_EXC(RUN(0xe7, 0x80), EX_GP, 0);
	v->s.tr.limit = 0x67;
	CHECK_EXC(RUN(0xe6, 0x80), EX_GP, 0);
	v->s.rflags |= FL_IOPL;
	CHECK_EQ(RUN(0xe6, 0x80), X_OK);
}

TEST(sti_shadows_one_instruction_only_when_it_enables)
{
	NEW_VM();
	CHECK_EQ(RUN(0xfb), X_OK);
	CHECK(v->s.shadow_sti);
	CHECK_EQ(RUN(0xfb), X_OK);
	CHECK(!v->s.shadow_sti);
}

/* -- descriptors ---------------------------------------------------------------------------------------- */

TEST(segment_loads_check_type_privilege_and_presence)
{
	NEW_VM();
	v->s.gpr[RAX] = SV_FREE;
	sysvm_desc(v, SV_FREE, 0x00cf13000000ffff); /* data, not present */
	CHECK_EXC(RUN(0x8e, 0xd8), EX_NP, SV_FREE);
	CHECK_EXC(RUN(0x8e, 0xd0), EX_SS, SV_FREE);
	sysvm_desc(v, SV_FREE, 0x00cf91000000ffff); /* read-only */
	CHECK_EXC(RUN(0x8e, 0xd0), EX_GP, SV_FREE);
	sysvm_desc(v, SV_FREE, 0x00cf99000000ffff); /* execute-only */
	CHECK_EXC(RUN(0x8e, 0xd8), EX_GP, SV_FREE);
	v->s.gpr[RAX] = SV_GDT_SIZE;
	CHECK_EXC(RUN(0x8e, 0xd8), EX_GP, SV_GDT_SIZE);
}

TEST(a_segment_load_sets_the_accessed_bit)
{
	NEW_VM();
	sysvm_desc(v, SV_FREE, 0x00cf92000000ffff);
	v->s.gpr[RAX] = SV_FREE;
	CHECK_EQ(RUN(0x8e, 0xd8), X_OK);
	CHECK_EQ(sysvm_get(v, SV_GDT + SV_FREE + 5, 1), 0x93);
}

TEST(ltr_marks_the_task_busy_and_refuses_a_busy_one)
{
	NEW_VM();
	sysvm_desc(v, SV_TR, 0x000089000000ffff | (u64)SV_TSS2 << 16);
	v->s.gpr[RAX] = SV_TR;
	CHECK_EQ(RUN(0x0f, 0x00, 0xd8), X_OK);
	CHECK_EQ(v->s.tr.base, SV_TSS2);
	CHECK_EQ(sysvm_get(v, SV_GDT + SV_TR + 5, 1), 0x8b);
	CHECK_EXC(RUN(0x0f, 0x00, 0xd8), EX_GP, SV_TR);
}

TEST(expand_down_segments_have_their_limit_below)
{
	NEW_VM();
	u64 la;

	sysvm_legacy(v, false);
	sysvm_desc(v, SV_FREE, 0x0040970000000fff);
	CHECK_EQ(load_seg(v, SEG_DS, SV_FREE), X_OK);
	CHECK_EXC(seg_linear(v, SEG_DS, 0xfff, 1, ACC_R, &la), EX_GP, 0);
	CHECK_EQ(seg_linear(v, SEG_DS, 0x1000, 4, ACC_W, &la), X_OK);
	CHECK_EQ(seg_linear(v, SEG_DS, 0xfffffffc, 4, ACC_W, &la), X_OK);
	CHECK_EXC(seg_linear(v, SEG_DS, 0xfffffffd, 4, ACC_W, &la), EX_GP, 0);
}

TEST(a_stack_limit_violation_is_a_stack_fault)
{
	NEW_VM();
	sysvm_legacy(v, false);
	v->s.seg[SEG_SS].limit = 0xfff;
	v->s.gpr[RSP] = 0x1002;
	CHECK_EXC(RUN(0x50), EX_SS, 0); /* push eax */
	CHECK_EQ(v->s.gpr[RSP], 0x1002);
}

TEST(a_limit_loaded_in_protected_mode_survives_in_real_mode)
{
	NEW_VM();
	u64 la;

	sysvm_legacy(v, false);
	CHECK_EQ(set_cr0(v, v->s.cr0 & ~(u64)CR0_PE), X_OK);
	load_seg_real(v, SEG_DS, 0x100);
	CHECK_EQ(seg_linear(v, SEG_DS, 0x12345678, 4, ACC_W, &la), X_OK);
	CHECK_EQ(la, 0x12346678);
}

/* -- real and virtual-8086 mode ----------------------------------------------------------------------------- */

TEST(real_mode_interrupts_use_the_vector_table)
{
	NEW_VM();
	sysvm_real(v);
	v->s.rip = 0x2000;
	v->s.gpr[RSP] = 0xdead0800;
	v->s.rflags |= FL_IF;
	sysvm_put(v, 4 * 0x10, 4, 0x12345678);
	CHECK_EQ(RUN(0xcd, 0x10), X_OK);
	CHECK_EQ(v->s.rip, 0x5678);
	CHECK_EQ(v->s.seg[SEG_CS].base, 0x12340);
	CHECK_EQ(v->s.gpr[RSP], 0xdead07fa);
	CHECK_EQ(sysvm_get(v, 0x7fa, 2), 0x2002);
	CHECK_EQ(sysvm_get(v, 0x7fe, 2), FL_ONE | FL_IF);
	CHECK(!(v->s.rflags & FL_IF));
	v->s.seg[SEG_CS].base = 0x2000;
	v->s.rip = 0;
	CHECK_EQ(RUN(0xcf), X_OK);
	CHECK_EQ(v->s.rip, 0x2002);
	CHECK_EQ(v->s.gpr[RSP], 0xdead0800);
	CHECK(v->s.rflags & FL_IF);
}

/* 32-bit ring 0 with a 32-bit TSS for its own stack. */
static void legacy_tss(struct vcpu *v)
{
	sysvm_legacy(v, false);
	v->s.tr = (struct x86_seg){ .base = SV_TSS, .limit = 0x67, .attr = 0x8b, .sel = SV_TR };
	sysvm_put(v, SV_TSS + 4, 4, SV_RSP0);
	sysvm_put(v, SV_TSS + 8, 2, SV_DS);
}

TEST(virtual_8086_mode_is_entered_and_left_with_all_segments)
{
	NEW_VM();
	static const u32 frame[] = { 0x100, 0x1000, FL_VM | FL_ONE | FL_IF, 0x800, 0x2000,
				     0x3000, 0x4000, 0x5000, 0x6000 };

	legacy_tss(v);
	v->s.gpr[RSP] = SV_STACK - sizeof(frame);
	for (unsigned n = 0; n < array_len(frame); n++)
		sysvm_put(v, v->s.gpr[RSP] + 4 * n, 4, frame[n]);
	CHECK_EQ(RUN(0xcf), X_OK);
	CHECK(is_vm86(v));
	CHECK_EQ(v->cpl, 3);
	CHECK_EQ(v->s.seg[SEG_GS].base, 0x60000);
	CHECK_EQ(v->s.gpr[RSP], 0x800);
	CHECK_EXC(RUN(0xcd, 0x21), EX_GP, 0); /* IOPL 0 */
	sysvm_gate(v, EX_GP, DT_INT32, 0, 0, SV_CS32);
	CHECK_EQ(deliver_exception(v), X_OK);
	CHECK(!is_vm86(v));
	CHECK_EQ(v->cpl, 0);
	CHECK_EQ(v->s.gpr[RSP], SV_RSP0 - 40);
	CHECK_EQ(sysvm_get(v, v->s.gpr[RSP] + 4, 4), 0x100);
	CHECK_EQ(sysvm_get(v, v->s.gpr[RSP] + 20, 4), 0x2000);
	CHECK_EQ(sysvm_get(v, v->s.gpr[RSP] + 36, 4), 0x6000);
	CHECK_EQ(v->s.seg[SEG_DS].sel, 0);
}

TEST(call_gates_switch_stacks_and_copy_parameters)
{
	NEW_VM();
	static const u8 lcall[] = { 0x9a, 0, 0, 0, 0, SV_FREE, 0 };

	legacy_tss(v);
	/* 32-bit call gate, DPL 3, two parameters, to SV_CS32:SV_HANDLER */
	sysvm_desc(v, SV_FREE, (u64)(SV_HANDLER >> 16) << 48 | 0xec02ull << 32 | SV_CS32 << 16 |
				       (SV_HANDLER & 0xffff));
	for (unsigned n = 0; n < NR_SEGS; n++)
		v->s.seg[n].attr |= SA_DPL;
	v->s.seg[SEG_CS].sel = SV_UCS32 | 3;
	v->s.seg[SEG_SS].sel = SV_UDS | 3;
	update_cpl(v);
	v->s.gpr[RSP] = SV_STACK - 8;
	sysvm_put(v, SV_STACK - 8, 8, 0x2222222211111111);
	CHECK_EQ(sysvm_exec(v, lcall, sizeof(lcall)), X_OK);
	CHECK_EQ(v->s.rip, SV_HANDLER);
	CHECK_EQ(v->cpl, 0);
	CHECK_EQ(v->s.gpr[RSP], SV_RSP0 - 24);
	CHECK_EQ(sysvm_get(v, SV_RSP0 - 24, 4), SV_CODE + 7);
	CHECK_EQ(sysvm_get(v, SV_RSP0 - 16, 8), 0x2222222211111111);
	CHECK_EQ(sysvm_get(v, SV_RSP0 - 8, 4), SV_STACK - 8);
	sysvm_put(v, SV_HANDLER, 4, 0x0008ca); /* retf 8 */
	CHECK_EQ(interp_step(v), X_OK);
	CHECK_EQ(v->cpl, 3);
	CHECK_EQ(v->s.gpr[RSP], SV_STACK);
	CHECK_EQ(v->s.rip, SV_CODE + 7);
}

TEST(a_task_switch_and_its_return_keep_both_tasks_state)
{
	NEW_VM();
	static const u8 lcall[] = { 0x9a, 0, 0, 0, 0, SV_FREE, 0 };

	legacy_tss(v);
	sysvm_desc(v, SV_FREE, 0x0000890000000067 | (u64)SV_TSS2 << 16);
	sysvm_put(v, SV_TSS2 + 0x20, 4, SV_HANDLER);
	sysvm_put(v, SV_TSS2 + 0x24, 4, FL_ONE);
	sysvm_put(v, SV_TSS2 + 0x28, 4, 0xabcd);
	sysvm_put(v, SV_TSS2 + 0x38, 4, SV_RSP0);
	for (unsigned n = 0; n < NR_SEGS; n++)
		sysvm_put(v, SV_TSS2 + 0x48 + 4 * n, 2, n == SEG_CS ? SV_CS32 : SV_DS);
	v->s.gpr[RAX] = 0x1111;
	CHECK_EQ(sysvm_exec(v, lcall, sizeof(lcall)), X_OK);
	CHECK_EQ(v->s.rip, SV_HANDLER);
	CHECK_EQ(v->s.gpr[RAX], 0xabcd);
	CHECK_EQ(v->s.tr.sel, SV_FREE);
	CHECK(v->s.rflags & FL_NT);
	CHECK(v->s.cr0 & CR0_TS);
	CHECK_EQ(sysvm_get(v, SV_TSS2, 2), SV_TR);
	CHECK_EQ(sysvm_get(v, SV_TSS + 0x20, 4), SV_CODE + 7);
	CHECK_EQ(RUN(0xcf), X_OK);
	CHECK_EQ(v->s.rip, SV_CODE + 7);
	CHECK_EQ(v->s.gpr[RAX], 0x1111);
	CHECK_EQ(v->s.tr.sel, SV_TR);
	CHECK_EQ(sysvm_get(v, SV_GDT + SV_FREE + 5, 1), 0x89);
}

TEST(entering_long_mode_needs_pae_and_sets_lma)
{
	NEW_VM();
	sysvm_legacy(v, false);
	v->s.efer = EFER_LME;
	CHECK_EXC(set_cr0(v, v->s.cr0 | CR0_PG), EX_GP, 0);
	v->s.cr4 = CR4_PAE;
	CHECK_EQ(set_cr0(v, v->s.cr0 | CR0_PG), X_OK);
	CHECK(v->s.efer & EFER_LMA);
	CHECK_EXC(set_efer(v, v->s.efer & ~(u64)EFER_LME), EX_GP, 0);
	CHECK_EXC(set_cr4(v, 0), EX_GP, 0);
	CHECK_EQ(set_cr0(v, v->s.cr0 & ~(u64)CR0_PG), X_OK);
	CHECK(!(v->s.efer & EFER_LMA));
}

TEST(unknown_msrs_fault_and_the_tsc_moves_by_its_adjustment)
{
	NEW_VM();
	v->s.gpr[RCX] = 0x12345678;
	CHECK_EXC(RUN(0x0f, 0x32), EX_GP, 0);
	CHECK_EXC(RUN(0x0f, 0x30), EX_GP, 0);
	v->s.gpr[RCX] = MSR_TSC_ADJUST;
	v->s.gpr[RAX] = 1000;
	v->s.gpr[RDX] = 0;
	CHECK_EQ(RUN(0x0f, 0x30), X_OK);
	CHECK_EQ(v->s.tsc_offset, 1000);
	CHECK_EQ(v->s.tsc_adjust, 1000);
}

TEST(the_kvm_clock_record_turns_tsc_into_nanoseconds)
{
	NEW_VM();
	u64 tsc, ns, shifted;
	i8 shift;

	v->tsc_base = 5;
	v->s.gpr[RCX] = MSR_KVM_SYSTEM_TIME_NEW;
	v->s.gpr[RAX] = SV_DATA | 1;
	v->s.gpr[RDX] = 0;
	CHECK_EQ(RUN(0x0f, 0x30), X_OK);
	CHECK_EQ(sysvm_get(v, SV_DATA + 8, 8), 5);
	shift = (i8)sysvm_get(v, SV_DATA + 28, 1);
	tsc = cpu_tsc_khz() * 1000; /* one second */
	shifted = shift < 0 ? tsc >> -shift : tsc << shift;
	ns = (u64)((unsigned __int128)shifted * (u32)sysvm_get(v, SV_DATA + 24, 4) >> 32);
	CHECK(ns > 999999000 && ns < 1000001000);
	CHECK_EQ(sysvm_get(v, SV_DATA + 29, 1), 1);
}
