// SPDX-License-Identifier: Apache-2.0
/* drv_test.c - see drv_test.h */
#include "dev/virtio/drv_test.h"

#include "base/test.h"

#include <stdlib.h>

enum { COMMON = 0, DEVICE = 0x2000, NOTIFY = 0x3000 };
enum { C_DFSEL = 0, C_DF = 4, C_GFSEL = 8, C_GF = 12, C_CVEC = 16, C_STATUS = 20, C_QSEL = 22 };
enum { C_QSIZE = 24, C_QVEC = 26, C_QENABLE = 28, C_QDESC = 32, C_QAVAIL = 40, C_QUSED = 48 };
enum { F_NEXT = 1, F_WRITE = 2 };

void drv_put(struct drv *t, gpa_t at, const void *p, size_t len)
{
	if (len && !mem_write(t->mem, at, p, len))
		test_fail(__FILE__, __LINE__, "test buffer outside RAM");
}

void drv_get(struct drv *t, gpa_t at, void *p, size_t len)
{
	memset(p, 0, len);
	if (!mem_read(t->mem, at, p, len))
		test_fail(__FILE__, __LINE__, "test buffer outside RAM");
}

static u16 get16(struct drv *t, gpa_t at)
{
	u16 v;

	drv_get(t, at, &v, sizeof v);
	return v;
}

static void put16(struct drv *t, gpa_t at, u16 v)
{
	drv_put(t, at, &v, sizeof v);
}

u32 drv_read(struct drv *t, unsigned off, unsigned size)
{
	return (u32)bus_read(t->mmio, t->bar + off, size);
}

void drv_write(struct drv *t, unsigned off, unsigned size, u32 val)
{
	bus_write(t->mmio, t->bar + off, size, val);
}

u32 drv_config(struct drv *t, unsigned off, unsigned size)
{
	return drv_read(t, DEVICE + off, size);
}

static void on_msi(void *ctx, u64 addr, u32 data)
{
	struct drv *t = ctx;

	if (addr == 0xfee00000 && data < DRV_VECTORS)
		t->irqs[data]++;
}

static void on_wire(void *chip, unsigned pin UNUSED, bool level)
{
	struct drv *t = chip;

	t->wire += level;
}

static u64 read_bar(struct drv *t, unsigned i)
{
	return bus_read(t->mmio, DRV_ECAM + 0x8000 + 0x10 + 4 * i, 4) & ~0xfull;
}

static void setup_queue(struct drv *t, unsigned n)
{
	gpa_t at = 0x10000 + n * 0x10000ull;
	struct drv_queue *q = &t->q[n];
	u8 zero[0x10000] = { 0 };

	*q = (struct drv_queue){ .size = q->size, .desc = at, .avail = at + 0x4000,
				 .used = at + 0x8000, .avail_wrap = true, .used_wrap = true };
	drv_put(t, at, zero, sizeof zero);
	drv_write(t, C_QSEL, 2, n);
	drv_write(t, C_QSIZE, 2, q->size);
	drv_write(t, C_QVEC, 2, n);
	for (unsigned i = 0; i < 2; i++) {
		drv_write(t, C_QDESC + 4 * i, 4, (u32)(q->desc >> (32 * i)));
		drv_write(t, C_QAVAIL + 4 * i, 4, (u32)(q->avail >> (32 * i)));
		drv_write(t, C_QUSED + 4 * i, 4, (u32)(q->used >> (32 * i)));
	}
	drv_write(t, C_QENABLE, 2, 1);
}

