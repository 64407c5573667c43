// SPDX-License-Identifier: Apache-2.0
/* rig.c - see rig.h; registers: [virtio 4.2.2], rings: [virtio 2.7] */
#include "rig.h"

#include "target.h"

#include <stdlib.h>

#define RAM      (1ull << 20)
#define SIZE     16u
#define DESC(q)  ((q)*0x400u)
#define AVAIL(q) ((q)*0x400u + 0x200)
#define USED(q)  ((q)*0x400u + 0x300)

enum { DESC_NEXT = 1, DESC_WRITE = 2 };

struct desc {
	u64 addr;
	u32 len;
	u16 flags, next;
};

static void no_wire(void *chip UNUSED, unsigned pin UNUSED, bool level UNUSED) {}

void rig_open(struct rig *r, const struct virtio_class *c, const void *cfg)
{
	struct dev_env env = { .irq[0] = { .set = no_wire } };
	struct err e;

	clock_fake_init(&r->clock);
	r->mem = mem_new(RAM, &e);
	r->bus = bus_new();
	env.mem = r->mem;
	env.clock = &r->clock.clock;
	r->d = r->mem && r->bus ? virtio_mmio_new(c, cfg, 0, c->dev.name, &env, &e) : NULL;
	if (!r->d || bus_map(r->bus, 0, r->d, 0, &e) < 0)
		fuzz_broken("no device");
}

static void put(struct rig *r, unsigned reg, u32 val)
{
	bus_write(r->bus, reg, 4, val);
}

static void *at(struct rig *r, gpa_t gpa)
{
	return (u8 *)mem_ptr(r->mem, 0, RAM) + gpa;
}

void rig_reset(struct rig *r)
{
	put(r, 0x70, 0);
}

void rig_start(struct rig *r)
{
	rig_reset(r);
	put(r, 0x70, 3);
	put(r, 0x14, 0);
	put(r, 0x24, 0);
	put(r, 0x20, (u32)bus_read(r->bus, 0x10, 4) & 0x0fffffff); /* nothing of the rings */
	put(r, 0x24, 1);
	put(r, 0x20, 1);
	put(r, 0x70, 11);
	memset(at(r, 0), 0, RIG_QUEUES * 0x400);
	for (unsigned q = 0; q < RIG_QUEUES; q++) {
		put(r, 0x30, q);
		put(r, 0x38, SIZE);
		put(r, 0x80, DESC(q));
		put(r, 0x90, AVAIL(q));
		put(r, 0xa0, USED(q));
		put(r, 0x44, 1);
		r->avail[q] = r->used[q] = 0;
	}
	put(r, 0x70, 15);
	if (bus_read(r->bus, 0x70, 4) != 15)
		fuzz_broken("the device does not start");
}

u8 *rig_out(struct rig *r, unsigned slot)
{
	return at(r, RIG_OUT + slot * 0x1000);
}

u8 *rig_in(struct rig *r, unsigned slot)
{
	return at(r, RIG_IN + slot * 0x1000);
}

void rig_add(struct rig *r, unsigned q, unsigned slot, u32 out, u32 in)
{
	struct desc *d = at(r, DESC(q));
	u16 *avail = at(r, AVAIL(q)), head = (u16)(slot * 2 + !out);

	d[slot * 2] = (struct desc){ RIG_OUT + slot * 0x1000, out, in ? DESC_NEXT : 0,
				     (u16)(slot * 2 + 1) };
	d[slot * 2 + 1] = (struct desc){ RIG_IN + slot * 0x1000, in, DESC_WRITE, 0 };
	avail[2 + r->avail[q]++ % SIZE] = head;
	avail[1] = r->avail[q];
}

void rig_kick(struct rig *r, unsigned q)
{
	put(r, 0x50, q);
}

i64 rig_used(struct rig *r, unsigned q, u32 max)
{
	u16 *used = at(r, USED(q));
	u32 len;

	if (used[1] == r->used[q])
		return -1;
	if ((u16)(r->avail[q] - used[1]) > SIZE)
		fuzz_broken("a chain came back that was never given");
	memcpy(&len, (u8 *)used + 4 + r->used[q]++ % SIZE * 8 + 4, sizeof len);
	if (len > max)
		fuzz_broken("more bytes written than there was room");
	return len;
}
