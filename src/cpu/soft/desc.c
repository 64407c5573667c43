// SPDX-License-Identifier: Apache-2.0
/* desc.c - descriptors in guest memory, stacks by descriptor; see desc.h */
#include "cpu/soft/desc.h"

#include "cpu/soft/mmu.h"
#include "cpu/soft/seg.h"

u32 desc_limit(const struct desc *d)
{
	u32 limit = (d->lo & 0xffff) | (d->hi & 0xf0000);

	return d->hi & BIT(23) ? limit << 12 | 0xfff : limit;
}

u32 desc_base32(const struct desc *d)
{
	return d->lo >> 16 | (d->hi & 0xff) << 16 | (d->hi & 0xff000000);
}

u64 desc_base64(const struct desc *d)
{
	return desc_base32(d) | d->upper << 32;
}

u16 gate_sel(const struct desc *d)
{
	return d->lo >> 16;
}

u64 gate_offset(const struct vcpu *v, const struct desc *d)
{
	u32 off = d->lo & 0xffff;

	if (desc_type(d) & 8)
		off |= d->hi & 0xffff0000;
	return is_long(v) ? off | d->upper << 32 : off;
}

/* Linear address of the descriptor; false if @len bytes are not inside the table. */
static bool desc_place(const struct vcpu *v, u16 sel, unsigned len, u64 *ret)
{
	u64 base = v->s.gdtr.base;
	u32 limit = v->s.gdtr.limit, at = sel & 0xfff8;

	if (sel & 4) {
		if (v->s.ldtr.attr & SA_UNUSABLE || !(v->s.ldtr.attr & SA_P))
			return false;
		base = v->s.ldtr.base;
		limit = v->s.ldtr.limit;
	}
	*ret = base + at;
	if (!is_long(v))
		*ret = (u32)*ret;
	return at + len - 1 <= limit;
}

int desc_try_read(struct vcpu *v, u16 sel, struct desc *ret, bool *ret_ok)
{
	u64 raw;

	*ret_ok = desc_place(v, sel, 8, &ret->la);
	if (!*ret_ok)
		return X_OK;
	TRY(lin_read_sys(v, ret->la, 8, &raw));
	ret->lo = (u32)raw;
	ret->hi = raw >> 32;
	ret->upper = 0;
	ret->sel = sel;
	return X_OK;
}

int desc_read(struct vcpu *v, u16 sel, u8 vector, u32 ext, struct desc *ret)
{
	bool ok;

	TRY(desc_try_read(v, sel, ret, &ok));
	return ok ? X_OK : raise_sel(v, vector, sel, ext);
}

int desc_read_upper(struct vcpu *v, struct desc *d, u8 vector, u32 ext)
{
	u64 la;

	if (!is_long(v))
		return X_OK;
	if (!desc_place(v, d->sel, 16, &la))
		return raise_sel(v, vector, d->sel, ext);
	return lin_read_sys(v, la + 8, 8, &d->upper);
}

int desc_set_accessed(struct vcpu *v, struct desc *d)
{
	if (d->hi & BIT(8))
		return X_OK;
	d->hi |= BIT(8);
	return lin_write_sys(v, d->la + 5, 1, (d->hi >> 8) & 0xff);
}

int desc_set_busy(struct vcpu *v, struct desc *d, bool busy)
{
	d->hi = busy ? d->hi | BIT(9) : d->hi & ~BIT(9);
	return lin_write_sys(v, d->la + 5, 1, (d->hi >> 8) & 0xff);
}

void seg_from_desc(struct x86_seg *ret, u16 sel, const struct desc *d)
{
	*ret = (struct x86_seg){
		.base = desc_base32(d), .limit = desc_limit(d), .attr = desc_attr(d), .sel = sel
	};
}

void seg_set_null(struct x86_seg *ret, u16 sel)
{
	*ret = (struct x86_seg){ .attr = SA_UNUSABLE, .sel = sel };
}

/* -- stacks ----------------------------------------------------------------------- */

u64 stack_mask_of(const struct x86_seg *ss)
{
	return ss->attr & SA_DB ? 0xffffffff : 0xffff;
}

void stack_current(const struct vcpu *v, struct stack *ret)
{
	*ret = (struct stack){
		.ss = v->s.seg[SEG_SS],
		.sp = v->s.gpr[RSP],
		.mask = stack_mask(v),
		.cpl = v->cpl,
		.flat = is_long64(v),
	};
}

u64 stack_merge_sp(const struct vcpu *v, const struct stack *s)
{
	if (s->flat)
		return s->sp;
	if (s->mask == 0xffff)
		return (v->s.gpr[RSP] & ~0xffffull) | (s->sp & 0xffff);
	return (u32)s->sp;
}

/* Offset inside the segment, by its cached limit. */
static bool limit_ok(const struct x86_seg *g, u64 off, unsigned size)
{
	u64 last = off + size - 1;

	if ((g->attr & (SA_CODE | SA_DC)) == SA_DC) /* expand down */
		return off > g->limit && last <= (g->attr & SA_DB ? 0xffffffff : 0xffff);
	return last <= g->limit;
}

static int stack_place(struct vcpu *v, const struct stack *s, u64 off, unsigned size, u64 *ret)
{
	if (s->flat) {
		*ret = off;
		if (is_canonical(off) && is_canonical(off + size - 1))
			return X_OK;
		return raise_err(v, EX_SS, s->ext);
	}
	*ret = (u32)(s->ss.base + off);
	if (limit_ok(&s->ss, off, size))
		return X_OK;
	return raise_err(v, EX_SS, s->ext);
}

/* With the privilege of the stack, not of the code running now. */
static int stack_access(struct vcpu *v, const struct stack *s, u64 la, unsigned size, bool write,
			u64 *val)
{
	u8 cpl = v->cpl;
	int r;

	if (s->cpl != 3)
		return write ? lin_write_sys(v, la, size, *val) : lin_read_sys(v, la, size, val);
	v->cpl = 3;
	r = write ? lin_write(v, la, size, *val) : lin_read(v, la, size, val);
	v->cpl = cpl;
	return r;
}

int stack_push(struct vcpu *v, struct stack *s, unsigned size, u64 val)
{
	u64 off = (s->sp - size) & s->mask, la;

	TRY(stack_place(v, s, off, size, &la));
	TRY(stack_access(v, s, la, size, true, &val));
	s->sp = off;
	return X_OK;
}

int stack_pop(struct vcpu *v, struct stack *s, unsigned size, u64 *ret)
{
	u64 off = s->sp & s->mask, la;

	TRY(stack_place(v, s, off, size, &la));
	TRY(stack_access(v, s, la, size, false, ret));
	s->sp = (off + size) & s->mask;
	return X_OK;
}
