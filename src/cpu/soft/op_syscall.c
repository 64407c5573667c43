// SPDX-License-Identifier: Apache-2.0
/*
 * op_syscall.c - SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS [SDM 2B], [APM3]
 *
 * The vendors differ: AMD has SYSCALL outside 64-bit mode and no SYSENTER in
 * IA-32e mode; Intel the opposite. SYSRET to a non-canonical address faults in
 * the kernel on Intel and at the target on AMD.
 */
#include "cpu/soft/op_sys.h"

#define SYSRET_FLAGS 0x3c7fd7ull

void set_flat(struct x86_seg *ret, u16 sel, u32 attr, u8 dpl)
{
	*ret = (struct x86_seg){ .limit = 0xffffffff, .sel = sel,
				 .attr = attr | (u32)dpl << SA_DPL_SHIFT };
}

int op_syscall(struct vcpu *v, const struct insn *i)
{
	bool l64 = is_long64(v);
	u16 sel = (v->s.star >> 32) & 0xfffc;

	(void)i;
	if (!(v->s.efer & EFER_SCE) || !is_protected(v) || is_vm86(v) ||
	    (!l64 && !cpu_model_is_amd()))
		return raise_ex(v, EX_UD);
	v->s.gpr[RCX] = v->next_rip;
	if (is_long(v)) {
		v->s.gpr[R11] = v->s.rflags;
		v->next_rip = l64 ? v->s.lstar : v->s.cstar;
		v->s.rflags = (v->s.rflags & ~v->s.sfmask & ~(u64)FL_RF) | FL_ONE;
	} else {
		v->next_rip = (u32)v->s.star;
		v->s.rflags &= ~(u64)(FL_VM | FL_IF | FL_RF);
	}
	set_flat(&v->s.seg[SEG_CS], sel, is_long(v) ? FLAT_CODE64 : FLAT_CODE, 0);
	set_flat(&v->s.seg[SEG_SS], sel + 8, FLAT_DATA, 0);
	v->cpl = 0;
	return X_OK;
}

int op_sysret(struct vcpu *v, const struct insn *i)
{
	bool to64 = i->opsize == 8, amd = cpu_model_is_amd();
	u16 sel = (v->s.star >> 48) + (to64 ? 16 : 0);

	if (!(v->s.efer & EFER_SCE) || !is_protected(v) || is_vm86(v) || (!is_long64(v) && !amd))
		return raise_ex(v, EX_UD);
	TRY(need_cpl0(v));
	if (to64 && !amd && !is_canonical(v->s.gpr[RCX]))
		return raise_err(v, EX_GP, 0);
	v->next_rip = to64 ? v->s.gpr[RCX] : (u32)v->s.gpr[RCX];
	if (is_long(v))
		v->s.rflags = (v->s.gpr[R11] & SYSRET_FLAGS) | FL_ONE;
	else
		v->s.rflags |= FL_IF;
	set_flat(&v->s.seg[SEG_CS], sel | 3, to64 ? FLAT_CODE64 : FLAT_CODE, 3);
	set_flat(&v->s.seg[SEG_SS], ((v->s.star >> 48) + 8) | 3, FLAT_DATA, 3);
	v->cpl = 3;
	return X_OK;
}

static bool sysenter_offered(const struct vcpu *v)
{
	return !(is_long(v) && cpu_model_is_amd());
}

int op_sysenter(struct vcpu *v, const struct insn *i)
{
	u16 sel = v->s.sysenter_cs & 0xfffc;

	(void)i;
	if (!sysenter_offered(v))
		return raise_ex(v, EX_UD);
	if (!is_protected(v) || !sel)
		return raise_err(v, EX_GP, 0);
	v->s.rflags &= ~(u64)(FL_VM | FL_IF | FL_RF);
	v->s.gpr[RSP] = is_long(v) ? v->s.sysenter_esp : (u32)v->s.sysenter_esp;
	v->next_rip = is_long(v) ? v->s.sysenter_eip : (u32)v->s.sysenter_eip;
	set_flat(&v->s.seg[SEG_CS], sel, is_long(v) ? FLAT_CODE64 : FLAT_CODE, 0);
	set_flat(&v->s.seg[SEG_SS], sel + 8, FLAT_DATA, 0);
	v->cpl = 0;
	return X_OK;
}

int op_sysexit(struct vcpu *v, const struct insn *i)
{
	bool to64 = i->opsize == 8;
	u16 sel = v->s.sysenter_cs & 0xfffc;

	TRY(need_cpl0(v)); /* first, on both vendors' processors */
	if (!sysenter_offered(v))
		return raise_ex(v, EX_UD);
	if (!is_protected(v) || !sel)
		return raise_err(v, EX_GP, 0);
	if (to64 && !(is_canonical(v->s.gpr[RCX]) && is_canonical(v->s.gpr[RDX])))
		return raise_err(v, EX_GP, 0);
	sel += to64 ? 32 : 16;
	v->next_rip = to64 ? v->s.gpr[RDX] : (u32)v->s.gpr[RDX];
	v->s.gpr[RSP] = to64 ? v->s.gpr[RCX] : (u32)v->s.gpr[RCX];
	set_flat(&v->s.seg[SEG_CS], sel | 3, to64 ? FLAT_CODE64 : FLAT_CODE, 3);
	set_flat(&v->s.seg[SEG_SS], (sel + 8) | 3, FLAT_DATA, 3);
	v->cpl = 3;
	return X_OK;
}

int op_swapgs(struct vcpu *v, const struct insn *i)
{
	u64 base = v->s.seg[SEG_GS].base;

	(void)i;
	if (!is_long64(v))
		return raise_ex(v, EX_UD);
	TRY(need_cpl0(v));
	v->s.seg[SEG_GS].base = v->s.kernel_gs_base;
	v->s.kernel_gs_base = base;
	return X_OK;
}
