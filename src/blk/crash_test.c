// SPDX-License-Identifier: Apache-2.0
/*
 * crash_test.c - power cuts: what was flushed is there, and the image checks clean
 *
 * A driver below the format keeps every write since the last flush. When the power
 * goes, a random subset of their sectors is on the disk. $VIREO_CRASHES sets how
 * often (default 20 per format), $VIREO_SEED where the random numbers begin.
 */
#include "base/test.h"
#include "blk/fmt.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { SIZE = 768 << 10, SECTORS = SIZE / 512, MAX_FILE = 12 << 20, MAX_LOG = 1 << 14,
       MAX_PENDING = 64 };

static struct err err;

/* -- the disk whose power can go ------------------------------------------------------------ */

struct logged {
	u64 off, len;
	u8 *data;
};

struct cut {
	struct blk b;
	u8 *now, *stable;
	struct logged log[MAX_LOG];
	unsigned nr_log;
	struct blk_req *pending[MAX_PENDING];
	unsigned nr_pending;
	unsigned left; /* requests until the power goes */
	bool dead;
};

static void remember(struct cut *c, u64 off, u64 len)
{
	u8 *data = malloc(len);

	if (c->nr_log == MAX_LOG || !data) {
		c->dead = true;
		free(data);
		return;
	}
	memcpy(data, c->now + off, len);
	c->log[c->nr_log++] = (struct logged){ off, len, data };
}

static void forget(struct cut *c)
{
	for (unsigned i = 0; i < c->nr_log; i++)
		free(c->log[i].data);
	c->nr_log = 0;
}

static int perform(struct cut *c, struct blk_req *r)
{
	if (c->dead || !c->left--) {
		c->dead = true;
		return EIO;
	}
	if (r->op != BLK_FLUSH && !range_ok(r->offset, r->len, MAX_FILE))
		return EIO;
	switch (r->op) {
	case BLK_READ:
		req_put(r, 0, c->now + r->offset, r->len);
		break;
	case BLK_WRITE:
		req_get(r, 0, c->now + r->offset, r->len);
		remember(c, r->offset, r->len);
		break;
	case BLK_WRITE_ZEROES:
		memset(c->now + r->offset, 0, r->len);
		remember(c, r->offset, r->len);
		break;
	case BLK_FLUSH:
		for (unsigned i = 0; i < c->nr_log; i++)
			memcpy(c->stable + c->log[i].off, c->now + c->log[i].off, c->log[i].len);
		forget(c);
		break;
	case BLK_DISCARD: /* the worst a discard may do */
		memset(c->now + r->offset, 0xdd, r->len);
		remember(c, r->offset, r->len);
		break;
	}
	return 0;
}

static void cut_submit(struct blk *b, struct blk_req *r)
{
	struct cut *c = (struct cut *)b;

	if (c->nr_pending < MAX_PENDING && random() % 3) {
		c->pending[c->nr_pending++] = r;
		return;
	}
	blk_complete(b, r, perform(c, r));
}

static void cut_wait(struct blk *b)
{
	struct cut *c = (struct cut *)b;
	unsigned i = (unsigned)random() % c->nr_pending;
	struct blk_req *r = c->pending[i];

	c->pending[i] = c->pending[--c->nr_pending];
	blk_complete(b, r, perform(c, r));
}

static int cut_resize(struct blk *b, u64 size, struct err *e UNUSED)
{
	b->info.size = size;
	return size > MAX_FILE ? -EFBIG : 0;
}

static void cut_close(struct blk *b)
{
	struct cut *c = (struct cut *)b;

	forget(c);
	free(c->now);
	free(c->stable);
	free(c);
}

static const struct blk_driver cut_driver = {
	.name = "cut",
	.submit = cut_submit,
	.wait = cut_wait,
	.resize = cut_resize,
	.close = cut_close,
};

static struct cut *cut_new(struct loop *l, u64 size)
{
	struct cut *c = calloc(1, sizeof *c);

