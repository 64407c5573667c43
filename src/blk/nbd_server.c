// SPDX-License-Identifier: Apache-2.0
/*
 * nbd_server.c - the server (see nbd.h)
 *
 * A client is a sequence of "read so many bytes, then call that": conn->want bytes
 * into conn->to, then conn->then(). Requests run at the same time, at most MAX_BUSY of
 * them with MAX_BYTES of data; beyond that nothing more is read. What a client sends
 * is checked before it is believed; breaking the protocol ends the connection.
 */
#include "blk/nbd_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CLIENTS 16u
#define MAX_BUSY    32u
#define MAX_BYTES   FUZZ_LESS(64u << 20, 128u << 10)
#define MAX_OPTION  8192u
#define MAX_OPTIONS 64u

struct job {
	struct blk_req r;
	struct iovec iov;
	struct conn *c;
	u64 cookie;
	u8 *out; /* reply and, for reads, data */
	u64 len, sent;
	bool fua, flushing;
	struct job *next; /* in the queue to send */
};

struct conn {
	struct watch w;
	struct nbd_server *s;
	u8 small[64], *big; /* what is being read; big: an option's or a write's data */
	u8 *to;
	u64 want, got;
	void (*then)(struct conn *c);
	unsigned options, busy;
	u64 bytes;
	struct job *send, **send_tail, *current;
	bool dead, no_zeroes, used;
};

struct nbd_server {
	struct loop *l;
	struct watch w;
	struct blk *b;
	bool read_only;
	unsigned nr;
	struct conn conn[MAX_CLIENTS];
};

/* -- connections ------------------------------------------------------------------------------- */

static void release(struct conn *c)
{
	if (c->busy)
		return;
	free(c->big);
	c->big = NULL;
	c->used = false;
	c->s->nr--;
}

static void free_job(struct job *j)
{
	j->c->busy--;
	j->c->bytes -= j->len;
	free(j->out);
	free(j);
}

static void end(struct conn *c)
{
	struct job *j;

	if (c->dead)
		return;
	c->dead = true;
	loop_unwatch(c->s->l, &c->w);
	close(c->w.fd);
	while ((j = c->send)) {
		c->send = j->next;
		free_job(j);
	}
	if (c->current)
		free_job(c->current);
	c->current = NULL;
	release(c);
}

static void expect(struct conn *c, void *to, u64 n, void (*then)(struct conn *c))
{
	c->to = to;
	c->want = n;
	c->got = 0;
	c->then = then;
}

