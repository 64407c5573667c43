// SPDX-License-Identifier: Apache-2.0
/*
 * pmacpi.c - ACPI fixed hardware and the reset control register
 *
 * Follows ACPI 6.4 section 4.8 as [ACPI]; port 0xcf9 as in Intel ICH9 (316972)
 * 13.7.5 as [ICH9].
 * Modelled: PM1 event and control registers, power button, soft-off, the 32-bit
 * PM timer with its overflow event, RST_CNT.
 * Not modelled: the legacy/ACPI switch (SCI_EN is always 1), sleep states other
 * than S5 (ignored), real-time-clock wake, general-purpose events.
 */
#include "dev/pc/pc.h"

#include "base/bits.h"

enum { REGION_PM, REGION_CF9 };

#define TMR_HZ	   3579545ull /* [ACPI] 4.8.2.1 */
#define NS_PER_SEC 1000000000ull
#define TMR_MSB	   (1ull << 31) /* TMR_STS is set whenever this bit changes */

/* clang-format off */
enum {
	/* 4.8.3.1 */
	PM1_TMR = BIT(0), PM1_GBL = BIT(5), PM1_PWRBTN = BIT(8), PM1_SLPBTN = BIT(9),
	PM1_RTC = BIT(10), PM1_WAK = BIT(15),
	PM1_STS_MASK = PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC | PM1_WAK,
	PM1_EN_MASK = PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC,
	/* 4.8.3.2 */
	CNT_SCI_EN = BIT(0), CNT_SLP_TYP = 10, CNT_SLP_EN = BIT(13), CNT_MASK = 0x1c03,
	CF9_SYS = 0x02, CF9_RST = 0x04, CF9_FULL = 0x08, /* [ICH9] */
};
/* clang-format on */

struct pmacpi {
	struct dev dev;
	u16 sts, en, cnt;
	u8 cf9;
	u64 start_ns;	/* the PM timer's zero */
	u64 checked;	/* PM timer ticks up to which TMR_STS is up to date */
	struct timer timer;
};

static const struct field pmacpi_state[] = {
	FIELD_NOT_SAVED(struct pmacpi, dev),
	FIELD(struct pmacpi, sts),
	FIELD(struct pmacpi, en),
	FIELD(struct pmacpi, cnt),
	FIELD(struct pmacpi, cf9),
	FIELD(struct pmacpi, start_ns),
	FIELD(struct pmacpi, checked),
	FIELD_NOT_SAVED(struct pmacpi, timer),
	FIELD_END,
};

static struct pmacpi *to_pm(struct dev *d)
{
	return container_of(d, struct pmacpi, dev);
}

static u64 ticks(const struct pmacpi *p)
{
	u64 ns = clock_now_ns(p->dev.env.clock) - p->start_ns;

	return (u64)((unsigned __int128)ns * TMR_HZ / NS_PER_SEC);
}

static void refresh(struct pmacpi *p)
{
	u64 t = ticks(p), left;

	if (t / TMR_MSB != p->checked / TMR_MSB)
		p->sts |= PM1_TMR;
	p->checked = t;
	irq_set(&p->dev.env.irq[PMACPI_SCI], p->sts & p->en);
	if (!(p->en & PM1_TMR) || p->sts & PM1_TMR) {
		clock_disarm(p->dev.env.clock, &p->timer);
		return;
	}
	left = TMR_MSB - t % TMR_MSB;
	clock_arm(p->dev.env.clock, &p->timer,
		  clock_now_ns(p->dev.env.clock) + left * NS_PER_SEC / TMR_HZ + 1);
}

static void on_timer(struct timer *t, u64 now UNUSED)
{
	refresh(container_of(t, struct pmacpi, timer));
}

void pmacpi_power_button(struct dev *d)
{
	struct pmacpi *p = to_pm(d);

	p->sts |= PM1_PWRBTN;
	refresh(p);
}

static void write_cnt(struct pmacpi *p, u16 val)
{
	p->cnt = (val & CNT_MASK) | CNT_SCI_EN;
	if (!(val & CNT_SLP_EN))
		return; /* SLP_EN is write-only */
	if ((val >> CNT_SLP_TYP & 7) == PMACPI_SLP_TYP_S5)
		irq_pulse(&p->dev.env.irq[PMACPI_OFF]);
	else
		dev_guest_error(&p->dev, "sleep state not offered");
}

