// SPDX-License-Identifier: Apache-2.0
/* console_test.c - virtio-console and virtio-rng */
#include "dev/virtio/drv_test.h"

#include "base/test.h"
#include "ui/chr.h"

#define MULTIPORT 2ull

struct fake {
	struct chr chr;
	size_t room; /* bytes write() takes before it is full */
	unsigned nr_can_receive;
	char out[4096];
	size_t out_len;
};

static size_t fake_write(struct chr *c, const void *buf, size_t len)
{
	struct fake *f = container_of(c, struct fake, chr);
	size_t n = len < f->room ? len : f->room;

	memcpy(f->out + f->out_len, buf, n);
	f->out_len += n;
	f->room -= n;
	return n;
}

static void fake_can_receive(struct chr *c)
{
	container_of(c, struct fake, chr)->nr_can_receive++;
}

static void init_fake(struct fake *f)
{
	*f = (struct fake){ .chr = { .write = fake_write, .can_receive = fake_can_receive },
			    .room = sizeof f->out };
}

static bool open_one(struct drv *t, struct fake *f)
{
	struct virtio_console_cfg c = { .nr_ports = 1, .cols = 80, .rows = 25,
					.port = { { .chr = &f->chr, .console = true } } };

	init_fake(f);
	return drv_open(t, &virtio_console_class, &c, 1, DRV_QSIZE);
}

static const struct drv_buf out[2] = { { DRV_BUF, 10 }, { DRV_BUF + 10, 10 } };

TEST(console_output_waits_for_a_full_host_end_and_loses_nothing)
{
	for (size_t room = 0; room <= 20; room++) {
		struct fake f;
		struct drv t;
		u32 id, len;

		CHECK(open_one(&t, &f));
		f.room = room;
		drv_put(&t, DRV_BUF, "0123456789abcdefghij", 20);
		drv_add(&t, 1, out, 2, 0);
		drv_kick(&t, 1);
		CHECK_EQ(f.out_len, room);
		while (f.out_len < 20) {
			CHECK(!drv_used(&t, 1, &id, &len));
			f.room = 3;
			f.chr.writable(f.chr.dev);
		}
		CHECK(drv_used(&t, 1, &id, &len));
		CHECK(!memcmp(f.out, "0123456789abcdefghij", 20));
		drv_close(&t);
	}
}

TEST(console_input_stays_outside_until_there_are_buffers)
{
	static const struct drv_buf in = { DRV_BUF, 4 };
	struct fake f;
	struct drv t;
	char buf[5] = "";
	u32 id, len;

	CHECK(open_one(&t, &f));
	CHECK_EQ(f.chr.receive(f.chr.dev, "abcdef", 6), 0);
	drv_add(&t, 0, &in, 0, 1);
	drv_kick(&t, 0);
	CHECK_EQ(f.nr_can_receive, 1);
	CHECK_EQ(f.chr.receive(f.chr.dev, "abcdef", 6), 4);
	CHECK(drv_used(&t, 0, &id, &len));
	CHECK_EQ(len, 4);
	drv_get(&t, DRV_BUF, buf, 4);
	CHECK_STR(buf, "abcd");
	drv_close(&t);
}

TEST(console_size_is_configuration)
{
	struct fake f;
	struct drv t;

	CHECK(open_one(&t, &f));
	CHECK_EQ(drv_config(&t, 0, 4), 80 | 25 << 16);
	virtio_console_resize(t.dev, 100, 30);
	CHECK_EQ(drv_config(&t, 0, 4), 100 | 30 << 16);
	CHECK_EQ(t.irqs[16], 1);
	drv_close(&t);
}

/* -- multiport --------------------------------------------------------------------------- */

struct msg {
	u32 id;
	u16 event, value;
	char name[56];
};

static void send_msg(struct drv *t, u32 id, u16 event, u16 value)
{
	static const struct drv_buf b = { DRV_BUF + 0x8000, 8 };
	struct msg m = { id, event, value, "" };

	drv_put(t, b.gpa, &m, 8);
	drv_call(t, 3, &b, 1, 0);
}

static bool next_msg(struct drv *t, struct msg *m)
{
	u32 id, len;

	memset(m, 0, sizeof *m);
	if (!drv_used(t, 2, &id, &len))
		return false;
	drv_get(t, DRV_BUF + 0x9000 + 64 * (id % DRV_QSIZE), m, len);
	return true;
}

