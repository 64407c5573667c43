// SPDX-License-Identifier: Apache-2.0
/* port_test.c - the user-mode network's socket: order, back-pressure, the end of the helper */
#include "base/test.h"
#include "net/net.h"
#include "os/os.h"

#include <sys/socket.h>
#include <unistd.h>

static struct err err;

struct nic {
	unsigned room, got, writables;
	bool wrong, up;
};

static bool receive(void *nic, const struct iovec *v, int nr_iov)
{
	struct nic *n = nic;
	unsigned i;

	if (!n->room)
		return false;
	n->room--;
	memcpy(&i, (u8 *)v->iov_base + 12, sizeof i);
	n->wrong |= nr_iov != 1 || i != n->got || v->iov_len != 100 + i;
	n->got++;
	return true;
}

static void writable(void *nic)
{
	((struct nic *)nic)->writables++;
}

static void set_link(void *nic, bool up)
{
	((struct nic *)nic)->up = up;
}

static void set_gone(void *ctx)
{
	(*(unsigned *)ctx)++;
}

static struct net_port *open_pair(struct loop *l, int *peer, struct nic *n, unsigned *gone)
{
	struct net_port *p;
	int s[2];

	if (fd_pair(SOCK_SEQPACKET, s) || fd_nonblock(s[1], true))
		return NULL;
	*peer = s[1];
	p = net_open_user(l, s[0], set_gone, gone, &err);
	if (!p)
		return NULL;
	p->nic = n;
	p->receive = receive;
	p->writable = writable;
	p->link = set_link;
	net_start(p);
	return p;
}

TEST(frames_wait_for_the_nic_in_order)
{
	struct loop *l = loop_new(&err);
	struct nic n = { 0 };
	unsigned gone = 0, sent = 0;
	u8 buf[400] = { 0 };
	int peer;
	struct net_port *p = open_pair(l, &peer, &n, &gone);

	CHECK(p);
	CHECK(n.up);
	n.room = 3;
	for (; sent < 100; sent++) {
		memcpy(buf + 12, &sent, sizeof sent);
		if (send(peer, buf, 100 + sent, 0) < 0)
			break;
	}
	for (int i = 0; i < 10; i++)
		loop_once(l, 0);
	CHECK_EQ(n.got, 3);
	for (int i = 0; i < 500 && n.got < sent; i++) {
		n.room = 2;
		p->can_receive(p);
		loop_once(l, 0);
	}
	CHECK_EQ(n.got, sent);
	CHECK(!n.wrong);
	CHECK_EQ(gone, 0);
	close(peer);
	loop_once(l, 100);
	CHECK_EQ(gone, 1);
	CHECK(!n.up);
	net_close(p);
	loop_free(l);
}

TEST(a_full_socket_refuses_a_frame_and_says_when_there_is_room)
{
	struct loop *l = loop_new(&err);
	static u8 frame[60000];
	struct nic n = { 0 };
	struct iovec v = { frame, sizeof frame };
	unsigned gone = 0, sent = 0;
	int peer;
	struct net_port *p = open_pair(l, &peer, &n, &gone);

	CHECK(p);
	while (sent < 10000 && p->send(p, &v, 1))
		sent++;
	CHECK(sent > 0 && sent < 10000);
	loop_once(l, 0);
	CHECK_EQ(n.writables, 0);
	for (unsigned i = 0; i < sent; i++)
		CHECK_EQ(recv(peer, frame, sizeof frame, 0), (ssize_t)sizeof frame);
	loop_once(l, 100);
	CHECK_EQ(n.writables, 1);
	CHECK(p->send(p, &v, 1));
	close(peer);
	CHECK(p->send(p, &v, 1)); /* lost, not an error */
	net_close(p);
	loop_free(l);
}
