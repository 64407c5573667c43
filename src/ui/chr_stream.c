// SPDX-License-Identifier: Apache-2.0
/*
 * chr_stream.c - a struct chr over host descriptors (see chr_int.h)
 *
 * Input: what read() returned stays in ibuf until the device has taken it; no
 * more is read meanwhile, so the writer at the other end feels the guest's pace.
 *
 * Output: a large write goes straight to the descriptor and takes what that takes.
 * Small ones (a UART's single bytes) collect in obuf, which the loop writes out.
 * Whatever write() refused is announced by writable() when all of obuf is gone.
 *
 * A descriptor inherited from the shell is shared with other processes, so it is
 * not made non-blocking: it is opened again through /proc, or, where that is
 * refused, used in portions that cannot block.
 */
#include "ui/chr_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DIRECT_MIN 1024 /* bytes from which a copy costs more than a system call */

/* -- one descriptor --------------------------------------------------------- */

static bool is_ready(int fd, short what)
{
	struct pollfd p = { .fd = fd, .events = what };

	return poll(&p, 1, 0) > 0;
}

static int reopen(int fd, int flags)
{
	char path[40];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

static void side_open(struct side *d, int fd)
{
	int fl = fd < 0 ? 0 : fcntl(fd, F_GETFL), again;
	struct stat st;

	d->w.fd = fd;
	if (fd < 0 || fl < 0 || fstat(fd, &st)) {
		d->kind = SIDE_NONE;
	} else if (S_ISSOCK(st.st_mode)) {
		d->kind = SIDE_SOCK;
	} else if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode)) {
		d->kind = SIDE_READY;
	} else if (fl & O_NONBLOCK) {
		d->kind = SIDE_POLL;
	} else if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(5, 2)) {
		/* Opening /dev/ptmx again would make another terminal. */
		d->kind = fd_nonblock(fd, true) ? SIDE_POLITE : SIDE_POLL;
	} else if ((again = reopen(fd, fl)) >= 0) {
		close(fd);
		d->w.fd = again;
		d->kind = SIDE_POLL;
	} else {
		d->kind = SIDE_POLITE;
	}
}

