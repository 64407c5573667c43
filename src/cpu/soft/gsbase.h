// SPDX-License-Identifier: Apache-2.0
/*
 * gsbase.h - the host's GS base, which translated code reads its tables through
 *
 * With FSGSBASE enabled the kernel keeps what WRGSBASE wrote. Where the processor has it and the
 * kernel does not know (a paravirtual host that hides it), the instruction works, but a thread that
 * is scheduled again finds the base that it last told the kernel: its home. Translated code then
 * finds an empty table there, asks, and is given the right one again (tlb.c).
 */
#ifndef CPU_SOFT_GSBASE_H
#define CPU_SOFT_GSBASE_H

#include "base/types.h"

enum gsbase { GSBASE_NONE, GSBASE_LENT, GSBASE_KEPT };

/* What this host offers; finds out once. Any thread. */
enum gsbase gsbase_kind(void);

/* This thread's base whenever the kernel has scheduled it again. Only for GSBASE_LENT. */
void gsbase_set_home(const void *base);

static inline void gsbase_write(const void *base)
{
	__asm__ volatile("wrgsbase %0" : : "r"(base));
}

static inline const void *gsbase_read(void)
{
	const void *base;

	__asm__ volatile("rdgsbase %0" : "=r"(base));
	return base;
}

#endif
