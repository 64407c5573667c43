// SPDX-License-Identifier: Apache-2.0
/*
 * decode.c - x86 instruction decoder: prefixes, opcode tables, operands
 *
 * Follows the opcode maps of the Intel SDM volume 2 appendix A and AMD APM
 * volume 3 appendix A. Vector opcodes are described in decode_vec.c. The rule
 * of the tables: a row says everything that the interpreter's dispatch and the
 * translator need (class, operands, flags); semantics live elsewhere.
 */
#include "cpu/cpu.h"
#include "cpu/soft/decode_int.h"
#include "cpu/soft/quirks.h"

#include <cpuid.h>
#include <string.h>

/* clang-format off */

/* Immediate forms. */
enum imm_kind { I_NONE, I_8S, I_8U, I_Z, I_V, I_16, I_MOFFS, I_ENTER, I_FAR, I_J8, I_JZ };

/* Operand forms: which of reg, rm and implicit registers are read and written. */
enum form {
	F_NONE,
	F_M,		/* ModRM present, operands decided by fix_*() */
	F_RM_R,		/* rm op= reg */
	F_RM_R_CMP,	/* rm ? reg */
	F_R_RM,		/* reg op= rm */
	F_R_RM_CMP,	/* reg ? rm */
	F_RM_R_MOV,	/* rm = reg */
	F_R_RM_MOV,	/* reg = f(rm) */
	F_RM,		/* rm op= */
	F_RM_W,		/* rm = (imm, flags) */
	F_RM_RD,	/* rm read only */
	F_XCHG,		/* rm <-> reg */
	F_ACC,		/* accumulator op= imm */
	F_ACC_CMP,	/* accumulator ? imm */
	F_O_RW, F_O_R, F_O_W,	/* register in the low opcode bits */
	F_XCHG_O,	/* rax <-> opcode register */
	F_LEA,
};

/* Row flags. */
#define B_  BIT(0) /* byte operands */
#define D64 BIT(1) /* operand size 64 by default in 64-bit mode */
#define N64 BIT(2) /* #UD in 64-bit mode */
#define F64 BIT(3) /* near branch: 64-bit in 64-bit mode; 66h depends on the vendor */

struct row {
	u8 cls, imm, form, fl, fr, fw;
	u16 attr;
};

#define C  FLB_CF
#define P  FLB_PF
#define A  FLB_AF
#define Z  FLB_ZF
#define S  FLB_SF
#define OV FLB_OF
#define ALL FLB_ALL
#define NOC (ALL & ~C)
#define V  IA_VERBATIM
#define L  IA_LOCKABLE
#define BR (IA_BRANCH | IA_ENDS)
#define STK IA_STACK
#define STR IA_STRING
#define END IA_ENDS

#define INT(...) { CLS_INT, __VA_ARGS__ }
#define SYS(...) { CLS_SYS, __VA_ARGS__ }

/* ADD, OR, ADC, SBB, AND, SUB, XOR at op, op+1, ... op+5 */
#define ARITH(op, r) \
	[op] = INT(0, F_RM_R, B_, r, ALL, V | L), [op + 1] = INT(0, F_RM_R, 0, r, ALL, V | L), \
	[op + 2] = INT(0, F_R_RM, B_, r, ALL, V), [op + 3] = INT(0, F_R_RM, 0, r, ALL, V), \
	[op + 4] = INT(I_8U, F_ACC, B_, r, ALL, V), [op + 5] = INT(I_Z, F_ACC, 0, r, ALL, V)

