// SPDX-License-Identifier: Apache-2.0
/*
 * trans_sys.c - host code for system instructions that kernels execute all the time
 *
 * SYSCALL and SYSRET change privilege, and with it the table and the jump table, without
 * leaving translated code; what is unusual about them (jit.c:syscall_odd()) is the
 * interpreter's. REP MOVS and STOS are one call of jit_rep(). Everything here is the
 * interpreter's with cfg.off & CPU_OFF_SYSTEM or CPU_OFF_REP.
 */
#include "cpu/soft/translate.h"

#include "cpu/soft/op_sys.h"

#include <stddef.h>

#define SYSRET_FLAGS 0x3c7fd7u

static void put_reg(struct trans *t, unsigned g, unsigned host) /* guest g = host, 64 bits */
{
	if (trans_is_homed(g))
		e_store(&t->e, host, RSP, GPROFF(g));
	else
		e_mov(&t->e, g == RSP ? HOST_RSP : g, host);
}

/* host = guest g, or its low half */
static void get_reg(struct trans *t, unsigned host, unsigned g, bool w)
{
	if (trans_is_homed(g))
		e_mem(&t->e, w, 0x8b, host, RSP, GPROFF(g));
	else
		e_rr(&t->e, w, 0x89, g == RSP ? HOST_RSP : g, host);
}

static bool is_off(const struct trans *t, u32 what)
{
	return t->v->cfg.off & what;
}

static bool plain(const struct insn *i)
{
	return i->cls == CLS_SYS && !i->lock && !i->rep;
}

static i32 seg_off(unsigned seg)
{
	return VOFF(s.seg) + (i32)(seg * sizeof(struct x86_seg));
}

/* op r/m32, imm32 with r/m = [rsp + disp]; clobbers flags. */
static void mem_imm(struct emit *e, unsigned ext, i32 disp, u32 imm)
{
	e8(e, 0x81), e8(e, 0x84 | ext << 3), e8(e, 0x24);
	e32(e, (u32)disp), e32(e, imm);
}

/* op r10d or r11d, imm32 */
static void reg_imm(struct emit *e, unsigned ext, unsigned reg, u32 imm)
{
	e8(e, 0x41), e8(e, 0x81), e8(e, 0xc0 | ext << 3 | (reg & 7));
	e32(e, imm);
}

enum { X_ADD, X_OR, X_ADC, X_SBB, X_AND, X_SUB, X_XOR, X_CMP }; /* 81 /n */

/* shl or sar or shr reg, n; reg = r10 or r11 */
static void shift(struct emit *e, bool w, unsigned ext, unsigned reg, unsigned n)
{
	e8(e, w ? 0x49 : 0x41), e8(e, 0xc1), e8(e, 0xc0 | ext << 3 | (reg & 7)), e8(e, n);
}

enum { S_SHL = 4, S_SHR = 5, S_SAR = 7 };

/* mov qword [rsp + disp], simm32 */
static void store_imm(struct emit *e, i32 disp, u32 imm)
{
	e8(e, 0x48), e8(e, 0xc7), e8(e, 0x84), e8(e, 0x24);
	e32(e, (u32)disp), e32(e, imm);
}

static void store16(struct emit *e, unsigned reg, i32 disp)
{
	e8(e, 0x66);
	e_mem(e, false, 0x89, reg, RSP, disp);
}

static void movzx8(struct emit *e, unsigned reg, i32 disp)
{
	e_mem(e, false, 0x0fb6, reg, RSP, disp);
}

/* -- flags kept around code that clobbers them ---------------------------------------- */

static bool keep_flags(struct trans *t)
{
	bool keep = t->live[t->k] != 0 && !t->packed;

	if (keep)
		trans_save_flags(&t->e);
	return keep;
}

static struct slow *new_slow(struct trans *t, bool keep)
{
	struct slow *s = &t->slow[t->nr_slow++];

	*s = (struct slow){ .k = (u8)t->k, .aligned = true,
			    .keep = t->packed ? KEEP_PACKED : keep ? KEEP_EAX : KEEP_NOT };
	return s;
}

/* -- interrupt flag ----------------------------------------------------------------------- */

static void put_clear(struct trans *t, u32 flag) /* CLI, CLD */
{
	bool keep = keep_flags(t);

	mem_imm(&t->e, X_AND, VOFF(s.rflags), ~flag);
	if (keep)
		trans_restore_flags(&t->e);
}

