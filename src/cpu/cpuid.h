// SPDX-License-Identifier: Apache-2.0
/*
 * cpuid.h - the features a CPU model offers, by name
 */
#ifndef CPU_CPUID_H
#define CPU_CPUID_H

#include "cpu/cpu.h"

/* Offered features other code asks about; cpuid.c has the whole table. */
enum cpu_feature {
	CPUF_NONE, /* a row nobody asks for by name */
	CPUF_PCID,
	CPUF_X2APIC,
	CPUF_TSC_DEADLINE,
	CPUF_POPCNT,
	CPUF_MOVBE,
	CPUF_AES,
	CPUF_PCLMULQDQ,
	CPUF_XSAVE,
	CPUF_XSAVEOPT,
	CPUF_XSAVEC,
	CPUF_AVX,
	CPUF_AVX2,
	CPUF_AVX512F,
	CPUF_F16C,
	CPUF_FMA,
	CPUF_RDRAND,
	CPUF_RDSEED,
	CPUF_FSGSBASE,
	CPUF_BMI1,
	CPUF_BMI2,
	CPUF_LZCNT,
	CPUF_ADX,
	CPUF_SHA,
	CPUF_SMEP,
	CPUF_SMAP,
	CPUF_UMIP,
	CPUF_INVPCID,
	CPUF_RDTSCP,
	CPUF_RDPID,
	CPUF_CLFLUSHOPT,
	CPUF_CLWB,
	NR_CPUF,
};

bool cpu_model_has(enum cpu_model m, enum cpu_feature f);

/* The leaves a model has: call with *@at = 0 first; false after the last one. */
bool cpu_model_next_leaf(unsigned *at, u32 *leaf, u32 *subleaf);

/* Which registers of this leaf hold feature bits: bit n for eax, ebx, ecx, edx. */
unsigned cpu_model_feature_regs(u32 leaf, u32 subleaf);

/*
 * Is everything there that the model's name promises [psABI 3.1.1]? @has gets the register
 * (0..3 = eax..edx) of a leaf that the guest would see. Return: 0, or -ENOTSUP and the first
 * feature that is missing.
 */
int cpu_model_promised(enum cpu_model m, u32 (*has)(void *ctx, u32 leaf, u32 subleaf, unsigned reg),
		       void *ctx, struct err *e);

#endif
