// SPDX-License-Identifier: Apache-2.0
/* fs_test.c - the FUSE server: the operations Linux uses, and confinement */
#include "dev/virtio/drv_test.h"

#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct client {
	struct drv t;
	char top[64]; /* holds share/ and, outside of it, secret */
	int fd;
	_Alignas(8) u8 rep[9000];
	u32 len; /* of the reply's body */
};

#define BODY(c) ((void *)((c)->rep + sizeof(struct fuse_out_header)))

/* Returns 0, the errno of the reply, or -1 if there was none. */
static int call(struct client *c, u32 op, u64 node, const void *in, size_t len, const char *name,
		const char *name2)
{
	struct drv_buf b[2] = { { DRV_BUF, 0 }, { DRV_BUF + 0x10000, sizeof c->rep } };
	struct fuse_in_header h = { .opcode = op, .nodeid = node, .unique = 77 };
	struct fuse_out_header o;
	size_t at = sizeof h;

	drv_put(&c->t, DRV_BUF + at, in, len);
	at += len;
	for (int i = 0; i < 2; i++) {
		const char *s = i ? name2 : name;

		if (!s)
			continue;
		drv_put(&c->t, DRV_BUF + at, s, strlen(s) + 1);
		at += strlen(s) + 1;
	}
	h.len = (u32)at;
	drv_put(&c->t, DRV_BUF, &h, sizeof h);
	b[0].len = (u32)at;
	if (drv_call(&c->t, 1, b, 1, 1) < sizeof o)
		return -1;
	drv_get(&c->t, b[1].gpa, c->rep, sizeof c->rep);
	memcpy(&o, c->rep, sizeof o);
	c->len = o.len - (u32)sizeof o;
	return o.unique == 77 ? -o.error : -1;
}

