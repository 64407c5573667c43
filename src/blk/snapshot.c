// SPDX-License-Identifier: Apache-2.0
/*
 * snapshot.c - a node that keeps all writes in temporary storage
 *
 * The store is an unlinked sparse file of the same size; a bit per 4 KiB cluster
 * says whether it, or the base, holds the data. A cluster is filled in the store
 * (from the base, where a write covers only part of it) before its bit is set,
 * and the bit is set before the write completes. Flushing does nothing: the data
 * does not outlive the process.
 *
 * A request is served as a sequence of sub-requests, each to the base or the store.
 * (I1) Of writing requests in flight no two touch the same cluster; later ones
 *	wait in order. So a partial write may read, merge and write undisturbed.
 */
#include "base/bits.h"
#include "blk/blk_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLUSTER	   4096u
#define INLINE_IOV 32

enum stage { DIRECT, MERGE_READ, MERGE_WRITE };

struct op {
	struct snap *s;
	struct blk_req *r;
	struct blk_req sub;
	u64 pos;  /* bytes of r->len that are finished */
	u64 step; /* bytes the sub-request will finish */
	enum stage stage;
	bool in_step, sub_done; /* see run() */
	struct iovec iov_small[INLINE_IOV], *iov;
	struct op *next; /* in s->active, s->waiting or s->free */
	u8 merge[CLUSTER];
};

struct snap {
	struct blk b;
	struct blk *store;
	u64 *have; /* bit per cluster */
	struct op *active, *waiting, *free; /* writing requests; waiting is in order */
};

static bool has(const struct snap *s, u64 c)
{
	return s->have[c / 64] >> (c % 64) & 1;
}

static u64 cluster_end(const struct snap *s, u64 c)
{
	u64 end = (c + 1) * CLUSTER;

	return end < s->b.info.size ? end : s->b.info.size;
}

/* Bytes from @off, at most @len, whose clusters are all present or all absent. */
static u64 same_run(const struct snap *s, u64 off, u64 len)
{
	u64 c = off / CLUSTER, end = cluster_end(s, c);
	bool h = has(s, c);

	while (end < off + len && has(s, end / CLUSTER) == h)
		end = cluster_end(s, end / CLUSTER);
	return end - off < len ? end - off : len;
}

/* Bytes from the cluster boundary @off that fill clusters completely; 0 = not even one. */
static u64 whole_run(const struct snap *s, u64 off, u64 len)
{
	u64 end = off + len;

	if (off % CLUSTER)
		return 0;
	return end == s->b.info.size ? len : len - len % CLUSTER;
}

/* -- sub-requests ------------------------------------------------------------ */

static void run(struct op *o);

static void sub_done(struct blk_req *sub)
{
	struct op *o = container_of(sub, struct op, sub);

	o->sub_done = true;
	if (!o->in_step)
		run(o);
}

/* Pass [pos, pos + n) of the request to @to with the request's own buffers. */
static int pass(struct op *o, struct blk *to, u64 n)
{
	struct blk_req *r = o->r;

	o->stage = DIRECT;
	o->step = n;
	o->sub = (struct blk_req){
		.op = r->op,
		.offset = r->offset + o->pos,
		.len = n,
		.iov = r->iov,
		.nr_iov = r->nr_iov,
		.done = sub_done,
	};
	if ((r->op == BLK_READ || r->op == BLK_WRITE) && n != r->len) {
		if (!o->iov)
			o->iov = r->nr_iov <= INLINE_IOV ?
					 o->iov_small :
					 malloc((size_t)r->nr_iov * sizeof *o->iov);
		if (!o->iov)
			return ENOMEM;
		o->sub.iov = o->iov;
		o->sub.nr_iov = blk_slice(r->iov, r->nr_iov, o->pos, n, o->iov, r->nr_iov);
	}
	blk_submit(to, &o->sub);
	return 0;
}

static void merge_io(struct op *o, struct blk *to, enum blk_op op, enum stage stage)
{
	u64 c = (o->r->offset + o->pos) / CLUSTER;

	o->stage = stage;
	o->iov_small[0] = (struct iovec){ o->merge, cluster_end(o->s, c) - c * CLUSTER };
	o->sub = (struct blk_req){
		.op = op,
		.offset = c * CLUSTER,
		.len = o->iov_small[0].iov_len,
		.iov = o->iov_small,
		.nr_iov = 1,
		.done = sub_done,
	};
	blk_submit(to, &o->sub);
}

