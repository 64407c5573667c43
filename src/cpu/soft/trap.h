// SPDX-License-Identifier: Apache-2.0
/*
 * trap.h - the host's exceptions: those of one expected instruction, and of translated code
 *
 * Apart from stub.c because <signal.h> and insn.h both define REG_RIP.
 */
#ifndef CPU_SOFT_TRAP_H
#define CPU_SOFT_TRAP_H

#include "base/types.h"

/* An instruction that may trap: while armed on this thread, a trap at @insn is recorded and
 * execution goes on at @resume. */
struct trap_site {
	u64 insn, resume;
	volatile u8 vector; /* EX_* of the trap taken; 0xff: none */
	volatile u64 addr;  /* its CR2 */
};

extern _Thread_local struct trap_site *volatile trap_armed; /* NULL: none */

/* Asked about traps of this thread at other places: true if it was its own and @ucontext was changed. */
extern _Thread_local bool (*trap_other)(void *ucontext);

/* Handlers for SIGILL, SIGFPE, SIGSEGV and SIGBUS; what is not ours goes to the ones replaced. */
void trap_install(void);

#endif
