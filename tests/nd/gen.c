// SPDX-License-Identifier: Apache-2.0
/*
 * gen.c - random instruction streams and inputs
 *
 * Candidates are random bytes in the shape of a class; the decoder decides which
 * are instructions. Registers that form addresses are mostly given values that
 * lead into the arena, everything else leans to extremes.
 */
#include <string.h>

#include "cpu/soft/xstate.h"
#include "native.h"
#include "nd.h"

/* -- random numbers: xoshiro256** -- */

static u64 rs[4];

void rnd_seed(u64 seed)
{
	for (unsigned k = 0; k < 4; k++) {
		u64 z = seed += 0x9e3779b97f4a7c15;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
		z = (z ^ z >> 27) * 0x94d049bb133111eb;
		rs[k] = z ^ z >> 31;
	}
}

static u64 rotl(u64 x, unsigned k)
{
	return x << k | x >> (64 - k);
}

u64 rnd(void)
{
	u64 r = rotl(rs[1] * 5, 7) * 9, t = rs[1] << 17;

	rs[2] ^= rs[0];
	rs[3] ^= rs[1];
	rs[1] ^= rs[2];
	rs[0] ^= rs[3];
	rs[2] ^= t;
	rs[3] = rotl(rs[3], 45);
	return r;
}

static unsigned mode; /* of the stream being made: 4 or 8 */

/* -- values -- */

static u64 data_address(void)
{
	unsigned pick = rnd_below(100), pg;
	u64 off;

	pg = pick < 70 ? PG_RW + rnd_below(4) : pick < 80 ? PG_RW2 : pick < 90 ? PG_RO :
	     pick < 95 ? PG_HOLE1 : PG_HOLE0;
	pick = rnd_below(100);
	off = pick < 45 ? rnd_below(64) * 64 : pick < 75 ? rnd_below(ND_PAGE) :
	      pick < 90 ? ND_PAGE - 1 - rnd_below(64) : rnd_below(64);
	return ND_ARENA + pg * ND_PAGE + off;
}

static u64 any_value(void)
{
	u64 r = rnd();

	switch (rnd_below(12)) {
	case 0: return 0;
	case 1: return ~0ull;
	case 2: return 1ull << (r & 63);
	case 3: return (1ull << (r & 63)) - 1;
	case 4: return ~(1ull << (r & 63));
	case 5: return r & 0xff;
	case 6: return (u64)(i64)(i32)r;
	case 7: return (u32)r;
	case 8: return data_address();
	case 9: return 0x8000000000000000 >> 8 * (r & 7);
	default: return r;
	}
}

static u64 gpr_value(void)
{
	u64 r = any_value();

	return mode == 4 && rnd_pct(50) ? (u32)(r >> 32) : mode == 4 ? (u32)r : r;
}

static u32 f32_value(void)
{
	static const u32 special[] = { 0, 0x80000000, 0x3f800000, 0xbf800000, 1, 0x807fffff,
				       0x00800000, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00000,
				       0x7f800001, 0xffc12345, 0x4f000000, 0xcf000000, 0x5f000000,
				       0x3f000000, 0x33800000 };

	return rnd_pct(60) ? special[rnd_below(array_len(special))] : (u32)rnd();
}

static u64 f64_value(void)
{
	static const u64 special[] = {
		0, 1ull << 63, 0x3ff0000000000000, 0xbff0000000000000, 1, 0x800fffffffffffff,
		0x0010000000000000, 0x7fefffffffffffff, 0x7ff0000000000000, 0xfff0000000000000,
		0x7ff8000000000000, 0x7ff0000000000001, 0xfff8123456789abc, 0x41dfffffffc00000,
		0xc1e0000000000000, 0x43e0000000000000, 0x3fe0000000000000, 0x36a0000000000000,
	};

	return rnd_pct(60) ? special[rnd_below(array_len(special))] : rnd();
}

static void vec_value(u8 *p, unsigned len)
{
	unsigned kind = rnd_below(5);

	for (unsigned k = 0; k < len; k += 8) {
		u64 *q = (u64 *)(p + k);

		switch (kind) {
		case 0: *q = f32_value() | (u64)f32_value() << 32; break;
		case 1: *q = f64_value(); break;
		case 2: *q = gpr_value(); break;
		case 3: *q = rnd() & 0x8080808080808080; break;
		default: *q = rnd();
		}
	}
}

