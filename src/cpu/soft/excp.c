// SPDX-License-Identifier: Apache-2.0
/*
 * excp.c - exceptions and interrupts: raising them and delivering them through
 * the IDT or the real-mode vector table [SDM 3A 6]
 *
 * Delivery checks and pushes everything before it changes a register, so a
 * fault on the way leaves the interrupted state intact for the next attempt.
 */
#include "cpu/soft/desc.h"
#include "cpu/soft/mmu.h"
#include "cpu/soft/seg.h"

/* One event on its way to a handler. */
struct event {
	u8 vector;
	bool soft;	/* INT n, INT3, INTO: the gate's DPL is checked */
	bool has_error;
	u32 error;
	u32 ext;	/* EXT bit of error codes raised on the way: 0 for software interrupts */
	u64 rip, flags; /* to push */
};

static int raise(struct vcpu *v, struct x86_exc e)
{
	v->exc = e;
	return X_FAULT;
}

int raise_ex(struct vcpu *v, u8 vector)
{
	return raise(v, (struct x86_exc){ .vector = vector });
}

int raise_err(struct vcpu *v, u8 vector, u32 error)
{
	return raise(v, (struct x86_exc){ .vector = vector, .has_error = true, .error = error });
}

int raise_pf(struct vcpu *v, u64 la, u32 error)
{
	return raise(v, (struct x86_exc){
				.vector = EX_PF, .has_error = true, .error = error, .addr = la });
}

int raise_db(struct vcpu *v, u64 dr6_bits)
{
	return raise(v, (struct x86_exc){ .vector = EX_DB, .dr6 = dr6_bits });
}

static int raise_idt(struct vcpu *v, u8 vector, const struct event *ev)
{
	return raise_err(v, vector, ev->vector * 8u | 2 | ev->ext);
}

/* -- real mode ---------------------------------------------------------------------- */

static int deliver_real(struct vcpu *v, const struct event *ev, u64 *ret_rip)
{
	u64 at = v->s.idtr.base + 4u * ev->vector, target;
	struct stack st;

	if (4u * ev->vector + 3 > v->s.idtr.limit)
		return raise_idt(v, EX_GP, ev);
	TRY(lin_read_sys(v, (u32)at, 4, &target));
	stack_current(v, &st);
	TRY(stack_push(v, &st, 2, ev->flags));
	TRY(stack_push(v, &st, 2, v->s.seg[SEG_CS].sel));
	TRY(stack_push(v, &st, 2, ev->rip));
	v->s.gpr[RSP] = stack_merge_sp(v, &st);
	v->s.rflags &= ~(u64)(FL_IF | FL_TF | FL_AC | FL_RF);
	load_seg_real(v, SEG_CS, (u16)(target >> 16));
	*ret_rip = target & 0xffff;
	return X_OK;
}

/* -- what protected and IA-32e mode share ------------------------------------------- */

/* The gate's checks; *ret holds it. */
static int read_gate(struct vcpu *v, const struct event *ev, struct desc *ret)
{
	unsigned size = is_long(v) ? 16 : 8;
	u64 raw;

	if (ev->vector * size + size - 1 > v->s.idtr.limit)
		return raise_idt(v, EX_GP, ev);
	*ret = (struct desc){ .la = v->s.idtr.base + ev->vector * size };
	TRY(lin_read_sys(v, ret->la, 8, &raw));
	ret->lo = (u32)raw;
	ret->hi = raw >> 32;
	if (is_long(v))
		TRY(lin_read_sys(v, ret->la + 8, 8, &ret->upper));
	switch (desc_type(ret)) {
	case DT_INT32:
	case DT_TRAP32:
		break;
	case DT_TASK_GATE:
	case DT_INT16:
	case DT_TRAP16:
		if (!is_long(v))
			break;
		FALLTHROUGH;
	default:
		return raise_idt(v, EX_GP, ev);
	}
	if (ev->soft && desc_dpl(ret) < v->cpl)
		return raise_idt(v, EX_GP, ev);
	return desc_present(ret) ? X_OK : raise_idt(v, EX_NP, ev);
}

/* The gate's code segment; *ret_cpl: privilege of the handler. */
static int read_handler_cs(struct vcpu *v, const struct event *ev, u16 sel, struct desc *ret,
			   u8 *ret_cpl)
{
	bool bits64;

	if (!(sel & 0xfffc))
		return raise_err(v, EX_GP, ev->ext);
	TRY(desc_read(v, sel, EX_GP, ev->ext, ret));
	if (!desc_is_code(ret) || desc_dpl(ret) > v->cpl)
		return raise_sel(v, EX_GP, sel, ev->ext);
	bits64 = (desc_attr(ret) & (SA_L | SA_DB)) == SA_L;
	if (is_long(v) && !bits64)
		return raise_sel(v, EX_GP, sel, ev->ext);
	if (!desc_present(ret))
		return raise_sel(v, EX_NP, sel, ev->ext);
	*ret_cpl = desc_is_conforming(ret) ? v->cpl : desc_dpl(ret);
	if (is_vm86(v) && *ret_cpl != 0)
		return raise_sel(v, EX_GP, sel, ev->ext);
	return X_OK;
}

