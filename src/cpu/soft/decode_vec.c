// SPDX-License-Identifier: Apache-2.0
/*
 * decode_vec.c - opcode rows of x87, MMX, SSE to SSE4.2, SSE4A, AES, SHA, GFNI,
 * AVX, AVX2, FMA, F16C and AVX-VNNI; the VEX and EVEX prefixes
 *
 * Rows give operand shapes and memory sizes; the instruction itself always runs
 * natively, in the interpreter's stub or in translated code.
 */
#include "cpu/soft/decode_int.h"
#include "cpu/soft/quirks.h"

enum shape {
	S_RM,	  /* reg = f(rm) */
	S_MR,	  /* rm = reg */
	S_RVM,	  /* reg = f(vvvv, rm); legacy: reg op= rm */
	S_RVM3,	  /* reg = f(reg, vvvv, rm): FMA, VNNI */
	S_FLAG,	  /* flags = f(reg, rm) */
	S_RMG,	  /* reg = GPR rm */
	S_MRG,	  /* GPR rm = reg */
	S_GRM,	  /* GPR reg = f(rm) */
	S_RVMG,	  /* reg = f(vvvv, GPR rm) */
	S_NDD,	  /* shift by immediate: VEX vvvv = f(rm), legacy rm op= imm */
	S_MASKLD, /* reg = mem where vvvv's lanes are set */
	S_MASKST, /* mem = reg where vvvv's lanes are set */
	S_GATHER,
	S_NONE,	  /* no operands, no ModRM */
};

/* Memory sizes beyond plain byte counts. */
enum { MX = 0x80, MH, MQ, ME, MY }; /* full, half, quarter, eighth vector; 4 or 8 by W */

#define EL 1 /* legacy SSE */
#define EM 2 /* legacy MMX registers */
#define EV 4 /* VEX */

#define W0 1
#define W1 2
#define L0 1 /* VEX.128 only */
#define L1 2 /* VEX.256 only */

#define X_IMM	BIT(0)
#define X_ALIGN BIT(1) /* aligned in every encoding */
#define X_UNAL	BIT(2) /* legacy form tolerates misalignment; or, SHA, the host decides */
#define X_REG	BIT(3) /* ModRM must name a register */
#define X_MEM	BIT(4) /* ModRM must name memory */
#define X_SOFT	BIT(5) /* not verbatim: implicit memory or fault suppression */
#define X_NOVVV BIT(6) /* vvvv must be 1111 although the shape has it (register forms) */

struct vrow {
	u8 map, op, pp, enc, w, l, shape, msz, x, feat;
};

/* clang-format off */
#define R(map, op, pp, enc, w, l, shape, msz, x) { map, op, pp, enc, w, l, shape, msz, x, 0 }
#define PS_PD(op, shape, x) \
	R(1, op, 0, EL | EV, 0, 0, shape, MX, x), R(1, op, 1, EL | EV, 0, 0, shape, MX, x)
#define SS_SD(op, x) \
	R(1, op, 2, EL | EV, 0, 0, S_RVM, 4, x), R(1, op, 3, EL | EV, 0, 0, S_RVM, 8, x)
#define ARITH4(op) PS_PD(op, S_RVM, 0), SS_SD(op, 0)
#define PINT(op) R(1, op, 1, EL | EV, 0, 0, S_RVM, MX, 0), R(1, op, 0, EM, 0, 0, S_RVM, 8, 0)
#define PSHIFT(op) R(1, op, 1, EL | EV, 0, 0, S_RVM, 16, 0), R(1, op, 0, EM, 0, 0, S_RVM, 8, 0)
#define P38(op, shape) R(2, op, 1, EL | EV, 0, 0, shape, MX, 0), R(2, op, 0, EM, 0, 0, shape, 8, 0)
#define SSE41(op) R(2, op, 1, EL | EV, 0, 0, S_RVM, MX, 0)
#define PMOVX(op, m) R(2, op, 1, EL | EV, 0, 0, S_RM, m, X_UNAL)
#define FMA_P(op) R(2, op, 1, EV, W0, 0, S_RVM3, MX, 0), R(2, op, 1, EV, W1, 0, S_RVM3, MX, 0)
#define FMA_S(op) R(2, op, 1, EV, 0, 0, S_RVM3, MY, 0)

