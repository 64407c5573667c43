// SPDX-License-Identifier: Apache-2.0
/*
 * debug_exit.c - isa-debug-exit: a guest test ends the VM with a status
 *
 * Follows the convention of guest test suites: writing v to port 0xf4 ends the
 * monitor with exit status (v << 1) | 1, so that 0 never comes from a guest.
 */
#include "dev/pc/pc.h"

struct debug_exit {
	struct dev dev;
	struct debug_exit_config cfg;
};

static const struct field debug_exit_state[] = {
	FIELD_NOT_SAVED(struct debug_exit, dev),
	FIELD_NOT_SAVED(struct debug_exit, cfg),
	FIELD_END,
};

static int debug_exit_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	const struct debug_exit_config *c = cfg;

	if (c)
		container_of(d, struct debug_exit, dev)->cfg = *c;
	return 0;
}

static void debug_exit_reset(struct dev *d UNUSED)
{
}

static void debug_exit_write(struct dev *d, unsigned region UNUSED, u64 off, unsigned size UNUSED,
			     u64 val)
{
	const struct debug_exit_config *c = &container_of(d, struct debug_exit, dev)->cfg;

	if (off == 0 && c->exit)
		c->exit(c->ctx, (u32)val << 1 | 1);
}

static u64 debug_exit_read(struct dev *d UNUSED, unsigned region UNUSED, u64 off UNUSED,
			   unsigned size UNUSED)
{
	return 0;
}

static const struct dev_region debug_exit_region[] = {
	{ .name = "exit", .space = SPACE_PIO, .size = 4, .acc_min = 1, .acc_max = 4 },
};

const struct dev_class debug_exit_class = {
	.name = "isa-debug-exit",
	.spec = "guest test convention",
	.size = sizeof(struct debug_exit),
	.region = debug_exit_region,
	.nr_regions = array_len(debug_exit_region),
	.state = debug_exit_state,
	.state_version = 1,
	.init = debug_exit_init,
	.reset = debug_exit_reset,
	.read = debug_exit_read,
	.write = debug_exit_write,
};
