// SPDX-License-Identifier: Apache-2.0
/*
 * ioapic.c - I/O APIC with 24 inputs
 *
 * Follows Intel 82093AA (290566-001, 1996) as [IOAPIC]; the EOI register and
 * version 0x20 as in Intel ICH9 (316972) 13.5.
 * Modelled: edge and level inputs, remote IRR, all delivery modes (as messages),
 * EOI by broadcast and by register.
 * Not modelled: polarity (an asserted wire is asserted), delivery status and
 * arbitration (messages are taken at once).
 */
#include "dev/pc/pc.h"

#include "base/bits.h"
#include "base/trace.h"

#include <string.h>

enum { MMIO_SELECT = 0x00, MMIO_WINDOW = 0x10, MMIO_EOI = 0x40 };

enum { REG_ID, REG_VERSION, REG_ARB, REG_REDIR = 0x10 }; /* [IOAPIC] 3.2 */

#define VERSION (0x20u | (IOAPIC_PINS - 1) << 16)

/* [IOAPIC] 3.2.4, redirection entry */
#define RTE_VECTOR     0xffull
#define RTE_MODE(e)    ((e) >> 8 & 7)
#define RTE_LOGICAL    BIT_ULL(11)
#define RTE_REMOTE_IRR BIT_ULL(14)
#define RTE_LEVEL      BIT_ULL(15)
#define RTE_MASKED     BIT_ULL(16)
#define RTE_DEST(e)    ((e) >> 56)
#define RTE_WRITABLE   0xff0000000001afffull

enum { MODE_FIXED, MODE_LOWEST, MODE_EXTINT = 7 };

struct ioapic {
	struct dev dev;
	struct ioapic_config cfg;
	u64 redir[IOAPIC_PINS];
	u32 line; /* input levels, one bit per pin */
	u8 select, id;
};

static const struct field ioapic_state[] = {
	FIELD_NOT_SAVED(struct ioapic, dev),
	FIELD_NOT_SAVED(struct ioapic, cfg),
	FIELD_ARRAY(struct ioapic, redir),
	FIELD(struct ioapic, line),
	FIELD(struct ioapic, select),
	FIELD(struct ioapic, id, .max = 15),
	FIELD_END,
};

static struct ioapic *to_ioapic(struct dev *d)
{
	return container_of(d, struct ioapic, dev);
}

/* An entry as a message. [SDM 3A 11.11] */
static u64 message_addr(u64 e)
{
	return LAPIC_BASE | RTE_DEST(e) << 12 | (e & RTE_LOGICAL ? 4 : 0) |
	       (RTE_MODE(e) == MODE_LOWEST ? 8 : 0);
}

static u32 message_data(u64 e)
{
	return (u32)(e & (RTE_VECTOR | RTE_LEVEL | 7u << 8)) | (e & RTE_LEVEL ? BIT(14) : 0);
}

static void send(struct ioapic *a, unsigned pin)
{
	u64 addr = message_addr(a->redir[pin]);
	u32 data = message_data(a->redir[pin]);

	trace(IOAPIC_SEND, a->dev.id, pin, addr, data);
	if (a->dev.env.msi.send)
		a->dev.env.msi.send(a->dev.env.msi.ctx, addr, data);
}

static void tell_route(struct ioapic *a, unsigned pin)
{
	u64 e = a->redir[pin];

	if (a->cfg.route)
		a->cfg.route(a->cfg.ctx, pin, message_addr(e), message_data(e),
			     e & RTE_LEVEL && RTE_MODE(e) <= MODE_LOWEST);
}

/* A level input is sent when asserted, unmasked and not yet waiting for its EOI. */
static void service_level(struct ioapic *a, unsigned pin)
{
	u64 e = a->redir[pin];

	if (!(e & RTE_LEVEL) || e & (RTE_MASKED | RTE_REMOTE_IRR) || !(a->line & BIT(pin)))
		return;
	if (RTE_MODE(e) <= MODE_LOWEST) /* only these have an EOI */
		a->redir[pin] |= RTE_REMOTE_IRR;
	send(a, pin);
}

static void set_line(void *ctx, unsigned pin, bool level)
{
	struct ioapic *a = ctx;
	bool was = a->line & BIT(pin);
	u64 e = a->redir[pin];

	a->line = level ? a->line | BIT(pin) : a->line & ~BIT(pin);
	if (e & RTE_LEVEL)
		service_level(a, pin);
	else if (level && !was && !(e & RTE_MASKED)) /* a masked edge is lost */
		send(a, pin);
}

struct irq ioapic_line(struct dev *ioapic, unsigned pin)
{
	return (struct irq){ .set = set_line, .chip = to_ioapic(ioapic), .pin = pin % IOAPIC_PINS };
}

void ioapic_eoi(void *ioapic, u8 vector)
{
	struct ioapic *a = to_ioapic(ioapic);

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		if (!(a->redir[pin] & RTE_REMOTE_IRR) || (u8)a->redir[pin] != vector)
			continue;
		a->redir[pin] &= ~RTE_REMOTE_IRR;
		service_level(a, pin);
	}
}

