// SPDX-License-Identifier: Apache-2.0
/*
 * p9_fs.h - the shared directory as the 9P server sees it
 *
 * A path is relative to the shared directory, "" is the directory itself, and has no
 * empty, "." or ".." component. Every call resolves it with openat2() beneath the
 * directory without following any symbolic link, so nothing outside can be reached
 * even if the tree changes at the same time. All functions return 0 (or what is
 * said) or a negative errno. They block for as long as the host's file system does.
 */
#ifndef DEV_VIRTIO_P9_FS_H
#define DEV_VIRTIO_P9_FS_H

#include "base/types.h"

#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>

struct p9_fs {
	int root; /* the directory's descriptor; borrowed */
};

/* What setattr changes; bits as in the message. */
enum {
	P9_SET_MODE = 1,
	P9_SET_UID = 2,
	P9_SET_GID = 4,
	P9_SET_SIZE = 8,
	P9_SET_ATIME = 0x10,
	P9_SET_MTIME = 0x20,
	P9_SET_ATIME_TO = 0x80, /* to the given time, not to now */
	P9_SET_MTIME_TO = 0x100,
};

struct p9_attr {
	u32 valid, mode, uid, gid;
	u64 size;
	struct timespec atime, mtime;
};

/* @fd: the open file the path belongs to, or -1; it serves when the path is gone. */
int p9_fs_stat(const struct p9_fs *fs, const char *path, int fd, struct stat *ret);
int p9_fs_setattr(const struct p9_fs *fs, const char *path, int fd, const struct p9_attr *a);
int p9_fs_statfs(const struct p9_fs *fs, const char *path, struct statfs *ret);

/* A descriptor for reading and writing. flags: access mode, O_TRUNC, O_SYNC, O_DSYNC. */
int p9_fs_open(const struct p9_fs *fs, const char *path, int flags);
int p9_fs_create(const struct p9_fs *fs, const char *dir, const char *name, int flags, u32 mode);

int p9_fs_mkdir(const struct p9_fs *fs, const char *dir, const char *name, u32 mode);
int p9_fs_mknod(const struct p9_fs *fs, const char *dir, const char *name, u32 mode);
int p9_fs_symlink(const struct p9_fs *fs, const char *dir, const char *name, const char *target);
int p9_fs_link(const struct p9_fs *fs, const char *path, const char *dir, const char *name);
int p9_fs_rename(const struct p9_fs *fs, const char *path, const char *dir, const char *name);
int p9_fs_unlink(const struct p9_fs *fs, const char *path, bool is_dir);
int p9_fs_readlink(const struct p9_fs *fs, const char *path, char *buf, size_t len); /* bytes */

/* Directory entries from position @off on, as getdents64() gives them. Returns bytes. */
int p9_fs_getdents(int fd, u64 off, void *buf, size_t len);

/* Split at the last '/': dir gets a copy without it (4096 bytes), the rest is returned. */
const char *p9_split(const char *path, char *dir);

#define P9_PATH_MAX 4096

#endif
