// SPDX-License-Identifier: Apache-2.0
/*
 * vsock.h - between the virtio-vsock device and the host's sockets
 *
 * The device keeps the connections and the credit; the back end keeps the host ends
 * (Unix sockets, or a test's arrays). Calls happen with the board lock held. A
 * struct vsock_conn lives from connect (either side) until the device calls closed()
 * or the back end calls vsock_close(), whichever is first; both then forget it. The
 * back end may call any function here from inside its callbacks.
 */
#ifndef DEV_VIRTIO_VSOCK_H
#define DEV_VIRTIO_VSOCK_H

#include "base/types.h"

struct dev;
struct vsock_conn;

#define VSOCK_HOST_CID 2
#define VSOCK_ANY_PORT 0xffffffffu

struct vsock_backend {
	/*
	 * The guest connects to @host_port. Return: a host end, or NULL to refuse. The
	 * connection is not up until vsock_accept() (which may be called from here).
	 */
	void *(*connect)(struct vsock_backend *b, struct vsock_conn *c, u32 guest_port,
			 u32 host_port);
	void (*connected)(void *host); /* the guest accepted vsock_connect() */
	/* Guest data. Returns bytes taken; when short, call vsock_writable() later. */
	size_t (*send)(void *host, const void *buf, size_t len);
	void (*can_receive)(void *host); /* room again after vsock_receive() was short */
	void (*guest_done)(void *host);	 /* end of guest data; all of it was taken */
	void (*closed)(void *host);	 /* refused, reset or closed by the guest, or device reset */
	struct dev *dev; /* for vsock_connect(); set by the device's init, NULL after its fini */
};

/* Connect to @guest_port of the guest. NULL: no driver, ports in use, or too many. */
struct vsock_conn *vsock_connect(struct dev *d, u32 host_port, u32 guest_port, void *host);
void vsock_accept(struct vsock_conn *c);
/* Host data. Returns bytes taken; when short, can_receive() follows. */
size_t vsock_receive(struct vsock_conn *c, const void *buf, size_t len);
void vsock_host_done(struct vsock_conn *c); /* end of host data (half close) */
void vsock_writable(struct vsock_conn *c);
void vsock_close(struct vsock_conn *c);

#endif
