// SPDX-License-Identifier: Apache-2.0
/*
 * lapic.c - local APIC: xAPIC page, x2APIC registers, timer
 *
 * Follows Intel SDM volume 3A (325384-081) chapter 11 as [SDM 3A 11].
 * Modelled: interrupt acceptance and priority, EOI broadcast and its suppression,
 * IPIs and messages in every destination form, one-shot, periodic and
 * TSC-deadline timer, LINT0 and LINT1, error register, x2APIC.
 * Not modelled: focus processor, SMI, thermal and performance events (their LVT
 * entries hold what is written), remote read, CMCI.
 * The timer's bus clock is 1 GHz: one count before division is a nanosecond.
 * DEVIATION: after power-on the boot processor's LINT0 passes ExtINT and LINT1
 * NMI ("virtual wire"), as firmware would have set them. A periodic interval
 * below MIN_PERIOD_NS is stretched, and intervals missed are not replayed.
 */
#include "dev/pc/pc.h"

#include "base/bits.h"
#include "base/trace.h"
#include "mem/mem.h"

#include <errno.h>
#include <stdatomic.h>

#define MSR_APIC_BASE	 0x1bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC	 0x800u
#define MSR_KVM_PV_EOI	 0x4b564d04u

#define BASE_BSP    BIT_ULL(8) /* [SDM 3A 11.4.4] */
#define BASE_X2APIC BIT_ULL(10)
#define BASE_ENABLE BIT_ULL(11)

#define MIN_PERIOD_NS 50000ull

/* Register numbers: page offset / 16 = MSR - 0x800. [SDM 3A table 11-1, 11-6] */
enum {
	REG_ID = 0x02, REG_VERSION = 0x03, REG_TPR = 0x08, REG_APR = 0x09, REG_PPR = 0x0a,
	REG_EOI = 0x0b, REG_LDR = 0x0d, REG_DFR = 0x0e, REG_SVR = 0x0f, REG_ISR = 0x10,
	REG_TMR = 0x18, REG_IRR = 0x20, REG_ESR = 0x28, REG_ICR = 0x30, REG_ICR2 = 0x31,
	REG_LVT = 0x32, REG_TMICT = 0x38, REG_TMCCT = 0x39, REG_TDCR = 0x3e, REG_SELF_IPI = 0x3f,
};

enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, NR_LVT };

/* Bits a guest can write; delivery status and remote IRR read as zero. [SDM 3A fig. 11-8] */
static const u32 lvt_writable[NR_LVT] = { 0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff };

#define VERSION (0x14u | (NR_LVT - 1) << 16 | BIT(24)) /* BIT(24): EOI broadcast suppression */

#define LVT_MASKED	BIT(16)
#define LVT_MODE(v)	((v) >> 8 & 7)
#define SVR_ENABLE	BIT(8)
#define SVR_NO_BROADCAST BIT(12)
#define SVR_WRITABLE	0x13ffu
#define ESR_SEND_VECTOR BIT(5) /* [SDM 3A fig. 11-9] */
#define ESR_RECV_VECTOR BIT(6)
#define ICR_LOGICAL	BIT(11)
#define ICR_ASSERT	BIT(14)
#define ICR_LEVEL	BIT(15)
#define ICR_WRITABLE	0xccfffu

enum { MODE_FIXED, MODE_LOWEST, MODE_SMI, MODE_NMI = 4, MODE_INIT, MODE_SIPI, MODE_EXTINT };
enum { TIMER_ONESHOT, TIMER_PERIODIC, TIMER_DEADLINE };

#define PENDING_EXTINT 0x100u

struct lapic {
	struct dev dev;
	struct lapic_config cfg;

	u64 base; /* MSR APIC_BASE */
	u32 tpr, ldr, dfr, svr, esr, esr_pending, tdcr, tmict;
	u64 icr;
	u32 lvt[NR_LVT];
	u32 isr[8], irr[8], tmr[8];
	bool extint; /* an ExtINT message, not yet acknowledged */

	u64 deadline;  /* guest TSC, 0 = off */
	u64 expire_ns; /* one-shot, periodic: when the count reaches 0 */
	bool counting;
	u64 pv_eoi;	 /* MSR KVM_PV_EOI: address of a flag in guest memory | enabled */
	bool pv_eoi_set; /* the flag was set: the guest clears it instead of writing EOI */

	struct timer timer;
	/* What has_irq reports: vector | PENDING_EXTINT, 0 = nothing deliverable. Written under
	 * the board lock, read without: release pairs with acquire in lapic_has_irq(). */
	_Atomic u32 pending;
};

