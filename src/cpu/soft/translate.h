// SPDX-License-Identifier: Apache-2.0
/* translate.h - shared by translate.c (blocks) and trans_insn.c (instructions) only */
#ifndef CPU_SOFT_TRANSLATE_H
#define CPU_SOFT_TRANSLATE_H

#include "cpu/soft/jit_int.h"

#define VOFF(m)	  ((i32)offsetof(struct vcpu, m))
#define GPROFF(n) (VOFF(s.gpr) + 8 * (i32)(n))

#define NO_POLL	 MAX_INSNS
#define MAX_SLOW (3 * MAX_INSNS + 8)

/* What the slow stub passes to jit_slow(). */
#define SITE(k, acc) ((u32)(k) | (u32)(acc) << 8)

/* Where live flags are while a check runs; KEEP_EAX is trans_sys.c's. */
enum keep { KEEP_NOT, KEEP_EAX /* and the guest's rax in jr.rax */, KEEP_PACKED /* jr.packed */ };

/* Where a guest address is that is looked up. */
struct place {
	u8 reg;	    /* host register */
	bool fixed; /* or nowhere: it is @va, which fits a displacement */
	u64 va;
};

#define AT_R10 ((struct place){ .reg = R10 })

/* An out-of-line tail of a memory check. */
struct slow {
	struct place at;
	u8 k; /* instruction index */
	u8 acc, size;
	u8 keep;      /* enum keep: what must be put back before the interpreter */
	u8 t0_len;    /* non-zero: the interpreter executes that many bytes and goes on at retry */
	bool aligned; /* misaligned is the interpreter's (#GP) */
	bool odd;     /* ALIGN_ODD */
	u8 *retry, *valid, *miss, *unaligned;
};

/*
 * Consecutive pushes, or pops with perhaps a RET behind them, under one check. Where the
 * check fails they run one by one, out of line.
 */
struct run {
	u8 k, n;	/* first instruction, how many */
	bool write;	/* pushes */
	bool packed;	/* flags are in jr.packed */
	bool packed_end; /* ... behind it */
	u8 *cross, *miss, *retry, *back;
};

#define MAX_RUNS (MAX_INSNS / 2)

struct out {
	u8 *hole, *pc;
	u64 rip;
};

struct trans {
	struct vcpu *v;
	struct jit *j;
	struct emit e;
	u32 key;
	u64 rip0, end_rip;
	gpa_t gpa; /* of rip0 */
	u64 page_va;	/* page the block belongs to: rip0's, but for a tail the next */
	const u8 *page; /* its bytes */
	u32 tail_of;	/* number of its head, 0 = no tail */
	bool straddles; /* a head */
	unsigned n, k;	/* instructions; the one being emitted */
	unsigned max_insns;
	bool exact_flags; /* tests: every flag is live everywhere */
	bool ended;	  /* a jump out was emitted: nothing follows */
	bool packed;	  /* live flags are in jr.packed now, not in EFLAGS */
	u8 held[2];	  /* guest register that r10, r11 hold; REG_NONE */
	bool held_dirty[2]; /* and not its home yet */
	u32 packed_cold;  /* packed_at of copies out of line */
	u32 packed_at;	  /* the same where instruction k may fault: bit k */
	bool out_of_line; /* cold copies of a run: jr.site is set before each */
	struct insn in[MAX_INSNS];
	u64 rip[MAX_INSNS];
	u8 live[MAX_INSNS + 1]; /* flags live before instruction k */
	u8 *host[MAX_INSNS];
	struct slow slow[MAX_SLOW];
	unsigned nr_slow;
	struct run run[MAX_RUNS];
	unsigned nr_runs;
	struct out out[2];
	struct seen {
		u64 rip;
		u8 len;
	} seen[2]; /* of this page, behind the block's exits */
	unsigned nr_seen;
	unsigned nr_out;
	unsigned poll_at; /* instruction before which exit_req is polled; or NO_POLL */
	u8 *poll;
	u8 *count; /* put_count()'s hole */
	u8 poll_k;
	bool poll_keep;
};

/* What a check does about alignment. */
enum align {
	ALIGN_FREE,  /* any address, rarely misaligned; what crosses a page is the interpreter's */
	ALIGN_ODD,   /* the same, often misaligned */
	ALIGN_MUST,  /* misaligned is the interpreter's (#GP) */
	ALIGN_KNOWN, /* no test: it does not cross a page, or faults on the host as on the guest */
};

