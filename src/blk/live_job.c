// SPDX-License-Identifier: Apache-2.0
/*
 * live_job.c - what jobs do: overlays, snapshots, sizes, and copying while the guest writes
 *
 * A copy goes round what is marked in job.todo: a mark is taken away before its bytes
 * are read, and every write of the guest that completes puts one there, so a byte that
 * changed after it was read is copied again. When little is left, or the guest keeps
 * up, the node is frozen for the rest.
 */
#include "blk/live_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TODO_SHIFT 16u
#define PIECE	   (1u << 20)
#define FEW	   (4u << 20) /* bytes left that are copied while the guest waits */
#define ROUNDS	   8	      /* after so many the guest waits, whatever is left */

static int failed(struct err *e, int r, const char *what)
{
	return err_set(e, -r, "disk: %s: %s", what, strerror(-r));
}

/* -- overlays ----------------------------------------------------------------------------- */

static int run_overlay(struct job *j, struct err *e)
{
	struct image_opts o = { .no_backing = true };
	struct live *l = j->l;
	struct blk *file = j->to, *new;
	int r;

	TRY(image_create(file, IMAGE_QCOW2, &j->create, e));
	j->to = NULL;
	new = image_open(file, IMAGE_QCOW2, &o, e);
	if (!new)
		return -e->code;
	j->to = new;
	job_freeze(j);
	r = fio_flush(l->b.base);
	if (!r) {
		if (image_swap_backing(new, l->b.base)) {
			/* It had none: opened without. */
		}
		live_set_base(l, new);
		j->to = NULL;
	}
	job_thaw(j);
	return r ? failed(e, r, "the image cannot be written") : 0;
}

int live_snapshot(struct blk *b, struct blk *file, const struct image_create *c, struct err *e)
{
	struct live *l = as_live(b);
	struct job *j = live_new_job(l, LIVE_SNAPSHOT, e);

	if (!j) {
		blk_close(file);
		return -e->code;
	}
	j->run = run_overlay;
	j->to = file;
	j->create = *c;
	j->create.size = l->b.info.size;
	snprintf(j->name, sizeof j->name, "%s", c->backing ? c->backing : "");
	snprintf(j->format, sizeof j->format, "%s", c->backing_format ? c->backing_format : "");
	j->create.backing = j->name;
	j->create.backing_format = *j->format ? j->format : NULL;
	return live_start(j, e);
}

static int run_inside(struct job *j, struct err *e)
{
	int r;

	job_freeze(j);
	r = fio_flush(j->l->b.base);
	if (r)
		failed(e, r, "the image cannot be written");
	else
		r = j->remove ? image_snapshot_delete(j->l->b.base, j->name, e) :
				image_snapshot_create(j->l->b.base, j->name, e);
	job_thaw(j);
	return r;
}

int live_snapshot_inside(struct blk *b, const char *name, bool remove, struct err *e)
{
	struct job *j;

	if (strlen(name) >= sizeof j->name)
		return err_set(e, EINVAL, "disk: a snapshot's name has 1 to 255 bytes");
	j = live_new_job(as_live(b), LIVE_SNAPSHOT, e);
	if (!j)
		return -e->code;
	j->run = run_inside;
	j->remove = remove;
	strcpy(j->name, name);
	return live_start(j, e);
}

/* -- sizes ---------------------------------------------------------------------------------- */

static int run_resize(struct job *j, struct err *e)
{
	struct live *l = j->l;
	int r;

	job_freeze(j);
	r = blk_resize(l->b.base, j->size, e);
	l->b.info.size = l->b.base->info.size;
	for (struct live_bitmap *m = l->bitmaps; m && !r; m = m->next)
		if (dirty_resize(&m->d, l->b.info.size))
			r = err_set(e, ENOMEM, "disk: out of memory for bitmaps");
	job_thaw(j);
	return r;
}

