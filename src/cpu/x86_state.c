// SPDX-License-Identifier: Apache-2.0
/* x86_state.c - power-on and INIT state of a vCPU [SDM 3A table 9-1] */
#include "cpu/x86_state.h"

#include <errno.h>
#include <string.h>

#define ATTR_CODE (SA_P | SA_S | SA_CODE | SA_RW | SA_ACCESSED)
#define ATTR_DATA (SA_P | SA_S | SA_RW | SA_ACCESSED)
#define ATTR_TSS  (SA_P | 11)
#define ATTR_LDT  (SA_P | 2)

#define PAT_RESET	  0x0007040600070406ull
#define MISC_ENABLE_RESET 1 /* fast strings */

void x86_state_reset(struct x86_state *s, bool bsp)
{
	*s = (struct x86_state){
		.rip = 0xfff0,
		.rflags = FL_ONE,
		.ldtr = { .limit = 0xffff, .attr = ATTR_LDT },
		.tr = { .limit = 0xffff, .attr = ATTR_TSS },
		.gdtr.limit = 0xffff,
		.idtr.limit = 0xffff,
		.cr0 = CR0_CD | CR0_NW | CR0_ET,
		.xcr0 = XCR0_X87,
		.dr6 = 0xffff0ff0,
		.dr7 = 0x400,
		.pat = PAT_RESET,
		.misc_enable = MISC_ENABLE_RESET,
		.activity = bsp ? ACT_RUNNING : ACT_WAIT_SIPI,
	};
	for (unsigned n = 0; n < NR_SEGS; n++)
		s->seg[n] = (struct x86_seg){ .limit = 0xffff, .attr = ATTR_DATA };
	s->seg[SEG_CS] = (struct x86_seg){
		.base = 0xffff0000, .limit = 0xffff, .attr = ATTR_CODE, .sel = 0xf000
	};
	s->gpr[RDX] = 0x00000600;
	/* XSAVE image: FCW 040h at reset, MXCSR 1F80h; all components but x87 initial. */
	s->xsave[0] = 0x40;
	s->xsave[24] = 0x80;
	s->xsave[25] = 0x1f;
	s->xsave[512] = XCR0_X87 | XCR0_SSE;
}

/* The MSRs, which INIT leaves alone: star to kvm_steal_time. */
#define KEPT_FIRST offsetof(struct x86_state, star)
#define KEPT_END   offsetof(struct x86_state, pdpte)

void x86_state_init(struct x86_state *s, bool bsp)
{
	struct x86_state old = *s;

	x86_state_reset(s, bsp);
	memcpy((u8 *)s + KEPT_FIRST, (u8 *)&old + KEPT_FIRST, KEPT_END - KEPT_FIRST);
	memcpy(s->xsave, old.xsave, sizeof(s->xsave));
	s->xcr0 = old.xcr0;
	s->cr0 |= old.cr0 & (CR0_CD | CR0_NW);
	s->cr0 &= old.cr0 | ~(u64)(CR0_CD | CR0_NW);
}

/* -- saved and loaded ------------------------------------------------------------------ */

#define S struct x86_state
/* clang-format off */
#define SEG(m) FIELD(S, m.base), FIELD(S, m.limit), FIELD(S, m.attr), FIELD(S, m.sel)
#define DTR(m) FIELD(S, m.base), FIELD(S, m.limit)
/* clang-format on */