/* Put the request's data (or zeroes) over the base's in o->merge. */
static void merge(struct op *o)
{
	u8 *dst = o->merge + (o->r->offset + o->pos) % CLUSTER;
	u64 left = o->step, from = o->pos;

	if (o->r->op == BLK_WRITE_ZEROES) {
		memset(dst, 0, left);
		return;
	}
	for (int i = 0; i < o->r->nr_iov && left; i++) {
		const struct iovec *v = &o->r->iov[i];
		u64 n = v->iov_len;

		if (from >= n) {
			from -= n;
			continue;
		}
		n -= from;
		n = n < left ? n : left;
		memcpy(dst, (u8 *)v->iov_base + from, n);
		from = 0;
		dst += n;
		left -= n;
	}
}

/* -- steps of each operation: 0 = a sub-request was submitted, -1 = finished, or errno -- */

static int step_read(struct op *o, u64 off, u64 left)
{
	return pass(o, has(o->s, off / CLUSTER) ? o->s->store : o->s->b.base,
		    same_run(o->s, off, left));
}

static int step_write(struct op *o, u64 off, u64 left)
{
	u64 n = whole_run(o->s, off, left), end;

	if (!n && has(o->s, off / CLUSTER))
		n = same_run(o->s, off, left);
	if (n)
		return pass(o, o->s->store, n);
	end = cluster_end(o->s, off / CLUSTER);
	o->step = end - off < left ? end - off : left;
	/* iov_small serves the merge; a slice of the request's vector is made afresh later. */
	merge_io(o, o->s->b.base, BLK_READ, MERGE_READ);
	return 0;
}

static int step_discard(struct op *o, u64 off, u64 left)
{
	u64 n = same_run(o->s, off, left);

	while (!has(o->s, off / CLUSTER)) {
		o->pos += n;
		off += n;
		left -= n;
		if (!left)
			return -1;
		n = same_run(o->s, off, left);
	}
	return pass(o, o->s->store, n);
}

static int step(struct op *o)
{
	u64 off = o->r->offset + o->pos, left = o->r->len - o->pos;

	if (!left)
		return -1;
	if (o->r->op == BLK_READ)
		return step_read(o, off, left);
	if (o->r->op == BLK_DISCARD)
		return step_discard(o, off, left);
	return step_write(o, off, left);
}

/* The sub-request succeeded: mark, and go on. Return as step(). */
static int advance(struct op *o)
{
	u64 off = o->r->offset + o->pos;

	if (o->stage == MERGE_READ) {
		merge(o);
		merge_io(o, o->s->store, BLK_WRITE, MERGE_WRITE);
		return 0;
	}
	if (o->r->op == BLK_WRITE || o->r->op == BLK_WRITE_ZEROES)
		for (u64 c = off / CLUSTER; c * CLUSTER < off + o->step; c++)
			o->s->have[c / 64] |= 1ull << (c % 64);
	o->pos += o->step;
	return step(o);
}

/* -- life of a request --------------------------------------------------------- */

static bool is_write(const struct blk_req *r)
{
	return r->op != BLK_READ;
}

static bool overlaps(const struct blk_req *a, const struct blk_req *b)
{
	u64 a0 = a->offset / CLUSTER, a1 = (a->offset + a->len - 1) / CLUSTER;
	u64 b0 = b->offset / CLUSTER, b1 = (b->offset + b->len - 1) / CLUSTER;

	return a0 <= b1 && b0 <= a1;
}

static bool conflicts(const struct blk_req *r, const struct op *list, const struct op *until)
{
	for (; list && list != until; list = list->next)
		if (overlaps(r, list->r))
			return true;
	return false;
}

static void unlink_op(struct op **list, struct op *o)
{
	while (*list != o)
		list = &(*list)->next;
	*list = o->next;
}

static void activate(struct snap *s, struct op *o)
{
	o->next = s->active;
	s->active = o;
}

