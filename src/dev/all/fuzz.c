// SPDX-License-Identifier: Apache-2.0
/* fuzz.c - see fuzz.h */
#include "dev/all/fuzz.h"

#include "base/bits.h"
#include "dev/all/fake.h"
#include "dev/virtio/virtio.h"
#include "mem/mem.h"
#include "net/net.h"
#include "net/vsock.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DEVS 40
#define NR_CPUS	 2
#define RAM	 (1ull << 20)
#define MAX_OPS	 2000 /* per input */
#define IMG	 (192 * 1024)
#define BOARD_INPUTS 64 /* between a power-on and a power-off; others begin with a reset */

struct dev_fuzz {
	struct dev_fuzz_host host;
	struct fake f;
	struct mem *mem;
	struct bus *bus;
	struct pc_irqs irqs;
	struct net_port net, net2; /* of the two pairs of queues */
	struct dev *dev[MAX_DEVS];
	unsigned nr;
	struct dev *lapic[NR_CPUS];
	struct vsock_backend vsock;
	struct dev *virtio[16]; /* transports */
	struct dev *balloon;	/* one of them */
	unsigned nr_virtio;
	u8 a[IMG], b[IMG];
	const char *broken;
	unsigned inputs; /* since the board was made */
};

/* -- the board ------------------------------------------------------------------ */

static u64 base_of(unsigned dev, unsigned region)
{
	return (dev + 1ull) << 32 | (u64)region << 28;
}

static void set_gsi(void *irqs, unsigned gsi, bool level)
{
	struct irq q = pc_irq(irqs, gsi);

	irq_set(&q, level);
}

static bool keep(struct dev_fuzz *z, struct dev *d)
{
	struct err e;

	if (!d || z->nr == MAX_DEVS)
		return false;
	for (unsigned i = 0; i < d->class->nr_regions; i++)
		if (bus_map(z->bus, base_of(z->nr, i), d, i, &e) < 0)
			return false;
	z->dev[z->nr++] = d;
	return true;
}

static bool add(struct dev_fuzz *z, const struct dev_class *c)
{
	struct dev_env env = z->f.env;
	union fake_config cfg;
	struct dev *d;
	struct err e;

	fake_config(&z->f, c, &cfg);
	env.mem = z->mem;
	if (c == &pic8259_class)
		env.irq[0] = lapic_lint0(&z->f.lapics);
	else
		env.irq[0] = pc_irq(&z->irqs, z->nr % 16);
	if (c == &ioapic_class)
		env.msi = lapic_set_sink(&z->f.lapics);
	if (c == &hpet_class)
		cfg.hpet.gsi = (struct irq){ .set = set_gsi, .chip = &z->irqs };
	if (c == &testdev_class)
		cfg.testdev.gsi = (struct irq){ .set = set_gsi, .chip = &z->irqs };
	d = dev_new(c, c->name, &env, &cfg, &e);
	if (!keep(z, d))
		return false;
	if (c == &pic8259_class)
		z->irqs.pic = z->f.lapics.pic = d;
	if (c == &ioapic_class)
		z->irqs.ioapic = z->f.lapics.eoi_ctx = d;
	if (c == &lapic_class)
		z->lapic[z->f.lapics.nr - 1] = d;
	return true;
}

static size_t fill(void *ctx UNUSED, void *buf, size_t len)
{
	memset(buf, 0x5a, len);
	return len;
}

static bool net_send(struct net_port *p UNUSED, const struct iovec *iov UNUSED, int nr UNUSED)
{
	return true;
}

static void net_can_receive(struct net_port *p UNUSED)
{
}

/* A host end for everybody that takes a little, and hangs up at the end of the guest's data. */
static void *vsock_connect(struct vsock_backend *b, struct vsock_conn *c, u32 guest_port,
			   u32 host_port UNUSED)
{
	if (guest_port & 1)
		return NULL;
	b->guest->accept(c);
	return c;
}

static size_t vsock_send(void *host UNUSED, const void *buf UNUSED, size_t len)
{
	return len < 100 ? len : 100;
}

static void vsock_event(void *host UNUSED)
{
}

static bool add_virtio(struct dev_fuzz *z, const struct virtio_class *c, const void *cfg)
{
	struct dev_env env = z->f.env;
	struct err e;

	env.mem = z->mem;
	env.msi = lapic_set_sink(&z->f.lapics);
	env.irq[0] = pc_irq(&z->irqs, 16 + z->nr_virtio);
	z->virtio[z->nr_virtio] = virtio_mmio_new(c, cfg, 0, c->dev.name, &env, &e);
	return keep(z, z->virtio[z->nr_virtio++]);
}