bool drv_start(struct drv *t, u64 want, unsigned qsize)
{
	u64 offered = 0;

	t->bar = read_bar(t, 0);
	t->msix_bar = read_bar(t, 2);
	drv_write(t, C_STATUS, 1, 0);
	drv_write(t, C_STATUS, 1, 3);
	for (unsigned i = 0; i < 2; i++) {
		drv_write(t, C_DFSEL, 4, i);
		offered |= (u64)drv_read(t, C_DF, 4) << (32 * i);
	}
	t->features = offered & (want | VIRTIO_F_VERSION_1);
	t->packed = t->features & VIRTIO_F_RING_PACKED;
	for (unsigned i = 0; i < 2; i++) {
		drv_write(t, C_GFSEL, 4, i);
		drv_write(t, C_GF, 4, (u32)(t->features >> (32 * i)));
	}
	drv_write(t, C_STATUS, 1, 11);
	for (unsigned i = 0; i <= VIRTIO_MAX_QUEUES; i++) {
		bus_write(t->mmio, t->msix_bar + 16 * i, 8, 0xfee00000);
		bus_write(t->mmio, t->msix_bar + 16 * i + 8, 8, i);
	}
	drv_write(t, C_CVEC, 2, VIRTIO_MAX_QUEUES);
	for (unsigned n = 0; n < t->v->nr_queues; n++) {
		t->q[n].size = (u16)qsize;
		setup_queue(t, n);
	}
	drv_write(t, C_STATUS, 1, 15);
	return drv_read(t, C_STATUS, 1) == 15;
}

/* Find MSI-X in the capability list and enable it. */
static void enable_msix(struct drv *t)
{
	u64 cfg = DRV_ECAM + 0x8000;
	unsigned cap = (unsigned)bus_read(t->mmio, cfg + 0x34, 1);

	while (cap && bus_read(t->mmio, cfg + cap, 1) != 0x11)
		cap = (unsigned)bus_read(t->mmio, cfg + cap + 1, 1);
	bus_write(t->mmio, cfg + cap + 2, 2, 0x8000);
}

bool drv_open(struct drv *t, const struct virtio_class *c, const void *cfg, u64 want,
	      unsigned qsize)
{
	struct err e = { 0 };
	struct pci_host_cfg hc;
	struct dev_env env;

	memset(t, 0, sizeof *t);
	t->mem = mem_new(DRV_RAM, &e);
	t->pio = bus_new();
	t->mmio = bus_new();
	if (!t->mem)
		return false;
	clock_fake_init(&t->clock);
	env = (struct dev_env){ .mem = t->mem, .clock = &t->clock.clock, .msi = { on_msi, t } };
	hc = (struct pci_host_cfg){ .pio = t->pio, .mmio = t->mmio, .ecam_base = DRV_ECAM };
	for (unsigned i = 0; i < PCI_NR_PINS; i++)
		hc.intx[i] = (struct irq){ on_wire, t, i };
	t->host = pci_host_new(&hc, "pci", &env, &e);
	if (!t->host)
		return false;
	t->dev = virtio_pci_new(c, cfg, t->host, 1, "vdev", &env, &e);
	if (!t->dev || pci_host_assign(t->host, DRV_BARS, 1 << 20, &e) < 0) {
		fprintf(stderr, "%s\n", e.msg);
		return false;
	}
	t->v = container_of(virtio_behind(t->dev), struct virtio, dev);
	if (want & VIRTIO_F_RING_PACKED)
		virtio_offer_packed(t->dev);
	enable_msix(t);
	return drv_start(t, want, qsize);
}

void drv_close(struct drv *t)
{
	dev_free(t->dev);
	pci_host_free(t->host);
	bus_free(t->pio);
	bus_free(t->mmio);
	mem_free(t->mem);
	memset(t, 0, sizeof *t);
}

/* -- rings ------------------------------------------------------------------------------- */

void drv_desc(struct drv *t, unsigned q, u16 i, u64 addr, u32 len, u16 flags, u16 next)
{
	struct {
		u64 addr;
		u32 len;
		u16 flags, next;
	} d = { addr, len, flags, next };

	drv_put(t, t->q[q].desc + 16ull * i, &d, sizeof d);
}

