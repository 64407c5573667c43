// SPDX-License-Identifier: Apache-2.0
/*
 * op_sys.c - dispatch of system instructions, and those that fit nowhere else
 * [SDM 2]
 */
#include "cpu/soft/op_sys.h"

#include "cpu/cpuid.h"
#include "cpu/soft/smp.h"

#define KVM_ENOSYS 1000
#define KVM_EPERM  1

static unsigned ext(const struct insn *i)
{
	return (i->modrm >> 3) & 7;
}

int sys_rm_read(struct vcpu *v, const struct insn *i, unsigned size, u64 *ret)
{
	u64 la;

	if (!i->is_mem) {
		*ret = get_gpr(v, i->rm, size);
		return X_OK;
	}
	TRY(insn_linear(v, i, size, ACC_R, &la));
	return lin_read(v, la, size, ret);
}

int sys_rm_write(struct vcpu *v, const struct insn *i, unsigned size, u64 val)
{
	u64 la;

	if (!i->is_mem) {
		set_gpr(v, i->rm, size, val);
		return X_OK;
	}
	TRY(insn_linear(v, i, size, ACC_W, &la));
	return lin_write(v, la, size, val);
}

static int op_ud(struct vcpu *v, const struct insn *i)
{
	(void)i;
	return raise_ex(v, EX_UD);
}

static int op_gp(struct vcpu *v, const struct insn *i)
{
	(void)i;
	return raise_err(v, EX_GP, 0);
}

/* Cache maintenance: memory is coherent already. */
static int op_nop_cpl0(struct vcpu *v, const struct insn *i)
{
	(void)i;
	return need_cpl0(v);
}

/* -- flags ------------------------------------------------------------------------------ */

static int op_pushf(struct vcpu *v, const struct insn *i)
{
	if (is_vm86(v) && iopl(v) < 3)
		return raise_err(v, EX_GP, 0);
	return push_val(v, i->opsize, v->s.rflags & ~(u64)(FL_VM | FL_RF));
}

static int op_popf(struct vcpu *v, const struct insn *i)
{
	u64 may = FL_ARITH | FL_TF | FL_DF | FL_NT | FL_AC | FL_ID, val;

	if (is_vm86(v) && iopl(v) < 3)
		return raise_err(v, EX_GP, 0);
	if (v->cpl == 0)
		may |= FL_IOPL;
	if (v->cpl <= iopl(v))
		may |= FL_IF;
	if (i->opsize == 2)
		may &= 0xffff;
	TRY(pop_val(v, i->opsize, &val));
	v->s.rflags = (v->s.rflags & ~may) | (val & may) | FL_ONE;
	return X_OK;
}

static bool may_set_if(const struct vcpu *v)
{
	return is_real(v) || v->cpl <= iopl(v);
}

static int op_cli(struct vcpu *v, const struct insn *i)
{
	(void)i;
	if (!may_set_if(v))
		return raise_err(v, EX_GP, 0);
	v->s.rflags &= ~(u64)FL_IF;
	return X_OK;
}

static int op_sti(struct vcpu *v, const struct insn *i)
{
	(void)i;
	if (!may_set_if(v))
		return raise_err(v, EX_GP, 0);
	if (!(v->s.rflags & FL_IF))
		v->s.shadow_sti = true;
	v->s.rflags |= FL_IF;
	return X_OK;
}

static int op_clac_stac(struct vcpu *v, const struct insn *i)
{
	if (!cpu_model_has(v->cfg.model, CPUF_SMAP) || v->cpl)
		return raise_ex(v, EX_UD);
	if (i->modrm == 0xcb)
		v->s.rflags |= FL_AC;
	else
		v->s.rflags &= ~(u64)FL_AC;
	return X_OK;
}

/* -- interrupts, HLT ------------------------------------------------------------------------ */

static int op_int_n(struct vcpu *v, const struct insn *i)
{
	if (is_vm86(v) && iopl(v) < 3)
		return raise_err(v, EX_GP, 0);
	return software_interrupt(v, (u8)i->imm);
}

static int op_int3(struct vcpu *v, const struct insn *i)
{
	(void)i;
	return software_interrupt(v, EX_BP);
}

