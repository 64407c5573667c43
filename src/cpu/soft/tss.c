// SPDX-License-Identifier: Apache-2.0
/*
 * tss.c - the task-state segment: inner stacks, the I/O bitmap, hardware task
 * switches [SDM 3A 7]
 */
#include "cpu/soft/desc.h"
#include "cpu/soft/mmu.h"
#include "cpu/soft/seg.h"
#include "cpu/soft/walk.h"

static bool tr_is_32(const struct vcpu *v)
{
	return v->s.tr.attr & 8;
}

/* @size bytes at @off of the current TSS; false if beyond its limit. */
static bool tss_has(const struct vcpu *v, u32 off, unsigned size)
{
	return off + size - 1 <= v->s.tr.limit;
}

int tss_stack(struct vcpu *v, u8 cpl, u32 ext, u16 *ret_ss, u64 *ret_sp)
{
	bool wide = tr_is_32(v);
	u32 off = wide ? 4 + 8u * cpl : 2 + 4u * cpl;
	unsigned size = wide ? 4 : 2;
	u64 ss;

	if (!tss_has(v, off, 2 * size))
		return raise_sel(v, EX_TS, v->s.tr.sel, ext);
	TRY(lin_read_sys(v, v->s.tr.base + off, size, ret_sp));
	TRY(lin_read_sys(v, v->s.tr.base + off + size, 2, &ss));
	*ret_ss = (u16)ss;
	return X_OK;
}

int tss_stack64(struct vcpu *v, u8 cpl, u8 ist, u32 ext, u64 *ret_sp)
{
	u32 off = ist ? 36 + 8u * (ist - 1) : 4 + 8u * cpl;

	if (!tss_has(v, off, 8))
		return raise_sel(v, EX_TS, v->s.tr.sel, ext);
	TRY(lin_read_sys(v, v->s.tr.base + off, 8, ret_sp));
	return is_canonical(*ret_sp) ? X_OK : raise_err(v, EX_SS, ext);
}

int load_inner_ss(struct vcpu *v, u16 sel, u8 cpl, u32 ext, struct x86_seg *ret)
{
	struct desc d;

	if (!(sel & 0xfffc))
		return raise_err(v, EX_TS, ext);
	TRY(desc_read(v, sel, EX_TS, ext, &d));
	if ((sel & 3) != cpl || desc_dpl(&d) != cpl || !desc_is_writable_data(&d))
		return raise_sel(v, EX_TS, sel, ext);
	if (!desc_present(&d))
		return raise_sel(v, EX_SS, sel, ext);
	TRY(desc_set_accessed(v, &d));
	seg_from_desc(ret, sel, &d);
	return X_OK;
}

int tss_check_io(struct vcpu *v, u16 port, unsigned size)
{
	u64 map, bits;
	u32 at;

	if (!(v->s.tr.attr & SA_P) || !(v->s.tr.attr & 8) || !tss_has(v, 0x66, 2))
		return raise_err(v, EX_GP, 0);
	TRY(lin_read_sys(v, v->s.tr.base + 0x66, 2, &map));
	at = (u32)map + port / 8;
	if (!tss_has(v, at, 2))
		return raise_err(v, EX_GP, 0);
	TRY(lin_read_sys(v, v->s.tr.base + at, 2, &bits));
	bits = bits >> (port % 8) & (BIT(size) - 1);
	return bits ? raise_err(v, EX_GP, 0) : X_OK;
}

/* -- task switch ------------------------------------------------------------------------ */

/* What a switch loads. Order of gpr: eax ecx edx ebx esp ebp esi edi; of sel: es cs ss ds fs gs. */
struct task {
	u32 cr3, eip, eflags, gpr[8];
	u16 sel[NR_SEGS], ldt, link;
	bool trap;
};

/* Where the fields of the two formats lie. */
struct tss_layout {
	u8 size;	 /* of a general register, bytes */
	u8 eip, eflags, gpr, sel, sel_step, nr_sel, ldt;
	u8 min_limit;
};

static const struct tss_layout tss32 = { .size = 4, .eip = 0x20, .eflags = 0x24, .gpr = 0x28,
					 .sel = 0x48, .sel_step = 4, .nr_sel = 6, .ldt = 0x60,
					 .min_limit = 0x67 };
static const struct tss_layout tss16 = { .size = 2, .eip = 0x0e, .eflags = 0x10, .gpr = 0x12,
					 .sel = 0x22, .sel_step = 2, .nr_sel = 4, .ldt = 0x2a,
					 .min_limit = 0x2b };

