// SPDX-License-Identifier: Apache-2.0
/*
 * hpet.c - high precision event timers
 *
 * Follows IA-PC HPET Specification 1.0a (October 2004) as [HPET].
 * Modelled: 64-bit main counter at 100 MHz, three comparators, one-shot and
 * periodic, 32- and 64-bit, edge and level, routed to GSI 20..23.
 * Not modelled: legacy replacement routing, FSB (MSI) delivery; the capability
 * registers say so.
 * DEVIATION: periodic interrupts are at least MIN_NS apart; missed ones are
 * dropped, not replayed.
 */
#include "dev/pc/pc.h"

#include "base/bits.h"

#define TICK_NS 10ull /* 100 MHz */
#define MIN_NS	50000ull
#define NR	3u

/* [HPET] 2.3: register offsets */
enum { REG_CAP = 0x00, REG_CONF = 0x10, REG_STATUS = 0x20, REG_COUNTER = 0xf0, REG_TIMER = 0x100 };
enum { TIMER_CONF = 0x00, TIMER_CMP = 0x08, TIMER_FSB = 0x10, TIMER_STRIDE = 0x20 };

/* [HPET] 2.3.4: period in fs, vendor, 64-bit counter, last timer, revision */
#define CAP (TICK_NS * 1000000ull << 32 | 0x8086u << 16 | BIT(13) | (NR - 1) << 8 | 1)

#define CONF_ENABLE BIT(0)

/* [HPET] 2.3.8: timer configuration */
#define T_LEVEL	   BIT_ULL(1)
#define T_ENABLE   BIT_ULL(2)
#define T_PERIODIC BIT_ULL(3)
#define T_VAL_SET  BIT_ULL(6)
#define T_32BIT	   BIT_ULL(8)
#define T_ROUTE(c) ((unsigned)((c) >> 9 & 31))
#define T_ROUTES   0x00f00000ull /* GSI 20..23 */
#define T_FIXED	   (T_ROUTES << 32 | BIT_ULL(4) | BIT_ULL(5)) /* periodic, 64-bit capable */
#define T_WRITABLE (T_LEVEL | T_ENABLE | T_PERIODIC | T_VAL_SET | T_32BIT | 31ull << 9)

struct hpet_timer {
	u64 conf, cmp, period;
	struct timer timer;
	struct hpet *owner;
};

struct hpet {
	struct dev dev;
	struct hpet_config cfg;
	u64 start_ns; /* running: the counter is counter + ticks since then */
	u64 counter;
	u32 status; /* level-triggered timers that have fired */
	bool run;
	struct hpet_timer t[NR];
};

#define TIMER_FIELDS(n)                                                                            \
	FIELD(struct hpet, t[n].conf), FIELD(struct hpet, t[n].cmp),                               \
		FIELD(struct hpet, t[n].period), FIELD_NOT_SAVED(struct hpet, t[n].timer),         \
		FIELD_NOT_SAVED(struct hpet, t[n].owner)

static const struct field hpet_state[] = {
	FIELD_NOT_SAVED(struct hpet, dev),
	FIELD_NOT_SAVED(struct hpet, cfg),
	FIELD(struct hpet, start_ns),
	FIELD(struct hpet, counter),
	FIELD(struct hpet, status, .max = BIT(NR) - 1),
	FIELD(struct hpet, run),
	TIMER_FIELDS(0),
	TIMER_FIELDS(1),
	TIMER_FIELDS(2),
	FIELD_END,
};

static struct hpet *to_hpet(struct dev *d)
{
	return container_of(d, struct hpet, dev);
}

static u64 counter(const struct hpet *h)
{
	return h->counter +
	       (h->run ? (clock_now_ns(h->dev.env.clock) - h->start_ns) / TICK_NS : 0);
}

static u64 width(const struct hpet_timer *t)
{
	return t->conf & T_32BIT ? 0xffffffff : ~0ull;
}

static void set_route(struct hpet *h, unsigned route, bool level)
{
	if (h->cfg.gsi.set && T_ROUTES >> route & 1)
		h->cfg.gsi.set(h->cfg.gsi.chip, route, level);
}