static void x87_value(u8 *p)
{
	static const u64 frac[] = { 0, 1ull << 63, ~0ull, 3ull << 62, 0x8000000000000001, 1,
				    0x4000000000000000, 0x7fffffffffffffff, 0xc90fdaa22168c235 };
	static const u16 exp[] = { 0, 1, 0x3fff, 0x3ffe, 0x7fff, 0x7ffe, 0x4000, 0x403e, 0x401e,
				   0x3c00, 0x43fe, 0x3f80, 0x407e };

	*(u64 *)p = rnd_pct(50) ? frac[rnd_below(array_len(frac))] : rnd() | 1ull << 63;
	*(u16 *)(p + 8) = rnd_pct(70) ? exp[rnd_below(array_len(exp))] : (u16)(0x3fe0 + rnd_below(64));
	if (rnd_pct(50))
		p[9] |= 0x80;
}

/* -- initial state -- */

static void init_x87(u8 *x)
{
	u16 fcw = 0x37f, fsw = (u16)((rnd() & 0x477f) | (rnd() & 7) << 11);

	if (rnd_pct(50))
		fcw = (u16)(0x7f | (rnd() & 0xf00));
	if (rnd_pct(15))
		fcw = (u16)((fcw & ~0x3fu) | (rnd() & 0x3f));
	if (rnd_pct(70))
		fsw &= 0x7f00;
	if (rnd_pct(85)) /* mostly nothing pending */
		fsw &= (u16)(fcw | 0xffc0);
	if (fsw & ~fcw & 0x3f)
		fsw |= 0x8080;
	*(u16 *)(x + XS_FCW) = fcw;
	*(u16 *)(x + XS_FSW) = fsw;
	x[XS_FTW] = rnd_pct(40) ? 0 : rnd_pct(50) ? 0xff : (u8)rnd();
	for (unsigned k = 0; k < 8; k++)
		x87_value(x + XS_ST + 16 * k);
}

static void init_xsave(u8 *x, bool avx512)
{
	const struct xs_layout *l = xs_layout();
	u32 mxcsr = 0x1f80;

	memset(x, 0, X86_XSAVE_SIZE);
	*(u16 *)(x + XS_FCW) = 0x37f;
	*(u64 *)(x + XS_BV) = XCR0_X87 | XCR0_SSE | (l->mask & XCR0_AVX);
	init_x87(x);
	if (rnd_pct(40))
		mxcsr = (u32)(rnd() & 0xe07f) | 0x1f80;
	if (rnd_pct(10))
		mxcsr = (u32)(rnd() & 0xffff);
	*(u32 *)(x + XS_MXCSR) = mxcsr & l->mxcsr_mask;
	for (unsigned n = 0; n < 16; n++)
		vec_value(x + XS_XMM + 16 * n, 16);
	vec_value(x + l->comp[XC_AVX].off, l->comp[XC_AVX].size);
	if (!avx512 || !(l->mask & XCR0_AVX512))
		return;
	*(u64 *)(x + XS_BV) |= XCR0_AVX512;
	for (unsigned n = XC_OPMASK; n < NR_XC; n++)
		for (unsigned k = 0; k < l->comp[n].size; k += 64)
			vec_value(x + l->comp[n].off + k, 64);
}

static void init_state(struct nd_case *c, bool avx512)
{
	for (unsigned n = 0; n < 16; n++)
		c->in.gpr[n] = gpr_value();
	if (rnd_pct(95))
		c->in.gpr[RSP] = ND_ARENA + (PG_RW + 1) * ND_PAGE + 8 * rnd_below(512);
	if (rnd_pct(70))
		c->in.gpr[RCX] = rnd_below(40);
	c->in.rflags = FL_ONE | FL_IF | (rnd() & FL_ARITH) | (rnd_pct(15) ? FL_DF : 0);
	init_xsave(c->in.xsave, avx512);
	for (unsigned k = 0; k < 3; k++) {
		u8 line[64];

		vec_value(line, 64);
		nd_poke(ND_ARENA + (PG_RW + rnd_below(6)) * ND_PAGE + 64 * rnd_below(64), line, 64);
	}
}

/* -- candidate bytes -- */

static unsigned put_prefixes(u8 *b, bool mandatory)
{
	static const u8 seg[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };
	unsigned n = 0;

	if (mandatory && rnd_pct(75))
		b[n++] = (u8[]){ 0x66, 0xf2, 0xf3 }[rnd_below(3)];
	else if (!mandatory && rnd_pct(15))
		b[n++] = 0x66;
	if (rnd_pct(4))
		b[n++] = rnd_pct(50) ? 0xf2 : 0xf3;
	if (rnd_pct(4))
		b[n++] = 0x67;
	if (rnd_pct(4))
		b[n++] = seg[rnd_below(mode == 8 && nd_has_fsgsbase() ? 6 : 4)];
	if (!mandatory && rnd_pct(5))
		b[n++] = 0xf0;
	if (mode == 8 && rnd_pct(55))
		b[n++] = 0x40 | (u8)(rnd() & 15);
	return n;
}

