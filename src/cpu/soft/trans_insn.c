// SPDX-License-Identifier: Apache-2.0
/*
 * trans_insn.c - host code for one guest instruction
 *
 * Guest registers that have no host register: trans_home.c. With a memory operand, r10 holds the
 * guest address and r11 the table entry; when a data operand needs a scratch too,
 * the two are first added into r10.
 */
#include "cpu/soft/translate.h"

#include <stddef.h>

/* -- through the interpreter ------------------------------------------------------------ */

static void by_interpreter(struct trans *t, const struct insn *i)
{
	bool ends = i->attr & IA_ENDS || i->cls == CLS_UD;

	trans_flags_back(t);
	e_imm(&t->e, R10, t->rip[t->k]);
	e_imm(&t->e, R11, i->len);
	e_call(&t->e, t->j->delta, ends ? t->j->call_t0_end : t->j->call_t0);
	t->ended |= ends;
}

/* -- effective addresses -------------------------------------------------------------------- */

bool trans_has_seg_base(const struct insn *i)
{
	return i->mem_seg == SEG_FS || i->mem_seg == SEG_GS;
}

/* lea dst, [base + index * scale + disp] with host registers. */
static void lea_full(struct trans *t, bool w, unsigned base, unsigned index, unsigned scale,
		     i64 disp)
{
	struct insn lea = { .op = 0x8d, .has_modrm = true, .is_mem = true, .w = w };
	struct opmap m = { .reg = R10, .mem = true, .base = (u8)base, .index = (u8)index,
			   .scale = (u8)scale, .disp = (i32)disp };

	e_insn(&t->e, &lea, &m);
}

static unsigned ea_reg(struct trans *t, unsigned g, unsigned scratch)
{
	if (g == REG_NONE)
		return REG_NONE;
	if (!trans_is_homed(g))
		return trans_host_reg(g);
	trans_load_home(t, scratch, g);
	return scratch;
}

static void add_seg_base(struct trans *t, const struct insn *i)
{
	if (!trans_has_seg_base(i))
		return;
	e_load(&t->e, R11, RSP, VOFF(s.seg) + (i32)(i->mem_seg * sizeof(struct x86_seg)));
	lea_full(t, true, R10, R11, 1, 0);
}

void trans_ea(struct trans *t, const struct insn *i)
{
	bool w = i->adsize == 8;
	u64 next = t->rip[t->k] + i->len;

	if (i->base == REG_RIP) {
		u64 a = next + (u64)i->disp;

		e_imm(&t->e, R10, w ? a : (u32)a);
	} else if (i->base == REG_NONE && i->index == REG_NONE) {
		e_imm(&t->e, R10, w ? (u64)i->disp : (u32)i->disp);
	} else {
		unsigned b = ea_reg(t, i->base, R10), x = ea_reg(t, i->index, R11);

		if (b != REG_NONE && x == REG_NONE && !i->disp && w)
			e_mov(&t->e, R10, b);
		else
			lea_full(t, w, b, x, i->scale, i->disp);
	}
	add_seg_base(t, i);
}

/* -- generic instructions --------------------------------------------------------------------- */

static bool may_fault(const struct insn *i)
{
	return i->cls != CLS_INT || ((i->op & 0xfe) == 0xf6 && i->map == MAP_1); /* DIV */
}

static void put_reg_insn(struct trans *t, const struct insn *i)
{
	struct opmap m = trans_plain_map(i);
	struct homes h;

	if (!trans_assign(i, &m, &h, 3) || trans_mixes_high_byte(i, &m)) {
		trans_homes_drop(t);
		by_interpreter(t, i);
		return;
	}
	trans_flags_for(t, i);
	trans_use_held(t, &h, &m, i);
	if (may_fault(i))
		trans_homes_flush(t);
	e_insn(&t->e, i, &m);
	trans_hold(t, &h);
}

/* xchg low byte, high byte of rax..rbx: makes AH..BH usable beside REX. */
static void swap_bytes(struct trans *t, unsigned reg)
{
	e8(&t->e, 0x86);
	e8(&t->e, 0xc0 | reg << 3 | (reg + 4));
}

/* r11b = AH..BH of register @reg - 4; no flags. */
static void get_high_byte(struct trans *t, unsigned reg)
{
	struct emit *e = &t->e;

	e8(e, 0xc4), e8(e, 0x63), e8(e, 0x7b), e8(e, 0xf0); /* rorx r11d, r32, 8 */
	e8(e, 0xd8 | (reg - 4)), e8(e, 8);
}

