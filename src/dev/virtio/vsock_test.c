// SPDX-License-Identifier: Apache-2.0
/* vsock_test.c - virtio-vsock against a fake host side */
#include "base/test.h"
#include "dev/virtio/drv_test.h"
#include "net/vsock.h"

enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };

struct fake {
	struct vsock_backend b;
	struct vsock_conn *c;
	bool refuse;
	size_t room, got;
	u8 last;
	unsigned connected, can_receive, done, closed;
};

static void *fake_connect(struct vsock_backend *b, struct vsock_conn *c, u32 guest_port UNUSED,
			  u32 host_port UNUSED)
{
	struct fake *f = container_of(b, struct fake, b);

	if (f->refuse)
		return NULL;
	f->c = c;
	b->guest->accept(c);
	return f;
}

static size_t fake_send(void *host, const void *buf, size_t len)
{
	struct fake *f = host;
	size_t n = len < f->room ? len : f->room;

	if (n)
		f->last = ((const u8 *)buf)[n - 1];
	f->got += n;
	f->room -= n;
	return n;
}

static void fake_connected(void *host)
{
	((struct fake *)host)->connected++;
}

static void fake_can_receive(void *host)
{
	((struct fake *)host)->can_receive++;
}

static void fake_done(void *host)
{
	((struct fake *)host)->done++;
}

static void fake_closed(void *host)
{
	((struct fake *)host)->closed++;
}

struct PACKED hdr {
	u64 src_cid, dst_cid;
	u32 src_port, dst_port, len;
	u16 type, op;
	u32 flags, buf_alloc, fwd_cnt;
};

static bool open_vsock(struct drv *t, struct fake *f)
{
	struct virtio_vsock_cfg c = { .guest_cid = 3, .backend = &f->b };

	*f = (struct fake){ .room = 1 << 30,
			    .b = { .connect = fake_connect, .connected = fake_connected,
				   .send = fake_send, .can_receive = fake_can_receive,
				   .guest_done = fake_done, .closed = fake_closed } };
	return drv_open(t, &virtio_vsock_class, &c, 1, DRV_QSIZE);
}

#define RX_BUF(i) (DRV_BUF + 0x1000ull * ((i) % DRV_QSIZE))

static void add_rx(struct drv *t, unsigned n)
{
	while (n--)
		drv_add(t, 0, &(struct drv_buf){ RX_BUF(t->q[0].next_desc), 0x1000 }, 0, 1);
	drv_kick(t, 0);
}

static void send_op(struct drv *t, u16 op, u32 len, u32 flags)
{
	struct drv_buf b[2] = { { DRV_BUF + 0x20000, sizeof(struct hdr) },
				{ DRV_BUF + 0x21000, len } };
	struct hdr h = { .src_cid = 3, .dst_cid = 2, .src_port = 1000, .dst_port = 80, .len = len,
			 .type = 1, .op = op, .flags = flags, .buf_alloc = 10000 };

	drv_put(t, b[0].gpa, &h, sizeof h);
	drv_call(t, 1, b, len ? 2 : 1, 0);
}

static u16 next_op(struct drv *t, struct hdr *h)
{
	u32 id, len;

	if (!drv_used(t, 0, &id, &len))
		return 0;
	drv_get(t, RX_BUF(id), h, sizeof *h);
	return h->op;
}

TEST(vsock_guest_connects_sends_and_closes)
{
	struct fake f;
	struct drv t;
	struct hdr h;

	CHECK(open_vsock(&t, &f));
	CHECK_EQ(drv_config(&t, 0, 4), 3);
	add_rx(&t, 8);
	send_op(&t, REQUEST, 0, 0);
	CHECK_EQ(next_op(&t, &h), RESPONSE);
	CHECK_EQ(h.dst_cid, 3);
	CHECK_EQ(h.dst_port, 1000);
	CHECK_EQ(h.src_port, 80);
	CHECK_EQ(h.buf_alloc, 65536);
	send_op(&t, RW, 5000, 0);
	CHECK_EQ(f.got, 5000);
	send_op(&t, SHUTDOWN, 0, 2);
	CHECK_EQ(f.done, 1);
	send_op(&t, SHUTDOWN, 0, 3);
	CHECK_EQ(next_op(&t, &h), RST);
	CHECK_EQ(f.closed, 1);
	CHECK_EQ(next_op(&t, &h), 0);
	drv_close(&t);
}

