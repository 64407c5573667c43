// SPDX-License-Identifier: Apache-2.0
/*
 * nbd.c - the client: a node at the bottom whose storage is a server (see nbd.h)
 *
 * Up to SLOTS requests are in flight; the slot's number is the cookie. Large ones go
 * in pieces, one after the other. When the connection breaks, everything fails with
 * EIO, then and later.
 */
#include "blk/fmt.h"
#include "blk/nbd_int.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOTS	  64u
#define TIMEOUT_S 10
#define PIECE	  (4u << 20)
#define MAX_IOV	  64

struct nbd_slot {
	struct blk_req *r;
	u64 done, piece; /* bytes behind us, bytes under way */
	u8 head[REQUEST_LEN];
	u64 sent; /* of head and data */
	bool queued;
	struct nbd_slot *next;
};

struct nbd {
	struct blk b;
	struct watch w;
	u16 flags;
	bool broken, zeroes;
	struct nbd_slot slot[SLOTS], *free, *send, **send_tail;
	struct blk_req *wait_head, **wait_tail;
	u8 reply[REPLY_LEN];
	u64 got; /* of the reply, then of its data */
	struct nbd_slot *reading;
};

static u8 zero_piece[PIECE]; /* never written */

/* -- requests --------------------------------------------------------------------------------- */

static void begin(struct nbd *n, struct blk_req *r);
static void pump(struct nbd *n);

static void finish(struct nbd *n, struct nbd_slot *s, int error)
{
	struct blk_req *r = s->r, *next = n->wait_head;

	s->r = NULL;
	s->next = n->free;
	n->free = s;
	if (next) {
		n->wait_head = next->priv[0];
		if (!n->wait_head)
			n->wait_tail = &n->wait_head;
		begin(n, next);
	}
	blk_complete(&n->b, r, error);
}

static bool has_data(const struct nbd *n, const struct nbd_slot *s)
{
	return s->r->op == BLK_WRITE || (s->r->op == BLK_WRITE_ZEROES && !n->zeroes);
}

/* Put the next piece of the slot's request into the queue to send. */
static void enqueue(struct nbd *n, struct nbd_slot *s)
{
	static const u16 cmd[] = { [BLK_READ] = NBD_CMD_READ, [BLK_WRITE] = NBD_CMD_WRITE,
				   [BLK_FLUSH] = NBD_CMD_FLUSH, [BLK_DISCARD] = NBD_CMD_TRIM,
				   [BLK_WRITE_ZEROES] = NBD_CMD_ZEROES };
	u64 left = s->r->len - s->done;
	u16 c = has_data(n, s) ? NBD_CMD_WRITE : cmd[s->r->op];

	s->piece = left < PIECE ? left : PIECE;
	if (s->r->op == BLK_FLUSH)
		s->piece = 0;
	put_be32(s->head, NBD_REQUEST_MAGIC);
	put_be16(s->head + 4, 0);
	put_be16(s->head + 6, c);
	put_be64(s->head + 8, (u64)(s - n->slot));
	put_be64(s->head + 16, s->r->op == BLK_FLUSH ? 0 : s->r->offset + s->done);
	put_be32(s->head + 24, (u32)s->piece);
	s->sent = 0;
	s->queued = true;
	s->next = NULL;
	*n->send_tail = s;
	n->send_tail = &s->next;
}

static void begin(struct nbd *n, struct blk_req *r)
{
	struct nbd_slot *s = n->free;

	n->free = s->next;
	s->r = r;
	s->done = 0;
	enqueue(n, s);
}

static void break_down(struct nbd *n)
{
	if (n->broken)
		return;
	n->broken = true;
	loop_unwatch(n->b.loop, &n->w);
	n->send = NULL;
	n->send_tail = &n->send;
	for (unsigned i = 0; i < SLOTS; i++)
		if (n->slot[i].r)
			finish(n, &n->slot[i], EIO);
	n->send = NULL;
	n->send_tail = &n->send;
}

/* -- sending ---------------------------------------------------------------------------- */

/* What is left of the slot's message. */
static int message(const struct nbd *n, const struct nbd_slot *s, struct iovec *iov)
{
	u64 at = s->sent < REQUEST_LEN ? 0 : s->sent - REQUEST_LEN;
	int k = 0;

	if (s->sent < REQUEST_LEN)
		iov[k++] = (struct iovec){ (u8 *)s->head + s->sent, REQUEST_LEN - s->sent };
	if (s->r->op == BLK_WRITE)
		k += blk_slice(s->r->iov, s->r->nr_iov, s->done + at, s->piece - at, iov + k,
			       MAX_IOV - k);
	else if (has_data(n, s) && at < s->piece)
		iov[k++] = (struct iovec){ zero_piece, s->piece - at };
	return k;
}

