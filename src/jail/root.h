// SPDX-License-Identifier: Apache-2.0
/*
 * root.h - a directory becomes the root directory, and another user the process's user
 *
 * For vireo-jailer: the monitor does this itself, after its libraries are loaded, so that
 * nothing has to be copied into the directory. Before jail_enter() (jail.h).
 */
#ifndef JAIL_ROOT_H
#define JAIL_ROOT_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

#include <sys/types.h>

/* In a mount namespace of its own. Needs CAP_SYS_ADMIN. On failure the process should end. */
int jail_enter_root(const char *dir, struct err *e) MUST_CHECK;
/* No other groups. Needs CAP_SETUID and CAP_SETGID unless it is that user already. */
int jail_become(uid_t uid, gid_t gid, struct err *e) MUST_CHECK;

#endif
