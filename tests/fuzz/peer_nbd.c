// SPDX-License-Identifier: Apache-2.0
/*
 * peer_nbd.c - hostile NBD servers and clients [NBD doc/proto.md]
 *
 * The client's input: 1 byte of flags, 3 of numbers, then what the server sends. Bit 0 of the
 * flags: the handshake is ours and right, and the rest are replies. Bit 1: read-only.
 * The server's input: 1 byte of flags, then what the client sends. Bit 0: handshake ours. Bit 1:
 * the client does not read what it is sent before its end. Bit 2: read-only. Bit 3: in pieces.
 */
#include "peer.h"

#include "blk/nbd_int.h"
#include "fake_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUESTS 12
#define INPUT    (64u << 10) /* fits a socket's buffer */

/* -- the client --------------------------------------------------------------------------- */

static size_t good_handshake(u8 *p, u64 size, u16 flags)
{
	memset(p, 0, 18 + 20 + 12 + 20);
	put_be64(p, NBD_MAGIC);
	put_be64(p + 8, NBD_OPT_MAGIC);
	put_be16(p + 16, NBD_FIXED | NBD_NO_ZEROES);
	p += 18;
	put_be64(p, NBD_OPT_REPLY);
	put_be32(p + 8, NBD_OPT_GO);
	put_be32(p + 12, NBD_REP_INFO);
	put_be32(p + 16, 12);
	put_be16(p + 20, NBD_INFO_EXPORT);
	put_be64(p + 22, size);
	put_be16(p + 30, flags);
	p += 32;
	put_be64(p, NBD_OPT_REPLY);
	put_be32(p + 8, NBD_OPT_GO);
	put_be32(p + 12, NBD_REP_ACK);
	return 18 + 32 + 20;
}

static unsigned finished;

static void count_done(struct blk_req *r)
{
	if (r->error < 0)
		fuzz_broken("nbd: a request ends with a negative error");
	finished++;
}

/* A few requests, all at once. */
static void use(struct blk *b, u32 random)
{
	static u8 data[REQUESTS][8192];
	struct blk_req r[REQUESTS];
	struct iovec iov[REQUESTS];
	unsigned nr = 1 + random % REQUESTS;
	struct blk_info i;

	blk_get_info(b, &i);
	finished = 0;
	for (unsigned k = 0; k < nr; k++) {
		u64 at = i.size ? (u64)k * 40961 * random % i.size : 0, left = i.size - at;
		u64 len = left < sizeof data[k] ? left : 1 + (random >> 4) * k % sizeof data[k];

		random = random * 1103515245 + 12345;
		iov[k] = (struct iovec){ data[k], len };
		r[k] = (struct blk_req){ .op = (random >> 16) % 5,
					 .offset = at,
					 .len = len,
					 .iov = &iov[k],
					 .nr_iov = 1,
					 .done = count_done };
		if (r[k].op == BLK_FLUSH)
			r[k].offset = r[k].len = 0;
		blk_submit(b, &r[k]);
	}
	blk_drain(b);
	if (finished != nr)
		fuzz_broken("nbd: a request did not end, or twice");
}

static void give(int fd, const void *p, size_t len)
{
	if (fd_write_full(fd, p, len)) {
		/* The other side has hung up. */
	}
}

int nbd_client_run(const u8 *p, size_t len, struct err *e)
{
	struct fuzz_in in = { p, len < INPUT ? len : INPUT };
	unsigned flags = (unsigned)fuzz_take(&in, 1);
	u32 random = (u32)fuzz_take(&in, 3);
	u8 hello[80];
	struct blk *b;
	int fd[2];

	if (fd_pair(SOCK_STREAM, fd))
		fuzz_broken("no sockets");
	if (flags & 1)
		give(fd[1], hello,
		     good_handshake(hello, random % 8 ? random : 1ull << 40,
				    (u16)(flags >> 2 | 1)));
	give(fd[1], in.p, in.len);
	shutdown(fd[1], SHUT_WR);
	b = nbd_open(peer_loop(), fd[0], "disk", flags & 2, e);
	if (b) {
		use(b, random);
		blk_close(b);
	}
	close(fd[1]);
	return b ? 0 : -e->code;
}

size_t nbd_client_seed(unsigned n, u8 *buf, size_t max UNUSED)
{
	size_t len = 4;

	if (n > 3)
		return 0;
	memset(buf, 0, 1024);
	buf[0] = (u8)(n & 1 ? 0xa5 : 0xa4);
	buf[1] = (u8)(77 * (n + 3));
	buf[2] = 0xc8;
	buf[3] = (u8)n;
	if (!(buf[0] & 1))
		len += good_handshake(buf + 4, 1 << 20, 0x6d);
	for (unsigned k = 0; k < 8; k++) {
		put_be32(buf + len, NBD_REPLY_MAGIC);
		put_be32(buf + len + 4, k == 5 ? NBD_ENOSPC : 0);
		put_be64(buf + len + 8, n & 2 ? k : 63 - k);
		len += REPLY_LEN + (k & 1) * 40;
	}
	return len;
}