static unsigned put_tail(u8 *b, unsigned n)
{
	for (unsigned end = n + 12; n < end; n += 4)
		*(u32 *)(b + n) = (u32)(rnd() >> 16);
	return n;
}

static unsigned bytes_int(u8 *b)
{
	static const u8 map38[] = { 0xf0, 0xf1, 0xf6 };
	unsigned n = put_prefixes(b, false), pick = rnd_below(100);

	if (pick >= 50)
		b[n++] = 0x0f;
	if (pick >= 90) {
		b[n++] = 0x38;
		b[n++] = map38[rnd_below(3)];
	}
	return put_tail(b, n);
}

static unsigned bytes_string(u8 *b)
{
	static const u8 op[] = { 0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf };
	unsigned n = 0;

	if (rnd_pct(60))
		b[n++] = rnd_pct(30) ? 0xf2 : 0xf3;
	n += put_prefixes(b + n, false);
	b[n++] = op[rnd_below(array_len(op))];
	return n;
}

/* Pushes and pops, so that --class stack makes runs of them. */
static unsigned bytes_stack(u8 *b)
{
	unsigned n = 0, kind = rnd_below(16);

	if (rnd_pct(30))
		b[n++] = 0x41;
	b[n++] = (u8)(kind < 8 ? 0x50 : 0x58) | (u8)rnd_below(8);
	if (kind == 15)
		b[n - 1] = rnd_pct(50) ? 0x6a : 0x68;
	else if (kind == 14)
		b[n - 1] = rnd_pct(50) ? 0xc9 : rnd_pct(50) ? 0xc3 : 0xc2;
	for (unsigned k = 0; k < 4; k++)
		b[n++] = (u8)rnd();
	return n;
}

static unsigned bytes_branch(u8 *b)
{
	unsigned n = put_prefixes(b, false), pick = rnd_below(10);

	if (pick < 3)
		b[n++] = 0x70 | (u8)(rnd() & 15);
	else if (pick < 5)
		b[n++] = 0x0f, b[n++] = 0x80 | (u8)(rnd() & 15);
	else if (pick < 7)
		b[n++] = (u8[]){ 0xe0, 0xe1, 0xe2, 0xe3, 0xe8, 0xe9, 0xeb, 0xc3 }[rnd() & 7];
	else
		b[n++] = (u8[]){ 0xff, 0xff, 0xc2, 0xc3 }[rnd() & 3];
	return put_tail(b, n);
}

static unsigned bytes_vex_map(u8 *b, u8 map, u8 op_and, u8 op_or)
{
	u8 op = ((u8)rnd() & op_and) | op_or;
	u8 vvvv = rnd_pct(50) ? 0x78 : (u8)(rnd() & 0x78);
	unsigned n = 0;

	if (rnd_pct(3))
		b[n++] = 0x67;
	if (map == 1 && rnd_pct(50)) {
		b[n++] = 0xc5;
		b[n++] = (u8)(rnd() & 0x87) | vvvv | (mode == 4 ? 0xc0 : 0);
	} else {
		b[n++] = 0xc4;
		b[n++] = (u8)(rnd() & 0xe0) | map | (mode == 4 ? 0xc0 : 0);
		b[n++] = (u8)(rnd() & 0x87) | vvvv;
	}
	b[n++] = op;
	return put_tail(b, n);
}

static unsigned bytes_bmi(u8 *b)
{
	return rnd_pct(85) ? bytes_vex_map(b, 2, 7, 0xf0) : bytes_vex_map(b, 3, 0, 0xf0);
}

static unsigned bytes_avx(u8 *b)
{
	return bytes_vex_map(b, (u8)(1 + rnd_below(3)), 0xff, 0);
}

static unsigned bytes_fma(u8 *b)
{
	return bytes_vex_map(b, 2, 0x3f, 0x80);
}

static unsigned bytes_x87(u8 *b)
{
	unsigned n = rnd_pct(20) ? put_prefixes(b, false) : 0;

	if (rnd_pct(2))
		b[n++] = 0x9b;
	else
		b[n++] = 0xd8 | (u8)(rnd() & 7);
	return put_tail(b, n);
}

static unsigned bytes_mmx(u8 *b)
{
	unsigned n = 0, pick = rnd_below(10);

	if (mode == 8 && rnd_pct(20))
		b[n++] = 0x40 | (u8)(rnd() & 15);
	b[n++] = 0x0f;
	if (pick < 2)
		b[n++] = 0x38;
	else if (pick < 3)
		b[n++] = 0x3a, b[n++] = 0x0f;
	else
		b[n++] = (u8)rnd();
	return put_tail(b, n);
}

static unsigned bytes_sse(u8 *b)
{
	unsigned n = put_prefixes(b, true), pick = rnd_below(10);

	b[n++] = 0x0f;
	if (pick < 2)
		b[n++] = 0x38;
	else if (pick < 4)
		b[n++] = 0x3a;
	else
		b[n++] = (u8)rnd();
	return put_tail(b, n);
}

