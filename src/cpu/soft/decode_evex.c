// SPDX-License-Identifier: Apache-2.0
/*
 * decode_evex.c - opcode rows of AVX-512: EVEX-encoded vectors [SDM 2A 2.7] and
 * VEX-encoded opmask instructions
 *
 * Rows say what the memory operand is and where general and opmask registers
 * are. Finer rules (which of broadcast, rounding, zeroing an instruction takes,
 * which vector lengths exist) are left to the host, which raises #UD when the
 * instruction runs; no guest has an AVX-512 feature that its host lacks.
 */
#include "cpu/soft/decode_int.h"

enum shape {
	S_RM,	/* reg = f(rm) */
	S_MR,	/* rm = reg */
	S_RVM,	/* reg = f(vvvv, rm) */
	S_RVM3, /* reg = f(reg, vvvv, rm) */
	S_FLAG, /* flags = f(reg, rm) */
	S_RMG, S_MRG, S_GRM, S_RVMG, /* with a general register for rm, rm, reg, rm */
	S_NDD,	/* vvvv = f(rm, imm) */
	S_K,	/* opmask reg = f(vvvv, rm) */
	S_KM,	/* opmask reg = f(rm) */
	S_RMK,	/* reg = f(opmask rm) */
	S_VSIB,
};

/* Memory operand, and with it the factor of an 8-bit displacement [SDM 2A tables 2-34, 2-35]. */
enum tuple {
	T_NONE,
	T_FV,  /* vector, or one element if broadcast */
	T_HV,  /* half vector, or one doubleword */
	T_FVM, T_HVM, T_QVM, T_OVM, /* vector, half, quarter, eighth; no broadcast */
	T_DUP, /* VMOVDDUP: 8, 32, 64 */
	T_S,   /* element by W */
	T_CE,  /* up to a vector of elements by W; factor: one element */
	T_CE1, /* ... of bytes (W0), words (W1) */
	T_1, T_2, T_4, T_8, T_16, T_32, /* that many bytes */
};

#define W0 1
#define W1 2
#define WX 3
#define IMM BIT(0)
#define ALN BIT(1)
#define REG BIT(2)
#define MEM BIT(3)

struct erow {
	u8 map, op, pp, w, shape, tuple, x;
};

/* clang-format off */
#define E(map, op, pp, w, shape, tuple) { map, op, pp, w, S_##shape, T_##tuple, 0 }
#define EX(map, op, pp, w, shape, tuple, x) { map, op, pp, w, S_##shape, T_##tuple, x }
#define PS_PD(op, shape) E(1, op, 0, W0, shape, FV), E(1, op, 1, W1, shape, FV)
#define SS_SD(op) E(1, op, 2, W0, RVM, 4), E(1, op, 3, W1, RVM, 8)
#define BW(op) E(1, op, 1, WX, RVM, FVM)
#define DQ(op) E(1, op, 1, WX, RVM, FV)
#define D38(op) E(2, op, 1, WX, RVM, FV)
#define B38(op) E(2, op, 1, WX, RVM, FVM)
#define MOVDOWN(op, t) { 2, op, 2, W0, S_MR, t, 0 }
#define FMAP(op) E(2, op, 1, WX, RVM3, FV)
#define FMAS(op) E(2, op, 1, WX, RVM3, S)

