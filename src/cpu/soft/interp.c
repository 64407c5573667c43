// SPDX-License-Identifier: Apache-2.0
/*
 * interp.c - tier 0: fetch, decode, dispatch and retire one instruction
 *
 * What surrounds every instruction is here: code breakpoints, CS limit, page
 * straddling, LOCK validity, RF, interrupt shadows, single-step and data
 * breakpoint traps. [SDM 3A 6.9, 3B 17.3]
 *
 * Decoded instructions are cached by the host address of their bytes and
 * checked against those bytes on every use, so nothing invalidates the cache.
 */
#include <stdlib.h>

#include "cpu/soft/mmu.h"
#include "cpu/soft/op_int.h"
#include "cpu/soft/ops.h"

#define DR6_BS	    BIT(14)
#define DR7_ENABLES 0xff /* L0..G3 */
#define MAX_INSN    15
#define NR_ICACHE   2048

struct ientry {
	const u8 *host; /* where the bytes were; NULL = free */
	u64 raw[2], mask[2]; /* the bytes, and which of them decide */
	op_fn *fn;
	struct insn i;
};

struct icache {
	struct ientry e[NR_ICACHE];
};

struct icache *icache_new(void)
{
	return calloc(1, sizeof(struct icache));
}

void icache_free(struct icache *c)
{
	free(c);
}

static unsigned code_mode(const struct vcpu *v)
{
	if (is_long64(v))
		return 8;
	return v->s.seg[SEG_CS].attr & SA_DB ? 4 : 2;
}

static op_fn *class_fn(const struct insn *i)
{
	static op_fn *const fns[] = {
		[CLS_SYS] = exec_sys,
		[CLS_X87] = exec_x87,
		[CLS_VEC] = exec_vec,
		[CLS_XSAVE] = exec_xsave,
	};

	return i->cls == CLS_INT ? int_handler(i) : fns[i->cls];
}

/* -- fetch ------------------------------------------------------------------ */

/* Bytes the code segment allows from rip on, at most 15; 0 = rip is beyond it. */
static unsigned cs_room(const struct vcpu *v, unsigned mode)
{
	u64 limit = v->s.seg[SEG_CS].limit;

	if (mode == 8)
		return MAX_INSN;
	if (v->s.rip > limit)
		return 0;
	return limit - v->s.rip >= MAX_INSN ? MAX_INSN : limit - v->s.rip + 1;
}

/* The instruction ends beyond the bytes fetch_bytes() could read: raise what its next byte does. */
static int fetch_more(struct vcpu *v, u64 la, unsigned mode)
{
	u8 byte;
	unsigned got;

	if (mode != 8)
		la = (u32)la;
	else if (!is_canonical(la))
		return raise_err(v, EX_GP, 0);
	TRY(fetch_bytes(v, la, &byte, 1, &got));
	return raise_err(v, EX_GP, 0); /* readable after all: another vCPU changed the page tables */
}

/* Fetch and decode byte by byte as far as needed: page ends, segment ends, MMIO. */
static int fetch_slow(struct vcpu *v, u64 la, unsigned mode, unsigned room, struct insn *ret)
{
	u8 buf[MAX_INSN + 1];
	unsigned got = 0;

	TRY(fetch_bytes(v, la, buf, room, &got));
	if (insn_decode(ret, buf, got, mode))
		return X_OK;
	if (got < room)
		return fetch_more(v, la + got, mode);
	return raise_err(v, EX_GP, 0);
}

static void ientry_fill(struct ientry *e, const u8 *host, const u64 raw[2], unsigned mode)
{
	unsigned nr;

	e->host = NULL;
	if (!insn_decode(&e->i, (const u8 *)raw, MAX_INSN, mode))
		return;
	nr = e->i.cls == CLS_UD ? MAX_INSN : e->i.len;
	e->host = host;
	e->raw[0] = raw[0];
	e->raw[1] = raw[1];
	e->mask[0] = mask_bytes(nr < 8 ? nr : 8);
	e->mask[1] = nr > 8 ? mask_bytes(nr - 8) : 0;
	e->i.mode = mode;
	e->fn = e->i.cls == CLS_UD ? NULL : class_fn(&e->i);
}

/* The decoded instruction at @host, which has 16 readable bytes in its page; NULL: use the slow
 * path. */
static struct ientry *icache_find(struct icache *c, const u8 *host, unsigned mode)
{
	struct ientry *e = &c->e[((uintptr_t)host ^ (uintptr_t)host >> 11) % NR_ICACHE];
	u64 raw[2];

	__builtin_memcpy(raw, host, 16);
	if (likely(e->host == host && e->i.mode == mode &&
		   !((raw[0] ^ e->raw[0]) & e->mask[0]) && !((raw[1] ^ e->raw[1]) & e->mask[1])))
		return e;
	ientry_fill(e, host, raw, mode);
	return e->host ? e : NULL;
}

/*
 * The instruction at cs:rip: *ret and its handler. *ret points into the cache
 * or to @scratch.
 */
