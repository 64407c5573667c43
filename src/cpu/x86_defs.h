// SPDX-License-Identifier: Apache-2.0
/*
 * x86_defs.h - architectural constants, with their section of the Intel SDM
 * volume 3A as [SDM 3A n] or of the AMD APM volume 2 as [APM2 n]
 */
#ifndef CPU_X86_DEFS_H
#define CPU_X86_DEFS_H

#include "base/bits.h"

enum x86_gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

enum x86_segreg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, NR_SEGS, SEG_NONE = 7 };

/* clang-format off */

/* RFLAGS [SDM 3A 2.3] */
#define FL_CF	BIT(0)
#define FL_ONE	BIT(1)
#define FL_PF	BIT(2)
#define FL_AF	BIT(4)
#define FL_ZF	BIT(6)
#define FL_SF	BIT(7)
#define FL_TF	BIT(8)
#define FL_IF	BIT(9)
#define FL_DF	BIT(10)
#define FL_OF	BIT(11)
#define FL_IOPL	(3u << 12)
#define FL_NT	BIT(14)
#define FL_RF	BIT(16)
#define FL_VM	BIT(17)
#define FL_AC	BIT(18)
#define FL_VIF	BIT(19)
#define FL_VIP	BIT(20)
#define FL_ID	BIT(21)
#define FL_ARITH (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

/* Exception vectors [SDM 3A 6.15] */
enum {
	EX_DE = 0, EX_DB = 1, EX_NMI = 2, EX_BP = 3, EX_OF = 4, EX_BR = 5, EX_UD = 6, EX_NM = 7,
	EX_DF = 8, EX_TS = 10, EX_NP = 11, EX_SS = 12, EX_GP = 13, EX_PF = 14, EX_MF = 16,
	EX_AC = 17, EX_MC = 18, EX_XM = 19,
};

/* Page-fault error code [SDM 3A 4.7] */
#define PF_P	BIT(0)
#define PF_W	BIT(1)
#define PF_U	BIT(2)
#define PF_RSVD	BIT(3)
#define PF_I	BIT(4)
#define PF_PK	BIT(5)

/* CR0 [SDM 3A 2.5] */
#define CR0_PE	BIT(0)
#define CR0_MP	BIT(1)
#define CR0_EM	BIT(2)
#define CR0_TS	BIT(3)
#define CR0_ET	BIT(4)
#define CR0_NE	BIT(5)
#define CR0_WP	BIT(16)
#define CR0_AM	BIT(18)
#define CR0_NW	BIT(29)
#define CR0_CD	BIT(30)
#define CR0_PG	BIT(31)

/* CR4 [SDM 3A 2.5] */
#define CR4_VME		BIT(0)
#define CR4_PVI		BIT(1)
#define CR4_TSD		BIT(2)
#define CR4_DE		BIT(3)
#define CR4_PSE		BIT(4)
#define CR4_PAE		BIT(5)
#define CR4_MCE		BIT(6)
#define CR4_PGE		BIT(7)
#define CR4_PCE		BIT(8)
#define CR4_OSFXSR	BIT(9)
#define CR4_OSXMMEXCPT	BIT(10)
#define CR4_UMIP	BIT(11)
#define CR4_LA57	BIT(12)
#define CR4_FSGSBASE	BIT(16)
#define CR4_PCIDE	BIT(17)
#define CR4_OSXSAVE	BIT(18)
#define CR4_SMEP	BIT(20)
#define CR4_SMAP	BIT(21)
#define CR4_PKE		BIT(22)

/* EFER [SDM 3A 2.2.1] */
#define EFER_SCE	BIT(0)
#define EFER_LME	BIT(8)
#define EFER_LMA	BIT(10)
#define EFER_NXE	BIT(11)
#define EFER_SVME	BIT(12)
#define EFER_LMSLE	BIT(13)
#define EFER_FFXSR	BIT(14)

/* XCR0 state components [SDM 1 13.1] */
#define XCR0_X87	BIT_ULL(0)
#define XCR0_SSE	BIT_ULL(1)
#define XCR0_AVX	BIT_ULL(2)
#define XCR0_OPMASK	BIT_ULL(5)
#define XCR0_ZMM_HI256	BIT_ULL(6)
#define XCR0_HI16_ZMM	BIT_ULL(7)
#define XCR0_AVX512	(XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)

/* Segment attributes: bits 8..23 of a descriptor's high dword, shifted down by 8 [SDM 3A 3.4.5] */
#define SA_TYPE		0x000f
#define SA_ACCESSED	0x0001
#define SA_RW		0x0002	/* data: writable; code: readable */
#define SA_DC		0x0004	/* data: expand down; code: conforming */
#define SA_CODE		0x0008
#define SA_S		0x0010	/* code or data, not system */
#define SA_DPL		0x0060
#define SA_DPL_SHIFT	5
#define SA_P		0x0080
#define SA_AVL		0x1000
#define SA_L		0x2000
#define SA_DB		0x4000
#define SA_G		0x8000
#define SA_UNUSABLE	0x10000	/* ours: a null selector was loaded */

/* Page-table entry bits [SDM 3A 4.5] */
#define PTE_P	BIT_ULL(0)
#define PTE_W	BIT_ULL(1)
#define PTE_U	BIT_ULL(2)
#define PTE_PWT	BIT_ULL(3)
#define PTE_PCD	BIT_ULL(4)
#define PTE_A	BIT_ULL(5)
#define PTE_D	BIT_ULL(6)
#define PTE_PS	BIT_ULL(7)
#define PTE_G	BIT_ULL(8)
#define PTE_NX	BIT_ULL(63)

/* MSR numbers [SDM 4 2.1], [APM2 A] */
#define MSR_TSC			0x10
#define MSR_APIC_BASE		0x1b
#define MSR_TSC_ADJUST		0x3b
#define MSR_SPEC_CTRL		0x48
#define MSR_PRED_CMD		0x49
#define MSR_MTRRCAP		0xfe
#define MSR_ARCH_CAPABILITIES	0x10a
#define MSR_SYSENTER_CS		0x174
#define MSR_SYSENTER_ESP	0x175
#define MSR_SYSENTER_EIP	0x176
#define MSR_MCG_CAP		0x179
#define MSR_MCG_STATUS		0x17a
#define MSR_MISC_ENABLE		0x1a0
#define MSR_PAT			0x277
#define MSR_MTRR_DEFTYPE	0x2ff
#define MSR_TSC_DEADLINE	0x6e0
#define MSR_X2APIC_FIRST	0x800
#define MSR_X2APIC_LAST		0x8ff
#define MSR_XSS			0xda0
#define MSR_EFER		0xc0000080
#define MSR_STAR		0xc0000081
#define MSR_LSTAR		0xc0000082
#define MSR_CSTAR		0xc0000083
#define MSR_SFMASK		0xc0000084
#define MSR_FS_BASE		0xc0000100
#define MSR_GS_BASE		0xc0000101
#define MSR_KERNEL_GS_BASE	0xc0000102
#define MSR_TSC_AUX		0xc0000103
#define MSR_KVM_WALL_CLOCK_NEW	0x4b564d00
#define MSR_KVM_SYSTEM_TIME_NEW	0x4b564d01
#define MSR_KVM_STEAL_TIME	0x4b564d03
#define MSR_KVM_PV_EOI		0x4b564d04

/* CPUID 0x40000001 EAX */
#define KVM_STEAL_TIME BIT(5)
#define KVM_PV_EOI     BIT(6)
#define KVM_PV_UNHALT  BIT(7)

/* clang-format on */

#endif
