// SPDX-License-Identifier: Apache-2.0
/*
 * p9.c - 9P transport device (id 9, as Linux drives it) and a 9P2000.L server for one
 * shared directory
 *
 * Follows the 9P2000.L protocol as documented with diod [9P2000.L] and 9P2000 as
 * [9P]. Requests are served at once and in order, so Tflush has nothing to do. A fid
 * is a path (share.h), and a descriptor once it is opened. Data of Tread and Twrite
 * moves straight between the file and guest RAM.
 * Not modelled: authentication, extended attributes (EOPNOTSUPP), byte-range locks
 * between guests (they always succeed), set-user-ID bits, device nodes.
 */
#include "base/bits.h"
#include "dev/virtio/share.h"
#include "dev/virtio/virtio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_SIZE 128
#define MSIZE_MAX  (512u << 10)
#define MSIZE_MIN  4096u
#define REQ_MAX	   (16u << 10) /* longest request but Twrite */
#define REPLY_MAX  (64u << 10) /* longest reply but Rread */
#define MAX_FIDS   65536
#define PATHS_MAX  (16u << 20) /* bytes of all fids' paths together */
#define MAX_OPEN   4096	       /* opened fids */
#define NR_BUCKETS 256
#define MAX_WALK   16
#define NAME_LEN   255
#define HDR	   7 /* size[4] type[1] tag[2] */
#define IO_HDR	   11 /* and count[4] */
#define WRITE_HDR  23 /* header, fid, offset, count */

enum { F_MOUNT_TAG = 1 };
enum { R_LERROR = 7, T_WRITE = 118 };
enum { QT_DIR = 0x80, QT_LINK = 0x02 };
enum { UNLINK_DIR = 0x200 }; /* AT_REMOVEDIR */

#define GETATTR_BASIC 0x7ffull

struct fid {
	struct fid *next; /* in its bucket */
	u32 num;
	int fd; /* -1: not opened */
	char path[];
};

struct virtio_9p {
	struct virtio v;
	struct share fs;
	u32 msize;
	u8 read_only;
	u8 lost; /* restored from a saved state: the fids are gone */
	u16 unused;
	u32 nr_fids, nr_open;
	u64 path_bytes;
	struct fid *bucket[NR_BUCKETS];
	u8 *req, *reply; /* REQ_MAX, REPLY_MAX bytes */
};

/* One request and its reply. Reading past the end sets bad and gives zeroes. */
struct msg {
	struct vchain *c;
	const u8 *in;
	size_t in_at, in_len;
	u8 *out;
	size_t out_at;
	u32 bulk; /* bytes placed in the chain after out (Rread) */
	bool bad;
};

/* -- encoding ---------------------------------------------------------------------------- */

static u64 get(struct msg *m, unsigned size)
{
	u64 v = 0;

	if (m->in_len - m->in_at < size) {
		m->bad = true;
		return 0;
	}
	memcpy(&v, m->in + m->in_at, size);
	m->in_at += size;
	return v;
}

static u32 get32(struct msg *m)
{
	return (u32)get(m, 4);
}

/* A string of at most @max bytes into buf[max + 1]; without zero bytes. */
static void get_str(struct msg *m, char *buf, size_t max)
{
	size_t n = get(m, 2);

	buf[0] = '\0';
	if (n > max || m->in_len - m->in_at < n || memchr(m->in + m->in_at, 0, n)) {
		m->bad = true;
		return;
	}
	memcpy(buf, m->in + m->in_at, n);
	buf[n] = '\0';
	m->in_at += n;
}

static void put(struct msg *m, u64 val, unsigned size)
{
	if (REPLY_MAX - m->out_at < size)
		return; /* cannot happen: only readdir is long, and it checks */
	memcpy(m->out + m->out_at, &val, size);
	m->out_at += size;
}

static void put_bytes(struct msg *m, const void *p, size_t n)
{
	if (REPLY_MAX - m->out_at < n)
		return;
	memcpy(m->out + m->out_at, p, n);
	m->out_at += n;
}

static void put_str(struct msg *m, const char *s, size_t n)
{
	put(m, n, 2);
	put_bytes(m, s, n);
}

