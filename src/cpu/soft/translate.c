// SPDX-License-Identifier: Apache-2.0
/*
 * translate.c - one guest basic block to host code
 *
 * Two passes: decode up to MAX_INSNS instructions and compute which arithmetic
 * flags are live before each; then emit. Instructions without memory operands are
 * re-emitted as they are; memory operands go through the translation table;
 * whatever is not marked verbatim by the decoder is one call of the interpreter.
 *
 * Invariant (exceptions are precise because of it): wherever control can leave,
 * the mapped registers, s.gpr homes and live flags are the guest's state at the
 * start of the instruction in question. Every check precedes every change.
 */
#include "cpu/soft/translate.h"

#include <stddef.h>

/* -- pass 1: decode and liveness ------------------------------------------------------ */

static bool ends_block(const struct trans *t, const struct insn *i)
{
	return (i->attr & IA_ENDS && !trans_sys_goes_on(t, i)) || i->cls == CLS_UD;
}

/* Flags that code at @p may read before it writes them; @room bytes are readable. *ret_seen:
 * bytes that led to the answer; 0 = none did. */
static u8 flags_needed(const u8 *p, unsigned room, unsigned *ret_seen)
{
	u8 need = 0, open = FLB_ALL;
	const u8 *start = p;
	struct insn i;

	for (unsigned n = 0; n < 6 && open; n++) {
		if (!room || !insn_decode(&i, p, room < 15 ? room : 15, 8))
			break;
		need |= open & i.flags_r;
		open &= (u8)~i.flags_w;
		if (i.cls == CLS_UD || i.attr & IA_ENDS)
			break;
		p += i.len;
		room -= i.len;
	}
	*ret_seen = (need | open) == FLB_ALL ? 0 : (unsigned)(p - start);
	return need | open;
}

/* Flags needed at @rip, which a direct branch of this block leads to. */
static u8 needed_at(struct trans *t, u64 rip)
{
	unsigned seen;
	gpa_t gpa;
	const u8 *p;
	u8 need;

	if ((rip & ~0xfffull) == t->page_va) {
		need = flags_needed(t->page + (rip & 0xfff), 4096 - (rip & 0xfff), &seen);
		t->seen[t->nr_seen++ % 2] = (struct seen){ .rip = rip, .len = (u8)seen };
		return need;
	}
	if (!mmu_probe(t->v, rip, &gpa))
		return FLB_ALL;
	p = mem_ptr(t->v->mem, gpa, 1);
	return p ? flags_needed(p, 4096 - (rip & 0xfff), &seen) : FLB_ALL;
}

static bool is_direct(const struct insn *i)
{
	return i->attr & IA_BRANCH && i->has_modrm == false && i->op != 0xc3 && i->op != 0xc2;
}

/* Flags live behind the last instruction. */
static u8 live_out(struct trans *t)
{
	const struct insn *i = &t->in[t->n - 1];
	u64 next = t->rip[t->n - 1] + i->len;
	u8 live = 0;

	if (t->exact_flags || (i->attr & IA_ENDS && !is_direct(i)) || i->cls == CLS_UD)
		return FLB_ALL;
	if (is_direct(i))
		live = needed_at(t, next + i->imm);
	if (!is_direct(i) || (i->map == MAP_1 && i->op >= 0x70 && i->op <= 0x7f) ||
	    i->map == MAP_0F || (i->op >= 0xe0 && i->op <= 0xe3))
		live |= needed_at(t, next);
	return live;
}

static void compute_liveness(struct trans *t)
{
	u8 live = live_out(t);

	t->live[t->n] = live;
	for (unsigned k = t->n; k-- > 0;) {
		const struct insn *i = &t->in[k];

		if (t->exact_flags)
			live = FLB_ALL;
		else
			live = (u8)((live & ~i->flags_w) | i->flags_r);
		t->live[k] = live;
	}
}

/*
 * The block's only instruction goes on in the next page: a head, or the interpreter's. It depends on
 * no byte of that page, which may be another one each time.
 */
