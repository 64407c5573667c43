// SPDX-License-Identifier: Apache-2.0
/*
 * rtc146818.c - PC real-time clock and CMOS RAM
 *
 * Follows Motorola MC146818A (1984) as [146818]; memory-size bytes as PC firmware
 * leaves them.
 * Modelled: time of day (UTC from the host, plus what the guest set), BCD and
 * binary, 12- and 24-hour, alarm with wildcards, periodic, alarm and update
 * interrupts, 128 bytes of CMOS, century at 0x32.
 * Not modelled: daylight saving, square wave, divider stages (the clock runs
 * unless SET is 1).
 * DEVIATION: periodic interrupts that pass while register C is unread are one.
 */
#include "dev/pc/pc.h"

#include "base/bits.h"

#include <string.h>
#include <time.h>

#define SEC 1000000000ull
#define DAY 86400ull

/* clang-format off */
enum {	/* [146818] figure 11 */
	R_SEC, R_SEC_ALARM, R_MIN, R_MIN_ALARM, R_HOUR, R_HOUR_ALARM, R_WDAY, R_MDAY, R_MONTH,
	R_YEAR, R_A, R_B, R_C, R_D, R_CENTURY = 0x32,
};
enum {
	A_UIP = 0x80, A_RATE = 0x0f, A_RESET = 0x26,			/* "Register A" */
	B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10,		/* "Register B" */
	B_BINARY = 0x04, B_24H = 0x02,
	C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10,		/* "Register C" */
	D_VRT = 0x80,							/* "Register D" */
};
/* clang-format on */

#define UIP_NS 244000ull /* UIP is set this long before an update */

struct rtc {
	struct dev dev;
	struct rtc_config cfg;
	u8 cmos[128]; /* A, B, C live here; time bytes only while SET is 1 */
	u8 index;
	u64 offset_ns;	/* guest time = host UTC + this, modulo 2^64 */
	u64 checked_ns; /* guest time up to which register C is up to date */
	struct timer timer;
};

static const struct field rtc_state[] = {
	FIELD_NOT_SAVED(struct rtc, dev),
	FIELD_NOT_SAVED(struct rtc, cfg),
	FIELD(struct rtc, cmos),
	FIELD(struct rtc, index, .max = 127),
	FIELD(struct rtc, offset_ns),
	FIELD(struct rtc, checked_ns),
	FIELD_NOT_SAVED(struct rtc, timer),
	FIELD_END,
};

static struct rtc *to_rtc(struct dev *d)
{
	return container_of(d, struct rtc, dev);
}

static u64 guest_ns(const struct rtc *r)
{
	return clock_wall_ns(r->dev.env.clock) + r->offset_ns;
}

static bool is_set(const struct rtc *r)
{
	return r->cmos[R_B] & B_SET;
}

/* -- time encoding ------------------------------------------------------------- */

