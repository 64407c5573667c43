// SPDX-License-Identifier: Apache-2.0
/*
 * vcpu.h - one software vCPU: private to cpu/soft
 *
 * All of cpu/soft is compiled with -mgeneral-regs-only: while fp_live is set the
 * guest's x87/SSE/AVX registers ARE the host's, so no C code that may touch
 * vector registers (libc included: memcpy, printf, pthread) runs before
 * fp_park(). The io_*() wrappers below park by themselves.
 *
 * Step results. Functions that can raise an exception return int: X_OK, or
 * X_FAULT with v->exc filled and no architectural change made by the failing
 * instruction (TRY() propagates). The run loop delivers it.
 */
#ifndef CPU_SOFT_VCPU_H
#define CPU_SOFT_VCPU_H

#include "base/bits.h"
#include "base/compiler.h"
#include "base/types.h"
#include "cpu/cpu.h"
#include "cpu/x86_state.h"
#include "mem/mem.h"

#include <unistd.h>

#undef X_OK /* unistd.h's, for access(): included here so that it cannot come back later */
enum { X_OK = 0, X_FAULT = 1 };

/* An exception raised and not yet delivered. */
struct x86_exc {
	u8 vector;
	bool has_error;
	u32 error;
	u64 addr; /* #PF: goes to CR2 on delivery */
	u64 dr6;  /* #DB: bits to set in DR6 on delivery */
};

/* exit_req bits: why the vCPU must leave translated code at the next poll. */
#define REQ_IRQ	  BIT(0) /* the interrupt controller has something */
#define REQ_NMI	  BIT(1)
#define REQ_INIT  BIT(2)
#define REQ_SIPI  BIT(3)
#define REQ_KICK  BIT(4)
#define REQ_CODE  BIT(5) /* code pages were written by another thread: see code.h */
#define REQ_UNHALT BIT(7) /* a guest's kick: go on behind HLT */
#define REQ_HOLD  BIT(6) /* another vCPU wants this one idle: smp.h */

/* What translated code and its entry and exit paths keep in memory (jit_stubs.c). */
struct jit_regs {
	u64 host_rsp; /* the C stack while translated code runs */
	u64 target;   /* host address to enter at */
	u64 flags;    /* guest arithmetic flags on exit, as in RFLAGS */
	u64 packed;   /* the same across the jump table: ah as by LAHF, al = OF */
	u64 rax;      /* guest rax while eax holds flags */
	u64 tmp;      /* one guest value across a second memory check */
	u64 pc;	      /* exit: host address behind the exiting call */
	u64 site;     /* exit: index of the guest instruction in its block */
	u64 last;     /* code offset of the last indirect branch but calls */
	u64 ret;      /* interpreter call: where to continue */
	struct table *active; /* gs base is its e */
	struct table *user;   /* that of user mode now */
	u64 syscall_odd;      /* non-zero: SYSCALL and SYSRET are the interpreter's (jit.c) */
	i64 misaligned; /* misaligned accesses until one is a sample; negative: this one (jit.c) */
	i64 left;     /* cfg.run_insns: to go; counted down at the start of each block */
};

/* Steal time (pvsteal.c): what the last look saw. */
struct pvsteal {
	u64 tsc;    /* then */
	u64 cpu_ns; /* the thread's CPU time */
	u64 slept;  /* TSC cycles in HLT since */
	u64 total;  /* ns reported */
};

struct vcpu {
	struct x86_state s; /* must be first: translated code addresses s.gpr from rsp */

	struct jit_regs jr;   /* scratch of translated code, addressed from rsp */

	_Atomic u32 exit_req; /* REQ_*, set by any thread, polled by translated code */
	_Atomic bool idle;    /* executes nothing: others may change its tables (smp.h) */
	_Atomic u32 hold;     /* enum smp_hold: stay idle */
	_Atomic u64 writing;  /* frame + 1 that this instruction may write by a pointer, 0 = none */
	_Atomic bool asleep;  /* in futex on exit_req: soft_request() must wake it */
	bool unhalt;	      /* REQ_UNHALT seen: the next HLT does not wait */
	bool irq_waiting;     /* REQ_IRQ seen while IF=0: look again when IF is set */
	bool fp_live;	      /* the guest's FP registers are in the host's */
	u8 cpl;
	u8 sipi_vector;
	u32 pauses; /* PAUSE instructions executed */
	struct pvsteal steal;
	u64 halt_poll; /* TSC cycles to poll before HLT sleeps */

	struct x86_exc exc; /* valid after X_FAULT */
	u64 next_rip;	    /* during one interpreted instruction; branches change it */
	bool in_rep;	    /* a REP instruction stopped between iterations: rip stays */
	bool rep_goes_on;   /* it stopped so before this step, and nothing came between */
	u64 rep_flags;	    /* rflags before its first element */
	u8 db_hits;	    /* data breakpoints this instruction hit (DR6 B0..B3): mmu.c and
			     * op_sys.c set bits, interp_step() raises #DB and clears them */
	u64 tsc_base;	    /* host TSC that is time 0 of the KVM clock, the same on every vCPU */

