// SPDX-License-Identifier: Apache-2.0
/*
 * jit_signal.c - host exceptions inside translated code
 *
 * A guest access through the translation table can reach an address that is not
 * guest RAM (an alias of the table's index, or not canonical), a division can
 * overflow, a vector instruction can raise an unmasked exception. The host state
 * is then exactly the guest's at the start of that instruction: leave, and let the
 * interpreter execute it.
 */
#include "cpu/soft/jit_signal.h"

#include "cpu/soft/trap.h"

#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>

#define SIGNAL_STACK (64u << 10)

static _Thread_local struct vcpu *current;

static bool jit_signal(void *uc)
{
	greg_t *g = ((ucontext_t *)uc)->uc_mcontext.gregs;
	u64 pc;

	if (!current || !jit_fault(current, (u64)g[REG_RIP], &pc))
		return false;
	g[REG_RIP] = (greg_t)pc;
	return true;
}

void jit_signal_forget(const struct vcpu *v)
{
	if (current == v)
		current = NULL;
}

void jit_signal_setup(struct vcpu *v)
{
	static _Thread_local void *stack;

	current = v;
	if (!stack)
		stack = malloc(SIGNAL_STACK);
	if (stack)
		sigaltstack(&(stack_t){ .ss_sp = stack, .ss_size = SIGNAL_STACK }, NULL);
	trap_other = jit_signal;
	trap_install();
}
