// SPDX-License-Identifier: Apache-2.0
/* vec_int.h - shared by vec.c, vsib.c, x87.c and xsave.c only */
#ifndef CPU_SOFT_VEC_INT_H
#define CPU_SOFT_VEC_INT_H

#include "cpu/soft/mmu.h"
#include "cpu/soft/ops.h"
#include "cpu/soft/seg.h"
#include "cpu/soft/stub.h"
#include "cpu/soft/xstate.h"

/* v->vec exists; X_SHUTDOWN with v->error set if there is no memory for it. */
int vec_ready(struct vcpu *v);

/* stub_run(), its trap raised as the guest's exception. */
int vec_run(struct vcpu *v, const struct insn *i, void *mem);

/* Run @i with its i->mem_size bytes of memory, which are guest RAM itself where possible. */
int vec_run_mem(struct vcpu *v, const struct insn *i);

/* A pending x87 exception comes before faults of a waiting instruction's memory operand. */
int check_pending_mf(struct vcpu *v);

/* Misalignment comes before a non-canonical address; not so for FXSAVE. */
bool operand_misaligned(const struct vcpu *v, const struct insn *i, unsigned align);

/* Make @top the top of the x87 stack; on the parked image, whose registers start at the top. */
void x87_set_top(struct vcpu *v, unsigned top);

/* Gathers and scatters, element by element. */
int exec_vsib(struct vcpu *v, const struct insn *i);

#endif
