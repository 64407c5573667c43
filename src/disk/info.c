// SPDX-License-Identifier: Apache-2.0
/* info.c - the subcommands that only look: info, check, map */
#include "disk/disk_int.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

/* Text from an image: no control characters to the terminal. */
static const char *clean(const char *s, char *buf, size_t len)
{
	snprintf(buf, len, "%s", s);
	for (char *p = buf; *p; p++)
		if ((unsigned char)*p < 32 || *p == 127)
			*p = '?';
	return buf;
}

static json_t *text(const char *s)
{
	char buf[IMAGE_NAME_MAX];
	json_t *j = json_string(s);

	return j ? j : json_string_nocheck(clean(s, buf, sizeof buf));
}

static void print_json(json_t *j)
{
	json_dumpf(j, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(j);
}

/* -- info ------------------------------------------------------------------------------- */

static int peek(struct disk_args *a, struct image_info *ret, u64 *ret_used, struct err *e)
{
	struct loop *l = loop_new(e);
	struct stat st;
	struct blk *b;
	int fd, r = 0;

	if (!l)
		return -e->code;
	fd = open(a->word[0], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st))
		return err_set(e, errno, "%.180s: %s", a->word[0], strerror(errno));
	*ret_used = (u64)st.st_blocks * 512;
	b = image_open_file(l, fd, true, e);
	if (!b)
		return err_wrap(e, "%.180s", a->word[0]);
	if (a->format && !image_format_parse(a->format, &ret->format))
		r = err_set(e, EINVAL, "--format: \"%.40s\" is none", a->format);
	else if (!a->format)
		r = image_probe(b, &ret->format, e);
	if (!r)
		r = image_peek(b, ret->format, ret, e);
	blk_close(b);
	loop_free(l);
	return r ? err_wrap(e, "%.180s", a->word[0]) : 0;
}

static void info_json(const char *path, const struct image_info *i, u64 used)
{
	json_t *j = json_pack("{s:o, s:s, s:I, s:I, s:s, s:b, s:b, s:b, s:i, s:i}", "file", text(path),
			      "format", image_format_name(i->format), "size", (json_int_t)i->size,
			      "on_disk", (json_int_t)used, "variant", i->variant, "encrypted",
			      i->encrypted, "dirty", i->dirty, "corrupt", i->corrupt, "snapshots",
			      (int)i->nr_snapshot, "bitmaps", (int)i->nr_bitmap);

	if (i->cluster_size)
		json_object_set_new(j, "cluster_size", json_integer(i->cluster_size));
	if (*i->backing)
		json_object_set_new(j, "backing", text(i->backing));
	if (*i->backing_format)
		json_object_set_new(j, "backing_format", text(i->backing_format));
	print_json(j);
}

int cmd_info(struct disk_args *a)
{
	struct image_info *i = calloc(1, sizeof *i);
	char s[32], buf[IMAGE_NAME_MAX];
	struct err e = { 0 };
	u64 used = 0;

	if (!i || peek(a, i, &used, &e))
		return disk_fail(&e);
	if (a->json) {
		info_json(a->word[0], i, used);
		free(i);
		return DISK_OK;
	}
	printf("file:     %s\n", clean(a->word[0], buf, sizeof buf));
	printf("format:   %s%s%s%s\n", image_format_name(i->format), *i->variant ? " (" : "",
	       i->variant, *i->variant ? ")" : "");
	printf("size:     %s (%" PRIu64 " bytes)\n", disk_size_text(i->size, s), i->size);
	printf("on disk:  %s\n", disk_size_text(used, s));
	if (i->cluster_size)
		printf("clusters: %s\n", disk_size_text(i->cluster_size, s));
	if (*i->backing)
		printf("backing:  %s%s%s\n", clean(i->backing, buf, sizeof buf),
		       *i->backing_format ? ", " : "", i->backing_format);
	if (i->nr_snapshot || i->nr_bitmap)
		printf("holds:    %u snapshots, %u bitmaps\n", i->nr_snapshot, i->nr_bitmap);
	if (i->encrypted || i->dirty || i->corrupt)
		printf("state:    %s%s%s\n", i->encrypted ? "encrypted " : "",
		       i->dirty ? "not closed cleanly " : "", i->corrupt ? "corrupt" : "");
	free(i);
	return DISK_OK;
}

/* -- check ------------------------------------------------------------------------------ */

static void say(void *ctx UNUSED, const char *line)
{
	puts(line);
}

static int check_report(const struct disk_args *a, const struct image_check *c)
{
	if (a->json)
		print_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "errors",
				     (json_int_t)c->errors, "leaks", (json_int_t)c->leaks,
				     "errors_fixed", (json_int_t)c->errors_fixed, "leaks_fixed",
				     (json_int_t)c->leaks_fixed, "clusters",
				     (json_int_t)c->clusters, "allocated",
				     (json_int_t)c->allocated, "compressed",
				     (json_int_t)c->compressed, "end", (json_int_t)c->end));
	else if (c->errors || c->leaks)
		printf("%" PRIu64 " errors, %" PRIu64 " leaked clusters\n", c->errors, c->leaks);
	else if (c->errors_fixed || c->leaks_fixed)
		printf("mended: %" PRIu64 " errors, %" PRIu64 " leaked clusters\n", c->errors_fixed,
		       c->leaks_fixed);
	else
		printf("no errors: %" PRIu64 " of %" PRIu64 " clusters in use\n", c->allocated,
		       c->clusters);
	return c->errors ? DISK_ERRORS : c->leaks ? DISK_LEAKS : DISK_OK;
}

