// SPDX-License-Identifier: Apache-2.0
/*
 * vsock_unix.c - Unix sockets as the host's ends of vsock connections (see vsock.h)
 *
 * Bounds on what host programs and the guest can use up: ENDS_MAX connections, one
 * held buffer of READ_MAX bytes each; LINE_MAX bytes of greeting; a program that has
 * not said whom it wants gives way to a new one when the table is full; a guest that
 * does not answer in ANSWER_NS is given up.
 */
#include "net/vsock.h"

#include "os/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ENDS_MAX   256
#define READ_MAX   (64u << 10)
#define LINE_SIZE  32 /* "CONNECT 4294967295\n" and some air */
#define ACCEPT_MAX 16 /* per event */
#define ANSWER_NS  2000000000ull
#define RETRY_NS   100000000ull /* accept again after the host ran out of something */
#define FIRST_PORT (1u << 30)	/* host ports given to host programs */

/*
 * GREETING: a host program has connected and not said whom it wants. ASKED: the
 * guest has not answered. UP: bytes flow. Freed when either side is gone.
 */
enum end_state { GREETING, ASKED, UP };

struct end {
	struct vsock_unix *u;
	struct end *next;
	struct watch w;
	struct timer answer;
	struct vsock_conn *c; /* ASKED, UP */
	enum end_state state;
	u32 host_port;
	bool full;     /* send() was short */
	bool host_eof; /* the program sends no more */
	u8 *held;      /* read from the program, not yet taken by the guest */
	size_t held_at, held_len;
	char line[LINE_SIZE];
	unsigned line_len;
};

struct vsock_unix {
	struct vsock_backend b;
	struct vsock_unix_cfg cfg;
	struct loop *loop;
	struct watch w;
	struct timer retry;
	struct end *ends; /* newest first */
	unsigned nr;
	u32 next_port;
	u8 buf[READ_MAX];
};

/* -- ends ---------------------------------------------------------------------------------- */

static void set_events(struct end *e)
{
	bool in = e->state == GREETING || (e->state == UP && !e->held_len && !e->host_eof);

	/* EPOLLHUP: a program that goes away is noticed in every state. */
	loop_rewatch(e->u->loop, &e->w, EPOLLHUP | (in ? EPOLLIN : 0) | (e->full ? EPOLLOUT : 0));
}

static void free_end(struct end *e)
{
	struct vsock_unix *u = e->u;
	struct end **at = &u->ends;

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	u->nr--;
	loop_unwatch(u->loop, &e->w);
	clock_disarm(loop_clock(u->loop), &e->answer);
	fd_close(&e->w.fd);
	free(e->held);
	free(e);
}

/* From our side: the guest hears of it. */
static void drop(struct end *e)
{
	struct vsock_conn *c = e->c;

	if (c)
		e->u->b.guest->close(c);
	free_end(e);
}

static void no_answer(struct timer *t, u64 now_ns UNUSED)
{
	drop(container_of(t, struct end, answer));
}

static void on_end(struct watch *w, u32 events);

static struct end *new_end(struct vsock_unix *u, int fd, enum end_state state, u32 events)
{
	struct end *e = calloc(1, sizeof *e);
	struct err err;

	if (!e)
		return NULL;
	*e = (struct end){ .u = u, .state = state, .w = { .fd = fd, .fn = on_end },
			   .answer.fn = no_answer };
	if (loop_watch(u->loop, &e->w, events, &err)) {
		free(e);
		return NULL;
	}
	e->next = u->ends;
	u->ends = e;
	u->nr++;
	return e;
}

/* -- from the host program ------------------------------------------------------------------ */

/* "CONNECT PORT\n"; false if it is anything else. */
static bool parse_line(const struct end *e, u32 *port)
{
	static const char word[] = "CONNECT ";
	const char *p = e->line + sizeof word - 1, *end = e->line + e->line_len - 1;
	u64 v = 0;

	if (e->line_len < sizeof word + 1 || memcmp(e->line, word, sizeof word - 1) != 0)
		return false;
	for (; p < end; p++) {
		if (*p < '0' || *p > '9')
			return false;
		v = v * 10 + (u64)(*p - '0');
		if (v > UINT32_MAX)
			return false;
	}
	*port = (u32)v;
	return true;
}

