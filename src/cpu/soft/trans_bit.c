// SPDX-License-Identifier: Apache-2.0
/*
 * trans_bit.c - BT, BTS, BTR, BTC of a bit string in memory: the register counts bits from
 * the operand, far beyond it or before it [SDM 2A BT]
 *
 * The word that holds the bit is looked up; then the bit's number in that word.
 */
#include "cpu/soft/translate.h"

static bool is_bit_string(const struct insn *i)
{
	bool op = i->op == 0xa3 || i->op == 0xab || i->op == 0xb3 || i->op == 0xbb;

	return op && i->map == MAP_0F && i->enc == ENC_LEGACY && i->cls == CLS_INT && i->is_mem &&
	       !i->rep && i->opsize >= 4 && i->adsize == 8 && i->reg_kind == OK_GPR;
}

/* r11 = the bit number; sign-extended. */
static void get_number(struct trans *t, const struct insn *i)
{
	struct emit *e = &t->e;
	unsigned g = i->reg;

	if (trans_is_homed(g))
		e_mem(e, true, i->opsize == 8 ? 0x8b : 0x63, R11, RSP, GPROFF(g));
	else
		e_rr(e, true, i->opsize == 8 ? 0x8b : 0x63, R11, g == RSP ? HOST_RSP : g);
}

/* r10 += byte offset of the word; clobbers r11 and flags. */
static void move_to_word(struct trans *t, const struct insn *i)
{
	struct insn lea = { .op = 0x8d, .has_modrm = true, .is_mem = true, .w = true };
	struct opmap m = { .reg = R10, .mem = true, .base = R10, .index = R11, .scale = i->opsize };
	struct emit *e = &t->e;

	get_number(t, i);
	e8(e, 0x49), e8(e, 0xc1), e8(e, 0xfb), e8(e, i->opsize == 8 ? 6 : 5); /* sar r11, n */
	e_insn(e, &lea, &m);
}

bool trans_bit(struct trans *t, const struct insn *i)
{
	struct insn op = *i, lea = { .op = 0x8d, .has_modrm = true, .is_mem = true, .w = true };
	bool write = i->op != 0xa3;
	struct opmap fold = { .reg = R10, .mem = true, .base = R10, .index = R11, .scale = 1,
			      .disp = write ? -1 : 0 };
	struct opmap m = { .reg = R11, .mem = true, .base = R10, .index = REG_NONE };
	struct emit *e = &t->e;

	if (!is_bit_string(i) || (i->lock && !write) || t->live[t->k] || t->v->cfg.off & CPU_OFF_BITS)
		return false;
	trans_ea(t, i);
	move_to_word(t, i);
	trans_check(t, AT_R10, write ? ACC_W : ACC_R, i->opsize, ALIGN_FREE);
	e_insn(e, &lea, &fold);
	get_number(t, i);
	e8(e, 0x41), e8(e, 0x83), e8(e, 0xe3), e8(e, i->opsize * 8u - 1); /* and r11d, bits - 1 */
	e_insn(e, &op, &m);
	return true;
}