/* Enter the handler: flags, CS, privilege. */
static void enter(struct vcpu *v, const struct desc *gate, const struct desc *cs, u8 cpl)
{
	u64 clear = FL_TF | FL_NT | FL_RF | FL_VM;

	if (desc_type(gate) == DT_INT32 || desc_type(gate) == DT_INT16)
		clear |= FL_IF;
	v->s.rflags &= ~clear;
	seg_from_desc(&v->s.seg[SEG_CS], (gate_sel(gate) & 0xfffc) | cpl, cs);
	v->cpl = cpl;
}

/* -- IA-32e mode [SDM 3A 6.14] -------------------------------------------------------- */

static int push_frame64(struct vcpu *v, const struct event *ev, struct stack *st)
{
	u64 frame[] = { v->s.seg[SEG_SS].sel, v->s.gpr[RSP], ev->flags, v->s.seg[SEG_CS].sel,
			ev->rip, ev->error };

	for (unsigned n = 0; n < (ev->has_error ? 6u : 5u); n++)
		TRY(stack_push(v, st, 8, frame[n]));
	return X_OK;
}

static int deliver_long(struct vcpu *v, const struct event *ev, u64 *ret_rip)
{
	struct stack st = { .mask = ~0ull, .flat = true, .ext = ev->ext };
	struct desc gate, cs;
	u8 cpl, ist;

	TRY(read_gate(v, ev, &gate));
	TRY(read_handler_cs(v, ev, gate_sel(&gate), &cs, &cpl));
	ist = gate.hi & 7;
	st.cpl = cpl;
	st.sp = v->s.gpr[RSP];
	if (ist || cpl != v->cpl)
		TRY(tss_stack64(v, cpl, ist, ev->ext, &st.sp));
	st.sp &= ~15ull;
	*ret_rip = gate_offset(v, &gate);
	if (!is_canonical(*ret_rip))
		return raise_err(v, EX_GP, ev->ext);
	TRY(push_frame64(v, ev, &st));
	TRY(desc_set_accessed(v, &cs));
	if (cpl != v->cpl)
		v->s.seg[SEG_SS] = (struct x86_seg){
			.attr = SA_UNUSABLE | (u32)cpl << SA_DPL_SHIFT, .sel = cpl
		};
	v->s.gpr[RSP] = st.sp;
	enter(v, &gate, &cs, cpl);
	return X_OK;
}

/* -- protected mode [SDM 3A 6.12] ------------------------------------------------------ */

static int push_vm86_segs(struct vcpu *v, struct stack *st, unsigned size)
{
	static const u8 order[] = { SEG_GS, SEG_FS, SEG_DS, SEG_ES };

	for (unsigned n = 0; n < array_len(order); n++)
		TRY(stack_push(v, st, size, v->s.seg[order[n]].sel));
	return X_OK;
}

static int push_frame32(struct vcpu *v, const struct event *ev, struct stack *st, unsigned size,
			bool inner)
{
	if (is_vm86(v))
		TRY(push_vm86_segs(v, st, size));
	if (inner) {
		TRY(stack_push(v, st, size, v->s.seg[SEG_SS].sel));
		TRY(stack_push(v, st, size, v->s.gpr[RSP]));
	}
	TRY(stack_push(v, st, size, ev->flags));
	TRY(stack_push(v, st, size, v->s.seg[SEG_CS].sel));
	TRY(stack_push(v, st, size, ev->rip));
	return ev->has_error ? stack_push(v, st, size, ev->error) : X_OK;
}

static int inner_stack(struct vcpu *v, const struct event *ev, u8 cpl, struct stack *ret)
{
	u16 sel;
	u64 sp;

	TRY(tss_stack(v, cpl, ev->ext, &sel, &sp));
	*ret = (struct stack){ .sp = sp, .cpl = cpl, .ext = ev->ext };
	TRY(load_inner_ss(v, sel, cpl, ev->ext, &ret->ss));
	ret->mask = stack_mask_of(&ret->ss);
	return X_OK;
}

static void null_data_segs(struct vcpu *v)
{
	static const u8 segs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	for (unsigned n = 0; n < array_len(segs); n++)
		seg_set_null(&v->s.seg[segs[n]], 0);
}

