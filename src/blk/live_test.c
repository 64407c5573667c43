// SPDX-License-Identifier: Apache-2.0
/*
 * live_test.c - jobs under load: a guest that writes at random all the time, against a model
 *
 * Image files stand on "taps": nodes over files in memory that fail when told to, and
 * that note the model when the node above is frozen and something is flushed, which is
 * the moment whose contents a job must have kept. $VIREO_LIVE says how often each job
 * is done (default 8).
 */
#include "base/test.h"
#include "blk/live_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE	 (4u << 20)
#define SIZE_MAX_ (6u << 20)
#define GUESTS	 6
#define TIMES	 times()

static struct loop *loop;
static u64 rng;

static u64 times(void)
{
	const char *n = getenv("VIREO_LIVE");

	return n ? strtoull(n, NULL, 10) : 8;
}

static u64 rnd(u64 n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng % n;
}

/* -- the guest ------------------------------------------------------------------------------ */

static u8 model[SIZE_MAX_], noted[SIZE_MAX_]; /* what completed; as it was at the moment */
static bool note, have_note;
static struct blk *disk;

struct guest {
	struct blk_req r;
	struct iovec iov;
	u8 buf[65536], value;
	bool busy;
};

static struct guest guests[GUESTS];
static u64 guest_ops, guest_errors;
static bool guest_on;

static bool overlaps(u64 off, u64 len)
{
	for (unsigned i = 0; i < GUESTS; i++)
		if (guests[i].busy && off < guests[i].r.offset + guests[i].r.len &&
		    guests[i].r.offset < off + len)
			return true;
	return false;
}

static void guest_done(struct blk_req *r)
{
	struct guest *g = container_of(r, struct guest, r);

	g->busy = false;
	guest_ops++;
	guest_errors += r->error != 0;
	if (r->op == BLK_WRITE)
		memset(model + r->offset, g->value, r->len);
	else if (r->op == BLK_WRITE_ZEROES)
		memset(model + r->offset, 0, r->len);
	else if (r->op == BLK_READ && memcmp(g->buf, model + r->offset, r->len) != 0)
		guest_errors++;
}

static void guest_step(void)
{
	static const enum blk_op ops[] = { BLK_WRITE, BLK_WRITE, BLK_WRITE, BLK_READ,
					   BLK_READ,  BLK_WRITE_ZEROES, BLK_FLUSH };

	for (unsigned i = 0; i < GUESTS && guest_on; i++) {
		struct guest *g = &guests[i];
		u64 size = disk->info.size, len = (1 + rnd(rnd(4) ? 8 : 128)) * 512;
		u64 off = rnd((size - len) / 512) * 512;

		if (g->busy || rnd(3) || overlaps(off, len))
			continue;
		g->value = (u8)(1 + rnd(255));
		memset(g->buf, g->value, len);
		g->iov = (struct iovec){ g->buf, len };
		g->r = (struct blk_req){ .op = ops[rnd(array_len(ops))], .offset = off, .len = len,
					 .iov = &g->iov, .nr_iov = 1, .done = guest_done };
		if (g->r.op == BLK_FLUSH)
			g->r.offset = g->r.len = 0;
		g->busy = true;
		blk_submit(disk, &g->r);
	}
}

static void turn(void)
{
	guest_step();
	loop_once(loop, 0);
}

/* -- taps ----------------------------------------------------------------------------------- */

struct tap {
	struct blk b;
	/* Requests of a job that change something; 0 = never. What the guest writes never fails. */
	u64 fail_after;
	int error;
};

struct tap_req {
	struct blk_req r, *orig;
	struct tap *t;
};

static void tap_done(struct blk_req *r)
{
	struct tap_req *q = container_of(r, struct tap_req, r);
	struct tap *t = q->t;
	struct blk_req *orig = q->orig;
	int error = r->error;

	free(q);
	blk_complete(&t->b, orig, error);
}