static void put_qid(struct msg *m, const struct stat *st)
{
	put(m, S_ISDIR(st->st_mode) ? QT_DIR : S_ISLNK(st->st_mode) ? QT_LINK : 0, 1);
	put(m, (u32)(st->st_mtim.tv_nsec ^ st->st_mtim.tv_sec << 8), 4);
	put(m, st->st_ino, 8);
}

/* -- fids -------------------------------------------------------------------------------- */

static struct fid **fid_slot(struct virtio_9p *p, u32 num)
{
	struct fid **at = &p->bucket[num % NR_BUCKETS];

	while (*at && (*at)->num != num)
		at = &(*at)->next;
	return at;
}

static struct fid *get_fid(struct virtio_9p *p, struct msg *m)
{
	return *fid_slot(p, get32(m));
}

static int fid_new(struct virtio_9p *p, u32 num, const char *path)
{
	size_t n = strlen(path) + 1;
	struct fid **at = fid_slot(p, num), *f;

	if (*at)
		return -EBADF;
	if (p->nr_fids >= MAX_FIDS || p->path_bytes + n > PATHS_MAX)
		return -EMFILE;
	f = malloc(sizeof *f + n);
	if (!f)
		return -ENOMEM;
	*f = (struct fid){ .num = num, .fd = -1 };
	memcpy(f->path, path, n);
	*at = f;
	p->nr_fids++;
	p->path_bytes += n;
	return 0;
}

static void fid_free(struct virtio_9p *p, struct fid **at)
{
	struct fid *f = *at;

	*at = f->next;
	p->nr_fids--;
	p->path_bytes -= strlen(f->path) + 1;
	if (f->fd >= 0) {
		close(f->fd);
		p->nr_open--;
	}
	free(f);
}

static void free_fids(struct virtio_9p *p)
{
	for (unsigned i = 0; i < NR_BUCKETS; i++)
		while (p->bucket[i])
			fid_free(p, &p->bucket[i]);
}

/* Give the fid another path. */
static int fid_move(struct virtio_9p *p, struct fid **at, const char *path)
{
	size_t old = strlen((*at)->path) + 1, n = strlen(path) + 1;
	struct fid *f;

	if (p->path_bytes - old + n > PATHS_MAX)
		return -EMFILE;
	f = realloc(*at, sizeof *f + n);
	if (!f)
		return -ENOMEM;
	memcpy(f->path, path, n);
	*at = f;
	p->path_bytes += n - old;
	return 0;
}

/* After a rename, fids at @old or below it are at @new. */
static void move_fids(struct virtio_9p *p, const char *old, const char *new)
{
	size_t n = strlen(old);
	char path[SHARE_PATH_MAX];

	for (unsigned i = 0; i < NR_BUCKETS; i++) {
		for (struct fid **at = &p->bucket[i]; *at; at = &(*at)->next) {
			const char *rest = (*at)->path + n;

			if (strncmp((*at)->path, old, n) || (*rest && *rest != '/') ||
			    strlen(new) + strlen(rest) + 1 > sizeof path)
				continue;
			strcpy(path, new);
			strcat(path, rest);
			(void)fid_move(p, at, path); /* on failure the fid is stale */
		}
	}
}

static int get_name(struct msg *m, char *name)
{
	get_str(m, name, NAME_LEN);
	return m->bad || !share_name_ok(name) ? -EINVAL : 0;
}

static int put_entry_qid(struct virtio_9p *p, struct msg *m, const char *dir, const char *name)
{
	char path[SHARE_PATH_MAX];
	struct stat st;

	TRY(share_join(path, dir, name));
	TRY(share_stat(&p->fs, path, -1, &st));
	put_qid(m, &st);
	return 0;
}

/* -- session [9P] ------------------------------------------------------------------------ */

static int do_version(struct virtio_9p *p, struct msg *m)
{
	u32 msize = get32(m);
	char version[32];
	bool known;

	get_str(m, version, sizeof version - 1);
	if (m->bad || msize < MSIZE_MIN)
		return -EINVAL;
	free_fids(p);
	p->lost = 0;
	p->msize = msize < MSIZE_MAX ? msize : MSIZE_MAX;
	known = !strcmp(version, "9P2000.L");
	put(m, p->msize, 4);
	put_str(m, known ? "9P2000.L" : "unknown", known ? 8 : 7);
	return 0;
}

