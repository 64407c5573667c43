// SPDX-License-Identifier: Apache-2.0
/*
 * chr_pty.c - a pseudo-terminal anybody may open (see ui.h)
 *
 * The kernel does not say when the other end is opened, only (by a hang-up) that
 * it is closed: while nobody is there a timer looks now and then.
 */
#include "ui/chr_int.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define LOOK_NS 200000000u /* 0.2 s */

struct pty {
	struct stream s;
	int master;
	struct timer look;
};

static bool somebody(const struct pty *p)
{
	struct pollfd f = { .fd = p->master };

	return poll(&f, 1, 0) == 0 || !(f.revents & POLLHUP);
}

static void make_raw(int fd)
{
	struct termios t;

	if (tcgetattr(fd, &t))
		return;
	cfmakeraw(&t);
	tcsetattr(fd, TCSANOW, &t);
}

static void look_later(struct pty *p)
{
	struct clock *c = loop_clock(p->s.loop);

	clock_arm(c, &p->look, clock_now_ns(c) + LOOK_NS);
}

static void look(struct timer *t, u64 now_ns UNUSED)
{
	struct pty *p = container_of(t, struct pty, look);
	struct err e;
	int fd = -1;

	if (somebody(p))
		fd = fcntl(p->master, F_DUPFD_CLOEXEC, 3);
	if (fd < 0 || stream_attach_both(&p->s, fd, &e))
		look_later(p);
}

static void hung_up(struct stream *s)
{
	struct pty *p = (struct pty *)s;
	struct chr *c = &s->host.chr;

	stream_detach(s);
	make_raw(p->master);
	if (c->host_open)
		c->host_open(c->dev, false);
	look_later(p);
}

static void close_pty(struct chr *c)
{
	struct pty *p = (struct pty *)c;

	clock_disarm(loop_clock(p->s.loop), &p->look);
	stream_fini(&p->s);
	fd_close(&p->master);
	free(p);
}

static const struct chr_ops ops = STREAM_OPS(close_pty);

static int open_master(struct pty *p, char *path, size_t len)
{
	int slave;

	p->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (p->master < 0 || grantpt(p->master) || unlockpt(p->master))
		return -errno;
	if (ptsname_r(p->master, path, len))
		return -errno;
	/* Opened and closed once, so that "nobody there" shows as a hang-up. */
	slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	make_raw(slave);
	close(slave);
	return 0;
}

struct chr *chr_open_pty(struct loop *l, struct chr_opts *o, struct err *e)
{
	struct pty *p = calloc(1, sizeof *p);
	char path[sizeof o->path];
	int r;

	if (!p || stream_init(&p->s, l, e)) {
		free(p);
		err_set(e, ENOMEM, "pty: out of memory");
		return NULL;
	}
	p->s.host.ops = &ops;
	p->s.on_eof = hung_up;
	p->s.patience = STREAM_PEER_MS;
	p->look.fn = look;
	r = open_master(p, path, sizeof path);
	if (r) {
		close_pty(&p->s.host.chr);
		err_set(e, -r, "pty: cannot be created: %s", strerror(-r));
		return NULL;
	}
	if (o)
		memcpy(o->path, path, sizeof path);
	look_later(p);
	return &p->s.host.chr;
}
