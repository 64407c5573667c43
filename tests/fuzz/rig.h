// SPDX-License-Identifier: Apache-2.0
/*
 * rig.h - one virtio device with an honest driver, for fuzz targets that are about what
 * requests say and not about rings (dev_fuzz.c is)
 */
#ifndef FUZZ_RIG_H
#define FUZZ_RIG_H

#include "base/clock_fake.h"
#include "dev/dev.h"
#include "dev/virtio/virtio.h"
#include "mem/mem.h"

#define RIG_QUEUES 3
#define RIG_OUT    0x10000u /* where readable bytes are, */
#define RIG_IN     0x40000u /* and writable ones */
#define RIG_MAX    0x20000u /* bytes of either */

struct rig {
	struct clock_fake clock;
	struct mem *mem;
	struct bus *bus;
	struct dev *d; /* the transport */
	u16 avail[RIG_QUEUES], used[RIG_QUEUES];
};

/* Aborts if it cannot be made. The driver has not started. */
void rig_open(struct rig *r, const struct virtio_class *c, const void *cfg);
/* Reset, negotiate and set up the queues, of 16 buffers each. */
void rig_start(struct rig *r);
void rig_reset(struct rig *r);
/*
 * Make a chain available: @out bytes at RIG_OUT + 0x1000 * @slot, of which the device reads,
 * then @in bytes at RIG_IN + 0x1000 * @slot, which it writes; either may be 0. @slot < 8.
 */
void rig_add(struct rig *r, unsigned q, unsigned slot, u32 out, u32 in);
void rig_kick(struct rig *r, unsigned q);
/* The bytes written of the next chain that came back, or -1; aborts if that is not so. */
i64 rig_used(struct rig *r, unsigned q, u32 max);
u8 *rig_out(struct rig *r, unsigned slot);
u8 *rig_in(struct rig *r, unsigned slot);

#endif
