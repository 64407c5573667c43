// SPDX-License-Identifier: Apache-2.0
/* blk_test.c - files and snapshots against a model in memory, checks, draining */
#include "base/test.h"
#include "blk/file_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { SIZE = 300 * 512, BATCH = 24, MAX_IOV = 5 }; /* SIZE is no multiple of 4096 */

static struct err err;
static u64 unit = 512; /* of random offsets and lengths */

struct job {
	struct blk_req r;
	struct iovec iov[MAX_IOV];
	u8 buf[64 * 512], want[64 * 512];
	bool finished;
};

static struct job job[BATCH];

static void job_done(struct blk_req *r)
{
	container_of(r, struct job, r)->finished = true;
}

/* Cut @len bytes of j->buf into up to MAX_IOV uneven pieces. */
static void cut(struct job *j, u64 len)
{
	int n = 1 + (int)(random() % MAX_IOV), k = 0;
	u64 at = 0;

	for (int i = 0; i < n && at < len; i++) {
		u64 piece = i == n - 1 ? len - at : 1 + (u64)random() % (len - at);

		j->iov[k++] = (struct iovec){ j->buf + at, piece };
		at += piece;
	}
	j->r.iov = j->iov;
	j->r.nr_iov = k;
}

static bool is_free(const u8 *busy, u64 from, u64 to)
{
	for (u64 i = from; i < to; i++)
		if (busy[i])
			return false;
	return true;
}

/* A random request that overlaps no other writer of the batch by a byte. */
static void make(struct job *j, u8 *model, u8 *busy)
{
	u64 len, off, n;

	do {
		len = unit * (1 + (u64)random() % (sizeof j->buf / unit));
		off = unit * ((u64)random() % (SIZE / unit));
	} while (off + len > SIZE || !is_free(busy, off, off + len));
	n = (u64)random() % 10;
	j->r = (struct blk_req){
		.op = n < 4 ? BLK_READ : n < 8 ? BLK_WRITE : n < 9 ? BLK_WRITE_ZEROES : BLK_FLUSH,
		.offset = off,
		.len = len,
		.done = job_done,
		.error = -1,
	};
	j->finished = false;
	if (j->r.op == BLK_FLUSH)
		return;
	memset(busy + off, 1, len);
	cut(j, len);
	if (j->r.op == BLK_WRITE) {
		for (u64 i = 0; i < len; i++)
			j->buf[i] = (u8)random();
		memcpy(model + off, j->buf, len);
	} else if (j->r.op == BLK_WRITE_ZEROES) {
		memset(model + off, 0, len);
	} else {
		memset(j->buf, 0xee, len);
		memcpy(j->want, model + off, len);
	}
}

static void random_ops(struct loop *l, struct blk *b, u8 *model)
{
	for (int round = 0; round < 60; round++) {
		static u8 busy[SIZE];
		int n = 1 + (int)(random() % 6), left = n;
		bool plug = random() % 2;

		memset(busy, 0, sizeof busy);
		if (plug)
			blk_plug(b);
		for (int i = 0; i < n; i++) {
			make(&job[i], model, busy);
			blk_submit(b, &job[i].r);
		}
		if (plug)
			blk_unplug(b);
		if (round % 3 == 0)
			blk_drain(b);
		while (left) {
			left = 0;
			for (int i = 0; i < n; i++)
				left += !job[i].finished;
			if (left)
				loop_once(l, 1000);
		}
		CHECK_EQ(blk_in_flight(b), 0);
		for (int i = 0; i < n; i++) {
			CHECK_EQ(job[i].r.error, 0);
			if (job[i].r.op == BLK_READ)
				CHECK(!memcmp(job[i].buf, job[i].want, job[i].r.len));
		}
	}
}

static int image(u8 *model)
{
	int fd = fd_tmpfile(SIZE + 100); /* the last 100 bytes are cut off */

	for (int i = 0; i < SIZE; i++)
		model[i] = (u8)random();
	return fd_pwrite_full(fd, model, SIZE, 0) ? -1 : fd;
}

static void file_against_model(unsigned flags)
{
	struct loop *l = loop_new(&err);
	static u8 model[SIZE], back[SIZE];
	struct blk *b;
	int fd, again;

	srandom(4 + flags);
	fd = image(model);
	again = dup(fd);
	b = blk_open_file_with(l, fd, false, flags, &err);
	CHECK(b);
	random_ops(l, b, model);
	CHECK_EQ(blk_read_now(b, 0, back, SIZE), 0);
	CHECK(!memcmp(model, back, SIZE));
	blk_close(b);
	CHECK(!fd_pread_full(again, back, SIZE, 0));
	CHECK(!memcmp(model, back, SIZE));
	close(again);
	loop_free(l);
}

TEST(file_by_io_uring_agrees_with_the_model)
{
	file_against_model(FILE_QUEUED);
}

TEST(file_by_threads_agrees_with_the_model)
{
	file_against_model(FILE_THREADS | FILE_QUEUED);
}

