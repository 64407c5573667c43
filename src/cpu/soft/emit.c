// SPDX-License-Identifier: Apache-2.0
/* emit.c - code bytes; see emit.h. Encodings: [SDM 2A 2.1 to 2.3] */
#include "cpu/soft/emit.h"

static void put_op(struct emit *e, unsigned op)
{
	if (op > 0xff)
		e8(e, op >> 8);
	e8(e, op);
}

static void put_rex(struct emit *e, bool w, unsigned reg, unsigned index, unsigned rm, bool force)
{
	unsigned rex = 0x40 | (w ? 8 : 0) | (reg & 8 ? 4 : 0) | (index & 8 ? 2 : 0) | (rm & 8 ? 1 : 0);

	if (rex != 0x40 || force)
		e8(e, rex);
}

/*
 * ModRM, SIB and displacement of [base + index * scale + disp]. @wide: no 8-bit displacement, which
 * EVEX would scale.
 */
static void put_mem(struct emit *e, unsigned reg, unsigned base, unsigned index, unsigned scale,
		    i32 disp, bool wide)
{
	static const u8 log2_of[9] = { [1] = 0, [2] = 1, [4] = 2, [8] = 3 };
	bool sib = index != REG_NONE || base == REG_NONE || (base & 7) == 4;
	unsigned mod = disp == 0 && (base & 7) != 5 ? 0 : disp == (i8)disp && !wide ? 1 : 2;

	if (base == REG_NONE)
		mod = 0;
	e8(e, mod << 6 | (reg & 7) << 3 | (sib ? 4 : base & 7));
	if (sib)
		e8(e, (unsigned)log2_of[scale] << 6 | (index == REG_NONE ? 4 : index & 7) << 3 |
			      (base == REG_NONE ? 5 : base & 7));
	if (mod == 1)
		e8(e, (u8)disp);
	else if (mod == 2 || base == REG_NONE)
		e32(e, (u32)disp);
}

void e_mem(struct emit *e, bool w, unsigned op, unsigned reg, unsigned base, i32 disp)
{
	put_rex(e, w, reg, 0, base, false);
	put_op(e, op);
	put_mem(e, reg, base, REG_NONE, 1, disp, false);
}