TEST(vsock_refused_and_unknown_are_reset)
{
	struct fake f;
	struct drv t;
	struct hdr h;

	CHECK(open_vsock(&t, &f));
	f.refuse = true;
	send_op(&t, REQUEST, 0, 0); /* no receive buffers yet: the RST waits */
	add_rx(&t, 4);
	CHECK_EQ(next_op(&t, &h), RST);
	send_op(&t, RW, 10, 0);
	CHECK_EQ(next_op(&t, &h), RST);
	send_op(&t, RST, 0, 0); /* never answered */
	CHECK_EQ(next_op(&t, &h), 0);
	drv_close(&t);
}

TEST(vsock_guest_data_waits_for_the_host_within_its_credit)
{
	struct fake f;
	struct drv t;
	struct hdr h;

	CHECK(open_vsock(&t, &f));
	add_rx(&t, 8);
	send_op(&t, REQUEST, 0, 0);
	CHECK_EQ(next_op(&t, &h), RESPONSE);
	f.room = 100;
	send_op(&t, RW, 30000, 0);
	send_op(&t, RW, 30000, 0);
	CHECK_EQ(f.got, 100);
	send_op(&t, SHUTDOWN, 0, 2);
	CHECK_EQ(f.done, 0);
	f.room = 20000;
	f.b.guest->writable(f.c);
	CHECK_EQ(f.got, 20100);
	CHECK_EQ(next_op(&t, &h), CREDIT_UPDATE);
	CHECK_EQ(h.fwd_cnt, 20100);
	f.room = 1 << 20;
	f.b.guest->writable(f.c);
	CHECK_EQ(f.got, 60000);
	CHECK_EQ(f.done, 1);
	drv_close(&t);
	CHECK_EQ(f.closed, 1);
}

TEST(vsock_overrun_of_credit_is_a_reset)
{
	struct fake f;
	struct drv t;
	struct hdr h;

	CHECK(open_vsock(&t, &f));
	add_rx(&t, 8);
	send_op(&t, REQUEST, 0, 0);
	CHECK_EQ(next_op(&t, &h), RESPONSE);
	f.room = 0;
	send_op(&t, RW, 40000, 0);
	send_op(&t, RW, 40000, 0);
	CHECK_EQ(next_op(&t, &h), RST);
	CHECK_EQ(f.closed, 1);
	drv_close(&t);
}

TEST(vsock_host_connects_and_respects_the_guests_credit)
{
	static u8 data[16384];
	struct vsock_conn *c;
	struct fake f;
	struct drv t;
	struct hdr h;

	CHECK(open_vsock(&t, &f));
	c = f.b.guest->connect(f.b.dev, 80, 1000, &f);
	CHECK(c);
	CHECK(!f.b.guest->connect(f.b.dev, 80, 1000, &f)); /* ports in use */
	CHECK_EQ(f.b.guest->receive(c, data, 10), 0);      /* not up yet */
	add_rx(&t, 8);
	CHECK_EQ(next_op(&t, &h), REQUEST);
	send_op(&t, RESPONSE, 0, 0);
	CHECK_EQ(f.connected, 1);
	CHECK_EQ(f.can_receive, 1); /* for the attempt before */
	CHECK_EQ(f.b.guest->receive(c, data, sizeof data), 10000);
	for (unsigned n = 0; n < 10000; n += h.len)
		CHECK_EQ(next_op(&t, &h), RW);
	send_op(&t, CREDIT_UPDATE, 0, 0); /* nothing consumed: still no credit */
	CHECK_EQ(f.can_receive, 1);
	f.b.guest->host_done(c);
	CHECK_EQ(next_op(&t, &h), SHUTDOWN);
	CHECK_EQ(h.flags, 2);
	f.b.guest->close(c);
	CHECK_EQ(next_op(&t, &h), RST);
	CHECK_EQ(f.closed, 0); /* the host end closed it itself */
	drv_close(&t);
}

TEST(vsock_connection_flood_is_bounded)
{
	struct fake f;
	struct drv t;

	CHECK(open_vsock(&t, &f));
	for (u32 i = 0; i < 2000; i++)
		(void)f.b.guest->connect(f.b.dev, i, i, &f);
	CHECK(!f.b.guest->connect(f.b.dev, 5000, 1, &f));
	drv_write(&t, 20, 1, 0);
	CHECK_EQ(f.closed, 256);
	drv_close(&t);
}

TEST(vsock_state_covers_every_member)
{
	const struct dev_class *c = &virtio_vsock_class.dev;

	CHECK_EQ(field_first_gap(c->state, c->size), c->size);
}