static u16 add_packed(struct drv *t, unsigned n, const struct drv_buf *b, unsigned nr_out,
		      unsigned nr)
{
	struct drv_queue *q = &t->q[n];
	u16 head = q->next_desc, head_flags = 0, id = q->avail_idx++;

	for (unsigned i = 0; i < nr; i++) {
		u16 flags = (u16)((i + 1 < nr ? F_NEXT : 0) | (i >= nr_out ? F_WRITE : 0) |
				  (q->avail_wrap ? 0x80 : 0x8000));

		if (i == 0)
			head_flags = flags;
		/* The first descriptor becomes available last. */
		drv_desc(t, n, q->next_desc, b[i].gpa, b[i].len, id, i ? flags : flags ^ 0x8080);
		if (++q->next_desc == q->size) {
			q->next_desc = 0;
			q->avail_wrap = !q->avail_wrap;
		}
	}
	put16(t, q->desc + 16ull * head + 14, head_flags);
	put16(t, q->avail + 2, t->mute ? 1 : 0);
	return id;
}

static u16 add_split(struct drv *t, unsigned n, const struct drv_buf *b, unsigned nr_out,
		     unsigned nr)
{
	struct drv_queue *q = &t->q[n];
	u16 head = q->next_desc;

	for (unsigned i = 0; i < nr; i++) {
		u16 next = (u16)((q->next_desc + 1) % q->size);

		drv_desc(t, n, q->next_desc, b[i].gpa, b[i].len,
			 (u16)((i + 1 < nr ? F_NEXT : 0) | (i >= nr_out ? F_WRITE : 0)), next);
		q->next_desc = next;
	}
	put16(t, q->avail + 4 + 2ull * (q->avail_idx % q->size), head);
	put16(t, q->avail, t->mute);
	put16(t, q->avail + 2, ++q->avail_idx);
	return head;
}

u16 drv_add(struct drv *t, unsigned q, const struct drv_buf *b, unsigned nr_out, unsigned nr_in)
{
	return t->packed ? add_packed(t, q, b, nr_out, nr_out + nr_in) :
			   add_split(t, q, b, nr_out, nr_out + nr_in);
}

void drv_kick(struct drv *t, unsigned q)
{
	drv_write(t, NOTIFY + 4 * q, 2, q);
}

struct used {
	u32 id, len;
};

static bool used_packed(struct drv *t, struct drv_queue *q, struct used *u)
{
	u64 d[2];
	u16 flags;

	drv_get(t, q->desc + 16ull * q->used_idx, d, sizeof d);
	flags = (u16)(d[1] >> 48);
	if (!!(flags & 0x80) != q->used_wrap || !!(flags & 0x8000) != q->used_wrap)
		return false;
	*u = (struct used){ (u16)(d[1] >> 32), (u32)d[1] };
	return true;
}

bool drv_used(struct drv *t, unsigned n, u32 *ret_id, u32 *ret_len)
{
	struct drv_queue *q = &t->q[n];
	struct used u;

	if (t->packed) {
		if (!used_packed(t, q, &u))
			return false;
		if (++q->used_idx == q->size) { /* single-descriptor chains only */
			q->used_idx = 0;
			q->used_wrap = !q->used_wrap;
		}
	} else {
		if (get16(t, q->used + 2) == q->used_idx)
			return false;
		drv_get(t, q->used + 4 + 8ull * (q->used_idx++ % q->size), &u, sizeof u);
	}
	*ret_id = u.id;
	*ret_len = u.len;
	return true;
}

u32 drv_call(struct drv *t, unsigned q, const struct drv_buf *b, unsigned nr_out, unsigned nr_in)
{
	u32 id, len;

	drv_add(t, q, b, nr_out, nr_in);
	drv_kick(t, q);
	if (!drv_used(t, q, &id, &len))
		return ~0u;
	if (t->packed) /* the chain took more slots than drv_used() assumed */
		for (unsigned i = 1; i < nr_out + nr_in; i++)
			if (++t->q[q].used_idx == t->q[q].size) {
				t->q[q].used_idx = 0;
				t->q[q].used_wrap = !t->q[q].used_wrap;
			}
	return len;
}
