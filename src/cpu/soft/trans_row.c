// SPDX-License-Identifier: Apache-2.0
/*
 * trans_row.c - accesses near each other under one check
 *
 * A row is a piece of a block: memory operands [base + displacement] with the same base register,
 * which nothing in between changes, and perhaps instructions on registers alone. One table check
 * covers all the bytes, which lie in one page; the accesses then go through their host address in
 * r11, which keeps them short, and they leave the flags alone. Where the check fails, a copy out of
 * line executes the instructions one by one (trans_run_cold()).
 */
#include "cpu/soft/translate.h"

#include <stddef.h>

#define MAX_SPAN    1024
#define MIN_MEMBERS 2 /* fewer are checked one by one */

struct row {
	unsigned n;	/* instructions */
	unsigned nr;	/* ... with a memory operand */
	i64 lo, hi;	/* displacements: first byte, behind the last */
	bool write;
};

static bool is_div(const struct insn *i)
{
	return i->cls == CLS_INT && i->map == MAP_1 && (i->op & 0xfe) == 0xf6 && (i->modrm >> 3 & 7) >= 6;
}

/* One scratch register at most, which is r10. */
static bool fits(const struct insn *i, struct opmap *m, struct homes *h)
{
	*m = trans_plain_map(i);
	return trans_assign(i, m, h, 1) && !trans_mixes_high_byte(i, m);
}

static bool uses_high_byte(const struct insn *i)
{
	return i->reg_kind == OK_GPR && trans_is_high_byte(i, i->reg, i->reg_size);
}

static bool is_member(const struct trans *t, const struct insn *i)
{
	bool plain = i->cls == CLS_INT || (i->cls == CLS_VEC && !i->flags_w);
	struct opmap m;
	struct homes h;

	return plain && trans_is_copied(t, i) && i->is_mem && i->mem_size && i->mem_size <= 64 &&
	       i->has_modrm && i->base < 16 && i->index == REG_NONE && i->adsize == 8 && !i->vsib &&
	       !trans_has_seg_base(i) && !i->lock && !i->aaa && !is_div(i) && !uses_high_byte(i) &&
	       trans_needs_no_alignment(i) && fits(i, &m, &h);
}

static bool is_neutral(const struct trans *t, const struct insn *i)
{
	struct opmap m;
	struct homes h;

	if (trans_lea_is_simple(t, i)) /* also when no scratch register holds anything */
		return !trans_is_homed(i->base) && !trans_is_homed(i->index);
	return i->cls == CLS_INT && !is_div(i) && trans_is_plain(t, i) && fits(i, &m, &h);
}

static void add_member(struct row *r, const struct insn *i, unsigned n)
{
	i64 end = i->disp + i->mem_size;

	r->lo = r->nr && r->lo < i->disp ? r->lo : i->disp;
	r->hi = r->nr && r->hi > end ? r->hi : end;
	r->write |= (i->rm_acc & OP_W) != 0;
	r->nr++;
	r->n = n;
}

static bool stretches_too_far(const struct row *r, const struct insn *i)
{
	i64 lo = i->disp < r->lo ? i->disp : r->lo;
	i64 hi = i->disp + i->mem_size > r->hi ? i->disp + i->mem_size : r->hi;

	return hi - lo > MAX_SPAN || hi != (i32)hi || lo != (i32)lo;
}

/* The row that starts at t->k, perhaps of nothing. */
static struct row find_row(const struct trans *t)
{
	const struct insn *first = &t->in[t->k];
	struct row r = { 0 };

	if (t->nr_runs == MAX_RUNS || t->v->cfg.off & CPU_OFF_ROWS || !is_member(t, first))
		return r;
	add_member(&r, first, 1);
	for (unsigned k = t->k + 1; k < t->n && k != t->poll_at; k++) {
		const struct insn *i = &t->in[k];

		if (t->in[k - 1].gpr_w & BIT(first->base))
			break;
		if (is_member(t, i) && i->base == first->base && !stretches_too_far(&r, i))
			add_member(&r, i, k - t->k + 1);
		else if (!is_neutral(t, i))
			break;
	}
	return r;
}

/* r10 = address of the first byte, r11 = its table entry. */
static void check_row(struct trans *t, struct run *r, const struct row *row)
{
	unsigned base = t->in[t->k].base;
	struct emit *e = &t->e;

	if (trans_is_homed(base)) {
		trans_load_home(t, R10, base);
		base = R10;
	} else {
		base = trans_host_reg(base);
	}
	e_lea(e, R10, base, (i32)row->lo);
	trans_check_span(t, r, (unsigned)(row->hi - row->lo));
}

static void put_one(struct trans *t, const struct insn *i, i64 lo)
{
	struct opmap m;
	struct homes h;

	if (trans_simple_lea(t, i))
		return;
	fits(i, &m, &h);
	trans_flags_for(t, i);
	trans_load_homes(t, &h);
	if (i->is_mem) {
		m.mem = true;
		m.base = R11, m.index = REG_NONE;
		m.disp = (i32)(i->disp - lo);
	}
	e_insn(&t->e, i, &m);
	trans_store_homes(t, &h);
}

static void put_row(struct trans *t, const struct row *row)
{
	struct run *r = &t->run[t->nr_runs++];
	unsigned k = t->k;

	*r = (struct run){ .k = (u8)k, .n = (u8)row->n, .write = row->write };
	if (t->live[k])
		trans_pack_flags(t);
	else
		t->packed = false;
	r->packed = t->packed;
	check_row(t, r, row);
	trans_fold(t, row->write ? -1 : 0);
	for (; t->k < k + row->n; t->k++) {
		if (t->k > k)
			t->host[t->k] = t->e.p;
		put_one(t, &t->in[t->k], row->lo);
	}
	t->k--;
	r->packed_end = t->packed;
	r->back = t->e.p;
}

bool trans_row(struct trans *t)
{
	struct row r = find_row(t);

	if (r.nr < MIN_MEMBERS)
		return false;
	trans_homes_drop(t);
	put_row(t, &r);
	return true;
}
