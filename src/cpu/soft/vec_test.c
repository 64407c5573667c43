// SPDX-License-Identifier: Apache-2.0
/*
 * vec_test.c - what the random comparison with the host (tests/nd) cannot
 * reach: availability by control registers, exceptions by mode, host addresses
 * in x87 pointers, parking. Named after the pitfalls of running guest vectors in
 * host registers.
 */
#include "base/test.h"

#include "cpu/soft/mmu.h"
#include "cpu/soft/ops.h"
#include "cpu/soft/stub.h"
#include "cpu/soft/testvm.h"
#include "cpu/soft/xstate.h"

static struct vcpu *vm;

/* A 64-bit user-mode vCPU with every vector feature of the host; NULL: test skipped. */
static struct vcpu *vec_vm(void)
{
	if (!vm)
		vm = testvm_new();
	if (!vm) {
		test_skip("no address space for the test window");
		return NULL;
	}
	fp_park(vm);
	testvm_reset(vm);
	vm->s.cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	vm->s.xcr0 = xs_layout()->mask;
	*xs_u32(vm, XS_MXCSR) = MXCSR_DEFAULT;
	return vm;
}

#define NEW_VM()                                                                                   \
	struct vcpu *v = vec_vm();                                                                 \
	if (!v)                                                                                    \
		return;

/* Execute one instruction given by its bytes. */
#define RUN(...) run(v, (const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ }))

static int run(struct vcpu *v, const u8 *code, unsigned len)
{
	testvm_code(v, TV_VA(TV_CODE), code, len);
	return interp_step(v);
}

/* The vector of the exception that the bytes raise; 0xff: none. */
static unsigned trap(struct vcpu *v, const u8 *code, unsigned len)
{
	return run(v, code, len) == X_FAULT ? v->exc.vector : 0xff;
}

#define TRAP(...) trap(v, (const u8[]){ __VA_ARGS__ }, sizeof((const u8[]){ __VA_ARGS__ }))

#define MOVAPS_LOAD  0x0f, 0x28, 0x07		  /* movaps xmm0, [rdi] */
#define MOVUPS_LOAD  0x0f, 0x10, 0x07		  /* movups xmm0, [rdi] */
#define VMOVAPS_LOAD 0xc5, 0xf8, 0x28, 0x07	  /* vmovaps xmm0, [rdi] */
#define VADDPS_MEM   0xc5, 0xf8, 0x58, 0x07	  /* vaddps xmm0, xmm0, [rdi] */
#define ADDPS	     0x0f, 0x58, 0xc1		  /* addps xmm0, xmm1 */
#define DIVPS	     0x0f, 0x5e, 0xc1		  /* divps xmm0, xmm1 */
#define PADDB_MMX    0x0f, 0xfc, 0xc1		  /* paddb mm0, mm1 */
#define FLD1	     0xd9, 0xe8
#define FLDZ	     0xd9, 0xee
#define FDIVP	     0xde, 0xf9
#define FWAIT	     0x9b
#define FNINIT	     0xdb, 0xe3
#define FXSAVE_RDI   0x48, 0x0f, 0xae, 0x07
#define XRSTOR_RDI   0x48, 0x0f, 0xae, 0x2f
#define FNSTENV_RDI  0xd9, 0x37
#define VMASKMOVPS_ST 0xc4, 0xe2, 0x71, 0x2e, 0x07 /* xmm0 to [rdi] by xmm1 */

static bool host_has(u64 xcr0)
{
	return (xs_layout()->mask & xcr0) == xcr0;
}

TEST(pitfall_18_aligned_forms_fault_and_others_do_not)
{
	NEW_VM();
	v->s.gpr[RDI] = TV_VA(TV_DATA) + 8;
	CHECK_EQ(TRAP(MOVAPS_LOAD), EX_GP);
	CHECK_EQ(TRAP(MOVUPS_LOAD), 0xff);
	if (!host_has(XCR0_AVX))
		return;
	CHECK_EQ(TRAP(VMOVAPS_LOAD), EX_GP);
	CHECK_EQ(TRAP(VADDPS_MEM), 0xff);
}