static const struct erow rows[] = {
	/* -- 0F -- */
	E(1, 0x10, 0, W0, RM, FVM), E(1, 0x10, 1, W1, RM, FVM), E(1, 0x11, 0, W0, MR, FVM), E(1, 0x11, 1, W1, MR, FVM),
	EX(1, 0x10, 2, W0, RM, 4, MEM), EX(1, 0x10, 3, W1, RM, 8, MEM), EX(1, 0x10, 2, W0, RVM, 4, REG), EX(1, 0x10, 3, W1, RVM, 8, REG),
	EX(1, 0x11, 2, W0, MR, 4, MEM), EX(1, 0x11, 3, W1, MR, 8, MEM), EX(1, 0x11, 2, W0, RVM, 4, REG), EX(1, 0x11, 3, W1, RVM, 8, REG),
	E(1, 0x12, 0, W0, RVM, 8), EX(1, 0x12, 1, W1, RVM, 8, MEM), E(1, 0x12, 2, W0, RM, FVM), E(1, 0x12, 3, W1, RM, DUP),
	EX(1, 0x13, 0, W0, MR, 8, MEM), EX(1, 0x13, 1, W1, MR, 8, MEM), PS_PD(0x14, RVM), PS_PD(0x15, RVM),
	E(1, 0x16, 0, W0, RVM, 8), EX(1, 0x16, 1, W1, RVM, 8, MEM), E(1, 0x16, 2, W0, RM, FVM),
	EX(1, 0x17, 0, W0, MR, 8, MEM), EX(1, 0x17, 1, W1, MR, 8, MEM),
	EX(1, 0x28, 0, W0, RM, FVM, ALN), EX(1, 0x28, 1, W1, RM, FVM, ALN), EX(1, 0x29, 0, W0, MR, FVM, ALN), EX(1, 0x29, 1, W1, MR, FVM, ALN),
	EX(1, 0x2b, 0, W0, MR, FVM, ALN | MEM), EX(1, 0x2b, 1, W1, MR, FVM, ALN | MEM),
	E(1, 0x2a, 2, WX, RVMG, S), E(1, 0x2a, 3, WX, RVMG, S), E(1, 0x7b, 2, WX, RVMG, S), E(1, 0x7b, 3, WX, RVMG, S),
	E(1, 0x2c, 2, WX, GRM, 4), E(1, 0x2c, 3, WX, GRM, 8), E(1, 0x2d, 2, WX, GRM, 4), E(1, 0x2d, 3, WX, GRM, 8),
	E(1, 0x78, 2, WX, GRM, 4), E(1, 0x78, 3, WX, GRM, 8), E(1, 0x79, 2, WX, GRM, 4), E(1, 0x79, 3, WX, GRM, 8),
	E(1, 0x2e, 0, W0, FLAG, 4), E(1, 0x2e, 1, W1, FLAG, 8), E(1, 0x2f, 0, W0, FLAG, 4), E(1, 0x2f, 1, W1, FLAG, 8),
	PS_PD(0x51, RM), SS_SD(0x51), PS_PD(0x54, RVM), PS_PD(0x55, RVM), PS_PD(0x56, RVM), PS_PD(0x57, RVM),
	PS_PD(0x58, RVM), SS_SD(0x58), PS_PD(0x59, RVM), SS_SD(0x59), PS_PD(0x5c, RVM), SS_SD(0x5c), PS_PD(0x5d, RVM), SS_SD(0x5d),
	PS_PD(0x5e, RVM), SS_SD(0x5e), PS_PD(0x5f, RVM), SS_SD(0x5f),
	E(1, 0x5a, 0, W0, RM, HV), E(1, 0x5a, 1, W1, RM, FV), SS_SD(0x5a),
	E(1, 0x5b, 0, WX, RM, FV), E(1, 0x5b, 1, W0, RM, FV), E(1, 0x5b, 2, W0, RM, FV),
	BW(0x60), BW(0x61), DQ(0x62), BW(0x63), E(1, 0x64, 1, WX, K, FVM), E(1, 0x65, 1, WX, K, FVM), E(1, 0x66, 1, W0, K, FV),
	BW(0x67), BW(0x68), BW(0x69), DQ(0x6a), DQ(0x6b), DQ(0x6c), DQ(0x6d),
	E(1, 0x6e, 1, WX, RMG, S), E(1, 0x7e, 1, WX, MRG, S), E(1, 0x7e, 2, W1, RM, 8), E(1, 0xd6, 1, W1, MR, 8),
	EX(1, 0x6f, 1, WX, RM, FVM, ALN), E(1, 0x6f, 2, WX, RM, FVM), E(1, 0x6f, 3, WX, RM, FVM),
	EX(1, 0x7f, 1, WX, MR, FVM, ALN), E(1, 0x7f, 2, WX, MR, FVM), E(1, 0x7f, 3, WX, MR, FVM),
	EX(1, 0x70, 1, W0, RM, FV, IMM), EX(1, 0x70, 2, WX, RM, FVM, IMM), EX(1, 0x70, 3, WX, RM, FVM, IMM),
	EX(1, 0x71, 1, WX, NDD, FVM, IMM), EX(1, 0x72, 1, WX, NDD, FV, IMM), EX(1, 0x73, 1, WX, NDD, FV, IMM),
	E(1, 0x74, 1, WX, K, FVM), E(1, 0x75, 1, WX, K, FVM), E(1, 0x76, 1, W0, K, FV),
	E(1, 0x78, 0, WX, RM, FV), E(1, 0x78, 1, W0, RM, HV), E(1, 0x78, 1, W1, RM, FV),
	E(1, 0x79, 0, WX, RM, FV), E(1, 0x79, 1, W0, RM, HV), E(1, 0x79, 1, W1, RM, FV),
	E(1, 0x7a, 1, W0, RM, HV), E(1, 0x7a, 1, W1, RM, FV), E(1, 0x7a, 2, W0, RM, HV), E(1, 0x7a, 2, W1, RM, FV), E(1, 0x7a, 3, WX, RM, FV),
	E(1, 0x7b, 1, W0, RM, HV), E(1, 0x7b, 1, W1, RM, FV),
	EX(1, 0xc2, 0, W0, K, FV, IMM), EX(1, 0xc2, 1, W1, K, FV, IMM), EX(1, 0xc2, 2, W0, K, 4, IMM), EX(1, 0xc2, 3, W1, K, 8, IMM),
	EX(1, 0xc4, 1, WX, RVMG, 2, IMM), EX(1, 0xc5, 1, WX, GRM, NONE, IMM | REG),
	EX(1, 0xc6, 0, W0, RVM, FV, IMM), EX(1, 0xc6, 1, W1, RVM, FV, IMM),
	E(1, 0xd1, 1, WX, RVM, 16), E(1, 0xd2, 1, W0, RVM, 16), E(1, 0xd3, 1, W1, RVM, 16), DQ(0xd4), BW(0xd5), BW(0xd8), BW(0xd9),
	BW(0xda), DQ(0xdb), BW(0xdc), BW(0xdd), BW(0xde), DQ(0xdf), BW(0xe0), E(1, 0xe1, 1, WX, RVM, 16), E(1, 0xe2, 1, WX, RVM, 16),
	BW(0xe3), BW(0xe4), BW(0xe5), E(1, 0xe6, 2, W0, RM, HV), E(1, 0xe6, 2, W1, RM, FV), E(1, 0xe6, 1, W1, RM, FV), E(1, 0xe6, 3, W1, RM, FV),
	EX(1, 0xe7, 1, W0, MR, FVM, ALN | MEM), BW(0xe8), BW(0xe9), BW(0xea), DQ(0xeb), BW(0xec), BW(0xed), BW(0xee), DQ(0xef),
	E(1, 0xf1, 1, WX, RVM, 16), E(1, 0xf2, 1, W0, RVM, 16), E(1, 0xf3, 1, W1, RVM, 16), DQ(0xf4), BW(0xf5), BW(0xf6),
	BW(0xf8), BW(0xf9), DQ(0xfa), DQ(0xfb), BW(0xfc), BW(0xfd), DQ(0xfe),
	/* -- 0F38 -- */
	B38(0x00), B38(0x04), B38(0x0b), D38(0x0c), D38(0x0d), B38(0x10), B38(0x11), B38(0x12), E(2, 0x13, 1, W0, RM, HVM),
	D38(0x14), D38(0x15), D38(0x16),
	MOVDOWN(0x10, T_HVM), MOVDOWN(0x11, T_QVM), MOVDOWN(0x12, T_OVM), MOVDOWN(0x13, T_HVM), MOVDOWN(0x14, T_QVM), MOVDOWN(0x15, T_HVM),
	MOVDOWN(0x20, T_HVM), MOVDOWN(0x21, T_QVM), MOVDOWN(0x22, T_OVM), MOVDOWN(0x23, T_HVM), MOVDOWN(0x24, T_QVM), MOVDOWN(0x25, T_HVM),
	MOVDOWN(0x30, T_HVM), MOVDOWN(0x31, T_QVM), MOVDOWN(0x32, T_OVM), MOVDOWN(0x33, T_HVM), MOVDOWN(0x34, T_QVM), MOVDOWN(0x35, T_HVM),
	E(2, 0x18, 1, W0, RM, 4), E(2, 0x19, 1, WX, RM, 8), EX(2, 0x1a, 1, WX, RM, 16, MEM), EX(2, 0x1b, 1, WX, RM, 32, MEM),
	E(2, 0x1c, 1, WX, RM, FVM), E(2, 0x1d, 1, WX, RM, FVM), E(2, 0x1e, 1, W0, RM, FV), E(2, 0x1f, 1, W1, RM, FV),
	E(2, 0x20, 1, WX, RM, HVM), E(2, 0x21, 1, WX, RM, QVM), E(2, 0x22, 1, WX, RM, OVM), E(2, 0x23, 1, WX, RM, HVM),
	E(2, 0x24, 1, WX, RM, QVM), E(2, 0x25, 1, W0, RM, HVM), E(2, 0x30, 1, WX, RM, HVM), E(2, 0x31, 1, WX, RM, QVM),
	E(2, 0x32, 1, WX, RM, OVM), E(2, 0x33, 1, WX, RM, HVM), E(2, 0x34, 1, WX, RM, QVM), E(2, 0x35, 1, W0, RM, HVM),
	E(2, 0x26, 1, WX, K, FVM), E(2, 0x26, 2, WX, K, FVM), E(2, 0x27, 1, WX, K, FV), E(2, 0x27, 2, WX, K, FV),
	D38(0x28), E(2, 0x29, 1, W1, K, FV), E(2, 0x37, 1, W1, K, FV),
	EX(2, 0x28, 2, WX, RMK, NONE, REG), EX(2, 0x38, 2, WX, RMK, NONE, REG), EX(2, 0x2a, 2, W1, RMK, NONE, REG), EX(2, 0x3a, 2, W0, RMK, NONE, REG),
	EX(2, 0x29, 2, WX, KM, NONE, REG), EX(2, 0x39, 2, WX, KM, NONE, REG),
	EX(2, 0x2a, 1, W0, RM, FVM, ALN | MEM), D38(0x2b), D38(0x2c), E(2, 0x2d, 1, WX, RVM, S), D38(0x36),
	B38(0x38), D38(0x39), B38(0x3a), D38(0x3b), B38(0x3c), D38(0x3d), B38(0x3e), D38(0x3f), D38(0x40),
	E(2, 0x42, 1, WX, RM, FV), E(2, 0x43, 1, WX, RVM, S), E(2, 0x44, 1, WX, RM, FV), D38(0x45), D38(0x46), D38(0x47),
	E(2, 0x4c, 1, WX, RM, FV), E(2, 0x4d, 1, WX, RVM, S), E(2, 0x4e, 1, WX, RM, FV), E(2, 0x4f, 1, WX, RVM, S),
	E(2, 0x50, 1, W0, RVM3, FV), E(2, 0x51, 1, W0, RVM3, FV), E(2, 0x52, 1, W0, RVM3, FV), E(2, 0x53, 1, W0, RVM3, FV), E(2, 0x52, 2, W0, RVM3, FV),
	E(2, 0x54, 1, WX, RM, FVM), E(2, 0x55, 1, WX, RM, FV), E(2, 0x58, 1, W0, RM, 4), E(2, 0x59, 1, WX, RM, 8),
	EX(2, 0x5a, 1, WX, RM, 16, MEM), EX(2, 0x5b, 1, WX, RM, 32, MEM),
	E(2, 0x62, 1, WX, RM, CE1), E(2, 0x63, 1, WX, MR, CE1), E(2, 0x88, 1, WX, RM, CE), E(2, 0x89, 1, WX, RM, CE), E(2, 0x8a, 1, WX, MR, CE), E(2, 0x8b, 1, WX, MR, CE),
	D38(0x64), D38(0x65), B38(0x66), E(2, 0x70, 1, W1, RVM3, FVM), E(2, 0x71, 1, WX, RVM3, FV), E(2, 0x72, 1, W1, RVM3, FVM), E(2, 0x73, 1, WX, RVM3, FV),
	E(2, 0x72, 3, W0, RVM, FV), E(2, 0x72, 2, W0, RM, FV),
	E(2, 0x75, 1, WX, RVM3, FVM), E(2, 0x76, 1, WX, RVM3, FV), E(2, 0x77, 1, WX, RVM3, FV), E(2, 0x7d, 1, WX, RVM3, FVM), E(2, 0x7e, 1, WX, RVM3, FV), E(2, 0x7f, 1, WX, RVM3, FV),
	E(2, 0x78, 1, W0, RM, 1), E(2, 0x79, 1, W0, RM, 2), EX(2, 0x7a, 1, W0, RMG, NONE, REG), EX(2, 0x7b, 1, W0, RMG, NONE, REG), EX(2, 0x7c, 1, WX, RMG, NONE, REG),
	D38(0x83), B38(0x8d), E(2, 0x8f, 1, W0, K, FVM),
	EX(2, 0x90, 1, WX, VSIB, S, MEM), EX(2, 0x91, 1, WX, VSIB, S, MEM), EX(2, 0x92, 1, WX, VSIB, S, MEM), EX(2, 0x93, 1, WX, VSIB, S, MEM),
	EX(2, 0xa0, 1, WX, VSIB, S, MEM), EX(2, 0xa1, 1, WX, VSIB, S, MEM), EX(2, 0xa2, 1, WX, VSIB, S, MEM), EX(2, 0xa3, 1, WX, VSIB, S, MEM),
	FMAP(0x96), FMAP(0x97), FMAP(0x98), FMAS(0x99), FMAP(0x9a), FMAS(0x9b), FMAP(0x9c), FMAS(0x9d), FMAP(0x9e), FMAS(0x9f),
	FMAP(0xa6), FMAP(0xa7), FMAP(0xa8), FMAS(0xa9), FMAP(0xaa), FMAS(0xab), FMAP(0xac), FMAS(0xad), FMAP(0xae), FMAS(0xaf),
	FMAP(0xb4), FMAP(0xb5), FMAP(0xb6), FMAP(0xb7), FMAP(0xb8), FMAS(0xb9), FMAP(0xba), FMAS(0xbb), FMAP(0xbc), FMAS(0xbd), FMAP(0xbe), FMAS(0xbf),
	E(2, 0xc4, 1, WX, RM, FV), E(2, 0xcf, 1, W0, RVM, FVM), B38(0xdc), B38(0xdd), B38(0xde), B38(0xdf),
	/* -- 0F3A, all with an immediate -- */
#define I3(op, w, shape, tuple) EX(3, op, 1, w, shape, tuple, IMM)
	I3(0x00, W1, RM, FV), I3(0x01, W1, RM, FV), I3(0x03, WX, RVM, FV), I3(0x04, W0, RM, FV), I3(0x05, W1, RM, FV),
	I3(0x08, W0, RM, FV), I3(0x09, W1, RM, FV), I3(0x0a, W0, RVM, 4), I3(0x0b, W1, RVM, 8), I3(0x0f, WX, RVM, FVM),
	I3(0x14, WX, MRG, 1), I3(0x15, WX, MRG, 2), I3(0x16, WX, MRG, S), I3(0x17, WX, MRG, 4),
	I3(0x18, WX, RVM, 16), I3(0x19, WX, MR, 16), I3(0x1a, WX, RVM, 32), I3(0x1b, WX, MR, 32), I3(0x1d, W0, MR, HVM),
	I3(0x38, WX, RVM, 16), I3(0x39, WX, MR, 16), I3(0x3a, WX, RVM, 32), I3(0x3b, WX, MR, 32),
	I3(0x1e, WX, K, FV), I3(0x1f, WX, K, FV), I3(0x3e, WX, K, FVM), I3(0x3f, WX, K, FVM), I3(0x66, WX, KM, FV), I3(0x67, WX, KM, S),
	I3(0x20, WX, RVMG, 1), I3(0x21, W0, RVM, 4), I3(0x22, WX, RVMG, S), I3(0x23, WX, RVM, FV), I3(0x25, WX, RVM3, FV),
	I3(0x26, WX, RM, FV), I3(0x27, WX, RVM, S), I3(0x42, W0, RVM, FVM), I3(0x43, WX, RVM, FV), I3(0x44, WX, RVM, FVM),
	I3(0x50, WX, RVM, FV), I3(0x51, WX, RVM, S), I3(0x54, WX, RVM3, FV), I3(0x55, WX, RVM3, S), I3(0x56, WX, RM, FV), I3(0x57, WX, RVM, S),
	I3(0x70, W1, RVM, FVM), I3(0x71, WX, RVM, FV), I3(0x72, W1, RVM, FVM), I3(0x73, WX, RVM, FV), I3(0xce, W1, RVM, FV), I3(0xcf, W1, RVM, FV),
};
#undef MOVDOWN
/* clang-format on */

