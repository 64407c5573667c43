// SPDX-License-Identifier: Apache-2.0
/*
 * stub.c - native stubs for single vector and x87 instructions: see stub.h
 *
 * A stub is a function u64 stub(struct vcpu *v, void *mem):
 *   save the callee-saved registers it uses; push v; [flags from s.rflags];
 *   [base = mem]; load the general registers the instruction names;
 *   THE INSTRUCTION; [pushfq]; r11 = v; store the registers; [pop rax = flags];
 *   drop v; restore; ret.
 * Guest rsp never enters host rsp: an instruction that names it gets another
 * register. Slots are direct-mapped by the guest's instruction bytes; a
 * collision rebuilds the slot.
 */
#include "cpu/soft/stub.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cpu/soft/codebuf.h"
#include "cpu/soft/trap.h"

#define NR_SLOTS  4096
#define SLOT_CODE 160 /* bytes of code; the longest stub has about 120 */
#define NO_TRAP	  0xff

struct slot {
	u64 key[2]; /* the guest's bytes and the mode; key[1] is never 0 when built */
	u8 insn_off, insn_end; /* the instruction in the slot's code */
	bool is_ud;	       /* the host raised #UD: it always will */
};

struct vec_stub {
	ALIGNED(64) u8 bounce[512];
	struct slot slots[NR_SLOTS];
	struct codebuf code;
	u8 *guarded; /* three pages, the middle one accessible */
	struct trap_site site;
};

/* -- life --------------------------------------------------------------------------- */

struct vec_stub *vec_new(struct err *e)
{
	struct vec_stub *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *p;

	if (s == MAP_FAILED) {
		err_set(e, ENOMEM, "vcpu: no memory for instruction stubs");
		return NULL;
	}
	p = mmap(NULL, 3 * STUB_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p != MAP_FAILED)
		s->guarded = p;
	if (!s->guarded || mprotect(stub_edge(s), STUB_PAGE, PROT_READ | PROT_WRITE)) {
		err_set(e, errno, "vcpu: cannot map bounce memory: %s", strerror(errno));
		vec_free(s);
		return NULL;
	}
	if (codebuf_new(&s->code, NR_SLOTS * SLOT_CODE, e) < 0) {
		vec_free(s);
		return NULL;
	}
	trap_install();
	return s;
}

void vec_free(struct vec_stub *s)
{
	if (!s)
		return;
	codebuf_free(&s->code);
	if (s->guarded)
		munmap(s->guarded, 3 * STUB_PAGE);
	munmap(s, sizeof *s);
}

u8 *stub_edge(struct vec_stub *s)
{
	return s->guarded + STUB_PAGE;
}

u8 *stub_bounce(struct vec_stub *s)
{
	return s->bounce;
}

/* -- register assignment -------------------------------------------------------------- */

/* Which general registers the instruction works on, and the host registers that hold them. */
struct regs {
	u16 load, store; /* guest registers */
	u8 host[16];	 /* host register of each guest register in load|store */
	u16 busy;	 /* host registers in use */
	u8 base;	 /* host register with the memory operand's address */
	u8 save;	 /* host register that points to the vcpu afterwards */
};

#define HOST_CALLEE_SAVED (BIT(RBX) | BIT(RBP) | BIT(R12) | BIT(R13) | BIT(R14) | BIT(R15))

static bool is_maskmov_di(const struct insn *i) /* [rDI] is implied */
{
	return i->map == MAP_0F && i->op == 0xf7 && i->enc != ENC_EVEX;
}

static bool is_pcmpstr(const struct insn *i)
{
	return i->map == MAP_0F3A && (i->op & 0xfc) == 0x60 && i->enc != ENC_EVEX;
}

static bool is_fnstsw_ax(const struct insn *i)
{
	return i->map == MAP_1 && i->op == 0xdf && i->modrm == 0xe0;
}

static u8 pick(u16 busy, u16 allowed)
{
	return (u8)__builtin_ctz(allowed & ~busy);
}

