// SPDX-License-Identifier: Apache-2.0
/* p9_test.c - the 9P server: the operations Linux uses, and confinement */
#include "dev/virtio/drv_test.h"

#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VERSION = 100, ATTACH = 104, WALK = 110, READ = 116, WRITE = 118, CLUNK = 120 };
enum { STATFS = 8, LOPEN = 12, LCREATE = 14, SYMLINK = 16, MKNOD = 18, READLINK = 22 };
enum { GETATTR = 24, SETATTR = 26, XATTRWALK = 30, READDIR = 40, FSYNC = 50, LINK = 70 };
enum { MKDIR = 72, RENAMEAT = 74, UNLINKAT = 76, REMOVE = 122 };

/* A client: one request at a time, one buffer out and one in. */
struct client {
	struct drv t;
	char top[64]; /* holds share/ and, outside of it, secret */
	int fd;
	u8 req[9000], rep[9000];
	size_t n;
	u32 len; /* of the reply's body */
};

#define BODY(c) ((c)->rep + 7)

static void put(struct client *c, u64 v, unsigned size)
{
	memcpy(c->req + c->n, &v, size);
	c->n += size;
}

static void put_str(struct client *c, const char *s)
{
	put(c, strlen(s), 2);
	memcpy(c->req + c->n, s, strlen(s));
	c->n += strlen(s);
}

/* Formats: b u8, w u16, d u32, q u64, s string. Returns 0 or the errno of Rlerror. */
static int call(struct client *c, unsigned type, const char *fmt, ...)
{
	struct drv_buf b[2] = { { DRV_BUF, 0 }, { DRV_BUF + 0x10000, sizeof c->rep } };
	va_list ap;
	u32 size, err;

	c->n = 7;
	va_start(ap, fmt);
	for (; *fmt; fmt++) {
		if (*fmt == 's')
			put_str(c, va_arg(ap, const char *));
		else if (*fmt == 'q')
			put(c, va_arg(ap, u64), 8);
		else
			put(c, va_arg(ap, u32), *fmt == 'd' ? 4 : *fmt == 'w' ? 2 : 1);
	}
	va_end(ap);
	size = (u32)c->n;
	memcpy(c->req, &size, 4);
	c->req[4] = (u8)type;
	c->req[5] = 0x34;
	c->req[6] = 0x12;
	b[0].len = size;
	drv_put(&c->t, b[0].gpa, c->req, size);
	size = drv_call(&c->t, 0, b, 1, 1);
	if (size < 7 || size > sizeof c->rep)
		return -1;
	drv_get(&c->t, b[1].gpa, c->rep, size);
	c->len = size - 7;
	if (c->rep[5] != 0x34 || c->rep[6] != 0x12 || memcmp(c->rep, &size, 4))
		return -2;
	if (c->rep[4] == type + 1)
		return 0;
	memcpy(&err, BODY(c), 4);
	return c->rep[4] == 7 ? (int)err : -3;
}

static bool open_share(struct client *c, bool read_only)
{
	struct virtio_share_cfg cfg = { .tag = "share", .read_only = read_only };
	char path[128];

	memset(c, 0, sizeof *c);
	strcpy(c->top, "/tmp/p9-test-XXXXXX");
	if (!mkdtemp(c->top))
		return false;
	snprintf(path, sizeof path, "%s/secret", c->top);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	snprintf(path, sizeof path, "%s/share", c->top);
	if (mkdir(path, 0755) < 0)
		return false;
	c->fd = cfg.dir_fd = open(path, O_PATH | O_DIRECTORY);
	if (!drv_open(&c->t, &virtio_9p_class, &cfg, ~0ull & ~VIRTIO_F_RING_PACKED, DRV_QSIZE))
		return false;
	return !call(c, VERSION, "ds", 8192, "9P2000.L") &&
	       !call(c, ATTACH, "ddssd", 0, ~0u, "", "", 0);
}

static int rm(const char *p, const struct stat *st UNUSED, int f UNUSED, struct FTW *w UNUSED)
{
	return remove(p);
}

static void close_share(struct client *c)
{
	drv_close(&c->t);
	close(c->fd);
	nftw(c->top, rm, 8, FTW_DEPTH | FTW_PHYS);
}

/* fid 0 is the root; newfid walks one name from it. */
static int walk(struct client *c, u32 newfid, const char *name)
{
	return call(c, WALK, "ddws", 0, newfid, 1, name);
}

static u64 size_of(struct client *c, u32 fid)
{
	u64 v = ~0ull;

	if (!call(c, GETATTR, "dq", fid, 0x7ffull))
		memcpy(&v, BODY(c) + 8 + 13 + 4 + 4 + 4 + 8 + 8, 8);
	return v;
}

