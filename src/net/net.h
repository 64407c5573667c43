// SPDX-License-Identifier: Apache-2.0
/*
 * net.h - Ethernet between a NIC model and a network
 *
 * Frames are whole, without FCS; with NET_OFFLOAD a struct virtio_net_hdr (12
 * bytes, [virtio 5.1.6]) precedes each. Calls happen with the board lock held.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/types.h"

#include <sys/uio.h>

struct net_port {
	/* Back end implements: a frame from the guest. false = full, frame not taken; the back
	 * end calls writable() later. */
	bool (*send)(struct net_port *p, const struct iovec *iov, int nr_iov);
	/* The NIC has receive buffers again after receive() returned false. */
	void (*can_receive)(struct net_port *p);
	/* Ask for offloads (TUN_F_* bits); returns false if the back end cannot. May be NULL. */
	bool (*set_offload)(struct net_port *p, unsigned tun_f);

	/* NIC sets these in its init: a frame for the guest. false = no buffer, hold it. */
	bool (*receive)(void *nic, const struct iovec *iov, int nr_iov);
	void (*writable)(void *nic);
	void (*link)(void *nic, bool up); /* may be NULL */
	void *nic;

	bool has_vnet_hdr; /* back end can carry a 12-byte virtio_net_hdr before each frame */
};

#endif