static bool add_host_devices(struct dev_fuzz *z)
{
	const struct virtio_blk_cfg blk = { .blk = z->host.disk, .serial = "fuzz" };
	const struct virtio_share_cfg share = { .dir_fd = z->host.dir_fd, .tag = "fuzz" };

	if (z->host.disk && !add_virtio(z, &virtio_blk_class, &blk))
		return false;
	return z->host.dir_fd < 0 ||
	       (add_virtio(z, &virtio_fs_class, &share) && add_virtio(z, &virtio_9p_class, &share));
}

static bool power_on(struct dev_fuzz *z)
{
	const struct virtio_rng_cfg rng = { .fill = fill };
	struct virtio_net_cfg net = { .port = { &z->net, &z->net2 }, .nr_pairs = 2, .mac = { 2 } };
	struct virtio_balloon_cfg balloon = { .poll_s = 1, .hinting = true, .reporting = true };
	struct virtio_mem_cfg memory = { .addr = 0x80000, .size = 0x80000, .block = 0x4000,
					 .wanted = 0x40000 };
	struct virtio_pmem_cfg pmem = { .start = 1ull << 32, .size = 2 << 20 };
	struct virtio_vsock_cfg vsock = { .guest_cid = 3, .backend = &z->vsock };
	struct virtio_console_cfg con = { .nr_ports = 1, .port[0] = { .console = true } };

	fake_init(&z->f);
	z->nr = z->nr_virtio = 0;
	z->irqs = (struct pc_irqs){ 0 };
	z->net = z->net2 = (struct net_port){ .send = net_send, .can_receive = net_can_receive };
	z->vsock = (struct vsock_backend){ .connect = vsock_connect, .connected = vsock_event,
					   .send = vsock_send, .can_receive = vsock_event,
					   .guest_done = vsock_event, .closed = vsock_event };
	z->broken = NULL;
	z->f.lapics.eoi = ioapic_eoi;
	z->bus = bus_new();
	if (!z->bus)
		return false;
	for (const struct dev_class *const *c = dev_classes; *c; c++)
		if (!add(z, *c))
			return false;
	con.port[0].chr = &z->f.chr;
	if (!add(z, &lapic_class) || !add_virtio(z, &virtio_balloon_class, &balloon))
		return false;
	z->balloon = z->virtio[z->nr_virtio - 1];
	return add_host_devices(z) && add_virtio(z, &virtio_rng_class, &rng) &&
	       add_virtio(z, &virtio_net_class, &net) &&
	       add_virtio(z, &virtio_console_class, &con) &&
	       add_virtio(z, &virtio_vsock_class, &vsock) &&
	       add_virtio(z, &virtio_mem_class, &memory) && add_virtio(z, &virtio_pmem_class, &pmem);
}

static void power_off(struct dev_fuzz *z)
{
	/* Wires point into the interrupt chips: take those away last. */
	z->irqs = (struct pc_irqs){ 0 };
	z->f.lapics.pic = NULL;
	z->f.lapics.eoi = NULL;
	while (z->nr)
		dev_free(z->dev[--z->nr]);
	bus_free(z->bus);
	z->bus = NULL;
}

struct dev_fuzz *dev_fuzz_new(const struct dev_fuzz_host *host)
{
	struct dev_fuzz *z = calloc(1, sizeof *z);
	struct err e;

	if (!z)
		return NULL;
	z->host = *host;
	z->mem = mem_new(RAM, &e);
	if (!z->mem) {
		free(z);
		return NULL;
	}
	return z;
}

void dev_fuzz_free(struct dev_fuzz *z)
{
	if (z->bus)
		power_off(z);
	mem_free(z->mem);
	free(z);
}

/* -- operations --------------------------------------------------------------------- */

struct input {
	const u8 *p;
	size_t len;
};

static u64 take(struct input *in, unsigned bytes)
{
	u64 v = 0;

	for (unsigned i = 0; i < bytes && in->len; i++, in->p++, in->len--)
		v |= (u64)*in->p << i * 8;
	return v;
}

static void access(struct dev_fuzz *z, struct input *in, bool write)
{
	unsigned dev = take(in, 1) % z->nr, head = (unsigned)take(in, 1);
	const struct dev_class *c = z->dev[dev]->class;
	unsigned region = (head & 15) % c->nr_regions, size = 1u << (head >> 4 & 3);
	u64 off = take(in, 2), at;

	if (c->region[region].size >= 0x1000 && head & 0x80) /* reach page registers sooner */
		off = (off & 0xff) * 16;
	at = base_of(dev, region) + off % c->region[region].size;
	if (write)
		bus_write(z->bus, at, size, take(in, size));
	else if (size < 8 && bus_read(z->bus, at, size) >> size * 8)
		z->broken = "a read returned more than was asked for";
}