TEST(p9_creates_writes_reads_and_removes_a_file)
{
	struct client c;

	CHECK(open_share(&c, false));
	CHECK_EQ(drv_config(&c.t, 0, 2), 5);
	CHECK_EQ(call(&c, WALK, "ddw", 0, 1, 0), 0);
	CHECK_EQ(call(&c, LCREATE, "dsddd", 1, "file", O_RDWR, 0644, 0), 0);
	CHECK_EQ(call(&c, WRITE, "dqdbbbbb", 1, 2ull, 5, 'h', 'e', 'l', 'l', 'o'), 0);
	CHECK_EQ(BODY(&c)[0], 5);
	CHECK_EQ(size_of(&c, 1), 7);
	CHECK_EQ(call(&c, READ, "dqd", 1, 0ull, 100), 0);
	CHECK_EQ(c.len, 4 + 7);
	CHECK(!memcmp(BODY(&c) + 4, "\0\0hello", 7));
	CHECK_EQ(call(&c, FSYNC, "dd", 1, 0), 0);
	CHECK_EQ(call(&c, SETATTR, "dddddqqqqq", 1, 8 | 1, 0600, 0, 0, 3ull, 0ull, 0ull, 0ull,
		      0ull), 0);
	CHECK_EQ(size_of(&c, 1), 3);
	CHECK_EQ(call(&c, UNLINKAT, "dsd", 0, "file", 0), 0);
	CHECK_EQ(size_of(&c, 1), 3); /* open and unlinked */
	CHECK_EQ(call(&c, CLUNK, "d", 1), 0);
	CHECK_EQ(walk(&c, 1, "file"), ENOENT);
	CHECK_EQ(call(&c, CLUNK, "d", 1), EBADF);
	close_share(&c);
}

TEST(p9_directories_links_and_renames)
{
	struct client c;
	u32 n;

	CHECK(open_share(&c, false));
	CHECK_EQ(call(&c, MKDIR, "dsdd", 0, "dir", 0755, 0), 0);
	CHECK_EQ(BODY(&c)[0], 0x80);
	CHECK_EQ(call(&c, MKDIR, "dsdd", 0, "dir", 0755, 0), EEXIST);
	CHECK_EQ(walk(&c, 1, "dir"), 0);
	CHECK_EQ(call(&c, MKNOD, "dsdddd", 1, "f", 0100644, 0, 0, 0), 0);
	CHECK_EQ(call(&c, MKNOD, "dsdddd", 1, "dev", 0020644, 1, 3, 0), EPERM);
	CHECK_EQ(call(&c, WALK, "ddwss", 0, 2, 2, "dir", "f"), 0);
	CHECK_EQ(call(&c, LINK, "dds", 0, 2, "hard"), 0);
	CHECK_EQ(call(&c, SYMLINK, "dssd", 0, "soft", "dir/f", 0), 0);
	CHECK_EQ(walk(&c, 3, "soft"), 0);
	CHECK_EQ(BODY(&c)[2], 0x02);
	CHECK_EQ(call(&c, READLINK, "d", 3), 0);
	CHECK(!memcmp(BODY(&c), "\5\0dir/f", 7));
	CHECK_EQ(call(&c, RENAMEAT, "dsds", 0, "dir", 0, "moved"), 0);
	CHECK_EQ(size_of(&c, 2), 0); /* the fid below moved along */
	CHECK_EQ(call(&c, WALK, "ddw", 0, 4, 0), 0);
	CHECK_EQ(call(&c, LOPEN, "dd", 4, 0), 0);
	CHECK_EQ(call(&c, READDIR, "dqd", 4, 0ull, 4000), 0);
	memcpy(&n, BODY(&c), 4);
	CHECK_EQ(n, 5 * 24 + 1 + 2 + 5 + 4 + 4); /* . .. moved hard soft */
	CHECK_EQ(call(&c, READDIR, "dqd", 4, 0ull, 60), 0);
	CHECK(BODY(&c)[0] <= 60 && BODY(&c)[0] >= 25); /* whole entries only */
	CHECK_EQ(call(&c, UNLINKAT, "dsd", 0, "moved", 0x200), ENOTEMPTY);
	CHECK_EQ(call(&c, REMOVE, "d", 2), 0);
	CHECK_EQ(call(&c, UNLINKAT, "dsd", 0, "moved", 0x200), 0);
	CHECK_EQ(call(&c, STATFS, "d", 0), 0);
	CHECK_EQ(call(&c, XATTRWALK, "dds", 0, 9, "user.x"), EOPNOTSUPP);
	close_share(&c);
}