TEST(file_with_page_cache_reads_agrees_with_the_model)
{
	file_against_model(0);
}

/* Blocks of @align bytes, requests that begin and end anywhere in them. */
static void direct_against_model(unsigned flags, u32 align)
{
	struct loop *l = loop_new(&err);
	static u8 model[SIZE], back[SIZE];
	struct blk *b;
	int fd, again;
	struct file *f;

	srandom(40 + align + flags);
	fd = image(model);
	again = dup(fd);
	b = blk_open_file_with(l, fd, false, flags | FILE_DIRECT | FILE_BYTES, &err);
	CHECK(b);
	f = (struct file *)b;
	CHECK(f->align >= 512);
	f->align = f->align > align ? f->align : align;
	f->no_zero_range = f->no_punch = flags; /* zeroes by writing as well */
	unit = 1;
	random_ops(l, b, model);
	unit = 512;
	random_ops(l, b, model);
	CHECK_EQ(blk_read_now(b, 0, back, SIZE), 0);
	CHECK(!memcmp(model, back, SIZE));
	CHECK_EQ(lseek(again, 0, SEEK_END), SIZE + 100);
	CHECK_EQ(blk_write_now(b, SIZE + 95, "0123456789", 10), 0);
	CHECK_EQ(lseek(again, 0, SEEK_END), SIZE + 105); /* not whole blocks */
	CHECK_EQ(blk_read_now(b, SIZE + 90, back, 60), 0);
	CHECK(!memcmp(back, "\0\0\0\0\0" "0123456789\0\0\0", 18));
	blk_close(b);
	fcntl(again, F_SETFL, O_RDWR);
	CHECK(!fd_pread_full(again, back, SIZE, 0));
	CHECK(!memcmp(model, back, SIZE));
	close(again);
	loop_free(l);
}

TEST(file_past_the_page_cache_agrees_with_the_model)
{
	direct_against_model(0, 512);
	direct_against_model(0, 4096);
	direct_against_model(FILE_THREADS, 4096);
}

struct small {
	struct blk_req r;
	struct iovec iov;
	u8 buf[512];
};

static unsigned nr_small;

static void small_done(struct blk_req *r)
{
	nr_small += !r->error;
}

TEST(more_requests_than_slots_all_complete)
{
	enum { N = 400 };
	struct loop *l = loop_new(&err);
	static struct small q[N];
	static u8 model[SIZE];
	struct blk *b;

	b = blk_open_file_with(l, image(model), true, FILE_QUEUED, &err);
	CHECK(b);
	nr_small = 0;
	blk_plug(b);
	for (unsigned i = 0; i < N; i++) {
		q[i].iov = (struct iovec){ q[i].buf, 512 };
		q[i].r = (struct blk_req){ .op = BLK_READ, .offset = 512u * (i % 300), .len = 512,
					   .iov = &q[i].iov, .nr_iov = 1, .done = small_done };
		blk_submit(b, &q[i].r);
	}
	blk_unplug(b);
	blk_drain(b);
	CHECK_EQ(nr_small, N);
	for (unsigned i = 0; i < N; i++)
		CHECK(!memcmp(q[i].buf, model + 512 * (i % 300), 512));
	blk_close(b);
	loop_free(l);
}

static u8 base_model[SIZE];

TEST(snapshot_agrees_with_the_model_and_leaves_the_base_alone)
{
	struct loop *l = loop_new(&err);
	static u8 model[SIZE], back[SIZE];
	struct blk *base, *b;
	struct blk_info info;
	int fd, again;

	srandom(9);
	fd = image(base_model);
	memcpy(model, base_model, SIZE);
	again = dup(fd);
	base = blk_open_file_with(l, fd, true, FILE_QUEUED, &err);
	CHECK(base);
	b = blk_open_snapshot(base, -1, &err);
	CHECK(b);
	blk_get_info(b, &info);
	CHECK_EQ(info.size, SIZE);
	CHECK(!info.read_only);
	random_ops(l, b, model);
	CHECK_EQ(blk_read_now(b, 0, back, SIZE), 0);
	CHECK(!memcmp(model, back, SIZE));
	blk_close(b);
	CHECK(!fd_pread_full(again, back, SIZE, 0));
	CHECK(!memcmp(base_model, back, SIZE));
	close(again);
	loop_free(l);
}

