// SPDX-License-Identifier: Apache-2.0
/*
 * port92.c - system control port A
 *
 * Follows IBM PS/2 technical reference (1988) and Intel ICH9 (316972) 13.7.3:
 * bit 0 rising resets the CPU, bit 1 is A20.
 */
#include "dev/pc/pc.h"

enum { FAST_INIT = 0x01, A20 = 0x02 };

struct port92 {
	struct dev dev;
	u8 val;
};

static const struct field port92_state[] = {
	FIELD_NOT_SAVED(struct port92, dev),
	FIELD(struct port92, val, .max = FAST_INIT | A20),
	FIELD_END,
};

static struct port92 *to_port92(struct dev *d)
{
	return container_of(d, struct port92, dev);
}

static void port92_write(struct dev *d, unsigned region UNUSED, u64 off UNUSED,
			 unsigned size UNUSED, u64 val)
{
	struct port92 *p = to_port92(d);
	u8 was = p->val;

	p->val = val & (FAST_INIT | A20);
	if ((was ^ p->val) & A20)
		irq_set(&d->env.irq[PORT92_A20], p->val & A20);
	if (~was & p->val & FAST_INIT)
		irq_pulse(&d->env.irq[PORT92_RESET]);
}

static u64 port92_read(struct dev *d, unsigned region UNUSED, u64 off UNUSED, unsigned size UNUSED)
{
	return to_port92(d)->val;
}

static void port92_reset(struct dev *d)
{
	to_port92(d)->val = A20; /* as firmware leaves it */
	irq_set(&d->env.irq[PORT92_A20], true);
}

static int port92_loaded(struct dev *d, struct err *e UNUSED)
{
	irq_set(&d->env.irq[PORT92_A20], to_port92(d)->val & A20);
	return 0;
}

static const struct dev_region port92_region[] = {
	{ .name = "port92", .space = SPACE_PIO, .size = 1, .acc_min = 1, .acc_max = 1 },
};

const struct dev_class port92_class = {
	.name = "port92",
	.spec = "Intel ICH9, 316972, 13.7.3",
	.size = sizeof(struct port92),
	.region = port92_region,
	.nr_regions = array_len(port92_region),
	.state = port92_state,
	.state_version = 1,
	.reset = port92_reset,
	.read = port92_read,
	.write = port92_write,
	.loaded = port92_loaded,
};
