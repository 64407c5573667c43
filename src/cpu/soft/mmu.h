// SPDX-License-Identifier: Apache-2.0
/*
 * mmu.h - linear addresses: page walks, checked access, invalidation
 *
 * The walker implements no-paging, 32-bit, PAE and 4-level paging with A/D
 * updates (atomic, in guest RAM), NX, WP, SMEP, SMAP, reserved bits and global
 * pages. [SDM 3A 4]
 */
#ifndef CPU_SOFT_MMU_H
#define CPU_SOFT_MMU_H

#include "cpu/soft/vcpu.h"

enum access { ACC_R = 0, ACC_W = 1, ACC_X = 2 };

/* Who asks: decides U/S, SMAP and SMEP checks. */
enum mmu_mode {
	MMU_USER,     /* CPL 3 */
	MMU_KERNEL,   /* CPL 0..2, explicit access, SMAP enforced (AC=0) */
	MMU_KERNEL_AC, /* CPL 0..2, explicit access, EFLAGS.AC=1: SMAP suspended */
	MMU_IMPLICIT, /* descriptor tables, TSS, interrupt frames: supervisor, AC ignored */
	NR_MMU_MODES,
};

/* Mode of an explicit data access now (CPL, AC, CR4.SMAP). */
enum mmu_mode mmu_data_mode(const struct vcpu *v);

/* One translated page. Valid until the next invalidation. */
struct xlate {
	gpa_t gpa;	/* of the address asked for */
	u8 *host;	/* same byte in guest RAM, or NULL: not RAM (MMIO) */
	bool writable;	/* a write in the same mode may proceed without another walk: W allowed, D set */
	bool global;	/* PTE.G with CR4.PGE */
	bool large;	/* from a page larger than 4 KiB */
	u8 shift;	/* log2 of the guest page's size */
};

/* Page-walk @la for @acc in @mode. X_OK with *ret, or X_FAULT (#PF). Cached (tagged). */
int mmu_translate(struct vcpu *v, u64 la, enum access acc, enum mmu_mode mode, struct xlate *ret);

/* The same without raising, without A/D updates, ignoring permissions; false if not mapped. */
bool mmu_probe(struct vcpu *v, u64 la, gpa_t *ret);

/* -- data access at a linear address (canonical checks are the caller's, seg.h) ------- */
/* size 1..8 unless said; accesses may cross pages: both are checked before anything is written. */
int lin_read(struct vcpu *v, u64 la, unsigned size, u64 *ret);
int lin_write(struct vcpu *v, u64 la, unsigned size, u64 val);
int lin_read_sys(struct vcpu *v, u64 la, unsigned size, u64 *ret); /* MMU_IMPLICIT */
int lin_write_sys(struct vcpu *v, u64 la, unsigned size, u64 val);
int lin_read_buf(struct vcpu *v, u64 la, void *buf, unsigned len);	  /* len <= 4096 */
int lin_write_buf(struct vcpu *v, u64 la, const void *buf, unsigned len); /* checks all, then writes */
int lin_check(struct vcpu *v, u64 la, unsigned len, enum access acc);	  /* would it fault? */

/*
 * For atomic read-modify-write and bulk string operations: a host pointer to
 * [la, la+size) with write (or read) permission checked. *ret is NULL when the
 * bytes are not RAM, cross a page, or (for writes) the page holds translated
 * code: then use lin_read/lin_write. X_FAULT as usual.
 */
int lin_ptr(struct vcpu *v, u64 la, unsigned size, enum access acc, u8 **ret);

/* Instruction bytes at la (CS base applied): copies up to 15, stops at the first page it cannot
 * read after at least one byte. X_FAULT only if byte 0 faults; *ret_len says how many. */
int fetch_bytes(struct vcpu *v, u64 la, u8 *buf, unsigned want, unsigned *ret_len);

/* -- invalidation [SDM 3A 4.10.4]; each also drops the translator's entries (tlb.h) ------- */
void mmu_flush_all(struct vcpu *v);		 /* every entry, globals too */
void mmu_flush_nonglobal(struct vcpu *v);	 /* MOV CR3 without PCID */
void mmu_flush_page(struct vcpu *v, u64 la);	 /* INVLPG */
void mmu_flush_pcid(struct vcpu *v, u16 pcid);	 /* INVPCID type 1 / MOV CR3: non-global of one PCID */
void mmu_switch_pcid(struct vcpu *v);		 /* after CR3's PCID changed without a flush */
void mmu_mode_changed(struct vcpu *v);		 /* CR0/CR4/EFER bits that change translation */

struct mmu *mmu_new(void);
void mmu_free(struct mmu *m);

#endif
