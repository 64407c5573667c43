// SPDX-License-Identifier: Apache-2.0
/* all_test.c - what must hold for every device class */
#include "base/test.h"
#include "dev/all/fake.h"

#define IMG (160 * 1024)

static u8 img_a[IMG], img_b[IMG];
static struct err e;

struct rig {
	struct fake f;
	struct dev *d;
	struct bus *bus;
};

static u64 region_base(unsigned i)
{
	return (i + 1) * 0x10000000ull;
}

static bool rig_up(struct rig *r, const struct dev_class *c)
{
	fake_init(&r->f);
	r->d = fake_dev(&r->f, c, &e);
	r->bus = bus_new();
	if (!r->d || !r->bus)
		return false;
	for (unsigned i = 0; i < c->nr_regions; i++)
		if (bus_map(r->bus, region_base(i), r->d, i, &e) < 0)
			return false;
	return true;
}

static void rig_down(struct rig *r)
{
	bus_free(r->bus);
	dev_free(r->d);
}

/* A fixed, busy sequence of writes and reads over every region. */
static void exercise(struct rig *r, u32 seed)
{
	const struct dev_class *c = r->d->class;

	for (unsigned n = 0; n < 400; n++) {
		unsigned reg = (seed >> 8) % c->nr_regions, size = 1u << (seed >> 4 & 3);
		u64 off = (seed >> 12) % c->region[reg].size;

		seed = seed * 1664525 + 1013904223;
		if (seed & 0x10000)
			bus_write(r->bus, region_base(reg) + off, size, seed * 0x100000001ull);
		else
			bus_read(r->bus, region_base(reg) + off, size);
		if (!(seed & 0x7e000000))
			clock_fake_advance(&r->f.clock, seed % 1000000);
	}
}

TEST(every_class_describes_all_its_state)
{
	for (const struct dev_class *const *c = dev_classes; *c; c++)
		CHECK_EQ(field_first_gap((*c)->state, (*c)->size), (*c)->size);
}

TEST(every_class_has_a_name_a_document_and_sane_regions)
{
	for (const struct dev_class *const *c = dev_classes; *c; c++) {
		CHECK((*c)->name && (*c)->spec && (*c)->reset && (*c)->read && (*c)->write);
		CHECK((*c)->nr_regions > 0);
		for (unsigned i = 0; i < (*c)->nr_regions; i++) {
			const struct dev_region *r = &(*c)->region[i];

			CHECK(r->size && r->name && r->acc_min && r->acc_min <= r->acc_max);
			CHECK(r->acc_max <= 8 && !(r->acc_max & (r->acc_max - 1)));
		}
	}
}

TEST(reset_twice_gives_equal_state)
{
	struct rig r;
	int n;

	for (const struct dev_class *const *c = dev_classes; *c; c++) {
		CHECK(rig_up(&r, *c));
		exercise(&r, 1);
		(*c)->reset(r.d);
		n = field_save((*c)->state, r.d, img_a, IMG);
		CHECK(n >= 0);
		(*c)->reset(r.d);
		CHECK_EQ(field_save((*c)->state, r.d, img_b, IMG), n);
		CHECK(!memcmp(img_a, img_b, (size_t)n));
		rig_down(&r);
	}
}

TEST(save_reset_load_gives_equal_state)
{
	struct rig r;
	int n;

	for (const struct dev_class *const *c = dev_classes; *c; c++) {
		for (u32 seed = 0; seed < 20; seed++) {
			CHECK(rig_up(&r, *c));
			exercise(&r, seed);
			n = field_save((*c)->state, r.d, img_a, IMG);
			CHECK(n >= 0);
			(*c)->reset(r.d);
			CHECK_EQ(field_load((*c)->state, r.d, (*c)->size, img_a, (size_t)n, &e), 0);
			if ((*c)->loaded)
				CHECK_EQ((*c)->loaded(r.d, &e), 0);
			CHECK_EQ(field_save((*c)->state, r.d, img_b, IMG), n);
			if (memcmp(img_a, img_b, (size_t)n))
				test_fail(__FILE__, __LINE__, "%s, seed %u", (*c)->name, seed);
			rig_down(&r);
		}
	}
}

TEST(two_instances_do_not_affect_each_other)
{
	struct rig r, s;
	int n;

	for (const struct dev_class *const *c = dev_classes; *c; c++) {
		CHECK(rig_up(&r, *c));
		CHECK(rig_up(&s, *c));
		n = field_save((*c)->state, s.d, img_a, IMG);
		exercise(&r, 7);
		CHECK_EQ(field_save((*c)->state, s.d, img_b, IMG), n);
		CHECK(!memcmp(img_a, img_b, (size_t)n));
		rig_down(&s);
		rig_down(&r);
	}
}

static void every_access(struct rig *r, unsigned reg)
{
	u64 size = r->d->class->region[reg].size, base = region_base(reg);
	u64 step = size > 4096 ? 4093 : 1;

	for (u64 off = 0; off < size; off += step)
		for (unsigned w = 1; w <= 8; w *= 2) {
			u64 v = bus_read(r->bus, base + off, w);

			CHECK(w == 8 || v < 1ull << w * 8);
			bus_write(r->bus, base + off, w, ~0ull);
			bus_read(r->bus, base + off, w);
			bus_write(r->bus, base + off, w, 0);
		}
}

TEST(every_region_answers_every_width)
{
	struct rig r;

	for (const struct dev_class *const *c = dev_classes; *c; c++) {
		CHECK(rig_up(&r, *c));
		for (unsigned i = 0; i < (*c)->nr_regions; i++)
			every_access(&r, i);
		clock_fake_advance(&r.f.clock, 1000000000);
		CHECK(!r.f.clock.runaway);
		rig_down(&r);
		CHECK_EQ(r.f.clock.nr, 0); /* fini disarms every timer */
	}
}

TEST(hostile_state_is_refused_or_harmless)
{
	struct rig r;
	int n;

	for (const struct dev_class *const *c = dev_classes; *c; c++) {
		u32 x = 12345;

		CHECK(rig_up(&r, *c));
		exercise(&r, 3);
		n = field_save((*c)->state, r.d, img_a, IMG);
		for (unsigned i = 0; n > 0 && i < 200; i++) {
			x = x * 1664525 + 1013904223;
			memcpy(img_b, img_a, (size_t)n);
			img_b[(x >> 8) % (unsigned)n] = (u8)x;
			if (field_load((*c)->state, r.d, (*c)->size, img_b, (size_t)n, &e) < 0)
				continue;
			if ((*c)->loaded && (*c)->loaded(r.d, &e) < 0)
				(*c)->reset(r.d);
			exercise(&r, x);
			clock_fake_advance(&r.f.clock, 1000000);
		}
		CHECK(!r.f.clock.runaway);
		rig_down(&r);
	}
}
