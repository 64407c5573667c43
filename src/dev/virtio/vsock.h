// SPDX-License-Identifier: Apache-2.0
/*
 * vsock.h - between the virtio-vsock device and the host's sockets
 *
 * The device keeps the connections and the credit; the back end keeps the host ends
 * (Unix sockets, or a test's arrays). Calls happen with the board lock held. A
 * struct vsock_conn lives from connect (either side) until the back end's closed()
 * is called, or until vsock_close(), whichever is first; both sides forget it then.
 */
#ifndef DEV_VIRTIO_VSOCK_H
#define DEV_VIRTIO_VSOCK_H

#include "base/types.h"

struct dev;
struct vsock_conn;

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
	void (*guest_done)(void *host);	 /* end of guest data, all of it was sent */
	void (*closed)(void *host);	 /* reset or closed by the guest, or device reset */
	struct dev *dev; /* the device (not the transport); set by the device's init */
};

/* Connect to @guest_port of the guest from @host_port. NULL if the guest has no driver. */
struct vsock_conn *vsock_connect(struct dev *d, u32 host_port, u32 guest_port, void *host);
void vsock_accept(struct vsock_conn *c);
size_t vsock_receive(struct vsock_conn *c, const void *buf, size_t len); /* bytes taken */
void vsock_host_done(struct vsock_conn *c); /* end of host data (half close) */
void vsock_writable(struct vsock_conn *c);
void vsock_close(struct vsock_conn *c);

#endif
