// SPDX-License-Identifier: Apache-2.0
/*
 * vsock.c - socket device [virtio 5.10], stream sockets
 *
 * Queue 0 receives, 1 transmits, 2 carries events. Each connection advertises
 * BUF_ALLOC bytes of credit and keeps that much of what its host end does not take
 * at once. What has to be told to the guest is a set of bits per connection, so
 * control packets need no queue. A closed connection stays in the list until its
 * RST is delivered, and is freed at the end of a notification, never under a caller.
 */
#include "base/bits.h"
#include "dev/virtio/virtio.h"
#include "net/vsock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RX, TX, EVENT };
enum { F_STREAM = 1 << 0 };
enum { TYPE_STREAM = 1 };
enum { SHUT_RECEIVE = 1, SHUT_SEND = 2, SHUT_BOTH = 3 };

enum {
	OP_INVALID,
	OP_REQUEST,
	OP_RESPONSE,
	OP_RST,
	OP_SHUTDOWN,
	OP_RW,
	OP_CREDIT_UPDATE,
	OP_CREDIT_REQUEST,
	NR_OPS,
};

#define QUEUE_SIZE 128
#define MAX_CONNS  256
#define BUF_ALLOC  (64u << 10)

struct PACKED vsock_hdr {
	le64 src_cid, dst_cid;
	le32 src_port, dst_port, len;
	le16 type, op;
	le32 flags, buf_alloc, fwd_cnt;
};

/*
 * GUEST_ASKS: the guest connects; accept() -> UP.
 * HOST_ASKS: the host connects; the guest's RESPONSE -> UP.
 * DEAD: no host end any more; gone once its pending RST is delivered.
 */
enum conn_state { GUEST_ASKS, HOST_ASKS, UP, DEAD };

struct vsock_conn {
	struct virtio_vsock *vs;
	struct vsock_conn *next;
	void *host;
	u32 host_port, guest_port;
	enum conn_state state;
	u8 pending; /* bit OP_x: tell the guest */
	bool starved;	 /* the host end waits for can_receive() */
	bool guest_done; /* the guest sends no more */
	bool guest_deaf; /* the guest receives no more */
	bool host_done;
	u32 tx_cnt, peer_alloc, peer_fwd; /* host to guest: sent, and the guest's credit */
	u32 fwd_cnt, fwd_told;		  /* guest to host: taken, and what the guest knows */
	u8 *buf;			  /* BUF_ALLOC bytes, made when first needed */
	u32 buf_at, buf_len;
};

struct virtio_vsock {
	struct virtio v;
	struct vsock_backend *b;
	u64 cid;
	struct vsock_conn *conns;
	u64 nr_conns;
	u64 event_pending; /* 1: tell the guest its connections are gone [virtio 5.10.6.7] */
};

/* -- connections ------------------------------------------------------------------------- */

static struct vsock_conn *find(struct virtio_vsock *vs, u32 host_port, u32 guest_port)
{
	struct vsock_conn *c = vs->conns;

	while (c && (c->host_port != host_port || c->guest_port != guest_port))
		c = c->next;
	return c;
}

static struct vsock_conn *conn_new(struct virtio_vsock *vs, u32 host_port, u32 guest_port)
{
	struct vsock_conn *c;

	if (vs->nr_conns >= MAX_CONNS)
		return NULL;
	c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->vs = vs;
	c->host_port = host_port;
	c->guest_port = guest_port;
	c->next = vs->conns;
	vs->conns = c;
	vs->nr_conns++;
	return c;
}

/* Free what is dead and told; @all: whatever there is. Not from inside a callback. */
static void reap(struct virtio_vsock *vs, bool all)
{
	struct vsock_conn **at = &vs->conns, *c;

	while ((c = *at)) {
		if (!all && (c->state != DEAD || c->pending)) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		vs->nr_conns--;
		free(c->buf);
		free(c);
	}
}

/* The host end hears of it, the guest gets a RST if @tell. */
static void kill_conn(struct vsock_conn *c, bool tell)
{
	void *host = c->host;

	c->state = DEAD;
	c->pending = tell ? BIT(OP_RST) : 0;
	c->host = NULL;
	if (host)
		c->vs->b->closed(host);
}

/* -- to the guest ------------------------------------------------------------------------ */

static void fill_header(struct vsock_conn *c, struct vsock_hdr *h, unsigned op, u32 len)
{
	u32 flags = op == OP_SHUTDOWN ? SHUT_SEND : 0;

	*h = (struct vsock_hdr){
		.src_cid = le64_of(VSOCK_HOST_CID), .dst_cid = le64_of(c->vs->cid),
		.src_port = le32_of(c->host_port), .dst_port = le32_of(c->guest_port),
		.len = le32_of(len), .type = le16_of(TYPE_STREAM), .op = le16_of((u16)op),
		.flags = le32_of(flags), .buf_alloc = le32_of(BUF_ALLOC),
		.fwd_cnt = le32_of(c->fwd_cnt),
	};
	c->fwd_told = c->fwd_cnt;
}

