// SPDX-License-Identifier: Apache-2.0
/*
 * virtio_pci.c - virtio over PCI, modern interface [virtio 4.1]
 *
 * BAR 0 (64-bit, 16 KiB) holds a page each of common configuration, ISR status,
 * device configuration and notification; BAR 2 holds the MSI-X table. One vector
 * per queue and one for configuration changes.
 */
#include "base/bits.h"
#include "dev/pci/pci.h"
#include "dev/virtio/transport.h"

#include <errno.h>
#include <string.h>

enum { REGION_MAIN, REGION_MSIX };

#define PAGE	    0x1000u
#define MAIN_SIZE   (4 * PAGE)
#define NOTIFY_MULT 4
#define NR_VECTORS  (VIRTIO_MAX_QUEUES + 1)
#define NO_VECTOR   0xff /* in a u8; the guest sees MSIX_NO_VECTOR */

enum { PART_COMMON, PART_ISR, PART_DEVICE, PART_NOTIFY };
enum { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_PCI };

struct virtio_pci {
	struct pci_dev pci;
	struct virtio *v;
	u32 dev_sel, drv_sel; /* feature words selected */
	u16 queue_sel;
	u8 isr;
	u8 window;	   /* offset of the configuration access capability */
	u8 config_vector;
	u8 queue_vector[VIRTIO_MAX_QUEUES];
	gpa_t doorbells; /* where they are set, 0 = nowhere */
};

static struct virtio_pci *of_dev(struct dev *d)
{
	return container_of(d, struct virtio_pci, pci.dev);
}

/* -- interrupts -------------------------------------------------------------------------- */

static void raise_irq(struct virtio_pci *t, u8 vector, u8 isr)
{
	if (msix_enabled(&t->pci)) {
		if (vector != NO_VECTOR)
			msix_send(&t->pci, vector);
		return;
	}
	t->isr |= isr;
	pci_set_intx(&t->pci, true);
}

static void pci_queue_irq(struct virtio *v, unsigned n)
{
	struct virtio_pci *t = of_dev(v->tp_dev);

	raise_irq(t, t->queue_vector[n], ISR_QUEUE);
}

static void pci_config_irq(struct virtio *v)
{
	struct virtio_pci *t = of_dev(v->tp_dev);

	raise_irq(t, t->config_vector, ISR_CONFIG);
}

static const struct virtio_transport pci_transport = {
	.queue_irq = pci_queue_irq,
	.config_irq = pci_config_irq,
};

static u64 read_isr(struct virtio_pci *t)
{
	u8 isr = t->isr;

	t->isr = 0;
	pci_set_intx(&t->pci, false);
	return isr;
}

/* -- common configuration [virtio 4.1.4.3] ----------------------------------------------- */

/* By offset: the width of the register that starts there. */
static const u8 common_width[] = {
	[0x00] = 4, [0x04] = 4, [0x08] = 4, [0x0c] = 4, [0x10] = 2, [0x12] = 2, [0x14] = 1,
	[0x15] = 1, [0x16] = 2, [0x18] = 2, [0x1a] = 2, [0x1c] = 2, [0x1e] = 2, [0x20] = 4,
	[0x24] = 4, [0x28] = 4, [0x2c] = 4, [0x30] = 4, [0x34] = 4,
};

static u32 vector_out(u8 v)
{
	return v == NO_VECTOR ? MSIX_NO_VECTOR : v;
}

static u8 vector_in(u32 v)
{
	return v < NR_VECTORS ? (u8)v : NO_VECTOR;
}

static u32 queue_reg(const struct virtio_pci *t, const struct virtq *q, unsigned off)
{
	if (!q)
		return off == 0x1a ? MSIX_NO_VECTOR : 0;
	switch (off) {
	case 0x18:
		return q->size;
	case 0x1a:
		return vector_out(t->queue_vector[q->n]);
	case 0x1c:
		return q->ready;
	case 0x1e:
		return q->n;
	case 0x20:
	case 0x24:
		return (u32)(q->desc >> (off & 4 ? 32 : 0));
	case 0x28:
	case 0x2c:
		return (u32)(q->driver >> (off & 4 ? 32 : 0));
	case 0x30:
	case 0x34:
		return (u32)(q->device >> (off & 4 ? 32 : 0));
	default:
		return 0;
	}
}

