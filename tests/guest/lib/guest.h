/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.h - what a bare-metal test guest stands on
 *
 * A test program is a few claims: CLAIM(name) { ... EXPECT(condition); ... }. Its
 * command line names the one to check; the answer goes to COM1 in words and to
 * isa-debug-exit as a number: 0x10 (status 33) holds, 0x11 (status 35) does not.
 * Runs in ring 0, 64-bit, interrupts off, PIC and LAPIC as at power-on.
 */
#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

#include "layout.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t i64;

#define BIT(n) (1ull << (n))
#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

/* -- claims ---------------------------------------------------------------------------------- */

struct claim {
	const char *name;
	void (*fn)(void);
};

#define CLAIM(id)                                                                                  \
	static void claim_##id(void);                                                              \
	static const struct claim rec_##id                                                         \
		__attribute__((used, section(".claims"), aligned(8))) = { #id, claim_##id };       \
	static void claim_##id(void)

#define EXPECT(c) ((c) ? (void)0 : fail(__FILE__, __LINE__, #c, 0, 0))
#define EXPECT_EQ(got, want)                                                                       \
	do {                                                                                       \
		u64 g_ = (u64)(got), w_ = (u64)(want);                                             \
		if (g_ != w_)                                                                      \
			fail(__FILE__, __LINE__, #got, g_, w_);                                    \
	} while (0)

_Noreturn void fail(const char *file, int line, const char *what, u64 got, u64 want);
_Noreturn void finish(u32 code);	 /* isa-debug-exit */
void print(const char *fmt, ...);	 /* %s %d %x, on COM1; one line is one call */
extern const char *cmdline, *arg;	 /* all of it; what follows the claim's name */
u64 cmdline_number(const char *key, u64 otherwise); /* of "key=number" in it */

/* -- instructions ------------------------------------------------------------------------------ */

static inline void out8(u16 port, u8 v) { __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port)); }
static inline void out16(u16 port, u16 v) { __asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port)); }
static inline void out32(u16 port, u32 v) { __asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port)); }
static inline u8 in8(u16 port) { u8 v; __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline u16 in16(u16 port) { u16 v; __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline u32 in32(u16 port) { u32 v; __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port)); return v; }

static inline u64 rdmsr(u32 n)
{
	u32 a, d;

	__asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(n));
	return a | (u64)d << 32;
}

static inline void wrmsr(u32 n, u64 v)
{
	__asm__ volatile("wrmsr" ::"a"((u32)v), "d"((u32)(v >> 32)), "c"(n) : "memory");
}

static inline u64 rdtsc(void)
{
	u32 a, d;

	__asm__ volatile("lfence; rdtsc" : "=a"(a), "=d"(d)::"memory");
	return a | (u64)d << 32;
}

static inline void cpuid(u32 leaf, u32 sub, u32 r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

#define CR_FN(n)                                                                                   \
	static inline u64 read_cr##n(void)                                                         \
	{                                                                                          \
		u64 v;                                                                             \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(v)::"memory");                        \
		return v;                                                                          \
	}                                                                                          \
	static inline void write_cr##n(u64 v)                                                      \
	{                                                                                          \
		__asm__ volatile("mov %0, %%cr" #n ::"r"(v) : "memory");                           \
	}
CR_FN(0) CR_FN(2) CR_FN(3) CR_FN(4) CR_FN(8)

static inline void sti(void) { __asm__ volatile("sti; nop" ::: "memory"); }
static inline void cli(void) { __asm__ volatile("cli" ::: "memory"); }
static inline void halt(void) { __asm__ volatile("sti; hlt; cli" ::: "memory"); }
static inline void pause(void) { __asm__ volatile("pause" ::: "memory"); }
static inline void invlpg(u64 va) { __asm__ volatile("invlpg (%0)" ::"r"(va) : "memory"); }

/* Memory-mapped registers. */
static inline u32 read32(u64 a) { return *(volatile u32 *)a; }
static inline void write32(u64 a, u32 v) { *(volatile u32 *)a = v; }

/* -- exceptions and interrupts -------------------------------------------------------------------- */

struct frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	u64 vector, error, rip, cs, rflags, rsp, ss;
};

extern volatile struct caught {
	u64 vector, error, rip, cr2, rflags, dr6;
	u64 count;
} caught;
extern volatile u64 resume, resume_rsp; /* where to go on after an exception; 0 = none is expected */

