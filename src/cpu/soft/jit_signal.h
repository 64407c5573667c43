// SPDX-License-Identifier: Apache-2.0
/*
 * jit_signal.h - host exceptions inside translated code
 *
 * Apart from jit.c because <signal.h> and insn.h both define REG_RIP.
 */
#ifndef CPU_SOFT_JIT_SIGNAL_H
#define CPU_SOFT_JIT_SIGNAL_H

#include "base/types.h"

struct vcpu;

/* This thread runs @v from now on: alternate signal stack, handlers. */
void jit_signal_setup(struct vcpu *v);

/* @v goes away: signals on this thread are no longer its own. */
void jit_signal_forget(const struct vcpu *v);

/* jit.c: @pc is in translated code of @v: *ret_pc is where to resume. */
bool jit_fault(struct vcpu *v, u64 pc, u64 *ret_pc);

#endif