static void step_clock(struct dev_fuzz *z, struct input *in)
{
	u64 v = take(in, 2), ns = (v & 0xfff) << (v >> 12) * 2;

	if (ns < 100000000) {
		clock_fake_advance(&z->f.clock, ns);
		return;
	}
	z->f.clock.now_ns += ns; /* the host slept: every timer is late at once */
	z->f.clock.wall_ns += ns;
	clock_fake_advance(&z->f.clock, 1);
}

static void interrupt(struct dev_fuzz *z, struct input *in)
{
	struct dev *l = z->lapic[take(in, 1) % NR_CPUS];
	bool has = lapic_has_irq(l);
	int v = lapic_ack_irq(l);

	if (has != (v >= 0) || v > 255)
		z->broken = "has_irq and ack_irq disagree";
}

static void msr(struct dev_fuzz *z, struct input *in)
{
	static const u32 other[] = { 0x1b, 0x6e0, 0x7ff, 0x900 };
	struct dev *l = z->lapic[take(in, 1) % NR_CPUS];
	unsigned n = (unsigned)take(in, 1);
	u32 index = n < 128 ? 0x800 + n : other[n % 4];
	u64 v = take(in, 8);

	if (index == 0x1b) /* mostly legal changes of mode */
		v = (v & 7) == 7 ? v : LAPIC_BASE | (v & 3) << 10;
	(void)!lapic_wrmsr(l, index, v);
	(void)!lapic_rdmsr(l, index, &v);
}

static void message(struct dev_fuzz *z, struct input *in)
{
	u64 v = take(in, 8);

	lapic_set_cr8(z->lapic[v >> 60 & 1], (u8)take(in, 1));
	lapic_set_msi(&z->f.lapics, LAPIC_BASE | (v & 0xfffff), (u32)(v >> 24));
}

static void host_input(struct dev_fuzz *z, struct input *in)
{
	u8 buf[64];
	unsigned len = take(in, 1) % sizeof buf;
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	for (unsigned i = 0; i < len; i++)
		buf[i] = (u8)take(in, 1);
	z->f.chr_room = take(in, 1) & 31;
	if (z->f.chr.writable)
		z->f.chr.writable(z->f.chr.dev);
	if (z->f.chr.receive && z->f.chr.receive(z->f.chr.dev, buf, len) > len)
		z->broken = "receive() took more than it was given";
	virtio_balloon_resize(z->balloon, len);
	(void)!virtio_balloon_hint(z->balloon, len & 1, len & 2);
	if (z->net.receive)
		z->net.receive(z->net.nic, &iov, 1);
	if (z->net2.receive)
		z->net2.receive(z->net2.nic, &iov, 1);
}

static void save_load(struct dev_fuzz *z, struct input *in)
{
	struct dev *d = z->dev[take(in, 1) % z->nr];
	const struct dev_class *c = d->class;
	struct err e;
	int n = field_save(c->state, d, z->a, IMG);

	if (n < 0) {
		z->broken = "state does not fit";
		return;
	}
	if (field_load(c->state, d, c->size, z->a, (size_t)n, &e) < 0 ||
	    (c->loaded && c->loaded(d, &e) < 0))
		z->broken = "saved state is refused";
}

static void reset(struct dev_fuzz *z, struct input *in)
{
	struct dev *d = z->dev[take(in, 1) % z->nr];

	d->class->reset(d);
}

/* Guest memory as rings and descriptors would have it. */
static void write_memory(struct dev_fuzz *z, struct input *in)
{
	u64 head = take(in, 2), desc[2];
	u8 buf[64];

	if (head & 0x4000) { /* a request's bytes */
		for (unsigned i = 0; i < sizeof buf; i++)
			buf[i] = (u8)take(in, 1);
		(void)!mem_write(z->mem, 0x2000 + (head & 0x3f) * 16, buf, sizeof buf);
		return;
	}
	desc[0] = take(in, 3) & (RAM - 1); /* address */
	if (head & 0x2000)
		desc[0] = 0x2000 + (desc[0] & 0x3f) * 16;
	desc[1] = (take(in, 2) & 0x3ff) | (take(in, 1) & 7) << 32 | (take(in, 1) & 15) << 48;
	if (head & 0x8000)
		(void)!mem_write(z->mem, (head & 0xff) * 8, desc, 8);
	else
		(void)!mem_write(z->mem, (head & 0xff) * 16, desc, 16);
}

