// SPDX-License-Identifier: Apache-2.0
/* bitmap.c - vireo disk bitmap: the dirty bitmaps kept in an image */
#include "blk/dirty.h"
#include "disk/disk_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#define DEFAULT_GRANULARITY 65536u

static u64 dirty_in(struct blk *b, const struct image_bitmap *i)
{
	struct dirty d;
	struct err e;
	u64 n;

	if (i->in_use || image_bitmap_load(b, i->name, &d, &e))
		return 0;
	n = dirty_bytes(&d);
	dirty_fini(&d);
	return n;
}

static int list(struct blk *b, bool json, struct err *e)
{
	json_t *all = json_array();
	struct image_bitmap i;
	unsigned n = 0;
	char size[32];
	int r;

	for (; !(r = image_bitmap_get(b, n, &i, e)); n++) {
		u64 dirty = dirty_in(b, &i);

		json_array_append_new(all, json_pack("{s:s%, s:I, s:b, s:b, s:I}", "name", i.name,
						     strlen(i.name), "granularity",
						     (json_int_t)1 << i.shift, "recording",
						     i.recording, "in_use", i.in_use, "dirty",
						     (json_int_t)dirty));
		if (json)
			continue;
		disk_print_safe(i.name);
		printf("\t%s\t%s\n", disk_size_text(dirty, size),
		       i.in_use	     ? "in use: lacks writes" :
		       i.recording ? "recording" :
				     "disabled");
	}
	if (json && r == -ENOENT) {
		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	json_decref(all);
	return r == -ENOENT ? 0 : r;
}

static bool find(struct blk *b, const char *name, struct image_bitmap *ret)
{
	struct err e;

	for (unsigned i = 0; !image_bitmap_get(b, i, ret, &e); i++)
		if (!strcmp(ret->name, name))
			return true;
	return false;
}

static int add(struct blk *b, const char *name, u64 granularity, struct err *e)
{
	struct image_bitmap i;
	struct blk_info info;
	struct dirty d;
	int r;

	blk_get_info(b, &info);
	if (find(b, name, &i))
		return err_set(e, EEXIST, "there is a bitmap \"%.80s\" already", name);
	if (dirty_init(&d, info.size, (unsigned)__builtin_ctzll(granularity)))
		return err_set(e, ENOMEM, "out of memory");
	r = image_bitmap_store(b, name, &d, true, e);
	dirty_fini(&d);
	return r;
}

/* clear, enable, disable, merge: load, change, store. */
static int change(struct blk *b, const char *verb, const char *name, const char *from,
		  struct err *e)
{
	struct image_bitmap i;
	struct dirty d, other;
	bool recording;
	int r;

	if (!find(b, name, &i))
		return err_set(e, ENOENT, "there is no bitmap \"%.80s\"", name);
	recording = !strcmp(verb, "enable") || (i.recording && strcmp(verb, "disable") != 0);
	TRY(image_bitmap_load(b, name, &d, e));
	if (!strcmp(verb, "clear"))
		dirty_clear_all(&d);
	r = from ? image_bitmap_load(b, from, &other, e) : 0;
	if (!r && from) {
		dirty_merge(&d, &other);
		dirty_fini(&other);
	}
	if (!r)
		r = image_bitmap_store(b, name, &d, recording, e);
	dirty_fini(&d);
	return r;
}

static const struct verb {
	const char *name;
	int words; /* besides the verb and the file */
} verbs[] = {
	{ "list", 0 },	  { "add", 1 },	    { "remove", 1 }, { "clear", 1 },
	{ "enable", 1 },  { "disable", 1 }, { "merge", 2 },
};

static const struct verb *find_verb(const char *name)
{
	for (unsigned i = 0; i < array_len(verbs); i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

int cmd_bitmap(struct disk_args *a)
{
	const struct verb *v = find_verb(a->word[0]);
	u64 granularity = a->granularity ? a->granularity : DEFAULT_GRANULARITY;
	struct err e = { 0 };
	struct loop *l;
	struct blk *b;
	int r;

	if (!v)
		return disk_usage("bitmap: want list, add, remove, clear, enable, disable or merge "
				  "first");
	if (a->nr_word != 2 + v->words)
		return disk_usage(v->words == 2 ? "bitmap merge: want a file and two names" :
				  v->words	 ? "bitmap: want a file and a name" :
						   "bitmap list: want a file alone");
	l = loop_new(&e);
	b = l ? disk_open(l, a, a->word[1], a->format, v->words, true, &e) : NULL;
	if (!b)
		return disk_fail(&e);
	if (!v->words)
		r = list(b, a->json, &e);
	else if (!strcmp(v->name, "add"))
		r = add(b, a->word[2], granularity, &e);
	else if (!strcmp(v->name, "remove"))
		r = image_bitmap_store(b, a->word[2], NULL, false, &e);
	else
		r = change(b, v->name, a->word[2], v->words == 2 ? a->word[3] : NULL, &e);
	blk_close(b);
	return r ? disk_fail(&e) : DISK_OK;
}