static void straddler(struct trans *t, unsigned room)
{
	const struct cpu_config *c = &t->v->cfg;

	t->straddles = !(c->off & CPU_OFF_STRADDLE || c->single_block) &&
		       is_canonical(straddle_slot(t->rip0)) &&
		       JT_INDEX(straddle_slot(t->rip0)) != JT_INDEX(t->rip0);
	t->in[0] = (struct insn){ .cls = CLS_UD, .len = (u8)room };
	t->rip[0] = t->rip0;
	t->n = 1;
	t->end_rip = t->rip0 + room;
}

/*
 * With one vCPU nobody else does read-modify-writes: LOCK only orders them against the devices'
 * threads. ADD and OR of 0 are how kernels write a barrier, and stay.
 */
static void drop_lock(struct insn *i)
{
	bool barrier = i->map == MAP_1 && i->op >= 0x80 && i->op <= 0x83 && !i->imm;

	if (i->cls == CLS_INT && i->attr & IA_LOCKABLE && i->is_mem && !barrier)
		i->lock = false;
}

static void decode_block(struct trans *t, const u8 *p, unsigned room)
{
	u64 rip = t->rip0;

	while (t->n < t->max_insns) {
		struct insn *i = &t->in[t->n];

		if (!room || !insn_decode(i, p, room < 15 ? room : 15, 8) ||
		    i->attr & IA_TOOLONG) /* straddles the page, or too long */
			break;
		if (i->lock && t->v->cfg.nr_vcpus == 1)
			drop_lock(i);
		t->rip[t->n++] = rip;
		rip += i->len;
		p += i->len;
		room -= i->len;
		if (ends_block(t, i))
			break;
	}
	t->end_rip = rip;
	if (!t->n && room < 15 && !insn_decode(&t->in[0], p, room, 8))
		straddler(t, room);
}

/* -- exits ------------------------------------------------------------------------------- */

void trans_save_flags(struct emit *e)
{
	e_store(e, RAX, RSP, VOFF(jr.rax));
	e8(e, 0x9f);				    /* lahf */
	e8(e, 0x0f), e8(e, 0x90), e8(e, 0xc0);	    /* seto al */
}

void trans_restore_flags(struct emit *e)
{
	e8(e, 0x04), e8(e, 0x7f); /* add al, 0x7f */
	e8(e, 0x9e);		  /* sahf */
	e_load(e, RAX, RSP, VOFF(jr.rax));
}

void trans_repack_flags(struct emit *e)
{
	e_mov(e, R11, RAX);
	e8(e, 0x9f);			       /* lahf */
	e8(e, 0x0f), e8(e, 0x90), e8(e, 0xc0); /* seto al */
	e_store(e, RAX, RSP, VOFF(jr.packed));
	e_mov(e, RAX, R11);
}

void trans_unpack_flags(struct emit *e)
{
	e_store(e, RAX, RSP, VOFF(jr.rax));
	e_load(e, RAX, RSP, VOFF(jr.packed));
	trans_restore_flags(e);
}

static void note_packed(struct trans *t)
{
	u32 *at = t->out_of_line ? &t->packed_cold : &t->packed_at;

	*at &= ~BIT(t->k);
	*at |= (u32)t->packed << t->k;
}

void trans_pack_flags(struct trans *t)
{
	if (!t->packed)
		trans_repack_flags(&t->e);
	t->packed = true;
	note_packed(t);
}

void trans_flags_back(struct trans *t)
{
	if (t->packed && t->live[t->k])
		trans_unpack_flags(&t->e);
	t->packed = false;
	note_packed(t);
}

/* SHLX, SHRX, SARX, PDEP, PEXT, MULX, RORX */
static bool is_flagless_bmi(const struct insn *i)
{
	if (i->map == MAP_0F3A)
		return i->op == 0xf0;
	return i->map == MAP_0F38 && ((i->op == 0xf5 && i->pp >= 2) || (i->op == 0xf6 && i->pp == 3) ||
				      (i->op == 0xf7 && i->pp));
}

