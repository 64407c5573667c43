// SPDX-License-Identifier: Apache-2.0
/* virtio_test.c - transports, and what must hold for every device behind them */
#include "base/test.h"
#include "blk/blk_int.h"
#include "dev/virtio/drv_test.h"
#include "net/vsock.h"
#include "net/net.h"
#include "ui/chr.h"

#include <fcntl.h>
#include <unistd.h>

/* -- a null back end for each device ------------------------------------------------- */

static size_t rng_fill(void *ctx UNUSED, void *buf, size_t len)
{
	memset(buf, 1, len);
	return len;
}

static void null_submit(struct blk *b, struct blk_req *r)
{
	blk_complete(b, r, 0);
}

static bool null_send(struct net_port *p UNUSED, const struct iovec *iov UNUSED, int n UNUSED)
{
	return true;
}

static void null_can_receive(struct net_port *p UNUSED)
{
}

static size_t null_write(struct chr *c UNUSED, const void *buf UNUSED, size_t len)
{
	return len;
}

static void *null_connect(struct vsock_backend *b, struct vsock_conn *c, u32 g UNUSED,
			  u32 h UNUSED)
{
	b->guest->accept(c);
	return b;
}

static size_t null_take(void *host UNUSED, const void *buf UNUSED, size_t len)
{
	return len;
}

static void null_event(void *host UNUSED)
{
}

static const struct blk_driver null_driver = { .name = "null", .submit = null_submit };
static struct blk null_blk;
static struct net_port null_port;
static struct chr null_chr[2];
static struct vsock_backend null_vsock;
static struct virtio_share_cfg p9 = { .tag = "t", .read_only = true };
static const struct virtio_rng_cfg rng = { .fill = rng_fill };
static const struct virtio_blk_cfg blk = { .blk = &null_blk };
static const struct virtio_net_cfg net = { .port = { &null_port } };
static const struct virtio_console_cfg con = {
	.nr_ports = 2, .port = { { .chr = &null_chr[0], .name = "a" }, { .chr = &null_chr[1] } },
};
static const struct virtio_balloon_cfg balloon = { .poll_s = 1, .hinting = true,
						   .reporting = true };
static const struct virtio_mem_cfg memory = { .addr = 8 << 20, .size = 8 << 20, .block = 2 << 20,
					      .wanted = 4 << 20 };
static const struct virtio_pmem_cfg pmem = { .start = 1ull << 32, .size = 2 << 20,
					     .blk = &null_blk };
static const struct virtio_vsock_cfg vsock = { .guest_cid = 3, .backend = &null_vsock };

static const struct {
	const struct virtio_class *class;
	const void *cfg;
} all[] = {
	{ &virtio_rng_class, &rng },	 { &virtio_blk_class, &blk }, { &virtio_net_class, &net },
	{ &virtio_console_class, &con }, { &virtio_vsock_class, &vsock }, { &virtio_9p_class, &p9 },
	{ &virtio_fs_class, &p9 },	 { &virtio_balloon_class, &balloon },
	{ &virtio_mem_class, &memory },	 { &virtio_pmem_class, &pmem },
};

static void init_backends(void)
{
	memset(&null_blk, 0, sizeof null_blk);
	blk_init(&null_blk, &null_driver, NULL, NULL);
	null_blk.info = (struct blk_info){ .size = 1 << 20, .block_size = 512 };
	null_port = (struct net_port){ .send = null_send, .can_receive = null_can_receive };
	for (unsigned i = 0; i < 2; i++)
		null_chr[i] = (struct chr){ .write = null_write };
	null_vsock = (struct vsock_backend){ .connect = null_connect, .connected = null_event,
					     .send = null_take, .can_receive = null_event,
					     .guest_done = null_event, .closed = null_event };
	if (p9.dir_fd <= 0)
		p9.dir_fd = open("/proc/self/fdinfo", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* -- every device ---------------------------------------------------------------------- */

TEST(every_virtio_device_describes_all_its_state)
{
	for (unsigned i = 0; i < array_len(all); i++) {
		const struct dev_class *c = &all[i].class->dev;

		if (field_first_gap(c->state, c->size) != c->size)
			test_fail(__FILE__, __LINE__, "%s: gap at 0x%zx", c->name,
				  field_first_gap(c->state, c->size));
	}
}

TEST(virtio_transports_describe_all_their_state)
{
	for (unsigned mmio = 0; mmio < 2; mmio++) {
		struct dev_env env = { 0 };
		struct drv t;
		struct dev *d;
		struct err e;

		CHECK(drv_open(&t, &virtio_rng_class, &rng, 0, DRV_QSIZE));
		env.mem = t.mem;
		env.clock = &t.clock.clock;
		d = mmio ? virtio_mmio_new(&virtio_rng_class, &rng, 0xd0000000, "m", &env, &e) : t.dev;
		CHECK(d);
		CHECK_EQ(field_first_gap(d->class->state, d->class->size), d->class->size);
		if (mmio)
			dev_free(d);
		drv_close(&t);
	}
}

static u64 seed;

static u32 rnd(void)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)(seed >> 33);
}

