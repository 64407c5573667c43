// SPDX-License-Identifier: Apache-2.0
/*
 * jit_stubs.c - the fixed pieces of generated code: entry, exits, helper calls
 *
 * Emitted once at the start of the code buffer. Register mapping: jit_int.h.
 */
#include "cpu/soft/jit_int.h"

#include <stddef.h>

#define OFF(m)	((i32)offsetof(struct vcpu, m))
#define GPR(n)	(OFF(s.gpr) + 8 * (n))

/* Host register that holds guest register n, or REG_NONE if it lives in s.gpr. */
static unsigned host_of(unsigned n)
{
	if (n == RSP)
		return HOST_RSP;
	return n == R10 || n == R11 || n == R15 ? REG_NONE : n;
}

static void store_gprs(struct emit *e, i32 rsp_bias)
{
	for (unsigned n = 0; n < 16; n++)
		if (host_of(n) != REG_NONE)
			e_store(e, host_of(n), RSP, GPR(n) + rsp_bias);
}

static void load_gprs(struct emit *e)
{
	for (unsigned n = 0; n < 16; n++)
		if (host_of(n) != REG_NONE)
			e_load(e, host_of(n), RSP, GPR(n));
}

/* Guest arithmetic flags: host EFLAGS -> jr.flags; rax must be saved already. */
static void save_flags(struct emit *e)
{
	e8(e, 0x9c); /* pushfq */
	e8(e, 0x58); /* pop rax */
	e_store(e, RAX, RSP, OFF(jr.flags));
}

/* jr.flags -> host EFLAGS, through ah and the overflow of al; clobbers rax and rcx. */
static void load_flags(struct emit *e)
{
	e_load(e, RCX, RSP, OFF(jr.flags));
	e_rr(e, false, 0x88, RCX, RAX + 4); /* mov ah, cl (no REX: 4 is AH) */
	e8(e, 0xc1), e8(e, 0xe9), e8(e, 11); /* shr ecx, 11 */
	e8(e, 0x83), e8(e, 0xe1), e8(e, 1);  /* and ecx, 1 */
	e8(e, 0x80), e8(e, 0xc1), e8(e, 0x7f); /* add cl, 0x7f: OF */
	e8(e, 0x9e); /* sahf */
}

static const u8 *here(const struct jit *j, const struct emit *e)
{
	return e->p + j->delta;
}

static const unsigned c_volatile[] = { RAX, RCX, RDX, RSI, RDI, R8, R9 };

/* Call C; the pointer is loaded as an immediate, rsp is aligned by the caller. */
static void call_c(struct emit *e, u64 fn)
{
	e_imm(e, RAX, fn);
	e8(e, 0xff), e8(e, 0xd0);
}

static const unsigned callee_saved[] = { RBX, RBP, R12, R13, R14, R15 };

static void push_pop(struct emit *e, unsigned op, unsigned reg)
{
	if (reg & 8)
		e8(e, 0x41);
	e8(e, op | (reg & 7));
}

/* u64 enter(struct vcpu *v): runs the block at jr.target with r10 = s.rip and flags in jr.packed;
 * returns enum jit_exit. */
static void emit_enter(struct jit *j, struct emit *e)
{
	j->enter = (u64(*)(struct vcpu *))(uintptr_t)here(j, e);
	for (unsigned k = 0; k < array_len(callee_saved); k++)
		push_pop(e, 0x50, callee_saved[k]);
	e_store(e, RSP, RDI, OFF(jr.host_rsp));
	e_mov(e, RSP, RDI);
	load_gprs(e);
	e_load(e, R10, RSP, OFF(s.rip));
	e_mem(e, false, 0xff, 4, RSP, OFF(jr.target)); /* jmp [rsp + target] */
}

/*
 * A jump whose target is not in the jump table: jit_find(r10), or leave. The flags are in
 * jr.packed.
 */
