// SPDX-License-Identifier: Apache-2.0
/* native.h - between native.c, which needs <signal.h>, and the rest, which needs insn.h */
#ifndef ND_NATIVE_H
#define ND_NATIVE_H

#include "base/types.h"

#define ND_NATIVE_FS 0x10001800ull /* ND_FS_BASE */
#define ND_NATIVE_GS 0x10007400ull /* ND_GS_BASE */

struct nd_native_out {
	u64 gpr[16], rip, rflags, addr;
	u32 error;
	u8 vector;
	_Alignas(64) u8 xsave[2816];
};

bool nd_native_init(u64 mask); /* state components to load */
bool nd_has_fsgsbase(void);
/* Registers in, rflags after them; returns after the signal that ended the stream. @compat: run in
 * the 32-bit code segment. */
void nd_native_exec(const u64 *gpr_rflags, u64 rip, bool compat, const u8 *xsave,
		    struct nd_native_out *ret);

#endif