/* Send one packet with up to @len bytes. Return: bytes sent, -1 if there was no buffer. */
static int send_packet(struct vsock_conn *c, unsigned op, const void *buf, size_t len)
{
	struct virtq *q = &c->vs->v.q[RX];
	struct vsock_hdr h;
	struct vchain ch;

	if (!vq_pop(q, &ch))
		return -1;
	if (ch.writable <= sizeof h) {
		vq_break(q, "virtio-vsock: receive buffer without room");
		return -1;
	}
	if (len > ch.writable - sizeof h)
		len = ch.writable - sizeof h;
	fill_header(c, &h, op, (u32)len);
	vchain_write(&ch, &h, sizeof h);
	vchain_write(&ch, buf, len);
	vq_push(q, ch.tok, (u32)(sizeof h + len));
	return (int)len;
}

/* Send what the connection has to say; true if nothing is left. */
static bool flush_conn(struct vsock_conn *c)
{
	static const u8 order[] = { OP_RST, OP_REQUEST, OP_RESPONSE, OP_CREDIT_UPDATE,
				    OP_SHUTDOWN };

	for (unsigned i = 0; i < array_len(order); i++) {
		if (!(c->pending & BIT(order[i])))
			continue;
		if (send_packet(c, order[i], NULL, 0) < 0)
			return false;
		c->pending &= (u8)~BIT(order[i]);
	}
	return true;
}

static void tell(struct vsock_conn *c, unsigned op)
{
	c->pending |= (u8)BIT(op);
	flush_conn(c);
	vq_flush(&c->vs->v.q[RX]);
}

static u32 credit(const struct vsock_conn *c)
{
	u32 used = c->tx_cnt - c->peer_fwd;

	return used < c->peer_alloc ? c->peer_alloc - used : 0;
}

static size_t from_host(struct vsock_conn *c, const void *buf, size_t len)
{
	size_t n = 0;

	if (c->guest_deaf)
		return len; /* nobody will read it */
	while (c->state == UP && n < len && flush_conn(c)) {
		size_t want = len - n < credit(c) ? len - n : credit(c);
		int sent = want ? send_packet(c, OP_RW, (const u8 *)buf + n, want) : -1;

		if (sent < 0)
			break;
		c->tx_cnt += (u32)sent;
		n += (size_t)sent;
	}
	vq_flush(&c->vs->v.q[RX]);
	c->starved = n < len;
	return n;
}

static void accept_guest(struct vsock_conn *c)
{
	if (c->state != GUEST_ASKS)
		return;
	c->state = UP;
	tell(c, OP_RESPONSE);
}

static void host_done(struct vsock_conn *c)
{
	if (c->state != UP || c->host_done)
		return;
	c->host_done = true;
	tell(c, OP_SHUTDOWN);
}

static void close_conn(struct vsock_conn *c)
{
	c->host = NULL;
	c->state = DEAD;
	c->pending = 0;
	tell(c, OP_RST);
}

static struct vsock_conn *connect_guest(void *dev, u32 host_port, u32 guest_port, void *host)
{
	struct virtio_vsock *vs = dev;
	struct vsock_conn *c;

	if (!virtio_running(&vs->v) || find(vs, host_port, guest_port))
		return NULL;
	c = conn_new(vs, host_port, guest_port);
	if (!c)
		return NULL;
	c->state = HOST_ASKS;
	c->host = host;
	tell(c, OP_REQUEST);
	return c;
}

/* -- from the guest ---------------------------------------------------------------------- */

/* Bytes the host end took: credit for the guest, told when it is worth a packet. */
static void took(struct vsock_conn *c, u32 n)
{
	c->fwd_cnt += n;
	if (c->fwd_cnt - c->fwd_told >= BUF_ALLOC / 4 && c->state != DEAD)
		tell(c, OP_CREDIT_UPDATE);
}

/* All data is taken and no more will come: pass the half close on. */
static void check_done(struct vsock_conn *c)
{
	if (c->state != UP || !c->guest_done || c->buf_len)
		return;
	if (c->guest_deaf)
		kill_conn(c, true); /* [virtio 5.10.6.5]: RST answers a full shutdown */
	else
		c->vs->b->guest_done(c->host);
}

static void host_writable(struct vsock_conn *c)
{
	while (c->state == UP && c->buf_len) {
		size_t room = BUF_ALLOC - c->buf_at;
		size_t n = c->vs->b->send(c->host, c->buf + c->buf_at,
					  c->buf_len < room ? c->buf_len : room);

		if (c->state != UP || !n)
			return;
		c->buf_at = (c->buf_at + (u32)n) % BUF_ALLOC;
		c->buf_len -= (u32)n;
		took(c, (u32)n);
		if (!c->buf_len)
			check_done(c);
	}
}

