// SPDX-License-Identifier: Apache-2.0
/*
 * op_bit.c - shifts, rotates, bit tests and scans, BMI [SDM 2]
 */
#include "cpu/soft/op_int.h"
#include "cpu/soft/opnd.h"
#include "cpu/soft/quirks.h"

static alu_fn *native(enum native_op op, unsigned size)
{
	return native_ops[op][size_log2(size)];
}

/* -- shifts --------------------------------------------------------------------------- */

/* ROL, ROR of a register by an immediate other than 1 */
static bool keeps_of(const struct insn *i, unsigned size)
{
	return modrm_ext(i) < 2 && i->op < 0xd0 && !i->is_mem && (i->imm & (size == 8 ? 63 : 31)) != 1 &&
	       quirks()->rotate_imm_keeps_of;
}

/* C0 C1 by immediate, D0 D1 by one, D2 D3 by CL */
int op_shift(struct vcpu *v, const struct insn *i)
{
	unsigned size = size_by_bit0(i);
	struct rmw m = { .fn = native(NAT_ROL + modrm_ext(i), size) };
	u64 of = v->s.rflags & FL_OF;

	m.c = i->op < 0xd0 ? i->imm : i->op < 0xd2 ? 1 : v->s.gpr[RCX];
	TRY(rm_modify(v, i, size, &m));
	if (unlikely(keeps_of(i, size)))
		v->s.rflags = (v->s.rflags & ~(u64)FL_OF) | of;
	return X_OK;
}

/* 0F A4 A5 SHLD, AC AD SHRD */
int op_shld(struct vcpu *v, const struct insn *i)
{
	struct rmw m = { .fn = native(i->op < 0xa8 ? NAT_SHLD : NAT_SHRD, i->opsize) };

	m.b = reg_get(v, i, i->reg, i->opsize);
	m.c = i->op & 1 ? v->s.gpr[RCX] : i->imm;
	return rm_modify(v, i, i->opsize, &m);
}

/* -- BT BTS BTR BTC ---------------------------------------------------------------------- */

static int bit_test(struct vcpu *v, const struct insn *i, enum native_op op, u64 la, u64 bit)
{
	struct rmw m = { .fn = native(op, i->opsize), .b = bit, .lock = i->lock };
	u64 val;

	if (op != NAT_BT)
		return i->is_mem ? lin_modify(v, la, i->opsize, &m) :
				   rm_modify(v, i, i->opsize, &m);
	val = reg_get(v, i, i->rm, i->opsize);
	if (i->is_mem)
		TRY(lin_read(v, la, i->opsize, &val));
	m.fn(val, bit, 0, &v->s.rflags);
	return X_OK;
}

/* 0F BA /4../7 */
int op_bt_rm_imm(struct vcpu *v, const struct insn *i)
{
	enum native_op op = NAT_BT + (modrm_ext(i) & 3);
	u64 la = 0;

	if (modrm_ext(i) < 4)
		return raise_ex(v, EX_UD);
	if (i->is_mem)
		TRY(insn_linear(v, i, i->opsize, op == NAT_BT ? ACC_R : ACC_W, &la));
	return bit_test(v, i, op, la, i->imm);
}

/* 0F A3 AB B3 BB: the register is a signed bit offset into memory, any distance away. */
int op_bt_rm_r(struct vcpu *v, const struct insn *i)
{
	enum native_op op = NAT_BT + (i->op >> 3 & 3);
	u64 bit = sext_bytes(v->s.gpr[i->reg & 15], i->opsize), ea, la = 0;

	if (i->is_mem) {
		ea = insn_ea(v, i, v->next_rip);
		ea += (u64)((i64)bit >> (3 + size_log2(i->opsize))) * i->opsize;
		TRY(seg_linear(v, i->mem_seg, ea & mask_bytes(i->adsize), i->opsize,
			       op == NAT_BT ? ACC_R : ACC_W, &la));
	}
	return bit_test(v, i, op, la, bit);
}

/* -- scans ---------------------------------------------------------------------------------- */

/* The destination is also an input: BSF and BSR of zero leave it alone. */
static int scan(struct vcpu *v, const struct insn *i, enum native_op op)
{
	u64 *g = &v->s.gpr[i->reg & 15], src;

	TRY(rm_read(v, i, i->opsize, &src));
	*g = native(op, i->opsize)(*g, src, 0, &v->s.rflags);
	return X_OK;
}

/* 0F BC, BD: with F3 these are TZCNT, LZCNT only where the CPU has them. */
int op_bitscan(struct vcpu *v, const struct insn *i)
{
	bool f3 = i->rep == 0xf3;

	if (i->op == 0xbc)
		return scan(v, i, f3 && guest_has(v, CPUF_BMI1) ? NAT_TZCNT : NAT_BSF);
	return scan(v, i, f3 && guest_has(v, CPUF_LZCNT) ? NAT_LZCNT : NAT_BSR);
}

