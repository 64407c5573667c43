// SPDX-License-Identifier: Apache-2.0
/*
 * fs.c - file system device [virtio 5.11]: a FUSE server for one shared directory
 *
 * Follows <linux/fuse.h>, protocol 7.31, as [fuse]. A node is a path (share.h) with
 * the count of the guest's lookups; requests are served at once and in order. Data of
 * READ and WRITE moves straight between the file and guest RAM. Queue 0 takes
 * FORGET, queue 1 everything else.
 * Not modelled: extended attributes, locks, DAX, notifications, READDIRPLUS; the
 * kernel does without after ENOSYS.
 */
#include "base/bits.h"
#include "dev/virtio/share.h"
#include "dev/virtio/virtio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_SIZE  256
#define REQ_MAX	    8192	/* longest request but WRITE */
#define REPLY_MAX   (64u << 10) /* longest reply but READ */
#define MAX_PAGES   128
#define IO_MAX	    (MAX_PAGES * 4096u) /* bytes in one READ or WRITE */
#define NR_BUCKETS  4096
#define MAX_NODES   (256u << 10)
#define PATHS_MAX   (32u << 20) /* bytes of all nodes' paths together */
#define MAX_OPEN    4096
#define TAG_LEN	    36
#define VALID_SECS  1 /* how long the guest may believe names and attributes */
#define WRITE_HDR   (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))

struct node {
	struct node *next_id, *next_path;
	u64 id, lookups;
	u64 dev, ino;
	char *path; /* NULL: removed or replaced; only its open files work */
};

struct virtio_fs {
	struct virtio v;
	struct share share;
	u8 read_only;
	u8 lost; /* restored from a saved state: nodes and files are gone */
	char root_path[2]; /* "" */
	u32 nr_nodes;
	u64 last_id, path_bytes;
	struct node *by_id[NR_BUCKETS], *by_path[NR_BUCKETS];
	struct node root;
	int fd[MAX_OPEN]; /* open files and directories, -1 = free */
	u32 fd_end;	  /* all from here on are free */
	u8 *req, *reply;  /* REQ_MAX, REPLY_MAX bytes */
};

/* One request: header, fixed part and names; its reply's body. */
struct req {
	struct vchain *c;
	struct fuse_in_header h;
	struct node *node; /* of h.nodeid, never NULL */
	const u8 *in;	   /* the body, in_len bytes */
	size_t in_len;
	u8 *out; /* the reply's body */
};

/* -- nodes ------------------------------------------------------------- */

static unsigned hash_path(const char *s)
{
	u32 h = 2166136261u;

	while (*s)
		h = (h ^ (u8)*s++) * 16777619u;
	return h % NR_BUCKETS;
}

static struct node *find_node(struct virtio_fs *f, u64 id)
{
	struct node *n = f->by_id[id % NR_BUCKETS];

	if (id == FUSE_ROOT_ID)
		return &f->root;
	while (n && n->id != id)
		n = n->next_id;
	return n;
}

static struct node *find_path(struct virtio_fs *f, const char *path)
{
	struct node *n = f->by_path[hash_path(path)];

	while (n && strcmp(n->path, path))
		n = n->next_path;
	return n;
}

/* Take the node's path away. */
static void detach_path(struct virtio_fs *f, struct node *n)
{
	struct node **at;

	if (!n->path || n == &f->root)
		return;
	at = &f->by_path[hash_path(n->path)];
	while (*at != n)
		at = &(*at)->next_path;
	*at = n->next_path;
	f->path_bytes -= strlen(n->path) + 1;
	free(n->path);
	n->path = NULL;
}

static int attach_path(struct virtio_fs *f, struct node *n, const char *path)
{
	struct node **bucket = &f->by_path[hash_path(path)];
	size_t len = strlen(path) + 1;

	if (f->path_bytes + len > PATHS_MAX)
		return -ENOMEM;
	n->path = strdup(path);
	if (!n->path)
		return -ENOMEM;
	f->path_bytes += len;
	n->next_path = *bucket;
	*bucket = n;
	return 0;
}