/* [ICH9] 13.7.5: RST_CPU rising resets; SYS_RST and FULL_RST say how, all the same here. */
static void write_cf9(struct pmacpi *p, u8 val)
{
	bool rise = val & ~p->cf9 & CF9_RST;

	p->cf9 = val & (CF9_SYS | CF9_RST | CF9_FULL);
	if (rise)
		irq_pulse(&p->dev.env.irq[PMACPI_RESET]);
}

static void write16(struct pmacpi *p, u64 off, u16 val)
{
	switch (off) {
	case PMACPI_PM1_EVT:
		p->sts &= (u16)~val;
		break;
	case PMACPI_PM1_EVT + 2:
		p->en = val & PM1_EN_MASK;
		break;
	case PMACPI_PM1_CNT:
		write_cnt(p, val);
		break;
	default:
		dev_guest_error(&p->dev, "write to a read-only or absent register");
	}
}

/* A register with one byte replaced; status bits are write-1-to-clear, so the rest is 0. */
static u16 merge_byte(const struct pmacpi *p, u64 off, u8 val)
{
	u16 old = off < PMACPI_PM1_EVT + 2 ? 0 : off < PMACPI_PM1_CNT ? p->en : p->cnt;

	return off & 1 ? (u16)((old & 0xff) | val << 8) : (u16)((old & 0xff00) | val);
}

static void pm_write(struct dev *d, unsigned region, u64 off, unsigned size, u64 val)
{
	struct pmacpi *p = to_pm(d);

	if (region == REGION_CF9) {
		write_cf9(p, (u8)val);
		return;
	}
	refresh(p);
	if (size == 1)
		write16(p, off & ~1ull, merge_byte(p, off, (u8)val));
	else
		write16(p, off, (u16)val);
	if (size == 4)
		write16(p, off + 2, (u16)(val >> 16));
	refresh(p);
}

/* Any two bytes of the block; 32-bit reads of the timer arrive in one piece (acc_max 4). */
static u64 pm_read(struct dev *d, unsigned region, u64 off, unsigned size)
{
	struct pmacpi *p = to_pm(d);
	u64 v;

	if (region == REGION_CF9)
		return p->cf9;
	refresh(p);
	switch (off & ~3ull) {
	case PMACPI_PM1_EVT:
		v = (u32)p->en << 16 | p->sts;
		break;
	case PMACPI_PM1_CNT:
		v = p->cnt;
		break;
	case PMACPI_TMR:
		v = (u32)ticks(p);
		break;
	default:
		v = 0;
	}
	return size + off % 4 > 4 ? mask_bytes(size) : v >> off % 4 * 8;
}

static int pm_init(struct dev *d, const void *cfg UNUSED, struct err *e UNUSED)
{
	to_pm(d)->timer.fn = on_timer;
	return 0;
}

static void pm_fini(struct dev *d)
{
	clock_disarm(d->env.clock, &to_pm(d)->timer);
}

static void pm_reset(struct dev *d)
{
	struct pmacpi *p = to_pm(d);

	p->sts = p->en = p->cf9 = 0;
	p->cnt = CNT_SCI_EN;
	p->start_ns = clock_now_ns(d->env.clock);
	p->checked = 0;
	refresh(p);
}

static int pm_loaded(struct dev *d, struct err *e UNUSED)
{
	struct pmacpi *p = to_pm(d);

	p->sts &= PM1_STS_MASK;
	p->en &= PM1_EN_MASK;
	p->cnt = (p->cnt & CNT_MASK) | CNT_SCI_EN;
	refresh(p);
	return 0;
}

static const struct dev_region pm_region[] = {
	{ .name = "pm", .space = SPACE_PIO, .size = 16, .acc_min = 1, .acc_max = 4 },
	{ .name = "cf9", .space = SPACE_PIO, .size = 1, .acc_min = 1, .acc_max = 1,
	  .overlay = true },
};

const struct dev_class pmacpi_class = {
	.name = "pmacpi",
	.spec = "ACPI 6.4 section 4.8",
	.size = sizeof(struct pmacpi),
	.region = pm_region,
	.nr_regions = array_len(pm_region),
	.state = pmacpi_state,
	.state_version = 1,
	.init = pm_init,
	.fini = pm_fini,
	.reset = pm_reset,
	.read = pm_read,
	.write = pm_write,
	.loaded = pm_loaded,
};