static const struct vrow rows[] = {
	/* -- 0F: moves -- */
	R(1, 0x10, 0, EL | EV, 0, 0, S_RM, MX, X_UNAL), R(1, 0x10, 1, EL | EV, 0, 0, S_RM, MX, X_UNAL),
	R(1, 0x11, 0, EL | EV, 0, 0, S_MR, MX, X_UNAL), R(1, 0x11, 1, EL | EV, 0, 0, S_MR, MX, X_UNAL),
	R(1, 0x10, 2, EL | EV, 0, 0, S_RM, 4, X_MEM), R(1, 0x10, 3, EL | EV, 0, 0, S_RM, 8, X_MEM),
	R(1, 0x10, 2, EL | EV, 0, 0, S_RVM, 4, X_REG), R(1, 0x10, 3, EL | EV, 0, 0, S_RVM, 8, X_REG),
	R(1, 0x11, 2, EL | EV, 0, 0, S_MR, 4, X_MEM), R(1, 0x11, 3, EL | EV, 0, 0, S_MR, 8, X_MEM),
	R(1, 0x11, 2, EL | EV, 0, 0, S_RVM, 4, X_REG), R(1, 0x11, 3, EL | EV, 0, 0, S_RVM, 8, X_REG),
	R(1, 0x12, 0, EL | EV, 0, L0, S_RVM, 8, 0), R(1, 0x12, 1, EL | EV, 0, L0, S_RVM, 8, X_MEM),
	R(1, 0x12, 2, EL | EV, 0, 0, S_RM, MX, 0), R(1, 0x12, 3, EL | EV, 0, L0, S_RM, 8, 0),
	R(1, 0x12, 3, EV, 0, L1, S_RM, 32, 0),
	R(1, 0x13, 0, EL | EV, 0, L0, S_MR, 8, X_MEM), R(1, 0x13, 1, EL | EV, 0, L0, S_MR, 8, X_MEM),
	PS_PD(0x14, S_RVM, 0), PS_PD(0x15, S_RVM, 0),
	R(1, 0x16, 0, EL | EV, 0, L0, S_RVM, 8, 0), R(1, 0x16, 1, EL | EV, 0, L0, S_RVM, 8, X_MEM),
	R(1, 0x16, 2, EL | EV, 0, 0, S_RM, MX, 0),
	R(1, 0x17, 0, EL | EV, 0, L0, S_MR, 8, X_MEM), R(1, 0x17, 1, EL | EV, 0, L0, S_MR, 8, X_MEM),
	PS_PD(0x28, S_RM, X_ALIGN), PS_PD(0x29, S_MR, X_ALIGN), PS_PD(0x2b, S_MR, X_ALIGN | X_MEM),
	/* -- 0F: conversions, compares, arithmetic -- */
	R(1, 0x2a, 0, EL, 0, 0, S_RM, 8, 0), R(1, 0x2a, 1, EL, 0, 0, S_RM, 8, 0),
	R(1, 0x2a, 2, EL | EV, 0, 0, S_RVMG, MY, 0), R(1, 0x2a, 3, EL | EV, 0, 0, S_RVMG, MY, 0),
	R(1, 0x2c, 0, EL, 0, 0, S_RM, 8, 0), R(1, 0x2c, 1, EL, 0, 0, S_RM, 16, 0),
	R(1, 0x2d, 0, EL, 0, 0, S_RM, 8, 0), R(1, 0x2d, 1, EL, 0, 0, S_RM, 16, 0),
	R(1, 0x2c, 2, EL | EV, 0, 0, S_GRM, 4, 0), R(1, 0x2c, 3, EL | EV, 0, 0, S_GRM, 8, 0),
	R(1, 0x2d, 2, EL | EV, 0, 0, S_GRM, 4, 0), R(1, 0x2d, 3, EL | EV, 0, 0, S_GRM, 8, 0),
	R(1, 0x2e, 0, EL | EV, 0, 0, S_FLAG, 4, 0), R(1, 0x2e, 1, EL | EV, 0, 0, S_FLAG, 8, 0),
	R(1, 0x2f, 0, EL | EV, 0, 0, S_FLAG, 4, 0), R(1, 0x2f, 1, EL | EV, 0, 0, S_FLAG, 8, 0),
	R(1, 0x50, 0, EL | EV, 0, 0, S_GRM, MX, X_REG), R(1, 0x50, 1, EL | EV, 0, 0, S_GRM, MX, X_REG),
	PS_PD(0x51, S_RM, 0), SS_SD(0x51, 0),
	R(1, 0x52, 0, EL | EV, 0, 0, S_RM, MX, 0), R(1, 0x52, 2, EL | EV, 0, 0, S_RVM, 4, 0),
	R(1, 0x53, 0, EL | EV, 0, 0, S_RM, MX, 0), R(1, 0x53, 2, EL | EV, 0, 0, S_RVM, 4, 0),
	PS_PD(0x54, S_RVM, 0), PS_PD(0x55, S_RVM, 0), PS_PD(0x56, S_RVM, 0), PS_PD(0x57, S_RVM, 0),
	ARITH4(0x58), ARITH4(0x59), ARITH4(0x5c), ARITH4(0x5d), ARITH4(0x5e), ARITH4(0x5f),
	R(1, 0x5a, 0, EL | EV, 0, 0, S_RM, MH, X_UNAL), R(1, 0x5a, 1, EL | EV, 0, 0, S_RM, MX, 0),
	SS_SD(0x5a, 0),
	R(1, 0x5b, 0, EL | EV, 0, 0, S_RM, MX, 0), R(1, 0x5b, 1, EL | EV, 0, 0, S_RM, MX, 0),
	R(1, 0x5b, 2, EL | EV, 0, 0, S_RM, MX, 0),
	/* -- 0F: integer vectors -- */
	R(1, 0x60, 1, EL | EV, 0, 0, S_RVM, MX, 0), R(1, 0x60, 0, EM, 0, 0, S_RVM, 4, 0),
	R(1, 0x61, 1, EL | EV, 0, 0, S_RVM, MX, 0), R(1, 0x61, 0, EM, 0, 0, S_RVM, 4, 0),
	R(1, 0x62, 1, EL | EV, 0, 0, S_RVM, MX, 0), R(1, 0x62, 0, EM, 0, 0, S_RVM, 4, 0),
	PINT(0x63), PINT(0x64), PINT(0x65), PINT(0x66), PINT(0x67), PINT(0x68), PINT(0x69),
	PINT(0x6a), PINT(0x6b),
	R(1, 0x6c, 1, EL | EV, 0, 0, S_RVM, MX, 0), R(1, 0x6d, 1, EL | EV, 0, 0, S_RVM, MX, 0),
	R(1, 0x6e, 0, EM, 0, 0, S_RMG, MY, 0), R(1, 0x6e, 1, EL | EV, 0, L0, S_RMG, MY, 0),
	R(1, 0x6f, 0, EM, 0, 0, S_RM, 8, 0), R(1, 0x6f, 1, EL | EV, 0, 0, S_RM, MX, X_ALIGN),
	R(1, 0x6f, 2, EL | EV, 0, 0, S_RM, MX, X_UNAL),
	R(1, 0x70, 0, EM, 0, 0, S_RM, 8, X_IMM), R(1, 0x70, 1, EL | EV, 0, 0, S_RM, MX, X_IMM),
	R(1, 0x70, 2, EL | EV, 0, 0, S_RM, MX, X_IMM), R(1, 0x70, 3, EL | EV, 0, 0, S_RM, MX, X_IMM),
	R(1, 0x71, 0, EM, 0, 0, S_NDD, 0, X_IMM | X_REG), R(1, 0x71, 1, EL | EV, 0, 0, S_NDD, 0, X_IMM | X_REG),
	R(1, 0x72, 0, EM, 0, 0, S_NDD, 0, X_IMM | X_REG), R(1, 0x72, 1, EL | EV, 0, 0, S_NDD, 0, X_IMM | X_REG),
	R(1, 0x73, 0, EM, 0, 0, S_NDD, 0, X_IMM | X_REG), R(1, 0x73, 1, EL | EV, 0, 0, S_NDD, 0, X_IMM | X_REG),
	PINT(0x74), PINT(0x75), PINT(0x76),
	R(1, 0x77, 0, EM | EV, 0, 0, S_NONE, 0, 0),
	PS_PD(0x7c, S_RVM, 0), PS_PD(0x7d, S_RVM, 0), /* 66 HADDPD; F2 below; NP dropped by check */
	R(1, 0x7c, 3, EL | EV, 0, 0, S_RVM, MX, 0), R(1, 0x7d, 3, EL | EV, 0, 0, S_RVM, MX, 0),
	R(1, 0x7e, 0, EM, 0, 0, S_MRG, MY, 0), R(1, 0x7e, 1, EL | EV, 0, L0, S_MRG, MY, 0),
	R(1, 0x7e, 2, EL | EV, 0, L0, S_RM, 8, 0),
	R(1, 0x7f, 0, EM, 0, 0, S_MR, 8, 0), R(1, 0x7f, 1, EL | EV, 0, 0, S_MR, MX, X_ALIGN),
	R(1, 0x7f, 2, EL | EV, 0, 0, S_MR, MX, X_UNAL),
	R(1, 0xc2, 0, EL | EV, 0, 0, S_RVM, MX, X_IMM), R(1, 0xc2, 1, EL | EV, 0, 0, S_RVM, MX, X_IMM),
	SS_SD(0xc2, X_IMM),
	R(1, 0xc4, 0, EM, 0, 0, S_RVMG, 2, X_IMM), R(1, 0xc4, 1, EL | EV, 0, L0, S_RVMG, 2, X_IMM),
	R(1, 0xc5, 0, EM, 0, 0, S_GRM, 0, X_IMM | X_REG), R(1, 0xc5, 1, EL | EV, 0, L0, S_GRM, 0, X_IMM | X_REG),
	R(1, 0xc6, 0, EL | EV, 0, 0, S_RVM, MX, X_IMM), R(1, 0xc6, 1, EL | EV, 0, 0, S_RVM, MX, X_IMM),
	R(1, 0xd0, 1, EL | EV, 0, 0, S_RVM, MX, 0), R(1, 0xd0, 3, EL | EV, 0, 0, S_RVM, MX, 0),
	PSHIFT(0xd1), PSHIFT(0xd2), PSHIFT(0xd3), PINT(0xd4), PINT(0xd5),
	R(1, 0xd6, 1, EL | EV, 0, L0, S_MR, 8, 0), R(1, 0xd6, 2, EL, 0, 0, S_RM, 0, X_REG),
	R(1, 0xd6, 3, EL, 0, 0, S_RM, 0, X_REG),
	R(1, 0xd7, 0, EM, 0, 0, S_GRM, 0, X_REG), R(1, 0xd7, 1, EL | EV, 0, 0, S_GRM, 0, X_REG),
	PINT(0xd8), PINT(0xd9), PINT(0xda), PINT(0xdb), PINT(0xdc), PINT(0xdd), PINT(0xde), PINT(0xdf),
	PINT(0xe0), PSHIFT(0xe1), PSHIFT(0xe2), PINT(0xe3), PINT(0xe4), PINT(0xe5),
	R(1, 0xe6, 1, EL | EV, 0, 0, S_RM, MX, 0), R(1, 0xe6, 2, EL | EV, 0, 0, S_RM, MH, X_UNAL),
	R(1, 0xe6, 3, EL | EV, 0, 0, S_RM, MX, 0),
	R(1, 0xe7, 0, EM, 0, 0, S_MR, 8, X_MEM), R(1, 0xe7, 1, EL | EV, 0, 0, S_MR, MX, X_ALIGN | X_MEM),
	PINT(0xe8), PINT(0xe9), PINT(0xea), PINT(0xeb), PINT(0xec), PINT(0xed), PINT(0xee), PINT(0xef),
	R(1, 0xf0, 3, EL | EV, 0, 0, S_RM, MX, X_UNAL | X_MEM),
	PSHIFT(0xf1), PSHIFT(0xf2), PSHIFT(0xf3), PINT(0xf4), PINT(0xf5), PINT(0xf6),
	R(1, 0xf7, 0, EM, 0, 0, S_FLAG, 0, X_REG | X_SOFT), R(1, 0xf7, 1, EL | EV, 0, L0, S_FLAG, 0, X_REG | X_SOFT),
	PINT(0xf8), PINT(0xf9), PINT(0xfa), PINT(0xfb), PINT(0xfc), PINT(0xfd), PINT(0xfe),
	/* -- 0F38 -- */
	P38(0x00, S_RVM), P38(0x01, S_RVM), P38(0x02, S_RVM), P38(0x03, S_RVM), P38(0x04, S_RVM),
	P38(0x05, S_RVM), P38(0x06, S_RVM), P38(0x07, S_RVM), P38(0x08, S_RVM), P38(0x09, S_RVM),
	P38(0x0a, S_RVM), P38(0x0b, S_RVM),
	R(2, 0x0c, 1, EV, W0, 0, S_RVM, MX, 0), R(2, 0x0d, 1, EV, W0, 0, S_RVM, MX, 0),
	R(2, 0x0e, 1, EV, W0, 0, S_FLAG, MX, 0), R(2, 0x0f, 1, EV, W0, 0, S_FLAG, MX, 0),
	R(2, 0x10, 1, EL, 0, 0, S_RVM, MX, 0), R(2, 0x14, 1, EL, 0, 0, S_RVM, MX, 0),
	R(2, 0x15, 1, EL, 0, 0, S_RVM, MX, 0),
	R(2, 0x13, 1, EV, W0, 0, S_RM, MH, 0), R(2, 0x16, 1, EV, W0, L1, S_RVM, MX, 0),
	R(2, 0x17, 1, EL | EV, 0, 0, S_FLAG, MX, 0),
	R(2, 0x18, 1, EV, W0, 0, S_RM, 4, 0), R(2, 0x19, 1, EV, W0, L1, S_RM, 8, 0),
	R(2, 0x1a, 1, EV, W0, L1, S_RM, 16, X_MEM), R(2, 0x5a, 1, EV, W0, L1, S_RM, 16, X_MEM),
	P38(0x1c, S_RM), P38(0x1d, S_RM), P38(0x1e, S_RM),
	PMOVX(0x20, MH), PMOVX(0x21, MQ), PMOVX(0x22, ME), PMOVX(0x23, MH), PMOVX(0x24, MQ), PMOVX(0x25, MH),
	PMOVX(0x30, MH), PMOVX(0x31, MQ), PMOVX(0x32, ME), PMOVX(0x33, MH), PMOVX(0x34, MQ), PMOVX(0x35, MH),
	SSE41(0x28), SSE41(0x29), R(2, 0x2a, 1, EL | EV, 0, 0, S_RM, MX, X_ALIGN | X_MEM), SSE41(0x2b),
	R(2, 0x2c, 1, EV, W0, 0, S_MASKLD, MX, X_MEM | X_SOFT), R(2, 0x2d, 1, EV, W0, 0, S_MASKLD, MX, X_MEM | X_SOFT),
	R(2, 0x2e, 1, EV, W0, 0, S_MASKST, MX, X_MEM | X_SOFT), R(2, 0x2f, 1, EV, W0, 0, S_MASKST, MX, X_MEM | X_SOFT),
	R(2, 0x8c, 1, EV, 0, 0, S_MASKLD, MX, X_MEM | X_SOFT), R(2, 0x8e, 1, EV, 0, 0, S_MASKST, MX, X_MEM | X_SOFT),
	R(2, 0x36, 1, EV, W0, L1, S_RVM, MX, 0), SSE41(0x37), SSE41(0x38), SSE41(0x39), SSE41(0x3a),
	SSE41(0x3b), SSE41(0x3c), SSE41(0x3d), SSE41(0x3e), SSE41(0x3f), SSE41(0x40),
	R(2, 0x41, 1, EL | EV, 0, L0, S_RM, MX, 0),
	R(2, 0x45, 1, EV, 0, 0, S_RVM, MX, 0), R(2, 0x46, 1, EV, W0, 0, S_RVM, MX, 0),
	R(2, 0x47, 1, EV, 0, 0, S_RVM, MX, 0),
	{ 2, 0x50, 1, EV, W0, 0, S_RVM3, MX, 0, FT_AVX_VNNI }, { 2, 0x51, 1, EV, W0, 0, S_RVM3, MX, 0, FT_AVX_VNNI },
	{ 2, 0x52, 1, EV, W0, 0, S_RVM3, MX, 0, FT_AVX_VNNI }, { 2, 0x53, 1, EV, W0, 0, S_RVM3, MX, 0, FT_AVX_VNNI },
	R(2, 0x58, 1, EV, W0, 0, S_RM, 4, 0), R(2, 0x59, 1, EV, W0, 0, S_RM, 8, 0),
	R(2, 0x78, 1, EV, W0, 0, S_RM, 1, 0), R(2, 0x79, 1, EV, W0, 0, S_RM, 2, 0),
	R(2, 0x90, 1, EV, 0, 0, S_GATHER, MX, X_MEM | X_SOFT), R(2, 0x91, 1, EV, 0, 0, S_GATHER, MX, X_MEM | X_SOFT),
	R(2, 0x92, 1, EV, 0, 0, S_GATHER, MX, X_MEM | X_SOFT), R(2, 0x93, 1, EV, 0, 0, S_GATHER, MX, X_MEM | X_SOFT),
	FMA_P(0x96), FMA_P(0x97), FMA_P(0x98), FMA_S(0x99), FMA_P(0x9a), FMA_S(0x9b), FMA_P(0x9c),
	FMA_S(0x9d), FMA_P(0x9e), FMA_S(0x9f),
	FMA_P(0xa6), FMA_P(0xa7), FMA_P(0xa8), FMA_S(0xa9), FMA_P(0xaa), FMA_S(0xab), FMA_P(0xac),
	FMA_S(0xad), FMA_P(0xae), FMA_S(0xaf),
	FMA_P(0xb6), FMA_P(0xb7), FMA_P(0xb8), FMA_S(0xb9), FMA_P(0xba), FMA_S(0xbb), FMA_P(0xbc),
	FMA_S(0xbd), FMA_P(0xbe), FMA_S(0xbf),
	{ 2, 0xc8, 0, EL, 0, 0, S_RVM, 16, 0, FT_SHA }, { 2, 0xc9, 0, EL, 0, 0, S_RVM, 16, 0, FT_SHA },
	{ 2, 0xca, 0, EL, 0, 0, S_RVM, 16, 0, FT_SHA }, { 2, 0xcb, 0, EL, 0, 0, S_RVM, 16, 0, FT_SHA },
	{ 2, 0xcc, 0, EL, 0, 0, S_RVM, 16, 0, FT_SHA }, { 2, 0xcd, 0, EL, 0, 0, S_RVM, 16, 0, FT_SHA },
	{ 2, 0xcf, 1, EL, 0, 0, S_RVM, MX, 0, FT_GFNI }, { 2, 0xcf, 1, EV, W0, 0, S_RVM, MX, 0, FT_GFNI },
	R(2, 0xdb, 1, EL | EV, 0, L0, S_RM, 16, 0),
	R(2, 0xdc, 1, EL | EV, 0, L0, S_RVM, 16, 0), R(2, 0xdd, 1, EL | EV, 0, L0, S_RVM, 16, 0),
	R(2, 0xde, 1, EL | EV, 0, L0, S_RVM, 16, 0), R(2, 0xdf, 1, EL | EV, 0, L0, S_RVM, 16, 0),
	{ 2, 0xdc, 1, EV, 0, L1, S_RVM, 32, 0, FT_VAES }, { 2, 0xdd, 1, EV, 0, L1, S_RVM, 32, 0, FT_VAES },
	{ 2, 0xde, 1, EV, 0, L1, S_RVM, 32, 0, FT_VAES }, { 2, 0xdf, 1, EV, 0, L1, S_RVM, 32, 0, FT_VAES },
	/* -- 0F3A, all with an immediate -- */
	R(3, 0x00, 1, EV, W1, L1, S_RM, MX, X_IMM), R(3, 0x01, 1, EV, W1, L1, S_RM, MX, X_IMM),
	R(3, 0x02, 1, EV, W0, 0, S_RVM, MX, X_IMM),
	R(3, 0x04, 1, EV, W0, 0, S_RM, MX, X_IMM), R(3, 0x05, 1, EV, W0, 0, S_RM, MX, X_IMM),
	R(3, 0x06, 1, EV, W0, L1, S_RVM, MX, X_IMM), R(3, 0x46, 1, EV, W0, L1, S_RVM, MX, X_IMM),
	R(3, 0x08, 1, EL | EV, 0, 0, S_RM, MX, X_IMM), R(3, 0x09, 1, EL | EV, 0, 0, S_RM, MX, X_IMM),
	R(3, 0x0a, 1, EL | EV, 0, 0, S_RVM, 4, X_IMM), R(3, 0x0b, 1, EL | EV, 0, 0, S_RVM, 8, X_IMM),
	R(3, 0x0c, 1, EL | EV, 0, 0, S_RVM, MX, X_IMM), R(3, 0x0d, 1, EL | EV, 0, 0, S_RVM, MX, X_IMM),
	R(3, 0x0e, 1, EL | EV, 0, 0, S_RVM, MX, X_IMM),
	R(3, 0x0f, 1, EL | EV, 0, 0, S_RVM, MX, X_IMM), R(3, 0x0f, 0, EM, 0, 0, S_RVM, 8, X_IMM),
	R(3, 0x14, 1, EL | EV, 0, L0, S_MRG, 1, X_IMM), R(3, 0x15, 1, EL | EV, 0, L0, S_MRG, 2, X_IMM),
	R(3, 0x16, 1, EL | EV, 0, L0, S_MRG, MY, X_IMM), R(3, 0x17, 1, EL | EV, 0, L0, S_MRG, 4, X_IMM),
	R(3, 0x18, 1, EV, W0, L1, S_RVM, 16, X_IMM), R(3, 0x38, 1, EV, W0, L1, S_RVM, 16, X_IMM),
	R(3, 0x19, 1, EV, W0, L1, S_MR, 16, X_IMM), R(3, 0x39, 1, EV, W0, L1, S_MR, 16, X_IMM),
	R(3, 0x1d, 1, EV, W0, 0, S_MR, MH, X_IMM),
	R(3, 0x20, 1, EL | EV, 0, L0, S_RVMG, 1, X_IMM), R(3, 0x21, 1, EL | EV, 0, L0, S_RVM, 4, X_IMM),
	R(3, 0x22, 1, EL | EV, 0, L0, S_RVMG, MY, X_IMM),
	R(3, 0x40, 1, EL | EV, 0, 0, S_RVM, MX, X_IMM), R(3, 0x41, 1, EL | EV, 0, L0, S_RVM, MX, X_IMM),
	R(3, 0x42, 1, EL | EV, 0, 0, S_RVM, MX, X_IMM), R(3, 0x44, 1, EL | EV, 0, L0, S_RVM, MX, X_IMM),
	{ 3, 0x44, 1, EV, 0, L1, S_RVM, MX, X_IMM, FT_VPCLMUL },
	R(3, 0x4a, 1, EV, W0, 0, S_RVM, MX, X_IMM), R(3, 0x4b, 1, EV, W0, 0, S_RVM, MX, X_IMM),
	R(3, 0x4c, 1, EV, W0, 0, S_RVM, MX, X_IMM),
	R(3, 0x60, 1, EL | EV, 0, L0, S_RM, 16, X_IMM | X_UNAL), R(3, 0x61, 1, EL | EV, 0, L0, S_FLAG, 16, X_IMM | X_UNAL),
	R(3, 0x62, 1, EL | EV, 0, L0, S_RM, 16, X_IMM | X_UNAL), R(3, 0x63, 1, EL | EV, 0, L0, S_FLAG, 16, X_IMM | X_UNAL),
	{ 3, 0xcc, 0, EL, 0, 0, S_RVM, 16, X_IMM, FT_SHA },
	{ 3, 0xce, 1, EL, 0, 0, S_RVM, MX, X_IMM, FT_GFNI }, { 3, 0xce, 1, EV, W1, 0, S_RVM, MX, X_IMM, FT_GFNI },
	{ 3, 0xcf, 1, EL, 0, 0, S_RVM, MX, X_IMM, FT_GFNI }, { 3, 0xcf, 1, EV, W1, 0, S_RVM, MX, X_IMM, FT_GFNI },
	R(3, 0xdf, 1, EL | EV, 0, L0, S_RM, 16, X_IMM),
};
/* clang-format on */

