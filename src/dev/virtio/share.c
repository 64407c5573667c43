// SPDX-License-Identifier: Apache-2.0
/*
 * share.c - file system calls of the 9P and FUSE servers; see share.h
 *
 * Set-user-ID and set-group-ID bits are dropped and device nodes refused: the guest's
 * root must not make privileged files on the host. New files belong to the monitor's
 * user and get the guest's mode less the monitor's umask.
 */
#include "dev/virtio/share.h"

#include "base/compiler.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MODE_BITS 01777

static int result(int r)
{
	return r < 0 ? -errno : r;
}

/* Resolve and open beneath the root, following no link. Returns a descriptor or -errno. */
static int resolve(const struct share *fs, const char *path, int flags)
{
	struct open_how how = {
		.flags = (u64)(unsigned)(flags | O_NOFOLLOW | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	int r;

	if (!path)
		return -ENOENT;
	for (int tries = 0; tries < 16; tries++) {
		r = (int)syscall(SYS_openat2, fs->root, *path ? path : ".", &how, sizeof how);
		if (r >= 0 || errno != EAGAIN) /* EAGAIN: something was renamed meanwhile */
			break;
	}
	return result(r);
}

static int resolve_dir(const struct share *fs, const char *path)
{
	return resolve(fs, path, O_PATH | O_DIRECTORY);
}

const char *share_split(const char *path, char *dir)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;

	memcpy(dir, path, n);
	dir[n] = '\0';
	return slash ? slash + 1 : path;
}

int share_join(char *ret, const char *dir, const char *name)
{
	size_t a = strlen(dir), b = strlen(name);

	if (a + b + 2 > SHARE_PATH_MAX)
		return -ENAMETOOLONG;
	memmove(ret, dir, a);
	if (a)
		ret[a++] = '/';
	memcpy(ret + a, name, b + 1);
	return 0;
}

bool share_name_ok(const char *name)
{
	return *name && strlen(name) <= 255 && !strchr(name, '/') && strcmp(name, ".") &&
	       strcmp(name, "..");
}

/* The directory that holds @path. Returns a descriptor or -errno. */
static int resolve_parent(const struct share *fs, const char *path, const char **ret_name)
{
	char dir[SHARE_PATH_MAX];

	if (!*path)
		return -EBUSY; /* the shared directory itself */
	*ret_name = share_split(path, dir);
	return resolve_dir(fs, dir);
}

int share_stat(const struct share *fs, const char *path, int fd, struct stat *ret)
{
	int own, r;

	if (fd >= 0)
		return result(fstat(fd, ret));
	own = resolve(fs, path, O_PATH);
	if (own < 0)
		return own;
	r = result(fstat(own, ret));
	close(own);
	return r;
}

int share_statfs(const struct share *fs, const char *path, struct statfs *ret)
{
	int fd = resolve(fs, path, O_PATH), r;

	if (fd < 0)
		return fd;
	r = result(fstatfs(fd, ret));
	close(fd);
	return r;
}

/* Only files and directories: a device or FIFO is not the guest's to open. */
static bool can_open(const struct stat *st)
{
	return S_ISREG(st->st_mode) || S_ISDIR(st->st_mode);
}

/* What was opened may not be what was looked at before. Returns fd or -errno. */
static int check_opened(int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && can_open(&st))
		return fd;
	close(fd);
	return -EOPNOTSUPP;
}