static const struct field lapic_state[] = {
	FIELD_NOT_SAVED(struct lapic, dev),
	FIELD_NOT_SAVED(struct lapic, cfg),
	FIELD(struct lapic, base),
	FIELD(struct lapic, tpr, .max = 0xff),
	FIELD(struct lapic, ldr),
	FIELD(struct lapic, dfr),
	FIELD(struct lapic, svr, .max = SVR_WRITABLE),
	FIELD(struct lapic, esr, .max = 0xff),
	FIELD(struct lapic, esr_pending, .max = 0xff),
	FIELD(struct lapic, tdcr, .max = 0xb),
	FIELD(struct lapic, tmict),
	FIELD(struct lapic, icr),
	FIELD_ARRAY(struct lapic, lvt),
	FIELD_ARRAY(struct lapic, isr),
	FIELD_ARRAY(struct lapic, irr),
	FIELD_ARRAY(struct lapic, tmr),
	FIELD(struct lapic, extint),
	FIELD(struct lapic, deadline),
	FIELD(struct lapic, expire_ns),
	FIELD(struct lapic, counting),
	FIELD(struct lapic, pv_eoi),
	FIELD(struct lapic, pv_eoi_set),
	FIELD_NOT_SAVED(struct lapic, timer),
	FIELD_NOT_SAVED(struct lapic, pending),
	FIELD_END,
};

static struct lapic *to_lapic(struct dev *d)
{
	return container_of(d, struct lapic, dev);
}

static bool enabled(const struct lapic *l)
{
	return l->base & BASE_ENABLE;
}

static bool x2apic(const struct lapic *l)
{
	return l->base & BASE_X2APIC;
}

static bool sw_enabled(const struct lapic *l)
{
	return enabled(l) && l->svr & SVR_ENABLE;
}

static u32 id(const struct lapic *l)
{
	return l->cfg.index;
}

static void signal_cpu(struct lapic *l, enum lapic_signal what, u8 arg)
{
	if (l->cfg.signal)
		l->cfg.signal(l->cfg.ctx, what, arg);
}

/* -- priorities [SDM 3A 11.8] -------------------------------------------------- */

static void set_bit(u32 *reg, unsigned v, bool on)
{
	reg[v / 32] = on ? reg[v / 32] | BIT(v % 32) : reg[v / 32] & ~BIT(v % 32);
}

static bool test_bit(const u32 *reg, unsigned v)
{
	return reg[v / 32] >> v % 32 & 1;
}

static unsigned highest(const u32 *reg) /* 0 if none: vectors below 16 are never set */
{
	for (int i = 7; i >= 0; i--)
		if (reg[i])
			return (unsigned)i * 32 + 31 - (unsigned)__builtin_clz(reg[i]);
	return 0;
}

static u32 ppr(const struct lapic *l)
{
	unsigned isrv = highest(l->isr);

	return (l->tpr & 0xf0) >= (isrv & 0xf0) ? l->tpr : isrv & 0xf0;
}

/* Does this CPU take the PIC's INTR? With the APIC off, LINT0 is the boot CPU's INTR pin. */
static bool takes_extint(const struct lapic *l)
{
	u32 lvt = l->lvt[LVT_LINT0];

	if (!enabled(l))
		return id(l) == 0;
	return !(lvt & LVT_MASKED) && LVT_MODE(lvt) == MODE_EXTINT;
}

static bool extint_pending(const struct lapic *l)
{
	return l->extint || (l->cfg.set->lint0 && takes_extint(l));
}

/* Recompute what is deliverable; every change of IRR, ISR, TPR, LINT0 or the mode ends here. */
static void update(struct lapic *l)
{
	u32 old = atomic_load_explicit(&l->pending, memory_order_relaxed), v = 0;

	if (enabled(l)) {
		v = highest(l->irr);
		if ((v & 0xf0) <= (ppr(l) & 0xf0))
			v = 0;
	}
	if (extint_pending(l))
		v |= PENDING_EXTINT;
	atomic_store_explicit(&l->pending, v, memory_order_release);
	if (v && v != old)
		signal_cpu(l, LAPIC_SIG_IRQ, 0);
}

bool lapic_has_irq(const struct dev *d)
{
	const struct lapic *l = container_of(d, const struct lapic, dev);

	return atomic_load_explicit(&l->pending, memory_order_acquire) != 0;
}

static void raise_error(struct lapic *l, u32 bit);

/*
 * An interrupt whose end the guest tells of by a flag keeps others back until somebody looks at
 * the flag, which only the CPU's thread does: when it asks for interrupts.
 */
static void wake_for_flag(struct lapic *l)
{
	if (l->pv_eoi_set)
		signal_cpu(l, LAPIC_SIG_IRQ, 0);
}

static void accept(struct lapic *l, u8 vector, bool level)
{
	trace(LAPIC_ACCEPT, l->dev.id, id(l), vector, level);
	if (!sw_enabled(l))
		return;
	if (vector < 16) {
		raise_error(l, ESR_RECV_VECTOR);
		return;
	}
	set_bit(l->tmr, vector, level);
	set_bit(l->irr, vector, true);
	update(l);
	wake_for_flag(l);
}

