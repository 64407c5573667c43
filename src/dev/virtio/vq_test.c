// SPDX-License-Identifier: Apache-2.0
/* vq_test.c - rings: every malformed form, wrap, indirect tables, event indexes */
#include "dev/virtio/drv_test.h"

#include "base/clock_fake.h"
#include "base/test.h"
#include "dev/virtio/vq.h"

/* A device that copies what it reads to what it writes; mode says what else it does. */
static unsigned popped;
static u32 last_readable, last_writable;

static void echo_notify(struct virtio *v UNUSED, struct virtq *q)
{
	struct vchain c;
	u8 buf[64];

	while (vq_pop(q, &c)) {
		size_t n = vchain_read(&c, buf, sizeof buf);

		popped++;
		last_readable = c.readable;
		last_writable = c.writable;
		vq_push(q, c.tok, (u32)vchain_write(&c, buf, n));
	}
	vq_flush(q);
}

static int echo_init(struct dev *d, const void *cfg UNUSED, struct err *e UNUSED)
{
	virtio_set_queues(container_of(d, struct virtio, dev), 2, VQ_MAX_SIZE);
	return 0;
}

struct echo {
	struct virtio v;
};

static const struct field echo_state[] = { VIRTIO_FIELDS(struct echo, v), FIELD_END };

static const struct virtio_class echo_class = {
	.dev = { .name = "echo", .size = sizeof(struct echo), .state = echo_state,
		 .init = echo_init, .loaded = virtio_loaded },
	.id = 63, .pci_class = 0xff0000, .notify = echo_notify,
};

static const struct drv_buf pair[2] = { { DRV_BUF, 5 }, { DRV_BUF + 0x1000, 64 } };

static bool open_echo(struct drv *t, u64 want)
{
	popped = 0;
	if (!drv_open(t, &echo_class, NULL, want, DRV_QSIZE))
		return false;
	drv_put(t, DRV_BUF, "hello", 5);
	return true;
}

static u8 status(struct drv *t)
{
	return (u8)drv_read(t, 20, 1);
}

static void avail(struct drv *t, u16 head, u16 idx)
{
	drv_put(t, t->q[0].avail + 4, &head, 2);
	drv_put(t, t->q[0].avail + 2, &idx, 2);
	drv_kick(t, 0);
}

static void check_echo_and_wrap(u64 want)
{
	struct drv t;
	char buf[6] = "";

	CHECK(open_echo(&t, want));
	for (unsigned i = 0; i < 5 * DRV_QSIZE + 3; i++) {
		CHECK_EQ(drv_call(&t, 0, pair, 1, 1), 5);
		CHECK_EQ(t.irqs[0], i + 1);
	}
	drv_get(&t, DRV_BUF + 0x1000, buf, 5);
	CHECK_STR(buf, "hello");
	CHECK_EQ(status(&t), 15);
	drv_close(&t);
}

TEST(split_ring_echoes_across_many_wraps)
{
	check_echo_and_wrap(0);
}

TEST(packed_ring_echoes_across_many_wraps)
{
	check_echo_and_wrap(VIRTIO_F_RING_PACKED);
}

TEST(split_index_wraps_at_16_bits)
{
	struct drv t;

	CHECK(open_echo(&t, 0));
	for (unsigned i = 0; i < 0x10010; i++)
		CHECK_EQ(drv_call(&t, 0, pair, 1, 1), 5);
	CHECK_EQ(t.irqs[0], 0x10010);
	drv_close(&t);
}

/* One malformed form: what the descriptors say, and whether INDIRECT was negotiated. */
struct bad {
	const char *what;
	struct {
		u64 addr;
		u32 len;
		u16 flags, next;
	} d[3];
	u16 head, idx;
	u64 features;
};

#define IND VIRTIO_F_INDIRECT_DESC

