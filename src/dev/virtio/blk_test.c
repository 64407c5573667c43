// SPDX-License-Identifier: Apache-2.0
/* blk_test.c - virtio-blk over a node that completes when the test says so */
#include "blk/blk_int.h"

#include "base/test.h"
#include "dev/virtio/drv_test.h"

#include <errno.h>

#define DISK_SIZE (64u << 10)

enum { IN, OUT, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };

struct disk {
	struct blk b;
	u8 data[DISK_SIZE];
	struct blk_req *held[32];
	unsigned nr_held, nr_flush, nr_zero;
	bool hold;
	int error;
};

static void finish_one(struct disk *d, struct blk_req *r)
{
	u8 *at = d->data + r->offset;

	if (r->op == BLK_FLUSH)
		d->nr_flush++;
	if (r->op == BLK_WRITE_ZEROES || r->op == BLK_DISCARD) {
		memset(at, 0, r->len);
		d->nr_zero++;
	}
	for (int i = 0; (r->op == BLK_READ || r->op == BLK_WRITE) && i < r->nr_iov; i++) {
		if (r->op == BLK_READ)
			memcpy(r->iov[i].iov_base, at, r->iov[i].iov_len);
		else
			memcpy(at, r->iov[i].iov_base, r->iov[i].iov_len);
		at += r->iov[i].iov_len;
	}
	blk_complete(&d->b, r, d->error);
}

static void disk_submit(struct blk *b, struct blk_req *r)
{
	struct disk *d = container_of(b, struct disk, b);

	if (d->hold)
		d->held[d->nr_held++] = r;
	else
		finish_one(d, r);
}

static void disk_wait(struct blk *b)
{
	struct disk *d = container_of(b, struct disk, b);

	finish_one(d, d->held[--d->nr_held]); /* the newest first */
}

static const struct blk_driver disk_driver = { .name = "test", .submit = disk_submit,
					       .wait = disk_wait };
static struct disk disk;

static bool open_disk(struct drv *t, u64 want, bool read_only)
{
	struct virtio_blk_cfg c = { .blk = &disk.b, .serial = "serial-0", .read_only = read_only };

	memset(&disk, 0, sizeof disk);
	blk_init(&disk.b, &disk_driver, NULL, NULL);
	disk.b.info = (struct blk_info){ .size = DISK_SIZE, .block_size = 512, .discard = true };
	for (unsigned i = 0; i < DISK_SIZE; i++)
		disk.data[i] = (u8)(i >> 9);
	return drv_open(t, &virtio_blk_class, &c, want, DRV_QSIZE);
}

#define ALL_BUT_PACKED (~0ull & ~VIRTIO_F_RING_PACKED)
#define HDR_AT	  DRV_BUF
#define STATUS_AT (DRV_BUF + 0x100)
#define DATA_AT	  (DRV_BUF + 0x1000)

static u8 get_status(struct drv *t)
{
	u8 s;

	drv_get(t, STATUS_AT, &s, 1);
	return s;
}

/* A request with len bytes of data: readable for OUT, DISCARD and ZEROES. */
static unsigned build(struct drv *t, u32 type, u64 sector, u32 len, struct drv_buf *b)
{
	struct {
		u32 type, zero;
		u64 sector;
	} h = { type, 0, sector };
	u8 none = 0xee;
	unsigned n = 0;

	drv_put(t, HDR_AT, &h, sizeof h);
	drv_put(t, STATUS_AT, &none, 1);
	b[n++] = (struct drv_buf){ HDR_AT, sizeof h };
	if (len)
		b[n++] = (struct drv_buf){ DATA_AT, len };
	b[n++] = (struct drv_buf){ STATUS_AT, 1 };
	return n;
}

static bool data_out(u32 type)
{
	return type == OUT || type == DISCARD || type == ZEROES;
}

static u8 request(struct drv *t, u32 type, u64 sector, u32 len, u32 *ret_used)
{
	struct drv_buf b[3];
	unsigned n = build(t, type, sector, len, b), out = len && data_out(type) ? 2 : 1;

	*ret_used = drv_call(t, 0, b, out, n - out);
	return get_status(t);
}

