// SPDX-License-Identifier: Apache-2.0
/*
 * console.c - console device [virtio 5.3], up to seven named ports
 *
 * No byte is dropped in either direction. Output the host end does not take stays in
 * the ring: the chain is put back and tx_done counts what was taken of it. Input
 * without a guest buffer, or for a port the guest has not opened, stays with the
 * host end. What the device has to tell the driver is a set of bits per port, so
 * control messages need no queue.
 */
#include "dev/virtio/virtio.h"
#include "ui/chr.h"

#include <errno.h>
#include <string.h>

enum { F_SIZE = 1 << 0, F_MULTIPORT = 1 << 1, F_EMERG_WRITE = 1 << 2 };

/* Control events [virtio 5.3.6.2]; to the driver, in this order. */
enum {
	EV_DEVICE_READY,
	EV_PORT_ADD,
	EV_PORT_REMOVE,
	EV_PORT_READY,
	EV_CONSOLE_PORT,
	EV_RESIZE,
	EV_PORT_OPEN,
	EV_PORT_NAME,
	NR_EVENTS,
};

struct control {
	le32 id;
	le16 event, value;
};

struct PACKED console_config {
	le16 cols, rows;
	le32 max_nr_ports;
	le32 emerg_wr;
};

enum { CTRL_RX_QUEUE = 2, CTRL_TX_QUEUE = 3 };

#define EMERG_OFFSET 8
#define QUEUE_SIZE   64
#define NAME_MAX_LEN 64

struct port {
	struct virtio_console *con;
	struct chr *chr;
	char name[NAME_MAX_LEN];
	bool console;
	u8 id;
	u8 pending;	 /* bit n: tell the driver event n */
	bool host_open;	 /* the host end is connected */
	bool guest_open; /* the guest has the port open */
	bool starved;	 /* the host end waits for can_receive() */
	bool blocked;	 /* output waits for writable() */
	u32 tx_done;	 /* bytes of the next output chain already taken */
};

struct virtio_console {
	struct virtio v;
	struct port port[VIRTIO_CONSOLE_MAX_PORTS];
};

static bool is_multiport(const struct virtio_console *con)
{
	return virtio_has(&con->v, F_MULTIPORT);
}

static unsigned nr_ports(const struct virtio_console *con)
{
	return con->v.nr_queues > 2 ? con->v.nr_queues / 2u - 1 : 1;
}

static struct virtq *rx_queue(struct port *p)
{
	return &p->con->v.q[p->id ? 2 + 2 * p->id : 0];
}

/* -- control ----------------------------------------------------------------------------- */

static size_t build_message(const struct port *p, unsigned event, u8 *buf)
{
	struct control m = { le32_of(p->id), le16_of((u16)event), le16_of(1) };
	const u8 *config = p->con->v.config;
	size_t len = sizeof m;

	if (event == EV_PORT_OPEN)
		m.value = le16_of(p->host_open);
	memcpy(buf, &m, sizeof m);
	if (event == EV_PORT_NAME) {
		memcpy(buf + len, p->name, strlen(p->name));
		len += strlen(p->name);
	} else if (event == EV_RESIZE) {
		/* DEVIATION: rows come first, which is how Linux reads it. */
		memcpy(buf + len, config + 2, 2);
		memcpy(buf + len + 2, config, 2);
		len += 4;
	}
	return len;
}

static void flush_port_control(struct port *p, struct virtq *q)
{
	u8 buf[sizeof(struct control) + NAME_MAX_LEN];
	struct vchain c;

	for (unsigned ev = 0; ev < NR_EVENTS; ev++) {
		size_t len;

		if (!(p->pending & 1u << ev))
			continue;
		if (!vq_pop(q, &c))
			return;
		len = build_message(p, ev, buf);
		vq_push(q, c.tok, (u32)vchain_write(&c, buf, len));
		p->pending &= (u8)~(1u << ev);
	}
}

static void flush_control(struct virtio_console *con)
{
	struct virtq *q = &con->v.q[CTRL_RX_QUEUE];

	if (!is_multiport(con))
		return;
	for (unsigned i = 0; i < nr_ports(con); i++)
		flush_port_control(&con->port[i], q);
	vq_flush(q);
}

static void tell(struct port *p, unsigned events)
{
	p->pending |= (u8)events;
	flush_control(p->con);
}

static void port_ready(struct port *p)
{
	unsigned events = 0;

	if (p->console)
		events |= 1u << EV_CONSOLE_PORT;
	if (p->console && (p->con->v.config[0] || p->con->v.config[2]))
		events |= 1u << EV_RESIZE;
	if (p->name[0])
		events |= 1u << EV_PORT_NAME;
	if (p->host_open)
		events |= 1u << EV_PORT_OPEN;
	tell(p, events);
}

