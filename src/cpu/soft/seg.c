// SPDX-License-Identifier: Apache-2.0
/*
 * seg.c - effective address to linear address, segment register loads, near
 * branches; see seg.h [SDM 3A 3, 5]
 *
 * Real and virtual-8086 mode use the cached limits like protected mode does, so
 * a limit loaded in protected mode survives ("unreal" mode).
 */
#include "cpu/soft/seg.h"

#include "cpu/soft/desc.h"

static int seg_fault(struct vcpu *v, unsigned seg)
{
	return raise_err(v, seg == SEG_SS ? EX_SS : EX_GP, 0);
}

static bool type_ok(const struct x86_seg *g, enum access acc)
{
	bool code = g->attr & SA_CODE, rw = g->attr & SA_RW;

	switch (acc) {
	case ACC_R: return !code || rw;
	case ACC_W: return !code && rw;
	case ACC_X: return code;
	}
	return false;
}

static bool in_limit(const struct x86_seg *g, u64 off, unsigned size)
{
	u64 last = off + size - 1;

	if ((g->attr & (SA_CODE | SA_DC)) == SA_DC) /* expand down */
		return off > g->limit && last <= (g->attr & SA_DB ? 0xffffffff : 0xffff);
	return last <= g->limit;
}

static int seg_linear32(struct vcpu *v, unsigned seg, u64 off, unsigned size, enum access acc,
			u64 *ret)
{
	const struct x86_seg *g = &v->s.seg[seg];

	*ret = (u32)(g->base + off);
	if (is_protected(v) && !is_vm86(v)) {
		if (g->attr & SA_UNUSABLE || !type_ok(g, acc))
			return seg_fault(v, seg);
	}
	if (size && !in_limit(g, (u32)off, size))
		return seg_fault(v, seg);
	return X_OK;
}

int seg_linear(struct vcpu *v, unsigned seg, u64 off, unsigned size, enum access acc, u64 *ret)
{
	u64 la = off;

	if (unlikely(!is_long64(v)))
		return seg_linear32(v, seg, off, size, acc, ret);
	if (seg >= SEG_FS)
		la += v->s.seg[seg].base;
	*ret = la;
	if (likely(is_canonical(la) && (size <= 1 || is_canonical(la + size - 1))))
		return X_OK;
	return seg_fault(v, seg);
}

u64 insn_ea(const struct vcpu *v, const struct insn *i, u64 next_rip)
{
	u64 ea = (u64)i->disp;

	if (i->base == REG_RIP)
		ea += next_rip;
	else if (i->base != REG_NONE)
		ea += v->s.gpr[i->base];
	if (i->index != REG_NONE)
		ea += v->s.gpr[i->index] * i->scale;
	return i->adsize == 8 ? ea : ea & mask_bytes(i->adsize);
}

int insn_linear(struct vcpu *v, const struct insn *i, unsigned size, enum access acc, u64 *ret)
{
	return seg_linear(v, i->mem_seg, insn_ea(v, i, v->next_rip), size, acc, ret);
}

int seg_read(struct vcpu *v, unsigned seg, u64 off, unsigned size, u64 *ret)
{
	u64 la;

	TRY(seg_linear(v, seg, off, size, ACC_R, &la));
	return lin_read(v, la, size, ret);
}

int seg_write(struct vcpu *v, unsigned seg, u64 off, unsigned size, u64 val)
{
	u64 la;

	TRY(seg_linear(v, seg, off, size, ACC_W, &la));
	return lin_write(v, la, size, val);
}

/* -- stack ------------------------------------------------------------------------ */

unsigned stack_width(const struct vcpu *v)
{
	if (is_long64(v))
		return 8;
	return v->s.seg[SEG_SS].attr & SA_DB ? 4 : 2;
}

u64 stack_mask(const struct vcpu *v)
{
	return mask_bytes(stack_width(v));
}

static void set_sp(struct vcpu *v, u64 sp)
{
	switch (stack_width(v)) {
	case 2: v->s.gpr[RSP] = (v->s.gpr[RSP] & ~0xffffull) | (sp & 0xffff); break;
	case 4: v->s.gpr[RSP] = (u32)sp; break;
	default: v->s.gpr[RSP] = sp;
	}
}