static int do_attach(struct virtio_9p *p, struct msg *m)
{
	u32 num = get32(m);
	struct stat st;

	TRY(share_stat(&p->fs, "", -1, &st));
	TRY(fid_new(p, num, ""));
	put_qid(m, &st);
	return 0;
}

static int do_flush(struct virtio_9p *p UNUSED, struct msg *m UNUSED)
{
	return 0;
}

static int do_clunk(struct virtio_9p *p, struct msg *m)
{
	struct fid **at = fid_slot(p, get32(m));

	if (!*at)
		return -EBADF;
	fid_free(p, at);
	return 0;
}

static int walk_one(const struct virtio_9p *p, char *path, const char *name, struct stat *st)
{
	char dir[SHARE_PATH_MAX];

	if (!strcmp(name, "..")) {
		share_split(path, dir);
		strcpy(path, dir);
	} else if (!share_name_ok(name)) {
		return -ENOENT;
	} else {
		TRY(share_join(path, path, name));
	}
	return share_stat(&p->fs, path, -1, st);
}

static int do_walk(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	u32 newnum = get32(m);
	unsigned n = (unsigned)get(m, 2), done = 0;
	char path[SHARE_PATH_MAX], name[NAME_LEN + 1];
	size_t count_at = m->out_at;
	struct stat st;
	int r = 0;

	if (!f || (newnum != f->num && *fid_slot(p, newnum)))
		return -EBADF;
	if ((f->fd >= 0 && newnum == f->num) || n > MAX_WALK)
		return -EINVAL;
	strcpy(path, f->path);
	put(m, 0, 2);
	for (; done < n && !r; done += !r) {
		get_str(m, name, NAME_LEN);
		r = m->bad ? -EINVAL : walk_one(p, path, name, &st);
		if (!r)
			put_qid(m, &st);
	}
	if (r && (!done || m->bad))
		return r;
	memcpy(m->out + count_at, &(u16){ (u16)done }, 2);
	if (done < n)
		return 0; /* a partial walk makes no fid */
	return newnum == f->num ? fid_move(p, fid_slot(p, newnum), path) : fid_new(p, newnum, path);
}

/* -- attributes -------------------------------------------------------------------------- */

static void put_time(struct msg *m, struct timespec t)
{
	put(m, (u64)t.tv_sec, 8);
	put(m, (u64)t.tv_nsec, 8);
}

static int do_getattr(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	struct stat st;

	if (!f)
		return -EBADF;
	TRY(share_stat(&p->fs, f->path, f->fd, &st));
	put(m, GETATTR_BASIC, 8);
	put_qid(m, &st);
	put(m, st.st_mode, 4);
	put(m, st.st_uid, 4);
	put(m, st.st_gid, 4);
	put(m, st.st_nlink, 8);
	put(m, st.st_rdev, 8);
	put(m, (u64)st.st_size, 8);
	put(m, (u64)st.st_blksize, 8);
	put(m, (u64)st.st_blocks, 8);
	put_time(m, st.st_atim);
	put_time(m, st.st_mtim);
	put_time(m, st.st_ctim);
	put_time(m, (struct timespec){ 0 }); /* birth */
	put(m, 0, 8);			     /* generation */
	put(m, 0, 8);			     /* data version */
	return 0;
}

static int do_setattr(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	struct share_attr a;

	a.valid = get32(m);
	a.mode = get32(m);
	a.uid = get32(m);
	a.gid = get32(m);
	a.size = get(m, 8);
	a.atime.tv_sec = (time_t)get(m, 8);
	a.atime.tv_nsec = (long)get(m, 8);
	a.mtime.tv_sec = (time_t)get(m, 8);
	a.mtime.tv_nsec = (long)get(m, 8);
	if (!f)
		return -EBADF;
	return m->bad ? -EINVAL : share_setattr(&p->fs, f->path, f->fd, &a);
}

