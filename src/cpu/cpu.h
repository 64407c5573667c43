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

#include "base/bits.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

struct board_chips; /* base/chips.h */
struct lapic_regs;
struct cpuid_out;
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
	/* A level-triggered interrupt has ended. Only with CPU_IRQCHIP_SPLIT. */
	void (*eoi)(void *io, u8 vector);
	void *io;
};

/* Which interrupt chips an engine with struct cpu_chips has. */
enum cpu_irqchip {
	CPU_IRQCHIP_KERNEL, /* all of them: local APICs, I/O APIC, PIC */
	CPU_IRQCHIP_SPLIT,  /* local APICs only */
};

/* CPUID profiles, named on the command line as x86-64-v2, x86-64-v3, max. */
enum cpu_model { CPU_MODEL_V3, CPU_MODEL_V2, CPU_MODEL_MAX };

/* Tests: what two runs of a machine would see differently, supplied by the caller. */
struct cpu_virtual {
	u64 tsc;    /* the host's time-stamp counter */
	u64 random; /* state of RDRAND and RDSEED, see cpu_virtual_random() */
};

/* Optimisations of the software engine that tests switch off one by one. */
#define CPU_OFF_SYSTEM BIT(0) /* SYSCALL, SYSRET, PUSHF and the like inside translated code */
#define CPU_OFF_REP    BIT(1) /* REP MOVS and STOS likewise */
#define CPU_OFF_BITS   BIT(2) /* BT, BTS, BTR, BTC of bit strings in memory likewise */
#define CPU_OFF_FIND   BIT(3) /* jumps to blocks that exist need not leave translated code */
#define CPU_OFF_PV     BIT(4) /* paravirtual end of interrupt, steal time, spin locks are offered */
#define CPU_OFF_GSBASE BIT(5) /* the kernel is not trusted to keep GS base (gsbase.h) */
#define CPU_OFF_AVX512 BIT(8) /* EVEX and opmask instructions are translated */
#define CPU_OFF_FLAGS  BIT(9) /* flags saved for a memory check stay saved until they matter */
#define CPU_OFF_POLL   BIT(10) /* only blocks that can close a loop look for requests */
#define CPU_OFF_ALIGN  BIT(11) /* operands at fixed addresses and wide ones: no alignment test */
#define CPU_OFF_HOMES BIT(14) /* registers without a host register stay in scratch ones for a while */
#define CPU_OFF_ROWS BIT(15) /* accesses near each other share a check */
#define CPU_OFF_LOOKUP BIT(16) /* table look-ups by rsp; operands whose address needs no computation */
#define CPU_OFF_STRADDLE BIT(13) /* instructions across a page's end are translated */
#define CPU_OFF_SAMPLE BIT(12) /* sites whose operands are often misaligned get another check */

/*
 * One register of a CPUID leaf, shown to the guest as (register & ~mask) | value. Bits that stand for
 * features can only be taken away: what the model does not offer stays clear.
 */
struct cpuid_change {
	u32 leaf, subleaf;
	u32 reg; /* 0..3 = eax, ebx, ecx, edx */
	u32 mask, value;
};

struct cpu_config {
	struct mem *mem;
	unsigned nr_vcpus;
	enum cpu_model model;
	const struct cpuid_change *change; /* in this order; borrowed until vm_free() */
	unsigned nr_changes;
	u64 code_cache_bytes; /* software engine: translated code; 0 = default */
	int perf_fd;	      /* software engine: where translated code is listed for perf(1); 0, -1 = nowhere */
	bool interpret_only;  /* software engine: tier 0 only (tests, lockstep) */
	u64 tlb_flush_every;  /* tests: flush translations every N blocks, 0 = never */
	bool stop_at_faults;  /* tests: translated code returns guest exceptions undelivered */
	bool exact_flags;     /* tests: treat every arithmetic flag as live everywhere */
	unsigned max_block;   /* tests: instructions per translated block, 0 = default */
	bool single_block;    /* tests: translated code comes back to C after every block */
	u32 run_insns;	      /* tests: so many instructions per run (64 or more), counted exactly; 0 = off */
	u32 off;	      /* tests: CPU_OFF_*, what translated code leaves to the interpreter */
	struct cpu_virtual *virt; /* tests: borrowed; NULL = the host's */
	u32 kvm_features; /* of CPUID 0x40000001, beyond the clock: set by the engine for itself */
	enum cpu_irqchip irqchip; /* KVM */
	int kvm_fd; /* KVM: /dev/kvm from cpu_kvm_open(), borrowed until vm_free() */
};

/*
 * Interrupt chips inside the engine (docs/decisions/0028). MSI devices send messages by msi().
 * IPIs, INIT, SIPI, NMI by message, x2APIC registers and the TSC deadline never leave the engine.
 *
 * CPU_IRQCHIP_SPLIT: the PIC and the I/O APIC are the board's. The I/O APIC sends by msi() too and
 * tells its entries by route(), and the PIC's wire is CPU_SIG_IRQ to vCPU 0, whose has_irq() and
 * ack_irq() then speak of the PIC alone. CPU_IRQCHIP_KERNEL: devices' wires are line(), and what the
 * guest does with the chips never leaves the engine either.
 *
 * The board's own devices of the kind hold the state while the VM is not running: power-on and load
 * copy it in with set_lapic(), then set_board(), after set_state(); saving copies it out with
 * get_lapic() and get_board() after get_state() (dev/pc/pc.h: lapic_put(), lapic_take() and so on).
 */

