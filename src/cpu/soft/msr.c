// SPDX-License-Identifier: Apache-2.0
/*
 * msr.c - model-specific registers [SDM 4], [APM2 A]
 *
 * One table. A register we do not have is #GP, which guests test for; the ones
 * Linux touches without testing on the processors we model are here, most as a
 * constant whose writes are dropped.
 */
#include "cpu/cpuid.h"
#include "cpu/soft/op_sys.h"

enum {
	M_AMD = BIT(0),
	M_INTEL = BIT(1),
	M_STATE = BIT(2),     /* a u64 of struct x86_state */
	M_CANONICAL = BIT(3), /* writes must be canonical */
	M_READONLY = BIT(4),  /* writes are #GP */
	M_DROP = BIT(5),      /* writes have no effect */
	M_WRITEONLY = BIT(6),
};

struct msr {
	u32 first, last;
	u8 flags;
	u16 off;     /* M_STATE: of the first; the following ones follow */
	u64 mask;    /* bits a write may set, 0 = all */
	u64 value;   /* what reads return without M_STATE or get */
	bool (*get)(struct vcpu *v, u32 nr, u64 *ret); /* false: #GP */
	bool (*set)(struct vcpu *v, u32 nr, u64 val);
};

/* -- registers with behaviour ----------------------------------------------------------- */

/* Ordered after all earlier loads, as RDTSCP and LFENCE; RDTSC promise. */
u64 guest_tsc(const struct vcpu *v)
{
	u32 lo, hi;

	if (unlikely(v->cfg.virt))
		return v->cfg.virt->tsc + v->s.tsc_offset;
	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (lo | (u64)hi << 32) + v->s.tsc_offset;
}

static void move_tsc(struct vcpu *v, u64 delta)
{
	v->s.tsc_offset += delta;
	v->s.tsc_adjust += delta;
	pvclock_update(v);
	io_tsc_moved(v);
}

static bool get_tsc(struct vcpu *v, u32 nr, u64 *ret)
{
	(void)nr;
	*ret = guest_tsc(v);
	return true;
}

static bool set_tsc(struct vcpu *v, u32 nr, u64 val)
{
	(void)nr;
	move_tsc(v, val - guest_tsc(v));
	return true;
}

static bool set_tsc_adjust(struct vcpu *v, u32 nr, u64 val)
{
	(void)nr;
	move_tsc(v, val - v->s.tsc_adjust);
	return true;
}

static bool get_apic(struct vcpu *v, u32 nr, u64 *ret)
{
	return io_apic_rdmsr(v, nr, ret);
}

static bool set_apic(struct vcpu *v, u32 nr, u64 val)
{
	return io_apic_wrmsr(v, nr, val);
}

static bool write_efer(struct vcpu *v, u32 nr, u64 val)
{
	(void)nr;
	return set_efer(v, val) == X_OK;
}

static bool memory_type_ok(unsigned t)
{
	return t <= 1 || (t >= 4 && t <= 6);
}

static bool set_pat(struct vcpu *v, u32 nr, u64 val)
{
	(void)nr;
	for (unsigned n = 0; n < 8; n++) {
		unsigned t = val >> (8 * n) & 0xff;

		if (!memory_type_ok(t) && t != 7)
			return false;
	}
	v->s.pat = val;
	return true;
}

static bool set_mtrr_fixed(struct vcpu *v, u32 nr, u64 val)
{
	unsigned n = nr == 0x250 ? 0 : nr < 0x260 ? nr - 0x258 + 1 : nr - 0x268 + 3;

	for (unsigned k = 0; k < 8; k++)
		if (!memory_type_ok(val >> (8 * k) & 0xff))
			return false;
	v->s.mtrr_fix[n] = val;
	return true;
}

static bool get_mtrr_fixed(struct vcpu *v, u32 nr, u64 *ret)
{
	*ret = v->s.mtrr_fix[nr == 0x250 ? 0 : nr < 0x260 ? nr - 0x258 + 1 : nr - 0x268 + 3];
	return true;
}