static void forget(struct virtio_fs *f, u64 id, u64 count)
{
	struct node **at = &f->by_id[id % NR_BUCKETS], *n;

	while (*at && (*at)->id != id)
		at = &(*at)->next_id;
	n = *at;
	if (!n)
		return;
	n->lookups -= count < n->lookups ? count : n->lookups;
	if (n->lookups)
		return;
	*at = n->next_id;
	detach_path(f, n);
	free(n);
	f->nr_nodes--;
}

/* The node for @path, which is @st now; counts as one lookup. NULL: too many. */
static struct node *look_up(struct virtio_fs *f, const char *path, const struct stat *st)
{
	struct node *n = find_path(f, path);

	if (n && n->dev == st->st_dev && n->ino == st->st_ino) {
		n->lookups++;
		return n;
	}
	if (n)
		detach_path(f, n); /* something else has its name now */
	if (f->nr_nodes >= MAX_NODES)
		return NULL;
	n = calloc(1, sizeof *n);
	if (!n || attach_path(f, n, path) < 0) {
		free(n);
		return NULL;
	}
	n->id = ++f->last_id;
	n->lookups = 1;
	n->dev = st->st_dev;
	n->ino = st->st_ino;
	n->next_id = f->by_id[n->id % NR_BUCKETS];
	f->by_id[n->id % NR_BUCKETS] = n;
	f->nr_nodes++;
	return n;
}

static void name_gone(struct virtio_fs *f, const char *path)
{
	struct node *n = find_path(f, path);

	if (n)
		detach_path(f, n);
}

/* After a rename, nodes at @old or below it are at @new. */
static void move_nodes(struct virtio_fs *f, const char *old, const char *new)
{
	size_t len = strlen(old);
	char path[SHARE_PATH_MAX];

	for (unsigned i = 0; i < NR_BUCKETS; i++) {
		for (struct node *n = f->by_id[i]; n; n = n->next_id) {
			const char *rest = n->path ? n->path + len : NULL;

			if (!rest || strncmp(n->path, old, len) || (*rest && *rest != '/') ||
			    strlen(new) + strlen(rest) + 1 > sizeof path)
				continue;
			strcpy(path, new);
			strcat(path, rest);
			detach_path(f, n);
			(void)attach_path(f, n, path); /* on failure the node is stale */
		}
	}
}

static void free_all(struct virtio_fs *f)
{
	for (unsigned i = 0; f->nr_nodes && i < NR_BUCKETS; i++)
		while (f->by_id[i])
			forget(f, f->by_id[i]->id, ~0ull);
	for (unsigned i = 0; i < f->fd_end; i++) {
		if (f->fd[i] >= 0)
			close(f->fd[i]);
		f->fd[i] = -1;
	}
	f->fd_end = 0;
}

/* -- parts of messages ------------------------------------------------------------- */

static const char *path_of(const struct req *r)
{
	return r->node->path;
}

/* The string at offset @at of the body, ended inside it, or NULL. */
static const char *string_at(const struct req *r, size_t at)
{
	if (at >= r->in_len || !memchr(r->in + at, 0, r->in_len - at))
		return NULL;
	return (const char *)r->in + at;
}

/* The entry name at @at, and the path it makes below the request's node. */
static int get_entry(const struct req *r, size_t at, const char **ret_name, char *ret_path)
{
	const char *name = string_at(r, at);

	if (!path_of(r))
		return -ESTALE;
	if (!name || !share_name_ok(name))
		return -EINVAL;
	*ret_name = name;
	return share_join(ret_path, path_of(r), name);
}

static void fill_attr(struct fuse_attr *a, const struct stat *st)
{
	*a = (struct fuse_attr){
		.ino = st->st_ino, .size = (u64)st->st_size, .blocks = (u64)st->st_blocks,
		.atime = (u64)st->st_atim.tv_sec, .atimensec = (u32)st->st_atim.tv_nsec,
		.mtime = (u64)st->st_mtim.tv_sec, .mtimensec = (u32)st->st_mtim.tv_nsec,
		.ctime = (u64)st->st_ctim.tv_sec, .ctimensec = (u32)st->st_ctim.tv_nsec,
		.mode = st->st_mode, .nlink = (u32)st->st_nlink, .uid = st->st_uid,
		.gid = st->st_gid, .rdev = (u32)st->st_rdev, .blksize = (u32)st->st_blksize,
	};
}