static int do_statfs(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	struct statfs s;

	if (!f)
		return -EBADF;
	TRY(share_statfs(&p->fs, f->path, &s));
	put(m, 0x01021997, 4); /* V9FS_MAGIC */
	put(m, (u64)s.f_bsize, 4);
	put(m, s.f_blocks, 8);
	put(m, s.f_bfree, 8);
	put(m, s.f_bavail, 8);
	put(m, s.f_files, 8);
	put(m, s.f_ffree, 8);
	put(m, 0, 8);
	put(m, (u64)s.f_namelen, 4);
	return 0;
}

/* -- open files -------------------------------------------------------------------------- */

static int finish_open(struct virtio_9p *p, struct msg *m, struct fid *f, int fd)
{
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0) {
		close(fd);
		return -EIO;
	}
	f->fd = fd;
	p->nr_open++;
	put_qid(m, &st);
	put(m, 0, 4); /* iounit: whatever msize allows */
	return 0;
}

static int do_lopen(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	int flags = (int)get32(m) & (O_ACCMODE | O_TRUNC | O_DIRECTORY | O_SYNC);

	if (!f || f->fd >= 0)
		return -EBADF;
	if (p->read_only && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)))
		return -EROFS;
	if (p->nr_open >= MAX_OPEN)
		return -EMFILE;
	return finish_open(p, m, f, share_open(&p->fs, f->path, flags));
}

/* The directory's fid becomes the new file's. */
static int do_lcreate(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	char name[NAME_LEN + 1], path[SHARE_PATH_MAX];
	int flags, fd;
	u32 mode, num;

	TRY(get_name(m, name));
	flags = (int)get32(m) & (O_ACCMODE | O_TRUNC | O_EXCL | O_SYNC);
	mode = get32(m);
	if (!f || f->fd >= 0)
		return -EBADF;
	if (m->bad)
		return -EINVAL;
	if (p->nr_open >= MAX_OPEN)
		return -EMFILE;
	TRY(share_join(path, f->path, name));
	fd = share_create(&p->fs, f->path, name, flags, mode);
	if (fd < 0)
		return fd;
	num = f->num; /* f may move */
	if (fid_move(p, fid_slot(p, num), path) < 0) {
		close(fd);
		return -ENOMEM;
	}
	return finish_open(p, m, *fid_slot(p, num), fd);
}

static int do_read(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	u64 off = get(m, 8);
	u32 count = get32(m), room = m->c->writable - IO_HDR;
	struct iovec iov[VQ_MAX_SIZE];
	ssize_t got;
	int n;

	if (!f || f->fd < 0)
		return -EBADF;
	if (count > room)
		count = room;
	if (count > p->msize - IO_HDR)
		count = p->msize - IO_HDR;
	n = vchain_iov(m->c, true, IO_HDR, count, iov, VQ_MAX_SIZE);
	if (n < 0 || off > INT64_MAX)
		return -EINVAL;
	got = preadv(f->fd, iov, n, (off_t)off);
	if (got < 0)
		return -errno;
	vchain_wrote(m->c, IO_HDR, (u64)got);
	put(m, (u64)got, 4);
	m->bulk = (u32)got;
	return 0;
}

static int do_write(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	u64 off = get(m, 8);
	u32 count = get32(m);
	struct iovec iov[VQ_MAX_SIZE];
	ssize_t done;
	int n;

	if (!f || f->fd < 0)
		return -EBADF;
	n = vchain_iov(m->c, false, WRITE_HDR, count, iov, VQ_MAX_SIZE);
	if (m->bad || n < 0 || off > INT64_MAX)
		return -EINVAL;
	done = pwritev(f->fd, iov, n, (off_t)off);
	if (done < 0)
		return -errno;
	put(m, (u64)done, 4);
	return 0;
}

static int do_fsync(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	bool data_only = get32(m);

	if (!f || f->fd < 0)
		return -EBADF;
	return (data_only ? fdatasync(f->fd) : fsync(f->fd)) < 0 ? -errno : 0;
}

struct dirent64_hdr { /* of getdents64() */
	u64 ino;
	i64 off;
	u16 reclen;
	u8 type;
	char name[];
};

static void put_dirent(struct msg *m, const struct dirent64_hdr *d)
{
	put(m, d->type == DT_DIR ? QT_DIR : d->type == DT_LNK ? QT_LINK : 0, 1);
	put(m, 0, 4);
	put(m, d->ino, 8);
	put(m, (u64)d->off, 8);
	put(m, d->type, 1);
	put_str(m, d->name, strlen(d->name));
}