static void set_ud(struct insn *i)
{
	i->cls = CLS_UD;
	i->attr = IA_ENDS;
}

/* -- lookup ------------------------------------------------------------------------ */

static u16 first_row[4][4][256]; /* [map][pp][op]: index + 1; rows of one opcode are chained */
static u16 next_row[array_len(rows)];

void decode_evex_init(void)
{
	for (unsigned k = array_len(rows); k-- > 0;) {
		u16 *head = &first_row[rows[k].map][rows[k].pp][rows[k].op];

		next_row[k] = *head;
		*head = (u16)(k + 1);
	}
}

static const struct erow *find_row(const struct insn *i)
{
	if (i->map < MAP_0F || i->map > MAP_0F3A)
		return NULL;
	for (u16 k = first_row[i->map][i->pp][i->op]; k; k = next_row[k - 1]) {
		const struct erow *r = &rows[k - 1];

		if (r->w & (i->w ? W1 : W0) && !(r->x & REG && i->is_mem) &&
		    !(r->x & MEM && !i->is_mem))
			return r;
	}
	return NULL;
}

/* -- operands ------------------------------------------------------------------------ */

static unsigned elem_size(const struct insn *i)
{
	return i->w ? 8 : 4;
}

/* Bytes of the memory operand; *ret_n: the factor of an 8-bit displacement. */
static unsigned operand_size(const struct insn *i, unsigned tuple, unsigned *ret_n)
{
	unsigned vl = 16u << i->vl, n = 0;
	bool gpr = i->rm_kind == OK_GPR;

	switch (tuple) {
	case T_FV: n = i->b ? elem_size(i) : vl; break;
	case T_HV: n = i->b ? 4 : vl / 2; break;
	case T_FVM: n = vl; break;
	case T_HVM: n = vl / 2; break;
	case T_QVM: n = vl / 4; break;
	case T_OVM: n = vl / 8; break;
	case T_DUP: n = i->vl ? vl : 8; break;
	case T_S: n = gpr && i->mode != 8 ? 4 : elem_size(i); break;
	case T_CE: *ret_n = elem_size(i); return vl;
	case T_CE1: *ret_n = i->w ? 2 : 1; return vl;
	case T_1 ... T_32: n = 1u << (tuple - T_1); break;
	}
	*ret_n = n;
	return n;
}