	blk_init(&c->b, &cut_driver, l, NULL);
	c->b.info = (struct blk_info){ .size = size, .block_size = 1, .discard = true };
	c->b.growable = true;
	c->now = calloc(1, MAX_FILE);
	c->stable = calloc(1, MAX_FILE);
	c->left = UINT32_MAX;
	return c;
}

/* What the disk holds after the power came back. */
static void crash(struct cut *c, u8 *image)
{
	memcpy(image, c->stable, MAX_FILE);
	for (unsigned i = 0; i < c->nr_log; i++) {
		const struct logged *w = &c->log[i];
		bool torn = random() % 2, keep = random() % 2;

		for (u64 at = 0, n; at < w->len; at += n) {
			n = 512 - (w->off + at) % 512;
			n = n < w->len - at ? n : w->len - at;
			if (torn ? random() % 2 : keep)
				memcpy(image + w->off + at, w->data + at, n);
		}
	}
}

/* -- what each sector may hold ---------------------------------------------------------- */

struct sector {
	u32 may[24]; /* stamps: the first one was flushed, or is older than that */
	u8 n;
	bool any; /* too many to remember, or discarded */
};

static struct sector sector[SECTORS];
static u32 stamp;

static void may_hold(u64 s, u32 v)
{
	if (sector[s].n == array_len(sector[s].may))
		sector[s].any = true;
	else
		sector[s].may[sector[s].n++] = v;
}

static void settle(void)
{
	for (u64 i = 0; i < SECTORS; i++) {
		struct sector *s = &sector[i];

		if (s->any)
			continue;
		s->may[0] = s->may[s->n - 1];
		s->n = 1;
	}
}

static bool holds(u64 s, const u8 *p)
{
	u32 v;

	memcpy(&v, p, 4);
	if (sector[s].any)
		return true;
	for (u64 i = 4; i < 512; i += 4)
		if (memcmp(p + i, p, 4) != 0)
			return false;
	for (unsigned i = 0; i < sector[s].n; i++)
		if (sector[s].may[i] == v)
			return true;
	return false;
}

/* -- one life --------------------------------------------------------------------------- */

static u8 buf[96 << 10];

static int act(struct blk *b)
{
	u64 n = 1 + (u64)random() % (random() % 3 ? 16 : 190), s = (u64)random() % (SECTORS - n);
	struct iovec iov = { buf, n * 512 };
	enum blk_op op = random() % 8 ? BLK_WRITE : BLK_WRITE_ZEROES;
	u32 v = op == BLK_WRITE ? ++stamp : 0;

	for (u64 i = 0; i < n * 512; i += 4)
		memcpy(buf + i, &v, 4);
	for (u64 i = 0; i < n; i++)
		may_hold(s + i, v);
	return fio_req(b, op, s * 512, n * 512, &iov, 1);
}

struct job {
	struct blk_req r;
	struct iovec iov;
	u32 data[16 * 128];
};

static void job_done(struct blk_req *r UNUSED)
{
}

/* Several requests at the same time, to parts that do not overlap. */
static int burst(struct blk *b)
{
	static struct job job[6];
	int error = 0;

	for (u64 i = 0; i < 6; i++) {
		u64 part = SECTORS / 6, n = 1 + (u64)random() % 16;
		u64 s = i * part + (u64)random() % (part - n);
		u32 v = ++stamp;

		for (u64 k = 0; k < n * 128; k++)
			job[i].data[k] = v;
		for (u64 k = 0; k < n; k++)
			may_hold(s + k, v);
		job[i].iov = (struct iovec){ job[i].data, n * 512 };
		job[i].r = (struct blk_req){ .op = BLK_WRITE, .offset = s * 512, .len = n * 512,
					     .iov = &job[i].iov, .nr_iov = 1, .done = job_done };
		blk_submit(b, &job[i].r);
	}
	blk_drain(b);
	for (int i = 0; i < 6; i++)
		error = error ? error : job[i].r.error;
	return -error;
}