static unsigned bytes_crypto(u8 *b)
{
	unsigned n = 0;

	if (rnd_pct(60))
		b[n++] = 0x66;
	if (mode == 8 && rnd_pct(40))
		b[n++] = 0x40 | (u8)(rnd() & 15);
	b[n++] = 0x0f;
	if (rnd_pct(65)) {
		b[n++] = 0x38;
		b[n++] = rnd_pct(50) ? 0xc8 + (u8)rnd_below(8) : 0xd8 + (u8)rnd_below(8);
	} else {
		b[n++] = 0x3a;
		b[n++] = (u8[]){ 0x44, 0xdf, 0xcc, 0xce, 0xcf }[rnd_below(5)];
	}
	return put_tail(b, n);
}

static unsigned bytes_evex(u8 *b)
{
	unsigned n = 0;

	b[n++] = 0x62;
	b[n++] = (u8)(rnd() & 0xf0) | (u8)(1 + rnd_below(3)) | (mode == 4 ? 0xc0 : 0);
	b[n++] = (u8)(rnd() & 0x83) | 4 | (rnd_pct(40) ? 0x78 : (u8)(rnd() & 0x78));
	b[n++] = (u8)rnd() | (rnd_pct(70) ? 8 : 0);
	if (rnd_pct(30))
		b[n - 1] &= 0x6f;
	return put_tail(b, n);
}

static unsigned bytes_kreg(u8 *b)
{
	return rnd_pct(60) ? bytes_vex_map(b, 1, 0x1f, 0x40 + (rnd_pct(50) ? 0x40 : 0)) :
			     bytes_vex_map(b, 3, 3, 0x30);
}

static u8 near_base;   /* base register of this stream's class "near" */
static bool near_often; /* it has many of those */

/* Operands near each other: [near_base + disp8] of moves and arithmetic. */
static unsigned bytes_near(u8 *b)
{
	static const u8 op[] = { 0x8b, 0x8b, 0x8b, 0x89, 0x89, 0x89, 0x8a, 0x88, 0x01, 0x03, 0x11, 0x13,
				 0x29, 0x39, 0x3b, 0x63, 0x85, 0xff, 0xf7, 0x83, 0xd1, 0xd3, 0x87 };
	static const u8 op0f[] = { 0xb6, 0xb7, 0xbe, 0xaf, 0x44, 0x4f, 0x10, 0x11, 0x28, 0x29, 0x6f,
				   0x7f, 0x2e, 0x58, 0xef, 0x94 };
	bool rex = mode == 8 && (near_base & 8 || rnd_pct(70));
	u8 disp = (u8)(rnd_pct(80) ? 8 * (rnd() & 15) : rnd());
	unsigned n = 0, reg = rnd() & 7;

	if (rnd_pct(20))
		b[n++] = (u8[]){ 0x66, 0xf3, 0xf2 }[rnd_below(3)];
	if (rex)
		b[n++] = 0x40 | (u8)(rnd() & 0xc) | near_base >> 3;
	if (rnd_pct(60)) {
		b[n++] = op[rnd_below(array_len(op))];
	} else {
		b[n++] = 0x0f;
		b[n++] = op0f[rnd_below(array_len(op0f))];
	}
	b[n++] = (u8)(0x40 | reg << 3 | (near_base & 7));
	if ((near_base & 7) == 4)
		b[n++] = 0x24;
	b[n++] = disp;
	return put_tail(b, n);
}

static unsigned bytes_xsave(u8 *b)
{
	unsigned n = rnd_pct(10) ? put_prefixes(b, false) : mode == 8 && rnd_pct(50) ? 1 : 0;

	if (n == 1)
		b[0] = 0x48;
	b[n++] = 0x0f;
	b[n++] = rnd_pct(85) ? 0xae : 0xc7;
	return put_tail(b, n);
}

