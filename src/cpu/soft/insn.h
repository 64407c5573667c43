// SPDX-License-Identifier: Apache-2.0
/*
 * insn.h - one decoded instruction: what the interpreter executes and the
 * translator re-emits
 */
#ifndef CPU_SOFT_INSN_H
#define CPU_SOFT_INSN_H

#include "base/types.h"
#include "cpu/x86_defs.h"

enum insn_enc { ENC_LEGACY, ENC_VEX, ENC_EVEX };

/* Opcode maps: one-byte, 0F, 0F38, 0F3A, EVEX 5 and 6 (AVX512-FP16). */
enum insn_map { MAP_1, MAP_0F, MAP_0F38, MAP_0F3A, MAP_5 = 5, MAP_6 = 6 };

enum insn_class {
	CLS_UD,	 /* no such instruction in this mode: #UD */
	CLS_INT, /* general-purpose registers, memory and flags; control flow */
	CLS_SYS, /* system, segment, I/O, far transfers, interrupts: interpreter only */
	CLS_X87, /* D8..DF, FWAIT */
	CLS_VEC, /* MMX, SSE, AVX, AVX-512, opmask; also EMMS, LDMXCSR/STMXCSR */
	CLS_XSAVE, /* FXSAVE/FXRSTOR/XSAVE*\/XRSTOR* */
};

/* CPUID features outside x86-64-v3 that gate instructions one by one. */
enum insn_feat { FT_NONE, FT_SHA, FT_GFNI, FT_VAES, FT_VPCLMUL, FT_AVX_VNNI };

#define REG_NONE 0xff
#ifndef REG_RIP /* <signal.h>, if included first, defines it with this value */
#define REG_RIP	 0x10 /* insn.base: RIP-relative */
#endif

/* What ModRM.reg, ModRM.rm (mod 3) and VEX.vvvv name. */
enum opnd_kind { OK_NONE, OK_GPR, OK_VEC /* mmx, xmm, ymm, zmm */, OK_K, OK_SEG, OK_CR, OK_DR, OK_X87, OK_EXT /* opcode extension */ };

/* Access bits for operands. */
#define OP_R 1
#define OP_W 2

struct insn {
	u8 len;	       /* bytes, 1..15 */
	u8 enc;	       /* enum insn_enc */
	u8 map;	       /* enum insn_map */
	u8 op;	       /* opcode byte in its map */
	u8 cls;	       /* enum insn_class */
	u8 mode;       /* code size: 2, 4 or 8 bytes (16-, 32-, 64-bit code) */
	u8 opsize;     /* effective integer operand size: 1, 2, 4, 8 */
	u8 adsize;     /* effective address size: 2, 4, 8 */

	/* prefixes */
	u8 rep;	       /* 0, 0xf2 or 0xf3 (the last one) */
	bool opsz;     /* 66h present */
	bool adsz;     /* 67h present */
	bool lock;
	u8 seg;	       /* override in effect (enum x86_segreg) or SEG_NONE; ES/CS/SS/DS ignored in 64-bit */
	u8 rex;	       /* 0 or 0x40..0x4f (only if it took effect: directly before the opcode) */
	bool w;	       /* REX.W / VEX.W / EVEX.W */
	bool r, x, rexb, r2; /* register extension bits, un-inverted, from any encoding */

	/* VEX / EVEX fields, un-inverted */
	u8 pp;	       /* implied prefix: 0, 1 = 66, 2 = F3, 3 = F2; legacy SSE: the mandatory prefix */
	u8 vl;	       /* 0 = 128, 1 = 256, 2 = 512 */
	u8 vvvv;       /* 0..31 */
	u8 aaa;	       /* EVEX opmask */
	bool z, b;     /* EVEX zeroing; broadcast / rounding / SAE */

	/* ModRM, SIB, displacement */
	bool has_modrm;
	bool is_mem;   /* ModRM memory form (mod != 3), or MOFFS (A0..A3) */
	u8 modrm;      /* raw byte */
	u8 reg;	       /* ModRM.reg extended by REX.R / EVEX.R' : 0..31 */
	u8 rm;	       /* mod 3: register, extended; else undefined */
	u8 base;       /* 0..15, REG_RIP or REG_NONE */
	u8 index;      /* 0..15 (VSIB: 0..31) or REG_NONE */
	u8 scale;      /* 1, 2, 4, 8 */
	u8 mem_seg;    /* segment of the memory operand, override applied */
	bool vsib;
	i64 disp;      /* sign-extended, EVEX disp8*N applied; MOFFS: the address */

	u64 imm;       /* sign-extended to 64 where the instruction sign-extends, else zero-extended */
	u32 imm2;      /* ENTER: level; far pointer: selector */

	/* operand facts, from the opcode tables */
	u8 reg_kind, rm_kind, vvvv_kind; /* enum opnd_kind */
	u8 reg_acc, rm_acc, vvvv_acc;	 /* OP_R | OP_W; rm_acc also for the memory form */
	u8 reg_size, rm_size;		 /* GPR operands: bytes */
	u16 mem_size;	       /* bytes of the memory operand; 0 = none (LEA, NOP, prefetch) or special */
	bool mem_align;	       /* #GP unless aligned to mem_size (legacy SSE, MOVAPS...) */
	u8 flags_r, flags_w;   /* arithmetic flags read / written (incl. undefined): FLB_* */
	u16 gpr_r, gpr_w;      /* bitmask of all GPRs read / written, implicit and address included */
	u32 attr;	       /* IA_* */
	u8 feat;	       /* enum insn_feat: CPUID bit beyond x86-64-v3 that it needs */

	/* where things sit in the bytes, for re-emission; 0 = absent */
	u8 off_op, off_modrm, off_disp, off_imm, nr_disp, nr_imm;
	u8 nr_prefix; /* legacy prefix bytes before REX/VEX/EVEX/opcode */
	u8 bytes[15];
};

/* Arithmetic flags in one byte. */
#define FLB_CF BIT(0)
#define FLB_PF BIT(1)
#define FLB_AF BIT(2)
#define FLB_ZF BIT(3)
#define FLB_SF BIT(4)
#define FLB_OF BIT(5)
#define FLB_ALL 0x3f

#define IA_BRANCH   BIT(0)  /* near JMP rel, Jcc, LOOP, JCXZ, CALL rel, RET, JMP/CALL r/m */
#define IA_STRING   BIT(1)  /* MOVS, CMPS, STOS, LODS, SCAS, INS, OUTS */
#define IA_STACK    BIT(2)  /* implicit stack access (PUSH, POP, CALL, RET, ENTER, LEAVE...) */
#define IA_LOCKABLE BIT(3)
#define IA_VERBATIM BIT(4)  /* user-mode semantics are the host's: may be re-emitted as it is */
#define IA_ENDS     BIT(5)  /* a translated block ends here */
#define IA_AVX	    BIT(6)  /* needs XCR0 AVX (VEX) */
#define IA_AVX512   BIT(7)
#define IA_FP	    BIT(8)  /* x87/MMX: CR0.EM/TS/MP rules */

/*
 * Decode at most @len bytes at @p as @mode code (2, 4, 8).
 * Return: true with *ret filled (cls may be CLS_UD); false if more bytes are
 * needed than @len. 15 bytes without an end: cls = CLS_UD, attr = IA_TOOLONG (#GP).
 */
#define IA_TOOLONG  BIT(9)
bool insn_decode(struct insn *ret, const u8 *p, unsigned len, unsigned mode);

#endif
