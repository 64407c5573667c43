// SPDX-License-Identifier: Apache-2.0
/* opener_int.h - what both ends of the opener share: requests, and carrying them out */
#ifndef OS_OPENER_INT_H
#define OS_OPENER_INT_H

#include "os/opener.h"

enum opener_op { OPENER_OPEN, OPENER_LISTEN, OPENER_CONNECT, OPENER_UNLINK, OPENER_TAP, OPENER_REPLACE,
		 OPENER_NR };

/* One message on the socket; @path is sent up to its end. The answer is a negative errno,
 * or 0 with a descriptor beside it (none for OPENER_UNLINK and OPENER_REPLACE). */
struct opener_request {
	u32 op;
	u32 flags; /* open(2), 1 for more queues of a TAP, or enum opener_step */
	u32 mode;
	char path[OPENER_PATH];
};

#define OPENER_MADE 64

/* A socket's place in its file system. */
struct opener_made {
	u64 dev, ino;
};

/* The policy as open directories, and what was made under it. */
struct opener_rules {
	int start; /* where relative names begin without directories; AT_FDCWD */
	int dir[OPENER_DIRS];
	const char *name[OPENER_DIRS]; /* absolute, no slash at the end */
	unsigned nr_dirs;
	bool read_only, taps;
	bool own_only; /* remove only the sockets noted in made[] */
	struct opener_made made[OPENER_MADE];
	unsigned nr_made;
};

/* Carry out a request that may say anything. Return: a descriptor or 0, or -errno. */
int opener_do(struct opener_rules *p, const struct opener_request *r) MUST_CHECK;

#endif
