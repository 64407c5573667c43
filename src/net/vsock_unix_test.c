// SPDX-License-Identifier: Apache-2.0
/* vsock_unix_test.c - host programs on Unix sockets against a guest made of counters */
#include "net/vsock.h"

#include "base/test.h"
#include "os/os.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct vsock_conn {
	void *host;
	u32 host_port, guest_port;
	bool up, done, closed;
};

/* The device's side, of which there is one. */
static struct guest {
	struct vsock_conn c[300];
	unsigned nr;
	size_t room, got;
	char data[64];
	bool refuse;
} g;

static struct vsock_conn *guest_connect(void *dev UNUSED, u32 host_port, u32 guest_port, void *host)
{
	struct vsock_conn *c = &g.c[g.nr];

	if (g.refuse || g.nr == array_len(g.c))
		return NULL;
	g.nr++;
	*c = (struct vsock_conn){ .host = host, .host_port = host_port, .guest_port = guest_port };
	return c;
}

static void guest_accept(struct vsock_conn *c)
{
	c->up = true;
}

static size_t guest_receive(struct vsock_conn *c UNUSED, const void *buf, size_t len)
{
	size_t n = len < g.room ? len : g.room;

	for (size_t i = 0; i < n && g.got + i < sizeof g.data; i++)
		g.data[g.got + i] = ((const char *)buf)[i];
	g.got += n;
	g.room -= n;
	return n;
}

static void guest_host_done(struct vsock_conn *c)
{
	c->done = true;
}

static void guest_writable(struct vsock_conn *c UNUSED)
{
}

static void guest_close(struct vsock_conn *c)
{
	c->closed = true;
}

static const struct vsock_guest guest_ops = {
	.connect = guest_connect, .accept = guest_accept, .receive = guest_receive,
	.host_done = guest_host_done, .writable = guest_writable, .close = guest_close,
};

struct rig {
	char path[64];
	struct loop *l;
	struct vsock_backend *b;
	struct err e;
	int peer; /* what dial() left for the test */
};

static int dial(void *ctx, u32 port)
{
	struct rig *r = ctx;
	int s[2];

	if (port != 80 || fd_pair(SOCK_STREAM, s))
		return -ECONNREFUSED;
	r->peer = s[1];
	return fd_nonblock(s[0], true) ? -EIO : s[0];
}

static bool rig_up(struct rig *r)
{
	struct vsock_unix_cfg c = { .dial = dial, .ctx = r };

	*r = (struct rig){ .peer = -1 };
	g = (struct guest){ .room = SIZE_MAX };
	snprintf(r->path, sizeof r->path, "/tmp/vsock-test-%d", getpid());
	r->l = loop_new(&r->e);
	c.listen_fd = fd_listen_unix(r->path, 128, &r->e);
	r->b = r->l && c.listen_fd >= 0 ? vsock_unix_new(r->l, &c, &r->e) : NULL;
	if (!r->b)
		return false;
	r->b->guest = &guest_ops;
	r->b->dev = r;
	return true;
}

static void rig_down(struct rig *r)
{
	vsock_unix_free(r->b);
	loop_free(r->l);
	fd_close(&r->peer);
	unlink(r->path);
}

static void spin(struct rig *r)
{
	for (unsigned i = 0; i < 20; i++)
		loop_once(r->l, 0);
}

static int client(struct rig *r, const char *say)
{
	int fd = fd_connect_unix(r->path);

	if (fd >= 0 && *say && send(fd, say, strlen(say), 0) < 0)
		fd_close(&fd);
	spin(r);
	return fd;
}