static const struct row map1[256] = {
	ARITH(0x00, 0), ARITH(0x08, 0), ARITH(0x10, C), ARITH(0x18, C),
	ARITH(0x20, 0), ARITH(0x28, 0), ARITH(0x30, 0),
	[0x38] = INT(0, F_RM_R_CMP, B_, 0, ALL, V), [0x39] = INT(0, F_RM_R_CMP, 0, 0, ALL, V),
	[0x3a] = INT(0, F_R_RM_CMP, B_, 0, ALL, V), [0x3b] = INT(0, F_R_RM_CMP, 0, 0, ALL, V),
	[0x3c] = INT(I_8U, F_ACC_CMP, B_, 0, ALL, V), [0x3d] = INT(I_Z, F_ACC_CMP, 0, 0, ALL, V),
	[0x06] = SYS(0, 0, N64, 0, 0, STK), [0x07] = SYS(0, 0, N64, 0, 0, STK),
	[0x0e] = SYS(0, 0, N64, 0, 0, STK),
	[0x16] = SYS(0, 0, N64, 0, 0, STK), [0x17] = SYS(0, 0, N64, 0, 0, STK),
	[0x1e] = SYS(0, 0, N64, 0, 0, STK), [0x1f] = SYS(0, 0, N64, 0, 0, STK),
	[0x27] = INT(0, 0, N64, C | A, ALL, 0), [0x2f] = INT(0, 0, N64, C | A, ALL, 0),
	[0x37] = INT(0, 0, N64, A, ALL, 0), [0x3f] = INT(0, 0, N64, A, ALL, 0),
	[0x40 ... 0x4f] = INT(0, F_O_RW, N64, 0, NOC, V),
	[0x50 ... 0x57] = INT(0, F_O_R, D64, 0, 0, STK),
	[0x58 ... 0x5f] = INT(0, F_O_W, D64, 0, 0, STK),
	[0x60 ... 0x61] = INT(0, 0, N64, 0, 0, STK),
	[0x62] = INT(0, F_R_RM_CMP, N64, 0, 0, 0),	/* BOUND; EVEX otherwise */
	[0x63] = INT(0, F_M, 0, 0, 0, V),		/* MOVSXD / ARPL */
	[0x68] = INT(I_Z, 0, D64, 0, 0, STK), [0x6a] = INT(I_8S, 0, D64, 0, 0, STK),
	[0x69] = INT(I_Z, F_R_RM_MOV, 0, 0, C | OV, V), [0x6b] = INT(I_8S, F_R_RM_MOV, 0, 0, C | OV, V),
	[0x6c] = SYS(0, 0, B_, 0, 0, STR), [0x6d] = SYS(0, 0, 0, 0, 0, STR),
	[0x6e] = SYS(0, 0, B_, 0, 0, STR), [0x6f] = SYS(0, 0, 0, 0, 0, STR),
	[0x70 ... 0x7f] = INT(I_J8, 0, F64, 0, 0, BR),
	[0x80] = INT(I_8U, F_M, B_, 0, ALL, V | L), [0x81] = INT(I_Z, F_M, 0, 0, ALL, V | L),
	[0x82] = INT(I_8U, F_M, B_ | N64, 0, ALL, V | L), [0x83] = INT(I_8S, F_M, 0, 0, ALL, V | L),
	[0x84] = INT(0, F_RM_R_CMP, B_, 0, ALL, V), [0x85] = INT(0, F_RM_R_CMP, 0, 0, ALL, V),
	[0x86] = INT(0, F_XCHG, B_, 0, 0, V | L), [0x87] = INT(0, F_XCHG, 0, 0, 0, V | L),
	[0x88] = INT(0, F_RM_R_MOV, B_, 0, 0, V), [0x89] = INT(0, F_RM_R_MOV, 0, 0, 0, V),
	[0x8a] = INT(0, F_R_RM_MOV, B_, 0, 0, V), [0x8b] = INT(0, F_R_RM_MOV, 0, 0, 0, V),
	[0x8c] = SYS(0, F_M, 0, 0, 0, 0), [0x8d] = INT(0, F_LEA, 0, 0, 0, V),
	[0x8e] = SYS(0, F_M, 0, 0, 0, END), [0x8f] = INT(0, F_M, D64, 0, 0, STK),
	[0x90 ... 0x97] = INT(0, F_XCHG_O, 0, 0, 0, V),
	[0x98] = INT(0, 0, 0, 0, 0, V), [0x99] = INT(0, 0, 0, 0, 0, V),
	[0x9a] = SYS(I_FAR, 0, N64, 0, 0, STK | END), [0x9b] = { CLS_X87, 0, 0, 0, 0, 0, IA_FP },
	[0x9c] = SYS(0, 0, D64, ALL, 0, STK), [0x9d] = SYS(0, 0, D64, 0, ALL, STK | END),
	[0x9e] = INT(0, 0, 0, 0, ALL & ~OV, V), [0x9f] = INT(0, 0, 0, ALL & ~OV, 0, V),
	[0xa0] = INT(I_MOFFS, 0, B_, 0, 0, V), [0xa1] = INT(I_MOFFS, 0, 0, 0, 0, V),
	[0xa2] = INT(I_MOFFS, 0, B_, 0, 0, V), [0xa3] = INT(I_MOFFS, 0, 0, 0, 0, V),
	[0xa4] = INT(0, 0, B_, 0, 0, STR), [0xa5] = INT(0, 0, 0, 0, 0, STR),
	[0xa6] = INT(0, 0, B_, 0, ALL, STR), [0xa7] = INT(0, 0, 0, 0, ALL, STR),
	[0xa8] = INT(I_8U, F_ACC_CMP, B_, 0, ALL, V), [0xa9] = INT(I_Z, F_ACC_CMP, 0, 0, ALL, V),
	[0xaa] = INT(0, 0, B_, 0, 0, STR), [0xab] = INT(0, 0, 0, 0, 0, STR),
	[0xac] = INT(0, 0, B_, 0, 0, STR), [0xad] = INT(0, 0, 0, 0, 0, STR),
	[0xae] = INT(0, 0, B_, 0, ALL, STR), [0xaf] = INT(0, 0, 0, 0, ALL, STR),
	[0xb0 ... 0xb7] = INT(I_8U, F_O_W, B_, 0, 0, V), [0xb8 ... 0xbf] = INT(I_V, F_O_W, 0, 0, 0, V),
	[0xc0] = INT(I_8U, F_M, B_, 0, ALL, V), [0xc1] = INT(I_8U, F_M, 0, 0, ALL, V),
	[0xc2] = INT(I_16, 0, F64, 0, 0, BR | STK), [0xc3] = INT(0, 0, F64, 0, 0, BR | STK),
	[0xc4] = SYS(0, F_M, N64, 0, 0, 0), [0xc5] = SYS(0, F_M, N64, 0, 0, 0),
	[0xc6] = INT(I_8U, F_M, B_, 0, 0, V), [0xc7] = INT(I_Z, F_M, 0, 0, 0, V),
	[0xc8] = INT(I_ENTER, 0, D64, 0, 0, STK), [0xc9] = INT(0, 0, D64, 0, 0, STK),
	[0xca] = SYS(I_16, 0, 0, 0, 0, STK | END), [0xcb] = SYS(0, 0, 0, 0, 0, STK | END),
	[0xcc] = SYS(0, 0, 0, ALL, 0, END), [0xcd] = SYS(I_8U, 0, 0, ALL, 0, END),
	[0xce] = SYS(0, 0, N64, ALL, 0, END), [0xcf] = SYS(0, 0, 0, 0, ALL, END),
	[0xd0 ... 0xd0] = INT(0, F_M, B_, 0, ALL, V), [0xd1] = INT(0, F_M, 0, 0, ALL, V),
	[0xd2] = INT(0, F_M, B_, ALL, ALL, V), [0xd3] = INT(0, F_M, 0, ALL, ALL, V),
	[0xd4] = INT(I_8U, 0, N64, 0, ALL, 0), [0xd5] = INT(I_8U, 0, N64, 0, ALL, 0),
	[0xd6] = INT(0, 0, N64 | B_, C, 0, 0), [0xd7] = INT(0, 0, B_, 0, 0, 0),
	[0xd8 ... 0xdf] = { CLS_X87, 0, F_M, 0, 0, 0, IA_FP },
	[0xe0 ... 0xe1] = INT(I_J8, 0, F64, Z, 0, BR), [0xe2 ... 0xe3] = INT(I_J8, 0, F64, 0, 0, BR),
	[0xe4] = SYS(I_8U, 0, B_, 0, 0, 0), [0xe5] = SYS(I_8U, 0, 0, 0, 0, 0),
	[0xe6] = SYS(I_8U, 0, B_, 0, 0, 0), [0xe7] = SYS(I_8U, 0, 0, 0, 0, 0),
	[0xe8] = INT(I_JZ, 0, F64, 0, 0, BR | STK), [0xe9] = INT(I_JZ, 0, F64, 0, 0, BR),
	[0xea] = SYS(I_FAR, 0, N64, 0, 0, END), [0xeb] = INT(I_J8, 0, F64, 0, 0, BR),
	[0xec] = SYS(0, 0, B_, 0, 0, 0), [0xed] = SYS(0, 0, 0, 0, 0, 0),
	[0xee] = SYS(0, 0, B_, 0, 0, 0), [0xef] = SYS(0, 0, 0, 0, 0, 0),
	[0xf1] = SYS(0, 0, 0, ALL, 0, END), [0xf4] = SYS(0, 0, 0, 0, 0, END),
	[0xf5] = INT(0, 0, 0, C, C, V), [0xf6] = INT(0, F_M, B_, 0, ALL, V | L),
	[0xf7] = INT(0, F_M, 0, 0, ALL, V | L),
	[0xf8] = INT(0, 0, 0, 0, C, V), [0xf9] = INT(0, 0, 0, 0, C, V),
	[0xfa] = SYS(0, 0, 0, 0, 0, 0), [0xfb] = SYS(0, 0, 0, 0, 0, END),
	[0xfc] = INT(0, 0, 0, 0, 0, 0), [0xfd] = INT(0, 0, 0, 0, 0, 0),
	[0xfe] = INT(0, F_M, B_, 0, NOC, V | L), [0xff] = INT(0, F_M, 0, 0, NOC, V | L),
};

#define NOPM INT(0, F_M, 0, 0, 0, V)	/* hint space: ModRM decoded, nothing accessed */