static bool get_mtrr_var(struct vcpu *v, u32 nr, u64 *ret)
{
	*ret = nr & 1 ? v->s.mtrr_mask[(nr - 0x200) / 2] : v->s.mtrr_base[(nr - 0x200) / 2];
	return true;
}

static bool set_mtrr_var(struct vcpu *v, u32 nr, u64 val)
{
	u64 addr = (BIT_ULL(cpu_model_phys_bits()) - 1) & ~0xfffull;

	if (val & ~(addr | (nr & 1 ? 0x800 : 0xff)))
		return false;
	if (!(nr & 1) && !memory_type_ok(val & 0xff))
		return false;
	*(nr & 1 ? &v->s.mtrr_mask[(nr - 0x200) / 2] : &v->s.mtrr_base[(nr - 0x200) / 2]) = val;
	return true;
}

static bool get_base(struct vcpu *v, u32 nr, u64 *ret)
{
	*ret = v->s.seg[nr == MSR_FS_BASE ? SEG_FS : SEG_GS].base;
	return true;
}

static bool set_base(struct vcpu *v, u32 nr, u64 val)
{
	if (!is_canonical(val))
		return false;
	v->s.seg[nr == MSR_FS_BASE ? SEG_FS : SEG_GS].base = val;
	return true;
}

static bool set_kvm_time(struct vcpu *v, u32 nr, u64 val)
{
	if (nr == MSR_KVM_SYSTEM_TIME_NEW)
		pvclock_set_system_time(v, val);
	else
		pvclock_set_wall_clock(v, val);
	return true;
}

static bool set_steal_time(struct vcpu *v, u32 nr, u64 val)
{
	(void)nr;
	return pvsteal_set(v, val);
}

/* -- the table ------------------------------------------------------------------------------ */

#define S(m)  .off = offsetof(struct x86_state, m)
#define LOW32 0xffffffffull

/*
 * ARCH_CAPABILITIES: not vulnerable to anything a guest would work around
 * (RDCL, IBRS_ALL, L1D flush, SSB, MDS, page-size MCE, TAA, SBDR, FBSDP, PSDP,
 * BHI, PBRSB, GDS, RFDS, ITS).
 */
#define ARCH_CAP_VALUE                                                                             \
	(0x3bull | BIT(6) | BIT(8) | BIT(13) | BIT(14) | BIT(15) | BIT(20) | BIT(24) | BIT(26) |   \
	 BIT(27) | BIT_ULL(62))

