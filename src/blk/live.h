// SPDX-License-Identifier: Apache-2.0
/*
 * live.h - a disk in use: what its image is can change under the requests of its guest
 *
 * A live node stands above the image that the guest writes, for as long as the guest
 * runs. A job changes what is below it: one at a time for each disk, in a coroutine
 * on the loop, while requests go on; they are held back only in its last step, when
 * little is left to do. A job that fails or is cancelled leaves the disk as the guest
 * sees it, the images it consists of and the bitmaps untouched; what a target that is
 * left behind contains is undefined.
 *
 * Context: as blk.h. Starting a job returns at once; live_get_status() tells how it goes.
 */
#ifndef BLK_LIVE_H
#define BLK_LIVE_H

#include "blk/blk.h"
#include "blk/image.h"

#define LIVE_NAME_MAX 256 /* bytes of a bitmap's name, with its end */

enum live_kind {
	LIVE_NOTHING,
	LIVE_SNAPSHOT,	/* an overlay, or a snapshot inside the image */
	LIVE_COMMIT,
	LIVE_MIRROR,	/* also incremental copies */
	LIVE_RESIZE,
	LIVE_SWAP,	/* another image takes the place of this one, uncopied */
	LIVE_KINDS
};

const char *live_kind_name(enum live_kind k);

struct live_status {
	enum live_kind kind; /* of the job that runs or was the last one */
	bool running;
	u64 done, total; /* bytes; total may grow as the guest writes */
	struct err err;	 /* of the last job: code 0 = success, ECANCELED = cancelled */
	u64 nr_done;	 /* jobs that have ended so far */
};

/* Above @top, which is taken over; persistent bitmaps of a qcow2 image are loaded. */
struct blk *live_open(struct blk *top, struct err *e) MUST_CHECK;
struct blk *live_top(struct blk *b); /* the image below; changes with jobs */
/* Called at the end of every job, when its status is final; the size may be another one. */
void live_on_end(struct blk *b, void (*fn)(void *ctx, const struct live_status *s), void *ctx);

void live_get_status(struct blk *b, struct live_status *ret);
void live_cancel(struct blk *b); /* asks the job to end soon */
/* Cancel and wait for its end: before blk_close(), and before the loop is not run any more. */
void live_stop(struct blk *b);

/*
 * From now on the guest writes to a new qcow2 image in @file, which is empty (taken over,
 * also on failure). @c: its backing name and format are those of the present image.
 */
int live_snapshot(struct blk *b, struct blk *file, const struct image_create *c,
		  struct err *e) MUST_CHECK;
/* A snapshot inside the qcow2 image the guest writes; it waits meanwhile. */
int live_snapshot_inside(struct blk *b, const char *name, bool remove, struct err *e) MUST_CHECK;

struct live_commit {
	/*
	 * The image to commit into, open for writing without its own backing node, and
	 * without a lock (FILE_SHARED). Taken over, also on failure.
	 */
	struct blk *into;
	unsigned depth; /* which image: 0 = the guest's, 1 = the one below it, and so on */
	/*
	 * depth > 1: the image above that one, open as @into is. Taken over, also on failure.
	 */
	struct blk *above;
	const char *backing; /* depth > 0: what the image above calls @into from now on */
	const char *backing_format;
	u64 rate; /* bytes per second, 0 = no limit */
};

/*
 * The image's contents go into the one it stands on, which takes its place. The one left
 * out stays as it is on the host.
 */
int live_commit(struct blk *b, const struct live_commit *c, struct err *e) MUST_CHECK;

struct live_mirror {
	struct blk *target; /* at least as large; taken over, also on failure */
	bool zero;	    /* the target reads as zeroes */
	bool pivot;	    /* the guest goes on there; else the target is closed, a copy */
	const char *bitmap; /* copy only what this says was written; it is clear afterwards */
	u64 rate;
};

/* The target becomes what the disk is at the moment the job ends. */
int live_mirror(struct blk *b, const struct live_mirror *m, struct err *e) MUST_CHECK;

int live_resize(struct blk *b, u64 size, struct err *e) MUST_CHECK;

/* From now on the guest has @to, as if the medium was changed (taken over, also on failure). */
int live_swap(struct blk *b, struct blk *to, struct err *e) MUST_CHECK;

/* -- dirty bitmaps: what was written since ------------------------------------------------- */

struct live_bitmap_info {
	char name[LIVE_NAME_MAX];
	unsigned shift; /* log2 of the granularity */
	bool persistent; /* kept in the qcow2 image when the disk is closed */
	bool recording;
	u64 dirty; /* bytes */
};

int live_bitmap_add(struct blk *b, const char *name, unsigned shift, bool persistent,
		    struct err *e) MUST_CHECK;
int live_bitmap_remove(struct blk *b, const char *name, struct err *e) MUST_CHECK;
int live_bitmap_clear(struct blk *b, const char *name, struct err *e) MUST_CHECK;
int live_bitmap_record(struct blk *b, const char *name, bool on, struct err *e) MUST_CHECK;
int live_bitmap_merge(struct blk *b, const char *to, const char *from, struct err *e) MUST_CHECK;
/* The @i-th one; false if there are no more. */
bool live_bitmap_get(struct blk *b, unsigned i, struct live_bitmap_info *ret);

#endif
