// SPDX-License-Identifier: Apache-2.0
/*
 * guestvm.h - unit tests of whole-machine behaviour: a tiny guest on the public
 * software engine, interpreted or translated
 *
 * RAM is GV_RAM bytes. The first 2 MiB are identity-mapped by 4 KiB supervisor
 * pages; tests add mappings with gv_map(). The guest runs in 64-bit mode at
 * privilege 0 from GV_CODE until it writes to port GV_END or raises an exception:
 * the handler of vector n writes to port n, with the exception's frame at rsp,
 * on a stack of its own.
 */
#ifndef CPU_SOFT_GUESTVM_H
#define CPU_SOFT_GUESTVM_H

#include "cpu/soft/vcpu.h"

#define GV_RAM (16u << 20)

enum { /* guest-physical = linear */
	GV_PML4 = 0x1000,
	GV_TABLES = 0x800000, /* gv_map() takes table pages from here up */
	GV_GDT = 0x8000,
	GV_IDT = 0x9000,
	GV_TSS = 0xa000,
	GV_HANDLERS = 0xb000, /* vector n at + 16 * n */
	GV_CODE = 0x10000,
	GV_DATA = 0x20000,
	GV_STACK = 0x40000, /* top */
	GV_RSP0 = 0x48000,
	GV_IST1 = 0x4c000, /* exceptions */
	GV_USER_STACK = 0x50000,
	GV_FREE = 0x200000, /* RAM nobody uses, not mapped */
};

enum { /* selectors */
	GV_CS = 0x08,
	GV_DS = 0x10,
	GV_UCS32 = 0x1b,
	GV_UDS = 0x23,
	GV_UCS = 0x2b,
};

enum { GV_END = 0xf4, GV_HOOK = 0xe0 /* .. 0xef: calls hook() */ };

enum gv_tier { GV_T0, GV_T1, GV_T1_EXACT, GV_T1_SINGLE, GV_T1_OFF /* what can be switched off is */, NR_GV_TIERS };

struct gv {
	struct mem *mem;
	struct cpu_vm *vm;
	struct vcpu *v;
	struct x86_state s; /* before: gv_new() fills it, tests adjust; after gv_run(): the result */
	u64 next_table;
	int vector;	    /* exception that ended the run, -1 = GV_END, -2 = something else */
	u64 error, rip, cs, rflags, rsp; /* its frame; error is 0 for vectors without one */
	void (*hook)(struct gv *g, u16 port, u64 val);
	int irq;	    /* vector to be acknowledged, -1 = none */
	void *arg;
};

/* NULL: no room for guest memory (sanitizers), or no translator on this host. */
struct gv *gv_new(enum gv_tier t);
struct gv *gv_new_config(const struct cpu_config *c); /* .mem is ignored */
void gv_free(struct gv *g);

void gv_put(struct gv *g, gpa_t gpa, unsigned size, u64 val); /* as a device writes */
u64 gv_get(struct gv *g, gpa_t gpa, unsigned size);
u64 *gv_pte(struct gv *g, u64 cr3, u64 la); /* 4 KiB leaf, in guest RAM; tables are made */
void gv_map(struct gv *g, u64 la, gpa_t gpa, u64 flags); /* in GV_PML4 */
void gv_code(struct gv *g, gpa_t gpa, const u8 *code, const u8 *end);
void gv_user(struct gv *g); /* privilege 3; pages need PTE_U */
void gv_gate(struct gv *g, u8 vector, u64 handler);

/* Run from g->s until the guest ends or 5 seconds are over; fills the results. */
void gv_run(struct gv *g);
u64 gv_stat(struct gv *g, const char *name);

/* for (each tier) with a fresh guest; nothing at all where there is no room for one. */
#define EACH_TIER(g)                                                                               \
	for (unsigned t_##g = 0; t_##g < NR_GV_TIERS; t_##g++)                                     \
		for (struct gv *g = gv_new(t_##g); g; gv_free(g), g = NULL)
#define GV_LOAD(g, name) gv_code(g, GV_CODE, name, name##_end)

/* Guest code in the source: GUEST(name, "insn; insn") makes name[] and name_end[]. */
#define GUEST(name, text)                                                                          \
	extern const u8 name[], name##_end[];                                                      \
	__asm__(".pushsection .rodata\n.balign 64\n" #name ":\n" text "\n" #name "_end:\n.popsection")
#define GV_FINISH "\nout %al, $0xf4\nhlt\n"

#endif