static u8 encode(const struct rtc *r, int v)
{
	return (u8)(r->cmos[R_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}

static int decode(const struct rtc *r, u8 v)
{
	return r->cmos[R_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static u8 encode_hour(const struct rtc *r, int h)
{
	if (r->cmos[R_B] & B_24H)
		return encode(r, h);
	return encode(r, h % 12 ? h % 12 : 12) | (h >= 12 ? 0x80 : 0);
}

static int decode_hour(const struct rtc *r, u8 v)
{
	if (r->cmos[R_B] & B_24H)
		return decode(r, v);
	return decode(r, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

/* The time bytes for guest time t. */
static void put_time(struct rtc *r, u64 t)
{
	time_t s = (time_t)(t / SEC);
	struct tm tm = { 0 };

	gmtime_r(&s, &tm);
	r->cmos[R_SEC] = encode(r, tm.tm_sec);
	r->cmos[R_MIN] = encode(r, tm.tm_min);
	r->cmos[R_HOUR] = encode_hour(r, tm.tm_hour);
	r->cmos[R_WDAY] = encode(r, tm.tm_wday + 1);
	r->cmos[R_MDAY] = encode(r, tm.tm_mday);
	r->cmos[R_MONTH] = encode(r, tm.tm_mon + 1);
	r->cmos[R_YEAR] = encode(r, tm.tm_year % 100);
	r->cmos[R_CENTURY] = encode(r, 19 + tm.tm_year / 100);
}

/* Guest time from the time bytes, however odd they are. */
static u64 get_time(const struct rtc *r)
{
	struct tm tm = { /* timegm() carries what is out of range */
		.tm_sec = decode(r, r->cmos[R_SEC]),
		.tm_min = decode(r, r->cmos[R_MIN]),
		.tm_hour = decode_hour(r, r->cmos[R_HOUR]),
		.tm_mday = decode(r, r->cmos[R_MDAY]),
		.tm_mon = decode(r, r->cmos[R_MONTH]) - 1,
		.tm_year = decode(r, r->cmos[R_YEAR]) +
			   (decode(r, r->cmos[R_CENTURY]) - 19) * 100,
	};

	time_t s = timegm(&tm);

	return s > 0 ? (u64)s * SEC : 0; /* nothing before 1970 */
}

/* -- events ---------------------------------------------------------------------- */

static void update_irq(struct rtc *r)
{
	u8 c = r->cmos[R_C] & (C_PF | C_AF | C_UF);
	bool level = c & r->cmos[R_B];

	r->cmos[R_C] = (u8)(c | (level ? C_IRQF : 0));
	irq_set(&r->dev.env.irq[0], level);
}

static u64 period_ns(const struct rtc *r) /* [146818] table 5; 0 = off */
{
	unsigned rate = r->cmos[R_A] & A_RATE;

	if (!rate)
		return 0;
	return (1ull << ((rate <= 2 ? rate + 7 : rate) - 1)) * SEC / 32768;
}

static bool alarm_matches(const struct rtc *r, unsigned reg, int v)
{
	u8 a = r->cmos[reg];

	if (a >= 0xc0) /* wildcard, [146818] "Alarm" */
		return true;
	return (reg == R_HOUR_ALARM ? decode_hour(r, a) : decode(r, a)) == v;
}

/* First value >= from of alarm register reg, or limit. */
static unsigned alarm_next(const struct rtc *r, unsigned reg, unsigned from, unsigned limit)
{
	while (from < limit && !alarm_matches(r, reg, (int)from))
		from++;
	return from;
}

/* First guest second > s at which the alarm goes off; ~0 if never (a time that does not exist). */
static u64 next_alarm(const struct rtc *r, u64 s)
{
	u64 t = s + 1, day = t / DAY * DAY;
	unsigned h = (unsigned)(t % DAY / 3600), m = (unsigned)(t % 3600 / 60), x = t % 60;
	unsigned turns = 0;

	/* Raise the time of day field by field until all three match. */
	while (turns++ < 8) {
		unsigned h2 = alarm_next(r, R_HOUR_ALARM, h, 24);

		if (h2 == 24) {
			day += DAY;
			h = m = x = 0;
			continue;
		}
		if (h2 != h)
			m = x = 0;
		h = h2;
		unsigned m2 = alarm_next(r, R_MIN_ALARM, m, 60);

		if (m2 == 60) {
			h++;
			m = x = 0;
			continue;
		}
		if (m2 != m)
			x = 0;
		m = m2;
		x = alarm_next(r, R_SEC_ALARM, x, 60);
		if (x < 60)
			return day + h * 3600 + m * 60 + x;
		m++;
		x = 0;
	}
	return ~0ull;
}

/* Set the flags for everything that happened since the last look. */
static void catch_up(struct rtc *r)
{
	u64 t = guest_ns(r), was = r->checked_ns, p = period_ns(r);

	r->checked_ns = t;
	if (t < was) /* the guest or the host turned the clock back */
		return;
	if (p && t / p != was / p)
		r->cmos[R_C] |= C_PF;
	if (!is_set(r) && t / SEC != was / SEC) {
		r->cmos[R_C] |= C_UF;
		if (next_alarm(r, was / SEC) <= t / SEC)
			r->cmos[R_C] |= C_AF;
	}
}

/* Arm for the first enabled event whose flag is not up yet. */
static void arm(struct rtc *r)
{
	u64 t = guest_ns(r), p = period_ns(r), next = ~0ull, a;
	u8 want = r->cmos[R_B] & (u8)~r->cmos[R_C];

	if (want & B_PIE && p)
		next = (t / p + 1) * p;
	if (!is_set(r) && want & B_UIE && (t / SEC + 1) * SEC < next)
		next = (t / SEC + 1) * SEC;
	if (!is_set(r) && want & B_AIE) {
		a = next_alarm(r, t / SEC);
		if (a < ~0ull / SEC && a * SEC < next)
			next = a * SEC;
	}
	if (next == ~0ull)
		clock_disarm(r->dev.env.clock, &r->timer);
	else
		clock_arm(r->dev.env.clock, &r->timer, clock_now_ns(r->dev.env.clock) + next - t);
}

static void refresh(struct rtc *r)
{
	catch_up(r);
	update_irq(r);
	arm(r);
}

static void on_timer(struct timer *t, u64 now UNUSED)
{
	refresh(container_of(t, struct rtc, timer));
}

/* -- registers ------------------------------------------------------------------- */

static bool is_time(unsigned reg)
{
	return reg <= R_YEAR ? reg != R_SEC_ALARM && reg != R_MIN_ALARM && reg != R_HOUR_ALARM
			     : reg == R_CENTURY;
}

static void adopt_time(struct rtc *r)
{
	r->offset_ns = get_time(r) - clock_wall_ns(r->dev.env.clock);
	r->checked_ns = guest_ns(r);
}

static void write_time(struct rtc *r, unsigned reg, u8 val)
{
	if (!is_set(r))
		put_time(r, guest_ns(r));
	r->cmos[reg] = val;
	if (!is_set(r))
		adopt_time(r);
}

/* [146818] "Register B": SET freezes the time bytes for writing. */
static void write_b(struct rtc *r, u8 val)
{
	bool was = is_set(r);

	if (!was && val & B_SET)
		put_time(r, guest_ns(r)); /* in the old format; the guest rewrites them */
	if (val & B_SET)
		val &= (u8)~B_UIE;
	r->cmos[R_B] = val;
	if (was && !is_set(r))
		adopt_time(r);
}

static void write_data(struct rtc *r, u8 val)
{
	unsigned reg = r->index;

	catch_up(r);
	if (is_time(reg))
		write_time(r, reg, val);
	else if (reg == R_A)
		r->cmos[R_A] = val & (u8)~A_UIP;
	else if (reg == R_B)
		write_b(r, val);
	else if (reg != R_C && reg != R_D)
		r->cmos[reg] = val;
	refresh(r);
}

static u8 read_c(struct rtc *r)
{
	u8 c;

	catch_up(r);
	update_irq(r);
	c = r->cmos[R_C];
	r->cmos[R_C] = 0; /* reading acknowledges */
	refresh(r);
	return c;
}

static u8 read_data(struct rtc *r)
{
	u64 t = guest_ns(r);

	if (is_time(r->index) && !is_set(r))
		put_time(r, t);
	switch (r->index) {
	case R_A:
		return r->cmos[R_A] | (!is_set(r) && t % SEC >= SEC - UIP_NS ? A_UIP : 0);
	case R_C:
		return read_c(r);
	case R_D:
		return D_VRT;
	default:
		return r->cmos[r->index];
	}
}

static void rtc_write(struct dev *d, unsigned region UNUSED, u64 off, unsigned size UNUSED, u64 v)
{
	struct rtc *r = to_rtc(d);

	if (off == 0)
		r->index = v & 0x7f; /* bit 7 masks NMI on a PC; nothing here raises one */
	else
		write_data(r, (u8)v);
}

static u64 rtc_read(struct dev *d, unsigned region UNUSED, u64 off, unsigned size UNUSED)
{
	return off == 0 ? 0xff : read_data(to_rtc(d));
}

/* -- lifecycle --------------------------------------------------------------------- */

static void put16(struct rtc *r, unsigned reg, u64 v)
{
	v = v > 0xffff ? 0xffff : v;
	r->cmos[reg] = (u8)v;
	r->cmos[reg + 1] = (u8)(v >> 8);
}

/* Memory sizes where firmware and boot loaders look for them. */
static void put_memory(struct rtc *r)
{
	u64 low = r->cfg.mem_low, ext = low > 1 << 20 ? (low - (1 << 20)) >> 10 : 0;
	u64 high = r->cfg.mem_high >> 16;

	put16(r, 0x15, 640);
	put16(r, 0x17, ext);
	put16(r, 0x30, ext);
	put16(r, 0x34, low > 16 << 20 ? (low - (16 << 20)) >> 16 : 0);
	r->cmos[0x5b] = (u8)high;
	r->cmos[0x5c] = (u8)(high >> 8);
	r->cmos[0x5d] = (u8)(high >> 16);
}

static int rtc_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	struct rtc *r = to_rtc(d);

	if (cfg)
		r->cfg = *(const struct rtc_config *)cfg;
	r->timer.fn = on_timer;
	return 0;
}

static void rtc_fini(struct dev *d)
{
	clock_disarm(d->env.clock, &to_rtc(d)->timer);
}

/* What firmware leaves. The clock runs on a battery: a time the guest has set is kept. */
static void rtc_reset(struct dev *d)
{
	struct rtc *r = to_rtc(d);

	memset(r->cmos, 0, sizeof r->cmos);
	r->cmos[R_A] = A_RESET;
	r->cmos[R_B] = B_24H;
	r->cmos[0x14] = 0x02; /* equipment: FPU, nothing else */
	put_memory(r);
	r->index = 0;
	r->checked_ns = guest_ns(r);
	refresh(r);
}

static int rtc_loaded(struct dev *d, struct err *e UNUSED)
{
	refresh(to_rtc(d));
	return 0;
}

static const struct dev_region rtc_region[] = {
	{ .name = "ports", .space = SPACE_PIO, .size = 2, .acc_min = 1, .acc_max = 1 },
};

const struct dev_class rtc146818_class = {
	.name = "mc146818",
	.spec = "Motorola MC146818A, 1984",
	.size = sizeof(struct rtc),
	.region = rtc_region,
	.nr_regions = array_len(rtc_region),
	.state = rtc_state,
	.state_version = 1,
	.init = rtc_init,
	.fini = rtc_fini,
	.reset = rtc_reset,
	.read = rtc_read,
	.write = rtc_write,
	.loaded = rtc_loaded,
};
