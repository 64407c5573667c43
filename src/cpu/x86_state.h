// SPDX-License-Identifier: Apache-2.0
/*
 * x86_state.h - the architectural state of one vCPU: what both engines speak,
 * what is saved, and what differential tests compare
 */
#ifndef CPU_X86_STATE_H
#define CPU_X86_STATE_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/field.h"
#include "base/types.h"
#include "cpu/x86_defs.h"

struct x86_seg {
	u64 base;
	u32 limit; /* bytes, inclusive, granularity applied */
	u32 attr;  /* SA_* */
	u16 sel;
};

struct x86_dtr {
	u64 base;
	u16 limit;
};

#define X86_XSAVE_SIZE 2816 /* standard format: legacy 512 + header 64 + AVX .. Hi16_ZMM, PKRU */

enum x86_activity { ACT_RUNNING, ACT_HALTED, ACT_WAIT_SIPI };

struct x86_state {
	u64 gpr[16]; /* enum x86_gpr; first: translated code addresses it from rsp */
	u64 rip;
	u64 rflags;
	struct x86_seg seg[NR_SEGS]; /* enum x86_segreg */
	struct x86_seg ldtr, tr;
	struct x86_dtr gdtr, idtr;
	u64 cr0, cr2, cr3, cr4, efer, xcr0;
	u64 dr[4], dr6, dr7;

	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 tsc_offset; /* guest TSC = host TSC + tsc_offset */
	u64 tsc_aux, tsc_adjust, pat, misc_enable, spec_ctrl, xss;
	u64 mtrr_deftype, mtrr_fix[11], mtrr_base[8], mtrr_mask[8];
	u64 kvm_system_time, kvm_wall_clock, kvm_steal_time;
	u64 pdpte[4]; /* PAE paging: loaded with CR3 */

	u8 activity;	  /* enum x86_activity */
	bool shadow_sti;  /* interrupts blocked for one instruction after STI */
	bool shadow_ss;	  /* interrupts and #DB blocked after MOV SS / POP SS */
	bool nmi_blocked; /* until IRET */
	bool nmi_pending;

	/* x87, MMX, SSE, AVX, AVX-512 in XSAVE standard format [SDM 1 13.4] */
	ALIGNED(64) u8 xsave[X86_XSAVE_SIZE];
};

/* Power-on values [SDM 3A table 9-1]; @bsp: runs at once, others wait for SIPI. */
void x86_state_reset(struct x86_state *s, bool bsp);

/* INIT: as reset, but the TSC, memory types, FP registers and most MSRs stay [SDM 3A 9.1]. */
void x86_state_init(struct x86_state *s, bool bsp);

extern const struct field x86_state_fields[]; /* all of it */

/*
 * Could a processor be in this state? For states from outside; @xcr0: the components the
 * vCPU offers. Return: 0, or -EINVAL with what cannot be.
 */
int x86_state_check(const struct x86_state *s, u64 xcr0, struct err *e) MUST_CHECK;

#endif