/* Reply with the entry at @path. */
static int put_entry(struct virtio_fs *f, struct req *r, const char *path)
{
	struct fuse_entry_out o = { .entry_valid = VALID_SECS, .attr_valid = VALID_SECS };
	struct stat st;
	struct node *n;

	TRY(share_stat(&f->share, path, -1, &st));
	n = look_up(f, path, &st);
	if (!n)
		return -ENOMEM;
	o.nodeid = n->id;
	fill_attr(&o.attr, &st);
	memcpy(r->out, &o, sizeof o);
	return sizeof o;
}

static int put_attr(struct virtio_fs *f, struct req *r, int fd)
{
	struct fuse_attr_out o = { .attr_valid = VALID_SECS };
	struct stat st;

	if (!path_of(r) && fd < 0)
		return -ESTALE;
	TRY(share_stat(&f->share, path_of(r), fd, &st));
	fill_attr(&o.attr, &st);
	memcpy(r->out, &o, sizeof o);
	return sizeof o;
}

static int get_fd(const struct virtio_fs *f, u64 fh)
{
	return fh < MAX_OPEN ? f->fd[fh] : -1;
}

/* Keep @fd (or pass on its error); fills *o. */
static int keep_fd(struct virtio_fs *f, int fd, struct fuse_open_out *o)
{
	if (fd < 0)
		return fd;
	for (unsigned i = 0; i < MAX_OPEN; i++) {
		if (f->fd[i] >= 0)
			continue;
		f->fd[i] = fd;
		f->fd_end = f->fd_end > i ? f->fd_end : i + 1;
		*o = (struct fuse_open_out){ .fh = i };
		return 0;
	}
	close(fd);
	return -EMFILE;
}

/* -- session ------------------------------------------------------------- */

static int do_init(struct virtio_fs *f, struct req *r)
{
	const u32 flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ATOMIC_O_TRUNC |
			  FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_AUTO_INVAL_DATA;
	const struct fuse_init_in *in = (const void *)r->in;
	struct fuse_init_out o = { .major = FUSE_KERNEL_VERSION, .minor = 31 };

	if (in->major < FUSE_KERNEL_VERSION)
		return -EPROTO;
	free_all(f);
	f->lost = 0;
	o.max_readahead = in->max_readahead;
	o.flags = in->flags & flags;
	o.max_background = 64;
	o.congestion_threshold = 48;
	o.max_write = IO_MAX;
	o.time_gran = 1;
	o.max_pages = MAX_PAGES;
	memcpy(r->out, &o, sizeof o);
	return sizeof o;
}

static int do_destroy(struct virtio_fs *f, struct req *r UNUSED)
{
	free_all(f);
	return 0;
}

/* -- names ------------------------------------------------------------- */

static int do_lookup(struct virtio_fs *f, struct req *r)
{
	char path[SHARE_PATH_MAX];
	const char *name;

	TRY(get_entry(r, 0, &name, path));
	return put_entry(f, r, path);
}

static int do_mknod(struct virtio_fs *f, struct req *r)
{
	const struct fuse_mknod_in *in = (const void *)r->in;
	char path[SHARE_PATH_MAX];
	const char *name;

	TRY(get_entry(r, sizeof *in, &name, path));
	TRY(share_mknod(&f->share, path_of(r), name, in->mode));
	return put_entry(f, r, path);
}

static int do_mkdir(struct virtio_fs *f, struct req *r)
{
	const struct fuse_mkdir_in *in = (const void *)r->in;
	char path[SHARE_PATH_MAX];
	const char *name;

	TRY(get_entry(r, sizeof *in, &name, path));
	TRY(share_mkdir(&f->share, path_of(r), name, in->mode));
	return put_entry(f, r, path);
}