static void name_operand(struct regs *r, u8 kind, u8 acc, u8 reg)
{
	if (kind != OK_GPR)
		return;
	r->load |= (u16)BIT(reg & 15);
	if (acc & OP_W)
		r->store |= (u16)BIT(reg & 15);
}

static void assign(struct regs *r, const struct insn *i)
{
	u16 any;

	*r = (struct regs){ .base = RSI };
	if (i->has_modrm)
		name_operand(r, i->reg_kind, i->reg_acc, i->reg);
	if (i->has_modrm && !i->is_mem)
		name_operand(r, i->rm_kind, i->rm_acc, i->rm);
	if (is_pcmpstr(i)) {
		r->load |= BIT(RAX) | BIT(RDX) | BIT(RCX);
		r->store |= BIT(RCX);
	}
	if (is_fnstsw_ax(i)) {
		r->load |= BIT(RAX);
		r->store |= BIT(RAX);
	}
	any = r->load | r->store;
	r->busy = any & (u16)~BIT(RSP);
	if (is_maskmov_di(i))
		r->base = RDI;
	else if (i->is_mem && r->busy & BIT(RSI))
		r->base = pick(r->busy, BIT(RAX) | BIT(RCX) | BIT(RDX) | BIT(RBX));
	if (i->is_mem)
		r->busy |= (u16)BIT(r->base);
	for (unsigned n = 0; n < 16; n++)
		r->host[n] = (u8)n;
	if (any & BIT(RSP)) {
		r->host[RSP] = pick(r->busy, BIT(RAX) | BIT(RCX) | BIT(RDX) | BIT(RBX));
		r->busy |= (u16)BIT(r->host[RSP]);
	}
	r->save = r->busy & BIT(R11) ? R10 : R11;
}

/* -- the instruction, re-encoded --------------------------------------------------------- */

struct out {
	u8 *p;
};

static void put8(struct out *o, unsigned b)
{
	*o->p++ = (u8)b;
}

/* ModRM.reg or .rm after register assignment, 0..31. */
static unsigned reg_num(const struct regs *r, const struct insn *i)
{
	return i->reg_kind == OK_GPR ? r->host[i->reg & 15] : i->reg;
}

static unsigned rm_num(const struct regs *r, const struct insn *i)
{
	if (i->is_mem)
		return r->base;
	return i->rm_kind == OK_GPR ? r->host[i->rm & 15] : i->rm;
}

/* VBLENDVPS and its kin: a register in bits 7:4 of the immediate, outside 64-bit mode of eight. */
static bool is_reg_imm(const struct insn *i)
{
	return i->enc == ENC_VEX && i->map == MAP_0F3A && i->op >= 0x4a && i->op <= 0x4c;
}

static void put_modrm(struct out *o, const struct regs *r, const struct insn *i)
{
	unsigned reg = i->reg_kind == OK_GPR ? reg_num(r, i) & 7 : i->modrm >> 3 & 7;
	unsigned rm = i->is_mem || i->rm_kind == OK_GPR ? rm_num(r, i) & 7 : i->modrm & 7;

	if (i->has_modrm)
		put8(o, (i->is_mem ? 0 : 0xc0) | reg << 3 | rm);
	for (unsigned k = 0; k < i->nr_imm; k++)
		put8(o, i->bytes[i->off_imm + k] & (is_reg_imm(i) && i->mode != 8 ? 0x7f : 0xff));
}

static void put_legacy(struct out *o, const struct regs *r, const struct insn *i)
{
	unsigned rex = i->rex & 0x4d; /* W, R and B */

	if (i->is_mem || i->rm_kind == OK_GPR)
		rex = (rex & ~1u) | (rm_num(r, i) >> 3 & 1);
	if (i->reg_kind == OK_GPR)
		rex = (rex & ~4u) | (reg_num(r, i) >> 1 & 4);
	if (i->opsz)
		put8(o, 0x66);
	if (i->rep)
		put8(o, i->rep);
	if (rex & 0xf)
		put8(o, 0x40 | rex);
	if (i->map != MAP_1)
		put8(o, 0x0f);
	if (i->map == MAP_0F38)
		put8(o, 0x38);
	if (i->map == MAP_0F3A)
		put8(o, 0x3a);
	put8(o, i->op);
	put_modrm(o, r, i);
}