/*
 * STI with the next instruction in the same block, where nothing polls before it: that is its
 * shadow [SDM 2B STI]. A waiting interrupt makes it the interpreter's.
 */
static bool put_sti(struct trans *t)
{
	struct emit *e = &t->e;
	struct slow *s;
	bool keep;

	if (t->k + 1 >= t->n || t->poll_at == t->k + 1)
		return false;
	keep = keep_flags(t);
	s = new_slow(t, keep);
	e8(e, 0x80), e8(e, 0xbc), e8(e, 0x24), e32(e, (u32)VOFF(irq_waiting)), e8(e, 0);
	s->unaligned = e_jcc_hole(e, CC_NE); /* cmp byte [rsp + irq_waiting], 0 */
	mem_imm(e, X_OR, VOFF(s.rflags), FL_IF);
	if (keep)
		trans_restore_flags(e);
	return true;
}

/* r10d = RFLAGS, the arithmetic ones from jr.packed; clobbers r11 and flags. */
static void put_rflags(struct emit *e)
{
	movzx8(e, R10, VOFF(jr.packed) + 1);
	movzx8(e, R11, VOFF(jr.packed));
	shift(e, false, S_SHL, R11, 11);
	e_rr(e, false, 0x09, R11, R10);
	e_mem(e, false, 0x8b, R11, RSP, VOFF(s.rflags));
	reg_imm(e, X_AND, R11, ~(u32)FL_ARITH);
	e_rr(e, false, 0x09, R11, R10);
}

/* The frame is made in jr.tmp, so that a host fault in the store finds the guest's flags. */
static void put_pushf(struct trans *t)
{
	struct emit *e = &t->e;

	trans_pack_flags(t);
	put_rflags(e);
	reg_imm(e, X_AND, R10, ~(u32)(FL_VM | FL_RF));
	reg_imm(e, X_OR, R10, FL_ONE);
	e_store(e, R10, RSP, VOFF(jr.tmp));
	trans_push_tmp(t);
}

/* -- small ones ----------------------------------------------------------------------------- */

static void put_swapgs(struct trans *t)
{
	struct emit *e = &t->e;

	e_load(e, R10, RSP, seg_off(SEG_GS));
	e_load(e, R11, RSP, VOFF(s.kernel_gs_base));
	e_store(e, R11, RSP, seg_off(SEG_GS));
	e_store(e, R10, RSP, VOFF(s.kernel_gs_base));
}

/*
 * RDTSC, RDTSCP: rdx:rax = host TSC + offset. In user mode with CR4.TSD the interpreter's #GP.
 * RDTSCP waits for the loads before it [SDM 2B RDTSCP]; processors that read the counter early
 * would else show one CPU a time before one another CPU has published.
 */
static void put_rdtsc(struct trans *t, const struct insn *i)
{
	bool keep = t->live[t->k] != 0 && !t->packed;
	struct emit *e = &t->e;
	struct slow *s;

	if (keep) { /* not through eax, which changes */
		trans_save_flags(e);
		e_store(e, RAX, RSP, VOFF(jr.packed));
		e_load(e, RAX, RSP, VOFF(jr.rax));
	}
	if (!(t->key & KEY_CPL0)) {
		s = new_slow(t, false);
		s->keep = keep ? KEEP_PACKED : s->keep;
		e8(e, 0xf7), e8(e, 0x84), e8(e, 0x24), e32(e, (u32)VOFF(s.cr4)), e32(e, CR4_TSD);
		s->unaligned = e_jcc_hole(e, CC_NE); /* test dword [rsp + cr4], TSD */
	}
	if (i->op != 0x31)
		e8(e, 0x0f), e8(e, 0xae), e8(e, 0xe8); /* lfence */
	e8(e, 0x0f), e8(e, 0x31);
	e8(e, 0x48), e8(e, 0xc1), e8(e, 0xe2), e8(e, 32); /* shl rdx, 32 */
	e_rr(e, true, 0x09, RDX, RAX);			  /* or rax, rdx */
	e_mem(e, true, 0x03, RAX, RSP, VOFF(s.tsc_offset)); /* add rax, [rsp + tsc_offset] */
	e_mov(e, RDX, RAX);
	e8(e, 0x48), e8(e, 0xc1), e8(e, 0xea), e8(e, 32); /* shr rdx, 32 */
	e_rr(e, false, 0x89, RAX, RAX);			  /* mov eax, eax: clears the upper half */
	if (i->op != 0x31)
		e_mem(e, false, 0x8b, RCX, RSP, VOFF(s.tsc_aux));
	if (keep)
		trans_unpack_flags(e);
}

