// SPDX-License-Identifier: Apache-2.0
/*
 * pic8259.c - the PC's pair of 8259A interrupt controllers
 *
 * Follows Intel 8259A (231468-003, 1988) as [8259] and, for the edge/level
 * control registers, Intel 82371SB (PIIX3) 2.5.5.
 * Modelled: priorities, rotation, special mask, special fully nested, automatic
 * EOI, poll, spurious interrupts, per-line level mode.
 * Not modelled: MCS-80 mode (answers like 8086 mode), buffered mode (no effect),
 * ICW3 (the cascade is wired).
 * DEVIATION: an edge stays latched when its input falls before INTA, where the
 * chip would answer with a spurious 7; wires here may pulse in no time.
 */
#include "dev/pc/pc.h"

#include "base/bits.h"
#include "base/trace.h"

#include <string.h>

enum { MASTER, SLAVE, REGION_ELCR };

/* clang-format off */
enum {
	ICW1 = 0x10, ICW1_IC4 = 0x01, ICW1_SNGL = 0x02,			/* [8259] fig. 7 */
	ICW4_AEOI = 0x02, ICW4_SFNM = 0x10,				/* fig. 7 */
	OCW3 = 0x08, OCW3_RIS = 0x01, OCW3_RR = 0x02, OCW3_POLL = 0x04, /* fig. 8 */
	OCW3_SMM = 0x20, OCW3_ESMM = 0x40,
	CASCADE = 2,							/* slave's INT is master's IR2 */
};
/* clang-format on */

static const u8 elcr_mask[2] = { 0xf8, 0xde }; /* 0, 1, 2, 8 and 13 are always edge */

struct pic {
	struct dev dev;
	struct pic_chip chip[2];
	bool intr;
};

#define CHIP_FIELDS(n)                                                                             \
	FIELD(struct pic, chip[n].irr), FIELD(struct pic, chip[n].isr),                            \
		FIELD(struct pic, chip[n].imr), FIELD(struct pic, chip[n].line),                   \
		FIELD(struct pic, chip[n].elcr), FIELD(struct pic, chip[n].base),                  \
		FIELD(struct pic, chip[n].lowest, .max = 7),                                       \
		FIELD(struct pic, chip[n].step, .max = 4),                                         \
		FIELD(struct pic, chip[n].need_icw4), FIELD(struct pic, chip[n].single),           \
		FIELD(struct pic, chip[n].read_isr), FIELD(struct pic, chip[n].poll),              \
		FIELD(struct pic, chip[n].smm), FIELD(struct pic, chip[n].sfnm),                   \
		FIELD(struct pic, chip[n].aeoi), FIELD(struct pic, chip[n].rotate_aeoi)

static const struct field pic_state[] = {
	FIELD_NOT_SAVED(struct pic, dev),
	CHIP_FIELDS(0),
	CHIP_FIELDS(1),
	FIELD(struct pic, intr),
	FIELD_END,
};

static struct pic *to_pic(struct dev *d)
{
	return container_of(d, struct pic, dev);
}

/* Requests: latched edges, and level inputs as they are now. */
static u8 requests(const struct pic_chip *c)
{
	return (u8)((c->irr & ~c->elcr) | (c->line & c->elcr));
}

/* Priority of the most urgent bit in set: 0 (highest) .. 7, 8 if none. */
static unsigned rank(const struct pic_chip *c, u8 set)
{
	unsigned r = 0;

	while (r < 8 && !(set & BIT((c->lowest + 1 + r) & 7)))
		r++;
	return r;
}

/* The input that would be acknowledged now, or -1. [8259] "Fully nested mode" */
static int best(const struct pic_chip *c)
{
	u8 busy = c->isr;
	unsigned r;

	if (c->smm)
		busy &= (u8)~c->imr;
	if (c->sfnm)
		busy &= (u8)~BIT(CASCADE);
	r = rank(c, requests(c) & (u8)~c->imr);
	return r < rank(c, busy) ? (int)((c->lowest + 1 + r) & 7) : -1;
}

