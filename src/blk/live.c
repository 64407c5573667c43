// SPDX-License-Identifier: Apache-2.0
/* live.c - the node above a disk in use: forwarding, freezing, what a job stands on (see live.h) */
#include "blk/live_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *live_kind_name(enum live_kind k)
{
	static const char *const names[LIVE_KINDS] = {
		[LIVE_NOTHING] = "none", [LIVE_SNAPSHOT] = "snapshot", [LIVE_COMMIT] = "commit",
		[LIVE_MIRROR] = "mirror", [LIVE_RESIZE] = "resize",
		[LIVE_SWAP] = "swap",
	};

	return names[k];
}

/* -- requests --------------------------------------------------------------------------- */

static void mark(struct live *l, u64 off, u64 len)
{
	if (l->job && l->job->todo.bits)
		dirty_set(&l->job->todo, off, len);
	for (struct live_bitmap *m = l->bitmaps; m; m = m->next)
		if (m->recording)
			dirty_set(&m->d, off, len);
}

/* A write that failed may have been done in part: it counts as one. */
static void forwarded(struct blk_req *r)
{
	struct fwd *f = container_of(r, struct fwd, r);
	struct live *l = f->l;
	struct blk_req *orig = f->orig;

	if (r->op != BLK_READ && r->op != BLK_FLUSH)
		mark(l, r->offset, r->len);
	f->next = l->free;
	l->free = f;
	l->forwarded--;
	blk_complete(&l->b, orig, r->error);
	if (!l->forwarded && l->job && l->job->draining)
		co_wake(&l->job->co);
}

static void forward(struct live *l, struct blk_req *r)
{
	struct fwd *f = l->free;

	if (f)
		l->free = f->next;
	else
		f = malloc(sizeof *f);
	if (!f) {
		blk_complete(&l->b, r, ENOMEM);
		return;
	}
	f->l = l;
	f->orig = r;
	f->r = (struct blk_req){ .op = r->op, .offset = r->offset, .len = r->len, .iov = r->iov,
				 .nr_iov = r->nr_iov, .done = forwarded };
	l->forwarded++;
	blk_submit(l->b.base, &f->r);
}

static void live_submit(struct blk *b, struct blk_req *r)
{
	struct live *l = as_live(b);

	if (!l->frozen) {
		forward(l, r);
		return;
	}
	r->priv[0] = NULL;
	*l->held_tail = r;
	l->held_tail = (struct blk_req **)&r->priv[0];
}

/* Something is in flight: make a step. A job in the way is helped along. */
static void live_wait(struct blk *b)
{
	struct live *l = as_live(b);
	struct job *j = l->job;

	if (blk_wait_any(b->base))
		return;
	if (j && j->parked) {
		loop_cancel(b->loop, &j->task);
		ratelimit_fini(&j->limit);
		co_wake(&j->co);
	} else if (j) {
		if (!(j->to && blk_wait_any(j->to)) && j->from)
			blk_wait_any(j->from);
	}
}

static int live_status_op(struct blk *b, u64 off, u64 len, struct blk_extent *ret)
{
	return blk_status(b->base, off, len, ret);
}

/* -- what is below ---------------------------------------------------------------------- */

void live_set_base(struct live *l, struct blk *base)
{
	if (l->b.plugged)
		blk_unplug(l->b.base);
	l->b.base = base;
	if (l->b.plugged)
		blk_plug(base);
	l->b.info = base->info;
}

static void bury(struct task *t)
{
	struct live *l = container_of(t, struct live, bury_task);

	while (l->nr_grave)
		blk_close(l->grave[--l->nr_grave]);
}

void live_bury(struct live *l, struct blk *b)
{
	if (!b)
		return;
	if (l->nr_grave == array_len(l->grave)) /* a job leaves four at most, one runs at a time */
		abort();
	l->grave[l->nr_grave++] = b;
	loop_post(l->b.loop, &l->bury_task);
}

/* -- jobs --------------------------------------------------------------------------------- */

static void go_on(struct task *t)
{
	struct job *j = container_of(t, struct job, task);

	if (j->parked)
		co_wake(&j->co);
}

static void limit_over(struct ratelimit *r)
{
	struct job *j = container_of(r, struct job, limit);

	if (j->parked)
		co_wake(&j->co);
}

void job_breathe(struct job *j)
{
	loop_post(j->l->b.loop, &j->task);
	j->parked = true;
	co_wait();
	j->parked = false;
	loop_cancel(j->l->b.loop, &j->task);
}

void job_freeze(struct job *j)
{
	struct live *l = j->l;

	l->frozen = true;
	j->draining = true;
	while (l->forwarded)
		co_wait();
	j->draining = false;
	job_breathe(j);
}

