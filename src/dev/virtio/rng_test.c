// SPDX-License-Identifier: Apache-2.0
/* rng_test.c - virtio-rng and its limit */
#include "dev/virtio/drv_test.h"

#include "base/test.h"

static size_t fill(void *ctx, void *buf, size_t len)
{
	memset(buf, 0xa5, len);
	(*(unsigned *)ctx)++;
	return len;
}

TEST(rng_fills_at_the_rate_it_may)
{
	unsigned calls = 0;
	struct virtio_rng_cfg c = {
		.fill = fill, .ctx = &calls,
		.limit.bucket[RATELIMIT_BYTES] = { .size = 100, .refill_ms = 100 },
	};
	const struct drv_buf b = { DRV_BUF, 64 };
	struct drv t;
	u32 id, len;
	u8 got[65];

	CHECK(drv_open(&t, &virtio_rng_class, &c, 0, DRV_QSIZE));
	CHECK_EQ(drv_call(&t, 0, &b, 0, 1), 64);
	drv_get(&t, DRV_BUF, got, sizeof got);
	CHECK(got[0] == 0xa5 && got[63] == 0xa5 && !got[64]);
	CHECK_EQ(drv_call(&t, 0, &b, 0, 1), ~0u);
	clock_fake_advance(&t.clock, 20000000);
	CHECK_EQ(calls, 1);
	clock_fake_advance(&t.clock, 20000000);
	CHECK_EQ(calls, 2);
	CHECK(drv_used(&t, 0, &id, &len));
	CHECK_EQ(len, 64);
	drv_close(&t);
	CHECK_EQ(t.clock.nr, 0);
}