/* Let go whatever no longer conflicts; from the start, as run() may change the list. */
static void start_waiting(struct snap *s)
{
	struct op *o = s->waiting;

	while (o) {
		if (conflicts(o->r, s->active, NULL) || conflicts(o->r, s->waiting, o)) {
			o = o->next;
			continue;
		}
		unlink_op(&s->waiting, o);
		activate(s, o);
		run(o);
		o = s->waiting;
	}
}

static void finish(struct op *o, int error)
{
	struct snap *s = o->s;
	struct blk_req *r = o->r;
	bool wrote = is_write(r);

	if (o->iov != o->iov_small)
		free(o->iov);
	if (wrote)
		unlink_op(&s->active, o);
	o->next = s->free;
	s->free = o;
	if (wrote && s->waiting)
		start_waiting(s);
	blk_complete(&s->b, r, error);
}

/*
 * Take steps until one is really under way or all is done. A sub-request that
 * completes within its submission only sets sub_done, so long requests iterate here
 * instead of recursing.
 */
static void run(struct op *o)
{
	int r;

	o->in_step = true;
	if (o->sub_done) {
		o->sub_done = false;
		r = o->sub.error ? o->sub.error : advance(o);
	} else {
		r = step(o);
	}
	while (!r && o->sub_done) {
		o->sub_done = false;
		r = o->sub.error ? o->sub.error : advance(o);
	}
	o->in_step = false;
	if (r)
		finish(o, r < 0 ? 0 : r);
}

static struct op *new_op(struct snap *s, struct blk_req *r)
{
	struct op *o = s->free;

	if (o)
		s->free = o->next;
	else
		o = malloc(sizeof *o);
	if (!o)
		return NULL;
	o->s = s;
	o->r = r;
	o->pos = 0;
	o->in_step = o->sub_done = false;
	o->iov = NULL;
	o->next = NULL;
	return o;
}

static void snap_submit(struct blk *b, struct blk_req *r)
{
	struct snap *s = (struct snap *)b;
	struct op *o, **tail;

	if (r->op == BLK_FLUSH) {
		blk_complete(b, r, 0);
		return;
	}
	o = new_op(s, r);
	if (!o) {
		blk_complete(b, r, ENOMEM);
		return;
	}
	if (is_write(r)) {
		if (conflicts(r, s->active, NULL) || conflicts(r, s->waiting, NULL)) {
			for (tail = &s->waiting; *tail; tail = &(*tail)->next)
				;
			*tail = o;
			return;
		}
		activate(s, o);
	}
	run(o);
}

static void snap_plug(struct blk *b, bool on)
{
	struct snap *s = (struct snap *)b;

	if (on)
		blk_plug(s->store);
	else
		blk_unplug(s->store);
}

static void snap_wait(struct blk *b)
{
	struct snap *s = (struct snap *)b;
	struct blk *on = blk_in_flight(b->base) ? b->base : s->store;

	on->drv->wait(on);
}

static void snap_close(struct blk *b)
{
	struct snap *s = (struct snap *)b;
	struct op *o;

	while ((o = s->free)) {
		s->free = o->next;
		free(o);
	}
	blk_close(s->store);
	free(s->have);
	free(s);
}

static const struct blk_driver snapshot_driver = {
	.name = "snapshot",
	.submit = snap_submit,
	.plug = snap_plug,
	.wait = snap_wait,
	.close = snap_close,
};

static size_t map_words(u64 size)
{
	return (size / CLUSTER + 64) / 64;
}

/* A node over @base whose clusters are in @fd (taken over): none yet. */
static struct snap *new_node(struct blk *base, int fd, bool read_only, struct err *e)
{
	struct snap *s = calloc(1, sizeof *s);

	if (s)
		s->have = calloc(map_words(base->info.size), sizeof *s->have);
	if (!s || !s->have) {
		free(s);
		close(fd);
		err_set(e, ENOMEM, "snapshot: out of memory");
		return NULL;
	}
	s->store = blk_open_file(base->loop, fd, read_only, e);
	if (!s->store) {
		free(s->have);
		free(s);
		return NULL;
	}
	blk_init(&s->b, &snapshot_driver, base->loop, base);
	s->b.info = base->info;
	s->b.info.read_only = read_only;
	s->b.info.discard = !read_only;
	return s;
}