static u16 first_row[4][4][256]; /* [map][pp][op]: index + 1 of the first row, rows are chained */
static u16 next_row[array_len(rows)];

void decode_vec_init(void)
{
	for (unsigned k = array_len(rows); k-- > 0;) {
		const struct vrow *r = &rows[k];
		u16 *head = &first_row[r->map][r->pp][r->op];

		if ((r->op == 0x7c || r->op == 0x7d) && r->map == 1 && r->pp == 0)
			continue; /* HADD/HSUB have no form without a prefix */
		next_row[k] = *head;
		*head = (u16)(k + 1);
	}
}

static void set_ud(struct insn *i)
{
	i->cls = CLS_UD;
	i->attr = IA_ENDS;
}

/* -- rows ---------------------------------------------------------------------- */

static bool row_fits(const struct vrow *r, const struct insn *i)
{
	unsigned enc = i->enc == ENC_VEX ? EV : EL | EM;

	if (!(r->enc & enc))
		return false;
	if ((r->x & X_REG && i->is_mem) || (r->x & X_MEM && !i->is_mem))
		return false;
	if (i->enc != ENC_VEX)
		return true;
	if ((r->w == W0 && i->w) || (r->w == W1 && !i->w))
		return false;
	return !((r->l == L0 && i->vl) || (r->l == L1 && !i->vl));
}