/* MOV r, sreg: zero-extended, but for 16 bits. */
static void put_mov_from_seg(struct trans *t, const struct insn *i)
{
	struct emit *e = &t->e;

	e_mem(e, false, 0x0fb7, R10, RSP, seg_off(i->reg) + (i32)offsetof(struct x86_seg, sel));
	if (i->opsize > 2) {
		put_reg(t, i->rm, R10);
	} else if (trans_is_homed(i->rm)) {
		store16(e, R10, GPROFF(i->rm));
	} else {
		e8(e, 0x66);
		e_rr(e, false, 0x89, R10, i->rm == RSP ? HOST_RSP : i->rm);
	}
}

/* MOV r64, CR0, CR2, CR3 or CR4 */
static void put_mov_from_cr(struct trans *t, const struct insn *i)
{
	static const i32 off[] = { VOFF(s.cr0), 0, VOFF(s.cr2), VOFF(s.cr3), VOFF(s.cr4) };

	e_load(&t->e, R10, RSP, off[i->reg]);
	put_reg(t, i->rm, R10);
}

static bool is_mov_from_cr(const struct insn *i)
{
	return i->map == MAP_0F && i->op == 0x20 && i->reg <= 4;
}

static bool is_rdtsc(const struct insn *i)
{
	return i->map == MAP_0F && (i->op == 0x31 || (i->op == 0x01 && i->modrm == 0xf9));
}

/* RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE; their faults are the interpreter's. */
static void put_base(struct trans *t, const struct insn *i)
{
	i32 base = seg_off(i->modrm & 8 ? SEG_GS : SEG_FS);
	struct emit *e = &t->e;
	bool keep = keep_flags(t), write = i->modrm & 0x10;
	struct slow *s = new_slow(t, keep);

	e8(e, 0xf7), e8(e, 0x84), e8(e, 0x24), e32(e, (u32)VOFF(s.cr4)), e32(e, CR4_FSGSBASE);
	s->unaligned = e_jcc_hole(e, CC_E); /* test dword [rsp + cr4], FSGSBASE */
	if (write) {
		if (keep && i->rm == RAX)
			e_mem(e, i->w, 0x8b, R10, RSP, VOFF(jr.rax));
		else
			get_reg(t, R10, i->rm, i->w);
		e_mov(e, R11, R10);
		shift(e, true, S_SHL, R11, 16);
		shift(e, true, S_SAR, R11, 16);
		e_rr(e, true, 0x39, R10, R11); /* canonical? */
		s = new_slow(t, keep);
		s->unaligned = e_jcc_hole(e, CC_NE);
	}
	if (keep)
		trans_restore_flags(e);
	if (write) {
		e_store(e, R10, RSP, base);
		return;
	}
	e_mem(e, i->w, 0x8b, R10, RSP, base);
	put_reg(t, i->rm, R10);
}

/* -- SYSCALL and SYSRET [SDM 2B], [APM3] -------------------------------------------------------- */

/* Flat segment @seg; its selector is in r11w already. */
static void put_flat(struct emit *e, unsigned seg, u32 attr, unsigned dpl)
{
	i32 at = seg_off(seg);

	attr |= dpl << SA_DPL_SHIFT;
	store16(e, R11, at + (i32)offsetof(struct x86_seg, sel));
	store_imm(e, at + (i32)offsetof(struct x86_seg, base), 0);
	e_imm(e, R10, (u64)attr << 32 | 0xffffffff);
	e_store(e, R10, RSP, at + (i32)offsetof(struct x86_seg, limit));
}

static void put_cpl(struct emit *e, unsigned cpl)
{
	e8(e, 0xc6), e8(e, 0x84), e8(e, 0x24), e32(e, (u32)VOFF(cpl)), e8(e, cpl);
}

static void wrgsbase_r11(struct emit *e)
{
	e8(e, 0xf3), e8(e, 0x49), e8(e, 0x0f), e8(e, 0xae), e8(e, 0xdb);
}

static void put_kernel_table(struct trans *t)
{
	struct table *k = t->j->table[T_KERNEL];
	struct emit *e = &t->e;

	e_imm(e, R11, (u64)k);
	e_store(e, R11, RSP, VOFF(jr.active));
	e_imm(e, R11, (u64)k->e);
	wrgsbase_r11(e);
}

