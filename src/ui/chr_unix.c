// SPDX-License-Identifier: Apache-2.0
/*
 * chr_unix.c - a listening Unix socket, one client at a time (see ui.h)
 *
 * A second client is accepted and closed at once, which it sees as end of file.
 */
#include "ui/chr_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct listener {
	struct stream s;
	struct watch w;
	struct sockaddr_un addr;
	bool bound;
};

static void on_client(struct watch *w, u32 events UNUSED)
{
	struct listener *u = container_of(w, struct listener, w);
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct err e;

	if (fd < 0)
		return;
	if (u->s.in.kind != SIDE_NONE || u->s.out.kind != SIDE_NONE)
		close(fd);
	else if (stream_attach_both(&u->s, fd, &e))
		return; /* out of memory or descriptors: the client is closed */
}

static void client_gone(struct stream *s)
{
	struct chr *c = &s->host.chr;

	stream_detach(s);
	if (c->host_open)
		c->host_open(c->dev, false);
}

static void close_unix(struct chr *c)
{
	struct listener *u = (struct listener *)c;

	stream_fini(&u->s);
	loop_unwatch(u->s.loop, &u->w);
	fd_close(&u->w.fd);
	if (u->bound)
		unlink(u->addr.sun_path);
	free(u);
}

static const struct chr_ops ops = STREAM_OPS(close_unix);

/* A socket left behind by a process that is gone; anything else is not ours to remove. */
static bool is_stale(const struct sockaddr_un *a)
{
	struct stat st;
	int fd;
	bool refused;

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

static int bind_to(struct listener *u, const char *path, struct err *e)
{
	const struct sockaddr *a = (const struct sockaddr *)&u->addr;

	if (strlen(path) >= sizeof u->addr.sun_path || !*path)
		return err_set(e, ENAMETOOLONG, "%s: a socket path has 1 to %zu characters", path,
			       sizeof u->addr.sun_path - 1);
	u->addr.sun_family = AF_UNIX;
	strcpy(u->addr.sun_path, path);
	u->w.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (u->w.fd < 0)
		return err_set(e, errno, "%s: %s", path, strerror(errno));
	if (bind(u->w.fd, a, sizeof u->addr)) {
		if (errno == EADDRINUSE && is_stale(&u->addr))
			unlink(path);
		if (bind(u->w.fd, a, sizeof u->addr)) {
			if (errno == EADDRINUSE)
				return err_set(e, errno,
					       "%s: in use: the socket must not exist yet", path);
			return err_set(e, errno, "%s: cannot listen: %s", path, strerror(errno));
		}
	}
	u->bound = true;
	if (listen(u->w.fd, 4))
		return err_set(e, errno, "%s: cannot listen: %s", path, strerror(errno));
	return 0;
}

static struct listener *new_listener(struct loop *l, const char *path, struct err *e)
{
	struct listener *u = calloc(1, sizeof *u);

	if (!u || stream_init(&u->s, l, e)) {
		free(u);
		err_set(e, ENOMEM, "%s: out of memory", path);
		return NULL;
	}
	u->s.host.ops = &ops;
	u->s.on_eof = client_gone;
	u->w = (struct watch){ .fd = -1, .fn = on_client };
	return u;
}

struct chr *chr_open_unix(struct loop *l, const char *path, struct err *e)
{
	struct listener *u = new_listener(l, path, e);

	if (!u)
		return NULL;
	if (bind_to(u, path, e) || loop_watch(l, &u->w, EPOLLIN, e)) {
		close_unix(&u->s.host.chr);
		return NULL;
	}
	return &u->s.host.chr;
}

struct chr *chr_open_listener(struct loop *l, int fd, const char *path, struct err *e)
{
	struct listener *u = new_listener(l, path, e);

	if (!u) {
		close(fd);
		return NULL;
	}
	u->w.fd = fd;
	strncpy(u->addr.sun_path, path, sizeof u->addr.sun_path - 1);
	u->bound = true;
	if (loop_watch(l, &u->w, EPOLLIN, e)) {
		close_unix(&u->s.host.chr);
		return NULL;
	}
	return &u->s.host.chr;
}