static void update(struct pic *p)
{
	struct pic_chip *m = &p->chip[MASTER];
	bool intr;

	/* The slave's INT is a level on the cascade input. */
	m->irr &= (u8)~BIT(CASCADE);
	if (best(&p->chip[SLAVE]) >= 0)
		m->irr |= BIT(CASCADE);
	intr = best(m) >= 0;
	if (intr != p->intr) {
		p->intr = intr;
		irq_set(&p->dev.env.irq[0], intr);
	}
}

static void set_line(void *ctx, unsigned n, bool level)
{
	struct pic *p = ctx;
	struct pic_chip *c = &p->chip[n >> 3];
	u8 bit = (u8)BIT(n & 7);

	if (level && !(c->line & bit))
		c->irr |= bit;
	c->line = (u8)(level ? c->line | bit : c->line & ~bit);
	update(p);
}

struct irq pic_line(struct dev *pic, unsigned n)
{
	return (struct irq){ .set = set_line, .chip = to_pic(pic), .pin = n & 15 };
}

bool pic_pending(const struct dev *pic)
{
	return container_of(pic, const struct pic, dev)->intr;
}

/* One INTA cycle pair on chip c: the input taken, 7 if none is left. [8259] "Interrupt sequence" */
static unsigned inta(struct pic_chip *c)
{
	int n = best(c);

	if (n < 0)
		return 7;
	if (c->aeoi) {
		if (c->rotate_aeoi)
			c->lowest = (u8)n;
	} else {
		c->isr |= (u8)BIT(n);
	}
	c->irr &= (u8)~BIT(n);
	return (unsigned)n;
}

u8 pic_ack(struct dev *d)
{
	struct pic *p = to_pic(d);
	int m = best(&p->chip[MASTER]);
	u8 vec;

	vec = (u8)(p->chip[MASTER].base + inta(&p->chip[MASTER]));
	if (m == CASCADE)
		vec = (u8)(p->chip[SLAVE].base + inta(&p->chip[SLAVE]));
	update(p);
	trace(PIC_ACK, d->id, vec, 0, 0);
	return vec;
}

static void write_icw1(struct pic_chip *c, u8 val)
{
	/* [8259] "Initialization command words": edge sense, mask, service state cleared */
	c->irr = c->isr = c->imr = 0;
	c->lowest = 7;
	c->read_isr = c->poll = c->smm = c->sfnm = c->aeoi = c->rotate_aeoi = false;
	c->need_icw4 = val & ICW1_IC4;
	c->single = val & ICW1_SNGL;
	c->step = 2;
}

/* ICW2 to ICW4, in the order the chip expects them. */
static void write_icw(struct pic_chip *c, u8 val)
{
	switch (c->step) {
	case 2:
		c->base = val & 0xf8;
		c->step = !c->single ? 3 : c->need_icw4 ? 4 : 0;
		break;
	case 3:
		c->step = c->need_icw4 ? 4 : 0;
		break;
	default:
		c->aeoi = val & ICW4_AEOI;
		c->sfnm = val & ICW4_SFNM;
		c->step = 0;
	}
}

/* End of interrupt and rotation. [8259] fig. 8, OCW2 */
static void write_ocw2(struct pic_chip *c, u8 val)
{
	unsigned r = rank(c, c->isr), n = val & 7;
	bool rotate = val & 0x80, specific = val & 0x40, eoi = val & 0x20;

	if (!eoi && !specific) {
		c->rotate_aeoi = rotate;
		return;
	}
	if (!specific) {
		if (r == 8)
			return;
		n = (c->lowest + 1 + r) & 7;
	}
	if (eoi)
		c->isr &= (u8)~BIT(n);
	if (rotate)
		c->lowest = (u8)n;
}

static void write_ocw3(struct pic_chip *c, u8 val)
{
	c->poll = val & OCW3_POLL;
	if (val & OCW3_RR)
		c->read_isr = val & OCW3_RIS;
	if (val & OCW3_ESMM)
		c->smm = val & OCW3_SMM;
}

