// SPDX-License-Identifier: Apache-2.0
/*
 * ratelimit.h - token buckets: so many bytes and so many operations in a time
 *
 * A bucket holds at most size tokens and refills from empty to full in refill_ms,
 * evenly. one_time_burst tokens on top are spent first and never come back. A
 * request larger than the whole bucket is let through and paid for afterwards: the
 * limiter stays shut until the bucket would have earned what it lacked.
 *
 * Context: as the clock given (clock.h). Never allocates.
 */
#ifndef BASE_RATELIMIT_H
#define BASE_RATELIMIT_H

#include "base/clock.h"
#include "base/compiler.h"
#include "base/types.h"

enum ratelimit_kind { RATELIMIT_BYTES, RATELIMIT_OPS, RATELIMIT_NR };

struct ratelimit_bucket_cfg {
	u64 size;      /* tokens; 0 = no limit */
	u64 refill_ms; /* 0 = no limit */
	u64 one_time_burst;
};

struct ratelimit_cfg {
	struct ratelimit_bucket_cfg bucket[RATELIMIT_NR];
};

struct ratelimit_bucket {
	struct ratelimit_bucket_cfg cfg;
	u64 budget, burst; /* tokens there now */
	u64 last_ns;	   /* the budget counts what was earned until then */
};

struct ratelimit {
	struct clock *clock;
	struct timer timer;
	struct ratelimit_bucket bucket[RATELIMIT_NR];
	u64 shut_until_ns; /* nothing is let through before; 0 = open */
	void (*resume)(struct ratelimit *r);
};

/*
 * ratelimit_init() - buckets full
 * @clock:	may be NULL if nothing is ever limited
 * @resume:	called once after a ratelimit_take() that failed, when trying again may
 *		succeed: from the clock's timer, never from inside ratelimit_take()
 */
void ratelimit_init(struct ratelimit *r, struct clock *clock, const struct ratelimit_cfg *cfg,
		    void (*resume)(struct ratelimit *r));
void ratelimit_fini(struct ratelimit *r); /* resume() is not called any more */

/* Take from both buckets, or from neither. Return: the caller may go on. */
bool ratelimit_take(struct ratelimit *r, u64 ops, u64 bytes) MUST_CHECK;

/*
 * Replace one bucket's limit, at any time; it starts full, with the new burst. Whoever
 * waits is woken to try again.
 */
void ratelimit_set(struct ratelimit *r, enum ratelimit_kind k,
		   const struct ratelimit_bucket_cfg *cfg);

void ratelimit_get(const struct ratelimit *r, struct ratelimit_cfg *ret); /* as configured */
bool ratelimit_any(const struct ratelimit_cfg *cfg);			  /* limits something */

#endif