static const struct bad bad_forms[] = {
	{ "head out of range", { { DRV_BUF, 4, 0, 0 } }, DRV_QSIZE, 1, 0 },
	{ "avail index too far", { { DRV_BUF, 4, 0, 0 } }, 0, DRV_QSIZE + 1, 0 },
	{ "buffer outside RAM", { { DRV_RAM - 2, 4, 0, 0 } }, 0, 1, 0 },
	{ "address wraps", { { ~0ull - 1, 4, 0, 0 } }, 0, 1, 0 },
	{ "next out of range", { { DRV_BUF, 4, 1, DRV_QSIZE } }, 0, 1, 0 },
	{ "loop of one", { { DRV_BUF, 4, 1, 0 } }, 0, 1, 0 },
	{ "loop of empty buffers", { { DRV_BUF, 0, 1, 0 } }, 0, 1, 0 },
	{ "loop of two", { { DRV_BUF, 4, 1, 1 }, { DRV_BUF, 4, 1, 0 } }, 0, 1, 0 },
	{ "readable after writable", { { DRV_BUF, 4, 3, 1 }, { DRV_BUF, 4, 0, 0 } }, 0, 1, 0 },
	{ "indirect not negotiated", { { DRV_BUF, 16, 4, 0 } }, 0, 1, 0 },
	{ "indirect of no entries", { { DRV_BUF, 0, 4, 0 } }, 0, 1, IND },
	{ "indirect of half an entry", { { DRV_BUF, 24, 4, 0 } }, 0, 1, IND },
	{ "indirect outside RAM", { { DRV_RAM, 16, 4, 0 } }, 0, 1, IND },
	{ "indirect with next", { { DRV_BUF, 16, 5, 1 } }, 0, 1, IND },
	/* The queue's own table as the indirect one: entry 0 is indirect again. */
	{ "indirect in indirect", { { 0x10000, 32, 4, 0 } }, 0, 1, IND },
};

TEST(every_malformed_chain_needs_a_reset_and_nothing_else)
{
	for (unsigned i = 0; i < array_len(bad_forms); i++) {
		const struct bad *b = &bad_forms[i];
		struct drv t;

		CHECK(open_echo(&t, b->features));
		for (u16 k = 0; k < 3; k++)
			drv_desc(&t, 0, k, b->d[k].addr, b->d[k].len, b->d[k].flags, b->d[k].next);
		avail(&t, b->head, b->idx);
		if (!(status(&t) & VIRTIO_NEEDS_RESET))
			test_fail(__FILE__, __LINE__, "%s: accepted", b->what);
		CHECK_EQ(popped, 0);
		CHECK_EQ(t.irqs[16], 1);
		CHECK_EQ(t.v->dev.guest_errors, 1);
		drv_kick(&t, 0); /* broken: no further work, no further interrupt */
		drv_kick(&t, 1);
		CHECK_EQ(t.irqs[16], 1);
		CHECK(drv_start(&t, 0, DRV_QSIZE)); /* a reset heals it */
		CHECK_EQ(drv_call(&t, 0, pair, 1, 1), 5);
		drv_close(&t);
	}
}

TEST(total_length_may_not_overflow_32_bits)
{
	for (unsigned short_by = 0; short_by < 2; short_by++) {
		struct drv t;

		popped = 0;
		CHECK(drv_open(&t, &echo_class, NULL, 0, VQ_MAX_SIZE));
		for (u16 k = 0; k < VQ_MAX_SIZE; k++) /* 256 times all of RAM is 2^32 */
			drv_desc(&t, 0, k, 0, (u32)DRV_RAM - short_by, k + 1u < VQ_MAX_SIZE,
				 (u16)(k + 1));
		avail(&t, 0, 1);
		CHECK_EQ(popped, short_by);
		drv_close(&t);
	}
}

TEST(indirect_table_is_the_chain)
{
	struct {
		u64 addr;
		u32 len;
		u16 flags, next;
	} ind[3] = { { DRV_BUF, 5, 1, 2 }, { DRV_BUF + 0x1004, 60, 2, 0 },
				     { DRV_BUF + 0x1000, 4, 3, 1 } };
	struct drv t;
	char buf[6] = "";

	CHECK(open_echo(&t, VIRTIO_F_INDIRECT_DESC));
	drv_put(&t, DRV_BUF + 0x8000, ind, sizeof ind);
	drv_desc(&t, 0, 0, DRV_BUF + 0x8000, sizeof ind, 4, 0);
	avail(&t, 0, 1);
	CHECK_EQ(popped, 1);
	CHECK_EQ(last_writable, 64);
	drv_get(&t, DRV_BUF + 0x1000, buf, 5);
	CHECK_STR(buf, "hello");
	drv_close(&t);
}

TEST(rings_outside_ram_or_unaligned_need_a_reset)
{
	static const u64 bad[] = { DRV_RAM - 16, 1, ~0ull - 15 };

	for (unsigned i = 0; i < array_len(bad); i++) {
		struct drv t;

		CHECK(open_echo(&t, 0));
		drv_write(&t, 20, 1, 0);
		drv_write(&t, 20, 1, 3);
		drv_write(&t, 8, 4, 1);
		drv_write(&t, 12, 4, 1);
		drv_write(&t, 20, 1, 11);
		drv_write(&t, 22, 2, 0);
		drv_write(&t, 32, 4, (u32)bad[i]);
		drv_write(&t, 36, 4, (u32)(bad[i] >> 32));
		drv_write(&t, 28, 2, 1);
		CHECK(status(&t) & VIRTIO_NEEDS_RESET);
		drv_write(&t, 20, 1, 15);
		drv_kick(&t, 0);
		CHECK_EQ(popped, 0);
		drv_close(&t);
	}
}