static int do_readdir(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	u64 off = get(m, 8);
	u32 count = get32(m), limit = REPLY_MAX - IO_HDR;
	size_t start = m->out_at + 4;
	_Alignas(8) u8 buf[8192];
	int n;

	if (!f || f->fd < 0)
		return -EBADF;
	if (count < limit)
		limit = count;
	if (m->c->writable - IO_HDR < limit)
		limit = m->c->writable - IO_HDR;
	put(m, 0, 4);
	while ((n = share_getdents(f->fd, off, buf, sizeof buf)) > 0) {
		for (int at = 0; at < n;) {
			const struct dirent64_hdr *d = (const void *)(buf + at);

			if (m->out_at - start + 24 + strlen(d->name) > limit)
				goto full;
			put_dirent(m, d);
			off = (u64)d->off;
			at += d->reclen;
		}
	}
	if (n < 0)
		return n;
full:
	memcpy(m->out + start - 4, &(u32){ (u32)(m->out_at - start) }, 4);
	return 0;
}

static int do_lock(struct virtio_9p *p, struct msg *m)
{
	if (!get_fid(p, m))
		return -EBADF;
	put(m, 0, 1); /* granted */
	return 0;
}

static int do_getlock(struct virtio_9p *p, struct msg *m)
{
	size_t body;

	if (!get_fid(p, m))
		return -EBADF;
	get(m, 1);
	body = m->in_at; /* start, length, process, client: as asked */
	put(m, F_UNLCK, 1);
	put_bytes(m, m->in + body, m->in_len - body);
	return 0;
}

/* -- names ------------------------------------------------------------------------------- */

static int do_mkdir(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	char name[NAME_LEN + 1];

	TRY(get_name(m, name));
	if (!f)
		return -EBADF;
	TRY(share_mkdir(&p->fs, f->path, name, get32(m)));
	return put_entry_qid(p, m, f->path, name);
}

static int do_mknod(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	char name[NAME_LEN + 1];

	TRY(get_name(m, name));
	if (!f)
		return -EBADF;
	TRY(share_mknod(&p->fs, f->path, name, get32(m)));
	return put_entry_qid(p, m, f->path, name);
}

static int do_symlink(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	char name[NAME_LEN + 1], target[SHARE_PATH_MAX];

	TRY(get_name(m, name));
	get_str(m, target, sizeof target - 1);
	if (!f)
		return -EBADF;
	if (m->bad)
		return -EINVAL;
	TRY(share_symlink(&p->fs, f->path, name, target));
	return put_entry_qid(p, m, f->path, name);
}

static int do_readlink(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	char target[SHARE_PATH_MAX];
	int n;

	if (!f)
		return -EBADF;
	n = share_readlink(&p->fs, f->path, target, sizeof target);
	if (n < 0)
		return n;
	put_str(m, target, (size_t)n);
	return 0;
}

static int do_link(struct virtio_9p *p, struct msg *m)
{
	struct fid *dir = get_fid(p, m), *f = get_fid(p, m);
	char name[NAME_LEN + 1];

	TRY(get_name(m, name));
	if (!dir || !f)
		return -EBADF;
	return share_link(&p->fs, f->path, dir->path, name);
}

static int rename_path(struct virtio_9p *p, const char *path, const char *dir, const char *name)
{
	char old[SHARE_PATH_MAX], new[SHARE_PATH_MAX];

	TRY(share_join(new, dir, name));
	strcpy(old, path);
	TRY(share_rename(&p->fs, old, dir, name));
	move_fids(p, old, new);
	return 0;
}

static int do_rename(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m), *dir = get_fid(p, m);
	char name[NAME_LEN + 1];

	TRY(get_name(m, name));
	if (!dir || !f)
		return -EBADF;
	return rename_path(p, f->path, dir->path, name);
}

