// SPDX-License-Identifier: Apache-2.0
/* op_seg.c - MOV, PUSH and POP of segment registers, LDS LES LFS LGS LSS [SDM 2] */
#include "cpu/soft/op_sys.h"

int op_mov_from_seg(struct vcpu *v, const struct insn *i)
{
	return sys_rm_write(v, i, i->is_mem ? 2 : i->opsize, v->s.seg[i->reg].sel);
}

static int load_and_shadow(struct vcpu *v, unsigned seg, u16 sel)
{
	TRY(load_seg(v, seg, sel));
	v->s.shadow_ss = seg == SEG_SS;
	return X_OK;
}

int op_mov_to_seg(struct vcpu *v, const struct insn *i)
{
	u64 sel;

	TRY(sys_rm_read(v, i, 2, &sel));
	return load_and_shadow(v, i->reg, (u16)sel);
}

/* The register in a PUSH/POP opcode: 06 0E 16 1E, 0F A0, 0F A8 (POP: one more). */
static unsigned seg_of_op(const struct insn *i)
{
	return (i->op >> 3) & 7 & (i->map == MAP_1 ? 3 : 5);
}

int op_push_seg(struct vcpu *v, const struct insn *i)
{
	return push_val(v, i->opsize, v->s.seg[seg_of_op(i)].sel);
}

int op_pop_seg(struct vcpu *v, const struct insn *i)
{
	u64 rsp = v->s.gpr[RSP], val;
	int r;

	TRY(pop_val(v, i->opsize, &val));
	r = load_and_shadow(v, seg_of_op(i), (u16)val);
	if (r != X_OK)
		v->s.gpr[RSP] = rsp;
	return r;
}

static unsigned load_far_seg(const struct insn *i)
{
	if (i->map == MAP_1)
		return i->op == 0xc4 ? SEG_ES : SEG_DS;
	return i->op == 0xb2 ? SEG_SS : i->op == 0xb4 ? SEG_FS : SEG_GS;
}

int op_load_far(struct vcpu *v, const struct insn *i)
{
	u64 la, off, sel;

	TRY(insn_linear(v, i, i->opsize + 2, ACC_R, &la));
	TRY(lin_read(v, la, i->opsize, &off));
	TRY(lin_read(v, la + i->opsize, 2, &sel));
	TRY(load_seg(v, load_far_seg(i), (u16)sel));
	set_gpr(v, i->reg, i->opsize, off);
	return X_OK;
}