static int fetch(struct vcpu *v, u64 la, unsigned mode, struct insn *scratch,
		 const struct insn **ret, op_fn **ret_fn)
{
	unsigned room = cs_room(v, mode);
	struct ientry *e;
	struct xlate x;

	if (!room || (mode == 8 && !is_canonical(la)))
		return raise_err(v, EX_GP, 0);
	if (v->icache && room == MAX_INSN && la % MEM_PAGE <= MEM_PAGE - 16) {
		TRY(mmu_translate(v, la, ACC_X, v->cpl == 3 ? MMU_USER : MMU_KERNEL, &x));
		e = x.host ? icache_find(v->icache, x.host, mode) : NULL;
		if (e) {
			*ret = &e->i;
			*ret_fn = e->fn;
			return X_OK;
		}
	}
	TRY(fetch_slow(v, la, mode, room, scratch));
	*ret = scratch;
	*ret_fn = scratch->cls == CLS_UD ? NULL : class_fn(scratch);
	return X_OK;
}

/* -- checks before and bookkeeping after --------------------------------------- */

/* What makes any instruction invalid, before its own checks. */
static int check_insn(struct vcpu *v, const struct insn *i)
{
	if (unlikely(i->cls == CLS_UD))
		return i->attr & IA_TOOLONG ? raise_err(v, EX_GP, 0) : raise_ex(v, EX_UD);
	if (unlikely(i->lock) && !(i->attr & IA_LOCKABLE && i->is_mem))
		return raise_ex(v, EX_UD);
	if (unlikely(i->enc != ENC_LEGACY) && (is_real(v) || is_vm86(v)))
		return raise_ex(v, EX_UD);
	return X_OK;
}

/*
 * Does a single-step trap follow this instruction? @tf: RFLAGS.TF before it.
 * Software interrupts drop it; SYSCALL and SYSRET look at the new flag.
 */
static bool steps(const struct vcpu *v, const struct insn *i, bool tf)
{
	if (i->cls != CLS_SYS)
		return tf;
	if (i->map == MAP_1 && ((i->op >= 0xcc && i->op <= 0xce) || i->op == 0xf1))
		return false;
	if (i->map == MAP_0F && (i->op == 0x05 || i->op == 0x07))
		return v->s.rflags & FL_TF;
	return tf;
}

/* Commit rip, then raise the debug traps the instruction earned. */
static int retire(struct vcpu *v, const struct insn *i, bool tf)
{
	u64 dr6;

	if (v->in_rep)
		v->s.rflags |= FL_RF; /* no code breakpoint when it goes on [SDM 3B 17.3.1.1] */
	else
		v->s.rip = v->next_rip;
	v->executed[i->map % array_len(v->executed)][i->op]++;
	if (likely(!tf && !v->db_hits && i->cls != CLS_SYS))
		return X_OK;
	if (v->s.shadow_ss) /* loaded SS: #DB waits for the next instruction */
		return X_OK;
	dr6 = v->db_hits | (steps(v, i, tf) ? DR6_BS : 0);
	v->db_hits = 0;
	return dr6 ? raise_db(v, dr6) : X_OK;
}

/* Instruction breakpoints are faults: before the instruction, unless RF. [SDM 3B 17.3.1.1] */
static int code_breakpoint(struct vcpu *v, u64 la)
{
	unsigned hits = 0;

	if (v->s.rflags & FL_RF || v->s.shadow_ss)
		return X_OK;
	for (unsigned n = 0; n < 4; n++) {
		bool on = v->s.dr7 >> (2 * n) & 3, code = !(v->s.dr7 >> (16 + 4 * n) & 3);

		if (on && code && v->s.dr[n] == la)
			hits |= BIT(n);
	}
	return hits ? raise_db(v, hits) : X_OK;
}

int interp_step(struct vcpu *v)
{
	unsigned mode = code_mode(v);
	u64 la = mode == 8 ? v->s.rip : (u32)(v->s.seg[SEG_CS].base + v->s.rip);
	u64 rf = v->s.rflags & FL_RF;
	bool tf = v->s.rflags & FL_TF;
	struct insn scratch;
	const struct insn *i = &scratch;
	op_fn *fn = NULL;
	int r;

	v->rep_goes_on = v->in_rep;
	v->in_rep = false;
	if (unlikely(v->s.dr7 & DR7_ENABLES))
		TRY(code_breakpoint(v, la));
	TRY(fetch(v, la, mode, &scratch, &i, &fn));
	TRY(check_insn(v, i));
	v->next_rip = v->s.rip + i->len;
	if (mode != 8)
		v->next_rip &= mode == 2 ? 0xffff : 0xffffffff;
	v->s.shadow_sti = false;
	v->s.shadow_ss = false;
	v->s.rflags &= ~(u64)FL_RF;
	r = fn(v, i);
	*(volatile u64 *)&v->writing = 0;
	if (unlikely(r)) {
		v->s.rflags |= r == X_FAULT ? rf : 0;
		v->db_hits = 0;
		return r;
	}
	return retire(v, i, tf);
}