static void set_kinds(struct insn *i, u8 reg, u8 reg_acc, u8 rm, u8 rm_acc)
{
	i->reg_kind = reg;
	i->reg_acc = reg_acc;
	i->rm_kind = rm;
	i->rm_acc = rm_acc;
	i->reg_size = i->rm_size = i->w && i->mode == 8 ? 8 : 4;
}

static void set_shape(struct insn *i, unsigned shape)
{
	u8 dst = i->aaa && !i->z ? OP_R | OP_W : OP_W;

	switch (shape) {
	case S_RM: case S_RVM: set_kinds(i, OK_VEC, dst, OK_VEC, OP_R); break;
	case S_RVM3: set_kinds(i, OK_VEC, OP_R | OP_W, OK_VEC, OP_R); break;
	case S_MR: set_kinds(i, OK_VEC, OP_R, OK_VEC, dst & OP_W); break;
	case S_FLAG: set_kinds(i, OK_VEC, OP_R, OK_VEC, OP_R); break;
	case S_RMG: case S_RVMG: set_kinds(i, OK_VEC, dst, OK_GPR, OP_R); break;
	case S_MRG: set_kinds(i, OK_VEC, OP_R, OK_GPR, OP_W); break;
	case S_GRM: set_kinds(i, OK_GPR, OP_W, OK_VEC, OP_R); break;
	case S_NDD: set_kinds(i, OK_EXT, 0, OK_VEC, OP_R); break;
	case S_K: case S_KM: set_kinds(i, OK_K, OP_W, OK_VEC, OP_R); break;
	case S_RMK: set_kinds(i, OK_VEC, OP_W, OK_K, OP_R); break;
	case S_VSIB: set_kinds(i, OK_VEC, OP_R | OP_W, OK_VEC, i->op >= 0xa0 ? OP_W : OP_R); break;
	}
	if (shape == S_RVM || shape == S_RVM3 || shape == S_RVMG || shape == S_K) {
		i->vvvv_kind = OK_VEC;
		i->vvvv_acc = OP_R;
	}
	if (shape == S_NDD) {
		i->vvvv_kind = OK_VEC;
		i->vvvv_acc = dst;
	}
	if (shape == S_FLAG)
		i->flags_w = FLB_ALL;
}