/* An event of the local vector table. [SDM 3A 11.5.1] */
static void local_event(struct lapic *l, unsigned n)
{
	u32 lvt = l->lvt[n];

	if (lvt & LVT_MASKED || !enabled(l))
		return;
	switch (LVT_MODE(lvt)) {
	case MODE_FIXED:
		accept(l, (u8)lvt, n == LVT_LINT0 && lvt & ICR_LEVEL);
		break;
	case MODE_NMI:
		signal_cpu(l, LAPIC_SIG_NMI, 0);
		break;
	case MODE_EXTINT:
		update(l);
		break;
	}
}

static void raise_error(struct lapic *l, u32 bit)
{
	bool fresh = !(l->esr_pending & bit);

	l->esr_pending |= bit;
	/* A bad vector in the error entry itself is recorded once, not for ever. */
	if (fresh)
		local_event(l, LVT_ERROR);
}

/* -- the end of an interrupt by a flag in memory [Linux Documentation/virt/kvm/x86/msr.rst] -- */

static void eoi(struct lapic *l);

/* On the CPU's thread, so the guest does not touch its flag meanwhile. */
static void take_flag(struct lapic *l)
{
	gpa_t at = l->pv_eoi & ~3ull;
	u8 flag;

	if (!l->pv_eoi_set)
		return;
	l->pv_eoi_set = false;
	if (!mem_read(l->dev.env.mem, at, &flag, 1))
		return;
	if (!(flag & 1)) {
		eoi(l); /* the guest is through with it */
		return;
	}
	flag &= (u8)~1; /* not yet: it shall write EOI */
	(void)!mem_write(l->dev.env.mem, at, &flag, 1);
}

/* Interrupt @v was handed over: if nothing else waits, its end needs no write of EOI. */
static void offer_flag(struct lapic *l, unsigned v)
{
	gpa_t at = l->pv_eoi & ~3ull;
	u8 flag;

	if (!(l->pv_eoi & 1) || test_bit(l->tmr, v) || highest(l->irr) || highest(l->isr) != v ||
	    !mem_read(l->dev.env.mem, at, &flag, 1))
		return;
	flag |= 1;
	l->pv_eoi_set = mem_write(l->dev.env.mem, at, &flag, 1);
}

static bool write_pv_eoi(struct lapic *l, u64 val)
{
	if (val & 2 || !l->dev.env.mem)
		return false;
	take_flag(l);
	l->pv_eoi = val;
	return true;
}

int lapic_ack_irq(struct dev *d)
{
	struct lapic *l = to_lapic(d);
	u32 p;

	take_flag(l);
	update(l);
	p = atomic_load_explicit(&l->pending, memory_order_relaxed);
	if (p & PENDING_EXTINT) {
		l->extint = false;
		p = l->cfg.set->pic ? pic_ack(l->cfg.set->pic) : 0xff;
		update(l);
		return (int)p;
	}
	if (!p)
		return -1;
	set_bit(l->irr, p, false);
	set_bit(l->isr, p, true);
	update(l);
	offer_flag(l, p);
	return (int)p;
}

static void eoi(struct lapic *l)
{
	unsigned v = highest(l->isr);

	if (!v)
		return;
	set_bit(l->isr, v, false);
	if (test_bit(l->tmr, v) && !(l->svr & SVR_NO_BROADCAST) && l->cfg.set->eoi)
		l->cfg.set->eoi(l->cfg.set->eoi_ctx, (u8)v);
	update(l);
}

/* -- reset ----------------------------------------------------------------------- */

/* INIT: everything but the id and APIC_BASE. [SDM 3A 11.4.7.3] */
static void init_reset(struct lapic *l)
{
	clock_disarm(l->dev.env.clock, &l->timer);
	l->tpr = l->ldr = l->esr = l->esr_pending = l->tdcr = l->tmict = 0;
	l->icr = 0;
	l->dfr = 0xffffffff;
	l->svr = 0xff;
	for (unsigned i = 0; i < NR_LVT; i++)
		l->lvt[i] = LVT_MASKED;
	for (unsigned i = 0; i < 8; i++)
		l->isr[i] = l->irr[i] = l->tmr[i] = 0;
	l->extint = l->counting = l->pv_eoi_set = false;
	l->pv_eoi = 0;
	l->deadline = l->expire_ns = 0;
	update(l);
}

/* -- messages and IPIs ------------------------------------------------------------- */

struct message {
	u32 dest;
	u8 vector, mode;
	bool logical, level;
	bool broadcast; /* dest means everybody */
};

/* The x2APIC logical id follows from the id. [SDM 3A 11.12.10.2] */
static u32 logical_id(const struct lapic *l)
{
	return x2apic(l) ? (id(l) & ~15u) << 12 | BIT(id(l) & 15) : l->ldr;
}