/* Certainly leaves EFLAGS alone. The decoder only says which flags are surely overwritten. */
static bool keeps_flags(const struct insn *i)
{
	if (i->cls == CLS_VEC || i->cls == CLS_X87)
		return !i->flags_w;
	if (i->enc == ENC_VEX)
		return is_flagless_bmi(i);
	switch (i->map) {
	case MAP_1:
		return i->op == 0x63 || (i->op >= 0x86 && i->op <= 0x99 && i->op != 0x8f) ||
		       (i->op >= 0xa0 && i->op <= 0xa3) || (i->op >= 0xb0 && i->op <= 0xbf) ||
		       i->op == 0xc6 || i->op == 0xc7;
	case MAP_0F:
		return (i->op & 0xf0) == 0x40 || (i->op & 0xf0) == 0x90 || (i->op & ~8u) == 0xb6 ||
		       (i->op & ~8u) == 0xb7 || i->op >= 0xc8;
	}
	return false;
}

void trans_flags_for(struct trans *t, const struct insn *i)
{
	note_packed(t);
	if (!t->packed || (!i->flags_r && keeps_flags(i)))
		return;
	if (i->flags_r || t->live[t->k + 1] & ~i->flags_w || t->exact_flags)
		trans_flags_back(t);
	else
		t->packed = false; /* jr.packed still is what a fault of @i needs */
}

/* Live flags away from what a check clobbers. */
static void pack_live(struct trans *t)
{
	if (t->live[t->k])
		trans_pack_flags(t);
	else
		t->packed = false;
	note_packed(t);
}

static void forget_branch(struct emit *e)
{
	e8(e, 0xc7), e8(e, 0x84), e8(e, 0x24), e32(e, (u32)VOFF(jr.last));
	e32(e, 0); /* mov dword [rsp + last], 0 */
}

/* Jump to another block in a different page: by the jump table, checked by the target. */
static void far_jump(struct trans *t, u64 rip)
{
	struct emit *e = &t->e;

	if (!t->packed && (t->exact_flags || needed_at(t, rip)))
		trans_repack_flags(e);
	e_imm(e, R10, rip);
	if (!is_canonical(rip)) /* straight off the end of the lower half: faults there */
		forget_branch(e);
	e8(e, 0x65), e8(e, 0xff), e8(e, 0x24), e8(e, 0x25); /* jmp gs:[disp32] */
	e32(e, (u32)((i32)JT_INDEX(rip) * 8 - (i32)JT_BYTES));
}

static void indirect_jump(struct trans *t) /* to r10 */
{
	struct emit *e = &t->e;

	/* Where it came from: a target that is not canonical faults there (undo_indirect()). */
	e8(e, 0xc7), e8(e, 0x84), e8(e, 0x24), e32(e, (u32)VOFF(jr.last));
	e32(e, (u32)(e->p - t->j->code.rw)); /* mov dword [rsp + last], offset */
	e8(e, 0xc4), e8(e, 0x43), e8(e, 0x7b), e8(e, 0xf0), e8(e, 0xda), e8(e, 16); /* rorx r11d,r10d,16 */
	e_rr(e, false, 0x31, R10, R11);			    /* xor r11d, r10d */
	e8(e, 0x45), e8(e, 0x0f), e8(e, 0xb7), e8(e, 0xdb); /* movzx r11d, r11w */
	e8(e, 0x65), e8(e, 0x42), e8(e, 0xff), e8(e, 0x24), e8(e, 0xdd); /* jmp gs:[r11*8 + disp] */
	e32(e, (u32) - (i32)JT_BYTES);
}

static bool same_page(const struct trans *t, u64 rip)
{
	return (rip & ~0xfffull) == t->page_va;
}

/* A jump hole (jmp or jcc) that shall lead to @rip, which is in this block's page. */
static void add_link(struct trans *t, u8 *hole, u64 rip)
{
	struct out *o = &t->out[t->nr_out++];

	o->hole = hole;
	o->rip = rip;
}

static void direct_jump(struct trans *t, u64 rip)
{
	if (same_page(t, rip)) {
		if (t->packed)
			trans_unpack_flags(&t->e);
		add_link(t, e_jmp_hole(&t->e), rip);
	} else {
		far_jump(t, rip);
	}
}

/* -- memory checks -------------------------------------------------------------------------- */

void trans_lookup(struct trans *t, unsigned reg)
{
	struct emit *e = &t->e;

	e8(e, 0xc4), e8(e, reg & 8 ? 0x43 : 0x63), e8(e, 0xfb), e8(e, 0xf0);
	e8(e, 0xd8 | (reg & 7)), e8(e, 12); /* rorx r11, reg, 12 */
	e8(e, 0x67), e8(e, 0x65), e8(e, 0x4e), e8(e, 0x8b), e8(e, 0x1c);
	if (!(t->v->cfg.off & CPU_OFF_LOOKUP)) {
		e8(e, 0xdc); /* mov r11, gs:[esp + r11d*8] */
		return;
	}
	e8(e, 0xdd);
	e32(e, 0); /* mov r11, gs:[r11d*8] */
}