static void tap_submit(struct blk *b, struct blk_req *r)
{
	struct tap *t = container_of(b, struct tap, b);
	struct live *l = disk ? as_live(disk) : NULL;
	struct tap_req *q;

	if (r->op == BLK_FLUSH && note && l && l->frozen && !l->forwarded) {
		memcpy(noted, model, sizeof noted);
		have_note = true;
	}
	if (r->op != BLK_READ && t->fail_after && !(l && l->b.base->base == b) &&
	    !--t->fail_after) {
		t->fail_after = 1; /* and from now on */
		blk_complete(b, r, t->error);
		return;
	}
	q = malloc(sizeof *q);
	*q = (struct tap_req){ .t = t, .orig = r };
	q->r = (struct blk_req){ .op = r->op, .offset = r->offset, .len = r->len, .iov = r->iov,
				 .nr_iov = r->nr_iov, .done = tap_done };
	blk_submit(b->base, &q->r);
}

static void tap_wait(struct blk *b)
{
	b->base->drv->wait(b->base);
}

static int tap_resize(struct blk *b, u64 size, struct err *e)
{
	int r = blk_resize(b->base, size, e);

	b->info.size = b->base->info.size;
	return r;
}

static int tap_status(struct blk *b, u64 off, u64 len, struct blk_extent *x)
{
	return blk_status(b->base, off, len, x);
}

static void tap_close(struct blk *b)
{
	free(container_of(b, struct tap, b));
}

static const struct blk_driver tap_driver = { .name = "tap", .submit = tap_submit,
					      .wait = tap_wait, .resize = tap_resize,
					      .status = tap_status, .close = tap_close };

/* A file in memory; *ret_fd: another descriptor of it, or NULL. */
static struct blk *tap_open(int fd)
{
	struct err e;
	struct tap *t = calloc(1, sizeof *t);
	struct blk *file = blk_open_file_with(loop, fd, false,
					      FILE_BYTES | FILE_SHARED | FILE_QUEUED, &e);

	blk_init(&t->b, &tap_driver, loop, file);
	t->b.info = file->info;
	t->b.growable = t->b.zero_tail = true;
	return &t->b;
}

static struct tap *as_tap(struct blk *b)
{
	return container_of(b, struct tap, b);
}

/* -- images --------------------------------------------------------------------------------- */

static int new_image(enum image_format f, u64 size, const char *backing)
{
	const struct image_create c = { .size = size, .cluster_size = f == IMAGE_QCOW2 ? 16384 : 0,
					.backing = backing,
					.backing_format = backing ? "qcow2" : NULL };
	int fd = fd_memfd("image", 0);
	struct blk *file = tap_open(dup(fd));
	struct err e;

	if (image_create(file, f, &c, &e))
		test_fail(__FILE__, __LINE__, "create: %s", e.msg);
	blk_close(file);
	return fd;
}

/* Another node of the image behind @fd. @backing: taken over, or NULL = without. */
static struct blk *open_image(int fd, enum image_format f, struct blk *backing, bool read_only)
{
	struct image_opts o = { .read_only = read_only, .backing = backing, .no_backing = true };
	struct err e;
	struct blk *b = image_open(tap_open(dup(fd)), f, &o, &e);

	if (!b)
		test_fail(__FILE__, __LINE__, "open: %s", e.msg);
	return b;
}

static bool holds(struct blk *b, const u8 *want, u64 size)
{
	u8 *p = malloc(size);
	bool ok = p && b->info.size >= size && !blk_read_now(b, 0, p, size) &&
		  !memcmp(p, want, size);

	free(p);
	return ok;
}

static bool sound(struct blk *b)
{
	struct image_check c = { 0 };
	struct err e;

	return !image_check(b, IMAGE_CHECK_ONLY, &c, &e) && !c.errors;
}

static int base_fd, mid_fd, top_fd;

/* base <- mid <- top, all qcow2, the guest on top and busy. */
static void begin(u64 seed)
{
	struct err e;

	loop = loop_new(&e);
	rng = seed * 0x9e3779b97f4a7c15ull | 1;
	memset(model, 0, sizeof model);
	memset(guests, 0, sizeof guests);
	guest_ops = guest_errors = 0;
	note = have_note = false;
	disk = NULL;
	base_fd = new_image(IMAGE_QCOW2, SIZE, NULL);
	mid_fd = new_image(IMAGE_QCOW2, SIZE, "base");
	top_fd = new_image(IMAGE_QCOW2, SIZE, "mid");
	for (unsigned i = 0; i < 2; i++) { /* something in each */
		struct blk *b = open_image(i ? mid_fd : base_fd, IMAGE_QCOW2, NULL, false);

		for (unsigned k = 0; k < 20; k++) {
			u8 v = (u8)(1 + rnd(255));
			u64 at = rnd(SIZE / 16384) * 16384;

			memset(model + at, v, 16384);
			if (blk_write_now(b, at, model + at, 16384))
				test_fail(__FILE__, __LINE__, "write");
		}
		blk_close(b);
	}
	disk = live_open(open_image(top_fd, IMAGE_QCOW2,
				    open_image(mid_fd, IMAGE_QCOW2,
					       open_image(base_fd, IMAGE_QCOW2, NULL, true), true),
				    false), &e);
	guest_on = true;
	for (u64 n = rnd(60); n; n--)
		turn();
	note = true;
}

