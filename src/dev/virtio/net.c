// SPDX-License-Identifier: Apache-2.0
/*
 * net.c - network device [virtio 5.1], over a struct net_port
 *
 * Queue 0 receives, queue 1 transmits. With a port that carries virtio_net_hdr the
 * checksum and segmentation offloads are offered and headers pass through; with one
 * that does not, headers are empty. With several ports there is a pair of queues for each,
 * a control queue behind them, and the driver says how many are in use: frames go to the
 * guest by the queue of the port they come from. Not modelled: other control commands, RSS.
 */
#include "dev/virtio/virtio.h"
#include "net/net.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <string.h>

enum { F_CSUM = 1 << 0, F_GUEST_CSUM = 1 << 1, F_MTU = 1 << 3, F_MAC = 1 << 5 };
enum { F_GUEST_TSO4 = 1 << 7, F_GUEST_TSO6 = 1 << 8, F_GUEST_ECN = 1 << 9 };
enum { F_HOST_TSO4 = 1 << 11, F_HOST_TSO6 = 1 << 12, F_HOST_ECN = 1 << 13 };
enum { F_MRG_RXBUF = 1 << 15, F_STATUS = 1 << 16, F_CTRL_VQ = 1 << 17, F_MQ = 1 << 22 };

#define F_TX_OFFLOAD (F_CSUM | F_HOST_TSO4 | F_HOST_TSO6 | F_HOST_ECN)
#define F_RX_OFFLOAD (F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN)

enum { RX, TX }; /* queue 2k + RX or TX is pair k's */
enum { CTRL_MQ = 4, MQ_PAIRS_SET = 0, CTRL_OK = 0, CTRL_ERR = 1 };

#define QUEUE_SIZE    256
#define FRAME_MIN     14
#define MAX_BUFFERS   64 /* receive chains one frame may be spread over */
#define STATUS_OFFSET 6	 /* of the link status in the configuration */

