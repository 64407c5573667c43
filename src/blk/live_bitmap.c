// SPDX-License-Identifier: Apache-2.0
/* live_bitmap.c - the dirty bitmaps of a disk in use (see live.h) */
#include "blk/live_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BITMAPS_MAX 64u
#define BYTES_MAX   (256u << 20) /* of all that are loaded */

struct live_bitmap *live_find_bitmap(struct live *l, const char *name)
{
	struct live_bitmap *m = l->bitmaps;

	while (m && (m->gone || strcmp(m->name, name) != 0))
		m = m->next;
	return m;
}

static int find(struct blk *b, const char *name, struct live_bitmap **ret, struct err *e)
{
	*ret = live_find_bitmap(as_live(b), name);
	return *ret ? 0 : err_set(e, ENOENT, "disk: there is no bitmap \"%.80s\"", name);
}

static bool in_use(struct live *l, const struct live_bitmap *m)
{
	return l->job && l->job->bitmap == m;
}

static int new_bitmap(struct live *l, const char *name, unsigned shift, struct live_bitmap **ret,
		      struct err *e)
{
	struct live_bitmap *m = calloc(1, sizeof *m);

	if (!m || dirty_init(&m->d, l->b.info.size, shift)) {
		free(m);
		return err_set(e, ENOMEM, "disk: out of memory for a bitmap");
	}
	strcpy(m->name, name);
	m->recording = true;
	m->next = l->bitmaps;
	l->bitmaps = m;
	*ret = m;
	return 0;
}

int live_bitmap_add(struct blk *b, const char *name, unsigned shift, bool persistent, struct err *e)
{
	struct live *l = as_live(b);
	struct live_bitmap *m;
	unsigned n = 0;

	for (m = l->bitmaps; m; m = m->next)
		n++;
	if (!*name || strlen(name) >= LIVE_NAME_MAX)
		return err_set(e, EINVAL, "disk: a bitmap's name has 1 to 255 bytes");
	if (live_find_bitmap(l, name))
		return err_set(e, EEXIST, "disk: there is a bitmap \"%.80s\" already", name);
	if (shift < DIRTY_SHIFT_MIN || shift > DIRTY_SHIFT_MAX)
		return err_set(e, EINVAL, "disk: a bitmap's granularity is 512 bytes to 2 GiB, a "
					  "power of two");
	if (n == BITMAPS_MAX)
		return err_set(e, ENOSPC, "disk: there are %u bitmaps already", BITMAPS_MAX);
	TRY(new_bitmap(l, name, shift, &m, e));
	m->persistent = persistent;
	return 0;
}

int live_bitmap_remove(struct blk *b, const char *name, struct err *e)
{
	struct live *l = as_live(b);
	struct live_bitmap *m, **p = &l->bitmaps;

	TRY(find(b, name, &m, e));
	if (in_use(l, m))
		return err_set(e, EBUSY, "disk: a job uses the bitmap \"%.80s\"", name);
	if (m->persistent) { /* leaves the image when the disk is closed */
		m->gone = true;
		m->recording = false;
		return 0;
	}
	while (*p != m)
		p = &(*p)->next;
	*p = m->next;
	dirty_fini(&m->d);
	free(m);
	return 0;
}

int live_bitmap_clear(struct blk *b, const char *name, struct err *e)
{
	struct live_bitmap *m;

	TRY(find(b, name, &m, e));
	if (in_use(as_live(b), m))
		return err_set(e, EBUSY, "disk: a job uses the bitmap \"%.80s\"", name);
	dirty_clear_all(&m->d);
	return 0;
}

int live_bitmap_record(struct blk *b, const char *name, bool on, struct err *e)
{
	struct live_bitmap *m;

	TRY(find(b, name, &m, e));
	m->recording = on;
	return 0;
}

int live_bitmap_merge(struct blk *b, const char *to, const char *from, struct err *e)
{
	struct live_bitmap *t, *f;

	TRY(find(b, to, &t, e));
	TRY(find(b, from, &f, e));
	dirty_merge(&t->d, &f->d);
	return 0;
}

bool live_bitmap_get(struct blk *b, unsigned i, struct live_bitmap_info *ret)
{
	struct live_bitmap *m = as_live(b)->bitmaps;

	while (m && (m->gone || i--))
		m = m->next;
	if (!m)
		return false;
	*ret = (struct live_bitmap_info){ .shift = m->d.shift, .persistent = m->persistent,
					  .recording = m->recording, .dirty = dirty_bytes(&m->d) };
	strcpy(ret->name, m->name);
	return true;
}

/* -- in the image --------------------------------------------------------------------------- */

static int load_one(struct live *l, const struct image_bitmap *i, u64 *room, struct err *e)
{
	struct live_bitmap *m;
	struct dirty d;

	if (i->in_use || strlen(i->name) >= LIVE_NAME_MAX ||
	    l->b.info.size >> i->shift >> 3 > *room)
		return 0; /* it stays as it is, and will lack writes */
	TRY(image_bitmap_load(l->b.base, i->name, &d, e));
	*room -= l->b.info.size >> i->shift >> 3;
	m = calloc(1, sizeof *m);
	if (!m) {
		dirty_fini(&d);
		return err_set(e, ENOMEM, "disk: out of memory for a bitmap");
	}
	strcpy(m->name, i->name);
	m->d = d;
	m->persistent = true;
	m->recording = i->recording;
	m->next = l->bitmaps;
	l->bitmaps = m;
	return 0;
}

int live_load_bitmaps(struct live *l, struct err *e)
{
	u64 room = BYTES_MAX;

	for (unsigned i = 0; i < BITMAPS_MAX && !l->b.info.read_only; i++) {
		struct image_bitmap b;
		int r = image_bitmap_get(l->b.base, i, &b, e);

		if (r == -ENOENT || r == -ENOTSUP)
			break;
		if (r)
			return r;
		TRY(load_one(l, &b, &room, e));
	}
	return 0;
}

/* What cannot be stored stays marked as in use: nobody will rely on it. */
void live_store_bitmaps(struct live *l)
{
	struct err e;

	for (struct live_bitmap *m = l->bitmaps; m; m = m->next)
		if (m->persistent && image_bitmap_store(l->b.base, m->name, m->gone ? NULL : &m->d,
							m->recording, &e))
			continue;
}
