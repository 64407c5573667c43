// SPDX-License-Identifier: Apache-2.0
/*
 * mount.c - vireo disk mount: a disk as a file in a directory, by FUSE
 *
 * DIRECTORY/disk is what a guest would see as its disk, whatever the image's format;
 * a loop device or any program reads it. One request at a time, in the foreground,
 * until it is unmounted or the program is interrupted.
 */
#define FUSE_USE_VERSION  31
#define _FILE_OFFSET_BITS 64
#include "base/bits.h"
#include "disk/disk_int.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define NAME   "/disk"

struct mount {
	struct blk *b;
	u64 size;
	bool write;
	u8 *buf; /* whole sectors around a request */
	size_t cap;
};

static struct mount *mine(void)
{
	return fuse_get_context()->private_data;
}

struct now {
	struct blk_req r;
	struct iovec iov;
};

static void done(struct blk_req *r UNUSED)
{
}

/* Whole sectors. Return: 0 or -errno. */
static int transfer(struct mount *m, enum blk_op op, u64 off, void *buf, u64 len)
{
	struct now n = { .iov = { buf, len } };

	n.r = (struct blk_req){ .op = op, .offset = off, .len = len, .iov = &n.iov, .nr_iov = 1,
				.done = done };
	blk_submit(m->b, &n.r);
	blk_drain(m->b);
	return -n.r.error;
}

static int room(struct mount *m, size_t len)
{
	void *p;

	if (len <= m->cap)
		return 0;
	if (posix_memalign(&p, 4096, len))
		return -ENOMEM;
	free(m->buf);
	m->buf = p;
	m->cap = len;
	return 0;
}

static int on_getattr(const char *path, struct stat *st, struct fuse_file_info *fi UNUSED)
{
	const struct mount *m = mine();

	*st = (struct stat){ .st_uid = getuid(), .st_gid = getgid(), .st_nlink = 1 };
	if (!strcmp(path, "/")) {
		st->st_mode = S_IFDIR | 0555;
		st->st_nlink = 2;
	} else if (!strcmp(path, NAME)) {
		st->st_mode = S_IFREG | (m->write ? 0644 : 0444);
		st->st_size = (off_t)m->size;
		st->st_blksize = 4096;
	} else {
		return -ENOENT;
	}
	return 0;
}

static int on_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off UNUSED,
		      struct fuse_file_info *fi UNUSED, enum fuse_readdir_flags flags UNUSED)
{
	static const char *const names[] = { ".", "..", &NAME[1] };

	if (strcmp(path, "/") != 0)
		return -ENOENT;
	for (unsigned i = 0; i < array_len(names); i++)
		fill(buf, names[i], NULL, 0, 0);
	return 0;
}

static int on_open(const char *path, struct fuse_file_info *fi)
{
	if (strcmp(path, NAME) != 0)
		return -ENOENT;
	return (fi->flags & O_ACCMODE) == O_RDONLY || mine()->write ? 0 : -EROFS;
}

static int on_read(const char *path UNUSED, char *buf, size_t len, off_t at,
		   struct fuse_file_info *fi UNUSED)
{
	struct mount *m = mine();
	u64 off = (u64)at, from = align_down(off, SECTOR), to;
	int r;

	if (off >= m->size)
		return 0;
	len = len < m->size - off ? len : (size_t)(m->size - off);
	to = align_up(off + len, SECTOR);
	r = room(m, to - from);
	if (!r)
		r = transfer(m, BLK_READ, from, m->buf, to - from);
	if (!r)
		memcpy(buf, m->buf + (off - from), len);
	return r ? r : (int)len;
}

static int on_write(const char *path UNUSED, const char *buf, size_t len, off_t at,
		    struct fuse_file_info *fi UNUSED)
{
	struct mount *m = mine();
	u64 off = (u64)at, from = align_down(off, SECTOR), to;
	int r;

