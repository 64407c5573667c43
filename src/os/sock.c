// SPDX-License-Identifier: Apache-2.0
/* sock.c - Unix sockets by name; see os.h */
#include "os/os.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PATH_SIZE (sizeof((struct sockaddr_un *)0)->sun_path)

static int address(const char *path, struct sockaddr_un *ret)
{
	size_t n = strlen(path);

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!n)
		return -ENOENT;
	if (n >= PATH_SIZE)
		return -ENAMETOOLONG;
	memcpy(ret->sun_path, path, n);
	return 0;
}

/* A socket left behind by a process that is gone; anything else is not ours to remove. */
static bool is_stale(const struct sockaddr_un *a)
{
	struct stat st;
	bool refused;
	int fd;

	if (lstat(a->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	/* Of another type, so that a live listener says EPROTOTYPE and sees no client. */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	refused = connect(fd, (const struct sockaddr *)a, sizeof *a) && errno == ECONNREFUSED;
	close(fd);
	return refused;
}

int fd_listen_unix(const char *path, int backlog, struct err *e)
{
	struct sockaddr_un a;
	int fd, r = address(path, &a);

	if (r == -ENAMETOOLONG)
		return err_set(e, -r, "%.60s...: want a socket path of at most %zu bytes", path,
			       PATH_SIZE - 1);
	fd = r ? r : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, r ? -r : errno, "%s: %s", path, strerror(r ? -r : errno));
	if (is_stale(&a))
		unlink(path);
	if (!bind(fd, (const struct sockaddr *)&a, sizeof a) && !listen(fd, backlog))
		return fd;
	r = errno;
	close(fd);
	if (r == EADDRINUSE)
		return err_set(e, r, "%s: in use: want a path that does not exist yet", path);
	return err_set(e, r, "%s: %s", path, strerror(r));
}

int fd_connect_unix(const char *path)
{
	struct sockaddr_un a;
	int fd, r = address(path, &a);

	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* A Unix socket connects at once; a full backlog is EAGAIN. */
	if (!connect(fd, (const struct sockaddr *)&a, sizeof a))
		return fd;
	r = -errno;
	close(fd);
	return r;
}