static int do_symlink(struct virtio_fs *f, struct req *r)
{
	char path[SHARE_PATH_MAX];
	const char *name, *target;

	TRY(get_entry(r, 0, &name, path));
	target = string_at(r, strlen(name) + 1);
	if (!target)
		return -EINVAL;
	TRY(share_symlink(&f->share, path_of(r), name, target));
	return put_entry(f, r, path);
}

static int do_link(struct virtio_fs *f, struct req *r)
{
	const struct fuse_link_in *in = (const void *)r->in;
	struct node *old = find_node(f, in->oldnodeid);
	char path[SHARE_PATH_MAX];
	const char *name;

	TRY(get_entry(r, sizeof *in, &name, path));
	if (!old || !old->path)
		return -ESTALE;
	TRY(share_link(&f->share, old->path, path_of(r), name));
	return put_entry(f, r, path);
}

static int remove_entry(struct virtio_fs *f, struct req *r, bool is_dir)
{
	char path[SHARE_PATH_MAX];
	const char *name;

	TRY(get_entry(r, 0, &name, path));
	TRY(share_unlink(&f->share, path, is_dir));
	name_gone(f, path);
	return 0;
}

static int do_unlink(struct virtio_fs *f, struct req *r)
{
	return remove_entry(f, r, false);
}

static int do_rmdir(struct virtio_fs *f, struct req *r)
{
	return remove_entry(f, r, true);
}

static int rename_entry(struct virtio_fs *f, struct req *r, u64 newdir, size_t names_at)
{
	char old[SHARE_PATH_MAX], new[SHARE_PATH_MAX];
	struct node *to = find_node(f, newdir);
	const char *name, *newname;

	TRY(get_entry(r, names_at, &name, old));
	newname = string_at(r, names_at + strlen(name) + 1);
	if (!newname || !share_name_ok(newname))
		return -EINVAL;
	if (!to || !to->path)
		return -ESTALE;
	TRY(share_join(new, to->path, newname));
	TRY(share_rename(&f->share, old, to->path, newname));
	if (strcmp(old, new)) {
		name_gone(f, new);
		move_nodes(f, old, new);
	}
	return 0;
}

static int do_rename(struct virtio_fs *f, struct req *r)
{
	const struct fuse_rename_in *in = (const void *)r->in;

	return rename_entry(f, r, in->newdir, sizeof *in);
}

static int do_rename2(struct virtio_fs *f, struct req *r)
{
	const struct fuse_rename2_in *in = (const void *)r->in;

	return in->flags ? -EINVAL : rename_entry(f, r, in->newdir, sizeof *in);
}

static int do_readlink(struct virtio_fs *f, struct req *r)
{
	if (!path_of(r))
		return -ESTALE;
	return share_readlink(&f->share, path_of(r), (char *)r->out, SHARE_PATH_MAX);
}

/* -- attributes ------------------------------------------------------------- */

static int do_getattr(struct virtio_fs *f, struct req *r)
{
	const struct fuse_getattr_in *in = (const void *)r->in;

	return put_attr(f, r, in->getattr_flags & FUSE_GETATTR_FH ? get_fd(f, in->fh) : -1);
}

static int do_setattr(struct virtio_fs *f, struct req *r)
{
	const struct fuse_setattr_in *in = (const void *)r->in;
	int fd = in->valid & FATTR_FH ? get_fd(f, in->fh) : -1;
	struct share_attr a = {
		/* These bits are the same; "to now" is the opposite of "to this time". */
		.valid = (in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_SIZE |
				       FATTR_ATIME | FATTR_MTIME)) |
			 (in->valid & FATTR_ATIME_NOW ? 0 : SHARE_SET_ATIME_TO) |
			 (in->valid & FATTR_MTIME_NOW ? 0 : SHARE_SET_MTIME_TO),
		.mode = in->mode, .uid = in->uid, .gid = in->gid, .size = in->size,
		.atime = { (time_t)in->atime, in->atimensec },
		.mtime = { (time_t)in->mtime, in->mtimensec },
	};

	if (!path_of(r) && fd < 0)
		return -ESTALE;
	TRY(share_setattr(&f->share, path_of(r), fd, &a));
	return put_attr(f, r, fd);
}