static const struct row map0f[256] = {
	[0x00] = SYS(0, F_M, 0, 0, 0, END), [0x01] = SYS(0, F_M, 0, 0, 0, END),
	[0x02] = SYS(0, F_M, 0, 0, Z, 0), [0x03] = SYS(0, F_M, 0, 0, Z, 0),
	[0x05] = SYS(0, 0, 0, ALL, ALL, END), [0x06] = SYS(0, 0, 0, 0, 0, END),
	[0x07] = SYS(0, 0, 0, 0, ALL, END), [0x08] = SYS(0, 0, 0, 0, 0, END),
	[0x09] = SYS(0, 0, 0, 0, 0, END), [0x0b] = { CLS_UD },
	[0x0d] = NOPM, [0x18 ... 0x1f] = NOPM,
	[0x20 ... 0x23] = SYS(0, F_M, 0, 0, 0, END),
	[0x30] = SYS(0, 0, 0, 0, 0, END), [0x31] = SYS(0, 0, 0, 0, 0, 0),
	[0x32] = SYS(0, 0, 0, 0, 0, 0), [0x33] = SYS(0, 0, 0, 0, 0, 0),
	[0x34] = SYS(0, 0, 0, 0, 0, END), [0x35] = SYS(0, 0, 0, 0, 0, END),
	[0x40 ... 0x4f] = INT(0, F_R_RM, 0, 0, 0, V),
	[0x80 ... 0x8f] = INT(I_JZ, 0, F64, 0, 0, BR),
	[0x90 ... 0x9f] = INT(0, F_RM_W, B_, 0, 0, V),
	[0xa0] = SYS(0, 0, D64, 0, 0, STK), [0xa1] = SYS(0, 0, D64, 0, 0, STK | END),
	[0xa8] = SYS(0, 0, D64, 0, 0, STK), [0xa9] = SYS(0, 0, D64, 0, 0, STK | END),
	[0xa2] = SYS(0, 0, 0, 0, 0, 0),
	[0xa3] = INT(0, F_RM_R_CMP, 0, 0, ALL, V), [0xab] = INT(0, F_RM_R, 0, 0, ALL, V | L),
	[0xb3] = INT(0, F_RM_R, 0, 0, ALL, V | L), [0xbb] = INT(0, F_RM_R, 0, 0, ALL, V | L),
	[0xa4] = INT(I_8U, F_RM_R, 0, ALL, ALL, V), [0xa5] = INT(0, F_RM_R, 0, ALL, ALL, V),
	[0xac] = INT(I_8U, F_RM_R, 0, ALL, ALL, V), [0xad] = INT(0, F_RM_R, 0, ALL, ALL, V),
	[0xaa] = SYS(0, 0, 0, 0, ALL, END),
	[0xae] = INT(0, F_M, 0, 0, 0, 0), [0xaf] = INT(0, F_R_RM, 0, 0, C | OV, V),
	[0xb0] = INT(0, F_RM_R, B_, 0, ALL, V | L), [0xb1] = INT(0, F_RM_R, 0, 0, ALL, V | L),
	[0xb2] = SYS(0, F_M, 0, 0, 0, END), [0xb4] = SYS(0, F_M, 0, 0, 0, 0),
	[0xb5] = SYS(0, F_M, 0, 0, 0, 0),
	[0xb6] = INT(0, F_R_RM_MOV, 0, 0, 0, V), [0xb7] = INT(0, F_R_RM_MOV, 0, 0, 0, V),
	[0xbe] = INT(0, F_R_RM_MOV, 0, 0, 0, V), [0xbf] = INT(0, F_R_RM_MOV, 0, 0, 0, V),
	[0xb8] = INT(0, F_R_RM_MOV, 0, 0, ALL, V),	/* POPCNT with F3, else #UD */
	[0xb9] = { CLS_UD, 0, F_M }, [0xff] = { CLS_UD, 0, F_M },
	[0xba] = INT(I_8U, F_M, 0, 0, ALL, V | L),
	[0xbc] = INT(0, F_R_RM, 0, 0, ALL, V), [0xbd] = INT(0, F_R_RM, 0, 0, ALL, V),
	[0xc0] = INT(0, F_XCHG, B_, 0, ALL, V | L), [0xc1] = INT(0, F_XCHG, 0, 0, ALL, V | L),
	[0xc3] = INT(0, F_RM_R_MOV, 0, 0, 0, V),	/* MOVNTI */
	[0xc7] = INT(0, F_M, 0, 0, Z, V | L),
	[0xc8 ... 0xcf] = INT(0, F_O_RW, 0, 0, 0, V),
};

/* Flags read by condition code cc >> 1. */
static const u8 cc_flags[8] = { OV, C, Z, C | Z, S, P, S | OV, S | OV | Z };

/* clang-format on */

static bool ready;
static bool amd_branches; /* 66h on a near branch truncates (AMD) or is ignored (Intel) */

static void init_once(void)
{
	u32 a, b, c, d;

	__cpuid(0, a, b, c, d);
	amd_branches = b == 0x68747541; /* "Auth" of AuthenticAMD */
	quirks_probe();
	decode_vec_init();
	decode_evex_init();
	__atomic_store_n(&ready, true, __ATOMIC_RELEASE);
}

/* -- byte stream ------------------------------------------------------------- */

static u64 get_le(const u8 *p, unsigned n)
{
	u64 v = 0;

	for (unsigned k = 0; k < n; k++)
		v |= (u64)p[k] << (8 * k);
	return v;
}

/* Next @n bytes as a number; sets c->end past the limit when they are not there. */
static u64 take(struct dcur *c, unsigned n)
{
	u64 v;

	if (c->at + n > c->len) {
		c->at = c->len + 1;
		return 0;
	}
	v = n == 1 ? c->p[c->at] : get_le(c->p + c->at, n);
	c->at += n;
	return v;
}

/* -- prefixes ----------------------------------------------------------------- */

static bool take_legacy_prefix(struct insn *i, u8 b)
{
	switch (b) {
	case 0x66: i->opsz = true; return true;
	case 0x67: i->adsz = true; return true;
	case 0xf0: i->lock = true; return true;
	case 0xf2: case 0xf3: i->rep = b; return true;
	case 0x26: case 0x2e: case 0x36: case 0x3e:
		if (i->mode != 8)
			i->seg = (b >> 3) & 3; /* ES, CS, SS, DS */
		return true;
	case 0x64: i->seg = SEG_FS; return true;
	case 0x65: i->seg = SEG_GS; return true;
	}
	return false;
}

static void take_prefixes(struct insn *i, struct dcur *c)
{
	while (c->at < c->len) {
		u8 b = c->p[c->at];

		if (take_legacy_prefix(i, b)) {
			i->rex = 0; /* REX counts only directly before the opcode */
			i->nr_prefix = (u8)(c->at + 1);
		} else if (i->mode == 8 && (b & 0xf0) == 0x40) {
			i->rex = b;
		} else {
			break;
		}
		c->at++;
	}
	i->w = i->rex & 8;
}