/* r11 = the table entry of guest address @va */
static void lookup_fixed(struct trans *t, u64 va)
{
	struct emit *e = &t->e;

	e8(e, 0x67), e8(e, 0x65), e8(e, 0x4c), e8(e, 0x8b), e8(e, 0x1c), e8(e, 0x25);
	e32(e, (u32)((va >> 12) + t->j->bias) * 8); /* mov r11, gs:[disp32] */
}

static void lookup_at(struct trans *t, const struct place *at)
{
	if (at->fixed)
		lookup_fixed(t, at->va);
	else
		trans_lookup(t, at->reg);
}

static void test_low_bits(struct emit *e, unsigned reg, unsigned mask)
{
	if (reg >= 4)
		e8(e, reg & 8 ? 0x41 : 0x40);
	e8(e, 0xf6), e8(e, 0xc0 | (reg & 7)), e8(e, mask); /* test reg8, mask */
}

static void put_valid_test(struct emit *e, unsigned acc)
{
	if (acc != ACC_R) { /* test r11b, 1 */
		e8(e, 0x41), e8(e, 0xf6), e8(e, 0xc3), e8(e, 1);
	} else { /* and r11, -2 */
		e8(e, 0x49), e8(e, 0x83), e8(e, 0xe3), e8(e, 0xfe);
	}
}

static unsigned pow2_mask(unsigned size)
{
	unsigned m = 1;

	while (m < size)
		m *= 2;
	return m - 1;
}

static void put_crosses(struct emit *e, unsigned reg, unsigned size) /* zero flag clear: reg..reg+size-1 does */
{
	e_lea(e, R11, reg, (i32)size - 1);
	e_rr(e, false, 0x31, reg, R11); /* xor r11d, reg */
	e8(e, 0x41), e8(e, 0xf7), e8(e, 0xc3), e32(e, 0x1000); /* test r11d, 0x1000 */
}

/* Vectors are often not aligned. */
static void put_cross_test(struct trans *t, struct slow *s)
{
	put_crosses(&t->e, s->at.reg, s->size);
	s->unaligned = e_jcc_hole(&t->e, CC_NE);
	s->aligned = true;
}

/* Not zero, if reg..reg+size-1 is in one page and does not begin it; cheaper than put_crosses(). */
static void put_inside_test(struct trans *t, struct slow *s)
{
	struct emit *e = &t->e;

	e_mem(e, false, 0x8d, R11, s->at.reg, (i32)s->size - 1); /* lea r11d, [reg + size - 1] */
	e8(e, 0x41), e8(e, 0xf7), e8(e, 0xc3), e32(e, 0x1000u - s->size); /* test r11d, .. */
	s->unaligned = e_jcc_hole(e, CC_E);
	s->odd = true;
}

/*
 * @at = guest address -> r11 = what to add to it (reads), or that plus 1 (writes).
 * Clobbers EFLAGS; live flags are in jr.packed then.
 */
void trans_check(struct trans *t, struct place at, unsigned acc, unsigned size, enum align align)
{
	struct emit *e = &t->e;
	struct slow *s = &t->slow[t->nr_slow++];
	bool was_packed = t->packed;

	if (align == ALIGN_FREE && (size == 2 || size == 4 || size == 8) &&
	    jit_is_odd(t->j, trans_gpa(t)))
		align = ALIGN_ODD;
	pack_live(t);
	*s = (struct slow){ .at = at, .k = (u8)t->k, .acc = (u8)acc, .size = (u8)size,
			    .aligned = align == ALIGN_MUST,
			    .keep = t->packed ? KEEP_PACKED : KEEP_NOT };
	if (align == ALIGN_FREE && size >= 16 && !(t->v->cfg.off & CPU_OFF_ALIGN))
		put_cross_test(t, s);
	else if (align == ALIGN_ODD)
		put_inside_test(t, s);
	s->retry = e->p;
	lookup_at(t, &at);
	if (size > 1 && align != ALIGN_KNOWN && !s->unaligned) {
		test_low_bits(e, at.reg, pow2_mask(size));
		s->unaligned = e_jcc_hole(e, CC_NE);
	}
	s->valid = e->p;
	put_valid_test(e, acc);
	s->miss = e_jcc_hole(e, CC_E);
	if (t->v->cfg.off & CPU_OFF_FLAGS && !was_packed)
		trans_flags_back(t);
}

