// SPDX-License-Identifier: Apache-2.0
/*
 * vec.c - MMX, SSE, AVX and AVX-512 instructions: availability and operand
 * checks, memory operands; the operation itself runs in a native stub
 *
 * Lanes that a mask turns off do not fault. Where part of such an operand
 * faults, the instruction runs on a copy at the edge of an inaccessible page,
 * so that the host decides which lanes it touches.
 */
#include "cpu/soft/quirks.h"
#include "cpu/soft/vec_int.h"

static int gp0(struct vcpu *v)
{
	return raise_err(v, EX_GP, 0);
}

int vec_ready(struct vcpu *v)
{
	struct err e = { 0 };

	if (likely(v->vec))
		return X_OK;
	fp_park(v);
	v->vec = vec_new(&e);
	if (v->vec)
		return X_OK;
	copy_bytes(v->error, e.msg, sizeof(v->error) - 1);
	return X_SHUTDOWN;
}

/* -- running ---------------------------------------------------------------------- */

/*
 * CR0.NE = 0: the exception would go to the interrupt controller by FERR#,
 * which we do not wire; proceed as with IGNNE# asserted.
 */
static void run_ignoring_mf(struct vcpu *v, const struct insn *i, void *mem,
			    struct stub_trap *ret)
{
	u16 fcw;

	fp_park(v);
	fcw = *xs_u16(v, XS_FCW);
	*xs_u16(v, XS_FCW) |= 0x3f;
	*xs_u16(v, XS_FSW) &= (u16) ~(FSW_ES | FSW_B);
	stub_run(v, i, mem, ret);
	fp_park(v);
	if (*xs_u16(v, XS_FCW) == (fcw | 0x3f))
		*xs_u16(v, XS_FCW) = fcw;
	if (*xs_u16(v, XS_FSW) & ~*xs_u16(v, XS_FCW) & 0x3f)
		*xs_u16(v, XS_FSW) |= FSW_ES | FSW_B;
}

int vec_run(struct vcpu *v, const struct insn *i, void *mem)
{
	struct stub_trap t;

	stub_run(v, i, mem, &t);
	if (t.vector == EX_MF && !(v->s.cr0 & CR0_NE))
		run_ignoring_mf(v, i, mem, &t);
	switch (t.vector) {
	case 0xff:
		return X_OK;
	case EX_UD:
	case EX_MF:
		return raise_ex(v, t.vector);
	case EX_XM:
		return raise_ex(v, v->s.cr4 & CR4_OSXMMEXCPT ? EX_XM : EX_UD);
	default:
		return gp0(v);
	}
}

int check_pending_mf(struct vcpu *v)
{
	u16 fsw = *xs_u16(v, XS_FSW);

	if (v->fp_live)
		__asm__ volatile("fnstsw %0" : "=m"(fsw));
	return fsw & FSW_ES && (v->s.cr0 & CR0_NE) ? raise_ex(v, EX_MF) : X_OK;
}

/* -- memory operands ---------------------------------------------------------------- */

static int run_bounced(struct vcpu *v, const struct insn *i, u64 la)
{
	u8 *b = stub_bounce(v->vec);

	/* An x87 store with an unmasked exception leaves memory as it is. */
	if (i->rm_acc & OP_R || i->cls == CLS_X87)
		TRY(lin_read_buf(v, la, b, i->mem_size));
	TRY(vec_run(v, i, b));
	return i->rm_acc & OP_W ? lin_write_buf(v, la, b, i->mem_size) : X_OK;
}

bool operand_misaligned(const struct vcpu *v, const struct insn *i, unsigned align)
{
	bool flat = i->mode == 8 && i->mem_seg != SEG_FS && i->mem_seg != SEG_GS;
	u64 base = flat ? 0 : v->s.seg[i->mem_seg].base;

	return (insn_ea(v, i, v->next_rip) + base) & (align - 1);
}

/* The host raises #GP, or #UD if the instruction is not valid at all. */
static int run_misaligned(struct vcpu *v, const struct insn *i)
{
	return vec_run(v, i, stub_edge(v->vec) + STUB_PAGE + 1);
}

/* The fault of an EVEX operand: #UD comes first, only the host knows all the rules. */
static int evex_fault(struct vcpu *v, const struct insn *i)
{
	struct x86_exc fault = v->exc;
	struct stub_trap t;

	stub_run(v, i, stub_edge(v->vec) + STUB_PAGE, &t);
	if (t.vector == EX_UD)
		return raise_ex(v, EX_UD);
	v->exc = fault;
	return X_FAULT;
}

