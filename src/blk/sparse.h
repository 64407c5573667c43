// SPDX-License-Identifier: Apache-2.0
/*
 * sparse.h - inside blk/: what VHD, VHDX, VDI and VMDK have in common
 *
 * A disk of equal blocks and a table that says where each one is in the file; new
 * blocks go to the end. A table entry reaches the file in a commit only, which a
 * guest's flush causes: data first, a flush, entries, a flush. So a crash loses what
 * was not flushed, at worst leaves unused space at the end.
 *
 * A child stands on a parent: what it has no block for is there. A new block of it is
 * filled from there.
 */
#ifndef BLK_SPARSE_H
#define BLK_SPARSE_H

#include "blk/be.h"
#include "blk/fmt.h"

#define SPARSE_NONE 0	       /* no block: reads as what is below, or as zeroes */
#define SPARSE_ZERO 1	       /* no block: reads as zeroes */
#define SPARSE_MAX  FUZZ_LESS(1u << 25, 1u << 14) /* blocks of one disk */

struct sparse {
	struct blk *file;
	u64 size;	 /* of the disk */
	u64 block, nr;	 /* bytes, count */
	u64 *map;	 /* offset of each block's data in the file, or SPARSE_NONE, _ZERO */
	struct blk **parent; /* NULL: this is no child; *parent NULL: it was not given */
	u64 parent_at;	 /* where the parent has the first byte */
	u64 end;	 /* where the next block goes */
	u64 align, lead; /* its alignment; bytes of the format's own before the data */
	struct co_mutex lock;
	struct range_locks ranges; /* blocks: exclusive while one is made */
	u64 *dirty;		   /* bit per block: entry not written yet */
	u64 nr_dirty;

	/* Write the entries of blocks [first, first + n), all changed. */
	int (*put_entries)(struct sparse *s, u64 first, u64 n);
	/* A new block at @at (with its lead); before its data. May be NULL. */
	int (*prepare)(struct sparse *s, u64 at);
	/* After entries were written: counters, footers. May be NULL. */
	int (*finish)(struct sparse *s);
};

/* @s: file, size, block set. Allocates the table. */
int sparse_init(struct sparse *s, struct err *e) MUST_CHECK;
void sparse_fini(struct sparse *s);

/* Bytes [pos, pos + len) of @r are at @off of the disk. */
int sparse_read(struct sparse *s, const struct blk_req *r, u64 pos, u64 off, u64 len) MUST_CHECK;
int sparse_write(struct sparse *s, const struct blk_req *r, u64 pos, u64 off, u64 len) MUST_CHECK;
int sparse_zero(struct sparse *s, u64 off, u64 len) MUST_CHECK;
int sparse_commit(struct sparse *s) MUST_CHECK;
int sparse_status(struct sparse *s, u64 off, u64 len, struct blk_extent *ret) MUST_CHECK;
/* A whole request, for a format that is just this. */
int sparse_io(struct sparse *s, struct blk_req *r) MUST_CHECK;

#endif
