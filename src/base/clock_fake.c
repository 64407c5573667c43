// SPDX-License-Identifier: Apache-2.0
/* clock_fake.c - see clock_fake.h */
#include "base/clock_fake.h"

#include "base/compiler.h"

#define MAX_CALLBACKS 100000 /* per advance */

static struct clock_fake *to_fake(struct clock *c)
{
	return container_of(c, struct clock_fake, clock);
}

static u64 fake_now(struct clock *c)
{
	return to_fake(c)->now_ns;
}

static u64 fake_wall(struct clock *c)
{
	return to_fake(c)->wall_ns;
}

static void fake_disarm(struct clock *c, struct timer *t)
{
	struct clock_fake *f = to_fake(c);

	if (!t->slot)
		return;
	f->armed[t->slot - 1] = f->armed[--f->nr];
	f->armed[t->slot - 1]->slot = t->slot;
	t->slot = 0;
}

static void fake_arm(struct clock *c, struct timer *t, u64 when_ns)
{
	struct clock_fake *f = to_fake(c);

	fake_disarm(c, t);
	t->when_ns = when_ns;
	if (f->nr == CLOCK_FAKE_TIMERS) { /* a test with too many timers */
		f->runaway = true;
		return;
	}
	f->armed[f->nr++] = t;
	t->slot = f->nr;
}

static const struct clock_ops fake_ops = {
	.now_ns = fake_now,
	.wall_ns = fake_wall,
	.arm = fake_arm,
	.disarm = fake_disarm,
};

void clock_fake_init(struct clock_fake *c)
{
	*c = (struct clock_fake){
		.clock.ops = &fake_ops,
		.now_ns = 1000000000,
		.wall_ns = 1709210096ull * 1000000000,
	};
}

static struct timer *next_due(struct clock_fake *c, u64 until)
{
	struct timer *best = NULL;

	for (unsigned i = 0; i < c->nr; i++) {
		struct timer *t = c->armed[i];

		if (t->when_ns <= until && (!best || t->when_ns < best->when_ns))
			best = t;
	}
	return best;
}

void clock_fake_advance(struct clock_fake *c, u64 ns)
{
	u64 until = c->now_ns + ns, step;
	struct timer *t;

	for (unsigned n = 0; (t = next_due(c, until)); n++) {
		if (n == MAX_CALLBACKS) {
			c->runaway = true;
			break;
		}
		step = t->when_ns > c->now_ns ? t->when_ns - c->now_ns : 0;
		c->now_ns += step;
		c->wall_ns += step;
		fake_disarm(&c->clock, t);
		c->fired++;
		t->fn(t, c->now_ns);
	}
	c->wall_ns += until - c->now_ns;
	c->now_ns = until;
}
