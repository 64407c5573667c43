// SPDX-License-Identifier: Apache-2.0
/* cmds.c - the subcommands that change one image: create, convert, resize, snapshot, ... */
#include "blk/nbd.h"
#include "disk/disk_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

/* Raw unless the user says otherwise: a guess could be the guest's. */
static struct blk *open_nbd(struct loop *l, struct disk_args *a, const char *path,
			    const char *format, const struct image_opts *o, struct err *e)
{
	enum image_format f = IMAGE_RAW;
	char export[DISK_PATH];
	struct blk *b;
	int fd = -1;

	if (format && !image_format_parse(format, &f)) {
		err_set(e, EINVAL, "--format: \"%.40s\" is none", format);
		return NULL;
	}
	for (int i = 0; i < a->nr_word && fd < 0; i++) { /* open since before the jail */
		if (!strcmp(a->word[i], path)) {
			fd = a->nbd_fd[i];
			strcpy(export, a->nbd_export[i]);
			a->nbd_fd[i] = -1;
		}
	}
	if (fd < 0)
		fd = disk_connect_nbd(path, export, e);
	b = fd < 0 ? NULL : nbd_open(l, fd, export, o->read_only, e);
	return b ? image_open(b, f, o, e) : NULL;
}

struct blk *disk_open(struct loop *l, struct disk_args *a, const char *path, const char *format,
		      bool write, bool alone, struct err *e)
{
	struct image_layer layer[IMAGE_LAYERS];
	struct disk_chain *c = malloc(sizeof *c);
	struct image_opts o = { .read_only = !write, .no_backing = alone, .direct = a->direct,
				.secret = a->secret[0] ? a->secret : NULL };
	struct blk *b = NULL;

	if (!c) {
		err_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	if (disk_is_nbd(path)) {
		free(c);
		return open_nbd(l, a, path, format, &o, e);
	}
	if (!disk_resolve(c, path, format, write, alone, &a->policy, e)) {
		for (unsigned i = 0; i < c->nr; i++)
			layer[i] = c->layer[i].l;
		b = image_open_layers(l, layer, c->nr, &o, e);
		if (!b)
			err_wrap(e, "%.120s", path);
	}
	free(c);
	return b;
}

static int parse_format(const char *name, enum image_format *ret)
{
	if (!name || image_format_parse(name, ret))
		return 0;
	fprintf(stderr, "vireo: disk: format \"%.40s\": want raw, qcow2, vpc, vhdx, vdi, vmdk or "
			"luks\n", name);
	return -EINVAL;
}

/* -- create ----------------------------------------------------------------------------- */

/* The size and format of what the new image @path is to stand on. */
static int look_at_backing(struct loop *l, struct disk_args *a, const char *path, struct err *e)
{
	static char format[16];
	char full[DISK_PATH];
	const char *slash = strrchr(path, '/');
	int dir = a->backing[0] == '/' || !slash ? 0 : (int)(slash - path + 1);
	struct image_info info;
	struct blk *b;

	if (snprintf(full, sizeof full, "%.*s%s", dir, path, a->backing) >= (int)sizeof full)
		return err_set(e, ENAMETOOLONG, "--backing: path too long");
	b = disk_open(l, a, full, a->backing_format, false, false, e);
	if (!b)
		return -e->code;
	image_get_info(b, &info);
	snprintf(format, sizeof format, "%s", image_format_name(info.format));
	a->create.backing = a->backing;
	a->create.backing_format = format;
	if (!a->create.size)
		a->create.size = info.size;
	blk_close(b);
	return 0;
}

/* VMDK with its data in a second file. */
static int make_flat(const struct disk_args *a, const char *path, char ret_name[DISK_PATH],
		     struct err *e)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	size_t n = strlen(path), stem = n > 5 && !strcmp(path + n - 5, ".vmdk") ? n - 5 : n;
	char full[DISK_PATH + 16];
	int fd;

	snprintf(full, sizeof full, "%.*s-flat.vmdk", (int)stem, path);
	fd = open(full, O_RDWR | O_CREAT | (a->force ? O_TRUNC : O_EXCL) | O_CLOEXEC, 0666);
	if (fd < 0 || ftruncate(fd, (off_t)a->create.size)) {
		int err = errno;

		if (fd >= 0)
			close(fd);
		return err_set(e, err, "%.180s: %s", full, strerror(err));
	}
	close(fd);
	snprintf(ret_name, DISK_PATH, "%s", full + (base - path));
	return 0;
}