struct blk *blk_open_snapshot(struct blk *base, int fd, struct err *e)
{
	struct snap *s;

	if (fd < 0)
		fd = fd_tmpfile(base->info.size);
	else if (ftruncate(fd, (off_t)base->info.size) < 0) {
		err_set(e, errno, "snapshot: temporary storage: %s", strerror(errno));
		close(fd);
		return NULL;
	}
	if (fd < 0) {
		err_set(e, -fd, "snapshot: no temporary storage: %s", strerror(-fd));
		return NULL;
	}
	s = new_node(base, fd, false, e);
	return s ? &s->b : NULL;
}

/* -- what was written, as a file ------------------------------------------------------------
 *
 * The node's size rounded up to clusters of data, then the bit map, then this.
 */
struct layer_end {
	u8 magic[8];
	le64 size;
};

static const u8 layer_magic[8] = "VIREOLAY";

static u64 layer_map_at(u64 size)
{
	return align_up(size, CLUSTER);
}

/* Is the cluster in this node or in a layer below it? */
static bool in_layers(const struct blk *b, u64 c)
{
	for (; b && b->drv == &snapshot_driver; b = b->base)
		if (has((const struct snap *)b, c))
			return true;
	return false;
}

static int write_layer(struct blk *b, int fd, u64 *map)
{
	u64 size = b->info.size, map_at = layer_map_at(size);
	size_t map_len = map_words(size) * sizeof *map;
	struct layer_end end = { .size = le64_of(size) };
	u8 buf[CLUSTER];

	memcpy(end.magic, layer_magic, sizeof layer_magic);
	for (u64 c = 0; c * CLUSTER < size; c++) {
		u64 len = size - c * CLUSTER < CLUSTER ? size - c * CLUSTER : CLUSTER;

		if (!in_layers(b, c))
			continue;
		map[c / 64] |= 1ull << (c % 64);
		TRY(blk_read_now(b, c * CLUSTER, buf, len));
		TRY(fd_pwrite_full(fd, buf, len, c * CLUSTER));
	}
	TRY(fd_pwrite_full(fd, map, map_len, map_at));
	return fd_pwrite_full(fd, &end, sizeof end, map_at + map_len);
}

bool blk_has_layer(const struct blk *b)
{
	return b->drv == &snapshot_driver;
}

int blk_save_layer(struct blk *b, int fd)
{
	u64 *map = calloc(map_words(b->info.size), sizeof *map);
	int r = map ? write_layer(b, fd, map) : -ENOMEM;

	free(map);
	return r;
}

static int read_map(u64 size, int fd, u64 *map, struct err *e)
{
	u64 map_at = layer_map_at(size);
	size_t map_len = map_words(size) * sizeof *map;
	struct layer_end end;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "layer: want a regular file");
	if ((u64)st.st_size != map_at + map_len + sizeof end)
		return err_set(e, EINVAL, "layer: %lld bytes long: want %llu",
			       (long long)st.st_size,
			       (unsigned long long)(map_at + map_len + sizeof end));
	r = fd_pread_full(fd, &end, sizeof end, map_at + map_len);
	if (!r && (memcmp(end.magic, layer_magic, sizeof layer_magic) != 0 ||
		   le64_get(end.size) != size))
		return err_set(e, EINVAL, "layer: not one for a disk of %llu bytes",
			       (unsigned long long)size);
	if (!r)
		r = fd_pread_full(fd, map, map_len, map_at);
	return r ? err_set(e, -r, "layer: %s", strerror(-r)) : 0;
}

struct blk *blk_open_layer(struct blk *base, int fd, struct err *e)
{
	u64 size = base->info.size, *map = calloc(map_words(size), sizeof *map);
	struct snap *s;

	if (!map || read_map(size, fd, map, e)) {
		if (!map)
			err_set(e, ENOMEM, "layer: out of memory");
		free(map);
		close(fd);
		return NULL;
	}
	s = new_node(base, fd, true, e);
	if (s)
		memcpy(s->have, map, map_words(size) * sizeof *map);
	free(map);
	return s ? &s->b : NULL;
}
