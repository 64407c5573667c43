// SPDX-License-Identifier: Apache-2.0
/* port.h - inside net/: a struct net_port over one non-blocking descriptor */
#ifndef NET_PORT_H
#define NET_PORT_H

#include "net/net.h"
#include "os/os.h"

#define PORT_BATCH 16
#define PORT_SLOT  (12 + NET_FRAME_MAX + 2) /* bytes per buffered frame, a multiple of 8 */

struct port {
	struct net_port p;
	struct loop *loop;
	struct watch w;
	struct task task;
	u8 *buf; /* PORT_BATCH slots of PORT_SLOT */
	u32 len[PORT_BATCH];
	unsigned at, nr;       /* frames [at, nr) are undelivered */
	bool held, blocked;    /* the NIC has no buffer; the descriptor is full */
	bool started, dead;
	void (*gone)(void *ctx);
	void *ctx;

	/* Read up to PORT_BATCH frames. Return: their number, 0 = none now, -1 = other end gone. */
	int (*fill)(struct port *p);
	/* As writev(). */
	ssize_t (*put)(struct port *p, const struct iovec *iov, int nr_iov);
};

/* Takes over w.fd, which the caller has set together with fill and put. */
int port_init(struct port *p, struct loop *l, struct err *e) MUST_CHECK;

#endif