static void set_sizes(struct insn *i)
{
	switch (i->mode) {
	case 8:
		i->opsize = i->w ? 8 : i->opsz ? 2 : 4;
		i->adsize = i->adsz ? 4 : 8;
		break;
	case 4:
		i->opsize = i->opsz ? 2 : 4;
		i->adsize = i->adsz ? 2 : 4;
		break;
	default:
		i->opsize = i->opsz ? 4 : 2;
		i->adsize = i->adsz ? 4 : 2;
	}
}

/* -- ModRM --------------------------------------------------------------------- */

static void set_mem16(struct insn *i, struct dcur *c, unsigned mod, unsigned rm)
{
	static const u8 base[8] = { RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX };
	static const u8 index[8] = { RSI,      RDI,	 RSI,	   RDI,
				     REG_NONE, REG_NONE, REG_NONE, REG_NONE };

	i->base = base[rm];
	i->index = index[rm];
	i->scale = 1;
	i->nr_disp = mod == 1 ? 1 : mod == 2 ? 2 : 0;
	if (mod == 0 && rm == 6) {
		i->base = REG_NONE;
		i->nr_disp = 2;
	}
	if (i->base == RBP)
		i->mem_seg = SEG_SS;
	i->off_disp = (u8)c->at;
	i->disp = (i64)sext_bytes(take(c, i->nr_disp), i->nr_disp ? i->nr_disp : 1);
}

static unsigned take_sib(struct insn *i, struct dcur *c, unsigned mod)
{
	u8 sib = (u8)take(c, 1);

	i->scale = (u8)(1 << (sib >> 6));
	i->index = ((sib >> 3) & 7) | (i->x ? 8 : 0);
	if (i->index == 4 && !i->vsib)
		i->index = REG_NONE;
	i->base = (sib & 7) | (i->rexb ? 8 : 0);
	if ((sib & 7) == 5 && mod == 0) {
		i->base = REG_NONE;
		return 4;
	}
	return mod == 1 ? 1 : mod == 2 ? 4 : 0;
}

static void set_mem(struct insn *i, struct dcur *c, unsigned mod, unsigned rm)
{
	i->index = REG_NONE;
	i->scale = 1;
	i->nr_disp = mod == 1 ? 1 : mod == 2 ? 4 : 0;
	if (rm == 4) {
		i->nr_disp = (u8)take_sib(i, c, mod);
	} else if (rm == 5 && mod == 0) {
		i->base = i->mode == 8 ? REG_RIP : REG_NONE;
		i->nr_disp = 4;
	} else {
		i->base = (u8)(rm | (i->rexb ? 8 : 0));
	}
	if (i->base == RSP || i->base == RBP)
		i->mem_seg = SEG_SS;
	i->off_disp = (u8)c->at;
	i->disp = i->nr_disp ? (i64)sext_bytes(take(c, i->nr_disp), i->nr_disp) : 0;
}

void decode_modrm(struct insn *i, struct dcur *c)
{
	unsigned mod, rm;

	i->has_modrm = true;
	i->off_modrm = (u8)c->at;
	i->modrm = (u8)take(c, 1);
	mod = i->modrm >> 6;
	rm = i->modrm & 7;
	i->reg = (u8)(((i->modrm >> 3) & 7) | (i->r ? 8 : 0) | (i->r2 ? 16 : 0));
	i->mem_seg = SEG_DS;
	/* MOV to and from control and debug registers ignores mod: always a register. */
	if (mod == 3 || (i->map == MAP_0F && i->op >= 0x20 && i->op <= 0x23 && !i->enc)) {
		i->rm = (u8)(rm | (i->rexb ? 8 : 0) | (i->enc == ENC_EVEX && i->x ? 16 : 0));
		return;
	}
	i->is_mem = true;
	if (i->adsize == 2)
		set_mem16(i, c, mod, rm);
	else
		set_mem(i, c, mod, rm);
	if (i->seg != SEG_NONE)
		i->mem_seg = i->seg;
	else if (i->mode == 8 && i->mem_seg == SEG_SS)
		i->mem_seg = SEG_SS;
}

void decode_imm(struct insn *i, struct dcur *c, unsigned bytes)
{
	i->off_imm = (u8)c->at;
	i->nr_imm = (u8)bytes;
	i->imm = take(c, bytes);
}

static void take_imm(struct insn *i, struct dcur *c, unsigned kind)
{
	unsigned z = i->opsize == 2 ? 2 : 4;

	switch (kind) {
	case I_8S: case I_J8:
		decode_imm(i, c, 1);
		i->imm = sext_bytes(i->imm, 1);
		break;
	case I_8U: decode_imm(i, c, 1); break;
	case I_Z: case I_JZ:
		decode_imm(i, c, z);
		i->imm = sext_bytes(i->imm, z);
		break;
	case I_V: decode_imm(i, c, i->opsize); break;
	case I_16: decode_imm(i, c, 2); break;
	case I_ENTER:
		decode_imm(i, c, 2);
		i->imm2 = (u32)take(c, 1);
		i->nr_imm = 3;
		break;
	case I_FAR:
		decode_imm(i, c, z);
		i->imm2 = (u32)take(c, 2);
		i->nr_imm = (u8)(z + 2);
		break;
	case I_MOFFS:
		i->off_disp = (u8)c->at;
		i->nr_disp = i->adsize;
		i->disp = (i64)take(c, i->adsize);
		i->is_mem = true;
		i->base = i->index = REG_NONE;
		i->mem_seg = i->seg == SEG_NONE ? SEG_DS : i->seg;
		break;
	}
}

/* -- operands -------------------------------------------------------------------- */

static void set_rm(struct insn *i, unsigned acc)
{
	i->rm_kind = OK_GPR;
	i->rm_acc = (u8)acc;
	i->rm_size = i->opsize;
	if (i->is_mem)
		i->mem_size = i->opsize;
}

static void set_reg(struct insn *i, unsigned acc)
{
	i->reg_kind = OK_GPR;
	i->reg_acc = (u8)acc;
	i->reg_size = i->opsize;
}

/* The register named by the low opcode bits is reported as reg. */
static void set_opreg(struct insn *i, unsigned acc)
{
	i->reg = (i->op & 7) | (i->rexb ? 8 : 0);
	set_reg(i, acc);
}

static void set_operands(struct insn *i, unsigned form)
{
	static const struct {
		u8 rm, reg;
	} acc[] = {
		[F_RM_R] = { OP_R | OP_W, OP_R },     [F_RM_R_CMP] = { OP_R, OP_R },
		[F_R_RM] = { OP_R, OP_R | OP_W },     [F_R_RM_CMP] = { OP_R, OP_R },
		[F_RM_R_MOV] = { OP_W, OP_R },	      [F_R_RM_MOV] = { OP_R, OP_W },
		[F_RM] = { OP_R | OP_W, 0 },	      [F_RM_W] = { OP_W, 0 },
		[F_RM_RD] = { OP_R, 0 },	      [F_XCHG] = { OP_R | OP_W, OP_R | OP_W },
	};

	switch (form) {
	case F_RM_R ... F_XCHG:
		set_rm(i, acc[form].rm);
		if (acc[form].reg)
			set_reg(i, acc[form].reg);
		else
			i->reg_kind = OK_EXT;
		break;
	case F_ACC: i->gpr_r |= 1, i->gpr_w |= 1; break;
	case F_ACC_CMP: i->gpr_r |= 1; break;
	case F_O_RW: set_opreg(i, OP_R | OP_W); break;
	case F_O_R: set_opreg(i, OP_R); break;
	case F_O_W: set_opreg(i, OP_W); break;
	case F_XCHG_O:
		set_opreg(i, OP_R | OP_W);
		i->gpr_r |= 1, i->gpr_w |= 1;
		break;
	case F_LEA: set_reg(i, OP_W); break;
	}
}