void job_thaw(struct job *j)
{
	struct live *l = j->l;
	struct blk_req *r = l->held_head, *next;

	l->frozen = false;
	l->held_head = NULL;
	l->held_tail = &l->held_head;
	blk_plug(l->b.base);
	for (; r; r = next) {
		next = r->priv[0];
		forward(l, r);
	}
	blk_unplug(l->b.base);
}

bool job_cancelled(struct job *j, struct err *e)
{
	if (j->cancel)
		err_set(e, ECANCELED, "the job was cancelled");
	return j->cancel;
}

static void job_run(struct co *c)
{
	struct job *j = container_of(c, struct job, co);
	struct err e = { 0 };

	job_breathe(j);
	if (!job_cancelled(j, &e) && !j->run(j, &e))
		e = (struct err){ 0 };
	j->l->status.err = e;
}

static void free_job(struct job *j)
{
	ratelimit_fini(&j->limit);
	loop_cancel(j->l->b.loop, &j->task);
	dirty_fini(&j->todo);
	co_fini(&j->co);
	free(j->buf);
	free(j);
}

static void job_end(struct co *c)
{
	struct job *j = container_of(c, struct job, co);
	struct live *l = j->l;

	l->job = NULL;
	l->status.running = false;
	l->status.nr_done++;
	live_bury(l, j->to);
	live_bury(l, j->from);
	live_bury(l, j->above);
	free_job(j);
	if (l->ended)
		l->ended(l->ended_ctx, &l->status);
}

struct job *live_new_job(struct live *l, enum live_kind kind, struct err *e)
{
	struct job *j;

	if (l->job || l->nr_grave) {
		err_set(e, EBUSY, "disk: another job (%s) is running",
			live_kind_name(l->status.kind));
		return NULL;
	}
	j = calloc(1, sizeof *j);
	if (!j || co_init(&j->co)) {
		free(j);
		err_set(e, ENOMEM, "disk: out of memory");
		return NULL;
	}
	j->l = l;
	j->task.fn = go_on;
	j->co.fn = job_run;
	j->co.end = job_end;
	ratelimit_init(&j->limit, loop_clock(l->b.loop), &(struct ratelimit_cfg){ 0 }, limit_over);
	l->status = (struct live_status){ .kind = kind, .nr_done = l->status.nr_done };
	return j;
}

int live_start(struct job *j, struct err *e UNUSED)
{
	j->l->job = j;
	j->l->status.running = true;
	co_start(&j->co);
	return 0;
}

void live_get_status(struct blk *b, struct live_status *ret)
{
	*ret = as_live(b)->status;
}

void live_cancel(struct blk *b)
{
	struct job *j = as_live(b)->job;

	if (!j)
		return;
	j->cancel = true;
	if (j->parked)
		loop_post(b->loop, &j->task);
}

void live_stop(struct blk *b)
{
	struct live *l = as_live(b);

	live_cancel(b);
	while (l->job)
		live_wait(b);
	blk_drain(b);
	loop_cancel(b->loop, &l->bury_task);
	bury(&l->bury_task);
}

/* -- opening, closing --------------------------------------------------------------------- */

static void live_close(struct blk *b)
{
	struct live *l = as_live(b);

	live_store_bitmaps(l);
	while (l->bitmaps) {
		struct live_bitmap *m = l->bitmaps;

		l->bitmaps = m->next;
		dirty_fini(&m->d);
		free(m);
	}
	while (l->free) {
		struct fwd *f = l->free;

		l->free = f->next;
		free(f);
	}
	free(l);
}

static const struct blk_driver live_driver = {
	.name = "live",
	.submit = live_submit,
	.wait = live_wait,
	.status = live_status_op,
	.close = live_close,
};

struct blk *live_open(struct blk *top, struct err *e)
{
	struct live *l = calloc(1, sizeof *l);

	if (!l) {
		blk_close(top);
		err_set(e, ENOMEM, "disk: out of memory");
		return NULL;
	}
	blk_init(&l->b, &live_driver, top->loop, top);
	l->b.info = top->info;
	l->held_tail = &l->held_head;
	l->bury_task.fn = bury;
	if (live_load_bitmaps(l, e)) {
		blk_close(&l->b);
		return NULL;
	}
	return &l->b;
}

struct blk *live_top(struct blk *b)
{
	return b->base;
}

void live_on_end(struct blk *b, void (*fn)(void *ctx, const struct live_status *s), void *ctx)
{
	as_live(b)->ended = fn;
	as_live(b)->ended_ctx = ctx;
}
