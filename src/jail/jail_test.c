// SPDX-License-Identifier: Apache-2.0
/* jail_test.c - the filter's program against the rules, without installing it */
#include "base/test.h"
#include "jail/jail_int.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define SELF 1234

/* What the program says of a call: the few BPF instructions it is made of. */
static u32 verdict(enum jail_role role, bool files, const struct seccomp_data *d)
{
	static struct sock_filter f[JAIL_PROG_MAX];
	unsigned n = jail_compile(role, files, SELF, f);
	u32 a = 0;

	for (unsigned pc = 0; pc < n; pc++) {
		const struct sock_filter *i = &f[pc];
		bool hit = BPF_OP(i->code) == BPF_JEQ ? a == i->k : a >= i->k;

		switch (BPF_CLASS(i->code)) {
		case BPF_LD: memcpy(&a, (const char *)d + i->k, 4); break;
		case BPF_ALU: a &= i->k; break;
		case BPF_JMP: pc += hit ? i->jt : i->jf; break;
		case BPF_RET: return i->k;
		default: return 0;
		}
	}
	return 0; /* ran off the end */
}

static u32 ask(enum jail_role role, unsigned nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
	struct seccomp_data d = { .nr = (int)nr,
				  .arch = AUDIT_ARCH_X86_64,
				  .args = { a0, a1, a2, a3 } };

	return verdict(role, false, &d);
}

TEST(jail_filter_allows_only_what_a_role_has)
{
	for (unsigned role = JAIL_SETUP; role < JAIL_ROLES; role++)
		for (unsigned nr = 0; nr < 600; nr++) {
			u32 v = ask(role, nr, 0, 0, 0, 0);

			if (v == SECCOMP_RET_ALLOW)
				CHECK(jail_allows(role, nr));
			else if (!jail_allows(role, nr))
				CHECK(v == SECCOMP_RET_TRAP || v >> 16 == SECCOMP_RET_ERRNO >> 16);
		}
}

TEST(jail_filter_fits_and_ends_in_every_role)
{
	static struct sock_filter f[JAIL_PROG_MAX];

	for (unsigned role = JAIL_SETUP; role < JAIL_ROLES; role++) {
		unsigned n = jail_compile(role, true, SELF, f);

		CHECK(n <= JAIL_PROG_MAX);
		for (unsigned i = 0; i < n; i++)
			if (BPF_CLASS(f[i].code) == BPF_JMP)
				CHECK(i + 1 + (f[i].jt > f[i].jf ? f[i].jt : f[i].jf) < n);
		CHECK_EQ(f[n - 1].k, SECCOMP_RET_TRAP);
	}
}

/* Each rule by its own arguments; conditions of rules before it may hold as well. */
TEST(jail_filter_reaches_every_rule)
{
	for (unsigned i = 0; i < jail_nr_rules; i++) {
		const struct jail_rule *r = &jail_rules[i];
		struct seccomp_data d = { .nr = r->nr, .arch = AUDIT_ARCH_X86_64 };
		u32 want = r->error ? SECCOMP_RET_ERRNO | r->error : SECCOMP_RET_ALLOW;

		for (unsigned k = 0; k < JAIL_CONDS && r->cond[k].mask; k++)
			d.args[r->cond[k].arg] =
				r->cond[k].val == JAIL_VAL_PID ? SELF : r->cond[k].val;
		for (unsigned role = JAIL_SETUP; role < JAIL_ROLES; role++) {
			u32 v = verdict(role, true, &d);

			if (jail_role_sets[role] & r->sets)
				CHECK(v == want || v == SECCOMP_RET_ALLOW);
		}
	}
}

TEST(jail_filter_of_setup_allows_all_that_the_threads_made_there_may_do)
{
	for (unsigned role = JAIL_LOOP; role <= JAIL_IO; role++)
		CHECK_EQ(jail_role_sets[role] & ~jail_role_sets[JAIL_SETUP], 0);
}

