// SPDX-License-Identifier: Apache-2.0
/*
 * ui.h - the host ends of byte streams: terminal, pty, socket, file, descriptors
 *
 * Each constructor returns a struct chr (see chr.h) for a device to attach to.
 * Input is not read before a device is attached (chr_start()). Callbacks into the
 * device run on the loop's thread with the loop's lock held; calls from the
 * device may come from any thread that holds it.
 *
 * What a device wrote has been taken for good: it is in the host's hands or in a
 * bounded buffer that chr_close() empties. With nobody at the other end (a socket
 * or pty without a client, a pipe whose reader has gone) output is dropped, as on
 * an unplugged cable.
 */
#ifndef UI_UI_H
#define UI_UI_H

#include "base/compiler.h"
#include "base/err.h"
#include "ui/chr.h"

struct loop;

struct chr_opts {
	/* The user typed Ctrl-] q (stdio on a terminal only). On the loop's thread. */
	void (*quit)(void *ctx);
	void *ctx;
	char path[108]; /* out: the pty's path */
};

/*
 * chr_open() - by name: "stdio", "pty", "unix:PATH", "file:PATH", "none"
 * @o:	may be NULL
 */
struct chr *chr_open(struct loop *l, const char *spec, struct chr_opts *o,
		     struct err *e) MUST_CHECK;

/* Standard input and output; a terminal is put in raw mode and Ctrl-] is the escape key. */
struct chr *chr_open_stdio(struct loop *l, struct chr_opts *o, struct err *e) MUST_CHECK;
struct chr *chr_open_pty(struct loop *l, struct chr_opts *o, struct err *e) MUST_CHECK;
/* Listens; one client at a time. The path is removed by chr_close(). */
struct chr *chr_open_unix(struct loop *l, const char *path, struct err *e) MUST_CHECK;
/* The same on a socket that listens already (taken over, non-blocking); who made @path removes it. */
struct chr *chr_open_listener(struct loop *l, int fd, const char *path,
			      struct err *e) MUST_CHECK;
struct chr *chr_open_file(struct loop *l, const char *path, struct err *e) MUST_CHECK;
struct chr *chr_open_null(void) MUST_CHECK;

/*
 * A stream over two descriptors of any kind (taken over; -1 = absent). End of file
 * on @in is reported once by host_open(false), after its last byte was received;
 * the device may go on writing. Without @in there is no end of file.
 */
struct chr *chr_open_fds(struct loop *l, int in, int out, struct err *e) MUST_CHECK;

/* A device is attached (its members are set): report host_open() and read input. */
void chr_start(struct chr *c);
/* The device has no more to write: pass end of file on (closes or shuts down the out side). */
void chr_shut_out(struct chr *c);
/* Wait until buffered output is written, or has failed. */
void chr_flush(struct chr *c);
/* Why output is being dropped for good, as an errno: EPIPE, ENOSPC, ... 0 = it is not. */
int chr_error(const struct chr *c);
void chr_close(struct chr *c); /* waits until buffered output is written; NULL is fine */

/* -- the terminal escape filter ----------------------------------------------- */

#define ESCAPE_KEY 0x1d /* Ctrl-] */

struct escape {
	bool pending; /* the last byte was an unpaired Ctrl-] */
};

enum escape_event { ESCAPE_NONE, ESCAPE_QUIT, ESCAPE_HELP };

/*
 * Filter @len bytes of @in into @out (room for len + 1), stopping after an event.
 * *used: bytes of @in consumed; *n: bytes written to @out. Ctrl-] q, Ctrl-] ? are
 * events, Ctrl-] Ctrl-] is one literal Ctrl-], any other pair passes unchanged.
 */
enum escape_event escape_filter(struct escape *s, const u8 *in, size_t len, size_t *used, u8 *out,
				size_t *n);

#endif