/* Level-triggered timers may share a route: it is up while any of them is. */
static void update_route(struct hpet *h, unsigned route)
{
	bool level = false;

	for (unsigned i = 0; i < NR; i++)
		level |= h->t[i].conf & T_LEVEL && h->t[i].conf & T_ENABLE &&
			 T_ROUTE(h->t[i].conf) == route && h->status & BIT(i);
	set_route(h, route, level);
}

/* Arm for the next time the counter equals the comparator. */
static void arm(struct hpet *h, struct hpet_timer *t, bool wrapped)
{
	u64 now = clock_now_ns(h->dev.env.clock), ticks, when;
	bool periodic = t->conf & T_PERIODIC && t->period;

	clock_disarm(h->dev.env.clock, &t->timer);
	if (!h->run)
		return;
	ticks = (t->cmp - counter(h)) & width(t);
	if (wrapped && !ticks) /* just matched: the next match is a full turn away */
		ticks = width(t);
	if (__builtin_mul_overflow(ticks, TICK_NS, &when) || !add_ok(when, now, &when))
		return; /* centuries away */
	if (periodic && wrapped && when < now + MIN_NS)
		when = now + MIN_NS;
	clock_arm(h->dev.env.clock, &t->timer, when);
}

static void on_timer(struct timer *timer, u64 now UNUSED)
{
	struct hpet_timer *t = container_of(timer, struct hpet_timer, timer);
	struct hpet *h = t->owner;
	unsigned n = (unsigned)(t - h->t), route = T_ROUTE(t->conf);
	u64 late = (counter(h) - t->cmp) & width(t);

	if (t->conf & T_PERIODIC && t->period) /* first match after now, [HPET] 2.3.9.2.2 */
		t->cmp = (t->cmp + (late / t->period + 1) * t->period) & width(t);
	arm(h, t, true);
	if (t->conf & T_LEVEL) {
		h->status |= BIT(n);
		update_route(h, route);
	} else if (t->conf & T_ENABLE) {
		set_route(h, route, true);
		set_route(h, route, false);
	}
}

static void arm_all(struct hpet *h)
{
	for (unsigned i = 0; i < NR; i++)
		arm(h, &h->t[i], false);
}

static void write_conf(struct hpet *h, u64 val)
{
	bool run = val & CONF_ENABLE;

	if (run == h->run)
		return;
	h->counter = counter(h);
	h->start_ns = clock_now_ns(h->dev.env.clock);
	h->run = run;
	arm_all(h);
}

static void write_status(struct hpet *h, u64 val)
{
	h->status &= ~(u32)val;
	for (unsigned i = 0; i < NR; i++)
		if (val & BIT(i))
			update_route(h, T_ROUTE(h->t[i].conf));
}

static void write_counter(struct hpet *h, u64 val)
{
	if (h->run)
		dev_guest_error(&h->dev, "counter written while running"); /* [HPET] 2.3.7 */
	h->counter = val;
	h->start_ns = clock_now_ns(h->dev.env.clock);
	arm_all(h);
}

static void write_timer_conf(struct hpet *h, struct hpet_timer *t, u64 val)
{
	unsigned was = T_ROUTE(t->conf);

	t->conf = (val & T_WRITABLE) | T_FIXED;
	if (t->conf & T_32BIT) {
		t->cmp = (u32)t->cmp;
		t->period = (u32)t->period;
	}
	if (!(t->conf & T_LEVEL))
		h->status &= ~BIT(t - h->t);
	update_route(h, was);
	update_route(h, T_ROUTE(t->conf));
	arm(h, t, false);
}

/* [HPET] 2.3.9.2.2: in periodic mode a write sets the period, and the comparator too only
 * right after VAL_SET. */
static void write_cmp(struct hpet *h, struct hpet_timer *t, u64 val)
{
	val &= width(t);
	if (!(t->conf & T_PERIODIC) || t->conf & T_VAL_SET)
		t->cmp = val;
	if (t->conf & T_PERIODIC)
		t->period = val;
	t->conf &= ~T_VAL_SET;
	arm(h, t, false);
}

static u64 read64(struct hpet *h, u64 off)
{
	struct hpet_timer *t = &h->t[(off - REG_TIMER) / TIMER_STRIDE % NR];

	switch (off) {
	case REG_CAP: return CAP;
	case REG_CONF: return h->run ? CONF_ENABLE : 0;
	case REG_STATUS: return h->status;
	case REG_COUNTER: return counter(h);
	}
	if (off < REG_TIMER || off >= REG_TIMER + NR * TIMER_STRIDE)
		return 0;
	switch (off % TIMER_STRIDE) {
	case TIMER_CONF: return t->conf;
	case TIMER_CMP: return t->cmp;
	default: return 0;
	}
}

