// SPDX-License-Identifier: Apache-2.0
/* bench.c - vireo disk bench: random and sequential requests through the whole stack */
#include "disk/disk_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 256u

struct bench_req {
	struct blk_req r;
	struct iovec iov;
	struct bench *b;
	u8 *buf;
	bool starting, again;
};

struct bench {
	struct blk *blk;
	u64 size, block, pos, rng, done, end_ns;
	bool random, write, sync; /* sync: a write counts when it is flushed */
	unsigned busy;
	int error;
	struct bench_req req[MAX_DEPTH];
};

static u64 rng_next(struct bench *b)
{
	b->rng ^= b->rng << 13;
	b->rng ^= b->rng >> 7;
	b->rng ^= b->rng << 17;
	return b->rng;
}

static void start(struct bench_req *q);

/* Also called inside blk_submit(): start() goes on then, and nothing nests. */
static void done(struct blk_req *r)
{
	struct bench_req *q = container_of(r, struct bench_req, r);
	struct bench *b = q->b;

	if (b->sync && r->op == BLK_WRITE && !r->error) {
		q->r = (struct blk_req){ .op = BLK_FLUSH, .done = done };
		blk_submit(b->blk, r);
		return;
	}
	b->done++;
	b->error = b->error ? b->error : r->error;
	q->again = !b->error && !disk_interrupted && os_now_ns() < b->end_ns;
	b->busy -= !q->again;
	if (!q->starting && q->again)
		start(q);
}

static void start(struct bench_req *q)
{
	struct bench *b = q->b;
	u64 n = b->size / b->block;

	q->starting = true;
	do {
		u64 at = (b->random ? rng_next(b) % n : b->pos++ % n) * b->block;

		q->again = false;
		q->iov = (struct iovec){ q->buf, b->block };
		q->r = (struct blk_req){ .op = b->write ? BLK_WRITE : BLK_READ, .offset = at,
					 .len = b->block, .iov = &q->iov, .nr_iov = 1,
					 .done = done };
		blk_submit(b->blk, &q->r);
	} while (q->again);
	q->starting = false;
}

static void report(const struct bench *b, const char *what, double s, unsigned depth, bool json)
{
	double ops = (double)b->done / s;

	if (json)
		printf("{\"pattern\": \"%s\", \"block\": %llu, \"depth\": %u, \"iops\": %.0f, "
		       "\"bytes_per_second\": %.0f}\n", what, (unsigned long long)b->block, depth, ops,
		       ops * (double)b->block);
	else
		printf("%-16s %8llu bytes, depth %3u: %10.0f requests/s %9.1f MiB/s\n", what,
		       (unsigned long long)b->block, depth, ops,
		       ops * (double)b->block / (1 << 20));
}

static int run(struct loop *l, struct bench *b, struct disk_args *a, bool random)
{
	unsigned depth = a->depth ? (unsigned)a->depth : 32;
	u64 t0 = os_now_ns();
	char what[32];

	b->random = random;
	b->done = b->pos = 0;
	b->end_ns = t0 + (a->seconds ? a->seconds : 5) * 1000000000u;
	b->busy = depth;
	for (unsigned i = 0; i < depth; i++) {
		b->req[i].b = b;
		start(&b->req[i]);
	}
	while (b->busy)
		loop_once(l, 1000);
	snprintf(what, sizeof what, "%s %s", random ? "random" : "sequential",
		 b->write ? "write" : "read");
	report(b, what, (double)(os_now_ns() - t0) / 1e9, depth, a->json);
	return b->error;
}

int cmd_bench(struct disk_args *a)
{
	struct err e = { 0 };
	struct loop *l = loop_new(&e);
	struct blk *blk = l ? disk_open(l, a, a->word[0], a->format, a->write, false, &e) : NULL;
	struct bench *b = calloc(1, sizeof *b);
	struct blk_info i;
	u8 *mem = NULL;
	int r = 0;

	if (!blk || !b)
		return disk_fail(&e);
	blk_get_info(blk, &i);
	*b = (struct bench){ .blk = blk, .size = i.size, .block = a->block ? a->block : 4096,
			     .rng = 0x9e3779b97f4a7c15ull, .write = a->write,
			     .sync = a->write_through };
	if (a->no_flush)
		blk_no_flush(blk);
	if (i.size < b->block || posix_memalign((void **)&mem, 4096, MAX_DEPTH * b->block))
		r = EINVAL;
	for (unsigned k = 0; k < MAX_DEPTH && !r; k++) {
		b->req[k].buf = mem + k * b->block;
		memset(b->req[k].buf, (int)k + 1, b->block);
	}
	for (unsigned k = 0; k < 2 && !r && !disk_interrupted; k++)
		if (!a->pattern || (a->pattern == BENCH_RANDOM) == !k)
			r = run(l, b, a, !k);
	if (r)
		err_set(&e, r, "bench: %s", strerror(r));
	blk_close(blk);
	free(mem);
	free(b);
	return r ? disk_fail(&e) : DISK_OK;
}