static void wake_host(struct port *p)
{
	if (!p->starved)
		return;
	p->starved = false;
	if (p->chr->can_receive)
		p->chr->can_receive(p->chr);
}

static void set_guest_open(struct port *p, bool open)
{
	p->guest_open = open;
	if (open)
		wake_host(p);
}

static void handle_control(struct virtio_console *con, const struct control *m)
{
	u32 id = le32_get(m->id);
	u16 event = le16_get(m->event);

	if (event == EV_DEVICE_READY) {
		for (unsigned i = 0; i < nr_ports(con) && le16_get(m->value); i++)
			con->port[i].pending |= 1u << EV_PORT_ADD;
		flush_control(con);
		return;
	}
	if (id >= nr_ports(con)) {
		dev_guest_error(&con->v.dev, "virtio-console: no such port");
		return;
	}
	if (event == EV_PORT_READY && le16_get(m->value))
		port_ready(&con->port[id]);
	else if (event == EV_PORT_OPEN)
		set_guest_open(&con->port[id], le16_get(m->value));
}

static void process_control(struct virtio_console *con, struct virtq *q)
{
	struct control m;
	struct vchain c;

	while (vq_pop(q, &c)) {
		bool whole = vchain_read(&c, &m, sizeof m) == sizeof m;

		vq_push(q, c.tok, 0);
		if (whole)
			handle_control(con, &m);
	}
	vq_flush(q);
}

/* -- data -------------------------------------------------------------------------------- */

/* Give the chain's bytes from tx_done on to the host end; true if it took all. */
static bool write_chain(struct port *p, const struct vchain *c)
{
	struct iovec iov[VQ_MAX_SIZE];
	int n = 0;

	if (p->tx_done < c->readable)
		n = vchain_iov(c, false, p->tx_done, c->readable - p->tx_done, iov, VQ_MAX_SIZE);
	for (int i = 0; i < n; i++) {
		size_t took = p->chr ? p->chr->write(p->chr, iov[i].iov_base, iov[i].iov_len) :
				       iov[i].iov_len;

		p->tx_done += (u32)took;
		if (took < iov[i].iov_len)
			return false;
	}
	return true;
}

static void process_tx(struct port *p, struct virtq *q)
{
	struct vchain c;

	p->blocked = false;
	while (vq_pop(q, &c)) {
		if (!write_chain(p, &c)) {
			vq_unpop(q, c.tok);
			p->blocked = true;
			break;
		}
		p->tx_done = 0;
		vq_push(q, c.tok, 0);
	}
	vq_flush(q);
}

static void port_writable(void *dev)
{
	struct port *p = dev;

	if (p->blocked)
		virtio_notify(&p->con->v, rx_queue(p)->n + 1u);
}

static size_t port_receive(void *dev, const void *buf, size_t len)
{
	struct port *p = dev;
	struct virtq *q = rx_queue(p);
	struct vchain c;
	size_t n = 0;

	if (!is_multiport(p->con) || p->guest_open) {
		while (n < len && vq_pop(q, &c)) {
			size_t got = vchain_write(&c, (const u8 *)buf + n, len - n);

			vq_push(q, c.tok, (u32)got);
			n += got;
		}
		vq_flush(q);
	}
	p->starved = n < len;
	return n;
}

static void port_host_open(void *dev, bool open)
{
	struct port *p = dev;
	bool changed = p->host_open != open;

	p->host_open = open;
	if (changed && is_multiport(p->con) && virtio_running(&p->con->v))
		tell(p, 1u << EV_PORT_OPEN);
}

static void console_notify(struct virtio *v, struct virtq *q)
{
	struct virtio_console *con = container_of(v, struct virtio_console, v);
	struct port *p;

	if (q->n == CTRL_TX_QUEUE) {
		process_control(con, q);
		return;
	}
	if (q->n == CTRL_RX_QUEUE) {
		flush_control(con);
		return;
	}
	p = &con->port[q->n < 2 ? 0 : q->n / 2 - 1];
	if (q->n & 1)
		process_tx(p, q);
	else
		wake_host(p);
}

/* -- configuration and life cycle -------------------------------------------------------- */

static void console_config_write(struct virtio *v, unsigned off, unsigned size UNUSED, u32 val)
{
	struct virtio_console *con = container_of(v, struct virtio_console, v);
	struct chr *chr = con->port[0].chr;
	u8 byte = (u8)val;

	if (off == EMERG_OFFSET && chr) /* best effort by definition [virtio 5.3.4] */
		(void)chr->write(chr, &byte, 1);
}

