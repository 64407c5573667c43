// SPDX-License-Identifier: Apache-2.0
/* net_test.c - virtio-net against a fake port */
#include "dev/virtio/drv_test.h"

#include "base/test.h"
#include "net/net.h"

#include <linux/if_tun.h>

#define MRG	(1ull << 15)
#define CTRL_VQ (1ull << 17)
#define MQ	(1ull << 22)

struct fake {
	struct net_port port;
	bool full, attached;
	unsigned nr_sent, nr_can_receive, tun_f;
	u8 last[2048];
	size_t last_len;
};

static bool fake_send(struct net_port *p, const struct iovec *iov, int nr_iov)
{
	struct fake *f = container_of(p, struct fake, port);

	if (f->full)
		return false;
	f->last_len = 0;
	for (int i = 0; i < nr_iov; i++) {
		memcpy(f->last + f->last_len, iov[i].iov_base, iov[i].iov_len);
		f->last_len += iov[i].iov_len;
	}
	f->nr_sent++;
	return true;
}

static void fake_can_receive(struct net_port *p)
{
	container_of(p, struct fake, port)->nr_can_receive++;
}

static bool fake_set_offload(struct net_port *p, unsigned tun_f)
{
	container_of(p, struct fake, port)->tun_f = tun_f;
	return true;
}

static bool open_net(struct drv *t, struct fake *f, u64 want)
{
	struct virtio_net_cfg c = { .port = { &f->port }, .mac = { 0x52, 0x54, 0, 1, 2, 3 } };

	f->port.send = fake_send;
	f->port.can_receive = fake_can_receive;
	f->port.set_offload = fake_set_offload;
	return drv_open(t, &virtio_net_class, &c, want, DRV_QSIZE);
}

static bool receive(struct fake *f, const void *p, size_t len)
{
	struct iovec v[2] = { { (void *)p, len / 2 }, { (u8 *)p + len / 2, len - len / 2 } };

	return f->port.receive(f->port.nic, v, 2);
}

static const struct drv_buf tx[2] = { { DRV_BUF, 12 }, { DRV_BUF + 0x100, 60 } };
static const struct drv_buf rx_small = { DRV_BUF + 0x1000, 100 };

TEST(net_config_has_mac_and_link)
{
	struct fake f = { 0 };
	struct drv t;

	CHECK(open_net(&t, &f, 0));
	CHECK_EQ(drv_config(&t, 0, 4), 0x01005452);
	CHECK_EQ(drv_config(&t, 6, 2), 1);
	f.port.link(f.port.nic, false);
	CHECK_EQ(drv_config(&t, 6, 2), 0);
	CHECK_EQ(t.irqs[16], 1);
	CHECK(!(t.v->offered & 3)); /* no offload without vnet headers */
	drv_close(&t);
}

TEST(net_sends_frames_without_the_header_and_holds_them_when_full)
{
	struct fake f = { 0 };
	struct drv t;
	u32 id, len;

	CHECK(open_net(&t, &f, 0));
	drv_put(&t, DRV_BUF + 0x100, "frame", 5);
	CHECK_EQ(drv_call(&t, 1, tx, 2, 0), 0);
	CHECK_EQ(f.last_len, 60);
	CHECK(!memcmp(f.last, "frame", 5));
	f.full = true;
	CHECK_EQ(drv_call(&t, 1, tx, 2, 0), ~0u);
	f.full = false;
	f.port.writable(f.port.nic);
	CHECK_EQ(f.nr_sent, 2);
	CHECK(drv_used(&t, 1, &id, &len));
	drv_close(&t);
}

TEST(net_drops_frames_of_impossible_size)
{
	static const struct drv_buf shrt = { DRV_BUF, 20 };
	static const struct drv_buf lng[2] = { { DRV_BUF, 12 }, { DRV_BUF, NET_FRAME_MAX + 1 } };
	struct fake f = { 0 };
	struct drv t;

	CHECK(open_net(&t, &f, 0));
	CHECK_EQ(drv_call(&t, 1, &shrt, 1, 0), 0);
	CHECK_EQ(drv_call(&t, 1, lng, 2, 0), 0);
	CHECK_EQ(f.nr_sent, 0);
	drv_close(&t);
}