static u32 common_read(struct virtio_pci *t, unsigned off)
{
	struct virtio *v = t->v;

	switch (off) {
	case 0x00:
		return t->dev_sel;
	case 0x04:
		return feature_word(v->offered, t->dev_sel);
	case 0x08:
		return t->drv_sel;
	case 0x0c:
		return feature_word(v->features, t->drv_sel);
	case 0x10:
		return vector_out(t->config_vector);
	case 0x12:
		return v->nr_queues;
	case 0x14:
		return v->status;
	case 0x15:
		return v->config_gen & 0xff;
	case 0x16:
		return t->queue_sel;
	default:
		return queue_reg(t, selected_queue(v, t->queue_sel), off);
	}
}

static void queue_write(struct virtio_pci *t, struct virtq *q, unsigned off, u32 val)
{
	if (!q)
		return;
	switch (off) {
	case 0x18:
		if (!q->ready && val && val <= q->max_size)
			q->size = (u16)val;
		break;
	case 0x1a:
		t->queue_vector[q->n] = vector_in(val);
		break;
	case 0x1c:
		if (val == 1 && !q->ready) /* [virtio 4.1.4.3.2]: 0 is never written */
			vq_start(q);
		break;
	case 0x20:
	case 0x24:
		set_half(q, &q->desc, off & 4, val);
		break;
	case 0x28:
	case 0x2c:
		set_half(q, &q->driver, off & 4, val);
		break;
	case 0x30:
	case 0x34:
		set_half(q, &q->device, off & 4, val);
		break;
	}
}

static void set_doorbells(struct virtio_pci *t)
{
	u64 bar = t->pci.bar_at[0];

	t->doorbells = virtio_doorbells(t->v, t->doorbells,
					bar == PCI_UNMAPPED ? 0 : bar + PART_NOTIFY * PAGE,
					NOTIFY_MULT, 0);
}

static void reset_transport(struct virtio_pci *t)
{
	t->dev_sel = t->drv_sel = 0;
	t->queue_sel = 0;
	t->config_vector = NO_VECTOR;
	memset(t->queue_vector, NO_VECTOR, sizeof t->queue_vector);
	t->isr = 0;
	pci_set_intx(&t->pci, false);
}

static void common_write(struct virtio_pci *t, unsigned off, u32 val)
{
	struct virtio *v = t->v;

	switch (off) {
	case 0x00:
		t->dev_sel = val;
		break;
	case 0x08:
		t->drv_sel = val;
		break;
	case 0x0c:
		virtio_set_features(v, t->drv_sel, val);
		break;
	case 0x10:
		t->config_vector = vector_in(val);
		break;
	case 0x14:
		virtio_set_status(v, (u8)val);
		if (!(u8)val)
			reset_transport(t);
		set_doorbells(t);
		break;
	case 0x16:
		t->queue_sel = (u16)val;
		break;
	default:
		queue_write(t, selected_queue(v, t->queue_sel), off, val);
	}
}

/* -- BARs -------------------------------------------------------------------------------- */

static u32 main_read(struct virtio_pci *t, u64 off, unsigned size)
{
	unsigned at = off % PAGE, reg = at;

	switch (off / PAGE) {
	case PART_COMMON:
		if (at >= sizeof common_width)
			return 0;
		while (!common_width[reg]) /* inside a register */
			reg--;
		if (at + size > reg + common_width[reg])
			return 0;
		return (u32)(common_read(t, reg) >> (8 * (at - reg)) & mask_bytes(size));
	case PART_ISR:
		return at == 0 ? (u32)read_isr(t) : 0;
	case PART_DEVICE:
		return virtio_config_read(t->v, at, size);
	default:
		return 0;
	}
}

static void main_write(struct virtio_pci *t, u64 off, unsigned size, u32 val)
{
	unsigned at = off % PAGE;

	switch (off / PAGE) {
	case PART_COMMON:
		if (at < sizeof common_width && common_width[at] == size)
			common_write(t, at, val);
		break;
	case PART_DEVICE:
		virtio_config_write(t->v, at, size, val);
		break;
	case PART_NOTIFY:
		virtio_notify(t->v, at / NOTIFY_MULT);
		break;
	}
}

static u64 vpci_read(struct dev *d, unsigned region, u64 off, unsigned size)
{
	struct virtio_pci *t = of_dev(d);

	return region == REGION_MSIX ? msix_read(&t->pci, off, size) : main_read(t, off, size);
}