static const struct vrow *find_row(const struct insn *i, unsigned pp)
{
	for (u16 k = first_row[i->map][pp][i->op]; k; k = next_row[k - 1])
		if (row_fits(&rows[k - 1], i))
			return &rows[k - 1];
	return NULL;
}

static u16 mem_bytes(const struct insn *i, const struct vrow *r)
{
	unsigned full = r->enc == EM ? 8 : 16u << i->vl;

	switch (r->msz) {
	case MX: return (u16)full;
	case MH: return (u16)(full / 2);
	case MQ: return (u16)(full / 4);
	case ME: return (u16)(full / 8);
	case MY: return i->w && (i->mode == 8 || i->rm_kind != OK_GPR) ? 8 : 4;
	}
	return r->msz;
}

static void vec_reg(struct insn *i, unsigned acc)
{
	i->reg_kind = OK_VEC;
	i->reg_acc = (u8)acc;
}

static void vec_rm(struct insn *i, unsigned acc)
{
	i->rm_kind = OK_VEC;
	i->rm_acc = (u8)acc;
}

static void vec_vvvv(struct insn *i, unsigned acc)
{
	if (i->enc == ENC_LEGACY)
		return;
	i->vvvv_kind = OK_VEC;
	i->vvvv_acc = (u8)acc;
}