/* System instructions whose effect in user mode is defined: mostly #GP. */
static const struct sys_op {
	u8 map, op, ext; /* ext: of ModRM, 0xff any */
} sys_ops[] = {
	{ MAP_1, 0x8c, 0xff }, { MAP_1, 0x9c, 0xff }, { MAP_1, 0x9d, 0xff }, { MAP_1, 0x9c, 0xff },
	{ MAP_1, 0xe4, 0xff }, { MAP_1, 0xe5, 0xff }, { MAP_1, 0xe6, 0xff }, { MAP_1, 0xe7, 0xff },
	{ MAP_1, 0xec, 0xff }, { MAP_1, 0xed, 0xff }, { MAP_1, 0xee, 0xff }, { MAP_1, 0xef, 0xff },
	{ MAP_1, 0x6c, 0xff }, { MAP_1, 0x6f, 0xff }, { MAP_1, 0xf4, 0xff }, { MAP_1, 0xfa, 0xff },
	{ MAP_1, 0xfb, 0xff }, { MAP_0F, 0x06, 0xff }, { MAP_0F, 0x08, 0xff },
	{ MAP_0F, 0x09, 0xff }, { MAP_0F, 0x20, 0xff }, { MAP_0F, 0x22, 0xff },
	{ MAP_0F, 0x30, 0xff }, { MAP_0F, 0x32, 0xff }, { MAP_0F, 0x00, 2 }, { MAP_0F, 0x00, 3 },
	{ MAP_0F, 0x01, 2 }, { MAP_0F, 0x01, 3 }, { MAP_0F, 0x01, 6 }, { MAP_0F, 0x01, 7 },
};

static unsigned bytes_sys(u8 *b)
{
	const struct sys_op *s = &sys_ops[rnd_below(array_len(sys_ops))];
	unsigned n = put_prefixes(b, false);

	if (s->map == MAP_0F)
		b[n++] = 0x0f;
	b[n++] = s->op;
	b[n] = (u8)rnd();
	if (s->ext != 0xff)
		b[n] = (b[n] & 0x07) | (u8)(s->ext << 3); /* memory */
	return put_tail(b, n + 1);
}

/* -- classes -- */

static bool is_sys(const struct insn *i)
{
	for (unsigned k = 0; k < array_len(sys_ops); k++)
		if (i->cls == CLS_SYS && i->map == sys_ops[k].map && i->op == sys_ops[k].op &&
		    (sys_ops[k].ext == 0xff || (i->is_mem && (i->modrm >> 3 & 7) == sys_ops[k].ext)))
			return true;
	return false;
}

static bool is_int(const struct insn *i)
{
	return i->cls == CLS_INT && !(i->attr & (IA_STRING | IA_BRANCH)) && i->enc == ENC_LEGACY;
}

static bool is_string(const struct insn *i)
{
	return i->cls == CLS_INT && i->attr & IA_STRING;
}

static bool is_stack(const struct insn *i)
{
	return i->cls == CLS_INT && i->map == MAP_1 && i->attr & IA_STACK && i->op != 0xff &&
	       i->op != 0x8f && i->op != 0xe8 && i->op != 0xc8 && !i->lock;
}

static bool is_branch(const struct insn *i)
{
	return i->cls == CLS_INT && i->attr & IA_BRANCH;
}

static bool is_bmi(const struct insn *i)
{
	return i->cls == CLS_INT && i->enc == ENC_VEX;
}

static bool is_x87(const struct insn *i)
{
	return i->cls == CLS_X87;
}

static bool is_mmx(const struct insn *i)
{
	return i->cls == CLS_VEC && i->enc == ENC_LEGACY && i->attr & IA_FP;
}

static bool is_crypto(const struct insn *i)
{
	if (i->cls != CLS_VEC || i->enc != ENC_LEGACY || i->attr & IA_FP)
		return false;
	if (i->map == MAP_0F38)
		return i->op >= 0xc8 && i->op <= 0xdf;
	return i->map == MAP_0F3A && (i->op == 0x44 || i->op >= 0xcc);
}

static bool is_sse(const struct insn *i)
{
	return i->cls == CLS_VEC && i->enc == ENC_LEGACY && !(i->attr & IA_FP) && !is_crypto(i);
}

static bool is_fma(const struct insn *i)
{
	return i->cls == CLS_VEC && i->enc == ENC_VEX && i->map == MAP_0F38 && i->op >= 0x90 &&
	       i->op < 0xc0;
}

static bool is_avx(const struct insn *i)
{
	return i->cls == CLS_VEC && i->enc == ENC_VEX && !(i->attr & IA_AVX512) && !is_fma(i);
}

static bool is_evex(const struct insn *i)
{
	return i->cls == CLS_VEC && i->enc == ENC_EVEX;
}

static bool is_kreg(const struct insn *i)
{
	return i->cls == CLS_VEC && i->enc == ENC_VEX && i->attr & IA_AVX512;
}

static bool is_xsave(const struct insn *i)
{
	return i->cls == CLS_XSAVE;
}

static bool is_near(const struct insn *i)
{
	return i->is_mem && i->base == near_base && !(i->attr & IA_BRANCH) &&
	       (i->cls == CLS_INT || i->cls == CLS_VEC);
}

