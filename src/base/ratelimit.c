// SPDX-License-Identifier: Apache-2.0
/* ratelimit.c - token buckets (see ratelimit.h) */
#include "base/ratelimit.h"

#define MS	    1000000ull
#define SOONEST	    MS /* a wait is at least this long: fewer timers, same rate */
#define NEVER	    (UINT64_MAX / 2)

typedef unsigned __int128 u128;

static u64 clamp(u128 v)
{
	return v < NEVER ? (u64)v : NEVER;
}

static bool limits(const struct ratelimit_bucket *b)
{
	return b->cfg.size && b->cfg.refill_ms;
}

/* The time in which @tokens are earned, rounded up. */
static u64 time_for(const struct ratelimit_bucket *b, u64 tokens)
{
	return clamp(((u128)tokens * b->cfg.refill_ms * MS + b->cfg.size - 1) / b->cfg.size);
}

/* Whole tokens only: the time they took is spent, the rest of it counts next time. */
static void refill(struct ratelimit_bucket *b, u64 now)
{
	u64 room = b->cfg.size - b->budget, earned;

	if (now <= b->last_ns)
		return;
	earned = clamp((u128)(now - b->last_ns) * b->cfg.size / ((u128)b->cfg.refill_ms * MS));
	if (earned >= room) {
		b->budget = b->cfg.size;
		b->last_ns = now;
	} else if (earned) {
		b->budget += earned;
		b->last_ns += time_for(b, earned);
	}
}

/* How long until @tokens can be taken; 0 = now. */
static u64 wait_for(struct ratelimit_bucket *b, u64 tokens, u64 now)
{
	if (!limits(b) || tokens <= b->burst)
		return 0;
	tokens -= b->burst;
	refill(b, now);
	if (tokens <= b->budget || tokens > b->cfg.size)
		return 0;
	return time_for(b, tokens - b->budget);
}

/* Return: how long the limiter is shut for what the bucket lacked. */
static u64 spend(struct ratelimit_bucket *b, u64 tokens, u64 now)
{
	u64 n, shut;

	if (!limits(b))
		return 0;
	n = tokens < b->burst ? tokens : b->burst;
	b->burst -= n;
	tokens -= n;
	if (tokens <= b->budget) {
		b->budget -= tokens;
		return 0;
	}
	shut = time_for(b, tokens - b->budget);
	b->budget = 0;
	b->last_ns = clamp((u128)now + shut); /* what is earned meanwhile is the debt */
	return shut;
}

static void wake_at(struct ratelimit *r, u64 when)
{
	clock_arm(r->clock, &r->timer, when);
}

bool ratelimit_take(struct ratelimit *r, u64 ops, u64 bytes)
{
	u64 want[] = { [RATELIMIT_BYTES] = bytes, [RATELIMIT_OPS] = ops };
	u64 now, wait = 0;

	if (!limits(&r->bucket[RATELIMIT_BYTES]) && !limits(&r->bucket[RATELIMIT_OPS]))
		return true;
	now = clock_now_ns(r->clock);
	if (now < r->shut_until_ns) {
		if (!r->timer.slot)
			wake_at(r, r->shut_until_ns);
		return false;
	}
	for (int i = 0; i < RATELIMIT_NR; i++) {
		u64 w = wait_for(&r->bucket[i], want[i], now);

		wait = w > wait ? w : wait;
	}
	if (wait) {
		if (!r->timer.slot)
			wake_at(r, clamp((u128)now + (wait > SOONEST ? wait : SOONEST)));
		return false;
	}
	for (int i = 0; i < RATELIMIT_NR; i++) {
		u64 shut = spend(&r->bucket[i], want[i], now);

		if (shut && now + shut > r->shut_until_ns)
			r->shut_until_ns = now + shut;
	}
	return true;
}

static void on_timer(struct timer *t, u64 now_ns UNUSED)
{
	struct ratelimit *r = container_of(t, struct ratelimit, timer);

	r->resume(r);
}

static void fill(struct ratelimit_bucket *b, const struct ratelimit_bucket_cfg *cfg, u64 now)
{
	*b = (struct ratelimit_bucket){
		.cfg = *cfg,
		.budget = cfg->size,
		.burst = cfg->one_time_burst,
		.last_ns = now,
	};
}

void ratelimit_init(struct ratelimit *r, struct clock *clock, const struct ratelimit_cfg *cfg,
		    void (*resume)(struct ratelimit *r))
{
	*r = (struct ratelimit){ .clock = clock, .resume = resume, .timer.fn = on_timer };
	for (int i = 0; i < RATELIMIT_NR; i++)
		fill(&r->bucket[i], &cfg->bucket[i], clock ? clock_now_ns(clock) : 0);
}

void ratelimit_fini(struct ratelimit *r)
{
	if (r->clock)
		clock_disarm(r->clock, &r->timer);
}

void ratelimit_set(struct ratelimit *r, enum ratelimit_kind k,
		   const struct ratelimit_bucket_cfg *cfg)
{
	u64 now = clock_now_ns(r->clock);

	fill(&r->bucket[k], cfg, now);
	r->shut_until_ns = 0;
	if (r->timer.slot)
		wake_at(r, now);
}

void ratelimit_get(const struct ratelimit *r, struct ratelimit_cfg *ret)
{
	for (int i = 0; i < RATELIMIT_NR; i++)
		ret->bucket[i] = r->bucket[i].cfg;
}

bool ratelimit_any(const struct ratelimit_cfg *cfg)
{
	for (int i = 0; i < RATELIMIT_NR; i++)
		if (cfg->bucket[i].size && cfg->bucket[i].refill_ms)
			return true;
	return false;
}
