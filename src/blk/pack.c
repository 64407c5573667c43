// SPDX-License-Identifier: Apache-2.0
/* pack.c - compressing pieces of an image on several threads (image.h) */
#include "blk/fmt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 8u
#define MIN_THREADS 4u
#define BATCH	    128u

struct job {
	const void *in;
	u32 len;
	u8 *out;
	size_t packed; /* 0 = store it as it is */
};

struct team {
	struct fmt *f;
	u32 unit;
	struct job job[BATCH];
	unsigned nr;
	unsigned next; /* atomic */
};

static void *work(void *arg)
{
	struct team *t = arg;
	unsigned i;

	while ((i = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED)) < t->nr) {
		struct job *j = &t->job[i];

		if (j->len == t->unit)
			j->packed = t->f->ops->pack(t->f, j->in, j->len, j->out, t->unit - 1);
	}
	return NULL;
}

static void run(struct team *t)
{
	struct thread th[MAX_THREADS];
	unsigned n = os_nr_cpus(), started = 0;
	struct err e;

	n = n < MIN_THREADS ? MIN_THREADS : n > MAX_THREADS ? MAX_THREADS : n;
	n = n > t->nr ? t->nr : n;
	t->next = 0;
	while (started + 1 < n && !thread_start(&th[started], "pack", JAIL_NONE, work, t, &e))
		started++;
	work(t); /* and this one; alone, if there are no threads to be had */
	while (started)
		thread_join(&th[--started]);
}

/* One piece that did not get smaller, or is short. */
static int store_plain(struct fmt *f, u64 off, const struct job *j)
{
	return fio_write(&f->b, off, j->in, j->len);
}

int image_write_compressed_many(struct blk *b, const u64 *offset, const void *const *buf,
				const u32 *len, unsigned n, struct err *e)
{
	u32 unit = image_compressed_unit(b);
	struct fmt *f = (struct fmt *)b;
	struct team *t;
	u8 *out;
	int r = 0;

	if (!unit)
		return err_set(e, ENOTSUP, "image: this format cannot be compressed");
	t = calloc(1, sizeof *t);
	out = malloc((size_t)BATCH * unit);
	if (!t || !out)
		r = -ENOMEM;
	for (unsigned at = 0; at < n && !r; at += t->nr) {
		*t = (struct team){ .f = f, .unit = unit, .nr = n - at < BATCH ? n - at : BATCH };
		for (unsigned i = 0; i < t->nr; i++)
			t->job[i] = (struct job){ buf[at + i], len[at + i], out + (size_t)i * unit,
						  0 };
		run(t);
		for (unsigned i = 0; i < t->nr && !r; i++)
			r = t->job[i].packed ?
				    f->ops->write_packed(f, offset[at + i], t->job[i].out,
							 t->job[i].packed) :
				    store_plain(f, offset[at + i], &t->job[i]);
	}
	free(t);
	free(out);
	return r ? err_set(e, -r, "image: cannot write: %s", strerror(-r)) : 0;
}
