// SPDX-License-Identifier: Apache-2.0
/*
 * virtio_mmio.c - virtio over MMIO, version 2 register layout [virtio 4.2.2]
 *
 * One register page and one interrupt wire (env.irq[0]), level-triggered.
 * Not modelled: shared memory regions (SHMLen reads all ones: none).
 */
#include "base/bits.h"
#include "dev/virtio/transport.h"

#include <errno.h>

enum {
	R_MAGIC = 0x000,
	R_VERSION = 0x004,
	R_DEVICE_ID = 0x008,
	R_VENDOR_ID = 0x00c,
	R_DEVICE_FEATURES = 0x010,
	R_DEVICE_FEATURES_SEL = 0x014,
	R_DRIVER_FEATURES = 0x020,
	R_DRIVER_FEATURES_SEL = 0x024,
	R_QUEUE_SEL = 0x030,
	R_QUEUE_NUM_MAX = 0x034,
	R_QUEUE_NUM = 0x038,
	R_QUEUE_READY = 0x044,
	R_QUEUE_NOTIFY = 0x050,
	R_INTERRUPT_STATUS = 0x060,
	R_INTERRUPT_ACK = 0x064,
	R_STATUS = 0x070,
	R_QUEUE_DESC = 0x080,
	R_QUEUE_DRIVER = 0x090,
	R_QUEUE_DEVICE = 0x0a0,
	R_SHM_LEN = 0x0b0,
	R_SHM_BASE_HIGH = 0x0bc,
	R_CONFIG_GENERATION = 0x0fc,
	R_CONFIG = 0x100,
};

struct virtio_mmio {
	struct dev dev;
	struct virtio *v;
	u32 dev_sel, drv_sel;
	u32 queue_sel;
	u8 isr;
	gpa_t base;	 /* of the page, for doorbells; 0 = not known */
	gpa_t doorbells; /* where they are set, 0 = nowhere */
};

static struct virtio_mmio *of_dev(struct dev *d)
{
	return container_of(d, struct virtio_mmio, dev);
}

static void set_isr(struct virtio_mmio *t, u8 isr)
{
	t->isr = isr;
	irq_set(&t->dev.env.irq[0], isr);
}

static void mmio_queue_irq(struct virtio *v, unsigned n UNUSED)
{
	struct virtio_mmio *t = of_dev(v->tp_dev);

	set_isr(t, t->isr | ISR_QUEUE);
}

static void mmio_config_irq(struct virtio *v)
{
	struct virtio_mmio *t = of_dev(v->tp_dev);

	set_isr(t, t->isr | ISR_CONFIG);
}

static const struct virtio_transport mmio_transport = {
	.queue_irq = mmio_queue_irq,
	.config_irq = mmio_config_irq,
};

static struct virtq *queue(const struct virtio_mmio *t)
{
	return t->queue_sel < VIRTIO_MAX_QUEUES ? selected_queue(t->v, (u16)t->queue_sel) : NULL;
}

static u32 reg_read(struct virtio_mmio *t, u64 off)
{
	const struct virtq *q = queue(t);
	struct virtio *v = t->v;

	switch (off) {
	case R_MAGIC:
		return 0x74726976; /* "virt" */
	case R_VERSION:
		return 2;
	case R_DEVICE_ID:
		return virtio_class(v)->id;
	case R_VENDOR_ID:
		return 0x1af4;
	case R_DEVICE_FEATURES:
		return feature_word(v->offered, t->dev_sel);
	case R_QUEUE_NUM_MAX:
		return q ? q->max_size : 0;
	case R_QUEUE_READY:
		return q ? q->ready : 0;
	case R_INTERRUPT_STATUS:
		return t->isr;
	case R_STATUS:
		return v->status;
	case R_CONFIG_GENERATION:
		return v->config_gen;
	default:
		return off >= R_SHM_LEN && off <= R_SHM_BASE_HIGH ? ~0u : 0;
	}
}

static void queue_write(struct virtq *q, u64 off, u32 val)
{
	if (!q)
		return;
	switch (off) {
	case R_QUEUE_NUM:
		if (!q->ready && val && val <= q->max_size)
			q->size = (u16)val;
		break;
	case R_QUEUE_READY:
		if (val == 1 && !q->ready)
			vq_start(q);
		else if (val == 0)
			vq_reset(q);
		break;
	case R_QUEUE_DESC:
	case R_QUEUE_DESC + 4:
		set_half(q, &q->desc, off & 4, val);
		break;
	case R_QUEUE_DRIVER:
	case R_QUEUE_DRIVER + 4:
		set_half(q, &q->driver, off & 4, val);
		break;
	case R_QUEUE_DEVICE:
	case R_QUEUE_DEVICE + 4:
		set_half(q, &q->device, off & 4, val);
		break;
	}
}

static void set_doorbells(struct virtio_mmio *t)
{
	t->doorbells = virtio_doorbells(t->v, t->doorbells, t->base ? t->base + R_QUEUE_NOTIFY : 0,
					0, 4);
}