#define NO_FAULT 0x100

/* Run one instruction (assembler text, operands): what it raised is in caught, NO_FAULT if nothing. */
#define CATCH(insn, ...)                                                                           \
	do {                                                                                       \
		caught.vector = NO_FAULT;                                                          \
		__asm__ volatile("lea 77f(%%rip), %%r15\n\tmov %%r15, resume(%%rip)\n\t"           \
				 "mov %%rsp, resume_rsp(%%rip)\n\t" insn                            \
				 "\n77:\n\tmovq $0, resume(%%rip)" __VA_ARGS__);                   \
	} while (0)

/* Handlers by vector, called with the frame; NULL counts in irqs[] and sends EOI to the local APIC. */
typedef void handler(struct frame *f);
extern handler *handlers[256];
extern volatile u32 irqs[256];
void set_gate(unsigned vector, u64 at, unsigned type_dpl, unsigned ist);

void user_call(void (*fn)(void));
extern volatile u64 user_result; /* rax at the INT 80h */
void leave_user(struct frame *f); /* in a handler: back to where user_call() was called */

/* -- memory ------------------------------------------------------------------------------------------ */

#define PTE_P	BIT(0)
#define PTE_W	BIT(1)
#define PTE_U	BIT(2)
#define PTE_A	BIT(5)
#define PTE_D	BIT(6)
#define PTE_PS	BIT(7)
#define PTE_G	BIT(8)
#define PTE_NX	BIT(63)

void *memset(void *d, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
void *alloc(size_t size, size_t align); /* zeroed, for good, from 16 MiB up */
u64 *pte_of(u64 va);	/* the 4 KiB entry for @va, tables made on the way (2 MiB pages are not split) */
extern u64 pml4[512], pdpt[512], pd[2048];

/* -- local APIC, time, other CPUs ----------------------------------------------------------------------- */

#define LAPIC 0xfee00000ull
enum { LAPIC_ID = 0x20, LAPIC_VER = 0x30, LAPIC_TPR = 0x80, LAPIC_PPR = 0xa0, LAPIC_EOI = 0xb0,
       LAPIC_LDR = 0xd0, LAPIC_DFR = 0xe0, LAPIC_SVR = 0xf0, LAPIC_ISR = 0x100, LAPIC_TMR = 0x180,
       LAPIC_IRR = 0x200, LAPIC_ESR = 0x280, LAPIC_ICR = 0x300, LAPIC_ICR2 = 0x310,
       LAPIC_LVTT = 0x320, LAPIC_LINT0 = 0x350, LAPIC_LINT1 = 0x360, LAPIC_LVTE = 0x370,
       LAPIC_TMICT = 0x380, LAPIC_TMCCT = 0x390, LAPIC_TDCR = 0x3e0 };

static inline u32 lapic(unsigned reg) { return read32(LAPIC + reg); }
static inline void lapic_set(unsigned reg, u32 v) { write32(LAPIC + reg, v); }
void lapic_on(void); /* software enable, spurious vector 0xff; the PIC masked */
void ipi(unsigned cpu, u32 icr);

u64 tsc_hz(void);	       /* by the ACPI PM timer */
u64 pm_us(void);	       /* microseconds by the PM timer, wrapping after 20 minutes */
void delay_us(u64 us);
bool wait_for(volatile u32 *count, u32 want, u64 us); /* spins with interrupts on */

unsigned nr_cpus(void); /* by the command line: "cpus=N" */
unsigned cpu_id(void);
/* Start CPU @n: fn(arg) runs on it, then it halts with interrupts off. */
void start_cpu(unsigned n, void (*fn)(void *arg), void *arg);
extern volatile u32 cpus_up; /* how many have come to C */

/* -- PCI ---------------------------------------------------------------------------------------------------- */

u32 pci_read(unsigned slot, unsigned reg); /* bus 0, function 0, by 0xcf8; reg a multiple of 4 */
void pci_write(unsigned slot, unsigned reg, u32 v);
int pci_find(u16 vendor, u16 device); /* slot or -1 */
unsigned pci_cap(unsigned slot, u8 id, unsigned after); /* offset, 0 = no more */
u64 pci_bar(unsigned slot, unsigned n);
/* Vector @vector from MSI-X entry @n, entries unmasked, MSI-X on. */
void msix_set(unsigned slot, unsigned n, u8 vector);

#endif