static int do_renameat(struct virtio_9p *p, struct msg *m)
{
	struct fid *from = get_fid(p, m), *to;
	char old[NAME_LEN + 1], name[NAME_LEN + 1], path[SHARE_PATH_MAX];

	TRY(get_name(m, old));
	to = get_fid(p, m);
	TRY(get_name(m, name));
	if (!from || !to)
		return -EBADF;
	TRY(share_join(path, from->path, old));
	return rename_path(p, path, to->path, name);
}

static int do_unlinkat(struct virtio_9p *p, struct msg *m)
{
	struct fid *f = get_fid(p, m);
	char name[NAME_LEN + 1], path[SHARE_PATH_MAX];

	TRY(get_name(m, name));
	if (!f)
		return -EBADF;
	TRY(share_join(path, f->path, name));
	return share_unlink(&p->fs, path, get32(m) & UNLINK_DIR);
}

/* Clunks the fid even when it fails. */
static int do_remove(struct virtio_9p *p, struct msg *m)
{
	struct fid **at = fid_slot(p, get32(m));
	struct stat st;
	int r;

	if (!*at)
		return -EBADF;
	r = p->read_only ? -EROFS : share_stat(&p->fs, (*at)->path, -1, &st);
	if (!r)
		r = share_unlink(&p->fs, (*at)->path, S_ISDIR(st.st_mode));
	fid_free(p, at);
	return r;
}

/* -- dispatch ---------------------------------------------------------------------------- */

enum { CHANGES = 1 }; /* refused on a read-only share */

/* By request type; the reply's type is one more. What is missing is EOPNOTSUPP. */
static const struct op {
	int (*fn)(struct virtio_9p *p, struct msg *m);
	u8 flags;
} ops[] = {
	[8] = { do_statfs, 0 },
	[12] = { do_lopen, 0 },
	[14] = { do_lcreate, CHANGES },
	[16] = { do_symlink, CHANGES },
	[18] = { do_mknod, CHANGES },
	[20] = { do_rename, CHANGES },
	[22] = { do_readlink, 0 },
	[24] = { do_getattr, 0 },
	[26] = { do_setattr, CHANGES },
	[40] = { do_readdir, 0 },
	[50] = { do_fsync, 0 },
	[52] = { do_lock, 0 },
	[54] = { do_getlock, 0 },
	[70] = { do_link, CHANGES },
	[72] = { do_mkdir, CHANGES },
	[74] = { do_renameat, CHANGES },
	[76] = { do_unlinkat, CHANGES },
	[100] = { do_version, 0 },
	[104] = { do_attach, 0 },
	[108] = { do_flush, 0 },
	[110] = { do_walk, 0 },
	[116] = { do_read, 0 },
	[118] = { do_write, CHANGES },
	[120] = { do_clunk, 0 },
	[122] = { do_remove, 0 },
};

static int dispatch(struct virtio_9p *p, struct msg *m, unsigned type)
{
	if (type >= array_len(ops) || !ops[type].fn)
		return -EOPNOTSUPP;
	if (p->read_only && (ops[type].flags & CHANGES))
		return -EROFS;
	if (p->lost && type != 100)
		return -EIO;
	return ops[type].fn(p, m);
}

/* Serve the request in c. Return: bytes of reply, 0 if there is no sense in it. */
static u32 serve(struct virtio_9p *p, struct vchain *c)
{
	struct msg m = { .c = c, .in = p->req, .out = p->reply, .in_at = HDR, .out_at = HDR };
	u32 size, len;
	u8 type, tag[2];
	int r;

	if (vchain_read_at(c, 0, p->req, HDR) < HDR || c->writable < IO_HDR)
		return 0;
	memcpy(&size, p->req, 4);
	type = p->req[4];
	memcpy(tag, p->req + 5, 2);
	len = type == T_WRITE ? WRITE_HDR : REQ_MAX; /* a write's data stays where it is */
	m.in_len = vchain_read_at(c, 0, p->req, size < len ? size : len);
	if (size > c->readable || size > p->msize || size < HDR)
		r = -EINVAL;
	else if (size > REQ_MAX && type != T_WRITE)
		r = -EMSGSIZE;
	else
		r = dispatch(p, &m, type);
	if (!r && (m.bad || m.out_at > c->writable))
		r = m.bad ? -EINVAL : -EMSGSIZE;
	if (r) {
		m.out_at = HDR;
		m.bulk = 0;
		put(&m, (u32)-r, 4);
	}
	len = (u32)m.out_at + m.bulk;
	memcpy(p->reply, &len, 4);
	p->reply[4] = r ? R_LERROR : (u8)(type + 1);
	memcpy(p->reply + 5, tag, 2);
	vchain_write_at(c, 0, p->reply, m.out_at);
	return len;
}