static void ask_guest(struct end *e)
{
	struct vsock_unix *u = e->u;
	struct clock *clock = loop_clock(u->loop);
	u32 port;

	if (!parse_line(e, &port) || !u->b.dev) {
		drop(e);
		return;
	}
	e->host_port = FIRST_PORT | u->next_port++ % FIRST_PORT;
	e->state = ASKED;
	e->c = u->b.guest->connect(u->b.dev, e->host_port, port, e);
	if (!e->c) {
		drop(e);
		return;
	}
	clock_arm(clock, &e->answer, clock_now_ns(clock) + ANSWER_NS);
	set_events(e);
}

/* Take the greeting, and not a byte of what is behind it. */
static void read_greeting(struct end *e)
{
	char *line = e->line + e->line_len, *nl;
	ssize_t n = recv(e->w.fd, line, LINE_SIZE - e->line_len, MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	nl = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;
	if (nl)
		n = nl + 1 - line;
	if (n <= 0 || recv(e->w.fd, line, (size_t)n, MSG_DONTWAIT) != n) {
		drop(e);
		return;
	}
	e->line_len += (unsigned)n;
	if (nl)
		ask_guest(e);
	else if (e->line_len == LINE_SIZE)
		drop(e);
}

/* Keep what the guest did not take; reading stops until it did. */
static bool hold(struct end *e, const u8 *p, size_t len)
{
	e->held = malloc(len);
	if (!e->held)
		return false;
	memcpy(e->held, p, len);
	e->held_at = 0;
	e->held_len = len;
	return true;
}

static void read_data(struct end *e, bool gone)
{
	struct vsock_unix *u = e->u;
	ssize_t n = recv(e->w.fd, u->buf, sizeof u->buf, MSG_DONTWAIT);
	size_t took;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 || (!n && gone)) {
		drop(e); /* it neither sends nor receives any more */
		return;
	}
	if (!n) {
		e->host_eof = true;
		u->b.guest->host_done(e->c);
	} else {
		took = u->b.guest->receive(e->c, u->buf, (size_t)n);
		if (took < (size_t)n && !hold(e, u->buf + took, (size_t)n - took)) {
			drop(e);
			return;
		}
	}
	set_events(e);
}

static void on_end(struct watch *w, u32 events)
{
	struct end *e = container_of(w, struct end, w);
	bool gone = events & (EPOLLHUP | EPOLLERR);

	if (e->full && events & EPOLLOUT && !gone) {
		e->full = false;
		set_events(e);
		e->u->b.guest->writable(e->c); /* may end the connection: look again next time */
		return;
	}
	if (e->state == GREETING)
		read_greeting(e);
	else if (e->state == UP && !e->held_len && !e->host_eof)
		read_data(e, gone);
	else if (gone && !e->held_len)
		drop(e);
	else if (gone) /* what it sent last still waits for the guest */
		loop_rewatch(e->u->loop, &e->w, 0);
}

/* -- from the guest --------------------------------------------------------------------------- */

static void *guest_connects(struct vsock_backend *b, struct vsock_conn *c, u32 guest_port UNUSED,
			    u32 host_port)
{
	struct vsock_unix *u = container_of(b, struct vsock_unix, b);
	struct end *e;
	int fd;

	if (u->nr >= ENDS_MAX)
		return NULL;
	fd = u->cfg.dial(u->cfg.ctx, host_port);
	if (fd < 0)
		return NULL;
	e = new_end(u, fd, UP, EPOLLIN);
	if (!e) {
		close(fd);
		return NULL;
	}
	e->c = c;
	b->guest->accept(c);
	return e;
}