/* During the handshake, where nothing else is sent: a short message. */
static void say(struct conn *c, const void *p, size_t n)
{
	if (send(c->w.fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n)
		end(c);
}

/* -- replies ---------------------------------------------------------------------------- */

static void send_jobs(struct conn *c)
{
	while (c->send && !c->dead) {
		struct job *j = c->send;
		ssize_t n = send(c->w.fd, j->out + j->sent, REPLY_LEN + j->len - j->sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			end(c);
			return;
		}
		j->sent += (u64)n;
		if (j->sent < REPLY_LEN + j->len)
			continue;
		c->send = j->next;
		if (!c->send)
			c->send_tail = &c->send;
		free_job(j);
	}
}

static void rewatch(struct conn *c)
{
	bool room = c->busy < MAX_BUSY && c->bytes < MAX_BYTES;

	if (!c->dead)
		loop_rewatch(c->s->l, &c->w, (room ? EPOLLIN : 0u) | (c->send ? EPOLLOUT : 0u));
}

static u32 to_nbd(int error)
{
	return error == EPERM || error == EROFS ? NBD_EPERM :
	       error == ENOMEM			? NBD_ENOMEM :
	       error == EINVAL			? NBD_EINVAL :
	       error == ENOSPC || error == EFBIG ? NBD_ENOSPC :
						   NBD_EIO;
}

static void reply(struct job *j, int error)
{
	struct conn *c = j->c;

	if (c->dead) {
		free_job(j);
		release(c);
		return;
	}
	if (j->r.op != BLK_READ || error) { /* the data is not part of the answer */
		c->bytes -= j->len;
		j->len = 0;
	}
	put_be32(j->out, NBD_REPLY_MAGIC);
	put_be32(j->out + 4, error ? to_nbd(error) : 0);
	put_be64(j->out + 8, j->cookie);
	j->next = NULL;
	*c->send_tail = j;
	c->send_tail = &j->next;
	send_jobs(c);
	rewatch(c);
}

static void job_done(struct blk_req *r)
{
	struct job *j = container_of(r, struct job, r);
	int error = r->error;

	if (j->fua && !j->flushing && !error) {
		j->flushing = true;
		j->r = (struct blk_req){ .op = BLK_FLUSH, .done = job_done };
		blk_submit(j->c->s->b, &j->r);
		return;
	}
	reply(j, error);
}

/* -- requests --------------------------------------------------------------------------- */

static void on_request(struct conn *c);

static void start(struct conn *c)
{
	struct job *j = c->current;

	c->current = NULL;
	expect(c, c->small, REQUEST_LEN, on_request);
	blk_submit(c->s->b, &j->r);
}

static void on_request(struct conn *c)
{
	static const i8 op[] = { [NBD_CMD_READ] = BLK_READ, [NBD_CMD_WRITE] = BLK_WRITE,
				 [NBD_CMD_DISC] = -1, [NBD_CMD_FLUSH] = BLK_FLUSH,
				 [NBD_CMD_TRIM] = BLK_DISCARD, [5] = -1,
				 [NBD_CMD_ZEROES] = BLK_WRITE_ZEROES };
	u16 flags = be16(c->small + 4), cmd = be16(c->small + 6);
	u32 len = be32(c->small + 24);
	bool data = cmd == NBD_CMD_READ || cmd == NBD_CMD_WRITE;
	struct job *j;

	if (be32(c->small) != NBD_REQUEST_MAGIC || cmd >= array_len(op) || op[cmd] < 0 ||
	    (data && len > NBD_MAX_REQUEST)) {
		end(c); /* a goodbye, or nonsense */
		return;
	}
	j = calloc(1, sizeof *j);
	if (j)
		j->out = malloc(REPLY_LEN + (data ? len : 0));
	if (!j || !j->out) {
		free(j);
		end(c);
		return;
	}
	j->c = c;
	j->cookie = be64(c->small + 8);
	j->len = data ? len : 0;
	j->fua = flags & NBD_CMD_FUA && cmd != NBD_CMD_READ && cmd != NBD_CMD_FLUSH;
	j->iov = (struct iovec){ j->out + REPLY_LEN, j->len };
	j->r = (struct blk_req){ .op = (enum blk_op)op[cmd], .offset = be64(c->small + 16),
				 .len = cmd == NBD_CMD_FLUSH ? 0 : len, .iov = &j->iov,
				 .nr_iov = 1, .done = job_done };
	c->busy++;
	c->bytes += j->len;
	c->current = j;
	if (cmd == NBD_CMD_WRITE && len)
		expect(c, j->out + REPLY_LEN, len, start);
	else
		start(c);
}

/* -- the handshake ---------------------------------------------------------------------- */

static void on_option(struct conn *c);

static u16 export_flags(const struct nbd_server *s)
{
	return (u16)(NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_FUA | NBD_SEND_TRIM |
		     NBD_SEND_ZEROES | NBD_CAN_MULTI_CONN | (s->read_only ? NBD_READ_ONLY : 0));
}

static void answer(struct conn *c, u32 opt, u32 type, const void *p, u32 n)
{
	u8 h[20 + 64];

	put_be64(h, NBD_OPT_REPLY);
	put_be32(h + 8, opt);
	put_be32(h + 12, type);
	put_be32(h + 16, n);
	memcpy(h + 20, p, n);
	say(c, h, 20 + n);
}

static void describe(struct conn *c, u32 opt)
{
	u8 info[14];

	put_be16(info, NBD_INFO_EXPORT);
	put_be64(info + 2, c->s->b->info.size);
	put_be16(info + 10, export_flags(c->s));
	answer(c, opt, NBD_REP_INFO, info, 12);
	if (c->dead)
		return;
	put_be16(info, NBD_INFO_BLOCK);
	put_be32(info + 2, c->s->b->info.block_size);
	put_be32(info + 6, 4096);
	put_be32(info + 10, NBD_MAX_REQUEST);
	answer(c, opt, NBD_REP_INFO, info, 14);
	if (!c->dead)
		answer(c, opt, NBD_REP_ACK, "", 0);
}

static void by_name(struct conn *c)
{
	u8 p[8 + 2 + 124] = { 0 };

	put_be64(p, c->s->b->info.size);
	put_be16(p + 8, export_flags(c->s));
	say(c, p, c->no_zeroes ? 10 : sizeof p);
}

/* An option and its data are here. There is one export, whatever its name. */
static void on_option_data(struct conn *c)
{
	u32 opt = be32(c->small + 8);

	free(c->big);
	c->big = NULL;
	expect(c, c->small, 16, on_option);
	switch (opt) {
	case NBD_OPT_EXPORT:
		by_name(c);
		expect(c, c->small, REQUEST_LEN, on_request);
		break;
	case NBD_OPT_GO:
		expect(c, c->small, REQUEST_LEN, on_request);
		FALLTHROUGH;
	case NBD_OPT_INFO:
		describe(c, opt);
		break;
	case NBD_OPT_LIST:
		answer(c, opt, NBD_REP_SERVER, "\0\0\0", 4);
		if (!c->dead)
			answer(c, opt, NBD_REP_ACK, "", 0);
		break;
	case NBD_OPT_ABORT:
		answer(c, opt, NBD_REP_ACK, "", 0);
		end(c);
		break;
	default:
		answer(c, opt, NBD_REP_ERR | NBD_REP_UNSUP, "", 0);
	}
}

static void on_option(struct conn *c)
{
	u32 len = be32(c->small + 12);

	if (be64(c->small) != NBD_OPT_MAGIC || len > MAX_OPTION || c->options++ > MAX_OPTIONS) {
		end(c);
		return;
	}
	if (!len) {
		on_option_data(c);
		return;
	}
	c->big = malloc(len);
	if (c->big)
		expect(c, c->big, len, on_option_data);
	else
		end(c);
}

static void on_flags(struct conn *c)
{
	u32 flags = be32(c->small);

	if (flags & ~(u32)(NBD_FIXED | NBD_NO_ZEROES)) {
		end(c);
		return;
	}
	c->no_zeroes = flags & NBD_NO_ZEROES;
	expect(c, c->small, 16, on_option);
}

/* -- events ----------------------------------------------------------------------------- */

static void on_event(struct watch *w, u32 events)
{
	struct conn *c = container_of(w, struct conn, w);

	if (events & EPOLLOUT)
		send_jobs(c);
	while (!c->dead && c->busy < MAX_BUSY && c->bytes < MAX_BYTES) {
		ssize_t n = recv(c->w.fd, c->to + c->got, c->want - c->got, MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			end(c);
			return;
		}
		c->got += (u64)n;
		if (c->got == c->want)
			c->then(c);
	}
	rewatch(c);
}

static void on_client(struct watch *w, u32 events UNUSED)
{
	struct nbd_server *s = container_of(w, struct nbd_server, w);
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct conn *c = s->conn;
	u8 hello[18];
	struct err e;

	if (fd < 0)
		return;
	while (c < s->conn + MAX_CLIENTS && c->used)
		c++;
	if (c == s->conn + MAX_CLIENTS) {
		close(fd);
		return;
	}
	*c = (struct conn){ .s = s, .used = true, .w = { .fd = fd, .fn = on_event } };
	c->send_tail = &c->send;
	s->nr++;
	if (loop_watch(s->l, &c->w, EPOLLIN, &e)) {
		c->used = false;
		s->nr--;
		close(fd);
		return;
	}
	put_be64(hello, NBD_MAGIC);
	put_be64(hello + 8, NBD_OPT_MAGIC);
	put_be16(hello + 16, NBD_FIXED | NBD_NO_ZEROES);
	expect(c, c->small, 4, on_flags);
	say(c, hello, sizeof hello);
}

struct nbd_server *nbd_serve(struct loop *l, int fd, struct blk *b, bool read_only, struct err *e)
{
	struct nbd_server *s = calloc(1, sizeof *s);

	if (!s) {
		close(fd);
		err_set(e, ENOMEM, "nbd: out of memory");
		return NULL;
	}
	*s = (struct nbd_server){ .l = l, .b = b, .w = { .fd = fd, .fn = on_client },
				  .read_only = read_only || b->info.read_only };
	if (loop_watch(l, &s->w, EPOLLIN, e)) {
		close(fd);
		free(s);
		return NULL;
	}
	return s;
}

unsigned nbd_server_clients(const struct nbd_server *s)
{
	return s->nr;
}

void nbd_server_stop(struct nbd_server *s)
{
	loop_unwatch(s->l, &s->w);
	close(s->w.fd);
	for (unsigned i = 0; i < MAX_CLIENTS; i++)
		if (s->conn[i].used)
			end(&s->conn[i]);
	blk_drain(s->b);
	free(s);
}
