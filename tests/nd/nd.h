// SPDX-License-Identifier: Apache-2.0
/*
 * nd.h - native differential tester: random instruction streams run on the host
 * CPU and on a tier of the software engine, full state compared
 *
 * Both run in 64-bit user mode on the same small arena at the same linear
 * address: natively it is mapped there, in the guest page tables map it. A
 * worker process does everything, so that a stream that escapes kills only it.
 */
#ifndef ND_H
#define ND_H

#include "base/types.h"
#include "cpu/soft/insn.h"
#include "cpu/x86_state.h"

#define ND_ARENA 0x10000000ull
#define ND_PAGE	 4096u

/* Pages of the arena. */
enum nd_page {
	PG_HOLE0,
	PG_RW, PG_RW_LAST = PG_RW + 3,
	PG_RO,
	PG_HOLE1,
	PG_RW2,
	PG_HOLE2,
	PG_CODE, PG_CODE_LAST = PG_CODE + 1,
	PG_HOLE3,
	NR_PAGES,
};

#define ND_FS_BASE (ND_ARENA + PG_RW * ND_PAGE + 0x800)
#define ND_GS_BASE (ND_ARENA + PG_RW2 * ND_PAGE + 0x400)

#define ND_MAX_INSNS 8
#define ND_MAX_CODE  (15 * ND_MAX_INSNS)
#define ND_FL_CMP    (FL_ARITH | FL_DF | FL_NT | FL_AC | FL_ID)

enum { ND_NO_TRAP = 0xff, ND_TIMEOUT = 0xfe, ND_SYSCALL = 0xfd };

struct nd_state {
	u64 gpr[16], rip, rflags;
	ALIGNED(64) u8 xsave[X86_XSAVE_SIZE];
};

/* How a run ended: always by an exception (HLT after the stream). */
struct nd_result {
	struct nd_state st;
	u8 vector;
	u32 error;
	u64 addr; /* #PF: CR2 */
	bool flags_known; /* false: a fault inside the stream; arithmetic flags do not count */
};

/* One stream and its input. */
struct nd_case {
	u64 seed;
	u8 mode;		     /* 8, or 4: compatibility mode */
	unsigned nr;		     /* instructions */
	struct insn insn[ND_MAX_INSNS];
	u8 off[ND_MAX_INSNS + 1];    /* of each in code; the last: the end */
	u8 code[ND_MAX_CODE + 1];    /* with the HLT */
	unsigned len;		     /* without the HLT */
	u64 la;			     /* of code */
	bool open_end;		     /* ends at a hole: fetching beyond the stream faults */
	u16 pinned, dirty;	     /* generator: registers given a value, written by the stream */
	bool x87_ran;		     /* generator: FIP is the host's from here on */
	bool xrstor_ran;	     /* generator: or components are initial for another reason */
	struct nd_state in;
};

/* -- arena.c: the arena, natively and in the guest -- */
bool nd_arena_init(void);
void nd_arena_reset(unsigned seed); /* data pages of both to one of a few contents */
void nd_poke(u64 la, const void *src, unsigned len); /* into both */
u8 *nd_native_view(enum nd_page page);
u8 *nd_guest_view(enum nd_page page);
void nd_put_code(const struct nd_case *c);
void nd_drop_code(const struct nd_case *c);
/* First differing byte of the data pages: its linear address, or 0. */
u64 nd_memory_diff(u8 *ret_native, u8 *ret_guest);

/* -- run.c -- */
/* native.h has the rest */
void nd_native_run(const struct nd_case *c, struct nd_result *ret);

/* -- tier.c -- */
struct vcpu;
struct nd_tier {
	const char *name;
	/* Run until an exception (X_FAULT, v->exc); s.rip == stop counts as one. */
	int (*run)(struct vcpu *v, u64 stop);
	bool lazy_flags; /* arithmetic flags at a fault are not promised */
};
extern const struct nd_tier *const nd_tiers[];
bool nd_tier_init(u32 off);
u64 nd_host_mask(void); /* state components the host has */
void nd_tier_run(const struct nd_tier *t, const struct nd_case *c, struct nd_result *ret);
struct mem *nd_guest_mem(void);

/* -- gen.c -- */
struct nd_class {
	const char *name;
	unsigned weight;
	unsigned (*bytes)(u8 *buf);	   /* random candidate bytes: returns their number */
	bool (*accept)(const struct insn *i);
};
extern const struct nd_class nd_classes[];
extern const unsigned nd_nr_classes;
/* Fill *c from c->seed; @only: one class, or -1; @mode: 4, 8 or 0 for either. false: no acceptable
 * stream (never expected). */
bool nd_generate(struct nd_case *c, int only, unsigned mode);
/* The linear address of the memory operand of the instruction at @at with the registers of @st. */
u64 nd_operand_la(const struct nd_state *st, const struct insn *i, u64 at);
unsigned nd_class_of(const struct insn *i); /* index; nd_nr_classes: none */

/* -- report.c -- */
/* Bytes of state that differ: printed if @show. Return: true if equal. */
bool nd_compare(const struct nd_case *c, const struct nd_result *nat, const struct nd_result *got,
		const char *tier, bool show);
void nd_print_case(const struct nd_case *c);
/* The instruction that faulted natively, or NULL. */
const struct insn *nd_faulting(const struct nd_case *c, const struct nd_result *nat);

/* -- random numbers -- */
void rnd_seed(u64 seed);
u64 rnd(void);
static inline unsigned rnd_below(unsigned n)
{
	return (unsigned)((rnd() >> 32) * n >> 32);
}
static inline bool rnd_pct(unsigned percent)
{
	return rnd_below(100) < percent;
}

#endif