static const u8 *emit_miss(struct jit *j, struct emit *e, const u8 *leave)
{
	const u8 *p = here(j, e);
	u8 *found;

	for (unsigned k = 0; k < array_len(c_volatile); k++)
		e_store(e, c_volatile[k], RSP, GPR(c_volatile[k]));
	e_store(e, R10, RSP, OFF(s.rip));
	e_mov(e, RDI, RSP);
	e_mov(e, RSI, R10);
	call_c(e, (u64)(uintptr_t)jit_find);
	e_mov(e, R11, RAX);
	e8(e, 0x48), e8(e, 0x85), e8(e, 0xc0); /* test rax, rax */
	for (unsigned k = 0; k < array_len(c_volatile); k++)
		e_load(e, c_volatile[k], RSP, GPR(c_volatile[k]));
	e_load(e, R10, RSP, OFF(s.rip));
	found = e_jcc_hole(e, CC_NE);
	store_gprs(e, 0);
	e_imm(e, RAX, JX_MISS);
	e_jmp(e, j->delta, leave);
	e_patch(e, found, e->p);
	e8(e, 0x41), e8(e, 0xff), e8(e, 0xe3); /* jmp r11 */
	return p;
}

/* State is in struct vcpu, eax is the result: back to the caller of enter(). */
static const u8 *emit_leave(struct jit *j, struct emit *e)
{
	const u8 *p = here(j, e);

	e_load(e, RSP, RSP, OFF(jr.host_rsp));
	for (unsigned k = array_len(callee_saved); k-- > 0;)
		push_pop(e, 0x58, callee_saved[k]);
	e8(e, 0xc3);
	return p;
}

/* Save everything and leave with @why; the return address goes to jr.pc. */
static const u8 *emit_exit(struct jit *j, struct emit *e, const u8 *leave, enum jit_exit why)
{
	const u8 *p = here(j, e);

	e8(e, 0x8f); /* pop [rsp + pc]: the address is taken after rsp moved [SDM 2B POP] */
	e8(e, 0x84), e8(e, 0x24), e32(e, (u32)OFF(jr.pc));
	store_gprs(e, 0);
	save_flags(e);
	e_imm(e, RAX, why);
	e_jmp(e, j->delta, leave);
	return p;
}

/*
 * slow: a memory check failed. r10 = guest address, r11d = site. Returns to retry, or 5 bytes
 * behind that when the interpreter must execute the instruction.
 */
static void emit_slow(struct jit *j, struct emit *e)
{
	u8 *ok;

	j->slow = here(j, e);
	for (unsigned k = 0; k < array_len(c_volatile); k++)
		e_store(e, c_volatile[k], RSP, GPR(c_volatile[k]) + 8);
	e8(e, 0x41), e8(e, 0x52); /* push r10: keeps it, and aligns */
	e_mem(e, true, 0x8d, RDI, RSP, 16);
	e_mov(e, RSI, R10);
	e_mov(e, RDX, R11);
	call_c(e, (u64)(uintptr_t)jit_slow);
	e8(e, 0x41), e8(e, 0x5a); /* pop r10 */
	e8(e, 0x85), e8(e, 0xc0); /* test eax, eax */
	ok = e_jcc_hole(e, CC_E);
	e8(e, 0x48), e8(e, 0x83), e8(e, 0x04), e8(e, 0x24), e8(e, 5); /* add qword [rsp], 5 */
	e_patch(e, ok, e->p);
	for (unsigned k = 0; k < array_len(c_volatile); k++)
		e_load(e, c_volatile[k], RSP, GPR(c_volatile[k]) + 8);
	e8(e, 0xc3);
}

/*
 * rep: jit_rep() with r10 = what; the zero flag says that it is done.
 */