void virtio_console_resize(struct dev *d, u16 cols, u16 rows)
{
	struct virtio_console *con =
		container_of(virtio_behind(d), struct virtio_console, v.dev);
	le16 size[2] = { le16_of(cols), le16_of(rows) };

	if (!memcmp(con->v.config, size, sizeof size))
		return;
	memcpy(con->v.config, size, sizeof size);
	virtio_config_changed(&con->v);
	if (con->port[0].console && is_multiport(con) && virtio_running(&con->v))
		tell(&con->port[0], 1u << EV_RESIZE);
}

static void init_port(struct virtio_console *con, const struct virtio_console_cfg *c, unsigned i)
{
	struct port *p = &con->port[i];

	p->con = con;
	p->id = (u8)i;
	p->chr = c->port[i].chr;
	p->console = c->port[i].console;
	p->host_open = p->chr != NULL;
	if (c->port[i].name)
		memcpy(p->name, c->port[i].name, strnlen(c->port[i].name, NAME_MAX_LEN - 1));
	if (!p->chr)
		return;
	p->chr->dev = p;
	p->chr->receive = port_receive;
	p->chr->writable = port_writable;
	p->chr->host_open = port_host_open;
}

static int console_init(struct dev *d, const void *cfg, struct err *e)
{
	struct virtio_console *con = container_of(d, struct virtio_console, v.dev);
	const struct virtio_console_cfg *c = cfg;
	struct console_config conf = {
		.cols = le16_of(c->cols), .rows = le16_of(c->rows),
		.max_nr_ports = le32_of(c->nr_ports),
	};
	bool multi = c->nr_ports > 1 || c->port[0].name || !c->port[0].console;

	if (c->nr_ports < 1 || c->nr_ports > VIRTIO_CONSOLE_MAX_PORTS)
		return err_set(e, EINVAL, "%u ports, want 1..%d", c->nr_ports,
			       VIRTIO_CONSOLE_MAX_PORTS);
	memcpy(con->v.config, &conf, sizeof conf);
	con->v.config_len = sizeof conf;
	con->v.offered = F_EMERG_WRITE | F_SIZE | (multi ? F_MULTIPORT : 0);
	virtio_set_queues(&con->v, multi ? 2 + 2 * c->nr_ports : 2, QUEUE_SIZE);
	for (unsigned i = 0; i < c->nr_ports; i++)
		init_port(con, c, i);
	return 0;
}

static void console_fini(struct dev *d)
{
	struct virtio_console *con = container_of(d, struct virtio_console, v.dev);

	for (unsigned i = 0; i < nr_ports(con); i++) {
		struct chr *chr = con->port[i].chr;

		if (!chr)
			continue;
		chr->receive = NULL;
		chr->writable = NULL;
		chr->host_open = NULL;
		chr->dev = NULL;
	}
}

static void console_reset(struct dev *d)
{
	struct virtio_console *con = container_of(d, struct virtio_console, v.dev);

	for (unsigned i = 0; i < nr_ports(con); i++) {
		struct port *p = &con->port[i];

		p->pending = 0;
		p->guest_open = p->blocked = false;
		p->tx_done = 0; /* starved stays: the host end still waits */
	}
}

/* clang-format off */
#define PORT_FIELDS(S, p) \
	FIELD_NOT_SAVED(S, p.con), FIELD_NOT_SAVED(S, p.chr), FIELD_NOT_SAVED(S, p.name), \
	FIELD_NOT_SAVED(S, p.console), FIELD_NOT_SAVED(S, p.id), FIELD(S, p.pending), \
	FIELD_NOT_SAVED(S, p.host_open), FIELD(S, p.guest_open), \
	FIELD_NOT_SAVED(S, p.starved), FIELD_NOT_SAVED(S, p.blocked), FIELD(S, p.tx_done)
/* clang-format on */

static const struct field console_state[] = {
	VIRTIO_FIELDS(struct virtio_console, v),
	PORT_FIELDS(struct virtio_console, port[0]),
	PORT_FIELDS(struct virtio_console, port[1]),
	PORT_FIELDS(struct virtio_console, port[2]),
	PORT_FIELDS(struct virtio_console, port[3]),
	PORT_FIELDS(struct virtio_console, port[4]),
	PORT_FIELDS(struct virtio_console, port[5]),
	PORT_FIELDS(struct virtio_console, port[6]),
	FIELD_END,
};

const struct virtio_class virtio_console_class = {
	.dev = {
		.name = "virtio-console",
		.spec = "Virtual I/O Device 1.2, 5.3",
		.size = sizeof(struct virtio_console),
		.state = console_state,
		.init = console_init,
		.fini = console_fini,
		.reset = console_reset,
		.loaded = virtio_loaded,
	},
	.id = 3,
	.pci_class = 0x078000,
	.notify = console_notify,
	.config_write = console_config_write,
};