/* r10 must be canonical: else the interpreter executes the instruction, which faults. The flags
 * are packed already. */
void trans_check_canonical(struct trans *t)
{
	struct emit *e = &t->e;
	struct slow *s = &t->slow[t->nr_slow++];

	*s = (struct slow){ .k = (u8)t->k, .keep = KEEP_PACKED, .aligned = true };
	e_mov(e, R11, R10);
	e8(e, 0x49), e8(e, 0xc1), e8(e, 0xe3), e8(e, 16); /* shl r11, 16 */
	e8(e, 0x49), e8(e, 0xc1), e8(e, 0xfb), e8(e, 16); /* sar r11, 16 */
	e_rr(e, true, 0x39, R10, R11);
	s->unaligned = e_jcc_hole(e, CC_NE);
}

/* Not aligned: fine inside one page, else the interpreter's. */
static void put_unaligned(struct trans *t, const struct slow *s, u8 **ret_cross, u8 **ret_sample)
{
	struct emit *e = &t->e;

	e_patch(e, s->unaligned, e->p);
	put_crosses(e, s->at.reg, s->size);
	*ret_cross = e_jcc_hole(e, CC_NE);
	if (!s->odd) {
		e8(e, 0x48), e8(e, 0x83), e8(e, 0xac), e8(e, 0x24), e32(e, (u32)VOFF(jr.misaligned)), e8(e, 1);
		*ret_sample = e_jcc_hole(e, CC_S); /* sub qword [rsp + misaligned], 1 */
	}
	trans_lookup(t, s->at.reg);
	e_patch(e, e_jmp_hole(e), s->valid);
}

/* Out of line: the interpreter executes instruction s->k, then the block goes on. */
static void put_t0(struct trans *t, const struct slow *s)
{
	struct emit *e = &t->e;

	e_imm(e, R10, t->rip[s->k]);
	e_imm(e, R11, s->t0_len);
	e_call(e, t->j->delta, t->j->call_t0);
	e_patch(e, e_jmp_hole(e), s->retry);
}

static void put_slow(struct trans *t, const struct slow *s)
{
	struct emit *e = &t->e;
	u8 *cross = NULL, *sample = NULL;

	if (s->unaligned && !s->aligned)
		put_unaligned(t, s, &cross, &sample);
	if (s->miss) {
		e_patch(e, s->miss, e->p);
		if (s->at.fixed)
			e_imm(e, R10, s->at.va);
		else if (s->at.reg != R10)
			e_mov(e, R10, s->at.reg);
		e8(e, 0x41), e8(e, 0xbb), e32(e, SITE(s->k, s->acc)); /* mov r11d, site */
		e_call(e, t->j->delta, t->j->slow);
		e_patch(e, e_jmp_hole(e), s->retry);
	}
	if (cross)
		e_patch(e, cross, e->p);
	if (sample)
		e_patch(e, sample, e->p);
	if (s->unaligned && s->aligned)
		e_patch(e, s->unaligned, e->p);
	if (s->keep == KEEP_EAX)
		trans_restore_flags(e);
	else if (s->keep == KEEP_PACKED)
		trans_unpack_flags(e);
	if (s->t0_len) {
		put_t0(t, s);
		return;
	}
	e8(e, 0x41), e8(e, 0xbb), e32(e, s->k);
	e_store(e, R11, RSP, VOFF(jr.site));
	e_call(e, t->j->delta, t->j->exit_interp);
}

/* -- block frame ------------------------------------------------------------------------------ */

static void put_miss_unless_equal(struct trans *t)
{
	struct emit *e = &t->e;

	e8(e, 0x0f), e8(e, 0x85);
	e32(e, (u32)(t->j->miss - (e->p + 4 + t->j->delta)));
}

