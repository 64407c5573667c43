// SPDX-License-Identifier: Apache-2.0
/*
 * ops.h - instruction handlers of the interpreter, by the file that holds them
 *
 * A handler executes one decoded instruction: returns X_OK or X_FAULT, changes
 * nothing on X_FAULT. v->next_rip holds the following instruction's address and
 * may be changed. LOCK validity and CLS_UD were checked by interp_step().
 */
#ifndef CPU_SOFT_OPS_H
#define CPU_SOFT_OPS_H

#include "cpu/soft/insn.h"
#include "cpu/soft/vcpu.h"

typedef int op_fn(struct vcpu *v, const struct insn *i);

/* Dispatch of everything with cls == CLS_INT (op_int.c, op_string.c, op_flow.c). */
op_fn exec_int;
/* Dispatch of everything with cls == CLS_SYS (op_sys.c, op_far.c, ...). */
op_fn exec_sys;
/* cls == CLS_X87, CLS_VEC, CLS_XSAVE (vec.c, xstate.c). */
op_fn exec_x87, exec_vec, exec_xsave;

#endif
