// SPDX-License-Identifier: Apache-2.0
/*
 * sysvm.h - unit tests of system behaviour: one vCPU in kernel mode with
 * descriptor tables, a TSS and page tables of its own
 *
 * The first 2 MiB of RAM are identity-mapped by 4 KiB supervisor pages through
 * SV_PT; SV_USER is one user page. Everything the vCPU does outside RAM goes to
 * a log.
 */
#ifndef CPU_SOFT_SYSVM_H
#define CPU_SOFT_SYSVM_H

#include "cpu/soft/vcpu.h"

enum { /* guest-physical = linear */
	SV_PML4 = 0x1000,
	SV_PDPT = 0x2000,
	SV_PD = 0x3000,
	SV_PT = 0x4000,
	SV_PT2 = 0x5000, /* free table pages */
	SV_PT3 = 0x6000,
	SV_GDT = 0x8000,
	SV_IDT = 0x9000,
	SV_TSS = 0xa000,
	SV_TSS2 = 0xb000,
	SV_CODE = 0x10000,
	SV_DATA = 0x11000,
	SV_STACK = 0x20000, /* tops grow down from here, */
	SV_RSP0 = 0x30000,  /* here */
	SV_IST1 = 0x40008,  /* and here (misaligned on purpose) */
	SV_USER = 0x50000,  /* user page */
	SV_HANDLER = 0x60000, /* vector n: at + 16 * n */
};

enum { /* selectors */
	SV_CS = 0x08,	  /* 64-bit code, DPL 0 */
	SV_DS = 0x10,	  /* data, DPL 0 */
	SV_UCS32 = 0x18,  /* 32-bit code, DPL 3 */
	SV_UDS = 0x20,	  /* data, DPL 3 */
	SV_UCS = 0x28,	  /* 64-bit code, DPL 3 */
	SV_TR = 0x30,	  /* TSS, two slots */
	SV_CS32 = 0x40,	  /* 32-bit code, DPL 0 */
	SV_FREE = 0x48,	  /* not present until a test fills it */
	SV_FREE2 = 0x50,
	SV_CS16 = 0x58,	  /* 16-bit code, DPL 0 */
	SV_GDT_SIZE = 0x80,
};

struct vcpu *sysvm_new(void); /* 64-bit mode, CPL 0 */
void sysvm_free(struct vcpu *v);

/* Modes; tables stay as they are. */
void sysvm_legacy(struct vcpu *v, bool paging); /* 32-bit flat, CPL 0; IDT of 8-byte gates */
void sysvm_real(struct vcpu *v);
void sysvm_cpl3(struct vcpu *v); /* 64-bit user mode at SV_USER */

void sysvm_put(struct vcpu *v, gpa_t gpa, unsigned size, u64 val);
u64 sysvm_get(struct vcpu *v, gpa_t gpa, unsigned size);
void sysvm_pte(struct vcpu *v, u64 la, u64 val); /* entry of the first 2 MiB; no flush */
u64 sysvm_get_pte(struct vcpu *v, u64 la);
void sysvm_desc(struct vcpu *v, u16 sel, u64 desc);
void sysvm_gate(struct vcpu *v, u8 vector, u8 type, u8 dpl, u8 ist, u16 sel);

/* Put @code at rip's page and execute one instruction; the result of interp_step(). */
int sysvm_exec(struct vcpu *v, const void *code, unsigned len);

extern u64 sysvm_log[16]; /* last MMIO accesses: gpa << 8 | write << 7 | size */
extern unsigned sysvm_nr_log;

#endif
