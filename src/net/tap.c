// SPDX-License-Identifier: Apache-2.0
/*
 * tap.c - a TAP interface of the host as a net_port [Linux Documentation/networking/tuntap.rst]
 *
 * With IFF_VNET_HDR the kernel takes and gives virtio_net_hdr, so checksum and
 * segmentation offloads pass through.
 */
#include "net/port.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define VNET_HDR_SIZE 12

static int tap_fill(struct port *p)
{
	int n = 0;

	while (n < PORT_BATCH) {
		ssize_t k = read(p->w.fd, p->buf + n * PORT_SLOT, PORT_SLOT);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0) /* EAGAIN; or EIO while the interface is down */
			return k < 0 && errno == EBADFD && !n ? -1 : n;
		p->len[n++] = (u32)k;
	}
	return n;
}

static ssize_t tap_put(struct port *p, const struct iovec *iov, int nr_iov)
{
	return writev(p->w.fd, iov, nr_iov);
}

static bool tap_set_offload(struct net_port *np, unsigned tun_f)
{
	struct port *p = container_of(np, struct port, p);

	return ioctl(p->w.fd, TUNSETOFFLOAD, (unsigned long)tun_f) == 0;
}

static void tap_attach(struct net_port *np, bool on)
{
	struct port *p = container_of(np, struct port, p);
	struct ifreq ifr = { .ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

	(void)ioctl(p->w.fd, TUNSETQUEUE, &ifr); /* fails if it is so already, or the interface is gone */
}

int net_tap_fd(const char *name, struct err *e)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int fd;

	if (!*name || strlen(name) >= IFNAMSIZ)
		return err_set(e, EINVAL, "tap %s: an interface name has 1 to %d characters", name,
			       IFNAMSIZ - 1);
	strcpy(ifr.ifr_name, name);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_set(e, errno, "tap %s: /dev/net/tun: %s", name, strerror(errno));
	if (!ioctl(fd, TUNSETIFF, &ifr))
		return fd;
	err_set(e, errno, "tap %s: %s", name,
		errno == EBUSY	? "in use by another program" :
		errno == EPERM	? "not permitted: it must exist and belong to this user" :
		errno == EINVAL ? "exists, but is no TAP interface like this" :
				  strerror(errno));
	close(fd);
	return -e->code;
}

struct net_port *net_open_tap(struct loop *l, const char *name, int fd, void (*gone)(void *ctx),
			      void *ctx, struct err *e)
{
	struct port *p = calloc(1, sizeof *p);
	struct ifreq ifr = { 0 };
	int hdr = VNET_HDR_SIZE;

	if (name)
		fd = net_tap_fd(name, e);
	if (!p || fd < 0) {
		if (!p)
			err_set(e, ENOMEM, "tap: out of memory");
		else if (!name)
			err_set(e, EBADF, "tap: no descriptor was given");
		fd_close(&fd);
		free(p);
		return NULL;
	}
	p->w.fd = fd;
	p->fill = tap_fill;
	p->put = tap_put;
	p->gone = gone;
	p->ctx = ctx;
	if (ioctl(fd, TUNGETIFF, &ifr)) {
		err_set(e, errno, "tap: descriptor %d is no TAP interface", fd);
		net_close(&p->p);
		return NULL;
	}
	p->p.has_vnet_hdr = ifr.ifr_flags & IFF_VNET_HDR && !ioctl(fd, TUNSETVNETHDRSZ, &hdr);
	if (p->p.has_vnet_hdr)
		p->p.set_offload = tap_set_offload;
	if (ifr.ifr_flags & IFF_MULTI_QUEUE)
		p->p.attach = tap_attach;
	if (port_init(p, l, e)) {
		net_close(&p->p);
		return NULL;
	}
	return &p->p;
}