static void quiesce(void)
{
	guest_on = false;
	blk_drain(disk);
	while (as_live(disk)->nr_grave)
		loop_once(loop, 0);
}

static void end(void)
{
	struct blk *b = disk;

	quiesce();
	live_stop(b);
	disk = NULL; /* taps look at it */
	blk_close(b);
	close(base_fd);
	close(mid_fd);
	close(top_fd);
	loop_free(loop);
}

/* Until the job has ended; then some more. */
static struct err finish_job(void)
{
	struct live_status s;
	u64 deadline = os_now_ns() + 60000000000u;

	do {
		turn();
		live_get_status(disk, &s);
	} while (s.running && os_now_ns() < deadline);
	if (s.running)
		test_fail(__FILE__, __LINE__, "the job does not end");
	for (u64 k = rnd(30); k; k--)
		turn();
	return s.err;
}

/* Started successfully and ended so: everything is as the guest thinks. */
#define CHECK_JOB(start)                                                                           \
	do {                                                                                       \
		struct err e_ = { 0 };                                                             \
		if (start)                                                                         \
			test_fail(__FILE__, __LINE__, "start: %s", e.msg);                         \
		e_ = finish_job();                                                                 \
		if (e_.code)                                                                       \
			test_fail(__FILE__, __LINE__, "job: %s", e_.msg);                          \
		quiesce();                                                                         \
		CHECK_EQ(guest_errors, 0);                                                         \
		CHECK(holds(disk, model, SIZE));                                                   \
	} while (0)

TEST(live_overlay_keeps_the_moment_below_and_goes_on_above)
{
	struct err e;

	for (u64 i = 1; i <= TIMES; i++) {
		struct image_create c = { .backing = "top", .backing_format = "qcow2" };
		int fd = fd_memfd("overlay", 0);
		struct blk *b;

		begin(i);
		CHECK_JOB(live_snapshot(disk, tap_open(dup(fd)), &c, &e));
		CHECK(have_note);
		CHECK(image_backing(live_top(disk)));
		CHECK(holds(image_backing(live_top(disk)), noted, SIZE));
		CHECK(sound(live_top(disk)));
		b = open_image(fd, IMAGE_QCOW2, NULL, true);
		CHECK_EQ(b->info.size, SIZE);
		blk_close(b);
		end();
		close(fd);
	}
}

TEST(live_snapshot_inside_keeps_the_moment)
{
	struct err e;

	for (u64 i = 1; i <= TIMES; i++) {
		struct blk *b;

		begin(1000 + i);
		CHECK_JOB(live_snapshot_inside(disk, "s", false, &e));
		CHECK(have_note);
		CHECK(sound(live_top(disk)));
		quiesce();
		CHECK_EQ(blk_flush_now(disk), 0);
		b = open_image(top_fd, IMAGE_QCOW2,
			       open_image(mid_fd, IMAGE_QCOW2,
					  open_image(base_fd, IMAGE_QCOW2, NULL, true), true),
			       true);
		CHECK_EQ(image_snapshot_view(b, "s", &e), 0);
		CHECK(holds(b, noted, SIZE));
		blk_close(b);
		guest_on = true;
		CHECK_JOB(live_snapshot_inside(disk, "s", true, &e));
		CHECK(sound(live_top(disk)));
		end();
	}
}