static void set_ud(struct insn *i)
{
	i->cls = CLS_UD;
	i->attr = IA_ENDS;
}

/* -- groups and special rows of the one-byte map ------------------------------------ */

static unsigned ext(const struct insn *i)
{
	return (i->modrm >> 3) & 7;
}

static void fix_group1(struct insn *i)
{
	set_operands(i, ext(i) == 7 ? F_RM_RD : F_RM);
	if (ext(i) == 7)
		i->attr &= ~IA_LOCKABLE;
	if (ext(i) == 2 || ext(i) == 3)
		i->flags_r |= C;
}

static void fix_shift(struct insn *i)
{
	unsigned count = (unsigned)i->imm & (i->opsize == 8 ? 63 : 31);

	set_operands(i, F_RM);
	if (ext(i) == 2 || ext(i) == 3)
		i->flags_r |= C; /* RCL, RCR */
	if (ext(i) < 4)
		i->flags_w = C | OV; /* rotates */
	if (i->op < 0xd0 && ext(i) < 2 && !i->is_mem && count != 1 && quirks()->rotate_imm_keeps_of)
		i->flags_w = C;
	if (i->op >= 0xd2)
		i->gpr_r |= 1 << RCX;
	if (i->op < 0xd0 && count == 0)
		i->flags_w = 0;
	if (i->op >= 0xd2)
		i->flags_w = 0; /* a count of zero writes nothing: nothing is surely overwritten */
}

static void fix_group3(struct insn *i, struct dcur *c)
{
	u16 ax = i->opsize == 1 ? BIT(RAX) : BIT(RAX) | BIT(RDX);

	switch (ext(i)) {
	case 0: case 1: /* TEST */
		take_imm(i, c, i->opsize == 1 ? I_8U : I_Z);
		set_operands(i, F_RM_RD);
		i->attr &= ~IA_LOCKABLE;
		break;
	case 2:
		i->flags_w = 0;
		FALLTHROUGH;
	case 3: set_operands(i, F_RM); break;
	default: /* MUL, IMUL, DIV, IDIV */
		set_operands(i, F_RM_RD);
		i->attr &= ~IA_LOCKABLE;
		i->gpr_r |= ext(i) < 6 ? BIT(RAX) : ax;
		i->gpr_w |= ax;
		/* What the SDM calls undefined may keep its value: not surely overwritten. */
		i->flags_w = ext(i) < 6 ? C | OV : 0;
	}
}

static void fix_group5_branch(struct insn *i)
{
	i->attr = IA_BRANCH | IA_ENDS;
	i->flags_w = 0;
	if (i->mode == 8)
		i->opsize = i->opsz && !i->w && amd_branches ? 2 : 8;
	if (ext(i) == 2)
		i->attr |= IA_STACK;
	set_operands(i, F_RM_RD);
}

static void fix_group5(struct insn *i)
{
	switch (ext(i)) {
	case 0: case 1: set_operands(i, F_RM); break;
	case 2: case 4:
		if (i->op == 0xfe)
			set_ud(i);
		else
			fix_group5_branch(i);
		break;
	case 3: case 5: /* far, memory only */
		if (i->op == 0xfe || !i->is_mem) {
			set_ud(i);
			break;
		}
		i->cls = CLS_SYS;
		i->attr = IA_ENDS | IA_STACK;
		i->flags_w = 0;
		break;
	case 6: /* PUSH */
		if (i->op == 0xfe) {
			set_ud(i);
			break;
		}
		if (i->mode == 8)
			i->opsize = i->opsz && !i->w ? 2 : 8;
		i->attr = IA_STACK;
		i->flags_w = 0;
		set_operands(i, F_RM_RD);
		break;
	default: set_ud(i);
	}
}

static void fix_movs_seg(struct insn *i)
{
	unsigned sreg = ext(i);

	i->reg_kind = OK_SEG;
	i->reg = (u8)sreg;
	if (sreg > SEG_GS || (i->op == 0x8e && sreg == SEG_CS))
		set_ud(i);
	i->rm_kind = OK_GPR;
	i->rm_acc = i->op == 0x8c ? OP_W : OP_R;
	i->rm_size = i->op == 0x8c && !i->is_mem ? i->opsize : 2;
	if (i->is_mem)
		i->mem_size = 2;
}

static void fix_63(struct insn *i)
{
	if (i->mode != 8) { /* ARPL */
		i->cls = CLS_SYS;
		i->attr = 0;
		i->flags_w = Z;
		i->opsize = 2;
		set_operands(i, F_RM_R);
		return;
	}
	set_reg(i, OP_W);
	set_rm(i, OP_R);
	i->rm_size = i->opsize == 2 && !cpu_model_is_amd() ? 2 : 4;
	if (i->is_mem)
		i->mem_size = i->rm_size;
}

static void fix_string(struct insn *i)
{
	bool src = (i->op & 0xfe) == 0xa4 || (i->op & 0xfe) == 0xa6 || (i->op & 0xfe) == 0xac ||
		   (i->op & 0xfe) == 0x6e;
	bool dst = (i->op & 0xfe) != 0xac && (i->op & 0xfe) != 0x6e;
	u16 m = (u16)((src ? BIT(RSI) : 0) | (dst ? BIT(RDI) : 0) | (i->rep ? BIT(RCX) : 0));

	i->gpr_r |= m;
	i->gpr_w |= m;
	if ((i->op & 0xfe) == 0xac)
		i->gpr_w |= BIT(RAX);
	if ((i->op & 0xfe) == 0xaa || (i->op & 0xfe) == 0xae)
		i->gpr_r |= BIT(RAX);
	if (i->rep)
		i->flags_w = 0; /* rcx = 0 writes nothing */
	i->mem_seg = i->seg == SEG_NONE ? SEG_DS : i->seg;
	i->mem_size = i->opsize;
}

