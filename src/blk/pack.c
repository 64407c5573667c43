// SPDX-License-Identifier: Apache-2.0
/*
 * pack.c - compressed pieces of an image, by several threads (image.h)
 *
 * Pieces go round a ring: the caller's thread fills a slot, any worker compresses it,
 * and the caller's thread writes slots in the order they were filled. Nobody waits for
 * the slowest of a batch; only a full ring waits for its oldest slot.
 */
#include "blk/fmt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 16u
#define MIN_THREADS 4u
#define RING_BYTES  (16u << 20)
#define RING_MAX    512u
#define RING_MIN    8u

enum slot_state { SLOT_EMPTY, SLOT_FILLED, SLOT_TAKEN, SLOT_DONE };

struct slot {
	enum slot_state state; /* under the lock */
	u64 off;
	u32 len;
	u8 *in, *out;
	size_t packed; /* 0 = store it as it is */
};

struct image_packer {
	struct fmt *f;
	u32 unit;
	struct slot slot[RING_MAX];
	unsigned nr_slots;
	u64 filled, taken, written; /* slots so far; slot n is slot[n % nr_slots] */
	u8 *mem;
	bool stop;
	pthread_mutex_t mtx;
	pthread_cond_t work, done;
	struct thread thread[MAX_THREADS];
	unsigned nr_threads;
};

static void pack_one(struct image_packer *p, struct slot *s)
{
	s->packed = s->len == p->unit ?
			    p->f->ops->pack(p->f, s->in, s->len, s->out, p->unit - 1) :
			    0;
}

/* Compress one slot if there is one to compress. The lock is held, and let go meanwhile. */
static bool take_one(struct image_packer *p)
{
	struct slot *s;

	if (p->taken == p->filled)
		return false;
	s = &p->slot[p->taken++ % p->nr_slots];
	s->state = SLOT_TAKEN;
	pthread_mutex_unlock(&p->mtx);
	pack_one(p, s);
	pthread_mutex_lock(&p->mtx);
	s->state = SLOT_DONE;
	pthread_cond_signal(&p->done);
	return true;
}

static void *worker(void *arg)
{
	struct image_packer *p = arg;

	pthread_mutex_lock(&p->mtx);
	while (!p->stop)
		if (!take_one(p))
			pthread_cond_wait(&p->work, &p->mtx);
	pthread_mutex_unlock(&p->mtx);
	return NULL;
}

static int write_slot(struct image_packer *p, struct slot *s)
{
	return s->packed ? p->f->ops->write_packed(p->f, s->off, s->out, s->packed) :
			   fio_write(&p->f->b, s->off, s->in, s->len);
}

/* Write the oldest slot; compress meanwhile if nobody has done so yet. */
static int write_oldest(struct image_packer *p)
{
	struct slot *s = &p->slot[p->written % p->nr_slots];

	pthread_mutex_lock(&p->mtx);
	while (s->state != SLOT_DONE)
		if (!take_one(p))
			pthread_cond_wait(&p->done, &p->mtx);
	s->state = SLOT_EMPTY;
	pthread_mutex_unlock(&p->mtx);
	p->written++;
	return write_slot(p, s);
}

static bool oldest_done(struct image_packer *p)
{
	bool r;

	pthread_mutex_lock(&p->mtx);
	r = p->slot[p->written % p->nr_slots].state == SLOT_DONE;
	pthread_mutex_unlock(&p->mtx);
	return r;
}

static int failed(int r, struct err *e)
{
	return r ? err_set(e, -r, "image: cannot write: %s", strerror(-r)) : 0;
}

int image_packer_put(struct image_packer *p, u64 off, const void *buf, u32 len, struct err *e)
{
	struct slot *s = &p->slot[p->filled % p->nr_slots];

	if (p->filled - p->written == p->nr_slots)
		TRY(failed(write_oldest(p), e));
	memcpy(s->in, buf, len);
	s->off = off;
	s->len = len;
	pthread_mutex_lock(&p->mtx);
	s->state = SLOT_FILLED;
	p->filled++;
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->mtx);
	while (p->written < p->filled && oldest_done(p))
		TRY(failed(write_oldest(p), e));
	return 0;
}

int image_packer_finish(struct image_packer *p, struct err *e)
{
	int r = 0;

	while (p->written < p->filled && !r)
		r = write_oldest(p);
	return failed(r, e);
}

void image_packer_free(struct image_packer *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->mtx);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->mtx);
	while (p->nr_threads)
		thread_join(&p->thread[--p->nr_threads]);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->done);
	pthread_mutex_destroy(&p->mtx);
	free(p->mem);
	free(p);
}

static void start_threads(struct image_packer *p)
{
	unsigned n = os_nr_cpus();
	struct err e;

	n = n < MIN_THREADS ? MIN_THREADS : n > MAX_THREADS ? MAX_THREADS : n;
	while (p->nr_threads < n && !thread_start(&p->thread[p->nr_threads], "pack", JAIL_NONE,
						  worker, p, &e))
		p->nr_threads++; /* none to be had: the caller's thread does it all */
}

struct image_packer *image_packer_new(struct blk *b, struct err *e)
{
	u32 unit = image_compressed_unit(b);
	struct image_packer *p;
	unsigned n;

	if (!unit) {
		err_set(e, ENOTSUP, "image: this format cannot be compressed");
		return NULL;
	}
	p = calloc(1, sizeof *p);
	n = RING_BYTES / unit;
	n = n < RING_MIN ? RING_MIN : n > RING_MAX ? RING_MAX : n;
	if (p)
		p->mem = malloc(2 * (size_t)n * unit);
	if (!p || !p->mem) {
		free(p);
		err_set(e, ENOMEM, "image: out of memory");
		return NULL;
	}
	p->f = (struct fmt *)b;
	p->unit = unit;
	p->nr_slots = n;
	for (unsigned i = 0; i < n; i++) {
		p->slot[i].in = p->mem + (size_t)i * unit;
		p->slot[i].out = p->mem + (size_t)(n + i) * unit;
	}
	pthread_mutex_init(&p->mtx, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->done, NULL);
	start_threads(p);
	return p;
}