/* Entry from the jump table: r10 must be our rip; r11d the number of a tail's head. */
static void put_verify(struct trans *t)
{
	struct emit *e = &t->e;

	if (t->tail_of) {
		e8(e, 0x41), e8(e, 0x81), e8(e, 0xfb), e32(e, t->tail_of); /* cmp r11d, number */
		put_miss_unless_equal(t);
	}
	e_imm(e, R11, t->rip0);
	e_rr(e, true, 0x39, R10, R11); /* cmp r11, r10 */
	put_miss_unless_equal(t);
}

/* Will the block begin by moving its live flags to jr.packed? That is where they come from if it was
 * entered through the table. */
static bool packs_first(const struct trans *t)
{
	if (t->poll_at == 0)
		return t->live[0];
	for (unsigned k = 0; k < t->n && t->live[k]; k++) {
		const struct insn *i = &t->in[k];

		if ((i->is_mem && i->mem_size) || i->attr & IA_STACK)
			return true;
		if (i->flags_r || i->flags_w)
			return false;
		if (ends_block(t, i))
			return i->attr & IA_BRANCH && !is_direct(i);
	}
	return false;
}

/* Both entries; *ret_body: the one of jumps from other blocks, with the flags in EFLAGS. */
static void put_entries(struct trans *t, u8 **ret_body)
{
	struct emit *e = &t->e;
	u8 *over;

	put_verify(t);
	if (t->live[0] && packs_first(t)) {
		e8(e, 0xeb), e8(e, 0); /* jmp over the packing */
		over = e->p;
		*ret_body = e->p;
		trans_repack_flags(e);
		t->packed = true;
		if (!e->full)
			over[-1] = (u8)(e->p - over);
		return;
	}
	if (t->live[0])
		trans_unpack_flags(e);
	*ret_body = e->p;
}

/* cfg.run_insns: count this block's instructions; finish_count() puts in how many. */
static void put_count(struct trans *t)
{
	struct emit *e = &t->e;

	e_load(e, R11, RSP, VOFF(jr.left));
	e8(e, 0x4d), e8(e, 0x8d), e8(e, 0x5b), e8(e, 0); /* lea r11, [r11 - n] */
	t->count = e->p - 1;
	e_store(e, R11, RSP, VOFF(jr.left));
}

static void finish_count(struct trans *t)
{
	if (t->count && !t->e.full)
		*t->count = (u8)-t->n;
}

/* Leave when exit_req is set, or with cfg.run_insns when jr.left is negative. */
static void put_poll(struct trans *t)
{
	struct emit *e = &t->e;

	pack_live(t);
	e8(e, 0x83), e8(e, 0xbc), e8(e, 0x24);
	e32(e, (u32)(t->count ? VOFF(jr.left) + 4 : VOFF(exit_req))), e8(e, 0);
	t->poll = e_jcc_hole(e, CC_NE);
	t->poll_k = (u8)t->k;
	t->poll_keep = t->packed;
	if (t->v->cfg.off & CPU_OFF_FLAGS)
		trans_flags_back(t);
}

static void put_poll_exit(struct trans *t)
{
	struct emit *e = &t->e;

	e_patch(e, t->poll, e->p);
	if (t->poll_keep)
		trans_unpack_flags(e);
	e8(e, 0x41), e8(e, 0xbb), e32(e, t->poll_k);
	e_store(e, R11, RSP, VOFF(jr.site));
	e_call(e, t->j->delta, t->j->exit_poll);
}

static void put_chain_exit(struct trans *t, struct out *o)
{
	struct emit *e = &t->e;

	e_patch(e, o->hole, e->p);
	e_imm(e, R10, o->rip);
	e_store(e, R10, RSP, VOFF(s.rip));
	e_call(e, t->j->delta, t->j->exit_chain);
	o->pc = e->p;
}

/* Every loop has a jump that does not lead forward, or one whose target is not known. */
static bool may_loop(const struct trans *t)
{
	const struct insn *i = &t->in[t->n - 1];

	if (t->v->cfg.run_insns || t->v->cfg.off & CPU_OFF_POLL)
		return true;
	if (!(i->attr & IA_ENDS))
		return false;
	return !is_direct(i) || t->end_rip + i->imm <= t->rip0;
}

