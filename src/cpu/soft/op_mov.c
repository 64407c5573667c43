// SPDX-License-Identifier: Apache-2.0
/*
 * op_mov.c - data movement and flag instructions, hints, fences [SDM 2]
 */
#include "cpu/soft/op_int.h"
#include "cpu/soft/opnd.h"
#include "cpu/soft/smp.h"

/* -- MOV -------------------------------------------------------------------------------- */

int op_mov_rm_r(struct vcpu *v, const struct insn *i)
{
	unsigned size = size_by_bit0(i);

	return rm_write(v, i, size, reg_get(v, i, i->reg, size));
}

int op_mov_r_rm(struct vcpu *v, const struct insn *i)
{
	unsigned size = size_by_bit0(i);
	u64 val;

	TRY(rm_read(v, i, size, &val));
	reg_set(v, i, i->reg, size, val);
	return X_OK;
}

/* A0..A3 */
int op_mov_moffs(struct vcpu *v, const struct insn *i)
{
	unsigned size = size_by_bit0(i);
	u64 off = (u64)i->disp & mask_bytes(i->adsize), val;

	if (i->op & 2)
		return seg_write(v, data_seg(i), off, size, gpr_get(v, RAX, size));
	TRY(seg_read(v, data_seg(i), off, size, &val));
	gpr_set(v, RAX, size, val);
	return X_OK;
}

/* B0..BF */
int op_mov_r_imm(struct vcpu *v, const struct insn *i)
{
	unsigned r = (i->op & 7) | (i->rex & 1) << 3;

	reg_set(v, i, r, i->op & 8 ? i->opsize : 1, i->imm);
	return X_OK;
}

/* C6, C7 */
int op_mov_rm_imm(struct vcpu *v, const struct insn *i)
{
	return modrm_ext(i) ? raise_ex(v, EX_UD) : rm_write(v, i, size_by_bit0(i), i->imm);
}

/* 0F B6, B7 */
int op_movzx(struct vcpu *v, const struct insn *i)
{
	u64 val;

	TRY(rm_read(v, i, i->op & 1 ? 2 : 1, &val));
	reg_set(v, i, i->reg, i->opsize, val);
	return X_OK;
}

/* 0F BE, BF */
int op_movsx(struct vcpu *v, const struct insn *i)
{
	unsigned size = i->op & 1 ? 2 : 1;
	u64 val;

	TRY(rm_read(v, i, size, &val));
	reg_set(v, i, i->reg, i->opsize, sext_bytes(val, size));
	return X_OK;
}

/* 63 in 64-bit code; a 16-bit operand size moves 16 bits */
int op_movsxd(struct vcpu *v, const struct insn *i)
{
	u64 val;

	TRY(rm_read(v, i, i->rm_size, &val));
	reg_set(v, i, i->reg, i->opsize, sext_bytes(val, i->rm_size));
	return X_OK;
}

static u64 swap_bytes(u64 val, unsigned size)
{
	return __builtin_bswap64(val) >> (64 - 8 * size);
}

/* 0F38 F0 loads, F1 stores */
int op_movbe(struct vcpu *v, const struct insn *i)
{
	u64 val;

	if (!guest_has(v, CPUF_MOVBE) || !i->is_mem)
		return raise_ex(v, EX_UD);
	if (i->op & 1)
		return rm_write(v, i, i->opsize,
				swap_bytes(reg_get(v, i, i->reg, i->opsize), i->opsize));
	TRY(rm_read(v, i, i->opsize, &val));
	reg_set(v, i, i->reg, i->opsize, swap_bytes(val, i->opsize));
	return X_OK;
}

/* 0F38 F0, F1: CRC32 with F2, else MOVBE */
int op_f38_f0(struct vcpu *v, const struct insn *i)
{
	return i->rep == 0xf2 ? op_crc32(v, i) : op_movbe(v, i);
}

/* 0F C3, 0F38 F9 MOVDIRI: memory only */
int op_movnti(struct vcpu *v, const struct insn *i)
{
	if (!i->is_mem)
		return raise_ex(v, EX_UD);
	return rm_write(v, i, i->opsize, reg_get(v, i, i->reg, i->opsize));
}

static u64 pick_b(u64 a UNUSED, u64 b, u64 c UNUSED, u64 *fl UNUSED)
{
	return b;
}

/* 86, 87: always atomic in memory */
int op_xchg_rm_r(struct vcpu *v, const struct insn *i)
{
	unsigned size = size_by_bit0(i);
	struct rmw m = { .fn = pick_b, .b = reg_get(v, i, i->reg, size), .lock = true };

	TRY(rm_modify(v, i, size, &m));
	reg_set(v, i, i->reg, size, m.old);
	return X_OK;
}