int op_popcnt(struct vcpu *v, const struct insn *i)
{
	return i->rep == 0xf3 ? scan(v, i, NAT_POPCNT) : raise_ex(v, EX_UD);
}

/* 0F C8..CF; 16-bit operands are undefined: hosts clear them. */
int op_bswap(struct vcpu *v, const struct insn *i)
{
	unsigned r = (i->op & 7) | (i->rex & 1) << 3;

	if (i->opsize == 2)
		gpr_set(v, r, 2, 0);
	else
		v->s.gpr[r] = native(NAT_BSWAP, i->opsize)(v->s.gpr[r], 0, 0, &v->s.rflags);
	return X_OK;
}

/* -- BMI1, BMI2: VEX, 32 and 64 bits ------------------------------------------------------------ */

static unsigned vex_size(const struct vcpu *v, const struct insn *i)
{
	return i->w && is_long64(v) ? 8 : 4;
}

/* VEX.L = 0, and the guest has the feature. */
static int check_bmi(struct vcpu *v, const struct insn *i, enum cpu_feature f)
{
	return i->vl || !guest_has(v, f) ? raise_ex(v, EX_UD) : X_OK;
}

static bool is_bmi1(enum native_op op)
{
	return op == NAT_ANDN || op == NAT_BLSR || op == NAT_BLSMSK || op == NAT_BLSI ||
	       op == NAT_BEXTR;
}

/* dst = op(a, r/m, c) */
static int bmi(struct vcpu *v, const struct insn *i, enum native_op op, unsigned dst, u64 a, u64 c)
{
	unsigned size = vex_size(v, i);
	u64 b, r;

	TRY(check_bmi(v, i, is_bmi1(op) ? CPUF_BMI1 : CPUF_BMI2));
	TRY(rm_read(v, i, size, &b));
	r = native(op, size)(a, b, c, &v->s.rflags);
	reg_set(v, i, dst, size, r);
	return X_OK;
}

/* 0F38 F2 */
int op_bmi_andn(struct vcpu *v, const struct insn *i)
{
	return bmi(v, i, NAT_ANDN, i->reg, v->s.gpr[i->vvvv & 15], 0);
}

/* 0F38 F3 /1 BLSR /2 BLSMSK /3 BLSI: destination in vvvv */
int op_bmi_bls(struct vcpu *v, const struct insn *i)
{
	unsigned ext = modrm_ext(i);

	if (ext < 1 || ext > 3)
		return raise_ex(v, EX_UD);
	return bmi(v, i, NAT_BLSR + ext - 1, i->vvvv, 0, 0);
}

/* 0F38 F5: BZHI, PEXT (F3), PDEP (F2) */
int op_bmi_f5(struct vcpu *v, const struct insn *i)
{
	static const u8 ops[4] = { NAT_BZHI, 0, NAT_PEXT, NAT_PDEP };

	if (i->pp == 1)
		return raise_ex(v, EX_UD);
	return bmi(v, i, ops[i->pp & 3], i->reg, 0, v->s.gpr[i->vvvv & 15]);
}

/* 0F38 F6: vvvv and reg = rdx * r/m; the high half wins if both are the same */
int op_bmi_mulx(struct vcpu *v, const struct insn *i)
{
	unsigned size = vex_size(v, i);
	unsigned __int128 p;
	u64 b;

	TRY(check_bmi(v, i, CPUF_BMI2));
	TRY(rm_read(v, i, size, &b));
	p = (unsigned __int128)gpr_get(v, RDX, size) * b;
	reg_set(v, i, i->vvvv, size, p);
	reg_set(v, i, i->reg, size, p >> (8 * size));
	return X_OK;
}

/* 0F38 F7: BEXTR, SHLX (66), SARX (F3), SHRX (F2) */
int op_bmi_f7(struct vcpu *v, const struct insn *i)
{
	static const u8 ops[4] = { NAT_BEXTR, NAT_SHLX, NAT_SARX, NAT_SHRX };

	return bmi(v, i, ops[i->pp & 3], i->reg, 0, v->s.gpr[i->vvvv & 15]);
}

/* 0F3A F0 (F2) */
int op_bmi_rorx(struct vcpu *v, const struct insn *i)
{
	unsigned size = vex_size(v, i), n = i->imm & (8 * size - 1);
	u64 b;

	TRY(check_bmi(v, i, CPUF_BMI2));
	TRY(rm_read(v, i, size, &b));
	if (n)
		b = (b >> n) | (b << (8 * size - n));
	reg_set(v, i, i->reg, size, b);
	return X_OK;
}