TEST(pitfall_19_unmasked_sse_exception_is_precise)
{
	NEW_VM();
	*xs_u32(v, XS_MXCSR) = MXCSR_DEFAULT & ~BIT(9); /* ZM */
	*xs_u64(v, XS_BV) |= XCR0_SSE;
	for (unsigned k = 0; k < 4; k++) {
		*xs_u32(v, XS_XMM + 4 * k) = 0x3f800000;
		*xs_u32(v, XS_XMM + 16 + 4 * k) = 0;
	}
	CHECK_EQ(TRAP(DIVPS), EX_XM);
	v->s.cr4 &= ~CR4_OSXMMEXCPT;
	CHECK_EQ(TRAP(DIVPS), EX_UD);
	fp_park(v);
	CHECK_EQ(*xs_u32(v, XS_XMM), 0x3f800000);
	CHECK(*xs_u32(v, XS_MXCSR) & BIT(2));
}

TEST(pitfall_19_unmasked_x87_exception_waits_for_the_next_instruction)
{
	static const u16 fcw = FCW_DEFAULT & ~BIT(2); /* ZM */

	NEW_VM();
	*(u16 *)testvm_ptr(v, TV_VA(TV_DATA)) = fcw;
	v->s.gpr[RDI] = TV_VA(TV_DATA);
	CHECK_EQ(TRAP(FNINIT), 0xff);
	CHECK_EQ(TRAP(0xd9, 0x2f), 0xff); /* fldcw [rdi] */
	CHECK_EQ(TRAP(FLD1), 0xff);
	CHECK_EQ(TRAP(FLDZ), 0xff);
	CHECK_EQ(TRAP(FDIVP), 0xff);
	CHECK_EQ(TRAP(ADDPS), 0xff);
	CHECK_EQ(TRAP(FWAIT), EX_MF);
	CHECK_EQ(TRAP(PADDB_MMX), EX_MF);
	CHECK_EQ(TRAP(0xdf, 0xe0), 0xff); /* fnstsw ax */
	CHECK_EQ(v->s.gpr[RAX] & 0x84, 0x84);
	v->s.cr0 &= ~CR0_NE; /* no interrupt controller behind FERR#: as with IGNNE# */
	CHECK_EQ(TRAP(FWAIT), 0xff);
	CHECK_EQ(TRAP(FLD1), 0xff);
	v->s.cr0 |= CR0_NE;
	CHECK_EQ(TRAP(FWAIT), EX_MF);
}

TEST(pitfall_20_parking_restores_host_defaults_and_keeps_the_guests)
{
	u32 mxcsr = 0;
	u16 fcw = 0;

	NEW_VM();
	*xs_u32(v, XS_MXCSR) = 0x7f80; /* round towards zero */
	*xs_u16(v, XS_FCW) = 0x0c3f;
	*xs_u64(v, XS_BV) |= XCR0_X87;
	CHECK_EQ(TRAP(FLD1), 0xff);
	CHECK(v->fp_live);
	fp_park(v);
	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	__asm__ volatile("fnstcw %0" : "=m"(fcw));
	CHECK_EQ(mxcsr, MXCSR_DEFAULT);
	CHECK_EQ(fcw, FCW_DEFAULT);
	CHECK_EQ(*xs_u32(v, XS_MXCSR), 0x7f80);
	CHECK_EQ(*xs_u16(v, XS_FCW) & 0xf3f, 0x0c3f);
}