static void gpr_rm(struct insn *i, unsigned acc)
{
	i->rm_kind = OK_GPR;
	i->rm_acc = (u8)acc;
	i->rm_size = i->w && i->mode == 8 ? 8 : 4;
}

static void set_shape(struct insn *i, const struct vrow *r)
{
	unsigned rmw = i->enc == ENC_LEGACY ? OP_R | OP_W : OP_W;

	switch (r->shape) {
	case S_RM: vec_reg(i, OP_W), vec_rm(i, OP_R); break;
	case S_MR: vec_reg(i, OP_R), vec_rm(i, OP_W); break;
	case S_RVM: vec_reg(i, rmw), vec_rm(i, OP_R), vec_vvvv(i, OP_R); break;
	case S_RVM3: vec_reg(i, OP_R | OP_W), vec_rm(i, OP_R), vec_vvvv(i, OP_R); break;
	case S_FLAG: vec_reg(i, OP_R), vec_rm(i, OP_R); break;
	case S_RMG: vec_reg(i, OP_W), gpr_rm(i, OP_R); break;
	case S_MRG: vec_reg(i, OP_R), gpr_rm(i, OP_W); break;
	case S_GRM:
		i->reg_kind = OK_GPR, i->reg_acc = OP_W;
		i->reg_size = i->w && i->mode == 8 ? 8 : 4;
		vec_rm(i, OP_R);
		break;
	case S_RVMG: vec_reg(i, rmw), gpr_rm(i, OP_R), vec_vvvv(i, OP_R); break;
	case S_NDD:
		vec_rm(i, i->enc == ENC_LEGACY ? OP_R | OP_W : OP_R), vec_vvvv(i, OP_W);
		i->reg_kind = OK_EXT;
		break;
	case S_MASKLD: vec_reg(i, OP_W), vec_rm(i, OP_R), vec_vvvv(i, OP_R); break;
	case S_MASKST: vec_reg(i, OP_R), vec_rm(i, OP_W), vec_vvvv(i, OP_R); break;
	case S_GATHER:
		vec_reg(i, OP_R | OP_W), vec_rm(i, OP_R), vec_vvvv(i, OP_R | OP_W);
		break;
	}
}