const struct field x86_state_fields[] = {
	FIELD_ARRAY(S, gpr),
	FIELD(S, rip),
	FIELD(S, rflags),
	SEG(seg[SEG_ES]),
	SEG(seg[SEG_CS]),
	SEG(seg[SEG_SS]),
	SEG(seg[SEG_DS]),
	SEG(seg[SEG_FS]),
	SEG(seg[SEG_GS]),
	SEG(ldtr),
	SEG(tr),
	DTR(gdtr),
	DTR(idtr),
	FIELD(S, cr0),
	FIELD(S, cr2),
	FIELD(S, cr3),
	FIELD(S, cr4),
	FIELD(S, efer),
	FIELD(S, xcr0),
	FIELD_ARRAY(S, dr),
	FIELD(S, dr6),
	FIELD(S, dr7),
	FIELD(S, star),
	FIELD(S, lstar),
	FIELD(S, cstar),
	FIELD(S, sfmask),
	FIELD(S, kernel_gs_base),
	FIELD(S, sysenter_cs),
	FIELD(S, sysenter_esp),
	FIELD(S, sysenter_eip),
	FIELD(S, tsc_offset),
	FIELD(S, tsc_aux),
	FIELD(S, tsc_adjust),
	FIELD(S, pat),
	FIELD(S, misc_enable),
	FIELD(S, spec_ctrl),
	FIELD(S, xss),
	FIELD(S, mtrr_deftype),
	FIELD_ARRAY(S, mtrr_fix),
	FIELD_ARRAY(S, mtrr_base),
	FIELD_ARRAY(S, mtrr_mask),
	FIELD(S, kvm_system_time),
	FIELD(S, kvm_steal_time),
	FIELD(S, kvm_wall_clock),
	FIELD_ARRAY(S, pdpte),
	FIELD(S, activity, .max = ACT_WAIT_SIPI),
	FIELD(S, shadow_sti),
	FIELD(S, shadow_ss),
	FIELD(S, nmi_blocked),
	FIELD(S, nmi_pending),
	FIELD(S, xsave),
	FIELD_END,
};
#undef S

static bool is_canonical48(u64 la)
{
	return (u64)((i64)(la << 16) >> 16) == la;
}

static int check_modes(const struct x86_state *s, struct err *e)
{
	bool pg = s->cr0 & CR0_PG, lma = s->efer & EFER_LMA;

	if (pg && !(s->cr0 & CR0_PE))
		return err_set(e, EINVAL, "paging without protected mode");
	if ((s->cr0 & CR0_NW) && !(s->cr0 & CR0_CD))
		return err_set(e, EINVAL, "CR0.NW without CR0.CD");
	if (lma != (pg && (s->efer & EFER_LME)) || (lma && !(s->cr4 & CR4_PAE)))
		return err_set(e, EINVAL, "EFER.LMA does not fit CR0 and CR4");
	if (!lma && (s->rip >> 32))
		return err_set(e, EINVAL, "RIP above 4 GiB outside IA-32e mode");
	if (!(s->rflags & FL_ONE) || s->rflags >> 22)
		return err_set(e, EINVAL, "RFLAGS has reserved bits");
	return 0;
}

static int check_addresses(const struct x86_state *s, struct err *e)
{
	const u64 la[] = { s->seg[SEG_FS].base, s->seg[SEG_GS].base, s->kernel_gs_base, s->ldtr.base,
			   s->tr.base,		s->gdtr.base,	     s->idtr.base,	s->lstar,
			   s->cstar,		s->sysenter_esp,     s->sysenter_eip };

	for (unsigned n = 0; n < array_len(la); n++)
		if (!is_canonical48(la[n]))
			return err_set(e, EINVAL, "a base or entry address is not canonical");
	return 0;
}

/* What XRSTOR would refuse [SDM 1 13.8]. */
static int check_xsave(const struct x86_state *s, u64 xcr0, struct err *e)
{
	u64 header[8];
	u32 mxcsr;

	memcpy(header, s->xsave + 512, sizeof header);
	memcpy(&mxcsr, s->xsave + 24, sizeof mxcsr);
	if (!(s->xcr0 & XCR0_X87) || (s->xcr0 & ~xcr0))
		return err_set(e, EINVAL, "XCR0 0x%llx: not offered by this processor",
			       (unsigned long long)s->xcr0);
	for (unsigned n = 1; n < array_len(header); n++)
		if (header[n])
			return err_set(e, EINVAL, "XSAVE area: reserved bits are set");
	if (mxcsr >> 16)
		return err_set(e, EINVAL, "MXCSR: reserved bits are set");
	return 0;
}

int x86_state_check(const struct x86_state *s, u64 xcr0, struct err *e)
{
	TRY(check_modes(s, e));
	TRY(check_addresses(s, e));
	return check_xsave(s, xcr0, e);
}
