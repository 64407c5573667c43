// SPDX-License-Identifier: Apache-2.0
/*
 * seccomp.c - the rules of a role as a BPF program, and what a violation does
 * [seccomp(2)]
 *
 * The program is a chain: each system call has a block of its rules, entered by its
 * number. Calls that are allowed whatever their arguments cost nothing at run time: the
 * kernel finds them beforehand and keeps them in a bitmap. What is not allowed raises
 * SIGSYS in the thread that tried.
 */
#include "jail/jail_int.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STATUS_VIOLATION 102 /* VM_STATUS_FAILED of vmm/vmm.h */
#define X32_BIT          0x40000000u

#define ARG_LOW(n) (offsetof(struct seccomp_data, args) + 8 * (n)) /* little endian */

struct prog {
	struct sock_filter *f;
	unsigned n;
};

static void put(struct prog *p, u16 code, u32 k, u8 jt, u8 jf)
{
	if (p->n < JAIL_PROG_MAX)
		p->f[p->n] = (struct sock_filter){ code, jt, jf, k };
	p->n++;
}

static void load(struct prog *p, size_t offset)
{
	put(p, BPF_LD | BPF_W | BPF_ABS, (u32)offset, 0, 0);
}

/* Instructions of a rule when the accumulator holds argument *held (-1: none of them). */
static unsigned rule_size(const struct jail_rule *r, int *held)
{
	unsigned n = 1;

	for (unsigned i = 0; i < JAIL_CONDS && r->cond[i].mask; i++) {
		n += 1 + (*held != r->cond[i].arg) + (r->cond[i].mask != ~0u);
		*held = r->cond[i].mask == ~0u ? r->cond[i].arg : -1;
	}
	if (r->cond[1].mask)
		*held = -1; /* it depends on which of them did not hold */
	return n;
}

/* The conditions, then the answer; on to the next rule when one does not hold. */
static void put_rule(struct prog *p, const struct jail_rule *r, pid_t self, int *held)
{
	int now = *held;
	unsigned end = p->n + rule_size(r, held);

	for (unsigned i = 0; i < JAIL_CONDS && r->cond[i].mask; i++) {
		const struct jail_cond *c = &r->cond[i];
		u32 val = c->val == JAIL_VAL_PID ? (u32)self : c->val;

		if (now != c->arg)
			load(p, ARG_LOW(c->arg));
		now = c->arg;
		if (c->mask != ~0u) {
			put(p, BPF_ALU | BPF_AND | BPF_K, c->mask, 0, 0);
			now = -1;
		}
		put(p, BPF_JMP | BPF_JEQ | BPF_K, val, 0, (u8)(end - p->n - 1));
	}
	put(p, BPF_RET | BPF_K, r->error ? SECCOMP_RET_ERRNO | r->error : SECCOMP_RET_ALLOW, 0, 0);
}

/* The block of the call whose rules are [i, end). */
static void put_call(struct prog *p, unsigned i, unsigned end, u16 sets, pid_t self)
{
	unsigned size = 1;
	int held = -1;

	for (unsigned k = i; k < end; k++)
		if (jail_rules[k].sets & sets)
			size += rule_size(&jail_rules[k], &held);
	if (size == 1)
		return;
	if (size > 255) {
		p->n = JAIL_PROG_MAX; /* out of a jump's reach: too large, as jail_test.c finds */
		return;
	}
	held = -1;
	put(p, BPF_JMP | BPF_JEQ | BPF_K, jail_rules[i].nr, 0, (u8)size);
	for (unsigned k = i; k < end; k++)
		if (jail_rules[k].sets & sets)
			put_rule(p, &jail_rules[k], self, &held);
	put(p, BPF_RET | BPF_K, SECCOMP_RET_TRAP, 0, 0);
}

unsigned jail_compile(enum jail_role role, bool files, pid_t self,
		      struct sock_filter out[JAIL_PROG_MAX])
{
	const u16 sets = jail_role_sets[role] & (files ? 0xffff : (u16)~JAIL_FILES);
	struct prog p = { out, 0 };

	load(&p, offsetof(struct seccomp_data, arch));
	put(&p, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	put(&p, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
	load(&p, offsetof(struct seccomp_data, nr));
	put(&p, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
	put(&p, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0, 0);
	for (unsigned i = 0, next; i < jail_nr_rules; i = next) {
		for (next = i; next < jail_nr_rules && jail_rules[next].nr == jail_rules[i].nr;
		     next++)
			;
		put_call(&p, i, next, sets, self);
	}
	put(&p, BPF_RET | BPF_K, SECCOMP_RET_TRAP, 0, 0);
	return p.n;
}

bool jail_allows(enum jail_role role, unsigned nr)
{
	for (unsigned i = 0; i < jail_nr_rules; i++)
		if (jail_rules[i].nr == nr && jail_rules[i].sets & jail_role_sets[role] &&
		    !jail_rules[i].error)
			return true;
	return false;
}

/* -- violations --------------------------------------------------------------------------- */

/* Only calls that every role has, and no locks: anything may have been interrupted. */
static void on_violation(int sig, siginfo_t *si, void *uc)
{
	unsigned nr = (unsigned)si->si_syscall;
	const char *name = jail_syscall_name(nr);
	char thread[17] = "", line[160];
	int n;

	(void)sig;
	(void)uc;
	prctl(PR_GET_NAME, thread);
	n = snprintf(line, sizeof line,
		     "vireo: jail: thread %s: system call %u (%s) with these arguments is not "
		     "among what it may do\n",
		     thread, nr, name ? name : "unknown");
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
		n = 0;
	_exit(STATUS_VIOLATION);
}

static int watch_violations(void)
{
	struct sigaction sa = { .sa_sigaction = on_violation, .sa_flags = SA_SIGINFO | SA_ONSTACK },
			 old;
	sigset_t one;

	if (sigaction(SIGSYS, NULL, &old))
		return -errno;
	if (old.sa_handler == SIG_DFL && sigaction(SIGSYS, &sa, NULL))
		return -errno;
	sigemptyset(&one);
	sigaddset(&one, SIGSYS);
	return -pthread_sigmask(SIG_UNBLOCK, &one, NULL);
}

int jail_install(enum jail_role role, bool files)
{
	struct sock_filter f[JAIL_PROG_MAX];
	unsigned n = jail_compile(role, files, getpid(), f);
	struct sock_fprog prog = { .len = (unsigned short)n, .filter = f };
	int r = watch_violations();

	if (r)
		return r;
	if (n > JAIL_PROG_MAX)
		return -E2BIG;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) ? -errno : 0;
}