static void apply_row(struct insn *i, struct dcur *c, const struct erow *r)
{
	unsigned n = 0, size;

	i->cls = CLS_VEC;
	i->attr = r->shape == S_VSIB ? 0 : IA_VERBATIM;
	set_shape(i, r->shape);
	if (r->x & IMM)
		decode_imm(i, c, 1);
	if (!i->is_mem)
		return;
	size = operand_size(i, r->tuple, &n);
	if (r->shape == S_NDD && i->op == 0x73 && (i->modrm >> 3 & 3) == 3)
		n = size = 16u << i->vl; /* VPSRLDQ, VPSLLDQ: bytes, no broadcast */
	i->mem_size = (u16)size;
	i->mem_align = r->x & ALN;
	if (i->nr_disp == 1 && i->adsize > 2)
		i->disp *= (i64)n;
	else if (i->nr_disp == 1)
		i->disp = (i64)(i16)(i->disp * (i64)n);
}

/* Length of what we do not know. */
static void skip_imm(struct insn *i, struct dcur *c)
{
	bool imm = i->map == MAP_0F3A ||
		   (i->map == MAP_0F && ((i->op >= 0x70 && i->op <= 0x73) || i->op == 0xc2 ||
					 (i->op >= 0xc4 && i->op <= 0xc6)));

	if (imm)
		decode_imm(i, c, 1);
	set_ud(i);
}