/* That of an x87 store: none if there is an unmasked exception that comes before it [SDM 1 8.6]. */
static int x87_store_fault(struct vcpu *v, const struct insn *i)
{
	struct x86_exc fault = v->exc;
	u8 before[XS_LEGACY_END];
	u64 in_use, la;

	fp_park(v);
	if (*xs_u16(v, XS_FSW) & FSW_ES) /* one that does not wait: FNSTCW, FNSTSW */
		return X_FAULT;
	in_use = *xs_u64(v, XS_BV);
	copy_bytes(before, v->s.xsave, sizeof(before));
	TRY(vec_run(v, i, stub_bounce(v->vec)));
	fp_park(v);
	if (*xs_u16(v, XS_FSW) & ~*xs_u16(v, XS_FCW) & FSW_PRECOMPUTED)
		return X_OK;
	copy_bytes(v->s.xsave, before, sizeof(before));
	*xs_u64(v, XS_BV) = in_use;
	if (i->mem_size == 10 && fault.vector == EX_PF && quirks()->x87_stores_80_in_parts &&
	    insn_linear(v, i, 8, ACC_W, &la) == X_OK)
		TRY(lin_write_buf(v, la, stub_bounce(v->vec), 8));
	v->exc = fault;
	return X_FAULT;
}

static int mmx_store_fault(struct vcpu *v)
{
	fp_park(v);
	x87_set_top(v, 0);
	*xs_u64(v, XS_BV) |= XCR0_X87;
	return X_FAULT;
}

static bool is_cvtps2ph(const struct insn *i)
{
	return i->enc != ENC_LEGACY && i->map == MAP_0F3A && i->op == 0x1d;
}

/* The conversion takes place: its flags, or its own exception. */
static int cvtps2ph_fault(struct vcpu *v, const struct insn *i)
{
	struct x86_exc fault = v->exc;

	TRY(vec_run(v, i, stub_bounce(v->vec)));
	v->exc = fault;
	return X_FAULT;
}

/* v->exc holds the operand's fault. */
static int mem_fault(struct vcpu *v, const struct insn *i)
{
	const struct quirks *q = quirks();

	if (is_cvtps2ph(i) && q->cvtps2ph_fault_sets_mxcsr)
		return cvtps2ph_fault(v, i);
	if (i->attr & IA_AVX512)
		return evex_fault(v, i);
	if (!(i->rm_acc & OP_W))
		return X_FAULT;
	if (i->cls == CLS_X87 && q->x87_exceptions_before_faults)
		return x87_store_fault(v, i);
	if (i->cls == CLS_VEC && i->attr & IA_FP && q->mmx_store_fault_clears_top)
		return mmx_store_fault(v);
	return X_FAULT;
}

/*
 * Unlike other 128-bit operands those of SHA are subject to alignment checking where they may be
 * misaligned at all, which is AMD's processors.
 */
static bool sha_alignment_fault(const struct vcpu *v, const struct insn *i)
{
	return i->feat == FT_SHA && v->s.rflags & FL_AC && v->cpl == 3 && v->s.cr0 & CR0_AM &&
	       !i->mem_align && operand_misaligned(v, i, i->mem_size);
}

int vec_run_mem(struct vcpu *v, const struct insn *i)
{
	enum access acc = i->rm_acc & OP_W ? ACC_W : ACC_R;
	u8 *p = NULL;
	u64 la;

	if (i->mem_align && operand_misaligned(v, i, i->mem_size))
		return run_misaligned(v, i);
	if (insn_linear(v, i, i->mem_size, acc, &la) || lin_ptr(v, la, i->mem_size, acc, &p))
		return mem_fault(v, i);
	if (unlikely(sha_alignment_fault(v, i)))
		return raise_err(v, EX_AC, 0);
	return p ? vec_run(v, i, p) : run_bounced(v, i, la);
}

/* -- masked memory operands ------------------------------------------------------------ */

/* A masked operand, split at the page boundary it may cross. */
struct masked {
	u64 la;
	unsigned size, first; /* bytes; in the first page */
	enum access acc;
	bool ok[2];	      /* may the part in the first, second page be accessed? */
	bool bad_address;     /* segment or canonical check failed: v->exc holds it */
	struct x86_exc exc;
};

static void probe(struct vcpu *v, struct masked *m)
{
	unsigned room = 4096 - (unsigned)(m->la & 4095);

	m->first = m->size < room ? m->size : room;
	m->ok[0] = !m->bad_address && lin_check(v, m->la, m->first, m->acc) == X_OK;
	m->ok[1] = !m->bad_address && (m->first == m->size ||
		   lin_check(v, m->la + m->first, m->size - m->first, m->acc) == X_OK);
}

