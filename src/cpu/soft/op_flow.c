// SPDX-License-Identifier: Apache-2.0
/*
 * op_flow.c - near control flow and the stack [SDM 2]
 *
 * A handler that moved rsp and then faults puts it back.
 */
#include "cpu/soft/op_int.h"
#include "cpu/soft/opnd.h"
#include "cpu/soft/quirks.h"

static u64 truncate_rip(u64 rip, unsigned opsize)
{
	return rip & mask_bytes(opsize);
}

static int jump(struct vcpu *v, const struct insn *i, u64 rip)
{
	return branch_to(v, truncate_rip(rip, i->opsize), i->opsize);
}

/* rsp += n within the stack width */
static void move_rsp(struct vcpu *v, u64 n)
{
	u64 m = stack_mask(v), rsp = v->s.gpr[RSP];

	v->s.gpr[RSP] = (rsp & ~m) | ((rsp + n) & m);
}

/* -- branches ---------------------------------------------------------------------------- */

int op_jmp_rel(struct vcpu *v, const struct insn *i)
{
	return jump(v, i, v->next_rip + i->imm);
}

int op_jcc(struct vcpu *v, const struct insn *i)
{
	return condition(v->s.rflags, i->op) ? jump(v, i, v->next_rip + i->imm) : X_OK;
}

/* E0 LOOPNE, E1 LOOPE, E2 LOOP, E3 JCXZ; rcx by address size */
int op_loop(struct vcpu *v, const struct insn *i)
{
	u64 n = gpr_get(v, RCX, i->adsize), rcx = v->s.gpr[RCX];
	bool zf = v->s.rflags & FL_ZF, taken;
	int r;

	if (i->op == 0xe3)
		return n ? X_OK : jump(v, i, v->next_rip + i->imm);
	gpr_set(v, RCX, i->adsize, n - 1);
	taken = gpr_get(v, RCX, i->adsize) && (i->op == 0xe2 || zf == (i->op == 0xe1));
	r = taken ? jump(v, i, v->next_rip + i->imm) : X_OK;
	if (r)
		v->s.gpr[RCX] = rcx;
	return r;
}

static int check_push(struct vcpu *v, unsigned size)
{
	u64 sp = (v->s.gpr[RSP] - size) & stack_mask(v), la;

	TRY(seg_linear(v, SEG_SS, sp, size, ACC_W, &la));
	return lin_check(v, la, size, ACC_W);
}

/* The target faults: the stack may have been written, but rsp is as it was. */
static int call_fault(struct vcpu *v, const struct insn *i, u64 ret)
{
	struct x86_exc fault = v->exc;
	u64 rsp = v->s.gpr[RSP];

	if (i->mode != 8 || !quirks()->call_fault_writes_stack)
		return X_FAULT;
	TRY(push_val(v, i->opsize, ret));
	v->s.gpr[RSP] = rsp;
	v->exc = fault;
	return X_FAULT;
}

/* The stack first, then the target; both before the push, so that a fault finds rsp as it was. */
static int call(struct vcpu *v, const struct insn *i, u64 target)
{
	u64 ret = truncate_rip(v->next_rip, i->opsize);

	TRY(check_push(v, i->opsize));
	if (jump(v, i, target))
		return call_fault(v, i, ret);
	return push_val(v, i->opsize, ret);
}

int op_call_rel(struct vcpu *v, const struct insn *i)
{
	return call(v, i, v->next_rip + i->imm);
}

/* C2 iw, C3 */
int op_ret(struct vcpu *v, const struct insn *i)
{
	u64 rsp = v->s.gpr[RSP], rip;

	TRY(pop_val(v, i->opsize, &rip));
	if (jump(v, i, rip)) {
		v->s.gpr[RSP] = rsp;
		return X_FAULT;
	}
	if (i->op == 0xc2)
		move_rsp(v, i->imm & 0xffff);
	return X_OK;
}

/* FE, FF: INC DEC CALL JMP PUSH */
int op_grp5(struct vcpu *v, const struct insn *i)
{
	u64 val;

	if (modrm_ext(i) < 2)
		return op_incdec_rm(v, i);
	if (i->op == 0xfe)
		return raise_ex(v, EX_UD);
	TRY(rm_read(v, i, i->opsize, &val));
	switch (modrm_ext(i)) {
	case 2:
		return call(v, i, val);
	case 4:
		return jump(v, i, val);
	case 6:
		return push_val(v, i->opsize, val);
	default:
		return raise_ex(v, EX_UD);
	}
}

/* -- PUSH, POP ------------------------------------------------------------------------------ */

static unsigned opcode_reg(const struct insn *i)
{
	return (i->op & 7) | (i->rex & 1) << 3;
}

int op_push_r(struct vcpu *v, const struct insn *i)
{
	return push_val(v, i->opsize, gpr_get(v, opcode_reg(i), i->opsize));
}