static void set_high_byte(struct trans *t, unsigned reg)
{
	swap_bytes(t, reg - 4);
	e_rr(&t->e, false, 0x88, R11, reg - 4);
	swap_bytes(t, reg - 4);
}

/* As a host operand, behind its check: r11 is the page's entry. */
static void set_operand(struct opmap *m, struct place at, bool write)
{
	m->mem = true;
	m->base = at.fixed ? R11 : at.reg;
	m->index = at.fixed ? REG_NONE : R11;
	m->scale = 1;
	m->disp = (at.fixed ? (i32)at.va : 0) - write;
}

/*
 * The operation on the operand at @at. A host fault in it must find the guest's registers unchanged,
 * so everything before it touches scratch registers only.
 */
static void emit_on_memory(struct trans *t, const struct insn *i, struct place at, struct opmap *m,
			   const struct homes *h)
{
	bool write = i->rm_acc & OP_W, high = i->reg_kind == OK_GPR && trans_is_high_byte(i, i->reg, i->reg_size);

	trans_flags_for(t, i);
	set_operand(m, at, write);
	if (high || (h->n && h->read[0])) {
		lea_full(t, true, m->base, m->index, 1, m->disp);
		m->base = R10, m->index = REG_NONE, m->disp = 0;
		trans_load_homes(t, h);
	}
	if (high) {
		get_high_byte(t, i->reg);
		m->reg = R11;
	}
	e_insn(&t->e, i, m);
	if (high && i->reg_acc & OP_W)
		set_high_byte(t, i->reg);
	else if (!high)
		trans_hold(t, h);
}

/*
 * An opmask may leave any part of the operand alone, and then that part cannot fault. Where all of it
 * may be accessed that makes no difference; elsewhere the check fails and the interpreter looks.
 */
static unsigned access_of(const struct insn *i)
{
	if (!(i->rm_acc & OP_W))
		return ACC_R;
	return i->enc == ENC_EVEX && i->aaa ? ACC_MASKED_W : ACC_W;
}

/* Aligned moves: unlike those of other legacy SSE instructions, no bit of MXCSR disables their faults. */
static bool is_aligned_move(const struct insn *i)
{
	if (i->cls != CLS_VEC || !i->mem_align || i->map != MAP_0F)
		return false;
	return i->op == 0x28 || i->op == 0x29 || i->op == 0x2b || i->op == 0xe7 ||
	       (i->pp == 1 && (i->op == 0x6f || i->op == 0x7f));
}

/* An operand at a fixed address that lies in one page. */
static bool is_fixed_in_page(const struct trans *t, const struct insn *i)
{
	u64 a = (u64)i->disp + (i->base == REG_RIP ? t->rip[t->k] + i->len : 0);

	return (i->base == REG_RIP || i->base == REG_NONE) && i->index == REG_NONE && i->adsize == 8 &&
	       !trans_has_seg_base(i) && !((a ^ (a + i->mem_size - 1)) >> 12);
}

bool trans_needs_no_alignment(const struct insn *i)
{
	return is_aligned_move(i) || !(i->mem_align || (i->map == MAP_0F && i->op == 0xc7 && i->cls == CLS_INT));
}

static enum align alignment_of(const struct trans *t, const struct insn *i)
{
	bool needed = i->mem_align || (i->map == MAP_0F && i->op == 0xc7 && i->cls == CLS_INT);

	if (!(t->v->cfg.off & CPU_OFF_ALIGN) &&
	    (is_aligned_move(i) || (!needed && is_fixed_in_page(t, i))))
		return ALIGN_KNOWN;
	if (needed)
		return ALIGN_MUST;
	return ALIGN_FREE;
}

/*
 * Where the memory operand's address is. A register of the guest's that is the address is looked up
 * where it is; a fixed address whose operand lies in one page need not be anywhere.
 */
static struct place find_place(struct trans *t, const struct insn *i)
{
	u64 va = (u64)i->disp + (i->base == REG_RIP ? t->rip[t->k] + i->len : 0);

	if (!(t->v->cfg.off & CPU_OFF_LOOKUP) && i->adsize == 8 && i->index == REG_NONE &&
	    !trans_has_seg_base(i)) {
		if (i->base < 16 && !i->disp && !trans_is_homed(i->base))
			return (struct place){ .reg = (u8)trans_host_reg(i->base) };
		if (alignment_of(t, i) == ALIGN_KNOWN && is_fixed_in_page(t, i) && (i64)va == (i32)va &&
		    (i64)va - 1 == (i32)(va - 1))
			return (struct place){ .fixed = true, .va = va };
	}
	trans_ea(t, i);
	return AT_R10;
}