/* Outside 64-bit mode W does not select 64-bit general registers. */
static bool enc_w(const struct insn *i)
{
	bool gpr = i->reg_kind == OK_GPR || i->rm_kind == OK_GPR || is_pcmpstr(i);

	return i->w && (i->mode == 8 || !gpr);
}

static void put_vex(struct out *o, const struct regs *r, const struct insn *i)
{
	unsigned rm = rm_num(r, i);

	put8(o, 0xc4);
	put8(o, (reg_num(r, i) & 8 ? 0 : 0x80) | 0x40 | (rm & 8 ? 0 : 0x20) | i->map);
	put8(o, (unsigned)enc_w(i) << 7 | (~i->vvvv & 15u) << 3 | (unsigned)(i->vl & 1) << 2 |
			i->pp);
	put8(o, i->op);
	put_modrm(o, r, i);
}

static void put_evex(struct out *o, const struct regs *r, const struct insn *i)
{
	const u8 *raw = i->bytes + i->nr_prefix; /* 62 P0 P1 P2 */
	unsigned p0 = raw[1], p1 = raw[2];

	if (i->mode != 8) { /* eight registers: their extension bits are ignored */
		p0 |= 0xf0;
		p1 |= i->vvvv_kind == OK_NONE ? 0 : 0x40;
	}
	if (i->is_mem)
		p0 |= 0x60; /* base below 8, no index */
	else if (i->rm_kind == OK_GPR)
		p0 = (p0 & ~0x20u) | (rm_num(r, i) & 8 ? 0 : 0x20);
	if (i->reg_kind == OK_GPR)
		p0 = (p0 & ~0x80u) | (reg_num(r, i) & 8 ? 0 : 0x80);
	if (!enc_w(i))
		p1 &= 0x7f;
	put8(o, 0x62);
	put8(o, p0);
	put8(o, p1);
	put8(o, raw[3]);
	put8(o, i->op);
	put_modrm(o, r, i);
}

/* -- the stub around it ---------------------------------------------------------------------- */

static void mov_rr(struct out *o, unsigned dst, unsigned src)
{
	put8(o, 0x48 | (src >> 1 & 4) | (dst >> 3 & 1));
	put8(o, 0x89);
	put8(o, 0xc0 | (src & 7) << 3 | (dst & 7));
}

/* mov between a register and [ptr + 8 * n]; @op 8b loads, 89 stores. ptr is not rsp or r12. */
static void mov_mem(struct out *o, unsigned op, unsigned reg, unsigned ptr, unsigned n)
{
	put8(o, 0x48 | (reg >> 1 & 4) | (ptr >> 3 & 1));
	put8(o, op);
	put8(o, 0x40 | (reg & 7) << 3 | (ptr & 7));
	put8(o, 8 * n);
}

static void push_pop(struct out *o, unsigned op, unsigned reg)
{
	if (reg & 8)
		put8(o, 0x41);
	put8(o, op | (reg & 7));
}

static void put_prologue(struct out *o, const struct regs *r, const struct insn *i)
{
	unsigned fl = offsetof(struct vcpu, s.rflags);

	for (unsigned n = 0; n < 16; n++)
		if (r->busy & HOST_CALLEE_SAVED & BIT(n))
			push_pop(o, 0x50, n);
	push_pop(o, 0x50, RDI);
	if (i->flags_r) { /* FCMOVcc: CF, PF, ZF */
		put8(o, 0x8a); /* mov ah, [rdi + disp32] */
		put8(o, 0xa7);
		for (unsigned k = 0; k < 4; k++)
			put8(o, fl >> 8 * k);
		put8(o, 0x9e); /* sahf */
	}
	for (unsigned n = 0; n < 16; n++)
		if (r->load & BIT(n) && r->host[n] != RDI && r->host[n] != RSI)
			mov_mem(o, 0x8b, r->host[n], RDI, n);
	if ((i->is_mem || is_maskmov_di(i)) && r->base != RSI)
		mov_rr(o, r->base, RSI);
	if (r->load & BIT(RSI))
		mov_mem(o, 0x8b, RSI, RDI, RSI);
	if (r->load & BIT(RDI))
		mov_mem(o, 0x8b, RDI, RDI, RDI);
}

