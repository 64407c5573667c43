// SPDX-License-Identifier: Apache-2.0
/*
 * peer_vhost.c - hostile back ends of vhost-user [vhost-user]
 *
 * The back end's answers are in its socket before they are asked for: the right ones to the
 * first questions unless the first byte's bit 0 is set, then the input's. It also writes the
 * shadow rings, as whoever maps them can.
 */
#include "peer.h"

#include "net/vhost_user.h"
#include "os/os.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPS    48
#define USED   (VHOST_RING * 20) /* where the first one's used ring is */
#define RINGS  (VHOST_QUEUES_MAX * VHOST_RING * 32) /* bytes of shadow rings, all of them */
#define HEADER 12u
#define QUEUES 2u

enum {
	GET_FEATURES = 1,
	SET_MEM_TABLE = 5,
	SET_VRING_CALL = 13,
	GET_PROTOCOL = 15,
	GET_QUEUES = 17
};

static struct {
	int sock, call;
	u8 *rings;
	unsigned taken, done;
} be;

static void wrote(void *ctx UNUSED, gpa_t gpa, u64 len)
{
	if (gpa + len > 0x100000)
		fuzz_broken("vhost: written where no buffer was");
}

static void on_done(void *ctx UNUSED, unsigned q, u32 token, u32 written)
{
	if (q >= QUEUES || token != 0x600d || written > 4096)
		fuzz_broken("vhost: a buffer that was never given");
	if (++be.done > be.taken)
		fuzz_broken("vhost: more buffers back than were given");
}

static void on_room(void *ctx UNUSED, unsigned q UNUSED) {}

static void on_gone(void *ctx UNUSED) {}

static const struct vhost_user_ops ops = { wrote, on_done, on_room, on_gone };

