// SPDX-License-Identifier: Apache-2.0
#include "base/clock_fake.h"
#include "base/ratelimit.h"
#include "base/test.h"

#define MS 1000000ull

static struct clock_fake fake;
static struct ratelimit lim;
static unsigned resumed;

static void on_resume(struct ratelimit *r UNUSED)
{
	resumed++;
}

static void begin(struct ratelimit_bucket_cfg bytes, struct ratelimit_bucket_cfg ops)
{
	struct ratelimit_cfg cfg = { .bucket = { [RATELIMIT_BYTES] = bytes, [RATELIMIT_OPS] = ops } };

	resumed = 0;
	clock_fake_init(&fake);
	ratelimit_init(&lim, &fake.clock, &cfg, on_resume);
}

static const struct ratelimit_bucket_cfg none;

TEST(ratelimit_without_buckets_lets_all_through_and_arms_no_timer)
{
	begin(none, none);
	for (int i = 0; i < 1000; i++)
		CHECK(ratelimit_take(&lim, 1, 1ull << 62));
	CHECK_EQ(fake.nr, 0);
}

TEST(ratelimit_a_bucket_starts_full_and_refills_evenly)
{
	begin(none, (struct ratelimit_bucket_cfg){ .size = 10, .refill_ms = 100 });
	for (int i = 0; i < 10; i++)
		CHECK(ratelimit_take(&lim, 1, 4096));
	CHECK(!ratelimit_take(&lim, 1, 4096));
	clock_fake_advance(&fake, 10 * MS - 1);
	CHECK_EQ(resumed, 0);
	clock_fake_advance(&fake, 1);
	CHECK_EQ(resumed, 1);
	CHECK(ratelimit_take(&lim, 1, 4096));
	CHECK(!ratelimit_take(&lim, 1, 4096));
	clock_fake_advance(&fake, 1000 * MS);
	for (int i = 0; i < 10; i++)
		CHECK(ratelimit_take(&lim, 1, 4096));
	CHECK(!ratelimit_take(&lim, 1, 4096));
}

TEST(ratelimit_the_one_time_burst_is_spent_first_and_never_comes_back)
{
	begin((struct ratelimit_bucket_cfg){ .size = 100, .refill_ms = 100, .one_time_burst = 250 },
	      none);
	CHECK(ratelimit_take(&lim, 1, 250));
	CHECK(ratelimit_take(&lim, 1, 100));
	CHECK(!ratelimit_take(&lim, 1, 1));
	clock_fake_advance(&fake, 10000 * MS);
	CHECK(ratelimit_take(&lim, 1, 100));
	CHECK(!ratelimit_take(&lim, 1, 1));
}

TEST(ratelimit_takes_from_both_buckets_or_from_neither)
{
	begin((struct ratelimit_bucket_cfg){ .size = 100, .refill_ms = 1000 },
	      (struct ratelimit_bucket_cfg){ .size = 2, .refill_ms = 1000 });
	CHECK(ratelimit_take(&lim, 1, 60));
	CHECK(!ratelimit_take(&lim, 1, 60));
	CHECK(ratelimit_take(&lim, 1, 40)); /* the refusal took no operation */
	clock_fake_advance(&fake, 500 * MS);
	CHECK(ratelimit_take(&lim, 1, 50));
	CHECK(!ratelimit_take(&lim, 1, 0));
}

TEST(ratelimit_a_request_larger_than_the_bucket_is_paid_for_afterwards)
{
	begin((struct ratelimit_bucket_cfg){ .size = 100, .refill_ms = 100 }, none);
	CHECK(ratelimit_take(&lim, 1, 350)); /* 250 too many: 250 ms */
	CHECK(!ratelimit_take(&lim, 1, 1));
	clock_fake_advance(&fake, 249 * MS);
	CHECK(!ratelimit_take(&lim, 1, 1));
	CHECK_EQ(resumed, 0);
	clock_fake_advance(&fake, 1 * MS);
	CHECK_EQ(resumed, 1);
	CHECK(!ratelimit_take(&lim, 1, 2)); /* the debt is paid, nothing was saved */
	clock_fake_advance(&fake, 2 * MS);
	CHECK(ratelimit_take(&lim, 1, 2));
}

TEST(ratelimit_over_a_long_time_the_rate_is_the_configured_one)
{
	u64 taken = 0;

	begin(none, (struct ratelimit_bucket_cfg){ .size = 1000, .refill_ms = 777 });
	for (int i = 0; i < 100000; i++) { /* 100 s in odd steps */
		while (ratelimit_take(&lim, 1, 0))
			taken++;
		clock_fake_advance(&fake, 1000000 + (u64)(i % 7) * 1001 - 3003);
	}
	CHECK(taken >= 1000 + 128700 - 50 && taken <= 1000 + 128700 + 50);
	CHECK(!fake.runaway);
}

TEST(ratelimit_a_new_limit_wakes_who_waits)
{
	begin(none, (struct ratelimit_bucket_cfg){ .size = 1, .refill_ms = 1000000 });
	CHECK(ratelimit_take(&lim, 1, 0));
	CHECK(!ratelimit_take(&lim, 1, 0));
	ratelimit_set(&lim, RATELIMIT_OPS, &none);
	clock_fake_advance(&fake, 1);
	CHECK_EQ(resumed, 1);
	CHECK(ratelimit_take(&lim, 1, 0));
}

TEST(ratelimit_extreme_limits_do_not_overflow)
{
	begin((struct ratelimit_bucket_cfg){ UINT64_MAX, UINT64_MAX, UINT64_MAX },
	      (struct ratelimit_bucket_cfg){ 1, UINT64_MAX, 0 });
	CHECK(ratelimit_take(&lim, 1, UINT64_MAX));
	CHECK(!ratelimit_take(&lim, 1, UINT64_MAX));
	clock_fake_advance(&fake, 1000000 * MS);
	CHECK(!ratelimit_take(&lim, 1, 1));
	ratelimit_fini(&lim);
	CHECK_EQ(fake.nr, 0);
}
