// SPDX-License-Identifier: Apache-2.0
/*
 * jailed.h - looking at what nobody vouches for, in a process that could do no harm
 *
 * A disk's file system may have been written by a hostile guest. What parses it runs in
 * a child process that enters the jail first (jail/jail.h) and hands back descriptors.
 */
#ifndef BOOT_JAILED_H
#define BOOT_JAILED_H

#include "base/compiler.h"
#include "base/err.h"

#define JAILED_FDS  2
#define JAILED_TEXT 256

struct jailed_result {
	int fd[JAILED_FDS];     /* -1 = none */
	char text[JAILED_TEXT]; /* with its end */
};

struct jailed_work {
	/* In the child, before the jail: opens what fn() needs by name. May be NULL. */
	int (*open)(void *ctx, struct err *e);
	/* In the jail. Fills *ret, which comes with no descriptors and no text. */
	int (*fn)(void *ctx, struct jailed_result *ret, struct err *e);
	void *ctx;
};

/*
 * Run @w in a child of this process, which has one thread. Return: 0 with *ret, whose
 * descriptors are the caller's, or what open() or fn() returned with *e, or -ECHILD if the
 * child ended without a result.
 */
int jailed_run(const struct jailed_work *w, struct jailed_result *ret, struct err *e) MUST_CHECK;

#endif