TEST(no_interrupt_flag_is_honoured)
{
	for (int packed = 0; packed < 2; packed++) {
		struct drv t;

		CHECK(open_echo(&t, packed ? VIRTIO_F_RING_PACKED : 0));
		t.mute = true;
		CHECK_EQ(drv_call(&t, 0, pair, 1, 1), 5);
		CHECK_EQ(t.irqs[0], 0);
		t.mute = false;
		CHECK_EQ(drv_call(&t, 0, pair, 1, 1), 5);
		CHECK_EQ(t.irqs[0], 1);
		drv_close(&t);
	}
}

TEST(split_event_index_suppresses_interrupts_until_the_asked_one)
{
	struct drv t;
	u16 used_event = 3;

	CHECK(open_echo(&t, VIRTIO_F_EVENT_IDX));
	drv_call(&t, 0, pair, 1, 1); /* the first always interrupts */
	CHECK_EQ(t.irqs[0], 1);
	drv_put(&t, t.q[0].avail + 4 + 2 * DRV_QSIZE, &used_event, 2);
	drv_call(&t, 0, pair, 1, 1);
	drv_call(&t, 0, pair, 1, 1);
	CHECK_EQ(t.irqs[0], 1);
	drv_call(&t, 0, pair, 1, 1); /* used entry number 3 */
	CHECK_EQ(t.irqs[0], 2);
	drv_close(&t);
}

TEST(split_avail_event_follows_the_empty_queue)
{
	struct drv t;
	u16 ev;

	CHECK(open_echo(&t, VIRTIO_F_EVENT_IDX));
	for (u16 i = 1; i < 40; i++) {
		drv_call(&t, 0, pair, 1, 1);
		drv_get(&t, t.q[0].used + 4 + 8 * DRV_QSIZE, &ev, 2);
		CHECK_EQ(ev, i);
	}
	drv_close(&t);
}

TEST(packed_event_descriptor_suppresses_interrupts_until_the_asked_one)
{
	static const struct drv_buf one = { DRV_BUF + 0x1000, 8 };
	struct drv t;
	u16 off_wrap = 5 | 0x8000, flags = 2, dev_ev;
	u32 id, len;

	CHECK(open_echo(&t, VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED));
	drv_call(&t, 0, &one, 0, 1);
	CHECK_EQ(t.irqs[0], 1);
	for (u16 i = 1; i < 8; i++) {
		drv_add(&t, 0, &one, 0, 1);
		drv_put(&t, t.q[0].avail, &off_wrap, 2);
		drv_put(&t, t.q[0].avail + 2, &flags, 2);
		drv_kick(&t, 0);
		CHECK(drv_used(&t, 0, &id, &len));
		CHECK_EQ(t.irqs[0], i < 5 ? 1 : 2);
		drv_get(&t, t.q[0].used, &dev_ev, 2);
		CHECK_EQ(dev_ev, (i + 1) | 0x8000);
	}
	/* The same slot in the next lap: the wrap bit tells them apart. */
	off_wrap = 2;
	for (u16 i = 8; i < 20; i++) {
		drv_add(&t, 0, &one, 0, 1);
		drv_put(&t, t.q[0].avail, &off_wrap, 2);
		drv_put(&t, t.q[0].avail + 2, &flags, 2);
		drv_kick(&t, 0);
		CHECK_EQ(t.irqs[0], i < 18 ? 2 : 3);
	}
	drv_close(&t);
}

