// SPDX-License-Identifier: Apache-2.0
/* snap_files.c - the two names of a snapshot, replaced as one: see snapshot.h */
#include "base/compiler.h"
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

static int make_file(const char *path, const char *suffix, int *ret, struct err *e)
{
	char name[PATH_MAX];
	int fd;

	TRY(name_with(name, path, suffix, e));
	unlink(name); /* of a snapshot that was interrupted */
	fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(e, errno, "%.150s: %s", name, strerror(errno));
	*ret = fd;
	return 0;
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

static int copy_file(const char *path, int fd, struct err *e)
{
	int src = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), r;
	struct stat st;

	if (src < 0 || fstat(src, &st) < 0)
		r = -errno;
	else
		r = S_ISREG(st.st_mode) ? copy_data(src, fd, st.st_size) : -EINVAL;
	fd_close(&src);
	return r ? err_set(e, -r, "%.150s: %s", path, strerror(-r)) : 0;
}

static bool exists(const char *path, const char *suffix)
{
	char name[PATH_MAX];
	struct err ignored;

	return !name_with(name, path, suffix, &ignored) && access(name, F_OK) == 0;
}

static int move(const char *path, const char *from, const char *to, struct err *e)
{
	char a[PATH_MAX], b[PATH_MAX];

	TRY(name_with(a, path, from, e));
	TRY(name_with(b, path, to, e));
	return rename(a, b) < 0 ? err_set(e, errno, "%.150s: %s", b, strerror(errno)) : 0;
}

/* The second half of a commit; also of one that was interrupted. */
static int finish(const char *state_path, const char *mem_path, struct err *e)
{
	if (exists(mem_path, suffix_new))
		TRY(move(mem_path, suffix_new, "", e));
	return move(state_path, suffix_new, "", e);
}

int snapshot_create(struct snapshot_files *f, const char *state_path, const char *mem_path,
		    bool over, struct err *e)
{
	int r;

	*f = (struct snapshot_files){ state_path, mem_path, -1, -1 };
	if (!strcmp(state_path, mem_path))
		return err_set(e, EINVAL, "%.150s: want another name for the memory file", mem_path);
	if (exists(state_path, suffix_new))
		TRY(finish(state_path, mem_path, e));
	r = make_file(state_path, suffix_tmp, &f->state_fd, e);
	if (!r)
		r = make_file(mem_path, suffix_new, &f->mem_fd, e);
	if (!r && over && access(mem_path, F_OK) == 0)
		r = copy_file(mem_path, f->mem_fd, e);
	if (r)
		snapshot_abandon(f);
	return r;
}

/* The directory's entries are on stable storage. */
static void sync_dir(const char *path)
{
	char name[PATH_MAX];
	int fd;

	snprintf(name, sizeof name, "%s", path);
	fd = open(dirname(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		fsync(fd);
	fd_close(&fd);
}

int snapshot_commit(struct snapshot_files *f, struct err *e)
{
	int r = move(f->state_path, suffix_tmp, suffix_new, e);

	if (r) {
		snapshot_abandon(f);
		return r;
	}
	/* From here on the new one counts. */
	sync_dir(f->mem_path);
	sync_dir(f->state_path);
	snapshot_close(f);
	TRY(finish(f->state_path, f->mem_path, e));
	sync_dir(f->mem_path);
	sync_dir(f->state_path);
	return 0;
}

void snapshot_abandon(struct snapshot_files *f)
{
	char name[PATH_MAX];
	struct err ignored;

	if (f->state_fd >= 0 && !name_with(name, f->state_path, suffix_tmp, &ignored))
		unlink(name);
	if (f->mem_fd >= 0 && !name_with(name, f->mem_path, suffix_new, &ignored))
		unlink(name);
	snapshot_close(f);
}

/* Open @path with @suffix; @or_without: or else without it. *ret_with: which. */
static int open_one(const char *path, const char *suffix, bool or_without, int *ret,
		    bool *ret_with, struct err *e)
{
	char name[PATH_MAX];
	int fd;

	TRY(name_with(name, path, suffix, e));
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	*ret_with = fd >= 0;
	if (fd < 0 && or_without)
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return err_set(e, errno, "%.150s: %s", path, strerror(errno));
	*ret = fd;
	return 0;
}

int snapshot_open(struct snapshot_files *f, const char *state_path, const char *mem_path,
		  struct err *e)
{
	bool newer, ignored;
	int r;

	*f = (struct snapshot_files){ state_path, mem_path, -1, -1 };
	TRY(open_one(state_path, suffix_new, true, &f->state_fd, &newer, e));
	if (!mem_path)
		return 0;
	r = open_one(mem_path, newer ? suffix_new : "", newer, &f->mem_fd, &ignored, e);
	if (r)
		snapshot_close(f);
	return r;
}

void snapshot_close(struct snapshot_files *f)
{
	fd_close(&f->state_fd);
	fd_close(&f->mem_fd);
}