static void put_epilogue(struct out *o, const struct regs *r, const struct insn *i)
{
	if (i->flags_w)
		put8(o, 0x9c); /* pushfq */
	put8(o, 0x4c); /* mov r->save, [rsp (+ 8)] */
	put8(o, 0x8b);
	put8(o, 0x44 | (r->save & 7u) << 3);
	put8(o, 0x24);
	put8(o, i->flags_w ? 8 : 0);
	for (unsigned n = 0; n < 16; n++)
		if (r->store & BIT(n))
			mov_mem(o, 0x89, r->host[n], r->save, n);
	if (i->flags_w)
		push_pop(o, 0x58, RAX);
	push_pop(o, 0x58, RDI);
	for (unsigned n = 16; n-- > 0;)
		if (r->busy & HOST_CALLEE_SAVED & BIT(n))
			push_pop(o, 0x58, n);
	put8(o, 0xc3);
}

static void build(struct vec_stub *s, struct slot *slot, const struct insn *i)
{
	u8 *start = s->code.rw + (slot - s->slots) * SLOT_CODE;
	struct out o = { start };
	struct regs r;

	assign(&r, i);
	put_prologue(&o, &r, i);
	slot->insn_off = (u8)(o.p - start);
	if (i->enc == ENC_EVEX)
		put_evex(&o, &r, i);
	else if (i->enc == ENC_VEX)
		put_vex(&o, &r, i);
	else
		put_legacy(&o, &r, i);
	slot->insn_end = (u8)(o.p - start);
	put_epilogue(&o, &r, i);
	slot->is_ud = false;
}

static struct slot *find_slot(struct vec_stub *s, const struct insn *i)
{
	u64 key[2] = { 0, 0 }, h;
	struct slot *slot;

	for (unsigned k = 0; k < i->len && k < 15; k++)
		key[k >> 3] |= (u64)i->bytes[k] << 8 * (k & 7);
	key[1] |= (u64)i->mode << 56;
	h = (key[0] ^ (key[1] << 23 | key[1] >> 41)) * 0x9e3779b97f4a7c15;
	slot = &s->slots[h >> 52];
	if (slot->key[0] != key[0] || slot->key[1] != key[1]) {
		build(s, slot, i);
		slot->key[0] = key[0];
		slot->key[1] = key[1];
	}
	return slot;
}

void stub_run(struct vcpu *v, const struct insn *i, void *mem, struct stub_trap *ret_trap)
{
	struct vec_stub *s = v->vec;
	struct slot *slot = find_slot(s, i);
	const u8 *code = s->code.rx + (slot - s->slots) * SLOT_CODE;
	u64 fl;

	*ret_trap = (struct stub_trap){ .vector = slot->is_ud ? EX_UD : NO_TRAP };
	if (slot->is_ud)
		return;
	s->site = (struct trap_site){
		.insn = (uintptr_t)code + slot->insn_off,
		.resume = (uintptr_t)code + slot->insn_end,
		.vector = NO_TRAP,
	};
	fp_unpark(v);
	trap_armed = &s->site;
	fl = ((u64(*)(struct vcpu *, void *))(uintptr_t)code)(v, mem);
	trap_armed = NULL;
	if (unlikely(s->site.vector != NO_TRAP)) {
		*ret_trap = (struct stub_trap){ .vector = s->site.vector, .addr = s->site.addr };
		slot->is_ud = s->site.vector == EX_UD;
		return;
	}
	if (i->flags_w)
		v->s.rflags = (v->s.rflags & ~(u64)FL_ARITH) | (fl & FL_ARITH);
}
