// SPDX-License-Identifier: Apache-2.0
/*
 * tlb.h - the translator's direct-indexed table: hooks the MMU calls
 *
 * mmu.c calls these on every architectural invalidation and permission change;
 * they cost nothing when the vCPU has no translator.
 */
#ifndef CPU_SOFT_TLB_H
#define CPU_SOFT_TLB_H

#include "cpu/soft/vcpu.h"

void tlb_flush_all(struct vcpu *v);
void tlb_flush_nonglobal(struct vcpu *v);
void tlb_flush_page(struct vcpu *v, u64 la);
void tlb_flush_pcid(struct vcpu *v, u16 pcid);
void tlb_switch_pcid(struct vcpu *v);

/* The interpreter or a helper wrote [gpa, gpa+len) in a frame whose mem_code_map() byte is set:
 * translated blocks over those bytes must go. */
void code_written(struct vcpu *v, gpa_t gpa, u64 len);

#endif
