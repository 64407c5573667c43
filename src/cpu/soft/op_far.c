// SPDX-License-Identifier: Apache-2.0
/*
 * op_far.c - far jumps, calls, returns and IRET in every mode
 * [SDM 2A CALL, IRET, JMP, RET; SDM 3A 5.8, 7.3, 20.2]
 */
#include "cpu/soft/desc.h"
#include "cpu/soft/op_sys.h"

/* The far pointer: immediate or in memory. */
static int far_target(struct vcpu *v, const struct insn *i, u16 *ret_sel, u64 *ret_off)
{
	u64 la, sel;

	if (!i->is_mem) {
		*ret_sel = (u16)i->imm2;
		*ret_off = i->imm & mask_bytes(i->opsize);
		return X_OK;
	}
	TRY(insn_linear(v, i, i->opsize + 2, ACC_R, &la));
	TRY(lin_read(v, la, i->opsize, ret_off));
	TRY(lin_read(v, la + i->opsize, 2, &sel));
	*ret_sel = (u16)sel;
	return X_OK;
}

/* Is @off a legal instruction address in code segment @d? #GP(0). */
static int check_ip(struct vcpu *v, const struct desc *d, u64 off)
{
	bool bits64 = is_long(v) && (d->hi & BIT(21));

	if (bits64 ? !is_canonical(off) : off > desc_limit(d))
		return raise_err(v, EX_GP, 0);
	return X_OK;
}

/* L and D both set is no code segment in IA-32e mode. */
static bool code_mode_ok(const struct vcpu *v, const struct desc *d)
{
	return !is_long(v) || (desc_attr(d) & (SA_L | SA_DB)) != (SA_L | SA_DB);
}

static int load_cs(struct vcpu *v, u16 sel, u8 cpl, struct desc *d)
{
	TRY(desc_set_accessed(v, d));
	seg_from_desc(&v->s.seg[SEG_CS], (sel & 0xfffc) | cpl, d);
	return X_OK;
}

/* A code segment named directly by a far JMP or CALL. */
static int check_direct_cs(struct vcpu *v, u16 sel, const struct desc *d)
{
	bool ok = desc_is_conforming(d) ? desc_dpl(d) <= v->cpl :
					  (sel & 3) <= v->cpl && desc_dpl(d) == v->cpl;

	if (!ok || !code_mode_ok(v, d))
		return raise_sel(v, EX_GP, sel, 0);
	return desc_present(d) ? X_OK : raise_sel(v, EX_NP, sel, 0);
}

/* A gate or TSS: privilege and presence. */
static int check_gate(struct vcpu *v, u16 sel, const struct desc *d)
{
	if (desc_dpl(d) < v->cpl || desc_dpl(d) < (sel & 3))
		return raise_sel(v, EX_GP, sel, 0);
	return desc_present(d) ? X_OK : raise_sel(v, EX_NP, sel, 0);
}

/* The code segment behind a call gate. */
static int read_gate_cs(struct vcpu *v, const struct desc *gate, struct desc *ret)
{
	u16 sel = gate_sel(gate);

	if (!(sel & 0xfffc))
		return raise_err(v, EX_GP, 0);
	TRY(desc_read(v, sel, EX_GP, 0, ret));
	if (!desc_is_code(ret) || desc_dpl(ret) > v->cpl)
		return raise_sel(v, EX_GP, sel, 0);
	if (is_long(v) && (desc_attr(ret) & (SA_L | SA_DB)) != SA_L)
		return raise_sel(v, EX_GP, sel, 0);
	return desc_present(ret) ? X_OK : raise_sel(v, EX_NP, sel, 0);
}

/* What a far JMP or CALL may name besides code. */
enum far_kind { FAR_CODE, FAR_GATE, FAR_TASK };