static void put(struct dev_fuzz *z, u64 at, unsigned reg, u32 val)
{
	bus_write(z->bus, at + reg, 4, val);
}

/* What a driver does before it uses a device [virtio 3.1.1, 4.2.2], so that the rest is reached. */
static void start_virtio(struct dev_fuzz *z, struct input *in)
{
	unsigned n = take(in, 1) % z->nr_virtio, features = (unsigned)take(in, 4);
	u64 at = base_of(z->nr - z->nr_virtio + n, 0);

	put(z, at, 0x70, 0);
	put(z, at, 0x70, 3);
	put(z, at, 0x24, 0);
	put(z, at, 0x20, features);
	put(z, at, 0x24, 1);
	put(z, at, 0x20, 1 | (features >> 24 & 4));
	put(z, at, 0x70, 11);
	for (unsigned q = 0; q < 5; q++) {
		put(z, at, 0x30, q);
		put(z, at, 0x38, 8);
		put(z, at, 0x80, q * 0x200);
		put(z, at, 0x90, q * 0x200 + 0x100);
		put(z, at, 0xa0, q * 0x200 + 0x180);
		put(z, at, 0x44, 1);
	}
	put(z, at, 0x70, 15);
}

static void kick(struct dev_fuzz *z, struct input *in)
{
	unsigned v = (unsigned)take(in, 2), n = v % z->nr_virtio, q = v >> 4 & 3;
	u16 entry = (u16)(v >> 8 & 7), idx;

	/* One more entry in the available ring, if the ring is where start_virtio() put it. */
	if (!mem_read(z->mem, q * 0x200 + 0x102, &idx, 2))
		return;
	(void)!mem_write(z->mem, q * 0x200 + 0x104 + idx % 8 * 2, &entry, 2);
	idx++;
	(void)!mem_write(z->mem, q * 0x200 + 0x102, &idx, 2);
	put(z, base_of(z->nr - z->nr_virtio + n, 0), 0x50, q);
}

static void operate(struct dev_fuzz *z, struct input *in)
{
	switch (take(in, 1) & 31) {
	case 0 ... 9: access(z, in, true); break;
	case 10 ... 14: access(z, in, false); break;
	case 15 ... 17: step_clock(z, in); break;
	case 18: case 19: interrupt(z, in); break;
	case 20: msr(z, in); break;
	case 21: message(z, in); break;
	case 22: host_input(z, in); break;
	case 23: save_load(z, in); break;
	case 24: reset(z, in); break;
	case 25 ... 27: write_memory(z, in); break;
	case 28: start_virtio(z, in); break;
	default: kick(z, in); break;
	}
}

/* As after power_on(), on the board that is there. */
static void reset_all(struct dev_fuzz *z)
{
	for (unsigned i = 0; i < z->nr; i++)
		z->dev[i]->class->reset(z->dev[i]);
	z->f.chr_room = SIZE_MAX;
	z->f.clock.runaway = false;
}

static bool make_ready(struct dev_fuzz *z)
{
	if (z->bus) {
		reset_all(z);
		return true;
	}
	z->inputs = 0;
	if (power_on(z))
		return true;
	power_off(z);
	return false;
}

const char *dev_fuzz_run(struct dev_fuzz *z, const u8 *data, size_t len)
{
	struct input in = { data, len };

	z->broken = NULL;
	if (!make_ready(z))
		return "the board cannot be made";
	memset(mem_ptr(z->mem, 0, RAM), 0, 0x2800);
	for (unsigned i = 0; i < MAX_OPS && in.len && !z->broken; i++)
		operate(z, &in);
	clock_fake_advance(&z->f.clock, 1000000);
	if (z->f.clock.runaway)
		z->broken = "a timer re-arms without end";
	if (++z->inputs < BOARD_INPUTS && !z->broken)
		return NULL;
	power_off(z);
	return !z->broken && z->f.clock.nr ? "a device left a timer armed" : z->broken;
}

size_t dev_fuzz_make(u64 seed, u8 *buf, size_t len)
{
	u64 x = seed * 0x9e3779b97f4a7c15ull + 0x123456789abcdefull;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		/* Small numbers and single bits are what registers react to. */
		buf[i] = (u8)(x >> 60 < 4 ? x >> 40 & 31 : x >> 60 < 6 ? 1u << (x >> 40 & 7) :
								  x >> 32);
	}
	return len;
}