#ifndef FUZZ_RUNS
#define FUZZ_RUNS 8 /* more by hand, with sanitizers */
#endif

/* Chains of random shape and content, some of them malformed, on random queues. */
static void fuzz_step(struct drv *t)
{
	struct drv_buf b[5];
	unsigned q = rnd() % t->v->nr_queues, nr_out = rnd() % 4, nr_in = rnd() % 3;
	u32 words[16];

	if (nr_out + nr_in == 0)
		nr_in = 1;
	for (unsigned i = 0; i < array_len(words); i++)
		words[i] = rnd() & 1 ? 0 : rnd() & 1 ? rnd() % 16 : rnd();
	drv_put(t, DRV_BUF + rnd() % 64 * 64, words, sizeof words);
	for (unsigned i = 0; i < nr_out + nr_in; i++) {
		b[i].gpa = rnd() % 500 ? DRV_BUF + rnd() % 64 * 64 : rnd();
		b[i].len = rnd() & 1 ? rnd() % 64 : rnd() % 5000;
	}
	drv_add(t, q, b, nr_out, nr_in);
	if (rnd() % 20 == 0) /* scribble over a ring */
		drv_put(t, 0x10000 + q * 0x10000 + rnd() % 3 * 0x4000 + rnd() % 512, words,
			1 + rnd() % 16);
	drv_kick(t, q);
	if (rnd() % 8 == 0)
		drv_write(t, 0x2000 + rnd() % 64, 1u << rnd() % 3, rnd());
}

TEST(every_virtio_device_survives_random_requests)
{
	for (unsigned i = 0; i < array_len(all); i++) {
		for (unsigned run = 0; run < FUZZ_RUNS; run++) {
			u64 want = run & 1 ? ~0ull : ~VIRTIO_F_RING_PACKED;
			struct drv t;

			init_backends();
			seed = run * 100ull + i;
			CHECK(drv_open(&t, all[i].class, all[i].cfg, want, 64));
			for (unsigned n = 0; n < 300; n++) {
				fuzz_step(&t);
				if (drv_read(&t, 20, 1) & VIRTIO_NEEDS_RESET)
					CHECK(drv_start(&t, want, 64));
			}
			drv_close(&t);
		}
	}
}

TEST(every_virtio_device_survives_random_registers)
{
	for (unsigned i = 0; i < array_len(all); i++) {
		struct drv t;

		init_backends();
		seed = i;
		CHECK(drv_open(&t, all[i].class, all[i].cfg, 0, DRV_QSIZE));
		for (unsigned n = 0; n < 20000; n++) {
			unsigned off = rnd() % 64 + rnd() % 4 * 0x1000, size = 1u << rnd() % 4;

			if (rnd() & 1)
				bus_write(t.mmio, t.bar + off, size, rnd() & 1 ? rnd() : rnd() % 20);
			else
				bus_read(t.mmio, t.bar + off, size);
		}
		drv_close(&t);
	}
}

TEST(virtio_reset_twice_gives_equal_state)
{
	static char a[1 << 20], b[1 << 20];

	for (unsigned i = 0; i < array_len(all); i++) {
		const struct field *f = all[i].class->dev.state;
		struct drv t;

		init_backends();
		seed = i;
		CHECK(drv_open(&t, all[i].class, all[i].cfg, 0, DRV_QSIZE));
		t.dev->class->reset(t.dev);
		field_print(f, &t.v->dev, a, sizeof a);
		t.dev->class->reset(t.dev);
		field_print(f, &t.v->dev, b, sizeof b);
		CHECK_STR(a, b);
		drv_close(&t);
	}
}

/* -- transports ------------------------------------------------------------------------ */