static int read_far(struct vcpu *v, u16 *sel, struct desc *ret, enum far_kind *kind)
{
	if (!(*sel & 0xfffc))
		return raise_err(v, EX_GP, 0);
	TRY(desc_read(v, *sel, EX_GP, 0, ret));
	if (desc_is_code(ret)) {
		*kind = FAR_CODE;
		return check_direct_cs(v, *sel, ret);
	}
	switch (desc_type(ret)) {
	case DT_CALL16:
		if (is_long(v))
			break;
		FALLTHROUGH;
	case DT_CALL32:
		*kind = FAR_GATE;
		TRY(check_gate(v, *sel, ret));
		return desc_read_upper(v, ret, EX_GP, 0);
	case DT_TASK_GATE:
	case DT_TSS16:
	case DT_TSS32:
		if (is_long(v))
			break;
		*kind = FAR_TASK;
		TRY(check_gate(v, *sel, ret));
		if (desc_type(ret) == DT_TASK_GATE)
			*sel = gate_sel(ret);
		return X_OK;
	}
	return raise_sel(v, EX_GP, *sel, 0);
}

/* -- JMP ------------------------------------------------------------------------------- */

static int jmp_gate(struct vcpu *v, const struct desc *gate)
{
	u64 off = gate_offset(v, gate);
	struct desc cs;

	TRY(read_gate_cs(v, gate, &cs));
	if (!desc_is_conforming(&cs) && desc_dpl(&cs) != v->cpl)
		return raise_sel(v, EX_GP, gate_sel(gate), 0);
	TRY(check_ip(v, &cs, off));
	TRY(load_cs(v, gate_sel(gate), v->cpl, &cs));
	v->next_rip = off;
	return X_OK;
}

int op_jmp_far(struct vcpu *v, const struct insn *i)
{
	enum far_kind kind;
	struct desc d;
	u64 off;
	u16 sel;

	TRY(far_target(v, i, &sel, &off));
	if (is_real(v) || is_vm86(v)) {
		if (off > v->s.seg[SEG_CS].limit)
			return raise_err(v, EX_GP, 0);
		load_seg_real(v, SEG_CS, sel);
		v->next_rip = off;
		return X_OK;
	}
	TRY(read_far(v, &sel, &d, &kind));
	if (kind == FAR_TASK)
		return task_switch(v, sel, TASK_JMP, v->next_rip, NULL, 0);
	if (kind == FAR_GATE)
		return jmp_gate(v, &d);
	TRY(check_ip(v, &d, off));
	TRY(load_cs(v, sel, v->cpl, &d));
	v->next_rip = off;
	return X_OK;
}

/* -- CALL --------------------------------------------------------------------------------- */

/* Push the return address on @st: CS, then IP. */
static int push_return(struct vcpu *v, struct stack *st, unsigned size)
{
	TRY(stack_push(v, st, size, v->s.seg[SEG_CS].sel));
	return stack_push(v, st, size, v->next_rip);
}

static int copy_params(struct vcpu *v, struct stack *st, unsigned size, unsigned nr)
{
	u64 val;

	for (unsigned n = nr; n-- > 0;) {
		u64 off = (v->s.gpr[RSP] + n * size) & stack_mask(v);

		TRY(seg_read(v, SEG_SS, off, size, &val));
		TRY(stack_push(v, st, size, val));
	}
	return X_OK;
}

/* The stack a call gate to more privilege switches to. */
static int gate_stack(struct vcpu *v, u8 cpl, struct stack *ret)
{
	u16 sel = cpl;

	*ret = (struct stack){ .cpl = cpl, .mask = ~0ull, .flat = true };
	if (is_long(v)) {
		ret->ss = (struct x86_seg){ .attr = SA_UNUSABLE | (u32)cpl << SA_DPL_SHIFT,
					    .sel = cpl };
		return tss_stack64(v, cpl, 0, 0, &ret->sp);
	}
	ret->flat = false;
	TRY(tss_stack(v, cpl, 0, &sel, &ret->sp));
	TRY(load_inner_ss(v, sel, cpl, 0, &ret->ss));
	ret->mask = stack_mask_of(&ret->ss);
	return X_OK;
}

