// SPDX-License-Identifier: Apache-2.0
/* field.c - see field.h */
#include "base/field.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct field *next_after(const struct field *f, size_t at)
{
	const struct field *best = NULL;

	for (; *f->name; f++)
		if (f->offset >= at && (!best || f->offset < best->offset))
			best = f;
	return best;
}

size_t field_first_gap(const struct field *f, size_t S_size)
{
	size_t at = 0;

	for (const struct field *i = f; *i->name; i++)
		if (!memchr(i->name, '\0', sizeof i->name))
			return 0;
	while (at < S_size) {
		const struct field *n = next_after(f, at);
		size_t end = n ? n->offset : S_size;
		size_t align = n ? n->align : sizeof(u64);

		if (end - at >= align)
			return at;
		if (!n)
			break;
		at = n->offset + n->size;
	}
	return S_size;
}

static u64 get(const struct field *f, const void *obj)
{
	const u8 *p = (const u8 *)obj + f->offset;
	u64 v = 0;

	memcpy(&v, p, f->size); /* x86-64 hosts only: little-endian */
	return v;
}

size_t field_print(const struct field *f, const void *obj, char *buf, size_t len)
{
	size_t n = 0;

	for (; *f->name; f++) {
		size_t room = n < len ? len - n : 0;

		if (f->type == FIELD_SKIP)
			continue;
		if (f->type == FIELD_BYTES)
			n += (size_t)snprintf(room ? buf + n : NULL, room, "%s=<%u bytes>\n",
					      f->name, f->size);
		else
			n += (size_t)snprintf(room ? buf + n : NULL, room, "%s=0x%llx\n", f->name,
					      (unsigned long long)get(f, obj));
	}
	return n;
}

int field_save(const struct field *f, const void *obj, u8 *buf, size_t len)
{
	size_t n = 0;

	for (; *f->name; f++) {
		size_t nl = strlen(f->name);

		if (f->type == FIELD_SKIP)
			continue;
		if (nl > 255 || f->size > 0xffff || len - n < nl + f->size + 3)
			return -ENOSPC;
		buf[n++] = (u8)nl;
		memcpy(buf + n, f->name, nl);
		n += nl;
		buf[n++] = (u8)f->size;
		buf[n++] = (u8)(f->size >> 8);
		memcpy(buf + n, (const u8 *)obj + f->offset, f->size);
		n += f->size;
	}
	return (int)n;
}

size_t field_saved_size(const struct field *f)
{
	size_t n = 0;

	for (; *f->name; f++)
		if (f->type != FIELD_SKIP)
			n += strlen(f->name) + f->size + 3;
	return n;
}

static bool is_named(const struct field *f, const u8 *name, size_t nl)
{
	return f->type != FIELD_SKIP && strlen(f->name) == nl && !memcmp(f->name, name, nl);
}

/* From *@next on, where it is if nothing was left out, then from the start; *@next follows it. */
static const struct field *find(const struct field *tab, const struct field **next, const u8 *name,
				size_t nl)
{
	const struct field *f = *next;

	while (*f->name && !is_named(f, name, nl))
		f++;
	for (f = *f->name ? f : tab; *f->name && !is_named(f, name, nl);)
		f++;
	*next = *f->name ? f + 1 : tab;
	return *f->name ? f : NULL;
}

/* Decode one (name, value) pair at buf; returns the bytes it took, or -errno. */
static int load_one(const struct field *tab, const struct field **next, u8 *obj, const u8 *buf,
		    size_t len, struct err *e)
{
	size_t nl = buf[0], sz;
	const struct field *f;
	const u8 *val;

	if (len < nl + 3)
		return err_set(e, EINVAL, "truncated field name");
	sz = (size_t)buf[nl + 1] | (size_t)buf[nl + 2] << 8;
	val = buf + nl + 3;
	f = find(tab, next, buf + 1, nl);
	if (!f)
		return err_set(e, EINVAL, "unknown field '%.*s'", (int)nl, buf + 1);
	if (sz != f->size || len - nl - 3 < sz)
		return err_set(e, EINVAL, "field '%s': %zu bytes, want %u", f->name, sz, f->size);
	if (f->type == FIELD_BOOL && val[0] > 1)
		return err_set(e, ERANGE, "field '%s': not a boolean", f->name);
	memcpy(obj + f->offset, val, sz);
	if (f->max && f->type != FIELD_BYTES && get(f, obj) > f->max)
		return err_set(e, ERANGE, "field '%s': out of range", f->name);
	return (int)(nl + 3 + sz);
}

static size_t nr_fields(const struct field *f)
{
	size_t n = 0;

	while (*f[n].name)
		n++;
	return n;
}

int field_load(const struct field *tab, void *obj, size_t S_size, const u8 *buf, size_t len,
	       struct err *e)
{
	const struct field *next = tab;
	size_t at = 0, left = nr_fields(tab); /* a long stream of repeated ones would take long */
	u8 *tmp = malloc(S_size);
	int r = 0;

	if (!tmp)
		return err_set(e, ENOMEM, "out of memory");
	memcpy(tmp, obj, S_size);
	while (at < len) {
		r = left-- ? load_one(tab, &next, tmp, buf + at, len - at, e)
			   : err_set(e, EINVAL, "fields are repeated");
		if (r < 0)
			goto out;
		at += (size_t)r;
	}
	memcpy(obj, tmp, S_size);
	r = 0;
out:
	free(tmp);
	return r;
}
