// SPDX-License-Identifier: Apache-2.0
/*
 * vsock.h - between the virtio-vsock device and the host's sockets
 *
 * The device keeps the connections and the credit; the back end keeps the host ends
 * (Unix sockets, or a test's arrays). Calls happen with the board lock held. A
 * struct vsock_conn lives from connect (either side) until the device calls closed()
 * or the back end calls close(), whichever is first; both then forget it. The
 * back end may call any function of the device from inside its callbacks.
 */
#ifndef NET_VSOCK_H
#define NET_VSOCK_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

struct loop;
struct vsock_conn;

#define VSOCK_HOST_CID 2

/* The device implements. */
struct vsock_guest {
	/* Connect to @guest_port of the guest. NULL: no driver, ports in use, or too many. */
	struct vsock_conn *(*connect)(void *dev, u32 host_port, u32 guest_port, void *host);
	void (*accept)(struct vsock_conn *c);
	/* Host data. Returns bytes taken; when short, can_receive() follows. */
	size_t (*receive)(struct vsock_conn *c, const void *buf, size_t len);
	void (*host_done)(struct vsock_conn *c); /* end of host data (half close) */
	void (*writable)(struct vsock_conn *c);
	void (*close)(struct vsock_conn *c);
};

struct vsock_backend {
	/*
	 * The guest connects to @host_port. Return: a host end, or NULL to refuse. The
	 * connection is not up until accept() (which may be called from here).
	 */
	void *(*connect)(struct vsock_backend *b, struct vsock_conn *c, u32 guest_port,
			 u32 host_port);
	void (*connected)(void *host); /* the guest accepted connect() */
	/* Guest data. Returns bytes taken; when short, call writable() later. */
	size_t (*send)(void *host, const void *buf, size_t len);
	void (*can_receive)(void *host); /* room again after receive() was short */
	void (*guest_done)(void *host);	 /* end of guest data; all of it was taken */
	void (*closed)(void *host);	 /* refused, reset or closed by the guest, or device reset */

	const struct vsock_guest *guest; /* these two are set by the device's init; */
	void *dev;			 /* dev is NULL after its fini */
};

/* -- Unix sockets as the host's ends, with Firecracker's protocol --------------------------
 *
 * A host program connects to PATH, sends "CONNECT PORT\n" with a port of the guest, and gets
 * "OK HOSTPORT\n" when the guest has accepted; otherwise the socket is closed. A guest's
 * connection to CID 2, port N, arrives at the Unix socket PATH_N that a host program listens on.
 */

struct vsock_unix_cfg {
	int listen_fd; /* listens at PATH; taken over, also on failure */
	/* A connected stream socket to PATH_@port, or negative errno; must not block. */
	int (*dial)(void *ctx, u32 port);
	void *ctx;
};

struct vsock_backend *vsock_unix_new(struct loop *l, const struct vsock_unix_cfg *c,
				     struct err *e) MUST_CHECK;
void vsock_unix_free(struct vsock_backend *b); /* after the device; NULL is fine */

#endif
