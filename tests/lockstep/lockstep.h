// SPDX-License-Identifier: Apache-2.0
/*
 * lockstep.h - the same machine on both tiers of the software engine, compared
 * after every translated block: private to tests/lockstep
 *
 * Two machines with the whole board (vmm/board_pc.c), each with its own memory,
 * a clock that moves only when told, and a time-stamp counter and random numbers
 * from the test. Nothing they do depends on real time, so they stay equal as
 * long as the tiers agree.
 */
#ifndef LOCKSTEP_H
#define LOCKSTEP_H

#include "base/clock_fake.h"
#include "cfg/cfg.h"
#include "cpu/soft/vcpu.h"
#include "ui/chr.h"
#include "vmm/vmm_int.h"

struct options {
	u64 insns;	 /* stop after so many; 0 = when the guest powers off */
	u64 seed;
	u64 ram_every;	 /* instructions between comparisons of the whole RAM */
	u64 ram_from;	 /* none before this instruction */
	u64 fp_every;	 /* blocks between comparisons of the vector registers */
	u64 flush_every; /* blocks between flushes of code and tables */
	u64 memory;	 /* bytes */
	unsigned max_block, run;
	u32 off; /* CPU_OFF_* */
	unsigned ticks; /* of the time-stamp counter per instruction */
	enum cpu_model model;
	bool small_cache, lazy_flags, verbose;
	const char *kernel, *initrd, *cmdline;
};

#define OUT_MAX (4u << 20)

struct machine {
	const char *name;
	struct vm_config cfg;
	struct vm *vm;
	struct vcpu *v;
	struct clock_fake clock;
	struct cpu_virtual virt;
	struct chr serial;
	char *out; /* what the guest wrote to its serial port */
	size_t nr_out;
	const char *input; /* what it has yet to read */
};

struct counts {
	u64 insns, blocks, states, fp, ram, irqs, halts;
};

/* -- machine.c -------------------------------------------------------------------- */

bool machine_new(struct machine *m, const struct options *o, bool translate);
void machine_free(struct machine *m);
void machine_advance(struct machine *m); /* the clock follows the time-stamp counter */
void machine_wait(struct machine *m);	 /* HLT: on to the next timer */
void machine_type(struct machine *m);	 /* pending input, as much as fits */

/* -- compare.c ---------------------------------------------------------------------- */

bool same_state(const struct machine *a, const struct machine *b, bool lazy_flags);
bool same_fp(const struct machine *a, const struct machine *b);
bool same_ram(const struct machine *a, const struct machine *b, bool lazy_flags);
void print_state_difference(const struct machine *a, const struct machine *b,
			    const struct x86_state *before);
void print_fp_difference(const struct machine *a, const struct machine *b);
void print_ram_difference(const struct machine *a, const struct machine *b);
void print_code(const struct machine *m, u64 rip, u64 nr);

#endif
