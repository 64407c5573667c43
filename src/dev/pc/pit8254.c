// SPDX-License-Identifier: Apache-2.0
/*
 * pit8254.c - programmable interval timer and PC port 0x61
 *
 * Follows Intel 8254 (231164-005, 1993) as [8254]; port 0x61 as in Intel 82371SB
 * (PIIX3) 2.5.3. Input clock 1.193182 MHz.
 * Modelled: three counters, all six modes, BCD, counter and status latches,
 * channel 2's gate and output at port 0x61, the refresh toggle.
 * Not modelled: sound; NMI sources (never asserted).
 * DEVIATION: a new count in modes 2 and 3 takes effect at once, not at the end of
 * the running period. IRQ 0 pulses once per output edge; edges that pass while
 * the host is late are dropped, not replayed, and periods are at least MIN_NS.
 */
#include "dev/pc/pc.h"

#include "base/bits.h"

#define PIT_HZ	   1193182ull
#define NS_PER_SEC 1000000000ull
#define MIN_NS	   100000ull /* shortest period between two interrupts, a host safeguard */

enum { REGION_COUNTERS, REGION_PORT61 };
enum { REG_CONTROL = 3 };

/* clang-format off */
enum {
	RW_LATCH, RW_LSB, RW_MSB, RW_BOTH,				/* [8254] fig. 7 */
	READBACK = 3, RB_NO_COUNT = 0x20, RB_NO_STATUS = 0x10,		/* fig. 11 */
	P61_GATE2 = 0x01, P61_SPEAKER = 0x02, P61_RW = 0x0f,
	P61_REFRESH = 0x10, P61_OUT2 = 0x20,
};
/* clang-format on */

struct counter {
	u64 start_ns;	/* when counting from the initial count began (gate high) */
	u64 held;	/* clocks counted when the gate went low */
	u32 initial;	/* 1..0x10000 (BCD: ..10000), in clocks */
	u16 latch;	/* latched count, as read */
	u8 status;	/* latched status */
	u8 control;	/* RW, mode and BCD bits of the control word */
	u8 low;		/* first byte of a two-byte count write */
	bool loaded;	/* a count was written since the control word */
	bool triggered; /* modes 1 and 5: the gate rose since then */
	bool gate;
	bool write_msb, read_msb; /* the next byte of RW_BOTH is the second one */
	bool count_latched, status_latched;
};

struct pit {
	struct dev dev;
	struct counter c[3];
	u8 port61;
	bool line0; /* mode 0: IRQ 0 is held high after terminal count */
	struct timer timer;
};

#define COUNTER_FIELDS(n)                                                                          \
	FIELD(struct pit, c[n].start_ns), FIELD(struct pit, c[n].held),                            \
		FIELD(struct pit, c[n].initial, .max = 0x10000), FIELD(struct pit, c[n].latch),    \
		FIELD(struct pit, c[n].status), FIELD(struct pit, c[n].control, .max = 0x3f),      \
		FIELD(struct pit, c[n].low), FIELD(struct pit, c[n].loaded),                       \
		FIELD(struct pit, c[n].triggered), FIELD(struct pit, c[n].gate),                   \
		FIELD(struct pit, c[n].write_msb), FIELD(struct pit, c[n].read_msb),               \
		FIELD(struct pit, c[n].count_latched), FIELD(struct pit, c[n].status_latched)

static const struct field pit_state[] = {
	FIELD_NOT_SAVED(struct pit, dev),
	COUNTER_FIELDS(0),
	COUNTER_FIELDS(1),
	COUNTER_FIELDS(2),
	FIELD(struct pit, port61, .max = P61_RW),
	FIELD(struct pit, line0),
	FIELD_NOT_SAVED(struct pit, timer),
	FIELD_END,
};

static struct pit *to_pit(struct dev *d)
{
	return container_of(d, struct pit, dev);
}

static u64 now(const struct pit *p)
{
	return clock_now_ns(p->dev.env.clock);
}

static u64 to_clocks(u64 ns)
{
	return (u64)((unsigned __int128)ns * PIT_HZ / NS_PER_SEC);
}

static u64 to_ns(u64 clocks) /* rounded up: at that time the clock edge has passed */
{
	return (u64)(((unsigned __int128)clocks * NS_PER_SEC + PIT_HZ - 1) / PIT_HZ);
}

static unsigned mode(const struct counter *c)
{
	unsigned m = (c->control >> 1) & 7;

	return m > 5 ? m & 3 : m; /* 6 and 7 are 2 and 3 */
}

static bool periodic(const struct counter *c)
{
	return mode(c) == 2 || mode(c) == 3;
}

static bool gate_triggered(const struct counter *c)
{
	return mode(c) == 1 || mode(c) == 5;
}

