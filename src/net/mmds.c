// SPDX-License-Identifier: Apache-2.0
/* mmds.c - the metadata service: its data, and the port between a NIC and its network */
#include "net/mmds_int.h"

#include "base/clock.h"
#include "net/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VNET_HDR   12
#define HEAD_MAX   (14 + 60 + 60) /* Ethernet, and the longest IPv4 and TCP headers */
#define INPUT_MAX  (HEAD_MAX + TCP_RX) /* of a frame; what is longer would not fit the window */
#define NEEDS_CSUM 1 /* virtio_net_hdr.flags */
#define SOON_NS	   1000000
#define BURST	   64 /* frames at once; the rest when the NIC asks or the timer comes */

/* -- data --------------------------------------------------------------------------------- */

struct mmds *mmds_new(const struct mmds_cfg *c, struct err *e)
{
	struct mmds *m = calloc(1, sizeof *m);

	if (!m) {
		err_set(e, ENOMEM, "mmds: out of memory");
		return NULL;
	}
	m->cfg = *c;
	if (c->random(c->ctx, m->key, sizeof m->key) != sizeof m->key) {
		free(m);
		err_set(e, EIO, "mmds: the host has no random numbers");
		return NULL;
	}
	return m;
}

void mmds_free(struct mmds *m)
{
	if (!m)
		return;
	json_decref(m->data);
	free(m);
}

int mmds_set(struct mmds *m, const char *text, size_t len, struct err *e)
{
	json_error_t je;
	json_t *v = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);

	if (!v)
		return err_set(e, EINVAL, "metadata: line %d: %.100s", je.line, je.text);
	if (!json_is_object(v)) {
		json_decref(v);
		return err_set(e, EINVAL, "metadata: want a JSON object");
	}
	if (json_dumpb(v, NULL, 0, JSON_COMPACT) > m->cfg.size_limit) {
		json_decref(v);
		return err_set(e, E2BIG, "metadata: want at most %llu bytes",
			       (unsigned long long)m->cfg.size_limit);
	}
	json_decref(m->data);
	m->data = v;
	return 0;
}

/* -- the port ----------------------------------------------------------------------------- */

struct mmds_port {
	struct net_port p;
	struct net_port *lower;
	struct tcp tcp;
	struct timer timer;
	bool lower_held; /* the network's next frame waits until ours are through */
	size_t held;	 /* bytes of frame[] the NIC had no room for */
	u8 frame[VNET_HDR + TCP_FRAME]; /* the header of a reply is all zero */
};

static struct mmds_port *of(struct net_port *p)
{
	return container_of(p, struct mmds_port, p);
}

static struct clock *clock_of(const struct mmds_port *p)
{
	return p->tcp.m->cfg.clock;
}

/* Give the NIC what there is to say; false if it has no room for all of it. */
static bool pump(struct mmds_port *p)
{
	size_t skip = p->p.has_vnet_hdr ? 0 : VNET_HDR;
	unsigned n;
	u64 when, now;

	for (n = 0; n < BURST; n++) {
		struct iovec v;

		if (!p->held)
			p->held = tcp_output(&p->tcp, p->frame + VNET_HDR);
		if (!p->held)
			break;
		v = (struct iovec){ p->frame + skip, VNET_HDR - skip + p->held };
		if (p->p.receive && !p->p.receive(p->p.nic, &v, 1))
			return false;
		p->held = 0;
	}
	now = clock_now_ns(clock_of(p));
	when = n < BURST ? tcp_tick(&p->tcp, now) : now + SOON_NS;
	if (when)
		clock_arm(clock_of(p), &p->timer, when);
	else
		clock_disarm(clock_of(p), &p->timer);
	return true;
}

static void on_timer(struct timer *t, u64 now_ns UNUSED)
{
	struct mmds_port *p = container_of(t, struct mmds_port, timer);

	tcp_tick(&p->tcp, clock_now_ns(clock_of(p)));
	pump(p);
}

/* The first @max bytes of a frame behind @skip. */
static size_t gather(const struct iovec *iov, int nr, size_t skip, u8 *buf, size_t max)
{
	size_t n = 0;

	for (int i = 0; i < nr && n < max; i++) {
		size_t off = skip < iov[i].iov_len ? skip : iov[i].iov_len;
		size_t k = iov[i].iov_len - off;

		skip -= off;
		k = k < max - n ? k : max - n;
		memcpy(buf + n, (const u8 *)iov[i].iov_base + off, k);
		n += k;
	}
	return n;
}

static bool port_send(struct net_port *np, const struct iovec *iov, int nr)
{
	struct mmds_port *p = of(np);
	size_t skip = np->has_vnet_hdr ? VNET_HDR : 0, n;
	u8 buf[INPUT_MAX], flags = 0;

	n = gather(iov, nr, skip, buf, HEAD_MAX);
	if (!tcp_wants(&p->tcp, buf, n))
		return p->lower->send(p->lower, iov, nr);
	n = gather(iov, nr, skip, buf, sizeof buf);
	if (skip)
		gather(iov, nr, 0, &flags, 1);
	tcp_input(&p->tcp, buf, n, flags & NEEDS_CSUM);
	pump(p);
	return true;
}

static void port_can_receive(struct net_port *np)
{
	struct mmds_port *p = of(np);

	if (!pump(p) || !p->lower_held)
		return;
	p->lower_held = false;
	p->lower->can_receive(p->lower);
}

static bool port_set_offload(struct net_port *np, unsigned tun_f)
{
	return of(np)->lower->set_offload(of(np)->lower, tun_f);
}

static bool lower_receive(void *nic, const struct iovec *iov, int nr)
{
	struct mmds_port *p = nic;

	p->lower_held = (p->held && !pump(p)) ||
			(p->p.receive && !p->p.receive(p->p.nic, iov, nr));
	return !p->lower_held;
}

static void lower_writable(void *nic)
{
	struct mmds_port *p = nic;

	if (p->p.writable)
		p->p.writable(p->p.nic);
}

static void lower_link(void *nic, bool up)
{
	struct mmds_port *p = nic;

	if (p->p.link)
		p->p.link(p->p.nic, up);
}

struct net_port *mmds_port_new(struct mmds *m, struct net_port *lower, struct err *e)
{
	struct mmds_port *p = calloc(1, sizeof *p);

	if (!p) {
		err_set(e, ENOMEM, "mmds: out of memory");
		return NULL;
	}
	p->lower = lower;
	p->timer.fn = on_timer;
	p->p.send = port_send;
	p->p.can_receive = port_can_receive;
	p->p.set_offload = lower->set_offload ? port_set_offload : NULL;
	p->p.has_vnet_hdr = lower->has_vnet_hdr;
	tcp_init(&p->tcp, m);
	lower->nic = p;
	lower->receive = lower_receive;
	lower->writable = lower_writable;
	lower->link = lower_link;
	return &p->p;
}

void mmds_port_free(struct net_port *np)
{
	struct mmds_port *p = of(np);

	if (!np)
		return;
	clock_disarm(clock_of(p), &p->timer);
	tcp_fini(&p->tcp);
	p->lower->receive = NULL;
	p->lower->writable = NULL;
	p->lower->link = NULL;
	free(p);
}