int live_resize(struct blk *b, u64 size, struct err *e)
{
	struct job *j;

	if (size % BLK_SECTOR || !size || size > BLK_MAX / 2)
		return err_set(e, EINVAL, "disk: want a size that is a multiple of 512");
	j = live_new_job(as_live(b), LIVE_RESIZE, e);
	if (!j)
		return -e->code;
	j->run = run_resize;
	j->size = size;
	return live_start(j, e);
}

/* -- another medium ------------------------------------------------------------------------- */

static int run_swap(struct job *j, struct err *e UNUSED)
{
	struct live *l = j->l;

	job_freeze(j);
	j->from = l->b.base;
	live_set_base(l, j->to);
	j->to = NULL;
	job_thaw(j);
	return 0;
}

int live_swap(struct blk *b, struct blk *to, struct err *e)
{
	struct job *j = live_new_job(as_live(b), LIVE_SWAP, e);

	if (!j) {
		blk_close(to);
		return -e->code;
	}
	j->run = run_swap;
	j->to = to;
	return live_start(j, e);
}

/* -- copying -------------------------------------------------------------------------------- */

/* What reads at [off, off + len) of @b and the images it stands on. */
static int state_of(struct blk *b, u64 off, u64 len, struct blk_extent *ret)
{
	for (;;) {
		struct blk *below = image_backing(b);

		TRY(blk_status(b, off, len, ret));
		len = ret->len;
		if (ret->state != BLK_BELOW)
			return 0;
		if (!below || off >= below->info.size) {
			ret->state = BLK_ZERO;
			return 0;
		}
		b = below;
		if (len > b->info.size - off)
			len = b->info.size - off;
	}
}

static int copy_piece(struct job *j, u64 off, u64 len)
{
	u64 end = off + len, n;

	for (; off < end; off += n) {
		struct blk_extent x;

		TRY(state_of(j->from, off, end - off, &x));
		n = x.len;
		if (x.state == BLK_ZERO && j->zero)
			continue;
		if (x.state == BLK_ZERO) {
			TRY(fio_req(j->to, BLK_WRITE_ZEROES, off, n, NULL, 0));
			continue;
		}
		TRY(fio_read(j->from, off, j->buf, n));
		TRY(fio_write(j->to, off, j->buf, n));
	}
	return 0;
}

/* One piece from @off on. Return: 0, *ret_off behind it; or -errno. */
static int step(struct job *j, u64 off, u64 *ret_off)
{
	u64 n = dirty_run(&j->todo, off, PIECE - off % PIECE);
	int r;

	dirty_clear(&j->todo, off, n);
	r = copy_piece(j, off, n);
	if (r)
		return r;
	j->l->status.done += n;
	j->l->status.total = j->l->status.done + dirty_bytes(&j->todo);
	*ret_off = off + n;
	return 0;
}

static int copy_round(struct job *j, struct err *e)
{
	u64 off = 0;

	while ((off = dirty_next(&j->todo, off)) != DIRTY_NONE) {
		u64 n = dirty_run(&j->todo, off, PIECE - off % PIECE);
		int r;

		while (!ratelimit_take(&j->limit, 1, n) && !j->cancel) {
			j->parked = true;
			co_wait();
			j->parked = false;
		}
		if (job_cancelled(j, e))
			return -ECANCELED;
		r = step(j, off, &off);
		if (r)
			return failed(e, r, "cannot be copied");
		job_breathe(j);
	}
	j->zero = false;
	return 0;
}

/* Everything that is marked now and will be; returns frozen, and thaws if it fails. */
static int copy_all(struct job *j, struct err *e)
{
	u64 off = 0;
	int r = 0;

	for (unsigned i = 0; i < ROUNDS && (!i || dirty_bytes(&j->todo) > FEW); i++)
		TRY(copy_round(j, e));
	job_freeze(j);
	if (job_cancelled(j, e))
		r = -ECANCELED;
	while (!r && (off = dirty_next(&j->todo, 0)) != DIRTY_NONE) {
		r = step(j, off, &off);
		if (r)
			failed(e, r, "cannot be copied");
	}
	if (!r) {
		r = fio_flush(j->to);
		if (r)
			failed(e, r, "the target cannot be written");
	}
	if (r)
		job_thaw(j);
	return r;
}