static int op_into(struct vcpu *v, const struct insn *i)
{
	(void)i;
	return v->s.rflags & FL_OF ? software_interrupt(v, EX_OF) : X_OK;
}

/* INT1: a #DB trap without a reason in DR6; no DPL check. */
static int op_int1(struct vcpu *v, const struct insn *i)
{
	(void)i;
	v->s.rip = v->next_rip;
	return raise_db(v, 0);
}

static int op_hlt(struct vcpu *v, const struct insn *i)
{
	(void)i;
	TRY(need_cpl0(v));
	v->s.activity = ACT_HALTED;
	return X_OK;
}

/* -- identification, time, random numbers ------------------------------------------------------ */

static int op_cpuid(struct vcpu *v, const struct insn *i)
{
	struct cpuid_out o;

	(void)i;
	cpu_model_cpuid(&v->cfg, &v->s, v->index, (u32)v->s.gpr[RAX], (u32)v->s.gpr[RCX], &o);
	v->s.gpr[RAX] = o.eax;
	v->s.gpr[RBX] = o.ebx;
	v->s.gpr[RCX] = o.ecx;
	v->s.gpr[RDX] = o.edx;
	return X_OK;
}

static int op_rdtsc(struct vcpu *v, const struct insn *i)
{
	u64 t;

	if ((v->s.cr4 & CR4_TSD) && v->cpl)
		return raise_err(v, EX_GP, 0);
	t = guest_tsc(v);
	v->s.gpr[RAX] = (u32)t;
	v->s.gpr[RDX] = t >> 32;
	if (i->op != 0x31) /* RDTSCP */
		v->s.gpr[RCX] = (u32)v->s.tsc_aux;
	return X_OK;
}

static u64 random_number(struct vcpu *v, bool seed, bool *ret_ok)
{
	u64 r;
	bool ok;

	if (unlikely(v->cfg.virt)) {
		*ret_ok = true;
		return cpu_virtual_random(v->cfg.virt);
	}
	if (seed)
		__asm__ volatile("rdseed %0" : "=r"(r), "=@ccc"(ok));
	else
		__asm__ volatile("rdrand %0" : "=r"(r), "=@ccc"(ok));
	*ret_ok = ok;
	return ok ? r : 0;
}

static int op_random(struct vcpu *v, const struct insn *i)
{
	bool seed = ext(i) == 7, ok;
	u64 r;

	if (!cpu_model_has(v->cfg.model, seed ? CPUF_RDSEED : CPUF_RDRAND))
		return raise_ex(v, EX_UD);
	r = random_number(v, seed, &ok);
	set_gpr(v, i->rm, i->opsize, r);
	v->s.rflags = (v->s.rflags & ~(u64)FL_ARITH) | (ok ? FL_CF : 0);
	return X_OK;
}

static int op_0fc7(struct vcpu *v, const struct insn *i)
{
	if (ext(i) == 7 && i->rep == 0xf3) { /* RDPID */
		if (!cpu_model_has(v->cfg.model, CPUF_RDPID))
			return raise_ex(v, EX_UD);
		set_gpr(v, i->rm, i->opsize, v->s.tsc_aux);
		return X_OK;
	}
	return op_random(v, i);
}

#define HC_KICK_CPU 5 /* rcx: APIC id, which is the index */

/* [Linux Documentation/virt/kvm/x86/hypercalls.rst] */
static int op_hypercall(struct vcpu *v, const struct insn *i)
{
	u64 ret = -(u64)KVM_ENOSYS;

	(void)i;
	if (v->cpl) {
		ret = -(u64)KVM_EPERM;
	} else if (v->s.gpr[RAX] == HC_KICK_CPU) { /* offered or not: it may have been, elsewhere */
		smp_unhalt(v, v->s.gpr[RCX]);
		ret = 0;
	}
	v->s.gpr[RAX] = ret;
	return X_OK;
}

/* RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE */
static int op_fsgsbase(struct vcpu *v, const struct insn *i)
{
	struct x86_seg *g = &v->s.seg[ext(i) & 1 ? SEG_GS : SEG_FS];
	u64 val;

	if (!is_long64(v) || !(v->s.cr4 & CR4_FSGSBASE))
		return raise_ex(v, EX_UD);
	if (ext(i) < 2) {
		set_gpr(v, i->rm, i->opsize, g->base);
		return X_OK;
	}
	val = get_gpr(v, i->rm, i->opsize);
	if (!is_canonical(val))
		return raise_err(v, EX_GP, 0);
	g->base = val;
	return X_OK;
}