	unsigned index;
	struct cpu_vm *vm;
	struct mem *mem;
	struct cpu_io io;
	struct cpu_config cfg;
	struct mmu *mmu;     /* mmu.c: tagged translation cache */
	struct jit *jit;     /* translator's per-vCPU state; NULL = interpreter only */
	struct icache *icache; /* interp.c: decoded instructions; NULL = decode every time */
	struct vec_stub *vec; /* vec.c: native stubs for vector instructions */
	u64 nr_halts, nr_irqs;
	u64 executed[4][256]; /* interpreted instructions, by enum insn_map and opcode */
	char error[160];
};

/* Zeroed, directly above the stack of its translated code, with a guard page below (soft.c). */
struct vcpu *vcpu_alloc(void);
void vcpu_release(struct vcpu *v);

static inline bool is_long64(const struct vcpu *v) /* 64-bit code segment active */
{
	return (v->s.efer & EFER_LMA) && (v->s.seg[SEG_CS].attr & SA_L);
}

static inline bool is_long(const struct vcpu *v) /* IA-32e mode, compatibility included */
{
	return v->s.efer & EFER_LMA;
}

static inline bool is_protected(const struct vcpu *v)
{
	return v->s.cr0 & CR0_PE;
}

static inline bool is_vm86(const struct vcpu *v)
{
	return v->s.rflags & FL_VM;
}

static inline bool is_real(const struct vcpu *v)
{
	return !(v->s.cr0 & CR0_PE);
}

static inline bool is_canonical(u64 la) /* 48-bit; LA57 is not offered */
{
	return (u64)((i64)(la << 16) >> 16) == la;
}

/* -- the run loop (soft.c): also for tests that step vCPUs themselves ---------- */

enum soft_turn { TURN_STEP, TURN_WAIT, TURN_KICKED, TURN_SHUTDOWN };

/* Take what other threads asked for and the events due at this instruction boundary; what is
 * to happen next. */
enum soft_turn soft_take_events(struct vcpu *v);

/* -- raising exceptions (excp.c) --------------------------------------------- */

int raise_ex(struct vcpu *v, u8 vector);		     /* no error code; returns X_FAULT */
int raise_err(struct vcpu *v, u8 vector, u32 error);	     /* with error code */
int raise_pf(struct vcpu *v, u64 la, u32 error);
int raise_db(struct vcpu *v, u64 dr6_bits);

/*
 * Deliver v->exc, or an external/software interrupt, through the IDT or IVT:
 * pushes the frame, handles faults during delivery (contributory, double), and
 * returns X_OK, or X_SHUTDOWN on a triple fault. [SDM 3A 6]
 */
#define X_SHUTDOWN 2
int deliver_exception(struct vcpu *v);
int deliver_interrupt(struct vcpu *v, u8 vector);	     /* external (or NMI: vector 2) */
/* INT n / INT3 / INTO / INT1 from the instruction stream: checks gate DPL, returns X_FAULT to
 * have the raised fault delivered as usual. next_rip is the saved RIP. */
int software_interrupt(struct vcpu *v, u8 vector);

/* -- the interpreter (interp.c) ------------------------------------------------ */

/*
 * Execute exactly one instruction (or one bounded chunk of a REP) at s.rip.
 * Return: X_OK with s.rip advanced, X_FAULT, or X_SHUTDOWN.
 * Single-step and data-breakpoint #DB traps are raised here, after the instruction.
 */
int interp_step(struct vcpu *v);

/* v->icache; allocates, so not while fp_live. NULL when out of memory (slower, still right). */
struct icache *icache_new(void);
void icache_free(struct icache *c);

/* -- guest FP state (xstate.c) -------------------------------------------------- */

void fp_park(struct vcpu *v);	/* live registers -> s.xsave; restores host MXCSR/FCW defaults */
void fp_unpark(struct vcpu *v); /* s.xsave -> live registers */

/* -- the outside world (io.c): parks FP, then calls v->io ------------------------- */

u64 io_in(struct vcpu *v, u16 port, unsigned size);
void io_out(struct vcpu *v, u16 port, unsigned size, u64 val);
u64 io_load(struct vcpu *v, gpa_t gpa, unsigned size);
void io_store(struct vcpu *v, gpa_t gpa, unsigned size, u64 val);
int io_ack_irq(struct vcpu *v);
bool io_has_irq(struct vcpu *v);
bool io_apic_rdmsr(struct vcpu *v, u32 msr, u64 *ret);
bool io_apic_wrmsr(struct vcpu *v, u32 msr, u64 val);
u8 io_get_cr8(struct vcpu *v);
void io_set_cr8(struct vcpu *v, u8 val);
void io_tsc_moved(struct vcpu *v); /* tsc_offset changed */
u64 io_wall_ns(struct vcpu *v);

/* Copies without touching vector registers. */
static inline void copy_bytes(void *dst, const void *src, size_t len)
{
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(len) : : "memory");
}

static inline void zero_bytes(void *dst, size_t len)
{
	__asm__ volatile("rep stosb" : "+D"(dst), "+c"(len) : "a"(0) : "memory");
}

#endif