TEST(a_saved_layer_over_the_same_base_reads_the_same)
{
	static u8 model[SIZE], back[SIZE];
	struct loop *l = loop_new(&err);
	int fd, layer = fd_tmpfile(0);
	struct blk *b, *c;

	srandom(11);
	fd = image(base_model);
	memcpy(model, base_model, SIZE);
	b = blk_open_snapshot(blk_open_file_with(l, dup(fd), true, FILE_QUEUED, &err), -1, &err);
	CHECK(b && blk_has_layer(b));
	random_ops(l, b, model);
	CHECK_EQ(blk_save_layer(b, layer), 0);
	blk_close(b);
	for (int round = 0; round < 2; round++) { /* the second one of a layer and a node above it */
		c = blk_open_layer(blk_open_file_with(l, dup(fd), true, FILE_QUEUED, &err),
				   dup(layer), &err);
		CHECK(c);
		CHECK_EQ(-blk_write_now(c, 0, back, 512), EROFS);
		c = blk_open_snapshot(c, -1, &err);
		CHECK(c);
		CHECK_EQ(blk_read_now(c, 0, back, SIZE), 0);
		CHECK(!memcmp(model, back, SIZE));
		random_ops(l, c, model);
		close(layer);
		layer = fd_tmpfile(0);
		CHECK_EQ(blk_save_layer(c, layer), 0);
		blk_close(c);
	}
	close(fd);
	c = blk_open_file_with(l, image(base_model), true, FILE_QUEUED, &err);
	CHECK(!ftruncate(layer, SIZE));
	CHECK(!blk_open_layer(c, layer, &err)); /* cut off; the base stays ours */
	blk_close(c);
	loop_free(l);
}

TEST(concurrent_partial_writes_to_one_cluster_both_survive)
{
	struct loop *l = loop_new(&err);
	u8 back[4096];
	struct blk *b;

	srandom(10);
	b = blk_open_file_with(l, image(base_model), true, FILE_QUEUED, &err);
	b = b ? blk_open_snapshot(b, -1, &err) : NULL;
	CHECK(b);
	for (int i = 0; i < 8; i++) {
		memset(job[i].buf, 0x10 + i, 512);
		job[i].iov[0] = (struct iovec){ job[i].buf, 512 };
		job[i].r = (struct blk_req){ .op = BLK_WRITE, .offset = 4096 + (u64)i * 512,
					     .len = 512, .iov = job[i].iov, .nr_iov = 1,
					     .done = job_done };
		blk_submit(b, &job[i].r);
	}
	blk_drain(b);
	CHECK(!blk_read_now(b, 4096, back, 4096));
	for (int i = 0; i < 4096; i++)
		CHECK_EQ(back[i], 0x10 + i / 512);
	blk_close(b);
	loop_free(l);
}

static int try(struct blk *b, enum blk_op op, u64 off, u64 len)
{
	job[0].iov[0] = (struct iovec){ job[0].buf, 512 };
	job[0].r = (struct blk_req){ .op = op, .offset = off, .len = len, .iov = job[0].iov,
				     .nr_iov = 1, .done = job_done };
	blk_submit(b, &job[0].r);
	blk_drain(b);
	return job[0].r.error;
}

TEST(bad_requests_complete_with_an_error)
{
	struct loop *l = loop_new(&err);
	struct blk *b = blk_open_file(l, image(base_model), true, &err);

	CHECK(b);
	CHECK_EQ(try(b, BLK_READ, 0, 512), 0);
	CHECK_EQ(try(b, BLK_READ, SIZE - 512, 512), 0);
	CHECK_EQ(try(b, BLK_READ, SIZE, 512), EINVAL);
	CHECK_EQ(try(b, BLK_READ, UINT64_MAX - 511, 1024), EINVAL);
	CHECK_EQ(try(b, BLK_READ, 0, UINT64_MAX - 511), EINVAL);
	CHECK_EQ(try(b, BLK_READ, 7, 512), EINVAL);
	CHECK_EQ(try(b, BLK_READ, 0, 1024), EINVAL); /* more than the buffers hold */
	CHECK_EQ(try(b, BLK_WRITE, 0, 512), EROFS);
	CHECK_EQ(try(b, BLK_DISCARD, 0, 512), EROFS);
	CHECK_EQ(try(b, BLK_FLUSH, 0, 0), 0);
	blk_close(b);
	loop_free(l);
}

TEST(a_file_cut_short_under_us_is_an_io_error)
{
	struct loop *l = loop_new(&err);
	int fd = image(base_model), again = dup(fd);
	struct blk *b = blk_open_file(l, fd, false, &err);

	CHECK(b);
	CHECK(!ftruncate(again, 0));
	CHECK_EQ(try(b, BLK_READ, 0, 512), EIO);
	blk_close(b);
	close(again);
	loop_free(l);
}

TEST(images_that_cannot_serve_are_refused_with_the_reason)
{
	struct loop *l = loop_new(&err);
	char path[64];
	int fd, fd2, p[2];
	struct blk *b;

	snprintf(path, sizeof path, "/tmp/vireo-blk-test-%d", getpid());
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(!blk_open_file(l, open(path, O_RDONLY | O_CLOEXEC), false, &err));
	CHECK(strstr(err.msg, "readonly"));
	CHECK(!fd_pipe(p));
	close(p[1]);
	CHECK(!blk_open_file(l, p[0], true, &err));
	CHECK(strstr(err.msg, "not a file"));
	b = blk_open_file(l, fd, false, &err);
	CHECK(b);
	fd2 = open(path, O_RDWR | O_CLOEXEC);
	unlink(path);
	CHECK(!blk_open_file(l, fd2, false, &err));
	CHECK(strstr(err.msg, "in use"));
	blk_close(b);
	loop_free(l);
}