int share_open(const struct share *fs, const char *path, int flags)
{
	struct stat st;
	int fd;

	TRY(share_stat(fs, path, -1, &st));
	if (!can_open(&st))
		return -EOPNOTSUPP;
	fd = resolve(fs, path, flags | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? fd : check_opened(fd);
}

/* -- attributes -------------------------------------------------------------------------- */

static int set_mode(int fd, const struct share_attr *a)
{
	return result(fchmod(fd, a->mode & MODE_BITS));
}

static int set_size(int fd, const struct share_attr *a)
{
	return result(ftruncate(fd, (off_t)a->size));
}

/* Run fn on a descriptor with the access it needs: a fresh one, or @fd if the path is gone. */
static int with_file(const struct share *fs, const char *path, int fd, int flags,
		     int (*fn)(int fd, const struct share_attr *a), const struct share_attr *a)
{
	int own = share_open(fs, path, flags), r;

	if (own < 0)
		return fd >= 0 ? fn(fd, a) : own;
	r = fn(own, a);
	close(own);
	return r;
}

static struct timespec new_time(u32 valid, u32 set, u32 to, struct timespec t)
{
	if (!(valid & set))
		t = (struct timespec){ .tv_nsec = UTIME_OMIT };
	else if (!(valid & to))
		t = (struct timespec){ .tv_nsec = UTIME_NOW };
	return t;
}

/* Owner and times work on a descriptor that is only a place. */
static int set_owner_and_times(int place, const struct share_attr *a)
{
	struct timespec t[2] = {
		new_time(a->valid, SHARE_SET_ATIME, SHARE_SET_ATIME_TO, a->atime),
		new_time(a->valid, SHARE_SET_MTIME, SHARE_SET_MTIME_TO, a->mtime),
	};
	uid_t uid = a->valid & SHARE_SET_UID ? a->uid : (uid_t)-1;
	gid_t gid = a->valid & SHARE_SET_GID ? a->gid : (gid_t)-1;

	if ((a->valid & (SHARE_SET_UID | SHARE_SET_GID)) &&
	    fchownat(place, "", uid, gid, AT_EMPTY_PATH) < 0)
		return -errno;
	if ((a->valid & (SHARE_SET_ATIME | SHARE_SET_MTIME)) &&
	    utimensat(place, "", t, AT_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}

int share_setattr(const struct share *fs, const char *path, int fd, const struct share_attr *a)
{
	int place, r;

	if (a->valid & SHARE_SET_SIZE)
		TRY(with_file(fs, path, fd, O_WRONLY, set_size, a));
	if (a->valid & SHARE_SET_MODE) {
		r = with_file(fs, path, fd, O_RDONLY, set_mode, a);
		if (r == -EACCES) /* a file we may write but not read */
			r = with_file(fs, path, fd, O_WRONLY, set_mode, a);
		TRY(r);
	}
	if (!(a->valid & (SHARE_SET_UID | SHARE_SET_GID | SHARE_SET_ATIME | SHARE_SET_MTIME)))
		return 0;
	place = resolve(fs, path, O_PATH);
	if (place < 0)
		return fd >= 0 ? set_owner_and_times(fd, a) : place;
	r = set_owner_and_times(place, a);
	close(place);
	return r;
}

/* -- names ------------------------------------------------------------------------------- */

int share_create(const struct share *fs, const char *dir, const char *name, int flags, u32 mode)
{
	int place = resolve_dir(fs, dir), fd;

	if (place < 0)
		return place;
	fd = result(openat(place, name,
			   flags | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
			   mode & MODE_BITS));
	close(place);
	return fd < 0 ? fd : check_opened(fd);
}

int share_mkdir(const struct share *fs, const char *dir, const char *name, u32 mode)
{
	int place = resolve_dir(fs, dir), r;

	if (place < 0)
		return place;
	r = result(mkdirat(place, name, mode & MODE_BITS));
	close(place);
	return r;
}

int share_mknod(const struct share *fs, const char *dir, const char *name, u32 mode)
{
	int place, r;

	if (!S_ISREG(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode))
		return -EPERM;
	place = resolve_dir(fs, dir);
	if (place < 0)
		return place;
	r = result(mknodat(place, name, mode & (S_IFMT | MODE_BITS), 0));
	close(place);
	return r;
}

int share_symlink(const struct share *fs, const char *dir, const char *name, const char *target)
{
	int place = resolve_dir(fs, dir), r;

	if (place < 0)
		return place;
	r = result(symlinkat(target, place, name));
	close(place);
	return r;
}

/* Both ends of a two-path call. */
static int two_places(const struct share *fs, const char *path, const char *dir, const char *name,
		      int (*fn)(int from, const char *old, int to, const char *new))
{
	const char *old;
	int from = resolve_parent(fs, path, &old), to, r;

	if (from < 0)
		return from;
	to = resolve_dir(fs, dir);
	r = to < 0 ? to : result(fn(from, old, to, name));
	if (to >= 0)
		close(to);
	close(from);
	return r;
}

static int link_at(int from, const char *old, int to, const char *new)
{
	return linkat(from, old, to, new, 0);
}

int share_link(const struct share *fs, const char *path, const char *dir, const char *name)
{
	return two_places(fs, path, dir, name, link_at);
}

int share_rename(const struct share *fs, const char *path, const char *dir, const char *name)
{
	return two_places(fs, path, dir, name, renameat);
}

int share_unlink(const struct share *fs, const char *path, bool is_dir)
{
	const char *name;
	int place = resolve_parent(fs, path, &name), r;

	if (place < 0)
		return place;
	r = result(unlinkat(place, name, is_dir ? AT_REMOVEDIR : 0));
	close(place);
	return r;
}

int share_readlink(const struct share *fs, const char *path, char *buf, size_t len)
{
	int place = resolve(fs, path, O_PATH), r;

	if (place < 0)
		return place;
	r = result((int)readlinkat(place, "", buf, len));
	close(place);
	return r;
}

int share_getdents(int fd, u64 off, void *buf, size_t len)
{
	if (lseek(fd, (off_t)off, SEEK_SET) < 0)
		return -errno;
	return result((int)syscall(SYS_getdents64, fd, buf, len));
}
