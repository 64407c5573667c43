// SPDX-License-Identifier: Apache-2.0
/* files.c - the one place that opens what requests name */
#include "api/api_int.h"

#include "net/net.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* An error as Firecracker's clients know them: "No such file or directory (os error 2)". */
static int failed(int code, struct err *e)
{
	return err_set(e, code, "%s (os error %d)", strerror(code), code);
}

int api_open(struct api *a UNUSED, const char *path, int flags, struct err *e)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	return fd < 0 ? failed(errno, e) : fd;
}

int api_listen_at(struct api *a UNUSED, const char *path, struct err *e)
{
	return api_socket(path, e);
}

int api_socket(const char *path, struct err *e)
{
	struct sockaddr_un u = { .sun_family = AF_UNIX };
	int fd, code;

	if (strlen(path) >= sizeof u.sun_path)
		return failed(ENAMETOOLONG, e);
	strcpy(u.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return failed(errno, e);
	if (bind(fd, (const struct sockaddr *)&u, sizeof u) == 0 && listen(fd, 16) == 0)
		return fd;
	code = errno;
	close(fd);
	return failed(code, e);
}

int api_open_tap(struct api *a UNUSED, const char *name, struct err *e)
{
	return net_tap_fd(name, e);
}