static void write64(struct hpet *h, u64 off, u64 val)
{
	struct hpet_timer *t = &h->t[(off - REG_TIMER) / TIMER_STRIDE % NR];

	switch (off) {
	case REG_CONF: write_conf(h, val); return;
	case REG_STATUS: write_status(h, val); return;
	case REG_COUNTER: write_counter(h, val); return;
	}
	if (off >= REG_TIMER && off < REG_TIMER + NR * TIMER_STRIDE) {
		switch (off % TIMER_STRIDE) {
		case TIMER_CONF: write_timer_conf(h, t, val); return;
		case TIMER_CMP: write_cmp(h, t, val); return;
		case TIMER_FSB: return;
		}
	}
	dev_guest_error(&h->dev, "write to a read-only or absent register");
}

/* Registers are 64 bits; 32-bit halves may be accessed. [HPET] 2.3.2 */
static u64 hpet_read(struct dev *d, unsigned region UNUSED, u64 off, unsigned size)
{
	if (off % size)
		return ~0ull;
	return read64(to_hpet(d), off & ~7ull) >> off % 8 * 8;
}

static void hpet_write(struct dev *d, unsigned region UNUSED, u64 off, unsigned size, u64 val)
{
	struct hpet *h = to_hpet(d);
	u64 reg = off & ~7ull, old;

	if (off % size) {
		dev_guest_error(d, "misaligned write");
		return;
	}
	/* Status bits are write-1-to-clear: the other half must not be read back into them. */
	old = reg == REG_STATUS ? 0 : read64(h, reg);
	if (size == 4 && off % 8)
		val = (u32)old | val << 32;
	else if (size == 4)
		val = (old & ~0xffffffffull) | val;
	write64(h, reg, val);
}

static int hpet_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	struct hpet *h = to_hpet(d);

	if (cfg)
		h->cfg = *(const struct hpet_config *)cfg;
	for (unsigned i = 0; i < NR; i++) {
		h->t[i].timer.fn = on_timer;
		h->t[i].owner = h;
	}
	return 0;
}

static void disarm_all(struct hpet *h)
{
	for (unsigned i = 0; i < NR; i++)
		clock_disarm(h->dev.env.clock, &h->t[i].timer);
}

static void hpet_fini(struct dev *d)
{
	disarm_all(to_hpet(d));
}

static void hpet_reset(struct dev *d)
{
	struct hpet *h = to_hpet(d);

	disarm_all(h);
	h->run = false;
	h->status = 0;
	h->counter = h->start_ns = 0;
	for (unsigned i = 0; i < NR; i++) {
		update_route(h, T_ROUTE(h->t[i].conf));
		h->t[i].conf = T_FIXED;
		h->t[i].cmp = ~0ull;
		h->t[i].period = 0;
	}
}

static int hpet_loaded(struct dev *d, struct err *e UNUSED)
{
	struct hpet *h = to_hpet(d);

	for (unsigned i = 0; i < NR; i++) {
		h->t[i].conf = (h->t[i].conf & T_WRITABLE) | T_FIXED;
		h->t[i].cmp &= width(&h->t[i]);
		h->t[i].period &= width(&h->t[i]);
		update_route(h, T_ROUTE(h->t[i].conf));
	}
	arm_all(h);
	return 0;
}

static const struct dev_region hpet_region[] = {
	{ .name = "regs", .space = SPACE_MMIO, .size = 0x400, .acc_min = 4, .acc_max = 8 },
};

const struct dev_class hpet_class = {
	.name = "hpet",
	.spec = "IA-PC HPET Specification 1.0a",
	.size = sizeof(struct hpet),
	.region = hpet_region,
	.nr_regions = array_len(hpet_region),
	.state = hpet_state,
	.state_version = 1,
	.init = hpet_init,
	.fini = hpet_fini,
	.reset = hpet_reset,
	.read = hpet_read,
	.write = hpet_write,
	.loaded = hpet_loaded,
};
