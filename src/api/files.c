// SPDX-License-Identifier: Apache-2.0
/* files.c - the one place that opens what requests name */
#include "api/api_int.h"

#include "os/opener.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* As Firecracker's clients know errors: "No such file or directory (os error 2)". */
static int failed(int code, struct err *e)
{
	return err_set(e, code, "%s (os error %d)", strerror(code), code);
}

int api_open(struct api *a, const char *path, int flags, struct err *e)
{
	struct err why = { 0 };
	int fd = opener_open(a->opts.opener, path, flags, 0644, &why);

	return fd < 0 ? failed(-fd, e) : fd;
}

int api_listen_at(struct api *a, const char *path, struct err *e)
{
	struct err why = { 0 };
	int fd = opener_listen(a->opts.opener, path, &why);

	return fd < 0 ? failed(-fd, e) : fd;
}

int api_connect(struct api *a, const char *path, struct err *e)
{
	struct err why = { 0 };
	int fd = opener_connect(a->opts.opener, path, &why);

	return fd < 0 ? failed(-fd, e) : fd;
}

void api_unlink(struct api *a, const char *path)
{
	struct err e = { 0 };

	if (opener_unlink(a->opts.opener, path, &e))
		return; /* somebody has removed it already */
}

int api_open_tap(struct api *a, const char *name, struct err *e)
{
	return opener_tap(a->opts.opener, name, false, e);
}