static unsigned rw(const struct counter *c)
{
	return c->control >> 4;
}

/* Clocks since counting began. */
static u64 elapsed(const struct counter *c, u64 t)
{
	if (!c->gate && !gate_triggered(c))
		return c->held;
	return t > c->start_ns ? to_clocks(t - c->start_ns) : 0;
}

static bool counting(const struct counter *c)
{
	return c->loaded && (!gate_triggered(c) || c->triggered);
}

/* Level of OUT. [8254] "Mode definitions" */
static bool out(const struct counter *c, u64 t)
{
	u64 n = elapsed(c, t);

	if (!counting(c))
		return mode(c) != 0;
	switch (mode(c)) {
	case 0: case 1:
		return n >= c->initial;
	case 2:
		return !c->gate || n % c->initial != c->initial - 1;
	case 3:
		return !c->gate || n % c->initial < (c->initial + 1) / 2;
	default:
		return n != c->initial;
	}
}

static u16 to_bcd(u32 v)
{
	return (u16)(v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 % 10 << 12);
}

static u32 from_bcd(u16 v)
{
	return (v & 15u) + (v >> 4 & 15u) * 10 + (v >> 8 & 15u) * 100 + (v >> 12) * 1000u;
}

/* The counting element as the guest reads it. */
static u16 count(const struct counter *c, u64 t)
{
	bool bcd = c->control & 1;
	u32 wrap = bcd ? 10000 : 0x10000, v;
	u64 n = elapsed(c, t);

	if (!counting(c))
		n = 0;
	if (mode(c) == 2)
		v = c->initial - (u32)(n % c->initial);
	else if (mode(c) == 3)
		v = (c->initial - (u32)(2 * n % c->initial)) & ~1u; /* down by two */
	else
		v = (u32)((c->initial + wrap - n % wrap) % wrap);
	return bcd ? to_bcd(v % 10000) : (u16)v;
}

static void set_line0(struct pit *p, bool level)
{
	p->line0 = level;
	irq_set(&p->dev.env.irq[0], level);
}

/* Arm the timer for counter 0's next rising edge after t, if there is one. */
static void arm_irq(struct pit *p, u64 t, u64 not_before)
{
	struct counter *c = &p->c[0];
	u64 edge = c->initial + (mode(c) == 4), n = elapsed(c, t), when; /* mode 4: end of strobe */

	if (!counting(c) || gate_triggered(c)) {
		clock_disarm(p->dev.env.clock, &p->timer);
		return;
	}
	if (periodic(c))
		when = c->start_ns + to_ns((n / c->initial + 1) * c->initial);
	else if (n < edge)
		when = c->start_ns + to_ns(edge);
	else
		return;
	clock_arm(p->dev.env.clock, &p->timer, when > not_before ? when : not_before);
}

static void on_timer(struct timer *timer, u64 t)
{
	struct pit *p = container_of(timer, struct pit, timer);

	if (mode(&p->c[0]) == 0)
		set_line0(p, true);
	else
		irq_pulse(&p->dev.env.irq[0]);
	if (periodic(&p->c[0]))
		arm_irq(p, t, t + MIN_NS);
}

static void load(struct pit *p, struct counter *c, u16 val)
{
	u32 n = c->control & 1 ? from_bcd(val) : val;

	c->initial = n ? n : c->control & 1 ? 10000 : 0x10000;
	c->start_ns = now(p);
	c->held = 0;
	c->loaded = true;
	if (c == &p->c[0]) {
		if (p->line0)
			set_line0(p, false);
		arm_irq(p, c->start_ns, 0);
	}
}

static void write_counter(struct pit *p, struct counter *c, u8 val)
{
	switch (rw(c)) {
	case RW_LSB:
		load(p, c, val);
		break;
	case RW_MSB:
		load(p, c, (u16)(val << 8));
		break;
	default:
		if (c->write_msb)
			load(p, c, (u16)(val << 8 | c->low));
		else if (mode(c) == 0)
			c->loaded = false; /* the first byte stops mode 0, [8254] "Mode 0" */
		c->low = val;
		c->write_msb = !c->write_msb;
	}
}

static void latch_count(struct pit *p, struct counter *c)
{
	if (c->count_latched)
		return; /* the first latch holds until read */
	c->latch = count(c, now(p));
	c->count_latched = true;
}

static void latch_status(struct pit *p, struct counter *c)
{
	if (c->status_latched)
		return;
	c->status = (u8)(out(c, now(p)) << 7 | !c->loaded << 6 | c->control);
	c->status_latched = true;
}