static bool is_flat(const struct disk_args *a, enum image_format f)
{
	return f == IMAGE_VMDK && a->create.subformat &&
	       !strcmp(a->create.subformat, "monolithicFlat");
}

static int create_in(struct loop *l, struct disk_args *a, struct new_file *nf, enum image_format f,
		     struct err *e)
{
	static char name[DISK_PATH];
	struct blk *file;
	int r;

	if (is_flat(a, f)) {
		TRY(make_flat(a, nf->path, name, e));
		a->create.extent_name = name;
	}
	file = image_open_file(l, dup(nf->fd), false, e);
	if (!file)
		return -e->code;
	blk_no_flush(file);
	r = image_create(file, f, &a->create, e);
	blk_close(file);
	return r;
}

int cmd_create(struct disk_args *a)
{
	enum image_format f = IMAGE_QCOW2;
	struct new_file nf = { .fd = -1 };
	struct err e = { 0 };
	struct loop *l;
	int r = 0;

	if (parse_format(a->format, &f))
		return DISK_USAGE;
	if (a->nr_word > 1 && (!disk_parse_size(a->word[1], &a->create.size) ||
			       a->create.size % 512))
		return disk_usage("create: want a size such as 20G, a multiple of 512 bytes");
	if (a->nr_word < 2 && !a->backing)
		return disk_usage("create: want a size, or --backing with one");
	if (f == IMAGE_LUKS && !a->create.secret)
		a->create.secret = a->secret[0] ? a->secret : NULL;
	l = loop_new(&e);
	if (l && a->backing)
		r = f == IMAGE_QCOW2 ? look_at_backing(l, a, a->word[0], &e) :
				       err_set(&e, EINVAL, "--backing: want --format qcow2");
	if (l && !r)
		r = new_file_begin(&nf, a->word[0], a->force, &e);
	if (l && !r)
		r = create_in(l, a, &nf, f, &e);
	if (l && !r)
		r = new_file_commit(&nf, true, &e);
	new_file_drop(&nf);
	return !l || r ? disk_fail(&e) : DISK_OK;
}

/* -- convert ---------------------------------------------------------------------------- */

static struct blk *open_target(struct loop *l, struct disk_args *a, struct new_file *nf,
			       enum image_format f, struct blk *backing, struct err *e)
{
	struct image_opts o = { .secret = a->create.secret, .backing = backing };
	struct blk *file;

	if (is_flat(a, f)) {
		struct image_layer y = { .fd = dup(nf->fd), .format = f, .nr_extent = 1 };
		const char *slash = strrchr(nf->path, '/');
		char full[2 * DISK_PATH];

		snprintf(full, sizeof full, "%.*s%s", slash ? (int)(slash - nf->path + 1) : 0,
			 nf->path, a->create.extent_name);
		y.extent[0] = open(full, O_RDWR | O_CLOEXEC);
		return image_open_layers(l, &y, 1, &o, e);
	}
	file = image_open_file(l, dup(nf->fd), false, e);
	if (!file)
		return NULL;
	blk_no_flush(file);
	return image_open(file, f, &o, e);
}

static int convert_into(struct loop *l, struct disk_args *a, struct blk *src, struct new_file *nf,
			enum image_format f, struct err *e)
{
	struct progress p;
	struct blk_info info;
	struct blk *dst;
	int r;

	blk_get_info(src, &info);
	a->create.size = info.size;
	TRY(create_in(l, a, nf, f, e));
	dst = open_target(l, a, nf, f, NULL, e);
	if (!dst)
		return -e->code;
	if (f == IMAGE_VMDK && a->create.subformat &&
	    !strcmp(a->create.subformat, "streamOptimized"))
		a->compress = true;
	progress_begin(&p, info.size, a->quiet);
	r = a->compress ? copy_compressed(l, src, dst, &p, e) : copy_image(l, src, dst, &p, e);
	progress_end(&p);
	if (!r)
		r = image_finish(dst, e);
	blk_close(dst);
	return r;
}

/* Give the new image what @a asks it to stand on: keep only what differs. */
static int convert_onto(struct loop *l, struct disk_args *a, struct blk *src, struct new_file *nf,
			struct err *e)
{
	struct disk_args t = *a;
	struct blk *base, *dst;
	struct progress p;
	struct blk_info info;
	int r;

	blk_get_info(src, &info);
	a->create.size = info.size;
	TRY(look_at_backing(l, a, nf->path, e));
	TRY(create_in(l, a, nf, IMAGE_QCOW2, e));
	t.create.secret = NULL;
	base = disk_open(l, &t, a->backing, a->create.backing_format, false, false, e);
	dst = base ? open_target(l, a, nf, IMAGE_QCOW2, base, e) : NULL;
	if (!dst)
		return -e->code;
	progress_begin(&p, info.size, a->quiet);
	r = copy_up_difference(dst, src, base, &p, e);
	progress_end(&p);
	blk_close(dst);
	return r;
}

