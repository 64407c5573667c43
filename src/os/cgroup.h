// SPDX-License-Identifier: Apache-2.0
/*
 * cgroup.h - a control group of version 2 around the processes of a VM
 *
 * Follows the Linux kernel's Documentation/admin-guide/cgroup-v2.rst as [cgroup-v2]. A group is made
 * where this process may: below the group it is in, if that was delegated to it (nobody else is in
 * it, or it is the root), or below one that is named. Where it may not, there is none.
 */
#ifndef OS_CGROUP_H
#define OS_CGROUP_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

#include <limits.h>

/* One file of the group: "memory.max", "512M" [cgroup-v2 "Controllers"]. */
struct cgroup_setting {
	const char *file, *value;
	bool wanted; /* fail without it; else it is left out where it cannot be */
};

struct cgroup {
	char dir[PATH_MAX]; /* "" = there is none */
	int procs_fd;	    /* to join it: proc_spec.cgroup_fd; 0 = none */
};

/*
 * Make the group @name below @parent (a path from the hierarchy's root; NULL: our own group).
 * Return: 0, or -errno with the reason if a setting that is wanted cannot be made. With 0 and no group in
 * *ret, *e says why there is none.
 */
int cgroup_new(struct cgroup *ret, const char *parent, const char *name,
	       const struct cgroup_setting *s, unsigned nr, struct err *e) MUST_CHECK;
void cgroup_free(struct cgroup *g); /* its processes have ended; no-op for none */

#endif