static void write_control(struct pit *p, u8 val)
{
	unsigned sel = val >> 6;
	struct counter *c;

	if (sel == READBACK) {
		for (unsigned i = 0; i < 3; i++) {
			if (!(val & BIT(i + 1)))
				continue;
			if (!(val & RB_NO_COUNT))
				latch_count(p, &p->c[i]);
			if (!(val & RB_NO_STATUS))
				latch_status(p, &p->c[i]);
		}
		return;
	}
	c = &p->c[sel];
	if ((val >> 4 & 3) == RW_LATCH) {
		latch_count(p, c);
		return;
	}
	c->control = val & 0x3f;
	c->loaded = c->triggered = c->write_msb = c->read_msb = false;
	c->count_latched = c->status_latched = false;
	if (sel == 0) {
		clock_disarm(p->dev.env.clock, &p->timer);
		if (p->line0)
			set_line0(p, false);
	}
}

static u8 read_counter(struct pit *p, struct counter *c)
{
	bool msb = rw(c) == RW_MSB || (rw(c) == RW_BOTH && c->read_msb);
	u16 v;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	v = c->count_latched ? c->latch : count(c, now(p));
	if (rw(c) == RW_BOTH)
		c->read_msb = !c->read_msb;
	if (rw(c) != RW_BOTH || msb)
		c->count_latched = false;
	return (u8)(msb ? v >> 8 : v);
}

/* Channel 2's gate. [8254] table "Gate pin operations" */
static void set_gate2(struct pit *p, bool gate)
{
	struct counter *c = &p->c[2];
	u64 t = now(p);

	if (gate == c->gate)
		return;
	if (!gate) {
		c->held = elapsed(c, t);
	} else if (mode(c) == 0 || mode(c) == 4) {
		c->start_ns = t - to_ns(c->held); /* resumes */
	} else {
		c->start_ns = t; /* starts over */
		c->triggered = true;
	}
	c->gate = gate;
}

static void pit_write(struct dev *d, unsigned region, u64 off, unsigned size UNUSED, u64 v)
{
	struct pit *p = to_pit(d);
	u8 val = (u8)v;

	if (region == REGION_PORT61) {
		p->port61 = val & P61_RW;
		set_gate2(p, val & P61_GATE2);
	} else if (off == REG_CONTROL) {
		write_control(p, val);
	} else {
		write_counter(p, &p->c[off], val);
	}
}

static u64 pit_read(struct dev *d, unsigned region, u64 off, unsigned size UNUSED)
{
	struct pit *p = to_pit(d);
	u64 t = now(p);

	if (region == REGION_PORT61)
		return p->port61 | (t / 15085 & 1 ? P61_REFRESH : 0) |
		       (out(&p->c[2], t) ? P61_OUT2 : 0);
	if (off == REG_CONTROL)
		return 0xff; /* write only */
	return read_counter(p, &p->c[off]);
}

static int pit_init(struct dev *d, const void *cfg UNUSED, struct err *e UNUSED)
{
	to_pit(d)->timer.fn = on_timer;
	return 0;
}

static void pit_fini(struct dev *d)
{
	clock_disarm(d->env.clock, &to_pit(d)->timer);
}

static void pit_reset(struct dev *d)
{
	struct pit *p = to_pit(d);

	clock_disarm(d->env.clock, &p->timer);
	for (unsigned i = 0; i < 3; i++) /* power-on is undefined: idle, mode 0, no count */
		p->c[i] = (struct counter){ .control = RW_BOTH << 4, .initial = 0x10000,
					    .gate = i != 2 };
	p->port61 = 0;
	set_line0(p, false);
}

static int pit_loaded(struct dev *d, struct err *e UNUSED)
{
	struct pit *p = to_pit(d);

	for (unsigned i = 0; i < 3; i++) {
		if (!p->c[i].initial)
			p->c[i].initial = 0x10000;
		if (rw(&p->c[i]) == RW_LATCH)
			p->c[i].control |= RW_BOTH << 4;
	}
	irq_set(&d->env.irq[0], p->line0);
	clock_disarm(d->env.clock, &p->timer);
	arm_irq(p, now(p), 0);
	return 0;
}

static const struct dev_region pit_region[] = {
	{ .name = "counters", .space = SPACE_PIO, .size = 4, .acc_min = 1, .acc_max = 1 },
	{ .name = "port61", .space = SPACE_PIO, .size = 1, .acc_min = 1, .acc_max = 1 },
};

const struct dev_class pit8254_class = {
	.name = "i8254",
	.spec = "Intel 8254, 231164-005, 1993",
	.size = sizeof(struct pit),
	.region = pit_region,
	.nr_regions = array_len(pit_region),
	.state = pit_state,
	.state_version = 1,
	.init = pit_init,
	.fini = pit_fini,
	.reset = pit_reset,
	.read = pit_read,
	.write = pit_write,
	.loaded = pit_loaded,
};
