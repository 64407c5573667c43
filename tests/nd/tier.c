// SPDX-License-Identifier: Apache-2.0
/*
 * tier.c - running a stream on a tier of the software engine; and natively,
 * with the same result type
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/soft/jit.h"
#include "cpu/soft/mmu.h"
#include "cpu/soft/stub.h"
#include "cpu/soft/tlb.h"
#include "cpu/soft/vcpu.h"
#include "cpu/soft/xstate.h"
#include "native.h"
#include "nd.h"

#define MAX_STEPS 200000 /* bounded chunks of REP count as steps */

static struct vcpu *vcpu;

static int run_t0(struct vcpu *v, u64 stop)
{
	int r;

	for (unsigned n = 0; n < MAX_STEPS; n++) {
		if (v->s.rip == stop)
			return raise_err(v, EX_GP, 0);
		r = interp_step(v);
		if (r != X_OK)
			return r;
	}
	return X_SHUTDOWN;
}

/* The stream's bytes changed behind the translator's back: drop what it made of the old ones. */
static void drop_code(struct vcpu *v)
{
	gpa_t gpa;

	for (unsigned pg = PG_CODE; pg <= PG_CODE_LAST; pg++)
		if (mmu_probe(v, ND_ARENA + pg * ND_PAGE, &gpa))
			code_written(v, gpa, ND_PAGE);
}

/* Translated code; the HLT behind the stream ends it with #GP. */
static int run_t1(struct vcpu *v, u64 stop)
{
	(void)stop;
	jit_thread_enter(v); /* the native run has used gs */
	drop_code(v);
	v->s.rflags &= ~(u64)FL_RF;
	for (unsigned n = 0; n < MAX_STEPS; n++) {
		int r = jit_usable(v) ? jit_run(v) : interp_step(v);

		if (r != X_OK)
			return r;
	}
	return X_SHUTDOWN;
}

static int run_t1_exact(struct vcpu *v, u64 stop)
{
	v->cfg.exact_flags = true;
	v->cfg.max_block = 0;
	return run_t1(v, stop);
}

static int run_t1_single(struct vcpu *v, u64 stop)
{
	v->cfg.exact_flags = true;
	v->cfg.max_block = 1;
	return run_t1(v, stop);
}

/* Flags that the stream overwrites later are not kept up to a fault before that. */
static int run_t1_fast(struct vcpu *v, u64 stop)
{
	v->cfg.exact_flags = false;
	v->cfg.max_block = 0;
	return run_t1(v, stop);
}

static const struct nd_tier t0 = { "t0", run_t0, false };
static const struct nd_tier t1 = { "t1", run_t1_fast, true };
static const struct nd_tier t1_exact = { "t1-exact", run_t1_exact, false };
static const struct nd_tier t1_single = { "t1-single", run_t1_single, false };
const struct nd_tier *const nd_tiers[] = { &t0, &t1, &t1_exact, &t1_single, NULL };

static void flat_segment(struct x86_seg *s, u16 sel, u32 attr)
{
	*s = (struct x86_seg){ .limit = ~0u, .sel = sel, .attr = attr };
}

static void set_code_size(struct x86_state *s, unsigned mode)
{
	u32 code = SA_P | SA_DPL | SA_S | SA_CODE | SA_RW | SA_ACCESSED | SA_G;

	flat_segment(&s->seg[SEG_CS], mode == 8 ? 0x33 : 0x23, code | (mode == 8 ? SA_L : SA_DB));
}

static void user_mode(struct x86_state *s)
{
	u32 data = SA_P | SA_DPL | SA_S | SA_RW | SA_ACCESSED | SA_DB | SA_G;

	s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	s->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
	s->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	s->cr3 = 0x1000;
	s->xcr0 = xs_layout()->mask;
	for (unsigned n = 0; n < NR_SEGS; n++)
		flat_segment(&s->seg[n], 0x2b, data);
	set_code_size(s, 8);
	s->seg[SEG_FS].sel = s->seg[SEG_GS].sel = 0;
	s->seg[SEG_FS].base = ND_FS_BASE;
	s->seg[SEG_GS].base = ND_GS_BASE;
	s->activity = ACT_RUNNING;
}