static unsigned poll_point(const struct trans *t)
{
	if (!may_loop(t))
		return NO_POLL;
	for (unsigned k = 0; k < t->n; k++)
		if (!t->live[k] && !(k && trans_sys_goes_on(t, &t->in[k - 1]))) /* not behind STI */
			return k;
	return 0;
}

static void emit_body(struct trans *t)
{
	unsigned n;

	for (t->k = 0; t->k < t->n; t->k++) {
		t->host[t->k] = t->e.p;
		if (t->k == t->poll_at) {
			trans_homes_drop(t);
			put_poll(t);
		}
		n = trans_run_length(t);
		if (n) {
			trans_homes_drop(t);
			trans_run(t, n);
			while (--n) /* the state inside is that at its start: jit_fault() goes back there */
				t->host[++t->k] = t->e.p;
		} else if (!trans_row(t)) {
			trans_insn(t, &t->in[t->k]);
		}
		if (t->ended || t->e.full || t->nr_slow > MAX_SLOW - 4)
			break;
	}
	trans_homes_drop(t);
	if (t->ended) {
		t->n = t->k + 1; /* may be before the last: the interpreter's STI */
	} else {
		u64 next = t->k < t->n ? t->rip[t->k] + t->in[t->k].len : t->end_rip;

		t->n = t->k < t->n ? t->k + 1 : t->n;
		direct_jump(t, next);
	}
}

void trans_jump(struct trans *t, u64 rip)
{
	direct_jump(t, rip);
	t->ended = true;
}

void trans_indirect(struct trans *t)
{
	indirect_jump(t);
	t->ended = true;
}

/* jcc (or its like with the hole's instruction already out) to @rip. */
void trans_branch(struct trans *t, u8 *hole, u64 taken, u64 next)
{
	u8 *far = NULL;

	if (same_page(t, taken))
		add_link(t, hole, taken);
	else
		far = hole;
	direct_jump(t, next);
	if (far) {
		e_patch(&t->e, far, t->e.p);
		far_jump(t, taken);
	}
	t->ended = true;
}

/* -- driver ------------------------------------------------------------------------------------- */

static u32 off_of(const struct trans *t, const u8 *p)
{
	return (u32)(p - t->j->code.rw);
}

static struct block *finish(struct trans *t, const u8 *start, const u8 *body, const u8 *hot_end)
{
	struct jit *j = t->j;
	struct block *b = &j->block[j->nr_blocks++];

	*b = (struct block){
		.rip = t->rip0, .gpa = t->gpa, .key = t->key, .start = off_of(t, start),
		.body = off_of(t, body), .map = j->nr_map,
		.len = (u16)(t->end_rip - (t->tail_of ? t->page_va : t->rip0)),
		.nr_insns = (u8)t->n, .straddle = t->tail_of,
		.packed = t->packed_at, .packed_cold = t->packed_cold,
	};
	for (unsigned k = 0; k < t->n; k++)
		j->insn_map[j->nr_map++] = (off_of(t, t->host[k]) - b->start) << 12 |
					   (u32)(t->rip[k] & 0xfff);
	for (unsigned k = 0; k < t->nr_out; k++) {
		b->out[k].pc = off_of(t, t->out[k].pc);
		b->out[k].hole = off_of(t, t->out[k].hole);
		b->out[k].rip = t->out[k].rip;
	}
	b->cold = j->cold;
	b->cold_end = off_of(t, t->e.p);
	b->end = off_of(t, hot_end);
	for (unsigned k = 0; k < t->nr_seen; k++) {
		b->seen[k].off = (u16)(t->seen[k].rip & 0xfff);
		b->seen[k].len = t->seen[k].len;
	}
	j->used = (b->end + 15) & ~15u;
	j->cold = b->cold_end;
	j->n_translated += t->n;
	return b;
}

static void put_cold_runs(struct trans *t)
{
	bool ended = t->ended;
	unsigned k = t->k;

	t->out_of_line = true;
	for (unsigned r = 0; r < t->nr_runs; r++)
		trans_run_cold(t, &t->run[r]);
	t->ended = ended;
	t->k = k;
}