static int do_statfs(struct virtio_fs *f, struct req *r)
{
	struct fuse_statfs_out o = { 0 };
	struct statfs s;

	if (!path_of(r))
		return -ESTALE;
	TRY(share_statfs(&f->share, path_of(r), &s));
	o.st = (struct fuse_kstatfs){
		.blocks = s.f_blocks, .bfree = s.f_bfree, .bavail = s.f_bavail,
		.files = s.f_files, .ffree = s.f_ffree, .bsize = (u32)s.f_bsize,
		.namelen = (u32)s.f_namelen, .frsize = (u32)s.f_frsize,
	};
	memcpy(r->out, &o, sizeof o);
	return sizeof o;
}

/* -- open files ------------------------------------------------------------- */

static int open_node(struct virtio_fs *f, struct req *r, int extra)
{
	const struct fuse_open_in *in = (const void *)r->in;
	int flags = (int)in->flags & (O_ACCMODE | O_TRUNC | O_SYNC);
	struct fuse_open_out o;

	if (!path_of(r))
		return -ESTALE;
	if (f->read_only && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)))
		return -EROFS;
	TRY(keep_fd(f, share_open(&f->share, path_of(r), flags | extra), &o));
	memcpy(r->out, &o, sizeof o);
	return sizeof o;
}

static int do_open(struct virtio_fs *f, struct req *r)
{
	return open_node(f, r, 0);
}

static int do_opendir(struct virtio_fs *f, struct req *r)
{
	return open_node(f, r, O_DIRECTORY);
}

static int do_create(struct virtio_fs *f, struct req *r)
{
	const struct fuse_create_in *in = (const void *)r->in;
	int flags = (int)in->flags & (O_ACCMODE | O_TRUNC | O_EXCL | O_SYNC), len;
	char path[SHARE_PATH_MAX];
	struct fuse_open_out o;
	const char *name;

	TRY(get_entry(r, sizeof *in, &name, path));
	TRY(keep_fd(f, share_create(&f->share, path_of(r), name, flags, in->mode), &o));
	len = put_entry(f, r, path);
	if (len < 0) {
		close(f->fd[o.fh]);
		f->fd[o.fh] = -1;
		return len;
	}
	memcpy(r->out + len, &o, sizeof o);
	return len + (int)sizeof o;
}

static int do_release(struct virtio_fs *f, struct req *r)
{
	const struct fuse_release_in *in = (const void *)r->in;
	int fd = get_fd(f, in->fh);

	if (fd < 0)
		return -EBADF;
	close(fd);
	f->fd[in->fh] = -1;
	return 0;
}

static int do_fsync(struct virtio_fs *f, struct req *r)
{
	const struct fuse_fsync_in *in = (const void *)r->in;
	int fd = get_fd(f, in->fh);

	if (fd < 0)
		return -EBADF;
	return ((in->fsync_flags & 1) ? fdatasync(fd) : fsync(fd)) < 0 ? -errno : 0;
}

/* The data goes into the chain behind the reply's header. */
static int do_read(struct virtio_fs *f, struct req *r)
{
	const struct fuse_read_in *in = (const void *)r->in;
	const u32 at = sizeof(struct fuse_out_header);
	u32 size = in->size < IO_MAX ? in->size : IO_MAX;
	int fd = get_fd(f, in->fh), n;
	struct iovec iov[VQ_MAX_SIZE];
	ssize_t got;

	if (fd < 0)
		return -EBADF;
	if (size > r->c->writable - at)
		size = r->c->writable - at;
	n = vchain_iov(r->c, true, at, size, iov, VQ_MAX_SIZE);
	if (n < 0 || in->offset > INT64_MAX)
		return -EINVAL;
	got = preadv(fd, iov, n, (off_t)in->offset);
	if (got < 0)
		return -errno;
	vchain_wrote(r->c, at, (u64)got);
	return (int)got;
}

