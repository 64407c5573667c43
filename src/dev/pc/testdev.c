// SPDX-License-Identifier: Apache-2.0
/*
 * testdev.c - pc-testdev: the test device that kvm-unit-tests expects
 *
 * Follows the public interface used by kvm-unit-tests (lib/x86, x86/ioapic.c,
 * x86/emulator.c): an echo latch of 1, 2 or 4 bytes, a page-flush port (accepted,
 * no effect: there is nothing to flush), a byte echo, 24 interrupt lines driven by
 * writing 0 or 1, and 64 KiB of scratch memory that is device memory, not RAM.
 */
#include "dev/pc/pc.h"

#include <string.h>

enum { REGION_ECHO, REGION_FLUSH, REGION_BYTE, REGION_LINES, REGION_SCRATCH };

#define SCRATCH 0x10000u

struct testdev {
	struct dev dev;
	struct testdev_config cfg;
	u32 latch;
	u32 lines; /* levels driven */
	u8 byte;
	u8 scratch[SCRATCH - 1]; /* field tables describe at most 65535 bytes */
	u8 scratch_last;
};

static const struct field testdev_state[] = {
	FIELD_NOT_SAVED(struct testdev, dev),
	FIELD_NOT_SAVED(struct testdev, cfg),
	FIELD(struct testdev, latch),
	FIELD(struct testdev, lines, .max = (1u << 24) - 1),
	FIELD(struct testdev, byte),
	FIELD(struct testdev, scratch),
	FIELD(struct testdev, scratch_last),
	FIELD_END,
};

_Static_assert(offsetof(struct testdev, scratch_last) ==
		       offsetof(struct testdev, scratch) + SCRATCH - 1, "one array of 64 KiB");

static struct testdev *to_testdev(struct dev *d)
{
	return container_of(d, struct testdev, dev);
}

static u8 *scratch(struct testdev *t, u64 off)
{
	return (u8 *)t + offsetof(struct testdev, scratch) + off;
}

static void set_line(struct testdev *t, unsigned n, bool level)
{
	t->lines = level ? t->lines | 1u << n : t->lines & ~(1u << n);
	if (t->cfg.gsi.set)
		t->cfg.gsi.set(t->cfg.gsi.chip, n, level);
}

static void testdev_write(struct dev *d, unsigned region, u64 off, unsigned size, u64 val)
{
	struct testdev *t = to_testdev(d);

	switch (region) {
	case REGION_ECHO:
		memcpy((u8 *)&t->latch + off, &val, size);
		break;
	case REGION_BYTE:
		t->byte = (u8)val;
		break;
	case REGION_LINES:
		set_line(t, (unsigned)off, val & 0xff);
		break;
	case REGION_SCRATCH:
		memcpy(scratch(t, off), &val, size);
		break;
	}
}

static u64 testdev_read(struct dev *d, unsigned region, u64 off, unsigned size)
{
	struct testdev *t = to_testdev(d);
	u64 v = 0;

	switch (region) {
	case REGION_ECHO:
		memcpy(&v, (u8 *)&t->latch + off, size);
		break;
	case REGION_BYTE:
		v = t->byte;
		break;
	case REGION_SCRATCH:
		memcpy(&v, scratch(t, off), size);
		break;
	}
	return v;
}

static int testdev_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	if (cfg)
		to_testdev(d)->cfg = *(const struct testdev_config *)cfg;
	return 0;
}

static void drive_lines(struct testdev *t, u32 from, u32 to)
{
	for (unsigned i = 0; i < 24; i++)
		if ((from ^ to) >> i & 1)
			set_line(t, i, to >> i & 1);
}

static void testdev_reset(struct dev *d)
{
	struct testdev *t = to_testdev(d);

	drive_lines(t, t->lines, 0);
	t->latch = 0;
	t->byte = 0;
	memset(scratch(t, 0), 0, SCRATCH);
}

static int testdev_loaded(struct dev *d, struct err *e UNUSED)
{
	drive_lines(to_testdev(d), 0, to_testdev(d)->lines);
	return 0;
}

static const struct dev_region testdev_region[] = {
	{ .name = "echo", .space = SPACE_PIO, .size = 4, .acc_min = 1, .acc_max = 4 },
	{ .name = "flush", .space = SPACE_PIO, .size = 4, .acc_min = 1, .acc_max = 4 },
	{ .name = "byte", .space = SPACE_PIO, .size = 1, .acc_min = 1, .acc_max = 1 },
	{ .name = "lines", .space = SPACE_PIO, .size = 24, .acc_min = 1, .acc_max = 1 },
	{ .name = "scratch", .space = SPACE_MMIO, .size = SCRATCH, .acc_min = 1, .acc_max = 8 },
};

const struct dev_class testdev_class = {
	.name = "pc-testdev",
	.spec = "kvm-unit-tests",
	.size = sizeof(struct testdev),
	.region = testdev_region,
	.nr_regions = array_len(testdev_region),
	.state = testdev_state,
	.state_version = 1,
	.init = testdev_init,
	.reset = testdev_reset,
	.read = testdev_read,
	.write = testdev_write,
	.loaded = testdev_loaded,
};