static int prepare_copy(struct job *j, u64 size, struct err *e)
{
	if (posix_memalign((void **)&j->buf, 4096, PIECE) ||
	    dirty_init(&j->todo, size, TODO_SHIFT))
		return err_set(e, ENOMEM, "disk: out of memory");
	return 0;
}

static void limit_to(struct job *j, u64 rate)
{
	const struct ratelimit_bucket_cfg c = { .size = rate, .refill_ms = 1000 };

	if (rate)
		ratelimit_set(&j->limit, RATELIMIT_BYTES, &c);
}

/* -- mirroring ------------------------------------------------------------------------------ */

static int run_mirror(struct job *j, struct err *e)
{
	struct live *l = j->l;

	j->from = l->b.base;
	if (j->bitmap)
		dirty_merge(&j->todo, &j->bitmap->d);
	else
		dirty_set(&j->todo, 0, j->todo.size);
	l->status.total = dirty_bytes(&j->todo);
	if (copy_all(j, e)) {
		j->from = NULL;
		return -e->code;
	}
	if (j->bitmap)
		dirty_clear_all(&j->bitmap->d);
	if (j->pivot) {
		live_set_base(l, j->to);
		j->to = NULL;
	} else {
		j->from = NULL;
	}
	job_thaw(j);
	return 0;
}

static int check_mirror(struct live *l, const struct live_mirror *m, struct live_bitmap **map,
			struct err *e)
{
	*map = m->bitmap ? live_find_bitmap(l, m->bitmap) : NULL;
	if (m->bitmap && !*map)
		return err_set(e, ENOENT, "disk: there is no bitmap \"%.80s\"", m->bitmap);
	if (m->target->info.read_only)
		return err_set(e, EROFS, "disk: the target is opened for reading only");
	if (m->target->info.size < l->b.info.size)
		return err_set(e, ENOSPC, "disk: the target has %llu bytes: want %llu",
			       (unsigned long long)m->target->info.size,
			       (unsigned long long)l->b.info.size);
	if (m->pivot && m->target->info.size != l->b.info.size)
		return err_set(e, EINVAL, "disk: the target has %llu bytes: want %llu, to go on there",
			       (unsigned long long)m->target->info.size,
			       (unsigned long long)l->b.info.size);
	return 0;
}

int live_mirror(struct blk *b, const struct live_mirror *m, struct err *e)
{
	struct live *l = as_live(b);
	struct live_bitmap *map;
	struct job *j = check_mirror(l, m, &map, e) ? NULL : live_new_job(l, LIVE_MIRROR, e);

	if (j && prepare_copy(j, l->b.info.size, e)) {
		co_fini(&j->co);
		free(j->buf);
		free(j);
		j = NULL;
	}
	if (!j) {
		blk_close(m->target);
		return -e->code;
	}
	j->run = run_mirror;
	j->to = m->target;
	j->zero = m->zero && !map;
	j->pivot = m->pivot;
	j->bitmap = map;
	limit_to(j, m->rate);
	return live_start(j, e);
}

/* -- committing ----------------------------------------------------------------------------- */

/* Mark what the image itself holds. */
static int mark_own(struct job *j, struct blk *b)
{
	struct blk_extent x;

	for (u64 off = 0; off < b->info.size; off += x.len) {
		TRY(blk_status(b, off, b->info.size - off, &x));
		if (x.state != BLK_BELOW)
			dirty_set(&j->todo, off, x.len);
	}
	return 0;
}

/* The image under @above is from now on the node j->to, with what it stood on. */
static struct blk *put_below(struct job *j, struct blk *above)
{
	struct blk *old = image_swap_backing(above, j->to), *rest;

	rest = image_swap_backing(old, NULL);
	if (rest && image_swap_backing(j->to, rest)) {
		/* It had none: opened without. */
	}
	return old;
}