/* [SDM 3A 11.6.2] */
static bool is_dest(const struct lapic *l, const struct message *m)
{
	u32 ldr = logical_id(l);

	if (m->broadcast)
		return true;
	if (!m->logical)
		return m->dest == id(l);
	if (x2apic(l))
		return m->dest >> 16 == ldr >> 16 && m->dest & ldr & 0xffff;
	ldr >>= 24;
	if (l->dfr >> 28 == 0xf) /* flat */
		return m->dest & ldr;
	return (m->dest >> 4 == 0xf || m->dest >> 4 == ldr >> 4) && m->dest & ldr & 0xf;
}

static void deliver_one(struct lapic *l, const struct message *m)
{
	switch (m->mode) {
	case MODE_FIXED:
	case MODE_LOWEST:
		accept(l, m->vector, m->level);
		break;
	case MODE_NMI:
		signal_cpu(l, LAPIC_SIG_NMI, 0);
		break;
	case MODE_INIT:
		init_reset(l);
		signal_cpu(l, LAPIC_SIG_INIT, 0);
		break;
	case MODE_SIPI:
		signal_cpu(l, LAPIC_SIG_SIPI, m->vector);
		break;
	case MODE_EXTINT:
		l->extint = true;
		update(l);
		break;
	}
}

/* CPU n if it takes part in the delivery of m. */
static struct lapic *target(struct lapic_set *s, unsigned n, const struct message *m)
{
	struct lapic *l = s->cpu[n] ? to_lapic(s->cpu[n]) : NULL;

	return l && enabled(l) && is_dest(l, m) ? l : NULL;
}

/* The candidate with the lowest priority; equals take turns. [SDM 3A 11.6.2.4] */
static struct lapic *arbitrate(struct lapic_set *s, const struct message *m)
{
	struct lapic *best = NULL;
	unsigned at = 0;

	for (unsigned i = 0; i < s->nr; i++) {
		unsigned n = (s->next + i) % s->nr;
		struct lapic *l = target(s, n, m);

		if (!l || !sw_enabled(l) || (best && ppr(l) >> 4 >= ppr(best) >> 4))
			continue;
		best = l;
		at = n;
	}
	if (best)
		s->next = (at + 1) % s->nr;
	return best;
}

static void deliver(struct lapic_set *s, const struct message *m, const struct lapic *except)
{
	struct lapic *l;

	if (m->mode == MODE_LOWEST) {
		l = arbitrate(s, m);
		if (l)
			deliver_one(l, m);
		return;
	}
	for (unsigned i = 0; i < s->nr; i++) {
		l = target(s, i, m);
		if (l && l != except)
			deliver_one(l, m);
	}
}

void lapic_set_msi(void *set, u64 addr, u32 data)
{
	struct message m = { /* [SDM 3A 11.11.1, 11.11.2] */
		.dest = (u32)(addr >> 12) & 0xff,
		.broadcast = (addr >> 12 & 0xff) == 0xff,
		.logical = addr & 4,
		.vector = (u8)data,
		.mode = data >> 8 & 7,
		.level = data & ICR_LEVEL,
	};

	if ((addr & ~0xfffffull) != LAPIC_BASE)
		return; /* not an interrupt message: a DMA write to nowhere */
	deliver(set, &m, NULL);
}

struct msi_sink lapic_set_sink(struct lapic_set *s)
{
	return (struct msi_sink){ .send = lapic_set_msi, .ctx = s };
}

static void set_lint0(void *set, unsigned pin UNUSED, bool level)
{
	struct lapic_set *s = set;
	bool rise = level && !s->lint0;

	s->lint0 = level;
	for (unsigned i = 0; i < s->nr; i++) {
		struct lapic *l = s->cpu[i] ? to_lapic(s->cpu[i]) : NULL;

		if (!l)
			continue;
		if (rise && LVT_MODE(l->lvt[LVT_LINT0]) != MODE_EXTINT)
			local_event(l, LVT_LINT0);
		update(l);
	}
}

static void set_lint1(void *set, unsigned pin UNUSED, bool level)
{
	struct lapic_set *s = set;

	for (unsigned i = 0; level && i < s->nr; i++)
		if (s->cpu[i])
			local_event(to_lapic(s->cpu[i]), LVT_LINT1);
}

struct irq lapic_lint0(struct lapic_set *s)
{
	return (struct irq){ .set = set_lint0, .chip = s };
}

struct irq lapic_lint1(struct lapic_set *s)
{
	return (struct irq){ .set = set_lint1, .chip = s };
}

