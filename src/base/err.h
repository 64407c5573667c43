// SPDX-License-Identifier: Apache-2.0
/*
 * err.h - errors that a person will read.
 *
 * A function that can fail for a reason worth explaining takes a
 * "struct err *e" last and returns 0 or a negative errno. On failure it has
 * set *e and has changed nothing else the caller can see; on success it has
 * not touched *e. Storage is the caller's (usually the stack): nothing to
 * free, nothing to leak, nothing that can fail while reporting a failure.
 *
 * Not for the guest: what a guest does wrong is device state, see
 * dev_guest_error().
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/compiler.h"

struct err {
	int code;      /* positive errno, 0 = no error */
	char msg[240]; /* "disk0: qcow2: bad magic 0x1234", no newline */
};

/* Record an error. Returns -code, so callers write: return err_set(...); */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Prefix the message with more context on the way up. Returns -e->code. */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
