// SPDX-License-Identifier: Apache-2.0
/*
 * native.h - arithmetic done by the host's own instruction
 *
 * The host CPU defines results and flags, the undefined ones too: the guest's
 * arithmetic flags are loaded, the instruction runs, the flags are read back.
 */
#ifndef CPU_SOFT_NATIVE_H
#define CPU_SOFT_NATIVE_H

#include "base/types.h"
#include "cpu/x86_defs.h"

/*
 * @a:	first operand and destination; bits above the operand size do not matter
 * @b:	second operand
 * @c:	third: the count of shifts (CL), the accumulator of CMPXCHG, control of BEXTR...
 * @fl:	RFLAGS: arithmetic flags in and out
 * Return: the destination register, all 64 bits as the host leaves them after @a.
 */
typedef u64 alu_fn(u64 a, u64 b, u64 c, u64 *fl);

enum native_op {
	/* in ModRM.reg order of 80..83 */
	NAT_ADD, NAT_OR, NAT_ADC, NAT_SBB, NAT_AND, NAT_SUB, NAT_XOR, NAT_CMP,
	/* in ModRM.reg order of C0, D0.. */
	NAT_ROL, NAT_ROR, NAT_RCL, NAT_RCR, NAT_SHL, NAT_SHR, NAT_SAL, NAT_SAR,
	/* in ModRM.reg order of 0F BA, from 4 */
	NAT_BT, NAT_BTS, NAT_BTR, NAT_BTC,
	NAT_TEST, NAT_INC, NAT_DEC, NAT_NOT, NAT_NEG,
	/* 16, 32 and 64 bits only */
	NAT_SHLD, NAT_SHRD, NAT_IMUL, NAT_BSF, NAT_BSR, NAT_TZCNT, NAT_LZCNT, NAT_POPCNT,
	/* 32 and 64 bits only */
	NAT_ADCX, NAT_ADOX, NAT_ANDN, NAT_BLSR, NAT_BLSMSK, NAT_BLSI, NAT_BZHI, NAT_BEXTR,
	NAT_PDEP, NAT_PEXT, NAT_SHLX, NAT_SHRX, NAT_SARX, NAT_BSWAP,
	NR_NATIVE_OPS,
};

/* Sizes by log2: 0..3. NULL where the instruction has no such size. */
extern alu_fn *const native_ops[NR_NATIVE_OPS][4];

static inline unsigned size_log2(unsigned size)
{
	return (unsigned)__builtin_ctz(size);
}

/* The flags field of CRC32 and friends aside, these use rax and rdx as the instruction does. */
struct muldiv {
	u64 rax, rdx, fl;
};
typedef void muldiv_fn(struct muldiv *m, u64 src);

extern muldiv_fn *const native_mul[4], *const native_imul1[4];
/* The caller made sure that the quotient fits: these must not fault. */
extern muldiv_fn *const native_div[4], *const native_idiv[4];

u64 native_crc32(u64 crc, u64 val, unsigned size);

#endif