bool nd_tier_init(u32 off)
{
	struct err e = { 0 };
	struct vcpu *v = vcpu_alloc();

	if (!v)
		return false;
	v->mem = nd_guest_mem();
	v->cfg = (struct cpu_config){ .mem = v->mem, .nr_vcpus = 1, .model = CPU_MODEL_MAX,
				      .stop_at_faults = true, .off = off };
	v->mmu = mmu_new();
	v->icache = icache_new();
	v->vec = vec_new(&e);
	v->cpl = 3;
	user_mode(&v->s);
	vcpu = v;
	if (jit_new(v, &e) < 0 || !v->jit)
		fprintf(stderr, "nd: no translator: %s\n", e.msg);
	jit_thread_enter(v);
	if (!v->mmu || !v->vec)
		fprintf(stderr, "nd: cannot make a vcpu: %s\n", e.msg);
	return v->mmu && v->vec;
}

/* Parts that are not in use read as their initial values. */
static void normalise(u8 *x)
{
	const struct xs_layout *l = xs_layout();
	u64 bv = *(u64 *)(x + XS_BV);

	memset(x + XS_FOP, 0, 2);
	memset(x + XS_FIP, 0, 16);
	memset(x + XS_MXCSR_MASK, 0, 4);
	if (!(bv & XCR0_X87)) {
		memset(x, 0, XS_MXCSR);
		memset(x + XS_ST, 0, XS_XMM - XS_ST);
		*(u16 *)(x + XS_FCW) = FCW_DEFAULT;
	}
	for (unsigned k = 0; k < 8; k++)
		memset(x + XS_ST + 16 * k + 10, 0, 6);
	if (!(bv & XCR0_SSE))
		memset(x + XS_XMM, 0, 256);
	for (unsigned n = XC_AVX; n < NR_XC; n++)
		if (!(bv & BIT_ULL(n)))
			memset(x + l->comp[n].off, 0, l->comp[n].size);
}

void nd_tier_run(const struct nd_tier *t, const struct nd_case *c, struct nd_result *ret)
{
	struct vcpu *v = vcpu;
	int r;

	memcpy(v->s.gpr, c->in.gpr, sizeof(v->s.gpr));
	memcpy(v->s.xsave, c->in.xsave, sizeof(v->s.xsave));
	set_code_size(&v->s, c->mode);
	v->s.rip = c->la;
	v->s.rflags = c->in.rflags;
	v->s.shadow_sti = v->s.shadow_ss = false;
	v->fp_live = false;
	v->cpl = 3;
	r = t->run(v, c->open_end ? 0 : c->la + c->len);
	fp_park(v);
	memcpy(ret->st.gpr, v->s.gpr, sizeof(v->s.gpr));
	memcpy(ret->st.xsave, v->s.xsave, sizeof(v->s.xsave));
	normalise(ret->st.xsave);
	ret->st.rip = v->s.rip;
	ret->st.rflags = v->s.rflags & ND_FL_CMP;
	ret->vector = r == X_FAULT ? v->exc.vector : ND_TIMEOUT;
	ret->flags_known = !t->lazy_flags || v->s.rip == c->la + c->len;
	ret->error = r == X_FAULT && v->exc.has_error ? v->exc.error : 0;
	ret->addr = r == X_FAULT && v->exc.vector == EX_PF ? v->exc.addr : 0;
}

void nd_native_run(const struct nd_case *c, struct nd_result *ret)
{
	const struct nd_state *in = &c->in;
	static struct nd_native_out out;
	u64 regs[17];

	memcpy(regs, in->gpr, sizeof(in->gpr));
	regs[16] = in->rflags;
	nd_native_exec(regs, in->rip, c->mode == 4, in->xsave, &out);
	memcpy(ret->st.gpr, out.gpr, sizeof(out.gpr));
	memcpy(ret->st.xsave, out.xsave, sizeof(out.xsave));
	normalise(ret->st.xsave);
	ret->st.rip = out.rip;
	ret->st.rflags = out.rflags & ND_FL_CMP;
	ret->vector = out.vector;
	ret->error = out.vector == EX_PF || out.vector == EX_GP || out.vector == EX_SS ? out.error : 0;
	ret->addr = out.vector == EX_PF ? out.addr : 0;
	/* Linux reports the present bit for every address in the kernel's half. */
	if (out.vector == EX_PF && out.addr >= 0x7ffffffff000)
		ret->error &= ~PF_P;
}

u64 nd_host_mask(void)
{
	return xs_layout()->mask;
}
