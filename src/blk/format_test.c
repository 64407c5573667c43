// SPDX-License-Identifier: Apache-2.0
/* format_test.c - formats against a model in memory: operations, snapshots, sizes, checks */
#include "base/test.h"
#include "blk/file_int.h"
#include "blk/fmt.h"
#include "blk/vmdk.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { SIZE = 3 << 20, JOBS = 12, MAX_LEN = 200 << 10 };

static struct err err;

struct job {
	struct blk_req r;
	struct iovec iov[2];
	u8 *buf, *want;
	bool finished;
};

static struct job job[JOBS];
static u8 model[2 * SIZE], back[2 * SIZE];

static void job_done(struct blk_req *r)
{
	container_of(r, struct job, r)->finished = true;
}

static void make(struct job *j, u64 size, u8 *busy)
{
	u64 len, off, n = (u64)random() % 16;

	if (!j->buf) {
		j->buf = malloc(MAX_LEN);
		j->want = malloc(MAX_LEN);
	}
	for (int tries = 0;; tries++) {
		len = 512 * (1 + (u64)random() % (random() % 4 && tries < 20 ? 16 : MAX_LEN / 512));
		off = 512 * ((u64)random() % (size / 512));
		if (tries > 40)
			len = 512;
		if (off + len <= size && !memchr(busy + off / 512, 1, len / 512))
			break;
	}
	memset(busy + off / 512, 1, len / 512);
	j->finished = false;
	j->iov[0] = (struct iovec){ j->buf, len / 2 };
	j->iov[1] = (struct iovec){ j->buf + len / 2, len - len / 2 };
	j->r = (struct blk_req){ .op = n < 5 ? BLK_READ : n < 12 ? BLK_WRITE :
				 n < 13 ? BLK_DISCARD : n < 15 ? BLK_WRITE_ZEROES : BLK_FLUSH,
				 .offset = off, .len = len, .iov = j->iov, .nr_iov = 2,
				 .done = job_done };
	if (j->r.op == BLK_WRITE) {
		memset(j->buf, (int)random(), len);
		memcpy(model + off, j->buf, len);
	} else if (j->r.op == BLK_WRITE_ZEROES) {
		memset(model + off, 0, len);
	} else if (j->r.op == BLK_READ) {
		memset(j->buf, 0xee, len);
		memcpy(j->want, model + off, len);
	}
}

/* Discarded bytes are what they were or zeroes. */
static bool discard_ok(struct blk *b, const struct job *j)
{
	u64 off = j->r.offset;

	if (blk_read_now(b, off, back, j->r.len))
		return false;
	for (u64 i = 0; i < j->r.len; i++)
		if (back[i] && back[i] != model[off + i])
			return false;
	memcpy(model + off, back, j->r.len);
	return true;
}

static void random_ops(struct blk *b, u64 size, int rounds)
{
	for (int round = 0; round < rounds; round++) {
		static u8 busy[2 * SIZE / 512];
		int n = 1 + (int)(random() % JOBS);

		memset(busy, 0, sizeof busy);
		for (int i = 0; i < n; i++) {
			make(&job[i], size, busy);
			blk_submit(b, &job[i].r);
		}
		blk_drain(b);
		for (int i = 0; i < n; i++) {
			CHECK(job[i].finished);
			CHECK_EQ(job[i].r.error, 0);
			if (job[i].r.op == BLK_READ)
				CHECK(!memcmp(job[i].buf, job[i].want, job[i].r.len));
			if (job[i].r.op == BLK_DISCARD)
				CHECK(discard_ok(b, &job[i]));
		}
	}
	CHECK(!blk_read_now(b, 0, back, size));
	CHECK(!memcmp(back, model, size));
}

static enum image_format format = IMAGE_QCOW2;
static u32 direct; /* not 0: past the page cache, in blocks of at least so many bytes */