/* clang-format off */
static const struct msr msrs[] = {
	/* hot ones first: the table is searched in order */
	{ MSR_FS_BASE, MSR_GS_BASE, .get = get_base, .set = set_base },
	{ MSR_TSC_DEADLINE, MSR_TSC_DEADLINE, .get = get_apic, .set = set_apic },
	{ MSR_X2APIC_FIRST, MSR_X2APIC_LAST, .get = get_apic, .set = set_apic },
	{ MSR_KERNEL_GS_BASE, MSR_KERNEL_GS_BASE, .flags = M_STATE | M_CANONICAL, S(kernel_gs_base) },
	{ MSR_SPEC_CTRL, MSR_SPEC_CTRL, .flags = M_STATE, S(spec_ctrl), .mask = 7 },
	{ MSR_PRED_CMD, MSR_PRED_CMD, .flags = M_DROP | M_WRITEONLY, .mask = 1 },
	{ MSR_TSC, MSR_TSC, .get = get_tsc, .set = set_tsc },
	{ MSR_TSC_ADJUST, MSR_TSC_ADJUST, .flags = M_STATE, S(tsc_adjust), .set = set_tsc_adjust },
	{ MSR_APIC_BASE, MSR_APIC_BASE, .get = get_apic, .set = set_apic },

	{ MSR_EFER, MSR_EFER, .flags = M_STATE, S(efer), .set = write_efer },
	{ MSR_STAR, MSR_STAR, .flags = M_STATE, S(star) },
	{ MSR_LSTAR, MSR_LSTAR, .flags = M_STATE | M_CANONICAL, S(lstar) },
	{ MSR_CSTAR, MSR_CSTAR, .flags = M_STATE | M_CANONICAL, S(cstar) },
	{ MSR_SFMASK, MSR_SFMASK, .flags = M_STATE, S(sfmask), .mask = LOW32 },
	{ MSR_TSC_AUX, MSR_TSC_AUX, .flags = M_STATE, S(tsc_aux), .mask = LOW32 },
	{ MSR_SYSENTER_CS, MSR_SYSENTER_CS, .flags = M_STATE, S(sysenter_cs), .mask = LOW32 },
	{ MSR_SYSENTER_ESP, MSR_SYSENTER_ESP, .flags = M_STATE | M_CANONICAL, S(sysenter_esp) },
	{ MSR_SYSENTER_EIP, MSR_SYSENTER_EIP, .flags = M_STATE | M_CANONICAL, S(sysenter_eip) },
	{ MSR_PAT, MSR_PAT, .flags = M_STATE, S(pat), .set = set_pat },
	{ MSR_MISC_ENABLE, MSR_MISC_ENABLE, .flags = M_STATE, S(misc_enable) },

	{ MSR_MTRRCAP, MSR_MTRRCAP, .flags = M_READONLY, .value = 0x508 }, /* 8 variable, fixed, WC */
	{ MSR_MTRR_DEFTYPE, MSR_MTRR_DEFTYPE, .flags = M_STATE, S(mtrr_deftype), .mask = 0xcff },
	{ 0x200, 0x20f, .get = get_mtrr_var, .set = set_mtrr_var },
	{ 0x250, 0x250, .get = get_mtrr_fixed, .set = set_mtrr_fixed },
	{ 0x258, 0x259, .get = get_mtrr_fixed, .set = set_mtrr_fixed },
	{ 0x268, 0x26f, .get = get_mtrr_fixed, .set = set_mtrr_fixed },

	{ MSR_MCG_CAP, MSR_MCG_CAP, .flags = M_READONLY },		/* no banks */
	{ MSR_MCG_STATUS, MSR_MCG_STATUS, .flags = M_DROP },
	{ MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_WALL_CLOCK_NEW, .flags = M_STATE, S(kvm_wall_clock),
	  .set = set_kvm_time },
	{ MSR_KVM_SYSTEM_TIME_NEW, MSR_KVM_SYSTEM_TIME_NEW, .flags = M_STATE, S(kvm_system_time),
	  .set = set_kvm_time },

	{ MSR_KVM_STEAL_TIME, MSR_KVM_STEAL_TIME, .flags = M_STATE, S(kvm_steal_time),
	  .set = set_steal_time },
	{ MSR_KVM_PV_EOI, MSR_KVM_PV_EOI, .get = get_apic, .set = set_apic },

	{ 0x8b, 0x8b, .flags = M_AMD | M_DROP, .value = 0x0b0021ff },	/* microcode revision */
	{ 0x8b, 0x8b, .flags = M_INTEL | M_DROP, .value = 0x2b000661ull << 32 },
	{ 0x17, 0x17, .flags = M_INTEL | M_READONLY },			/* PLATFORM_ID */
	{ 0x34, 0x34, .flags = M_INTEL | M_READONLY },			/* SMI_COUNT */
	{ 0x3a, 0x3a, .flags = M_INTEL | M_READONLY, .value = 1 },	/* FEATURE_CONTROL: locked */
	{ 0xce, 0xce, .flags = M_INTEL | M_READONLY },			/* PLATFORM_INFO */
	{ 0x140, 0x140, .flags = M_INTEL | M_DROP },			/* MISC_FEATURES_ENABLES */
	{ MSR_ARCH_CAPABILITIES, MSR_ARCH_CAPABILITIES, .flags = M_INTEL | M_READONLY,
	  .value = ARCH_CAP_VALUE },
	{ 0x1d9, 0x1d9, .flags = M_DROP },				/* DEBUGCTL */
	{ 0x1db, 0x1de, .flags = M_READONLY },				/* last branch, last exception */

	{ 0xc0010000, 0xc0010007, .flags = M_AMD | M_DROP },		/* performance counters */
	{ 0xc0010010, 0xc0010010, .flags = M_AMD | M_DROP },		/* SYSCFG */
	{ 0xc0010015, 0xc0010015, .flags = M_AMD | M_DROP, .value = BIT(24) }, /* HWCR: TSC at P0 */
	{ 0xc001001a, 0xc001001a, .flags = M_AMD | M_DROP },		/* TOP_MEM */
	{ 0xc001001d, 0xc001001d, .flags = M_AMD | M_DROP },		/* TOP_MEM2 */
	{ 0xc001001f, 0xc001001f, .flags = M_AMD | M_DROP },		/* NB_CFG */
	{ 0xc0010055, 0xc0010055, .flags = M_AMD | M_DROP },		/* INT_PENDING_MSG */
	{ 0xc0010058, 0xc0010058, .flags = M_AMD | M_DROP },		/* MMIO_CONF_BASE */
	{ 0xc0010061, 0xc0010064, .flags = M_AMD | M_DROP },		/* P-states */
	{ 0xc0010114, 0xc0010114, .flags = M_AMD | M_DROP, .value = BIT(4) }, /* VM_CR: SVM disabled */
	{ 0xc0010140, 0xc0010141, .flags = M_AMD | M_DROP },		/* OSVW */
	{ 0xc0011002, 0xc0011005, .flags = M_AMD | M_DROP },		/* CPUID overrides */
	{ 0xc0011020, 0xc0011023, .flags = M_AMD | M_DROP },		/* LS, IC, DC, BU configuration */
	{ 0xc0011028, 0xc0011028, .flags = M_AMD | M_DROP },
	{ 0xc0011029, 0xc0011029, .flags = M_AMD | M_DROP, .value = BIT(1) }, /* DE_CFG: LFENCE serialises */
	{ 0xc001102a, 0xc001102d, .flags = M_AMD | M_DROP },
	{ 0xc00110e3, 0xc00110e3, .flags = M_AMD | M_DROP },
};
/* clang-format on */