/* Keep bytes the host end did not take; the guest's credit bounds them. */
static bool keep(struct vsock_conn *c, const u8 *p, size_t len)
{
	if (!c->buf)
		c->buf = malloc(BUF_ALLOC);
	if (!c->buf || len > BUF_ALLOC - c->buf_len)
		return false;
	while (len) {
		u32 at = (c->buf_at + c->buf_len) % BUF_ALLOC;
		size_t n = len < BUF_ALLOC - at ? len : BUF_ALLOC - at;

		memcpy(c->buf + at, p, n);
		c->buf_len += (u32)n;
		p += n;
		len -= n;
	}
	return true;
}

static bool take_data(struct vsock_conn *c, const u8 *p, size_t len)
{
	size_t n = c->buf_len ? 0 : c->vs->b->send(c->host, p, len);

	if (c->state != UP)
		return true;
	took(c, (u32)n);
	return n == len || keep(c, p + n, len - n);
}

static void handle_rw(struct vsock_conn *c, const struct vchain *ch, u32 len)
{
	struct iovec iov[VQ_MAX_SIZE];
	int n = vchain_iov(ch, false, sizeof(struct vsock_hdr), len, iov, VQ_MAX_SIZE);

	/* More than its credit, after its own shutdown, or less than it says. */
	if (n < 0 || c->guest_done || len > BUF_ALLOC - c->buf_len) {
		kill_conn(c, true);
		return;
	}
	for (int i = 0; i < n && c->state == UP; i++)
		if (!take_data(c, iov[i].iov_base, iov[i].iov_len))
			kill_conn(c, true);
}

static void handle_request(struct virtio_vsock *vs, const struct vsock_hdr *h)
{
	struct vsock_conn *c = conn_new(vs, le32_get(h->dst_port), le32_get(h->src_port));
	void *host;

	if (!c)
		return; /* too many: the guest's connect times out */
	c->state = GUEST_ASKS;
	c->peer_alloc = le32_get(h->buf_alloc);
	c->peer_fwd = le32_get(h->fwd_cnt);
	host = vs->b->connect(vs->b, c, c->guest_port, c->host_port);
	if (c->state == DEAD)
		return; /* closed from inside */
	c->host = host;
	if (!host)
		kill_conn(c, true);
}

static void handle_shutdown(struct vsock_conn *c, u32 flags)
{
	bool was_done = c->guest_done;

	c->guest_deaf |= flags & SHUT_RECEIVE;
	c->guest_done |= !!(flags & SHUT_SEND);
	if (!was_done || c->guest_deaf)
		check_done(c);
}

static void handle_conn(struct vsock_conn *c, const struct vsock_hdr *h, const struct vchain *ch)
{
	unsigned op = le16_get(h->op);

	c->peer_alloc = le32_get(h->buf_alloc);
	c->peer_fwd = le32_get(h->fwd_cnt);
	if (op == OP_RST) {
		kill_conn(c, false);
	} else if (op == OP_RESPONSE && c->state == HOST_ASKS) {
		c->state = UP;
		c->vs->b->connected(c->host);
	} else if (c->state != UP) {
		kill_conn(c, true);
	} else if (op == OP_RW) {
		handle_rw(c, ch, le32_get(h->len));
	} else if (op == OP_SHUTDOWN) {
		handle_shutdown(c, le32_get(h->flags));
	} else if (op == OP_CREDIT_REQUEST) {
		tell(c, OP_CREDIT_UPDATE);
	} else if (op != OP_CREDIT_UPDATE) {
		kill_conn(c, true);
	}
	if (c->state == UP && c->starved && credit(c)) {
		c->starved = false;
		c->vs->b->can_receive(c->host);
	}
}

static void handle_packet(struct virtio_vsock *vs, const struct vchain *ch)
{
	struct vsock_conn *c;
	struct vsock_hdr h;

	if (vchain_read_at(ch, 0, &h, sizeof h) != sizeof h || le64_get(h.src_cid) != vs->cid ||
	    le64_get(h.dst_cid) != VSOCK_HOST_CID) {
		dev_guest_error(&vs->v.dev, "virtio-vsock: bad packet header");
		return;
	}
	c = find(vs, le32_get(h.dst_port), le32_get(h.src_port));
	if (c && c->state == DEAD)
		return; /* its RST is on the way */
	if (c && le16_get(h.type) == TYPE_STREAM) {
		handle_conn(c, &h, ch);
	} else if (!c && le16_get(h.op) == OP_REQUEST && le16_get(h.type) == TYPE_STREAM) {
		handle_request(vs, &h);
	} else if (!c && le16_get(h.op) != OP_RST) {
		c = conn_new(vs, le32_get(h.dst_port), le32_get(h.src_port));
		if (c)
			kill_conn(c, true);
	}
}