static int call_gate(struct vcpu *v, const struct desc *gate)
{
	unsigned size = is_long(v) ? 8 : desc_type(gate) == DT_CALL32 ? 4 : 2;
	u64 off = gate_offset(v, gate);
	struct stack st;
	struct desc cs;
	u8 cpl = v->cpl;

	TRY(read_gate_cs(v, gate, &cs));
	if (!desc_is_conforming(&cs))
		cpl = desc_dpl(&cs);
	TRY(check_ip(v, &cs, off));
	stack_current(v, &st);
	if (cpl < v->cpl) {
		TRY(gate_stack(v, cpl, &st));
		TRY(stack_push(v, &st, size, v->s.seg[SEG_SS].sel));
		TRY(stack_push(v, &st, size, v->s.gpr[RSP]));
		if (!is_long(v))
			TRY(copy_params(v, &st, size, gate->hi & 31));
	} else if (is_long(v)) {
		st.flat = true;
		st.mask = ~0ull;
	}
	TRY(push_return(v, &st, size));
	TRY(load_cs(v, gate_sel(gate), cpl, &cs));
	v->s.seg[SEG_SS] = st.ss;
	v->s.gpr[RSP] = stack_merge_sp(v, &st);
	v->cpl = cpl;
	v->next_rip = off;
	return X_OK;
}

static int call_near_priv(struct vcpu *v, u16 sel, u64 off, unsigned size, struct desc *d)
{
	struct stack st;

	stack_current(v, &st);
	TRY(check_ip(v, d, off));
	TRY(push_return(v, &st, size));
	TRY(load_cs(v, sel, v->cpl, d));
	v->s.gpr[RSP] = stack_merge_sp(v, &st);
	v->next_rip = off;
	return X_OK;
}

int op_call_far(struct vcpu *v, const struct insn *i)
{
	enum far_kind kind;
	struct stack st;
	struct desc d;
	u64 off;
	u16 sel;

	TRY(far_target(v, i, &sel, &off));
	if (is_real(v) || is_vm86(v)) {
		if (off > v->s.seg[SEG_CS].limit)
			return raise_err(v, EX_GP, 0);
		stack_current(v, &st);
		TRY(push_return(v, &st, i->opsize));
		v->s.gpr[RSP] = stack_merge_sp(v, &st);
		load_seg_real(v, SEG_CS, sel);
		v->next_rip = off;
		return X_OK;
	}
	TRY(read_far(v, &sel, &d, &kind));
	if (kind == FAR_TASK)
		return task_switch(v, sel, TASK_CALL, v->next_rip, NULL, 0);
	if (kind == FAR_GATE)
		return call_gate(v, &d);
	return call_near_priv(v, sel, off, i->opsize, &d);
}

/* -- returns ---------------------------------------------------------------------------------- */

/* Where a far return or IRET goes. */
struct far_ret {
	u64 ip, sp, flags;
	u16 cs_sel, ss_sel;
	u8 cpl;
	bool outer, has_ss; /* SS:SP were popped */
	struct desc cs, ss;
};

static int read_ret_cs(struct vcpu *v, struct far_ret *f)
{
	u8 rpl = f->cs_sel & 3;
	bool dpl_ok;

	if (!(f->cs_sel & 0xfffc))
		return raise_err(v, EX_GP, 0);
	TRY(desc_read(v, f->cs_sel, EX_GP, 0, &f->cs));
	dpl_ok = desc_is_conforming(&f->cs) ? desc_dpl(&f->cs) <= rpl : desc_dpl(&f->cs) == rpl;
	if (!desc_is_code(&f->cs) || rpl < v->cpl || !dpl_ok || !code_mode_ok(v, &f->cs))
		return raise_sel(v, EX_GP, f->cs_sel, 0);
	if (!desc_present(&f->cs))
		return raise_sel(v, EX_NP, f->cs_sel, 0);
	f->cpl = rpl;
	f->outer = rpl > v->cpl;
	return X_OK;
}

static bool ret_to_64(const struct vcpu *v, const struct far_ret *f)
{
	return is_long(v) && (f->cs.hi & BIT(21));
}

static int read_ret_ss(struct vcpu *v, struct far_ret *f)
{
	if (!(f->ss_sel & 0xfffc)) {
		if (!ret_to_64(v, f) || f->cpl == 3 || (f->ss_sel & 3) != f->cpl)
			return raise_err(v, EX_GP, 0);
		return X_OK;
	}
	TRY(desc_read(v, f->ss_sel, EX_GP, 0, &f->ss));
	if ((f->ss_sel & 3) != f->cpl || desc_dpl(&f->ss) != f->cpl ||
	    !desc_is_writable_data(&f->ss))
		return raise_sel(v, EX_GP, f->ss_sel, 0);
	return desc_present(&f->ss) ? X_OK : raise_sel(v, EX_SS, f->ss_sel, 0);
}

