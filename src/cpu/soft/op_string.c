// SPDX-License-Identifier: Apache-2.0
/*
 * op_string.c - MOVS, CMPS, STOS, LODS, SCAS [SDM 1 7.3.9]
 *
 * One call executes one element, or with REP a bounded run of them: as much as
 * lies in one page of source and destination by the host's own string
 * instructions, else up to MAX_SINGLE elements one by one. rSI, rDI and rCX are
 * exact after every element, so a fault or an interrupt finds them right; with
 * elements left, v->in_rep keeps rip where it is.
 */
#include "cpu/soft/op_int.h"
#include "cpu/soft/opnd.h"
#include "cpu/soft/quirks.h"

#define MAX_SINGLE 64

struct str {
	struct vcpu *v;
	const struct insn *i;
	unsigned size;
	u64 mask; /* of rSI, rDI, rCX: address size */
	i64 step; /* +size, or -size with DF */
};

typedef int str_one_fn(struct str *s);
/*
 * At most @max (non-zero) elements in one go, forward. *ret is how many were
 * done: 0 = not possible this way. Registers but rCX are advanced.
 */
typedef int str_run_fn(struct str *s, u64 max, u64 *ret);

static struct str str_init(struct vcpu *v, const struct insn *i)
{
	unsigned size = size_by_bit0(i);

	return (struct str){ .v = v, .i = i, .size = size, .mask = mask_bytes(i->adsize),
			     .step = v->s.rflags & FL_DF ? -(i64)size : (i64)size };
}

static u64 index_of(const struct str *s, unsigned r)
{
	return s->v->s.gpr[r] & s->mask;
}

static void advance(struct str *s, unsigned r, u64 bytes)
{
	gpr_set(s->v, r, s->i->adsize, s->v->s.gpr[r] + bytes);
}

/* Elements from linear address @la up to the end of its page. */
static u64 page_elems(const struct str *s, u64 la)
{
	return (MEM_PAGE - la % MEM_PAGE) / s->size;
}

/*
 * A host pointer to as many of *max elements at seg:r as lie in one page, no
 * index wrap, no segment limit in between; *max is lowered. NULL: single step.
 */
static int run_ptr(struct str *s, unsigned seg, unsigned r, enum access acc, u64 *max, u8 **ret)
{
	u64 off = index_of(s, r), la, n;

	*ret = NULL;
	if (seg_linear(s->v, seg, off, s->size, acc, &la))
		return X_OK; /* the single step raises it */
	n = page_elems(s, la);
	if (n > *max)
		n = *max;
	if (!n || s->mask - off < n * s->size - 1)
		return X_OK;
	if (seg_linear(s->v, seg, off, n * s->size, acc, &la))
		return X_OK;
	*max = n;
	return lin_ptr(s->v, la, n * s->size, acc, ret);
}

static int read_src(struct str *s, u64 *ret)
{
	return seg_read(s->v, data_seg(s->i), index_of(s, RSI), s->size, ret);
}

static int read_dst(struct str *s, u64 *ret)
{
	return seg_read(s->v, SEG_ES, index_of(s, RDI), s->size, ret);
}

/* -- MOVS --------------------------------------------------------------------------------- */

static int movs_one(struct str *s)
{
	u64 val;

	TRY(read_src(s, &val));
	TRY(seg_write(s->v, SEG_ES, index_of(s, RDI), s->size, val));
	advance(s, RSI, s->step);
	advance(s, RDI, s->step);
	return X_OK;
}

