// SPDX-License-Identifier: Apache-2.0
/*
 * compare.c - what two machines must have in common, and printing what differs
 */
#include <Zydis/Zydis.h>
#include <stdio.h>
#include <string.h>

#include "cpu/soft/mmu.h"
#include "cpu/soft/xstate.h"
#include "lockstep.h"

#define MAX_SHOWN 24

static const struct {
	const char *name;
	u16 off;
	u8 size;
} fields[] = {
#define F(m) { #m, offsetof(struct x86_state, m), sizeof(((struct x86_state *)0)->m) }
#define SEG(m) F(m.base), F(m.limit), F(m.attr), F(m.sel)
	F(gpr[RAX]), F(gpr[RCX]), F(gpr[RDX]), F(gpr[RBX]), F(gpr[RSP]), F(gpr[RBP]), F(gpr[RSI]),
	F(gpr[RDI]), F(gpr[R8]), F(gpr[R9]), F(gpr[R10]), F(gpr[R11]), F(gpr[R12]), F(gpr[R13]),
	F(gpr[R14]), F(gpr[R15]), F(rip), F(rflags), SEG(seg[SEG_ES]), SEG(seg[SEG_CS]),
	SEG(seg[SEG_SS]), SEG(seg[SEG_DS]), SEG(seg[SEG_FS]), SEG(seg[SEG_GS]), SEG(ldtr), SEG(tr),
	F(gdtr.base), F(gdtr.limit), F(idtr.base), F(idtr.limit), F(cr0), F(cr2), F(cr3), F(cr4),
	F(efer), F(xcr0), F(dr[0]), F(dr[1]), F(dr[2]), F(dr[3]), F(dr6), F(dr7), F(star), F(lstar),
	F(cstar), F(sfmask), F(kernel_gs_base), F(sysenter_cs), F(sysenter_esp), F(sysenter_eip),
	F(tsc_offset), F(tsc_aux), F(tsc_adjust), F(pat), F(misc_enable), F(spec_ctrl), F(xss),
	F(mtrr_deftype), F(kvm_system_time), F(kvm_wall_clock), F(pdpte[0]), F(pdpte[1]),
	F(pdpte[2]), F(pdpte[3]), F(activity), F(shadow_sti), F(shadow_ss), F(nmi_blocked),
	F(nmi_pending),
#undef SEG
#undef F
};

static u64 field_of(const struct x86_state *s, unsigned k)
{
	u64 val = 0;

	memcpy(&val, (const u8 *)s + fields[k].off, fields[k].size);
	return val;
}

static u64 mask_of(unsigned k, bool lazy_flags)
{
	return lazy_flags && fields[k].off == offsetof(struct x86_state, rflags) ? ~(u64)FL_ARITH :
										   ~0ull;
}

/* Padding may differ: only when the bytes do, member by member. */
bool same_state(const struct machine *a, const struct machine *b, bool lazy_flags)
{
	const struct x86_state *x = &a->v->s, *y = &b->v->s;

	if (!memcmp(x, y, offsetof(struct x86_state, xsave)))
		return true;
	for (unsigned k = 0; k < array_len(fields); k++)
		if ((field_of(x, k) ^ field_of(y, k)) & mask_of(k, lazy_flags))
			return false;
	return !memcmp(x->mtrr_fix, y->mtrr_fix, sizeof x->mtrr_fix) &&
	       !memcmp(x->mtrr_base, y->mtrr_base, sizeof x->mtrr_base) &&
	       !memcmp(x->mtrr_mask, y->mtrr_mask, sizeof x->mtrr_mask);
}

void print_state_difference(const struct machine *a, const struct machine *b,
			    const struct x86_state *before)
{
	printf("%-14s %16s %16s %16s\n", "", "before", a->name, b->name);
	for (unsigned k = 0; k < array_len(fields); k++) {
		u64 w = field_of(before, k), x = field_of(&a->v->s, k), y = field_of(&b->v->s, k);

		if (k >= 18 && w == x && x == y)
			continue;
		printf("%-14s %16llx %16llx %16llx%s\n", fields[k].name, (unsigned long long)w,
		       (unsigned long long)x, (unsigned long long)y, x == y ? "" : "  <--");
	}
}

/* -- vector registers ----------------------------------------------------------------- */

