// SPDX-License-Identifier: Apache-2.0
/*
 * debugcon.c - debug console, port 0xe9: the simplest complete device class
 *
 * Follows the Bochs convention: a byte written is printed, a read gives 0xe9 so
 * that a guest can tell the port is there. Nothing to configure, no interrupt.
 *
 * Read this file to learn how a device is made: an instance struct that starts
 * with struct dev, a table of its members, functions for init, reset, read and
 * write, a table of register windows, and the const struct dev_class that ties
 * them together. List the class in dev/all/classes.c and it is tested and fuzzed.
 */
#include "dev/pc/pc.h"

#include "ui/chr.h"

struct debugcon {
	struct dev dev;
	struct chr *chr; /* borrowed */
};

static const struct field debugcon_state[] = {
	FIELD_NOT_SAVED(struct debugcon, dev),
	FIELD_NOT_SAVED(struct debugcon, chr),
	FIELD_END,
};

static int debugcon_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	const struct debugcon_config *c = cfg;

	container_of(d, struct debugcon, dev)->chr = c ? c->chr : NULL;
	return 0;
}

static void debugcon_reset(struct dev *d UNUSED)
{
}

static void debugcon_write(struct dev *d, unsigned region UNUSED, u64 off UNUSED,
			   unsigned size UNUSED, u64 val)
{
	struct chr *c = container_of(d, struct debugcon, dev)->chr;
	u8 byte = (u8)val;

	if (c && c->write)
		(void)!c->write(c, &byte, 1); /* no flow control: what does not fit is lost */
}

static u64 debugcon_read(struct dev *d UNUSED, unsigned region UNUSED, u64 off UNUSED,
			 unsigned size UNUSED)
{
	return 0xe9;
}

static const struct dev_region debugcon_region[] = {
	{ .name = "port", .space = SPACE_PIO, .size = 1, .acc_min = 1, .acc_max = 1 },
};

const struct dev_class debugcon_class = {
	.name = "debugcon",
	.spec = "Bochs port 0xe9",
	.size = sizeof(struct debugcon),
	.region = debugcon_region,
	.nr_regions = array_len(debugcon_region),
	.state = debugcon_state,
	.state_version = 1,
	.init = debugcon_init,
	.reset = debugcon_reset,
	.read = debugcon_read,
	.write = debugcon_write,
};
