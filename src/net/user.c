// SPDX-License-Identifier: Apache-2.0
/* user.c - the socket to vireo-net as a net_port, and starting that program (see net.h) */
#include "net/port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKET_BUF (4 << 20) /* bytes in flight each way; the host may allow less */

static int user_fill(struct port *p)
{
	struct mmsghdr m[PORT_BATCH];
	struct iovec v[PORT_BATCH];
	int n;

	for (unsigned i = 0; i < PORT_BATCH; i++) {
		v[i] = (struct iovec){ p->buf + i * PORT_SLOT, PORT_SLOT };
		m[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &v[i], .msg_iovlen = 1 } };
	}
	do
		n = recvmmsg(p->w.fd, m, PORT_BATCH, MSG_DONTWAIT, NULL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -1;
	for (int i = 0; i < n; i++) {
		if (!m[i].msg_len) /* end of file: after it there is nothing */
			return i ? i : -1;
		p->len[i] = m[i].msg_len;
	}
	return n;
}

static ssize_t user_put(struct port *p, const struct iovec *iov, int nr_iov)
{
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)nr_iov };

	return sendmsg(p->w.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool user_set_offload(struct net_port *np, unsigned tun_f)
{
	struct port *p = container_of(np, struct port, p);
	struct net_offload_msg m = { tun_f };

	if (p->dead)
		return true;
	return send(p->w.fd, &m, sizeof m, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof m;
}

static void big_buffers(int fd)
{
	int size = SOCKET_BUF;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

struct net_port *net_open_user(struct loop *l, int fd, void (*gone)(void *ctx), void *ctx,
			       struct err *e)
{
	struct port *p = calloc(1, sizeof *p);

	if (!p) {
		close(fd);
		err_set(e, ENOMEM, "network: out of memory");
		return NULL;
	}
	big_buffers(fd);
	p->w.fd = fd;
	p->fill = user_fill;
	p->put = user_put;
	p->gone = gone;
	p->ctx = ctx;
	p->p.has_vnet_hdr = true;
	p->p.set_offload = user_set_offload;
	if (port_init(p, l, e)) {
		net_close(&p->p);
		return NULL;
	}
	return &p->p;
}

/* -- starting the helper ------------------------------------------------------------ */

#define MAX_FORWARDS 64

/* The helper says "ok", or why not, and closes. */
static int wait_ready(int fd, struct err *e)
{
	char say[200];
	ssize_t n = 0, k;

	do {
		k = read(fd, say + n, sizeof say - 1 - (size_t)n);
		n += k > 0 ? k : 0;
	} while (k > 0 || (k < 0 && errno == EINTR));
	say[n] = '\0';
	if (!strcmp(say, "ok"))
		return 0;
	return err_set(e, EADDRINUSE, "network: %s", n ? say : "the helper vireo-net failed");
}

static int spawn(const char *path, const char *const *forwards, unsigned nr, int sock, int ready,
		 int cgroup_fd, struct proc *ret, struct err *e)
{
	const char *argv[6 + 2 * MAX_FORWARDS] = { path, "--fd", "3", "--ready-fd", "4" };
	struct proc_fd map[] = { { sock, 3 }, { ready, 4 } };
	struct proc_spec s = { .path = path, .argv = argv, .fd = map, .nr_fd = 2,
			       .new_group = true, .cgroup_fd = cgroup_fd };
	unsigned n = 5;

	for (unsigned i = 0; i < nr; i++) {
		argv[n++] = "--forward";
		argv[n++] = forwards[i];
	}
	return proc_spawn(ret, &s, e);
}

int net_spawn_user(const char *const *forwards, unsigned nr, int cgroup_fd, struct proc *ret_proc,
		   int *ret_fd, struct err *e)
{
	int sock[2], ready[2], r;
	char path[4096];

	if (nr > MAX_FORWARDS)
		return err_set(e, E2BIG, "network: more than %d forwards", MAX_FORWARDS);
	r = proc_sibling("vireo-net", path, sizeof path);
	if (!r)
		r = fd_pair(SOCK_SEQPACKET, sock);
	if (r)
		return err_set(e, -r, "network: %s", strerror(-r));
	r = fd_pipe(ready);
	if (r) {
		close(sock[0]);
		close(sock[1]);
		return err_set(e, -r, "network: %s", strerror(-r));
	}
	r = spawn(path, forwards, nr, sock[1], ready[1], cgroup_fd, ret_proc, e);
	close(sock[1]);
	close(ready[1]);
	if (!r && (r = wait_ready(ready[0], e)))
		proc_wait(ret_proc);
	close(ready[0]);
	if (r)
		close(sock[0]);
	else
		*ret_fd = sock[0];
	return r;
}