TEST(live_mirror_is_the_disk_at_its_end_and_can_be_gone_on_with)
{
	static const enum image_format formats[] = { IMAGE_RAW, IMAGE_QCOW2, IMAGE_VDI, IMAGE_VHDX };
	struct err e;

	for (u64 i = 1; i <= TIMES; i++) {
		enum image_format f = formats[i % array_len(formats)];
		bool pivot = i / array_len(formats) % 2;
		int fd;

		begin(2000 + i);
		fd = new_image(f, SIZE, NULL);
		CHECK_JOB(live_mirror(disk,
				      &(struct live_mirror){
					      .target = open_image(fd, f, NULL, false),
					      .zero = i % 2, .pivot = pivot }, &e));
		CHECK(have_note);
		if (pivot) {
			CHECK(!image_backing(live_top(disk)));
		} else {
			struct blk *b = open_image(fd, f, NULL, true);

			CHECK(holds(b, noted, SIZE));
			blk_close(b);
		}
		end();
		close(fd);
	}
}

TEST(live_commit_brings_the_guests_image_into_the_one_below)
{
	struct err e;

	for (u64 i = 1; i <= TIMES; i++) {
		begin(3000 + i);
		CHECK_JOB(live_commit(disk,
				      &(struct live_commit){
					      .into = open_image(mid_fd, IMAGE_QCOW2, NULL, false) },
				      &e));
		CHECK(sound(live_top(disk)));
		CHECK(image_backing(live_top(disk)));
		CHECK(!image_backing(image_backing(live_top(disk))));
		end();
	}
}

TEST(live_commit_brings_an_image_between_into_the_one_below)
{
	static struct image_info info;
	struct err e;

	for (u64 i = 1; i <= TIMES; i++) {
		begin(4000 + i);
		CHECK_JOB(live_commit(disk,
				      &(struct live_commit){
					      .into = open_image(base_fd, IMAGE_QCOW2, NULL, false),
					      .depth = 1, .backing = "base",
					      .backing_format = "qcow2" },
				      &e));
		image_get_info(live_top(disk), &info);
		CHECK_STR(info.backing, "base");
		CHECK(!image_backing(image_backing(live_top(disk))));
		CHECK(sound(live_top(disk)));
		CHECK(sound(image_backing(live_top(disk))));
		end();
	}
}

/* base <- mid <- top <- over, the guest on the last; mid goes, top is written anew. */
TEST(live_commit_further_down_writes_the_header_of_the_image_above)
{
	static struct image_info info;
	struct err e;

	for (u64 i = 1; i <= TIMES; i++) {
		struct live_commit c = { .depth = 2, .backing = "base", .backing_format = "qcow2" };
		int fd = fd_memfd("overlay", 0);
		struct blk *b;

		begin(5000 + i);
		CHECK_JOB(live_snapshot(disk, tap_open(dup(fd)),
					&(struct image_create){ .backing = "top" }, &e));
		guest_on = true;
		c.into = open_image(base_fd, IMAGE_QCOW2, NULL, false);
		CHECK_EQ(live_commit(disk, &c, &e), -EINVAL); /* without the image above */
		c.into = open_image(base_fd, IMAGE_QCOW2, NULL, false);
		c.above = open_image(top_fd, IMAGE_QCOW2, NULL, false);
		CHECK_JOB(live_commit(disk, &c, &e));
		b = image_backing(live_top(disk));
		CHECK(!image_backing(image_backing(b)));
		CHECK(sound(live_top(disk)));
		CHECK(sound(b));
		CHECK(sound(image_backing(b)));
		b = open_image(top_fd, IMAGE_QCOW2, NULL, true);
		image_get_info(b, &info);
		CHECK_STR(info.backing, "base");
		blk_close(b);
		end();
		close(fd);
	}
}

static unsigned resizes;

static void on_end(void *ctx UNUSED, const struct live_status *s)
{
	resizes += s->kind == LIVE_RESIZE && !s->err.code && disk->info.size == SIZE_MAX_;
}