static void put_user_table(struct trans *t)
{
	struct emit *e = &t->e;

	e_load(e, R11, RSP, VOFF(jr.user));
	e_store(e, R11, RSP, VOFF(jr.active));
	e_load(e, R11, R11, (i32)offsetof(struct table, e));
	wrgsbase_r11(e);
}

static void put_syscall(struct trans *t, const struct insn *i)
{
	struct emit *e = &t->e;
	struct slow *s;

	trans_pack_flags(t);
	s = new_slow(t, false);
	e8(e, 0x80), e8(e, 0xbc), e8(e, 0x24), e32(e, (u32)VOFF(jr.syscall_odd)), e8(e, 0);
	s->unaligned = e_jcc_hole(e, CC_NE); /* cmp byte [rsp + syscall_odd], 0 */
	put_rflags(e);
	e_store(e, R10, RSP, GPROFF(R11));
	e_mem(e, false, 0x8b, R11, RSP, VOFF(s.sfmask));
	reg_imm(e, X_OR, R11, FL_RF);
	e8(e, 0x41), e8(e, 0xf7), e8(e, 0xd3); /* not r11d */
	e_rr(e, false, 0x21, R11, R10);
	reg_imm(e, X_OR, R10, FL_ONE);
	e_store(e, R10, RSP, VOFF(s.rflags));
	store_imm(e, VOFF(jr.packed), 0); /* SFMASK clears them all */
	e_imm(e, RCX, t->rip[t->k] + i->len);
	e_mem(e, false, 0x8b, R11, RSP, VOFF(s.star) + 4);
	reg_imm(e, X_AND, R11, 0xfffc);
	put_flat(e, SEG_CS, FLAT_CODE64, 0);
	reg_imm(e, X_ADD, R11, 8);
	put_flat(e, SEG_SS, FLAT_DATA, 0);
	put_cpl(e, 0);
	put_kernel_table(t);
	e_load(e, R10, RSP, VOFF(s.lstar));
	trans_indirect(t);
}

/* r11 = 0 if nothing is odd: RCX canonical, no TF or AC, no interrupt waits for IF. */
static void put_sysret_check(struct trans *t, struct slow *s)
{
	struct emit *e = &t->e;

	e_mov(e, R11, RCX);
	shift(e, true, S_SHL, R11, 16);
	shift(e, true, S_SAR, R11, 16);
	e_rr(e, true, 0x31, RCX, R11);
	e_load(e, R10, RSP, GPROFF(R11));
	reg_imm(e, X_AND, R10, FL_TF | FL_AC);
	e_rr(e, true, 0x09, R10, R11);
	movzx8(e, R10, VOFF(irq_waiting));
	e_rr(e, true, 0x09, R10, R11);
	movzx8(e, R10, VOFF(jr.syscall_odd));
	e_rr(e, true, 0x09, R10, R11);
	s->unaligned = e_jcc_hole(e, CC_NE);
}

/* jr.packed from the flags in r10d; clobbers r11. */
static void put_packed(struct emit *e)
{
	e8(e, 0x45), e8(e, 0x0f), e8(e, 0xb6), e8(e, 0xda); /* movzx r11d, r10b */
	shift(e, false, S_SHL, R11, 8);
	e8(e, 0x41), e8(e, 0x0f), e8(e, 0xba), e8(e, 0xe2), e8(e, 11); /* bt r10d, 11: OF */
	e8(e, 0x41), e8(e, 0x83), e8(e, 0xd3), e8(e, 0);		/* adc r11d, 0 */
	e_store(e, R11, RSP, VOFF(jr.packed));
}

static void put_sysret(struct trans *t)
{
	struct emit *e = &t->e;

	if (t->live[t->k])
		trans_pack_flags(t);
	put_sysret_check(t, new_slow(t, false));
	e_load(e, R10, RSP, GPROFF(R11));
	reg_imm(e, X_AND, R10, SYSRET_FLAGS);
	reg_imm(e, X_OR, R10, FL_ONE);
	e_store(e, R10, RSP, VOFF(s.rflags));
	put_packed(e);
	e_mem(e, false, 0x0fb7, R11, RSP, VOFF(s.star) + 6); /* movzx r11d, word */
	reg_imm(e, X_ADD, R11, 8);
	reg_imm(e, X_OR, R11, 3);
	put_flat(e, SEG_SS, FLAT_DATA, 3);
	e_mem(e, false, 0x0fb7, R11, RSP, VOFF(s.star) + 6);
	reg_imm(e, X_ADD, R11, 16);
	reg_imm(e, X_OR, R11, 3);
	put_flat(e, SEG_CS, FLAT_CODE64, 3);
	put_cpl(e, 3);
	put_user_table(t);
	e_mov(e, R10, RCX);
	trans_indirect(t);
}