static int do_write(struct virtio_fs *f, struct req *r)
{
	const struct fuse_write_in *in = (const void *)r->in;
	struct fuse_write_out o = { 0 };
	struct iovec iov[VQ_MAX_SIZE];
	int fd = get_fd(f, in->fh), n;
	ssize_t done;

	if (fd < 0)
		return -EBADF;
	n = vchain_iov(r->c, false, WRITE_HDR, in->size, iov, VQ_MAX_SIZE);
	if (n < 0 || in->offset > INT64_MAX)
		return -EINVAL;
	done = pwritev(fd, iov, n, (off_t)in->offset);
	if (done < 0)
		return -errno;
	o.size = (u32)done;
	memcpy(r->out, &o, sizeof o);
	return sizeof o;
}

struct dirent64_hdr { /* of getdents64() */
	u64 ino;
	i64 off;
	u16 reclen;
	u8 type;
	char name[];
};

static size_t put_dirent(u8 *out, const struct dirent64_hdr *d)
{
	size_t len = strlen(d->name);
	struct fuse_dirent e = {
		.ino = d->ino, .off = (u64)d->off, .namelen = (u32)len, .type = d->type,
	};

	memcpy(out, &e, FUSE_NAME_OFFSET);
	memcpy(out + FUSE_NAME_OFFSET, d->name, len);
	memset(out + FUSE_NAME_OFFSET + len, 0, FUSE_DIRENT_ALIGN(len) - len);
	return FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + len);
}

static int do_readdir(struct virtio_fs *f, struct req *r)
{
	const struct fuse_read_in *in = (const void *)r->in;
	u32 room = r->c->writable - (u32)sizeof(struct fuse_out_header);
	u64 off = in->offset;
	int fd = get_fd(f, in->fh), n;
	_Alignas(8) u8 buf[8192];
	size_t len = 0;

	if (fd < 0)
		return -EBADF;
	if (room > in->size)
		room = in->size;
	if (room > REPLY_MAX - sizeof(struct fuse_out_header))
		room = REPLY_MAX - sizeof(struct fuse_out_header);
	while ((n = share_getdents(fd, off, buf, sizeof buf)) > 0) {
		for (int at = 0; at < n;) {
			const struct dirent64_hdr *d = (const void *)(buf + at);

			if (len + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + strlen(d->name)) > room)
				return (int)len;
			len += put_dirent(r->out + len, d);
			off = (u64)d->off;
			at += d->reclen;
		}
	}
	return n < 0 ? n : (int)len;
}

/* -- dispatch ------------------------------------------------------------- */

enum { CHANGES = 1, ANY_NODE = 2 };