/* One-byte opcodes without ModRM that use registers implicitly. */
static void fix_implicit1(struct insn *i)
{
	switch (i->op) {
	case 0x27: case 0x2f: case 0x37: case 0x3f: case 0xd4: case 0xd5: case 0xd6:
		i->gpr_r |= BIT(RAX), i->gpr_w |= BIT(RAX); break;
	case 0x98: i->gpr_r |= BIT(RAX), i->gpr_w |= BIT(RAX); break;
	case 0x99: i->gpr_r |= BIT(RAX), i->gpr_w |= BIT(RDX); break;
	case 0x9e: i->gpr_r |= BIT(RAX); break;
	case 0x9f: i->gpr_w |= BIT(RAX); break;
	case 0xa0: case 0xa1: i->gpr_w |= BIT(RAX), i->mem_size = i->opsize, i->rm_acc = OP_R; break;
	case 0xa2: case 0xa3: i->gpr_r |= BIT(RAX), i->mem_size = i->opsize, i->rm_acc = OP_W; break;
	case 0xe0 ... 0xe3: i->gpr_r |= BIT(RCX), i->gpr_w |= BIT(RCX); break;
	case 0xd7: i->gpr_r |= BIT(RAX) | BIT(RBX), i->gpr_w |= BIT(RAX); break;
	case 0xc8: case 0xc9: i->gpr_r |= BIT(RBP), i->gpr_w |= BIT(RBP); break;
	case 0x90:
		if (!i->rexb || (i->rep == 0xf3 && quirks()->pause_ignores_rex)) { /* NOP, PAUSE */
			i->reg_kind = OK_NONE;
			i->gpr_r = i->gpr_w = 0;
		}
		break;
	}
}

static void fix_map1(struct insn *i, struct dcur *c)
{
	switch (i->op) {
	case 0x63: fix_63(i); break;
	case 0x62: i->is_mem ? (void)(i->mem_size = (u16)(2 * i->opsize)) : set_ud(i); break;
	case 0x70 ... 0x7f: i->flags_r |= cc_flags[(i->op >> 1) & 7]; break;
	case 0x80 ... 0x83: fix_group1(i); break;
	case 0x8c: case 0x8e: fix_movs_seg(i); break;
	case 0x8d:
		if (!i->is_mem)
			set_ud(i);
		break;
	case 0x8f:
		if (ext(i))
			set_ud(i);
		set_operands(i, F_RM_W);
		break;
	case 0xc0: case 0xc1: case 0xd0 ... 0xd3: fix_shift(i); break;
	case 0xc4: case 0xc5:
		if (!i->is_mem)
			set_ud(i);
		set_reg(i, OP_W);
		break;
	case 0xc6: case 0xc7:
		if (ext(i))
			set_ud(i); /* XABORT, XBEGIN: TSX is not offered */
		set_operands(i, F_RM_W);
		break;
	case 0x6c ... 0x6f: case 0xa4 ... 0xa7: case 0xaa ... 0xaf: fix_string(i); break;
	case 0xd8 ... 0xdf: decode_x87(i); break;
	case 0xf6: case 0xf7: fix_group3(i, c); break;
	case 0xfe: case 0xff: fix_group5(i); break;
	default: fix_implicit1(i);
	}
}

/* -- the 0F map's integer and system rows ---------------------------------------------- */

static void fix_0f01(struct insn *i)
{
	static const u8 ok[8] = {
		[0] = 0x02,			     /* C1 VMCALL */
		[1] = 0x0c,			     /* CA CLAC, CB STAC */
		[2] = 0x03,			     /* D0 XGETBV, D1 XSETBV */
		[3] = 0x02,			     /* D9 VMMCALL */
		[4] = 0xff, [5] = 0x01, [6] = 0xff,  /* SMSW, E8 SERIALIZE, LMSW */
		[7] = 0x03,			     /* F8 SWAPGS, F9 RDTSCP */
	};

	if (!i->is_mem) {
		if (!(ok[ext(i)] & BIT(i->modrm & 7)))
			set_ud(i);
		if (i->modrm == 0xf8 && i->mode != 8)
			set_ud(i);
		if (ext(i) == 4 || ext(i) == 6) {
			set_rm(i, ext(i) == 4 ? OP_W : OP_R);
			i->rm_size = ext(i) == 4 ? i->opsize : 2;
		}
		if (i->modrm == 0xf9 || i->modrm == 0xd0)
			i->attr &= ~IA_ENDS;
		return;
	}
	if (ext(i) == 5)
		set_ud(i);
	i->rm_acc = ext(i) == 2 || ext(i) == 3 || ext(i) == 6 ? OP_R : OP_W;
	i->mem_size = ext(i) < 4 ? (i->mode == 8 ? 10 : 6) : ext(i) == 7 ? 0 : 2;
}

static void fix_0f00(struct insn *i)
{
	if (ext(i) > 5) {
		set_ud(i);
		return;
	}
	set_rm(i, ext(i) < 2 ? OP_W : OP_R);
	i->rm_size = ext(i) < 2 && !i->is_mem ? i->opsize : 2;
	if (i->is_mem)
		i->mem_size = 2;
	if (ext(i) >= 4)
		i->flags_w = Z;
	if (ext(i) < 2 || ext(i) >= 4)
		i->attr &= ~IA_ENDS;
}

static void fix_movcr(struct insn *i)
{
	i->opsize = i->mode == 8 ? 8 : 4;
	i->rm_kind = OK_GPR;
	i->rm_size = i->opsize;
	i->rm_acc = i->op < 0x22 ? OP_W : OP_R;
	i->reg_kind = i->op & 1 ? OK_DR : OK_CR;
	if (!(i->op & 1) && i->lock && !i->r && quirks()->lock_mov_cr8) {
		i->reg |= 8;
		i->lock = false;
	}
	if (!(i->op & 1) && i->reg != 0 && i->reg != 2 && i->reg != 3 && i->reg != 4 && i->reg != 8)
		set_ud(i);
	if ((i->op & 1) && i->reg > 7)
		set_ud(i);
}

static void fix_0fae_reg(struct insn *i)
{
	bool fence = !i->rep && !i->opsz && ext(i) >= 5;
	bool fsgsbase = i->rep == 0xf3 && ext(i) < 4 && i->mode == 8;

	if (fsgsbase) {
		i->cls = CLS_SYS;
		set_rm(i, ext(i) < 2 ? OP_W : OP_R);
		return;
	}
	i->attr = IA_VERBATIM;
	if (!fence)
		set_ud(i);
}

static void fix_0fae(struct insn *i)
{
	if (!i->is_mem) {
		fix_0fae_reg(i);
		return;
	}
	i->rm_acc = ext(i) & 1 ? OP_R : OP_W; /* SAVE writes, RSTOR and LDMXCSR read */
	switch (ext(i)) {
	case 0: case 1: i->cls = CLS_XSAVE, i->mem_size = 512; break;
	case 2: case 3:
		i->cls = CLS_VEC, i->mem_size = 4;
		i->rm_acc = ext(i) == 2 ? OP_R : OP_W;
		break;
	case 4: case 5: i->cls = CLS_XSAVE; break;
	case 6: /* XSAVEOPT; 66: CLWB */
		if (!i->opsz)
			i->cls = CLS_XSAVE;
		i->rm_acc = i->opsz ? OP_R : OP_W;
		break;
	case 7: i->rm_acc = OP_R; break; /* CLFLUSH, 66: CLFLUSHOPT */
	}
	if (i->rep || (i->opsz && ext(i) < 6))
		set_ud(i);
}