TEST(packed_malformed_forms_need_a_reset)
{
	/* addr, len, id | flags << 16; AVAIL is bit 7 */
	static const struct {
		u64 addr;
		u32 len;
		u16 flags;
		u64 features;
	} bad[] = {
		{ DRV_RAM, 4, 0x80, 0 },
		{ DRV_BUF, 4, 0x81, 0 }, /* chain that never ends: see below */
		{ DRV_BUF, 16, 0x84, 0 },
		{ DRV_BUF, 8, 0x84, VIRTIO_F_INDIRECT_DESC },
		{ DRV_BUF, 16 * (DRV_QSIZE + 1), 0x84, VIRTIO_F_INDIRECT_DESC },
	};

	for (unsigned i = 0; i < array_len(bad); i++) {
		struct drv t;

		CHECK(open_echo(&t, VIRTIO_F_RING_PACKED | bad[i].features));
		for (u16 k = 0; k < DRV_QSIZE; k++)
			drv_desc(&t, 0, k, bad[i].addr, bad[i].len, 0, bad[i].flags);
		drv_kick(&t, 0);
		CHECK(status(&t) & VIRTIO_NEEDS_RESET);
		CHECK_EQ(popped, 0);
		drv_close(&t);
	}
}

TEST(unpop_gives_the_same_chain_again)
{
	for (int packed = 0; packed < 2; packed++) {
		struct drv t;
		struct vchain a, b;

		CHECK(open_echo(&t, packed ? VIRTIO_F_RING_PACKED : 0));
		for (unsigned i = 0; i < DRV_QSIZE / 2 - 1; i++)
			drv_call(&t, 0, pair, 1, 1);
		drv_add(&t, 0, pair, 1, 1);
		drv_add(&t, 0, pair, 1, 1);
		CHECK(vq_pop(&t.v->q[0], &a));
		CHECK(vq_pop(&t.v->q[0], &b));
		vq_unpop(&t.v->q[0], b.tok);
		vq_unpop(&t.v->q[0], a.tok);
		CHECK(vq_pop(&t.v->q[0], &b));
		CHECK_EQ(a.tok.id, b.tok.id);
		vq_unpop(&t.v->q[0], b.tok);
		drv_kick(&t, 0);
		CHECK_EQ(popped, DRV_QSIZE / 2 + 1);
		drv_close(&t);
	}
}

static u64 fuzz_seed;

static u32 rnd(void)
{
	fuzz_seed = fuzz_seed * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)(fuzz_seed >> 33);
}

TEST(random_ring_contents_never_break_the_device)
{
	for (unsigned run = 0; run < 60; run++) {
		struct drv t;
		u64 want = (run & 1 ? VIRTIO_F_RING_PACKED : 0) |
			   (run & 2 ? VIRTIO_F_INDIRECT_DESC : 0) |
			   (run & 4 ? VIRTIO_F_EVENT_IDX : 0);

		fuzz_seed = run + 1;
		CHECK(open_echo(&t, want));
		for (unsigned i = 0; i < 100; i++) {
			for (unsigned k = 0; k < 8; k++) {
				u64 at = 0x10000 + rnd() % 0x300, v = rnd() % 0x400000;

				if (rnd() & 1)
					v = rnd() & 0x8f;
				drv_put(&t, at & ~1ull, &v, rnd() % 3 ? 2 : 8);
			}
			avail(&t, (u16)(rnd() % 20), (u16)(i + rnd() % 3));
			if (status(&t) & VIRTIO_NEEDS_RESET)
				CHECK(drv_start(&t, want, DRV_QSIZE));
		}
		drv_close(&t);
	}
}

/* -- a driver that never stops adding ------------------------------------------------- */

static struct drv *busy;

static void refill_notify(struct virtio *v UNUSED, struct virtq *q)
{
	struct vchain c;

	while (vq_pop(q, &c)) {
		vq_push(q, c.tok, 0);
		if (popped++ < 100000)
			drv_add(busy, 0, pair, 1, 0);
	}
	vq_flush(q);
}

static const struct virtio_class refill_class = {
	.dev = { .name = "refill", .size = sizeof(struct echo), .state = echo_state,
		 .init = echo_init },
	.id = 63, .pci_class = 0xff0000, .notify = refill_notify,
};

TEST(a_driver_that_keeps_adding_gets_a_budget_and_then_a_timer)
{
	struct clock_fake clock;
	struct drv t;

	clock_fake_init(&clock);
	busy = &t;
	popped = 0;
	CHECK(drv_open(&t, &refill_class, NULL, 0, DRV_QSIZE));
	t.v->dev.env.clock = &clock.clock;
	drv_add(&t, 0, pair, 1, 0);
	drv_kick(&t, 0);
	CHECK_EQ(popped, 4 * DRV_QSIZE);
	clock_fake_advance(&clock, 20000);
	CHECK_EQ(popped, 8 * DRV_QSIZE);
	drv_write(&t, 20, 1, 0); /* a reset stops it */
	popped = 0;
	clock_fake_advance(&clock, 1000000);
	CHECK_EQ(popped, 0);
	drv_close(&t);
}
