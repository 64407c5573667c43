// SPDX-License-Identifier: Apache-2.0
/*
 * cpu.h - an engine that runs x86 vCPUs: KVM or software, same contract
 *
 * One struct cpu_vm per virtual machine holds what its vCPUs share (guest
 * memory, CPUID model, translated code); one struct vcpu per virtual CPU. Each
 * vCPU runs on a thread of its own. The engine reaches everything that is not
 * RAM through struct cpu_io; its implementation (vmm) takes the board lock.
 */
#ifndef CPU_CPU_H
#define CPU_CPU_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

struct mem;
struct vcpu;
struct cpu_vm;
struct x86_state; /* cpu/x86_state.h */

enum cpu_exit {
	CPU_EXIT_KICKED,   /* CPU_SIG_KICK was sent */
	CPU_EXIT_SHUTDOWN, /* triple fault */
	CPU_EXIT_ERROR,	   /* the engine cannot go on; see vcpu error text */
};

enum cpu_signal {
	CPU_SIG_IRQ,  /* the local APIC or PIC may have an interrupt: call ack_irq when IF allows */
	CPU_SIG_NMI,
	CPU_SIG_INIT,
	CPU_SIG_SIPI, /* arg: start vector */
	CPU_SIG_KICK, /* make run() return */
};

/* How a vCPU reaches everything that is not RAM. Called on the vCPU's thread. */
struct cpu_io {
	u64 (*in)(void *io, u16 port, unsigned size);
	void (*out)(void *io, u16 port, unsigned size, u64 val);
	u64 (*load)(void *io, gpa_t gpa, unsigned size);
	void (*store)(void *io, gpa_t gpa, unsigned size, u64 val);
	/* Take the highest-priority deliverable vector from this vCPU's LAPIC (or the PIC by
	 * ExtINT); -1 if none. */
	int (*ack_irq)(void *io);
	/* Is there one? Same rules, takes nothing. */
	bool (*has_irq)(void *io);
	/* MSR_APIC_BASE, MSR_TSC_DEADLINE, x2APIC 0x800..0x8ff; false = #GP. */
	bool (*apic_rdmsr)(void *io, u32 msr, u64 *ret);
	bool (*apic_wrmsr)(void *io, u32 msr, u64 val);
	u8 (*get_cr8)(void *io); /* TPR bits 7:4 */
	void (*set_cr8)(void *io, u8 val);
	/* The guest wrote its TSC: guest TSC = host TSC + offset from now on. May be NULL. */
	void (*tsc_moved)(void *io, u64 offset);
	u64 (*wall_ns)(void *io); /* UTC for the KVM wall clock, nanoseconds since 1970 */
	void *io;
};

/* CPUID profiles, named on the command line as x86-64-v2, x86-64-v3, max. */
enum cpu_model { CPU_MODEL_V3, CPU_MODEL_V2, CPU_MODEL_MAX };

/* Tests: what two runs of a machine would see differently, supplied by the caller. */
struct cpu_virtual {
	u64 tsc;    /* the host's time-stamp counter */
	u64 random; /* state of RDRAND and RDSEED, see cpu_virtual_random() */
};

struct cpu_config {
	struct mem *mem;
	unsigned nr_vcpus;
	enum cpu_model model;
	u64 code_cache_bytes; /* software engine: translated code; 0 = default */
	bool interpret_only;  /* software engine: tier 0 only (tests, lockstep) */
	u64 tlb_flush_every;  /* tests: flush translations every N blocks, 0 = never */
	bool stop_at_faults;  /* tests: translated code returns guest exceptions undelivered */
	bool exact_flags;     /* tests: treat every arithmetic flag as live everywhere */
	unsigned max_block;   /* tests: instructions per translated block, 0 = default */
	bool single_block;    /* tests: translated code comes back to C after every block */
	u32 run_insns;	      /* tests: so many instructions per run (64 or more), counted exactly; 0 = off */
	struct cpu_virtual *virt; /* tests: borrowed; NULL = the host's */
};

struct cpu_engine {
	const char *name; /* "kvm", "soft" */
	struct cpu_vm *(*vm_new)(const struct cpu_config *c, struct err *e);
	void (*vm_free)(struct cpu_vm *vm);
	struct vcpu *(*vcpu_new)(struct cpu_vm *vm, unsigned index, const struct cpu_io *io,
				 struct err *e);
	void (*vcpu_free)(struct vcpu *v);
	enum cpu_exit (*run)(struct vcpu *v); /* on the vCPU's thread; HLT sleeps inside */
	void (*signal)(struct vcpu *v, enum cpu_signal sig, u8 arg); /* any thread */
	/* Only while run() is not executing. */
	void (*get_state)(struct vcpu *v, struct x86_state *ret);
	int (*set_state)(struct vcpu *v, const struct x86_state *s, struct err *e);
	/* The KVM clock, nanoseconds, at the moment the host's TSC was @tsc. Likewise. */
	u64 (*get_clock)(struct cpu_vm *vm, u64 tsc);
	void (*set_clock)(struct cpu_vm *vm, u64 tsc, u64 ns);
	const char *(*error_text)(const struct vcpu *v); /* after CPU_EXIT_ERROR */
	/* Counters as "name value" lines; returns the length needed. */
	size_t (*stats)(const struct vcpu *v, char *buf, size_t len);
};

extern const struct cpu_engine cpu_soft;

/* -- CPUID model (cpuid.c), shared by the engines --------------------------- */

struct cpuid_out {
	u32 eax, ebx, ecx, edx;
};

/* What the guest sees; dynamic bits (OSXSAVE, XSAVE size, APIC id) from the arguments. */
void cpu_model_cpuid(const struct cpu_config *c, const struct x86_state *s, unsigned index,
		     u32 leaf, u32 subleaf, struct cpuid_out *ret);
u64 cpu_model_xcr0(enum cpu_model m); /* state components offered; subset of the host's */
unsigned cpu_model_phys_bits(void);   /* MAXPHYADDR: the host's, at most 46 */
bool cpu_model_is_amd(void);	      /* vendor shown to the guest: the host's */

/* The next number of a sequence that depends on v->random alone. */
u64 cpu_virtual_random(struct cpu_virtual *v);

/* Host and guest TSC frequency in kHz (tsc.c); found once, then cached. */
u64 cpu_tsc_khz(void);

#endif