TEST(pitfall_21_saved_x87_pointers_are_never_the_hosts)
{
	const u8 *area;

	NEW_VM();
	area = testvm_ptr(v, TV_VA(TV_DATA));
	v->s.gpr[RDI] = TV_VA(TV_DATA);
	CHECK_EQ(TRAP(FNINIT), 0xff);
	CHECK_EQ(TRAP(FLD1), 0xff);
	CHECK_EQ(TRAP(0xd8, 0x07), 0xff); /* fadd dword [rdi] */
	CHECK_EQ(TRAP(FXSAVE_RDI), 0xff);
	CHECK_EQ(*(const u64 *)(area + XS_FIP), 0);
	CHECK_EQ(*(const u64 *)(area + XS_FDP), 0);
	CHECK_EQ(*(const u16 *)(area + XS_FOP), 0);
	CHECK_EQ(TRAP(FLD1), 0xff);
	CHECK_EQ(TRAP(FNSTENV_RDI), 0xff);
	CHECK_EQ(*(const u32 *)(area + 12), 0);
	CHECK_EQ(*(const u32 *)(area + 20), 0);
}

TEST(pitfall_21_xrstor_checks_its_header_before_it_changes_anything)
{
	u8 *area;

	NEW_VM();
	if (!xs_layout()->xsave)
		return;
	area = testvm_ptr(v, TV_VA(TV_DATA));
	memset(area, 0, 4096);
	v->s.gpr[RDI] = TV_VA(TV_DATA);
	v->s.gpr[RAX] = XCR0_X87 | XCR0_SSE;
	*(u32 *)(area + XS_MXCSR) = MXCSR_DEFAULT;
	*(u64 *)(area + XS_BV) = XCR0_SSE;
	*(u32 *)(area + XS_XMM) = 0x1234;
	CHECK_EQ(TRAP(XRSTOR_RDI), 0xff);
	fp_park(v);
	CHECK_EQ(*xs_u32(v, XS_XMM), 0x1234);
	*(u32 *)(area + XS_XMM) = 0x5678;
	*(u64 *)(area + XS_BV) = XCR0_SSE | BIT_ULL(40); /* not enabled */
	CHECK_EQ(TRAP(XRSTOR_RDI), EX_GP);
	*(u64 *)(area + XS_BV) = XCR0_SSE;
	area[XS_COMP_BV + 8] = 1; /* reserved */
	CHECK_EQ(TRAP(XRSTOR_RDI), EX_GP);
	area[XS_COMP_BV + 8] = 0;
	*(u32 *)(area + XS_MXCSR) = ~0u;
	CHECK_EQ(TRAP(XRSTOR_RDI), EX_GP);
	v->s.gpr[RDI] += 32;
	CHECK_EQ(TRAP(XRSTOR_RDI), EX_GP); /* alignment */
	fp_park(v);
	CHECK_EQ(*xs_u32(v, XS_XMM), 0x1234);
}

TEST(pitfall_22_control_registers_decide_who_is_available)
{
	NEW_VM();
	v->s.gpr[RDI] = TV_VA(TV_DATA);
	v->s.cr0 |= CR0_TS;
	CHECK_EQ(TRAP(ADDPS), EX_NM);
	CHECK_EQ(TRAP(FLD1), EX_NM);
	CHECK_EQ(TRAP(PADDB_MMX), EX_NM);
	CHECK_EQ(TRAP(FXSAVE_RDI), EX_NM);
	CHECK_EQ(TRAP(FWAIT), 0xff);
	v->s.cr0 |= CR0_MP;
	CHECK_EQ(TRAP(FWAIT), EX_NM);
	v->s.cr0 = (v->s.cr0 & ~(CR0_TS | CR0_MP)) | CR0_EM;
	CHECK_EQ(TRAP(ADDPS), EX_UD);
	CHECK_EQ(TRAP(PADDB_MMX), EX_UD);
	CHECK_EQ(TRAP(FLD1), EX_NM);
	v->s.cr0 &= ~CR0_EM;
	v->s.cr4 &= ~CR4_OSFXSR;
	CHECK_EQ(TRAP(ADDPS), EX_UD);
	CHECK_EQ(TRAP(PADDB_MMX), 0xff);
	if (!host_has(XCR0_AVX))
		return;
	CHECK_EQ(TRAP(VADDPS_MEM), 0xff);
	v->s.xcr0 &= ~XCR0_AVX;
	CHECK_EQ(TRAP(VADDPS_MEM), EX_UD);
	v->s.xcr0 |= XCR0_AVX;
	v->s.cr4 &= ~CR4_OSXSAVE;
	CHECK_EQ(TRAP(VADDPS_MEM), EX_UD);
	CHECK_EQ(TRAP(XRSTOR_RDI), EX_UD);
}

