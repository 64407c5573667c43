// SPDX-License-Identifier: Apache-2.0
/*
 * walk.c - the page walker: 32-bit, PAE and 4-level paging [SDM 3A 4]
 *
 * A walk reads every level first and decides; only a walk that succeeds sets
 * A and D, each with a compare-and-exchange on the entry it read, so that an
 * update racing with another processor restarts the walk instead of losing
 * that processor's store. Nothing is remembered between walks.
 */
#include "cpu/soft/walk.h"

#include "cpu/soft/tlb.h"

#define MAX_LEVELS 4

/* One form of paging: how the address is cut and what an entry looks like. */
struct paging {
	u8 levels;     /* tables read per walk */
	u8 bits;       /* index bits per level */
	u8 size;       /* bytes per entry */
	bool nx;       /* entries have an execute-disable bit */
	u64 leaf_mask; /* BIT(level): levels where PS may make a page; level 0 is the last table */
};

static const struct paging paging_32 = { .levels = 2, .bits = 10, .size = 4 };
static const struct paging paging_32_pse = { .levels = 2, .bits = 10, .size = 4, .leaf_mask = 2 };
static const struct paging paging_pae = {
	.levels = 2, .bits = 9, .size = 8, .nx = true, .leaf_mask = 2
};
static const struct paging paging_4level = {
	.levels = 4, .bits = 9, .size = 8, .nx = true, .leaf_mask = 6
};

static const struct paging *paging_form(const struct vcpu *v)
{
	if (v->s.efer & EFER_LMA)
		return &paging_4level;
	if (v->s.cr4 & CR4_PAE)
		return &paging_pae;
	return v->s.cr4 & CR4_PSE ? &paging_32_pse : &paging_32;
}

struct entry {
	gpa_t gpa;
	u64 val;
};

struct walk_state {
	const struct paging *p;
	struct entry e[MAX_LEVELS]; /* in the order read */
	unsigned nr;
	unsigned leaf; /* level of the last entry: 0 = 4 KiB page */
	u64 rights;    /* AND of W and U over the levels, OR of NX */
};

static u64 addr_mask(const struct vcpu *v)
{
	return (BIT_ULL(mmu_phys_bits(v)) - 1) & ~0xfffull;
}

/* Bits of an entry at @level that must be zero. */
static u64 reserved_bits(const struct vcpu *v, const struct paging *p, unsigned level, u64 val)
{
	bool leaf = level && (val & PTE_PS) && (p->leaf_mask & BIT(level));
	u64 r = 0;

	if (p->size == 4)
		return leaf ? BIT_ULL(21) : 0; /* PSE-36: bits 20:13 are address bits */
	r = ~(BIT_ULL(mmu_phys_bits(v)) - 1) & (BIT_ULL(52) - 1);
	if (!(v->s.efer & EFER_LMA))
		r |= 0x7ffull << 52; /* PAE: 62:52 too */
	if (!(v->s.efer & EFER_NXE))
		r |= PTE_NX;
	if (leaf)
		r |= (BIT_ULL(12 + 9 * level) - 1) & ~0x1fffull; /* PAT is bit 12 */
	else if (level && !(p->leaf_mask & BIT(level)))
		r |= PTE_PS;
	return r;
}

static unsigned level_shift(const struct paging *p, unsigned level)
{
	return 12 + p->bits * level;
}

/* First table and, for PAE, its PDPTE. False: not present. */
static bool walk_root(const struct vcpu *v, const struct paging *p, u64 la, gpa_t *ret)
{
	u64 pdpte;

	if (p != &paging_pae) {
		*ret = p->size == 8 ? v->s.cr3 & addr_mask(v) : v->s.cr3 & 0xfffff000;
		return true;
	}
	pdpte = v->s.pdpte[(la >> 30) & 3];
	*ret = pdpte & addr_mask(v);
	return pdpte & PTE_P;
}

/* Read down to the leaf. Return: 0, or the P and RSVD part of an error code | BIT(31). */
#define WALK_STOP BIT(31)
static u32 walk_down(struct vcpu *v, u64 la, struct walk_state *w)
{
	const struct paging *p = w->p;
	gpa_t table;

	w->nr = 0;
	w->rights = PTE_W | PTE_U;
	if (!walk_root(v, p, la, &table))
		return WALK_STOP;
	for (unsigned level = p->levels; level-- > 0;) {
		u64 index = (la >> level_shift(p, level)) & (BIT(p->bits) - 1);
		struct entry *e = &w->e[w->nr++];

		e->gpa = table + index * p->size;
		e->val = mmu_read_entry(v, e->gpa, p->size);
		if (!(e->val & PTE_P))
			return WALK_STOP;
		if (e->val & reserved_bits(v, p, level, e->val))
			return WALK_STOP | PF_P | PF_RSVD;
		w->rights = (w->rights & e->val & (PTE_W | PTE_U)) |
			    ((w->rights | (p->nx ? e->val : 0)) & PTE_NX);
		w->leaf = level;
		if (level && (e->val & PTE_PS) && (p->leaf_mask & BIT(level)))
			break;
		table = p->size == 8 ? e->val & addr_mask(v) : e->val & 0xfffff000;
	}
	return 0;
}