static struct blk *reopen(struct loop *l, int fd, struct blk *backing)
{
	struct image_opts o = { .backing = backing, .secret = "sesame" };
	struct blk *f = image_open_file_with(l, dup(fd), false, direct ? FILE_DIRECT : 0, &err);
	struct file *in = (struct file *)f;

	if (f && in->align < direct)
		in->align = direct;
	return f ? image_open(f, format, &o, &err) : NULL;
}

static void print(void *ctx UNUSED, const char *text)
{
	printf("  %s\n", text);
}

static void check_clean(struct blk *b)
{
	struct image_check c = { .say = print };

	CHECK_EQ(image_check(b, IMAGE_CHECK_ONLY, &c, &err), 0);
	CHECK_EQ(c.errors, 0);
	CHECK_EQ(c.leaks, 0);
}

static void against_model(const struct image_create *c, bool with_backing)
{
	struct loop *l = loop_new(&err);
	int fd = direct ? fd_tmpfile(0) : fd_memfd("image", 0);
	int bfd = fd_memfd("base", SIZE - 4096 + 512);
	struct blk *f = image_open_file(l, dup(fd), false, &err), *b = NULL, *base = NULL;

	CHECK(f);
	CHECK_EQ(image_create(f, format, c, &err), 0);
	blk_close(f);
	memset(model, 0, sizeof model);
	if (with_backing) {
		memset(model, 0x5a, SIZE - 4096 + 512);
		CHECK(!fd_pwrite_full(bfd, model, SIZE - 4096 + 512, 0));
	}
	for (int i = 0; i < 4; i++) {
		if (with_backing)
			base = blk_open_file(l, dup(bfd), true, &err);
		b = reopen(l, fd, base);
		if (!b)
			printf("  %s\n", err.msg);
		CHECK(b);
		if (format == IMAGE_LUKS && !i)
			CHECK(!blk_write_now(b, 0, model, SIZE));
		random_ops(b, SIZE, 30);
		if (format == IMAGE_QCOW2)
			check_clean(b);
		blk_close(b);
	}
	close(fd);
	close(bfd);
	loop_free(l);
}

TEST(qcow2_agrees_with_the_model)
{
	struct image_create c = { .size = SIZE };

	srandom(1);
	against_model(&c, false);
}

TEST(qcow2_with_small_clusters_agrees_with_the_model)
{
	struct image_create c = { .size = SIZE, .cluster_size = 512, .refcount_bits = 64 };

	srandom(2);
	against_model(&c, false);
}

TEST(qcow2_version_2_over_a_backing_file_agrees_with_the_model)
{
	struct image_create c = { .size = SIZE, .cluster_size = 4096, .compat_v2 = true,
				  .backing = "base" };

	srandom(3);
	against_model(&c, true);
}

TEST(qcow2_with_subclusters_over_a_backing_file_agrees_with_the_model)
{
	struct image_create c = { .size = SIZE, .cluster_size = 65536, .extended_l2 = true,
				  .refcount_bits = 1, .backing = "base" };

	srandom(4);
	against_model(&c, true);
}

TEST(encrypted_qcow2_agrees_with_the_model)
{
	struct image_create c = { .size = SIZE, .secret = "sesame", .luks_iter_ms = 1 };

	srandom(5);
	against_model(&c, false);
}