void trans_check(struct trans *t, struct place at, unsigned acc, unsigned size, enum align align);
void trans_check_canonical(struct trans *t);
/* Where live flags are: put them into jr.packed (clobbers r11) or back into EFLAGS, if not there. */
void trans_pack_flags(struct trans *t);
void trans_flags_back(struct trans *t);
/* Before the code of @i itself, behind its checks: EFLAGS if it needs them there. */
void trans_flags_for(struct trans *t, const struct insn *i);
void trans_jump(struct trans *t, u64 rip);
void trans_indirect(struct trans *t); /* to r10 */
void trans_branch(struct trans *t, u8 *hole, u64 taken, u64 next);

/* Length of the run that starts at t->k (2 or more), or 0; and its code. */
unsigned trans_run_length(const struct trans *t);
void trans_run(struct trans *t, unsigned n);
void trans_run_cold(struct trans *t, const struct run *r);

void trans_save_flags(struct emit *e);	/* EFLAGS -> eax, rax -> jr.rax */
void trans_restore_flags(struct emit *e); /* and back */
void trans_unpack_flags(struct emit *e);  /* jr.packed -> EFLAGS */
void trans_repack_flags(struct emit *e);  /* and back; clobbers r11 */
void trans_lookup(struct trans *t, unsigned reg); /* r11 = the table entry of guest address @reg */

/* System instructions and REP that need not leave translated code (trans_sys.c); false: not one of
 * them. Does @i, which the decoder says ends a block, go on in it? */
bool trans_sys(struct trans *t, const struct insn *i);
bool trans_sys_goes_on(const struct trans *t, const struct insn *i);

/* BT and the like of a bit string in memory (trans_bit.c); false: not one, or the interpreter's. */
bool trans_bit(struct trans *t, const struct insn *i);

void trans_ea(struct trans *t, const struct insn *i); /* r10 = the memory operand's linear address; r11 is clobbered, flags are not */
void trans_push_tmp(struct trans *t); /* push jr.tmp */

static inline gpa_t trans_gpa(const struct trans *t) /* of instruction t->k */
{
	return (t->gpa & ~0xfffull) | (t->rip[t->k] & 0xfff);
}

/* The row that starts at t->k (trans_row.c); false: there is none. */
bool trans_row(struct trans *t);
void trans_check_span(struct trans *t, struct run *r, unsigned bytes);
void trans_fold(struct trans *t, i32 disp);

/* -- trans_home.c: guest registers without a host register -- */

/* Those one instruction uses, and where they are meanwhile. */
struct homes {
	unsigned n;
	u8 g[3], scratch[3];
	bool read[3], write[3];
};

bool trans_is_homed(unsigned g);
unsigned trans_host_reg(unsigned g); /* of one that is not homed */
void trans_load_home(struct trans *t, unsigned scratch, unsigned g);
void trans_store_home(struct trans *t, unsigned scratch, unsigned g);
struct opmap trans_plain_map(const struct insn *i);
bool trans_is_high_byte(const struct insn *i, unsigned reg, unsigned size);
/* AH..BH in one field and, only on the host, a register that needs REX in the other. */
bool trans_mixes_high_byte(const struct insn *i, const struct opmap *m);
/* Fill opmap's GPR fields, with r10 (bit 0 of @free_mask) and r11 (bit 1) for homed ones; false: there
 * are more of those. */
bool trans_assign(const struct insn *i, struct opmap *m, struct homes *h, unsigned free_mask);
void trans_load_homes(struct trans *t, const struct homes *h);
void trans_store_homes(struct trans *t, const struct homes *h);
/* Scratch registers go on holding @h's registers; where they are held already, and the rest loaded; to
 * memory, and forgotten. */
void trans_hold(struct trans *t, const struct homes *h);
void trans_use_held(struct trans *t, struct homes *h, struct opmap *m, const struct insn *i);
void trans_homes_flush(struct trans *t);
void trans_homes_drop(struct trans *t);

bool trans_is_plain(const struct trans *t, const struct insn *i);
/* LEA of what is in host registers now, into one: can it be; emit it if so. */
bool trans_lea_is_simple(const struct trans *t, const struct insn *i);
bool trans_simple_lea(struct trans *t, const struct insn *i);
/* The host's own instruction, which the guest may use. */
bool trans_is_copied(const struct trans *t, const struct insn *i);
bool trans_has_seg_base(const struct insn *i);
bool trans_needs_no_alignment(const struct insn *i); /* or faults on the host as on the guest */

/* Emit instruction t->k. */
void trans_insn(struct trans *t, const struct insn *i);

#endif
