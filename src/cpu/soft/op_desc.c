// SPDX-License-Identifier: Apache-2.0
/*
 * op_desc.c - descriptor-table registers and instructions that examine
 * selectors: SLDT STR LLDT LTR VERR VERW, SGDT SIDT LGDT LIDT, LAR LSL, ARPL
 * [SDM 2]
 */
#include "cpu/soft/desc.h"
#include "cpu/soft/op_sys.h"

static unsigned ext(const struct insn *i)
{
	return (i->modrm >> 3) & 7;
}

static int umip(struct vcpu *v)
{
	return v->cpl && (v->s.cr4 & CR4_UMIP) ? raise_err(v, EX_GP, 0) : X_OK;
}

static void set_zf(struct vcpu *v, bool z)
{
	v->s.rflags = z ? v->s.rflags | FL_ZF : v->s.rflags & ~(u64)FL_ZF;
}

/* -- LLDT, LTR ------------------------------------------------------------------------ */

static void load_system_seg(struct vcpu *v, struct x86_seg *ret, const struct desc *d)
{
	*ret = (struct x86_seg){ .base = is_long(v) ? desc_base64(d) : desc_base32(d),
				 .limit = desc_limit(d), .attr = desc_attr(d), .sel = d->sel };
}

static int read_system_desc(struct vcpu *v, u16 sel, struct desc *ret)
{
	if (sel & 4)
		return raise_sel(v, EX_GP, sel, 0);
	TRY(desc_read(v, sel, EX_GP, 0, ret));
	TRY(desc_read_upper(v, ret, EX_GP, 0));
	if (is_long(v) && !is_canonical(desc_base64(ret)))
		return raise_sel(v, EX_GP, sel, 0);
	return X_OK;
}

static int op_lldt(struct vcpu *v, u16 sel)
{
	struct desc d;

	if (!(sel & 0xfffc)) {
		seg_set_null(&v->s.ldtr, sel);
		return X_OK;
	}
	TRY(read_system_desc(v, sel, &d));
	if (desc_type(&d) != DT_LDT)
		return raise_sel(v, EX_GP, sel, 0);
	if (!desc_present(&d))
		return raise_sel(v, EX_NP, sel, 0);
	load_system_seg(v, &v->s.ldtr, &d);
	return X_OK;
}

static int op_ltr(struct vcpu *v, u16 sel)
{
	struct desc d;
	bool type_ok;

	if (!(sel & 0xfffc))
		return raise_err(v, EX_GP, 0);
	TRY(read_system_desc(v, sel, &d));
	type_ok = desc_type(&d) == DT_TSS32 || (desc_type(&d) == DT_TSS16 && !is_long(v));
	if (!type_ok)
		return raise_sel(v, EX_GP, sel, 0);
	if (!desc_present(&d))
		return raise_sel(v, EX_NP, sel, 0);
	TRY(desc_set_busy(v, &d, true));
	load_system_seg(v, &v->s.tr, &d);
	return X_OK;
}

/* -- what a selector allows --------------------------------------------------------------- */

/* The descriptor behind @sel if this privilege may look at it; *ret_ok. */
static int visible_desc(struct vcpu *v, u16 sel, struct desc *ret, bool *ret_ok)
{
	u8 dpl;

	*ret_ok = false;
	if (!(sel & 0xfffc))
		return X_OK;
	TRY(desc_try_read(v, sel, ret, ret_ok));
	if (!*ret_ok)
		return X_OK;
	dpl = desc_dpl(ret);
	if (!desc_is_conforming(ret) && (dpl < v->cpl || dpl < (sel & 3)))
		*ret_ok = false;
	return X_OK;
}

static int op_verify(struct vcpu *v, u16 sel, bool write)
{
	struct desc d;
	bool ok;

	TRY(visible_desc(v, sel, &d, &ok));
	if (ok && !(desc_type(&d) & SA_S))
		ok = false;
	if (ok && write)
		ok = desc_is_writable_data(&d);
	else if (ok)
		ok = !desc_is_code(&d) || (desc_type(&d) & SA_RW);
	set_zf(v, ok);
	return X_OK;
}

