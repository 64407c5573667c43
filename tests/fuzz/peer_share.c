// SPDX-License-Identifier: Apache-2.0
/*
 * peer_share.c - hostile guests of a shared directory: 9P2000.L and FUSE requests
 *
 * The input is requests: a length (2 bytes; of 9P and FUSE the same number stands at the
 * request's start and is put right here, in seven requests of eight), then so many bytes.
 * Outside of the directory is a file that no request may reach.
 */
#include "peer.h"
#include "rig.h"

#include <fcntl.h>
#include <ftw.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REQUESTS 24
#define REPLY    0x4000u

static char top[] = "/dev/shm/vireo-share-fuzz.XXXXXX";
static int root = -1;
static char secret[40]; /* another one each time: no input can have it */

static int remove_entry(const char *path, const struct stat *st UNUSED, int flag UNUSED,
			struct FTW *f)
{
	return f->level ? remove(path) : 0;
}

static void remove_top(void)
{
	nftw(top, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	rmdir(top);
}

static void put_file(const char *name, const char *text)
{
	int fd = openat(root, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fuzz_broken("share: no file");
	close(fd);
}

/* top/share with a file, a directory and a link that leads out; top/secret beside it. */
static void make_tree(void)
{
	struct timespec now;
	char path[64];

	if (!mkdtemp(top))
		fuzz_broken("share: no directory");
	atexit(remove_top);
	snprintf(path, sizeof path, "%s/share", top);
	if (mkdir(path, 0700) || (root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
		fuzz_broken("share: no directory");
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(secret, sizeof secret, "nobody may read this: %016llx",
		 (unsigned long long)now.tv_nsec * 0x9e3779b97f4a7c15ull);
	put_file("../secret", secret);
}

static void fill_tree(void)
{
	put_file("file", "some text that can be read");
	mkdirat(root, "dir", 0700);
	if (symlinkat("../secret", root, "out"))
		fuzz_broken("share: no link");
	put_file("dir/inner", "x");
}

static void refill(void)
{
	char path[64];

	snprintf(path, sizeof path, "%s/share", top);
	nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	fill_tree();
}

static void converse(struct rig *r, unsigned q, struct fuzz_in *in)
{
	for (unsigned i = 0; i < REQUESTS && in->len; i++) {
		u32 n = (u32)fuzz_take(in, 2), size = n & 0xfff;
		u8 *req = rig_out(r, 0);
		i64 got;

		memset(req, 0, 64); /* the rest is as it was before */
		size = (u32)fuzz_bytes(in, req, size);
		if (n >> 13 && size >= 4)
			memcpy(req, &size, 4);
		memset(rig_in(r, 0), 0, 64);
		rig_add(r, q, 0, size, n & 0x1000 ? REPLY : 256);
		rig_kick(r, q);
		got = rig_used(r, q, REPLY);
		if (got > 0 && fuzz_contains(rig_in(r, 0), (size_t)got, secret, strlen(secret)))
			fuzz_broken("share: a file outside was read");
	}
}

static int share_run(struct rig *r, const struct virtio_class *c, unsigned q, struct fuzz_in *in)
{
	static unsigned nr;

	if (root < 0)
		make_tree();
	if (!r->d) {
		const struct virtio_share_cfg cfg = { .dir_fd = root, .tag = "fuzz" };

		rig_open(r, c, &cfg);
	}
	if (nr++ % 16 == 0)
		refill();
	rig_start(r); /* resets it first */
	converse(r, q, in);
	return 0;
}

int p9_run(const u8 *p, size_t len, struct err *e UNUSED)
{
	static struct rig r;

	return share_run(&r, &virtio_9p_class, 0, &(struct fuzz_in){ p, len });
}

int fs_run(const u8 *p, size_t len, struct err *e UNUSED)
{
	static struct rig r;

	return share_run(&r, &virtio_fs_class, 1, &(struct fuzz_in){ p, len });
}

/* -- first inputs ----------------------------------------------------------------------------- */

struct out {
	u8 *p;
	size_t len;
};

static void put(struct out *o, u64 v, unsigned bytes)
{
	memcpy(o->p + o->len, &v, bytes);
	o->len += bytes;
}

static void put_text(struct out *o, const char *s)
{
	memcpy(o->p + o->len, s, strlen(s));
	o->len += strlen(s);
}

/* @fmt: b u8, w u16, d u32, q u64, each a digit of @v; s "dir", f "file", n "new" as strings. */
static void put_9p(struct out *o, unsigned type, const char *fmt, const u8 *v)
{
	size_t start = o->len;
	u16 n;

	put(o, 0, 2);
	put(o, 0, 4);
	put(o, type, 1);
	put(o, 1, 2);
	for (; *fmt; fmt++) {
		const char *s = *fmt == 's'   ? "dir"
				: *fmt == 'f' ? "file"
				: *fmt == 'n' ? "new"
				: *fmt == 'v' ? "9P2000.L"
					      : NULL;

		put(o, s ? strlen(s) : *v++,
		    s             ? 2
		    : *fmt == 'q' ? 8
		    : *fmt == 'd' ? 4
		    : *fmt == 'w' ? 2
				  : 1);
		if (s)
			put_text(o, s);
	}
	n = (u16)((o->len - start - 2) | 0x3000);
	memcpy(o->p + start, &n, 2);
}

size_t p9_seed(unsigned n, u8 *buf, size_t max UNUSED)
{
	static const struct {
		u8 type;
		const char *fmt;
		u8 v[8];
	} talk[] = {
		{ 100, "dv", { 200 } },           /* version */
		{ 104, "ddwwd", { 1, 255 } },     /* attach: fid 1 */
		{ 110, "ddwf", { 1, 2, 1 } },     /* walk to the file: fid 2 */
		{ 24, "dq", { 2, 255 } },         /* getattr */
		{ 12, "dd", { 2, 2 } },           /* lopen */
		{ 116, "dqd", { 2, 0, 100 } },    /* read */
		{ 118, "dqdd", { 2, 0, 4, 65 } }, /* write */
		{ 50, "dd", { 2 } },              /* fsync */
		{ 120, "d", { 2 } },              /* clunk */
		{ 110, "ddws", { 1, 3, 1 } },     /* walk to the directory: fid 3 */
		{ 12, "dd", { 3 } },
		{ 40, "dqd", { 3, 0, 200 } }, /* readdir */
		{ 8, "d", { 1 } },            /* statfs */
		{ 72, "dndd", { 1, 64 } },    /* mkdir */
		{ 110, "ddw", { 1, 4, 0 } },
		{ 14, "dnddd", { 4, 2, 128 } }, /* lcreate */
		{ 74, "dfdn", { 1, 1 } },       /* renameat */
		{ 76, "dnd", { 1, 0 } },        /* unlinkat */
		{ 16, "dnsd", { 1 } },          /* symlink */
		{ 22, "d", { 2 } },             /* readlink */
		{ 26, "dddddqqqqq", { 2, 1 } }, /* setattr */
		{ 52, "dbdqqds", { 2 } },       /* lock */
		{ 108, "w", { 1 } },            /* flush */
	};
	static const u8 cut[] = { 9, 16, 23 };
	struct out o = { .p = buf };

	if (n >= array_len(cut))
		return 0;
	for (unsigned i = 0; i < cut[n]; i++)
		if (i < 2 || n == 0 || i >= cut[n - 1])
			put_9p(&o, talk[i].type, talk[i].fmt, talk[i].v);
	return o.len;
}

static void put_fuse(struct out *o, u32 op, u64 node, const void *body, size_t len)
{
	struct fuse_in_header h = {
		.opcode = op, .nodeid = node, .unique = 7, .len = (u32)(sizeof h + len)
	};
	u16 n = (u16)(h.len | 0x3000);

	put(o, n, 2);
	memcpy(o->p + o->len, &h, sizeof h);
	memcpy(o->p + o->len + sizeof h, body, len);
	o->len += sizeof h + len;
}

size_t fs_seed(unsigned n, u8 *buf, size_t max UNUSED)
{
	static const struct fuse_init_in init = { .major = 7, .minor = 36, .flags = ~0u };
	static const struct fuse_open_in open_in = { .flags = 2 };
	static const struct fuse_read_in read_in = { .fh = 1, .size = 300 };
	static const struct fuse_read_in read_dir = { .fh = 1, .size = 300 };
	static const struct {
		struct fuse_write_in w;
		u8 data[8];
	} write_in = { { .fh = 1, .size = 8 }, "written" };
	static const struct {
		struct fuse_mkdir_in m;
		char name[8];
	} mkdir_in = { { .mode = 0755 }, "new" };
	static const struct {
		struct fuse_create_in c;
		char name[8];
	} create = { { .flags = 66, .mode = 0644 }, "made" };
	static const struct {
		struct fuse_rename_in r;
		char name[16];
	} rename_in = { { .newdir = 1 }, "file\0moved" };
	static const struct fuse_setattr_in attr = { .valid = 8, .size = 100 };
	static const struct fuse_release_in release = { .fh = 1 };
	static const struct fuse_forget_in forget = { .nlookup = 1 };
	static const struct {
		u32 op;
		u64 node;
		const void *body;
		size_t len;
	} talk[] = {
		{ FUSE_INIT, 0, &init, sizeof init },
		{ FUSE_LOOKUP, 1, "file", 5 },
		{ FUSE_OPEN, 2, &open_in, sizeof open_in },
		{ FUSE_READ, 2, &read_in, sizeof read_in },
		{ FUSE_WRITE, 2, &write_in, sizeof write_in },
		{ FUSE_SETATTR, 2, &attr, sizeof attr },
		{ FUSE_RELEASE, 2, &release, sizeof release },
		{ FUSE_FORGET, 2, &forget, sizeof forget },
		{ FUSE_OPENDIR, 1, &open_in, sizeof open_in },
		{ FUSE_READDIR, 1, &read_dir, sizeof read_dir },
		{ FUSE_READDIRPLUS, 1, &read_dir, sizeof read_dir },
		{ FUSE_STATFS, 1, "", 0 },
		{ FUSE_MKDIR, 1, &mkdir_in, sizeof mkdir_in },
		{ FUSE_CREATE, 1, &create, sizeof create },
		{ FUSE_RENAME, 1, &rename_in, sizeof rename_in },
		{ FUSE_UNLINK, 1, "made", 5 },
		{ FUSE_SYMLINK, 1, "link\0file", 10 },
		{ FUSE_GETATTR, 1, &attr, sizeof(struct fuse_getattr_in) },
	};
	static const u8 cut[] = { 8, 12, array_len(talk) };
	struct out o = { .p = buf };

	if (n >= array_len(cut))
		return 0;
	for (unsigned i = 0; i < cut[n]; i++)
		if (i < 1 || n == 0 || i >= cut[n - 1])
			put_fuse(&o, talk[i].op, talk[i].node, talk[i].body, talk[i].len);
	return o.len;
}
