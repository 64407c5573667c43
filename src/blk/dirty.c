// SPDX-License-Identifier: Apache-2.0
/* dirty.c - see dirty.h */
#include "blk/dirty.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static u64 granules(u64 size, unsigned shift)
{
	return (size >> shift) + ((size & (BIT_ULL(shift) - 1)) != 0);
}

int dirty_init(struct dirty *d, u64 size, unsigned shift)
{
	*d = (struct dirty){ .size = size, .shift = shift, .nr = granules(size, shift) };
	d->bits = calloc(d->nr / 64 + 1, 8);
	return d->bits ? 0 : -ENOMEM;
}

void dirty_fini(struct dirty *d)
{
	free(d->bits);
	d->bits = NULL;
}

static void change(struct dirty *d, u64 first, u64 end, bool set)
{
	while (first < end) {
		u64 bit = first % 64, n = 64 - bit < end - first ? 64 - bit : end - first;
		u64 mask = (n == 64 ? UINT64_MAX : BIT_ULL(n) - 1) << bit;
		u64 *w = &d->bits[first / 64], was = *w;

		*w = set ? was | mask : was & ~mask;
		d->count += (u64)__builtin_popcountll(*w);
		d->count -= (u64)__builtin_popcountll(was);
		first += n;
	}
}

void dirty_set(struct dirty *d, u64 off, u64 len)
{
	if (!len || off >= d->size)
		return;
	len = len < d->size - off ? len : d->size - off;
	change(d, off >> d->shift, ((off + len - 1) >> d->shift) + 1, true);
}

void dirty_clear(struct dirty *d, u64 off, u64 len)
{
	if (!len || off >= d->size)
		return;
	len = len < d->size - off ? len : d->size - off;
	change(d, off >> d->shift, ((off + len - 1) >> d->shift) + 1, false);
}

void dirty_clear_all(struct dirty *d)
{
	change(d, 0, d->nr, false);
}

bool dirty_test(const struct dirty *d, u64 off)
{
	u64 i = off >> d->shift;

	return i < d->nr && d->bits[i / 64] >> (i % 64) & 1;
}

/* The first granule from @i on that is set, or not; d->nr if there is none. */
static u64 find(const struct dirty *d, u64 i, bool set)
{
	while (i < d->nr) {
		u64 w = set ? d->bits[i / 64] : ~d->bits[i / 64];

		w &= UINT64_MAX << i % 64;
		i = align_down(i, 64);
		if (w) {
			i += (u64)__builtin_ctzll(w);
			return i < d->nr ? i : d->nr;
		}
		i += 64;
	}
	return d->nr;
}

u64 dirty_next(const struct dirty *d, u64 off)
{
	u64 i = find(d, off >> d->shift, true);

	if (i >= d->nr)
		return DIRTY_NONE;
	return i << d->shift > off ? i << d->shift : off;
}

u64 dirty_run(const struct dirty *d, u64 off, u64 max)
{
	u64 end = find(d, off >> d->shift, false) << d->shift;

	end = end < d->size ? end : d->size;
	return end - off < max ? end - off : max;
}

void dirty_merge(struct dirty *to, const struct dirty *from)
{
	u64 n;

	for (u64 off = 0; (off = dirty_next(from, off)) != DIRTY_NONE; off += n) {
		n = dirty_run(from, off, UINT64_MAX);
		dirty_set(to, off, n);
	}
}

int dirty_resize(struct dirty *d, u64 size)
{
	struct dirty n;

	if (dirty_init(&n, size, d->shift))
		return -ENOMEM;
	dirty_merge(&n, d);
	dirty_fini(d);
	*d = n;
	return 0;
}

u64 dirty_bytes(const struct dirty *d)
{
	u64 n = d->count << d->shift, last = d->size & (BIT_ULL(d->shift) - 1);

	return last && dirty_test(d, d->size - 1) ? n - (BIT_ULL(d->shift) - last) : n;
}