static void say(u32 request, const void *body, u32 len)
{
	u32 head[3] = { request, 5, len };

	if (send(be.sock, head, sizeof head, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ||
	    send(be.sock, body, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

static void say_u64(u32 request, u64 v)
{
	say(request, &v, sizeof v);
}

static void take_fds(u32 request, const int *fds, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		if (request == SET_MEM_TABLE && i + 1 == nr && !be.rings)
			be.rings = mmap(NULL, RINGS, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
		if (request == SET_VRING_CALL && be.call < 0)
			be.call = dup(fds[i]);
		close(fds[i]);
	}
}

/* Take what the front end sent, for the descriptors beside the messages' heads. */
static void listen_all(void)
{
	u32 head[3];
	u8 body[512];
	int fds[FD_PASS_MAX];

	for (;;) {
		unsigned nr = FD_PASS_MAX;

		if (fd_recv(be.sock, head, sizeof head, fds, &nr) != sizeof head)
			return;
		take_fds(head[0], fds, nr);
		if (head[2] > sizeof body ||
		    (head[2] && recv(be.sock, body, head[2], MSG_DONTWAIT) < 0))
			fuzz_broken("vhost: a message without its body");
	}
}

static void submit(struct vhost_user *u, unsigned how)
{
	struct vhost_seg seg[3] = { { 0x1000, 64, false },
				    { 0x2000, 1024, true },
				    { 0x3000, 3000, true } };

	be.taken += vhost_user_submit(u, how & 1, seg + (how >> 1 & 1), 1 + (how >> 2 & 1), 0x600d);
	vhost_user_kick(u, how & 1);
}

/* The used ring of the first queue, or anything else of it. */
static void write_rings(struct fuzz_in *in)
{
	unsigned how = (unsigned)fuzz_take(in, 1);
	u32 at = how & 1 ? (u32)fuzz_take(in, 3) % (RINGS - 8)
			 : USED + (how >> 1 & 15) * 8;
	u64 v = fuzz_take(in, how >> 5), one = 1;

	if (!be.rings || be.rings == MAP_FAILED)
		return;
	memcpy(be.rings + at, &v, how >> 5);
	if (how & 1)
		return;
	if (be.call >= 0 && write(be.call, &one, sizeof one) < 0)
		return;
}

static void operate(struct vhost_user *u, struct fuzz_in *in)
{
	unsigned op = (unsigned)fuzz_take(in, 1);
	u8 buf[300];
	size_t n;

	switch (op & 7) {
	case 0:
	case 1: submit(u, op >> 3); break;
	case 2:
	case 3: write_rings(in); break;
	case 4: loop_once(peer_loop(), 0); break;
	case 5:
		n = fuzz_bytes(in, buf, fuzz_take(in, 1));
		if (send(be.sock, buf, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			return;
		break;
	case 6:
		n = fuzz_bytes(in, buf, op >> 3);
		say(11 + (op >> 7) * 13, buf, (u32)n); /* GET_VRING_BASE, GET_CONFIG */
		break;
	default: listen_all(); break;
	}
}

static void hello(struct fuzz_in *in)
{
	unsigned flags = (unsigned)fuzz_take(in, 1);

	if (flags & 1) {
		u8 buf[200];

		if (send(be.sock, buf, fuzz_bytes(in, buf, fuzz_take(in, 1) % sizeof buf),
			 MSG_NOSIGNAL) < 0)
			return;
		shutdown(be.sock, SHUT_WR);
		return;
	}
	say_u64(GET_FEATURES, 1ull << 30 | 1ull << 32 | flags);
	say_u64(GET_PROTOCOL, flags & 2 ? ~0ull : 1 << 9);
	if (flags & 2)
		say_u64(GET_QUEUES, flags & 4 ? ~0ull : 2);
}

/* No answer may be waited for: what has not been said by now never will be. */
static void leave(struct vhost_user *u, unsigned how)
{
	u8 config[60];

	if (how & 1)
		say_u64(11, 0);
	shutdown(be.sock, SHUT_WR);
	if (how & 2 && vhost_user_config(u, config, sizeof config))
		return;
	vhost_user_stop(u);
}

int vhost_run(const u8 *p, size_t len, struct err *e)
{
	static u8 ram[4096];
	static int ram_fd = -1;
	struct fuzz_in in = { p, len };
	struct vhost_ram r = { .len = sizeof ram, .host = ram };
	struct vhost_user *u;
	int fd[2];

	if (ram_fd < 0)
		ram_fd = fd_memfd("ram", sizeof ram);
	r.fd = ram_fd;
	if (fd_pair(SOCK_STREAM, fd))
		fuzz_broken("no sockets");
	be.sock = fd[1];
	be.call = -1;
	be.rings = NULL;
	be.taken = be.done = 0;
	fd_nonblock(fd[1], true);
	hello(&in);
	u = vhost_user_new(peer_loop(), fd[0], &r, 1, e);
	if (u) {
		vhost_user_attach(u, &ops, NULL);
		vhost_user_start(u, ~0ull, QUEUES);
		listen_all();
		for (unsigned i = 0; i < OPS && in.len; i++)
			operate(u, &in);
		leave(u, (unsigned)fuzz_take(&in, 1));
		vhost_user_free(u);
	}
	if (be.rings && be.rings != MAP_FAILED)
		munmap(be.rings, RINGS);
	fd_close(&be.call);
	close(be.sock);
	return u ? 0 : -e->code;
}

size_t vhost_seed(unsigned n, u8 *buf, size_t max UNUSED)
{
	static const u8 talk[][40] = {
		/* two buffers; the first comes back, then one that is not out */
		{ 2, 0, 0, 2, 0xe0, 0, 0, 1, 0, 0, 0, 0, 4, 2, 0xe0, 0, 0, 2, 0, 0, 0, 0, 4, 3 },
		{ 2, 0,  0, 2, 0x42, 1,    0, 4, 2, 0xe4, 0, 0, 0,
		  0, 16, 0, 0, 2,    0x40, 0, 0, 1, 0,    4, 7 },
		{ 2, 8, 0x10, 0x18, 5, 4, 1, 2, 3, 4, 4, 7, 3 },
		{ 1, 100, 1, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0 },
	};

	if (n >= array_len(talk))
		return 0;
	memcpy(buf, talk[n], sizeof talk[n]);
	return sizeof talk[n];
}