/* -- the server --------------------------------------------------------------------------- */

static struct {
	struct nbd_server *s[2]; /* one of them read-only */
	struct sockaddr_un a[2];
	socklen_t alen[2];
} srv;

static void start_servers(void)
{
	struct err e;

	for (unsigned i = 0; i < 2; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		srv.a[i].sun_family = AF_UNIX;
		srv.alen[i] = sizeof srv.a[i];
		if (fd < 0 || bind(fd, (void *)&srv.a[i], sizeof(sa_family_t)) || listen(fd, 4) ||
		    getsockname(fd, (void *)&srv.a[i], &srv.alen[i]))
			fuzz_broken("no socket");
		srv.s[i] = nbd_serve(peer_loop(), fd, fake_disk(), i, &e);
		if (!srv.s[i])
			fuzz_broken("no server");
	}
}

static void turn(unsigned i, int fd, bool read)
{
	static u8 sink[256 << 10];

	for (unsigned k = 0; k < 3; k++) {
		loop_once(peer_loop(), 0);
		while (read && recv(fd, sink, sizeof sink, MSG_DONTWAIT) > 0)
			;
	}
	if (nbd_server_clients(srv.s[i]) > 1)
		fuzz_broken("nbd: more clients than there are");
	fake_disk_finish();
}

static size_t client_hello(u8 *p)
{
	put_be32(p, NBD_FIXED | NBD_NO_ZEROES);
	put_be64(p + 4, NBD_OPT_MAGIC);
	put_be32(p + 12, NBD_OPT_EXPORT);
	put_be32(p + 16, 0);
	return 20;
}

int nbd_server_run(const u8 *p, size_t len, struct err *e UNUSED)
{
	struct fuzz_in in = { p, len < INPUT ? len : INPUT };
	unsigned flags = (unsigned)fuzz_take(&in, 1), i = flags >> 2 & 1;
	size_t piece = flags & 8 ? in.len / 4 + 1 : in.len;
	u8 hello[20];
	int fd;

	if (!srv.s[0])
		start_servers();
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (void *)&srv.a[i], srv.alen[i]))
		fuzz_broken("nbd: nobody listens");
	if (flags & 1)
		give(fd, hello, client_hello(hello));
	while (in.len) {
		size_t n = piece < in.len ? piece : in.len;

		if (send(fd, in.p, n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n)
			break;
		in.p += n;
		in.len -= n;
		turn(i, fd, !(flags & 2));
	}
	turn(i, fd, true);
	close(fd);
	for (unsigned k = 0; k < 64 && nbd_server_clients(srv.s[i]); k++)
		turn(i, -1, false);
	if (nbd_server_clients(srv.s[i]))
		fuzz_broken("nbd: a client that has gone is still served");
	return 0;
}

static size_t put_request(u8 *p, unsigned cmd, unsigned flags, u64 at, u32 len)
{
	put_be32(p, NBD_REQUEST_MAGIC);
	put_be16(p + 4, (u16)flags);
	put_be16(p + 6, (u16)cmd);
	put_be64(p + 8, 0x1234567 + cmd);
	put_be64(p + 16, at);
	put_be32(p + 24, len);
	return REQUEST_LEN;
}

static size_t put_option(u8 *p, u32 opt, u32 len)
{
	put_be64(p, NBD_OPT_MAGIC);
	put_be32(p + 8, opt);
	put_be32(p + 12, len);
	memset(p + 16, 0, len);
	return 16 + len;
}

size_t nbd_server_seed(unsigned n, u8 *buf, size_t max UNUSED)
{
	static const u32 options[] = { NBD_OPT_LIST, NBD_OPT_INFO, 99, NBD_OPT_GO };
	size_t len = 1;

	if (n > 3)
		return 0;
	buf[0] = (u8)(n & 1 ? 1 | n << 2 : n << 1);
	if (!(buf[0] & 1)) {
		put_be32(buf + len, NBD_FIXED);
		len += 4;
		for (unsigned k = 0; k < array_len(options); k++)
			len += put_option(buf + len, options[k], k ? 6 : 0);
	}
	for (unsigned k = 0; k < 7; k++) {
		len += put_request(buf + len, k == 2 ? 0 : k, k & 1, k * 1536, k == 3 ? 0 : 512);
		if (k == 1) {
			memset(buf + len, 0x55, 512);
			len += 512;
		}
	}
	return len + put_request(buf + len, NBD_CMD_DISC, 0, 0, 0);
}
