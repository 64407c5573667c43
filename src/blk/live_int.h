// SPDX-License-Identifier: Apache-2.0
/*
 * live_int.h - inside blk/live*.c: the live node and its job
 *
 * (J1) Requests are forwarded to b.base unless the node is frozen; then they queue. A
 *	job that has frozen the node and waited has the images for itself.
 * (J2) A node is closed only from a task of the loop: a job may go on inside a
 *	completion of that very node.
 * (J3) While the job is parked it waits for nothing but time, and whoever drains the
 *	node may wake it.
 */
#ifndef BLK_LIVE_INT_H
#define BLK_LIVE_INT_H

#include "base/ratelimit.h"
#include "blk/co.h"
#include "blk/dirty.h"
#include "blk/fmt.h"
#include "blk/live.h"

struct fwd { /* a request on its way */
	struct blk_req r;
	struct live *l;
	struct blk_req *orig;
	struct fwd *next;
};

struct live_bitmap {
	char name[LIVE_NAME_MAX];
	struct dirty d;
	bool persistent, recording;
	bool gone; /* to be removed from the image */
	struct live_bitmap *next;
};

struct job {
	struct live *l;
	int (*run)(struct job *j, struct err *e);
	struct co co;
	struct task task;
	struct ratelimit limit;
	bool parked, draining, cancel;
	struct dirty todo; /* what is to be copied; bits == NULL: nothing is tracked */
	struct blk *from, *to; /* taken over as far as not NULL at the end: buried */
	u8 *buf;
	bool zero; /* @to reads as zeroes where nothing was copied yet */

	/* What the job is about. */
	struct image_create create;
	char name[IMAGE_NAME_MAX], format[16];
	u64 size;
	bool remove, pivot;
	unsigned depth;	   /* of the image to commit */
	struct blk *above; /* as j->from */
	struct live_bitmap *bitmap;
};

struct live {
	struct blk b;
	struct fwd *free;
	unsigned forwarded;
	bool frozen;
	struct blk_req *held_head, **held_tail; /* linked by priv[0] */
	struct live_bitmap *bitmaps;
	struct job *job; /* or NULL */
	struct live_status status;
	struct blk *grave[4]; /* nodes to close */
	unsigned nr_grave;
	struct task bury_task;
	void (*ended)(void *ctx, const struct live_status *s);
	void *ended_ctx;
};

static inline struct live *as_live(struct blk *b)
{
	return container_of(b, struct live, b);
}

void live_set_base(struct live *l, struct blk *base);
void live_bury(struct live *l, struct blk *b); /* NULL: nothing */

/* In the job's coroutine. */
void job_breathe(struct job *j); /* let others run; goes on from the loop's own stack */
void job_freeze(struct job *j);	 /* returns with nothing in flight */
void job_thaw(struct job *j);
bool job_cancelled(struct job *j, struct err *e); /* sets *e */

/* Start @run; @j from live_new_job(). */
struct job *live_new_job(struct live *l, enum live_kind kind, struct err *e);
int live_start(struct job *j, struct err *e);

/* live_bitmap.c */
struct live_bitmap *live_find_bitmap(struct live *l, const char *name);
int live_load_bitmaps(struct live *l, struct err *e) MUST_CHECK;
void live_store_bitmaps(struct live *l);

#endif
