// SPDX-License-Identifier: Apache-2.0
/*
 * op_cr.c - control and debug registers, EFER, XCR0, INVLPG and INVPCID
 * [SDM 3A 2.5, 4.10.4, 3B 17.2]
 */
#include "cpu/soft/op_sys.h"
#include "cpu/cpuid.h"
#include "cpu/soft/walk.h"

#define CR0_ALL                                                                                    \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
#define EFER_AUTOIBRS BIT(21)

/* PAE paging caches the four PDPTEs when CR3 or the mode is loaded. */
static int load_pdptes(struct vcpu *v, u64 cr3)
{
	u64 p[4];

	for (unsigned n = 0; n < 4; n++) {
		p[n] = mmu_read_entry(v, (cr3 & 0xffffffe0) + 8 * n, 8);
		if (!pdpte_ok(v, p[n]))
			return raise_err(v, EX_GP, 0);
	}
	copy_bytes(v->s.pdpte, p, sizeof(p));
	return X_OK;
}

static bool pae_paging(const struct vcpu *v, u64 cr0, u64 cr4)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(v->s.efer & EFER_LME);
}

/* What turning paging on or off does to IA-32e mode. */
static int switch_long(struct vcpu *v, u64 val)
{
	bool lme = v->s.efer & EFER_LME;

	if (val & CR0_PG) {
		if (lme && (!(v->s.cr4 & CR4_PAE) || (v->s.seg[SEG_CS].attr & SA_L)))
			return raise_err(v, EX_GP, 0);
		if (lme)
			v->s.efer |= EFER_LMA;
		return X_OK;
	}
	if (is_long64(v) || (v->s.cr4 & CR4_PCIDE))
		return raise_err(v, EX_GP, 0);
	v->s.efer &= ~(u64)EFER_LMA;
	return X_OK;
}

int set_cr0(struct vcpu *v, u64 val)
{
	u64 old = v->s.cr0, changed;

	if (val >> 32 || ((val & CR0_PG) && !(val & CR0_PE)) || ((val & CR0_NW) && !(val & CR0_CD)))
		return raise_err(v, EX_GP, 0);
	val = (val & CR0_ALL) | CR0_ET;
	changed = old ^ val;
	if (pae_paging(v, val, v->s.cr4) && (changed & (CR0_PG | CR0_CD | CR0_NW)))
		TRY(load_pdptes(v, v->s.cr3));
	if (changed & CR0_PG)
		TRY(switch_long(v, val));
	v->s.cr0 = val;
	if (changed & (CR0_PG | CR0_WP | CR0_PE))
		mmu_mode_changed(v);
	if (changed & CR0_PE)
		update_cpl(v);
	return X_OK;
}

int set_cr3(struct vcpu *v, u64 val)
{
	bool pcid = v->s.cr4 & CR4_PCIDE, keep = pcid && (val >> 63);

	if (pcid)
		val &= ~BIT_ULL(63);
	if (is_long(v) && val >> mmu_phys_bits(v))
		return raise_err(v, EX_GP, 0);
	if (pae_paging(v, v->s.cr0, v->s.cr4))
		TRY(load_pdptes(v, val));
	v->s.cr3 = val;
	if (!pcid) {
		mmu_flush_nonglobal(v);
		return X_OK;
	}
	mmu_switch_pcid(v);
	if (!keep)
		mmu_flush_pcid(v, val & 0xfff);
	return X_OK;
}

/* CR4 bits the CPUID model offers. */
static u64 cr4_allowed(const struct vcpu *v)
{
	static const struct {
		u32 bit;
		enum cpu_feature f;
	} opt[] = {
		{ CR4_UMIP, CPUF_UMIP },     { CR4_FSGSBASE, CPUF_FSGSBASE },
		{ CR4_PCIDE, CPUF_PCID },    { CR4_OSXSAVE, CPUF_XSAVE },
		{ CR4_SMEP, CPUF_SMEP },     { CR4_SMAP, CPUF_SMAP },
	};
	u64 ok = CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR |
		 CR4_OSXMMEXCPT;

	for (unsigned n = 0; n < array_len(opt); n++)
		if (cpu_model_has(v->cfg.model, opt[n].f))
			ok |= opt[n].bit;
	return ok;
}