TEST(lanes_that_a_mask_turns_off_do_not_fault)
{
	u8 *last;

	NEW_VM();
	if (!host_has(XCR0_AVX))
		return;
	last = testvm_ptr(v, TV_VA(TV_RO) - 8); /* 8 bytes writable, then 8 that are not */
	v->s.gpr[RDI] = TV_VA(TV_RO) - 8;
	memset(last, 0x11, 8);
	memset(v->s.xsave + XS_XMM, 0xee, 16);
	memset(v->s.xsave + XS_XMM + 16, 0, 16);
	v->s.xsave[XS_XMM + 16 + 7] = 0x80;
	*xs_u64(v, XS_BV) |= XCR0_SSE;
	CHECK_EQ(TRAP(VMASKMOVPS_ST), 0xff);
	CHECK_EQ(last[3], 0x11);
	CHECK_EQ(last[4], 0xee);
	CHECK_EQ(last[7], 0xee);
	fp_park(v);
	v->s.xsave[XS_XMM + 16 + 11] = 0x80;
	CHECK_EQ(TRAP(VMASKMOVPS_ST), EX_PF);
	CHECK_EQ(v->exc.addr >> 12, TV_VA(TV_RO) >> 12);
	v->s.gpr[RDI] = BIT_ULL(60);
	CHECK_EQ(TRAP(VMASKMOVPS_ST), EX_GP);
	fp_park(v);
	memset(v->s.xsave + XS_XMM + 16, 0, 16);
	CHECK_EQ(TRAP(VMASKMOVPS_ST), 0xff);
}

TEST(gather_that_faults_can_be_restarted)
{
	static const u8 gather[] = { 0xc4, 0xe2, 0x69, 0x90, 0x04, 0x0f }; /* vpgatherdd xmm0,
									    * [rdi+xmm1], xmm2 */

	NEW_VM();
	if (!host_has(XCR0_AVX))
		return;
	*(u32 *)testvm_ptr(v, TV_VA(TV_DATA)) = 0xabcd;
	v->s.gpr[RDI] = TV_VA(TV_DATA);
	for (unsigned k = 0; k < 4; k++) {
		*xs_u32(v, XS_XMM + 16 + 4 * k) = k ? (u32)(TV_VA(TV_HOLE) - TV_VA(TV_DATA)) : 0;
		*xs_u32(v, XS_XMM + 32 + 4 * k) = ~0u;
		*xs_u32(v, XS_XMM + 4 * k) = 7;
	}
	*xs_u64(v, XS_BV) |= XCR0_SSE;
	CHECK_EQ(trap(v, gather, sizeof(gather)), EX_PF);
	CHECK_EQ(v->exc.addr, TV_VA(TV_HOLE));
	fp_park(v);
	CHECK_EQ(*xs_u32(v, XS_XMM), 0xabcd);
	CHECK_EQ(*xs_u32(v, XS_XMM + 4), 7);
	CHECK_EQ(*xs_u32(v, XS_XMM + 32), 0);
	CHECK_EQ(*xs_u32(v, XS_XMM + 36), ~0u);
}

TEST(stack_pointer_as_an_operand_never_reaches_the_hosts)
{
	u64 rsp;

	NEW_VM();
	rsp = v->s.gpr[RSP];
	CHECK_EQ(TRAP(0x66, 0x48, 0x0f, 0x6e, 0xc4), 0xff); /* movq xmm0, rsp */
	v->s.gpr[RSP] = 1;
	CHECK_EQ(TRAP(0x66, 0x48, 0x0f, 0x7e, 0xc4), 0xff); /* movq rsp, xmm0 */
	CHECK_EQ(v->s.gpr[RSP], rsp);
}
