// SPDX-License-Identifier: Apache-2.0
/* live_bitmap.c - the dirty bitmaps of a disk in use (see live.h) */
#include "blk/live_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BITMAPS_MAX 64u

struct live_bitmap *live_find_bitmap(struct live *l, const char *name)
{
	struct live_bitmap *m = l->bitmaps;

	while (m && strcmp(m->name, name) != 0)
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

	while (m && i--)
		m = m->next;
	if (!m)
		return false;
	*ret = (struct live_bitmap_info){ .shift = m->d.shift, .persistent = m->persistent,
					  .recording = m->recording, .dirty = dirty_bytes(&m->d) };
	strcpy(ret->name, m->name);
	return true;
}

int live_load_bitmaps(struct live *l UNUSED, struct err *e UNUSED)
{
	return 0;
}

void live_store_bitmaps(struct live *l UNUSED)
{
}
