// SPDX-License-Identifier: Apache-2.0
/* registry.c - the run directory and the sockets in it; see ctl.h */
#include "ctl/ctl.h"

#include "os/opener.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SUFFIX ".sock"

static const char *parent(char *buf, size_t len)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");

	if (dir && *dir == '/')
		return dir;
	if (geteuid() == 0)
		return "/run";
	snprintf(buf, len, "/run/user/%u", (unsigned)geteuid());
	return access(buf, W_OK) == 0 ? buf : NULL;
}

int ctl_dir(char *ret, size_t len, struct err *e)
{
	char buf[64];
	const char *p = parent(buf, sizeof buf);
	struct stat st;

	if (!p)
		return err_set(e, ENOENT, "run directory: want XDG_RUNTIME_DIR in the environment");
	if ((size_t)snprintf(ret, len, "%s/vireo", p) >= len)
		return err_set(e, ENAMETOOLONG, "%.100s: too long for a run directory", p);
	if (mkdir(ret, 0700) < 0 && errno != EEXIST)
		return err_set(e, errno, "%.150s: %s", ret, strerror(errno));
	if (lstat(ret, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
	    st.st_mode & 022)
		return err_set(e, EPERM, "%.150s: want a directory that only its owner, you, may "
					 "write to", ret);
	return 0;
}

int ctl_path(const char *name, char ret[CTL_PATH], struct err *e)
{
	char dir[CTL_PATH];

	TRY(ctl_dir(dir, sizeof dir, e));
	if (!*name || strchr(name, '/') || *name == '.')
		return err_set(e, EINVAL, "\"%.64s\": want the name of a VM", name);
	if (snprintf(ret, CTL_PATH, "%.*s/%.63s" SUFFIX, (int)sizeof dir, dir, name) >= CTL_PATH)
		return err_set(e, ENAMETOOLONG, "%.80s: the run directory's path is too long", dir);
	return 0;
}

int ctl_listen(const char *name, char ret_path[CTL_PATH], struct err *e)
{
	int fd;

	TRY(ctl_path(name, ret_path, e));
	fd = opener_listen(NULL, ret_path, e);
	if (fd == -EADDRINUSE)
		err_set(e, EADDRINUSE, "a VM named \"%.63s\" runs already", name);
	return fd;
}

/* Connect to @path; a socket that nobody listens on goes away. */
static int dial(const char *path)
{
	struct sockaddr_un u = { .sun_family = AF_UNIX };
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), code;

	if (fd < 0)
		return -errno;
	strncpy(u.sun_path, path, sizeof u.sun_path - 1);
	if (connect(fd, (const struct sockaddr *)&u, sizeof u) == 0)
		return fd;
	code = errno;
	close(fd);
	if (code == ECONNREFUSED && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
	return code == ECONNREFUSED ? -ENOENT : -code;
}

int ctl_connect(const char *name, struct err *e)
{
	char path[CTL_PATH];
	int fd;

	TRY(ctl_path(name, path, e));
	fd = dial(path);
	if (fd == -ENOENT)
		return err_set(e, ENOENT, "%.63s: no such VM runs (see: vireo list)", name);
	return fd < 0 ? err_set(e, -fd, "%.63s: %s", name, strerror(-fd)) : fd;
}

static int is_socket_name(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return n > strlen(SUFFIX) && *d->d_name != '.' &&
	       !strcmp(d->d_name + n - strlen(SUFFIX), SUFFIX);
}

int ctl_each(int (*fn)(const char *name, void *ctx), void *ctx, struct err *e)
{
	char dir[CTL_PATH], path[CTL_PATH];
	struct dirent **list = NULL;
	int n, r = 0;

	TRY(ctl_dir(dir, sizeof dir, e));
	n = scandir(dir, &list, is_socket_name, alphasort);
	if (n < 0)
		return err_set(e, errno, "%.150s: %s", dir, strerror(errno));
	for (int i = 0; i < n; i++) {
		char *name = list[i]->d_name;
		int fd;

		name[strlen(name) - strlen(SUFFIX)] = '\0';
		fd = r || ctl_path(name, path, e) ? -1 : dial(path);
		if (fd >= 0) {
			close(fd);
			r = fn(name, ctx);
		}
		free(list[i]);
	}
	free(list);
	return r;
}
