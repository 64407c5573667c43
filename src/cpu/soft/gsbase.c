// SPDX-License-Identifier: Apache-2.0
/*
 * gsbase.c - finding out what the host does with GS base: see gsbase.h
 */
#include "cpu/soft/gsbase.h"

#include <asm/prctl.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu/soft/trap.h"

#define HWCAP2_FSGSBASE_BIT 2u

static enum gsbase found;

/* gsbase_read() at a place where it may trap. */
__asm__(".text\ntry_read:\n\trdgsbase %rax\ntry_read_end:\n\tret\n");
extern const void *try_read(void);
extern const char try_read_end[];

/* Does RDGSBASE exist, and is GS base what the kernel was told? */
static bool try_it(void)
{
	struct trap_site site = { .insn = (u64)try_read, .resume = (u64)try_read_end, .vector = 0xff };
	const void *base = &found, *got;

	if (syscall(SYS_arch_prctl, ARCH_SET_GS, base) < 0)
		return false;
	trap_install();
	trap_armed = &site;
	got = try_read();
	trap_armed = NULL;
	return site.vector == 0xff && got == base;
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