/* Flags and implicit registers that shapes do not tell. */
static void set_extras(struct insn *i)
{
	if (i->map == MAP_0F && (i->op == 0x2e || i->op == 0x2f))
		i->flags_w = FLB_ALL;
	if (i->map == MAP_0F38 && (i->op == 0x17 || i->op == 0x0e || i->op == 0x0f))
		i->flags_w = FLB_ALL;
	if (i->map != MAP_0F3A || i->op < 0x60 || i->op > 0x63)
		return;
	i->flags_w = FLB_ALL; /* PCMPxSTRx */
	if (i->op < 0x62)
		i->gpr_r |= BIT(RAX) | BIT(RDX);
	if (i->op & 1)
		i->gpr_w |= BIT(RCX);
}

/* Shift groups 12..14: which /digits exist. */
static bool shift_ext_ok(const struct insn *i)
{
	static const u8 ok[3] = { 0x54, 0x54, 0xcc };
	unsigned e = (i->modrm >> 3) & 7;
	bool mmx = i->enc == ENC_LEGACY && i->pp == 0;

	return ok[i->op - 0x71] & BIT(e) && !(mmx && i->op == 0x73 && (e & 1));
}

static bool must_align(const struct insn *i, const struct vrow *r)
{
	bool free = r->feat == FT_SHA ? !quirks()->sha_must_align : r->x & X_UNAL;

	return r->x & X_ALIGN || (i->enc == ENC_LEGACY && i->mem_size == 16 && !free);
}