static int live(struct blk *b, bool snapshots)
{
	bool one = false;

	for (;;) {
		int n = (int)(random() % 40);

		if (n < 4) {
			TRY(fio_flush(b));
			settle();
		} else if (n == 4 && snapshots) {
			TRY(one ? image_snapshot_delete(b, "one", &err) :
				  image_snapshot_create(b, "one", &err));
			one = !one;
		} else if (n < 8) {
			TRY(burst(b));
		} else {
			TRY(act(b));
		}
	}
}

static void check_after(struct loop *l, const u8 *image, u64 size, enum image_format f)
{
	struct image_check c = { 0 };
	struct image_opts o = { 0 };
	int fd = fd_memfd("image", 0);
	static u8 back[SIZE];
	struct blk *b;

	CHECK(!fd_pwrite_full(fd, image, size, 0));
	b = image_open_file(l, fd, false, &err);
	b = b ? image_open(b, f, &o, &err) : NULL;
	if (!b)
		printf("  %s\n", err.msg);
	CHECK(b);
	CHECK(!blk_read_now(b, 0, back, SIZE));
	for (u64 i = 0; i < SECTORS; i++)
		CHECK(holds(i, back + i * 512));
	if (f == IMAGE_QCOW2) {
		CHECK_EQ(image_check(b, IMAGE_CHECK_ONLY, &c, &err), 0);
		CHECK_EQ(c.errors, 0);
		CHECK_EQ(image_check(b, IMAGE_FIX_LEAKS, &c, &err), 0);
		c = (struct image_check){ 0 };
		CHECK_EQ(image_check(b, IMAGE_CHECK_ONLY, &c, &err), 0);
		CHECK_EQ(c.errors + c.leaks, 0);
	}
	blk_close(b);
}

static void one_life(struct loop *l, enum image_format f, const struct image_create *how,
		     bool snapshots)
{
	static u8 image[MAX_FILE];
	struct image_opts o = { .no_backing = true };
	struct cut *c = cut_new(l, 0);
	struct blk *b;
	u64 size;

	memset(sector, 0, sizeof sector);
	for (u64 i = 0; i < SECTORS; i++)
		may_hold(i, 0);
	CHECK(!image_create(&c->b, f, how, &err));
	memcpy(c->stable, c->now, MAX_FILE);
	forget(c);
	b = image_open(&c->b, f, &o, &err);
	CHECK(b);
	c->left = (unsigned)random() % 600;
	CHECK(live(b, snapshots) < 0);
	crash(c, image);
	size = c->b.info.size;
	blk_close(b);
	check_after(l, image, size, f);
}

static void lives(enum image_format f, const struct image_create *how, bool snapshots)
{
	const char *env = getenv("VIREO_CRASHES");
	struct loop *l = loop_new(&err);
	const char *seed = getenv("VIREO_SEED");
	unsigned n = env ? (unsigned)atoi(env) : 20, from = seed ? (unsigned)atoi(seed) : 1;

	for (unsigned i = 0; i < n; i++) {
		srandom(from + i);
		one_life(l, f, how, snapshots);
	}
	loop_free(l);
}

TEST(qcow2_survives_power_cuts)
{
	struct image_create c = { .size = SIZE, .cluster_size = 4096 };

	lives(IMAGE_QCOW2, &c, false);
}

TEST(qcow2_with_snapshots_survives_power_cuts)
{
	struct image_create c = { .size = SIZE, .cluster_size = 512 };

	lives(IMAGE_QCOW2, &c, true);
}

TEST(qcow2_with_subclusters_survives_power_cuts)
{
	struct image_create c = { .size = SIZE, .cluster_size = 16384, .extended_l2 = true };

	lives(IMAGE_QCOW2, &c, true);
}

TEST(vhdx_survives_power_cuts)
{
	struct image_create c = { .size = SIZE, .cluster_size = 1 << 20 };

	lives(IMAGE_VHDX, &c, false);
}

TEST(vdi_vhd_and_vmdk_survive_power_cuts)
{
	struct image_create c = { .size = SIZE };

	lives(IMAGE_VDI, &c, false);
	lives(IMAGE_VPC, &c, false);
	lives(IMAGE_VMDK, &c, false);
}