TEST(features_need_version_1_and_only_offered_ones)
{
	struct drv t;

	CHECK(drv_open(&t, &virtio_rng_class, &rng, 0, DRV_QSIZE));
	drv_write(&t, 20, 1, 0);
	drv_write(&t, 20, 1, 11);
	CHECK_EQ(drv_read(&t, 20, 1), 3); /* no VERSION_1 */
	drv_write(&t, 8, 4, 1);
	drv_write(&t, 12, 4, 1);
	drv_write(&t, 8, 4, 0);
	drv_write(&t, 12, 4, 1); /* not offered */
	drv_write(&t, 20, 1, 11);
	CHECK_EQ(drv_read(&t, 20, 1), 3);
	drv_write(&t, 12, 4, 0);
	drv_write(&t, 20, 1, 15);
	CHECK_EQ(drv_read(&t, 20, 1), 15);
	drv_write(&t, 12, 4, 0xffffffff); /* too late */
	CHECK_EQ(t.v->features, VIRTIO_F_VERSION_1);
	drv_close(&t);
}

static const struct drv_buf in4 = { DRV_BUF, 4 };

TEST(virtio_pci_falls_back_to_its_wire)
{
	struct drv t;
	unsigned cap = 0x34;

	CHECK(drv_open(&t, &virtio_rng_class, &rng, 0, DRV_QSIZE));
	cap = t.dev->class ? container_of(t.dev, struct pci_dev, dev)->msix.cap : 0;
	bus_write(t.mmio, DRV_ECAM + 0x8000 + cap + 2, 2, 0);
	CHECK_EQ(drv_call(&t, 0, &in4, 0, 1), 4);
	CHECK_EQ(t.irqs[0], 0);
	CHECK_EQ(t.wire, 1);
	CHECK_EQ(drv_read(&t, 0x1000, 1), 1); /* reading clears and lowers */
	CHECK_EQ(drv_read(&t, 0x1000, 1), 0);
	CHECK_EQ(drv_call(&t, 0, &in4, 0, 1), 4);
	CHECK_EQ(t.wire, 2);
	drv_close(&t);
}

TEST(virtio_pci_registers_work_through_configuration_space)
{
	struct drv t;
	u64 cfg = DRV_ECAM + 0x8000;
	unsigned cap;

	CHECK(drv_open(&t, &virtio_rng_class, &rng, 0, DRV_QSIZE));
	cap = (unsigned)bus_read(t.mmio, cfg + 0x34, 1);
	while (cap && bus_read(t.mmio, cfg + cap + 3, 1) != 5)
		cap = (unsigned)bus_read(t.mmio, cfg + cap + 1, 1);
	CHECK(cap);
	bus_write(t.mmio, cfg + cap + 4, 1, 0);
	bus_write(t.mmio, cfg + cap + 8, 4, 20);
	bus_write(t.mmio, cfg + cap + 12, 4, 1);
	CHECK_EQ(bus_read(t.mmio, cfg + cap + 16, 1), 15);
	bus_write(t.mmio, cfg + cap + 16, 1, 0);
	CHECK_EQ(drv_read(&t, 20, 1), 0);
	bus_write(t.mmio, cfg + cap + 8, 4, 0xfffffffe); /* out of the BAR: nothing */
	bus_write(t.mmio, cfg + cap + 12, 4, 4);
	(void)bus_read(t.mmio, cfg + cap + 16, 4);
	drv_close(&t);
}

static bool mmio_wire;

/* -- doorbells ---------------------------------------------------------------------------- */

static struct {
	unsigned on, off;
	gpa_t at;
	unsigned n, size;
} bell;

static void note_bell(void *ctx UNUSED, struct dev *d UNUSED, unsigned n, gpa_t gpa, unsigned size,
		      bool on)
{
	bell.on += on;
	bell.off += !on;
	bell.at = gpa;
	bell.n = n;
	bell.size = size;
}

static void on_mmio_wire(void *chip UNUSED, unsigned pin UNUSED, bool level)
{
	mmio_wire = level;
}

