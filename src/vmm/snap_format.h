// SPDX-License-Identifier: Apache-2.0
/*
 * snap_format.h - the state file as a container of named sections
 * (docs/snapshot-format.md): knows nothing of machines
 */
#ifndef VMM_SNAP_FORMAT_H
#define VMM_SNAP_FORMAT_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"
#include "vmm/snapshot.h"

#define SNAP_VERSION	  SNAPSHOT_VERSION
#define SNAP_NAME_MAX	  64
#define SNAP_SECTIONS_MAX 1024
#define SNAP_SIZE_MAX	  (64u << 20)

/* -- writing --------------------------------------------------------------------------- */

struct snap_writer {
	u8 *buf; /* owned */
	size_t len, cap;
	u32 nr;
	bool failed; /* out of memory: said by snap_finish() */
};

void snap_begin(struct snap_writer *w);
/* Append a section; returns where its @len bytes go, NULL when out of memory. */
u8 *snap_add(struct snap_writer *w, const char *name, size_t len);
/* Complete buf[0..len). */
int snap_finish(struct snap_writer *w, struct err *e) MUST_CHECK;
void snap_discard(struct snap_writer *w);

/* -- reading ---------------------------------------------------------------------------- */

struct snap_section {
	char name[SNAP_NAME_MAX + 1];
	const u8 *data; /* in the parsed buffer */
	size_t len;
	bool taken; /* snap_take() has given it out */
};

struct snap {
	struct snap_section *section; /* owned */
	unsigned nr;
};

/*
 * Check everything there is to check about @buf as a container, which stays in use.
 * Return: 0, or -EINVAL with a sentence; then there is nothing to free.
 */
int snap_parse(struct snap *ret, const u8 *buf, size_t len, struct err *e) MUST_CHECK;
/* The section of that name, or NULL with *e set. */
struct snap_section *snap_take(struct snap *s, const char *name, struct err *e);
/* Fails, naming one, if a section was not taken. */
int snap_all_taken(const struct snap *s, struct err *e) MUST_CHECK;
void snap_free(struct snap *s);

#endif