static void reset_transport(struct virtio_mmio *t)
{
	t->dev_sel = t->drv_sel = t->queue_sel = 0;
	set_isr(t, 0);
}

static void reg_write(struct virtio_mmio *t, u64 off, u32 val)
{
	switch (off) {
	case R_DEVICE_FEATURES_SEL:
		t->dev_sel = val;
		break;
	case R_DRIVER_FEATURES_SEL:
		t->drv_sel = val;
		break;
	case R_DRIVER_FEATURES:
		virtio_set_features(t->v, t->drv_sel, val);
		break;
	case R_QUEUE_SEL:
		t->queue_sel = val;
		break;
	case R_QUEUE_NOTIFY:
		virtio_notify(t->v, val);
		break;
	case R_INTERRUPT_ACK:
		set_isr(t, t->isr & (u8)~val);
		break;
	case R_STATUS:
		virtio_set_status(t->v, (u8)val);
		if (!(u8)val)
			reset_transport(t);
		set_doorbells(t);
		break;
	default:
		queue_write(queue(t), off, val);
	}
}

static u64 mmio_read(struct dev *d, unsigned region UNUSED, u64 off, unsigned size)
{
	struct virtio_mmio *t = of_dev(d);

	if (off >= R_CONFIG)
		return virtio_config_read(t->v, off - R_CONFIG, size);
	return size == 4 ? reg_read(t, off) : mask_bytes(size);
}

static void mmio_write(struct dev *d, unsigned region UNUSED, u64 off, unsigned size, u64 val)
{
	struct virtio_mmio *t = of_dev(d);

	if (off >= R_CONFIG)
		virtio_config_write(t->v, off - R_CONFIG, size, (u32)val);
	else if (size == 4)
		reg_write(t, off, (u32)val);
}

/* -- life cycle -------------------------------------------------------------------------- */

struct mmio_arg {
	const struct virtio_class *class;
	const void *cfg;
	gpa_t base;
};

static int mmio_init(struct dev *d, const void *cfg, struct err *e)
{
	const struct mmio_arg *a = cfg;
	struct dev *b = virtio_dev_new(a->class, a->cfg, d->id, &d->env, &mmio_transport, d, e);

	if (!b)
		return -e->code;
	of_dev(d)->v = container_of(b, struct virtio, dev);
	of_dev(d)->base = a->base;
	return 0;
}

static void mmio_fini(struct dev *d)
{
	struct virtio_mmio *t = of_dev(d);

	if (t->v)
		t->doorbells = virtio_doorbells(t->v, t->doorbells, 0, 0, 4);
	virtio_dev_free(t->v);
}

static void mmio_reset(struct dev *d)
{
	virtio_reset(of_dev(d)->v);
	reset_transport(of_dev(d));
	set_doorbells(of_dev(d));
}

static void mmio_pause(struct dev *d)
{
	virtio_pause(of_dev(d)->v);
}

static void mmio_resume(struct dev *d)
{
	virtio_resume(of_dev(d)->v);
}

static int mmio_loaded(struct dev *d, struct err *e UNUSED)
{
	set_isr(of_dev(d), of_dev(d)->isr);
	set_doorbells(of_dev(d));
	return 0;
}

static const struct dev_region mmio_regions[] = {
	{ .name = "virtio", .space = SPACE_MMIO, .size = VIRTIO_MMIO_SIZE,
			  .acc_min = 1, .acc_max = 4 },
};

static const struct field mmio_state[] = {
	FIELD_NOT_SAVED(struct virtio_mmio, dev),
	FIELD_NOT_SAVED(struct virtio_mmio, v),
	FIELD(struct virtio_mmio, dev_sel),
	FIELD(struct virtio_mmio, drv_sel),
	FIELD(struct virtio_mmio, queue_sel),
	FIELD(struct virtio_mmio, isr),
	FIELD_NOT_SAVED(struct virtio_mmio, base),
	FIELD_NOT_SAVED(struct virtio_mmio, doorbells),
	FIELD_END,
};

static const struct dev_class virtio_mmio_class = {
	.name = "virtio-mmio",
	.spec = "Virtual I/O Device 1.2, 4.2",
	.size = sizeof(struct virtio_mmio),
	.region = mmio_regions,
	.nr_regions = array_len(mmio_regions),
	.state = mmio_state,
	.init = mmio_init,
	.fini = mmio_fini,
	.reset = mmio_reset,
	.read = mmio_read,
	.write = mmio_write,
	.pause = mmio_pause,
	.resume = mmio_resume,
	.loaded = mmio_loaded,
};

struct dev *virtio_mmio_new(const struct virtio_class *c, const void *cfg, gpa_t base,
			    const char *id, const struct dev_env *env, struct err *e)
{
	struct mmio_arg a = { .class = c, .cfg = cfg, .base = base };

	return dev_new(&virtio_mmio_class, id, env, &a, e);
}

struct virtio *virtio_of_mmio(struct dev *d)
{
	return d->class == &virtio_mmio_class ? of_dev(d)->v : NULL;
}