static int tss_save(struct vcpu *v, const struct tss_layout *l, u64 eip, u64 eflags)
{
	u64 base = v->s.tr.base;

	TRY(lin_write_sys(v, base + l->eip, l->size, eip));
	TRY(lin_write_sys(v, base + l->eflags, l->size, eflags));
	for (unsigned n = 0; n < 8; n++)
		TRY(lin_write_sys(v, base + l->gpr + n * l->size, l->size, v->s.gpr[n]));
	for (unsigned n = 0; n < l->nr_sel; n++)
		TRY(lin_write_sys(v, base + l->sel + n * l->sel_step, 2, v->s.seg[n].sel));
	return X_OK;
}

static int get32(struct vcpu *v, u64 la, unsigned size, u32 *ret)
{
	u64 val;

	TRY(lin_read_sys(v, la, size, &val));
	*ret = (u32)val;
	return X_OK;
}

static int get16(struct vcpu *v, u64 la, u16 *ret)
{
	u64 val;

	TRY(lin_read_sys(v, la, 2, &val));
	*ret = (u16)val;
	return X_OK;
}

static int tss_load(struct vcpu *v, const struct tss_layout *l, u64 base, struct task *ret)
{
	u32 trap = 0;

	*ret = (struct task){ .cr3 = (u32)v->s.cr3 };
	if (l == &tss32) {
		TRY(get32(v, base + 0x1c, 4, &ret->cr3));
		TRY(get32(v, base + 0x64, 2, &trap));
	}
	ret->trap = trap & 1;
	TRY(get32(v, base + l->eip, l->size, &ret->eip));
	TRY(get32(v, base + l->eflags, l->size, &ret->eflags));
	for (unsigned n = 0; n < 8; n++)
		TRY(get32(v, base + l->gpr + n * l->size, l->size, &ret->gpr[n]));
	for (unsigned n = 0; n < l->nr_sel; n++)
		TRY(get16(v, base + l->sel + n * l->sel_step, &ret->sel[n]));
	return get16(v, base + l->ldt, &ret->ldt);
}

/* The descriptor of the task to enter: present, available (busy for IRET), large enough. */
static int new_task(struct vcpu *v, u16 sel, enum task_switch why, u32 ext, struct desc *ret,
		    const struct tss_layout **ret_l)
{
	u8 bad = why == TASK_IRET ? EX_TS : EX_GP, type;

	if (!(sel & 0xfffc) || sel & 4)
		return raise_sel(v, bad, sel, ext);
	TRY(desc_read(v, sel, bad, ext, ret));
	type = desc_type(ret);
	if ((type & ~0xa) != 1 || (type & 2) != (why == TASK_IRET ? 2 : 0))
		return raise_sel(v, bad, sel, ext);
	if (!desc_present(ret))
		return raise_sel(v, EX_NP, sel, ext);
	*ret_l = type & 8 ? &tss32 : &tss16;
	if (desc_limit(ret) < (*ret_l)->min_limit)
		return raise_sel(v, EX_TS, sel, ext);
	return X_OK;
}

static int clear_old_busy(struct vcpu *v)
{
	struct desc d;

	TRY(desc_read(v, v->s.tr.sel, EX_TS, 0, &d));
	return desc_set_busy(v, &d, false);
}

static int load_task_ldt(struct vcpu *v, u16 sel)
{
	struct desc d;

	v->s.ldtr = (struct x86_seg){ .attr = SA_UNUSABLE, .sel = sel };
	if (!(sel & 0xfffc))
		return X_OK;
	if (sel & 4)
		return raise_sel(v, EX_TS, sel, 0);
	TRY(desc_read(v, sel, EX_TS, 0, &d));
	if (desc_type(&d) != DT_LDT || !desc_present(&d))
		return raise_sel(v, EX_TS, sel, 0);
	seg_from_desc(&v->s.ldtr, sel, &d);
	return X_OK;
}

static int load_task_cs(struct vcpu *v, u16 sel, u8 cpl)
{
	struct desc d;
	bool dpl_ok;

	if (!(sel & 0xfffc))
		return raise_sel(v, EX_TS, sel, 0);
	TRY(desc_read(v, sel, EX_TS, 0, &d));
	dpl_ok = desc_is_conforming(&d) ? desc_dpl(&d) <= cpl : desc_dpl(&d) == cpl;
	if (!desc_is_code(&d) || !dpl_ok)
		return raise_sel(v, EX_TS, sel, 0);
	if (!desc_present(&d))
		return raise_sel(v, EX_NP, sel, 0);
	TRY(desc_set_accessed(v, &d));
	seg_from_desc(&v->s.seg[SEG_CS], sel, &d);
	return X_OK;
}