static int load_ret_ss(struct vcpu *v, struct far_ret *f)
{
	if (!(f->ss_sel & 0xfffc)) {
		v->s.seg[SEG_SS] = (struct x86_seg){
			.attr = SA_UNUSABLE | (u32)f->cpl << SA_DPL_SHIFT, .sel = f->ss_sel
		};
		return X_OK;
	}
	TRY(desc_set_accessed(v, &f->ss));
	seg_from_desc(&v->s.seg[SEG_SS], f->ss_sel, &f->ss);
	return X_OK;
}

/* Data segments an outer level may not keep become null. */
static void drop_inner_segs(struct vcpu *v)
{
	static const u8 segs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	for (unsigned n = 0; n < array_len(segs); n++) {
		struct x86_seg *g = &v->s.seg[segs[n]];
		bool conforming = (g->attr & (SA_CODE | SA_DC)) == (SA_CODE | SA_DC);
		u8 dpl = (g->attr & SA_DPL) >> SA_DPL_SHIFT;

		if (g->attr & SA_UNUSABLE || conforming || dpl >= v->cpl)
			continue;
		g->sel = 0;
		g->attr = SA_UNUSABLE;
	}
}

/* Everything was checked: CS, SS, stack pointer, privilege. @extra: bytes RETF releases. */
static int commit_ret(struct vcpu *v, struct far_ret *f, struct stack *st, u64 extra)
{
	struct stack to = *st;

	TRY(check_ip(v, &f->cs, f->ip));
	if (f->has_ss) {
		struct x86_seg old = v->s.seg[SEG_SS];

		TRY(desc_set_accessed(v, &f->cs));
		if (load_ret_ss(v, f) != X_OK) {
			v->s.seg[SEG_SS] = old;
			return X_FAULT;
		}
		to = (struct stack){ .ss = v->s.seg[SEG_SS], .sp = f->sp,
				     .flat = ret_to_64(v, f),
				     .mask = stack_mask_of(&v->s.seg[SEG_SS]) };
	}
	TRY(load_cs(v, f->cs_sel, f->cpl, &f->cs));
	to.sp += extra;
	v->s.gpr[RSP] = stack_merge_sp(v, &to);
	v->cpl = f->cpl;
	if (f->outer)
		drop_inner_segs(v);
	v->next_rip = f->ip;
	return X_OK;
}

static int ret_far_real(struct vcpu *v, const struct insn *i, u64 extra)
{
	struct stack st;
	u64 ip, cs;

	stack_current(v, &st);
	TRY(stack_pop(v, &st, i->opsize, &ip));
	TRY(stack_pop(v, &st, i->opsize, &cs));
	if (ip > v->s.seg[SEG_CS].limit)
		return raise_err(v, EX_GP, 0);
	load_seg_real(v, SEG_CS, (u16)cs);
	st.sp += extra;
	v->s.gpr[RSP] = stack_merge_sp(v, &st);
	v->next_rip = ip;
	return X_OK;
}

static int pop_sel(struct vcpu *v, struct stack *st, unsigned size, u16 *ret)
{
	u64 val;

	TRY(stack_pop(v, st, size, &val));
	*ret = (u16)val;
	return X_OK;
}

int op_ret_far(struct vcpu *v, const struct insn *i)
{
	u64 extra = i->op == 0xca ? i->imm & 0xffff : 0;
	struct far_ret f = { 0 };
	struct stack st;

	if (is_real(v) || is_vm86(v))
		return ret_far_real(v, i, extra);
	stack_current(v, &st);
	TRY(stack_pop(v, &st, i->opsize, &f.ip));
	TRY(pop_sel(v, &st, i->opsize, &f.cs_sel));
	TRY(read_ret_cs(v, &f));
	if (f.outer) {
		st.sp += extra;
		TRY(stack_pop(v, &st, i->opsize, &f.sp));
		TRY(pop_sel(v, &st, i->opsize, &f.ss_sel));
		f.has_ss = true;
		TRY(read_ret_ss(v, &f));
	}
	return commit_ret(v, &f, &st, extra);
}

/* -- IRET --------------------------------------------------------------------------------------- */

#define FL_USER (FL_ARITH | FL_TF | FL_DF | FL_NT | FL_RF | FL_AC | FL_ID)

