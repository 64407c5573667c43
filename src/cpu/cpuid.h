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

#endif
