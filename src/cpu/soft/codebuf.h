// SPDX-License-Identifier: Apache-2.0
/*
 * codebuf.h - memory for generated code, mapped twice: written through rw, run
 * through rx; no mapping is both writable and executable
 *
 * Backed by a memfd, or where that is refused by a file without a name in /dev/shm,
 * /var/tmp or /tmp. A system that lets none of them be mapped executable cannot run
 * generated code.
 */
#ifndef CPU_SOFT_CODEBUF_H
#define CPU_SOFT_CODEBUF_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

struct codebuf {
	u8 *rw, *rx; /* the same bytes */
	size_t size; /* bytes, a multiple of the page size */
};

/* @size is rounded up to pages. 0, or -errno with *e set and *ret untouched. */
int codebuf_new(struct codebuf *ret, size_t size, struct err *e) MUST_CHECK;
void codebuf_free(struct codebuf *b); /* of a zeroed one: nothing */

/* Bytes [from, to) are about to be used, by both mappings: one call instead of two faults for each page. */
void codebuf_populate(const struct codebuf *b, size_t from, size_t to);

/* An empty file without a name, of the same kind: the caller's descriptor, or -errno. */
int codebuf_file(const char *name) MUST_CHECK;

/* The executable address of a byte written at @p (inside rw). */
static inline const u8 *codebuf_rx(const struct codebuf *b, const u8 *p)
{
	return b->rx + (p - b->rw);
}

#endif