static int deliver_protected(struct vcpu *v, const struct event *ev, u64 *ret_rip)
{
	struct desc gate, cs;
	struct stack st;
	bool inner, from_vm86 = is_vm86(v);
	u8 cpl;

	TRY(read_gate(v, ev, &gate));
	if (desc_type(&gate) == DT_TASK_GATE) {
		TRY(task_switch(v, gate_sel(&gate), TASK_GATE_INT, ev->rip,
				ev->has_error ? &ev->error : NULL, ev->ext));
		*ret_rip = v->next_rip;
		return X_OK;
	}
	TRY(read_handler_cs(v, ev, gate_sel(&gate), &cs, &cpl));
	inner = cpl < v->cpl;
	stack_current(v, &st);
	st.ext = ev->ext;
	if (inner)
		TRY(inner_stack(v, ev, cpl, &st));
	*ret_rip = gate_offset(v, &gate);
	if (*ret_rip > desc_limit(&cs))
		return raise_err(v, EX_GP, ev->ext);
	TRY(push_frame32(v, ev, &st, desc_type(&gate) & 8 ? 4 : 2, inner));
	TRY(desc_set_accessed(v, &cs));
	v->s.seg[SEG_SS] = st.ss;
	v->s.gpr[RSP] = stack_merge_sp(v, &st);
	enter(v, &gate, &cs, cpl);
	if (from_vm86)
		null_data_segs(v);
	return X_OK;
}

static int deliver(struct vcpu *v, const struct event *ev, u64 *ret_rip)
{
	if (is_long(v))
		return deliver_long(v, ev, ret_rip);
	if (is_protected(v))
		return deliver_protected(v, ev, ret_rip);
	return deliver_real(v, ev, ret_rip);
}

static void delivered(struct vcpu *v)
{
	v->s.activity = ACT_RUNNING;
	v->s.shadow_sti = v->s.shadow_ss = false;
	v->in_rep = false;
}

/* -- double and triple faults [SDM 3A table 6-5] ---------------------------------------- */

enum fault_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE };

static enum fault_class class_of(u8 vector)
{
	switch (vector) {
	case EX_DE:
	case EX_TS:
	case EX_NP:
	case EX_SS:
	case EX_GP:
		return CONTRIBUTORY;
	case EX_PF:
		return PAGE_FAULT;
	case EX_DF:
		return DOUBLE;
	default:
		return BENIGN;
	}
}

/* @second was raised while @first was being delivered: what to deliver now. False: shutdown. */
static bool combine(const struct x86_exc *first, const struct x86_exc *second, struct x86_exc *ret)
{
	enum fault_class a = class_of(first->vector), b = class_of(second->vector);

	if (a == DOUBLE && b != BENIGN)
		return false;
	if ((a == CONTRIBUTORY && b == CONTRIBUTORY) ||
	    (a == PAGE_FAULT && (b == CONTRIBUTORY || b == PAGE_FAULT)))
		*ret = (struct x86_exc){ .vector = EX_DF, .has_error = true };
	else
		*ret = *second;
	return true;
}

#define DR6_TRAPS 0xe00full

/* What an exception leaves in CR2, DR6 and DR7 as it is recognised. */
static void side_effects(struct vcpu *v, const struct x86_exc *e)
{
	if (e->vector == EX_PF)
		v->s.cr2 = e->addr;
	if (e->vector == EX_DB) {
		v->s.dr6 = (v->s.dr6 & ~DR6_TRAPS) | e->dr6;
		v->s.dr7 &= ~BIT_ULL(13); /* GD */
	}
}

static bool is_fault(u8 vector)
{
	return vector != EX_DB && vector != EX_BP && vector != EX_OF && vector != EX_NMI;
}

int deliver_exception(struct vcpu *v)
{
	struct x86_exc e = v->exc;
	u64 rip;

	for (unsigned tries = 0; tries < 8; tries++) {
		struct event ev = {
			.vector = e.vector, .has_error = e.has_error && !is_real(v),
			.error = e.error, .ext = 1, .rip = v->s.rip,
			.flags = v->s.rflags | (is_fault(e.vector) || v->in_rep ? FL_RF : 0),
		};

		side_effects(v, &e);
		if (deliver(v, &ev, &rip) == X_OK) {
			v->s.rip = rip;
			delivered(v);
			return X_OK;
		}
		if (v->exc.vector == EX_PF)
			v->s.cr2 = v->exc.addr;
		if (!combine(&e, &v->exc, &e))
			break;
	}
	return X_SHUTDOWN;
}

int deliver_interrupt(struct vcpu *v, u8 vector)
{
	struct event ev = {
		.vector = vector, .ext = 1, .rip = v->s.rip,
		.flags = v->s.rflags | (v->in_rep ? FL_RF : 0),
	};
	u64 rip;

	v->s.activity = ACT_RUNNING;
	if (deliver(v, &ev, &rip) != X_OK)
		return deliver_exception(v);
	v->s.rip = rip;
	delivered(v);
	if (vector == EX_NMI)
		v->s.nmi_blocked = true;
	return X_OK;
}

int software_interrupt(struct vcpu *v, u8 vector)
{
	struct event ev = {
		.vector = vector, .soft = true, .rip = v->next_rip,
		.flags = v->s.rflags & ~(u64)FL_RF,
	};
	u64 rip;

	TRY(deliver(v, &ev, &rip));
	v->next_rip = rip;
	v->s.shadow_sti = v->s.shadow_ss = false;
	return X_OK;
}
