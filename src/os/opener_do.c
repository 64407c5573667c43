// SPDX-License-Identifier: Apache-2.0
/*
 * opener_do.c - carrying out a request of opener.h under its rules
 *
 * Sockets are bound, reached and removed by their last name inside their directory,
 * which is opened under the rules first: the kernel's calls for sockets know no
 * RESOLVE_ flags. This moves the working directory of the broker.
 */
#include "os/opener_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MODE_BITS    0777u
#define RENAME_TRIES 16
#define LISTEN_QUEUE 64
#define SOCKET_FLAGS (SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
#define ALLOWED_FLAGS                                                                              \
	(O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_DIRECTORY | O_NOFOLLOW |            \
	 O_NONBLOCK | O_DIRECT)

static int open_at(int dir, const char *path, u64 flags, u64 mode, u64 resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC,
				.mode = mode,
				.resolve = resolve | RESOLVE_NO_MAGICLINKS };
	int fd = -1;

	for (int tries = 0; tries < RENAME_TRIES; tries++) {
		fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
		if (fd >= 0 || errno != EAGAIN) /* something was renamed meanwhile */
			break;
	}
	return fd < 0 ? -errno : fd;
}

/* What comes after directory @i in @path, or NULL if it lies elsewhere. */
static const char *beneath(const struct opener_rules *p, unsigned i, const char *path)
{
	size_t n = strlen(p->name[i]);

	if (*path != '/')
		return i ? NULL : path;
	if (strncmp(path, p->name[i], n) || (path[n] && path[n] != '/'))
		return NULL;
	for (path += n; *path == '/'; path++)
		;
	return *path ? path : ".";
}

static int resolve(const struct opener_rules *p, const char *path, u64 flags, u64 mode)
{
	for (unsigned i = 0; i < p->nr_dirs; i++) {
		const char *rest = beneath(p, i, path);

		if (rest)
			return open_at(p->dir[i], rest, flags, mode, RESOLVE_BENEATH);
	}
	return p->nr_dirs ? -EACCES : open_at(p->start, path, flags, mode, 0);
}

/* Views of the kernel and of other processes are no files of the user's. */
static bool is_kernel_view(int fd)
{
	static const u32 views[] = { PROC_SUPER_MAGIC,    SYSFS_MAGIC,   CGROUP_SUPER_MAGIC,
				     CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, SECURITYFS_MAGIC,
				     TRACEFS_MAGIC,       BPF_FS_MAGIC };
	struct statfs s;

	if (fstatfs(fd, &s) < 0)
		return true;
	for (size_t i = 0; i < array_len(views); i++)
		if ((u32)s.f_type == views[i])
			return true;
	return false;
}

static int do_open(struct opener_rules *p, const struct opener_request *r)
{
	u32 acc = r->flags & O_ACCMODE;
	u64 mode = r->flags & O_CREAT ? r->mode & MODE_BITS : 0;
	int fd;

	if (r->flags & ~(u32)ALLOWED_FLAGS || acc == O_ACCMODE)
		return -EINVAL;
	if (p->read_only && (acc != O_RDONLY || r->flags & (O_CREAT | O_TRUNC)))
		return -EROFS;
	/* O_TRUNC only once it is known what was opened. */
	fd = resolve(p, r->path, (r->flags & ~(u32)O_TRUNC) | O_NONBLOCK | O_NOCTTY, mode);
	if (fd < 0)
		return fd;
	if (is_kernel_view(fd)) {
		close(fd);
		return -EACCES;
	}
	if ((r->flags & O_TRUNC && ftruncate(fd, 0) < 0 && errno != EINVAL) ||
	    (!(r->flags & O_NONBLOCK) &&
	     fcntl(fd, F_SETFL, (int)(r->flags & (O_APPEND | O_DIRECT))) < 0)) {
		int err = errno;

		close(fd);
		return -err;
	}
	return fd;
}

/* -- sockets ------------------------------------------------------------------------------ */

/* Make the directory of @path the working directory; its last name goes to *ret. */
static int enter_parent(const struct opener_rules *p, const char *path, struct sockaddr_un *ret)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t n = slash ? (size_t)(slash - path) : 0;
	char dir[OPENER_PATH] = ".";
	int fd, r;

	if (!*name || strlen(name) >= sizeof ret->sun_path || !strcmp(name, ".") ||
	    !strcmp(name, ".."))
		return *name ? -ENAMETOOLONG : -EISDIR;
	if (slash)
		snprintf(dir, sizeof dir, "%.*s", n ? (int)n : 1, n ? path : "/");
	fd = resolve(p, dir, O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	r = is_kernel_view(fd) ? -EACCES : fchdir(fd) < 0 ? -errno : 0;
	close(fd);
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	strcpy(ret->sun_path, name);
	return r;
}

static int check_socket(const char *name)
{
	struct stat st;

	if (lstat(name, &st) < 0)
		return -errno;
	return S_ISSOCK(st.st_mode) ? 0 : -ENOTSOCK;
}

