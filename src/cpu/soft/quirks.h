// SPDX-License-Identifier: Apache-2.0
/*
 * quirks.h - what the manuals leave open and processors do differently
 *
 * Translated code runs on the host, so the interpreter must do as the host does.
 * Where it can, it executes the host's own instruction; what is left is here, found out
 * by executing something or, as far as it is about faults, known by the vendor.
 */
#ifndef CPU_SOFT_QUIRKS_H
#define CPU_SOFT_QUIRKS_H

#include "base/types.h"

struct quirks {
	/* ROL and ROR of a register by an immediate leave OF alone unless its low 5 bits (6 of
	 * 64-bit operands) are 1; in memory or by CL they never do. [SDM 2B ROL: undefined] */
	bool rotate_imm_keeps_of;
	/* With a 32-bit address size REP zero-extends rCX, and rSI and rDI of MOVS, rDI of STOS,
	 * even if nothing is done: the count is 0, or the first element faults. */
	bool rep_zero_extends;
	/* F3 90 is PAUSE whatever REX.B says; else XCHG R8, rAX with it. */
	bool pause_ignores_rex;
	/* A fault inside REP CMPS or SCAS leaves the flags as they were before the first element
	 * [SDM 2A CMPS], not as the last comparison made them. */
	bool rep_fault_restores_flags;
	/* CMPS looks at es:rDI first. */
	bool cmps_reads_dst_first;
	/* Memory operands of SHA must be aligned, as those of other legacy SSE instructions. */
	bool sha_must_align;
	/* A store of an MMX register that faults has set the top of the x87 stack to 0. */
	bool mmx_store_fault_clears_top;
	/* x87 stores find an unmasked exception that prevents the store before they look at memory. */
	bool x87_exceptions_before_faults;
	/* 80-bit stores are one of 8 bytes, then one of 2: the second may fault alone. */
	bool x87_stores_80_in_parts;
	/* FXRSTOR and XRSTOR load FIP, FDP and FOP always, not only with an exception pending. */
	bool x87_pointers_kept;
	/* XSAVE and XRSTOR do not touch what is below the header when they need none of it. */
	bool xsave_skips_legacy;
	/* XRSTOR wants room for the requested components of a compacted area even if initial, and
	 * before it checks the header unless that has reserved bits in XCOMP_BV. */
	bool xrstor_checks_unused;
	/* XRSTOR of a compacted area has loaded x87 and SSE, and initialised AVX if that is asked
	 * for, when it finds reserved bits in MXCSR. */
	bool xrstor_loads_before_gp;
	/* VEX gathers widen each mask element's sign to all its bits before the first element
	 * [SDM 2C VGATHERDPS], and clear what lies above the vector with the first, not the last. */
	bool gather_widens_mask;
	/* VCVTPS2PH to memory has set its flags in MXCSR when the store faults. */
	bool cvtps2ph_fault_sets_mxcsr;
	/* CALL to a non-canonical address has written the return address when it faults. */
	bool call_fault_writes_stack;
	/* DAA, DAS, AAA, AAS: SF, ZF and PF are those of the final AL, OF is clear; else they are
	 * those of the addition or subtraction. [SDM 2A DAA, AAA: undefined] */
	bool adjust_flags_of_al;
	/* Outside 64-bit mode XSAVE finds ZMM16..31 in their initial state. */
	bool compat_xsave_skips_hi16;
	/* LOCK MOV CR0 is MOV CR8. [APM3 MOV CRn] */
	bool lock_mov_cr8;
};

/* Fills what quirks() returns; vcpu_alloc() and insn_decode() call it. May use vector registers. */
void quirks_probe(void);

extern struct quirks quirks_found;
static inline const struct quirks *quirks(void)
{
	return &quirks_found;
}

#endif