TEST(jail_rules_of_a_call_stand_together)
{
	for (unsigned i = 0; i < jail_nr_rules; i++)
		for (unsigned k = i + 1; k < jail_nr_rules; k++)
			if (jail_rules[k].nr == jail_rules[i].nr)
				CHECK_EQ(jail_rules[k - 1].nr, jail_rules[i].nr);
}

TEST(jail_filter_judges_arguments)
{
	const u32 yes = SECCOMP_RET_ALLOW, no = SECCOMP_RET_TRAP;
	const u64 rx = PROT_READ | PROT_EXEC, rwx = rx | PROT_WRITE;

	CHECK_EQ(ask(JAIL_LOOP, SYS_mmap, 0, 0, PROT_READ | PROT_WRITE, MAP_PRIVATE), yes);
	CHECK_EQ(ask(JAIL_LOOP, SYS_mmap, 0, 0, rx, MAP_SHARED), no);
	CHECK_EQ(ask(JAIL_SETUP, SYS_mmap, 0, 0, rx, MAP_SHARED), yes);
	CHECK_EQ(ask(JAIL_SETUP, SYS_mmap, 0, 0, rx, MAP_PRIVATE | MAP_ANONYMOUS), no);
	CHECK_EQ(ask(JAIL_SETUP, SYS_mmap, 0, 0, rwx, MAP_SHARED), no);
	CHECK_EQ(ask(JAIL_SETUP, SYS_mprotect, 0, 0, rx, 0), no);
	CHECK_EQ(ask(JAIL_VCPU_SOFT, SYS_tgkill, SELF, 5, 9, 0), yes);
	CHECK_EQ(ask(JAIL_VCPU_SOFT, SYS_tgkill, SELF + 1, 5, 9, 0), no);
	CHECK_EQ(ask(JAIL_SETUP, SYS_clone, 17 /* SIGCHLD: a process */, 0, 0, 0), no);
	CHECK_EQ(ask(JAIL_NET, SYS_openat, 0, 0, O_RDONLY | O_CLOEXEC, 0), yes);
	CHECK_EQ(ask(JAIL_NET, SYS_openat, 0, 0, O_RDWR, 0), no);
	CHECK_EQ(ask(JAIL_NET, SYS_openat, 0, 0, O_RDONLY | O_CREAT, 0), no);
}

TEST(jail_filter_refuses_names_unless_directories_are_served)
{
	struct seccomp_data d = { .nr = SYS_openat2, .arch = AUDIT_ARCH_X86_64 };

	CHECK_EQ(verdict(JAIL_VCPU_SOFT, false, &d), SECCOMP_RET_TRAP);
	CHECK_EQ(verdict(JAIL_VCPU_SOFT, true, &d), SECCOMP_RET_ALLOW);
	CHECK_EQ(verdict(JAIL_IO, true, &d), SECCOMP_RET_TRAP);
}

TEST(jail_filter_kills_calls_of_other_architectures)
{
	struct seccomp_data d = { .nr = SYS_read, .arch = AUDIT_ARCH_I386 };

	CHECK_EQ(verdict(JAIL_LOOP, true, &d), SECCOMP_RET_KILL_PROCESS);
	d.arch = AUDIT_ARCH_X86_64;
	d.nr |= 0x40000000; /* x32 */
	CHECK_EQ(verdict(JAIL_LOOP, true, &d), SECCOMP_RET_KILL_PROCESS);
}

TEST(jail_knows_the_names_of_system_calls)
{
	CHECK_STR(jail_syscall_name(SYS_openat), "openat");
	CHECK_STR(jail_syscall_name(SYS_io_uring_setup), "io_uring_setup");
	CHECK(!jail_syscall_name(100000));
	for (unsigned i = 0; i < jail_nr_rules; i++)
		CHECK(jail_syscall_name(jail_rules[i].nr));
}
