// SPDX-License-Identifier: Apache-2.0
/* balloon_test.c - virtio-balloon: what is given back is gone, and nothing else is */
#include "dev/virtio/drv_test.h"

#include "base/test.h"

#define STATS	  (1ull << 1)
#define HINT	  (1ull << 3)
#define REPORTING (1ull << 5)

#define PAGE(n) (0x800000ull + 0x1000 * (n)) /* pages to play with */

static bool open_balloon(struct drv *t, u64 want)
{
	const struct virtio_balloon_cfg c = { .pages = 100, .poll_s = 2, .hinting = true,
					      .reporting = true };

	if (!drv_open(t, &virtio_balloon_class, &c, want, DRV_QSIZE))
		return false;
	memset(mem_ptr(t->mem, PAGE(0), 64 * 4096), 0x77, 64 * 4096);
	return true;
}

/* Which of the first 64 pages are zero, as bits. */
static u64 empty_pages(struct drv *t)
{
	u64 bits = 0;

	for (unsigned i = 0; i < 64; i++)
		bits |= (u64)!*mem_ptr(t->mem, PAGE(i) + 1000, 1) << i;
	return bits;
}

static unsigned code_writes;

static void on_code_write(void *ctx UNUSED, gpa_t gpa UNUSED, u64 len UNUSED)
{
	code_writes++;
}

TEST(balloon_inflation_discards_the_pages_named)
{
	static const u32 pfn[] = { 0x805, 0x803, 0x804, 0x820, 0x803, 0xffffffff, 0x1000 };
	struct drv t;

	CHECK(open_balloon(&t, 0));
	CHECK_EQ(drv_config(&t, 0, 4), 100);
	mem_code_map(t.mem)[0x820] = 1;
	mem_set_code_hook(t.mem, on_code_write, NULL);
	code_writes = 0;
	drv_put(&t, DRV_BUF, pfn, sizeof pfn);
	CHECK_EQ(drv_call(&t, 0, &(struct drv_buf){ DRV_BUF, sizeof pfn }, 1, 0), 0);
	CHECK_EQ(empty_pages(&t), 7ull << 3 | 1ull << 32);
	CHECK_EQ(code_writes, 1);
	CHECK(t.v->dev.guest_errors); /* the last two are no RAM */
	CHECK_EQ(drv_call(&t, 1, &(struct drv_buf){ DRV_BUF, 4 }, 1, 0), 0); /* deflate */
	bus_write(t.mmio, t.bar + 0x2004, 4, 6);
	CHECK_EQ(drv_config(&t, 4, 4), 6);
	bus_write(t.mmio, t.bar + 0x2000, 4, 6); /* not the driver's to write */
	CHECK_EQ(drv_config(&t, 0, 4), 100);
	virtio_balloon_resize(t.dev, 50);
	CHECK_EQ(drv_config(&t, 0, 4), 50);
	CHECK_EQ(t.irqs[16], 1);
	drv_close(&t);
}

TEST(balloon_reporting_discards_whole_pages_inside)
{
	const struct drv_buf b[2] = { { PAGE(0) + 1, 0x3fff }, { PAGE(10), 0x2800 } };
	struct drv t;

	/* Without statistics and hints, reporting is queue 2. */
	CHECK(open_balloon(&t, REPORTING));
	CHECK_EQ(drv_call(&t, 2, b, 0, 2), 0);
	CHECK_EQ(empty_pages(&t), 7ull << 1 | 3ull << 10);
	drv_close(&t);
}

TEST(balloon_statistics_come_when_asked_for)
{
	struct PACKED { u16 tag; u64 val; } s[3] = { { 4, 1000 }, { 5, 2000 }, { 999, 1 } };
	const struct drv_buf b = { DRV_BUF, sizeof s };
	struct virtio_balloon_info info;
	struct drv t;
	u32 id, len;

	CHECK(open_balloon(&t, STATS));
	drv_put(&t, DRV_BUF, s, sizeof s);
	CHECK_EQ(drv_call(&t, 2, &b, 1, 0), ~0u); /* kept */
	virtio_balloon_get(t.dev, &info);
	CHECK_EQ(info.stats_known, 3 << 4);
	CHECK_EQ(info.stats[5], 2000);
	clock_fake_advance(&t.clock, 2000000000);
	CHECK(drv_used(&t, 2, &id, &len));
	drv_add(&t, 2, &b, 1, 0);
	drv_kick(&t, 2);
	virtio_balloon_poll(t.dev, 10);
	clock_fake_advance(&t.clock, 9000000000);
	CHECK(!drv_used(&t, 2, &id, &len));
	clock_fake_advance(&t.clock, 1000000000);
	CHECK(drv_used(&t, 2, &id, &len));
	drv_close(&t);
	CHECK_EQ(t.clock.nr, 0);
}

TEST(balloon_hints_count_while_their_command_runs)
{
	const struct drv_buf cmd = { DRV_BUF, 4 }, page = { PAGE(5), 0x1000 };
	struct virtio_balloon_info info;
	struct drv t;

	CHECK(open_balloon(&t, STATS | HINT | REPORTING));
	drv_call(&t, 3, &page, 0, 1);
	CHECK_EQ(empty_pages(&t), 0); /* nobody asked */
	CHECK_EQ(virtio_balloon_hint(t.dev, true, true), 0);
	CHECK_EQ(drv_config(&t, 8, 4), 2);
	drv_put(&t, DRV_BUF, &(u32){ 2 }, 4);
	drv_call(&t, 3, &cmd, 1, 0);
	drv_call(&t, 3, &page, 0, 1);
	CHECK_EQ(empty_pages(&t), 1 << 5);
	drv_put(&t, DRV_BUF, &(u32){ 0 }, 4);
	drv_call(&t, 3, &cmd, 1, 0);
	CHECK_EQ(drv_config(&t, 8, 4), 1); /* acknowledged: done */
	virtio_balloon_get(t.dev, &info);
	CHECK(info.guest_has_cmd && info.guest_cmd == 0 && info.host_cmd == 1);
	CHECK_EQ(virtio_balloon_hint(t.dev, true, false), 0);
	CHECK_EQ(drv_config(&t, 8, 4), 3);
	CHECK_EQ(virtio_balloon_hint(t.dev, false, false), 0);
	CHECK_EQ(drv_config(&t, 8, 4), 1);
	drv_close(&t);
	CHECK(open_balloon(&t, 0));
	CHECK(virtio_balloon_hint(t.dev, true, true) < 0);
	drv_close(&t);
}