int set_cr4(struct vcpu *v, u64 val)
{
	const u64 paging = CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PCIDE;
	u64 changed = v->s.cr4 ^ val;

	if (val & ~cr4_allowed(v))
		return raise_err(v, EX_GP, 0);
	if (is_long(v) && !(val & CR4_PAE))
		return raise_err(v, EX_GP, 0);
	if ((changed & val & CR4_PCIDE) && (!is_long(v) || (v->s.cr3 & 0xfff)))
		return raise_err(v, EX_GP, 0);
	if (pae_paging(v, v->s.cr0, val) && (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)))
		TRY(load_pdptes(v, v->s.cr3));
	v->s.cr4 = val;
	if (changed & paging)
		mmu_mode_changed(v);
	return X_OK;
}

int set_efer(struct vcpu *v, u64 val)
{
	u64 ok = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE, changed;

	if (cpu_model_is_amd())
		ok |= EFER_AUTOIBRS;
	val = (val & ~(u64)EFER_LMA) | (v->s.efer & EFER_LMA);
	changed = v->s.efer ^ val;
	if ((val & ~ok) || ((changed & EFER_LME) && (v->s.cr0 & CR0_PG)))
		return raise_err(v, EX_GP, 0);
	v->s.efer = val;
	if (changed & EFER_NXE)
		mmu_mode_changed(v);
	return X_OK;
}

/* -- MOV CRn -------------------------------------------------------------------------- */

static int read_cr(struct vcpu *v, unsigned n, u64 *ret)
{
	switch (n) {
	case 0: *ret = v->s.cr0; break;
	case 2: *ret = v->s.cr2; break;
	case 3: *ret = v->s.cr3; break;
	case 4: *ret = v->s.cr4; break;
	case 8: *ret = io_get_cr8(v); break;
	default: return raise_ex(v, EX_UD);
	}
	return X_OK;
}

static int write_cr(struct vcpu *v, unsigned n, u64 val)
{
	switch (n) {
	case 0: return set_cr0(v, val);
	case 2: v->s.cr2 = val; return X_OK;
	case 3: return set_cr3(v, val);
	case 4: return set_cr4(v, val);
	case 8:
		if (val > 15)
			return raise_err(v, EX_GP, 0);
		io_set_cr8(v, (u8)val);
		return X_OK;
	}
	return raise_ex(v, EX_UD);
}

int op_mov_cr(struct vcpu *v, const struct insn *i)
{
	u64 val = 0;

	TRY(need_cpl0(v));
	if (i->op & 2)
		return write_cr(v, i->reg, get_gpr(v, i->rm, i->opsize));
	TRY(read_cr(v, i->reg, &val));
	set_gpr(v, i->rm, i->opsize, val);
	return X_OK;
}

int op_clts(struct vcpu *v, const struct insn *i)
{
	(void)i;
	TRY(need_cpl0(v));
	v->s.cr0 &= ~(u64)CR0_TS;
	return X_OK;
}

int op_smsw(struct vcpu *v, const struct insn *i)
{
	if (v->cpl && (v->s.cr4 & CR4_UMIP))
		return raise_err(v, EX_GP, 0);
	return sys_rm_write(v, i, i->is_mem ? 2 : i->opsize, v->s.cr0);
}

int op_lmsw(struct vcpu *v, const struct insn *i)
{
	u64 val;

	TRY(need_cpl0(v));
	TRY(sys_rm_read(v, i, 2, &val));
	val = (v->s.cr0 & ~0xeull) | (val & 0xf); /* PE can be set, not cleared */
	return set_cr0(v, val);
}

/* -- MOV DRn ---------------------------------------------------------------------------- */

#define DR6_FIXED 0xffff0ff0ull
#define DR6_MAY	  0xe00full
#define DR7_FIXED 0x400ull
#define DR7_MAY	  0xffff23ffull
#define DR7_GD	  BIT(13)
#define DR6_BD	  BIT(13)

static int write_dr(struct vcpu *v, unsigned n, u64 val)
{
	if (n < 4) {
		v->s.dr[n] = val;
		return X_OK;
	}
	if (val >> 32)
		return raise_err(v, EX_GP, 0);
	if (n == 6)
		v->s.dr6 = (val & DR6_MAY) | DR6_FIXED;
	else
		v->s.dr7 = (val & DR7_MAY) | DR7_FIXED;
	return X_OK;
}