/* More specific classes first: nd_class_of() takes the first that accepts. */
const struct nd_class nd_classes[] = {
	{ "stack", 5, bytes_stack, is_stack },
	{ "int", 24, bytes_int, is_int },	   { "string", 6, bytes_string, is_string },
	{ "branch", 6, bytes_branch, is_branch },  { "bmi", 5, bytes_bmi, is_bmi },
	{ "x87", 12, bytes_x87, is_x87 },	   { "mmx", 5, bytes_mmx, is_mmx },
	{ "crypto", 4, bytes_crypto, is_crypto },  { "sse", 12, bytes_sse, is_sse },
	{ "fma", 4, bytes_fma, is_fma },	   { "avx", 12, bytes_avx, is_avx },
	{ "avx512", 12, bytes_evex, is_evex },	   { "opmask", 3, bytes_kreg, is_kreg },
	{ "xsave", 2, bytes_xsave, is_xsave },
	{ "system", 2, bytes_sys, is_sys },	   { "near", 0, bytes_near, is_near },
};
const unsigned nd_nr_classes = array_len(nd_classes);

unsigned nd_class_of(const struct insn *i)
{
	unsigned k = 0;

	while (k < nd_nr_classes && !nd_classes[k].accept(i))
		k++;
	return k;
}

/* -- addresses -- */

static u64 seg_base(const struct insn *i)
{
	return i->mem_seg == SEG_FS ? ND_FS_BASE : i->mem_seg == SEG_GS ? ND_GS_BASE : 0;
}

static void set_reg(struct nd_case *c, unsigned reg, u64 val)
{
	c->in.gpr[reg] = mode == 4 ? (u32)val : val;
	c->pinned |= (u16)BIT(reg);
}

static bool is_free(const struct nd_case *c, unsigned reg)
{
	return !((c->pinned | c->dirty) & BIT(reg));
}

static u64 operand_address(const struct insn *i)
{
	u64 t = data_address();

	if (i->cls == CLS_XSAVE)
		return rnd_pct(95) ? ND_ARENA + PG_RW * ND_PAGE + 64 * rnd_below(200) : t;
	if (i->mem_align && rnd_pct(85))
		t &= ~(u64)(i->mem_size - 1);
	return t;
}

/* Give the operand's registers, or its displacement, values that lead to an address of the arena.
 * @at: the instruction's linear address; its bytes may be patched. */
static void aim(struct nd_case *c, struct insn *i, u8 *bytes, u64 at)
{
	u64 t = operand_address(i) - seg_base(i), idx = 0;
	bool has_index = i->index < 16 && !i->vsib;

	if (!i->is_mem || !i->has_modrm || rnd_pct(3))
		return;
	if (has_index && i->index != i->base && is_free(c, i->index))
		set_reg(c, i->index, rnd_pct(50) ? rnd_below(16) : (u64)(i64)(i8)rnd());
	if (has_index)
		idx = c->in.gpr[i->index] * i->scale;
	if (i->base == REG_RIP || i->base == REG_NONE) {
		u32 disp = (u32)(t - (i->base == REG_RIP ? at + i->len : idx));

		if (i->nr_disp == 4)
			memcpy(bytes + i->off_disp, &disp, 4);
	} else if (is_free(c, i->base) && !(has_index && i->index == i->base)) {
		set_reg(c, i->base, t - idx - (u64)i->disp);
	}
	/* bit strings: the register's high bits are part of the address */
	if (i->map == MAP_0F && (i->op == 0xa3 || i->op == 0xab || i->op == 0xb3 || i->op == 0xbb) &&
	    is_free(c, i->reg & 15) && rnd_pct(80))
		set_reg(c, i->reg & 15, (u64)(i64)(i16)rnd());
}

/* State components the host has enabled and the guest does not have: XSAVE and XRSTOR of these
 * would differ. */
static u64 foreign_components(void)
{
	u32 lo, hi;

	if (!xs_layout()->xsave)
		return 0;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (lo | (u64)hi << 32) & ~xs_layout()->mask;
}

/* EDX:EAX of XSAVE and XRSTOR: what is asked for. */
static void aim_components(struct nd_case *c)
{
	if (is_free(c, RAX) && rnd_pct(95)) {
		set_reg(c, RAX, rnd_pct(80) ? rnd() & 0xe7 : rnd());
		set_reg(c, RDX, rnd_pct(80) ? 0 : rnd());
	}
	set_reg(c, RAX, c->in.gpr[RAX] & ~foreign_components());
}

static void aim_implicit(struct nd_case *c, const struct insn *i)
{
	bool maskmov = i->map == MAP_0F && i->op == 0xf7 && i->cls == CLS_VEC;

	if (rnd_pct(5))
		return;
	if ((i->attr & IA_STRING && i->gpr_r & BIT(RDI)) || maskmov)
		if (is_free(c, RDI))
			set_reg(c, RDI, data_address());
	if (i->attr & IA_STRING && i->gpr_r & BIT(RSI) && is_free(c, RSI))
		set_reg(c, RSI, data_address() - seg_base(i));
	if (i->attr & IA_STRING && i->rep && is_free(c, RCX) && rnd_pct(90))
		set_reg(c, RCX, rnd_below(rnd_pct(80) ? 64 : 4096));
	if (i->map == MAP_1 && i->op == 0xd7 && is_free(c, RBX))
		set_reg(c, RBX, data_address() - seg_base(i));
}