/* System descriptor types LAR and LSL accept [SDM 2A tables 3-51, 3-56]. */
static bool system_type_ok(const struct vcpu *v, unsigned type, bool lsl)
{
	const unsigned legacy = BIT(1) | BIT(2) | BIT(3) | BIT(9) | BIT(11);
	const unsigned gates = BIT(4) | BIT(5) | BIT(12);
	const unsigned ia32e = BIT(2) | BIT(9) | BIT(11);
	unsigned ok = is_long(v) ? ia32e : legacy;

	if (!lsl)
		ok |= is_long(v) ? BIT(12) : gates;
	return ok & BIT(type);
}

int op_lar_lsl(struct vcpu *v, const struct insn *i)
{
	bool lsl = i->op == 0x03, ok;
	struct desc d;
	u64 sel;

	if (is_real(v) || is_vm86(v))
		return raise_ex(v, EX_UD);
	TRY(sys_rm_read(v, i, 2, &sel));
	TRY(visible_desc(v, (u16)sel, &d, &ok));
	if (ok && !(desc_type(&d) & SA_S))
		ok = system_type_ok(v, desc_type(&d), lsl);
	set_zf(v, ok);
	if (ok)
		set_gpr(v, i->reg, i->opsize, lsl ? desc_limit(&d) : d.hi & 0xffff00);
	return X_OK;
}

int op_arpl(struct vcpu *v, const struct insn *i)
{
	unsigned rpl = v->s.gpr[i->reg] & 3;
	u64 sel;

	if (is_real(v) || is_vm86(v))
		return raise_ex(v, EX_UD);
	TRY(sys_rm_read(v, i, 2, &sel));
	if ((sel & 3) < rpl) {
		TRY(sys_rm_write(v, i, 2, (sel & ~3ull) | rpl));
		set_zf(v, true);
		return X_OK;
	}
	set_zf(v, false);
	return X_OK;
}

int op_grp6(struct vcpu *v, const struct insn *i)
{
	u64 sel;

	if (is_real(v) || is_vm86(v))
		return raise_ex(v, EX_UD);
	if (ext(i) < 2) { /* SLDT, STR */
		TRY(umip(v));
		return sys_rm_write(v, i, i->is_mem ? 2 : i->opsize,
				ext(i) ? v->s.tr.sel : v->s.ldtr.sel);
	}
	if (ext(i) < 4)
		TRY(need_cpl0(v));
	TRY(sys_rm_read(v, i, 2, &sel));
	switch (ext(i)) {
	case 2: return op_lldt(v, (u16)sel);
	case 3: return op_ltr(v, (u16)sel);
	default: return op_verify(v, (u16)sel, ext(i) == 5);
	}
}

/* -- GDTR, IDTR ------------------------------------------------------------------------------ */

int op_sgdt(struct vcpu *v, const struct insn *i)
{
	const struct x86_dtr *t = ext(i) ? &v->s.idtr : &v->s.gdtr;
	unsigned size = is_long64(v) ? 8 : 4;
	u8 image[10];
	u64 la;

	TRY(umip(v));
	TRY(insn_linear(v, i, 2 + size, ACC_W, &la));
	copy_bytes(image, &t->limit, 2);
	copy_bytes(image + 2, &t->base, size);
	return lin_write_buf(v, la, image, 2 + size);
}

int op_lgdt(struct vcpu *v, const struct insn *i)
{
	unsigned size = is_long64(v) ? 8 : 4;
	u64 la, limit, base;

	TRY(need_cpl0(v));
	TRY(insn_linear(v, i, 2 + size, ACC_R, &la));
	TRY(lin_read(v, la, 2, &limit));
	TRY(lin_read(v, la + 2, size, &base));
	if (size == 4 && i->opsize == 2)
		base &= 0xffffff;
	if (!is_canonical(base))
		return raise_err(v, EX_GP, 0);
	*(ext(i) == 3 ? &v->s.idtr : &v->s.gdtr) =
		(struct x86_dtr){ .base = base, .limit = (u16)limit };
	return X_OK;
}