/* CMPXCHG r/m8, AH..BH: al is its operand too, so it cannot be swapped away. */
static bool is_cmpxchg_high(const struct insn *i)
{
	return i->map == MAP_0F && i->op == 0xb0 && trans_is_high_byte(i, i->reg, 1);
}

/* BMI with a memory source and two homed registers: the source is loaded into r10 first. */
static bool is_loadable(const struct insn *i)
{
	return i->enc == ENC_VEX && i->cls == CLS_INT && i->rm_acc == OP_R &&
	       i->reg_kind == OK_GPR && i->vvvv_kind == OK_GPR && trans_is_homed(i->reg) &&
	       trans_is_homed(i->vvvv) && i->mem_size >= 4;
}

/*
 * reg, vvvv = f(r10): a homed register that is read gets r11; one that is only written may
 * share r10, which the instruction has read by then.
 */
static void put_loaded(struct trans *t, const struct insn *i)
{
	struct insn mov = { .op = 0x8b, .has_modrm = true, .is_mem = true, .w = i->mem_size == 8 };
	struct opmap load = { .reg = R10, .mem = true, .base = R10, .index = R11, .scale = 1 };
	struct opmap m = { .reg = R10, .vvvv = R11, .rm = R10 };

	trans_ea(t, i);
	trans_check(t, AT_R10, ACC_R, i->mem_size, ALIGN_FREE);
	trans_flags_for(t, i);
	e_insn(&t->e, &mov, &load);
	if (i->vvvv_acc & OP_R)
		trans_load_home(t, R11, i->vvvv);
	e_insn(&t->e, i, &m);
	if (i->vvvv_acc & OP_W)
		trans_store_home(t, R11, i->vvvv);
	trans_store_home(t, R10, i->reg); /* MULX: reg wins when both are the same */
}

static void put_mem_insn(struct trans *t, const struct insn *i)
{
	struct opmap m = trans_plain_map(i);
	struct place at;
	struct homes h;

	if (!trans_assign(i, &m, &h, 2) && is_loadable(i)) {
		put_loaded(t, i);
		return;
	}
	if (!trans_assign(i, &m, &h, 2) || is_cmpxchg_high(i)) {
		by_interpreter(t, i);
		return;
	}
	at = find_place(t, i);
	trans_check(t, at, access_of(i), i->mem_size, alignment_of(t, i));
	emit_on_memory(t, i, at, &m, &h);
}

/* A0..A3: an absolute address; as the ModRM form with the accumulator. */
static void put_moffs(struct trans *t, const struct insn *i)
{
	struct insn mov = *i;

	mov.op = (i->op & 2 ? 0x88 : 0x8a) | (i->op & 1);
	mov.has_modrm = true;
	mov.reg = RAX;
	mov.reg_kind = OK_GPR;
	mov.reg_size = i->opsize;
	mov.reg_acc = i->op & 2 ? OP_R : OP_W;
	mov.nr_imm = 0;
	put_mem_insn(t, &mov);
}

/* Host register of guest register @g as things are, or REG_NONE. */
static unsigned host_now(const struct trans *t, unsigned g)
{
	if (!trans_is_homed(g))
		return trans_host_reg(g);
	return t->held[0] == g ? R10 : t->held[1] == g ? R11 : REG_NONE;
}

static bool lea_operands(const struct trans *t, const struct insn *i, struct opmap *ret)
{
	if (i->op != 0x8d || i->map != MAP_1 || i->cls != CLS_INT || i->lock || i->opsize < 4 ||
	    i->adsize != 8 || trans_is_homed(i->reg) || t->v->cfg.off & CPU_OFF_HOMES)
		return false;
	*ret = (struct opmap){ .reg = (u8)trans_host_reg(i->reg), .mem = true, .base = i->base,
			       .index = i->index, .scale = i->scale, .disp = (i32)i->disp };
	if (i->base < 16)
		ret->base = (u8)host_now(t, i->base);
	if (i->index < 16)
		ret->index = (u8)host_now(t, i->index);
	return (i->base >= 16 || ret->base != REG_NONE) && (i->index >= 16 || ret->index != REG_NONE);
}

bool trans_lea_is_simple(const struct trans *t, const struct insn *i)
{
	struct opmap m;

	return lea_operands(t, i, &m);
}