TEST(live_resize_is_told_and_the_new_part_reads_as_zeroes)
{
	static const u8 zero[4096];
	struct err e;
	u8 buf[4096];

	resizes = 0;
	for (u64 i = 1; i <= TIMES; i++) {
		begin(5000 + i);
		live_on_end(disk, on_end, NULL);
		CHECK_EQ(live_bitmap_add(disk, "b", 16, false, &e), 0);
		note = false;
		if (live_resize(disk, SIZE_MAX_, &e))
			test_fail(__FILE__, __LINE__, "%s", e.msg);
		CHECK_EQ(finish_job().code, 0);
		CHECK_EQ(disk->info.size, SIZE_MAX_);
		quiesce();
		CHECK_EQ(guest_errors, 0);
		CHECK(holds(disk, model, SIZE_MAX_));
		CHECK_EQ(blk_write_now(disk, SIZE_MAX_ - 4096, zero, 4096), 0);
		CHECK_EQ(blk_read_now(disk, SIZE_MAX_ - 8192, buf, 4096), 0);
		end();
	}
	CHECK_EQ(resizes, TIMES);
}

TEST(live_incremental_copies_follow_the_disk)
{
	struct err e;

	for (u64 i = 1; i <= TIMES; i++) {
		struct live_bitmap_info info;
		int fd;

		begin(6000 + i);
		fd = new_image(IMAGE_QCOW2, SIZE, NULL);
		CHECK_EQ(live_bitmap_add(disk, "inc", 12 + (unsigned)rnd(8), false, &e), 0);
		for (unsigned k = 0; k < 4; k++) { /* a whole copy, then what changed since */
			struct blk *b;
			bool whole = !k;

			guest_on = true;
			have_note = false;
			for (u64 n = rnd(20); n; n--)
				turn();
			if (whole) { /* the bitmap is clear from the moment the copy is of */
				quiesce();
				CHECK_EQ(live_bitmap_clear(disk, "inc", &e), 0);
				dirty_set(&as_live(disk)->bitmaps->d, 0, SIZE);
				guest_on = true;
			}
			CHECK_JOB(live_mirror(disk,
					      &(struct live_mirror){
						      .target = open_image(fd, IMAGE_QCOW2, NULL,
									   false),
						      .bitmap = "inc" }, &e));
			CHECK(have_note);
			b = open_image(fd, IMAGE_QCOW2, NULL, true);
			CHECK(holds(b, noted, SIZE));
			blk_close(b);
			CHECK(live_bitmap_get(disk, 0, &info));
		}
		end();
		close(fd);
	}
}

TEST(live_bitmaps_come_back_with_the_image)
{
	struct live_bitmap_info i;
	struct image_bitmap in;
	struct err e;
	struct blk *b;

	begin(8000);
	CHECK_EQ(live_bitmap_add(disk, "keep", 16, true, &e), 0);
	CHECK_EQ(live_bitmap_add(disk, "still", 16, true, &e), 0);
	CHECK_EQ(live_bitmap_add(disk, "lose", 16, false, &e), 0);
	CHECK_EQ(live_bitmap_record(disk, "still", false, &e), 0);
	quiesce();
	CHECK_EQ(blk_write_now(disk, SIZE / 2, model, 512), 0);
	CHECK_EQ(live_bitmap_clear(disk, "keep", &e), 0);
	CHECK_EQ(blk_write_now(disk, 65536 * 3, model, 512), 0);
	b = disk;
	disk = NULL;
	blk_close(b);
	for (unsigned k = 0; k < 2; k++) {
		b = live_open(open_image(top_fd, IMAGE_QCOW2, NULL, false), &e);
		CHECK(b && live_bitmap_get(b, 1, &i) && !live_bitmap_get(b, 2, &i));
		CHECK(live_bitmap_get(b, strcmp(i.name, "keep") ? 0 : 1, &i));
		CHECK_EQ(i.dirty, k ? 131072 : 65536);
		CHECK(i.persistent && i.recording);
		CHECK(sound(live_top(b)));
		CHECK_EQ(blk_write_now(b, 65536 * 5, model, 512), 0);
		CHECK_EQ(image_bitmap_get(live_top(b), 0, &in, &e), 0);
		CHECK(in.in_use);
		if (k)
			CHECK_EQ(live_bitmap_remove(b, "keep", &e), 0);
		CHECK(!k || !live_bitmap_get(b, 1, &i));
		blk_close(b);
	}
	b = open_image(top_fd, IMAGE_QCOW2, NULL, true);
	CHECK_EQ(image_bitmap_get(b, 1, &in, &e), -ENOENT);
	CHECK(sound(b));
	blk_close(b);
	close(base_fd);
	close(mid_fd);
	close(top_fd);
	loop_free(loop);
}