TEST(virtio_mmio_serves_a_request)
{
	static const struct { u16 reg; u32 val; } setup[] = {
		{ 0x70, 3 }, { 0x24, 1 }, { 0x20, 1 }, { 0x70, 11 }, { 0x30, 0 }, { 0x38, 8 },
		{ 0x80, 0x10000 }, { 0x90, 0x11000 }, { 0xa0, 0x12000 }, { 0x44, 1 }, { 0x70, 15 },
	};
	struct { u64 addr; u32 len; u16 flags, next; } desc = { DRV_BUF, 6, 2, 0 };
	struct err e = { 0 };
	struct mem *mem = mem_new(DRV_RAM, &e);
	struct clock_fake clock;
	struct dev_env env = { .mem = mem, .clock = &clock.clock,
			       .irq = { { .set = on_mmio_wire } },
			       .doorbells.set = note_bell };
	struct dev *d = NULL;
	struct bus *bus = bus_new();
	u32 used[3];

	clock_fake_init(&clock);
	d = virtio_mmio_new(&virtio_rng_class, &rng, 0xd0000000, "rng", &env, &e);
	CHECK(d);
	CHECK_EQ(bus_map(bus, 0, d, 0, &e), 0);
	CHECK_EQ(bus_read(bus, 0, 4), 0x74726976);
	CHECK_EQ(bus_read(bus, 4, 4), 2);
	CHECK_EQ(bus_read(bus, 8, 4), 4);
	CHECK_EQ(bus_read(bus, 0x34, 4), 64);
	memset(&bell, 0, sizeof bell);
	for (unsigned i = 0; i < array_len(setup); i++)
		bus_write(bus, setup[i].reg, 4, setup[i].val);
	CHECK_EQ(bus_read(bus, 0x70, 4), 15);
	CHECK_EQ(bell.on, 1);
	CHECK_EQ(bell.at, 0xd0000050);
	CHECK_EQ(bell.size, 4);
	CHECK(mem_write(mem, 0x10000, &desc, sizeof desc));
	CHECK(mem_write(mem, 0x11002, &(u16){ 1 }, 2));
	bus_write(bus, 0x50, 4, 0);
	CHECK(mem_read(mem, 0x12000, used, sizeof used));
	CHECK_EQ(used[0] >> 16, 1);
	CHECK_EQ(used[2], 6);
	CHECK(mmio_wire);
	CHECK_EQ(bus_read(bus, 0x60, 4), 1);
	bus_write(bus, 0x64, 4, 1);
	CHECK(!mmio_wire);
	bus_write(bus, 0x44, 4, 0); /* stop the queue: its addresses are free again */
	CHECK_EQ(bus_read(bus, 0x44, 4), 0);
	dev_free(d);
	bus_free(bus);
	mem_free(mem);
}

TEST(virtio_pci_doorbells_are_where_the_bar_is_while_the_device_runs)
{
	struct drv t;
	u64 bar;

	memset(&bell, 0, sizeof bell);
	CHECK(drv_open(&t, &virtio_rng_class, &rng, 0, DRV_QSIZE));
	t.dev->env.doorbells.set = note_bell;
	CHECK(drv_start(&t, 0, DRV_QSIZE));
	CHECK_EQ(bell.on, 1);
	CHECK_EQ(bell.off, 0);
	CHECK_EQ(bell.at, t.bar + 0x3000);
	CHECK_EQ(bell.size, 0);
	bar = t.bar + 0x100000;
	bus_write(t.mmio, DRV_ECAM + (1 << 15) + 0x10, 4, (u32)bar);
	CHECK_EQ(bell.off, 1);
	CHECK_EQ(bell.on, 2);
	CHECK_EQ(bell.at, bar + 0x3000);
	bus_write(t.mmio, DRV_ECAM + (1 << 15) + 4, 2, 0); /* no decoding */
	CHECK_EQ(bell.off, 2);
	bus_write(t.mmio, DRV_ECAM + (1 << 15) + 4, 2, 6);
	CHECK_EQ(bell.on, 3);
	bus_write(t.mmio, bar + 20, 1, 0); /* reset */
	CHECK_EQ(bell.off, 3);
	CHECK_EQ(bell.on, 3);
	drv_close(&t);
	CHECK_EQ(bell.off, 3);
}

TEST(virtio_doorbells_go_with_the_device)
{
	struct drv t;

	memset(&bell, 0, sizeof bell);
	CHECK(drv_open(&t, &virtio_rng_class, &rng, 0, DRV_QSIZE));
	t.dev->env.doorbells.set = note_bell;
	CHECK(drv_start(&t, 0, DRV_QSIZE));
	drv_close(&t);
	CHECK_EQ(bell.on, 1);
	CHECK_EQ(bell.off, 1);
}