/* -- dispatch ------------------------------------------------------------------------------------ */

static int op_0f01_reg(struct vcpu *v, const struct insn *i)
{
	switch (i->modrm) {
	case 0xc1:
	case 0xd9: return op_hypercall(v, i);
	case 0xca:
	case 0xcb: return op_clac_stac(v, i);
	case 0xd0: return op_xgetbv(v, i);
	case 0xd1: return op_xsetbv(v, i);
	case 0xf8: return op_swapgs(v, i);
	case 0xf9: return op_rdtsc(v, i);
	}
	return op_ud(v, i);
}

static int op_0f01(struct vcpu *v, const struct insn *i)
{
	static op_fn *const mem[8] = { op_sgdt, op_sgdt, op_lgdt, op_lgdt,
				       op_smsw, op_ud,	 op_lmsw, op_invlpg };

	if (i->is_mem || ext(i) == 4 || ext(i) == 6)
		return mem[ext(i)](v, i);
	return op_0f01_reg(v, i);
}

static int op_ff(struct vcpu *v, const struct insn *i)
{
	return ext(i) == 3 ? op_call_far(v, i) : op_jmp_far(v, i);
}

/* clang-format off */
static op_fn *const map1[256] = {
	[0x06] = op_push_seg, [0x0e] = op_push_seg, [0x16] = op_push_seg, [0x1e] = op_push_seg,
	[0x07] = op_pop_seg, [0x17] = op_pop_seg, [0x1f] = op_pop_seg,
	[0x63] = op_arpl, [0x6c ... 0x6d] = op_ins, [0x6e ... 0x6f] = op_outs,
	[0x8c] = op_mov_from_seg, [0x8e] = op_mov_to_seg, [0x9a] = op_call_far,
	[0x9c] = op_pushf, [0x9d] = op_popf, [0xc4 ... 0xc5] = op_load_far,
	[0xca ... 0xcb] = op_ret_far, [0xcc] = op_int3, [0xcd] = op_int_n, [0xce] = op_into,
	[0xcf] = op_iret, [0xe4 ... 0xe5] = op_in, [0xe6 ... 0xe7] = op_out,
	[0xea] = op_jmp_far, [0xec ... 0xed] = op_in, [0xee ... 0xef] = op_out,
	[0xf1] = op_int1, [0xf4] = op_hlt, [0xfa] = op_cli, [0xfb] = op_sti, [0xff] = op_ff,
};

static op_fn *const map0f[256] = {
	[0x00] = op_grp6, [0x01] = op_0f01, [0x02 ... 0x03] = op_lar_lsl, [0x05] = op_syscall,
	[0x06] = op_clts, [0x07] = op_sysret, [0x08 ... 0x09] = op_nop_cpl0,
	[0x20] = op_mov_cr, [0x21] = op_mov_dr, [0x22] = op_mov_cr, [0x23] = op_mov_dr,
	[0x30] = op_wrmsr, [0x31] = op_rdtsc, [0x32] = op_rdmsr, [0x33] = op_gp,
	[0x34] = op_sysenter, [0x35] = op_sysexit,
	[0xa0] = op_push_seg, [0xa1] = op_pop_seg, [0xa2] = op_cpuid,
	[0xa8] = op_push_seg, [0xa9] = op_pop_seg, [0xaa] = op_ud, [0xae] = op_fsgsbase,
	[0xb2] = op_load_far, [0xb4 ... 0xb5] = op_load_far, [0xc7] = op_0fc7,
};
/* clang-format on */

int exec_sys(struct vcpu *v, const struct insn *i)
{
	op_fn *fn = NULL;

	if (i->map == MAP_1)
		fn = map1[i->op];
	else if (i->map == MAP_0F)
		fn = map0f[i->op];
	else if (i->map == MAP_0F38 && i->op == 0x82)
		fn = op_invpcid;
	return fn ? fn(v, i) : op_ud(v, i);
}