struct net_hdr {
	u8 flags, gso_type;
	le16 hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

struct PACKED net_config {
	u8 mac[6];
	le16 status, max_pairs, mtu;
};

struct pair {
	struct virtio_net *n;
	struct net_port *port;
	u16 rx, tx;   /* its queues */
	bool starved; /* the port holds a frame until there are receive buffers */
	bool blocked; /* the port is full; the next frame stays in the ring */
	bool rx_paid; /* the frame the port holds is through its limit, */
	bool tx_paid; /* and so is the one that stays in the ring */
};

struct virtio_net {
	struct virtio v;
	struct pair pair[VIRTIO_NET_MAX_PAIRS];
	u16 nr_pairs;
	u16 active; /* pairs the driver uses */
	u8 mac[6];  /* as configured: a copy of a machine has another one */
	struct ratelimit rx, tx;
};

static struct virtio_net *of(struct virtio *v)
{
	return container_of(v, struct virtio_net, v);
}

static void rx_limit_over(struct ratelimit *r)
{
	struct virtio_net *n = container_of(r, struct virtio_net, rx);

	for (u16 k = 0; k < n->nr_pairs; k++)
		virtio_notify(&n->v, n->pair[k].rx);
}

static void tx_limit_over(struct ratelimit *r)
{
	struct virtio_net *n = container_of(r, struct virtio_net, tx);

	for (u16 k = 0; k < n->nr_pairs; k++)
		virtio_notify(&n->v, n->pair[k].tx);
}

/* -- transmit ---------------------------------------------------------------------------- */

/* false: the port is full. A frame that makes no sense is dropped. */
static bool transmit(struct pair *p, const struct vchain *c)
{
	struct virtio_net *n = p->n;
	struct iovec iov[VQ_MAX_SIZE + 1];
	struct net_hdr h = { 0 };
	u32 len = c->readable - (u32)sizeof h;
	bool vnet = p->port->has_vnet_hdr;
	int nr;

	if (c->readable < sizeof h + FRAME_MIN || len > NET_FRAME_MAX) {
		dev_guest_error(&n->v.dev, "virtio-net: frame size");
		return true;
	}
	if (n->v.features & F_TX_OFFLOAD)
		vchain_read_at(c, 0, &h, sizeof h);
	nr = vchain_iov(c, false, sizeof h, len, iov + 1, VQ_MAX_SIZE);
	if (nr < 0)
		return true;
	iov[0] = (struct iovec){ &h, sizeof h };
	return p->port->send(p->port, vnet ? iov : iov + 1, vnet ? nr + 1 : nr);
}

static u32 frame_bytes(const struct vchain *c)
{
	return c->readable > sizeof(struct net_hdr) ? c->readable - (u32)sizeof(struct net_hdr) : 0;
}

static void process_tx(struct pair *p, struct virtq *q)
{
	struct vchain c;

	p->blocked = false;
	while (vq_pop(q, &c)) {
		bool paid = p->tx_paid || ratelimit_take(&p->n->tx, 1, frame_bytes(&c));

		p->tx_paid = false;
		if (!paid || (p->port && !transmit(p, &c))) {
			vq_unpop(q, c.tok);
			p->blocked = p->tx_paid = paid;
			break;
		}
		vq_push(q, c.tok, 0);
	}
	vq_flush(q);
}

static void net_writable(void *nic)
{
	struct pair *p = nic;

	if (p->blocked)
		virtio_notify(&p->n->v, p->tx);
}

/* -- receive ----------------------------------------------------------------------------- */

/* A frame on its way into the guest: a header, then the port's iovec. */
struct frame {
	struct net_hdr h;
	const struct iovec *iov;
	int nr_iov, i;
	size_t off; /* in iov[i] */
	u64 left;   /* bytes not yet placed, header excluded */
};

/* Fill the chain from its cursor on. */
static void fill_chain(struct frame *f, struct vchain *c)
{
	while (f->left && f->i < f->nr_iov) {
		const struct iovec *v = &f->iov[f->i];
		size_t n = vchain_write(c, (u8 *)v->iov_base + f->off, v->iov_len - f->off);

		f->off += n;
		f->left -= n;
		if (f->off < v->iov_len)
			return; /* the chain is full */
		f->off = 0;
		f->i++;
	}
}

struct placed {
	struct vq_tok tok;
	u32 len;
};

/*
 * Spread the frame over chains. Return: their number, 0 if there are too few now,
 * -1 if it can never fit.
 */
static int place(struct virtq *q, struct frame *f, struct vchain *first, struct placed *p)
{
	int max = virtio_has(q->v, F_MRG_RXBUF) ? MAX_BUFFERS : 1, nr = 0;
	struct vchain more, *c = first;

	do {
		bool got = nr < max && vq_pop(q, c);

		if (!got || (!nr && c->writable < sizeof f->h)) {
			bool never = got || nr == max;

			if (got)
				vq_unpop(q, c->tok);
			while (nr > 0)
				vq_unpop(q, p[--nr].tok);
			return never ? -1 : 0;
		}
		if (!nr)
			c->write_pos = sizeof f->h;
		fill_chain(f, c);
		p[nr++] = (struct placed){ c->tok, c->write_pos };
		c = &more;
	} while (f->left);
	return nr;
}

static void init_frame(const struct pair *p, struct frame *f, const struct iovec *iov, int nr_iov)
{
	*f = (struct frame){ .iov = iov, .nr_iov = nr_iov };
	for (int i = 0; i < nr_iov; i++)
		f->left += iov[i].iov_len;
	if (!p->port->has_vnet_hdr || f->left < sizeof f->h || iov[0].iov_len < sizeof f->h)
		return;
	memcpy(&f->h, iov[0].iov_base, sizeof f->h);
	f->off = sizeof f->h;
	f->left -= sizeof f->h;
}

static bool net_receive(void *nic, const struct iovec *iov, int nr_iov)
{
	struct pair *pair = nic;
	struct virtio_net *n = pair->n;
	struct virtq *q = &n->v.q[pair->rx];
	struct placed p[MAX_BUFFERS];
	struct vchain first;
	struct frame f;
	int nr;

	if (!virtio_running(&n->v) || pair - n->pair >= n->active || !q->ready)
		return true; /* nobody listens: the frame is lost, as on a wire */
	init_frame(pair, &f, iov, nr_iov);
	if (!f.left || f.left > NET_FRAME_MAX)
		return true;
	pair->rx_paid = pair->rx_paid || ratelimit_take(&n->rx, 1, f.left);
	nr = pair->rx_paid ? place(q, &f, &first, p) : 0;
	pair->starved = !nr;
	if (!nr)
		return false;
	pair->rx_paid = false;
	if (nr < 0)
		return true;
	f.h.num_buffers = le16_of((u16)nr);
	vchain_write_at(&first, 0, &f.h, sizeof f.h);
	for (int i = 0; i < nr; i++)
		vq_push(q, p[i].tok, p[i].len);
	vq_flush(q);
	return true;
}

static void process_rx(struct pair *p)
{
	if (!p->starved)
		return;
	p->starved = false;
	p->port->can_receive(p->port);
}

/* -- how many pairs ----------------------------------------------------------------------- */

/* Frames for the guest come by the first @nr pairs from now on. */
static void activate(struct virtio_net *n, u16 nr)
{
	n->active = nr;
	for (u16 k = 0; k < n->nr_pairs; k++)
		if (n->pair[k].port && n->pair[k].port->attach)
			n->pair[k].port->attach(n->pair[k].port, k < nr);
}

/* Return: the answer to the command in c. */
static u8 control(struct virtio_net *n, const struct vchain *c)
{
	struct PACKED {
		u8 class, command;
		le16 pairs;
	} m;
	u16 nr;

	if (vchain_read_at(c, 0, &m, sizeof m) != sizeof m || m.class != CTRL_MQ ||
	    m.command != MQ_PAIRS_SET)
		return CTRL_ERR;
	nr = le16_get(m.pairs);
	if (!virtio_has(&n->v, F_MQ) || !nr || nr > n->nr_pairs)
		return CTRL_ERR;
	activate(n, nr);
	return CTRL_OK;
}

static void process_control(struct virtio_net *n, struct virtq *q)
{
	struct vchain c;

	while (vq_pop(q, &c)) {
		u8 ack = control(n, &c);

		vq_push(q, c.tok, (u32)vchain_write_at(&c, 0, &ack, sizeof ack));
	}
	vq_flush(q);
}

/* -- the rest ---------------------------------------------------------------------------- */

static void net_notify(struct virtio *v, struct virtq *q)
{
	struct virtio_net *n = of(v);
	unsigned pairs = virtio_has(v, F_MQ) ? n->nr_pairs : 1;

	if (q->n == 2 * pairs)
		process_control(n, q);
	else if (q->n > 2 * pairs)
		return;
	else if (q->n % 2 == TX)
		process_tx(&n->pair[q->n / 2], q);
	else
		process_rx(&n->pair[q->n / 2]);
}

static void net_link(void *nic, bool up)
{
	struct pair *p = nic;
	struct virtio_net *n = p->n;

	if (n->v.config[STATUS_OFFSET] == up)
		return;
	n->v.config[STATUS_OFFSET] = up;
	virtio_config_changed(&n->v);
}

static unsigned tun_flags(u64 features)
{
	return (features & F_GUEST_CSUM ? TUN_F_CSUM : 0) |
	       (features & F_GUEST_TSO4 ? TUN_F_TSO4 : 0) |
	       (features & F_GUEST_TSO6 ? TUN_F_TSO6 : 0) |
	       (features & F_GUEST_ECN ? TUN_F_TSO_ECN : 0);
}

static void set_offload(struct virtio_net *n, u64 features)
{
	if (!(n->v.offered & F_GUEST_CSUM))
		return;
	for (u16 k = 0; k < n->nr_pairs; k++)
		n->pair[k].port->set_offload(n->pair[k].port, tun_flags(features));
}

static void net_driver_ok(struct virtio *v)
{
	set_offload(of(v), v->features);
}

static void net_reset(struct dev *d)
{
	struct virtio_net *n = container_of(d, struct virtio_net, v.dev);

	set_offload(n, 0);
	activate(n, 1);
	for (u16 k = 0; k < n->nr_pairs; k++) {
		struct pair *p = &n->pair[k];

		p->blocked = p->rx_paid = p->tx_paid = false;
		if (!p->starved)
			continue;
		p->starved = false; /* let the port drop what it holds */
		n->v.status = 0;
		p->port->can_receive(p->port);
	}
}

static u64 offload_features(struct net_port *p)
{
	if (!p || !p->has_vnet_hdr)
		return 0;
	if (!p->set_offload || !p->set_offload(p, tun_flags(F_RX_OFFLOAD)))
		return F_TX_OFFLOAD;
	return F_TX_OFFLOAD | F_RX_OFFLOAD;
}

/* What every port can do. */
static u64 common_features(const struct virtio_net *n)
{
	u64 ret = ~0ull;

	for (u16 k = 0; k < n->nr_pairs; k++)
		ret &= offload_features(n->pair[k].port);
	return ret;
}

static void init_pair(struct virtio_net *n, u16 k, struct net_port *port)
{
	struct pair *p = &n->pair[k];

	*p = (struct pair){ .n = n, .port = port, .rx = 2 * k + RX, .tx = 2 * k + TX };
	if (!port)
		return;
	port->nic = p;
	port->receive = net_receive;
	port->writable = net_writable;
	port->link = net_link;
}

static int net_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	struct virtio_net *n = container_of(d, struct virtio_net, v.dev);
	const struct virtio_net_cfg *c = cfg;
	u16 pairs = (u16)(c->nr_pairs ? c->nr_pairs : 1);
	struct net_config conf = {
		.status = le16_of(c->port[0] != NULL), .max_pairs = le16_of(pairs),
		.mtu = le16_of(c->mtu),
	};