/* Where the operand starts so that exactly its inaccessible part lies in a guard page. */
static u8 *place(struct vcpu *v, const struct masked *m)
{
	u8 *page = stub_edge(v->vec);

	if (m->ok[0] && m->ok[1])
		return page;
	if (m->ok[0])
		return page + STUB_PAGE - m->first;
	return m->ok[1] ? page - m->first : page + STUB_PAGE;
}

/* [*ret_lo, *ret_hi): the accessible bytes. */
static void accessible(const struct masked *m, unsigned *ret_lo, unsigned *ret_hi)
{
	*ret_lo = m->ok[0] ? 0 : m->first;
	*ret_hi = m->ok[1] ? m->size : m->ok[0] ? m->first : *ret_lo;
}

/* The host found that lanes in use are inaccessible: the guest's fault. */
static int masked_fault(struct vcpu *v, const struct masked *m, u64 off)
{
	if (m->bad_address) {
		v->exc = m->exc;
		return X_FAULT;
	}
	TRY(lin_check(v, m->la + off, 1, m->acc));
	v->next_rip = v->s.rip; /* another vCPU has mapped it since: run it again */
	return X_OK;
}

static int run_placed(struct vcpu *v, const struct insn *i, const struct masked *m, u8 *p,
		      bool *ret_again)
{
	struct stub_trap t;

	*ret_again = false;
	stub_run(v, i, p, &t);
	if (t.vector == EX_PF) {
		*ret_again = true;
		return masked_fault(v, m, t.addr - (uintptr_t)p);
	}
	if (t.vector == 0xff)
		return X_OK;
	if (t.vector == EX_XM)
		return raise_ex(v, v->s.cr4 & CR4_OSXMMEXCPT ? EX_XM : EX_UD);
	return t.vector == EX_UD || t.vector == EX_MF ? raise_ex(v, t.vector) : gp0(v);
}

static int load_masked(struct vcpu *v, const struct insn *i, const struct masked *m)
{
	u8 *p = place(v, m);
	unsigned lo, hi;
	bool again;

	accessible(m, &lo, &hi);
	if (hi > lo)
		TRY(lin_read_buf(v, m->la + lo, p + lo, hi - lo));
	return run_placed(v, i, m, p, &again);
}

static void fill(u8 *p, u8 val, unsigned len)
{
	while (len--)
		*p++ = val;
}

/* Run over two backgrounds: a byte that comes out the same was written. */
static int store_masked(struct vcpu *v, const struct insn *i, const struct masked *m)
{
	u8 *p = place(v, m), once[64];
	unsigned lo, hi, end;
	bool again;

	accessible(m, &lo, &hi);
	fill(p + lo, 0, hi - lo);
	TRY(run_placed(v, i, m, p, &again));
	if (again)
		return X_OK;
	copy_bytes(once + lo, p + lo, hi - lo);
	fill(p + lo, 0xff, hi - lo);
	TRY(run_placed(v, i, m, p, &again));
	for (unsigned k = lo; k < hi; k = end + 1) {
		for (end = k; end < hi && once[end] == p[end];)
			end++;
		if (end > k)
			TRY(lin_write_buf(v, m->la + k, p + k, end - k));
	}
	return X_OK;
}

/* Masked access to @size bytes; @r: result of computing the address *m->la. */
static int run_masked(struct vcpu *v, const struct insn *i, struct masked *m, int r)
{
	u8 *p = NULL;

	m->bad_address = r != X_OK;
	m->exc = v->exc;
	if (i->is_mem && i->mem_align && operand_misaligned(v, i, i->mem_size))
		return run_misaligned(v, i);
	if (!m->bad_address && lin_ptr(v, m->la, m->size, m->acc, &p) == X_OK && p)
		return vec_run(v, i, p);
	probe(v, m);
	return m->acc == ACC_W ? store_masked(v, i, m) : load_masked(v, i, m);
}

/* VMASKMOVPx, VPMASKMOVx, and everything with an opmask. */
static bool is_masked_mem(const struct insn *i)
{
	if (i->enc == ENC_EVEX)
		return i->aaa != 0;
	return i->enc == ENC_VEX && i->map == MAP_0F38 &&
	       ((i->op >= 0x2c && i->op <= 0x2f) || i->op == 0x8c || i->op == 0x8e);
}

static int exec_masked(struct vcpu *v, const struct insn *i)
{
	struct masked m = { .size = i->mem_size, .acc = i->rm_acc & OP_W ? ACC_W : ACC_R };

	return run_masked(v, i, &m, insn_linear(v, i, m.size, m.acc, &m.la));
}