struct cpu_chips {
	/* Any thread, never waits. */
	void (*msi)(struct cpu_vm *vm, u64 addr, u32 data);
	/* CPU_IRQCHIP_SPLIT: what pin @pin of the I/O APIC would send. Level-triggered ones are told of by
	 * cpu_io.eoi from then on. Board lock held. */
	void (*route)(struct cpu_vm *vm, unsigned pin, u64 addr, u32 data, bool level);
	/*
	 * CPU_IRQCHIP_KERNEL: the level of a wire, told at its changes. GSI n is input n of the PIC
	 * (n < 16) and pin n of the I/O APIC, but 0 pin 2. Any thread.
	 */
	void (*line)(struct cpu_vm *vm, unsigned gsi, bool level);
	/* Likewise; only while no run() is executing. .line of what is set is where the wires are. */
	void (*get_board)(struct cpu_vm *vm, struct board_chips *ret);
	int (*set_board)(struct cpu_vm *vm, const struct board_chips *s, struct err *e);
	/* Only while run() is not executing. */
	/* Return of get: the vector the PIC gave and the vCPU has not taken, -1 = none: the PIC has it again. */
	int (*get_lapic)(struct vcpu *v, struct lapic_regs *ret);
	int (*set_lapic)(struct vcpu *v, const struct lapic_regs *s, struct err *e);
	/* From now on a guest's write of @size bytes of the value @val (0: any) to @gpa only signals the
	 * eventfd @fd, or no longer. Any thread. Return: 0 or -errno. */
	int (*doorbell)(struct cpu_vm *vm, gpa_t gpa, unsigned size, u64 val, int fd, bool on);
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
	/*
	 * The KVM clock, nanoseconds, at the moment the host's TSC was @tsc, which is about now.
	 * Likewise; set before the vCPUs' state.
	 */
	u64 (*get_clock)(struct cpu_vm *vm, u64 tsc);
	int (*set_clock)(struct cpu_vm *vm, u64 tsc, u64 ns, struct err *e);
	/* What the guest's CPUID says on its first vCPU; once there is one. */
	void (*cpuid)(struct cpu_vm *vm, u32 leaf, u32 subleaf, struct cpuid_out *ret);
	const char *(*error_text)(const struct vcpu *v); /* after CPU_EXIT_ERROR */
	/* Counters as "name value" lines; returns the length needed. */
	size_t (*stats)(const struct vcpu *v, char *buf, size_t len);

	const struct cpu_chips *chips; /* NULL: every interrupt chip is the board's */
	/*
	 * Which frames did guest code write? log_writes() starts or stops noting them; take_writes()
	 * calls @fn for 64 frames at a time of those written since the last call, bit n of @mask
	 * being frame @first + n. What devices write is not in it. Not while run() executes.
	 */
	int (*log_writes)(struct cpu_vm *vm, bool on, struct err *e);
	int (*take_writes)(struct cpu_vm *vm, void (*fn)(void *ctx, u64 first, u64 mask), void *ctx,
			   struct err *e);
};

extern const struct cpu_engine cpu_soft;
/*
 * While the process has one thread: with several the host's kernel takes milliseconds for what
 * machines of more than one CPU need (MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED).
 */
void cpu_soft_prepare(void);
/* Is guest code translated on this host? Else it is interpreted, some twenty times slower. */
bool cpu_soft_translates(void);

/*
 * KVM (cpu/kvm). After run() has started a VM needs of its descriptors, besides mmap'ed memory,
 * only the ioctls KVM_RUN, KVM_INTERRUPT, KVM_NMI, KVM_SIGNAL_MSI, KVM_IRQ_LINE, KVM_SET_GSI_ROUTING,
 * KVM_IOEVENTFD; get_state and set_state (reset, pause, snapshot) KVM_GET_ and KVM_SET_ of REGS,
 * SREGS, XSAVE, XCRS, DEBUGREGS, MSRS, VCPU_EVENTS, MP_STATE, LAPIC, IRQCHIP, DEVICE_ATTR; the clock
 * KVM_GET_CLOCK and KVM_SET_CLOCK; the log of writes KVM_SET_USER_MEMORY_REGION and
 * KVM_GET_DIRTY_LOG. A vCPU is interrupted by tgkill() with CPU_KVM_SIGNAL, whose handler is empty.
 */
extern const struct cpu_engine cpu_kvm;
#define CPU_KVM_SIGNAL (SIGRTMIN + 1)

/*
 * cpu_kvm_open() - /dev/kvm, if it can run an unmodified guest
 *
 * Makes a VM of a few pages and runs a short program in it, which takes far longer where
 * guest code is not run by the processor. Return: a descriptor, or -errno with the reason.
 */
int cpu_kvm_open(struct err *e) MUST_CHECK;

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

/*
 * Host and guest TSC frequency in kHz (tsc.c); found once, then cached: what the host says,
 * else measured in 5 ms. The host's kernel says it only to a process that is not in its jail:
 * cpu_tsc_prepare() asks. cpu_tsc_hint(), before the first use and by one thread: taken if a
 * short look agrees with it, since a machine that goes on saw just that.
 */
u64 cpu_tsc_khz(void);
void cpu_tsc_prepare(void);
void cpu_tsc_hint(u64 likely);

#endif