	memcpy(conf.mac, c->mac, sizeof conf.mac);
	memcpy(n->mac, c->mac, sizeof n->mac);
	memcpy(n->v.config, &conf, sizeof conf);
	n->v.config_len = sizeof conf;
	n->nr_pairs = pairs;
	for (u16 k = 0; k < pairs; k++)
		init_pair(n, k, c->port[k]);
	n->v.offered = F_MAC | F_STATUS | F_MRG_RXBUF | (c->mtu ? F_MTU : 0) |
		       (pairs > 1 ? F_CTRL_VQ | F_MQ : 0) | common_features(n);
	virtio_set_queues(&n->v, 2 * pairs + (pairs > 1), QUEUE_SIZE);
	ratelimit_init(&n->rx, d->env.clock, &c->rx, rx_limit_over);
	ratelimit_init(&n->tx, d->env.clock, &c->tx, tx_limit_over);
	activate(n, 1);
	return 0;
}

static void net_fini(struct dev *d)
{
	struct virtio_net *n = container_of(d, struct virtio_net, v.dev);

	ratelimit_fini(&n->rx);
	ratelimit_fini(&n->tx);
	for (u16 k = 0; k < n->nr_pairs; k++) {
		struct net_port *p = n->pair[k].port;

		if (!p)
			continue;
		p->receive = NULL;
		p->writable = NULL;
		p->link = NULL;
		p->nic = NULL;
	}
}