TEST(net_receives_into_one_buffer)
{
	struct fake f = { 0 };
	struct drv t;
	u8 frame[60] = "incoming", buf[72];
	u32 id, len;

	CHECK(open_net(&t, &f, 0));
	CHECK(!receive(&f, frame, sizeof frame)); /* no buffer: the port holds it */
	drv_add(&t, 0, &rx_small, 0, 1);
	drv_kick(&t, 0);
	CHECK_EQ(f.nr_can_receive, 1);
	CHECK(receive(&f, frame, sizeof frame));
	CHECK(drv_used(&t, 0, &id, &len));
	CHECK_EQ(len, 72);
	drv_get(&t, rx_small.gpa, buf, sizeof buf);
	CHECK_EQ(buf[10], 1); /* num_buffers */
	CHECK(!memcmp(buf + 12, frame, sizeof frame));
	CHECK_EQ(t.irqs[0], 1);
	drv_close(&t);
}

static void check_mergeable(u64 want)
{
	struct fake f = { 0 };
	struct drv t;
	u8 frame[200], buf[100];
	u32 id, len;

	for (unsigned i = 0; i < sizeof frame; i++)
		frame[i] = (u8)i;
	CHECK(open_net(&t, &f, want | MRG));
	for (unsigned i = 0; i < 2; i++)
		drv_add(&t, 0, &(struct drv_buf){ DRV_BUF + 0x1000 * i, 100 }, 0, 1);
	CHECK(!receive(&f, frame, sizeof frame)); /* 212 bytes in 200: rolled back */
	CHECK(!drv_used(&t, 0, &id, &len));
	drv_add(&t, 0, &(struct drv_buf){ DRV_BUF + 0x2000, 100 }, 0, 1);
	CHECK(receive(&f, frame, sizeof frame));
	for (unsigned i = 0; i < 3; i++) {
		CHECK(drv_used(&t, 0, &id, &len));
		CHECK_EQ(len, i < 2 ? 100 : 12);
		drv_get(&t, DRV_BUF + 0x1000 * i, buf, len);
		CHECK(!memcmp(buf + (i ? 0 : 12), frame + (i ? 100 * i - 12 : 0),
			      len - (i ? 0 : 12)));
		if (!i)
			CHECK_EQ(buf[10], 3);
	}
	CHECK_EQ(t.irqs[0], 1); /* published together */
	drv_close(&t);
}

TEST(net_merges_buffers_or_takes_none)
{
	check_mergeable(0);
	check_mergeable(VIRTIO_F_RING_PACKED);
}

TEST(net_passes_offload_headers_and_requests)
{
	struct fake f = { .port.has_vnet_hdr = true };
	struct drv t;
	u8 hdr[12] = { 1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0 };

	CHECK(open_net(&t, &f, ~0ull & ~VIRTIO_F_RING_PACKED));
	CHECK_EQ(f.tun_f, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN);
	drv_put(&t, DRV_BUF, hdr, sizeof hdr);
	CHECK_EQ(drv_call(&t, 1, tx, 2, 0), 0);
	CHECK_EQ(f.last_len, 72);
	CHECK(!memcmp(f.last, hdr, sizeof hdr));
	drv_write(&t, 20, 1, 0);
	CHECK_EQ(f.tun_f, 0);
	drv_close(&t);
}

static void fake_attach(struct net_port *p, bool on)
{
	container_of(p, struct fake, port)->attached = on;
}

/* Send a control command of 4 bytes; its answer, or -1. */
static int command(struct drv *t, unsigned queue, u32 what)
{
	const struct drv_buf b[2] = { { DRV_BUF, 4 }, { DRV_BUF + 0x100, 1 } };
	u8 ack = 0xff;

	drv_put(t, DRV_BUF, &what, sizeof what);
	if (drv_call(t, queue, b, 1, 1) != 1)
		return -1;
	drv_get(t, DRV_BUF + 0x100, &ack, 1);
	return ack;
}

