// SPDX-License-Identifier: Apache-2.0
/*
 * clock.h - time and timers as an interface
 *
 * Declared low, implemented high: os/ implements it on CLOCK_MONOTONIC and the
 * event loop, clock_fake.c for tests. Timers are intrusive and never allocate.
 * A callback runs on the loop's thread with the board lock held (vmm), once per
 * arming; it may re-arm its own timer. clock_arm() on an armed timer moves it.
 *
 * Context: any thread that holds the board lock.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/types.h"

struct timer {
	u64 when_ns; /* absolute, on clock_now_ns()'s scale */
	void (*fn)(struct timer *t, u64 now_ns);
	u32 slot; /* the clock's: position in its heap + 1, 0 = not armed */
};

struct clock;

struct clock_ops {
	u64 (*now_ns)(struct clock *c);	    /* monotonic since an arbitrary origin */
	u64 (*wall_ns)(struct clock *c);    /* UTC, nanoseconds since 1970 */
	void (*arm)(struct clock *c, struct timer *t, u64 when_ns);
	void (*disarm)(struct clock *c, struct timer *t);
};

struct clock {
	const struct clock_ops *ops;
};

static inline u64 clock_now_ns(struct clock *c)
{
	return c->ops->now_ns(c);
}

static inline u64 clock_wall_ns(struct clock *c)
{
	return c->ops->wall_ns(c);
}

static inline void clock_arm(struct clock *c, struct timer *t, u64 when_ns)
{
	c->ops->arm(c, t, when_ns);
}

static inline void clock_disarm(struct clock *c, struct timer *t)
{
	c->ops->disarm(c, t);
}

#endif