/* By opcode: how to serve it, the fixed part it needs, what a read-only share refuses. */
static const struct op {
	int (*fn)(struct virtio_fs *f, struct req *r); /* bytes of reply body, or -errno */
	u8 in_size;
	u8 flags;
} ops[] = {
	[FUSE_LOOKUP] = { do_lookup, 0, 0 },
	[FUSE_GETATTR] = { do_getattr, sizeof(struct fuse_getattr_in), 0 },
	[FUSE_SETATTR] = { do_setattr, sizeof(struct fuse_setattr_in), CHANGES },
	[FUSE_READLINK] = { do_readlink, 0, 0 },
	[FUSE_SYMLINK] = { do_symlink, 0, CHANGES },
	[FUSE_MKNOD] = { do_mknod, sizeof(struct fuse_mknod_in), CHANGES },
	[FUSE_MKDIR] = { do_mkdir, sizeof(struct fuse_mkdir_in), CHANGES },
	[FUSE_UNLINK] = { do_unlink, 0, CHANGES },
	[FUSE_RMDIR] = { do_rmdir, 0, CHANGES },
	[FUSE_RENAME] = { do_rename, sizeof(struct fuse_rename_in), CHANGES },
	[FUSE_RENAME2] = { do_rename2, sizeof(struct fuse_rename2_in), CHANGES },
	[FUSE_LINK] = { do_link, sizeof(struct fuse_link_in), CHANGES },
	[FUSE_OPEN] = { do_open, sizeof(struct fuse_open_in), 0 },
	[FUSE_READ] = { do_read, sizeof(struct fuse_read_in), 0 },
	[FUSE_WRITE] = { do_write, sizeof(struct fuse_write_in), CHANGES },
	[FUSE_STATFS] = { do_statfs, 0, 0 },
	[FUSE_RELEASE] = { do_release, sizeof(struct fuse_release_in), ANY_NODE },
	[FUSE_FSYNC] = { do_fsync, sizeof(struct fuse_fsync_in), 0 },
	[FUSE_INIT] = { do_init, 16, ANY_NODE }, /* up to flags; later versions have more */
	[FUSE_OPENDIR] = { do_opendir, sizeof(struct fuse_open_in), 0 },
	[FUSE_READDIR] = { do_readdir, sizeof(struct fuse_read_in), 0 },
	[FUSE_RELEASEDIR] = { do_release, sizeof(struct fuse_release_in), ANY_NODE },
	[FUSE_FSYNCDIR] = { do_fsync, sizeof(struct fuse_fsync_in), 0 },
	[FUSE_CREATE] = { do_create, sizeof(struct fuse_create_in), CHANGES },
	[FUSE_DESTROY] = { do_destroy, 0, ANY_NODE },
};

static int dispatch(struct virtio_fs *f, struct req *r)
{
	static struct node nowhere;
	u32 opcode = r->h.opcode;
	const struct op *op = opcode < array_len(ops) ? &ops[opcode] : NULL;

	if (!op || !op->fn)
		return -ENOSYS;
	if (r->in_len < op->in_size)
		return -EINVAL;
	if (f->read_only && (op->flags & CHANGES))
		return -EROFS;
	if (f->lost && opcode != FUSE_INIT)
		return -EIO;
	r->node = find_node(f, r->h.nodeid);
	if (!r->node && !(op->flags & ANY_NODE))
		return -ESTALE;
	if (!r->node)
		r->node = &nowhere;
	return op->fn(f, r);
}

static void do_forget(struct virtio_fs *f, const struct req *r)
{
	const struct fuse_batch_forget_in *batch = (const void *)r->in;
	const struct fuse_forget_one *one = (const void *)(batch + 1);
	size_t n;

	if (r->h.opcode == FUSE_FORGET && r->in_len >= sizeof(struct fuse_forget_in)) {
		forget(f, r->h.nodeid, ((const struct fuse_forget_in *)(const void *)r->in)->nlookup);
		return;
	}
	if (r->h.opcode != FUSE_BATCH_FORGET || r->in_len < sizeof *batch)
		return;
	n = (r->in_len - sizeof *batch) / sizeof *one;
	for (size_t i = 0; i < n && i < batch->count; i++)
		forget(f, one[i].nodeid, one[i].nlookup);
}

/* Serve the request in c. Return: bytes of reply. */
static u32 serve(struct virtio_fs *f, struct vchain *c)
{
	struct fuse_out_header o = { .len = sizeof o };
	struct req r = { .c = c, .in = f->req, .out = f->reply + sizeof o };
	size_t max = REQ_MAX;
	int n;

	if (vchain_read_at(c, 0, &r.h, sizeof r.h) != sizeof r.h)
		return 0;
	if (r.h.opcode == FUSE_WRITE) /* its data stays where it is */
		max = WRITE_HDR - sizeof r.h;
	r.in_len = vchain_read_at(c, sizeof r.h, f->req, max);
	if (c->writable < sizeof o) {
		do_forget(f, &r);
		return 0;
	}
	n = dispatch(f, &r);
	if (n > 0 && (u64)n > c->writable - sizeof o)
		n = -EIO; /* the driver left too little room */
	o.error = n < 0 ? n : 0;
	o.len += n < 0 ? 0 : (u32)n;
	o.unique = r.h.unique;
	memcpy(f->reply, &o, sizeof o);
	vchain_write_at(c, 0, f->reply, r.h.opcode == FUSE_READ ? sizeof o : o.len);
	return o.len;
}