/* What can go wrong with a target, at a random moment: nothing of it reaches the guest. */
TEST(live_a_failing_or_cancelled_job_leaves_everything_as_it_was)
{
	struct err e = { 0 };
	unsigned nr_failed = 0;

	for (u64 i = 1; i <= TIMES * 2; i++) {
		unsigned what = (unsigned)(i % 4), how = (unsigned)(i / 4 % 3);
		struct err got;
		struct tap *t;
		struct blk *b;
		int fd = -1, r = 0;

		begin(7000 + i);
		CHECK_EQ(live_bitmap_add(disk, "b", 16, false, &e), 0);
		dirty_set(&as_live(disk)->bitmaps->d, 0, SIZE / 2);
		fd = what == 0 ? fd_memfd("overlay", 0) : new_image(IMAGE_QCOW2, SIZE, NULL);
		if (what == 0) {
			b = tap_open(dup(fd));
			t = as_tap(b);
		} else {
			b = open_image(what == 3 ? mid_fd : fd, IMAGE_QCOW2, NULL, false);
			t = as_tap(b->base);
		}
		t->error = how == 1 ? ENOSPC : EIO;
		if (how != 2)
			t->fail_after = 1 + rnd(what == 0 ? 3 : 12);
		if (what == 0)
			r = live_snapshot(disk, b, &(struct image_create){ .backing = "top" }, &e);
		else if (what == 3)
			r = live_commit(disk, &(struct live_commit){ .into = b }, &e);
		else
			r = live_mirror(disk, &(struct live_mirror){
					.target = b, .pivot = true,
					.bitmap = what == 2 ? "b" : NULL }, &e);
		if (r)
			test_fail(__FILE__, __LINE__, "start: %s", e.msg);
		if (how == 2) {
			for (u64 n = rnd(4); n; n--)
				turn();
			live_cancel(disk);
		}
		got = finish_job();
		quiesce();
		CHECK_EQ(guest_errors, 0);
		CHECK(holds(disk, model, SIZE));
		if (got.code) {
			nr_failed++;
			CHECK(how < 2 || got.code == ECANCELED);
			CHECK(dirty_test(&as_live(disk)->bitmaps->d, 0));
			CHECK(image_backing(live_top(disk)));
		}
		if (how != 2 && what == 3) /* still below, and broken: do not close through it */
			t->fail_after = 0;
		CHECK(sound(live_top(disk)));
		end();
		close(fd);
	}
	CHECK(nr_failed >= TIMES);
}

TEST(live_jobs_are_one_at_a_time_and_refuse_what_cannot_be)
{
	struct err e;
	int fd, small;

	begin(9000);
	fd = new_image(IMAGE_RAW, SIZE, NULL);
	small = new_image(IMAGE_RAW, SIZE / 2, NULL);
	CHECK_EQ(live_mirror(disk, &(struct live_mirror){ .target = open_image(small, IMAGE_RAW, NULL,
									      false) }, &e), -ENOSPC);
	CHECK_EQ(live_mirror(disk, &(struct live_mirror){ .target = open_image(fd, IMAGE_RAW, NULL,
									      false),
							  .bitmap = "none" }, &e), -ENOENT);
	CHECK_EQ(live_mirror(disk, &(struct live_mirror){ .target = open_image(fd, IMAGE_RAW, NULL,
									      false),
							  .rate = 1 }, &e), 0);
	CHECK_EQ(live_resize(disk, SIZE_MAX_, &e), -EBUSY);
	CHECK_EQ(live_resize(disk, 100, &e), -EINVAL);
	for (unsigned i = 0; i < 5; i++)
		turn();
	quiesce(); /* draining does not wait for a job that is held back by its rate */
	live_stop(disk);
	CHECK_EQ(live_bitmap_add(disk, "a", 16, false, &e), 0);
	CHECK_EQ(live_bitmap_add(disk, "a", 16, false, &e), -EEXIST);
	CHECK_EQ(live_bitmap_add(disk, "b", 8, false, &e), -EINVAL);
	CHECK_EQ(live_bitmap_merge(disk, "a", "x", &e), -ENOENT);
	CHECK_EQ(live_bitmap_remove(disk, "a", &e), 0);
	end();
	close(fd);
	close(small);
}
