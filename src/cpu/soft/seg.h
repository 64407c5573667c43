// SPDX-License-Identifier: Apache-2.0
/*
 * seg.h - segmentation: effective address to linear, segment loads, far transfers
 */
#ifndef CPU_SOFT_SEG_H
#define CPU_SOFT_SEG_H

#include "cpu/soft/insn.h"
#include "cpu/soft/mmu.h"
#include "cpu/soft/vcpu.h"

/*
 * Linear address of seg:off for an access of @size bytes: base added, limits,
 * type and canonical form checked, #GP(0) or #SS(0). In 64-bit mode only FS and
 * GS have bases and only canonical form is checked. Outside it the result wraps
 * to 32 bits.
 */
int seg_linear(struct vcpu *v, unsigned seg, u64 off, unsigned size, enum access acc, u64 *ret);

/* Effective address of the memory operand, before the segment base, truncated to adsize.
 * @next_rip: for RIP-relative. */
u64 insn_ea(const struct vcpu *v, const struct insn *i, u64 next_rip);

/* The memory operand's linear address, checked (uses i->mem_seg). */
int insn_linear(struct vcpu *v, const struct insn *i, unsigned size, enum access acc, u64 *ret);

/* Data through a segment: seg_linear() then lin_*(). */
int seg_read(struct vcpu *v, unsigned seg, u64 off, unsigned size, u64 *ret);
int seg_write(struct vcpu *v, unsigned seg, u64 off, unsigned size, u64 val);

/* Stack: width of SS (2, 4, 8) governs rsp. push/pop change rsp only on success. */
unsigned stack_width(const struct vcpu *v);
u64 stack_mask(const struct vcpu *v); /* 0xffff, 0xffffffff or all ones */
int push_val(struct vcpu *v, unsigned size, u64 val);
int pop_val(struct vcpu *v, unsigned size, u64 *ret);

/* MOV/POP to a segment register, LDS.. (not CS): all checks [SDM 2A MOV]. */
int load_seg(struct vcpu *v, unsigned seg, u16 sel);

/* Real/vm86-mode style load: base = sel << 4. */
void load_seg_real(struct vcpu *v, unsigned seg, u16 sel);

/* v->cpl from CS/SS and mode. */
void update_cpl(struct vcpu *v);

/* Near branch target check: limit or canonical, #GP(0); sets v->next_rip. */
int branch_to(struct vcpu *v, u64 rip, unsigned opsize);

#endif
