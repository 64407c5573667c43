// SPDX-License-Identifier: Apache-2.0
/*
 * bus.c - one address space of device registers; see dev.h
 *
 * Slots are sorted by base and do not overlap, so an access is a binary search,
 * or nothing at all when it hits the slot of the access before it. The few
 * overlay regions live in a list of their own, which is looked at only when the
 * slot below has one on top (or there is no slot).
 */
#include "dev/dev.h"

#include "base/bits.h"
#include "base/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct slot {
	u64 base, size;
	struct dev *d;
	const struct dev_region *r;
	unsigned region;
	bool covered; /* an overlay lies inside */
};

struct slots {
	struct slot *v; /* sorted by base; owned */
	size_t n;
};

struct bus {
	struct slots main, over;
	size_t last; /* index in main of the last hit */
};

struct bus *bus_new(void)
{
	return calloc(1, sizeof(struct bus));
}

void bus_free(struct bus *b)
{
	if (!b)
		return;
	free(b->main.v);
	free(b->over.v);
	free(b);
}

static bool inside(const struct slot *in, const struct slot *out)
{
	return in->base >= out->base && in->base - out->base <= out->size - in->size &&
	       in->size <= out->size;
}

static bool overlaps(const struct slot *a, const struct slot *b)
{
	return a->base - b->base < b->size || b->base - a->base < a->size;
}

static void update_covered(struct bus *b)
{
	for (size_t i = 0; i < b->main.n; i++) {
		b->main.v[i].covered = false;
		for (size_t k = 0; k < b->over.n; k++)
			b->main.v[i].covered |= overlaps(&b->main.v[i], &b->over.v[k]);
	}
	b->last = 0;
}

/* May s go beside the slots of list l? Partial overlap with an overlay is an error too. */
static int check_free(const struct slots *l, const struct slot *s, bool nested_ok, struct err *e)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct slot *o = &l->v[i];

		if (!overlaps(o, s) || (nested_ok && (inside(s, o) || inside(o, s))))
			continue;
		return err_set(e, EBUSY, "%s: %s at 0x%llx overlaps %s (%s at 0x%llx)", s->d->id,
			       s->r->name, (unsigned long long)s->base, o->d->id, o->r->name,
			       (unsigned long long)o->base);
	}
	return 0;
}

int bus_map(struct bus *b, u64 base, struct dev *d, unsigned region, struct err *e)
{
	const struct dev_region *r = &d->class->region[region];
	struct slot s = { .base = base, .size = r->size, .d = d, .r = r, .region = region };
	struct slots *l = r->overlay ? &b->over : &b->main;
	struct slot *v;
	size_t at = 0;

	if (!s.size || base + s.size - 1 < base)
		return err_set(e, EINVAL, "%s: %s at 0x%llx does not fit the address space", d->id,
			       r->name, (unsigned long long)base);
	TRY(check_free(&b->main, &s, r->overlay, e));
	TRY(check_free(&b->over, &s, !r->overlay, e));
	v = realloc(l->v, (l->n + 1) * sizeof *v);
	if (!v)
		return err_set(e, ENOMEM, "%s: out of memory", d->id);
	l->v = v;
	while (at < l->n && v[at].base < base)
		at++;
	memmove(v + at + 1, v + at, (l->n - at) * sizeof *v);
	v[at] = s;
	l->n++;
	update_covered(b);
	return 0;
}

static void remove_from(struct slots *l, const struct dev *d, unsigned region)
{
	for (size_t i = 0; i < l->n; i++) {
		if (l->v[i].d != d || l->v[i].region != region)
			continue;
		memmove(l->v + i, l->v + i + 1, (l->n - i - 1) * sizeof *l->v);
		l->n--;
		return;
	}
}

void bus_unmap(struct bus *b, struct dev *d, unsigned region)
{
	remove_from(&b->main, d, region);
	remove_from(&b->over, d, region);
	update_covered(b);
}

static bool fits(const struct slot *s, u64 addr, unsigned size)
{
	return addr - s->base < s->size && s->size - (addr - s->base) >= size;
}

static struct slot *search(struct bus *b, u64 addr)
{
	size_t lo = 0, hi = b->main.n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		struct slot *s = &b->main.v[mid];

		if (addr < s->base) {
			hi = mid;
		} else if (addr - s->base >= s->size) {
			lo = mid + 1;
		} else {
			b->last = mid;
			return s;
		}
	}
	return NULL;
}

/* The slot that takes the whole access, or NULL. */
static struct slot *lookup(struct bus *b, u64 addr, unsigned size)
{
	struct slot *s = NULL;

	if (b->last < b->main.n && addr - b->main.v[b->last].base < b->main.v[b->last].size)
		s = &b->main.v[b->last];
	else
		s = search(b, addr);
	if (unlikely(!s || s->covered))
		for (size_t i = 0; i < b->over.n; i++)
			if (fits(&b->over.v[i], addr, size))
				return &b->over.v[i];
	return s && fits(s, addr, size) ? s : NULL;
}

u64 bus_read(struct bus *b, u64 addr, unsigned size)
{
	struct slot *s = lookup(b, addr, size);
	unsigned step;
	u64 v = 0;

	if (!s) {
		trace(BUS_UNCLAIMED, "read", addr, size, 0);
		return mask_bytes(size);
	}
	if (size < s->r->acc_min || !s->d->class->read)
		return mask_bytes(size);
	step = size < s->r->acc_max ? size : s->r->acc_max;
	for (unsigned i = 0; i < size; i += step)
		v |= (s->d->class->read(s->d, s->region, addr - s->base + i, step) &
		      mask_bytes(step)) << (i * 8);
	return v;
}

void bus_write(struct bus *b, u64 addr, unsigned size, u64 val)
{
	struct slot *s = lookup(b, addr, size);
	struct dev *d;
	u64 off, end;
	unsigned step, region;

	if (!s) {
		trace(BUS_UNCLAIMED, "write", addr, size, 1);
		return;
	}
	if (size < s->r->acc_min || !s->d->class->write)
		return;
	/* The write may remap regions (a BAR): s is not used after the first step. */
	d = s->d;
	off = addr - s->base;
	region = s->region;
	step = size < s->r->acc_max ? size : s->r->acc_max;
	for (end = off + size; off < end; off += step, val >>= (step * 8) & 63)
		d->class->write(d, region, off, step, val & mask_bytes(step));
}