static void add_msg_buffers(struct drv *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		drv_add(t, 2, &(struct drv_buf){ DRV_BUF + 0x9000 +
						 64ull * t->q[2].next_desc, 64 }, 0, 1);
	drv_kick(t, 2);
}

static bool open_two(struct drv *t, struct fake *a, struct fake *b)
{
	struct virtio_console_cfg c = {
		.nr_ports = 2,
		.port = { { .chr = &a->chr, .name = "ctl" },
			  { .chr = &b->chr, .name = "data", .console = true } },
	};

	init_fake(a);
	init_fake(b);
	return drv_open(t, &virtio_console_class, &c, MULTIPORT, DRV_QSIZE);
}

#define CHECK_MSG(want_id, want_event, want_value)                                                 \
	do {                                                                                       \
		struct msg m_;                                                                     \
		CHECK(next_msg(&t, &m_));                                                          \
		CHECK_EQ(m_.id, want_id);                                                          \
		CHECK_EQ(m_.event, want_event);                                                    \
		CHECK_EQ(m_.value, want_value);                                                    \
	} while (0)

TEST(console_ports_are_announced_named_and_opened)
{
	struct fake a, b;
	struct drv t;
	struct msg m;

	CHECK(open_two(&t, &a, &b));
	CHECK_EQ(drv_config(&t, 4, 4), 2);
	CHECK_EQ(t.v->nr_queues, 6);
	send_msg(&t, 0, 0, 1);	   /* DEVICE_READY, before there are buffers */
	add_msg_buffers(&t, 8);
	CHECK_MSG(0, 1, 1); /* PORT_ADD */
	CHECK_MSG(1, 1, 1);
	send_msg(&t, 1, 3, 1);	   /* PORT_READY */
	CHECK_MSG(1, 4, 1); /* CONSOLE_PORT */
	CHECK_MSG(1, 6, 1); /* PORT_OPEN */
	CHECK(next_msg(&t, &m));
	CHECK_EQ(m.event, 7);
	CHECK_STR(m.name, "data");
	b.chr.host_open(b.chr.dev, false);
	CHECK_MSG(1, 6, 0);
	CHECK(!next_msg(&t, &m));
	send_msg(&t, 7, 3, 1); /* no such port */
	CHECK_EQ(t.v->dev.guest_errors, 1);
	drv_close(&t);
}

TEST(console_port_takes_input_only_when_the_guest_has_it_open)
{
	static const struct drv_buf in = { DRV_BUF, 64 };
	struct fake a, b;
	struct drv t;

	CHECK(open_two(&t, &a, &b));
	drv_add(&t, 4, &in, 0, 1);
	drv_kick(&t, 4);
	CHECK_EQ(b.chr.receive(b.chr.dev, "x", 1), 0);
	send_msg(&t, 1, 6, 1); /* PORT_OPEN */
	CHECK_EQ(b.nr_can_receive, 1);
	CHECK_EQ(b.chr.receive(b.chr.dev, "x", 1), 1);
	CHECK_EQ(t.irqs[4], 1);
	drv_put(&t, DRV_BUF, "to host", 7);
	drv_call(&t, 5, &(struct drv_buf){ DRV_BUF, 7 }, 1, 0);
	CHECK_EQ(b.out_len, 7);
	CHECK_EQ(a.out_len, 0);
	drv_close(&t);
}

TEST(console_state_covers_every_member)
{
	const struct dev_class *c = &virtio_console_class.dev;

	CHECK_EQ(field_first_gap(c->state, c->size), c->size);
}

/* -- rng --------------------------------------------------------------------------------- */

static size_t fill_55(void *ctx UNUSED, void *buf, size_t len)
{
	memset(buf, 0x55, len);
	return len;
}

TEST(rng_fills_what_it_is_given)
{
	static const struct drv_buf in[2] = { { DRV_BUF, 5 }, { DRV_BUF + 0x100, 6 } };
	struct virtio_rng_cfg c = { .fill = fill_55 };
	struct drv t;
	u8 buf[7];

	CHECK(drv_open(&t, &virtio_rng_class, &c, ~0ull, DRV_QSIZE));
	CHECK_EQ(drv_call(&t, 0, in, 0, 2), 11);
	drv_get(&t, DRV_BUF + 0x100, buf, 7);
	CHECK_EQ(buf[5], 0x55);
	CHECK_EQ(buf[6], 0);
	drv_close(&t);
}
