// SPDX-License-Identifier: Apache-2.0
/* pmem_test.c - virtio-pmem: flushes, and what comes of them */
#include "dev/virtio/drv_test.h"

#include "base/test.h"
#include "blk/blk_int.h"

static struct blk_req *held;
static unsigned flushes;

static void hold(struct blk *b UNUSED, struct blk_req *r)
{
	flushes += r->op == BLK_FLUSH;
	held = r;
}

static const struct blk_driver driver = { .name = "held", .submit = hold };

static bool open_pmem(struct drv *t, struct blk *b, bool with_blk)
{
	struct virtio_pmem_cfg c = { .start = 5ull << 30, .size = 4 << 20, .blk = with_blk ? b : NULL };

	memset(b, 0, sizeof *b);
	blk_init(b, &driver, NULL, NULL);
	b->info = (struct blk_info){ .size = 4 << 20, .block_size = 512 };
	flushes = 0;
	held = NULL;
	return drv_open(t, &virtio_pmem_class, &c, 0, DRV_QSIZE);
}

static const struct drv_buf req[2] = { { DRV_BUF, 4 }, { DRV_BUF + 0x100, 4 } };

static u32 answer_of(struct drv *t)
{
	u32 v;

	drv_get(t, DRV_BUF + 0x100, &v, sizeof v);
	return v;
}

TEST(pmem_flush_is_answered_when_it_is_done)
{
	struct blk b;
	struct drv t;
	u32 id, len;

	CHECK(open_pmem(&t, &b, true));
	CHECK_EQ(drv_config(&t, 4, 4), 1); /* start, upper half */
	CHECK_EQ(drv_config(&t, 8, 4), 4 << 20);
	drv_put(&t, DRV_BUF, &(u32){ 0 }, 4);
	drv_put(&t, DRV_BUF + 0x100, &(u32){ 77 }, 4);
	CHECK_EQ(drv_call(&t, 0, req, 1, 1), ~0u);
	CHECK(flushes == 1 && held);
	blk_complete(&b, held, 0);
	CHECK(drv_used(&t, 0, &id, &len));
	CHECK_EQ(len, 4);
	CHECK_EQ(answer_of(&t), 0);
	CHECK_EQ(drv_call(&t, 0, req, 1, 1), ~0u);
	blk_complete(&b, held, 5);
	CHECK(drv_used(&t, 0, &id, &len));
	CHECK_EQ(answer_of(&t), 1); /* it failed */
	drv_put(&t, DRV_BUF, &(u32){ 9 }, 4);
	CHECK_EQ(drv_call(&t, 0, req, 1, 1), 4);
	CHECK_EQ(answer_of(&t), 1); /* no such request */
	CHECK_EQ(drv_call(&t, 0, req, 1, 0), 0); /* nowhere to answer */
	CHECK_EQ(flushes, 2);
	drv_close(&t);
}

TEST(pmem_read_only_has_nothing_to_flush)
{
	struct blk b;
	struct drv t;

	CHECK(open_pmem(&t, &b, false));
	drv_put(&t, DRV_BUF, &(u32){ 0 }, 4);
	drv_put(&t, DRV_BUF + 0x100, &(u32){ 77 }, 4);
	CHECK_EQ(drv_call(&t, 0, req, 1, 1), 4);
	CHECK_EQ(answer_of(&t), 0);
	CHECK_EQ(flushes, 0);
	drv_close(&t);
}