static void p9_notify(struct virtio *v, struct virtq *q)
{
	struct virtio_9p *p = container_of(v, struct virtio_9p, v);
	struct vchain c;

	while (vq_pop(q, &c)) {
		vq_push(q, c.tok, serve(p, &c));
		vq_flush(q);
	}
}

/* -- life cycle -------------------------------------------------------------------------- */

static void p9_reset(struct dev *d)
{
	struct virtio_9p *p = container_of(d, struct virtio_9p, v.dev);

	free_fids(p);
	p->msize = MSIZE_MIN;
	p->lost = 0;
}

static void p9_fini(struct dev *d)
{
	struct virtio_9p *p = container_of(d, struct virtio_9p, v.dev);

	free_fids(p);
	free(p->req);
	free(p->reply);
}

static int p9_init(struct dev *d, const void *cfg, struct err *e)
{
	struct virtio_9p *p = container_of(d, struct virtio_9p, v.dev);
	const struct virtio_share_cfg *c = cfg;
	size_t n = strlen(c->tag);
	le16 len = le16_of((u16)n);

	if (!n || n > VIRTIO_CONFIG_MAX - 2)
		return err_set(e, EINVAL, "mount tag '%s': want 1..%d bytes", c->tag,
			       VIRTIO_CONFIG_MAX - 2);
	p->req = malloc(REQ_MAX);
	p->reply = malloc(REPLY_MAX);
	if (!p->req || !p->reply) {
		p9_fini(d);
		return err_set(e, ENOMEM, "out of memory");
	}
	p->fs.root = c->dir_fd;
	p->read_only = c->read_only;
	memcpy(p->v.config, &len, 2);
	memcpy(p->v.config + 2, c->tag, n);
	p->v.config_len = (u16)(2 + n);
	p->v.offered = F_MOUNT_TAG;
	virtio_set_queues(&p->v, 1, QUEUE_SIZE);
	return 0;
}

/* DEVIATION: fids are host state and not saved; after a restore the guest mounts anew. */
static int p9_loaded(struct dev *d, struct err *e)
{
	struct virtio_9p *p = container_of(d, struct virtio_9p, v.dev);

	p->lost = 1;
	if (p->msize < MSIZE_MIN)
		return err_set(e, ERANGE, "%s: saved msize %u: want %u or more", d->id, p->msize,
			       MSIZE_MIN);
	return virtio_loaded(d, e);
}

static const struct field p9_state[] = {
	VIRTIO_FIELDS(struct virtio_9p, v),
	FIELD_NOT_SAVED(struct virtio_9p, fs),
	FIELD(struct virtio_9p, msize, .max = MSIZE_MAX),
	FIELD_NOT_SAVED(struct virtio_9p, read_only),
	FIELD_NOT_SAVED(struct virtio_9p, lost),
	FIELD_NOT_SAVED(struct virtio_9p, unused),
	FIELD_NOT_SAVED(struct virtio_9p, nr_fids),
	FIELD_NOT_SAVED(struct virtio_9p, nr_open),
	FIELD_NOT_SAVED(struct virtio_9p, path_bytes),
	FIELD_NOT_SAVED(struct virtio_9p, bucket),
	FIELD_NOT_SAVED(struct virtio_9p, req),
	FIELD_NOT_SAVED(struct virtio_9p, reply),
	FIELD_END,
};

const struct virtio_class virtio_9p_class = {
	.dev = {
		.name = "virtio-9p",
		.spec = "9P2000.L over Virtual I/O Device 1.2",
		.size = sizeof(struct virtio_9p),
		.state = p9_state,
		.init = p9_init,
		.fini = p9_fini,
		.reset = p9_reset,
		.loaded = p9_loaded,
	},
	.id = 9,
	.pci_class = 0x018000,
	.notify = p9_notify,
};