static int convert(struct loop *l, struct disk_args *a, enum image_format f, struct err *e)
{
	struct new_file nf = { .fd = -1 };
	struct blk *src = disk_open(l, a, a->word[0], a->format, false, false, e);
	int r;

	if (!src)
		return -e->code;
	r = a->snapshot ? image_snapshot_view(src, a->snapshot, e) : 0;
	if (!r)
		r = new_file_begin(&nf, a->word[1], a->force, e);
	if (!r)
		r = a->backing ? convert_onto(l, a, src, &nf, e) :
				 convert_into(l, a, src, &nf, f, e);
	blk_close(src);
	if (!r)
		r = new_file_commit(&nf, a->sync, e);
	new_file_drop(&nf);
	return r;
}

int cmd_convert(struct disk_args *a)
{
	enum image_format f = IMAGE_RAW;
	struct err e = { 0 };
	struct loop *l;

	if (parse_format(a->out_format, &f))
		return DISK_USAGE;
	if (a->backing && f != IMAGE_QCOW2)
		return disk_usage("convert: --backing wants --output qcow2");
	if (f == IMAGE_LUKS && !a->create.secret)
		a->create.secret = a->secret[0] ? a->secret : NULL;
	l = loop_new(&e);
	if (!l || convert(l, a, f, &e))
		return disk_fail(&e);
	return DISK_OK;
}

/* -- resize ----------------------------------------------------------------------------- */

static int new_size(const char *text, u64 old, u64 *ret)
{
	bool plus = *text == '+', minus = *text == '-';
	u64 n;

	if (!disk_parse_size(text + (plus || minus), &n) || n % 512 || (minus && n > old))
		return -EINVAL;
	*ret = plus ? old + n : minus ? old - n : n;
	return *ret < n && plus ? -EINVAL : 0;
}

int cmd_resize(struct disk_args *a)
{
	struct err e = { 0 };
	struct loop *l = loop_new(&e);
	struct blk *b = l ? disk_open(l, a, a->word[0], a->format, true, false, &e) : NULL;
	struct blk_info info;
	u64 size;
	int r;

	if (!b)
		return disk_fail(&e);
	blk_get_info(b, &info);
	if (new_size(a->word[1], info.size, &size)) {
		blk_close(b);
		return disk_usage("resize: want a size such as 20G, +5G or -1G, a multiple of 512 bytes");
	}
	if (size < info.size && !a->shrink)
		r = err_set(&e, EINVAL, "%.120s: would lose its end: want --shrink if that is meant",
			    a->word[0]);
	else
		r = blk_resize(b, size, &e);
	blk_close(b);
	return r ? disk_fail(&e) : DISK_OK;
}

/* -- snapshots -------------------------------------------------------------------------- */