/* -- EVEX prefix [SDM 2A 2.7.1] --------------------------------------------------------- */

static void take_prefix(struct insn *i, struct dcur *c)
{
	u8 p0 = decode_byte(c), p1 = decode_byte(c), p2 = decode_byte(c);

	i->enc = ENC_EVEX;
	i->r = !(p0 & 0x80), i->x = !(p0 & 0x40), i->rexb = !(p0 & 0x20), i->r2 = !(p0 & 0x10);
	i->map = p0 & 7;
	i->w = p1 & 0x80;
	i->vvvv = (u8)(((~p1 >> 3) & 15) | (p2 & 8 ? 0 : 16));
	i->pp = p1 & 3;
	i->z = p2 & 0x80, i->b = p2 & 0x10;
	i->vl = (p2 >> 5) & 3;
	i->aaa = p2 & 7;
	if (i->mode != 8) {
		i->r = i->x = i->rexb = i->r2 = false;
		i->vvvv &= 0x17; /* V' = 0 is #UD */
	}
}

void decode_evex(struct insn *i, struct dcur *c)
{
	bool bad = i->rep || i->opsz || i->lock || i->rex;
	const struct erow *r;

	take_prefix(i, c);
	bad |= i->mode != 8 && i->vvvv & 16;
	i->adsize = i->mode == 8 ? (i->adsz ? 4 : 8) : (i->mode == 4) != i->adsz ? 4 : 2;
	i->opsize = i->w && i->mode == 8 ? 8 : 4;
	i->off_op = (u8)c->at;
	i->op = decode_byte(c);
	i->vsib = i->map == MAP_0F38 &&
		  ((i->op >= 0x90 && i->op <= 0x93) || (i->op >= 0xa0 && i->op <= 0xa3));
	decode_modrm(i, c);
	if (i->vsib && i->index != REG_NONE)
		i->index |= i->vvvv & 16;
	r = find_row(i);
	if (r)
		apply_row(i, c, r);
	else
		skip_imm(i, c);
	if (bad || wide_only(i) || (i->vsib && (i->index == REG_NONE || i->adsize == 2)) ||
	    (i->vl == 3 && (i->is_mem || !i->b)))
		set_ud(i);
	i->attr |= IA_AVX512;
}