/* What the client sees: text, "" = nothing yet, "EOF". */
static const char *seen(int fd)
{
	static char buf[128];
	ssize_t n = recv(fd, buf, sizeof buf - 1, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN ? "" : "EOF";
	buf[n] = '\0';
	return n ? buf : "EOF";
}

TEST(vsock_unix_connect_line_is_answered_when_the_guest_accepts)
{
	struct rig r;
	int fd;

	CHECK(rig_up(&r));
	fd = client(&r, "CONNECT 52\nhello");
	CHECK_EQ(g.nr, 1);
	CHECK_EQ(g.c[0].guest_port, 52);
	CHECK_STR(seen(fd), "");
	r.b->connected(g.c[0].host);
	CHECK_STR(seen(fd), "OK 1073741824\n");
	spin(&r);
	CHECK_EQ(g.got, 5);
	CHECK(!memcmp(g.data, "hello", 5));
	CHECK_EQ(r.b->send(g.c[0].host, "world", 5), 5);
	CHECK_STR(seen(fd), "world");
	shutdown(fd, SHUT_WR);
	spin(&r);
	CHECK(g.c[0].done && !g.c[0].closed);
	CHECK_EQ(r.b->send(g.c[0].host, "late", 4), 4);
	r.b->guest_done(g.c[0].host);
	CHECK(g.c[0].closed);
	CHECK_STR(seen(fd), "late");
	CHECK_STR(seen(fd), "EOF");
	close(fd);
	rig_down(&r);
}

TEST(vsock_unix_line_may_come_in_pieces)
{
	struct rig r;
	int fd;

	CHECK(rig_up(&r));
	fd = client(&r, "CONN");
	CHECK_EQ(send(fd, "ECT 4294967294\n", 15, 0), 15);
	spin(&r);
	CHECK_EQ(g.nr, 1);
	CHECK_EQ(g.c[0].guest_port, 4294967294);
	close(fd);
	spin(&r);
	CHECK(g.c[0].closed); /* gone before the guest answered */
	rig_down(&r);
}

TEST(vsock_unix_bad_lines_end_the_connection)
{
	static const char *const bad[] = {
		"CONNECT\n", "CONNECT \n", "connect 5\n", "CONNECT 4294967296\n", "CONNECT -1\n",
		"CONNECT 5 \n", "CONNECT 99999999999999999999999999999999", "\n", "CONNECT 5x\n",
	};
	struct rig r;

	CHECK(rig_up(&r));
	for (unsigned i = 0; i < array_len(bad); i++) {
		int fd = client(&r, bad[i]);

		CHECK_EQ(g.nr, 0);
		CHECK_STR(seen(fd), "EOF");
		close(fd);
	}
	g.refuse = true;
	{
		int fd = client(&r, "CONNECT 5\n");

		CHECK_STR(seen(fd), "EOF");
		close(fd);
	}
	rig_down(&r);
}

TEST(vsock_unix_holds_what_the_guest_does_not_take)
{
	static char data[200000];
	struct rig r;
	ssize_t n;
	int fd;

	CHECK(rig_up(&r));
	fd = client(&r, "CONNECT 1\n");
	r.b->connected(g.c[0].host);
	g.room = 10;
	n = send(fd, data, sizeof data, 0);
	CHECK(n > 0);
	spin(&r);
	CHECK_EQ(g.got, 10);
	shutdown(fd, SHUT_RDWR);
	close(fd);
	spin(&r);
	CHECK(!g.c[0].closed); /* the rest waits */
	for (unsigned i = 0; i < 100 && !g.c[0].closed; i++) {
		g.room = 50000;
		r.b->can_receive(g.c[0].host);
		spin(&r);
	}
	CHECK_EQ(g.got, n);
	CHECK(g.c[0].closed);
	rig_down(&r);
}

TEST(vsock_unix_guest_reaches_the_listener_of_its_port)
{
	struct vsock_conn c = { 0 };
	struct rig r;
	void *host;

	CHECK(rig_up(&r));
	CHECK(!r.b->connect(r.b, &c, 1000, 81));
	host = r.b->connect(r.b, &c, 1000, 80);
	CHECK(host && c.up);
	c.host = host;
	CHECK_EQ(r.b->send(host, "ping", 4), 4);
	CHECK_STR(seen(r.peer), "ping");
	CHECK_EQ(send(r.peer, "pong", 4, 0), 4);
	spin(&r);
	CHECK_EQ(g.got, 4);
	fd_close(&r.peer);
	spin(&r);
	CHECK(c.closed);
	rig_down(&r);
}

TEST(vsock_unix_silent_programs_give_way)
{
	static int fd[300];
	struct rig r;
	int last;

	CHECK(rig_up(&r));
	for (unsigned i = 0; i < array_len(fd); i++)
		fd[i] = client(&r, "");
	last = client(&r, "CONNECT 7\n");
	CHECK_EQ(g.nr, 1);
	CHECK_STR(seen(fd[0]), "EOF"); /* the oldest */
	CHECK_STR(seen(fd[299]), "");
	for (unsigned i = 0; i < array_len(fd); i++)
		close(fd[i]);
	close(last);
	rig_down(&r);
}
