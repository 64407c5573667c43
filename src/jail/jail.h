// SPDX-License-Identifier: Apache-2.0
/*
 * jail.h - a process gives up what it does not need
 *
 * A monitor has everything as open descriptors before it looks at anything that a
 * guest, an image or a peer may have prepared. Then it enters the jail: no new
 * privileges; namespaces of its own with nothing in them, an empty root directory;
 * another user, no capabilities; resource limits; Landlock; and a system call filter,
 * which each thread tightens to its role when it starts. What the host refuses is
 * left out and reported: every layer stands alone.
 *
 * A system call outside the filter ends the process with one line on standard error
 * and status 102. Docs: docs/jail.md. Order: docs/decisions/0100-the-jail.md.
 */
#ifndef JAIL_JAIL_H
#define JAIL_JAIL_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

/* What a thread does, and so which system calls it has (rules.c). */
enum jail_role {
	JAIL_NONE,  /* no filter of its own */
	JAIL_SETUP, /* the monitor until its guest runs: all of the following, and making them */
	JAIL_LOOP,  /* the monitor's main thread from then on */
	JAIL_VCPU_SOFT, /* a vCPU of the software engine; devices run here too */
	JAIL_VCPU_KVM,
	JAIL_API,    /* the thread that answers requests */
	JAIL_IO,     /* a thread that moves data between files and memory */
	JAIL_NET,    /* vireo-net */
	JAIL_OPENER, /* the broker of os/opener.h */
	JAIL_DISK,   /* vireo disk: images named on its command line */
	JAIL_DISK_NET, /* the same with sockets, or a FUSE device, that are open already */
	JAIL_ROLES
};

#define JAIL_DIRS 8

struct jail_dir {
	int fd; /* an open directory: replaced by the same one inside the jail */
	bool read_only;
	const char *at; /* its absolute name inside; NULL = none that matters */
};

struct jail_spec {
	enum jail_role role;  /* JAIL_SETUP, JAIL_NET or JAIL_OPENER: the filter entered now */
	struct jail_dir *dir; /* directories that stay within reach, files in them by name */
	unsigned nr_dirs;     /* at most JAIL_DIRS */
	bool network;         /* keep the host's network */
	bool bare; /* only no new privileges, limits and the filter: a process that acts for others
		    */
	bool in_place; /* no namespaces, no other user: directories keep their names */
	u64 max_files; /* limit of open descriptors; 0 = leave it */
};

enum jail_layer {
	JAIL_L_PRIVS, /* no new privileges */
	JAIL_L_USER_NS,
	JAIL_L_MOUNT_NS,
	JAIL_L_NET_NS,
	JAIL_L_IPC_NS,
	JAIL_L_UTS_NS,
	JAIL_L_CGROUP_NS,
	JAIL_L_ROOT, /* an empty root directory */
	JAIL_L_UID,
	JAIL_L_CAPS,
	JAIL_L_LIMITS,
	JAIL_L_CGROUP, /* limits of the control group it was started in (os/cgroup.h): told, not made */
	JAIL_L_LANDLOCK,
	JAIL_L_SECCOMP,
	JAIL_LAYERS
};

struct jail_report {
	struct {
		bool in_force;
		char text[120]; /* what exactly, or why not; empty = nothing to add */
	} layer[JAIL_LAYERS];
	u64 cpu_ns; /* what entering cost this thread */
};

/*
 * Enter the jail: once, while the process has one thread. A layer that the host refuses
 * is noted in *ret. Fails, changing nothing, only if asked for nonsense (-EINVAL).
 */
int jail_enter(const struct jail_spec *s, struct jail_report *ret, struct err *e) MUST_CHECK;
bool jail_active(void); /* has this process entered */

/*
 * Tighten the filter of the calling thread to @role, for good; no-op if the process is not
 * jailed, for JAIL_NONE, if it has that role, and where the host has no filters. No thread can be
 * made by one in a role but JAIL_SETUP.
 */
int jail_thread(enum jail_role role, struct err *e) MUST_CHECK;

/* "seccomp", "user-namespace": the layer's name. */
const char *jail_layer_name(enum jail_layer l);
/* One line, no newline: "jail: seccomp: in force: ...". Return: @buf. */
const char *jail_report_line(const struct jail_report *r, enum jail_layer l, char *buf, size_t len);

/* May @role make the system call @nr with some arguments? For tests. */
bool jail_allows(enum jail_role role, unsigned nr);
/* "openat", or NULL. */
const char *jail_syscall_name(unsigned nr);

#endif
