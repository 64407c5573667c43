// SPDX-License-Identifier: Apache-2.0
/*
 * walk.h - one walk of the guest's page tables; private to the MMU [SDM 3A 4]
 */
#ifndef CPU_SOFT_WALK_H
#define CPU_SOFT_WALK_H

#include "cpu/soft/mmu.h"

/* What a walk found. */
struct walk {
	gpa_t gpa;   /* of the first byte of the 4 KiB page around the address */
	u8 shift;    /* log2 of the page's size; 12 without paging */
	u8 allowed;  /* BIT(enum access): what the mode asked for may do */
	bool dirty;  /* D is set: a write needs no other walk */
	bool global; /* G with CR4.PGE */
};

/*
 * Walk for @acc in @mode, setting A (and D for a write) if it succeeds.
 * Return: X_OK, or X_FAULT with *error: the page-fault error code.
 */
int page_walk(struct vcpu *v, u64 la, enum access acc, enum mmu_mode mode, struct walk *ret,
	      u32 *error);

/* Where @la maps; no A/D updates, no permission checks. False if it does not. */
bool page_probe(struct vcpu *v, u64 la, gpa_t *ret);

/* Is @pdpte legal to load with PAE paging (reserved bits clear)? [SDM 3A 4.4.1] */
bool pdpte_ok(const struct vcpu *v, u64 pdpte);

/* Host pointer to @gpa when it is RAM (whole frame), else NULL. */
u8 *mmu_ram(struct vcpu *v, gpa_t gpa);

/* The guest's memory at @gpa (one aligned entry), all ones when it is not RAM. */
u64 mmu_read_entry(struct vcpu *v, gpa_t gpa, unsigned size);

u8 mmu_phys_bits(const struct vcpu *v);

#endif
