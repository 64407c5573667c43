// SPDX-License-Identifier: Apache-2.0
/*
 * opnd.h - operands of integer instructions: registers, memory, read-modify-write
 */
#ifndef CPU_SOFT_OPND_H
#define CPU_SOFT_OPND_H

#include "cpu/cpuid.h"
#include "cpu/soft/insn.h"
#include "cpu/soft/mmu.h"
#include "cpu/soft/native.h"
#include "cpu/soft/seg.h"
#include "cpu/soft/vcpu.h"

/* /r extension of group opcodes, without REX.R. */
static inline unsigned modrm_ext(const struct insn *i)
{
	return i->modrm >> 3 & 7;
}

/* Opcodes whose bit 0 chooses between bytes and the operand size. */
static inline unsigned size_by_bit0(const struct insn *i)
{
	return i->op & 1 ? i->opsize : 1;
}

/* Where byte register @r lives: AH..BH for 4..7 unless REX or VEX. */
static inline u8 *byte_reg(struct vcpu *v, const struct insn *i, unsigned r)
{
	if (r >= 4 && r < 8 && !i->rex && i->enc == ENC_LEGACY)
		return (u8 *)&v->s.gpr[r - 4] + 1;
	return (u8 *)&v->s.gpr[r & 15];
}

/* Zero-extended register operand. */
static inline u64 reg_get(struct vcpu *v, const struct insn *i, unsigned r, unsigned size)
{
	if (size == 1)
		return *byte_reg(v, i, r);
	return v->s.gpr[r & 15] & mask_bytes(size);
}

/* 32-bit results zero the upper half, 8- and 16-bit ones keep the rest. */
static inline void reg_set(struct vcpu *v, const struct insn *i, unsigned r, unsigned size, u64 val)
{
	u64 *g = &v->s.gpr[r & 15];

	if (size == 8)
		*g = val;
	else if (size == 4)
		*g = (u32)val;
	else if (size == 2)
		*g = (*g & ~0xffffull) | (u16)val;
	else
		*byte_reg(v, i, r) = val;
}

/* The same for implicit rAX, rCX... (never AH). */
static inline void gpr_set(struct vcpu *v, unsigned r, unsigned size, u64 val)
{
	u64 m = mask_bytes(size);

	v->s.gpr[r] = size == 4 ? (u32)val : (v->s.gpr[r] & ~m) | (val & m);
}

static inline u64 gpr_get(const struct vcpu *v, unsigned r, unsigned size)
{
	return v->s.gpr[r] & mask_bytes(size);
}

/* Segment of implicit memory operands: DS unless overridden. */
static inline unsigned data_seg(const struct insn *i)
{
	return i->seg == SEG_NONE ? SEG_DS : i->seg;
}

/* The r/m operand, zero-extended, or its destination. */
int rm_read(struct vcpu *v, const struct insn *i, unsigned size, u64 *ret);
int rm_write(struct vcpu *v, const struct insn *i, unsigned size, u64 val);

/* One read-modify-write: dst = fn(dst, b, c, flags). */
struct rmw {
	alu_fn *fn;
	u64 b, c;
	bool lock; /* atomic towards other vCPUs */
	u64 old;   /* out: the previous value */
};

/* Write permission is checked before anything is read; RFLAGS change only on success. */
int lin_modify(struct vcpu *v, u64 la, unsigned size, struct rmw *m);
int rm_modify(struct vcpu *v, const struct insn *i, unsigned size, struct rmw *m);

/* The condition of Jcc, SETcc, CMOVcc: low four opcode bits. [SDM 1 B] */
bool condition(u64 fl, unsigned cc);

/* The guest's CPU model offers @f (and the host has it). */
static inline bool guest_has(const struct vcpu *v, enum cpu_feature f)
{
	return cpu_model_has(v->cfg.model, f);
}

#endif
