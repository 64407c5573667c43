// SPDX-License-Identifier: Apache-2.0
/*
 * port.c - frames between a NIC and a descriptor, with back-pressure both ways
 *
 * Frames are read in batches into buf. One the NIC has no buffer for stays there
 * and reading stops until can_receive(); the sender beyond the descriptor then
 * feels it as a full queue. A frame the descriptor has no room for is refused
 * until it is writable.
 */
#include "net/port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void set_events(struct port *p)
{
	u32 in = p->started && !p->held ? EPOLLIN : 0, out = p->blocked ? EPOLLOUT : 0;

	loop_rewatch(p->loop, &p->w, p->dead ? 0 : in | out);
}

static void lost(struct port *p)
{
	p->dead = true;
	p->nr = p->at = 0;
	loop_unwatch(p->loop, &p->w);
	if (p->p.link)
		p->p.link(p->p.nic, false);
	if (p->gone)
		p->gone(p->ctx);
}

/* Return: everything was delivered. */
static bool deliver(struct port *p)
{
	for (; p->at < p->nr; p->at++) {
		struct iovec v = { p->buf + p->at * PORT_SLOT, p->len[p->at] };

		if (p->p.receive && !p->p.receive(p->p.nic, &v, 1))
			return false;
	}
	p->at = p->nr = 0;
	return true;
}

static void pump(struct port *p)
{
	int n;

	p->held = !deliver(p);
	if (p->held || p->dead) {
		set_events(p);
		return;
	}
	n = p->fill(p);
	if (n < 0) {
		lost(p);
		return;
	}
	p->nr = (unsigned)n;
	p->held = !deliver(p);
	set_events(p);
}

static void on_event(struct watch *w, u32 events)
{
	struct port *p = container_of(w, struct port, w);

	if (p->blocked && events & ~(u32)EPOLLIN) {
		p->blocked = false;
		set_events(p);
		if (p->p.writable)
			p->p.writable(p->p.nic);
	}
	if (!p->dead && !p->held && p->started && events & ~(u32)EPOLLOUT)
		pump(p);
}

static void on_task(struct task *t)
{
	struct port *p = container_of(t, struct port, task);

	if (p->started && !p->dead)
		pump(p);
}

static void can_receive(struct net_port *np)
{
	struct port *p = container_of(np, struct port, p);

	if (p->held)
		loop_post(p->loop, &p->task);
}

static bool send_frame(struct net_port *np, const struct iovec *iov, int nr_iov)
{
	struct port *p = container_of(np, struct port, p);

	if (p->dead || p->put(p, iov, nr_iov) >= 0)
		return true;
	if (errno != EAGAIN && errno != ENOBUFS && errno != EINTR)
		return true; /* refused by the host, for instance malformed: lost */
	p->blocked = true;
	set_events(p);
	return false;
}

int port_init(struct port *p, struct loop *l, struct err *e)
{
	int r;

	p->loop = l;
	p->w.fn = on_event;
	p->task.fn = on_task;
	p->p.send = send_frame;
	p->p.can_receive = can_receive;
	p->buf = malloc((size_t)PORT_BATCH * PORT_SLOT);
	if (!p->buf)
		return err_set(e, ENOMEM, "network: out of memory");
	r = fd_nonblock(p->w.fd, true);
	if (r)
		return err_set(e, -r, "network: %s", strerror(-r));
	TRY(loop_watch(l, &p->w, EPOLLIN, e));
	set_events(p);
	return 0;
}

void net_start(struct net_port *np)
{
	struct port *p = container_of(np, struct port, p);

	p->started = true;
	if (np->link)
		np->link(np->nic, !p->dead);
	set_events(p);
}

void net_close(struct net_port *np)
{
	struct port *p = container_of(np, struct port, p);

	if (!np)
		return;
	loop_unwatch(p->loop, &p->w);
	loop_cancel(p->loop, &p->task);
	fd_close(&p->w.fd);
	free(p->buf);
	free(p);
}