static void vpci_write(struct dev *d, unsigned region, u64 off, unsigned size, u64 val)
{
	struct virtio_pci *t = of_dev(d);

	if (region == REGION_MSIX)
		msix_write(&t->pci, off, size, (u32)val);
	else
		main_write(t, off, size, (u32)val);
}

/* -- capabilities ------------------------------------------------------------------------ */

struct PACKED cap_body { /* struct virtio_pci_cap after cap_vndr and cap_next */
	u8 len, type, bar, id, pad[2];
	le32 offset, length;
	le32 extra; /* notify_off_multiplier or pci_cfg_data */
};

#define CAP_VENDOR	0x09
#define CAP_LEN		16
#define CAP_BAR		4 /* offsets from the capability's start */
#define CAP_OFFSET	8
#define CAP_LENGTH	12
#define CAP_WINDOW_DATA 16

static unsigned add_cap(struct virtio_pci *t, u8 type, unsigned part, u32 length, u32 extra)
{
	unsigned len = type == CAP_NOTIFY || type == CAP_PCI ? CAP_LEN + 4 : CAP_LEN;
	struct cap_body b = {
		.len = (u8)len, .type = type, .offset = le32_of(part * PAGE),
		.length = le32_of(length), .extra = le32_of(extra),
	};

	return pci_add_cap(&t->pci, CAP_VENDOR, &b, len - 2);
}

static int add_caps(struct virtio_pci *t, struct err *e)
{
	add_cap(t, CAP_COMMON, PART_COMMON, sizeof common_width + 3, 0);
	add_cap(t, CAP_ISR, PART_ISR, 4, 0);
	if (t->v->config_len)
		add_cap(t, CAP_DEVICE, PART_DEVICE, t->v->config_len, 0);
	add_cap(t, CAP_NOTIFY, PART_NOTIFY, VIRTIO_MAX_QUEUES * NOTIFY_MULT, NOTIFY_MULT);
	t->window = (u8)add_cap(t, CAP_PCI, 0, 0, 0);
	if (!t->window)
		return err_set(e, ENOSPC, "no room for the virtio capabilities");
	pci_cfg_writable(&t->pci, t->window + CAP_BAR, 1, 0xff);
	pci_cfg_writable(&t->pci, t->window + CAP_OFFSET, 4, ~0u);
	pci_cfg_writable(&t->pci, t->window + CAP_LENGTH, 4, ~0u);
	pci_cfg_writable(&t->pci, t->window + CAP_WINDOW_DATA, 4, ~0u);
	return msix_init(&t->pci, NR_VECTORS, 2, e);
}

/* The configuration access window [virtio 4.1.4.9]: is [off, off+size) its data? */
static bool window_hit(const struct virtio_pci *t, unsigned off, unsigned size, u32 *ret_at,
		       u32 *ret_len)
{
	unsigned data = t->window + CAP_WINDOW_DATA;

	if (!t->window || off >= data + 4 || off + size <= data)
		return false;
	*ret_at = pci_cfg_get(&t->pci, t->window + CAP_OFFSET, 4);
	*ret_len = pci_cfg_get(&t->pci, t->window + CAP_LENGTH, 4);
	return pci_cfg_get(&t->pci, t->window + CAP_BAR, 1) == 0 &&
	       (*ret_len == 1 || *ret_len == 2 || *ret_len == 4) &&
	       range_ok(*ret_at, *ret_len, MAIN_SIZE) && *ret_at % *ret_len == 0;
}

static void window_read(struct pci_dev *p, unsigned off, unsigned size)
{
	struct virtio_pci *t = container_of(p, struct virtio_pci, pci);
	u32 at, len;

	if (window_hit(t, off, size, &at, &len))
		pci_cfg_set(p, t->window + CAP_WINDOW_DATA, len, main_read(t, at, len));
}

static void window_write(struct pci_dev *p, unsigned off, unsigned size)
{
	struct virtio_pci *t = container_of(p, struct virtio_pci, pci);
	u32 at, len;

	if (window_hit(t, off, size, &at, &len))
		main_write(t, at, len, pci_cfg_get(p, t->window + CAP_WINDOW_DATA, len));
}

/* -- life cycle -------------------------------------------------------------------------- */

struct pci_arg {
	const struct virtio_class *class;
	const void *cfg;
	struct pci_host *host;
	unsigned slot;
};