/* Element by element as the guest asked: an overlapping destination repeats a pattern. */
static void host_movs(u8 *dst, const u8 *src, u64 n, unsigned size)
{
	switch (size) {
	case 1:
		__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
		break;
	case 2:
		__asm__ volatile("rep movsw" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
		break;
	case 4:
		__asm__ volatile("rep movsl" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
		break;
	default:
		__asm__ volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
	}
}

static int movs_run(struct str *s, u64 max, u64 *ret)
{
	u8 *src, *dst;

	TRY(run_ptr(s, data_seg(s->i), RSI, ACC_R, &max, &src));
	if (!src)
		return X_OK;
	TRY(run_ptr(s, SEG_ES, RDI, ACC_W, &max, &dst));
	if (!dst)
		return X_OK;
	host_movs(dst, src, max, s->size);
	advance(s, RSI, max * s->size);
	advance(s, RDI, max * s->size);
	*ret = max;
	return X_OK;
}

/* -- STOS --------------------------------------------------------------------------------- */

static int stos_one(struct str *s)
{
	TRY(seg_write(s->v, SEG_ES, index_of(s, RDI), s->size, gpr_get(s->v, RAX, s->size)));
	advance(s, RDI, s->step);
	return X_OK;
}

static void host_stos(u8 *dst, u64 val, u64 n, unsigned size)
{
	switch (size) {
	case 1:
		__asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(val) : "memory");
		break;
	case 2:
		__asm__ volatile("rep stosw" : "+D"(dst), "+c"(n) : "a"(val) : "memory");
		break;
	case 4:
		__asm__ volatile("rep stosl" : "+D"(dst), "+c"(n) : "a"(val) : "memory");
		break;
	default:
		__asm__ volatile("rep stosq" : "+D"(dst), "+c"(n) : "a"(val) : "memory");
	}
}

static int stos_run(struct str *s, u64 max, u64 *ret)
{
	u8 *dst;

	TRY(run_ptr(s, SEG_ES, RDI, ACC_W, &max, &dst));
	if (!dst)
		return X_OK;
	host_stos(dst, s->v->s.gpr[RAX], max, s->size);
	advance(s, RDI, max * s->size);
	*ret = max;
	return X_OK;
}

/* -- LODS --------------------------------------------------------------------------------- */

static int lods_one(struct str *s)
{
	u64 val;

	TRY(read_src(s, &val));
	gpr_set(s->v, RAX, s->size, val);
	advance(s, RSI, s->step);
	return X_OK;
}

/* -- CMPS, SCAS ------------------------------------------------------------------------------ */

static void compare(struct str *s, u64 a, u64 b)
{
	native_ops[NAT_CMP][size_log2(s->size)](a, b, 0, &s->v->s.rflags);
}

static int cmps_one(struct str *s)
{
	bool dst_first = quirks()->cmps_reads_dst_first;
	u64 a, b;

	if (dst_first)
		TRY(read_dst(s, &b));
	TRY(read_src(s, &a));
	if (!dst_first)
		TRY(read_dst(s, &b));
	compare(s, a, b);
	advance(s, RSI, s->step);
	advance(s, RDI, s->step);
	return X_OK;
}

static int scas_one(struct str *s)
{
	u64 b;

	TRY(read_dst(s, &b));
	compare(s, gpr_get(s->v, RAX, s->size), b);
	advance(s, RDI, s->step);
	return X_OK;
}

static u64 elem(const u8 *p, unsigned size)
{
	u64 val = 0;

	for (unsigned k = 0; k < size; k++)
		val |= (u64)p[k] << (8 * k);
	return val;
}

/* Index of the element that ends the run (differs for REPE, equals for REPNE), or n - 1. */
static u64 scan_run(const struct str *s, const u8 *a, const u8 *b, u64 n)
{
	bool want_equal = s->i->rep == 0xf3;
	u64 at = 0;

	while (at + 1 < n && (elem(a + at * s->size, s->size) ==
			      elem(b + at * s->size, s->size)) == want_equal)
		at++;
	return at;
}

static int cmps_run(struct str *s, u64 max, u64 *ret)
{
	u8 *a, *b;
	u64 last;

	if (quirks()->cmps_reads_dst_first) {
		TRY(run_ptr(s, SEG_ES, RDI, ACC_R, &max, &b));
		if (!b)
			return X_OK;
	}
	TRY(run_ptr(s, data_seg(s->i), RSI, ACC_R, &max, &a));
	if (!a)
		return X_OK;
	TRY(run_ptr(s, SEG_ES, RDI, ACC_R, &max, &b));
	if (!b)
		return X_OK;
	last = scan_run(s, a, b, max);
	compare(s, elem(a + last * s->size, s->size), elem(b + last * s->size, s->size));
	*ret = last + 1;
	advance(s, RSI, *ret * s->size);
	advance(s, RDI, *ret * s->size);
	return X_OK;
}

static int scas_run(struct str *s, u64 max, u64 *ret)
{
	u64 acc = gpr_get(s->v, RAX, s->size), last = 0;
	bool want_equal = s->i->rep == 0xf3;
	u8 *b;

	TRY(run_ptr(s, SEG_ES, RDI, ACC_R, &max, &b));
	if (!b)
		return X_OK;
	while (last + 1 < max && (elem(b + last * s->size, s->size) == acc) == want_equal)
		last++;
	compare(s, acc, elem(b + last * s->size, s->size));
	*ret = last + 1;
	advance(s, RDI, *ret * s->size);
	return X_OK;
}

/* -- REP ------------------------------------------------------------------------------------- */

/* The element just done ends REPE/REPNE? */
static bool rep_ends(const struct str *s, bool compares)
{
	bool zf = s->v->s.rflags & FL_ZF;

	return compares && zf != (s->i->rep == 0xf3);
}

static int rep_single(struct str *s, str_one_fn *one, bool compares, unsigned max)
{
	u64 left = index_of(s, RCX);

	for (unsigned k = 0; k < max && left; k++) {
		TRY(one(s));
		gpr_set(s->v, RCX, s->i->adsize, --left);
		if (rep_ends(s, compares))
			return X_OK;
	}
	s->v->in_rep = left;
	return X_OK;
}

/* @r is the outcome of a piece of REP CMPS or SCAS. */
static int settle_flags(struct vcpu *v, int r)
{
	if (r == X_FAULT && quirks()->rep_fault_restores_flags)
		v->s.rflags = (v->s.rflags & ~(u64)FL_ARITH) | (v->rep_flags & FL_ARITH);
	return r;
}

/* See quirks.h: rCX, and of MOVS and STOS the pointers, before anything else. */
static void zero_extend(struct str *s)
{
	u8 op = s->i->op & 0xfe;

	advance(s, RCX, 0);
	if (op == 0xa4)
		advance(s, RSI, 0);
	if (op == 0xa4 || op == 0xaa)
		advance(s, RDI, 0);
}

static int rep(struct str *s, str_one_fn *one, str_run_fn *run, bool compares)
{
	struct vcpu *v = s->v;
	u64 left = index_of(s, RCX), done = 0;

	if (s->i->adsize == 4 && quirks()->rep_zero_extends)
		zero_extend(s);
	if (!left)
		return X_OK;
	if (unlikely(v->s.rflags & FL_TF || v->s.dr7 & 0xff)) /* #DB after each element */
		return rep_single(s, one, compares, 1);
	if (run && s->step > 0)
		TRY(run(s, left, &done));
	if (!done)
		return rep_single(s, one, compares, MAX_SINGLE);
	gpr_set(v, RCX, s->i->adsize, left - done);
	v->in_rep = left != done && !rep_ends(s, compares);
	return X_OK;
}

static int string_op(struct vcpu *v, const struct insn *i, str_one_fn *one, str_run_fn *run,
		     bool compares)
{
	struct str s = str_init(v, i);
	int r;

	if (!i->rep)
		return one(&s);
	if (!v->rep_goes_on)
		v->rep_flags = v->s.rflags;
	r = rep(&s, one, run, compares);
	return compares ? settle_flags(v, r) : r;
}

int op_movs(struct vcpu *v, const struct insn *i)
{
	return string_op(v, i, movs_one, movs_run, false);
}

int op_cmps(struct vcpu *v, const struct insn *i)
{
	return string_op(v, i, cmps_one, cmps_run, true);
}

int op_stos(struct vcpu *v, const struct insn *i)
{
	return string_op(v, i, stos_one, stos_run, false);
}

int op_lods(struct vcpu *v, const struct insn *i)
{
	return string_op(v, i, lods_one, NULL, false);
}

int op_scas(struct vcpu *v, const struct insn *i)
{
	return string_op(v, i, scas_one, scas_run, true);
}