static u8 rights_allowed(const struct vcpu *v, u64 rights, enum mmu_mode mode)
{
	bool user_page = rights & PTE_U, w = rights & PTE_W, nx = rights & PTE_NX;
	u8 ret = 0;

	if (mode == MMU_USER) {
		if (!user_page)
			return 0;
		return BIT(ACC_R) | (w ? BIT(ACC_W) : 0) | (nx ? 0 : BIT(ACC_X));
	}
	if (!user_page || !(v->s.cr4 & CR4_SMAP) || mode == MMU_KERNEL_AC)
		ret = BIT(ACC_R) | (w || !(v->s.cr0 & CR0_WP) ? BIT(ACC_W) : 0);
	if (!nx && !(user_page && (v->s.cr4 & CR4_SMEP)))
		ret |= BIT(ACC_X);
	return ret;
}

static u32 error_code(const struct vcpu *v, enum access acc, enum mmu_mode mode)
{
	u32 e = mode == MMU_USER ? PF_U : 0;
	bool nx = (v->s.efer & EFER_NXE) && (v->s.cr4 & CR4_PAE);

	if (acc == ACC_W)
		e |= PF_W;
	if (acc == ACC_X && (nx || (v->s.cr4 & CR4_SMEP)))
		e |= PF_I;
	return e;
}

/* Set @bits in the entry unless they are; false if it changed since it was read. */
static bool entry_set(struct vcpu *v, struct entry *e, unsigned size, u64 bits)
{
	u8 *page = mmu_ram(v, e->gpa);
	void *p = page + (e->gpa & 0xfff);
	u32 old32 = (u32)e->val;
	bool ok;

	if ((e->val & bits) == bits)
		return true;
	if (!page)
		return true; /* not RAM: the write is lost */
	if (size == 8)
		ok = __atomic_compare_exchange_n((u64 *)p, &e->val, e->val | bits, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	else
		ok = __atomic_compare_exchange_n((u32 *)p, &old32, old32 | (u32)bits, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	if (ok) {
		e->val |= bits;
		if (unlikely(mem_code_map(v->mem)[e->gpa >> 12]))
			code_written(v, e->gpa, size);
	}
	return ok;
}

static bool set_accessed_dirty(struct vcpu *v, struct walk_state *w, bool write)
{
	for (unsigned i = 0; i < w->nr; i++) {
		u64 bits = PTE_A | (write && i == w->nr - 1 ? PTE_D : 0);

		if (!entry_set(v, &w->e[i], w->p->size, bits))
			return false;
	}
	return true;
}

static gpa_t leaf_gpa(const struct vcpu *v, const struct walk_state *w, u64 la)
{
	u64 val = w->e[w->nr - 1].val, in_page = BIT_ULL(level_shift(w->p, w->leaf)) - 1;
	gpa_t base;

	if (w->p->size == 8)
		base = val & addr_mask(v);
	else if (w->leaf)
		base = (val & 0xffc00000) | bits_get(val, 20, 13) << 32;
	else
		base = val & 0xfffff000;
	return (base & ~in_page) | (la & in_page & ~0xfffull);
}

static void walk_result(const struct vcpu *v, const struct walk_state *w, u64 la,
			enum mmu_mode mode, struct walk *ret)
{
	u64 val = w->e[w->nr - 1].val;

	*ret = (struct walk){
		.gpa = leaf_gpa(v, w, la),
		.shift = (u8)level_shift(w->p, w->leaf),
		.allowed = rights_allowed(v, w->rights, mode),
		.dirty = val & PTE_D,
		.global = (val & PTE_G) && (v->s.cr4 & CR4_PGE),
	};
}

int page_walk(struct vcpu *v, u64 la, enum access acc, enum mmu_mode mode, struct walk *ret,
	      u32 *error)
{
	struct walk_state w;
	u32 stop;

	if (!(v->s.cr0 & CR0_PG)) {
		*ret = (struct walk){ .gpa = la & 0xfffff000, .shift = 12, .allowed = 7,
				      .dirty = true };
		return X_OK;
	}
	w.p = paging_form(v);
	do {
		stop = walk_down(v, la, &w);
		if (!stop && !(rights_allowed(v, w.rights, mode) & BIT(acc)))
			stop = WALK_STOP | PF_P;
		if (stop) {
			*error = (stop & ~WALK_STOP) | error_code(v, acc, mode);
			return X_FAULT;
		}
	} while (!set_accessed_dirty(v, &w, acc == ACC_W));
	walk_result(v, &w, la, mode, ret);
	return X_OK;
}

bool page_probe(struct vcpu *v, u64 la, gpa_t *ret)
{
	struct walk_state w;

	if (!(v->s.cr0 & CR0_PG)) {
		*ret = la & 0xffffffff;
		return true;
	}
	w.p = paging_form(v);
	if (walk_down(v, la, &w))
		return false;
	*ret = leaf_gpa(v, &w, la) | (la & 0xfff);
	return true;
}

bool pdpte_ok(const struct vcpu *v, u64 pdpte)
{
	u64 reserved = 0x1e6 | ~(BIT_ULL(mmu_phys_bits(v)) - 1);

	return !(pdpte & PTE_P) || !(pdpte & reserved);
}