void e_rr(struct emit *e, bool w, unsigned op, unsigned reg, unsigned rm)
{
	put_rex(e, w, reg, 0, rm, false);
	put_op(e, op);
	e8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

void e_imm(struct emit *e, unsigned reg, u64 val)
{
	if (val <= 0xffffffff) {
		put_rex(e, false, 0, 0, reg, false);
		e8(e, 0xb8 | (reg & 7));
		e32(e, (u32)val);
	} else if ((i64)val == (i32)val) {
		put_rex(e, true, 0, 0, reg, false);
		e8(e, 0xc7);
		e8(e, 0xc0 | (reg & 7));
		e32(e, (u32)val);
	} else {
		put_rex(e, true, 0, 0, reg, false);
		e8(e, 0xb8 | (reg & 7));
		e64(e, val);
	}
}

static void put_rel32(struct emit *e, i64 delta, const u8 *rx_target)
{
	e32(e, (u32)(rx_target - (e->p + 4 + delta)));
}

void e_jmp(struct emit *e, i64 delta, const u8 *rx_target)
{
	e8(e, 0xe9);
	put_rel32(e, delta, rx_target);
}

void e_call(struct emit *e, i64 delta, const u8 *rx_target)
{
	e8(e, 0xe8);
	put_rel32(e, delta, rx_target);
}

u8 *e_jcc_hole(struct emit *e, unsigned cc)
{
	e8(e, 0x0f);
	e8(e, 0x80 | cc);
	e32(e, 0);
	return e->p - 4;
}

u8 *e_jmp_hole(struct emit *e)
{
	e8(e, 0xe9);
	e32(e, 0);
	return e->p - 4;
}

void e_patch(struct emit *e, u8 *hole, const u8 *rw_target)
{
	i32 rel = (i32)(rw_target - (hole + 4));

	if (!e->full)
		__builtin_memcpy(hole, &rel, 4);
}

/* -- guest instructions ------------------------------------------------------------- */

static void put_legacy_prefixes(struct emit *e, const struct insn *i)
{
	if (i->lock)
		e8(e, 0xf0);
	if (i->opsz)
		e8(e, 0x66);
	if (i->rep)
		e8(e, i->rep);
}

static void put_map(struct emit *e, const struct insn *i)
{
	if (i->map == MAP_1)
		return;
	e8(e, 0x0f);
	if (i->map == MAP_0F38)
		e8(e, 0x38);
	else if (i->map == MAP_0F3A)
		e8(e, 0x3a);
}

/* The register sits in the opcode's low bits: no ModRM. */
static bool has_opcode_reg(const struct insn *i)
{
	return !i->has_modrm && i->reg_kind == OK_GPR;
}

static void put_legacy(struct emit *e, const struct insn *i, const struct opmap *m)
{
	unsigned index = m->mem && m->index != REG_NONE ? m->index : 0;
	unsigned rm = m->mem ? (m->base == REG_NONE ? 0 : m->base) : m->rm;

	put_legacy_prefixes(e, i);
	if (has_opcode_reg(i)) {
		put_rex(e, i->w, 0, 0, m->reg, i->rex);
		put_map(e, i);
		e8(e, (i->op & ~7u) | (m->reg & 7));
		return;
	}
	put_rex(e, i->w, i->has_modrm ? m->reg : 0, index, i->has_modrm ? rm : 0, i->rex);
	put_map(e, i);
	e8(e, i->op);
}

static void put_vex(struct emit *e, const struct insn *i, const struct opmap *m)
{
	unsigned index = m->mem && m->index != REG_NONE ? m->index : 0;
	unsigned rm = m->mem ? (m->base == REG_NONE ? 0 : m->base) : m->rm;

	e8(e, 0xc4);
	e8(e, (m->reg & 8 ? 0 : 0x80) | (index & 8 ? 0 : 0x40) | (rm & 8 ? 0 : 0x20) | i->map);
	e8(e, (i->w ? 0x80 : 0) | (~m->vvvv & 15u) << 3 | (unsigned)i->vl << 2 | i->pp);
	e8(e, i->op);
}

/* The prefix as it was, with other numbers for base, index and general registers [SDM 2A 2.7.1]. */
static void put_evex(struct emit *e, const struct insn *i, const struct opmap *m)
{
	const u8 *raw = i->bytes + i->nr_prefix;
	unsigned p0 = raw[1];

	if (i->reg_kind == OK_GPR)
		p0 = (p0 & 0x7f) | (m->reg & 8 ? 0 : 0x80);
	if (m->mem)
		p0 = (p0 & 0x9f) | (m->index != REG_NONE && m->index & 8 ? 0 : 0x40) |
		     (m->base != REG_NONE && m->base & 8 ? 0 : 0x20);
	else if (i->rm_kind == OK_GPR)
		p0 = (p0 & 0xdf) | (m->rm & 8 ? 0 : 0x20);
	e8(e, 0x62);
	e8(e, p0);
	e8(e, raw[2]);
	e8(e, raw[3]);
	e8(e, i->op);
}

void e_insn(struct emit *e, const struct insn *i, const struct opmap *m)
{
	if (i->enc == ENC_VEX)
		put_vex(e, i, m);
	else if (i->enc == ENC_EVEX)
		put_evex(e, i, m);
	else
		put_legacy(e, i, m);
	if (i->has_modrm) {
		if (m->mem)
			put_mem(e, m->reg, m->base, m->index, m->scale, m->disp,
				i->enc == ENC_EVEX);
		else
			e8(e, 0xc0 | (m->reg & 7) << 3 | (m->rm & 7));
	}
	for (unsigned k = 0; k < i->nr_imm; k++)
		e8(e, i->bytes[i->off_imm + k]);
}