/* -- REP MOVS and STOS --------------------------------------------------------------------------- */

static bool is_rep(const struct insn *i)
{
	bool kind = i->map == MAP_1 && (i->op == 0xa4 || i->op == 0xa5 || i->op == 0xaa || i->op == 0xab);

	return kind && i->rep && !i->lock && i->adsize == 8 && i->seg != SEG_FS && i->seg != SEG_GS;
}

/* The element size by its logarithm, and whether there is a source. */
static u32 rep_kind(const struct insn *i)
{
	unsigned log2 = !(i->op & 1) ? 0 : i->opsize == 2 ? 1 : i->opsize == 4 ? 2 : 3;

	return log2 | (i->op < 0xaa ? JIT_REP_MOVS : 0);
}

static void put_rep(struct trans *t, const struct insn *i)
{
	bool keep = t->live[t->k] != 0 && !t->packed;
	struct emit *e = &t->e;
	struct slow *s;

	if (keep) {
		trans_save_flags(e);
		e_store(e, RAX, RSP, VOFF(jr.packed));
		e_load(e, RAX, RSP, VOFF(jr.rax));
	}
	s = new_slow(t, false);
	s->keep = keep || t->packed ? KEEP_PACKED : KEEP_NOT;
	s->t0_len = i->len;
	e_imm(e, R10, rep_kind(i));
	e_call(e, t->j->delta, t->j->rep);
	s->unaligned = e_jcc_hole(e, CC_NE);
	if (keep)
		trans_unpack_flags(e);
	s->retry = e->p;
}

/* -- which ----------------------------------------------------------------------------------------- */

bool trans_sys_goes_on(const struct trans *t, const struct insn *i)
{
	if (!(t->key & KEY_CPL0) || !plain(i))
		return false;
	if (i->map == MAP_1)
		return i->op == 0xfb;
	return (i->map == MAP_0F && i->op == 0x01 && i->modrm == 0xf8) ||
	       (is_mov_from_cr(i) && !is_off(t, CPU_OFF_SYSTEM));
}

static bool put_kernel_only(struct trans *t, const struct insn *i)
{
	if (i->map == MAP_0F && i->op == 0x01 && i->modrm == 0xf8) {
		put_swapgs(t);
	} else if (i->map == MAP_0F && i->op == 0x07 && i->opsize == 8 && !is_off(t, CPU_OFF_SYSTEM)) {
		put_sysret(t);
	} else if (is_mov_from_cr(i) && !is_off(t, CPU_OFF_SYSTEM)) {
		put_mov_from_cr(t, i);
	} else if (i->map == MAP_1 && i->op == 0xfa) {
		put_clear(t, FL_IF);
	} else {
		return i->map == MAP_1 && i->op == 0xfb && put_sti(t);
	}
	return true;
}

static bool put_any_privilege(struct trans *t, const struct insn *i)
{
	if (is_off(t, CPU_OFF_SYSTEM))
		return false;
	if (i->map == MAP_0F && i->op == 0x05 && plain(i))
		put_syscall(t, i);
	else if (i->map == MAP_1 && i->op == 0x9c && plain(i) && i->opsize == 8)
		put_pushf(t);
	else if (i->map == MAP_1 && i->op == 0x8c && plain(i) && !i->is_mem)
		put_mov_from_seg(t, i);
	else if (i->map == MAP_0F && i->op == 0xae && i->rep == 0xf3 && !i->lock && !i->is_mem)
		put_base(t, i);
	else if (is_rdtsc(i) && plain(i) && !t->v->cfg.virt)
		put_rdtsc(t, i);
	else
		return false;
	return true;
}

bool trans_sys(struct trans *t, const struct insn *i)
{
	if (i->cls == CLS_INT && is_rep(i) && !is_off(t, CPU_OFF_REP)) {
		put_rep(t, i);
		return true;
	}
	if (i->cls == CLS_INT && i->map == MAP_1 && i->op == 0xfc && !i->lock && !is_off(t, CPU_OFF_SYSTEM)) {
		put_clear(t, FL_DF);
		return true;
	}
	if (i->cls != CLS_SYS)
		return false;
	if (t->key & KEY_CPL0 && plain(i) && put_kernel_only(t, i))
		return true;
	return put_any_privilege(t, i);
}