static bool open_share(struct client *c, bool read_only)
{
	struct virtio_share_cfg cfg = { .tag = "share", .read_only = read_only };
	struct fuse_init_in in = { .major = 7, .minor = 36, .flags = ~0u };
	char path[128];

	memset(c, 0, sizeof *c);
	strcpy(c->top, "/tmp/fs-test-XXXXXX");
	if (!mkdtemp(c->top))
		return false;
	snprintf(path, sizeof path, "%s/secret", c->top);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	snprintf(path, sizeof path, "%s/share", c->top);
	if (mkdir(path, 0755) < 0)
		return false;
	c->fd = cfg.dir_fd = open(path, O_PATH | O_DIRECTORY);
	if (!drv_open(&c->t, &virtio_fs_class, &cfg, ~0ull & ~VIRTIO_F_RING_PACKED, DRV_QSIZE))
		return false;
	return !call(c, FUSE_INIT, 0, &in, sizeof in, NULL, NULL);
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

static int lookup(struct client *c, u64 dir, const char *name, u64 *ret_node)
{
	int r = call(c, FUSE_LOOKUP, dir, NULL, 0, name, NULL);

	if (!r)
		*ret_node = ((struct fuse_entry_out *)BODY(c))->nodeid;
	return r;
}

static int make_dir(struct client *c, u64 dir, const char *name)
{
	struct fuse_mkdir_in in = { .mode = 0755 };

	return call(c, FUSE_MKDIR, dir, &in, sizeof in, name, NULL);
}

static int create(struct client *c, u64 dir, const char *name, int flags, u64 *ret_node,
		  u64 *ret_fh)
{
	struct fuse_create_in in = { .flags = (u32)flags, .mode = 0100644 };
	struct fuse_open_out o;
	int r = call(c, FUSE_CREATE, dir, &in, sizeof in, name, NULL);

	if (r)
		return r;
	*ret_node = ((struct fuse_entry_out *)BODY(c))->nodeid;
	memcpy(&o, (u8 *)BODY(c) + sizeof(struct fuse_entry_out), sizeof o);
	*ret_fh = o.fh;
	return 0;
}

TEST(fs_creates_writes_reads_truncates_and_removes)
{
	struct fuse_write_in w = { .offset = 2, .size = 6 };
	struct fuse_read_in rd = { .size = 100 };
	struct fuse_setattr_in sa = { .valid = FATTR_SIZE, .size = 3 };
	struct fuse_getattr_in ga = { .getattr_flags = FUSE_GETATTR_FH };
	struct fuse_release_in rel = { 0 };
	struct client c;
	u64 node, fh, other;

	CHECK(open_share(&c, false));
	CHECK_EQ(drv_config(&c.t, 36, 4), 1);
	CHECK_EQ(create(&c, 1, "file", O_RDWR, &node, &fh), 0);
	w.fh = rd.fh = ga.fh = rel.fh = fh;
	CHECK_EQ(call(&c, FUSE_WRITE, node, &w, sizeof w, "hello", NULL), 0); /* with its 0 */
	CHECK_EQ(call(&c, FUSE_READ, node, &rd, sizeof rd, NULL, NULL), 0);
	CHECK_EQ(c.len, 8);
	CHECK(!memcmp(BODY(&c), "\0\0hello", 8));
	CHECK_EQ(call(&c, FUSE_SETATTR, node, &sa, sizeof sa, NULL, NULL), 0);
	CHECK_EQ(((struct fuse_attr_out *)BODY(&c))->attr.size, 3);
	CHECK_EQ(lookup(&c, 1, "file", &other), 0);
	CHECK_EQ(other, node);
	CHECK_EQ(call(&c, FUSE_UNLINK, 1, NULL, 0, "file", NULL), 0);
	CHECK_EQ(lookup(&c, 1, "file", &other), ENOENT);
	CHECK_EQ(call(&c, FUSE_GETATTR, node, &ga, sizeof ga, NULL, NULL), 0); /* still open */
	CHECK_EQ(call(&c, FUSE_SETATTR, node, &sa, sizeof sa, NULL, NULL), ESTALE);
	CHECK_EQ(call(&c, FUSE_RELEASE, node, &rel, sizeof rel, NULL, NULL), 0);
	CHECK_EQ(call(&c, FUSE_RELEASE, node, &rel, sizeof rel, NULL, NULL), EBADF);
	CHECK_EQ(create(&c, 1, "file", O_RDWR, &other, &fh), 0);
	CHECK(other != node); /* a new file is a new node */
	close_share(&c);
}

TEST(fs_directories_links_and_renames)
{
	struct fuse_rename_in rn = { .newdir = 1 };
	struct fuse_link_in ln;
	struct fuse_open_in op = { .flags = O_RDONLY };
	struct fuse_read_in rd = { .size = 4096 };
	struct client c;
	u64 dir, f, fh, id;

	CHECK(open_share(&c, false));
	CHECK_EQ(make_dir(&c, 1, "dir"), 0);
	CHECK_EQ(make_dir(&c, 1, "dir"), EEXIST);
	CHECK_EQ(lookup(&c, 1, "dir", &dir), 0);
	CHECK_EQ(create(&c, dir, "f", O_RDWR, &f, &fh), 0);
	ln.oldnodeid = f;
	CHECK_EQ(call(&c, FUSE_LINK, 1, &ln, sizeof ln, "hard", NULL), 0);
	CHECK_EQ(call(&c, FUSE_SYMLINK, 1, NULL, 0, "soft", "dir/f"), 0);
	id = ((struct fuse_entry_out *)BODY(&c))->nodeid;
	CHECK_EQ(call(&c, FUSE_READLINK, id, NULL, 0, NULL, NULL), 0);
	CHECK_EQ(c.len, 5);
	CHECK_EQ(call(&c, FUSE_RENAME, 1, &rn, sizeof rn, "dir", "moved"), 0);
	CHECK_EQ(call(&c, FUSE_OPEN, f, &op, sizeof op, NULL, NULL), 0); /* moved along */
	CHECK_EQ(call(&c, FUSE_OPENDIR, 1, &op, sizeof op, NULL, NULL), 0);
	rd.fh = ((struct fuse_open_out *)BODY(&c))->fh;
	CHECK_EQ(call(&c, FUSE_READDIR, 1, &rd, sizeof rd, NULL, NULL), 0);
	CHECK_EQ(c.len, 5 * 32); /* . .. moved hard soft */
	rd.size = 70;
	CHECK_EQ(call(&c, FUSE_READDIR, 1, &rd, sizeof rd, NULL, NULL), 0);
	CHECK_EQ(c.len, 64); /* whole entries only */
	CHECK_EQ(call(&c, FUSE_RMDIR, 1, NULL, 0, "moved", NULL), ENOTEMPTY);
	CHECK_EQ(call(&c, FUSE_GETXATTR, f, NULL, 0, "user.x", NULL), ENOSYS);
	close_share(&c);
}

TEST(fs_nothing_outside_the_share_can_be_reached)
{
	struct fuse_open_in op = { .flags = O_RDONLY };
	struct client c;
	char path[128];
	u64 id, fh;

	CHECK(open_share(&c, false));
	CHECK_EQ(lookup(&c, 1, "..", &id), EINVAL);
	CHECK_EQ(lookup(&c, 1, ".", &id), EINVAL);
	CHECK_EQ(lookup(&c, 1, "../secret", &id), EINVAL);
	CHECK_EQ(call(&c, FUSE_SYMLINK, 1, NULL, 0, "up", ".."), 0);
	CHECK_EQ(lookup(&c, 1, "up", &id), 0);
	CHECK_EQ(lookup(&c, id, "secret", &id), ELOOP);
	CHECK_EQ(call(&c, FUSE_SYMLINK, 1, NULL, 0, "leak", "../secret"), 0);
	CHECK_EQ(lookup(&c, 1, "leak", &id), 0);
	CHECK_EQ(call(&c, FUSE_OPEN, id, &op, sizeof op, NULL, NULL), EOPNOTSUPP);
	CHECK_EQ(create(&c, 1, "leak", O_RDWR | O_TRUNC, &id, &fh), ELOOP);
	CHECK_EQ(make_dir(&c, 1, "../new"), EINVAL);
	/* A directory the guest knows becomes a link to the outside. */
	CHECK_EQ(make_dir(&c, 1, "d"), 0);
	CHECK_EQ(lookup(&c, 1, "d", &id), 0);
	snprintf(path, sizeof path, "%s/share/d", c.top);
	CHECK(rmdir(path) == 0 && symlink(c.top, path) == 0);
	CHECK_EQ(make_dir(&c, id, "escaped"), ENOTDIR);
	CHECK_EQ(lookup(&c, id, "secret", &id), ELOOP);
	close_share(&c);
}

TEST(fs_read_only_share_changes_nothing)
{
	struct fuse_open_in op = { .flags = O_RDWR };
	struct client c;
	u64 id, fh;

	CHECK(open_share(&c, true));
	CHECK_EQ(make_dir(&c, 1, "dir"), EROFS);
	CHECK_EQ(create(&c, 1, "f", O_RDWR, &id, &fh), EROFS);
	CHECK_EQ(call(&c, FUSE_OPEN, 1, &op, sizeof op, NULL, NULL), EROFS);
	close_share(&c);
}

TEST(fs_random_requests_are_answered)
{
	struct client c;
	u32 seed = 1;

	CHECK(open_share(&c, true));
	for (unsigned i = 0; i < 5000; i++) {
		u8 in[128];
		u32 op;

		for (unsigned k = 0; k < sizeof in; k++) {
			seed = seed * 1664525 + 1013904223;
			in[k] = (u8)(seed & 0x1000000 ? 0 : (seed >> 16) % 5);
		}
		op = (seed >> 8) % 50;
		CHECK(call(&c, op, (seed >> 4) % 4, in, (seed >> 20) % sizeof in, NULL, NULL) >= 0);
	}
	CHECK_EQ(drv_read(&c.t, 20, 1), 15);
	close_share(&c);
}