int push_val(struct vcpu *v, unsigned size, u64 val)
{
	u64 off = (v->s.gpr[RSP] - size) & stack_mask(v);

	TRY(seg_write(v, SEG_SS, off, size, val));
	set_sp(v, off);
	return X_OK;
}

int pop_val(struct vcpu *v, unsigned size, u64 *ret)
{
	u64 off = v->s.gpr[RSP] & stack_mask(v);

	TRY(seg_read(v, SEG_SS, off, size, ret));
	set_sp(v, off + size);
	return X_OK;
}

/* -- segment loads ------------------------------------------------------------------ */

void load_seg_real(struct vcpu *v, unsigned seg, u16 sel)
{
	struct x86_seg *g = &v->s.seg[seg];

	g->sel = sel;
	g->base = (u64)sel << 4;
	if (is_vm86(v)) {
		g->limit = 0xffff;
		g->attr = SA_P | SA_DPL | SA_S | SA_RW | SA_ACCESSED;
	} else {
		g->attr &= ~SA_UNUSABLE;
	}
}

static int load_null(struct vcpu *v, unsigned seg, u16 sel)
{
	struct x86_seg *g = &v->s.seg[seg];

	if (seg == SEG_SS) {
		if (!is_long64(v) || v->cpl == 3 || (sel & 3) != v->cpl)
			return raise_err(v, EX_GP, 0);
		*g = (struct x86_seg){ .attr = SA_UNUSABLE | (u32)v->cpl << SA_DPL_SHIFT,
				       .sel = sel };
		return X_OK;
	}
	seg_set_null(g, sel); /* clears the base: the processors we model all do */
	return X_OK;
}

static int check_ss(struct vcpu *v, u16 sel, const struct desc *d)
{
	if ((sel & 3) != v->cpl || desc_dpl(d) != v->cpl || !desc_is_writable_data(d))
		return raise_sel(v, EX_GP, sel, 0);
	return desc_present(d) ? X_OK : raise_sel(v, EX_SS, sel, 0);
}

static int check_data(struct vcpu *v, u16 sel, const struct desc *d)
{
	unsigned type = desc_type(d), rpl = sel & 3;
	unsigned least = rpl > v->cpl ? rpl : v->cpl;

	if (!(type & SA_S) || (desc_is_code(d) && !(type & SA_RW)))
		return raise_sel(v, EX_GP, sel, 0);
	if (!desc_is_conforming(d) && least > desc_dpl(d))
		return raise_sel(v, EX_GP, sel, 0);
	return desc_present(d) ? X_OK : raise_sel(v, EX_NP, sel, 0);
}

int load_seg(struct vcpu *v, unsigned seg, u16 sel)
{
	struct desc d;

	if (!is_protected(v) || is_vm86(v)) {
		load_seg_real(v, seg, sel);
		return X_OK;
	}
	if (!(sel & 0xfffc))
		return load_null(v, seg, sel);
	TRY(desc_read(v, sel, EX_GP, 0, &d));
	TRY(seg == SEG_SS ? check_ss(v, sel, &d) : check_data(v, sel, &d));
	TRY(desc_set_accessed(v, &d));
	seg_from_desc(&v->s.seg[seg], sel, &d);
	return X_OK;
}

void update_cpl(struct vcpu *v)
{
	if (!is_protected(v))
		v->cpl = 0;
	else if (is_vm86(v))
		v->cpl = 3;
	else
		v->cpl = (v->s.seg[SEG_SS].attr & SA_DPL) >> SA_DPL_SHIFT;
}

int branch_to(struct vcpu *v, u64 rip, unsigned opsize)
{
	if (opsize < 8)
		rip &= mask_bytes(opsize);
	if (is_long64(v) ? !is_canonical(rip) : rip > v->s.seg[SEG_CS].limit)
		return raise_err(v, EX_GP, 0);
	v->next_rip = rip;
	return X_OK;
}
