// SPDX-License-Identifier: Apache-2.0
/*
 * jit_rep.c - REP MOVS and REP STOS of translated code [SDM 1 7.3.9]
 *
 * Page by page with the host's own string instructions, through the translation
 * table: only guest RAM that may be accessed at once. Anything else, and what is
 * left after JIT_REP_BYTES, is the interpreter's, with registers exact up to there.
 */
#include "cpu/soft/jit_int.h"

#define JIT_REP_BYTES (256u << 10) /* in one go: interrupts wait that long */

/* Host address of guest address @la for @acc, NULL if the interpreter must see to it. */
static u8 *rep_ptr(struct vcpu *v, u64 la, enum access acc)
{
	u64 *e = table_entry(v->jit, v->jr.active, la >> 12);
	u8 *base = mem_base(v->mem), *p;

	if (!(acc == ACC_W ? *e & 1 : *e >= 2) && !tlb_fill(v, la, acc))
		return NULL;
	p = (u8 *)(la + (*e & ~1ull));
	return (u64)(p - base) < v->jit->nr_frames * MEM_PAGE ? p : NULL; /* an alias of the index */
}

static void host_movs(u8 *dst, const u8 *src, u64 n, unsigned log2)
{
	switch (log2) {
	case 0: __asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory"); break;
	case 1: __asm__ volatile("rep movsw" : "+D"(dst), "+S"(src), "+c"(n) : : "memory"); break;
	case 2: __asm__ volatile("rep movsl" : "+D"(dst), "+S"(src), "+c"(n) : : "memory"); break;
	default: __asm__ volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
	}
}

static void host_stos(u8 *dst, u64 val, u64 n, unsigned log2)
{
	switch (log2) {
	case 0: __asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(val) : "memory"); break;
	case 1: __asm__ volatile("rep stosw" : "+D"(dst), "+c"(n) : "a"(val) : "memory"); break;
	case 2: __asm__ volatile("rep stosl" : "+D"(dst), "+c"(n) : "a"(val) : "memory"); break;
	default: __asm__ volatile("rep stosq" : "+D"(dst), "+c"(n) : "a"(val) : "memory");
	}
}

static u64 elems_in_page(u64 la, unsigned log2)
{
	return (MEM_PAGE - la % MEM_PAGE) >> log2;
}

/* As many elements as lie in one page of source and destination; 0 = the interpreter's. */
static u64 rep_piece(struct vcpu *v, u64 max, unsigned log2, bool movs)
{
	u64 *g = v->s.gpr, n = elems_in_page(g[RDI], log2);
	u8 *src = NULL, *dst;

	if (movs && elems_in_page(g[RSI], log2) < n)
		n = elems_in_page(g[RSI], log2);
	if (n > max)
		n = max;
	if (!n || (movs && !(src = rep_ptr(v, g[RSI], ACC_R))))
		return 0;
	dst = rep_ptr(v, g[RDI], ACC_W);
	if (!dst)
		return 0;
	if (movs) {
		host_movs(dst, src, n, log2);
		g[RSI] += n << log2;
	} else {
		host_stos(dst, g[RAX], n, log2);
	}
	g[RDI] += n << log2;
	g[RCX] -= n;
	return n;
}

u32 jit_rep(struct vcpu *v, u64 kind)
{
	unsigned log2 = kind & 3;
	u64 budget = JIT_REP_BYTES >> log2, n;

	if (v->s.rflags & FL_DF)
		return 1;
	while (v->s.gpr[RCX]) {
		n = rep_piece(v, v->s.gpr[RCX], log2, kind & JIT_REP_MOVS);
		if (!n || n >= budget)
			return v->s.gpr[RCX] != 0;
		budget -= n;
	}
	return 0;
}
