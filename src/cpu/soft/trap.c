// SPDX-License-Identifier: Apache-2.0
/*
 * trap.c - catching the host exceptions of one expected instruction: see trap.h
 */
#include "cpu/soft/trap.h"

#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

#include "base/compiler.h"

#define UD_TRIES  4
#define UD_CYCLES (1u << 25) /* between two tries; some 10 ms */

_Thread_local struct trap_site *volatile trap_armed;
_Thread_local bool (*trap_other)(void *ucontext);

static const int signals[] = { SIGILL, SIGFPE, SIGSEGV, SIGBUS };
static struct sigaction replaced[array_len(signals)];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool at_armed_site(void *ucontext)
{
	greg_t *g = ((ucontext_t *)ucontext)->uc_mcontext.gregs;
	struct trap_site *s = trap_armed;

	if (!s || (u64)g[REG_RIP] != s->insn)
		return false;
	s->vector = (u8)g[REG_TRAPNO];
	s->addr = (u64)g[REG_CR2];
	g[REG_RIP] = (greg_t)s->resume;
	return true;
}

/*
 * Some hypervisors emulate an instruction that meets a page they have not mapped yet, go on with the next
 * one, and end that in #UD if their emulator does not know it, up to twice. #UD counts when it stays.
 */
static bool may_be_the_hosts(const siginfo_t *si, u64 pc)
{
	static _Thread_local u64 last, when; /* TSC */
	static _Thread_local unsigned n;
	u64 now = __builtin_ia32_rdtsc();

	if (si->si_signo != SIGILL || si->si_code <= 0)
		return false;
	n = pc == last && now - when < UD_CYCLES ? n + 1 : 0;
	last = n < UD_TRIES ? pc : 0;
	when = now;
	return n < UD_TRIES;
}

static void on_signal(int sig, siginfo_t *si, void *uc)
{
	unsigned k = 0;

	if (may_be_the_hosts(si, (u64)((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP]))
		return;
	if (at_armed_site(uc) || (trap_other && trap_other(uc)))
		return;
	while (signals[k] != sig)
		k++;
	if (replaced[k].sa_flags & SA_SIGINFO)
		replaced[k].sa_sigaction(sig, si, uc);
	else if (replaced[k].sa_handler != SIG_DFL && replaced[k].sa_handler != SIG_IGN)
		replaced[k].sa_handler(sig);
	else
		signal(sig, SIG_DFL); /* nobody's: let it happen again with its usual end */
}

static void install(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	sigemptyset(&sa.sa_mask);
	for (unsigned k = 0; k < array_len(signals); k++)
		sigaction(signals[k], &sa, &replaced[k]);
}

void trap_install(void)
{
	pthread_once(&once, install);
}