static void emit_rep(struct jit *j, struct emit *e)
{
	j->rep = here(j, e);
	for (unsigned k = 0; k < array_len(c_volatile); k++)
		e_store(e, c_volatile[k], RSP, GPR(c_volatile[k]) + 8);
	e8(e, 0x41), e8(e, 0x52); /* push r10: aligns */
	e_mem(e, true, 0x8d, RDI, RSP, 16);
	e_mov(e, RSI, R10);
	call_c(e, (u64)(uintptr_t)jit_rep);
	e8(e, 0x41), e8(e, 0x5a); /* pop r10 */
	e8(e, 0x85), e8(e, 0xc0); /* test eax, eax */
	for (unsigned k = 0; k < array_len(c_volatile); k++)
		e_load(e, c_volatile[k], RSP, GPR(c_volatile[k]) + 8);
	e8(e, 0xc3);
}

/* r10 = rip, r11 = length: call C to interpret one instruction; eax = what it returned. */
static void call_interpreter(struct emit *e, u64 fn)
{
	e8(e, 0x8f), e8(e, 0x84), e8(e, 0x24), e32(e, (u32)OFF(jr.ret)); /* pop [rsp + ret] */
	store_gprs(e, 0);
	save_flags(e);
	e_mov(e, RDI, RSP);
	e_mov(e, RSI, R10);
	e_mov(e, RDX, R11);
	call_c(e, fn);
	e8(e, 0x85), e8(e, 0xc0); /* test eax, eax */
}

/* Inside a block: go on behind the call, or leave. */
static const u8 *emit_t0(struct jit *j, struct emit *e, const u8 *leave)
{
	const u8 *p = here(j, e);
	u8 *stay;

	call_interpreter(e, (u64)(uintptr_t)jit_t0);
	stay = e_jcc_hole(e, CC_E);
	e_imm(e, RAX, JX_DONE);
	e_jmp(e, j->delta, leave);
	e_patch(e, stay, e->p);
	load_flags(e);
	load_gprs(e);
	e_mem(e, false, 0xff, 4, RSP, OFF(jr.ret)); /* jmp [rsp + ret] */
	return p;
}

/* At the end of one: go on at jr.target, or leave. */
static const u8 *emit_t0_end(struct jit *j, struct emit *e, const u8 *leave)
{
	const u8 *p = here(j, e);
	u8 *stay;

	call_interpreter(e, (u64)(uintptr_t)jit_t0_end);
	stay = e_jcc_hole(e, CC_NE);
	e_imm(e, RAX, JX_DONE);
	e_jmp(e, j->delta, leave);
	e_patch(e, stay, e->p);
	load_gprs(e);
	e_load(e, R10, RSP, OFF(s.rip));
	e_mem(e, false, 0xff, 4, RSP, OFF(jr.target)); /* jmp [rsp + target] */
	return p;
}

/* The signal handler resumes here: state is exact, jr.pc and jr.site are set. */
static const u8 *emit_fault_exit(struct jit *j, struct emit *e, const u8 *leave)
{
	const u8 *p = here(j, e);

	store_gprs(e, 0);
	save_flags(e);
	e_imm(e, RAX, JX_FAULT);
	e_jmp(e, j->delta, leave);
	return p;
}

void stubs_emit(struct jit *j)
{
	struct emit e = { .p = j->code.rw, .end = j->code.rw + 4096 };
	const u8 *leave;

	emit_enter(j, &e);
	leave = emit_leave(j, &e);
	j->miss = emit_miss(j, &e, leave);
	j->exit_interp = emit_exit(j, &e, leave, JX_INTERP);
	j->exit_poll = emit_exit(j, &e, leave, JX_POLL);
	j->exit_chain = emit_exit(j, &e, leave, JX_CHAIN);
	emit_slow(j, &e);
	emit_rep(j, &e);
	j->call_t0 = emit_t0(j, &e, leave);
	j->call_t0_end = emit_t0_end(j, &e, leave);
	j->fault_exit = emit_fault_exit(j, &e, leave);
	j->low = 4096;
	j->cold_low = (u32)(j->code.size / 16 * 7);
}
