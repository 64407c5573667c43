// SPDX-License-Identifier: Apache-2.0
/*
 * net.h - Ethernet between a NIC model and a network
 *
 * Frames are whole, without FCS. If the back end says has_vnet_hdr, a struct
 * virtio_net_hdr (12 bytes, [virtio 5.1.6]) precedes each, in both directions; the
 * guest may then send unfinished checksums and TCP segments of up to 64 KiB, and
 * receives such after it asked for them with set_offload(). Calls happen with the
 * board lock held.
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
	/* One of several queues of an interface: take part in receiving or not. May be NULL. */
	void (*attach)(struct net_port *p, bool on);

	/* NIC sets these in its init: a frame for the guest. false = no buffer, hold it. */
	bool (*receive)(void *nic, const struct iovec *iov, int nr_iov);
	void (*writable)(void *nic);
	void (*link)(void *nic, bool up); /* may be NULL */
	void *nic;

	bool has_vnet_hdr; /* back end's, fixed: every frame is preceded by a virtio_net_hdr */
};

#define NET_FRAME_MAX (14 + 4 + 65536) /* Ethernet, VLAN tag, largest IP packet */

struct loop;
struct proc;

/*
 * The TAP interface @name (created if it does not exist and we may), or with @name
 * NULL the open TAP descriptor @fd (taken over). @gone is called once if the interface is
 * removed; may be NULL.
 */
struct net_port *net_open_tap(struct loop *l, const char *name, int fd, void (*gone)(void *ctx),
			      void *ctx, struct err *e) MUST_CHECK;

/*
 * The user-mode network helper (vireo-net --fd N) at the other end of the
 * SOCK_SEQPACKET socket @fd (taken over): one frame per message. @gone is called once
 * if the helper ends; may be NULL.
 */
struct net_port *net_open_user(struct loop *l, int fd, void (*gone)(void *ctx), void *ctx,
			       struct err *e) MUST_CHECK;

/* -- for the program that starts the monitor: the descriptors for the above -------- */

int net_tap_fd(const char *name, struct err *e) MUST_CHECK; /* or negative errno */

/*
 * Start vireo-net with @forwards ("[tcp:|udp:][HOSTADDR:]HOSTPORT:GUESTPORT", HOSTADDR
 * 127.0.0.1 unless given) and wait until it listens. @cgroup_fd: as in struct proc_spec. *ret_fd: our end of its socket;
 * the helper ends when all copies of that are closed.
 */
int net_spawn_user(const char *const *forwards, unsigned nr, int cgroup_fd, struct proc *ret_proc,
		   int *ret_fd, struct err *e) MUST_CHECK;

/* -- between net_open_user() and vireo-net ------------------------------------------
 *
 * Every message on the socket is one frame behind its virtio_net_hdr; a message as
 * short as this one says instead what the guest accepts.
 */
struct net_offload_msg {
	u32 tun_f; /* TUN_F_* */
};

void net_start(struct net_port *p); /* a NIC is attached: report the link, deliver frames */
void net_close(struct net_port *p); /* NULL is fine */

#endif