u64 nd_operand_la(const struct nd_state *st, const struct insn *i, u64 at)
{
	u64 ea = (u64)i->disp;

	if (i->base == REG_RIP)
		ea += at + i->len;
	else if (i->base < 16)
		ea += st->gpr[i->base];
	if (i->index < 16 && !i->vsib)
		ea += st->gpr[i->index] * i->scale;
	return (i->adsize < 8 ? (u32)ea : ea) + seg_base(i);
}

/* Memory that instructions with picky operands will accept, sometimes. */
static void prepare_memory(const struct nd_case *c, const struct insn *i, u64 at)
{
	ALIGNED(64) u8 img[X86_XSAVE_SIZE];
	u64 la = i->is_mem ? nd_operand_la(&c->in, i, at) : 0;
	u64 mask = xs_layout()->mask;
	bool compact = rnd_pct(30);

	if (i->cls == CLS_SYS && i->op == 0x9d && i->map == MAP_1) { /* POPF */
		u64 fl = rnd() & (FL_ARITH | FL_DF | FL_NT | FL_ID | FL_IF | FL_IOPL | FL_RF |
				  FL_VIF | FL_VIP | (rnd_pct(20) ? FL_TF : 0));

		nd_poke(c->in.gpr[RSP], &fl, 8);
		return;
	}
	if (i->cls == CLS_VEC && i->op == 0xae) { /* LDMXCSR */
		u32 mxcsr = (u32)rnd() & (rnd_pct(80) ? 0xffff : ~0u);

		nd_poke(la, &mxcsr, 4);
		return;
	}
	if (i->cls != CLS_XSAVE || i->rm_acc != OP_R || rnd_pct(10))
		return;
	init_xsave(img, true);
	*(u64 *)(img + XS_BV) = rnd() & (rnd_pct(95) ? mask : ~foreign_components());
	if (compact)
		*(u64 *)(img + XS_COMP_BV) = (rnd() & mask) | *(u64 *)(img + XS_BV) | 1ull << 63;
	if (rnd_pct(5))
		img[XS_COMP_BV + rnd_below(56)] = (u8)rnd();
	nd_poke(la, img, sizeof(img));
}

/* -- streams -- */

/* Stores the x87 pointers, or could show which instruction ran last. */
static bool shows_fip(const struct insn *i)
{
	unsigned ext = i->modrm >> 3 & 7;

	if (i->cls == CLS_XSAVE)
		return true;
	return i->cls == CLS_X87 && i->is_mem && (i->op == 0xd9 || i->op == 0xdd) && ext == 6;
}

/*
 * XSAVEOPT: it may skip what XRSTOR loaded from the same place. Outside 64-bit mode also XSAVE and
 * XSAVEC: registers that do not exist there do or do not make a component be in use.
 */
static bool is_modified_save(const struct insn *i)
{
	unsigned ext = i->modrm >> 3 & 7;

	return i->cls == CLS_XSAVE && i->rm_acc == OP_W &&
	       (i->op == 0xae ? ext == 6 || (ext == 4 && mode == 4) : mode == 4);
}

static bool is_vzero(const struct insn *i)
{
	return i->enc == ENC_VEX && i->map == MAP_0F && i->op == 0x77;
}

static bool pick_insn(struct nd_case *c, const struct nd_class *cl, struct insn *ret)
{
	u8 b[32];

	for (unsigned n = 0; n < 3000; n++) {
		unsigned len = cl->bytes(b);

		if (!insn_decode(ret, b, len < 15 ? len : 15, mode) || !cl->accept(ret))
			continue;
		if (ret->lock && !(ret->attr & IA_LOCKABLE && ret->is_mem))
			continue;
		if (ret->rep && (ret->op & 0xfe) == 0xe0 && is_branch(ret))
			continue; /* AMD: REPNE turns LOOPE into LOOPNE; documented nowhere */
		if (ret->enc == ENC_EVEX && ret->rm_kind == OK_GPR && (ret->rm & 15) == RSP)
			continue; /* Zen 5 reads a stale rsp after PUSH */
		if (ret->cls == CLS_SYS && ret->op == 0x9d && c->dirty & BIT(RSP))
			continue; /* POPF only of what was put there: AC must stay clear */
		if ((mode == 4 || !nd_has_fsgsbase()) && (ret->seg == SEG_FS || ret->seg == SEG_GS))
			continue; /* natively null in this process, or what the C library has there */
		if (c->xrstor_ran && is_modified_save(ret))
			continue;
		if (c->x87_ran && shows_fip(ret))
			continue;
		if (ret->cls == CLS_XSAVE && !is_free(c, RAX) &&
		    (c->dirty & BIT(RAX) ? ~0ull : c->in.gpr[RAX]) & foreign_components())
			continue;
		return true;
	}
	return false;
}

