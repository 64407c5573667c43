// SPDX-License-Identifier: Apache-2.0
/*
 * chr_int.h - inside ui/: what every host end of a struct chr is built from
 */
#ifndef UI_CHR_INT_H
#define UI_CHR_INT_H

#include "os/os.h"
#include "ui/ui.h"

struct chr_ops {
	void (*start)(struct chr *c);
	void (*shut_out)(struct chr *c);
	void (*flush)(struct chr *c);
	int (*error)(const struct chr *c);
	void (*close)(struct chr *c);
};

struct chr_host {
	struct chr chr; /* first: a struct chr * of ours is a struct chr_host * */
	const struct chr_ops *ops;
};

/* -- streams ------------------------------------------------------------------
 *
 * A chr over an input and an output descriptor, either of which may come and go.
 * Never blocks except in stream_flush() and for regular files.
 */
#define STREAM_BUF 65536u

enum side_kind {
	SIDE_NONE,
	SIDE_POLL,   /* non-blocking, watched */
	SIDE_SOCK,   /* watched, MSG_DONTWAIT */
	SIDE_POLITE, /* watched; blocking, used only when poll() says ready */
	SIDE_READY,  /* epoll refuses it: always ready */
};

struct side {
	enum side_kind kind;
	struct watch w; /* w.fd: -1 = none */
};

#define STREAM_PEER_MS 1000 /* patience with somebody who is not our caller */

struct stream {
	struct chr_host host;
	struct loop *loop;
	struct side in, out;
	struct task in_task, out_task;

	u8 *ibuf, *obuf;   /* STREAM_BUF each */
	size_t ipos, ilen; /* unread input: [ipos, ilen) */
	size_t olen;
	bool started, eof_told, want_writable, shutting, shut;
	int error; /* output, positive errno */
	int patience; /* ms that stream_flush() waits for a reader; -1 = for ever */

	/* Input ended. NULL: tell the device by host_open(false). May detach. */
	void (*on_eof)(struct stream *s);
	/* Rewrites @n bytes of input into @out (room for n + 1), returns how many. May be NULL. */
	size_t (*filter)(struct stream *s, const u8 *in, size_t n, u8 *out);
};

int stream_init(struct stream *s, struct loop *l, struct err *e) MUST_CHECK;
/* Descriptors are taken over, also on failure; -1 = absent; they must differ. */
int stream_attach(struct stream *s, int in, int out, struct err *e) MUST_CHECK;
/* The same descriptor for both directions. */
int stream_attach_both(struct stream *s, int fd, struct err *e) MUST_CHECK;
void stream_detach(struct stream *s); /* drops what is buffered */
/* Blocks until buffered output is written, or nobody has read for s->patience. */
void stream_flush(struct stream *s);
void stream_fini(struct stream *s);   /* flushes and detaches */
size_t stream_write(struct stream *s, const void *buf, size_t len);
void stream_start(struct stream *s);

/* A stream's struct chr_ops, with its owner's close(). */
#define STREAM_OPS(close_fn)                                                                       \
	{                                                                                          \
		.start = stream_chr_start, .shut_out = stream_chr_shut_out,                        \
		.flush = stream_chr_flush, .error = stream_chr_error, .close = (close_fn),         \
	}

void stream_chr_start(struct chr *c);
void stream_chr_shut_out(struct chr *c);
void stream_chr_flush(struct chr *c);
int stream_chr_error(const struct chr *c);

#endif