/* Send what ICR says. [SDM 3A 11.6.1] */
static void send_ipi(struct lapic *l)
{
	u32 icr = (u32)l->icr, dest = (u32)(l->icr >> 32), all = x2apic(l) ? 0xffffffff : 0xff;
	unsigned shorthand = icr >> 18 & 3;
	struct message m = {
		.vector = (u8)icr, .mode = icr >> 8 & 7, .logical = icr & ICR_LOGICAL,
		.dest = x2apic(l) ? dest : dest >> 24,
	};

	trace(LAPIC_IPI, l->dev.id, id(l), l->icr, 0);
	m.broadcast = m.dest == all || shorthand >= 2;
	if (m.mode == MODE_INIT && icr & ICR_LEVEL && !(icr & ICR_ASSERT))
		return; /* INIT level de-assert: no effect since the Pentium 4 */
	if (m.mode == MODE_SMI || m.mode == 3 || m.mode == MODE_EXTINT) {
		dev_guest_error(&l->dev, "reserved delivery mode in ICR");
		return;
	}
	if (m.mode <= MODE_LOWEST && m.vector < 16) {
		raise_error(l, ESR_SEND_VECTOR);
		return;
	}
	if (shorthand == 1)
		deliver_one(l, &m);
	else
		deliver(l->cfg.set, &m, shorthand == 3 ? l : NULL);
}

/* -- timer [SDM 3A 11.5.4] ----------------------------------------------------------- */

static unsigned timer_mode(const struct lapic *l)
{
	return l->lvt[LVT_TIMER] >> 17 & 3;
}

static unsigned divide_shift(const struct lapic *l) /* [SDM 3A fig. 11-10] */
{
	unsigned v = (l->tdcr & 3) | (l->tdcr >> 1 & 4);

	return (v + 1) & 7;
}

static u64 period_ns(const struct lapic *l)
{
	return (u64)l->tmict << divide_shift(l);
}

static u32 current_count(const struct lapic *l)
{
	u64 t = clock_now_ns(l->dev.env.clock);

	if (!l->counting || l->expire_ns <= t)
		return 0;
	return (u32)((l->expire_ns - t) >> divide_shift(l));
}

/* Arm for the deadline; true if it has passed (disarmed then). */
static bool arm_deadline(struct lapic *l)
{
	u64 tsc = l->cfg.tsc(l->cfg.ctx), now = clock_now_ns(l->dev.env.clock), when;
	unsigned __int128 ns;

	if (l->deadline <= tsc) {
		clock_disarm(l->dev.env.clock, &l->timer);
		return true;
	}
	ns = ((unsigned __int128)(l->deadline - tsc) * 1000000 + l->cfg.tsc_khz - 1) /
	     l->cfg.tsc_khz;
	if (ns > ~0ull || !add_ok(now, (u64)ns, &when))
		when = ~0ull;
	clock_arm(l->dev.env.clock, &l->timer, when);
	return false;
}

static void check_deadline(struct lapic *l)
{
	if (!l->deadline || !arm_deadline(l))
		return;
	l->deadline = 0;
	local_event(l, LVT_TIMER);
}

static void on_timer(struct timer *t, u64 now)
{
	struct lapic *l = container_of(t, struct lapic, timer);
	u64 period = period_ns(l);

	if (timer_mode(l) == TIMER_DEADLINE) {
		check_deadline(l);
		return;
	}
	if (!l->counting || now < l->expire_ns)
		return;
	if (timer_mode(l) == TIMER_PERIODIC && period) {
		if (period < MIN_PERIOD_NS)
			period = MIN_PERIOD_NS;
		l->expire_ns += ((now - l->expire_ns) / period + 1) * period;
		clock_arm(l->dev.env.clock, t, l->expire_ns);
	} else {
		l->counting = false;
	}
	local_event(l, LVT_TIMER);
}

static void start_timer(struct lapic *l, u32 count)
{
	u64 now = clock_now_ns(l->dev.env.clock);

	l->tmict = count;
	l->counting = count != 0;
	l->expire_ns = 0;
	clock_disarm(l->dev.env.clock, &l->timer);
	if (!count)
		return;
	l->expire_ns = now + period_ns(l);
	clock_arm(l->dev.env.clock, &l->timer, l->expire_ns);
}

static void write_divide(struct lapic *l, u32 val)
{
	u64 left = current_count(l);

	l->tdcr = val & 0xb;
	if (!l->counting)
		return;
	l->expire_ns = clock_now_ns(l->dev.env.clock) + (left << divide_shift(l));
	clock_arm(l->dev.env.clock, &l->timer, l->expire_ns);
}

/* Entering or leaving TSC-deadline mode disarms the timer. [SDM 3A 11.5.4.1] */
static void write_lvt_timer(struct lapic *l, u32 val)
{
	bool was = timer_mode(l) == TIMER_DEADLINE;

	if (!l->cfg.tsc)
		val &= ~BIT(18); /* no such mode */
	l->lvt[LVT_TIMER] = val;
	if (was == (timer_mode(l) == TIMER_DEADLINE))
		return;
	clock_disarm(l->dev.env.clock, &l->timer);
	l->counting = false;
	l->deadline = l->expire_ns = 0;
	l->tmict = 0;
}

void lapic_tsc_changed(struct dev *d)
{
	check_deadline(to_lapic(d));
}

/* -- registers ------------------------------------------------------------------------- */