static void apply_row(struct insn *i, struct dcur *c, const struct vrow *r)
{
	i->cls = CLS_VEC;
	i->attr = r->x & X_SOFT ? 0 : IA_VERBATIM;
	i->feat = r->feat;
	if (r->enc & EM && i->enc == ENC_LEGACY)
		i->attr |= IA_FP;
	if (i->enc == ENC_VEX)
		i->attr |= IA_AVX;
	set_shape(i, r);
	if (r->x & X_IMM)
		decode_imm(i, c, 1);
	if (i->is_mem)
		i->mem_size = mem_bytes(i, r);
	i->mem_align = must_align(i, r);
	set_extras(i);
	if (i->enc == ENC_VEX && i->vvvv_kind == OK_NONE && i->vvvv)
		set_ud(i);
	if (r->shape == S_NDD && !shift_ext_ok(i))
		set_ud(i);
}

void decode_vec_row(struct insn *i, struct dcur *c)
{
	unsigned pp = i->pp;
	const struct vrow *r = find_row(i, pp);

	if (!r && i->enc == ENC_LEGACY && i->rep && i->opsz)
		r = NULL;
	if (!r) {
		if (i->map == MAP_0F3A)
			decode_imm(i, c, 1);
		set_ud(i);
		return;
	}
	apply_row(i, c, r);
}

/* SSE4A: EXTRQ, INSERTQ, MOVNTSS, MOVNTSD are not offered. 3DNow! neither. */
void decode_vec(struct insn *i, struct dcur *c)
{
	if (i->map == MAP_0F38) {
		decode_0f38_legacy(i, c);
		return;
	}
	if (i->map == MAP_0F && i->op == 0x77) {
		i->cls = i->pp ? CLS_UD : CLS_VEC;
		i->attr = IA_VERBATIM | IA_FP;
		return;
	}
	decode_modrm(i, c);
	decode_vec_row(i, c);
}

/* -- VEX and EVEX prefixes [SDM 2A 2.3, 2.7] --------------------------------------- */

u8 decode_byte(struct dcur *c)
{
	if (c->at >= c->len) {
		c->at = c->len + 1;
		return 0;
	}
	return c->p[c->at++];
}

bool wide_only(const struct insn *i)
{
	return i->mode != 8 && i->w && i->map == MAP_0F3A && (i->op == 0x16 || i->op == 0x22);
}

