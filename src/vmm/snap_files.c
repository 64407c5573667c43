// SPDX-License-Identifier: Apache-2.0
/* snap_files.c - the names of a snapshot, replaced as one: see snapshot.h */
#include "base/compiler.h"
#include "os/opener.h"
#include "os/os.h"
#include "vmm/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

static const char suffix_new[] = ".new";
static const char suffix_tmp[] = ".tmp"; /* the state file until it is complete */

static int name_with(char ret[PATH_MAX], const char *path, const char *suffix, struct err *e)
{
	int n = snprintf(ret, PATH_MAX, "%s%s", path, suffix);

	return n < 0 || n >= PATH_MAX ? err_set(e, ENAMETOOLONG, "%.100s: name too long", path) : 0;
}

static int open_as(const struct snapshot_files *f, const char *path, const char *suffix, int flags,
		   struct err *e)
{
	char name[PATH_MAX];

	TRY(name_with(name, path, suffix, e));
	return opener_open(f->opener, name, flags, 0600, e);
}

static bool exists(const struct snapshot_files *f, const char *path, const char *suffix)
{
	struct err ignored = { 0 };
	int fd = open_as(f, path, suffix, O_RDONLY | O_NONBLOCK, &ignored);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd != -ENOENT;
}

/* Blocks are shared where the file system can; holes stay holes. */
static int copy_data(int src, int dst, off_t size)
{
	off_t at = 0, end, to;

	if (ioctl(dst, FICLONE, src) == 0)
		return 0;
	if (ftruncate(dst, size) < 0)
		return -errno;
	while ((at = lseek(src, at, SEEK_DATA)) >= 0) {
		end = lseek(src, at, SEEK_HOLE);
		for (to = at; at < end;) {
			ssize_t n = copy_file_range(src, &at, dst, &to, (size_t)(end - at), 0);

			if (n <= 0)
				return n ? -errno : -EIO;
		}
	}
	return errno == ENXIO ? 0 : -errno;
}

static int copy_file(const struct snapshot_files *f, const char *path, int fd, struct err *e)
{
	int src = opener_open(f->opener, path, O_RDONLY | O_NONBLOCK, 0, e), r;
	struct stat st;

	if (src < 0)
		return src;
	if (fstat(src, &st) < 0)
		r = -errno;
	else
		r = S_ISREG(st.st_mode) ? copy_data(src, fd, st.st_size) : -EINVAL;
	fd_close(&src);
	return r ? err_set(e, -r, "%.150s: %s", path, strerror(-r)) : 0;
}

static int sync_fd(const char *path, int fd, struct err *e)
{
	return fsync(fd) < 0 ? err_set(e, errno, "%.150s: %s", path, strerror(errno)) : 0;
}

/* The directory's entries are on stable storage. */
static void sync_dir(const struct snapshot_files *f, const char *path)
{
	struct err ignored = { 0 };
	char name[PATH_MAX];
	int fd;

	snprintf(name, sizeof name, "%s", path);
	fd = opener_open(f->opener, dirname(name), O_RDONLY | O_DIRECTORY, 0, &ignored);
	if (fd >= 0)
		fsync(fd);
	fd_close(&fd);
}

/* The second half of a commit; also of one that was interrupted. */
static int finish(const struct snapshot_files *f, struct err *e)
{
	for (unsigned i = 1; i < f->nr; i++)
		if (exists(f, f->path[i], suffix_new))
			TRY(opener_replace(f->opener, f->path[i], OPENER_NEW_TO_FINAL, e));
	sync_dir(f, f->path[1]);
	return opener_replace(f->opener, f->path[0], OPENER_NEW_TO_FINAL, e);
}

static void all_closed(struct snapshot_files *f)
{
	for (unsigned i = 0; i < SNAPSHOT_FILES; i++)
		f->fd[i] = -1;
}

int snapshot_create(struct snapshot_files *f, bool over, struct err *e)
{
	int r = 0;

	all_closed(f);
	if (!strcmp(f->path[0], f->path[1]))
		return err_set(e, EINVAL, "%.150s: want another name for the memory file",
			       f->path[1]);
	if (exists(f, f->path[0], suffix_new))
		TRY(finish(f, e));
	for (unsigned i = 0; i < f->nr && !r; i++) {
		f->fd[i] = open_as(f, f->path[i], i ? suffix_new : suffix_tmp,
				   O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, e);
		r = f->fd[i] < 0 ? f->fd[i] : 0;
	}
	if (!r && over && exists(f, f->path[1], ""))
		r = copy_file(f, f->path[1], f->fd[1], e);
	if (r)
		snapshot_abandon(f);
	return r;
}

static int sync_all(const struct snapshot_files *f, struct err *e)
{
	for (unsigned i = 0; i < f->nr; i++)
		TRY(sync_fd(f->path[i], f->fd[i], e));
	sync_dir(f, f->path[0]);
	sync_dir(f, f->path[1]);
	return 0;
}

static bool is_empty(int fd)
{
	return lseek(fd, 0, SEEK_END) == 0;
}

int snapshot_commit(struct snapshot_files *f, struct err *e)
{
	bool unused[SNAPSHOT_FILES] = { false };
	int r = sync_all(f, e);

	if (!r)
		r = opener_replace(f->opener, f->path[0], OPENER_TMP_TO_NEW, e);
	if (r) {
		snapshot_abandon(f);
		return r;
	}
	/* From here on the new one counts. */
	sync_dir(f, f->path[0]);
	for (unsigned i = 2; i < f->nr; i++)
		unused[i] = is_empty(f->fd[i]);
	snapshot_close(f);
	TRY(finish(f, e));
	sync_dir(f, f->path[0]);
	for (unsigned i = 2; i < f->nr; i++)
		if (unused[i])
			unlink(f->path[i]);
	return 0;
}

void snapshot_abandon(struct snapshot_files *f)
{
	struct err ignored;

	for (unsigned i = 0; i < f->nr; i++)
		if (f->fd[i] >= 0 && opener_replace(f->opener, f->path[i],
						    i ? OPENER_DROP_NEW : OPENER_DROP_TMP, &ignored))
			continue; /* what stays is emptied by the next snapshot */
	snapshot_close(f);
}

/* Open @path, @newer: rather with its suffix. */
static int open_one(const struct snapshot_files *f, const char *path, bool newer, struct err *e)
{
	int fd = newer ? open_as(f, path, suffix_new, O_RDONLY | O_NONBLOCK, e) : -1;

	return fd < 0 ? open_as(f, path, "", O_RDONLY | O_NONBLOCK, e) : fd;
}

int snapshot_open(struct snapshot_files *f, struct err *e)
{
	bool newer = exists(f, f->path[0], suffix_new);
	int r = 0;

	all_closed(f);
	for (unsigned i = 0; i < f->nr && !r; i++) {
		f->fd[i] = open_one(f, f->path[i], newer, e);
		r = f->fd[i] >= 0 || (f->fd[i] == -ENOENT && i > 1) ? 0 : f->fd[i];
	}
	if (r)
		snapshot_close(f);
	return r;
}

void snapshot_close(struct snapshot_files *f)
{
	for (unsigned i = 0; i < SNAPSHOT_FILES; i++)
		fd_close(&f->fd[i]);
}