/* -- opmask instructions, VEX-encoded --------------------------------------------------- */

static void k_regs(struct insn *i, bool vvvv)
{
	set_kinds(i, OK_K, OP_W, OK_K, OP_R);
	if (vvvv) {
		i->vvvv_kind = OK_K;
		i->vvvv_acc = OP_R;
	}
}

/* KMOV between opmask registers and memory. */
static void kmov_mem(struct insn *i)
{
	static const u8 size[2][2] = { { 2, 8 }, { 1, 4 } }; /* [pp][w] */

	if (i->op == 0x90)
		set_kinds(i, OK_K, OP_W, OK_K, OP_R);
	else
		set_kinds(i, OK_K, OP_R, OK_K, OP_W);
	if (i->is_mem)
		i->mem_size = size[i->pp][i->w];
}

/* KMOV with a general register: W1 only with F2, only in 64-bit mode. */
static void kmov_gpr(struct insn *i)
{
	if (i->op == 0x92)
		set_kinds(i, OK_K, OP_W, OK_GPR, OP_R);
	else
		set_kinds(i, OK_GPR, OP_W, OK_K, OP_R);
}

bool decode_opmask(struct insn *i, struct dcur *c)
{
	bool binary = i->map == MAP_0F && i->vl &&
		      (i->op == 0x41 || i->op == 0x42 || (i->op >= 0x45 && i->op <= 0x47) ||
		       i->op == 0x4a || i->op == 0x4b);
	bool mov = i->map == MAP_0F && (i->op == 0x90 || i->op == 0x91);
	bool movg = i->map == MAP_0F && (i->op == 0x92 || i->op == 0x93);
	bool test = i->map == MAP_0F && (i->op == 0x98 || i->op == 0x99);
	bool shift = i->map == MAP_0F3A && i->op >= 0x30 && i->op <= 0x33;
	bool not = i->map == MAP_0F && i->op == 0x44;

	if (!binary && !mov && !movg && !test && !shift && !not)
		return false;
	i->cls = CLS_VEC;
	if (mov && i->pp < 2)
		kmov_mem(i);
	else if (movg)
		kmov_gpr(i);
	else
		k_regs(i, binary);
	if (test) {
		i->reg_acc = OP_R;
		i->flags_w = FLB_ALL;
	}
	if (shift)
		decode_imm(i, c, 1);
	if ((i->is_mem && !mov) || (!i->is_mem && i->op == 0x91) || (i->vl && !binary) ||
	    (!binary && i->vvvv) || (movg && i->w && (i->pp != 3 || i->mode != 8)) || (shift ? i->pp != 1 : movg ? i->pp == 2 : i->pp > 1))
		set_ud(i);
	i->attr |= IA_AVX | IA_AVX512 | (i->cls == CLS_VEC ? IA_VERBATIM : 0);
	return true;
}