static int net_loaded(struct dev *d, struct err *e)
{
	struct virtio_net *n = container_of(d, struct virtio_net, v.dev);

	TRY(virtio_loaded(d, e));
	if (!n->active || n->active > n->nr_pairs)
		return err_set(e, ERANGE, "%s: saved pairs %u: want 1 to %u", d->id, n->active, n->nr_pairs);
	memcpy(n->v.config, n->mac, sizeof n->mac);
	set_offload(n, n->v.features);
	activate(n, n->active);
	return 0;
}

static const struct field net_state[] = {
	VIRTIO_FIELDS(struct virtio_net, v),
	FIELD_NOT_SAVED(struct virtio_net, pair),
	FIELD_NOT_SAVED(struct virtio_net, nr_pairs),
	FIELD(struct virtio_net, active, .max = VIRTIO_NET_MAX_PAIRS),
	FIELD_NOT_SAVED(struct virtio_net, mac),
	FIELD_NOT_SAVED(struct virtio_net, rx),
	FIELD_NOT_SAVED(struct virtio_net, tx),
	FIELD_END,
};

const struct virtio_class virtio_net_class = {
	.dev = {
		.name = "virtio-net",
		.spec = "Virtual I/O Device 1.2, 5.1",
		.size = sizeof(struct virtio_net),
		.state = net_state,
		.init = net_init,
		.fini = net_fini,
		.reset = net_reset,
		.loaded = net_loaded,
	},
	.id = 1,
	.pci_class = 0x020000,
	.notify = net_notify,
	.driver_ok = net_driver_ok,
};

void virtio_net_limit(struct dev *d, bool tx, enum ratelimit_kind k,
		      const struct ratelimit_bucket_cfg *cfg)
{
	struct virtio_net *n = container_of(virtio_behind(d), struct virtio_net, v.dev);

	ratelimit_set(tx ? &n->tx : &n->rx, k, cfg);
}