/* Bytes, 0 at end of file, or a negative errno (-EAGAIN: not now). */
static ssize_t side_read(struct side *d, void *buf, size_t len)
{
	ssize_t n;

	if (d->kind == SIDE_POLITE && !is_ready(d->w.fd, POLLIN))
		return -EAGAIN;
	do
		n = d->kind == SIDE_SOCK ? recv(d->w.fd, buf, len, MSG_DONTWAIT) :
					   read(d->w.fd, buf, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t side_write(struct side *d, const void *buf, size_t len)
{
	ssize_t n;

	if (d->kind == SIDE_POLITE) {
		if (!is_ready(d->w.fd, POLLOUT))
			return -EAGAIN;
		len = len < PIPE_BUF ? len : PIPE_BUF; /* fits if POLLOUT says so */
	}
	do
		n = d->kind == SIDE_SOCK ?
			    send(d->w.fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) :
			    write(d->w.fd, buf, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void side_close(struct stream *s, struct side *d)
{
	loop_unwatch(s->loop, &d->w);
	fd_close(&d->w.fd);
	d->kind = SIDE_NONE;
}

/* -- input ------------------------------------------------------------------ */

static void want_input(struct stream *s, bool want)
{
	if (s->in.kind == SIDE_READY) {
		if (want)
			loop_post(s->loop, &s->in_task);
	} else {
		loop_rewatch(s->loop, &s->in.w, want ? EPOLLIN : 0);
	}
}

static void at_eof(struct stream *s)
{
	struct chr *c = &s->host.chr;

	want_input(s, false);
	if (s->on_eof) {
		s->on_eof(s);
	} else if (!s->eof_told) {
		s->eof_told = true;
		if (c->host_open)
			c->host_open(c->dev, false);
	}
}

/* Hand over what is buffered. Return: all of it was taken. */
static bool deliver(struct stream *s)
{
	struct chr *c = &s->host.chr;

	while (s->ipos < s->ilen) {
		size_t room = s->ilen - s->ipos;
		size_t n = c->receive ? c->receive(c->dev, s->ibuf + s->ipos, room) : room;

		s->ipos += n < room ? n : room;
		if (n < room)
			return false;
	}
	s->ipos = s->ilen = 0;
	return true;
}

/*
 * A filtered stream is a person's keyboard, where the escape key must work however
 * deaf the guest is: it is always read, and keys beyond STREAM_BUF are dropped.
 */
static ssize_t read_filtered(struct stream *s)
{
	u8 raw[512], cooked[sizeof raw + 1];
	ssize_t n = side_read(&s->in, raw, sizeof raw);
	size_t k, room;

	if (n <= 0)
		return n;
	k = s->filter(s, raw, (size_t)n, cooked);
	memmove(s->ibuf, s->ibuf + s->ipos, s->ilen - s->ipos);
	s->ilen -= s->ipos;
	s->ipos = 0;
	room = STREAM_BUF - s->ilen;
	k = k < room ? k : room;
	memcpy(s->ibuf + s->ilen, cooked, k);
	s->ilen += k;
	return n;
}

static ssize_t read_plain(struct stream *s)
{
	ssize_t n = side_read(&s->in, s->ibuf, STREAM_BUF);

	if (n > 0)
		s->ilen = (size_t)n;
	return n;
}

static void input(struct stream *s)
{
	ssize_t n;
	bool all;

	if (s->in.kind == SIDE_NONE || !s->started || s->eof_told)
		return;
	all = deliver(s);
	if (!all && !s->filter) {
		want_input(s, false);
		return;
	}
	n = s->filter ? read_filtered(s) : read_plain(s);
	if (n == 0 || (n < 0 && n != -EAGAIN)) {
		at_eof(s);
		return;
	}
	all = deliver(s);
	if (s->in.kind != SIDE_NONE) /* the device may have closed us */
		want_input(s, all || s->filter);
}

static void in_event(struct watch *w, u32 events UNUSED)
{
	input(container_of(w, struct stream, in.w));
}

static void in_run(struct task *t)
{
	input(container_of(t, struct stream, in_task));
}

/* Deferred to the loop: the device may be in the middle of a register access. */
static void can_receive(struct chr *c)
{
	struct stream *s = (struct stream *)c;

	if (s->ipos < s->ilen)
		loop_post(s->loop, &s->in_task);
}

/* -- output ----------------------------------------------------------------- */

static void want_output(struct stream *s)
{
	if (s->out.kind == SIDE_READY)
		loop_post(s->loop, &s->out_task);
	else if (s->out.kind != SIDE_NONE)
		loop_rewatch(s->loop, &s->out.w, EPOLLOUT);
}

static void out_failed(struct stream *s, int error)
{
	s->error = error;
	s->olen = 0;
	side_close(s, &s->out);
}

static void finish_shut(struct stream *s)
{
	if (!s->shutting || s->olen || s->shut)
		return;
	s->shut = true;
	if (s->out.kind == SIDE_SOCK)
		shutdown(s->out.w.fd, SHUT_WR);
	side_close(s, &s->out);
}

/* Write what is buffered as far as it goes. */
static void push(struct stream *s)
{
	while (s->olen) {
		ssize_t n = side_write(&s->out, s->obuf, s->olen);

		if (n == -EAGAIN)
			return;
		if (n < 0) {
			out_failed(s, (int)-n);
			return;
		}
		s->olen -= (size_t)n;
		memmove(s->obuf, s->obuf + n, s->olen);
	}
}

static void output(struct stream *s)
{
	struct chr *c = &s->host.chr;

	push(s);
	if (s->olen) {
		want_output(s);
		return;
	}
	loop_rewatch(s->loop, &s->out.w, 0);
	finish_shut(s);
	if (s->want_writable) {
		s->want_writable = false;
		if (c->writable)
			c->writable(c->dev);
	}
}

static void out_event(struct watch *w, u32 events UNUSED)
{
	output(container_of(w, struct stream, out.w));
}

static void out_run(struct task *t)
{
	output(container_of(t, struct stream, out_task));
}

static size_t write_direct(struct stream *s, const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = side_write(&s->out, (const u8 *)buf + done, len - done);

		if (n == -EAGAIN)
			break;
		if (n < 0) {
			out_failed(s, (int)-n);
			return len; /* nobody will ever read it */
		}
		done += (size_t)n;
	}
	return done;
}

size_t stream_write(struct stream *s, const void *buf, size_t len)
{
	size_t n;

	if (s->out.kind == SIDE_NONE || s->shutting || !len)
		return len;
	if (!s->olen && len >= DIRECT_MIN) {
		n = write_direct(s, buf, len);
	} else {
		n = STREAM_BUF - s->olen;
		n = n < len ? n : len;
		memcpy(s->obuf + s->olen, buf, n);
		s->olen += n;
	}
	if (n < len)
		s->want_writable = true;
	if (s->olen)
		loop_post(s->loop, &s->out_task);
	else if (n < len)
		want_output(s);
	return n;
}

static size_t chr_write(struct chr *c, const void *buf, size_t len)
{
	return stream_write((struct stream *)c, buf, len);
}

void stream_flush(struct stream *s)
{
	for (push(s); s->olen; push(s)) {
		struct pollfd p = { .fd = s->out.w.fd, .events = POLLOUT };

		if (!poll(&p, 1, s->patience))
			return;
	}
}

/* -- life ------------------------------------------------------------------- */

static void ops_close(struct chr *c)
{
	stream_fini((struct stream *)c);
	free(c);
}

static const struct chr_ops stream_ops = STREAM_OPS(ops_close);

int stream_init(struct stream *s, struct loop *l, struct err *e)
{
	s->host.chr.write = chr_write;
	s->host.chr.can_receive = can_receive;
	s->host.ops = &stream_ops;
	s->loop = l;
	s->patience = -1;
	s->in.w = (struct watch){ .fd = -1, .fn = in_event };
	s->out.w = (struct watch){ .fd = -1, .fn = out_event };
	s->in_task.fn = in_run;
	s->out_task.fn = out_run;
	s->ibuf = malloc(STREAM_BUF);
	s->obuf = malloc(STREAM_BUF);
	if (!s->ibuf || !s->obuf) {
		stream_fini(s);
		return err_set(e, ENOMEM, "stream: out of memory");
	}
	return 0;
}

/* Into the loop, silent for now. */
static int side_watch(struct stream *s, struct side *d, struct err *e)
{
	struct err why;

	if (d->kind == SIDE_NONE || d->kind == SIDE_READY)
		return 0;
	if (!loop_watch(s->loop, &d->w, EPOLLET, &why)) {
		loop_rewatch(s->loop, &d->w, 0);
		return 0;
	}
	if (why.code == EPERM) {
		d->kind = SIDE_READY;
		return 0;
	}
	*e = why;
	return -why.code;
}

int stream_attach(struct stream *s, int in, int out, struct err *e)
{
	int r;

	side_open(&s->in, in);
	side_open(&s->out, out);
	s->error = 0;
	s->eof_told = s->shutting = s->shut = false;
	r = side_watch(s, &s->in, e);
	if (!r)
		r = side_watch(s, &s->out, e);
	if (r) {
		stream_detach(s);
		return r;
	}
	if (s->started)
		stream_start(s);
	return 0;
}

int stream_attach_both(struct stream *s, int fd, struct err *e)
{
	int other = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (other < 0) {
		err_set(e, errno, "stream: %s", strerror(errno));
		close(fd);
		return -e->code;
	}
	return stream_attach(s, fd, other, e);
}

void stream_detach(struct stream *s)
{
	struct chr *c = &s->host.chr;

	side_close(s, &s->in);
	side_close(s, &s->out);
	loop_cancel(s->loop, &s->in_task);
	loop_cancel(s->loop, &s->out_task);
	s->ipos = s->ilen = s->olen = 0;
	if (s->want_writable) {
		s->want_writable = false;
		if (c->writable)
			c->writable(c->dev);
	}
}

void stream_start(struct stream *s)
{
	struct chr *c = &s->host.chr;

	s->started = true;
	if (s->in.kind == SIDE_NONE && s->out.kind == SIDE_NONE)
		return;
	if (c->host_open)
		c->host_open(c->dev, true);
	if (s->in.kind != SIDE_NONE)
		want_input(s, true);
}

void stream_fini(struct stream *s)
{
	stream_flush(s);
	s->host.chr.writable = NULL;
	stream_detach(s);
	free(s->ibuf);
	free(s->obuf);
}

void stream_chr_start(struct chr *c)
{
	stream_start((struct stream *)c);
}

void stream_chr_shut_out(struct chr *c)
{
	struct stream *s = (struct stream *)c;

	s->shutting = true;
	finish_shut(s);
}

void stream_chr_flush(struct chr *c)
{
	stream_flush((struct stream *)c);
}

int stream_chr_error(const struct chr *c)
{
	return ((const struct stream *)c)->error;
}