static unsigned pick_class(void)
{
	unsigned total = 0, k;

	if (near_often && rnd_pct(75))
		return nd_nr_classes - 1;
	for (k = 0; k < nd_nr_classes; k++)
		total += nd_classes[k].weight;
	total = rnd_below(total);
	for (k = 0; total >= nd_classes[k].weight; k++)
		total -= nd_classes[k].weight;
	return k;
}

static bool add_insn(struct nd_case *c, int only)
{
	struct insn *i = &c->insn[c->nr];
	u8 *at = c->code + c->len;

	for (unsigned n = 0; !pick_insn(c, &nd_classes[only < 0 ? pick_class() : (unsigned)only], i); n++)
		if (n > 5)
			return false;
	memcpy(at, i->bytes, i->len);
	aim(c, i, at, c->la + c->len);
	insn_decode(i, at, 15, mode);
	aim_implicit(c, i);
	if (i->cls == CLS_XSAVE)
		aim_components(c);
	if (i->is_mem || i->op == 0x9d)
		prepare_memory(c, i, c->la + c->len);
	c->dirty |= i->gpr_w;
	c->x87_ran |= i->attr & IA_FP || i->cls == CLS_X87;
	c->xrstor_ran |= (i->cls == CLS_XSAVE && i->rm_acc == OP_R) || (mode == 4 && is_vzero(i));
	c->off[c->nr++] = (u8)c->len;
	c->len += i->len;
	c->off[c->nr] = (u8)c->len;
	return true;
}

/* Relative branches go forward to an instruction of the stream, its end, or a place unmapped. */
static void aim_branch(struct nd_case *c, unsigned k)
{
	struct insn *i = &c->insn[k];
	unsigned to = c->off[k + 1 + rnd_below(c->nr - k)];
	i64 rel = (i64)to - c->off[k + 1];
	u8 *bytes = c->code + c->off[k];

	if (i->op == 0xff && !i->is_mem) {
		if (i->modrm >> 3 & 4 ? true : i->modrm >> 3 & 2)
			if (is_free(c, i->rm) && rnd_pct(70))
				set_reg(c, i->rm, c->la + to);
		return;
	}
	if (i->op == 0xc2 || i->op == 0xc3 || i->op == 0xff) {
		u64 target = c->la + to;

		if (rnd_pct(70))
			nd_poke(c->in.gpr[RSP], &target, 8);
		return;
	}
	if (i->nr_imm > 1 && rnd_pct(5))
		rel = (i64)0x7f000000 - (i64)c->la; /* unmapped */
	memcpy(bytes + i->off_imm, &rel, i->nr_imm);
	insn_decode(i, bytes, 15, mode);
}

/* Where the code goes: anywhere, across the pages, or up to the hole behind them. */
static void place_code(struct nd_case *c)
{
	unsigned pick = rnd_below(100);
	u64 first = ND_ARENA + PG_CODE * ND_PAGE;

	if (pick < 90)
		c->la = first + rnd_below(2 * ND_PAGE - ND_MAX_CODE - 16);
	else
		c->la = first + ND_PAGE - 1 - rnd_below(40);
}

bool nd_generate(struct nd_case *c, int only, unsigned want_mode)
{
	unsigned nr;
	bool avx512;

	rnd_seed(c->seed);
	mode = want_mode ? want_mode : rnd_pct(20) ? 4 : 8;
	c->mode = (u8)mode;
	c->nr = c->len = 0;
	c->pinned = BIT(RSP);
	c->dirty = 0;
	c->x87_ran = c->xrstor_ran = c->open_end = false;
	nr = 1 + rnd_below(ND_MAX_INSNS);
	near_base = (u8)rnd_below(mode);
	near_base = mode == 8 && rnd_pct(50) ? near_base + 8 : near_base;
	near_often = rnd_pct(20);
	avx512 = only >= 0 ? !strcmp(nd_classes[only].name, "avx512") ||
				     !strcmp(nd_classes[only].name, "opmask") : rnd_pct(40);
	place_code(c);
	nd_arena_reset((unsigned)c->seed);
	init_state(c, avx512);
	while (c->nr < nr)
		if (!add_insn(c, only))
			return false;
	for (unsigned k = 0; k < c->nr; k++)
		if (c->insn[k].attr & IA_BRANCH)
			aim_branch(c, k);
	c->code[c->len] = 0xf4;
	c->in.rip = c->la;
	return true;
}
