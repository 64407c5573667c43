// SPDX-License-Identifier: Apache-2.0
/*
 * clock_fake.h - a clock that moves only when told, for tests and fuzzing
 */
#ifndef BASE_CLOCK_FAKE_H
#define BASE_CLOCK_FAKE_H

#include "base/clock.h"

#define CLOCK_FAKE_TIMERS 64

struct clock_fake {
	struct clock clock; /* hand this to the device */
	u64 now_ns, wall_ns;
	struct timer *armed[CLOCK_FAKE_TIMERS];
	unsigned nr;
	u64 fired;	/* callbacks run so far */
	bool runaway;	/* an advance ran into the callback limit: a timer re-arms in the past */
};

void clock_fake_init(struct clock_fake *c); /* now = 1 s, wall = 2024-02-29 12:34:56 UTC */

/* Move forward by ns, running due timers in order of time, each at its own time. */
void clock_fake_advance(struct clock_fake *c, u64 ns);

#endif