bool trans_simple_lea(struct trans *t, const struct insn *i)
{
	struct insn lea = { .op = 0x8d, .has_modrm = true, .is_mem = true, .w = i->opsize == 8 };
	u64 a = t->rip[t->k] + i->len + (u64)i->disp;
	struct opmap m;

	if (!lea_operands(t, i, &m))
		return false;
	if (i->base == REG_RIP)
		e_imm(&t->e, m.reg, lea.w ? a : (u32)a);
	else
		e_insn(&t->e, &lea, &m);
	return true;
}

static void put_lea(struct trans *t, const struct insn *i)
{
	struct insn plain = *i;

	plain.mem_seg = SEG_DS; /* LEA ignores the segment */
	trans_ea(t, &plain);
	if (i->opsize == 2) { /* keep the upper bits */
		struct insn mov = { .op = 0x89, .has_modrm = true, .opsz = true };
		struct opmap m = { .reg = R10, .rm = (u8)trans_host_reg(i->reg) };

		if (trans_is_homed(i->reg)) {
			trans_load_home(t, R11, i->reg);
			m.rm = R11;
		}
		e_insn(&t->e, &mov, &m);
		if (trans_is_homed(i->reg))
			trans_store_home(t, R11, i->reg);
		return;
	}
	if (trans_is_homed(i->reg)) {
		if (i->opsize == 4)
			e_rr(&t->e, false, 0x89, R10, R10);
		trans_store_home(t, R10, i->reg);
	} else {
		e_rr(&t->e, i->opsize == 8, 0x89, R10, trans_host_reg(i->reg));
	}
}

/* -- the stack --------------------------------------------------------------------------------- */

/* r10 = rsp - 8, checked for writing; then combine r10 and r11 into the host address r11. */
static void check_push(struct trans *t)
{
	e_lea(&t->e, R10, HOST_RSP, -8);
	trans_check(t, AT_R10, ACC_W, 8, ALIGN_FREE);
}

/* After check_push(): store guest register or immediate, and move rsp. */
static void commit_push(struct trans *t, unsigned host)
{
	struct emit *e = &t->e;
	struct insn mov = { .op = 0x89, .has_modrm = true, .is_mem = true, .w = true };
	struct opmap m = { .reg = (u8)host, .mem = true, .base = R10, .index = R11, .scale = 1,
			   .disp = -1 };

	e_insn(e, &mov, &m);
	e_mov(e, HOST_RSP, R10);
}

/* Host address of the new top of stack -> r11; r10 is free then. rsp moves after the store. */
static void fold_push(struct trans *t)
{
	struct insn lea = { .op = 0x8d, .has_modrm = true, .is_mem = true, .w = true };
	struct opmap m = { .reg = R11, .mem = true, .base = R10, .index = R11, .scale = 1,
			   .disp = -1 };

	e_insn(&t->e, &lea, &m);
}

/* [r11] = r10, and rsp moves. */
static void store_folded(struct trans *t)
{
	e_store(&t->e, R10, R11, 0);
	e_lea(&t->e, HOST_RSP, HOST_RSP, -8);
}

static void push_imm(struct trans *t, u64 val)
{
	struct emit *e = &t->e;

	check_push(t);
	if ((i64)val == (i32)val) { /* mov qword [r10 + r11 - 1], simm32 */
		e8(e, 0x4b), e8(e, 0xc7), e8(e, 0x44), e8(e, 0x1a), e8(e, 0xff);
		e32(e, (u32)val);
		e_mov(e, HOST_RSP, R10);
		return;
	}
	fold_push(t);
	e_imm(e, R10, val);
	store_folded(t);
}

static void push_reg(struct trans *t, unsigned g)
{
	check_push(t);
	if (!trans_is_homed(g)) {
		commit_push(t, trans_host_reg(g));
		return;
	}
	fold_push(t);
	trans_load_home(t, R10, g);
	store_folded(t);
}

void trans_push_tmp(struct trans *t)
{
	check_push(t);
	fold_push(t);
	e_load(&t->e, R10, RSP, VOFF(jr.tmp));
	store_folded(t);
}

/* @dst = 8 bytes at the guest address @at, checked. */
static void load_checked(struct trans *t, unsigned dst, struct place at)
{
	struct insn mov = { .op = 0x8b, .has_modrm = true, .is_mem = true, .w = true };
	struct opmap m = { .reg = (u8)dst };

	set_operand(&m, at, false);
	trans_check(t, at, ACC_R, 8, at.fixed ? ALIGN_KNOWN : ALIGN_FREE);
	e_insn(&t->e, &mov, &m);
}