	if (off >= m->size)
		return -ENOSPC;
	len = len < m->size - off ? len : (size_t)(m->size - off);
	to = align_up(off + len, SECTOR);
	r = room(m, to - from);
	if (!r && (from != off || to != off + len))
		r = transfer(m, BLK_READ, from, m->buf, to - from);
	if (r)
		return r;
	memcpy(m->buf + (off - from), buf, len);
	r = transfer(m, BLK_WRITE, from, m->buf, to - from);
	return r ? r : (int)len;
}

static int on_truncate(const char *path UNUSED, off_t size, struct fuse_file_info *fi UNUSED)
{
	return (u64)size == mine()->size ? 0 : -EPERM; /* a disk keeps its size */
}

static int on_fsync(const char *path UNUSED, int data UNUSED, struct fuse_file_info *fi UNUSED)
{
	return transfer(mine(), BLK_FLUSH, 0, NULL, 0);
}

static int on_fallocate(const char *path UNUSED, int mode, off_t off, off_t len,
			struct fuse_file_info *fi UNUSED)
{
	struct mount *m = mine();
	u64 from = align_up((u64)off, SECTOR), to = align_down((u64)off + (u64)len, SECTOR);

	if (!(mode & FALLOC_FL_PUNCH_HOLE) || !range_ok((u64)off, (u64)len, m->size))
		return -EOPNOTSUPP;
	if ((u64)off % SECTOR || (u64)len % SECTOR || from >= to)
		return -EOPNOTSUPP; /* the caller writes zeroes */
	return transfer(m, BLK_WRITE_ZEROES, from, NULL, to - from);
}

static const struct fuse_operations ops = {
	.getattr = on_getattr,
	.readdir = on_readdir,
	.open = on_open,
	.read = on_read,
	.write = on_write,
	.truncate = on_truncate,
	.fsync = on_fsync,
	.fallocate = on_fallocate,
};

/* Mount, serve, unmount. */
static int serve(struct mount *m, const char *dir, struct err *e)
{
	static const int sigs[] = { SIGINT, SIGTERM, SIGHUP };
	char name[] = "vireo", o[] = "-o", options[] = "default_permissions,fsname=vireo";
	char *argv[] = { name, o, options, NULL };
	struct fuse_args args = { 3, argv, 0 };
	struct fuse *f = fuse_new(&args, &ops, sizeof ops, m);
	int r;

	if (!f)
		return err_set(e, EIO, "FUSE: cannot be used here");
	if (fuse_mount(f, dir)) {
		fuse_destroy(f);
		return err_set(e, EIO, "%.200s: cannot be mounted on", dir);
	}
	for (size_t i = 0; i < array_len(sigs); i++)
		signal(sigs[i], SIG_DFL); /* FUSE leaves handlers of others alone */
	r = fuse_set_signal_handlers(fuse_get_session(f));
	if (!r)
		r = fuse_loop(f);
	fuse_unmount(f);
	fuse_destroy(f);
	return r < 0 ? err_set(e, -r, "FUSE: %s", strerror(-r)) : 0;
}

int cmd_mount(struct disk_args *a)
{
	struct mount m = { .write = a->write };
	struct err e = { 0 };
	struct loop *l = loop_new(&e);
	struct blk_info info;
	struct stat st;
	int r;

	if (stat(a->word[1], &st) || !S_ISDIR(st.st_mode)) {
		err_set(&e, ENOTDIR, "%.200s: want a directory to mount on", a->word[1]);
		return disk_fail(&e);
	}
	m.b = l ? disk_open(l, a, a->word[0], a->format, a->write, false, &e) : NULL;
	if (!m.b)
		return disk_fail(&e);
	blk_get_info(m.b, &info);
	m.size = info.size;
	r = serve(&m, a->word[1], &e);
	if (!r && m.write) {
		r = transfer(&m, BLK_FLUSH, 0, NULL, 0);
		if (r)
			err_set(&e, -r, "the image cannot be written: %s", strerror(-r));
	}
	blk_close(m.b);
	free(m.buf);
	disk_interrupted = 0; /* being asked to stop is how it ends */
	return r ? disk_fail(&e) : DISK_OK;
}
