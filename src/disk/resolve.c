// SPDX-License-Identifier: Apache-2.0
/*
 * resolve.c - which files an image may use
 *
 * An image is data from strangers: a name in it is a request, not a permission. It is
 * granted for files in the image's own directory and what the owner allows, by real
 * paths, so that neither ".." nor a symbolic link leads elsewhere.
 */
#include "disk/disk_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool inside(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !strncmp(path, dir, n) && (path[n] == '/' || !path[n] || (n && dir[n - 1] == '/'));
}

static bool allowed(const char *real, const char *image, const struct disk_policy *p)
{
	char dir[PATH_MAX], *slash;

	if (!realpath(image, dir))
		return false;
	slash = strrchr(dir, '/');
	slash[slash == dir] = '\0';
	if (inside(real, dir))
		return true;
	for (unsigned i = 0; i < p->nr_allow; i++) {
		if (!strcmp(p->allow[i], "any"))
			return true;
		if (realpath(p->allow[i], dir) && inside(real, dir))
			return true;
	}
	return false;
}

/* The name in an image as a path: relative to the image's directory. */
static int place(const char *image, const char *name, char ret[DISK_PATH], struct err *e)
{
	const char *slash = strrchr(image, '/');
	int dir = *name == '/' || !slash ? 0 : (int)(slash - image + 1);

	if (!strncmp(name, "file:", 5))
		name += 5;
	if (snprintf(ret, DISK_PATH, "%.*s%s", dir, image, name) >= DISK_PATH)
		return err_set(e, ENAMETOOLONG, "%.100s: names a file by a path too long", image);
	return 0;
}

/* Open what @image names by @name, if that is allowed. Return: descriptor or -errno. */
static int open_named(const char *image, const char *name, bool write, const struct disk_policy *p,
		      char ret_path[DISK_PATH], struct err *e)
{
	char real[PATH_MAX], link[64];
	ssize_t n;
	int fd;

	TRY(place(image, name, ret_path, e));
	fd = open(ret_path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, ENOENT, "%.80s: stands on %.120s, which does not exist", image,
			       ret_path);
	/* what was opened is what is judged, even if names change meanwhile */
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = fd < 0 ? -1 : readlink(link, real, sizeof real - 1);
	if (n > 0) {
		real[n] = '\0';
		if (allowed(real, image, p))
			return fd;
	}
	if (fd >= 0)
		close(fd);
	else if (errno != EACCES && errno != EPERM)
		return err_set(e, errno, "%.120s: %s", ret_path, strerror(errno));
	return err_set(e, EPERM,
		       "%.80s: names %.100s: not in its directory: want --allow-backing if that "
		       "is meant", image, ret_path);
}

static int open_top(const char *path, bool write, struct err *e)
{
	struct stat st;
	int fd = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return err_set(e, errno, "%.180s: %s", path, strerror(errno));
	if (fstat(fd, &st) || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))) {
		close(fd);
		return err_set(e, EINVAL, "%.180s: want a file or a block device", path);
	}
	return fd;
}

static bool seen_before(const struct disk_chain *c, int fd)
{
	struct stat a, b;

	for (unsigned i = 0; i < c->nr; i++)
		if (!fstat(fd, &a) && !fstat(c->layer[i].l.fd, &b) && a.st_dev == b.st_dev &&
		    a.st_ino == b.st_ino)
			return true;
	return false;
}

void disk_chain_close(struct disk_chain *c)
{
	for (unsigned i = 0; i < c->nr; i++) {
		for (unsigned k = 0; k < c->layer[i].l.nr_extent; k++)
			fd_close(&c->layer[i].l.extent[k]);
		fd_close(&c->layer[i].l.fd);
	}
	c->nr = 0;
}

/* Files of a VMDK descriptor. @info: what image_peek() said. */
static int open_extents(struct disk_layer *y, struct blk *file, const struct image_info *info,
			bool write, const struct disk_policy *p, struct err *e)
{
	char name[IMAGE_NAME_MAX], path[DISK_PATH];

	if (info->nr_extent > IMAGE_EXTENTS)
		return err_set(e, E2BIG, "%.150s: consists of more than %u files", y->path,
			       IMAGE_EXTENTS);
	while (y->l.nr_extent < info->nr_extent) {
		int fd;

		TRY(image_peek_extent(file, y->l.nr_extent, name, e));
		fd = open_named(y->path, name, write, p, path, e);
		if (fd < 0)
			return fd;
		y->l.extent[y->l.nr_extent++] = fd;
	}
	return 0;
}

/* Look into the last layer: its format, extents, what it stands on. */
static int look(struct loop *l, struct disk_chain *c, const char *format, bool write,
		const struct disk_policy *p, struct image_info *ret, struct err *e)
{
	struct disk_layer *y = &c->layer[c->nr - 1];
	struct blk *file;
	int r = 0;

	file = image_open_file(l, dup(y->l.fd), true, e);
	if (!file)
		return err_wrap(e, "%.120s", y->path);
	if (!format)
		r = image_probe(file, &y->l.format, e);
	else if (!image_format_parse(format, &y->l.format))
		r = err_set(e, EINVAL, "format \"%.40s\": want raw, qcow2, vpc, vhdx, vdi, vmdk or luks",
			    format);
	if (!r)
		r = image_peek(file, y->l.format, ret, e);
	if (!r)
		r = open_extents(y, file, ret, write, p, e);
	blk_close(file);
	return r ? err_wrap(e, "%.120s", y->path) : 0;
}

static int add(struct disk_chain *c, const char *path, int fd, struct err *e)
{
	struct disk_layer *y = &c->layer[c->nr];

	if (c->nr == IMAGE_LAYERS || seen_before(c, fd)) {
		close(fd);
		return err_set(e, ELOOP, c->nr == IMAGE_LAYERS ?
			       "%.150s: the chain of backing files is longer than 32" :
			       "%.150s: the chain of backing files comes back to itself", path);
	}
	memset(y, 0, sizeof *y);
	snprintf(y->path, sizeof y->path, "%s", path);
	y->l.fd = fd;
	c->nr++;
	return 0;
}

int disk_resolve(struct disk_chain *c, const char *path, const char *format, bool write,
		 bool only_top, const struct disk_policy *p, struct err *e)
{
	char next[DISK_PATH], fmt[16];
	struct loop *l = loop_new(e);
	struct image_info *info = malloc(sizeof *info);
	int fd, r = l && info ? 0 : -ENOMEM;

	c->nr = 0;
	fd = r ? -1 : strlen(path) >= DISK_PATH ? err_set(e, ENAMETOOLONG, "path too long") :
						   open_top(path, write, e);
	r = fd < 0 ? fd : add(c, path, fd, e);
	while (!r) {
		r = look(l, c, format, write && c->nr == 1, p, info, e);
		if (r || only_top || !*info->backing)
			break;
		fd = open_named(c->layer[c->nr - 1].path, info->backing, false, p, next, e);
		/* An image says what its backing file is; a guess could be the guest's. */
		strcpy(fmt, info->backing_format);
		format = *fmt ? fmt : NULL;
		r = fd < 0 ? fd : add(c, next, fd, e);
	}
	if (r)
		disk_chain_close(c);
	free(info);
	if (l)
		loop_free(l);
	return r;
}