int cmd_check(struct disk_args *a)
{
	enum image_repair fix = !a->repair		     ? IMAGE_CHECK_ONLY :
				!strcmp(a->repair, "leaks") ? IMAGE_FIX_LEAKS :
							      IMAGE_FIX_ALL;
	struct image_check c = { .say = a->quiet || a->json ? NULL : say };
	struct image_layer layer;
	struct image_opts o = { .read_only = !fix, .no_backing = true, .no_repair = true,
				.secret = a->secret[0] ? a->secret : NULL };
	struct disk_chain *chain = malloc(sizeof *chain);
	struct err e = { 0 };
	struct loop *l = loop_new(&e);
	struct blk *b;
	int r;

	if (!l || !chain ||
	    disk_resolve(chain, a->word[0], a->format, fix, true, &a->policy, &e))
		return disk_fail(&e);
	layer = chain->layer[0].l;
	free(chain);
	b = image_open_layers(l, &layer, 1, &o, &e);
	if (!b) {
		err_wrap(&e, "%.150s", a->word[0]);
		return disk_fail(&e);
	}
	r = image_check(b, fix, &c, &e);
	blk_close(b);
	if (r)
		return disk_fail(&e);
	return check_report(a, &c);
}

/* -- map -------------------------------------------------------------------------------- */

struct line {
	u64 off;
	struct blk_extent x;
	unsigned depth;
};

/* Which image of the chain answers for @off: state and length there. */
static int find(struct blk *b, u64 off, u64 len, struct line *ret)
{
	struct blk_info i;

	*ret = (struct line){ .off = off };
	for (;;) {
		TRY(blk_status(b, off, len, &ret->x));
		len = ret->x.len;
		if (ret->x.state != BLK_BELOW || !image_backing(b))
			return 0;
		blk_get_info(image_backing(b), &i);
		if (off >= i.size)
			return 0;
		b = image_backing(b);
		ret->depth++;
		len = len < i.size - off ? len : i.size - off;
	}
}

static bool joins(const struct line *a, const struct line *b)
{
	return a->x.state == b->x.state && a->depth == b->depth &&
	       a->x.compressed == b->x.compressed &&
	       (a->x.host_offset == BLK_NOWHERE ? b->x.host_offset == BLK_NOWHERE :
						  b->x.host_offset == a->x.host_offset + a->x.len);
}

static void print_line(const struct line *p, bool json, bool first)
{
	static const char *const name[] = { "data", "zero", "absent" };

	if (!json) {
		printf("%#14" PRIx64 " %#14" PRIx64 "  %-6s %2u", p->off, p->x.len,
		       name[p->x.state], p->depth);
		if (p->x.host_offset != BLK_NOWHERE)
			printf("  at %#" PRIx64, p->x.host_offset);
		puts(p->x.compressed ? "  compressed" : "");
		return;
	}
	printf("%s{\"start\": %" PRIu64 ", \"length\": %" PRIu64
	       ", \"depth\": %u, \"state\": \"%s\", \"compressed\": %s",
	       first ? "[" : ",\n ", p->off, p->x.len, p->depth, name[p->x.state],
	       p->x.compressed ? "true" : "false");
	if (p->x.host_offset != BLK_NOWHERE)
		printf(", \"offset\": %" PRIu64, p->x.host_offset);
	putchar('}');
}

int cmd_map(struct disk_args *a)
{
	struct err e = { 0 };
	struct loop *l = loop_new(&e);
	struct blk *b = l ? disk_open(l, a, a->word[0], a->format, false, false, &e) : NULL;
	struct line last = { .x.len = 0 }, line;
	struct blk_info i;
	bool first = true;
	int r = 0;

	if (!b)
		return disk_fail(&e);
	blk_get_info(b, &i);
	if (!a->json)
		puts("         start         length  what  depth");
	for (u64 off = 0; off < i.size && !r && !disk_interrupted; off += line.x.len) {
		r = find(b, off, i.size - off, &line);
		if (!r && last.x.len && joins(&last, &line)) {
			last.x.len += line.x.len;
			continue;
		}
		if (last.x.len) {
			print_line(&last, a->json, first);
			first = false;
		}
		last = line;
	}
	if (!r && last.x.len)
		print_line(&last, a->json, first);
	if (a->json)
		puts(last.x.len ? "]" : "[]");
	blk_close(b);
	if (r)
		err_set(&e, -r, "%.150s: cannot read: %s", a->word[0], strerror(-r));
	return r || disk_interrupted ? disk_fail(&e) : DISK_OK;
}
