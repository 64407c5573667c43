// SPDX-License-Identifier: Apache-2.0
/*
 * share.h - a shared host directory, as the 9P and FUSE servers see it
 *
 * A path is relative to the shared directory, "" is the directory itself, and has no
 * empty, "." or ".." component. Every call resolves it with openat2() beneath the
 * directory without following any symbolic link, so nothing outside can be reached
 * even if the tree changes at the same time. All functions return 0 (or what is
 * said) or a negative errno. They block for as long as the host's file system does.
 */
#ifndef DEV_VIRTIO_SHARE_H
#define DEV_VIRTIO_SHARE_H

#include "base/types.h"

#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>

#define SHARE_PATH_MAX 4096

struct share {
	int root; /* the directory's descriptor; borrowed */
};

/* What setattr changes; bits as in the message. */
enum {
	SHARE_SET_MODE = 1,
	SHARE_SET_UID = 2,
	SHARE_SET_GID = 4,
	SHARE_SET_SIZE = 8,
	SHARE_SET_ATIME = 0x10,
	SHARE_SET_MTIME = 0x20,
	SHARE_SET_ATIME_TO = 0x80, /* to the given time, not to now */
	SHARE_SET_MTIME_TO = 0x100,
};

struct share_attr {
	u32 valid, mode, uid, gid;
	u64 size;
	struct timespec atime, mtime;
};

/* @fd: the open file the path belongs to, or -1; it serves when the path is gone (NULL). */
int share_stat(const struct share *fs, const char *path, int fd, struct stat *ret);
int share_setattr(const struct share *fs, const char *path, int fd, const struct share_attr *a);
int share_statfs(const struct share *fs, const char *path, struct statfs *ret);

/* A descriptor for reading and writing. flags: access mode, O_TRUNC, O_SYNC, O_DSYNC. */
int share_open(const struct share *fs, const char *path, int flags);
int share_create(const struct share *fs, const char *dir, const char *name, int flags, u32 mode);

int share_mkdir(const struct share *fs, const char *dir, const char *name, u32 mode);
int share_mknod(const struct share *fs, const char *dir, const char *name, u32 mode);
int share_symlink(const struct share *fs, const char *dir, const char *name, const char *target);
int share_link(const struct share *fs, const char *path, const char *dir, const char *name);
int share_rename(const struct share *fs, const char *path, const char *dir, const char *name);
int share_unlink(const struct share *fs, const char *path, bool is_dir);
int share_readlink(const struct share *fs, const char *path, char *buf, size_t len); /* bytes */

/* Directory entries from position @off on, as getdents64() gives them. Returns bytes. */
int share_getdents(int fd, u64 off, void *buf, size_t len);

/* Split at the last '/': dir gets a copy without it (4096 bytes), the rest is returned. */
const char *share_split(const char *path, char *dir);

/* dir + "/" + name into ret[SHARE_PATH_MAX]; dir may be ret. 0 or -ENAMETOOLONG. */
int share_join(char *ret, const char *dir, const char *name);

/* A name a guest may use for a directory entry. */
bool share_name_ok(const char *name);

#endif
