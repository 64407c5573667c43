// SPDX-License-Identifier: Apache-2.0
/*
 * stub.h - one vector or x87 instruction, run by the host CPU on the guest's
 * live registers
 *
 * The instruction is re-encoded so that a memory operand is [host register]
 * and general registers travel through vcpu.s.gpr; a small piece of native
 * code around it is built once and cached. A trap inside it (#UD, #XM, #MF,
 * #PF) is caught by the signal handler, leaves the registers as they were, and
 * is reported.
 */
#ifndef CPU_SOFT_STUB_H
#define CPU_SOFT_STUB_H

#include "base/err.h"
#include "cpu/soft/insn.h"
#include "cpu/soft/vcpu.h"

/* Size of stub_edge(): a page of bounce memory with an inaccessible page on either side. */
#define STUB_PAGE 4096

struct stub_trap {
	u8 vector; /* 0xff: none */
	u64 addr;  /* #PF: the host address */
};

struct vec_stub *vec_new(struct err *e);
void vec_free(struct vec_stub *s);

/*
 * Run @i with its memory operand, if any, at @mem. Makes the guest's registers
 * live. On *ret_trap with a vector nothing but sticky exception flags has
 * changed; otherwise s.gpr and the arithmetic flags are updated.
 */
void stub_run(struct vcpu *v, const struct insn *i, void *mem, struct stub_trap *ret_trap);

u8 *stub_edge(struct vec_stub *s);   /* start of the page between the two inaccessible ones */
u8 *stub_bounce(struct vec_stub *s); /* 512 bytes, 64-byte aligned */

#endif