static const struct msr *find_msr(u32 nr)
{
	u8 other = cpu_model_is_amd() ? M_INTEL : M_AMD;

	for (unsigned n = 0; n < array_len(msrs); n++)
		if (nr >= msrs[n].first && nr <= msrs[n].last && !(msrs[n].flags & other))
			return &msrs[n];
	return NULL;
}

static u64 *state_of(struct vcpu *v, const struct msr *m)
{
	return (u64 *)(void *)((u8 *)&v->s + m->off);
}

static bool msr_read(struct vcpu *v, u32 nr, u64 *ret)
{
	const struct msr *m = find_msr(nr);

	if (!m || m->flags & M_WRITEONLY)
		return false;
	if (m->get)
		return m->get(v, nr, ret);
	*ret = m->flags & M_STATE ? *state_of(v, m) : m->value;
	return true;
}

static bool msr_write(struct vcpu *v, u32 nr, u64 val)
{
	const struct msr *m = find_msr(nr);

	if (!m || m->flags & M_READONLY)
		return false;
	if (m->set)
		return m->set(v, nr, val);
	if (m->flags & M_CANONICAL && !is_canonical(val))
		return false;
	if (m->mask && val & ~m->mask)
		return false;
	if (m->flags & M_STATE)
		*state_of(v, m) = val;
	return true;
}

int op_rdmsr(struct vcpu *v, const struct insn *i)
{
	u64 val;

	(void)i;
	TRY(need_cpl0(v));
	if (!msr_read(v, (u32)v->s.gpr[RCX], &val))
		return raise_err(v, EX_GP, 0);
	v->s.gpr[RAX] = (u32)val;
	v->s.gpr[RDX] = val >> 32;
	return X_OK;
}

int op_wrmsr(struct vcpu *v, const struct insn *i)
{
	u64 val = (u32)v->s.gpr[RAX] | v->s.gpr[RDX] << 32;

	(void)i;
	TRY(need_cpl0(v));
	if (!msr_write(v, (u32)v->s.gpr[RCX], val))
		return raise_err(v, EX_GP, 0);
	return X_OK;
}
