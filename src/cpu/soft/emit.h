// SPDX-License-Identifier: Apache-2.0
/*
 * emit.h - x86-64 code bytes: the few instructions the translator needs of its
 * own, and guest instructions with other registers
 *
 * Registers are host numbers (enum x86_gpr). Memory operands are [base + disp].
 */
#ifndef CPU_SOFT_EMIT_H
#define CPU_SOFT_EMIT_H

#include "base/compiler.h"
#include "cpu/soft/insn.h"

struct emit {
	u8 *p;	 /* next byte, in the writable mapping */
	u8 *end; /* limit; past it nothing is written and full is set */
	bool full;
};

static inline void e8(struct emit *e, unsigned b)
{
	if (unlikely(e->p >= e->end)) {
		e->full = true;
		return;
	}
	*e->p++ = (u8)b;
}

static inline void e32(struct emit *e, u32 v)
{
	if (unlikely(e->end - e->p < 4)) {
		e->full = true;
		return;
	}
	__builtin_memcpy(e->p, &v, 4);
	e->p += 4;
}

static inline void e64(struct emit *e, u64 v)
{
	e32(e, (u32)v);
	e32(e, (u32)(v >> 32));
}

/* op reg, [base + disp]: @op is one byte, or 0x0fXX. @w: 64-bit. */
void e_mem(struct emit *e, bool w, unsigned op, unsigned reg, unsigned base, i32 disp);
/* op reg, rm */
void e_rr(struct emit *e, bool w, unsigned op, unsigned reg, unsigned rm);

static inline void e_load(struct emit *e, unsigned reg, unsigned base, i32 disp)
{
	e_mem(e, true, 0x8b, reg, base, disp);
}

static inline void e_store(struct emit *e, unsigned reg, unsigned base, i32 disp)
{
	e_mem(e, true, 0x89, reg, base, disp);
}

static inline void e_lea(struct emit *e, unsigned reg, unsigned base, i32 disp)
{
	e_mem(e, true, 0x8d, reg, base, disp);
}

static inline void e_mov(struct emit *e, unsigned dst, unsigned src)
{
	e_rr(e, true, 0x89, src, dst);
}

void e_imm(struct emit *e, unsigned reg, u64 val); /* mov reg, val in its shortest form; no flags */

/* jmp or call rel32 to an address in the executable mapping; @delta = rx - rw. */
void e_jmp(struct emit *e, i64 delta, const u8 *rx_target);
void e_call(struct emit *e, i64 delta, const u8 *rx_target);
/* jcc rel32 with a hole; returns the address of the hole for e_patch(). */
u8 *e_jcc_hole(struct emit *e, unsigned cc);
u8 *e_jmp_hole(struct emit *e);
void e_patch(struct emit *e, u8 *hole, const u8 *rw_target); /* both in the writable mapping */

/* Condition codes. */
enum { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_S = 8 };

/* Where the operands of a guest instruction are on the host. */
struct opmap {
	u8 reg, vvvv; /* ModRM.reg (or opcode register) and VEX.vvvv, 0..15 */
	u8 rm;	      /* register form */
	bool mem;     /* memory form: */
	u8 base, index; /* [base + index * scale + disp]; REG_NONE = absent */
	u8 scale;
	i32 disp;
};

/* The guest's instruction with the operands of @m; prefixes that select segment or address size
 * are dropped. */
void e_insn(struct emit *e, const struct insn *i, const struct opmap *m);

#endif
