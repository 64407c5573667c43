// SPDX-License-Identifier: Apache-2.0
/*
 * nbd.h - disks over a socket: client and server [NBD doc/proto.md]
 *
 * The fixed newstyle handshake and simple replies. No TLS: Unix sockets, loopback, or
 * a network that is trusted or tunnelled.
 */
#ifndef BLK_NBD_H
#define BLK_NBD_H

#include "blk/blk.h"

#define NBD_MAX_REQUEST FUZZ_LESS(32u << 20, 64u << 10) /* bytes of data in one message */

/*
 * The export @name of the server at the connected socket @fd (taken over), as a node
 * of bytes. The handshake waits, at most some seconds.
 */
struct blk *nbd_open(struct loop *l, int fd, const char *name, bool read_only,
		     struct err *e) MUST_CHECK;

struct nbd_server;

/* Serve @b (which stays the caller's) to whoever connects to @fd (taken over). */
struct nbd_server *nbd_serve(struct loop *l, int fd, struct blk *b, bool read_only,
			     struct err *e) MUST_CHECK;
unsigned nbd_server_clients(const struct nbd_server *s);
void nbd_server_stop(struct nbd_server *s); /* waits for what is in flight */

#endif