static void push_mem(struct trans *t, const struct insn *i)
{
	load_checked(t, R10, find_place(t, i));
	e_store(&t->e, R10, RSP, VOFF(jr.tmp));
	trans_push_tmp(t);
}

/* The guest address in @host, which the code behind the check does not change before its access. */
static struct place in_place(struct trans *t, unsigned host)
{
	if (!(t->v->cfg.off & CPU_OFF_LOOKUP))
		return (struct place){ .reg = (u8)host };
	e_mov(&t->e, R10, host);
	return AT_R10;
}

static void pop_reg(struct trans *t, unsigned g)
{
	struct place top = in_place(t, HOST_RSP);

	if (g == RSP) {
		load_checked(t, HOST_RSP, top);
		return;
	}
	load_checked(t, trans_is_homed(g) ? R10 : g, top);
	e_lea(&t->e, HOST_RSP, HOST_RSP, 8);
	if (trans_is_homed(g))
		trans_store_home(t, R10, g);
}

static void put_leave(struct trans *t)
{
	load_checked(t, R10, in_place(t, RBP));
	e_lea(&t->e, HOST_RSP, RBP, 8);
	e_mov(&t->e, RBP, R10);
}

/* PUSH, POP, LEAVE with 64-bit operands; false: not one of them. */
static bool put_stack(struct trans *t, const struct insn *i)
{
	if (i->opsize != 8 || i->map != MAP_1)
		return false;
	switch (i->op) {
	case 0x50 ... 0x57: push_reg(t, i->reg); return true;
	case 0x58 ... 0x5f: pop_reg(t, i->reg); return true;
	case 0x68: case 0x6a: push_imm(t, i->imm); return true;
	case 0xc9: put_leave(t); return true;
	case 0xff:
		if (i->is_mem)
			push_mem(t, i);
		else
			push_reg(t, i->rm);
		return true;
	}
	return false;
}

/* -- branches ------------------------------------------------------------------------------------ */

static void put_jcc(struct trans *t, const struct insn *i)
{
	u64 next = t->rip[t->k] + i->len;

	trans_flags_back(t);
	trans_branch(t, e_jcc_hole(&t->e, i->op & 15), next + i->imm, next);
}

/* LOOPcc and JRCXZ: the host's own, over a jump to the not-taken side. */
static void put_loop(struct trans *t, const struct insn *i)
{
	u64 next = t->rip[t->k] + i->len;
	u8 *skip;

	trans_flags_back(t);
	if (i->adsize == 4)
		e8(&t->e, 0x67);
	e8(&t->e, i->op);
	e8(&t->e, 2); /* taken: over the short jump */
	e8(&t->e, 0xeb);
	e8(&t->e, 5); /* not taken: over the long jump */
	skip = e_jmp_hole(&t->e);
	trans_branch(t, skip, next + i->imm, next);
}

static void put_call_direct(struct trans *t, const struct insn *i)
{
	u64 next = t->rip[t->k] + i->len;

	push_imm(t, next);
	trans_jump(t, next + i->imm);
}

static void put_ret(struct trans *t, const struct insn *i)
{
	trans_pack_flags(t);
	load_checked(t, R10, in_place(t, HOST_RSP));
	e_lea(&t->e, HOST_RSP, HOST_RSP, 8 + (i->op == 0xc2 ? (i32)(i->imm & 0xffff) : 0));
	trans_indirect(t);
}

static void put_indirect(struct trans *t, const struct insn *i)
{
	bool call = ((i->modrm >> 3) & 7) == 2;

	trans_pack_flags(t);
	if (i->is_mem) {
		load_checked(t, R10, find_place(t, i));
	} else if (trans_is_homed(i->rm)) {
		trans_load_home(t, R10, i->rm);
	} else {
		e_mov(&t->e, R10, trans_host_reg(i->rm));
	}
	if (call) {
		trans_check_canonical(t);
		e_store(&t->e, R10, RSP, VOFF(jr.site)); /* the target, while the push is checked */
		push_imm(t, t->rip[t->k] + i->len);
		e_load(&t->e, R10, RSP, VOFF(jr.site));
	}
	trans_indirect(t);
}