/* A data segment of the new task: load_seg()'s checks, as #TS. */
static int load_task_data(struct vcpu *v, unsigned seg, u16 sel)
{
	if (load_seg(v, seg, sel) == X_OK)
		return X_OK;
	if (v->exc.vector == EX_GP)
		v->exc.vector = EX_TS;
	return X_FAULT;
}

/* Past the point of no return: faults here happen in the new task. */
static int load_task_segs(struct vcpu *v, const struct task *t)
{
	static const u8 data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
	u8 cpl = t->sel[SEG_CS] & 3;

	for (unsigned n = 0; n < NR_SEGS; n++)
		seg_set_null(&v->s.seg[n], t->sel[n]);
	TRY(load_task_ldt(v, t->ldt));
	if (is_vm86(v)) {
		v->cpl = 3;
		for (unsigned n = 0; n < NR_SEGS; n++)
			load_seg_real(v, n, t->sel[n]);
		return X_OK;
	}
	v->s.seg[SEG_SS].attr |= (u32)cpl << SA_DPL_SHIFT;
	v->cpl = cpl;
	TRY(load_inner_ss(v, t->sel[SEG_SS], cpl, 0, &v->s.seg[SEG_SS]));
	TRY(load_task_cs(v, t->sel[SEG_CS], cpl));
	for (unsigned n = 0; n < array_len(data); n++)
		TRY(load_task_data(v, data[n], t->sel[data[n]]));
	return X_OK;
}

static void load_task_cr3(struct vcpu *v, u32 cr3)
{
	if (!(v->s.cr0 & CR0_PG) || cr3 == (u32)v->s.cr3)
		return;
	if (v->s.cr4 & CR4_PAE)
		for (unsigned n = 0; n < 4; n++)
			v->s.pdpte[n] = mmu_read_entry(v, (cr3 & ~31u) + 8 * n, 8);
	v->s.cr3 = cr3;
	mmu_flush_nonglobal(v);
}

static int enter_task(struct vcpu *v, const struct task *t, const struct desc *d, const u32 *error,
		      bool wide)
{
	v->s.tr = (struct x86_seg){ .base = desc_base32(d), .limit = desc_limit(d),
				    .attr = desc_attr(d) | 2, .sel = d->sel };
	v->s.cr0 |= CR0_TS;
	load_task_cr3(v, t->cr3);
	v->s.rip = v->next_rip = t->eip;
	v->s.rflags = t->eflags | FL_ONE;
	for (unsigned n = 0; n < 8; n++)
		v->s.gpr[n] = wide ? t->gpr[n] : (v->s.gpr[n] & 0xffff0000) | t->gpr[n];
	v->s.dr7 &= ~0x155ull; /* local breakpoints */
	TRY(load_task_segs(v, t));
	if (error)
		TRY(push_val(v, wide ? 4 : 2, *error));
	TRY(branch_to(v, t->eip, 4));
	return t->trap ? raise_db(v, BIT(15)) : X_OK;
}

int task_switch(struct vcpu *v, u16 sel, enum task_switch why, u64 ret_ip, const u32 *error,
		u32 ext)
{
	const struct tss_layout *l = &tss32, *old = tr_is_32(v) ? &tss32 : &tss16;
	bool nested = why == TASK_CALL || why == TASK_GATE_INT;
	u64 flags = v->s.rflags;
	struct desc d;
	struct task t;

	TRY(new_task(v, sel, why, ext, &d, &l));
	if (v->s.tr.limit < old->min_limit)
		return raise_sel(v, EX_TS, v->s.tr.sel, ext);
	TRY(tss_load(v, l, desc_base32(&d), &t));
	if (why == TASK_IRET)
		flags &= ~(u64)FL_NT;
	if (!nested)
		TRY(clear_old_busy(v));
	TRY(tss_save(v, old, ret_ip, flags));
	if (nested) {
		TRY(lin_write_sys(v, desc_base32(&d), 2, v->s.tr.sel));
		t.eflags |= FL_NT;
	}
	if (why != TASK_IRET)
		TRY(desc_set_busy(v, &d, true));
	return enter_task(v, &t, &d, error, l == &tss32);
}