/* Parts that are not in use read as their initial values. */
static void normalise(u8 *x)
{
	const struct xs_layout *l = xs_layout();
	u64 bv;

	memcpy(&bv, x + XS_BV, 8);
	memset(x + XS_MXCSR_MASK, 0, 4);
	memset(x + XS_BV, 0, 64);
	if (!(bv & XCR0_X87)) {
		memset(x, 0, XS_MXCSR);
		memset(x + XS_ST, 0, XS_XMM - XS_ST);
		x[0] = 0x7f, x[1] = 0x03; /* FCW */
	}
	for (unsigned k = 0; k < 8; k++)
		memset(x + XS_ST + 16 * k + 10, 0, 6);
	if (!(bv & XCR0_SSE))
		memset(x + XS_XMM, 0, 256);
	memset(x + XS_XMM + 256, 0, XS_LEGACY_END - XS_XMM - 256);
	for (unsigned n = XC_AVX; n < NR_XC; n++)
		if (!(bv & BIT_ULL(n)))
			memset(x + l->comp[n].off, 0, l->comp[n].size);
}

static void images(const struct machine *a, const struct machine *b, u8 *x, u8 *y)
{
	memcpy(x, a->v->s.xsave, X86_XSAVE_SIZE);
	memcpy(y, b->v->s.xsave, X86_XSAVE_SIZE);
	normalise(x);
	normalise(y);
}

bool same_fp(const struct machine *a, const struct machine *b)
{
	u8 x[X86_XSAVE_SIZE], y[X86_XSAVE_SIZE];

	if (!memcmp(a->v->s.xsave, b->v->s.xsave, X86_XSAVE_SIZE))
		return true;
	images(a, b, x, y);
	return !memcmp(x, y, X86_XSAVE_SIZE);
}

void print_fp_difference(const struct machine *a, const struct machine *b)
{
	u8 x[X86_XSAVE_SIZE], y[X86_XSAVE_SIZE];
	unsigned shown = 0;

	images(a, b, x, y);
	for (unsigned k = 0; k < X86_XSAVE_SIZE && shown < MAX_SHOWN; k += 8) {
		u64 p, q;

		memcpy(&p, x + k, 8);
		memcpy(&q, y + k, 8);
		if (p != q && ++shown)
			printf("XSAVE image at %4u: %016llx %016llx\n", k, (unsigned long long)p,
			       (unsigned long long)q);
	}
}

/* -- RAM --------------------------------------------------------------------------------- */

/* Dead flags that a fault pushed: they differ in the frame, and in what is left of it later. */
static bool only_flags_differ(const u64 *x, u64 *y)
{
	for (unsigned k = 0; k < 4096 / 8; k++) {
		if ((x[k] ^ y[k]) & ~(u64)FL_ARITH)
			return false;
		y[k] = x[k];
	}
	return true;
}

bool same_ram(const struct machine *a, const struct machine *b, bool lazy_flags)
{
	u8 *x = mem_base(a->vm->mem), *y = mem_base(b->vm->mem);

	for (u64 at = 0; at < mem_low_size(a->vm->mem); at += 4096)
		if (memcmp(x + at, y + at, 4096) &&
		    !(lazy_flags && only_flags_differ((u64 *)(x + at), (u64 *)(y + at))))
			return false;
	return true;
}

void print_ram_difference(const struct machine *a, const struct machine *b)
{
	const u64 *x = (const void *)mem_base(a->vm->mem), *y = (const void *)mem_base(b->vm->mem);
	unsigned shown = 0;

	for (u64 k = 0; k < mem_low_size(a->vm->mem) / 8 && shown < MAX_SHOWN; k++)
		if (x[k] != y[k] && ++shown)
			printf("RAM at %9llx: %016llx %016llx\n", (unsigned long long)k * 8,
			       (unsigned long long)x[k], (unsigned long long)y[k]);
}

/* -- code ---------------------------------------------------------------------------------- */

void print_code(const struct machine *m, u64 rip, u64 nr)
{
	unsigned mode = is_long64(m->v) ? ZYDIS_MACHINE_MODE_LONG_64 :
			m->v->s.seg[SEG_CS].attr & SA_DB ? ZYDIS_MACHINE_MODE_LEGACY_32 :
							   ZYDIS_MACHINE_MODE_LEGACY_16;

	for (u64 k = 0; k < nr && k < 40; k++) {
		ZydisDisassembledInstruction d;
		u8 code[15];
		unsigned got = 0;
		gpa_t gpa;

		for (; got < sizeof code && mmu_probe(m->v, rip + got, &gpa); got++)
			if (!mem_read(m->vm->mem, gpa, &code[got], 1))
				break;
		if (!ZYAN_SUCCESS(ZydisDisassembleIntel((ZydisMachineMode)mode, rip, code, got, &d))) {
			printf("  %16llx  (%u bytes readable)\n", (unsigned long long)rip, got);
			return;
		}
		printf("  %16llx  %s\n", (unsigned long long)rip, d.text);
		rip += d.info.length;
	}
}
