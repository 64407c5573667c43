// SPDX-License-Identifier: Apache-2.0
/* clone_int.h - between the files of clone/ */
#ifndef CLONE_CLONE_INT_H
#define CLONE_CLONE_INT_H

#include "vmm/snapshot.h"

#include <limits.h>

/* The names in a snapshot's directory. */
struct clone_names {
	char name[SNAPSHOT_FILES][PATH_MAX];
};

/* Point @f at @nr of them. */
int clone_names(struct clone_names *n, const char *dir, unsigned nr, struct snapshot_files *f,
		struct err *e) MUST_CHECK;

/* State, memory, and a layer for each disk of the VM. */
int clone_nr_files(const char *name, unsigned *ret, struct err *e) MUST_CHECK;

/* What a save was asked for, and what came of it. */
struct clone_save {
	bool diff;
	bool freeze; /* the machine goes on above its memory file; then: */
	int base;    /* the file that one is laid over, the caller's; -1 = none */
	u64 stopped_us; /* how long its CPUs stood still */
};

/* Have the VM @name save itself into @fd[0..nr): state, memory, layers. */
int clone_save(const char *name, const int *fd, unsigned nr, struct clone_save *s,
	       struct err *e) MUST_CHECK;

#endif