static void begin(struct trans *t, struct vcpu *v, gpa_t gpa, u32 key, u64 page_va, const u8 *page)
{
	struct jit *j = v->jit;

	t->v = v, t->j = j, t->key = key, t->rip0 = v->s.rip, t->gpa = gpa, t->n = 0, t->k = 0;
	t->nr_slow = t->nr_out = t->nr_seen = t->nr_runs = 0;
	t->poll = t->count = NULL;
	t->ended = t->packed = t->out_of_line = t->straddles = false;
	t->tail_of = 0;
	t->packed_at = t->packed_cold = 0;
	t->held[0] = t->held[1] = REG_NONE;
	t->held_dirty[0] = t->held_dirty[1] = false;
	t->exact_flags = v->cfg.exact_flags;
	t->max_insns = v->cfg.max_block ? v->cfg.max_block : MAX_INSNS;
	t->page_va = page_va;
	t->page = page;
	t->e = (struct emit){ .p = j->code.rw + j->used, .end = j->code.rw + j->hot_end };
}

static void begin_cold(struct trans *t)
{
	t->e = (struct emit){ .p = t->j->code.rw + t->j->cold, .end = t->j->code.rw + t->j->cold_end };
}

/* A head: the flags go to jr.packed if they are not there, its number to r11. */
static struct block *put_head(struct trans *t)
{
	struct emit *e = &t->e;
	struct block *b;
	u8 *start = e->p, *body, *hot_end;

	put_verify(t);
	e8(e, 0xeb), e8(e, 0);
	body = e->p;
	trans_repack_flags(e);
	if (!e->full)
		body[-1] = (u8)(e->p - body);
	e_imm(e, R10, t->rip0);
	e_imm(e, R11, ++t->j->straddles);
	e8(e, 0x65), e8(e, 0xff), e8(e, 0x24), e8(e, 0x25); /* jmp gs:[disp32] */
	e32(e, (u32)((i32)JT_INDEX(straddle_slot(t->rip0)) * 8 - (i32)JT_BYTES));
	if (e->full)
		return NULL;
	hot_end = e->p;
	begin_cold(t);
	t->n = 0; /* none of its own to execute or to count */
	b = finish(t, start, body, hot_end);
	b->straddle = t->j->straddles;
	return b;
}

/* Everything behind the decoder. */
static struct block *generate(struct trans *t)
{
	u8 *start = t->e.p, *body, *hot_end;

	compute_liveness(t);
	t->poll_at = poll_point(t);
	put_entries(t, &body);
	if (t->v->cfg.run_insns)
		put_count(t);
	emit_body(t);
	finish_count(t);
	if (t->e.full)
		return NULL;
	hot_end = t->e.p;
	begin_cold(t);
	put_cold_runs(t);
	for (unsigned k = 0; k < t->nr_slow; k++)
		put_slow(t, &t->slow[k]);
	if (t->poll)
		put_poll_exit(t);
	for (unsigned k = 0; k < t->nr_out; k++)
		put_chain_exit(t, &t->out[k]);
	if (t->e.full)
		return NULL;
	if (t->n && t->k < MAX_INSNS && !t->ended)
		t->end_rip = t->rip[t->n - 1] + t->in[t->n - 1].len;
	return finish(t, start, body, hot_end);
}

struct block *translate(struct vcpu *v, gpa_t gpa, const u8 *bytes, unsigned room, u32 key)
{
	struct trans t;

	begin(&t, v, gpa, key, v->s.rip & ~0xfffull, bytes - (v->s.rip & 0xfff));
	decode_block(&t, bytes, room);
	if (!t.n)
		return NULL;
	return t.straddles ? put_head(&t) : generate(&t);
}

struct block *translate_tail(struct vcpu *v, gpa_t gpa, const u8 *page, const u8 *first,
			     const struct block *head)
{
	u64 page_va = (v->s.rip | 0xfff) + 1;
	unsigned nr = (unsigned)(page_va - v->s.rip);
	struct trans t;
	u8 bytes[16];

	begin(&t, v, gpa, head->key, page_va, page);
	t.tail_of = head->straddle;
	t.max_insns = 1;
	copy_bytes(bytes, first, nr);
	copy_bytes(bytes + nr, page, 15 - nr);
	decode_block(&t, bytes, 15);
	if (!t.n || t.end_rip <= page_va) /* not any more: the first page is being written to */
		return NULL;
	return generate(&t);
}
