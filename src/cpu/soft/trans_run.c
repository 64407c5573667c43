// SPDX-License-Identifier: Apache-2.0
/*
 * trans_run.c - pushes in a row, and pops in a row with the RET behind them
 *
 * Function entries and exits. One table check covers the whole piece of stack: it
 * lies in one page, so no access of it crosses. All accesses go through the host
 * address of its lowest slot; rsp moves at the end, so a host fault anywhere in
 * the run finds the state at its start, and doing it again from there is harmless.
 */
#include "cpu/soft/translate.h"

#include <stddef.h>

#define MAX_RUN 16

static bool is_push(const struct insn *i)
{
	return i->map == MAP_1 && i->enc == ENC_LEGACY && i->cls == CLS_INT && i->opsize == 8 &&
	       !i->lock && ((i->op >= 0x50 && i->op <= 0x57 && i->reg != RSP) || i->op == 0x6a ||
			    i->op == 0x68);
}

static bool is_pop(const struct insn *i)
{
	return i->map == MAP_1 && i->enc == ENC_LEGACY && i->cls == CLS_INT && i->opsize == 8 &&
	       !i->lock && i->op >= 0x58 && i->op <= 0x5f && i->reg != RSP;
}

static bool is_ret(const struct insn *i)
{
	return i->map == MAP_1 && i->enc == ENC_LEGACY && i->cls == CLS_INT && i->opsize == 8 &&
	       !i->lock && (i->op == 0xc3 || i->op == 0xc2);
}

unsigned trans_run_length(const struct trans *t)
{
	unsigned n = 0, k = t->k;

	if (t->nr_runs == MAX_RUNS)
		return 0;
	while (k + n < t->n && n < MAX_RUN && is_push(&t->in[k + n]))
		n++;
	if (n)
		return n > 1 ? n : 0;
	while (k + n < t->n && n < MAX_RUN && is_pop(&t->in[k + n]))
		n++;
	if (n && k + n < t->n && is_ret(&t->in[k + n]))
		n++;
	return n > 1 ? n : 0;
}

/* r10 = guest address -> r11 = its table entry, for @bytes; leaves to the cold copy if that fails. */
void trans_check_span(struct trans *t, struct run *r, unsigned bytes)
{
	struct emit *e = &t->e;

	e_lea(e, R11, R10, (i32)bytes - 1);
	e_rr(e, false, 0x31, R10, R11);			       /* xor r11d, r10d */
	e8(e, 0x41), e8(e, 0xf7), e8(e, 0xc3), e32(e, 0x1000); /* test r11d, 0x1000 */
	r->cross = e_jcc_hole(e, CC_NE);
	r->retry = e->p;
	trans_lookup(t, R10);
	if (r->write)
		e8(e, 0x41), e8(e, 0xf6), e8(e, 0xc3), e8(e, 1); /* test r11b, 1 */
	else
		e8(e, 0x49), e8(e, 0x83), e8(e, 0xe3), e8(e, 0xfe); /* and r11, -2 */
	r->miss = e_jcc_hole(e, CC_E);
}

static void check_run(struct trans *t, struct run *r)
{
	e_lea(&t->e, R10, HOST_RSP, r->write ? -8 * (i32)r->n : 0);
	trans_check_span(t, r, 8u * r->n);
}

/* lea r11, [r10 + r11 + disp] */
void trans_fold(struct trans *t, i32 disp)
{
	struct insn lea = { .op = 0x8d, .has_modrm = true, .is_mem = true, .w = true };
	struct opmap m = { .reg = R11, .mem = true, .base = R10, .index = R11, .scale = 1,
			   .disp = disp };

	e_insn(&t->e, &lea, &m);
}

static void store_slot(struct trans *t, const struct insn *i, i32 off)
{
	struct emit *e = &t->e;

	if (i->op == 0x68 || i->op == 0x6a) { /* mov qword [r11 + off], simm32 */
		e8(e, 0x49), e8(e, 0xc7), e8(e, 0x83), e32(e, (u32)off), e32(e, (u32)i->imm);
	} else if (trans_is_homed(i->reg)) {
		e_load(e, R10, RSP, GPROFF(i->reg));
		e_store(e, R10, R11, off);
	} else {
		e_store(e, i->reg, R11, off);
	}
}

static void load_slot(struct trans *t, const struct insn *i, i32 off)
{
	struct emit *e = &t->e;

	if (trans_is_homed(i->reg)) {
		e_load(e, R10, R11, off);
		e_store(e, R10, RSP, GPROFF(i->reg));
	} else {
		e_load(e, i->reg, R11, off);
	}
}

static void put_pushes(struct trans *t, const struct run *r)
{
	trans_fold(t, -1);
	for (unsigned n = 0; n < r->n; n++)
		store_slot(t, &t->in[r->k + n], 8 * (i32)(r->n - 1 - n));
	e_lea(&t->e, HOST_RSP, HOST_RSP, -8 * (i32)r->n);
}

static void put_pops(struct trans *t, const struct run *r)
{
	const struct insn *last = &t->in[r->k + r->n - 1];
	bool ret = is_ret(last);
	i32 extra = ret && last->op == 0xc2 ? (i32)(last->imm & 0xffff) : 0;

	trans_fold(t, 0);
	for (unsigned n = 0; n + ret < r->n; n++)
		load_slot(t, &t->in[r->k + n], 8 * (i32)n);
	if (ret)
		e_load(&t->e, R10, R11, 8 * (i32)(r->n - 1));
	e_lea(&t->e, HOST_RSP, HOST_RSP, 8 * (i32)r->n + extra);
	if (ret)
		trans_indirect(t);
}

void trans_run(struct trans *t, unsigned n)
{
	struct run *r = &t->run[t->nr_runs++];
	bool ret = is_ret(&t->in[t->k + n - 1]);

	*r = (struct run){ .k = (u8)t->k, .n = (u8)n, .write = is_push(&t->in[t->k]) };
	if (ret || t->live[t->k])
		trans_pack_flags(t);
	else
		t->packed = false;
	r->packed = t->packed;
	for (unsigned k = t->k; k < t->k + n; k++)
		t->packed_at |= (u32)t->packed << k;
	check_run(t, r);
	if (r->write)
		put_pushes(t, r);
	else
		put_pops(t, r);
	r->packed_end = t->packed;
	r->back = t->e.p;
	if (t->v->cfg.off & CPU_OFF_FLAGS && !ret)
		trans_flags_back(t);
}

/* The check failed: fill the table and try again, or one instruction after the other. */
void trans_run_cold(struct trans *t, const struct run *r)
{
	struct emit *e = &t->e;

	e_patch(e, r->miss, e->p);
	e8(e, 0x41), e8(e, 0xbb), e32(e, SITE(r->k, r->write ? ACC_W : ACC_R));
	e_call(e, t->j->delta, t->j->slow);
	e_patch(e, e_jmp_hole(e), r->retry);
	e_patch(e, r->cross, e->p);
	t->packed = r->packed;
	t->ended = false;
	for (t->k = r->k; t->k < (unsigned)r->k + r->n; t->k++) {
		trans_homes_drop(t);
		e8(e, 0x41), e8(e, 0xbb), e32(e, t->k); /* mov r11d, k */
		e_store(e, R11, RSP, VOFF(jr.site));
		trans_insn(t, &t->in[t->k]);
	}
	trans_homes_drop(t);
	if (t->ended)
		return;
	if (t->packed && !r->packed_end)
		trans_unpack_flags(e);
	else if (!t->packed && r->packed_end)
		trans_repack_flags(e);
	e_patch(e, e_jmp_hole(e), r->back);
}
