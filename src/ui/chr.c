// SPDX-License-Identifier: Apache-2.0
/* chr.c - opening by name, plain descriptors, files, nothing (see ui.h) */
#include "ui/chr_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct chr *chr_open_fds(struct loop *l, int in, int out, struct err *e)
{
	struct stream *s = calloc(1, sizeof *s);

	if (!s || stream_init(s, l, e)) {
		free(s);
		fd_close(&in);
		fd_close(&out);
		err_set(e, ENOMEM, "stream: out of memory");
		return NULL;
	}
	if (stream_attach(s, in, out, e)) {
		chr_close(&s->host.chr);
		return NULL;
	}
	return &s->host.chr;
}

struct chr *chr_open_file(struct loop *l, const char *path, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);

	if (fd < 0) {
		err_set(e, errno, "%s: cannot be written: %s", path, strerror(errno));
		return NULL;
	}
	return chr_open_fds(l, -1, fd, e);
}

/* -- nothing ---------------------------------------------------------------- */

static size_t null_write(struct chr *c UNUSED, const void *buf UNUSED, size_t len)
{
	return len;
}

static void null_do(struct chr *c UNUSED)
{
}

static int null_error(const struct chr *c UNUSED)
{
	return 0;
}

static void null_close(struct chr *c)
{
	free(c);
}

static const struct chr_ops null_ops = {
	.start = null_do,
	.shut_out = null_do,
	.flush = null_do,
	.error = null_error,
	.close = null_close,
};

struct chr *chr_open_null(void)
{
	struct chr_host *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->chr.write = null_write;
	h->chr.can_receive = null_do;
	h->ops = &null_ops;
	return &h->chr;
}

/* -- any -------------------------------------------------------------------- */

struct chr *chr_open(struct loop *l, const char *spec, struct chr_opts *o, struct err *e)
{
	struct chr *c;

	if (!strcmp(spec, "stdio"))
		return chr_open_stdio(l, o, e);
	if (!strcmp(spec, "pty"))
		return chr_open_pty(l, o, e);
	if (!strncmp(spec, "unix:", 5))
		return chr_open_unix(l, spec + 5, e);
	if (!strncmp(spec, "file:", 5))
		return chr_open_file(l, spec + 5, e);
	if (strcmp(spec, "none")) {
		err_set(e, EINVAL, "%s: not one of stdio, pty, unix:PATH, file:PATH, none", spec);
		return NULL;
	}
	c = chr_open_null();
	if (!c)
		err_set(e, ENOMEM, "none: out of memory");
	return c;
}

void chr_start(struct chr *c)
{
	((struct chr_host *)c)->ops->start(c);
}

void chr_shut_out(struct chr *c)
{
	((struct chr_host *)c)->ops->shut_out(c);
}

void chr_flush(struct chr *c)
{
	((struct chr_host *)c)->ops->flush(c);
}

int chr_error(const struct chr *c)
{
	return ((const struct chr_host *)c)->ops->error(c);
}

void chr_close(struct chr *c)
{
	if (c)
		((struct chr_host *)c)->ops->close(c);
}