/* POP rsp: the value read wins over the increment. */
int op_pop_r(struct vcpu *v, const struct insn *i)
{
	u64 val;

	TRY(pop_val(v, i->opsize, &val));
	gpr_set(v, opcode_reg(i), i->opsize, val);
	return X_OK;
}

int op_push_imm(struct vcpu *v, const struct insn *i)
{
	return push_val(v, i->opsize, i->imm & mask_bytes(i->opsize));
}

/* 8F /0: an address that uses rsp sees it after the pop. */
int op_pop_rm(struct vcpu *v, const struct insn *i)
{
	u64 rsp = v->s.gpr[RSP], val;

	if (modrm_ext(i))
		return raise_ex(v, EX_UD);
	TRY(pop_val(v, i->opsize, &val));
	if (rm_write(v, i, i->opsize, val)) {
		v->s.gpr[RSP] = rsp;
		return X_FAULT;
	}
	return X_OK;
}

int op_pusha(struct vcpu *v, const struct insn *i)
{
	u64 rsp = v->s.gpr[RSP];

	for (unsigned r = RAX; r <= RDI; r++) {
		u64 val = r == RSP ? rsp : v->s.gpr[r];

		if (push_val(v, i->opsize, val & mask_bytes(i->opsize))) {
			v->s.gpr[RSP] = rsp;
			return X_FAULT;
		}
	}
	return X_OK;
}

/* The stored SP is skipped. */
int op_popa(struct vcpu *v, const struct insn *i)
{
	u64 rsp = v->s.gpr[RSP], val[8];

	for (int r = RDI; r >= RAX; r--) {
		if (pop_val(v, i->opsize, &val[r])) {
			v->s.gpr[RSP] = rsp;
			return X_FAULT;
		}
	}
	for (unsigned r = RAX; r <= RDI; r++)
		if (r != RSP)
			gpr_set(v, r, i->opsize, val[r]);
	return X_OK;
}

/* Copy @level - 1 outer frame pointers from [rBP], then push @frame. */
static int enter_nested(struct vcpu *v, const struct insn *i, unsigned level, u64 frame)
{
	u64 m = stack_mask(v), bp = v->s.gpr[RBP], val;

	for (unsigned n = 1; n < level; n++) {
		bp -= i->opsize;
		TRY(seg_read(v, SEG_SS, bp & m, i->opsize, &val));
		TRY(push_val(v, i->opsize, val));
	}
	return push_val(v, i->opsize, frame & mask_bytes(i->opsize));
}

/* The page the new stack top is in must be writable, as if it were pushed to. [SDM 2A ENTER] */
static int enter_check_top(struct vcpu *v, const struct insn *i)
{
	u64 la;

	TRY(seg_linear(v, SEG_SS, v->s.gpr[RSP] & stack_mask(v), i->opsize, ACC_W, &la));
	return lin_check(v, la, i->opsize, ACC_W);
}

static int enter(struct vcpu *v, const struct insn *i)
{
	unsigned level = i->imm2 & 31;
	u64 frame;

	TRY(push_val(v, i->opsize, gpr_get(v, RBP, i->opsize)));
	frame = v->s.gpr[RSP];
	if (level)
		TRY(enter_nested(v, i, level, frame));
	move_rsp(v, -(i->imm & 0xffff));
	TRY(enter_check_top(v, i));
	gpr_set(v, RBP, i->opsize, frame);
	return X_OK;
}

int op_enter(struct vcpu *v, const struct insn *i)
{
	u64 rsp = v->s.gpr[RSP];
	int r = enter(v, i);

	if (r)
		v->s.gpr[RSP] = rsp;
	return r;
}

int op_leave(struct vcpu *v, const struct insn *i)
{
	u64 rsp = v->s.gpr[RSP], val;

	gpr_set(v, RSP, stack_width(v), v->s.gpr[RBP]);
	if (pop_val(v, i->opsize, &val)) {
		v->s.gpr[RSP] = rsp;
		return X_FAULT;
	}
	gpr_set(v, RBP, i->opsize, val);
	return X_OK;
}

/* 62 in 16- and 32-bit code */
int op_bound(struct vcpu *v, const struct insn *i)
{
	unsigned size = i->opsize;
	i64 idx = (i64)sext_bytes(v->s.gpr[i->reg & 15], size);
	u64 la, lo, hi;

	if (!i->is_mem)
		return raise_ex(v, EX_UD);
	TRY(insn_linear(v, i, 2 * size, ACC_R, &la));
	TRY(lin_read(v, la, size, &lo));
	TRY(lin_read(v, (u32)(la + size), size, &hi));
	if (idx < (i64)sext_bytes(lo, size) || idx > (i64)sext_bytes(hi, size))
		return raise_ex(v, EX_BR);
	return X_OK;
}