static int build(struct virtio_pci *t, const struct pci_arg *a, struct err *e)
{
	struct pci_ident id = {
		.vendor = 0x1af4, .device = (u16)(0x1040 + a->class->id), /* [virtio 4.1.2] */
		.subsys_vendor = 0x1af4, .subsys = 0x1100,
		.revision = 1, .class_code = a->class->pci_class, .pin = 1,
	};
	struct dev *d;

	TRY(pci_init(&t->pci, &id, a->host, a->slot, e));
	d = virtio_dev_new(a->class, a->cfg, t->pci.dev.id, &t->pci.dev.env, &pci_transport,
			   &t->pci.dev, e);
	if (!d)
		return -e->code;
	t->v = container_of(d, struct virtio, dev);
	return add_caps(t, e);
}

static void moved(struct pci_dev *p)
{
	struct virtio_pci *t = container_of(p, struct virtio_pci, pci);

	if (t->v)
		set_doorbells(t);
}

static void vpci_fini(struct dev *d)
{
	struct virtio_pci *t = of_dev(d);

	if (t->v)
		t->doorbells = virtio_doorbells(t->v, t->doorbells, 0, NOTIFY_MULT, 0);
	virtio_dev_free(t->v);
	t->v = NULL;
	pci_fini(&t->pci);
}

static int vpci_init(struct dev *d, const void *cfg, struct err *e)
{
	int r = build(of_dev(d), cfg, e);

	if (r)
		vpci_fini(d);
	return r;
}

static void vpci_reset(struct dev *d)
{
	struct virtio_pci *t = of_dev(d);

	virtio_reset(t->v);
	reset_transport(t);
	pci_reset(&t->pci); /* with it the doorbells go */
}

static void vpci_pause(struct dev *d)
{
	virtio_pause(of_dev(d)->v);
}

static void vpci_resume(struct dev *d)
{
	virtio_resume(of_dev(d)->v);
}

static int vpci_loaded(struct dev *d, struct err *e)
{
	return pci_loaded(&of_dev(d)->pci, e);
}

static const struct dev_region vpci_regions[] = {
	[REGION_MAIN] = { .name = "virtio", .space = SPACE_BAR, .size = MAIN_SIZE,
			  .acc_min = 1, .acc_max = 4 },
	[REGION_MSIX] = { .name = "msix", .space = SPACE_BAR, .size = MSIX_BAR_SIZE,
			  .acc_min = 1, .acc_max = 4 },
};

static const struct field vpci_state[] = {
	PCI_DEV_FIELDS(struct virtio_pci, pci),
	FIELD_NOT_SAVED(struct virtio_pci, v),
	FIELD(struct virtio_pci, dev_sel),
	FIELD(struct virtio_pci, drv_sel),
	FIELD(struct virtio_pci, queue_sel),
	FIELD(struct virtio_pci, isr),
	FIELD_NOT_SAVED(struct virtio_pci, window),
	FIELD(struct virtio_pci, config_vector),
	FIELD(struct virtio_pci, queue_vector),
	FIELD_NOT_SAVED(struct virtio_pci, doorbells),
	FIELD_END,
};

static const struct pci_class virtio_pci_class = {
	.dev = {
		.name = "virtio-pci",
		.spec = "Virtual I/O Device 1.2, 4.1",
		.size = sizeof(struct virtio_pci),
		.region = vpci_regions,
		.nr_regions = array_len(vpci_regions),
		.state = vpci_state,
		.init = vpci_init,
		.fini = vpci_fini,
		.reset = vpci_reset,
		.read = vpci_read,
		.write = vpci_write,
		.pause = vpci_pause,
		.resume = vpci_resume,
		.loaded = vpci_loaded,
	},
	.bar = {
		[0] = { PCI_BAR_USED | PCI_BAR_64, REGION_MAIN },
		[2] = { PCI_BAR_USED, REGION_MSIX },
	},
	.moved = moved,
	.cfg_read = window_read,
	.cfg_write = window_write,
};

struct dev *virtio_pci_new(const struct virtio_class *c, const void *cfg, struct pci_host *h,
			   unsigned slot, const char *id, const struct dev_env *env, struct err *e)
{
	struct pci_arg a = { .class = c, .cfg = cfg, .host = h, .slot = slot };

	return dev_new(&virtio_pci_class.dev, id, env, &a, e);
}

struct virtio *virtio_of_pci(struct dev *d)
{
	return d->class == &virtio_pci_class.dev ? of_dev(d)->v : NULL;
}