static int fit_target(struct job *j, struct blk *image, struct err *e)
{
	if (j->to->info.size > image->info.size)
		return err_set(e, EINVAL, "disk: the image below is larger: want it to be committed "
					  "offline, or the image above to be resized");
	return j->to->info.size < image->info.size ? blk_resize(j->to, image->info.size, e) : 0;
}

/* The guest's image goes; what it stood on takes its place. */
static void pivot(struct job *j, struct blk *image)
{
	if (image_swap_backing(image, NULL)) {
		/* It is the live node's base from now on. */
	}
	live_set_base(j->l, j->to);
	j->from = image;
	j->to = NULL;
}

/*
 * The image between goes: @above stands on what that stood on. If it is not the guest's it
 * is open for reading only, and its header is written through j->above.
 */
static int drop_between(struct job *j, struct blk *above, struct blk *image, struct err *e)
{
	int r = image_set_backing(j->above ? j->above : above, j->name,
				  *j->format ? j->format : NULL, e);

	if (r)
		return r;
	if (image_swap_backing(image, NULL)) {
		/* The image above has it now. */
	}
	if (image_swap_backing(above, j->to)) {
		/* It is j->from. */
	}
	j->from = image;
	j->to = NULL;
	return 0;
}

/* NULL: there are not so many. */
static struct blk *nth_image(struct live *l, unsigned n)
{
	struct blk *b = l->b.base;

	while (b && n--)
		b = image_backing(b);
	return b;
}

static int run_commit(struct job *j, struct err *e)
{
	struct live *l = j->l;
	struct blk *image = nth_image(l, j->depth), *to = j->to;
	int r;

	TRY(fit_target(j, image, e));
	job_freeze(j);
	live_bury(l, put_below(j, image));
	j->to = NULL; /* in the chain now: not to be buried if we fail */
	job_thaw(j);
	r = mark_own(j, image);
	if (r)
		return failed(e, r, "cannot be read");
	l->status.total = dirty_bytes(&j->todo);
	j->from = image;
	j->to = to;
	r = copy_all(j, e);
	j->from = NULL;
	if (r) {
		j->to = NULL;
		return r;
	}
	if (!j->depth)
		pivot(j, image);
	else
		r = drop_between(j, nth_image(l, j->depth - 1), image, e);
	if (r)
		j->to = NULL;
	job_thaw(j);
	return r;
}

static int check_commit(struct live *l, const struct live_commit *c, struct err *e)
{
	struct blk *image = nth_image(l, c->depth);

	if (!image || !image_backing(image))
		return err_set(e, EINVAL, "disk: the image stands on no other one: nothing to commit "
					  "into");
	if (c->into->info.read_only)
		return err_set(e, EROFS, "disk: the image to commit into is opened for reading only");
	if ((c->depth > 1) != !!c->above || (c->above && c->above->info.read_only))
		return err_set(e, EINVAL, "disk: want the image above the one to commit, open for "
					  "writing");
	if (c->depth && (!c->backing || strlen(c->backing) >= IMAGE_NAME_MAX))
		return err_set(e, EINVAL, "disk: want the name of the image to commit into");
	return 0;
}

int live_commit(struct blk *b, const struct live_commit *c, struct err *e)
{
	struct live *l = as_live(b);
	struct job *j = check_commit(l, c, e) ? NULL : live_new_job(l, LIVE_COMMIT, e);
	u64 size = l->b.info.size;

	if (j && nth_image(l, c->depth)->info.size > size)
		size = nth_image(l, c->depth)->info.size;
	if (j && prepare_copy(j, size, e)) {
		co_fini(&j->co);
		free(j->buf);
		free(j);
		j = NULL;
	}
	if (!j) {
		blk_close(c->into);
		if (c->above)
			blk_close(c->above);
		return -e->code;
	}
	j->run = run_commit;
	j->to = c->into;
	j->above = c->above;
	j->depth = c->depth;
	snprintf(j->name, sizeof j->name, "%s", c->backing ? c->backing : "");
	snprintf(j->format, sizeof j->format, "%s", c->backing_format ? c->backing_format : "");
	limit_to(j, c->rate);
	return live_start(j, e);
}
