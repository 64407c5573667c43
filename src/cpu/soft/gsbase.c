// SPDX-License-Identifier: Apache-2.0
/*
 * gsbase.c - finding out what the host does with GS base: see gsbase.h
 */
#include "cpu/soft/gsbase.h"

#include <asm/prctl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HWCAP2_FSGSBASE_BIT 2u

static enum gsbase found;
static sigjmp_buf not_there;

static void on_ill(int sig __attribute__((unused)))
{
	siglongjmp(not_there, 1);
}

/* Does RDGSBASE exist, and is GS base what the kernel was told? */
static bool try_it(void)
{
	struct sigaction sa = { .sa_handler = on_ill }, old;
	const void *base = &found;
	bool works = false;

	if (syscall(SYS_arch_prctl, ARCH_SET_GS, base) < 0 || sigaction(SIGILL, &sa, &old) < 0)
		return false;
	if (!sigsetjmp(not_there, 1))
		works = gsbase_read() == base;
	sigaction(SIGILL, &old, NULL);
	return works;
}

static void probe(void)
{
	if (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT)
		found = GSBASE_KEPT;
	else
		found = try_it() ? GSBASE_LENT : GSBASE_NONE;
}

enum gsbase gsbase_kind(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, probe);
	return found;
}

void gsbase_set_home(const void *base)
{
	syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}