TEST(net_pairs_are_used_as_the_driver_says)
{
	struct fake f[3] = { 0 };
	struct virtio_net_cfg c = { .nr_pairs = 3 };
	struct drv_buf in = rx_small;
	u8 frame[60] = { 1 };
	u32 id, len;
	struct drv t;

	for (unsigned k = 0; k < 3; k++) {
		f[k].port = (struct net_port){ .send = fake_send, .can_receive = fake_can_receive,
					       .attach = fake_attach };
		c.port[k] = &f[k].port;
	}
	CHECK(drv_open(&t, &virtio_net_class, &c, MRG | CTRL_VQ | MQ, DRV_QSIZE));
	CHECK_EQ(drv_config(&t, 8, 2), 3);
	CHECK(f[0].attached && !f[1].attached && !f[2].attached);
	CHECK_EQ(command(&t, 6, 2 << 16 | 4), 0);
	CHECK(f[0].attached && f[1].attached && !f[2].attached);
	CHECK_EQ(command(&t, 6, 0 << 16 | 4), 1);
	CHECK_EQ(command(&t, 6, 4 << 16 | 4), 1);
	CHECK_EQ(command(&t, 6, 1 << 16 | 1), 1); /* another class */
	CHECK(f[1].attached && !f[2].attached);

	drv_call(&t, 3, tx, 2, 0);
	CHECK_EQ(f[1].nr_sent, 1);
	CHECK_EQ(f[0].nr_sent, 0);
	drv_add(&t, 2, &in, 0, 1);
	CHECK(receive(&f[1], frame, sizeof frame));
	CHECK(!receive(&f[0], frame, sizeof frame)); /* no buffers in its queue */
	drv_add(&t, 4, &in, 0, 1);
	CHECK(receive(&f[2], frame, sizeof frame)); /* lost: its pair is not in use */
	CHECK(!drv_used(&t, 4, &id, &len));
	drv_close(&t);
}

TEST(net_control_queue_is_the_third_without_pairs)
{
	struct fake f[2] = { 0 };
	struct virtio_net_cfg c = { .port = { &f[0].port, &f[1].port }, .nr_pairs = 2 };
	struct drv t;

	f[0].port.attach = f[1].port.attach = fake_attach;
	CHECK(drv_open(&t, &virtio_net_class, &c, MRG | CTRL_VQ, DRV_QSIZE));
	CHECK_EQ(command(&t, 2, 2 << 16 | 4), 1);
	CHECK(!f[1].attached);
	drv_close(&t);
}

TEST(net_state_covers_every_member)
{
	const struct dev_class *c = &virtio_net_class.dev;

	CHECK_EQ(field_first_gap(c->state, c->size), c->size);
}

/* Two frames a second, one of them to start with. */
static const struct ratelimit_cfg two_a_second = {
	.bucket[RATELIMIT_OPS] = { .size = 2, .refill_ms = 1000 },
};

TEST(net_transmit_waits_for_its_limit)
{
	struct fake f = { .port = { .send = fake_send, .can_receive = fake_can_receive } };
	struct virtio_net_cfg c = { .port = { &f.port }, .tx = two_a_second };
	struct drv t;

	CHECK(drv_open(&t, &virtio_net_class, &c, 0, DRV_QSIZE));
	for (unsigned i = 0; i < 4; i++)
		drv_add(&t, 1, tx, 2, 0);
	drv_kick(&t, 1);
	CHECK_EQ(f.nr_sent, 2);
	clock_fake_advance(&t.clock, 510000000);
	CHECK_EQ(f.nr_sent, 3);
	f.full = true; /* paid for, and not again when the port has room */
	clock_fake_advance(&t.clock, 510000000);
	CHECK_EQ(f.nr_sent, 3);
	f.full = false;
	f.port.writable(f.port.nic);
	CHECK_EQ(f.nr_sent, 4);
	drv_close(&t);
	CHECK_EQ(t.clock.nr, 0);
}

TEST(net_receive_waits_for_its_limit)
{
	struct fake f = { .port = { .send = fake_send, .can_receive = fake_can_receive } };
	struct virtio_net_cfg c = { .port = { &f.port }, .rx = two_a_second };
	const struct ratelimit_bucket_cfg none = { 0 };
	u8 frame[60] = { 0 };
	struct drv t;

	CHECK(drv_open(&t, &virtio_net_class, &c, 0, DRV_QSIZE));
	for (unsigned i = 0; i < 4; i++)
		drv_add(&t, 0, &(struct drv_buf){ DRV_BUF, 0x400 }, 0, 1);
	drv_kick(&t, 0);
	CHECK(receive(&f, frame, sizeof frame));
	CHECK(receive(&f, frame, sizeof frame));
	CHECK(!receive(&f, frame, sizeof frame));
	CHECK_EQ(f.nr_can_receive, 0);
	clock_fake_advance(&t.clock, 510000000);
	CHECK_EQ(f.nr_can_receive, 1);
	CHECK(receive(&f, frame, sizeof frame));
	CHECK(!receive(&f, frame, sizeof frame));
	virtio_net_limit(t.dev, false, RATELIMIT_OPS, &none);
	clock_fake_advance(&t.clock, 1000000);
	CHECK_EQ(f.nr_can_receive, 2);
	CHECK(receive(&f, frame, sizeof frame));
	CHECK(!receive(&f, frame, sizeof frame)); /* no buffers left */
	drv_close(&t);
	CHECK_EQ(t.clock.nr, 0);
}
