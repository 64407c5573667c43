// SPDX-License-Identifier: Apache-2.0
/* decode_int.h - shared by decode.c, decode_vec.c and decode_evex.c only */
#ifndef CPU_SOFT_DECODE_INT_H
#define CPU_SOFT_DECODE_INT_H

#include "base/bits.h"
#include "base/compiler.h"
#include "cpu/soft/insn.h"

/* Reading position; at > len: the bytes ended too early. */
struct dcur {
	const u8 *p;
	unsigned at, len;
};

void decode_modrm(struct insn *i, struct dcur *c);
void decode_imm(struct insn *i, struct dcur *c, unsigned bytes);
bool decode_vex_gpr(struct insn *i); /* BMI rows; false: not one of them */
void decode_0f38_legacy(struct insn *i, struct dcur *c);

void decode_vec_init(void);
void decode_evex_init(void);
u8 decode_byte(struct dcur *c);
/* VPEXTRQ, VPINSRQ outside 64-bit mode: #UD, unlike VMOVQ, which becomes VMOVD. */
bool wide_only(const struct insn *i);
/* The rest of an instruction after 62h. */
void decode_evex(struct insn *i, struct dcur *c);
/* VEX-encoded opmask instructions, after ModRM; false: not one of them. */
bool decode_opmask(struct insn *i, struct dcur *c);
void decode_x87(struct insn *i);
/* VEX (C4, C5) and EVEX (62): true if @op started one and the instruction was decoded. */
bool decode_vex_prefix(struct insn *i, struct dcur *c, u8 op);
/* Legacy-encoded opcode of maps 0F, 0F38, 0F3A that is no integer instruction. */
void decode_vec(struct insn *i, struct dcur *c);
/* The same after ModRM was taken. */
void decode_vec_row(struct insn *i, struct dcur *c);

#endif
