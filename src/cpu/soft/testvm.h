// SPDX-License-Identifier: Apache-2.0
/*
 * testvm.h - unit tests: one vCPU in 64-bit user mode over real page tables
 *
 * The window of TV_PAGES pages at TV_BASE is mapped at the same linear address in
 * the test process and in the guest, so that the same bytes can run natively and
 * interpreted with identical registers.
 */
#ifndef CPU_SOFT_TESTVM_H
#define CPU_SOFT_TESTVM_H

#include "cpu/soft/vcpu.h"

#define TV_BASE	 0x10000000ull
#define TV_PAGES 8

enum { /* pages of the window */
	TV_CODE,
	TV_CODE2,
	TV_DATA,
	TV_DATA2,
	TV_STACK,
	TV_RO,	 /* read-only */
	TV_HOLE, /* not present in the guest */
	TV_LAST,
};

#define TV_VA(page)  (TV_BASE + (page) * 4096ull)
#define TV_GPA(page) (0x100000ull + (page) * 4096ull)

/* NULL if the window or memory is not to be had. */
struct vcpu *testvm_new(void);
void testvm_free(struct vcpu *v);

/* Registers, flags and mode as after testvm_new(); memory as it is. */
void testvm_reset(struct vcpu *v);
/* 16- or 32-bit flat protected mode, or real mode (bits = 16, protect = false), no paging. */
void testvm_set_mode(struct vcpu *v, unsigned bits, bool protect);

u8 *testvm_ptr(struct vcpu *v, u64 va);	   /* guest memory behind a window address */
u8 *testvm_host(unsigned page);		   /* the native side of the window */
void testvm_code(struct vcpu *v, u64 va, const void *code, unsigned len); /* and rip = va */
int testvm_run(struct vcpu *v, u64 end, unsigned max); /* step until rip == end */

#define TV_CS32 0x23 /* Linux's segment of 32-bit user code, which some hosts do not have */

static inline bool testvm_host_has_32bit(void)
{
	u32 attr = 0;
	bool there;

	__asm__("lar %2, %0" : "+r"(attr), "=@ccz"(there) : "r"((u32)TV_CS32));
	return there && attr & 1u << 22; /* D */
}

#endif
