// SPDX-License-Identifier: Apache-2.0
/* jail_int.h - between the parts of the jail */
#ifndef JAIL_JAIL_INT_H
#define JAIL_JAIL_INT_H

#include "jail/jail.h"

#include <linux/filter.h>
#include <sys/types.h>

/* While entering. */
struct jail_entry {
	const struct jail_spec *spec;
	struct jail_report *report;
	int proc; /* /proc/self, open, -1 = there is none */
	bool user_ns;
};

/* Note that a layer is in force, or why not. */
void jail_note(struct jail_entry *j, enum jail_layer l, bool in_force, const char *fmt, ...)
	PRINTF_LIKE(4, 5);

void jail_namespaces(struct jail_entry *j);
void jail_user_ns(struct jail_entry *j); /* if there is none yet; needs nothing but itself */
void jail_empty_root(struct jail_entry *j);
void jail_landlock(struct jail_entry *j);
void jail_limits(struct jail_entry *j);
void jail_cgroup(struct jail_entry *j); /* before the root directory goes */
void jail_drop_user(struct jail_entry *j);
void jail_drop_caps(struct jail_entry *j);

/* -- seccomp.c, rules.c ------------------------------------------------------------------- */

/* What a group of calls is for; a role has several. */
enum jail_set {
	JAIL_ALL = 1 << 0,        /* memory, locks, time, signals of its own, open descriptors */
	JAIL_DATA = 1 << 1,       /* reading and writing files in place */
	JAIL_DEV = 1 << 2,        /* what device models do to their host ends */
	JAIL_MAIN = 1 << 3,       /* waiting for events, accepting connections */
	JAIL_FILES = 1 << 4,      /* files by name, for served directories */
	JAIL_MAKE = 1 << 5,       /* threads, rings, descriptors, memory for code */
	JAIL_SOFT = 1 << 6,       /* the software engine */
	JAIL_KVM = 1 << 7,        /* running a vCPU of KVM */
	JAIL_INET = 1 << 8,       /* vireo-net */
	JAIL_OPENS = 1 << 9,      /* the opener */
	JAIL_NAMES = 1 << 11,     /* names of files, for programs that keep them */
	JAIL_KVM_STATE = 1 << 10, /* state, interrupts and doorbells of a VM of KVM */
};

/* A condition on the low 32 bits of an argument: (arg & mask) == val. */
struct jail_cond {
	u32 mask, val; /* mask 0: none */
	u8 arg;
};

#define JAIL_CONDS 2

/* Rules of one system call stand together: any of them is enough. */
struct jail_rule {
	u16 nr;
	u16 sets;  /* enum jail_set as bits */
	u16 error; /* not allowed, but answered with this errno instead of ending the process */
	struct jail_cond cond[JAIL_CONDS];
};

extern const struct jail_rule jail_rules[];
extern const unsigned jail_nr_rules;
extern const u16 jail_role_sets[JAIL_ROLES];

/* Values of conditions that are known only at run time. */
#define JAIL_VAL_PID 0xfffffff0u /* this process */

#define JAIL_PROG_MAX 1024

/* The filter of a role. @files: with the calls that take names. Return: instructions. */
unsigned jail_compile(enum jail_role role, bool files, pid_t self,
		      struct sock_filter prog[JAIL_PROG_MAX]);
int jail_install(enum jail_role role, bool files) MUST_CHECK; /* 0 or -errno */

#endif