TEST(blk_reads_and_writes_sectors)
{
	static const u64 want[] = { ALL_BUT_PACKED, ~0ull, 0 };

	for (unsigned i = 0; i < array_len(want); i++) {
		struct drv t;
		u8 buf[1024];
		u32 used;

		CHECK(open_disk(&t, want[i], false));
		CHECK_EQ(drv_config(&t, 0, 4), DISK_SIZE / 512);
		CHECK_EQ(request(&t, IN, 3, 1024, &used), 0);
		CHECK_EQ(used, 1025);
		drv_get(&t, DATA_AT, buf, sizeof buf);
		CHECK_EQ(buf[0], 3);
		CHECK_EQ(buf[1023], 4);
		memset(buf, 0x77, sizeof buf);
		drv_put(&t, DATA_AT, buf, sizeof buf);
		CHECK_EQ(request(&t, OUT, 10, 1024, &used), 0);
		CHECK_EQ(used, 1);
		CHECK_EQ(disk.data[10 * 512], 0x77);
		CHECK_EQ(disk.data[12 * 512 - 1], 0x77);
		CHECK_EQ(disk.data[12 * 512], 12);
		CHECK_EQ(disk.nr_flush, want[i] ? 0 : 1); /* no FLUSH: write-through */
		drv_close(&t);
	}
}

TEST(blk_refuses_what_lies_outside_or_is_read_only)
{
	struct drv t;
	u32 used;

	CHECK(open_disk(&t, ALL_BUT_PACKED, false));
	CHECK_EQ(request(&t, IN, DISK_SIZE / 512, 512, &used), 1);
	CHECK_EQ(request(&t, IN, ~0ull, 512, &used), 1);
	CHECK_EQ(request(&t, IN, ~0ull >> 9, 512, &used), 1);
	CHECK_EQ(request(&t, IN, DISK_SIZE / 512 - 1, 1024, &used), 1);
	CHECK_EQ(request(&t, OUT, 0, 100, &used), 1);
	CHECK_EQ(request(&t, 99, 0, 0, &used), 2);
	CHECK_EQ(used, 1);
	disk.error = EIO;
	CHECK_EQ(request(&t, IN, 0, 512, &used), 1);
	drv_close(&t);
	CHECK(open_disk(&t, ALL_BUT_PACKED, true));
	CHECK(t.features & 1 << 5);
	CHECK_EQ(request(&t, OUT, 0, 512, &used), 1);
	CHECK_EQ(request(&t, ZEROES, 0, 16, &used), 1);
	CHECK_EQ(request(&t, IN, 0, 512, &used), 0);
	drv_close(&t);
}

TEST(blk_names_itself_flushes_discards_and_zeroes)
{
	struct drv t;
	char id[21] = "";
	struct {
		u64 sector;
		u32 nr, flags;
	} r[3] = { { 4, 2, 0 }, { 8, 1, 0 }, { DISK_SIZE / 512, 1, 0 } };
	u32 used;

	CHECK(open_disk(&t, ALL_BUT_PACKED, false));
	CHECK_EQ(request(&t, GET_ID, 0, 20, &used), 0);
	drv_get(&t, DATA_AT, id, 20);
	CHECK_STR(id, "serial-0");
	CHECK_EQ(request(&t, FLUSH, 0, 0, &used), 0);
	CHECK_EQ(disk.nr_flush, 1);
	drv_put(&t, DATA_AT, r, sizeof r);
	CHECK_EQ(request(&t, DISCARD, 0, sizeof r, &used), 1); /* one is outside: none is done */
	CHECK_EQ(disk.nr_zero, 0);
	CHECK_EQ(request(&t, ZEROES, 0, 32, &used), 0);
	CHECK_EQ(disk.nr_zero, 2);
	CHECK_EQ(disk.data[5 * 512], 0);
	CHECK_EQ(disk.data[7 * 512], 7);
	CHECK_EQ(request(&t, ZEROES, 0, 20, &used), 1);
	r[0].flags = 2;
	drv_put(&t, DATA_AT, r, sizeof r);
	CHECK_EQ(request(&t, ZEROES, 0, 16, &used), 2);
	drv_close(&t);
}

TEST(blk_completes_out_of_order_and_drains_on_reset)
{
	struct drv_buf b[3];
	struct drv t;
	u32 id, len;

	CHECK(open_disk(&t, ALL_BUT_PACKED, false));
	disk.hold = true;
	build(&t, IN, 0, 512, b);
	for (unsigned i = 0; i < 4; i++)
		drv_add(&t, 0, b, 1, 2);
	drv_kick(&t, 0);
	CHECK_EQ(disk.nr_held, 4);
	CHECK(!drv_used(&t, 0, &id, &len));
	disk_wait(&disk.b);
	CHECK(drv_used(&t, 0, &id, &len));
	CHECK_EQ(id, 9); /* the last head: three descriptors each */
	drv_write(&t, 20, 1, 0);
	CHECK_EQ(disk.nr_held, 0);
	CHECK_EQ(drv_read(&t, 20, 1), 0);
	drv_close(&t);
}

