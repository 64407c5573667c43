// SPDX-License-Identifier: Apache-2.0
/*
 * chr_unix.c - a listening Unix socket, one client at a time (see ui.h)
 *
 * A second client is accepted and closed at once, which it sees as end of file.
 */
#include "ui/chr_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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
	u->s.patience = STREAM_PEER_MS;
	u->w = (struct watch){ .fd = -1, .fn = on_client };
	return u;
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
	if (loop_watch(l, &u->w, EPOLLIN, e)) {
		close_unix(&u->s.host.chr);
		return NULL;
	}
	return &u->s.host.chr;
}

struct chr *chr_open_unix(struct loop *l, const char *path, struct err *e)
{
	int fd = fd_listen_unix(path, 4, e);
	struct chr *c = fd < 0 ? NULL : chr_open_listener(l, fd, path, e);

	if (c)
		((struct listener *)c)->bound = true;
	else if (fd >= 0)
		unlink(path);
	return c;
}