static void finish_vex(struct insn *i, struct dcur *c)
{
	bool bad_prefix = i->rep || i->opsz || i->lock || i->rex;

	i->opsize = i->w && i->mode == 8 ? 8 : 4;
	i->adsize = i->mode == 8 ? (i->adsz ? 4 : 8) : (i->mode == 4) != i->adsz ? 4 : 2;
	i->off_op = (u8)c->at;
	i->op = decode_byte(c);
	if (i->map == MAP_0F && i->op == 0x77) {
		i->cls = CLS_VEC;
		i->attr = IA_VERBATIM | IA_AVX;
		if (i->pp || i->vvvv)
			set_ud(i);
	} else {
		i->vsib = i->map == MAP_0F38 && i->op >= 0x90 && i->op <= 0x93;
		decode_modrm(i, c);
		if (i->map == MAP_0F && i->op == 0xae && i->is_mem && !i->pp && !i->vl && !i->vvvv &&
		    (((i->modrm >> 3) & 7) == 2 || ((i->modrm >> 3) & 7) == 3)) { /* VLDMXCSR, VSTMXCSR */
			i->cls = CLS_VEC;
			i->attr = IA_AVX;
			i->mem_size = 4;
			i->rm_acc = ((i->modrm >> 3) & 7) == 2 ? OP_R : OP_W;
		} else if (i->map < MAP_0F || i->map > MAP_0F3A) {
			set_ud(i);
		} else if (decode_opmask(i, c)) {
			/* done */
		} else if (decode_vex_gpr(i)) {
			if (i->map == MAP_0F3A)
				decode_imm(i, c, 1);
		} else {
			decode_vec_row(i, c);
		}
	}
	if (i->vsib && (i->index == REG_NONE || i->adsize == 2))
		set_ud(i);
	if (bad_prefix || wide_only(i))
		set_ud(i);
}

static void take_vex(struct insn *i, struct dcur *c, u8 op)
{
	u8 b = decode_byte(c), b2 = b;

	i->enc = ENC_VEX;
	i->r = !(b & 0x80);
	i->map = MAP_0F;
	if (op == 0xc4) {
		i->x = !(b & 0x40);
		i->rexb = !(b & 0x20);
		i->map = b & 31;
		b2 = decode_byte(c);
		i->w = b2 & 0x80;
	} else {
		i->w = false;
	}
	i->vvvv = (~b2 >> 3) & 15;
	i->vl = (b2 >> 2) & 1;
	i->pp = b2 & 3;
	if (i->mode != 8)
		i->r = i->x = i->rexb = false;
	finish_vex(i, c);
	if (i->mode != 8)
		i->vvvv &= 7; /* where unused, its top bit must be right nevertheless */
}

bool decode_vex_prefix(struct insn *i, struct dcur *c, u8 op)
{
	bool reg_form = i->mode == 8 || (c->at < c->len && (c->p[c->at] & 0xc0) == 0xc0);

	if (op == 0x62 && reg_form) {
		decode_evex(i, c);
		return true;
	}
	if ((op == 0xc4 || op == 0xc5) && reg_form) {
		take_vex(i, c, op);
		return true;
	}
	return false;
}

/* -- x87 [SDM 2 A.5] ----------------------------------------------------------------- */

/* Memory form D8+row /digit: bytes, high bit set = written; 0 = no such instruction.
 * Environment and state images (FLDENV, FNSTENV, FRSTOR, FNSAVE) depend on the mode. */
#define ST 0x80
static const u8 x87_mem[8][8] = {
	{ 4, 4, 4, 4, 4, 4, 4, 4 },
	{ 4, 0, 4 | ST, 4 | ST, 28, 2, 28 | ST, 2 | ST },
	{ 4, 4, 4, 4, 4, 4, 4, 4 },
	{ 4, 4 | ST, 4 | ST, 4 | ST, 0, 10, 0, 10 | ST },
	{ 8, 8, 8, 8, 8, 8, 8, 8 },
	{ 8, 8 | ST, 8 | ST, 8 | ST, 108, 0, 108 | ST, 2 | ST },
	{ 2, 2, 2, 2, 2, 2, 2, 2 },
	{ 2, 2 | ST, 2 | ST, 2 | ST, 10, 8, 10 | ST, 8 | ST },
};

/* Register form D8+row: one bit per /digit: all eight st(i) legal; else see x87_reg_mask. */
static const u8 x87_reg_all[8] = { 0xff, 0x0b, 0x0f, 0x6f, 0xff, 0x3f, 0xf7, 0x6f };

static bool x87_reg_ok(unsigned row, unsigned e, unsigned st)
{
	if (x87_reg_all[row] & BIT(e))
		return true;
	switch (row) {
	case 1:
		return (e == 2 && st == 0) || (e == 4 && (0x33 & BIT(st))) ||
		       (e == 5 && st != 7) || e >= 6;
	case 2: return e == 5 && st == 1;
	case 3: return e == 4 && st <= 4;
	case 6: return e == 3 && st == 1;
	case 7: return e == 4 && st == 0;
	}
	return false;
}

static void x87_reg_flags(struct insn *i, unsigned row, unsigned e)
{
	static const u8 fcmov[4] = { FLB_CF, FLB_ZF, FLB_CF | FLB_ZF, FLB_PF };

	if ((row == 2 || row == 3) && e < 4)
		i->flags_r = fcmov[e];
	if ((row == 3 || row == 7) && (e == 5 || e == 6))
		i->flags_w = FLB_ALL;
	if (row == 7 && e == 4)
		i->gpr_w |= BIT(RAX), i->gpr_r |= BIT(RAX);
}

void decode_x87(struct insn *i)
{
	unsigned row = i->op & 7, e = (i->modrm >> 3) & 7;

	i->reg_kind = OK_EXT;
	if (!i->is_mem) {
		if (!x87_reg_ok(row, e, i->modrm & 7))
			set_ud(i);
		i->attr |= IA_VERBATIM;
		x87_reg_flags(i, row, e);
		return;
	}
	i->mem_size = x87_mem[row][e] & 0x7f;
	i->rm_acc = x87_mem[row][e] & ST ? OP_W : OP_R;
	if (!i->mem_size)
		set_ud(i);
	if (i->mem_size == 28 || i->mem_size == 108) {
		if (i->opsize == 2)
			i->mem_size -= 14;
	} else {
		i->attr |= IA_VERBATIM;
	}
}