static int connect_here(const struct sockaddr_un *a)
{
	int r = check_socket(a->sun_path), fd;

	if (r)
		return r;
	fd = socket(AF_UNIX, SOCKET_FLAGS, 0);
	if (fd < 0 || !connect(fd, (const struct sockaddr *)a, sizeof *a))
		return fd < 0 ? -errno : fd;
	r = -errno;
	close(fd);
	return r;
}

static int do_connect(struct opener_rules *p, const struct opener_request *r)
{
	struct sockaddr_un a;

	TRY(enter_parent(p, r->path, &a));
	return connect_here(&a);
}

/* Where in made[] the socket @name is, or nr_made. */
static unsigned find_made(const struct opener_rules *p, const char *name)
{
	struct stat st;
	unsigned i = 0;

	if (lstat(name, &st) < 0)
		return p->nr_made;
	while (i < p->nr_made && (p->made[i].dev != st.st_dev || p->made[i].ino != st.st_ino))
		i++;
	return i;
}

static int remove_here(struct opener_rules *p, const char *name)
{
	unsigned i = find_made(p, name);

	if (unlink(name) < 0)
		return -errno;
	if (i < p->nr_made)
		p->made[i] = p->made[--p->nr_made];
	return 0;
}

static int bind_here(struct opener_rules *p, int fd, const struct sockaddr_un *a)
{
	struct stat st;

	if (p->own_only && p->nr_made == OPENER_MADE)
		return -ENOSPC;
	if (bind(fd, (const struct sockaddr *)a, sizeof *a) < 0 || listen(fd, LISTEN_QUEUE) < 0)
		return -errno;
	if (p->own_only && !lstat(a->sun_path, &st))
		p->made[p->nr_made++] = (struct opener_made){ st.st_dev, st.st_ino };
	return fd;
}

static int do_listen(struct opener_rules *p, const struct opener_request *r)
{
	struct sockaddr_un a;
	int fd, ret;

	if (p->read_only)
		return -EROFS;
	TRY(enter_parent(p, r->path, &a));
	fd = connect_here(&a);
	if (fd == -ECONNREFUSED)
		remove_here(p, a.sun_path);
	else if (fd >= 0)
		close(fd);
	fd = socket(AF_UNIX, SOCKET_FLAGS, 0);
	if (fd < 0)
		return -errno;
	ret = bind_here(p, fd, &a);
	if (ret < 0)
		close(fd);
	return ret;
}

static int do_unlink(struct opener_rules *p, const struct opener_request *r)
{
	struct sockaddr_un a;

	TRY(enter_parent(p, r->path, &a));
	TRY(check_socket(a.sun_path));
	if (p->own_only && find_made(p, a.sun_path) == p->nr_made)
		return -EPERM;
	return remove_here(p, a.sun_path);
}

static int check_regular(const char *name)
{
	struct stat st;

	if (lstat(name, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? 0 : -EINVAL;
}

static int do_replace(struct opener_rules *p, const struct opener_request *r)
{
	static const char *const suffix[][2] = {
		[OPENER_TMP_TO_NEW] = { ".tmp", ".new" },
		[OPENER_NEW_TO_FINAL] = { ".new", "" },
		[OPENER_DROP_TMP] = { ".tmp", NULL },
		[OPENER_DROP_NEW] = { ".new", NULL },
	};
	char from[sizeof ((struct sockaddr_un *)0)->sun_path + 8], to[sizeof from];
	struct sockaddr_un a;

	if (p->read_only)
		return -EACCES;
	if (r->flags >= array_len(suffix))
		return -EINVAL;
	TRY(enter_parent(p, r->path, &a));
	snprintf(from, sizeof from, "%s%s", a.sun_path, suffix[r->flags][0]);
	TRY(check_regular(from));
	if (!suffix[r->flags][1])
		return unlink(from) < 0 ? -errno : 0;
	snprintf(to, sizeof to, "%s%s", a.sun_path, suffix[r->flags][1]);
	return rename(from, to) < 0 ? -errno : 0;
}

/* -- TAP ---------------------------------------------------------------------------------- */

static int do_tap(struct opener_rules *p, const struct opener_request *r)
{
	struct ifreq q = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int fd, err;

	if (!p->taps)
		return -EACCES;
	if (strlen(r->path) >= IFNAMSIZ || strchr(r->path, '%'))
		return -EINVAL;
	if (r->flags)
		q.ifr_flags |= IFF_MULTI_QUEUE;
	strcpy(q.ifr_name, r->path);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || !ioctl(fd, TUNSETIFF, &q))
		return fd < 0 ? -errno : fd;
	err = errno;
	close(fd);
	return -err;
}

int opener_do(struct opener_rules *p, const struct opener_request *r)
{
	static int (*const fn[OPENER_NR])(struct opener_rules *, const struct opener_request *) = {
		[OPENER_OPEN] = do_open,       [OPENER_LISTEN] = do_listen,
		[OPENER_CONNECT] = do_connect, [OPENER_UNLINK] = do_unlink,
		[OPENER_TAP] = do_tap,
		[OPENER_REPLACE] = do_replace,
	};

	if (r->op >= OPENER_NR)
		return -EINVAL;
	if (!*r->path)
		return -ENOENT;
	return fn[r->op](p, r);
}