static void put_branch(struct trans *t, const struct insn *i)
{
	u64 next = t->rip[t->k] + i->len;
	bool direct = i->map == MAP_0F || (i->op != 0xff && i->op != 0xc2 && i->op != 0xc3);

	/* 66h truncates the target; a target that is not canonical faults at the branch; jit.c does
	 * not undo a RET of two pages */
	if (i->opsize != 8 || (direct && !is_canonical(next + i->imm)) ||
	    (t->tail_of && !direct && i->op != 0xff)) {
		by_interpreter(t, i);
		return;
	}
	if (i->map == MAP_0F) {
		put_jcc(t, i);
		return;
	}
	switch (i->op) {
	case 0x70 ... 0x7f: put_jcc(t, i); break;
	case 0xe0 ... 0xe3: put_loop(t, i); break;
	case 0xe8: put_call_direct(t, i); break;
	case 0xe9: case 0xeb: trans_jump(t, next + i->imm); break;
	case 0xc2: case 0xc3: put_ret(t, i); break;
	default: put_indirect(t, i);
	}
}

/* -- dispatch ------------------------------------------------------------------------------------- */

/* Hints that touch nothing: NOP, ENDBR64, prefetches. */
static bool is_nop(const struct insn *i)
{
	if (i->map == MAP_1)
		return i->op == 0x90 && i->reg_kind == OK_NONE && i->rep != 0xf3;
	return i->map == MAP_0F && i->enc == ENC_LEGACY &&
	       (i->op == 0x0d || (i->op >= 0x18 && i->op <= 0x1f));
}

/* Features of the CPU model the guest sees; what it lacks is the interpreter's #UD. */
static bool is_offered(const struct trans *t, const struct insn *i)
{
	if (t->v->cfg.model == CPU_MODEL_MAX)
		return true;
	if (t->v->cfg.model == CPU_MODEL_V2)
		return i->enc == ENC_LEGACY && !(i->cls == CLS_INT && i->map != MAP_1 &&
						 (i->rep || i->map == MAP_0F38));
	return i->feat == FT_NONE || i->feat == FT_SHA;
}

bool trans_is_copied(const struct trans *t, const struct insn *i)
{
	u32 need = 0;

	if (i->attr & IA_AVX512 && t->v->cfg.off & CPU_OFF_AVX512)
		return false;
	if (!(i->attr & IA_VERBATIM) || (i->cls != CLS_INT && i->cls != CLS_VEC && i->cls != CLS_X87))
		return false;
	if (i->lock && !(i->attr & IA_LOCKABLE && i->is_mem))
		return false;
	if (i->cls == CLS_X87 || i->attr & IA_FP)
		need |= KEY_X87;
	if (i->cls == CLS_VEC && !(i->attr & IA_FP))
		need |= i->attr & IA_AVX512 ? KEY_AVX512 : i->attr & IA_AVX ? KEY_AVX : KEY_SSE;
	return (t->key & need) == need && is_offered(t, i);
}

/* A waiting loop: the host may have something better to do (smp_pause()). */
static bool is_pause(const struct insn *i)
{
	return i->map == MAP_1 && i->op == 0x90 && i->rep == 0xf3 && i->reg_kind == OK_NONE;
}

/* Registers only, and the host's own instruction. */
bool trans_is_plain(const struct trans *t, const struct insn *i)
{
	if (i->is_mem || i->attr & (IA_BRANCH | IA_STACK | IA_STRING | IA_ENDS) || !trans_is_copied(t, i) || is_pause(i))
		return false;
	return i->map != MAP_1 || (i->op != 0x8d && i->op != 0xfc && !(i->op >= 0xa0 && i->op <= 0xa3));
}

void trans_insn(struct trans *t, const struct insn *i)
{
	if (i->cls == CLS_INT && !i->lock && is_nop(i))
		return;
	if (trans_is_plain(t, i)) {
		put_reg_insn(t, i);
		return;
	}
	if (trans_simple_lea(t, i))
		return;
	trans_homes_drop(t);
	if (i->cls == CLS_INT && i->attr & IA_BRANCH && !i->lock) {
		put_branch(t, i);
		return;
	}
	if (i->cls == CLS_INT && i->attr & IA_STACK && !i->lock && put_stack(t, i))
		return;
	if (trans_sys(t, i) || trans_bit(t, i))
		return;
	if (!trans_is_copied(t, i) || (t->v->cfg.nr_vcpus > 1 && is_pause(i))) {
		by_interpreter(t, i);
		return;
	}
	if (i->op == 0x8d && i->map == MAP_1)
		put_lea(t, i);
	else if (i->op >= 0xa0 && i->op <= 0xa3 && i->map == MAP_1)
		put_moffs(t, i);
	else if (i->is_mem && i->mem_size)
		put_mem_insn(t, i);
	else
		by_interpreter(t, i);
}