int op_mov_dr(struct vcpu *v, const struct insn *i)
{
	unsigned n = i->reg;

	if (n == 4 || n == 5) {
		if (v->s.cr4 & CR4_DE)
			return raise_ex(v, EX_UD);
		n += 2;
	}
	if (n > 7)
		return raise_ex(v, EX_UD);
	TRY(need_cpl0(v));
	if (v->s.dr7 & DR7_GD)
		return raise_db(v, DR6_BD);
	if (i->op & 2)
		return write_dr(v, n, get_gpr(v, i->rm, i->opsize));
	set_gpr(v, i->rm, i->opsize, n < 4 ? v->s.dr[n] : n == 6 ? v->s.dr6 : v->s.dr7);
	return X_OK;
}

/* -- XCR0 --------------------------------------------------------------------------------- */

int op_xgetbv(struct vcpu *v, const struct insn *i)
{
	(void)i;
	if (!(v->s.cr4 & CR4_OSXSAVE))
		return raise_ex(v, EX_UD);
	if ((u32)v->s.gpr[RCX] != 0)
		return raise_err(v, EX_GP, 0);
	v->s.gpr[RAX] = (u32)v->s.xcr0;
	v->s.gpr[RDX] = v->s.xcr0 >> 32;
	return X_OK;
}

static bool xcr0_ok(const struct vcpu *v, u64 val)
{
	u64 z = val & XCR0_AVX512;

	if (!(val & XCR0_X87) || (val & ~cpu_model_xcr0(v->cfg.model)))
		return false;
	if ((val & XCR0_AVX) && !(val & XCR0_SSE))
		return false;
	return !z || (z == XCR0_AVX512 && (val & XCR0_AVX));
}

int op_xsetbv(struct vcpu *v, const struct insn *i)
{
	u64 val = (u32)v->s.gpr[RAX] | v->s.gpr[RDX] << 32;

	(void)i;
	if (!(v->s.cr4 & CR4_OSXSAVE))
		return raise_ex(v, EX_UD);
	TRY(need_cpl0(v));
	if ((u32)v->s.gpr[RCX] != 0 || !xcr0_ok(v, val))
		return raise_err(v, EX_GP, 0);
	v->s.xcr0 = val;
	return X_OK;
}

/* -- invalidation --------------------------------------------------------------------------- */

int op_invlpg(struct vcpu *v, const struct insn *i)
{
	u64 la = insn_ea(v, i, v->next_rip);

	TRY(need_cpl0(v));
	if (!is_long64(v))
		la = (u32)(la + v->s.seg[i->mem_seg].base);
	else if (i->mem_seg >= SEG_FS && i->mem_seg < NR_SEGS)
		la += v->s.seg[i->mem_seg].base;
	if (is_canonical(la))
		mmu_flush_page(v, la);
	return X_OK;
}

static int invpcid_addr(struct vcpu *v, u16 pcid, u64 la)
{
	if (!is_canonical(la))
		return raise_err(v, EX_GP, 0);
	if (pcid == (v->s.cr4 & CR4_PCIDE ? v->s.cr3 & 0xfff : 0))
		mmu_flush_page(v, la);
	else
		mmu_flush_pcid(v, pcid);
	return X_OK;
}

int op_invpcid(struct vcpu *v, const struct insn *i)
{
	u64 la, type = get_gpr(v, i->reg, i->opsize), pcid, addr;

	if (is_real(v) || !cpu_model_has(v->cfg.model, CPUF_INVPCID))
		return raise_ex(v, EX_UD);
	TRY(need_cpl0(v));
	TRY(insn_linear(v, i, 16, ACC_R, &la));
	TRY(lin_read(v, la, 8, &pcid));
	TRY(lin_read(v, la + 8, 8, &addr));
	if (type > 3 || pcid >> 12)
		return raise_err(v, EX_GP, 0);
	if (type < 2 && pcid && !(v->s.cr4 & CR4_PCIDE))
		return raise_err(v, EX_GP, 0);
	switch (type) {
	case 0: return invpcid_addr(v, (u16)pcid, addr);
	case 1: mmu_flush_pcid(v, (u16)pcid); return X_OK;
	default: mmu_flush_all(v); return X_OK;
	}
}