static void fix_0fc7_reg(struct insn *i)
{
	i->attr = 0;
	i->cls = CLS_SYS;
	i->flags_w = ALL;
	if (ext(i) == 7 && i->rep == 0xf3) { /* RDPID */
		i->flags_w = 0;
		i->opsize = i->mode == 8 ? 8 : 4;
		set_rm(i, OP_W);
	} else if (ext(i) >= 6 && !i->rep) {
		set_rm(i, OP_W); /* RDRAND, RDSEED */
	} else {
		set_ud(i);
	}
}

static void fix_0fc7(struct insn *i)
{
	if (!i->is_mem) {
		fix_0fc7_reg(i);
		return;
	}
	if (ext(i) == 1) { /* CMPXCHG8B, CMPXCHG16B */
		i->rm_acc = OP_R | OP_W;
		i->mem_size = i->w ? 16 : 8;
		i->gpr_r = BIT(RAX) | BIT(RDX) | BIT(RBX) | BIT(RCX);
		i->gpr_w = BIT(RAX) | BIT(RDX);
		return;
	}
	i->attr = 0;
	i->flags_w = 0;
	i->cls = CLS_XSAVE;
	i->rm_acc = ext(i) == 3 ? OP_R : OP_W;
	if (ext(i) != 4 || i->rep || i->opsz) /* XSAVEC only: XSAVES is not offered */
		set_ud(i);
}

static void fix_bits(struct insn *i)
{
	if (i->op == 0xba) {
		if (ext(i) < 4) {
			set_ud(i);
			return;
		}
		set_operands(i, ext(i) == 4 ? F_RM_RD : F_RM);
		if (ext(i) == 4)
			i->attr &= ~IA_LOCKABLE;
	} else if (i->is_mem) {
		i->attr &= ~IA_VERBATIM; /* bit strings: the register offsets the address */
	}
	i->flags_w = C; /* others undefined or unchanged */
}

static void fix_ext_load(struct insn *i)
{
	i->rm_size = i->op & 1 ? 2 : 1;
	if (i->is_mem)
		i->mem_size = i->rm_size;
}

/* BSF/BSR keep their destination on a zero source; TZCNT, LZCNT, POPCNT by F3. */
static void fix_scan(struct insn *i)
{
	if (i->op == 0xb8) {
		if (i->rep != 0xf3)
			set_ud(i);
		return;
	}
	if (i->rep == 0xf3)
		i->reg_acc = OP_W;
	i->flags_w = i->rep == 0xf3 ? C | Z : Z; /* the undefined ones may keep their value */
}

static void fix_map0f(struct insn *i)
{
	switch (i->op) {
	case 0x00: fix_0f00(i); break;
	case 0x01: fix_0f01(i); break;
	case 0x02: case 0x03:
		set_reg(i, OP_W);
		i->rm_kind = OK_GPR, i->rm_acc = OP_R, i->rm_size = i->is_mem ? 2 : i->opsize;
		if (i->is_mem)
			i->mem_size = 2;
		break;
	case 0x0d: case 0x18 ... 0x1f:
		i->reg_kind = OK_EXT;
		if (i->op == 0x0d && !i->is_mem)
			set_ud(i);
		break;
	case 0x20 ... 0x23: fix_movcr(i); break;
	case 0x40 ... 0x4f: i->flags_r |= cc_flags[(i->op >> 1) & 7]; break;
	case 0x80 ... 0x8f: i->flags_r |= cc_flags[(i->op >> 1) & 7]; break;
	case 0x90 ... 0x9f:
		i->flags_r |= cc_flags[(i->op >> 1) & 7];
		i->reg_kind = OK_EXT;
		break;
	case 0xa3: case 0xab: case 0xb3: case 0xbb: case 0xba: fix_bits(i); break;
	case 0xa4: case 0xac: i->flags_w = i->imm & 31 ? ALL : 0; break;
	case 0xa5: case 0xad: i->gpr_r |= BIT(RCX), i->flags_w = 0; break;
	case 0xae: fix_0fae(i); break;
	case 0xb0: case 0xb1: i->gpr_r |= BIT(RAX), i->gpr_w |= BIT(RAX); break;
	case 0xb2: case 0xb4: case 0xb5:
		if (!i->is_mem)
			set_ud(i);
		set_reg(i, OP_W);
		break;
	case 0xb6: case 0xb7: case 0xbe: case 0xbf: fix_ext_load(i); break;
	case 0xb8: case 0xbc: case 0xbd: fix_scan(i); break;
	case 0xc3:
		if (!i->is_mem || i->opsz || i->rep)
			set_ud(i);
		break;
	case 0xc7: fix_0fc7(i); break;
	}
}

/* -- 0F38 / 0F3A integer rows ----------------------------------------------------------- */

static bool decode_movbe_crc32(struct insn *i)
{
	bool crc = i->rep == 0xf2;

	i->attr = IA_VERBATIM;
	i->cls = CLS_INT;
	if (crc) {
		set_reg(i, OP_R | OP_W);
		i->reg_size = i->w ? 8 : 4;
		if (i->op == 0xf0)
			i->opsize = 1;
		set_rm(i, OP_R);
		return true;
	}
	if (!i->is_mem || i->rep)
		set_ud(i);
	else
		set_operands(i, i->op == 0xf0 ? F_R_RM_MOV : F_RM_R_MOV);
	return true;
}

/* Integer instructions of map 0F38 with legacy encoding; false: not one of them. */
static bool decode_0f38_int(struct insn *i)
{
	switch (i->op) {
	case 0xf0: case 0xf1: return decode_movbe_crc32(i);
	case 0xf6: /* ADCX, ADOX */
		if (i->rep == 0xf2 || (!i->opsz && i->rep != 0xf3))
			return false;
		i->cls = CLS_INT;
		i->attr = IA_VERBATIM;
		i->opsize = i->w ? 8 : 4;
		set_operands(i, F_R_RM);
		i->flags_r = i->flags_w = i->rep == 0xf3 ? OV : C;
		return true;
	case 0xf9: /* MOVDIRI: not offered */
	case 0xf8: set_ud(i); return true;
	case 0x82: /* INVPCID */
		i->cls = CLS_SYS;
		i->attr = IA_ENDS;
		if (!i->opsz || !i->is_mem)
			set_ud(i);
		i->opsize = i->mode == 8 ? 8 : 4;
		set_reg(i, OP_R);
		i->rm_acc = OP_R;
		i->mem_size = 16;
		return true;
	case 0x80: case 0x81: set_ud(i); return true;
	}
	return false;
}

struct bmi {
	u8 map, op, pp, form; /* form: 0 = reg,vvvv,rm  1 = reg,rm,vvvv  2 = vvvv,rm by ext  3 = rorx */
	u8 fw;
};

