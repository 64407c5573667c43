// SPDX-License-Identifier: Apache-2.0
/*
 * op_int.c - which handler executes which integer opcode [SDM 2 A]
 */
#include "cpu/soft/op_int.h"

/* clang-format off */
#define ALU(op) \
	[op] = op_alu_rm_r, [op + 1] = op_alu_rm_r, [op + 2] = op_alu_r_rm, \
	[op + 3] = op_alu_r_rm, [op + 4] = op_alu_acc_imm, [op + 5] = op_alu_acc_imm

static op_fn *const map1[256] = {
	ALU(0x00), ALU(0x08), ALU(0x10), ALU(0x18), ALU(0x20), ALU(0x28), ALU(0x30), ALU(0x38),
	[0x27] = op_daa, [0x2f] = op_das, [0x37] = op_aaa, [0x3f] = op_aas,
	[0x40 ... 0x4f] = op_incdec_r,
	[0x50 ... 0x57] = op_push_r, [0x58 ... 0x5f] = op_pop_r,
	[0x60] = op_pusha, [0x61] = op_popa, [0x62] = op_bound, [0x63] = op_movsxd,
	[0x68] = op_push_imm, [0x69] = op_imul_r_rm_imm,
	[0x6a] = op_push_imm, [0x6b] = op_imul_r_rm_imm,
	[0x70 ... 0x7f] = op_jcc,
	[0x80 ... 0x83] = op_alu_rm_imm, [0x84 ... 0x85] = op_test_rm_r,
	[0x86 ... 0x87] = op_xchg_rm_r, [0x88 ... 0x89] = op_mov_rm_r,
	[0x8a ... 0x8b] = op_mov_r_rm, [0x8d] = op_lea, [0x8f] = op_pop_rm,
	[0x90 ... 0x97] = op_xchg_acc, [0x98] = op_cbw, [0x99] = op_cwd,
	[0x9e] = op_sahf, [0x9f] = op_lahf,
	[0xa0 ... 0xa3] = op_mov_moffs, [0xa4 ... 0xa5] = op_movs, [0xa6 ... 0xa7] = op_cmps,
	[0xa8 ... 0xa9] = op_test_acc_imm, [0xaa ... 0xab] = op_stos, [0xac ... 0xad] = op_lods,
	[0xae ... 0xaf] = op_scas, [0xb0 ... 0xbf] = op_mov_r_imm,
	[0xc0 ... 0xc1] = op_shift, [0xc2 ... 0xc3] = op_ret, [0xc6 ... 0xc7] = op_mov_rm_imm,
	[0xc8] = op_enter, [0xc9] = op_leave,
	[0xd0 ... 0xd3] = op_shift, [0xd4] = op_aam, [0xd5] = op_aad, [0xd6] = op_salc,
	[0xd7] = op_xlat,
	[0xe0 ... 0xe3] = op_loop, [0xe8] = op_call_rel, [0xe9] = op_jmp_rel, [0xeb] = op_jmp_rel,
	[0xf5] = op_flag, [0xf6 ... 0xf7] = op_grp3, [0xf8 ... 0xf9] = op_flag,
	[0xfc ... 0xfd] = op_flag, [0xfe ... 0xff] = op_grp5,
};

static op_fn *const map0f[256] = {
	[0x0d] = op_nop, [0x18 ... 0x1f] = op_nop,
	[0x40 ... 0x4f] = op_cmov, [0x80 ... 0x8f] = op_jcc, [0x90 ... 0x9f] = op_setcc,
	[0xa3] = op_bt_rm_r, [0xab] = op_bt_rm_r, [0xb3] = op_bt_rm_r, [0xbb] = op_bt_rm_r,
	[0xba] = op_bt_rm_imm,
	[0xa4 ... 0xa5] = op_shld, [0xac ... 0xad] = op_shld,
	[0xae] = op_0fae, [0xaf] = op_imul_r_rm, [0xb0 ... 0xb1] = op_cmpxchg,
	[0xb6 ... 0xb7] = op_movzx, [0xb8] = op_popcnt, [0xbc ... 0xbd] = op_bitscan,
	[0xbe ... 0xbf] = op_movsx, [0xc0 ... 0xc1] = op_xadd, [0xc3] = op_movnti,
	[0xc7] = op_cmpxchg8b, [0xc8 ... 0xcf] = op_bswap,
};

static op_fn *const map0f38[256] = {
	[0xf0 ... 0xf1] = op_f38_f0, [0xf6] = op_adx,
};

static op_fn *const vex0f38[256] = {
	[0xf2] = op_bmi_andn, [0xf3] = op_bmi_bls, [0xf5] = op_bmi_f5, [0xf6] = op_bmi_mulx,
	[0xf7] = op_bmi_f7,
};
/* clang-format on */

static op_fn *find(const struct insn *i)
{
	if (i->enc == ENC_VEX)
		return i->map == MAP_0F38 ? vex0f38[i->op] :
		       i->map == MAP_0F3A && i->op == 0xf0 ? op_bmi_rorx : NULL;
	switch (i->map) {
	case MAP_1:
		return map1[i->op];
	case MAP_0F:
		return map0f[i->op];
	case MAP_0F38:
		return map0f38[i->op];
	default:
		return NULL;
	}
}

op_fn *int_handler(const struct insn *i)
{
	op_fn *fn = find(i);

	return fn ? fn : op_ud;
}

int exec_int(struct vcpu *v, const struct insn *i)
{
	return int_handler(i)(v, i);
}