/* -- queues ------------------------------------------------------------------------------ */

static void process_tx(struct virtio_vsock *vs, struct virtq *q)
{
	struct vchain c;

	while (vq_pop(q, &c)) {
		handle_packet(vs, &c);
		vq_push(q, c.tok, 0);
	}
	vq_flush(q);
}

static void process_rx(struct virtio_vsock *vs)
{
	struct vsock_conn *c;

	for (c = vs->conns; c; c = c->next)
		if (!flush_conn(c))
			break;
	vq_flush(&vs->v.q[RX]);
	if (c)
		return; /* out of buffers */
	for (c = vs->conns; c; c = c->next) {
		if (c->state != UP || !c->starved || !credit(c))
			continue;
		c->starved = false;
		vs->b->can_receive(c->host);
	}
}

static void process_event(struct virtio_vsock *vs, struct virtq *q)
{
	static const le32 transport_reset;
	struct vchain c;

	if (!vs->event_pending || !vq_pop(q, &c))
		return;
	vs->event_pending = 0;
	vq_push(q, c.tok, (u32)vchain_write(&c, &transport_reset, sizeof transport_reset));
	vq_flush(q);
}

static void vsock_notify(struct virtio *v, struct virtq *q)
{
	struct virtio_vsock *vs = container_of(v, struct virtio_vsock, v);

	if (q->n == TX)
		process_tx(vs, q);
	else if (q->n == EVENT)
		process_event(vs, q);
	process_rx(vs);
	reap(vs, false);
}

/* -- life cycle -------------------------------------------------------------------------- */

static void vsock_reset(struct dev *d)
{
	struct virtio_vsock *vs = container_of(d, struct virtio_vsock, v.dev);

	vs->v.status = 0; /* closed() cannot connect again */
	for (struct vsock_conn *c = vs->conns; c; c = c->next)
		kill_conn(c, false);
	reap(vs, true);
	vs->event_pending = 0;
}

static void vsock_fini(struct dev *d)
{
	struct virtio_vsock *vs = container_of(d, struct virtio_vsock, v.dev);

	vsock_reset(d);
	vs->b->dev = NULL;
}

static const struct vsock_guest guest_ops = {
	.connect = connect_guest,
	.accept = accept_guest,
	.receive = from_host,
	.host_done = host_done,
	.writable = host_writable,
	.close = close_conn,
};

static int vsock_init(struct dev *d, const void *cfg, struct err *e)
{
	struct virtio_vsock *vs = container_of(d, struct virtio_vsock, v.dev);
	const struct virtio_vsock_cfg *c = cfg;
	le64 cid = le64_of(c->guest_cid);

	if (c->guest_cid < 3 || c->guest_cid >= 0xffffffff)
		return err_set(e, EINVAL, "guest cid %llu: want 3..4294967294",
			       (unsigned long long)c->guest_cid);
	vs->b = c->backend;
	vs->b->guest = &guest_ops;
	vs->b->dev = vs;
	vs->cid = c->guest_cid;
	vs->v.offered = F_STREAM;
	vs->v.config_len = sizeof cid;
	memcpy(vs->v.config, &cid, sizeof cid);
	virtio_set_queues(&vs->v, 3, QUEUE_SIZE);
	return 0;
}

/* Connections do not survive a restore: the guest is told to forget them. */
static int vsock_loaded(struct dev *d, struct err *e)
{
	container_of(d, struct virtio_vsock, v.dev)->event_pending = 1;
	return virtio_loaded(d, e);
}

static const struct field vsock_state[] = {
	VIRTIO_FIELDS(struct virtio_vsock, v),
	FIELD_NOT_SAVED(struct virtio_vsock, b),
	FIELD_NOT_SAVED(struct virtio_vsock, cid),
	FIELD_NOT_SAVED(struct virtio_vsock, conns),
	FIELD_NOT_SAVED(struct virtio_vsock, nr_conns),
	FIELD(struct virtio_vsock, event_pending, .max = 1),
	FIELD_END,
};

const struct virtio_class virtio_vsock_class = {
	.dev = {
		.name = "virtio-vsock",
		.spec = "Virtual I/O Device 1.2, 5.10",
		.size = sizeof(struct virtio_vsock),
		.state = vsock_state,
		.init = vsock_init,
		.fini = vsock_fini,
		.reset = vsock_reset,
		.loaded = vsock_loaded,
	},
	.id = 19,
	.pci_class = 0x078000,
	.notify = vsock_notify,
};
