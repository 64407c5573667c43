// SPDX-License-Identifier: Apache-2.0
/* dirty.h - which parts of a disk were written: one bit per granule of 2^shift bytes */
#ifndef BLK_DIRTY_H
#define BLK_DIRTY_H

#include "base/compiler.h"
#include "base/types.h"

#define DIRTY_SHIFT_MIN 9u
#define DIRTY_SHIFT_MAX 31u
#define DIRTY_NONE	UINT64_MAX

struct dirty {
	u64 size; /* of the disk, bytes */
	unsigned shift;
	u64 nr;	   /* granules */
	u64 *bits; /* bit n % 64 of word n / 64; those behind the last granule are clear */
	u64 count; /* of set bits */
};

int dirty_init(struct dirty *d, u64 size, unsigned shift) MUST_CHECK; /* all clear */
void dirty_fini(struct dirty *d);

/* The granules that the bytes touch; what lies behind the disk is left out. */
void dirty_set(struct dirty *d, u64 off, u64 len);
void dirty_clear(struct dirty *d, u64 off, u64 len);
void dirty_clear_all(struct dirty *d);
bool dirty_test(const struct dirty *d, u64 off);

/* The first byte from @off on that is dirty, or DIRTY_NONE. */
u64 dirty_next(const struct dirty *d, u64 off);
/* From @off, which is dirty: bytes that are dirty in a row, at most @max, within the disk. */
u64 dirty_run(const struct dirty *d, u64 off, u64 max);

void dirty_merge(struct dirty *to, const struct dirty *from); /* any granularities */
int dirty_resize(struct dirty *d, u64 size) MUST_CHECK; /* new granules are clear */
u64 dirty_bytes(const struct dirty *d);

#endif