TEST(p9_nothing_outside_the_share_can_be_reached)
{
	struct client c;
	char path[128];

	CHECK(open_share(&c, false));
	CHECK_EQ(call(&c, SYMLINK, "dssd", 0, "up", "..", 0), 0);
	CHECK_EQ(call(&c, SYMLINK, "dssd", 0, "leak", "../secret", 0), 0);
	CHECK_EQ(call(&c, SYMLINK, "dssd", 0, "abs", c.top, 0), 0);
	CHECK_EQ(walk(&c, 1, "../secret"), ENOENT);
	CHECK_EQ(walk(&c, 1, ""), ENOENT);
	CHECK_EQ(call(&c, WALK, "ddwss", 0, 1, 2, "..", "secret"), 0);
	CHECK_EQ(BODY(&c)[0], 1); /* ".." is the root itself, and has no "secret" */
	CHECK_EQ(call(&c, WALK, "ddwss", 0, 1, 2, "up", "secret"), 0);
	CHECK_EQ(BODY(&c)[0], 1);
	CHECK_EQ(call(&c, WALK, "ddwss", 0, 1, 2, "abs", "secret"), 0);
	CHECK_EQ(BODY(&c)[0], 1);
	CHECK_EQ(walk(&c, 1, "leak"), 0);
	CHECK_EQ(call(&c, LOPEN, "dd", 1, 0), EOPNOTSUPP);
	CHECK_EQ(call(&c, SETATTR, "dddddqqqqq", 1, 1, 0777, 0, 0, 0ull, 0ull, 0ull, 0ull, 0ull),
		 EOPNOTSUPP);
	CHECK_EQ(call(&c, WALK, "ddw", 0, 2, 0), 0);
	CHECK_EQ(call(&c, LCREATE, "dsddd", 2, "leak", O_RDWR | O_TRUNC, 0644, 0), ELOOP);
	CHECK_EQ(call(&c, LCREATE, "dsddd", 2, "../new", O_RDWR, 0644, 0), EINVAL);
	CHECK_EQ(call(&c, MKDIR, "dsdd", 0, "..", 0755, 0), EINVAL);
	CHECK_EQ(call(&c, RENAMEAT, "dsds", 0, "leak", 0, "../x"), EINVAL);
	CHECK_EQ(call(&c, UNLINKAT, "dsd", 0, "..", 0x200), EINVAL);
	/* A directory the guest stands in becomes a link to the outside. */
	CHECK_EQ(call(&c, MKDIR, "dsdd", 0, "d", 0755, 0), 0);
	CHECK_EQ(walk(&c, 3, "d"), 0);
	snprintf(path, sizeof path, "%s/share/d", c.top);
	CHECK(rmdir(path) == 0 && symlink(c.top, path) == 0);
	CHECK_EQ(call(&c, WALK, "ddws", 3, 4, 1, "secret"), ELOOP);
	CHECK_EQ(call(&c, MKDIR, "dsdd", 3, "escaped", 0755, 0), ENOTDIR);
	close_share(&c);
}

TEST(p9_read_only_share_changes_nothing)
{
	struct client c;

	CHECK(open_share(&c, true));
	CHECK_EQ(call(&c, MKDIR, "dsdd", 0, "dir", 0755, 0), EROFS);
	CHECK_EQ(call(&c, WALK, "ddw", 0, 1, 0), 0);
	CHECK_EQ(call(&c, LCREATE, "dsddd", 1, "f", O_RDWR, 0644, 0), EROFS);
	CHECK_EQ(call(&c, LOPEN, "dd", 1, O_RDWR), EROFS);
	CHECK_EQ(call(&c, REMOVE, "d", 1), EROFS);
	CHECK_EQ(call(&c, WALK, "ddw", 0, 1, 0), 0); /* fid 1 was clunked all the same */
	close_share(&c);
}

TEST(p9_random_messages_are_answered)
{
	static const u8 types[] = { 8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 40, 50, 52, 54,
				    70, 72, 74, 76, 100, 102, 104, 108, 110, 116, 118, 120, 122 };
	struct drv_buf b[2] = { { DRV_BUF, 0 }, { DRV_BUF + 0x10000, 4096 } };
	struct client c;
	u32 seed = 1;

	CHECK(open_share(&c, true));
	for (unsigned i = 0; i < 5000; i++) {
		u8 msg[64];
		u32 size = 7 + (seed >> 20) % 57;

		for (unsigned k = 0; k < sizeof msg; k++) {
			seed = seed * 1664525 + 1013904223;
			msg[k] = (u8)(seed & 0x1000000 ? 0 : (seed >> 16) % 5);
		}
		memcpy(msg, &size, 4);
		msg[4] = types[(seed >> 8) % sizeof types];
		b[0].len = size;
		drv_put(&c.t, b[0].gpa, msg, size);
		CHECK(drv_call(&c.t, 0, b, 1, 1) != ~0u);
	}
	CHECK_EQ(drv_read(&c.t, 20, 1), 15);
	close_share(&c);
}
