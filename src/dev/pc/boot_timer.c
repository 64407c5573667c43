// SPDX-License-Identifier: Apache-2.0
/*
 * boot_timer.c - the guest says that it has booted
 *
 * Firecracker's page: one byte of value 123 at offset 0 stops the clock of the boot, any
 * other access does nothing.
 */
#include "dev/pc/pc.h"

#define BOOTED 123

struct boot_timer {
	struct dev dev;
	struct boot_timer_config cfg;
};

static int boot_timer_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	container_of(d, struct boot_timer, dev)->cfg = *(const struct boot_timer_config *)cfg;
	return 0;
}

static void boot_timer_fini(struct dev *d UNUSED) {}

static void boot_timer_reset(struct dev *d UNUSED) {}

static u64 boot_timer_read(struct dev *d UNUSED, unsigned region UNUSED, u64 off UNUSED,
			   unsigned size UNUSED)
{
	return 0;
}

static void boot_timer_write(struct dev *d, unsigned region UNUSED, u64 off, unsigned size, u64 val)
{
	struct boot_timer *t = container_of(d, struct boot_timer, dev);

	if (!off && size == 1 && val == BOOTED)
		t->cfg.booted(t->cfg.ctx);
}

static const struct field boot_timer_state[] = {
	FIELD_NOT_SAVED(struct boot_timer, dev),
	FIELD_NOT_SAVED(struct boot_timer, cfg),
	FIELD_END,
};

static const struct dev_region boot_timer_regions[] = {
	{ .name = "boot-timer", .space = SPACE_MMIO, .size = 0x1000, .acc_min = 1, .acc_max = 8 },
};

const struct dev_class boot_timer_class = {
	.name = "boot-timer",
	.spec = "Firecracker docs/design.md",
	.size = sizeof(struct boot_timer),
	.region = boot_timer_regions,
	.nr_regions = array_len(boot_timer_regions),
	.state = boot_timer_state,
	.init = boot_timer_init,
	.fini = boot_timer_fini,
	.reset = boot_timer_reset,
	.read = boot_timer_read,
	.write = boot_timer_write,
};
