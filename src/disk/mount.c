// SPDX-License-Identifier: Apache-2.0
/*
 * mount.c - vireo disk mount: a disk as a file in a directory, by FUSE
 *
 * DIRECTORY/disk is what a guest would see as its disk, whatever the image's format;
 * a loop device or any program reads it. One request at a time, in the foreground,
 * until it is unmounted or the program is interrupted.
 *
 * Two processes: a child enters the jail, opens the image and says so; its parent, which
 * never looks at the image, mounts, hands the FUSE device over, and unmounts. Mounting
 * needs root or a set-user-ID program, and the jail leaves neither.
 */
#define FUSE_USE_VERSION  31
#define _FILE_OFFSET_BITS 64
#include "base/bits.h"
#include "disk/disk_int.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECTOR 512u
#define NAME   "/disk"

struct mount {
	struct blk *b;
	u64 size;
	bool write;
	uid_t uid;
	gid_t gid;
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

/* Pipes to splice through are nothing the jail allows. */
static void *on_init(struct fuse_conn_info *c, struct fuse_config *cfg UNUSED)
{
	c->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
			       FUSE_CAP_SPLICE_MOVE);
	return mine();
}

static int on_getattr(const char *path, struct stat *st, struct fuse_file_info *fi UNUSED)
{
	const struct mount *m = mine();

	*st = (struct stat){ .st_uid = m->uid, .st_gid = m->gid, .st_nlink = 1 };
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
	.init = on_init,
	.getattr = on_getattr,
	.readdir = on_readdir,
	.open = on_open,
	.read = on_read,
	.write = on_write,
	.truncate = on_truncate,
	.fsync = on_fsync,
	.fallocate = on_fallocate,
};

static struct fuse *new_fuse(struct mount *m, struct err *e)
{
	char name[] = "vireo", o[] = "-o", options[] = "default_permissions,fsname=vireo";
	char *argv[] = { name, o, options, NULL };
	struct fuse_args args = { 3, argv, 0 };
	struct fuse *f = fuse_new(&args, &ops, sizeof ops, m);

	if (!f)
		err_set(e, EIO, "FUSE: cannot be used here");
	return f;
}

/* -- the child: the image, in the jail --------------------------------------------------- */

/* The FUSE device, as soon as the parent has mounted. Return: it, or -1. */
static int get_device(int sock)
{
	unsigned nr = 1;
	char word;
	int fd;

	if (fd_send(sock, "r", 1, NULL, 0) || fd_recv(sock, &word, 1, &fd, &nr) != 1 || nr != 1)
		return -1;
	return fd;
}

static int serve(struct fuse *f, int sock, struct err *e)
{
	int dev = get_device(sock), r;
	char name[32];

	if (dev < 0)
		return -ECANCELED; /* the parent has said why */
	snprintf(name, sizeof name, "/dev/fd/%d", dev);
	signal(SIGTERM, SIG_DFL); /* FUSE leaves handlers of others alone */
	r = fuse_mount(f, name) ? -EIO : fuse_set_signal_handlers(fuse_get_session(f));
	if (!r)
		r = fuse_loop(f);
	fuse_unmount(f);
	return r < 0 ? err_set(e, -r, "FUSE: %s", strerror(-r)) : 0;
}

static int child(struct disk_args *a, int sock)
{
	struct mount m = { .write = a->write, .uid = getuid(), .gid = getgid() };
	struct err e = { 0 };
	struct fuse *f = new_fuse(&m, &e); /* asks who we are: before the jail */
	struct blk_info info;
	struct loop *l;
	int r = f ? disk_confine(a, 0, 1, true, &e) : -e.code;

	l = r ? NULL : loop_new(&e);
	m.b = l ? disk_open(l, a, a->word[0], a->format, a->write, false, &e) : NULL;
	if (!m.b)
		return disk_fail(&e);
	blk_get_info(m.b, &info);
	m.size = info.size;
	r = serve(f, sock, &e);
	fuse_destroy(f);
	if (!r && m.write) {
		r = transfer(&m, BLK_FLUSH, 0, NULL, 0);
		if (r)
			err_set(&e, -r, "the image cannot be written: %s", strerror(-r));
	}
	blk_close(m.b);
	free(m.buf);
	return !r ? DISK_OK : e.code ? disk_fail(&e) : DISK_FAILED;
}

/* -- the parent: the mount ---------------------------------------------------------------- */

static void signals_to_wait_for(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGINT);
	sigaddset(ret, SIGTERM);
	sigaddset(ret, SIGHUP);
	sigaddset(ret, SIGCHLD);
}

static int status_of(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return DISK_FAILED;
	return WIFEXITED(status) ? WEXITSTATUS(status) : DISK_FAILED;
}

/* Until the child ends or a signal asks it to. */
static int mounted(struct fuse *f, pid_t pid, const sigset_t *set)
{
	int sig;

	do
		sig = sigwaitinfo(set, NULL);
	while (sig < 0 && errno == EINTR);
	if (sig != SIGCHLD)
		kill(pid, SIGTERM);
	fuse_unmount(f);
	return status_of(pid);
}

static int parent(const char *dir, int sock, pid_t pid, const sigset_t *set)
{
	struct mount none = { 0 };
	struct err e = { 0 };
	struct fuse *f = NULL;
	unsigned nr = 0;
	char word;
	int fd, r;

	if (fd_recv(sock, &word, 1, NULL, &nr) != 1)
		return status_of(pid);
	f = new_fuse(&none, &e);
	if (f && fuse_mount(f, dir))
		err_set(&e, EIO, "%.200s: cannot be mounted on", dir);
	if (!e.code) {
		fd = fuse_session_fd(fuse_get_session(f));
		if (fd_send(sock, "m", 1, &fd, 1))
			kill(pid, SIGTERM);
		r = mounted(f, pid, set);
	} else {
		close(sock);
		status_of(pid);
		r = disk_fail(&e);
	}
	if (f)
		fuse_destroy(f);
	return r;
}

int cmd_mount(struct disk_args *a)
{
	const pid_t self = getpid();
	struct err e = { 0 };
	struct stat st;
	sigset_t set, term;
	int pair[2];
	pid_t pid;

	if (stat(a->word[1], &st) || !S_ISDIR(st.st_mode)) {
		err_set(&e, ENOTDIR, "%.200s: want a directory to mount on", a->word[1]);
		return disk_fail(&e);
	}
	signals_to_wait_for(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pid = fd_pair(SOCK_SEQPACKET, pair) ? -1 : fork();
	if (pid < 0) {
		err_set(&e, errno, "mount: no process: %s", strerror(errno));
		return disk_fail(&e);
	}
	if (pid) {
		close(pair[1]);
		return parent(a->word[1], pair[0], pid, &set);
	}
	close(pair[0]);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != self)
		_exit(DISK_FAILED);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_UNBLOCK, &term, NULL);
	exit(child(a, pair[1]));
}