static void write_lvt(struct lapic *l, unsigned n, u32 val)
{
	val &= lvt_writable[n];
	if (!(l->svr & SVR_ENABLE))
		val |= LVT_MASKED;
	if (n == LVT_TIMER)
		write_lvt_timer(l, val);
	else
		l->lvt[n] = val;
	update(l);
}

/* Software disable masks the LVT; vectors already in IRR stay. [SDM 3A 11.4.7.2] */
static void write_svr(struct lapic *l, u32 val)
{
	bool off = l->svr & SVR_ENABLE && !(val & SVR_ENABLE);

	l->svr = val & SVR_WRITABLE;
	for (unsigned i = 0; off && i < NR_LVT; i++)
		l->lvt[i] |= LVT_MASKED;
	update(l);
}

static bool write_reg(struct lapic *l, unsigned reg, u32 val)
{
	switch (reg) {
	case REG_TPR:
		l->tpr = val & 0xff;
		update(l);
		return true;
	case REG_EOI:
		eoi(l);
		return true;
	case REG_LDR:
		l->ldr = val & 0xff000000;
		return true;
	case REG_DFR:
		l->dfr = val | 0x0fffffff;
		return true;
	case REG_SVR:
		write_svr(l, val);
		return true;
	case REG_ESR: /* a write latches what has gathered since the last one */
		l->esr = l->esr_pending;
		l->esr_pending = 0;
		return true;
	case REG_ICR:
		l->icr = (l->icr & ~0xffffffffull) | (val & ICR_WRITABLE);
		send_ipi(l);
		return true;
	case REG_ICR2:
		l->icr = (u32)l->icr | (u64)(val & 0xff000000) << 32;
		return true;
	case REG_LVT ... REG_LVT + NR_LVT - 1:
		write_lvt(l, reg - REG_LVT, val);
		return true;
	case REG_TMICT:
		if (timer_mode(l) != TIMER_DEADLINE)
			start_timer(l, val);
		return true;
	case REG_TDCR:
		write_divide(l, val);
		return true;
	}
	return false;
}

static bool read_reg(struct lapic *l, unsigned reg, u32 *ret)
{
	switch (reg) {
	case REG_ID: *ret = x2apic(l) ? id(l) : id(l) << 24; return true;
	case REG_VERSION: *ret = VERSION; return true;
	case REG_TPR: *ret = l->tpr; return true;
	case REG_PPR: *ret = ppr(l); return true;
	case REG_APR: *ret = 0; return true; /* no arbitration since the Pentium 4 */
	case REG_LDR: *ret = logical_id(l); return true;
	case REG_DFR: *ret = l->dfr; return true;
	case REG_SVR: *ret = l->svr; return true;
	case REG_ISR ... REG_ISR + 7: *ret = l->isr[reg - REG_ISR]; return true;
	case REG_TMR ... REG_TMR + 7: *ret = l->tmr[reg - REG_TMR]; return true;
	case REG_IRR ... REG_IRR + 7: *ret = l->irr[reg - REG_IRR]; return true;
	case REG_ESR: *ret = l->esr; return true;
	case REG_ICR: *ret = (u32)l->icr; return true;
	case REG_ICR2: *ret = (u32)(l->icr >> 32); return true;
	case REG_LVT ... REG_LVT + NR_LVT - 1: *ret = l->lvt[reg - REG_LVT]; return true;
	case REG_TMICT: *ret = l->tmict; return true;
	case REG_TMCCT: *ret = current_count(l); return true;
	case REG_TDCR: *ret = l->tdcr; return true;
	}
	return false;
}

static u64 lapic_read(struct dev *d, unsigned region UNUSED, u64 off, unsigned size UNUSED)
{
	u32 v;

	if (off % 16 || !read_reg(to_lapic(d), (unsigned)off / 16, &v)) {
		dev_guest_error(d, "read of an absent register");
		return 0;
	}
	return v;
}

static void lapic_write(struct dev *d, unsigned region UNUSED, u64 off, unsigned size UNUSED,
			u64 val)
{
	if (off % 16 || !write_reg(to_lapic(d), (unsigned)off / 16, (u32)val))
		dev_guest_error(d, "write to a read-only or absent register");
}

bool lapic_mmio_hit(const struct dev *d, gpa_t gpa)
{
	const struct lapic *l = container_of(d, const struct lapic, dev);

	return gpa >> 12 == l->base >> 12 && (l->base & (BASE_ENABLE | BASE_X2APIC)) == BASE_ENABLE;
}

/* Registers are 32 bits on 16-byte boundaries; parts may be read, not written. */
u64 lapic_mmio_read(struct dev *d, gpa_t gpa, unsigned size)
{
	unsigned off = gpa & 0xfff, part = off % 16;

	if (part + size > 4) {
		dev_guest_error(d, "read across a register boundary");
		return mask_bytes(size);
	}
	take_flag(to_lapic(d));
	return lapic_read(d, 0, off - part, 4) >> part * 8 & mask_bytes(size);
}