/* 90..97; 90 without REX.B is NOP or PAUSE */
int op_xchg_acc(struct vcpu *v, const struct insn *i)
{
	unsigned r = (i->op & 7) | (i->rex & 1) << 3;
	u64 a = v->s.gpr[RAX], b = v->s.gpr[r];

	if (i->reg_kind == OK_NONE)
		return op_nop(v, i);
	gpr_set(v, RAX, i->opsize, b);
	gpr_set(v, r, i->opsize, a);
	return X_OK;
}

int op_lea(struct vcpu *v, const struct insn *i)
{
	if (!i->is_mem)
		return raise_ex(v, EX_UD);
	reg_set(v, i, i->reg, i->opsize, insn_ea(v, i, v->next_rip));
	return X_OK;
}

int op_xlat(struct vcpu *v, const struct insn *i)
{
	u64 off = v->s.gpr[RBX] + (u8)v->s.gpr[RAX], val;

	TRY(seg_read(v, data_seg(i), off & mask_bytes(i->adsize), 1, &val));
	gpr_set(v, RAX, 1, val);
	return X_OK;
}

int op_setcc(struct vcpu *v, const struct insn *i)
{
	return rm_write(v, i, 1, condition(v->s.rflags, i->op));
}

/* The source is read, and a 32-bit destination zero-extended, even when the condition is false. */
int op_cmov(struct vcpu *v, const struct insn *i)
{
	u64 val;

	TRY(rm_read(v, i, i->opsize, &val));
	if (!condition(v->s.rflags, i->op))
		val = reg_get(v, i, i->reg, i->opsize);
	reg_set(v, i, i->reg, i->opsize, val);
	return X_OK;
}

/* 98: CBW CWDE CDQE */
int op_cbw(struct vcpu *v, const struct insn *i)
{
	gpr_set(v, RAX, i->opsize, sext_bytes(v->s.gpr[RAX], i->opsize / 2));
	return X_OK;
}

/* 99: CWD CDQ CQO */
int op_cwd(struct vcpu *v, const struct insn *i)
{
	gpr_set(v, RDX, i->opsize, sext_bytes(v->s.gpr[RAX], i->opsize) >> 63 ? ~0ull : 0);
	return X_OK;
}

/* -- flags ---------------------------------------------------------------------------------- */

#define FL_LOW (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)

int op_lahf(struct vcpu *v, const struct insn *i UNUSED)
{
	v->s.gpr[RAX] = (v->s.gpr[RAX] & ~0xff00ull) | (v->s.rflags & 0xff) << 8;
	return X_OK;
}

int op_sahf(struct vcpu *v, const struct insn *i UNUSED)
{
	v->s.rflags = (v->s.rflags & ~(u64)FL_LOW) | (v->s.gpr[RAX] >> 8 & FL_LOW);
	return X_OK;
}

/* F5 CMC, F8 CLC, F9 STC, FC CLD, FD STD */
int op_flag(struct vcpu *v, const struct insn *i)
{
	u64 bit = i->op < 0xfc ? FL_CF : FL_DF;

	if (i->op == 0xf5)
		v->s.rflags ^= FL_CF;
	else if (i->op & 1)
		v->s.rflags |= bit;
	else
		v->s.rflags &= ~bit;
	return X_OK;
}

/* D6: AL = CF ? ff : 0, undocumented but everywhere */
int op_salc(struct vcpu *v, const struct insn *i UNUSED)
{
	gpr_set(v, RAX, 1, v->s.rflags & FL_CF ? 0xff : 0);
	return X_OK;
}

/* -- hints, fences ------------------------------------------------------------------------------ */

int op_nop(struct vcpu *v, const struct insn *i)
{
	if (i->rep == 0xf3 && i->map == MAP_1)
		smp_pause(v);
	return X_OK;
}

/* CLFLUSH, CLFLUSHOPT, CLWB: checked like a load of one byte */
static int cache_line(struct vcpu *v, const struct insn *i)
{
	u64 la;

	if (i->opsz && !guest_has(v, modrm_ext(i) == 7 ? CPUF_CLFLUSHOPT : CPUF_CLWB))
		return raise_ex(v, EX_UD);
	TRY(insn_linear(v, i, 1, ACC_R, &la));
	return lin_check(v, la, 1, ACC_R);
}

/* 0F AE of class integer: fences (registers 5..7), cache lines (memory 6, 7) */
int op_0fae(struct vcpu *v, const struct insn *i)
{
	unsigned ext = modrm_ext(i);

	if (i->is_mem && ext >= 6)
		return cache_line(v, i);
	if (i->is_mem || ext < 5)
		return raise_ex(v, EX_UD);
	__asm__ volatile("mfence" : : : "memory");
	return X_OK;
}

int op_ud(struct vcpu *v, const struct insn *i UNUSED)
{
	return raise_ex(v, EX_UD);
}