/* Return: 0, or -errno; -EAGAIN = later. */
static int send_some(struct nbd *n)
{
	while (n->send) {
		struct nbd_slot *s = n->send;
		struct iovec iov[MAX_IOV];
		struct msghdr m = { .msg_iov = iov };
		u64 total = REQUEST_LEN + (has_data(n, s) ? s->piece : 0);
		ssize_t k;

		m.msg_iovlen = (size_t)message(n, s, iov);
		k = sendmsg(n->w.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (k < 0)
			return errno == EINTR ? 0 : -errno;
		s->sent += (u64)k;
		if (s->sent < total)
			continue;
		n->send = s->next;
		if (!n->send)
			n->send_tail = &n->send;
		s->queued = false;
	}
	return 0;
}

/* -- receiving -------------------------------------------------------------------------- */

static ssize_t receive(struct nbd *n)
{
	struct nbd_slot *s = n->reading;
	struct iovec iov[MAX_IOV];
	struct msghdr m = { .msg_iov = iov };

	if (!s)
		return recv(n->w.fd, n->reply + n->got, REPLY_LEN - n->got, MSG_DONTWAIT);
	m.msg_iovlen = (size_t)blk_slice(s->r->iov, s->r->nr_iov, s->done + n->got,
					 s->piece - n->got, iov, MAX_IOV);
	return recvmsg(n->w.fd, &m, MSG_DONTWAIT);
}

static int to_errno(u32 error)
{
	return error == NBD_EPERM ? EPERM : error == NBD_ENOMEM ? ENOMEM :
	       error == NBD_EINVAL ? EINVAL : error == NBD_ENOSPC ? ENOSPC : EIO;
}

static void piece_done(struct nbd *n, struct nbd_slot *s)
{
	s->done += s->piece;
	n->reading = NULL;
	n->got = 0;
	if (s->done < s->r->len && s->r->op != BLK_FLUSH)
		enqueue(n, s);
	else
		finish(n, s, 0);
}

/* A reply's head is complete. Return: 0 or -EPROTO. */
static int on_reply(struct nbd *n)
{
	u64 cookie = be64(n->reply + 8);
	struct nbd_slot *s = cookie < SLOTS ? &n->slot[cookie] : NULL;
	u32 error = be32(n->reply + 4);

	if (be32(n->reply) != NBD_REPLY_MAGIC || !s || !s->r || s->queued)
		return -EPROTO;
	n->got = 0;
	if (error)
		finish(n, s, to_errno(error));
	else if (s->r->op == BLK_READ)
		n->reading = s;
	else
		piece_done(n, s);
	return 0;
}

static int receive_some(struct nbd *n)
{
	for (;;) {
		ssize_t k = receive(n);

		if (k == 0)
			return -EPIPE;
		if (k < 0)
			return errno == EINTR ? 0 : -errno;
		n->got += (u64)k;
		if (n->reading && n->got == n->reading->piece)
			piece_done(n, n->reading);
		else if (!n->reading && n->got == REPLY_LEN)
			TRY(on_reply(n));
	}
}

static void pump(struct nbd *n)
{
	int r;

	if (n->broken)
		return;
	r = send_some(n);
	if (r && r != -EAGAIN)
		break_down(n);
	else
		loop_rewatch(n->b.loop, &n->w, EPOLLIN | (n->send ? EPOLLOUT : 0u));
}

static void on_event(struct watch *w, u32 events UNUSED)
{
	struct nbd *n = container_of(w, struct nbd, w);
	int r = receive_some(n);

	if (r && r != -EAGAIN)
		break_down(n);
	pump(n);
}

/* -- the node --------------------------------------------------------------------------- */

static void nbd_submit(struct blk *b, struct blk_req *r)
{
	struct nbd *n = (struct nbd *)b;

	if (n->broken) {
		blk_complete(b, r, EIO);
		return;
	}
	if ((r->op == BLK_FLUSH && !(n->flags & NBD_SEND_FLUSH)) ||
	    (r->op == BLK_DISCARD && !(n->flags & NBD_SEND_TRIM))) {
		blk_complete(b, r, 0);
		return;
	}
	if (!n->free) {
		r->priv[0] = NULL;
		*n->wait_tail = r;
		n->wait_tail = (struct blk_req **)&r->priv[0];
		return;
	}
	begin(n, r);
	pump(n);
}

static void nbd_wait(struct blk *b)
{
	struct nbd *n = (struct nbd *)b;
	struct pollfd p = { .fd = n->w.fd, .events = (short)(POLLIN | (n->send ? POLLOUT : 0)) };

	poll(&p, 1, -1);
	on_event(&n->w, 0);
}

static void nbd_close(struct blk *b)
{
	struct nbd *n = (struct nbd *)b;
	u8 bye[REQUEST_LEN] = { 0 };

	put_be32(bye, NBD_REQUEST_MAGIC);
	put_be16(bye + 6, NBD_CMD_DISC);
	loop_unwatch(b->loop, &n->w);
	if (!n->broken && send(n->w.fd, bye, sizeof bye, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		n->broken = true;
	close(n->w.fd);
	free(n);
}

static const struct blk_driver nbd_driver = {
	.name = "nbd",
	.submit = nbd_submit,
	.wait = nbd_wait,
	.close = nbd_close,
};

/* -- the handshake ---------------------------------------------------------------------- */

static int lost(struct err *e, int r)
{
	return err_set(e, EIO, "nbd: the server %s", r == -ENODATA ? "closed the connection" :
		       r == -EAGAIN ? "does not answer" : "cannot be talked to");
}

static int send_option(int fd, const char *name)
{
	size_t n = strlen(name);
	u8 p[16 + 4 + 4096 + 2] = { 0 };

	put_be64(p, NBD_OPT_MAGIC);
	put_be32(p + 8, NBD_OPT_GO);
	put_be32(p + 12, (u32)n + 6);
	put_be32(p + 16, (u32)n);
	memcpy(p + 20, name, n);
	return fd_write_full(fd, p, 16 + 4 + n + 2);
}

/* One reply to the option. Return: 1 = more, 0 = acknowledged, or -errno. */
static int option_reply(struct nbd *n, const char *name, bool *ret_info, struct err *e)
{
	u8 h[20], p[4096];
	u32 type, len;
	int r = fd_read_full(n->w.fd, h, sizeof h);

	if (r)
		return lost(e, r);
	type = be32(h + 12);
	len = be32(h + 16);
	if (be64(h) != NBD_OPT_REPLY || len > sizeof p)
		return err_set(e, EPROTO, "nbd: the server does not keep to the protocol");
	r = fd_read_full(n->w.fd, p, len);
	if (r)
		return lost(e, r);
	if (type & NBD_REP_ERR)
		return err_set(e, ENOENT, "nbd: the server refuses the export \"%.100s\"", name);
	if (type == NBD_REP_INFO && len >= 12 && be16(p) == NBD_INFO_EXPORT) {
		n->b.info.size = be64(p + 2);
		n->flags = be16(p + 10);
		*ret_info = true;
	}
	return type != NBD_REP_ACK;
}

static int handshake(struct nbd *n, const char *name, struct err *e)
{
	bool info = false;
	u8 h[18], flags[4] = { 0, 0, 0, NBD_FIXED | NBD_NO_ZEROES };
	int r = fd_read_full(n->w.fd, h, sizeof h);

	if (r)
		return lost(e, r);
	if (be64(h) != NBD_MAGIC || be64(h + 8) != NBD_OPT_MAGIC || !(be16(h + 16) & NBD_FIXED))
		return err_set(e, EPROTO, "nbd: no server of the newstyle protocol");
	r = fd_write_full(n->w.fd, flags, 4);
	if (!r)
		r = send_option(n->w.fd, name);
	if (r)
		return lost(e, r);
	for (unsigned k = 0; k < 64; k++) {
		r = option_reply(n, name, &info, e);
		if (r <= 0)
			break;
	}
	if (r < 0)
		return r;
	if (r || !info || n->b.info.size > BLK_MAX)
		return err_set(e, EPROTO, "nbd: the server does not describe the export");
	return 0;
}

static void set_timeout(int fd, int seconds)
{
	struct timeval t = { .tv_sec = seconds };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

struct blk *nbd_open(struct loop *l, int fd, const char *name, bool read_only, struct err *e)
{
	struct nbd *n = calloc(1, sizeof *n);
	int r;

	if (!n || strlen(name) > 4096) {
		free(n);
		close(fd);
		err_set(e, n ? EINVAL : ENOMEM, "nbd: %s", n ? "the name is too long" :
							       "out of memory");
		return NULL;
	}
	blk_init(&n->b, &nbd_driver, l, NULL);
	n->w = (struct watch){ .fd = fd, .fn = on_event };
	n->send_tail = &n->send;
	n->wait_tail = &n->wait_head;
	for (unsigned i = 0; i < SLOTS; i++) {
		n->slot[i].next = n->free;
		n->free = &n->slot[i];
	}
	set_timeout(fd, TIMEOUT_S);
	r = handshake(n, name, e);
	set_timeout(fd, 0);
	if (!r && n->flags & NBD_READ_ONLY && !read_only)
		r = err_set(e, EROFS, "nbd: the export can only be read");
	if (!r)
		r = loop_watch(l, &n->w, EPOLLIN, e);
	if (r) {
		n->broken = true;
		nbd_close(&n->b);
		return NULL;
	}
	n->zeroes = n->flags & NBD_SEND_ZEROES;
	n->b.zero_tail = true;
	n->b.info.block_size = 1;
	n->b.info.read_only = read_only;
	n->b.info.discard = n->flags & NBD_SEND_TRIM;
	return &n->b;
}