static void guest_accepted(void *host)
{
	struct end *e = host;
	char text[32];
	int n = snprintf(text, sizeof text, "OK %u\n", e->host_port);

	clock_disarm(loop_clock(e->u->loop), &e->answer);
	e->state = UP;
	if (send(e->w.fd, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
		drop(e); /* its buffer is empty: it has gone */
	else
		set_events(e);
}

static size_t guest_sends(void *host, const void *buf, size_t len)
{
	struct end *e = host;
	ssize_t n;

	do
		n = send(e->w.fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN) {
		drop(e);
		return 0;
	}
	if (n < (ssize_t)len) {
		e->full = true;
		set_events(e);
	}
	return n > 0 ? (size_t)n : 0;
}

static void guest_has_room(void *host)
{
	struct end *e = host;
	size_t n = e->held_len;

	if (n)
		n = e->u->b.guest->receive(e->c, e->held + e->held_at, e->held_len);
	e->held_at += n;
	e->held_len -= n;
	if (e->held_len)
		return;
	free(e->held);
	e->held = NULL;
	set_events(e);
}

static void guest_done(void *host)
{
	struct end *e = host;

	if (e->host_eof)
		drop(e);
	else
		shutdown(e->w.fd, SHUT_WR);
}

static void guest_closed(void *host)
{
	free_end(host);
}

/* -- the listener ------------------------------------------------------------------------------ */

/* The table is full: who has waited longest without a word goes. */
static bool make_room(struct vsock_unix *u)
{
	struct end *oldest = NULL;

	if (u->nr < ENDS_MAX)
		return true;
	for (struct end *e = u->ends; e; e = e->next)
		if (e->state == GREETING)
			oldest = e;
	if (!oldest)
		return false;
	free_end(oldest);
	return true;
}

static void on_client(struct watch *w, u32 events UNUSED)
{
	struct vsock_unix *u = container_of(w, struct vsock_unix, w);
	struct clock *clock = loop_clock(u->loop);

	for (unsigned i = 0; i < ACCEPT_MAX; i++) {
		int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
			return;
		if (fd < 0) {
			loop_rewatch(u->loop, w, 0);
			clock_arm(clock, &u->retry, clock_now_ns(clock) + RETRY_NS);
			return;
		}
		if (!make_room(u) || !new_end(u, fd, GREETING, EPOLLIN))
			close(fd);
	}
}

static void accept_again(struct timer *t, u64 now_ns UNUSED)
{
	struct vsock_unix *u = container_of(t, struct vsock_unix, retry);

	loop_rewatch(u->loop, &u->w, EPOLLIN);
}

struct vsock_backend *vsock_unix_new(struct loop *l, const struct vsock_unix_cfg *c,
				     struct err *e)
{
	struct vsock_unix *u = calloc(1, sizeof *u);

	if (!u) {
		close(c->listen_fd);
		err_set(e, ENOMEM, "vsock: out of memory");
		return NULL;
	}
	u->b = (struct vsock_backend){
		.connect = guest_connects,
		.connected = guest_accepted,
		.send = guest_sends,
		.can_receive = guest_has_room,
		.guest_done = guest_done,
		.closed = guest_closed,
	};
	u->cfg = *c;
	u->loop = l;
	u->w = (struct watch){ .fd = c->listen_fd, .fn = on_client };
	u->retry.fn = accept_again;
	if (fd_nonblock(c->listen_fd, true) || loop_watch(l, &u->w, EPOLLIN, e)) {
		close(c->listen_fd);
		free(u);
		return NULL;
	}
	return &u->b;
}

void vsock_unix_free(struct vsock_backend *b)
{
	struct vsock_unix *u = container_of(b, struct vsock_unix, b);

	if (!b)
		return;
	while (u->ends)
		free_end(u->ends);
	loop_unwatch(u->loop, &u->w);
	clock_disarm(loop_clock(u->loop), &u->retry);
	fd_close(&u->w.fd);
	free(u);
}