TEST(blk_request_without_status_or_header_needs_a_reset)
{
	static const struct drv_buf shrt[2] = { { HDR_AT, 15 }, { STATUS_AT, 1 } };
	static const struct drv_buf no_status = { HDR_AT, 16 };
	struct drv t;

	CHECK(open_disk(&t, ALL_BUT_PACKED, false));
	CHECK_EQ(drv_call(&t, 0, shrt, 1, 1), ~0u);
	CHECK_EQ(drv_read(&t, 20, 1), 15 | 64);
	CHECK(drv_start(&t, ALL_BUT_PACKED, DRV_QSIZE));
	CHECK_EQ(drv_call(&t, 0, &no_status, 1, 0), ~0u);
	CHECK_EQ(drv_read(&t, 20, 1), 15 | 64);
	drv_close(&t);
}

TEST(blk_write_cache_can_be_turned_off)
{
	struct drv t;
	u32 used;

	CHECK(open_disk(&t, ALL_BUT_PACKED, false));
	CHECK_EQ(drv_config(&t, 32, 1), 1);
	drv_write(&t, 0x2000 + 32, 1, 0);
	CHECK_EQ(request(&t, OUT, 0, 512, &used), 0);
	CHECK_EQ(disk.nr_flush, 1);
	drv_write(&t, 20, 1, 0); /* reset turns it on again */
	CHECK_EQ(drv_config(&t, 32, 1), 1);
	drv_close(&t);
}

static bool open_limited(struct drv *t, struct virtio_blk_cfg c)
{
	memset(&disk, 0, sizeof disk);
	blk_init(&disk.b, &disk_driver, NULL, NULL);
	disk.b.info = (struct blk_info){ .size = DISK_SIZE, .block_size = 512, .discard = true };
	c.blk = &disk.b;
	return drv_open(t, &virtio_blk_class, &c, ALL_BUT_PACKED, DRV_QSIZE);
}

TEST(blk_limit_leaves_requests_in_the_ring_until_their_time)
{
	const struct ratelimit_cfg two = { .bucket = { [RATELIMIT_OPS] = { 2, 100, 0 } } };
	const struct ratelimit_bucket_cfg none = { 0 };
	struct drv_buf b[3];
	struct drv t;
	u32 id, len;

	CHECK(open_limited(&t, (struct virtio_blk_cfg){ .limit = two }));
	build(&t, IN, 0, 512, b);
	for (unsigned i = 0; i < 5; i++)
		drv_add(&t, 0, b, 1, 2);
	drv_kick(&t, 0);
	for (unsigned i = 0; i < 2; i++)
		CHECK(drv_used(&t, 0, &id, &len));
	CHECK(!drv_used(&t, 0, &id, &len));
	clock_fake_advance(&t.clock, 49000000);
	CHECK(!drv_used(&t, 0, &id, &len));
	clock_fake_advance(&t.clock, 1000000);
	CHECK(drv_used(&t, 0, &id, &len));
	CHECK(!drv_used(&t, 0, &id, &len));
	virtio_blk_set_limit(t.dev, RATELIMIT_OPS, &none);
	clock_fake_advance(&t.clock, 1);
	for (unsigned i = 0; i < 2; i++)
		CHECK(drv_used(&t, 0, &id, &len));
	drv_close(&t);
}

TEST(blk_write_through_flushes_after_every_write)
{
	struct drv t;
	u32 used;

	CHECK(open_limited(&t, (struct virtio_blk_cfg){ .write_through = true }));
	CHECK_EQ(drv_config(&t, 32, 1), 0);
	CHECK_EQ(request(&t, OUT, 0, 512, &used), 0);
	CHECK_EQ(disk.nr_flush, 1);
	drv_close(&t);
	CHECK(open_limited(&t, (struct virtio_blk_cfg){ .no_flush = true }));
	CHECK(!(t.features & 1 << 9));
	CHECK_EQ(request(&t, OUT, 0, 512, &used), 0);
	CHECK_EQ(disk.nr_flush, 0);
	drv_close(&t);
}

TEST(blk_serves_several_queues_and_announces_a_new_size)
{
	struct drv_buf b[3];
	struct drv t;
	unsigned n;

	CHECK(open_limited(&t, (struct virtio_blk_cfg){ .nr_queues = 2 }));
	CHECK(t.features & 1 << 12);
	CHECK_EQ(drv_config(&t, 34, 2), 2);
	n = build(&t, IN, 5, 512, b);
	CHECK_EQ(drv_call(&t, 1, b, 1, n - 1), 513);
	disk.b.info.size = DISK_SIZE / 2;
	virtio_blk_resized(t.dev);
	CHECK_EQ(drv_config(&t, 0, 4), DISK_SIZE / 1024);
	CHECK_EQ(drv_call(&t, 0, b, 1, n - 1), 513);
	drv_close(&t);
}