TEST(qcow2_snapshots_and_sizes_agree_with_the_model)
{
	struct image_create c = { .size = SIZE, .cluster_size = 4096 };
	struct loop *l = loop_new(&err);
	static u8 saved[SIZE];
	int fd = fd_memfd("image", 0);
	struct blk *f = image_open_file(l, dup(fd), false, &err), *b;

	srandom(6);
	memset(model, 0, sizeof model);
	CHECK_EQ(image_create(f, IMAGE_QCOW2, &c, &err), 0);
	blk_close(f);
	b = reopen(l, fd, NULL);
	CHECK(b);
	random_ops(b, SIZE, 10);
	for (int i = 0; i < 4; i++) {
		memcpy(saved, model, SIZE);
		CHECK_EQ(image_snapshot_create(b, "one", &err), 0);
		CHECK_EQ(image_snapshot_create(b, "one", &err), -EEXIST);
		check_clean(b);
		random_ops(b, SIZE, 10);
		CHECK_EQ(blk_resize(b, 2 * SIZE, &err), 0);
		random_ops(b, 2 * SIZE, 10);
		check_clean(b);
		CHECK_EQ(image_snapshot_create(b, "two", &err), 0);
		CHECK_EQ(blk_resize(b, SIZE / 2, &err), 0);
		memset(model + SIZE / 2, 0, sizeof model - SIZE / 2);
		random_ops(b, SIZE / 2, 5);
		CHECK_EQ(blk_resize(b, SIZE, &err), 0);
		random_ops(b, SIZE, 5);
		check_clean(b);
		blk_close(b);
		b = reopen(l, fd, NULL);
		CHECK(b);
		CHECK_EQ(image_snapshot_apply(b, "one", &err), 0);
		memcpy(model, saved, SIZE);
		random_ops(b, SIZE, 10);
		CHECK_EQ(image_snapshot_delete(b, "one", &err), 0);
		check_clean(b);
		random_ops(b, SIZE, 5);
		CHECK_EQ(image_snapshot_delete(b, "two", &err), 0);
		check_clean(b);
	}
	blk_close(b);
	close(fd);
	loop_free(l);
}

static void other_format(enum image_format f, const char *subformat)
{
	struct image_create c = { .size = SIZE, .subformat = subformat };

	srandom(7);
	format = f;
	if (f == IMAGE_VHDX)
		c.cluster_size = 1 << 20;
	if (f == IMAGE_LUKS) {
		c.secret = "sesame";
		c.luks_iter_ms = 1;
	}
	against_model(&c, false);
	format = IMAGE_QCOW2;
}

TEST(vhd_agrees_with_the_model)
{
	other_format(IMAGE_VPC, NULL);
	other_format(IMAGE_VPC, "fixed");
}

TEST(vhdx_agrees_with_the_model)
{
	other_format(IMAGE_VHDX, NULL);
	other_format(IMAGE_VHDX, "fixed");
}

TEST(vdi_agrees_with_the_model)
{
	other_format(IMAGE_VDI, NULL);
	other_format(IMAGE_VDI, "fixed");
}

TEST(vmdk_agrees_with_the_model)
{
	other_format(IMAGE_VMDK, NULL);
}

TEST(luks_agrees_with_the_model)
{
	other_format(IMAGE_LUKS, NULL);
}

TEST(formats_past_the_page_cache_agree_with_the_model)
{
	struct image_create c = { .size = SIZE };

	for (direct = 512; direct <= 4096; direct *= 8) {
		srandom(8);
		against_model(&c, false);
		for (enum image_format f = IMAGE_VPC; f < IMAGE_NR; f++) {
			other_format(f, NULL);
			if (f <= IMAGE_VDI)
				other_format(f, "fixed");
		}
	}
	direct = 0;
}

/* What the heap held before, for whoever uses memory without clearing it. */
static void dirty_heap(size_t size)
{
	void *p[8];

	for (unsigned i = 0; i < array_len(p); i++) {
		p[i] = malloc(size);
		memset(p[i], 'x', size);
	}
	for (unsigned i = 0; i < array_len(p); i++)
		free(p[i]);
}

TEST(a_sparse_vmdk_without_a_descriptor_names_nothing)
{
	struct loop *l = loop_new(&err);
	int fd = fd_memfd("image", 512);
	struct blk *f = image_open_file(l, dup(fd), true, &err);
	static struct image_info i;

	CHECK(!fd_pwrite_full(fd, "KDMV", 4, 0));
	dirty_heap(sizeof(struct vmdk_desc));
	CHECK_EQ(image_peek(f, IMAGE_VMDK, &i, &err), 0);
	CHECK_EQ(i.backing[0], '\0');
	CHECK_EQ(i.variant[0], '\0');
	blk_close(f);
	close(fd);
	loop_free(l);
}
