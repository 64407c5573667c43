// SPDX-License-Identifier: Apache-2.0
/*
 * op_int.h - integer instruction handlers, shared by op_*.c and interp.c
 */
#ifndef CPU_SOFT_OP_INT_H
#define CPU_SOFT_OP_INT_H

#include "cpu/soft/ops.h"

/* The handler of a CLS_INT instruction; raises #UD when there is none. Never NULL. */
op_fn *int_handler(const struct insn *i);

/* op_alu.c */
op_fn op_alu_rm_r, op_alu_r_rm, op_alu_acc_imm, op_alu_rm_imm, op_test_rm_r, op_test_acc_imm;
op_fn op_incdec_r, op_grp3, op_incdec_rm, op_imul_r_rm, op_imul_r_rm_imm;
op_fn op_cmpxchg, op_xadd, op_cmpxchg8b, op_adx, op_crc32;
op_fn op_daa, op_das, op_aaa, op_aas, op_aam, op_aad;

/* op_bit.c */
op_fn op_shift, op_shld, op_bt_rm_r, op_bt_rm_imm, op_bitscan, op_popcnt, op_bswap;
op_fn op_bmi_andn, op_bmi_bls, op_bmi_f5, op_bmi_mulx, op_bmi_f7, op_bmi_rorx;

/* op_mov.c */
op_fn op_mov_rm_r, op_mov_r_rm, op_mov_moffs, op_mov_r_imm, op_mov_rm_imm, op_movzx, op_movsx;
op_fn op_movsxd, op_movbe, op_xchg_rm_r, op_xchg_acc, op_lea, op_xlat, op_setcc, op_cmov;
op_fn op_cbw, op_cwd, op_lahf, op_sahf, op_flag, op_salc, op_nop, op_movnti, op_0fae, op_ud;
op_fn op_f38_f0;

/* op_flow.c */
op_fn op_push_r, op_pop_r, op_push_imm, op_pop_rm, op_pusha, op_popa, op_enter, op_leave;
op_fn op_call_rel, op_jmp_rel, op_jcc, op_loop, op_ret, op_grp5, op_bound;

/* op_string.c */
op_fn op_movs, op_cmps, op_stos, op_lods, op_scas;

#endif
