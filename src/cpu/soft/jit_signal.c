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

#include "base/compiler.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>

#define SIGNAL_STACK (64u << 10)

static _Thread_local struct vcpu *current;

static const int signals[] = { SIGILL, SIGFPE, SIGSEGV, SIGBUS };
static struct sigaction replaced[array_len(signals)];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void pass_on(int sig, siginfo_t *si, void *uc)
{
	unsigned k = 0;

	while (signals[k] != sig)
		k++;
	if (replaced[k].sa_flags & SA_SIGINFO)
		replaced[k].sa_sigaction(sig, si, uc);
	else if (replaced[k].sa_handler != SIG_DFL && replaced[k].sa_handler != SIG_IGN)
		replaced[k].sa_handler(sig);
	else
		signal(sig, SIG_DFL); /* nobody's: let it happen again with its usual end */
}

bool jit_signal(void *uc)
{
	greg_t *g = ((ucontext_t *)uc)->uc_mcontext.gregs;
	u64 pc;

	if (!current || !jit_fault(current, (u64)g[REG_RIP], &pc))
		return false;
	g[REG_RIP] = (greg_t)pc;
	return true;
}

static void on_signal(int sig, siginfo_t *si, void *uc)
{
	if (!jit_signal(uc))
		pass_on(sig, si, uc);
}

static void install(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	sigemptyset(&sa.sa_mask);
	for (unsigned k = 0; k < array_len(signals); k++)
		sigaction(signals[k], &sa, &replaced[k]);
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
	pthread_once(&once, install);
}