static void list_json(const struct image_info *i)
{
	json_t *list = json_array();

	for (unsigned k = 0; k < i->nr_snapshot; k++) {
		const struct image_snapshot *s = &i->snapshot[k];

		json_array_append_new(list, json_pack("{s:s%, s:s%, s:I, s:I, s:I}", "id", s->id,
						      strlen(s->id), "name", s->name,
						      strlen(s->name), "size", (json_int_t)s->size,
						      "state_size", (json_int_t)s->state_size,
						      "date", (json_int_t)s->date_s));
	}
	json_dumpf(list, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(list);
}

static void list(const struct image_info *i, bool json)
{
	char when[32], size[32];

	if (json) {
		list_json(i);
		return;
	}
	for (unsigned k = 0; k < i->nr_snapshot; k++) {
		const struct image_snapshot *s = &i->snapshot[k];
		time_t t = s->date_s;
		struct tm tm;

		strftime(when, sizeof when, "%F %T", localtime_r(&t, &tm));
		disk_print_safe(s->id);
		printf("\t%s\t%s\t", when, disk_size_text(s->size, size));
		disk_print_safe(s->name);
		putchar('\n');
	}
}

int cmd_snapshot(struct disk_args *a)
{
	const char *verb = a->word[0], *name = a->word[2];
	bool reading = !strcmp(verb, "list");
	struct err e = { 0 };
	struct loop *l;
	struct image_info i;
	struct blk *b;
	int r = 0;

	if (!reading && strcmp(verb, "create") && strcmp(verb, "apply") && strcmp(verb, "delete"))
		return disk_usage("snapshot: want list, create, apply or delete first");
	if (reading != !name)
		return disk_usage(reading ? "snapshot list: want no name" : "snapshot: want a name");
	l = loop_new(&e);
	b = l ? disk_open(l, a, a->word[1], a->format, !reading, reading, &e) : NULL;
	if (!b)
		return disk_fail(&e);
	image_get_info(b, &i);
	if (reading)
		list(&i, a->json);
	else if (*verb == 'c')
		r = image_snapshot_create(b, name, &e);
	else if (*verb == 'a')
		r = image_snapshot_apply(b, name, &e);
	else
		r = image_snapshot_delete(b, name, &e);
	blk_close(b);
	return r ? disk_fail(&e) : DISK_OK;
}

/* -- rebase, commit --------------------------------------------------------------------- */

static int rebase(struct loop *l, struct disk_args *a, struct err *e)
{
	struct blk *b = disk_open(l, a, a->word[0], a->format, true, a->force, e), *newer = NULL;
	struct progress p;
	struct blk_info info;
	int r = 0;

	if (!b)
		return -e->code;
	if (*a->backing && !a->force) {
		r = look_at_backing(l, a, a->word[0], e);
		if (!r) {
			const char *slash = strrchr(a->word[0], '/');
			char full[DISK_PATH];
			int dir = *a->backing == '/' || !slash ? 0 : (int)(slash - a->word[0] + 1);

			snprintf(full, sizeof full, "%.*s%s", dir, a->word[0], a->backing);
			newer = disk_open(l, a, full, a->create.backing_format, false, false, e);
			r = newer ? 0 : -e->code;
		}
	}
	blk_get_info(b, &info);
	if (!r && !a->force) {
		progress_begin(&p, info.size, a->quiet);
		r = copy_up_difference(b, image_backing(b), newer, &p, e);
		progress_end(&p);
	}
	if (!r)
		r = image_set_backing(b, a->backing, a->create.backing_format ?
				      a->create.backing_format : a->backing_format, e);
	if (newer)
		blk_close(newer);
	blk_close(b);
	return r;
}

int cmd_rebase(struct disk_args *a)
{
	struct err e = { 0 };
	struct loop *l;

	if (!a->backing)
		return disk_usage("rebase: want --backing FILE; --backing \"\" for none");
	l = loop_new(&e);
	return !l || rebase(l, a, &e) ? disk_fail(&e) : DISK_OK;
}

/* The chain with its second image writable too. */
static struct blk *open_for_commit(struct loop *l, struct disk_args *a, struct err *e)
{
	struct image_layer layer[IMAGE_LAYERS];
	struct disk_chain *c = malloc(sizeof *c);
	struct image_opts o = { .secret = a->secret[0] ? a->secret : NULL };
	char link[64];
	int fd;

	if (!c || disk_resolve(c, a->word[0], a->format, true, false, &a->policy, e)) {
		free(c);
		return NULL;
	}
	if (c->nr < 2) {
		err_set(e, EINVAL, "%.150s: stands on nothing it could be committed to", a->word[0]);
		disk_chain_close(c);
		free(c);
		return NULL;
	}
	snprintf(link, sizeof link, "/proc/self/fd/%d", c->layer[1].l.fd);
	fd = open(link, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		err_set(e, errno, "%.150s: %s", c->layer[1].path, strerror(errno));
		disk_chain_close(c);
		free(c);
		return NULL;
	}
	close(c->layer[1].l.fd);
	c->layer[1].l.fd = fd;
	for (unsigned i = 0; i < c->nr; i++)
		layer[i] = c->layer[i].l;
	o.backing = image_open_layers(l, layer + 1, c->nr - 1, &o, e);
	free(c);
	return o.backing ? image_open_layers(l, layer, 1, &o, e) : NULL;
}

int cmd_commit(struct disk_args *a)
{
	struct err e = { 0 };
	struct loop *l = loop_new(&e);
	struct blk *b = l ? open_for_commit(l, a, &e) : NULL, *to;
	struct blk_info info, below;
	struct progress p;
	int r = 0;

	if (!b)
		return disk_fail(&e);
	to = image_backing(b);
	blk_get_info(b, &info);
	blk_get_info(to, &below);
	if (below.size < info.size)
		r = blk_resize(to, info.size, &e);
	progress_begin(&p, info.size, a->quiet);
	if (!r)
		r = copy_down(b, to, &p, &e);
	progress_end(&p);
	blk_close(b);
	return r ? disk_fail(&e) : DISK_OK;
}