static const struct bmi bmi_rows[] = {
	{ MAP_0F38, 0xf2, 0, 0, ALL }, /* ANDN */
	{ MAP_0F38, 0xf3, 0, 2, ALL }, /* BLSR, BLSMSK, BLSI */
	{ MAP_0F38, 0xf5, 0, 1, ALL }, /* BZHI */
	{ MAP_0F38, 0xf5, 2, 0, 0 },   /* PEXT */
	{ MAP_0F38, 0xf5, 3, 0, 0 },   /* PDEP */
	{ MAP_0F38, 0xf6, 3, 0, 0 },   /* MULX */
	{ MAP_0F38, 0xf7, 0, 1, ALL }, /* BEXTR */
	{ MAP_0F38, 0xf7, 1, 1, 0 },   /* SHLX */
	{ MAP_0F38, 0xf7, 2, 1, 0 },   /* SARX */
	{ MAP_0F38, 0xf7, 3, 1, 0 },   /* SHRX */
	{ MAP_0F3A, 0xf0, 3, 3, 0 },   /* RORX */
};

static const struct bmi *find_bmi(const struct insn *i)
{
	for (unsigned k = 0; k < array_len(bmi_rows); k++)
		if (bmi_rows[k].map == i->map && bmi_rows[k].op == i->op && bmi_rows[k].pp == i->pp)
			return &bmi_rows[k];
	return NULL;
}

bool decode_vex_gpr(struct insn *i)
{
	const struct bmi *r = i->op < 0xf0 ? NULL : find_bmi(i);

	if (!r)
		return false;
	i->cls = CLS_INT;
	i->attr = IA_VERBATIM;
	i->opsize = i->w && i->mode == 8 ? 8 : 4;
	i->flags_w = r->fw;
	set_rm(i, OP_R);
	set_reg(i, OP_W);
	i->vvvv_kind = OK_GPR;
	i->vvvv_acc = OP_R;
	if (r->form == 2) {
		i->reg_kind = OK_EXT;
		i->vvvv_acc = OP_W;
		if (ext(i) < 1 || ext(i) > 3)
			set_ud(i);
	}
	if (r->form == 3) {
		i->vvvv_kind = OK_NONE;
		if (i->vvvv)
			set_ud(i);
	}
	if (i->op == 0xf6) { /* MULX: vvvv and reg written, rdx read */
		i->vvvv_acc = OP_W;
		i->gpr_r |= BIT(RDX);
	}
	if (i->vl)
		set_ud(i);
	return true;
}

/* -- register masks ------------------------------------------------------------------------ */

/* Byte registers without REX: AH, CH, DH, BH are 4..7 and live in RAX..RBX. */
static unsigned byte_home(const struct insn *i, unsigned reg, unsigned size)
{
	return size == 1 && !i->rex && i->enc == ENC_LEGACY && reg >= 4 && reg < 8 ? reg - 4 : reg;
}

static void add_reg(struct insn *i, unsigned kind, unsigned acc, unsigned reg, unsigned size)
{
	u16 bit;

	if (kind != OK_GPR)
		return;
	bit = (u16)(1u << (byte_home(i, reg, size) & 15));
	if (acc & OP_R || size < 4) /* partial writes keep the rest */
		i->gpr_r |= bit;
	if (acc & OP_W)
		i->gpr_w |= bit;
}

static void set_masks(struct insn *i)
{
	add_reg(i, i->reg_kind, i->reg_acc, i->reg, i->reg_size);
	if (!i->is_mem)
		add_reg(i, i->rm_kind, i->rm_acc, i->rm, i->rm_size);
	add_reg(i, i->vvvv_kind, i->vvvv_acc, i->vvvv, 8);
	if (i->is_mem && i->base < 16)
		i->gpr_r |= (u16)BIT(i->base);
	if (i->is_mem && i->index < 16 && !i->vsib)
		i->gpr_r |= (u16)BIT(i->index);
	if (i->attr & IA_STACK) {
		i->gpr_r |= BIT(RSP);
		i->gpr_w |= BIT(RSP);
	}
}

/* -- driver ---------------------------------------------------------------------------------- */

static const struct row *find_row(const struct insn *i)
{
	return i->map == MAP_1 ? &map1[i->op] : &map0f[i->op];
}

static void apply_row(struct insn *i, struct dcur *c, const struct row *r)
{
	i->cls = r->cls;
	i->attr = r->attr;
	i->flags_r = r->fr;
	i->flags_w = r->fw;
	if (r->fl & N64 && i->mode == 8)
		set_ud(i);
	if (r->fl & B_)
		i->opsize = 1;
	if (r->fl & D64 && i->mode == 8)
		i->opsize = i->opsz && !i->w ? 2 : 8;
	if (r->fl & F64 && i->mode == 8)
		i->opsize = i->opsz && !i->w && amd_branches ? 2 : 8;
	if (r->form == F_M || (r->form >= F_RM_R && r->form <= F_XCHG) || r->form == F_LEA)
		decode_modrm(i, c);
	take_imm(i, c, r->imm);
	set_operands(i, r->form);
	if (i->map == MAP_1)
		fix_map1(i, c);
	else
		fix_map0f(i);
}

static void decode_legacy_map(struct insn *i, struct dcur *c)
{
	const struct row *r;

	if (i->map <= MAP_0F) {
		r = find_row(i);
		if (r->cls != CLS_UD || (i->map == MAP_0F && (i->op == 0x0b || i->op == 0xb9 || i->op == 0xff)) ||
		    i->map == MAP_1) {
			apply_row(i, c, r);
			return;
		}
	}
	decode_vec(i, c);
}

void decode_0f38_legacy(struct insn *i, struct dcur *c)
{
	decode_modrm(i, c);
	if (!decode_0f38_int(i))
		decode_vec_row(i, c);
}

static void decode_opcode(struct insn *i, struct dcur *c)
{
	u8 op;

	i->off_op = (u8)c->at;
	op = (u8)take(c, 1);
	if (decode_vex_prefix(i, c, op))
		return;
	i->r = i->rex & 4;
	i->x = i->rex & 2;
	i->rexb = i->rex & 1;
	set_sizes(i);
	if (op == 0x0f) {
		i->map = MAP_0F;
		op = (u8)take(c, 1);
		if (op == 0x38 || op == 0x3a) {
			i->map = op == 0x38 ? MAP_0F38 : MAP_0F3A;
			op = (u8)take(c, 1);
		}
	}
	i->op = op;
	i->off_op = (u8)(c->at - 1);
	i->pp = i->rep == 0xf3 ? 2 : i->rep == 0xf2 ? 3 : i->opsz ? 1 : 0;
	decode_legacy_map(i, c);
}

bool insn_decode(struct insn *i, const u8 *p, unsigned len, unsigned mode)
{
	struct dcur c = { .p = p, .len = len < 15 ? len : 15 };

	if (unlikely(!__atomic_load_n(&ready, __ATOMIC_ACQUIRE)))
		init_once();
	*i = (struct insn){ .mode = (u8)mode, .seg = SEG_NONE, .base = REG_NONE, .index = REG_NONE };
	take_prefixes(i, &c);
	decode_opcode(i, &c);
	if (c.at > c.len) {
		if (len < 15)
			return false;
		*i = (struct insn){ .mode = (u8)mode, .cls = CLS_UD, .len = 15 };
		i->attr = IA_TOOLONG | IA_ENDS;
		return true;
	}
	i->len = (u8)c.at;
	for (unsigned k = 0; k < i->len; k++)
		i->bytes[k] = p[k];
	set_masks(i);
	return true;
}
