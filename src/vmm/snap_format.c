// SPDX-License-Identifier: Apache-2.0
/* snap_format.c - see snap_format.h; all integers little-endian */
#include "vmm/snap_format.h"

#include "base/bits.h"
#include "base/crc32c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const u8 magic[8] = "VIREOSNP";

struct header {
	u8 magic[8];
	le32 version;
	le32 nr_sections;
	le64 size; /* of the file */
};

struct section_header {
	le16 name_len;
	le16 zero;
	le32 len;
};

#define TRAILER sizeof(le32) /* checksum of everything before it */

/* -- writing --------------------------------------------------------------------------- */

static u8 *room(struct snap_writer *w, size_t len)
{
	size_t cap = w->cap ? w->cap : 1 << 16;
	u8 *p;

	while (cap - w->len < len)
		cap *= 2;
	p = cap == w->cap ? w->buf : realloc(w->buf, cap);
	if (!p || cap > SNAP_SIZE_MAX) {
		if (p)
			w->buf = p;
		w->failed = true;
		return NULL;
	}
	w->buf = p;
	w->cap = cap;
	w->len += len;
	return w->buf + w->len - len;
}

void snap_begin(struct snap_writer *w)
{
	*w = (struct snap_writer){ 0 };
	room(w, sizeof(struct header));
}

u8 *snap_add(struct snap_writer *w, const char *name, size_t len)
{
	size_t nl = strnlen(name, SNAP_NAME_MAX);
	struct section_header h = { .name_len = le16_of((u16)nl), .len = le32_of((u32)len) };
	u8 *p = w->failed ? NULL : room(w, sizeof h + nl + len);

	if (!p)
		return NULL;
	memcpy(p, &h, sizeof h);
	memcpy(p + sizeof h, name, nl);
	w->nr++;
	return p + sizeof h + nl;
}

int snap_finish(struct snap_writer *w, struct err *e)
{
	struct header h = { .version = le32_of(SNAP_VERSION), .nr_sections = le32_of(w->nr) };
	u8 *end = w->failed ? NULL : room(w, TRAILER);
	le32 crc;

	if (!end)
		return err_set(e, ENOMEM, "snapshot: out of host memory");
	memcpy(h.magic, magic, sizeof magic);
	h.size = le64_of(w->len);
	memcpy(w->buf, &h, sizeof h);
	crc = le32_of(crc32c(0, w->buf, w->len - TRAILER));
	memcpy(end, &crc, sizeof crc);
	return 0;
}

void snap_discard(struct snap_writer *w)
{
	free(w->buf);
	w->buf = NULL;
}

/* -- reading ---------------------------------------------------------------------------- */

/* Fuzzers are to reach what is behind it. */
static bool checksum_ok(const u8 *buf, size_t len)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
	(void)buf;
	(void)len;
	return true;
#else
	le32 crc;

	memcpy(&crc, buf + len - TRAILER, sizeof crc);
	return le32_get(crc) == crc32c(0, buf, len - TRAILER);
#endif
}

static int check_whole(const struct header *h, const u8 *buf, size_t len, struct err *e)
{
	if (memcmp(h->magic, magic, sizeof magic) != 0)
		return err_set(e, EINVAL, "not a snapshot's state file");
	if (le32_get(h->version) != SNAP_VERSION)
		return err_set(e, EINVAL, "format version %u: want %u", le32_get(h->version),
			       SNAP_VERSION);
	if (le64_get(h->size) != len)
		return err_set(e, EINVAL, "%zu bytes long: want %llu", len,
			       (unsigned long long)le64_get(h->size));
	if (!checksum_ok(buf, len))
		return err_set(e, EINVAL, "damaged: its checksum does not match");
	return 0;
}

/* One section at buf[*at..end). */
static int parse_section(struct snap_section *s, const u8 *buf, size_t *at, size_t end,
			 struct err *e)
{
	struct section_header h;
	size_t nl, len;

	if (end - *at < sizeof h)
		return err_set(e, EINVAL, "a section is cut off");
	memcpy(&h, buf + *at, sizeof h);
	*at += sizeof h;
	nl = le16_get(h.name_len);
	len = le32_get(h.len);
	if (!nl || nl > SNAP_NAME_MAX || le16_get(h.zero) || end - *at < nl ||
	    end - *at - nl < len)
		return err_set(e, EINVAL, "a section is malformed");
	memcpy(s->name, buf + *at, nl);
	s->name[nl] = '\0';
	s->data = buf + *at + nl;
	s->len = len;
	*at += nl + len;
	return 0;
}

int snap_parse(struct snap *ret, const u8 *buf, size_t len, struct err *e)
{
	struct header h;
	size_t at = sizeof h;
	u32 nr;
	int r;

	if (len < sizeof h + TRAILER)
		return err_set(e, EINVAL, "%zu bytes long: too short for a state file", len);
	memcpy(&h, buf, sizeof h);
	TRY(check_whole(&h, buf, len, e));
	nr = le32_get(h.nr_sections);
	if (nr > SNAP_SECTIONS_MAX)
		return err_set(e, EINVAL, "%u sections: want at most %u", nr, SNAP_SECTIONS_MAX);
	*ret = (struct snap){ .section = calloc(nr + 1, sizeof *ret->section), .nr = nr };
	if (!ret->section)
		return err_set(e, ENOMEM, "out of host memory");
	for (u32 i = 0; i < nr; i++) {
		r = parse_section(&ret->section[i], buf, &at, len - TRAILER, e);
		if (r)
			goto fail;
	}
	r = at == len - TRAILER ? 0 : err_set(e, EINVAL, "bytes behind the last section");
	if (!r)
		return 0;
fail:
	snap_free(ret);
	return r;
}

struct snap_section *snap_take(struct snap *s, const char *name, struct err *e)
{
	for (unsigned i = 0; i < s->nr; i++) {
		struct snap_section *n = &s->section[i];

		if (n->taken || strcmp(n->name, name) != 0)
			continue;
		n->taken = true;
		return n;
	}
	err_set(e, EINVAL, "section %s: missing", name);
	return NULL;
}

int snap_all_taken(const struct snap *s, struct err *e)
{
	for (unsigned i = 0; i < s->nr; i++)
		if (!s->section[i].taken)
			return err_set(e, EINVAL, "section %.64s: belongs to nothing here",
				       s->section[i].name);
	return 0;
}

void snap_free(struct snap *s)
{
	free(s->section);
	*s = (struct snap){ 0 };
}