static void fs_notify(struct virtio *v, struct virtq *q)
{
	struct virtio_fs *f = container_of(v, struct virtio_fs, v);
	struct vchain c;

	while (vq_pop(q, &c)) {
		vq_push(q, c.tok, serve(f, &c));
		vq_flush(q);
	}
}

/* -- life cycle ------------------------------------------------------------- */

static void fs_reset(struct dev *d)
{
	struct virtio_fs *f = container_of(d, struct virtio_fs, v.dev);

	free_all(f);
	f->last_id = FUSE_ROOT_ID;
	f->lost = 0;
}

static void fs_fini(struct dev *d)
{
	struct virtio_fs *f = container_of(d, struct virtio_fs, v.dev);

	free_all(f);
	free(f->req);
	free(f->reply);
}

static int fs_init(struct dev *d, const void *cfg, struct err *e)
{
	struct virtio_fs *f = container_of(d, struct virtio_fs, v.dev);
	const struct virtio_share_cfg *c = cfg;
	size_t n = strlen(c->tag);
	le32 nr_request_queues = le32_of(1);

	if (!n || n > TAG_LEN)
		return err_set(e, EINVAL, "mount tag '%s': want 1..%d bytes", c->tag, TAG_LEN);
	memset(f->fd, -1, sizeof f->fd);
	f->root = (struct node){ .id = FUSE_ROOT_ID, .path = f->root_path };
	f->req = malloc(REQ_MAX);
	f->reply = malloc(REPLY_MAX);
	if (!f->req || !f->reply) {
		fs_fini(d);
		return err_set(e, ENOMEM, "out of memory");
	}
	f->share.root = c->dir_fd;
	f->read_only = c->read_only;
	memcpy(f->v.config, c->tag, n);
	memcpy(f->v.config + TAG_LEN, &nr_request_queues, sizeof nr_request_queues);
	f->v.config_len = TAG_LEN + sizeof nr_request_queues;
	virtio_set_queues(&f->v, 2, QUEUE_SIZE);
	return 0;
}

/* DEVIATION: nodes and open files are host state and not saved; the guest mounts anew. */
static int fs_loaded(struct dev *d, struct err *e)
{
	container_of(d, struct virtio_fs, v.dev)->lost = 1;
	return virtio_loaded(d, e);
}

static const struct field fs_state[] = {
	VIRTIO_FIELDS(struct virtio_fs, v),
	FIELD_NOT_SAVED(struct virtio_fs, share),
	FIELD_NOT_SAVED(struct virtio_fs, read_only),
	FIELD_NOT_SAVED(struct virtio_fs, lost),
	FIELD_NOT_SAVED(struct virtio_fs, root_path),
	FIELD_NOT_SAVED(struct virtio_fs, nr_nodes),
	FIELD_NOT_SAVED(struct virtio_fs, last_id),
	FIELD_NOT_SAVED(struct virtio_fs, path_bytes),
	FIELD_NOT_SAVED(struct virtio_fs, by_id),
	FIELD_NOT_SAVED(struct virtio_fs, by_path),
	FIELD_NOT_SAVED(struct virtio_fs, root),
	FIELD_NOT_SAVED(struct virtio_fs, fd),
	FIELD_NOT_SAVED(struct virtio_fs, fd_end),
	FIELD_NOT_SAVED(struct virtio_fs, req),
	FIELD_NOT_SAVED(struct virtio_fs, reply),
	FIELD_END,
};

const struct virtio_class virtio_fs_class = {
	.dev = {
		.name = "virtio-fs",
		.spec = "Virtual I/O Device 1.2, 5.11",
		.size = sizeof(struct virtio_fs),
		.state = fs_state,
		.init = fs_init,
		.fini = fs_fini,
		.reset = fs_reset,
		.loaded = fs_loaded,
	},
	.id = 26,
	.pci_class = 0x018000,
	.notify = fs_notify,
};