void lapic_mmio_write(struct dev *d, gpa_t gpa, unsigned size, u64 val)
{
	take_flag(to_lapic(d));
	if (size != 4)
		dev_guest_error(d, "write of other than 32 bits");
	else
		lapic_write(d, 0, gpa & 0xfff, 4, val);
}

/* -- MSRs -------------------------------------------------------------------------------- */

static bool is_x2apic_msr(u32 msr)
{
	return msr - MSR_X2APIC < 0x100;
}

bool lapic_rdmsr(struct dev *d, u32 msr, u64 *ret)
{
	struct lapic *l = to_lapic(d);
	unsigned reg = msr - MSR_X2APIC;
	u32 v;

	if (msr == MSR_APIC_BASE) {
		*ret = l->base;
		return true;
	}
	if (msr == MSR_TSC_DEADLINE) {
		*ret = l->deadline;
		return true;
	}
	if (msr == MSR_KVM_PV_EOI) {
		*ret = l->pv_eoi;
		return true;
	}
	take_flag(l);
	if (!is_x2apic_msr(msr) || !x2apic(l) || reg == REG_DFR || reg == REG_ICR2 ||
	    reg == REG_APR || !read_reg(l, reg, &v))
		return false;
	*ret = reg == REG_ICR ? l->icr : v;
	return true;
}

/* [SDM 3A 11.4.4 and fig. 11-27]: which changes of mode exist. */
static bool write_base(struct lapic *l, u64 val)
{
	const u64 mode = BASE_ENABLE | BASE_X2APIC;
	u64 ok = mode | BASE_BSP | (mask_bytes(8) >> (64 - l->cfg.phys_bits) & ~0xfffull);
	u64 old = l->base & mode, new = val & mode;

	if (val & ~ok || new == BASE_X2APIC || (old == mode && new == BASE_ENABLE) ||
	    (old == 0 && new == mode))
		return false;
	l->base = val;
	if (new == mode && old != mode)
		l->icr &= 0xffffffff;
	if (old == mode && new == 0)
		l->ldr = 0;
	update(l);
	return true;
}

static void write_deadline(struct lapic *l, u64 val)
{
	if (timer_mode(l) != TIMER_DEADLINE)
		return; /* [SDM 3A 11.5.4.1]: ignored in the other modes */
	l->deadline = val;
	if (val)
		check_deadline(l);
	else
		clock_disarm(l->dev.env.clock, &l->timer);
}

/* Bits that must be zero, or #GP. [SDM 3A 11.12.1.2, .1.3] */
static u64 x2apic_reserved(unsigned reg)
{
	switch (reg) {
	case REG_TPR: case REG_SELF_IPI:
		return ~0xffull;
	case REG_EOI: case REG_ESR:
		return ~0ull;
	case REG_SVR:
		return ~(u64)SVR_WRITABLE;
	case REG_ICR:
		return 0xffffffffull & ~(u64)(ICR_WRITABLE | BIT(12));
	case REG_TDCR:
		return ~0xbull;
	default:
		return ~0xffffffffull;
	}
}

static bool write_x2apic(struct lapic *l, unsigned reg, u64 val)
{
	if (val & x2apic_reserved(reg))
		return false;
	switch (reg) {
	case REG_LDR: case REG_DFR: case REG_ICR2:
		return false;
	case REG_ICR:
		l->icr = (val & ~0xffffffffull) | ((u32)val & ICR_WRITABLE);
		send_ipi(l);
		return true;
	case REG_SELF_IPI:
		if (val < 16)
			raise_error(l, ESR_SEND_VECTOR);
		else
			accept(l, (u8)val, false);
		return true;
	default:
		return write_reg(l, reg, (u32)val);
	}
}

bool lapic_wrmsr(struct dev *d, u32 msr, u64 val)
{
	struct lapic *l = to_lapic(d);

	if (msr == MSR_APIC_BASE)
		return write_base(l, val);
	if (msr == MSR_TSC_DEADLINE) {
		write_deadline(l, val);
		return true;
	}
	if (msr == MSR_KVM_PV_EOI)
		return write_pv_eoi(l, val);
	take_flag(l);
	return is_x2apic_msr(msr) && x2apic(l) && write_x2apic(l, msr - MSR_X2APIC, val);
}

u8 lapic_get_cr8(struct dev *d)
{
	return (u8)(to_lapic(d)->tpr >> 4);
}

void lapic_set_cr8(struct dev *d, u8 val)
{
	struct lapic *l = to_lapic(d);

	l->tpr = (u32)(val & 15) << 4;
	update(l);
}

/* -- lifecycle ------------------------------------------------------------------------------ */