static void pic_write(struct dev *d, unsigned region, u64 off, unsigned size UNUSED, u64 v)
{
	struct pic *p = to_pic(d);
	u8 val = (u8)v;

	if (region == REGION_ELCR) {
		p->chip[off].elcr = val & elcr_mask[off];
	} else {
		struct pic_chip *c = &p->chip[region];

		if (off && c->step)
			write_icw(c, val);
		else if (off)
			c->imr = val;
		else if (val & ICW1)
			write_icw1(c, val);
		else if (val & OCW3)
			write_ocw3(c, val);
		else
			write_ocw2(c, val);
	}
	update(p);
}

/* [8259] "Poll command": the read is the INTA. */
static u8 read_poll(struct pic *p, struct pic_chip *c)
{
	bool any = best(c) >= 0;
	u8 val;

	c->poll = false;
	val = any ? (u8)(0x80 | inta(c)) : 0;
	update(p);
	return val;
}

static u64 pic_read(struct dev *d, unsigned region, u64 off, unsigned size UNUSED)
{
	struct pic *p = to_pic(d);
	struct pic_chip *c;

	if (region == REGION_ELCR)
		return p->chip[off].elcr;
	c = &p->chip[region];
	if (c->poll)
		return read_poll(p, c);
	if (off)
		return c->imr;
	return c->read_isr ? c->isr : requests(c);
}

static void pic_reset(struct dev *d)
{
	struct pic *p = to_pic(d);

	/* [8259] leaves power-on values open; masked is what firmware leaves behind. Inputs
	 * belong to the devices that drive them. */
	for (unsigned i = 0; i < 2; i++)
		p->chip[i] = (struct pic_chip){ .line = p->chip[i].line, .imr = 0xff, .lowest = 7 };
	p->intr = false;
	irq_set(&d->env.irq[0], false);
}

static int pic_loaded(struct dev *d, struct err *e UNUSED)
{
	struct pic *p = to_pic(d);

	for (unsigned i = 0; i < 2; i++)
		p->chip[i].elcr &= elcr_mask[i];
	irq_set(&d->env.irq[0], p->intr);
	update(p);
	return 0;
}

void pic_put(struct dev *d, struct pic_chip ret[2])
{
	memcpy(ret, to_pic(d)->chip, sizeof to_pic(d)->chip);
}

void pic_take(struct dev *d, const struct pic_chip chip[2])
{
	struct pic *p = to_pic(d);

	for (unsigned i = 0; i < 2; i++) {
		const u8 line = p->chip[i].line; /* the devices' */

		p->chip[i] = chip[i];
		p->chip[i].line = line;
		p->chip[i].elcr &= elcr_mask[i];
	}
	p->intr = best(&p->chip[MASTER]) >= 0;
}

void pic_unack(struct dev *d, u8 vec)
{
	struct pic *p = to_pic(d);

	for (unsigned i = 0; i < 2; i++) {
		struct pic_chip *c = &p->chip[i];
		u8 bit = (u8)BIT(vec & 7);

		if (c->base != (vec & 0xf8) || (!(c->isr & bit) && !c->aeoi))
			continue;
		c->isr &= (u8)~bit;
		c->irr |= bit;
		if (i == SLAVE)
			p->chip[MASTER].isr &= (u8)~BIT(CASCADE);
		break;
	}
	update(p);
}

static const struct dev_region pic_region[] = {
	{ .name = "master", .space = SPACE_PIO, .size = 2, .acc_min = 1, .acc_max = 1 },
	{ .name = "slave", .space = SPACE_PIO, .size = 2, .acc_min = 1, .acc_max = 1 },
	{ .name = "elcr", .space = SPACE_PIO, .size = 2, .acc_min = 1, .acc_max = 1 },
};

const struct dev_class pic8259_class = {
	.name = "i8259",
	.spec = "Intel 8259A, 231468-003, 1988",
	.size = sizeof(struct pic),
	.region = pic_region,
	.nr_regions = array_len(pic_region),
	.state = pic_state,
	.state_version = 1,
	.reset = pic_reset,
	.read = pic_read,
	.write = pic_write,
	.loaded = pic_loaded,
};