/* MASKMOVQ, MASKMOVDQU: bytes of the register to [rDI] where the mask's sign bits are set. */
static int exec_maskmov_di(struct vcpu *v, const struct insn *i)
{
	struct masked m = { .size = i->pp ? 16 : 8, .acc = ACC_W };
	u64 ea = v->s.gpr[RDI] & mask_bytes(i->adsize);
	unsigned seg = i->seg == SEG_NONE ? SEG_DS : i->seg;

	return run_masked(v, i, &m, seg_linear(v, seg, ea, m.size, ACC_W, &m.la));
}

/* -- availability [SDM 2A 2.4, 2.8; 3A 2.5, 13.1] ------------------------------------------ */

static int check_vex(struct vcpu *v, u64 need)
{
	if (!is_protected(v) || is_vm86(v) || !(v->s.cr4 & CR4_OSXSAVE) ||
	    (v->s.xcr0 & need) != need)
		return raise_ex(v, EX_UD);
	return v->s.cr0 & CR0_TS ? raise_ex(v, EX_NM) : X_OK;
}

static int check_legacy(struct vcpu *v, const struct insn *i)
{
	bool mmx = i->attr & IA_FP;

	if (v->s.cr0 & CR0_EM || (!mmx && !(v->s.cr4 & CR4_OSFXSR)))
		return raise_ex(v, EX_UD);
	return v->s.cr0 & CR0_TS ? raise_ex(v, EX_NM) : X_OK;
}

static int check_available(struct vcpu *v, const struct insn *i)
{
	if (i->enc == ENC_EVEX || i->attr & IA_AVX512)
		return check_vex(v, XCR0_SSE | XCR0_AVX | XCR0_AVX512);
	if (i->enc == ENC_VEX)
		return check_vex(v, XCR0_SSE | XCR0_AVX);
	return check_legacy(v, i);
}

/* -- dispatch ---------------------------------------------------------------------------------- */

static bool is_ldmxcsr(const struct insn *i)
{
	return i->map == MAP_0F && i->op == 0xae && i->is_mem && (i->modrm >> 3 & 7) == 2;
}

static int exec_ldmxcsr(struct vcpu *v, const struct insn *i)
{
	u64 la, val;
	u32 mxcsr;

	TRY(insn_linear(v, i, 4, ACC_R, &la));
	TRY(lin_read(v, la, 4, &val));
	mxcsr = (u32)val;
	if (!mxcsr_valid(mxcsr))
		return gp0(v);
	fp_unpark(v);
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
	return X_OK;
}

/* VZEROUPPER, VZEROALL outside 64-bit mode leave registers 8 and up alone. */
static bool is_vzero_low(const struct insn *i)
{
	return i->mode != 8 && i->enc == ENC_VEX && i->map == MAP_0F && i->op == 0x77;
}

static int exec_vzero_low(struct vcpu *v, const struct insn *i)
{
	unsigned keep = i->vl ? 0 : 16;
	u8 val[64];

	fp_park(v);
	for (unsigned n = 0; n < 8; n++) {
		xs_get_vec(v, n, val);
		zero_bytes(val + keep, sizeof(val) - keep);
		xs_set_vec(v, n, val);
	}
	return X_OK;
}

static bool is_maskmov_di(const struct insn *i)
{
	return i->map == MAP_0F && i->op == 0xf7 && i->enc != ENC_EVEX;
}

/* MMX registers are involved: also in CVTPI2PS (not from memory), CVTPS2PI and CVTTPS2PI. */
static bool waits(const struct insn *i)
{
	if (i->attr & IA_FP)
		return true;
	return i->enc == ENC_LEGACY && i->map == MAP_0F && i->pp < 2 &&
	       ((i->op == 0x2a && !i->is_mem) || i->op == 0x2c || i->op == 0x2d);
}

int exec_vec(struct vcpu *v, const struct insn *i)
{
	TRY(check_available(v, i));
	TRY(vec_ready(v));
	if (is_ldmxcsr(i))
		return exec_ldmxcsr(v, i);
	if (is_vzero_low(i))
		return exec_vzero_low(v, i);
	if (waits(i))
		TRY(check_pending_mf(v));
	if (i->vsib)
		return exec_vsib(v, i);
	if (is_maskmov_di(i))
		return exec_maskmov_di(v, i);
	if (!i->is_mem || !i->mem_size)
		return vec_run(v, i, stub_bounce(v->vec));
	return is_masked_mem(i) ? exec_masked(v, i) : vec_run_mem(v, i);
}