static int lapic_init(struct dev *d, const void *cfg, struct err *e)
{
	struct lapic *l = to_lapic(d);
	struct lapic_set *s;

	l->cfg = *(const struct lapic_config *)cfg;
	s = l->cfg.set;
	if (l->cfg.index >= PC_MAX_CPUS)
		return err_set(e, EINVAL, "at most %d CPUs, not %u", PC_MAX_CPUS, l->cfg.index + 1);
	if (l->cfg.phys_bits < 32 || l->cfg.phys_bits > 52)
		l->cfg.phys_bits = 52;
	if (!l->cfg.tsc_khz)
		l->cfg.tsc = NULL;
	l->timer.fn = on_timer;
	s->cpu[l->cfg.index] = d;
	if (s->nr <= l->cfg.index)
		s->nr = l->cfg.index + 1;
	return 0;
}

static void lapic_fini(struct dev *d)
{
	struct lapic *l = to_lapic(d);

	clock_disarm(d->env.clock, &l->timer);
	l->cfg.set->cpu[l->cfg.index] = NULL;
}

static void lapic_reset(struct dev *d)
{
	struct lapic *l = to_lapic(d);

	l->base = LAPIC_BASE | BASE_ENABLE | (id(l) == 0 ? BASE_BSP : 0);
	init_reset(l);
	if (id(l) == 0) { /* see DEVIATION above */
		l->lvt[LVT_LINT0] = MODE_EXTINT << 8;
		l->lvt[LVT_LINT1] = MODE_NMI << 8;
	}
	update(l);
}

static int lapic_loaded(struct dev *d, struct err *e UNUSED)
{
	struct lapic *l = to_lapic(d);

	for (unsigned i = 0; i < NR_LVT; i++)
		l->lvt[i] &= lvt_writable[i];
	if (!l->cfg.tsc)
		l->lvt[LVT_TIMER] &= ~BIT(18);
	l->isr[0] &= 0xffff0000; /* vectors below 16 cannot be accepted */
	l->irr[0] &= 0xffff0000;
	clock_disarm(d->env.clock, &l->timer);
	if (l->cfg.passive)
		return 0;
	if (timer_mode(l) == TIMER_DEADLINE)
		check_deadline(l);
	else if (l->counting)
		clock_arm(d->env.clock, &l->timer, l->expire_ns);
	update(l);
	return 0;
}

void lapic_put(struct dev *d, struct lapic_regs *ret)
{
	struct lapic *l = to_lapic(d);

	take_flag(l);
	for (unsigned n = 0; n < 64; n++)
		if (!read_reg(l, n, &ret->reg[n]))
			ret->reg[n] = 0;
	ret->reg[REG_ID] = id(l) << 24;
	ret->base = l->base;
	ret->deadline = timer_mode(l) == TIMER_DEADLINE ? l->deadline : 0;
	ret->pv_eoi = l->pv_eoi;
}

void lapic_take(struct dev *d, const struct lapic_regs *r)
{
	struct lapic *l = to_lapic(d);
	const u32 *reg = r->reg;

	l->base = r->base;
	l->pv_eoi = r->pv_eoi;
	l->pv_eoi_set = false;
	l->tpr = reg[REG_TPR] & 0xff;
	l->ldr = reg[REG_LDR] & 0xff000000;
	l->dfr = reg[REG_DFR] | 0x0fffffff;
	l->svr = reg[REG_SVR] & SVR_WRITABLE;
	l->esr = reg[REG_ESR] & 0xff;
	l->esr_pending = 0;
	l->icr = reg[REG_ICR] | (u64)reg[REG_ICR2] << 32;
	l->tdcr = reg[REG_TDCR] & 0xb;
	l->tmict = reg[REG_TMICT];
	for (unsigned n = 0; n < NR_LVT; n++)
		l->lvt[n] = reg[REG_LVT + n];
	for (unsigned n = 0; n < 8; n++) {
		l->isr[n] = reg[REG_ISR + n];
		l->irr[n] = reg[REG_IRR + n];
		l->tmr[n] = reg[REG_TMR + n];
	}
	l->extint = false;
	l->deadline = r->deadline;
	l->counting = reg[REG_TMCCT] && timer_mode(l) != TIMER_DEADLINE;
	l->expire_ns = l->counting ? clock_now_ns(d->env.clock) +
					     ((u64)reg[REG_TMCCT] << divide_shift(l))
				   : 0;
	(void)lapic_loaded(d, NULL);
}

static const struct dev_region lapic_region[] = {
	{ .name = "page", .space = SPACE_MMIO, .size = 0x1000, .acc_min = 4, .acc_max = 4 },
};

const struct dev_class lapic_class = {
	.name = "lapic",
	.spec = "Intel SDM volume 3A chapter 11",
	.size = sizeof(struct lapic),
	.region = lapic_region,
	.nr_regions = array_len(lapic_region),
	.state = lapic_state,
	.state_version = 1,
	.init = lapic_init,
	.fini = lapic_fini,
	.reset = lapic_reset,
	.read = lapic_read,
	.write = lapic_write,
	.loaded = lapic_loaded,
};