static void pc_irq_set(void *ctx, unsigned gsi, bool level)
{
	struct pc_irqs *r = ctx;

	if (r->pic && gsi < 16 && gsi != 2) {
		struct irq q = pic_line(r->pic, gsi);
		irq_set(&q, level);
	}
	if (r->ioapic) {
		struct irq q = ioapic_line(r->ioapic, gsi == 0 ? 2 : gsi);
		irq_set(&q, level);
	}
}

struct irq pc_irq(struct pc_irqs *r, unsigned gsi)
{
	return (struct irq){ .set = pc_irq_set, .chip = r, .pin = gsi };
}

static void write_redir(struct ioapic *a, unsigned half, u32 val)
{
	unsigned pin = half / 2, shift = half % 2 * 32;
	u64 mask = RTE_WRITABLE & 0xffffffffull << shift;
	u64 *e = &a->redir[pin];

	*e = (*e & ~mask) | ((u64)val << shift & mask);
	/* Going to edge mode drops remote IRR: guests use it to cancel a lost EOI. */
	if (!(*e & RTE_LEVEL))
		*e &= ~RTE_REMOTE_IRR;
	tell_route(a, pin);
	service_level(a, pin);
}

static void write_window(struct ioapic *a, u32 val)
{
	if (a->select == REG_ID)
		a->id = val >> 24 & 15;
	else if (a->select >= REG_REDIR && a->select < REG_REDIR + 2 * IOAPIC_PINS)
		write_redir(a, a->select - REG_REDIR, val);
	else
		dev_guest_error(&a->dev, "write to a read-only or absent register");
}

static u32 read_window(struct ioapic *a)
{
	unsigned half = a->select - REG_REDIR;

	switch (a->select) {
	case REG_ID:
	case REG_ARB:
		return (u32)a->id << 24;
	case REG_VERSION:
		return VERSION;
	default:
		if (half < 2 * IOAPIC_PINS)
			return (u32)(a->redir[half / 2] >> half % 2 * 32);
		dev_guest_error(&a->dev, "read of an absent register");
		return 0;
	}
}

static void ioapic_write(struct dev *d, unsigned region UNUSED, u64 off, unsigned size UNUSED,
			 u64 val)
{
	struct ioapic *a = to_ioapic(d);

	switch (off) {
	case MMIO_SELECT:
		a->select = (u8)val;
		break;
	case MMIO_WINDOW:
		write_window(a, (u32)val);
		break;
	case MMIO_EOI:
		ioapic_eoi(a, (u8)val);
		break;
	default:
		dev_guest_error(d, "write to an absent register");
	}
}

static u64 ioapic_read(struct dev *d, unsigned region UNUSED, u64 off, unsigned size UNUSED)
{
	struct ioapic *a = to_ioapic(d);

	switch (off) {
	case MMIO_SELECT:
		return a->select;
	case MMIO_WINDOW:
		return read_window(a);
	default:
		return 0;
	}
}

static int ioapic_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	if (cfg)
		to_ioapic(d)->cfg = *(const struct ioapic_config *)cfg;
	return 0;
}

static void ioapic_reset(struct dev *d)
{
	struct ioapic *a = to_ioapic(d);

	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		a->redir[i] = RTE_MASKED;
		tell_route(a, i);
	}
	a->select = 0;
	a->id = a->cfg.id & 15;
}

static int ioapic_loaded(struct dev *d, struct err *e UNUSED)
{
	struct ioapic *a = to_ioapic(d);

	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		a->redir[i] &= RTE_WRITABLE | RTE_REMOTE_IRR;
		tell_route(a, i);
	}
	a->line &= BIT(IOAPIC_PINS) - 1;
	return 0;
}

void ioapic_put(struct dev *d, struct ioapic_regs *ret)
{
	const struct ioapic *a = to_ioapic(d);

	*ret = (struct ioapic_regs){ .line = a->line, .select = a->select, .id = a->id };
	memcpy(ret->redir, a->redir, sizeof ret->redir);
}

void ioapic_take(struct dev *d, const struct ioapic_regs *r)
{
	struct ioapic *a = to_ioapic(d);

	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		a->redir[i] = r->redir[i] & (RTE_WRITABLE | RTE_REMOTE_IRR);
	a->select = r->select;
	a->id = r->id & 15;
}

bool ioapic_input(const struct dev *d, unsigned pin)
{
	return container_of(d, const struct ioapic, dev)->line & BIT(pin % IOAPIC_PINS);
}

static const struct dev_region ioapic_region[] = {
	{ .name = "regs", .space = SPACE_MMIO, .size = 0x1000, .acc_min = 1, .acc_max = 4 },
};

const struct dev_class ioapic_class = {
	.name = "ioapic",
	.spec = "Intel 82093AA, 290566-001, 1996",
	.size = sizeof(struct ioapic),
	.region = ioapic_region,
	.nr_regions = array_len(ioapic_region),
	.state = ioapic_state,
	.state_version = 1,
	.init = ioapic_init,
	.reset = ioapic_reset,
	.read = ioapic_read,
	.write = ioapic_write,
	.loaded = ioapic_loaded,
};
