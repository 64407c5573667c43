// SPDX-License-Identifier: Apache-2.0
/*
 * server.h - HTTP over a listening Unix socket, on a thread of its own
 *
 * Clients are hostile: heads, bodies, connections and the time a request may take to
 * arrive are bounded. Requests on one connection are answered in order.
 */
#ifndef API_SERVER_H
#define API_SERVER_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

#define SERVER_CONNECTIONS 32
#define SERVER_PARTIAL_MS  10000 /* a request arrives within this time */
#define SERVER_TICK_MS	   60000

/* With a request, or before its end, so many descriptors may come (SCM_RIGHTS). */
#define API_FDS 17

struct api;
struct server;

/* @fd: listening, non-blocking; taken over; -1 = ticks only. @max_body: bytes. */
struct server *server_new(struct api *a, int fd, u64 max_body, struct err *e) MUST_CHECK;
int server_start(struct server *s, struct err *e) MUST_CHECK;
void server_free(struct server *s); /* ends the thread; NULL is fine */

/*
 * server_feed() - what a connection does with bytes: for the server, and for tests
 * @in:	@len bytes from the peer, more than one request perhaps; *used: how many were used up
 * @out: answers from malloc, @out_len bytes of them
 *
 * Return: true if the connection goes on.
 */
bool server_feed(struct api *a, u64 max_body, const char *in, size_t len, size_t *used,
		 u64 *discard, bool *continued, char **out, size_t *out_len);

#endif
