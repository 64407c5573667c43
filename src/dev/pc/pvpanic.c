// SPDX-License-Identifier: Apache-2.0
/*
 * pvpanic.c - the guest says that it has panicked
 *
 * Follows the pvpanic ISA interface (docs/specs/pvpanic of QEMU; Linux
 * drivers/misc/pvpanic): one byte port; a read gives the events that can be
 * reported, a write reports some.
 */
#include "base/bits.h"
#include "dev/pc/pc.h"

#define EVENT_PANICKED BIT(0)

struct pvpanic {
	struct dev dev;
	struct pvpanic_config cfg;
};

static int pvpanic_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	((struct pvpanic *)d)->cfg = *(const struct pvpanic_config *)cfg;
	return 0;
}

static void pvpanic_fini(struct dev *d UNUSED) {}

static void pvpanic_reset(struct dev *d UNUSED) {}

static u64 pvpanic_read(struct dev *d UNUSED, unsigned region UNUSED, u64 off UNUSED,
			unsigned size UNUSED)
{
	return EVENT_PANICKED;
}

static void pvpanic_write(struct dev *d, unsigned region UNUSED, u64 off UNUSED,
			  unsigned size UNUSED, u64 val)
{
	struct pvpanic *p = (struct pvpanic *)d;

	if (val & EVENT_PANICKED)
		p->cfg.panicked(p->cfg.ctx);
}

static const struct field pvpanic_state[] = {
	FIELD_NOT_SAVED(struct pvpanic, dev),
	FIELD_NOT_SAVED(struct pvpanic, cfg),
	FIELD_END,
};

static const struct dev_region pvpanic_regions[] = {
	{ .name = "pvpanic", .space = SPACE_PIO, .size = 1, .acc_min = 1, .acc_max = 1 },
};

const struct dev_class pvpanic_class = {
	.name = "pvpanic",
	.spec = "pvpanic",
	.size = sizeof(struct pvpanic),
	.region = pvpanic_regions,
	.nr_regions = array_len(pvpanic_regions),
	.state = pvpanic_state,
	.init = pvpanic_init,
	.fini = pvpanic_fini,
	.reset = pvpanic_reset,
	.read = pvpanic_read,
	.write = pvpanic_write,
};
