// SPDX-License-Identifier: Apache-2.0
/*
 * peer_vsock.c - hostile guests and host programs at the two ends of vsock [virtio 5.10]
 *
 * The device with the Unix sockets behind it. The input is operations: packets of the guest,
 * buffers for it, host programs that connect, speak, read and go. Ports are small numbers, so
 * that packets meet connections.
 */
#include "peer.h"
#include "rig.h"

#include "net/vsock.h"
#include "os/os.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CID   3u
#define PROGS 6u /* host programs */
#define OPS   128

enum { RX, TX };

static struct {
	struct rig rig;
	struct vsock_backend *b;
	struct sockaddr_un a;
	socklen_t alen;
	int prog[PROGS]; /* -1: none */
	u8 rx;           /* slots with a buffer */
} v;

/* A guest connects to a host program: the first free place, or there is none. */
static int dial(void *ctx UNUSED, u32 port)
{
	int fd[2];

	for (unsigned i = 0; port != 1 && i < PROGS; i++)
		if (v.prog[i] < 0) {
			if (fd_pair(SOCK_STREAM, fd))
				return -EMFILE;
			fd_nonblock(fd[0], true);
			v.prog[i] = fd[1];
			return fd[0];
		}
	return -ECONNREFUSED;
}

static void start(void)
{
	struct virtio_vsock_cfg cfg = { .guest_cid = CID };
	struct vsock_unix_cfg c = { .dial = dial };
	struct err e;

	v.a.sun_family = AF_UNIX;
	v.alen = sizeof v.a;
	c.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c.listen_fd < 0 || bind(c.listen_fd, (void *)&v.a, sizeof(sa_family_t)) ||
	    listen(c.listen_fd, 64) || getsockname(c.listen_fd, (void *)&v.a, &v.alen))
		fuzz_broken("no socket");
	v.b = vsock_unix_new(peer_loop(), &c, &e);
	if (!v.b)
		fuzz_broken("no vsock");
	for (unsigned i = 0; i < PROGS; i++)
		v.prog[i] = -1;
	cfg.backend = v.b;
	rig_open(&v.rig, &virtio_vsock_class, &cfg);
}

/* A packet of the guest's. */
static void packet(struct fuzz_in *in)
{
	struct PACKED {
		u64 src_cid, dst_cid;
		u32 src_port, dst_port, len;
		u16 type, op;
		u32 flags, buf_alloc, fwd_cnt;
	} h = { .src_cid = CID, .dst_cid = 2, .type = 1 };
	unsigned what = (unsigned)fuzz_take(in, 1), ports = (unsigned)fuzz_take(in, 1);
	u8 *p = rig_out(&v.rig, 0);
	u32 n;

	h.op = what & 7;
	h.src_port = ports & 7;
	h.dst_port = ports & 8 ? ports >> 4 : 1u << 30 | ports >> 4; /* ours, or a program's */
	h.flags = (u32)fuzz_take(in, 1) & 3;
	h.buf_alloc = (u32)fuzz_take(in, 1) << (what >> 4 & 12);
	n = h.op == 5 ? (u32)fuzz_take(in, 2) & 0xfff : 0;
	h.len = what & 8 ? n + (u32)fuzz_take(in, 4) : n;
	if (what >> 4 == 15) /* any header at all */
		fuzz_bytes(in, &h, sizeof h);
	memcpy(p, &h, sizeof h);
	memset(p + sizeof h, 0x77, n);
	rig_add(&v.rig, TX, 0, (u32)sizeof h + n, 0);
	rig_kick(&v.rig, TX);
	rig_used(&v.rig, TX, 0);
}

static void give_buffers(struct fuzz_in *in)
{
	unsigned n = (unsigned)fuzz_take(in, 1);

	while (rig_used(&v.rig, RX, 0x1000) >= 0)
		;
	for (unsigned i = 0; i < (n & 7); i++)
		rig_add(&v.rig, RX, i, 0, n & 0x80 ? 0x1000 : 44 + n / 8);
	rig_kick(&v.rig, RX);
}

static void program_starts(struct fuzz_in *in)
{
	unsigned i = (unsigned)fuzz_take(in, 1);
	int *fd = &v.prog[i % PROGS];
	char line[] = "CONNECT 1\n", junk[64];
	size_t n;

	if (*fd >= 0)
		return;
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0 || connect(*fd, (void *)&v.a, v.alen))
		fuzz_broken("vsock: nobody listens");
	line[8] = (char)('0' + i / 32);
	n = i & 16 ? fuzz_bytes(in, junk, i / 8 + 1) : 0;
	if (send(*fd, i & 16 ? junk : line, i & 16 ? n : strlen(line), MSG_NOSIGNAL) < 0)
		return;
}

static void program_acts(struct fuzz_in *in)
{
	static u8 data[32 << 10];
	unsigned i = (unsigned)fuzz_take(in, 1), n = i >> 3 & 7;
	int *fd = &v.prog[i % 8 % PROGS];

	if (*fd < 0)
		return;
	if (i >> 6 == 0)
		fd_close(fd);
	else if (i >> 6 == 1)
		shutdown(*fd, n & 1 ? SHUT_WR : SHUT_RD);
	else if (i >> 6 == 2)
		(void)!send(*fd, data, 1 + n * n * 600, MSG_NOSIGNAL | MSG_DONTWAIT);
	else
		(void)!recv(*fd, data, 1 + n * n * 600, MSG_DONTWAIT);
}

static void operate(struct fuzz_in *in)
{
	switch (fuzz_take(in, 1) & 7) {
	case 0: program_starts(in); break;
	case 1: program_acts(in); break;
	case 2: give_buffers(in); break;
	case 3: clock_fake_advance(&v.rig.clock, fuzz_take(in, 1) << 20); break;
	case 4: loop_once(peer_loop(), 0); break;
	default: packet(in); break;
	}
}

int vsock_run(const u8 *p, size_t len, struct err *e UNUSED)
{
	struct fuzz_in in = { p, len };

	if (!v.b)
		start();
	rig_start(&v.rig);
	for (unsigned i = 0; i < OPS && in.len; i++)
		operate(&in);
	rig_reset(&v.rig);
	for (unsigned i = 0; i < PROGS; i++)
		fd_close(&v.prog[i]);
	for (unsigned i = 0; i < 3; i++)
		loop_once(peer_loop(), 0);
	return 0;
}

size_t vsock_seed(unsigned n, u8 *buf, size_t max UNUSED)
{
	static const u8 talk[][48] = {
		/* buffers; the guest connects, sends, closes */
		{ 2,  0x87, 5, 0xc1, 0x29, 0,    64, 5,  0xc5, 0x29, 0,
		  64, 10,   0, 5,    0xc4, 0x29, 3,  64, 5,    0xc3, 0x29 },
		/* buffers; a program connects; the guest answers; both send; the program goes */
		{ 2, 0x87, 0,    0x20, 4, 4,  5, 0xc2, 0x01, 0,    64, 4,    1, 0x90,
		  4, 5,    0xc5, 0x01, 0, 64, 9, 0,    1,    0xd8, 1,  0x00, 4, 4 },
		/* a program with a wrong greeting; then any header */
		{ 0, 0x11, 'H', 'E', 'L', 4, 4, 5, 0xf5, 0, 0, 0, 1, 1, 1, 1 },
	};

	if (n >= array_len(talk))
		return 0;
	memcpy(buf, talk[n], sizeof talk[n]);
	return sizeof talk[n];
}