/* New RFLAGS from a popped image, by the privilege before the return. */
static u64 iret_flags(const struct vcpu *v, u64 image, unsigned size, u8 cpl)
{
	u64 may = FL_USER;

	if (cpl <= iopl(v))
		may |= FL_IF;
	if (cpl == 0)
		may |= FL_IOPL | FL_VIF | FL_VIP;
	if (size == 2)
		may &= 0xffff;
	return (v->s.rflags & ~may) | (image & may) | FL_ONE;
}

static int iret_real(struct vcpu *v, const struct insn *i)
{
	struct stack st;
	u64 ip, cs, flags;
	u64 may = FL_USER | FL_IF | (is_real(v) ? FL_IOPL : 0);

	if (is_vm86(v) && iopl(v) < 3)
		return raise_err(v, EX_GP, 0);
	stack_current(v, &st);
	TRY(stack_pop(v, &st, i->opsize, &ip));
	TRY(stack_pop(v, &st, i->opsize, &cs));
	TRY(stack_pop(v, &st, i->opsize, &flags));
	if (ip > v->s.seg[SEG_CS].limit)
		return raise_err(v, EX_GP, 0);
	load_seg_real(v, SEG_CS, (u16)cs);
	v->s.gpr[RSP] = stack_merge_sp(v, &st);
	if (i->opsize == 2)
		may &= 0xffff;
	v->s.rflags = (v->s.rflags & ~may) | (flags & may) | FL_ONE;
	v->next_rip = ip;
	return X_OK;
}

/* To virtual-8086 mode: six more doublewords [SDM 3A 20.2.2]. */
static int iret_to_vm86(struct vcpu *v, struct stack *st, const struct far_ret *f)
{
	static const u8 order[] = { SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS };
	u16 sel[NR_SEGS];
	u64 sp;

	TRY(stack_pop(v, st, 4, &sp));
	for (unsigned n = 0; n < array_len(order); n++)
		TRY(pop_sel(v, st, 4, &sel[order[n]]));
	if ((f->ip & 0xffffffff) > 0xffff)
		return raise_err(v, EX_GP, 0);
	sel[SEG_CS] = f->cs_sel;
	v->s.rflags = iret_flags(v, f->flags, 4, 0) | FL_VM;
	v->cpl = 3;
	for (unsigned n = 0; n < NR_SEGS; n++)
		load_seg_real(v, n, sel[n]);
	v->s.gpr[RSP] = (u32)sp;
	v->next_rip = f->ip & 0xffff;
	return X_OK;
}

static int iret_task(struct vcpu *v)
{
	u64 link;

	TRY(lin_read_sys(v, v->s.tr.base, 2, &link));
	return task_switch(v, (u16)link, TASK_IRET, v->next_rip, NULL, 0);
}

static int iret_protected(struct vcpu *v, const struct insn *i)
{
	struct far_ret f = { 0 };
	struct stack st;
	u8 cpl = v->cpl;

	if (v->s.rflags & FL_NT)
		return is_long(v) ? raise_err(v, EX_GP, 0) : iret_task(v);
	stack_current(v, &st);
	TRY(stack_pop(v, &st, i->opsize, &f.ip));
	TRY(pop_sel(v, &st, i->opsize, &f.cs_sel));
	TRY(stack_pop(v, &st, i->opsize, &f.flags));
	if (f.flags & FL_VM && cpl == 0 && !is_long(v) && i->opsize == 4)
		return iret_to_vm86(v, &st, &f);
	TRY(read_ret_cs(v, &f));
	if (f.outer || is_long64(v)) {
		TRY(stack_pop(v, &st, i->opsize, &f.sp));
		TRY(pop_sel(v, &st, i->opsize, &f.ss_sel));
		f.has_ss = true;
		TRY(read_ret_ss(v, &f));
	}
	TRY(commit_ret(v, &f, &st, 0));
	v->s.rflags = iret_flags(v, f.flags, i->opsize, cpl);
	return X_OK;
}

int op_iret(struct vcpu *v, const struct insn *i)
{
	TRY(is_real(v) || is_vm86(v) ? iret_real(v, i) : iret_protected(v, i));
	v->s.nmi_blocked = false;
	return X_OK;
}
