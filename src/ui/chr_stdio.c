// SPDX-License-Identifier: Apache-2.0
/* chr_stdio.c - standard input and output, with the escape key if it is a terminal (see ui.h) */
#include "ui/chr_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct stdio {
	struct stream s;
	struct escape esc;
	void (*quit)(void *ctx);
	void *ctx;
};

static const char help[] = "\r\nCtrl-] q       stop the machine and leave\r\n"
			   "Ctrl-] Ctrl-]  send one Ctrl-] to the guest\r\n"
			   "Ctrl-] ?       this help\r\n";

static size_t filter(struct stream *s, const u8 *in, size_t n, u8 *out)
{
	struct stdio *t = (struct stdio *)s;
	size_t total = 0;

	while (n) {
		size_t used, got;
		enum escape_event ev = escape_filter(&t->esc, in, n, &used, out + total, &got);

		total += got;
		in += used;
		n -= used;
		if (ev == ESCAPE_HELP)
			stream_write(s, help, sizeof help - 1);
		else if (ev == ESCAPE_QUIT && t->quit)
			t->quit(t->ctx);
	}
	return total;
}

static void close_stdio(struct chr *c)
{
	stream_fini((struct stream *)c);
	term_restore();
	free(c);
}

static const struct chr_ops ops = STREAM_OPS(close_stdio);

struct chr *chr_open_stdio(struct loop *l, struct chr_opts *o, struct err *e)
{
	struct stdio *t = calloc(1, sizeof *t);
	int in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);

	if (!t || stream_init(&t->s, l, e)) {
		free(t);
		err_set(e, ENOMEM, "stdio: out of memory");
		return NULL;
	}
	t->s.host.ops = &ops;
	if (isatty(STDIN_FILENO)) {
		t->s.filter = filter;
		if (o) {
			t->quit = o->quit;
			t->ctx = o->ctx;
		}
	}
	if (stream_attach(&t->s, in, out, e) || term_raw(STDIN_FILENO, e)) {
		close_stdio(&t->s.host.chr);
		return NULL;
	}
	return &t->s.host.chr;
}
